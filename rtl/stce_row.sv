/// Edge of one row of the array: control decoded once, activations turned into the group memories.
///
/// In OS it repeats what the row above does, one cycle later. In WS it has a sequencer of its own: a
/// `start` begins a step of n entries, and the row below begins when the first slot's sum of the last
/// entry has arrived there. Activations wait in a FIFO in WS, since rows lag far behind the feeder.
///
/// Timing: everything from the north belongs to this cycle and is handed to the south a cycle later;
/// `west_o` has the timing of uspe.sv.
///
/// Not here: addresses of scratchpads, stalls (stce_sequencer, stce_feeder).
module stce_row #(
  /// Number of this row.
  parameter int unsigned Row = 0,
  /// Array rows R.
  parameter int unsigned Rows = 4,
  /// Largest M.
  parameter int unsigned GroupMax = 8,
  /// Largest N.
  parameter int unsigned NMax = 8,
  /// Latency of the multiplier (cycles).
  parameter int unsigned MulLatency = 2,
  /// Latency of the adder (cycles).
  parameter int unsigned AddLatency = 3,
  /// Accumulators of an element.
  parameter int unsigned Interleave = 4,
  /// Activations a row takes in a cycle.
  parameter int unsigned ActValuesPerRowCycle = 1,
  localparam int unsigned Lanes = ActValuesPerRowCycle,
  localparam int unsigned LaneBits = Lanes > 1 ? $clog2(Lanes) : 0,
  localparam int unsigned Chunk = GroupMax > Lanes * Rows ? GroupMax : Lanes * Rows,
  localparam int unsigned IrMax = Interleave > 1 ? 2 : 1,
  localparam int unsigned RecordBits = 1 + $clog2(IrMax * Chunk / Lanes),
  localparam int unsigned ReadBits = RecordBits + LaneBits,
  localparam int unsigned SlotBits = Interleave > 1 ? $clog2(Interleave) : 1,
  localparam int unsigned EntryBits = NMax > 1 ? $clog2(NMax) : 1,
  localparam int unsigned PairBits = 1 + EntryBits + SlotBits,
  localparam int unsigned RowBits = $clog2(Rows),
  localparam int unsigned StepBits = 5 + SlotBits + ReadBits,
  localparam int unsigned ItemBits = 5 + RowBits + SlotBits,
  localparam int unsigned PairWriteBits = 1 + RowBits + PairBits,
  localparam int unsigned WordBits = 2 + RowBits + RecordBits,
  localparam int unsigned TokenBits = Lanes + RecordBits,
  localparam int unsigned WordLaneBits = $clog2(Lanes * Rows),
  localparam int unsigned PlanBits = 4 + 3 * RowBits + 1 + WordLaneBits,
  localparam int unsigned WestBits = Lanes + RecordBits + 17 * Lanes + 1 + PairBits + 1 + PairBits
                                   + ReadBits + 3 + SlotBits + 2 + SlotBits + 4 + SlotBits
) (
  /// Clock.
  input  logic                     clk_i,
  /// Reset, active low.
  input  logic                     rst_ni,
  /// A MATMUL starts: queues are empty.
  input  logic                     clear_i,
  /// Of this MATMUL: dataflow, left operand, packed, n, Ir, slots and slot cycles of a whole column
  /// tile and of the last one, records of a group.
  input  logic                     ws_i,
  input  logic                     column_i,
  input  logic                     packed_i,
  input  logic [4:0]               n_i,
  input  logic                     two_i,
  input  logic [4:0]               slots_i,
  input  logic [4:0]               cycles_i,
  input  logic [4:0]               last_slots_i,
  input  logic [4:0]               last_cycles_i,
  input  logic [4:0]               records_i,
  /// Blocks of an ACT word that belong to a group, at most R, less one.
  input  logic [RowBits-1:0]       blocks_less1_i,
  /// OS: {valid, first entry, last entry, forward, odd tile, slot, read address}.
  input  logic [StepBits-1:0]      step_i,
  output logic [StepBits-1:0]      step_o,
  /// OS, on the bus: {valid, takes the result away, brings a first value, for all rows, of an odd
  /// tile, row, slot}.
  input  logic [ItemBits-1:0]      item_i,
  output logic [ItemBits-1:0]      item_o,
  /// WS, pair from the north: {valid, row, address}.
  input  logic [PairWriteBits-1:0] pair_i,
  output logic [PairWriteBits-1:0] pair_o,
  /// WS, a step begins in the next cycle: {start, first of a fold, last fold of its column tile,
  /// last column tile}.
  input  logic [3:0]               start_i,
  output logic [3:0]               start_o,
  /// WS: sums of `sums read` and `sums left` below belong to the last fold of a column tile.
  output logic                     reads_o,
  output logic                     reads_last_o,
  output logic                     leaves_o,
  output logic                     leaves_last_o,
  /// A word arrives, lhs = ROW: {valid, parity of the fold, row (WS: number of the word), record of its
  /// first block}.
  input  logic [WordBits-1:0]      word_i,
  /// One arrives, lhs = COLUMN: {lanes, record}.
  input  logic [TokenBits-1:0]     token_i,
  output logic [TokenBits-1:0]     token_o,
  /// Blocks of the words, each delayed so that this row can take it.
  input  logic [16*Lanes*Rows-1:0] lines_i,
  /// WS, from stce_planner: {valid, first, last word of the fold, parity of the fold, number of the word,
  /// first row, rows, lane of the first row}.
  input  logic [PlanBits-1:0]      plan_i,
  /// WS, the array begins with a fold in the next cycle: {valid, parity of the fold}.
  input  logic [1:0]               fold_i,
  /// log2 m.
  input  logic [2:0]               m_log2_i,
  /// To the first element.
  output logic [WestBits-1:0]      west_o
);

  // OS control goes down a row a cycle.

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      step_o  <= '0;
      item_o  <= '0;
      pair_o  <= '0;
      token_o <= '0;
    end else begin
      step_o  <= step_i;
      item_o  <= item_i;
      pair_o  <= pair_i;
      token_o <= token_i;
    end
  end

  // WS plans of two folds: in which word this row's group lies and at which lane. A row without a group
  // goes with the last word. The first fold is read while it is planned.

  logic                    plan_valid, plan_first, plan_last, plan_parity, plan_here, plan_idle;
  logic [RowBits-1:0]      plan_number, plan_row;
  logic [RowBits:0]        plan_count, plan_offset;
  logic [WordLaneBits-1:0] plan_lane, plan_own;
  logic [1:0]              known_q, used_q;
  logic [RowBits-1:0]      word_q [2];
  logic [WordLaneBits-1:0] lane_q [2];

  assign {plan_valid, plan_first, plan_last, plan_parity, plan_number, plan_row, plan_count,
          plan_lane} = plan_i;
  // Rows above the first one have an offset of at least Rows.
  assign plan_offset = (RowBits+1)'(Row) - {1'b0, plan_row};
  assign plan_here   = plan_offset < plan_count;
  assign plan_idle   = plan_last && !plan_offset[RowBits] && !plan_here;
  assign plan_own    = plan_lane + (WordLaneBits'(plan_offset) << m_log2_i);

  always_ff @(posedge clk_i) begin
    if (plan_valid && (plan_first || plan_here || plan_idle)) begin
      known_q[plan_parity] <= plan_here || plan_idle;
      used_q[plan_parity]  <= plan_here;
      word_q[plan_parity]  <= plan_number;
      lane_q[plan_parity]  <= plan_here ? plan_own : '0;
    end
  end

  // Lane of the group's first value in its block; zero unless m < a.
  logic [ReadBits-1:0] lane;

  if (LaneBits == 0) begin : gen_no_lane
    assign lane = '0;

    logic unused;
    assign unused = ^fold_i;
  end else begin : gen_lane
    logic [LaneBits-1:0] lane_fold_q, lane_own_q;

    always_ff @(posedge clk_i) begin
      if (fold_i[1]) lane_fold_q <= lane_q[fold_i[0]][LaneBits-1:0];
      if (start_i[3] && start_i[2]) lane_own_q <= lane_fold_q;
    end

    assign lane = ReadBits'(lane_own_q);
  end

  // WS sequencer: entries of slots; the slots of a column share a weight.

  logic       run_q, narrow_q, last_fold_q, buffer_q, half_q;
  logic [4:0] entry_q, cycle_q, slots, cycles;
  logic       entry_ends, step_ends, occupied, last_entry, odd, next_row;

  assign slots      = narrow_q ? last_slots_i : slots_i;
  assign cycles     = narrow_q ? last_cycles_i : cycles_i;
  assign occupied   = run_q && cycle_q < slots;
  assign last_entry = entry_q == n_i - 5'd1;
  assign entry_ends = cycle_q == cycles - 5'd1;
  assign step_ends  = entry_ends && last_entry;
  assign odd        = two_i && cycle_q[0];
  assign next_row   = run_q && last_entry && cycle_q == 5'd0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      run_q       <= 1'b0;
      narrow_q    <= 1'b0;
      last_fold_q <= 1'b0;
      buffer_q    <= 1'b0;
      half_q      <= 1'b0;
      entry_q     <= '0;
      cycle_q     <= '0;
    end else if (clear_i) begin
      run_q    <= 1'b0;
      buffer_q <= 1'b1;
      half_q   <= 1'b1;
    end else begin
      if (run_q) begin
        cycle_q <= entry_ends ? 5'd0 : cycle_q + 5'd1;
        if (entry_ends) entry_q <= entry_q + 5'd1;
        if (step_ends) run_q <= 1'b0;
      end
      if (start_i[3]) begin
        run_q       <= 1'b1;
        entry_q     <= '0;
        cycle_q     <= '0;
        half_q      <= !half_q;
        buffer_q    <= buffer_q ^ start_i[2];
        last_fold_q <= start_i[1];
        narrow_q    <= start_i[0];
      end
    end
  end

  logic [SlotBits-1:0] pair_slot;
  logic [ReadBits-1:0] own_read;

  assign pair_slot = SlotBits'(two_i ? cycle_q >> 1 : cycle_q);
  assign own_read  = (half_q ? ReadBits'(1) << (ReadBits - 1) : '0)
                   | (odd ? ReadBits'(Chunk) : '0)
                   | lane | (packed_i ? '0 : ReadBits'(entry_q));

  // The row below starts AddLatency + 1 cycles after the first slot's last entry.

  logic [4*AddLatency-1:0] start_q;
  logic                    new_fold_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      start_q    <= '0;
      new_fold_q <= 1'b0;
    end else begin
      start_q <= (4 * AddLatency)'({start_q, next_row, new_fold_q, last_fold_q, narrow_q});
      if (start_i[3]) new_fold_q <= start_i[2];
    end
  end

  assign start_o = start_q[4*AddLatency-1-:4];

  // Operands, and after the multiplier and the adder what becomes of them. A tag's fold bit is that of
  // its tile in OS.

  logic                valid, first, last, forward, odd_tile, stored;
  logic [SlotBits-1:0] slot;
  logic [ReadBits-1:0] read_addr;

  always_comb begin
    if (ws_i) begin
      valid     = occupied;
      first     = entry_q == 5'd0;
      last      = last_entry;
      forward   = cycles == 5'(AddLatency);
      odd_tile  = 1'b0;
      slot      = SlotBits'(cycle_q);
      read_addr = own_read;
    end else begin
      {valid, first, last, forward, odd_tile, slot, read_addr} = step_i;
    end
  end

  assign stored = ws_i;

  localparam int unsigned TagBits = 5 + SlotBits;
  localparam int unsigned Depth = MulLatency + AddLatency;

  logic [TagBits*(Depth+1)-1:0] tags;
  logic [TagBits*Depth-1:0]     tags_q;

  assign tags = {tags_q, valid, first, last, forward,
                 ws_i ? last_fold_q : odd_tile, slot};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) tags_q <= '0;
    else tags_q <= tags[TagBits*Depth-1:0];
  end

  logic                op_valid, op_first, op_last, op_forward, op_odd;
  logic                sum_valid, sum_first, sum_last, sum_forward, sum_odd;
  logic [SlotBits-1:0] op_slot, sum_slot;
  logic [1:0]          op_sel;
  logic                sum_we, shadow_we;

  assign {op_valid, op_first, op_last, op_forward, op_odd, op_slot} =
      tags[TagBits*MulLatency+:TagBits];
  assign {sum_valid, sum_first, sum_last, sum_forward, sum_odd, sum_slot} =
      tags[TagBits*Depth+:TagBits];

  assign op_sel    = op_first ? (ws_i ? 2'd3 : 2'd2) : {1'b0, op_forward};
  assign sum_we    = sum_valid && !sum_last;
  assign shadow_we = sum_valid && sum_last && !ws_i;

  // A partial sum must be read a cycle before it is added to.

  logic                reads_first, reads_valid;
  logic [SlotBits+2:0] unused_read;

  assign {reads_valid, reads_first, unused_read[SlotBits+2-:2], reads_last_o,
          unused_read[SlotBits:1]} = tags[TagBits*(MulLatency-1)+:TagBits];
  assign unused_read[0] = op_valid ^ op_last ^ sum_first ^ sum_forward;
  assign reads_o        = ws_i && reads_valid && reads_first;

  // The bus.

  logic                item_valid, item_drain, item_load, item_all, item_odd, item_here;
  logic [RowBits-1:0]  item_row;
  logic [SlotBits-1:0] item_slot;
  logic [1:0]          bus_sel;
  logic                first_we;

  assign {item_valid, item_drain, item_load, item_all, item_odd, item_row, item_slot} = item_i;
  assign item_here = item_valid && (item_all || item_row == RowBits'(Row));
  assign first_we  = item_here && item_load;

  always_comb begin
    bus_sel = 2'd0;
    if (ws_i) begin
      bus_sel = 2'd2;
    end else if (item_here && item_drain) begin
      // With an adder of one cycle a result may leave while it is written.
      bus_sel = AddLatency == 1 && shadow_we && sum_slot == item_slot ? 2'd2 : 2'd1;
    end
  end

  assign leaves_o      = ws_i ? sum_valid && sum_last : item_valid && item_drain;
  assign leaves_last_o = sum_odd;

  // Pairs.

  logic                pair_valid;
  logic [RowBits-1:0]  pair_row;
  logic [PairBits-1:0] pair_waddr, pair_raddr;

  assign {pair_valid, pair_row, pair_waddr} = pair_i;
  assign pair_raddr = {buffer_q, EntryBits'(entry_q), pair_slot};

  // Activations: a window of consecutive blocks begins when this row's word arrives.

  logic                  word_valid, word_parity, hit, feeding_q, feeding;
  logic [RowBits-1:0]    word_row, block, block_q, left, left_q;
  logic [RecordBits-1:0] word_record, record, record_q;
  logic [16*Lanes-1:0]   line;
  logic [Lanes-1:0]      token_lanes, direct_we;
  logic [RecordBits-1:0] token_record, direct_addr;

  assign {word_valid, word_parity, word_row, word_record} = word_i;
  assign {token_lanes, token_record} = token_i;

  assign feeding = hit || feeding_q;
  assign left    = hit ? blocks_less1_i : left_q;
  assign record  = hit ? word_record : record_q;

  always_comb begin
    if (ws_i) hit = word_valid && known_q[word_parity] && word_row == word_q[word_parity];
    else hit = word_valid && word_row == RowBits'(Row);
    block = block_q;
    if (hit) block = ws_i ? RowBits'(lane_q[word_parity] >> LaneBits) : '0;
  end


  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      feeding_q <= 1'b0;
    end else begin
      feeding_q <= feeding && left != '0;
    end
  end

  always_ff @(posedge clk_i) begin
    block_q  <= block + RowBits'(1);
    left_q   <= left - RowBits'(1);
    record_q <= record + RecordBits'(1);
  end

  logic [RowBits-1:0] line_number;

  assign line_number = column_i ? RowBits'(Row) : block;
  assign line        = lines_i[16*Lanes*line_number+:16*Lanes];

  always_comb begin
    if (column_i) begin
      direct_we   = token_lanes;
      direct_addr = token_record;
    end else begin
      direct_we   = {Lanes{feeding}};
      direct_addr = record;
    end
  end

  logic [Lanes-1:0]      feed_we;
  logic [RecordBits-1:0] feed_addr;
  logic [16*Lanes-1:0]   feed_data;

  if (Row == 0) begin : gen_direct
    assign feed_we   = direct_we;
    assign feed_addr = direct_addr;
    assign feed_data = line;

    // A fold has a group for the first row.
    logic unused;
    assign unused = ^{records_i, used_q};
  end else begin : gen_queue
    localparam int unsigned Records = GroupMax > Lanes ? GroupMax / Lanes : 1;
    localparam int unsigned QueueBits = $clog2((Row + 2) * IrMax * Records + Row + 1);

    logic [16*Lanes-1:0]  queue_q [2**QueueBits];
    logic [QueueBits-1:0] put_q, take_q;
    logic                 take, full_q, second_q, fed_half_q, take_ends;
    logic [4:0]           taken_q;
    logic                 blank, blank_q;

    // A row without a group takes zeros.
    assign blank = hit ? !used_q[word_parity] : blank_q;

    // One step may be ahead of the array.
    assign take      = ws_i && put_q != take_q && !full_q;
    assign take_ends = taken_q == records_i - 5'd1 && (second_q || !two_i);

    always_ff @(posedge clk_i) begin
      if (feeding) queue_q[put_q] <= blank ? '0 : line;
      blank_q <= blank;
    end

    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) begin
        put_q      <= '0;
        take_q     <= '0;
        full_q     <= 1'b0;
        taken_q    <= '0;
        second_q   <= 1'b0;
        fed_half_q <= 1'b0;
      end else if (clear_i) begin
        put_q      <= '0;
        take_q     <= '0;
        full_q     <= 1'b0;
        taken_q    <= '0;
        second_q   <= 1'b0;
        fed_half_q <= 1'b0;
      end else begin
        if (feeding && ws_i) put_q <= put_q + QueueBits'(1);
        if (start_i[3]) full_q <= 1'b0;
        if (take) begin
          take_q  <= take_q + QueueBits'(1);
          taken_q <= taken_q == records_i - 5'd1 ? 5'd0 : taken_q + 5'd1;
          if (taken_q == records_i - 5'd1) second_q <= two_i && !second_q;
          if (take_ends) begin
            full_q     <= !start_i[3];
            fed_half_q <= !fed_half_q;
          end
        end
      end
    end

    always_comb begin
      if (ws_i) begin
        feed_we   = {Lanes{take}};
        feed_addr = {fed_half_q, (RecordBits - 1)'(second_q ? Chunk / Lanes : 0)}
                  | RecordBits'(taken_q);
        feed_data = queue_q[take_q];
      end else begin
        feed_we   = direct_we;
        feed_addr = direct_addr;
        feed_data = line;
      end
    end
  end

  // The elements compute with FP17.
  logic [17*Lanes-1:0] feed_wide;

  for (genvar i = 0; i < Lanes; i++) begin : gen_wide
    fp16_to_fp17 u_wide (
      .a_i(feed_data[16*i+:16]),
      .r_o(feed_wide[17*i+:17])
    );
  end

  assign west_o = {feed_we, feed_addr, feed_wide,
                   pair_valid && pair_row == RowBits'(Row), pair_waddr,
                   stored, pair_raddr, read_addr,
                   op_sel, op_odd, op_slot, sum_we, shadow_we, sum_slot,
                   first_we, item_odd, bus_sel, item_slot};

endmodule : stce_row
