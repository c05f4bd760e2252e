/// Bench of SORE: runs a list of PRUNEs on shared memories and counts the cycles of each.
///
///     memory 0  ACT       a word of ActValuesPerRowCycle * Rows FP16
///     memory 1  WGT       a word of Cols FP16
///     memory 2  IDX       a word of Cols bytes, a position in each
///     memory 3  cases     a word of 9 * 32 bits: instruction (128), bank (128), gap (32)
///     memory 4  cycles    a word of 32 bits: T of each case
///
/// `gap` is the idle cycles between the end of the case before and the issue; with 0 they follow
/// each other at once. A done, read or write outside a case is a stray.
module tb_sore #(
  /// As in the accelerator.
  parameter int unsigned Rows = 4,
  parameter int unsigned Cols = 4,
  parameter int unsigned GroupMax = 8,
  parameter int unsigned NMax = 8,
  parameter int unsigned ActValuesPerRowCycle = 1,
  parameter int unsigned SoreLanes = 4
) (
  /// Clock.
  input  logic        clk_i,
  /// Asynchronous reset, active low.
  input  logic        rst_ni,
  /// Run the list, for one cycle.
  input  logic        start_i,
  /// Cases of the list.
  input  logic [31:0] count_i,
  /// The list has ended, and some idle cycles after it.
  output logic        done_o,
  /// Strays since reset.
  output logic [31:0] strays_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned ActLanes = ActValuesPerRowCycle * Rows;
  localparam int unsigned BankBits = $bits(cosparse_pkg::sore_bank_t);
  localparam logic [31:0] IdleCycles = 100;

  typedef enum logic [2:0] {
    StIdle,
    StFetch,
    StWait,
    StRun,
    StEnd
  } state_e;

  state_e                   state_d, state_q;
  logic [31:0]              index_d, index_q, cycles_d, cycles_q, waited_d, waited_q;
  logic                     fetch, issue, done, active;
  // The case at hand.
  logic [127:0]             instr, bank;
  logic [31:0]              gap;

  logic                     act_re;
  logic [AddressBits-1:0]   act_raddr, wgt_waddr;
  logic [ActLanes*16-1:0]   act_rdata;
  logic [Cols-1:0]          wgt_we;
  logic [Cols*16-1:0]       wgt_wdata;
  logic [Cols*4-1:0]        idx_wdata;
  logic [Cols*8-1:0]        idx_bytes;

  sore #(
    .Rows                (Rows),
    .Cols                (Cols),
    .GroupMax            (GroupMax),
    .NMax                (NMax),
    .ActValuesPerRowCycle(ActValuesPerRowCycle),
    .SoreLanes           (SoreLanes)
  ) u_sore (
    .clk_i,
    .rst_ni,
    .start_i    (issue),
    .instr_i    (issue ? instr : '1),
    .bank_i     (issue ? bank[BankBits-1:0] : '1),
    .done_o     (done),
    .act_re_o   (act_re),
    .act_raddr_o(act_raddr),
    .act_rdata_i(act_rdata),
    .wgt_we_o   (wgt_we),
    .wgt_waddr_o(wgt_waddr),
    .wgt_wdata_o(wgt_wdata),
    .idx_wdata_o(idx_wdata)
  );

  always_comb begin
    for (int unsigned c = 0; c < Cols; c++) idx_bytes[c*8+:8] = {4'd0, idx_wdata[c*4+:4]};
  end

  always_comb begin
    state_d  = state_q;
    index_d  = index_q;
    cycles_d = cycles_q + 32'd1;
    waited_d = waited_q + 32'd1;
    fetch    = 1'b0;
    issue    = 1'b0;
    unique case (state_q)
      StIdle: begin
        index_d = '0;
        if (start_i) begin
          fetch   = 1'b1;
          state_d = StFetch;
        end
      end
      StFetch: begin
        waited_d = '0;
        state_d  = StWait;
      end
      StWait: begin
        if (waited_q == gap) begin
          issue    = 1'b1;
          cycles_d = 32'd2;
          state_d  = StRun;
        end
      end
      StRun: begin
        if (done) begin
          fetch    = 1'b1;
          waited_d = '0;
          index_d  = index_q + 32'd1;
          state_d  = index_d == count_i ? StEnd : StWait;
        end
      end
      StEnd: if (waited_q == IdleCycles) state_d = StIdle;
      default: state_d = StIdle;
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q  <= StIdle;
      index_q  <= '0;
      cycles_q <= '0;
      waited_q <= '0;
      strays_o <= '0;
    end else begin
      state_q  <= state_d;
      index_q  <= index_d;
      cycles_q <= cycles_d;
      waited_q <= waited_d;
      if (!active && (done || act_re || wgt_we != '0)) strays_o <= strays_o + 32'd1;
    end
  end

  assign active = state_q == StRun;
  assign done_o = state_q == StEnd && waited_q == IdleCycles;

  // Each memory is used in one direction.
  // verilator lint_off PINCONNECTEMPTY
  tb_ram #(.Number(0), .Lanes(ActLanes), .LaneBits(16)) u_act (
    .clk_i, .re_i(act_re), .raddr_i(act_raddr), .rdata_o(act_rdata),
    .we_i('0), .waddr_i('0), .wdata_i('0)
  );
  tb_ram #(.Number(1), .Lanes(Cols), .LaneBits(16)) u_wgt (
    .clk_i, .re_i(1'b0), .raddr_i('0), .rdata_o(),
    .we_i(wgt_we), .waddr_i(wgt_waddr), .wdata_i(wgt_wdata)
  );
  tb_ram #(.Number(2), .Lanes(Cols), .LaneBits(8)) u_idx (
    .clk_i, .re_i(1'b0), .raddr_i('0), .rdata_o(),
    .we_i(wgt_we), .waddr_i(wgt_waddr), .wdata_i(idx_bytes)
  );
  tb_ram #(.Number(3), .Lanes(9), .LaneBits(32)) u_cases (
    .clk_i, .re_i(fetch), .raddr_i(AddressBits'(index_d)), .rdata_o({gap, bank, instr}),
    .we_i('0), .waddr_i('0), .wdata_i('0)
  );
  tb_ram #(.Number(4), .Lanes(1), .LaneBits(32)) u_cycles (
    .clk_i, .re_i(1'b0), .raddr_i('0), .rdata_o(),
    .we_i(active && done), .waddr_i(AddressBits'(index_q)), .wdata_i(cycles_q)
  );
  // verilator lint_on PINCONNECTEMPTY

endmodule : tb_sore
