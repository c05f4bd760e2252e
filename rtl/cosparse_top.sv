/// The complete accelerator: four instruction streams, DMA, scratchpads, STCE, SORE and WUVE.
///
/// The host starts a program through AXI4-Lite (`axi_lite_regs`); every unit fetches its stream through
/// a port of its own, FetchLatency cycles from address to instruction; the DMA moves data over one AXI4
/// port; the interrupt comes with HALT of all units, or with an error.
///
/// Timing: all times are those of docs/microarchitecture.md when the memory behind AXI4 is its DRAM
/// model (tb/axi_dram.sv is); with any other memory the bits are the same.
///
/// Not here: a second clock or AXI4 port, caches, address translation. Only semaphores keep the units
/// apart: a program that is not legal gives wrong results, no error, unless it breaks what
/// `instruction_check`, `dma`, `semaphore_bank` or the watchdog see.
module cosparse_top #(
  parameter int unsigned Rows = 4,
  parameter int unsigned Cols = 4,
  parameter int unsigned GroupMax = 8,
  parameter int unsigned NMax = 8,
  parameter int unsigned MulLatency = 2,
  parameter int unsigned AddLatency = 3,
  parameter int unsigned Interleave = 4,
  parameter int unsigned ActValuesPerRowCycle = 1,
  parameter int unsigned ActivationKib = 16,
  parameter int unsigned WeightKib = 16,
  parameter int unsigned AccumulatorKib = 16,
  /// Data width of the AXI4 port: 4, 8 or 16 bytes.
  parameter int unsigned AxiBytes = 8,
  parameter int unsigned BurstBeats = 16,
  parameter int unsigned Outstanding = 4,
  parameter int unsigned SoreLanes = 4,
  parameter int unsigned WuveLanes = 4,
  /// Instructions that each unit fetches ahead; FetchLatency + 2 of them keep the contract's pace.
  parameter int unsigned QueueDepth = 8,
  /// Cycles from the address of an instruction to the instruction.
  parameter int unsigned FetchLatency = 2,
  /// Cycles without any progress that end a run.
  parameter int unsigned WatchdogCycles = 65536,
  localparam int unsigned InstructionBits = cosparse_pkg::InstructionBits
) (
  input  logic                         clk_i,
  /// Reset, asynchronous, active low.
  input  logic                         rst_ni,
  /// A run has ended.
  output logic                         irq_o,

  /// Instruction ports, unit 0 (DMA) lowest: an address, and FetchLatency cycles later its word.
  output logic [3:0]                   fetch_valid_o,
  output logic [159:0]                 fetch_address_o,
  input  logic [4*InstructionBits-1:0] fetch_data_i,

  /// The host: AXI4-Lite.
  input  logic [11:0]                  axil_awaddr_i,
  input  logic                         axil_awvalid_i,
  output logic                         axil_awready_o,
  input  logic [31:0]                  axil_wdata_i,
  input  logic [3:0]                   axil_wstrb_i,
  input  logic                         axil_wvalid_i,
  output logic                         axil_wready_o,
  output logic [1:0]                   axil_bresp_o,
  output logic                         axil_bvalid_o,
  input  logic                         axil_bready_i,
  input  logic [11:0]                  axil_araddr_i,
  input  logic                         axil_arvalid_i,
  output logic                         axil_arready_o,
  output logic [31:0]                  axil_rdata_o,
  output logic [1:0]                   axil_rresp_o,
  output logic                         axil_rvalid_o,
  input  logic                         axil_rready_i,

  /// DRAM: AXI4, INCR bursts of whole beats, one ID.
  output logic [39:0]                  axi_awaddr_o,
  output logic [7:0]                   axi_awlen_o,
  output logic [2:0]                   axi_awsize_o,
  output logic [1:0]                   axi_awburst_o,
  output logic                         axi_awvalid_o,
  input  logic                         axi_awready_i,
  output logic [AxiBytes*8-1:0]        axi_wdata_o,
  output logic [AxiBytes-1:0]          axi_wstrb_o,
  output logic                         axi_wlast_o,
  output logic                         axi_wvalid_o,
  input  logic                         axi_wready_i,
  input  logic [1:0]                   axi_bresp_i,
  input  logic                         axi_bvalid_i,
  output logic                         axi_bready_o,
  output logic [39:0]                  axi_araddr_o,
  output logic [7:0]                   axi_arlen_o,
  output logic [2:0]                   axi_arsize_o,
  output logic [1:0]                   axi_arburst_o,
  output logic                         axi_arvalid_o,
  input  logic                         axi_arready_i,
  input  logic [AxiBytes*8-1:0]        axi_rdata_i,
  input  logic [1:0]                   axi_rresp_i,
  input  logic                         axi_rlast_i,
  input  logic                         axi_rvalid_i,
  output logic                         axi_rready_o
);

  localparam int unsigned Semaphores = cosparse_pkg::Semaphores;
  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned ActLanes = ActValuesPerRowCycle * Rows;
  /// Words of a half.
  localparam int unsigned ActHalf = ActivationKib * 512 / (2 * ActLanes);
  localparam int unsigned WgtHalf = WeightKib * 512 / (2 * Cols + Cols / 2);
  localparam int unsigned AccHalf = AccumulatorKib * 512 / (4 * Cols);
  /// Words that the DMA reads or writes at once.
  localparam int unsigned ActWide = AxiBytes > 2 * ActLanes ? AxiBytes / (2 * ActLanes) : 1;
  localparam int unsigned WgtWide = AxiBytes > 2 * Cols ? AxiBytes / (2 * Cols) : 1;
  localparam int unsigned IdxWide = AxiBytes > Cols / 2 ? AxiBytes / (Cols / 2) : 1;
  localparam int unsigned AccWide = WgtWide;
  localparam int unsigned InFlight = Outstanding + 4;

  if (2 * ActHalf > 1 << AddressBits || 2 * WgtHalf > 1 << AddressBits ||
      2 * AccHalf > 1 << AddressBits) begin : g_words
    $fatal(1, "scratchpads: expected at most 2^20 words in both halves");
  end

  // Run control and the host's registers.

  logic                   request, start, stop, ended, running, run_done, run_failed, nonfinite;
  logic [159:0]           stream;
  logic [39:0]            window_first, window_last, error_address;
  logic [3:0]             error_code;
  logic [1:0]             error_unit;
  logic [47:0]            cycles;
  logic [4*7*48-1:0]      counters;
  logic [3:0]             issue, halted, occupied, configs, waits_token, waits_data, illegal;
  logic [159:0]           illegal_address;
  logic [Semaphores-1:0]  tokens;
  logic [4*Semaphores-1:0] take, signal;
  logic                   overflow, progress, quiet;
  logic [23:0]            activity;

  logic [InstructionBits-1:0] dma_instr, stce_instr, sore_instr, wuve_instr;
  cosparse_pkg::dma_bank_t    dma_bank;
  cosparse_pkg::stce_bank_t   stce_bank;
  cosparse_pkg::sore_bank_t   sore_bank;
  cosparse_pkg::wuve_bank_t   wuve_bank;
  logic dma_done, dma_complete, dma_quiet, dma_busy, dma_data, dma_bandwidth, dma_nonfinite;
  logic dma_error;
  logic [3:0] dma_error_code;
  logic [39:0] dma_error_address;
  logic stce_done, stce_busy, stce_data, stce_adder, stce_drain;
  logic sore_done, wuve_done, wuve_nonfinite;

  axi_lite_regs u_regs (
    .clk_i,
    .rst_ni,
    .axil_awaddr_i,
    .axil_awvalid_i,
    .axil_awready_o,
    .axil_wdata_i,
    .axil_wstrb_i,
    .axil_wvalid_i,
    .axil_wready_o,
    .axil_bresp_o,
    .axil_bvalid_o,
    .axil_bready_i,
    .axil_araddr_i,
    .axil_arvalid_i,
    .axil_arready_o,
    .axil_rdata_o,
    .axil_rresp_o,
    .axil_rvalid_o,
    .axil_rready_i,
    .start_o        (request),
    .stream_o       (stream),
    .window_first_o (window_first),
    .window_last_o  (window_last),
    .irq_o,
    .ended_i        (ended),
    .running_i      (running),
    .done_i         (run_done),
    .failed_i       (run_failed),
    .nonfinite_i    (nonfinite),
    .error_code_i   (error_code),
    .error_unit_i   (error_unit),
    .error_address_i(error_address),
    .cycles_i       (cycles),
    .counters_i     (counters)
  );

  run_control #(
    .WatchdogCycles(WatchdogCycles)
  ) u_control (
    .clk_i,
    .rst_ni,
    .request_i          (request),
    .start_o            (start),
    .stop_o             (stop),
    .ended_o            (ended),
    .running_o          (running),
    .done_o             (run_done),
    .failed_o           (run_failed),
    .error_code_o       (error_code),
    .error_unit_o       (error_unit),
    .error_address_o    (error_address),
    .nonfinite_o        (nonfinite),
    .cycles_o           (cycles),
    .counters_o         (counters),
    .halted_i           (halted),
    .quiet_i            (quiet),
    .progress_i         (progress),
    .nonfinite_i        (dma_nonfinite || wuve_nonfinite),
    .illegal_i          (illegal),
    .illegal_address_i  (illegal_address),
    .dma_error_i        (dma_error),
    .dma_error_code_i   (dma_error_code),
    .dma_error_address_i(dma_error_address),
    .overflow_i         (overflow),
    .activity_i         (activity)
  );

  // What each unit does: {drain, adder, bandwidth, data, token, busy}.

  logic stce_works;

  // In the cycle of its issue the STCE has not begun: its start-up counts as data.
  assign stce_works = occupied[cosparse_pkg::UnitStce] && !issue[cosparse_pkg::UnitStce];
  assign activity = {
    4'b0000, waits_token[3], occupied[3] || configs[3],
    4'b0000, waits_token[2], occupied[2] || configs[2],
    stce_works && stce_drain, stce_works && stce_adder, 1'b0,
    (stce_works && stce_data) || issue[cosparse_pkg::UnitStce], waits_token[1],
    (stce_works && stce_busy) || configs[1],
    2'b00, dma_bandwidth, dma_data || waits_data[0], waits_token[0], dma_busy || configs[0]
  };
  assign quiet = dma_quiet && occupied[3:1] == '0;
  assign progress = occupied[3:1] != '0 || configs != '0 || dma_busy || dma_data ||
      (axi_rvalid_i && axi_rready_o) || (axi_wvalid_o && axi_wready_i) ||
      (axi_bvalid_i && axi_bready_o);

  // Instruction streams and semaphores.

  front_end #(
    .Unit          (cosparse_pkg::UnitDma),
    .Registers     (cosparse_pkg::DmaRegisters),
    .RegisterWidths(cosparse_pkg::DmaRegisterWidths),
    .BankBits      (cosparse_pkg::DmaBankBits),
    .QueueDepth    (QueueDepth),
    .FetchLatency  (FetchLatency),
    .InFlight      (InFlight)
  ) u_dma_front_end (
    .clk_i,
    .rst_ni,
    .start_i        (start),
    .stop_i         (stop),
    .stream_i       (stream[40*cosparse_pkg::UnitDma+:40]),
    .fetch_valid_o  (fetch_valid_o[cosparse_pkg::UnitDma]),
    .fetch_address_o(fetch_address_o[40*cosparse_pkg::UnitDma+:40]),
    .fetch_data_i   (fetch_data_i[InstructionBits*cosparse_pkg::UnitDma+:InstructionBits]),
    .tokens_i       (tokens),
    .take_o         (take[Semaphores*cosparse_pkg::UnitDma+:Semaphores]),
    .signal_o       (signal[Semaphores*cosparse_pkg::UnitDma+:Semaphores]),
    .issue_o        (issue[cosparse_pkg::UnitDma]),
    .instr_o        (dma_instr),
    .bank_o         (dma_bank),
    .done_i         (dma_done),
    .complete_i     (dma_complete),
    .halted_o       (halted[cosparse_pkg::UnitDma]),
    .occupied_o     (occupied[cosparse_pkg::UnitDma]),
    .config_o       (configs[cosparse_pkg::UnitDma]),
    .token_o        (waits_token[cosparse_pkg::UnitDma]),
    .data_o         (waits_data[cosparse_pkg::UnitDma]),
    .error_o        (illegal[cosparse_pkg::UnitDma]),
    .error_address_o(illegal_address[40*cosparse_pkg::UnitDma+:40])
  );

  front_end #(
    .Unit          (cosparse_pkg::UnitStce),
    .Registers     (cosparse_pkg::StceRegisters),
    .RegisterWidths(cosparse_pkg::StceRegisterWidths),
    .BankBits      (cosparse_pkg::StceBankBits),
    .QueueDepth    (QueueDepth),
    .FetchLatency  (FetchLatency),
    .InFlight      (1)
  ) u_stce_front_end (
    .clk_i,
    .rst_ni,
    .start_i        (start),
    .stop_i         (stop),
    .stream_i       (stream[40*cosparse_pkg::UnitStce+:40]),
    .fetch_valid_o  (fetch_valid_o[cosparse_pkg::UnitStce]),
    .fetch_address_o(fetch_address_o[40*cosparse_pkg::UnitStce+:40]),
    .fetch_data_i   (fetch_data_i[InstructionBits*cosparse_pkg::UnitStce+:InstructionBits]),
    .tokens_i       (tokens),
    .take_o         (take[Semaphores*cosparse_pkg::UnitStce+:Semaphores]),
    .signal_o       (signal[Semaphores*cosparse_pkg::UnitStce+:Semaphores]),
    .issue_o        (issue[cosparse_pkg::UnitStce]),
    .instr_o        (stce_instr),
    .bank_o         (stce_bank),
    .done_i         (stce_done),
    .complete_i     (stce_done),
    .halted_o       (halted[cosparse_pkg::UnitStce]),
    .occupied_o     (occupied[cosparse_pkg::UnitStce]),
    .config_o       (configs[cosparse_pkg::UnitStce]),
    .token_o        (waits_token[cosparse_pkg::UnitStce]),
    .data_o         (waits_data[cosparse_pkg::UnitStce]),
    .error_o        (illegal[cosparse_pkg::UnitStce]),
    .error_address_o(illegal_address[40*cosparse_pkg::UnitStce+:40])
  );

  front_end #(
    .Unit          (cosparse_pkg::UnitSore),
    .Registers     (cosparse_pkg::SoreRegisters),
    .RegisterWidths(cosparse_pkg::SoreRegisterWidths),
    .BankBits      (cosparse_pkg::SoreBankBits),
    .QueueDepth    (QueueDepth),
    .FetchLatency  (FetchLatency),
    .InFlight      (1)
  ) u_sore_front_end (
    .clk_i,
    .rst_ni,
    .start_i        (start),
    .stop_i         (stop),
    .stream_i       (stream[40*cosparse_pkg::UnitSore+:40]),
    .fetch_valid_o  (fetch_valid_o[cosparse_pkg::UnitSore]),
    .fetch_address_o(fetch_address_o[40*cosparse_pkg::UnitSore+:40]),
    .fetch_data_i   (fetch_data_i[InstructionBits*cosparse_pkg::UnitSore+:InstructionBits]),
    .tokens_i       (tokens),
    .take_o         (take[Semaphores*cosparse_pkg::UnitSore+:Semaphores]),
    .signal_o       (signal[Semaphores*cosparse_pkg::UnitSore+:Semaphores]),
    .issue_o        (issue[cosparse_pkg::UnitSore]),
    .instr_o        (sore_instr),
    .bank_o         (sore_bank),
    .done_i         (sore_done),
    .complete_i     (sore_done),
    .halted_o       (halted[cosparse_pkg::UnitSore]),
    .occupied_o     (occupied[cosparse_pkg::UnitSore]),
    .config_o       (configs[cosparse_pkg::UnitSore]),
    .token_o        (waits_token[cosparse_pkg::UnitSore]),
    .data_o         (waits_data[cosparse_pkg::UnitSore]),
    .error_o        (illegal[cosparse_pkg::UnitSore]),
    .error_address_o(illegal_address[40*cosparse_pkg::UnitSore+:40])
  );

  front_end #(
    .Unit          (cosparse_pkg::UnitWuve),
    .Registers     (cosparse_pkg::WuveRegisters),
    .RegisterWidths(cosparse_pkg::WuveRegisterWidths),
    .BankBits      (cosparse_pkg::WuveBankBits),
    .QueueDepth    (QueueDepth),
    .FetchLatency  (FetchLatency),
    .InFlight      (1)
  ) u_wuve_front_end (
    .clk_i,
    .rst_ni,
    .start_i        (start),
    .stop_i         (stop),
    .stream_i       (stream[40*cosparse_pkg::UnitWuve+:40]),
    .fetch_valid_o  (fetch_valid_o[cosparse_pkg::UnitWuve]),
    .fetch_address_o(fetch_address_o[40*cosparse_pkg::UnitWuve+:40]),
    .fetch_data_i   (fetch_data_i[InstructionBits*cosparse_pkg::UnitWuve+:InstructionBits]),
    .tokens_i       (tokens),
    .take_o         (take[Semaphores*cosparse_pkg::UnitWuve+:Semaphores]),
    .signal_o       (signal[Semaphores*cosparse_pkg::UnitWuve+:Semaphores]),
    .issue_o        (issue[cosparse_pkg::UnitWuve]),
    .instr_o        (wuve_instr),
    .bank_o         (wuve_bank),
    .done_i         (wuve_done),
    .complete_i     (wuve_done),
    .halted_o       (halted[cosparse_pkg::UnitWuve]),
    .occupied_o     (occupied[cosparse_pkg::UnitWuve]),
    .config_o       (configs[cosparse_pkg::UnitWuve]),
    .token_o        (waits_token[cosparse_pkg::UnitWuve]),
    .data_o         (waits_data[cosparse_pkg::UnitWuve]),
    .error_o        (illegal[cosparse_pkg::UnitWuve]),
    .error_address_o(illegal_address[40*cosparse_pkg::UnitWuve+:40])
  );

  semaphore_bank #(
    .Units(4)
  ) u_semaphores (
    .clk_i,
    .rst_ni,
    .clear_i   (start),
    .signal_i  (signal),
    .take_i    (take),
    .tokens_o  (tokens),
    .overflow_o(overflow)
  );

  // DMA.

  localparam int unsigned ActBits = ActLanes * 16;
  localparam int unsigned WgtBits = Cols * 16;
  localparam int unsigned IdxBits = Cols * cosparse_pkg::IndexBits;
  /// Lanes and bits of one access of the DMA.
  localparam int unsigned ActEnables = ActWide * ActLanes;
  localparam int unsigned WgtEnables = WgtWide * Cols;
  localparam int unsigned IdxEnables = IdxWide * Cols;
  localparam int unsigned ActAccess = ActWide * ActBits;
  localparam int unsigned WgtAccess = WgtWide * WgtBits;
  localparam int unsigned IdxAccess = IdxWide * IdxBits;
  localparam int unsigned AccAccess = AccWide * 32;

  logic dma_act_re, dma_wgt_re, dma_idx_re, dma_acc_re;
  logic [AddressBits-1:0] dma_act_raddr, dma_wgt_raddr, dma_idx_raddr, dma_acc_raddr;
  logic [AddressBits-1:0] dma_act_waddr, dma_wgt_waddr, dma_idx_waddr, dma_acc_waddr;
  logic [ActWide*ActLanes-1:0] dma_act_we;
  logic [WgtWide*Cols-1:0] dma_wgt_we;
  logic [IdxWide*Cols-1:0] dma_idx_we;
  logic [AccWide*Cols-1:0] dma_acc_we;
  logic [ActWide*ActBits-1:0] dma_act_rdata, dma_act_wdata;
  logic [WgtWide*WgtBits-1:0] dma_wgt_rdata, dma_wgt_wdata;
  logic [IdxWide*IdxBits-1:0] dma_idx_rdata, dma_idx_wdata;
  logic [AccWide*Cols*32-1:0] dma_acc_rdata, dma_acc_wdata;

  assign axi_awsize_o  = 3'($clog2(AxiBytes));
  assign axi_arsize_o  = 3'($clog2(AxiBytes));
  assign axi_awburst_o = 2'b01;
  assign axi_arburst_o = 2'b01;
  assign axi_wstrb_o   = '1;

  dma #(
    .Rows                (Rows),
    .Cols                (Cols),
    .ActValuesPerRowCycle(ActValuesPerRowCycle),
    .AxiBytes            (AxiBytes),
    .BurstBeats          (BurstBeats),
    .Outstanding         (Outstanding),
    .InFlight            (InFlight)
  ) u_dma (
    .clk_i,
    .rst_ni,
    .clear_i        (start),
    .stop_i         (stop),
    .window_first_i (window_first),
    .window_last_i  (window_last),
    .start_i        (issue[cosparse_pkg::UnitDma]),
    .instr_i        (dma_instr),
    .bank_i         (dma_bank),
    .done_o         (dma_done),
    .complete_o     (dma_complete),
    .quiet_o        (dma_quiet),
    .busy_o         (dma_busy),
    .data_o         (dma_data),
    .bandwidth_o    (dma_bandwidth),
    .nonfinite_o    (dma_nonfinite),
    .error_o        (dma_error),
    .error_code_o   (dma_error_code),
    .error_address_o(dma_error_address),
    .act_re_o       (dma_act_re),
    .act_raddr_o    (dma_act_raddr),
    .act_rdata_i    (dma_act_rdata),
    .act_we_o       (dma_act_we),
    .act_waddr_o    (dma_act_waddr),
    .act_wdata_o    (dma_act_wdata),
    .wgt_re_o       (dma_wgt_re),
    .wgt_raddr_o    (dma_wgt_raddr),
    .wgt_rdata_i    (dma_wgt_rdata),
    .wgt_we_o       (dma_wgt_we),
    .wgt_waddr_o    (dma_wgt_waddr),
    .wgt_wdata_o    (dma_wgt_wdata),
    .idx_re_o       (dma_idx_re),
    .idx_raddr_o    (dma_idx_raddr),
    .idx_rdata_i    (dma_idx_rdata),
    .idx_we_o       (dma_idx_we),
    .idx_waddr_o    (dma_idx_waddr),
    .idx_wdata_o    (dma_idx_wdata),
    .acc_re_o       (dma_acc_re),
    .acc_raddr_o    (dma_acc_raddr),
    .acc_rdata_i    (dma_acc_rdata),
    .acc_we_o       (dma_acc_we),
    .acc_waddr_o    (dma_acc_waddr),
    .acc_wdata_o    (dma_acc_wdata),
    .axi_araddr_o,
    .axi_arlen_o,
    .axi_arvalid_o,
    .axi_arready_i,
    .axi_rdata_i,
    .axi_rresp_i,
    .axi_rlast_i,
    .axi_rvalid_i,
    .axi_rready_o,
    .axi_awaddr_o,
    .axi_awlen_o,
    .axi_awvalid_o,
    .axi_awready_i,
    .axi_wdata_o,
    .axi_wlast_o,
    .axi_wvalid_o,
    .axi_wready_i,
    .axi_bresp_i,
    .axi_bvalid_i,
    .axi_bready_o
  );

  // Execution units.

  logic stce_act_re, stce_wgt_re, table_re;
  logic [AddressBits-1:0] stce_act_raddr, stce_wgt_raddr, table_raddr;
  logic [WgtBits-1:0] table_rdata;
  logic [ActBits-1:0] stce_act_rdata;
  logic [WgtBits-1:0] stce_wgt_rdata;
  logic [IdxBits-1:0] stce_idx_rdata;
  logic [Cols-1:0] stce_acc_re, stce_acc_we;
  logic [Cols*AddressBits-1:0] stce_acc_raddr, stce_acc_waddr;
  logic [Cols*32-1:0] stce_acc_rdata, stce_acc_wdata;

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
    .start_i    (issue[cosparse_pkg::UnitStce]),
    .instr_i    (stce_instr),
    .bank_i     (stce_bank),
    .done_o     (stce_done),
    .busy_o     (stce_busy),
    .data_o     (stce_data),
    .adder_o    (stce_adder),
    .drain_o    (stce_drain),
    .act_re_o   (stce_act_re),
    .act_raddr_o(stce_act_raddr),
    .act_rdata_i(stce_act_rdata),
    .wgt_re_o   (stce_wgt_re),
    .wgt_raddr_o(stce_wgt_raddr),
    .wgt_rdata_i(stce_wgt_rdata),
    .idx_rdata_i(stce_idx_rdata),
    .table_re_o (table_re),
    .table_raddr_o(table_raddr),
    .table_rdata_i(table_rdata),
    .acc_re_o   (stce_acc_re),
    .acc_raddr_o(stce_acc_raddr),
    .acc_rdata_i(stce_acc_rdata),
    .acc_we_o   (stce_acc_we),
    .acc_waddr_o(stce_acc_waddr),
    .acc_wdata_o(stce_acc_wdata)
  );

  logic sore_act_re;
  logic [AddressBits-1:0] sore_act_raddr, sore_wgt_waddr;
  logic [ActBits-1:0] sore_act_rdata;
  logic [Cols-1:0] sore_wgt_we;
  logic [WgtBits-1:0] sore_wgt_wdata;
  logic [IdxBits-1:0] sore_idx_wdata;

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
    .start_i    (issue[cosparse_pkg::UnitSore]),
    .instr_i    (sore_instr),
    .bank_i     (sore_bank),
    .done_o     (sore_done),
    .act_re_o   (sore_act_re),
    .act_raddr_o(sore_act_raddr),
    .act_rdata_i(sore_act_rdata),
    .wgt_we_o   (sore_wgt_we),
    .wgt_waddr_o(sore_wgt_waddr),
    .wgt_wdata_o(sore_wgt_wdata),
    .idx_wdata_o(sore_idx_wdata)
  );

  logic [Cols-1:0] wuve_acc_re, wuve_acc_we;
  logic [Cols*AddressBits-1:0] wuve_acc_raddr, wuve_acc_waddr;
  logic [Cols*32-1:0] wuve_acc_rdata, wuve_acc_wdata;
  logic [ActLanes-1:0] wuve_act_we;
  logic [AddressBits-1:0] wuve_act_waddr;
  logic [ActBits-1:0] wuve_act_wdata;

  wuve #(
    .Rows                (Rows),
    .Cols                (Cols),
    .AddLatency          (AddLatency),
    .ActValuesPerRowCycle(ActValuesPerRowCycle),
    .WuveLanes           (WuveLanes)
  ) u_wuve (
    .clk_i,
    .rst_ni,
    .start_i    (issue[cosparse_pkg::UnitWuve]),
    .instr_i    (wuve_instr),
    .bank_i     (wuve_bank),
    .done_o     (wuve_done),
    .nonfinite_o(wuve_nonfinite),
    .acc_re_o   (wuve_acc_re),
    .acc_raddr_o(wuve_acc_raddr),
    .acc_rdata_i(wuve_acc_rdata),
    .acc_we_o   (wuve_acc_we),
    .acc_waddr_o(wuve_acc_waddr),
    .acc_wdata_o(wuve_acc_wdata),
    .act_we_o   (wuve_act_we),
    .act_waddr_o(wuve_act_waddr),
    .act_wdata_o(wuve_act_wdata)
  );

  // Scratchpads and their owners.

  logic [ActBits-1:0] unused_act_side;
  logic [IdxBits-1:0] unused_idx_side;
  logic [Cols*32-1:0] unused_acc_side;

  logic [3*ActWide*ActBits-1:0] act_rdata;

  scratchpad_pair #(
    .HalfWords(ActHalf),
    .Lanes    (ActLanes),
    .LaneBits (16),
    .Wide     (ActWide),
    .Readers  (3),
    .Writers  (2)
  ) u_act (
    .clk_i,
    .rst_ni,
    .re_i   ({sore_act_re, stce_act_re, dma_act_re}),
    .raddr_i({sore_act_raddr, stce_act_raddr, dma_act_raddr}),
    .rdata_o(act_rdata),
    .side_re_i(1'b0),
    .side_raddr_i('0),
    .side_rdata_o(unused_act_side),
    .we_i   ({ActEnables'(wuve_act_we), dma_act_we}),
    .waddr_i({wuve_act_waddr, dma_act_waddr}),
    .wdata_i({ActAccess'(wuve_act_wdata), dma_act_wdata})
  );

  assign dma_act_rdata  = act_rdata[0+:ActWide*ActBits];
  assign stce_act_rdata = act_rdata[ActWide*ActBits+:ActBits];
  assign sore_act_rdata = act_rdata[2*ActWide*ActBits+:ActBits];

  logic [2*WgtWide*WgtBits-1:0] wgt_rdata;

  scratchpad_pair #(
    .HalfWords(WgtHalf),
    .Lanes    (Cols),
    .LaneBits (16),
    .Wide     (WgtWide),
    .Readers  (2),
    .Writers  (2)
  ) u_wgt (
    .clk_i,
    .rst_ni,
    .re_i   ({stce_wgt_re, dma_wgt_re}),
    .raddr_i({stce_wgt_raddr, dma_wgt_raddr}),
    .rdata_o(wgt_rdata),
    .side_re_i(table_re),
    .side_raddr_i(table_raddr),
    .side_rdata_o(table_rdata),
    .we_i   ({WgtEnables'(sore_wgt_we), dma_wgt_we}),
    .waddr_i({sore_wgt_waddr, dma_wgt_waddr}),
    .wdata_i({WgtAccess'(sore_wgt_wdata), dma_wgt_wdata})
  );

  assign dma_wgt_rdata  = wgt_rdata[0+:WgtWide*WgtBits];
  assign stce_wgt_rdata = wgt_rdata[WgtWide*WgtBits+:WgtBits];

  logic [2*IdxWide*IdxBits-1:0] idx_rdata;

  scratchpad_pair #(
    .HalfWords(WgtHalf),
    .Lanes    (Cols),
    .LaneBits (cosparse_pkg::IndexBits),
    .Wide     (IdxWide),
    .Readers  (2),
    .Writers  (2)
  ) u_idx (
    .clk_i,
    .rst_ni,
    .re_i   ({stce_wgt_re, dma_idx_re}),
    .raddr_i({stce_wgt_raddr, dma_idx_raddr}),
    .rdata_o(idx_rdata),
    .side_re_i(1'b0),
    .side_raddr_i('0),
    .side_rdata_o(unused_idx_side),
    .we_i   ({IdxEnables'(sore_wgt_we), dma_idx_we}),
    .waddr_i({sore_wgt_waddr, dma_idx_waddr}),
    .wdata_i({IdxAccess'(sore_idx_wdata), dma_idx_wdata})
  );

  assign dma_idx_rdata  = idx_rdata[0+:IdxWide*IdxBits];
  assign stce_idx_rdata = idx_rdata[IdxWide*IdxBits+:IdxBits];

  // The accumulator banks: one a column, each with addresses of its own.

  for (genvar c = 0; c < Cols; c++) begin : g_acc
    logic [3*AccWide*32-1:0] rdata;
    logic [AccWide-1:0]      dma_we;
    logic [AccWide*32-1:0]   dma_wdata;

    for (genvar word = 0; word < AccWide; word++) begin : g_word
      assign dma_we[word]                               = dma_acc_we[word*Cols+c];
      assign dma_wdata[32*word+:32]                     = dma_acc_wdata[32*(word*Cols+c)+:32];
      assign dma_acc_rdata[32*(word*Cols+c)+:32] = rdata[32*word+:32];
    end

    scratchpad_pair #(
      .HalfWords(AccHalf),
      .Lanes    (1),
      .LaneBits (32),
      .Wide     (AccWide),
      .Readers  (3),
      .Writers  (3)
    ) u_acc (
      .clk_i,
      .rst_ni,
      .re_i({wuve_acc_re[c], stce_acc_re[c], dma_acc_re}),
      .raddr_i({
        wuve_acc_raddr[AddressBits*c+:AddressBits],
        stce_acc_raddr[AddressBits*c+:AddressBits],
        dma_acc_raddr
      }),
      .rdata_o(rdata),
      .side_re_i(1'b0),
      .side_raddr_i('0),
      .side_rdata_o(unused_acc_side[32*c+:32]),
      .we_i({AccWide'(wuve_acc_we[c]), AccWide'(stce_acc_we[c]), dma_we}),
      .waddr_i({
        wuve_acc_waddr[AddressBits*c+:AddressBits],
        stce_acc_waddr[AddressBits*c+:AddressBits],
        dma_acc_waddr
      }),
      .wdata_i({
        AccAccess'(wuve_acc_wdata[32*c+:32]),
        AccAccess'(stce_acc_wdata[32*c+:32]),
        dma_wdata
      })
    );

    assign stce_acc_rdata[32*c+:32] = rdata[AccWide*32+:32];
    assign wuve_acc_rdata[32*c+:32] = rdata[2*AccWide*32+:32];
  end

  logic unused;
  assign unused = ^{waits_data[3:1], occupied[0], act_rdata, wgt_rdata, idx_rdata,
      unused_act_side, unused_idx_side, unused_acc_side};

endmodule : cosparse_top
