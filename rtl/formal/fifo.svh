// Proof of fifo.sv: no word is lost, doubled or reordered, and the flags say how full it is.
//
// One arbitrary word is followed from push to pop; `ahead` counts the words before it. The words are
// counted from the outside too. Assumed: the user pushes only while `ready_o` and pops only while
// `valid_o`, as the module asks.

(* anyseq *) logic follow;
logic [7:0] inside, ahead;
logic following;
logic [Width-1:0] word;
logic [PointerBits-1:0] place;  // the entry in which the followed word must lie

assign place = PointerBits'((head_q + ahead) % Depth);

initial assume (!rst_ni);

always_ff @(posedge clk_i or negedge rst_ni) begin
  if (!rst_ni) begin
    inside <= 8'd0;
    following <= 1'b0;
  end else if (clear_i) begin
    inside <= 8'd0;
    following <= 1'b0;
  end else begin
    inside <= inside + {7'd0, push_i} - {7'd0, pop_i};
    if (push_i && follow && !following) begin
      following <= 1'b1;
      word <= data_i;
      ahead <= inside - {7'd0, pop_i};
    end else if (following && pop_i) begin
      following <= ahead != 8'd0;
      ahead <= ahead - 8'd1;
    end
  end
end

always_comb begin
  assume (!push_i || ready_o);
  assume (!pop_i || valid_o);
  if (rst_ni) begin
    assert (ready_o == (inside < Depth));
    assert (valid_o == (inside != 8'd0));
    if (following && ahead == 8'd0) assert (valid_o && data_o == word);
    // What makes the induction go through.
    assert (count_q == inside && inside <= Depth);
    assert (head_q < Depth && tail_q < Depth);
    assert ((head_q + inside) % Depth == tail_q);
    assert (!following || ahead < inside);
    assert (!following || entries_q[place] == word);
  end
end
