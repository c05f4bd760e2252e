/// DRAM behind AXI4, with the times of docs/microarchitecture.md, "Bursts". The bytes are shared
/// memory `Number` (tb_mem_pkg).
///
/// An address handshake is a grant. It comes when the channel is free; a burst holds the channel for
/// c = ceil(beats * AxiBytes / bytes_per_cycle_i) cycles from its grant, and is done
/// latency_cycles_i + c cycles after it: the last read beat or the write response is offered in cycle
/// done - 1, read beats before it evenly spaced. Write data are always taken, in the order of their
/// addresses, and must have come by done - 2.
///
/// With stall_i > 0 it is any AXI memory instead: every handshake waits a random time, with
/// probability 1 - stall_i / 256 of going on in a cycle; then only the bits mean something.
///
/// Behavioural: blocking assignments to its own state, in one process.
///
/// It does not limit the bursts in flight: the DMA does. Bursts are INCR, of whole beats.
// verilator lint_off BLKSEQ
// verilator lint_off UNUSEDSIGNAL
module axi_dram #(
  /// Number of the shared memory.
  parameter int unsigned Number = 0,
  parameter int unsigned AxiBytes = 8
) (
  input  logic                  clk_i,
  input  logic                  rst_ni,
  input  int unsigned           latency_cycles_i,
  input  int unsigned           bytes_per_cycle_i,
  /// 0: the DRAM model.
  input  logic [7:0]            stall_i,
  input  logic [31:0]           seed_i,
  /// A burst with this byte answers SLVERR, or DECERR where bit 6 of its address is 1.
  input  logic [39:0]           fault_i,
  /// Address bits that the memory decodes.
  input  logic [39:0]           address_mask_i,
  /// A write response was late, or the data do not match their burst.
  output logic                  broken_o,

  input  logic [39:0]           awaddr_i,
  input  logic [7:0]            awlen_i,
  input  logic                  awvalid_i,
  output logic                  awready_o,
  input  logic [AxiBytes*8-1:0] wdata_i,
  input  logic                  wlast_i,
  input  logic                  wvalid_i,
  output logic                  wready_o,
  output logic [1:0]            bresp_o,
  output logic                  bvalid_o,
  input  logic                  bready_i,
  input  logic [39:0]           araddr_i,
  input  logic [7:0]            arlen_i,
  input  logic                  arvalid_i,
  output logic                  arready_o,
  output logic [AxiBytes*8-1:0] rdata_o,
  output logic [1:0]            rresp_o,
  output logic                  rlast_o,
  output logic                  rvalid_o,
  input  logic                  rready_i
);

  typedef struct {
    longint unsigned address;
    int unsigned     beats;
    int unsigned     moved;
    int unsigned     channel_cycles;
    longint unsigned first;  // grant + latency
  } burst_t;

  burst_t                reads[$];
  burst_t                writes[$];
  logic [AxiBytes*8-1:0] data[$];
  logic                  lasts[$];
  longint unsigned       now, free_at;
  int unsigned           state, seed_q;
  bit [1023:0]           word;

  /// Whether an event that waits at random happens in the coming cycle.
  function automatic logic goes_on();
    if (stall_i == 0) return 1'b1;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state[15:8] >= stall_i;
  endfunction

  function automatic burst_t granted(logic [39:0] address, logic [7:0] length);
    burst_t burst;
    burst.address        = 64'(address & address_mask_i);
    burst.beats          = 32'(length) + 1;
    burst.moved          = 0;
    burst.channel_cycles = (burst.beats * AxiBytes + bytes_per_cycle_i - 1) / bytes_per_cycle_i;
    burst.first          = now + 64'(latency_cycles_i);
    free_at              = now + 64'(burst.channel_cycles);
    return burst;
  endfunction

  function automatic logic [1:0] response(burst_t burst);
    longint unsigned fault = 64'(fault_i);
    return fault >= burst.address && fault < burst.address + 64'(burst.beats * AxiBytes) ?
        {1'b1, fault_i[6]} : 2'b00;
  endfunction

  /// Cycle of the next read beat.
  function automatic longint unsigned due(burst_t burst);
    int unsigned spread = (burst.moved + 1) * burst.channel_cycles + burst.beats - 1;
    return burst.first - 1 + 64'(spread / burst.beats);
  endfunction

  task automatic take_addresses();
    if (arvalid_i && arready_o) reads.push_back(granted(araddr_i, arlen_i));
    if (awvalid_i && awready_o) writes.push_back(granted(awaddr_i, awlen_i));
  endtask

  task automatic take_data();
    if (wvalid_i && wready_o) begin
      data.push_back(wdata_i);
      lasts.push_back(wlast_i);
    end
    for (int w = 0; w < writes.size(); w++) begin
      while (writes[w].moved < writes[w].beats && data.size() > 0) begin
        tb_mem_pkg::dpi_mem_write(
            int'(Number), int'(writes[w].address / 64'(AxiBytes)) + int'(writes[w].moved),
            int'(AxiBytes), 4, 64'hf, 1024'(data.pop_front()));
        writes[w].moved++;
        if (lasts.pop_front() != (writes[w].moved == writes[w].beats)) broken_o <= 1'b1;
      end
    end
  endtask

  task automatic offer_read();
    if (rvalid_o && rready_i) begin
      rvalid_o <= 1'b0;
      reads[0].moved++;
      if (reads[0].moved == reads[0].beats) void'(reads.pop_front());
    end
    if ((!rvalid_o || rready_i) && reads.size() > 0) begin
      if ((stall_i != 0 || due(reads[0]) <= now + 1) && goes_on()) begin
        tb_mem_pkg::dpi_mem_read(
            int'(Number), int'(reads[0].address / 64'(AxiBytes)) + int'(reads[0].moved),
            int'(AxiBytes), word);
        rdata_o  <= word[AxiBytes*8-1:0];
        rresp_o  <= response(reads[0]);
        rlast_o  <= reads[0].moved + 1 == reads[0].beats;
        rvalid_o <= 1'b1;
      end
    end
  endtask

  task automatic offer_response();
    longint unsigned cycle;
    if (bvalid_o && bready_i) bvalid_o <= 1'b0;
    if ((!bvalid_o || bready_i) && writes.size() > 0) begin
      cycle = writes[0].first + 64'(writes[0].channel_cycles) - 1;
      if (writes[0].moved == writes[0].beats) begin
        if ((stall_i != 0 || cycle <= now + 1) && goes_on()) begin
          bresp_o  <= response(writes[0]);
          bvalid_o <= 1'b1;
          void'(writes.pop_front());
        end
      end else if (stall_i == 0 && cycle <= now + 1) begin
        broken_o <= 1'b1;
      end
    end
  endtask

  // In this order an address is granted in `now`, and what follows from it may come in now + 1.
  always @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      reads.delete();
      writes.delete();
      data.delete();
      lasts.delete();
      now       = 0;
      free_at   = 0;
      seed_q    = 0;
      state     = 1;
      arready_o <= 1'b0;
      awready_o <= 1'b0;
      wready_o  <= 1'b0;
      rvalid_o  <= 1'b0;
      bvalid_o  <= 1'b0;
      rlast_o   <= 1'b0;
      rresp_o   <= 2'b00;
      bresp_o   <= 2'b00;
      broken_o  <= 1'b0;
    end else begin
      if (seed_q != seed_i) begin
        seed_q = seed_i;
        state  = seed_i | 1;
      end
      take_addresses();
      take_data();
      offer_read();
      offer_response();
      now++;
      arready_o <= stall_i != 0 ? goes_on() : free_at <= now;
      awready_o <= stall_i != 0 ? goes_on() : free_at <= now;
      wready_o  <= goes_on();
    end
  end

endmodule : axi_dram
