/// The host's registers, AXI4-Lite with 32-bit data (offsets: cosparse_pkg::Host*, hwsim/host.py).
///
/// A write with a strobe low answers SLVERR and does nothing. A write to a register that is read-only
/// or not there answers OKAY and does nothing; what is not there reads 0.
///
/// Timing: one access of each direction at a time. Address and data of a write are taken in any order;
/// its effect comes in the cycle after both, its response one cycle later. Read data follow their
/// address by a cycle. `start_o` is high for one cycle: cycle 0 of a run.
///
/// Not here: a second access before the response to the first; refusing a start while a run is on
/// (run_control).
module axi_lite_regs (
  input  logic         clk_i,
  input  logic         rst_ni,

  input  logic [11:0]  axil_awaddr_i,
  input  logic         axil_awvalid_i,
  output logic         axil_awready_o,
  input  logic [31:0]  axil_wdata_i,
  input  logic [3:0]   axil_wstrb_i,
  input  logic         axil_wvalid_i,
  output logic         axil_wready_o,
  output logic [1:0]   axil_bresp_o,
  output logic         axil_bvalid_o,
  input  logic         axil_bready_i,
  input  logic [11:0]  axil_araddr_i,
  input  logic         axil_arvalid_i,
  output logic         axil_arready_o,
  output logic [31:0]  axil_rdata_o,
  output logic [1:0]   axil_rresp_o,
  output logic         axil_rvalid_o,
  input  logic         axil_rready_i,

  /// The host asks for a run.
  output logic         start_o,
  /// Byte addresses of the four streams, unit 0 lowest.
  output logic [159:0] stream_o,
  output logic [39:0]  window_first_o,
  output logic [39:0]  window_last_o,
  /// A run has ended, and the interrupt is enabled.
  output logic         irq_o,

  /// A run ends: one cycle.
  input  logic         ended_i,
  input  logic         running_i,
  input  logic         done_i,
  input  logic         failed_i,
  input  logic         nonfinite_i,
  input  logic [3:0]   error_code_i,
  input  logic [1:0]   error_unit_i,
  input  logic [39:0]  error_address_i,
  input  logic [47:0]  cycles_i,
  /// Counters of 48 bits: seven a unit (cosparse_pkg::counter_e), unit 0 lowest.
  input  logic [4*7*48-1:0] counters_i
);

  localparam logic [1:0] Okay = 2'b00;
  localparam logic [1:0] SlaveError = 2'b10;

  // Write: address and data wait for each other.

  logic        address_q, data_q, whole_q, write;
  logic [11:0] awaddr_q;
  logic [31:0] wdata_q;

  assign axil_awready_o = !address_q;
  assign axil_wready_o  = !data_q;
  assign write          = address_q && data_q && !axil_bvalid_o;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      address_q     <= 1'b0;
      data_q        <= 1'b0;
      axil_bvalid_o <= 1'b0;
      axil_bresp_o  <= Okay;
    end else begin
      address_q     <= write ? 1'b0 : address_q || axil_awvalid_i;
      data_q        <= write ? 1'b0 : data_q || axil_wvalid_i;
      axil_bvalid_o <= write || (axil_bvalid_o && !axil_bready_i);
      if (write) axil_bresp_o <= whole_q ? Okay : SlaveError;
    end
  end

  always_ff @(posedge clk_i) begin
    if (axil_awvalid_i && axil_awready_o) awaddr_q <= axil_awaddr_i;
    if (axil_wvalid_i && axil_wready_o) begin
      wdata_q <= axil_wdata_i;
      whole_q <= axil_wstrb_i == '1;
    end
  end

  // Registers that the host writes.

  logic        accepted, pending_q, enable_q;
  logic [11:0] wreg;

  assign accepted = write && whole_q;
  assign wreg     = {awaddr_q[11:3], 3'b000};
  assign start_o  = accepted && awaddr_q[11:2] == cosparse_pkg::HostControl[11:2] && wdata_q[0];
  assign irq_o    = pending_q && enable_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      pending_q <= 1'b0;
      enable_q  <= 1'b0;
    end else begin
      if (accepted && awaddr_q[11:2] == cosparse_pkg::HostInterrupt[11:2]) begin
        pending_q <= (pending_q && !wdata_q[0]) || ended_i;
        enable_q  <= wdata_q[1];
      end else begin
        pending_q <= pending_q || ended_i;
      end
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      stream_o       <= '0;
      window_first_o <= '0;
      window_last_o  <= '1;
    end else if (accepted) begin
      for (int unit = 0; unit < 4; unit++) begin
        if (wreg == cosparse_pkg::HostStreamDma + 12'(8 * unit)) begin
          if (awaddr_q[2]) stream_o[40*unit+32+:8] <= wdata_q[7:0];
          else stream_o[40*unit+:32] <= wdata_q;
        end
      end
      if (wreg == cosparse_pkg::HostWindowFirst) begin
        if (awaddr_q[2]) window_first_o[39:32] <= wdata_q[7:0];
        else window_first_o[31:0] <= wdata_q;
      end
      if (wreg == cosparse_pkg::HostWindowLast) begin
        if (awaddr_q[2]) window_last_o[39:32] <= wdata_q[7:0];
        else window_last_o[31:0] <= wdata_q;
      end
    end
  end

  // Read.

  logic [11:0] rreg;
  logic [63:0] value;

  assign rreg           = {axil_araddr_i[11:3], 3'b000};
  assign axil_arready_o = !axil_rvalid_o;
  assign axil_rresp_o   = Okay;

  always_comb begin
    value = '0;
    unique case (rreg)
      cosparse_pkg::HostStatus:       value = 64'({nonfinite_i, failed_i, done_i, running_i});
      cosparse_pkg::HostInterrupt:    value = 64'({enable_q, pending_q});
      cosparse_pkg::HostError:        value = 64'({error_unit_i, error_code_i});
      cosparse_pkg::HostErrorAddress: value = 64'(error_address_i);
      cosparse_pkg::HostCycles:       value = 64'(cycles_i);
      cosparse_pkg::HostWindowFirst:  value = 64'(window_first_o);
      cosparse_pkg::HostWindowLast:   value = 64'(window_last_o);
      default: begin
        for (int unit = 0; unit < 4; unit++) begin
          if (rreg == cosparse_pkg::HostStreamDma + 12'(8 * unit)) begin
            value = 64'(stream_o[40*unit+:40]);
          end
          for (int counter = 0; counter < 7; counter++) begin
            if (rreg == cosparse_pkg::HostCounters +
                12'(unit) * cosparse_pkg::HostCountersStride + 12'(8 * counter)) begin
              value = 64'(counters_i[48*(7*unit+counter)+:48]);
            end
          end
        end
      end
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) axil_rvalid_o <= 1'b0;
    else axil_rvalid_o <= axil_rvalid_o ? !axil_rready_i : axil_arvalid_i;
  end

  always_ff @(posedge clk_i) begin
    if (axil_arvalid_i && axil_arready_o) begin
      axil_rdata_o <= axil_araddr_i[2] ? value[63:32] : value[31:0];
    end
  end

  logic unused;
  assign unused = ^{axil_araddr_i[1:0], awaddr_q[1:0]};

endmodule : axi_lite_regs
