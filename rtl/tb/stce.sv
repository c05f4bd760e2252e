/// Stands in for STCE until it is there: an instruction takes two cycles and does nothing.
// verilator lint_off UNUSEDPARAM
// verilator lint_off UNUSEDSIGNAL
module stce #(
  parameter int unsigned Rows = 4,
  parameter int unsigned Cols = 4,
  parameter int unsigned GroupMax = 4,
  parameter int unsigned NMax = 4,
  parameter int unsigned MulLatency = 4,
  parameter int unsigned AddLatency = 4,
  parameter int unsigned Interleave = 4,
  parameter int unsigned ActValuesPerRowCycle = 4
) (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic start_i,
  input  logic [127:0] instr_i,
  input  cosparse_pkg::stce_bank_t bank_i,
  output logic done_o,
  output logic busy_o,
  output logic data_o,
  output logic adder_o,
  output logic drain_o,
  output logic act_re_o,
  output logic [cosparse_pkg::AddressBits-1:0] act_raddr_o,
  input  logic [ActValuesPerRowCycle*Rows*16-1:0] act_rdata_i,
  output logic wgt_re_o,
  output logic [cosparse_pkg::AddressBits-1:0] wgt_raddr_o,
  input  logic [Cols*16-1:0] wgt_rdata_i,
  input  logic [Cols*4-1:0] idx_rdata_i,
  output logic table_re_o,
  output logic [cosparse_pkg::AddressBits-1:0] table_raddr_o,
  input  logic [Cols*16-1:0] table_rdata_i,
  output logic [Cols-1:0] acc_re_o,
  output logic [Cols*cosparse_pkg::AddressBits-1:0] acc_raddr_o,
  input  logic [Cols*32-1:0] acc_rdata_i,
  output logic [Cols-1:0] acc_we_o,
  output logic [Cols*cosparse_pkg::AddressBits-1:0] acc_waddr_o,
  output logic [Cols*32-1:0] acc_wdata_o
);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) done_o <= 1'b0;
    else done_o <= start_i;
  end

  assign data_o = '0;
  assign adder_o = '0;
  assign drain_o = '0;
  assign act_re_o = '0;
  assign act_raddr_o = '0;
  assign wgt_re_o = '0;
  assign wgt_raddr_o = '0;
  assign table_re_o = '0;
  assign table_raddr_o = '0;
  assign acc_re_o = '0;
  assign acc_raddr_o = '0;
  assign acc_we_o = '0;
  assign acc_waddr_o = '0;
  assign acc_wdata_o = '0;
  assign busy_o = 1'b1;

endmodule : stce
