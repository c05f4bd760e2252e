/// The counting semaphores between the units, all zero at the start.
///
/// Timing: a token that is made in cycle t may be taken from cycle t + SemaphoreCycles = t + 1 on. A
/// token beyond SemaphoreMax raises `overflow_o` in the cycle in which it is made.
///
/// Not here: waiting. Taking a token that is not there, or one semaphore by two units in a cycle, is
/// the user's mistake.
module semaphore_bank #(
  /// Units that make and take tokens.
  parameter int unsigned Units = 4
) (
  input  logic                                      clk_i,
  input  logic                                      rst_ni,
  /// All semaphores become zero.
  input  logic                                      clear_i,
  /// One mask a unit: semaphores that get a token.
  input  logic [Units*cosparse_pkg::Semaphores-1:0] signal_i,
  /// One mask a unit: semaphores of which a token is taken.
  input  logic [Units*cosparse_pkg::Semaphores-1:0] take_i,
  /// Semaphores that have a token.
  output logic [cosparse_pkg::Semaphores-1:0]       tokens_o,
  /// A semaphore is told to hold more than SemaphoreMax tokens; it keeps SemaphoreMax.
  output logic                                      overflow_o
);

  localparam int unsigned Count = cosparse_pkg::Semaphores;
  localparam int unsigned Bits = $clog2(cosparse_pkg::SemaphoreMax + 1);
  localparam logic [Bits-1:0] Max = Bits'(cosparse_pkg::SemaphoreMax);

  logic [Count-1:0] made, taken, overflows;

  always_comb begin
    made  = '0;
    taken = '0;
    for (int unit = 0; unit < Units; unit++) begin
      made  = made | signal_i[unit*Count+:Count];
      taken = taken | take_i[unit*Count+:Count];
    end
  end

  for (genvar s = 0; s < Count; s++) begin : g_semaphore
    logic [Bits-1:0] count_q;

    assign tokens_o[s]  = count_q != '0;
    assign overflows[s] = made[s] && !taken[s] && count_q == Max;

    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) begin
        count_q <= '0;
      end else if (clear_i) begin
        count_q <= '0;
      end else if (made[s] != taken[s] && !overflows[s]) begin
        count_q <= made[s] ? count_q + 1'b1 : count_q - 1'b1;
      end
    end
  end

  assign overflow_o = overflows != '0;

endmodule : semaphore_bank
