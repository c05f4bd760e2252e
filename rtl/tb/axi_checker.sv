/// What the DMA's AXI4 port promises, as assertions: AXI4's rules for a manager, and its own.
///
/// Own rules: INCR bursts of whole beats inside one block of BurstBeats * AxiBytes, no strobe low, at
/// most Outstanding bursts in flight, write data never before their address is offered.
// verilator lint_off BLKSEQ
module axi_checker #(
  parameter int unsigned AxiBytes = 8,
  parameter int unsigned BurstBeats = 16,
  parameter int unsigned Outstanding = 4
) (
  input logic                  clk_i,
  input logic                  rst_ni,
  input logic [39:0]           awaddr_i,
  input logic [7:0]            awlen_i,
  input logic [2:0]            awsize_i,
  input logic [1:0]            awburst_i,
  input logic                  awvalid_i,
  input logic                  awready_i,
  input logic [AxiBytes*8-1:0] wdata_i,
  input logic [AxiBytes-1:0]   wstrb_i,
  input logic                  wlast_i,
  input logic                  wvalid_i,
  input logic                  wready_i,
  input logic                  bvalid_i,
  input logic                  bready_i,
  input logic [39:0]           araddr_i,
  input logic [7:0]            arlen_i,
  input logic [2:0]            arsize_i,
  input logic [1:0]            arburst_i,
  input logic                  arvalid_i,
  input logic                  arready_i,
  input logic                  rlast_i,
  input logic                  rvalid_i,
  input logic                  rready_i
);

  localparam int unsigned BurstBytes = BurstBeats * AxiBytes;

  // Beats of each granted write, and where the data are.
  logic [7:0]  lengths [$];
  logic [7:0]  length;
  int unsigned beat, in_flight, ended;

  /// Bytes of the burst reach at most to the end of its block, and of its 4 KB.
  function automatic logic fits(logic [39:0] address, logic [7:0] len);
    logic [39:0] last = address + (40'(len) + 1) * 40'(AxiBytes) - 1;
    return address / 40'(BurstBytes) == last / 40'(BurstBytes) && address >> 12 == last >> 12 &&
        address % 40'(AxiBytes) == 0;
  endfunction

  always @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      lengths.delete();
      beat      = 0;
      in_flight = 0;
      ended     = 0;
    end else begin
      if (arvalid_i && arready_i) in_flight++;
      if (awvalid_i && awready_i) in_flight++;
      assert (in_flight <= Outstanding) else $error("more than Outstanding bursts in flight");
      if (rvalid_i && rready_i && rlast_i) in_flight--;
      if (bvalid_i && bready_i) in_flight--;
      // A data beat belongs to the oldest granted burst, or to the one that is offered.
      if (wvalid_i) begin
        assert (lengths.size() > 0 || (awvalid_i && ended == 0))
          else $error("write data before their address");
        length = lengths.size() > 0 ? lengths[0] : awlen_i;
        assert (wlast_i == (beat == 32'(length))) else $error("WLAST at a wrong beat");
      end
      if (awvalid_i && awready_i) lengths.push_back(awlen_i);
      if (wvalid_i && wready_i) begin
        beat++;
        if (wlast_i) beat = 0;
      end
      if (wvalid_i && wready_i && wlast_i) ended++;
      while (ended > 0 && lengths.size() > 0) begin
        void'(lengths.pop_front());
        ended--;
      end
    end
  end



  default clocking @(posedge clk_i);
  endclocking
  default disable iff (!rst_ni);

  assert property (awvalid_i && !awready_i |=> awvalid_i && $stable({awaddr_i, awlen_i}));
  assert property (arvalid_i && !arready_i |=> arvalid_i && $stable({araddr_i, arlen_i}));
  assert property (wvalid_i && !wready_i |=> wvalid_i && $stable({wdata_i, wstrb_i, wlast_i}));
  assert property (awvalid_i |-> awburst_i == 2'b01 && awsize_i == 3'($clog2(AxiBytes)));
  assert property (arvalid_i |-> arburst_i == 2'b01 && arsize_i == 3'($clog2(AxiBytes)));
  assert property (awvalid_i |-> fits(awaddr_i, awlen_i));
  assert property (arvalid_i |-> fits(araddr_i, arlen_i));
  assert property (wvalid_i |-> wstrb_i == '1);
  assert property (!(awvalid_i && arvalid_i));

endmodule : axi_checker
