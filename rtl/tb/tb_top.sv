/// Bench of the complete accelerator: host, instruction memory and DRAM (see tb/accelerator.py).
///
/// Shared memories: 0 DRAM, 1 instructions, 2 the host's commands.
module tb_top #(
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
  parameter int unsigned AxiBytes = 8,
  parameter int unsigned BurstBeats = 16,
  parameter int unsigned Outstanding = 4,
  parameter int unsigned SoreLanes = 4,
  parameter int unsigned WuveLanes = 4,
  parameter int unsigned QueueDepth = 8,
  parameter int unsigned FetchLatency = 2,
  parameter int unsigned WatchdogCycles = 65536
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        go_i,
  output logic        done_o,
  output logic        broken_o,
  input  logic [31:0] latency_cycles_i,
  input  logic [31:0] bytes_per_cycle_i,
  input  logic [7:0]  stall_i,
  input  logic [31:0] seed_i,
  input  logic [39:0] fault_i,
  input  logic [39:0] address_mask_i
);

  // Registers may start at anything: until a reset has been clocked, there is one.
  logic was_reset, rst_n;

  initial was_reset = 1'b0;
  always @(posedge clk_i) if (!rst_ni) was_reset <= 1'b1;
  assign rst_n = rst_ni && was_reset;

  logic irq;
  logic [3:0] fetch_valid;
  logic [159:0] fetch_address;
  logic [511:0] fetch_data;

  logic [11:0] axil_awaddr, axil_araddr;
  logic axil_awvalid, axil_awready, axil_wvalid, axil_wready, axil_bvalid, axil_bready;
  logic axil_arvalid, axil_arready, axil_rvalid, axil_rready;
  logic [31:0] axil_wdata, axil_rdata;
  logic [1:0] axil_bresp, axil_rresp;

  logic [39:0] axi_awaddr, axi_araddr;
  logic [7:0] axi_awlen, axi_arlen;
  logic [2:0] axi_awsize, axi_arsize;
  logic [1:0] axi_awburst, axi_arburst, axi_bresp, axi_rresp;
  logic axi_awvalid, axi_awready, axi_arvalid, axi_arready, axi_wvalid, axi_wready, axi_wlast;
  logic axi_bvalid, axi_bready, axi_rvalid, axi_rready, axi_rlast;
  logic [AxiBytes*8-1:0] axi_wdata, axi_rdata;
  logic [AxiBytes-1:0] axi_wstrb;

  tb_host #(
    .Number(2)
  ) u_host (
    .clk_i,
    .rst_ni(rst_n),
    .go_i,
    .done_o,
    .irq_i    (irq),
    .awaddr_o (axil_awaddr),
    .awvalid_o(axil_awvalid),
    .awready_i(axil_awready),
    .wdata_o  (axil_wdata),
    .wvalid_o (axil_wvalid),
    .wready_i (axil_wready),
    .bvalid_i (axil_bvalid),
    .bready_o (axil_bready),
    .araddr_o (axil_araddr),
    .arvalid_o(axil_arvalid),
    .arready_i(axil_arready),
    .rdata_i  (axil_rdata),
    .rvalid_i (axil_rvalid),
    .rready_o (axil_rready)
  );

  // Instruction memory, the same 4 MiB all over: a port a unit, FetchLatency registers behind each.
  for (genvar unit = 0; unit < 4; unit++) begin : g_fetch
    // verilator lint_off UNUSEDSIGNAL
    bit [1023:0] word;
    // verilator lint_on UNUSEDSIGNAL
    logic [FetchLatency*128-1:0] pipe_q;

    always @(posedge clk_i) begin
      if (rst_n && fetch_valid[unit]) begin
        tb_mem_pkg::dpi_mem_read(1, int'(fetch_address[40*unit+4+:18]), 16, word);
      end
      pipe_q <= (FetchLatency * 128)'({pipe_q, word[127:0]});
    end

    assign fetch_data[128*unit+:128] = pipe_q[(FetchLatency-1)*128+:128];
  end

  cosparse_top #(
    .Rows                (Rows),
    .Cols                (Cols),
    .GroupMax            (GroupMax),
    .NMax                (NMax),
    .MulLatency          (MulLatency),
    .AddLatency          (AddLatency),
    .Interleave          (Interleave),
    .ActValuesPerRowCycle(ActValuesPerRowCycle),
    .ActivationKib       (ActivationKib),
    .WeightKib           (WeightKib),
    .AccumulatorKib      (AccumulatorKib),
    .AxiBytes            (AxiBytes),
    .BurstBeats          (BurstBeats),
    .Outstanding         (Outstanding),
    .SoreLanes           (SoreLanes),
    .WuveLanes           (WuveLanes),
    .QueueDepth          (QueueDepth),
    .FetchLatency        (FetchLatency),
    .WatchdogCycles      (WatchdogCycles)
  ) u_dut (
    .clk_i,
    .rst_ni(rst_n),
    .irq_o          (irq),
    .fetch_valid_o  (fetch_valid),
    .fetch_address_o(fetch_address),
    .fetch_data_i   (fetch_data),
    .axil_awaddr_i  (axil_awaddr),
    .axil_awvalid_i (axil_awvalid),
    .axil_awready_o (axil_awready),
    .axil_wdata_i   (axil_wdata),
    .axil_wstrb_i   (4'hf),
    .axil_wvalid_i  (axil_wvalid),
    .axil_wready_o  (axil_wready),
    .axil_bresp_o   (axil_bresp),
    .axil_bvalid_o  (axil_bvalid),
    .axil_bready_i  (axil_bready),
    .axil_araddr_i  (axil_araddr),
    .axil_arvalid_i (axil_arvalid),
    .axil_arready_o (axil_arready),
    .axil_rdata_o   (axil_rdata),
    .axil_rresp_o   (axil_rresp),
    .axil_rvalid_o  (axil_rvalid),
    .axil_rready_i  (axil_rready),
    .axi_awaddr_o   (axi_awaddr),
    .axi_awlen_o    (axi_awlen),
    .axi_awsize_o   (axi_awsize),
    .axi_awburst_o  (axi_awburst),
    .axi_awvalid_o  (axi_awvalid),
    .axi_awready_i  (axi_awready),
    .axi_wdata_o    (axi_wdata),
    .axi_wstrb_o    (axi_wstrb),
    .axi_wlast_o    (axi_wlast),
    .axi_wvalid_o   (axi_wvalid),
    .axi_wready_i   (axi_wready),
    .axi_bresp_i    (axi_bresp),
    .axi_bvalid_i   (axi_bvalid),
    .axi_bready_o   (axi_bready),
    .axi_araddr_o   (axi_araddr),
    .axi_arlen_o    (axi_arlen),
    .axi_arsize_o   (axi_arsize),
    .axi_arburst_o  (axi_arburst),
    .axi_arvalid_o  (axi_arvalid),
    .axi_arready_i  (axi_arready),
    .axi_rdata_i    (axi_rdata),
    .axi_rresp_i    (axi_rresp),
    .axi_rlast_i    (axi_rlast),
    .axi_rvalid_i   (axi_rvalid),
    .axi_rready_o   (axi_rready)
  );

  axi_dram #(
    .Number  (0),
    .AxiBytes(AxiBytes)
  ) u_dram (
    .clk_i,
    .rst_ni(rst_n),
    .latency_cycles_i,
    .bytes_per_cycle_i,
    .stall_i,
    .seed_i,
    .fault_i,
    .address_mask_i,
    .broken_o,
    .awaddr_i (axi_awaddr),
    .awlen_i  (axi_awlen),
    .awvalid_i(axi_awvalid),
    .awready_o(axi_awready),
    .wdata_i  (axi_wdata),
    .wlast_i  (axi_wlast),
    .wvalid_i (axi_wvalid),
    .wready_o (axi_wready),
    .bresp_o  (axi_bresp),
    .bvalid_o (axi_bvalid),
    .bready_i (axi_bready),
    .araddr_i (axi_araddr),
    .arlen_i  (axi_arlen),
    .arvalid_i(axi_arvalid),
    .arready_o(axi_arready),
    .rdata_o  (axi_rdata),
    .rresp_o  (axi_rresp),
    .rlast_o  (axi_rlast),
    .rvalid_o (axi_rvalid),
    .rready_i (axi_rready)
  );

  axi_checker #(
    .AxiBytes   (AxiBytes),
    .BurstBeats (BurstBeats),
    .Outstanding(Outstanding)
  ) u_checker (
    .clk_i,
    .rst_ni(rst_n),
    .awaddr_i (axi_awaddr),
    .awlen_i  (axi_awlen),
    .awsize_i (axi_awsize),
    .awburst_i(axi_awburst),
    .awvalid_i(axi_awvalid),
    .awready_i(axi_awready),
    .wdata_i  (axi_wdata),
    .wstrb_i  (axi_wstrb),
    .wlast_i  (axi_wlast),
    .wvalid_i (axi_wvalid),
    .wready_i (axi_wready),
    .bvalid_i (axi_bvalid),
    .bready_i (axi_bready),
    .araddr_i (axi_araddr),
    .arlen_i  (axi_arlen),
    .arsize_i (axi_arsize),
    .arburst_i(axi_arburst),
    .arvalid_i(axi_arvalid),
    .arready_i(axi_arready),
    .rlast_i  (axi_rlast),
    .rvalid_i (axi_rvalid),
    .rready_i (axi_rready)
  );

  logic unused;
  assign unused = ^{axil_bresp, axil_rresp, fetch_address};

endmodule : tb_top
