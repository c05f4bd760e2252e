/// Stands in for SORE where a bench needs the ports and no work: an instruction takes two cycles.
// verilator lint_off UNUSEDPARAM
// verilator lint_off UNUSEDSIGNAL
module sore #(
  parameter int unsigned Rows = 4,
  parameter int unsigned Cols = 4,
  parameter int unsigned GroupMax = 4,
  parameter int unsigned NMax = 4,
  parameter int unsigned ActValuesPerRowCycle = 4,
  parameter int unsigned SoreLanes = 4
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic start_i,
  input  logic [127:0] instr_i,
  input  cosparse_pkg::sore_bank_t bank_i,
  output logic done_o,
  output logic act_re_o,
  output logic [cosparse_pkg::AddressBits-1:0] act_raddr_o,
  input  logic [ActValuesPerRowCycle*Rows*16-1:0] act_rdata_i,
  output logic [Cols-1:0] wgt_we_o,
  output logic [cosparse_pkg::AddressBits-1:0] wgt_waddr_o,
  output logic [Cols*16-1:0] wgt_wdata_o,
  output logic [Cols*4-1:0] idx_wdata_o
);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) done_o <= 1'b0;
    else done_o <= start_i;
  end

  assign act_re_o = '0;
  assign act_raddr_o = '0;
  assign wgt_we_o = '0;
  assign wgt_waddr_o = '0;
  assign wgt_wdata_o = '0;
  assign idx_wdata_o = '0;

endmodule : sore
