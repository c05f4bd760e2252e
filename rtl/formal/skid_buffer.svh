// Proof of skid_buffer.sv: no word is lost, doubled or reordered, and an offered word stays.
//
// One arbitrary word is followed from input to output; `ahead` counts the words before it. The source
// and the sink may do what they like.

(* anyseq *) logic follow;
logic [1:0] inside, ahead;
logic following, taken, given, offered;
logic [Width-1:0] word, offer;

assign taken = valid_i && ready_o;
assign given = valid_o && ready_i;

initial assume (!rst_ni);

always_ff @(posedge clk_i or negedge rst_ni) begin
  if (!rst_ni) begin
    inside <= 2'd0;
    following <= 1'b0;
    offered <= 1'b0;
  end else begin
    offered <= valid_o && !ready_i;
    offer <= data_o;
    inside <= inside + {1'b0, taken} - {1'b0, given};
    if (taken && follow && !following) begin
      following <= 1'b1;
      word <= data_i;
      ahead <= inside - {1'b0, given};
    end else if (following && given) begin
      following <= ahead != 2'd0;
      ahead <= ahead - 2'd1;
    end
  end
end

always_comb begin
  if (rst_ni) begin
    assert (valid_o == (inside != 2'd0));
    assert (ready_o == (inside < 2'd2));
    assert (!offered || (valid_o && data_o == offer));
    if (following && ahead == 2'd0) assert (valid_o && data_o == word);
    // What makes the induction go through.
    assert (inside == {1'b0, valid_q} + {1'b0, full_q});
    assert (valid_q || !full_q);
    assert (!following || ahead < inside);
    if (following && ahead == 2'd1) assert (spare_q == word);
  end
end
