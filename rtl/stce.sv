/// Systolic tensor compute engine: executes one MATMUL (docs/microarchitecture.md, "STCE").
///
///     segments, planner -> feeder -> ACT -> corner turn -> rows -> group memories
///     sequencer (OS), loader (WS) -> WGT, IDX -------------------> columns
///     sums -> ACC -> bus -> first values, partial sums; shadow memories, sums -> bus -> ACC
///
/// Timing: `start_i` in cycle 0 with `instr_i` and `bank_i`; `done_o` in cycle T - 1, T as in the
/// contract; the next `start_i` may come in the cycle after. Scratchpads answer in the cycle after
/// the address. The segment table has a read port of its own, which may read the half of the weights
/// in the same cycle as the weight port (the write port of that half is idle).
///
/// Not here: checks of the instruction, ownership of scratchpad halves, semaphores.
module stce #(
  /// Array rows R.
  parameter int unsigned Rows = 4,
  /// Array columns C, and accumulator banks.
  parameter int unsigned Cols = 4,
  /// Largest M.
  parameter int unsigned GroupMax = 8,
  /// Largest N.
  parameter int unsigned NMax = 8,
  /// Latency of the multiplier (cycles).
  parameter int unsigned MulLatency = 2,
  /// Latency of the adder (cycles).
  parameter int unsigned AddLatency = 3,
  /// Accumulators of an element, the limit of Ic * Ir.
  parameter int unsigned Interleave = 4,
  /// Activations a that the feeder gives one row in a cycle.
  parameter int unsigned ActValuesPerRowCycle = 1
) (
  /// Clock.
  input  logic                                      clk_i,
  /// Reset, active low.
  input  logic                                      rst_ni,
  /// A MATMUL issues, with its instruction and descriptor bank.
  input  logic                                      start_i,
  input  cosparse_pkg::matmul_instr_t               instr_i,
  input  cosparse_pkg::stce_bank_t                  bank_i,
  /// Last cycle of the MATMUL.
  output logic                                      done_o,
  /// Where a cycle after the first one goes.
  output logic                                      busy_o,
  output logic                                      data_o,
  output logic                                      adder_o,
  output logic                                      drain_o,
  /// Activation scratchpad.
  output logic                                      act_re_o,
  output logic [cosparse_pkg::AddressBits-1:0]      act_raddr_o,
  input  logic [16*ActValuesPerRowCycle*Rows-1:0]   act_rdata_i,
  /// Weight scratchpad and the indices beside it.
  output logic                                      wgt_re_o,
  output logic [cosparse_pkg::AddressBits-1:0]      wgt_raddr_o,
  input  logic [16*Cols-1:0]                        wgt_rdata_i,
  input  logic [4*Cols-1:0]                         idx_rdata_i,
  /// Segment table in the weight scratchpad.
  output logic                                      table_re_o,
  output logic [cosparse_pkg::AddressBits-1:0]      table_raddr_o,
  input  logic [16*Cols-1:0]                        table_rdata_i,
  /// Accumulator banks.
  output logic [Cols-1:0]                           acc_re_o,
  output logic [Cols*cosparse_pkg::AddressBits-1:0] acc_raddr_o,
  input  logic [Cols*32-1:0]                        acc_rdata_i,
  output logic [Cols-1:0]                           acc_we_o,
  output logic [Cols*cosparse_pkg::AddressBits-1:0] acc_waddr_o,
  output logic [Cols*32-1:0]                        acc_wdata_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned Lanes = ActValuesPerRowCycle;
  localparam int unsigned LaneBits = Lanes > 1 ? $clog2(Lanes) : 1;
  localparam int unsigned ActLanes = Lanes * Rows;
  localparam int unsigned WordLaneBits = $clog2(ActLanes);
  localparam int unsigned Chunk = GroupMax > ActLanes ? GroupMax : ActLanes;
  localparam int unsigned ChunkBits = $clog2(Chunk);
  localparam int unsigned IrMax = Interleave > 1 ? 2 : 1;
  localparam int unsigned RecordBits = 1 + $clog2(IrMax * Chunk / Lanes);
  localparam int unsigned ReadBits = 1 + $clog2(IrMax * Chunk);
  localparam int unsigned SlotBits = Interleave > 1 ? $clog2(Interleave) : 1;
  localparam int unsigned EntryBits = NMax > 1 ? $clog2(NMax) : 1;
  localparam int unsigned PairBits = 1 + EntryBits + SlotBits;
  localparam int unsigned RowBits = $clog2(Rows);
  localparam int unsigned ColBits = $clog2(Cols);
  localparam int unsigned StepBits = 5 + SlotBits + ReadBits;
  localparam int unsigned ItemBits = 5 + RowBits + SlotBits;
  localparam int unsigned PairWriteBits = 1 + RowBits + PairBits;
  localparam int unsigned WordBits = 2 + RowBits + RecordBits;
  localparam int unsigned TokenBits = Lanes + RecordBits;
  localparam int unsigned PlanBits = 4 + 3 * RowBits + 1 + WordLaneBits;
  localparam int unsigned FillBits = ChunkBits + RowBits + 3;
  // Coordinates reach over all tokens and taps that a program can name.
  localparam int unsigned CoordBits = 42;

  if (Rows < 2 || Rows > 128 || 2 ** RowBits != Rows
      || Cols < 2 || Cols > 128 || 2 ** ColBits != Cols) begin : gen_illegal_array
    $fatal(1, "stce: Rows and Cols must be powers of two from 2 to 128");
  end
  if (GroupMax < 2 || GroupMax > 16 || 2 ** $clog2(GroupMax) != GroupMax
      || NMax < 1 || NMax > GroupMax || 2 ** $clog2(NMax) != NMax
      || Lanes < 1 || Lanes > GroupMax || 2 ** $clog2(Lanes) != Lanes) begin : gen_illegal_group
    $fatal(1, "stce: GroupMax (2 to 16), NMax and ActValuesPerRowCycle: powers of two in order");
  end
  if (MulLatency < 1 || MulLatency > 4 || AddLatency < 1 || AddLatency > 4
      || Interleave < 1 || Interleave > 16) begin : gen_illegal_element
    $fatal(1, "stce: latencies must be 1 to 4, Interleave 1 to 16");
  end

  // The instruction and what follows from it.

  cosparse_pkg::matmul_instr_t instr_q;
  cosparse_pkg::stce_bank_t    bank_q;
  logic                        ws, column, two;
  logic [2:0]                  m_log2;
  logic [4:0]                  records, slots, cycles, last_columns, last_slots, last_cycles;
  logic [RowBits-1:0]          blocks_less1;
  logic [AddressBits-1:0]      row_words;
  logic [3:0]                  cycle;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      instr_q <= '0;
      bank_q  <= '0;
    end else if (start_i) begin
      instr_q <= instr_i;
      bank_q  <= bank_i;
    end
  end

  function automatic logic [4:0] max_latency(input logic [4:0] count);
    max_latency = count > 5'(AddLatency) ? count : 5'(AddLatency);
  endfunction

  always_comb begin
    unique case (bank_q.m)
      5'd1:    m_log2 = 3'd0;
      5'd2:    m_log2 = 3'd1;
      5'd4:    m_log2 = 3'd2;
      5'd8:    m_log2 = 3'd3;
      default: m_log2 = 3'd4;
    endcase
  end

  assign ws           = bank_q.flow == cosparse_pkg::FlowWs;
  assign column       = bank_q.lhs == cosparse_pkg::LhsColumn;
  assign two          = bank_q.ir == 2'd2;
  assign records      = bank_q.m > 5'(Lanes) ? bank_q.m >> $clog2(Lanes) : 5'd1;
  assign blocks_less1 = ws && 32'(records) < Rows ? RowBits'(records - 5'd1) : RowBits'(Rows - 1);
  assign row_words    = AddressBits'((bank_q.columns + 24'(Cols - 1)) >> ColBits);
  assign slots        = bank_q.ic << two;
  assign cycles       = max_latency(slots);
  assign last_slots   = last_columns << two;
  assign last_cycles  = max_latency(last_slots);

  logic [23:0]            tokens;
  logic [AddressBits-1:0] step_x_words, step_y_words, origin_x_words, origin_y_words;
  logic [AddressBits-1:0] stride_x_words, stride_y_words, band_words;

  stce_setup u_setup (
    .clk_i,
    .rst_ni,
    .start_i,
    .bank_i          (bank_q),
    .cycle_o         (cycle),
    .tokens_o        (tokens),
    .step_x_words_o  (step_x_words),
    .step_y_words_o  (step_y_words),
    .origin_x_words_o(origin_x_words),
    .origin_y_words_o(origin_y_words),
    .stride_x_words_o(stride_x_words),
    .stride_y_words_o(stride_y_words),
    .band_words_o    (band_words)
  );

  // Activations.

  logic signed [CoordBits-1:0] segment_y, segment_x, plan_y, plan_x;
  logic [AddressBits-1:0]      segment_words, segment_word, plan_word;
  logic [WordLaneBits-1:0]     segment_lane;
  logic                        segment_last, feeder_first, feeder_next, planner_first, planner_next;
  logic [1:0]                  plan_ready, plan_last;
  logic [2*(RowBits+1)-1:0]    plan_count;
  logic                        plan_parity, plan_release, plan_release_parity;
  logic [RowBits-1:0]          plan_number;
  logic [23:0]                 plan_left;
  logic [PlanBits-1:0]         plan;

  stce_segments #(
    .Cols     (Cols),
    .ActLanes (ActLanes),
    .CoordBits(CoordBits)
  ) u_segments (
    .clk_i,
    .rst_ni,
    .start_i,
    .stop_i          (done_o),
    .bank_i          (bank_q),
    .table_word_i    (instr_q.table_word),
    .step_x_words_i  (step_x_words),
    .step_y_words_i  (step_y_words),
    .origin_x_words_i(origin_x_words),
    .origin_y_words_i(origin_y_words),
    .first_i         (cycle == 4'd5 || feeder_first || planner_first),
    .next_i          (feeder_next || planner_next),
    .y_o             (segment_y),
    .x_o             (segment_x),
    .words_o         (segment_words),
    .word_o          (segment_word),
    .lane_o          (segment_lane),
    .last_o          (segment_last),
    .table_re_o,
    .table_raddr_o,
    .table_rdata_i
  );

  stce_planner #(
    .Rows     (Rows),
    .ActLanes (ActLanes),
    .CoordBits(CoordBits)
  ) u_planner (
    .clk_i,
    .rst_ni,
    .start_i         (cycle == 4'd5 && ws),
    .stop_i          (done_o),
    .channels_i      (bank_q.channels),
    .m_log2_i        (m_log2),
    .y_i             (segment_y),
    .x_i             (segment_x),
    .words_i         (segment_words),
    .last_segment_i  (segment_last),
    .first_o         (planner_first),
    .next_o          (planner_next),
    .release_i       (plan_release),
    .release_parity_i(plan_release_parity),
    .ready_o         (plan_ready),
    .count_o         (plan_count),
    .last_o          (plan_last),
    .read_parity_i   (plan_parity),
    .read_number_i   (plan_number),
    .read_y_o        (plan_y),
    .read_x_o        (plan_x),
    .read_word_o     (plan_word),
    .read_left_o     (plan_left),
    .rows_we_o       (plan[PlanBits-1]),
    .rows_first_o    (plan[PlanBits-2]),
    .rows_last_o     (plan[PlanBits-3]),
    .rows_parity_o   (plan[PlanBits-4]),
    .rows_number_o   (plan[2*RowBits+1+WordLaneBits+:RowBits]),
    .rows_row_o      (plan[RowBits+1+WordLaneBits+:RowBits]),
    .rows_count_o    (plan[WordLaneBits+:RowBits+1]),
    .rows_lane_o     (plan[WordLaneBits-1:0])
  );

  logic                    fill, reading, reading_on;
  logic                    fill_first, fill_last, fill_last_tile, fill_two;
  logic                    fill_last_fold, fill_parity, fill_next_narrow;
  logic [FillBits-1:0]     remaining;
  logic [ChunkBits:0]      fill_entries;
  logic [4:0]              fill_columns;
  logic [AddressBits-1:0]  fill_column_word;
  logic [WordLaneBits-1:0] fill_lane;
  logic [WordBits-1:0]     word;
  logic [TokenBits-1:0]    token;
  logic [WordLaneBits:0]   valid_lanes;
  logic [LaneBits-1:0]     part;
  logic [16*ActLanes-1:0]  lines;

  stce_feeder #(
    .Rows                (Rows),
    .GroupMax            (GroupMax),
    .Interleave          (Interleave),
    .ActValuesPerRowCycle(ActValuesPerRowCycle),
    .CoordBits           (CoordBits)
  ) u_feeder (
    .clk_i,
    .rst_ni,
    .begin_i         (cycle == 4'd6),
    .bank_i          (bank_q),
    .act_i           (instr_q.act),
    .tokens_i        (tokens),
    .row_words_i     (row_words),
    .stride_x_words_i(stride_x_words),
    .stride_y_words_i(stride_y_words),
    .m_log2_i        (m_log2),
    .records_i       (records),
    .y_i             (segment_y),
    .x_i             (segment_x),
    .words_i         (segment_words),
    .word_i          (segment_word),
    .lane_i          (segment_lane),
    .last_segment_i  (segment_last),
    .first_segment_o (feeder_first),
    .next_segment_o  (feeder_next),
    .plan_ready_i    (plan_ready),
    .plan_count_i    (plan_count),
    .plan_last_i     (plan_last),
    .plan_parity_o   (plan_parity),
    .plan_number_o   (plan_number),
    .plan_y_i        (plan_y),
    .plan_x_i        (plan_x),
    .plan_word_i     (plan_word),
    .plan_left_i     (plan_left),
    .plan_release_o  (plan_release),
    .plan_release_parity_o(plan_release_parity),
    .fill_i          (fill),
    .remaining_o     (remaining),
    .reading_o       (reading),
    .reading_on_o    (reading_on),
    .entries_o       (fill_entries),
    .first_o         (fill_first),
    .last_o          (fill_last),
    .last_tile_o     (fill_last_tile),
    .columns_o       (fill_columns),
    .two_o           (fill_two),
    .column_word_o   (fill_column_word),
    .lane_o          (fill_lane),
    .last_fold_o     (fill_last_fold),
    .parity_o        (fill_parity),
    .next_narrow_o   (fill_next_narrow),
    .last_columns_o  (last_columns),
    .act_re_o,
    .act_raddr_o,
    .word_o          (word),
    .token_o         (token),
    .valid_lanes_o   (valid_lanes),
    .part_o          (part)
  );

  stce_turn #(
    .Rows (Rows),
    .Lanes(Lanes)
  ) u_turn (
    .clk_i,
    .word_i        (act_rdata_i),
    .valid_lanes_i (valid_lanes),
    .column_i      (column),
    .blocks_less1_i(blocks_less1),
    .part_i        (part),
    .two_i         (two),
    .lines_o       (lines)
  );

  // Entries and weights.

  logic                   load, load_next, loading_on, os_wgt_re, ws_wgt_re, blank;
  logic [23:0]            load_pace;
  logic [AddressBits-1:0] os_wgt_raddr, ws_wgt_raddr;
  logic [StepBits-1:0]    step;
  logic [PairWriteBits-1:0] pair;
  logic [3:0]             start;
  logic [1:0]             fold;
  logic                   tile, tile_drain, tile_load;

  stce_sequencer #(
    .Rows                (Rows),
    .Cols                (Cols),
    .GroupMax            (GroupMax),
    .MulLatency          (MulLatency),
    .AddLatency          (AddLatency),
    .Interleave          (Interleave),
    .ActValuesPerRowCycle(ActValuesPerRowCycle)
  ) u_sequencer (
    .clk_i,
    .rst_ni,
    .start_i,
    .cycle_i       (cycle),
    .bank_i        (bank_q),
    .accumulate_i  (instr_q.accumulate),
    .wgt_i         (instr_q.wgt),
    .slots_i       (slots),
    .cycles_i      (cycles),
    .last_slots_i  (last_slots),
    .last_cycles_i (last_cycles),
    .m_log2_i      (m_log2),
    .records_i     (records),
    .entries_i     (fill_entries),
    .first_i       (fill_first),
    .last_i        (fill_last),
    .last_tile_i   (fill_last_tile),
    .columns_i     (fill_columns),
    .two_i         (fill_two),
    .column_word_i (fill_column_word),
    .lane_i        (fill_lane),
    .last_fold_i   (fill_last_fold),
    .parity_i      (fill_parity),
    .next_narrow_i (fill_next_narrow),
    .remaining_i   (remaining),
    .reading_i     (reading),
    .reading_on_i  (reading_on),
    .fill_o        (fill),
    .plan_ready_i  (plan_ready),
    .plan_count_i  (plan_count),
    .load_o        (load),
    .load_next_o   (load_next),
    .load_pace_o   (load_pace),
    .loading_on_i  (loading_on),
    .wgt_re_o      (os_wgt_re),
    .wgt_raddr_o   (os_wgt_raddr),
    .step_o        (step),
    .start_o       (start),
    .fold_o        (fold),
    .tile_o        (tile),
    .tile_drain_o  (tile_drain),
    .tile_load_o   (tile_load),
    .done_o,
    .busy_o,
    .data_o,
    .adder_o,
    .drain_o
  );

  stce_loader #(
    .Rows      (Rows),
    .NMax      (NMax),
    .Interleave(Interleave)
  ) u_loader (
    .clk_i,
    .rst_ni,
    .begin_i     (cycle == 4'd7),
    .ws_i        (ws),
    .bank_i      (bank_q),
    .wgt_i       (instr_q.wgt),
    .row_words_i (row_words),
    .load_i      (load),
    .next_i      (load_next),
    .pace_i      (load_pace),
    .loading_on_o(loading_on),
    .wgt_re_o    (ws_wgt_re),
    .wgt_raddr_o (ws_wgt_raddr),
    .pair_o      (pair),
    .blank_o     (blank)
  );

  assign wgt_re_o    = ws ? ws_wgt_re : os_wgt_re;
  assign wgt_raddr_o = ws ? ws_wgt_raddr : os_wgt_raddr;

  logic [16*Cols-1:0] weights;
  logic [4*Cols-1:0]  indices;

  assign weights = ws && blank ? {Cols{16'h8000}} : wgt_rdata_i;
  assign indices = !bank_q.is_packed || (ws && blank) ? '0 : idx_rdata_i;

  // OS: items on the bus, in the order of stce_sums. A pass over all slots of all rows takes the
  // results of a tile away and brings first values; it begins where it meets neither the sums that are
  // still coming nor those of the tile behind. Without `accumulate` a pass in the beginning clears the
  // first values.

  localparam int unsigned PassDelay = MulLatency + (AddLatency > 1 ? 2 : 1) - 2;

  logic [2:0]               tile_now, pass;
  logic                     item_q, item_drain_q, item_load_q, item_clear_q, item_second_q;
  logic                     item_odd_q;  // first values of a tile of odd number
  logic                     item_begin, clear_begin, item_column_ends, item_row_ends, item_ends;
  logic [RowBits-1:0]       item_row_q;
  logic [4:0]               item_column_q, item_columns, clear_columns;
  logic [ItemBits-1:0]      item_word_q;

  assign tile_now = {tile, tile_drain, tile_load};

  if (PassDelay == 0) begin : gen_pass_now
    assign pass = tile_now;
  end else begin : gen_pass_later
    logic [3*PassDelay-1:0] pass_q;

    always_ff @(posedge clk_i or negedge rst_ni) begin
      if (!rst_ni) pass_q <= '0;
      else pass_q <= (3 * PassDelay)'({pass_q, tile_now});
    end

    assign pass = pass_q[3*PassDelay-1-:3];
  end

  assign clear_begin      = cycle == 4'd1 && !ws && !instr_q.accumulate;
  assign item_begin       = cycle == 4'd7 && !ws && instr_q.accumulate;
  assign clear_columns    = row_words < AddressBits'(bank_q.ic) ? 5'(row_words) : bank_q.ic;
  assign item_columns     = item_clear_q ? clear_columns : bank_q.ic;
  assign item_column_ends = item_second_q == two;
  assign item_row_ends    = item_column_ends && item_column_q == item_columns - 5'd1;
  assign item_ends        = item_row_ends && (item_clear_q || item_row_q == RowBits'(Rows - 1));

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      item_q        <= 1'b0;
      item_drain_q  <= 1'b0;
      item_load_q   <= 1'b0;
      item_clear_q  <= 1'b0;
      item_odd_q    <= 1'b0;
      item_second_q <= 1'b0;
      item_row_q    <= '0;
      item_column_q <= '0;
      item_word_q   <= '0;
    end else begin
      if (item_q) begin
        item_second_q <= !item_column_ends;
        if (item_column_ends) item_column_q <= item_row_ends ? '0 : item_column_q + 5'd1;
        if (item_row_ends) item_row_q <= item_row_q + RowBits'(1);
        if (item_ends) item_q <= 1'b0;
        if (item_ends && item_load_q) item_odd_q <= !item_odd_q && !item_clear_q;
      end
      if (clear_begin || item_begin || (pass[2] && pass[1:0] != '0)) begin
        item_q        <= 1'b1;
        item_drain_q  <= pass[2] && pass[1];
        item_load_q   <= !pass[2] || pass[0];
        item_clear_q  <= clear_begin;
        if (!pass[2]) item_odd_q <= 1'b0;
        item_second_q <= 1'b0;
        item_row_q    <= '0;
        item_column_q <= '0;
      end
      item_word_q <= {item_q, item_drain_q, item_load_q, item_clear_q, item_odd_q, item_row_q,
                      two ? SlotBits'({item_column_q, item_second_q}) : SlotBits'(item_column_q)};
    end
  end

  // Accumulator banks. Column c lags by c cycles.

  logic                   reads, reads_last, leaves, leaves_last;
  logic                   read_step, read_valid, read_first, unused_last_word;
  logic                   write_valid, write_last_word, unused_first;
  logic [AddressBits-1:0] read_addr, write_addr;
  logic [23:0]            band_rows;
  logic [32*Cols-1:0]     bus_in, bus_out;

  assign band_rows = column ? bank_q.channels : tokens;
  assign read_step = ws ? reads : item_q && item_load_q && !item_clear_q;

  stce_sums #(
    .Rows(Rows)
  ) u_reads (
    .clk_i,
    .rst_ni,
    .begin_i     (cycle == 4'd6),
    .bank_i      (bank_q),
    .acc_i       (instr_q.acc),
    .band_rows_i (band_rows),
    .band_words_i(band_words),
    .row_words_i (row_words),
    .step_i      (read_step),
    .last_fold_i (reads_last),
    .addr_o      (read_addr),
    .valid_o     (read_valid),
    .last_word_o (unused_last_word),
    .first_fold_o(read_first)
  );

  stce_sums #(
    .Rows(Rows)
  ) u_writes (
    .clk_i,
    .rst_ni,
    .begin_i     (cycle == 4'd6),
    .bank_i      (bank_q),
    .acc_i       (instr_q.acc),
    .band_rows_i (band_rows),
    .band_words_i(band_words),
    .row_words_i (row_words),
    .step_i      (leaves),
    .last_fold_i (leaves_last),
    .addr_o      (write_addr),
    .valid_o     (write_valid),
    .last_word_o (write_last_word),
    .first_fold_o(unused_first)
  );

  localparam int unsigned ReadTagBits = 1 + AddressBits;
  localparam int unsigned WriteTagBits = 2 + AddressBits;

  logic [Cols*ReadTagBits-1:0]  read_tags, read_tags_q;
  logic [Cols*WriteTagBits-1:0] write_tags, write_tags_q;
  logic [ColBits-1:0]           rest_columns;

  assign rest_columns = bank_q.columns[ColBits-1:0];
  assign read_tags    = {read_tags_q[(Cols-1)*ReadTagBits-1:0],
                         read_step && read_valid && (!ws || !read_first || instr_q.accumulate),
                         read_addr};
  assign write_tags   = {write_tags_q[(Cols-1)*WriteTagBits-1:0],
                         leaves && write_valid, write_last_word, write_addr};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      read_tags_q  <= '0;
      write_tags_q <= '0;
    end else begin
      read_tags_q  <= read_tags;
      write_tags_q <= write_tags;
    end
  end

  for (genvar c = 0; c < Cols; c++) begin : gen_bank
    logic last_word, past;

    assign {acc_re_o[c], acc_raddr_o[AddressBits*c+:AddressBits]} =
        read_tags[ReadTagBits*c+:ReadTagBits];
    assign bus_in[32*c+:32] = read_tags_q[ReadTagBits*c+AddressBits] ? acc_rdata_i[32*c+:32] : '0;

    // In the last word of a row, columns that do not exist get +0.
    assign {acc_we_o[c], last_word, acc_waddr_o[AddressBits*c+:AddressBits]} =
        write_tags[WriteTagBits*c+:WriteTagBits];
    assign past = last_word && rest_columns != '0 && {1'b0, rest_columns} < (ColBits+1)'(c + 1);
    assign acc_wdata_o[32*c+:32] = past ? '0 : bus_out[32*c+:32];
  end

  // The array.

  stce_array #(
    .Rows                (Rows),
    .Cols                (Cols),
    .GroupMax            (GroupMax),
    .NMax                (NMax),
    .MulLatency          (MulLatency),
    .AddLatency          (AddLatency),
    .Interleave          (Interleave),
    .ActValuesPerRowCycle(ActValuesPerRowCycle)
  ) u_array (
    .clk_i,
    .rst_ni,
    .clear_i       (cycle == 4'd1),
    .ws_i          (ws),
    .column_i      (column),
    .packed_i      (bank_q.is_packed),
    .n_i           (bank_q.n),
    .two_i         (two),
    .slots_i       (slots),
    .cycles_i      (cycles),
    .last_slots_i  (last_slots),
    .last_cycles_i (last_cycles),
    .records_i     (records),
    .blocks_less1_i(blocks_less1),
    .word_i        (word),
    .lines_i       (lines),
    .plan_i        (plan),
    .fold_i        (fold),
    .m_log2_i      (m_log2),
    .step_i        (step),
    .item_i        (item_word_q),
    .pair_i        (pair),
    .start_i       (start),
    .token_i       (token),
    .weights_i     (weights),
    .indices_i     (indices),
    .bus_i         (bus_in),
    .reads_o       (reads),
    .reads_last_o  (reads_last),
    .leaves_o      (leaves),
    .leaves_last_o (leaves_last),
    .bus_o         (bus_out)
  );

  logic unused;
  assign unused = ^{instr_q, unused_last_word, unused_first, read_tags_q, write_tags_q};

endmodule : stce
