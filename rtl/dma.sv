/// DMA: LOAD, STORE and FILL between DRAM (AXI4) and the scratchpads.
///
/// Timing (docs/microarchitecture.md, "DMA and DRAM"). An address handshake is a burst's grant:
/// - the first burst of a transfer is offered in cycle issue + DmaStartCycles, every other one in the
///   cycle after the grant before it, but not while Outstanding bursts are in flight. A burst leaves
///   flight in the cycle after its last read beat or its write response;
/// - `done_o` is high in the cycle of the last grant; `complete_o`, one cycle before the completion:
///   in the second cycle after that beat or response. So with a memory that takes the last beat or
///   response in cycle done(i) - 1, all times are those of the contract;
/// - a read beat is written into the scratchpad one cycle after it was taken;
/// - a STORE reads ahead of the grant what fits into its queue of WriteDepth beats; its first beat is
///   offered with the first burst, and beats follow without gaps;
/// - FILL writes a word a cycle from issue + DmaStartCycles on; done and completion are its last word.
///
/// Bursts are requested in program order, reads and writes in one order, with one AXI ID. A LOAD takes
/// data only when every STORE before it has read the scratchpad. A beat always has AxiBytes useful
/// bytes: AxiBytes divides the DRAM alignment, and no strobe is ever low.
///
/// Not here: order of a LOAD against earlier stores to the same DRAM bytes, or of a STORE against
/// earlier loads, which the program keeps with semaphores.
module dma #(
  parameter int unsigned Rows = 4,
  parameter int unsigned Cols = 4,
  parameter int unsigned ActValuesPerRowCycle = 1,
  /// Bytes of a beat: 4, 8 or 16.
  parameter int unsigned AxiBytes = 8,
  parameter int unsigned BurstBeats = 16,
  /// Bursts in flight at most.
  parameter int unsigned Outstanding = 4,
  /// Transfers that may be issued and not complete.
  parameter int unsigned InFlight = Outstanding + 4,
  /// Words of one scratchpad access: a beat has more than one word where words are narrow.
  localparam int unsigned ActLanes = ActValuesPerRowCycle * Rows,
  localparam int unsigned ActWide = AxiBytes > 2 * ActLanes ? AxiBytes / (2 * ActLanes) : 1,
  localparam int unsigned WgtWide = AxiBytes > 2 * Cols ? AxiBytes / (2 * Cols) : 1,
  localparam int unsigned IdxWide = AxiBytes > Cols / 2 ? AxiBytes / (Cols / 2) : 1,
  localparam int unsigned AccWide = WgtWide,
  localparam int unsigned AddressBits = cosparse_pkg::AddressBits
) (
  input  logic                                     clk_i,
  input  logic                                     rst_ni,
  /// Start of a program: forget everything.
  input  logic                                     clear_i,
  /// Request no more bursts; those that are requested end as usual.
  input  logic                                     stop_i,
  /// DRAM that bursts may touch, ends included.
  input  logic [39:0]                              window_first_i,
  input  logic [39:0]                              window_last_i,
  input  logic                                     start_i,
  input  logic [cosparse_pkg::InstructionBits-1:0] instr_i,
  input  cosparse_pkg::dma_bank_t                  bank_i,
  output logic                                     done_o,
  output logic                                     complete_o,
  /// No burst is requested or in flight.
  output logic                                     quiet_o,
  /// What the unit does in a cycle in which it is occupied; one of them is high.
  output logic                                     busy_o,
  output logic                                     data_o,
  output logic                                     bandwidth_o,
  /// A rounded value of a STORE is an infinity or NaN.
  output logic                                     nonfinite_o,
  /// A transfer cannot go on: one cycle, with a cosparse_pkg::error_e and the burst's address.
  output logic                                     error_o,
  output logic [3:0]                               error_code_o,
  output logic [39:0]                              error_address_o,

  output logic                                     act_re_o,
  output logic [AddressBits-1:0]                   act_raddr_o,
  input  logic [ActWide*ActLanes*16-1:0]           act_rdata_i,
  output logic [ActWide*ActLanes-1:0]              act_we_o,
  output logic [AddressBits-1:0]                   act_waddr_o,
  output logic [ActWide*ActLanes*16-1:0]           act_wdata_o,
  output logic                                     wgt_re_o,
  output logic [AddressBits-1:0]                   wgt_raddr_o,
  input  logic [WgtWide*Cols*16-1:0]               wgt_rdata_i,
  output logic [WgtWide*Cols-1:0]                  wgt_we_o,
  output logic [AddressBits-1:0]                   wgt_waddr_o,
  output logic [WgtWide*Cols*16-1:0]               wgt_wdata_o,
  output logic                                     idx_re_o,
  output logic [AddressBits-1:0]                   idx_raddr_o,
  input  logic [IdxWide*Cols*4-1:0]                idx_rdata_i,
  output logic [IdxWide*Cols-1:0]                  idx_we_o,
  output logic [AddressBits-1:0]                   idx_waddr_o,
  output logic [IdxWide*Cols*4-1:0]                idx_wdata_o,
  output logic                                     acc_re_o,
  output logic [AddressBits-1:0]                   acc_raddr_o,
  input  logic [AccWide*Cols*32-1:0]               acc_rdata_i,
  output logic [AccWide*Cols-1:0]                  acc_we_o,
  output logic [AddressBits-1:0]                   acc_waddr_o,
  output logic [AccWide*Cols*32-1:0]               acc_wdata_o,

  output logic [39:0]                              axi_araddr_o,
  output logic [7:0]                               axi_arlen_o,
  output logic                                     axi_arvalid_o,
  input  logic                                     axi_arready_i,
  input  logic [AxiBytes*8-1:0]                    axi_rdata_i,
  input  logic [1:0]                               axi_rresp_i,
  input  logic                                     axi_rlast_i,
  input  logic                                     axi_rvalid_i,
  output logic                                     axi_rready_o,
  output logic [39:0]                              axi_awaddr_o,
  output logic [7:0]                               axi_awlen_o,
  output logic                                     axi_awvalid_o,
  input  logic                                     axi_awready_i,
  output logic [AxiBytes*8-1:0]                    axi_wdata_o,
  output logic                                     axi_wlast_o,
  output logic                                     axi_wvalid_o,
  input  logic                                     axi_wready_i,
  input  logic [1:0]                               axi_bresp_i,
  input  logic                                     axi_bvalid_i,
  output logic                                     axi_bready_o
);

  if (AxiBytes != 4 && AxiBytes != 8 && AxiBytes != 16) begin : g_axi_bytes
    $fatal(1, "AxiBytes: expected 4, 8 or 16, so that a beat lies in one row of a scratchpad");
  end
  if (BurstBeats * AxiBytes > 4096 || BurstBeats > 256) begin : g_burst_beats
    $fatal(1, "BurstBeats: expected at most 256 and 4096 bytes");
  end
  if (Outstanding < 1) begin : g_outstanding
    $fatal(1, "Outstanding: expected at least 1");
  end

  localparam int unsigned BeatBits = 8 * AxiBytes;
  localparam int unsigned SequenceBits = $clog2(InFlight) + 2;
  localparam int unsigned FlightBits = $clog2(Outstanding + 2);
  localparam int unsigned HoldBits = $clog2(cosparse_pkg::DmaStartCycles + 1);
  /// Bursts that are cut ahead of their grant: enough to cover the latency of a STORE's reads.
  localparam int unsigned BurstsAhead = 8;
  /// Beats that a STORE reads ahead.
  localparam int unsigned WriteDepth = 8;
  localparam int unsigned WriteBits = $clog2(WriteDepth + 1);
  /// DRAM bytes of a word: ACC16, ACC, IDX, WGT, ACT.
  localparam logic [79:0] WordBytes = {
    16'(2 * Cols), 16'(4 * Cols), 16'(Cols / 2), 16'(2 * Cols), 16'(2 * ActLanes)
  };

  // Queues that cannot overflow, by what is reserved before a push.
  logic [5:0] unused_ready;

  // The instruction.

  cosparse_pkg::load_instr_t instr;
  cosparse_pkg::fill_instr_t fill_instr;
  logic                      is_fill, is_store, sound, start_load, start_store, start_transfer;

  assign instr      = instr_i;
  assign fill_instr = instr_i;
  assign is_fill    = instr.opcode == cosparse_pkg::OpFill;
  assign is_store   = instr.opcode == cosparse_pkg::OpStore;
  // Sizes of at least 1, everything aligned: what the walks rely on.
  assign sound = bank_i.run_bytes != '0 && bank_i.count0 != '0 && bank_i.count1 != '0 &&
      bank_i.count2 != '0 && bank_i.row_bytes != '0 &&
      (bank_i.run_bytes[3:0] | bank_i.row_bytes[3:0] | bank_i.stride0[3:0] |
       bank_i.stride1[3:0] | bank_i.stride2[3:0]) == '0;
  assign start_transfer = start_i && !is_fill && sound;
  assign start_load     = start_transfer && !is_store;
  assign start_store    = start_transfer && is_store;

  /// A LOAD or STORE from its issue to its last grant.
  logic                active_q, write_q;
  logic [HoldBits-1:0] hold_q;

  // Bursts: cut ahead, then requested one after the other.

  logic        cut_valid, cut_ready, cut_inside, cut_last, cut_taken;
  logic [39:0] cut_address, cut_end;
  logic [7:0]  cut_length;

  dma_bursts #(
    .AxiBytes  (AxiBytes),
    .BurstBeats(BurstBeats)
  ) u_bursts (
    .clk_i,
    .rst_ni,
    .clear_i  (clear_i || stop_i),
    .load_i   (start_transfer),
    .dram_i   (instr.dram),
    .bank_i   (bank_i),
    .valid_o  (cut_valid),
    .ready_i  (cut_taken),
    .address_o(cut_address),
    .end_o    (cut_end),
    .length_o (cut_length),
    .last_o   (cut_last)
  );

  logic queue_ready, queue_valid, queue_pop, queue_last, queue_write;
  logic [39:0] queue_address;
  logic [7:0] queue_length;
  logic read_ahead_ready;

  // A burst that leaves the window, or turns around at the end of the addresses, is never queued.
  assign cut_inside = cut_address >= window_first_i && cut_end <= window_last_i &&
      cut_end >= cut_address;
  assign cut_ready  = queue_ready && (read_ahead_ready || !write_q);
  assign cut_taken  = cut_valid && cut_inside && cut_ready;

  fifo #(
    .Width(50),
    .Depth(BurstsAhead)
  ) u_queue (
    .clk_i,
    .rst_ni,
    .clear_i(clear_i || stop_i),
    .push_i (cut_taken),
    .data_i ({cut_address, cut_length, cut_last, write_q}),
    .ready_o(queue_ready),
    .pop_i  (queue_pop),
    .data_o ({queue_address, queue_length, queue_last, queue_write}),
    .valid_o(queue_valid)
  );

  logic                  request_valid_q, request_last_q, request_write_q;
  logic [39:0]           request_address_q;
  logic [7:0]            request_length_q;
  logic [FlightBits-1:0] flight_q;
  logic                  may_request, granted, read_granted, write_granted;
  logic                  read_done, write_done;

  assign may_request   = flight_q < FlightBits'(Outstanding);
  assign axi_arvalid_o = request_valid_q && !request_write_q && may_request;
  assign axi_awvalid_o = request_valid_q && request_write_q && may_request;
  assign axi_araddr_o  = request_address_q;
  assign axi_awaddr_o  = request_address_q;
  assign axi_arlen_o   = request_length_q;
  assign axi_awlen_o   = request_length_q;
  assign read_granted  = axi_arvalid_o && axi_arready_i;
  assign write_granted = axi_awvalid_o && axi_awready_i;
  assign granted       = read_granted || write_granted;
  assign queue_pop     = queue_valid && hold_q <= HoldBits'(1) && !stop_i &&
      (granted || !request_valid_q);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      request_valid_q <= 1'b0;
      flight_q        <= '0;
    end else if (clear_i) begin
      request_valid_q <= 1'b0;
      flight_q        <= '0;
    end else begin
      // A request that is not offered yet may be withdrawn.
      request_valid_q <= queue_pop || (request_valid_q && !granted && !(stop_i && !may_request));
      flight_q        <= flight_q + FlightBits'(granted) - FlightBits'(read_done) -
          FlightBits'(write_done);
    end
  end

  always_ff @(posedge clk_i) begin
    if (queue_pop) begin
      request_address_q <= queue_address;
      request_length_q  <= queue_length;
      request_last_q    <= queue_last;
      request_write_q   <= queue_write;
    end
  end

  // Bursts in flight: of each direction in the order of their grants.

  logic        read_valid, read_last, write_valid, write_last;
  logic [39:0] read_address, write_address;

  fifo #(
    .Width(41),
    .Depth(Outstanding)
  ) u_reads (
    .clk_i,
    .rst_ni,
    .clear_i,
    .push_i (read_granted),
    .data_i ({request_address_q, request_last_q}),
    .ready_o(unused_ready[0]),
    .pop_i  (read_done),
    .data_o ({read_address, read_last}),
    .valid_o(read_valid)
  );

  fifo #(
    .Width(41),
    .Depth(Outstanding)
  ) u_writes (
    .clk_i,
    .rst_ni,
    .clear_i,
    .push_i (write_granted),
    .data_i ({request_address_q, request_last_q}),
    .ready_o(unused_ready[1]),
    .pop_i  (write_done),
    .data_o ({write_address, write_last}),
    .valid_o(write_valid)
  );

  logic beat_taken;

  assign beat_taken   = axi_rvalid_i && axi_rready_o;
  assign read_done    = beat_taken && axi_rlast_i;
  assign axi_bready_o = write_valid;
  assign write_done   = axi_bvalid_i && axi_bready_o;

  // Transfers in flight complete in order.

  logic                    transfer_valid, transfer_write, transfer_ends;
  logic                    load_ended_q, store_ended_q;
  logic [SequenceBits-1:0] loads_ended_q, stores_ended_q;

  fifo #(
    .Width(1),
    .Depth(InFlight)
  ) u_transfers (
    .clk_i,
    .rst_ni,
    .clear_i,
    .push_i (start_transfer),
    .data_i (is_store),
    .ready_o(unused_ready[2]),
    .pop_i  (transfer_ends),
    .data_o (transfer_write),
    .valid_o(transfer_valid)
  );

  assign transfer_ends = transfer_valid &&
      (transfer_write ? stores_ended_q != '0 : loads_ended_q != '0);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      load_ended_q   <= 1'b0;
      store_ended_q  <= 1'b0;
      loads_ended_q  <= '0;
      stores_ended_q <= '0;
    end else if (clear_i) begin
      load_ended_q   <= 1'b0;
      store_ended_q  <= 1'b0;
      loads_ended_q  <= '0;
      stores_ended_q <= '0;
    end else begin
      load_ended_q   <= read_done && read_last;
      store_ended_q  <= write_done && write_last;
      loads_ended_q  <= loads_ended_q + SequenceBits'(load_ended_q) -
          SequenceBits'(transfer_ends && !transfer_write);
      stores_ended_q <= stores_ended_q + SequenceBits'(store_ended_q) -
          SequenceBits'(transfer_ends && transfer_write);
    end
  end

  // LOAD: every beat goes to its place.

  logic [SequenceBits-1:0] stores_started_q, stores_read_q, load_stores, stores_ahead;
  logic                    load_valid, load_next_valid, load_take, load_advance, load_ends;
  logic                    load_valid_q;
  logic [2:0]              load_next_space, load_space;
  logic [AddressBits-1:0]  load_next_word, load_next_row_words, load_word;
  logic [31:0]             load_next_row_bytes;
  logic [SequenceBits-1:0] load_next_stores;
  logic [10:0]             load_part, load_parts;
  logic                    load_row_end;

  fifo #(
    .Width(3 + 2 * AddressBits + 32 + SequenceBits),
    .Depth(InFlight)
  ) u_loads (
    .clk_i,
    .rst_ni,
    .clear_i,
    .push_i (start_load),
    .data_i ({instr.space, instr.local_word, bank_i.row_words, bank_i.row_bytes, stores_started_q}),
    .ready_o(unused_ready[3]),
    .pop_i  (load_take),
    .data_o ({
      load_next_space, load_next_word, load_next_row_words, load_next_row_bytes, load_next_stores
    }),
    .valid_o(load_next_valid)
  );

  assign load_take = load_next_valid && (!load_valid_q || load_ends);

  dma_walk #(
    .AxiBytes (AxiBytes),
    .WordBytes(WordBytes)
  ) u_load_walk (
    .clk_i,
    .load_i     (load_take),
    .space_i    (load_next_space),
    .word_i     (load_next_word),
    .row_words_i(load_next_row_words),
    .row_bytes_i(load_next_row_bytes),
    .advance_i  (load_advance),
    .space_o    (load_space),
    .word_o     (load_word),
    .part_o     (load_part),
    .parts_o    (load_parts),
    .row_end_o  (load_row_end)
  );

  // Stores that were issued before this load and have not read all of their words: none if negative.
  assign stores_ahead = stores_read_q - load_stores;
  assign load_valid   = load_valid_q && read_valid && !stores_ahead[SequenceBits-1];
  assign axi_rready_o = load_valid;
  assign load_advance = beat_taken;
  assign load_ends    = read_done && read_last;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      load_valid_q <= 1'b0;
      load_stores  <= '0;
    end else if (clear_i) begin
      load_valid_q <= 1'b0;
      load_stores  <= '0;
    end else begin
      load_valid_q <= load_take || (load_valid_q && !load_ends);
      if (load_take) load_stores <= load_next_stores;
    end
  end

  // The beat, and where it goes: one register stage before the scratchpad.

  logic                   beat_q, beat_row_end_q;
  logic [BeatBits-1:0]    beat_data_q;
  logic [2:0]             beat_space_q;
  logic [AddressBits-1:0] beat_word_q;
  logic [10:0]            beat_part_q, beat_parts_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) beat_q <= 1'b0;
    else beat_q <= beat_taken && !clear_i;
  end

  always_ff @(posedge clk_i) begin
    if (beat_taken) begin
      beat_data_q    <= axi_rdata_i;
      beat_space_q   <= load_space;
      beat_word_q    <= load_word;
      beat_part_q    <= load_part;
      beat_parts_q   <= load_parts;
      beat_row_end_q <= load_row_end;
    end
  end

  // FILL: one word a cycle.

  logic                   fill_q, fill_writes, fill_ends;
  logic [2:0]             fill_space_q;
  logic [AddressBits-1:0] fill_word_q, fill_left_q;
  logic [31:0]            fill_value_q;

  assign fill_writes = fill_q && hold_q == '0;
  assign fill_ends   = fill_writes && fill_left_q == AddressBits'(1);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) fill_q <= 1'b0;
    else fill_q <= !clear_i && ((start_i && is_fill) || (fill_q && !fill_ends));
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      fill_space_q <= fill_instr.space;
      fill_word_q  <= fill_instr.local_word;
      fill_left_q  <= fill_instr.words;
      fill_value_q <= fill_instr.value;
    end else if (fill_writes) begin
      fill_word_q <= fill_word_q + 1'b1;
      fill_left_q <= fill_left_q - 1'b1;
    end
  end

  // Scratchpad writes. Parts after the last beat of a row become +0.

  logic [AddressBits-1:0] write_word;
  logic                   beat_act, beat_wgt, beat_idx, beat_acc, beat_acc16;
  logic                   fill_act, fill_wgt, fill_acc;
  logic [16*AxiBytes-1:0] widened;

  assign write_word  = fill_writes ? fill_word_q : beat_word_q;
  assign act_waddr_o = write_word;
  assign wgt_waddr_o = write_word;
  assign idx_waddr_o = write_word;
  assign acc_waddr_o = write_word;
  assign beat_act    = beat_q && beat_space_q == cosparse_pkg::SpaceAct;
  assign beat_wgt    = beat_q && beat_space_q == cosparse_pkg::SpaceWgt;
  assign beat_idx    = beat_q && beat_space_q == cosparse_pkg::SpaceIdx;
  assign beat_acc    = beat_q && beat_space_q == cosparse_pkg::SpaceAcc;
  assign beat_acc16  = beat_q && beat_space_q == cosparse_pkg::SpaceAcc16;
  assign fill_act    = fill_writes && fill_space_q == cosparse_pkg::SpaceAct;
  assign fill_wgt    = fill_writes && fill_space_q == cosparse_pkg::SpaceWgt;
  assign fill_acc    = fill_writes && fill_space_q == cosparse_pkg::SpaceAcc;

  for (genvar lane = 0; lane < AxiBytes / 2; lane++) begin : g_widen
    fp16_to_fp32 u_widen (
      .a_i(beat_data_q[16*lane+:16]),
      .r_o(widened[32*lane+:32])
    );
  end

  /// Whether the beat writes lane `lane`, where a part has `lanes` lanes; and with its own data.
  function automatic logic writes_lane(int unsigned lane, int unsigned lanes);
    writes_lane = int'(beat_part_q) == lane / lanes ||
        (beat_row_end_q && int'(beat_part_q) < lane / lanes && lane / lanes < int'(beat_parts_q));
  endfunction

  function automatic logic has_lane(int unsigned lane, int unsigned lanes);
    has_lane = int'(beat_part_q) == lane / lanes;
  endfunction

  for (genvar lane = 0; lane < ActWide * ActLanes; lane++) begin : g_act
    localparam int unsigned Of = lane % (AxiBytes / 2);
    assign act_we_o[lane] = (beat_act && writes_lane(lane, AxiBytes / 2)) ||
        (fill_act && lane < ActLanes);
    assign act_wdata_o[16*lane+:16] = fill_writes ? fill_value_q[15:0] :
        has_lane(lane, AxiBytes / 2) ? beat_data_q[16*Of+:16] : '0;
  end

  for (genvar lane = 0; lane < WgtWide * Cols; lane++) begin : g_wgt
    localparam int unsigned Of = lane % (AxiBytes / 2);
    assign wgt_we_o[lane] = (beat_wgt && writes_lane(lane, AxiBytes / 2)) ||
        (fill_wgt && lane < Cols);
    assign wgt_wdata_o[16*lane+:16] = fill_writes ? fill_value_q[15:0] :
        has_lane(lane, AxiBytes / 2) ? beat_data_q[16*Of+:16] : '0;
  end

  for (genvar lane = 0; lane < IdxWide * Cols; lane++) begin : g_idx
    localparam int unsigned Of = lane % (AxiBytes * 2);
    assign idx_we_o[lane] = beat_idx && writes_lane(lane, AxiBytes * 2);
    assign idx_wdata_o[4*lane+:4] = has_lane(lane, AxiBytes * 2) ? beat_data_q[4*Of+:4] : '0;
  end

  for (genvar lane = 0; lane < AccWide * Cols; lane++) begin : g_acc
    localparam int unsigned Of = lane % (AxiBytes / 4);
    localparam int unsigned Of16 = lane % (AxiBytes / 2);
    assign acc_we_o[lane] = (beat_acc && writes_lane(lane, AxiBytes / 4)) ||
        (beat_acc16 && writes_lane(lane, AxiBytes / 2)) || (fill_acc && lane < Cols);

    always_comb begin
      acc_wdata_o[32*lane+:32] = '0;
      if (fill_writes) begin
        acc_wdata_o[32*lane+:32] = fill_value_q;
      end else if (beat_acc16) begin
        if (has_lane(lane, AxiBytes / 2)) acc_wdata_o[32*lane+:32] = widened[32*Of16+:32];
      end else if (has_lane(lane, AxiBytes / 4)) begin
        acc_wdata_o[32*lane+:32] = beat_data_q[32*Of+:32];
      end
    end
  end

  // STORE: beats are read ahead, as far as the write queue has room.

  logic                   store_valid_q, store_next_valid, store_take, store_reads, store_ends;
  logic [2:0]             store_next_space, store_space;
  logic [AddressBits-1:0] store_next_word, store_next_row_words, store_word;
  logic [31:0]            store_next_row_bytes;
  logic [10:0]            store_part, store_parts;
  logic                   store_row_end;
  logic                   ahead_valid, ahead_last, ahead_pop, burst_ends;
  logic [7:0]             ahead_length, beats_read_q;
  logic [WriteBits-1:0]   write_reserved_q;
  logic                   beat_sent;

  fifo #(
    .Width(3 + 2 * AddressBits + 32),
    .Depth(InFlight)
  ) u_stores (
    .clk_i,
    .rst_ni,
    .clear_i,
    .push_i (start_store),
    .data_i ({instr.space, instr.local_word, bank_i.row_words, bank_i.row_bytes}),
    .ready_o(unused_ready[4]),
    .pop_i  (store_take),
    .data_o ({store_next_space, store_next_word, store_next_row_words, store_next_row_bytes}),
    .valid_o(store_next_valid)
  );

  fifo #(
    .Width(9),
    .Depth(BurstsAhead)
  ) u_read_ahead (
    .clk_i,
    .rst_ni,
    .clear_i,
    .push_i (cut_taken && write_q),
    .data_i ({cut_length, cut_last}),
    .ready_o(read_ahead_ready),
    .pop_i  (ahead_pop),
    .data_o ({ahead_length, ahead_last}),
    .valid_o(ahead_valid)
  );

  assign store_take  = store_next_valid && (!store_valid_q || store_ends);
  assign store_reads = store_valid_q && ahead_valid && write_reserved_q != WriteBits'(WriteDepth);
  assign burst_ends  = beats_read_q == ahead_length;
  assign ahead_pop   = store_reads && burst_ends;
  assign store_ends  = ahead_pop && ahead_last;

  dma_walk #(
    .AxiBytes (AxiBytes),
    .WordBytes(WordBytes)
  ) u_store_walk (
    .clk_i,
    .load_i     (store_take),
    .space_i    (store_next_space),
    .word_i     (store_next_word),
    .row_words_i(store_next_row_words),
    .row_bytes_i(store_next_row_bytes),
    .advance_i  (store_reads),
    .space_o    (store_space),
    .word_o     (store_word),
    .part_o     (store_part),
    .parts_o    (store_parts),
    .row_end_o  (store_row_end)
  );

  assign act_raddr_o = store_word;
  assign wgt_raddr_o = store_word;
  assign idx_raddr_o = store_word;
  assign acc_raddr_o = store_word;
  assign act_re_o    = store_reads && store_space == cosparse_pkg::SpaceAct;
  assign wgt_re_o    = store_reads && store_space == cosparse_pkg::SpaceWgt;
  assign idx_re_o    = store_reads && store_space == cosparse_pkg::SpaceIdx;
  assign acc_re_o    = store_reads &&
      (store_space == cosparse_pkg::SpaceAcc || store_space == cosparse_pkg::SpaceAcc16);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      store_valid_q    <= 1'b0;
      beats_read_q     <= '0;
      write_reserved_q <= '0;
      stores_started_q <= '0;
      stores_read_q    <= '0;
    end else if (clear_i) begin
      store_valid_q    <= 1'b0;
      beats_read_q     <= '0;
      write_reserved_q <= '0;
      stores_started_q <= '0;
      stores_read_q    <= '0;
    end else begin
      store_valid_q    <= store_take || (store_valid_q && !store_ends);
      if (store_reads) beats_read_q <= burst_ends ? '0 : beats_read_q + 1'b1;
      write_reserved_q <= write_reserved_q + WriteBits'(store_reads) - WriteBits'(beat_sent);
      stores_started_q <= stores_started_q + SequenceBits'(start_store);
      stores_read_q    <= stores_read_q + SequenceBits'(store_ends);
    end
  end

  // The word is there one cycle later: its part becomes a beat.

  logic                   word_q, word_burst_end_q;
  logic [2:0]             word_space_q;
  logic [10:0]            word_part_q;
  logic [BeatBits-1:0]    act_beat, wgt_beat, idx_beat, acc_beat, acc16_beat, beat;
  logic [16*AxiBytes-1:0] acc16_part;
  logic [AxiBytes/2-1:0]  acc16_nonfinite;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) word_q <= 1'b0;
    else word_q <= store_reads && !clear_i;
  end

  always_ff @(posedge clk_i) begin
    word_space_q     <= store_space;
    word_part_q      <= store_part;
    word_burst_end_q <= burst_ends;
  end

  always_comb begin
    act_beat   = '0;
    wgt_beat   = '0;
    idx_beat   = '0;
    acc_beat   = '0;
    acc16_part = '0;
    for (int part = 0; part < 2 * ActWide * ActLanes / AxiBytes; part++) begin
      if (word_part_q == 11'(part)) act_beat |= act_rdata_i[BeatBits*part+:BeatBits];
    end
    for (int part = 0; part < 2 * WgtWide * Cols / AxiBytes; part++) begin
      if (word_part_q == 11'(part)) wgt_beat |= wgt_rdata_i[BeatBits*part+:BeatBits];
    end
    for (int part = 0; part < IdxWide * Cols / 2 / AxiBytes; part++) begin
      if (word_part_q == 11'(part)) idx_beat |= idx_rdata_i[BeatBits*part+:BeatBits];
    end
    for (int part = 0; part < 4 * AccWide * Cols / AxiBytes; part++) begin
      if (word_part_q == 11'(part)) acc_beat |= acc_rdata_i[BeatBits*part+:BeatBits];
    end
    for (int part = 0; part < 2 * AccWide * Cols / AxiBytes; part++) begin
      if (word_part_q == 11'(part)) acc16_part |= acc_rdata_i[2*BeatBits*part+:2*BeatBits];
    end
  end

  for (genvar lane = 0; lane < AxiBytes / 2; lane++) begin : g_round
    fp32_to_fp16 u_round (
      .a_i        (acc16_part[32*lane+:32]),
      .r_o        (acc16_beat[16*lane+:16]),
      .nonfinite_o(acc16_nonfinite[lane])
    );
  end

  assign nonfinite_o = word_q && word_space_q == cosparse_pkg::SpaceAcc16 &&
      acc16_nonfinite != '0;

  always_comb begin
    unique case (word_space_q)
      cosparse_pkg::SpaceAct: beat = act_beat;
      cosparse_pkg::SpaceWgt: beat = wgt_beat;
      cosparse_pkg::SpaceIdx: beat = idx_beat;
      cosparse_pkg::SpaceAcc: beat = acc_beat;
      default:                beat = acc16_beat;
    endcase
  end

  // Beats go out with their burst or after it, never before.

  logic                       out_valid, unsent_ends;
  logic signed [FlightBits:0] unsent_q;

  fifo #(
    .Width(BeatBits + 1),
    .Depth(WriteDepth)
  ) u_beats (
    .clk_i,
    .rst_ni,
    .clear_i,
    .push_i (word_q),
    .data_i ({beat, word_burst_end_q}),
    .ready_o(unused_ready[5]),
    .pop_i  (beat_sent),
    .data_o ({axi_wdata_o, axi_wlast_o}),
    .valid_o(out_valid)
  );

  assign axi_wvalid_o = out_valid && (unsent_q > 0 || (unsent_q == 0 && axi_awvalid_o));
  assign beat_sent    = axi_wvalid_o && axi_wready_i;
  assign unsent_ends  = beat_sent && axi_wlast_o;

  /// Bursts that are granted and whose beats are not all sent; -1 when it is the other way round.
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) unsent_q <= '0;
    else if (clear_i) unsent_q <= '0;
    else if (write_granted != unsent_ends) unsent_q <= write_granted ? unsent_q + 1 : unsent_q - 1;
  end

  // Errors: a bank that makes no sense, a burst outside the window, a response that is not OKAY.

  logic bus_error_q, descriptor_error_q;
  logic [39:0] error_address_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      bus_error_q        <= 1'b0;
      descriptor_error_q <= 1'b0;
      error_address_q    <= '0;
    end else begin
      bus_error_q        <= (beat_taken && axi_rresp_i != '0) || (write_done && axi_bresp_i != '0);
      descriptor_error_q <= start_i && !is_fill && !sound;
      if (start_i) error_address_q <= instr.dram;
      if (beat_taken && axi_rresp_i != '0) error_address_q <= read_address;
      if (write_done && axi_bresp_i != '0) error_address_q <= write_address;
    end
  end

  assign error_o = bus_error_q || descriptor_error_q || (cut_valid && !cut_inside);

  always_comb begin
    error_address_o = error_address_q;
    if (bus_error_q) begin
      error_code_o = cosparse_pkg::ErrorBus;
    end else if (descriptor_error_q) begin
      error_code_o = cosparse_pkg::ErrorDescriptor;
    end else begin
      error_code_o    = cosparse_pkg::ErrorAddress;
      error_address_o = cut_address;
    end
  end

  // Occupation.

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      active_q <= 1'b0;
      write_q  <= 1'b0;
      hold_q   <= '0;
    end else if (clear_i || stop_i) begin
      active_q <= 1'b0;
      hold_q   <= '0;
    end else if (start_i) begin
      active_q <= start_transfer;
      write_q  <= is_store;
      hold_q   <= HoldBits'(cosparse_pkg::DmaStartCycles - 1);
    end else begin
      if (done_o) active_q <= 1'b0;
      if (hold_q != '0) hold_q <= hold_q - 1'b1;
    end
  end

  assign done_o      = (granted && request_last_q) || fill_ends;
  assign complete_o  = transfer_ends || fill_ends;
  assign busy_o      = granted || fill_q || (start_i && is_fill);
  assign data_o      = (start_i && !is_fill) || (active_q && hold_q != '0);
  assign bandwidth_o = active_q && hold_q == '0 && !granted;
  assign quiet_o     = !request_valid_q && flight_q == '0 && unsent_q == '0 && !fill_q && !beat_q;

  logic unused;
  assign unused = ^{unused_ready, store_parts, store_row_end};

endmodule : dma
