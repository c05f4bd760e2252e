/// Stands in for WUVE where a bench needs the ports and no work: an instruction takes two cycles.
// verilator lint_off UNUSEDPARAM
// verilator lint_off UNUSEDSIGNAL
module wuve #(
  parameter int unsigned Rows = 4,
  parameter int unsigned Cols = 4,
  parameter int unsigned AddLatency = 4,
  parameter int unsigned ActValuesPerRowCycle = 4,
  parameter int unsigned WuveLanes = 4
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic start_i,
  input  logic [127:0] instr_i,
  input  cosparse_pkg::wuve_bank_t bank_i,
  output logic done_o,
  output logic nonfinite_o,
  output logic [Cols-1:0] acc_re_o,
  output logic [Cols*cosparse_pkg::AddressBits-1:0] acc_raddr_o,
  input  logic [Cols*32-1:0] acc_rdata_i,
  output logic [Cols-1:0] acc_we_o,
  output logic [Cols*cosparse_pkg::AddressBits-1:0] acc_waddr_o,
  output logic [Cols*32-1:0] acc_wdata_o,
  output logic [ActValuesPerRowCycle*Rows-1:0] act_we_o,
  output logic [cosparse_pkg::AddressBits-1:0] act_waddr_o,
  output logic [ActValuesPerRowCycle*Rows*16-1:0] act_wdata_o
);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) done_o <= 1'b0;
    else done_o <= start_i;
  end

  assign nonfinite_o = '0;
  assign acc_re_o = '0;
  assign acc_raddr_o = '0;
  assign acc_we_o = '0;
  assign acc_waddr_o = '0;
  assign acc_wdata_o = '0;
  assign act_we_o = '0;
  assign act_waddr_o = '0;
  assign act_wdata_o = '0;

endmodule : wuve
