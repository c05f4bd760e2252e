/// One block RAM: a read port, and a write port with an enable for each lane that can read instead.
///
/// Timing: a read address in cycle t gives its word in cycle t + 1, as it was before the write of
/// cycle t. An output holds its value while its enable is low.
///
/// Not here: reset, so contents are unknown until they are written; owners (scratchpad_pair).
module scratchpad #(
  /// Words.
  parameter int unsigned Words = 16,
  /// Lanes of a word.
  parameter int unsigned Lanes = 4,
  /// Bits of a lane.
  parameter int unsigned LaneBits = 16,
  localparam int unsigned AddressBits = Words > 1 ? $clog2(Words) : 1
) (
  input  logic                      clk_i,
  input  logic                      re_i,
  input  logic [AddressBits-1:0]    raddr_i,
  output logic [Lanes*LaneBits-1:0] rdata_o,
  /// Read at the address of the write port; no lane is written in this cycle.
  input  logic                      side_re_i,
  output logic [Lanes*LaneBits-1:0] side_rdata_o,
  input  logic [Lanes-1:0]          we_i,
  input  logic [AddressBits-1:0]    waddr_i,
  input  logic [Lanes*LaneBits-1:0] wdata_i
);

  logic [Lanes*LaneBits-1:0] words_q [Words];

  always_ff @(posedge clk_i) begin
    if (re_i) rdata_o <= words_q[raddr_i];
    if (side_re_i) side_rdata_o <= words_q[waddr_i];
    for (int lane = 0; lane < Lanes; lane++) begin
      if (we_i[lane]) words_q[waddr_i][lane*LaneBits+:LaneBits] <= wdata_i[lane*LaneBits+:LaneBits];
    end
  end

endmodule : scratchpad
