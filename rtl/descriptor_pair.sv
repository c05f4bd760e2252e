/// Two neighbouring registers of every descriptor bank of a unit, side by side.
///
/// A memory of 32 words (LUTRAM) with one write port and one read port. A bank that nothing has
/// written since `clear_i` reads zero.
///
/// Timing: a read has no latency; a write and `clear_i` are seen from the next cycle on.
///
/// Not here: a write of one register alone; both are written together.
module descriptor_pair #(
  /// Bits of both registers.
  parameter int unsigned Width = 32
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  /// All banks become zero.
  input  logic             clear_i,
  input  logic             we_i,
  input  logic [4:0]       waddr_i,
  input  logic [Width-1:0] wdata_i,
  input  logic [4:0]       raddr_i,
  output logic [Width-1:0] rdata_o
);

  logic [Width-1:0]               values_q [cosparse_pkg::Banks];
  logic [cosparse_pkg::Banks-1:0] written_q;

  always_ff @(posedge clk_i) begin
    if (we_i) values_q[waddr_i] <= wdata_i;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      written_q <= '0;
    end else if (clear_i) begin
      written_q <= '0;
    end else if (we_i) begin
      written_q[waddr_i] <= 1'b1;
    end
  end

  assign rdata_o = written_q[raddr_i] ? values_q[raddr_i] : '0;

endmodule : descriptor_pair
