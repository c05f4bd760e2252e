/// Bench of the accelerator between a third party's AXI models (see tb/axi_ram_bench.py).
///
/// Shared memory 1 holds the instructions. AXI IDs are constant: the accelerator has one.
module tb_axi #(
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
  input  logic clk_i,
  input  logic rst_ni,
  output logic irq_o,
  input  logic [11:0] axil_awaddr,
  input  logic axil_awvalid,
  output logic axil_awready,
  input  logic [31:0] axil_wdata,
  input  logic [3:0] axil_wstrb,
  input  logic axil_wvalid,
  output logic axil_wready,
  output logic [1:0] axil_bresp,
  output logic axil_bvalid,
  input  logic axil_bready,
  input  logic [11:0] axil_araddr,
  input  logic axil_arvalid,
  output logic axil_arready,
  output logic [31:0] axil_rdata,
  output logic [1:0] axil_rresp,
  output logic axil_rvalid,
  input  logic axil_rready,
  output logic axi_awid,
  output logic [39:0] axi_awaddr,
  output logic [7:0] axi_awlen,
  output logic [2:0] axi_awsize,
  output logic [1:0] axi_awburst,
  output logic axi_awvalid,
  input  logic axi_awready,
  output logic [AxiBytes*8-1:0] axi_wdata,
  output logic [AxiBytes-1:0] axi_wstrb,
  output logic axi_wlast,
  output logic axi_wvalid,
  input  logic axi_wready,
  input  logic axi_bid,
  input  logic [1:0] axi_bresp,
  input  logic axi_bvalid,
  output logic axi_bready,
  output logic axi_arid,
  output logic [39:0] axi_araddr,
  output logic [7:0] axi_arlen,
  output logic [2:0] axi_arsize,
  output logic [1:0] axi_arburst,
  output logic axi_arvalid,
  input  logic axi_arready,
  input  logic axi_rid,
  input  logic [AxiBytes*8-1:0] axi_rdata,
  input  logic [1:0] axi_rresp,
  input  logic axi_rlast,
  input  logic axi_rvalid,
  output logic axi_rready
);

  logic [3:0] fetch_valid;
  logic [159:0] fetch_address;
  logic [511:0] fetch_data;

  assign axi_awid = 1'b0;
  assign axi_arid = 1'b0;

  // Instruction memory: a port a unit, FetchLatency registers behind each.
  for (genvar unit = 0; unit < 4; unit++) begin : g_fetch
    // verilator lint_off UNUSEDSIGNAL
    bit [1023:0] word;
    // verilator lint_on UNUSEDSIGNAL
    logic [FetchLatency*128-1:0] pipe_q;

    always @(posedge clk_i) begin
      if (fetch_valid[unit]) begin
        tb_mem_pkg::dpi_mem_read(1, int'(fetch_address[40*unit+:40] >> 4), 16, word);
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
    .rst_ni,
    .irq_o          (irq_o),
    .fetch_valid_o  (fetch_valid),
    .fetch_address_o(fetch_address),
    .fetch_data_i   (fetch_data),
    .axil_awaddr_i  (axil_awaddr),
    .axil_awvalid_i (axil_awvalid),
    .axil_awready_o (axil_awready),
    .axil_wdata_i   (axil_wdata),
    .axil_wstrb_i   (axil_wstrb),
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

  axi_checker #(
    .AxiBytes   (AxiBytes),
    .BurstBeats (BurstBeats),
    .Outstanding(Outstanding)
  ) u_checker (
    .clk_i,
    .rst_ni,
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
  assign unused = ^{axi_bid, axi_rid};

endmodule : tb_axi
