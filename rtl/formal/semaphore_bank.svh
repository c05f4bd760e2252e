// Proof of semaphore_bank.sv: one arbitrary semaphore holds the tokens that were made and not taken.
// A token made in one cycle is there in the next and never earlier, none is lost or doubled, and the
// count never wraps: a token too many raises the flag and is dropped.
//
// Assumed: a token is taken only where one is, as the module asks.

localparam int unsigned IndexBits = $clog2(Count);

(* anyconst *) logic [IndexBits-1:0] chosen;
logic [Bits:0] tokens;  // one bit more than the design has: it cannot wrap with it
logic makes, takes;

always_comb begin
  makes = 1'b0;
  takes = 1'b0;
  for (int unit = 0; unit < Units; unit++) begin
    makes = makes | signal_i[unit*Count+chosen];
    takes = takes | take_i[unit*Count+chosen];
  end
end

initial assume (!rst_ni);

always_ff @(posedge clk_i or negedge rst_ni) begin
  if (!rst_ni) tokens <= '0;
  else if (clear_i) tokens <= '0;
  else if (!(makes && !takes && tokens == {1'b0, Max})) begin
    tokens <= tokens + {{Bits{1'b0}}, makes} - {{Bits{1'b0}}, takes};
  end
end

logic [Count*Bits-1:0] counts;
for (genvar s = 0; s < Count; s++) begin : g_counts
  assign counts[s*Bits+:Bits] = g_semaphore[s].count_q;
end

always_comb begin
  for (int unit = 0; unit < Units; unit++) begin
    assume ((take_i[unit*Count+:Count] & ~tokens_o) == '0);
  end
  if (rst_ni) begin
    assert (tokens_o[chosen] == (tokens != '0));
    assert (tokens <= {1'b0, Max});
    assert (overflows[chosen] == (makes && !takes && tokens == {1'b0, Max}));
    assert (overflow_o == (overflows != '0));
    // What makes the induction go through.
    assert ({1'b0, counts[chosen*Bits+:Bits]} == tokens);
  end
end
