/// stce with its scratchpads as memories that the bench sees, and counters of its cycles.
///
/// Shared memories: 0 ACT, 1 WGT, 2 IDX (an index is 16 bits wide there), 3 + c accumulator bank c.
/// `start_i` is taken at the rising edge; a new MATMUL may be started in the cycle after `done_o`.
module tb_stce #(
  /// Parameters of stce.
  parameter int unsigned Rows = 4,
  parameter int unsigned Cols = 4,
  parameter int unsigned GroupMax = 8,
  parameter int unsigned NMax = 8,
  parameter int unsigned MulLatency = 2,
  parameter int unsigned AddLatency = 3,
  parameter int unsigned Interleave = 4,
  parameter int unsigned ActValuesPerRowCycle = 1,
  localparam int unsigned BankBits = $bits(cosparse_pkg::stce_bank_t)
) (
  input  logic                clk_i,
  input  logic                rst_ni,
  input  logic                start_i,
  input  logic [127:0]        instr_i,
  input  logic [BankBits-1:0] bank_i,
  output logic                done_o,
  /// Of the last MATMUL: all cycles, and where they went.
  output logic [31:0]         cycles_o,
  output logic [31:0]         busy_o,
  output logic [31:0]         data_o,
  output logic [31:0]         adder_o,
  output logic [31:0]         drain_o,
  /// Words that it read of ACT, WGT and ACC, and wrote to ACC (all banks).
  output logic [31:0]         act_reads_o,
  output logic [31:0]         wgt_reads_o,
  output logic [31:0]         acc_reads_o,
  output logic [31:0]         acc_writes_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned ActLanes = ActValuesPerRowCycle * Rows;

  logic                                  done, busy, data, adder, drain;
  logic                                  act_re, wgt_re, table_re, running_q;
  logic [AddressBits-1:0]                act_raddr, wgt_raddr, table_raddr;
  logic [16*ActLanes-1:0]                act_rdata;
  logic [16*Cols-1:0]                    wgt_rdata, table_rdata;
  // An index is 16 bits wide in the bench's memory.
  logic [16*Cols-1:0]                    idx_words;
  logic [4*Cols-1:0]                     idx_rdata;
  logic [Cols-1:0]                       acc_re, acc_we;
  logic [Cols*AddressBits-1:0]           acc_raddr, acc_waddr;
  logic [Cols*32-1:0]                    acc_rdata, acc_wdata;

  stce #(
    .Rows                (Rows),
    .Cols                (Cols),
    .GroupMax            (GroupMax),
    .NMax                (NMax),
    .MulLatency          (MulLatency),
    .AddLatency          (AddLatency),
    .Interleave          (Interleave),
    .ActValuesPerRowCycle(ActValuesPerRowCycle)
  ) u_stce (
    .clk_i,
    .rst_ni,
    .start_i,
    .instr_i,
    .bank_i,
    .done_o       (done),
    .busy_o       (busy),
    .data_o       (data),
    .adder_o      (adder),
    .drain_o      (drain),
    .act_re_o     (act_re),
    .act_raddr_o  (act_raddr),
    .act_rdata_i  (act_rdata),
    .wgt_re_o     (wgt_re),
    .wgt_raddr_o  (wgt_raddr),
    .wgt_rdata_i  (wgt_rdata),
    .idx_rdata_i  (idx_rdata),
    .table_re_o   (table_re),
    .table_raddr_o(table_raddr),
    .table_rdata_i(table_rdata),
    .acc_re_o     (acc_re),
    .acc_raddr_o  (acc_raddr),
    .acc_rdata_i  (acc_rdata),
    .acc_we_o     (acc_we),
    .acc_waddr_o  (acc_waddr),
    .acc_wdata_o  (acc_wdata)
  );

  tb_ram #(.Number(0), .Lanes(ActLanes), .LaneBits(16)) u_act (
    .clk_i, .re_i(act_re), .raddr_i(act_raddr), .rdata_o(act_rdata),
    .we_i('0), .waddr_i('0), .wdata_i('0)
  );
  tb_ram #(.Number(1), .Lanes(Cols), .LaneBits(16)) u_wgt (
    .clk_i, .re_i(wgt_re), .raddr_i(wgt_raddr), .rdata_o(wgt_rdata),
    .we_i('0), .waddr_i('0), .wdata_i('0)
  );
  tb_ram #(.Number(2), .Lanes(Cols), .LaneBits(16)) u_idx (
    .clk_i, .re_i(wgt_re), .raddr_i(wgt_raddr), .rdata_o(idx_words),
    .we_i('0), .waddr_i('0), .wdata_i('0)
  );
  tb_ram #(.Number(1), .Lanes(Cols), .LaneBits(16)) u_table (
    .clk_i, .re_i(table_re), .raddr_i(table_raddr), .rdata_o(table_rdata),
    .we_i('0), .waddr_i('0), .wdata_i('0)
  );

  for (genvar c = 0; c < Cols; c++) begin : gen_bank
    assign idx_rdata[4*c+:4] = idx_words[16*c+:4];

    tb_ram #(.Number(3 + c), .Lanes(1), .LaneBits(32)) u_acc (
      .clk_i,
      .re_i   (acc_re[c]),
      .raddr_i(acc_raddr[AddressBits*c+:AddressBits]),
      .rdata_o(acc_rdata[32*c+:32]),
      .we_i   (acc_we[c]),
      .waddr_i(acc_waddr[AddressBits*c+:AddressBits]),
      .wdata_i(acc_wdata[32*c+:32])
    );
  end

  assign done_o = done;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      running_q <= 1'b0;
    end else begin
      if (done) running_q <= 1'b0;
      if (start_i) running_q <= 1'b1;
    end
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      cycles_o     <= 32'd1;
      busy_o       <= '0;
      data_o       <= 32'd1;
      adder_o      <= '0;
      drain_o      <= '0;
      act_reads_o  <= '0;
      wgt_reads_o  <= '0;
      acc_reads_o  <= '0;
      acc_writes_o <= '0;
    end else if (running_q) begin
      cycles_o     <= cycles_o + 32'd1;
      busy_o       <= busy_o + 32'(busy);
      data_o       <= data_o + 32'(data);
      adder_o      <= adder_o + 32'(adder);
      drain_o      <= drain_o + 32'(drain);
      act_reads_o  <= act_reads_o + 32'(act_re);
      wgt_reads_o  <= wgt_reads_o + 32'(wgt_re);
      acc_reads_o  <= acc_reads_o + 32'($countones(acc_re));
      acc_writes_o <= acc_writes_o + 32'($countones(acc_we));
    end
  end

  // Every cycle goes somewhere, and nothing is touched outside a MATMUL.
  assert property (@(posedge clk_i) disable iff (!rst_ni)
      running_q |-> $onehot({busy, data, adder, drain}));
  assert property (@(posedge clk_i) disable iff (!rst_ni)
      !running_q |-> {act_re, wgt_re, table_re, acc_re, acc_we} == '0);
  assert property (@(posedge clk_i) disable iff (!rst_ni) done |-> running_q);

  logic unused;
  assign unused = ^idx_words;

endmodule : tb_stce
