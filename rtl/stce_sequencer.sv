/// Sequencer: when the array works on which entry, and where every cycle of a MATMUL goes.
///
/// OS: a chunk's entries, each S cycles; the last one waits until the feeder and (last chunk of a tile)
/// the chain will be ready when it ends, so that the next chunk follows it at once and a tile's sums
/// never meet those of the tile before in the shadow memories. WS: steps of n entries; the next step
/// waits for the feeder, the next fold also for its weights, the rows below and the partial sums.
///
/// Timing: `step_o` belongs to the cycle after its weight address; `start_o`, `tile_*_o` and `load_o`
/// as said at the ports. `done_o` is high in the last cycle. Exactly one of `busy_o`, `data_o`,
/// `adder_o` and `drain_o` is high from the cycle after `start_i` to the last one; they count as the
/// engine of hwsim does.
///
/// Not here: what an entry reads of ACT (stce_feeder), weights of WS (stce_loader).
module stce_sequencer #(
  /// Array rows R.
  parameter int unsigned Rows = 4,
  /// Array columns C.
  parameter int unsigned Cols = 4,
  /// Largest M.
  parameter int unsigned GroupMax = 8,
  /// Latency of the multiplier (cycles).
  parameter int unsigned MulLatency = 2,
  /// Latency of the adder (cycles).
  parameter int unsigned AddLatency = 3,
  /// Accumulators of an element.
  parameter int unsigned Interleave = 4,
  /// Activations a row takes in a cycle.
  parameter int unsigned ActValuesPerRowCycle = 1,
  localparam int unsigned Lanes = ActValuesPerRowCycle,
  localparam int unsigned ActLanes = Lanes * Rows,
  localparam int unsigned WordLaneBits = $clog2(ActLanes),
  localparam int unsigned Chunk = GroupMax > ActLanes ? GroupMax : ActLanes,
  localparam int unsigned ChunkBits = $clog2(Chunk),
  localparam int unsigned IrMax = Interleave > 1 ? 2 : 1,
  localparam int unsigned RowBits = $clog2(Rows),
  localparam int unsigned ReadBits = 1 + $clog2(IrMax * Chunk),
  localparam int unsigned SlotBits = Interleave > 1 ? $clog2(Interleave) : 1,
  localparam int unsigned StepBits = 5 + SlotBits + ReadBits,
  localparam int unsigned FillBits = ChunkBits + RowBits + 3
) (
  /// Clock.
  input  logic                                 clk_i,
  /// Reset, active low.
  input  logic                                 rst_ni,
  /// The MATMUL issues; its cycle, its descriptor bank and operands from the next cycle on.
  input  logic                                 start_i,
  input  logic [3:0]                           cycle_i,
  input  cosparse_pkg::stce_bank_t             bank_i,
  input  logic                                 accumulate_i,
  input  logic [cosparse_pkg::AddressBits-1:0] wgt_i,
  /// WS: slots and slot cycles of a whole column tile and of the last one; log2 m.
  input  logic [4:0]                           slots_i,
  input  logic [4:0]                           cycles_i,
  input  logic [4:0]                           last_slots_i,
  input  logic [4:0]                           last_cycles_i,
  input  logic [2:0]                           m_log2_i,
  input  logic [4:0]                           records_i,
  /// Fill that the array works on next; see stce_feeder.
  input  logic [ChunkBits:0]                   entries_i,
  input  logic                                 first_i,
  input  logic                                 last_i,
  input  logic                                 last_tile_i,
  input  logic [4:0]                           columns_i,
  input  logic                                 two_i,
  input  logic [cosparse_pkg::AddressBits-1:0] column_word_i,
  input  logic [WordLaneBits-1:0]              lane_i,
  input  logic                                 last_fold_i,
  input  logic                                 parity_i,
  input  logic                                 next_narrow_i,
  input  logic [FillBits-1:0]                  remaining_i,
  input  logic                                 reading_i,
  input  logic                                 reading_on_i,
  output logic                                 fill_o,
  /// Plans of even and odd folds; see stce_planner.
  input  logic [1:0]                           plan_ready_i,
  input  logic [2*(RowBits+1)-1:0]             plan_count_i,
  /// WS: load the pairs of the next fold (`load_next_o`: of the next column tile) from the next cycle
  /// on, its rows `load_pace_o` apart; the loader will still work in the next cycle.
  output logic                                 load_o,
  output logic                                 load_next_o,
  output logic [23:0]                          load_pace_o,
  input  logic                                 loading_on_i,
  /// OS: weight word.
  output logic                                 wgt_re_o,
  output logic [cosparse_pkg::AddressBits-1:0] wgt_raddr_o,
  /// OS, to row 0; see stce_row.
  output logic [StepBits-1:0]                  step_o,
  /// WS, to row 0: a step begins in the next cycle; the fold does, its parity.
  output logic [3:0]                           start_o,
  output logic [1:0]                           fold_o,
  /// OS, in the first cycle of a tile and in the one after the last tile: there are results of a tile
  /// before, there is a tile behind this one.
  output logic                                 tile_o,
  output logic                                 tile_drain_o,
  output logic                                 tile_load_o,
  /// Last cycle; where this cycle goes.
  output logic                                 done_o,
  output logic                                 busy_o,
  output logic                                 data_o,
  output logic                                 adder_o,
  output logic                                 drain_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned TimeBits = 24;  // of every span inside a tile or fold

  typedef logic [TimeBits-1:0] span_t;

  typedef enum logic [2:0] {
    Idle,
    Fill,
    Tile,  // OS
    Step,  // WS: entries
    Wait,  // WS: for the next step
    Tail
  } state_e;

  state_e state_q;
  logic   ws, column, two;

  assign ws     = bank_i.flow == cosparse_pkg::FlowWs;
  assign column = bank_i.lhs == cosparse_pkg::LhsColumn;
  assign two    = bank_i.ir == 2'd2;

  // The fill that the array works on: OS a chunk, WS a step. `take` in the cycle before its first.

  logic       take, first_q, last_q, last_tile_q, last_fold_q, next_narrow_q, two_q, parity_q;
  logic [4:0] slots_q, cycles_q, slots, cycles;

  always_comb begin
    if (ws) begin
      slots  = last_tile_i ? last_slots_i : slots_i;
      cycles = last_tile_i ? last_cycles_i : cycles_i;
    end else begin
      slots  = 5'(columns_i << two_i);
      cycles = slots > 5'(AddLatency) ? slots : 5'(AddLatency);
    end
  end

  always_ff @(posedge clk_i) begin
    if (take) begin
      first_q       <= first_i;
      last_q        <= last_i;
      last_tile_q   <= last_tile_i;
      last_fold_q   <= last_fold_i;
      next_narrow_q <= next_narrow_i;
      two_q         <= two_i;
      parity_q      <= parity_i;
      slots_q       <= slots;
      cycles_q      <= cycles;
    end
  end

  // Slots inside entries. OS: of a chunk; WS: of a step.

  logic [4:0]         cycle_q, nth_q, slot_column;
  logic [ChunkBits:0] entries_q;
  logic               occupied, second, entry_ends, last_entry, hold, work_ends;
  logic               hold_data, hold_chain, held_q, begun_q;
  span_t              chain, gap, chain_left_q;

  assign occupied    = cycle_q < slots_q;
  assign second      = two_q && cycle_q[0];
  assign slot_column = two_q ? cycle_q >> 1 : cycle_q;
  assign entry_ends  = cycle_q == cycles_q - 5'd1;
  assign last_entry  = entries_q == (ChunkBits+1)'(1);

  // E: all slots of a column. The chain is busy for `gap` cycles from the first one of a tile on.
  assign chain      = (span_t'(bank_i.ic) << two) << RowBits;
  assign gap        = accumulate_i ? chain + span_t'(Rows - 1) : chain;
  assign hold_data  = span_t'(remaining_i) > span_t'(cycles_q);
  assign hold_chain = last_q && chain_left_q > span_t'(cycles_q);
  assign hold       = !ws && last_entry && cycle_q == '0 && (hold_data || hold_chain);
  assign work_ends  = !hold && last_entry && entry_ends;

  always_ff @(posedge clk_i) begin
    if (take) begin
      cycle_q   <= '0;
      nth_q     <= '0;
      held_q    <= 1'b0;
      begun_q   <= 1'b0;
      entries_q <= ws ? (ChunkBits+1)'(bank_i.n) : entries_i;
    end else if (hold) begin
      held_q <= 1'b1;
    end else begin
      cycle_q <= entry_ends ? '0 : cycle_q + 5'd1;
      if (entry_ends) begin
        entries_q <= entries_q - (ChunkBits+1)'(1);
        nth_q     <= nth_q == bank_i.n - 5'd1 ? '0 : nth_q + 5'd1;
        held_q    <= 1'b0;
        begun_q   <= 1'b1;
      end
    end
  end

  // OS: weight words, and what row 0 does with them.

  logic [AddressBits-1:0] weight_q;
  logic [ReadBits-1:0]    position_q, read_addr;
  logic                   half_q, odd_q;
  logic [SlotBits-1:0]    slot;

  assign wgt_re_o    = state_q == Tile && !hold && occupied && !second;
  assign wgt_raddr_o = weight_q + AddressBits'(slot_column);
  assign slot        = two ? SlotBits'({slot_column, second}) : SlotBits'(slot_column);

  always_comb begin
    read_addr = position_q | (half_q ? ReadBits'(1) << (ReadBits - 1) : '0);
    if (second) read_addr = read_addr | (column ? ReadBits'(1) : ReadBits'(Chunk));
  end

  always_ff @(posedge clk_i) begin
    if (state_q == Fill) begin
      half_q <= 1'b0;
      odd_q  <= 1'b0;
    end else if (take) begin
      half_q <= !half_q;
      odd_q  <= odd_q ^ (accumulate_i && first_i);
    end
    if (take && first_i) begin
      weight_q <= wgt_i + column_word_i;
    end else if (state_q == Tile && !hold && entry_ends) begin
      weight_q <= weight_q + bank_i.wgt_words;
    end
    if (take) begin
      position_q <= column ? '0 : ReadBits'(lane_i);
    end else if (!hold && entry_ends) begin
      if (column) position_q <= position_q + ReadBits'(bank_i.ir);
      else if (!bank_i.is_packed) position_q <= position_q + ReadBits'(1);
      else if (nth_q == bank_i.n - 5'd1) position_q <= position_q + ReadBits'(bank_i.m);
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      step_o <= '0;
    end else begin
      step_o <= {state_q == Tile && !hold && occupied, first_q && !begun_q, last_q && last_entry,
                 cycles_q == 5'(AddLatency) && !held_q, odd_q, slot, read_addr};
    end
  end

  // WS: the partial sums of this fold are back when `lag_q` has run down to 1; a faster fold behind it
  // begins later by what it gains on each step after the first (`owed_q` steps are not added yet).

  // Cycles of a step in the feeder, of a fold of so many words.
  function automatic span_t step_reads(input logic [RowBits:0] count);
    span_t words;
    words = span_t'(count) > span_t'(records_i) ? span_t'(count) : span_t'(records_i);
    if ((32'd1 << m_log2_i) > ActLanes) words = span_t'(records_i);
    step_reads = words << two;
  endfunction

  // d: a row begins a step so much later than the row above it.
  function automatic span_t row_delay(input logic [4:0] entry_cycles);
    row_delay = span_t'(bank_i.n) * span_t'(entry_cycles) - span_t'(entry_cycles)
              + span_t'(AddLatency + 1);
  endfunction

  function automatic span_t longer(input span_t a, input span_t b);
    longer = a > b ? a : b;
  endfunction

  span_t                       reads_q, step_time, next_time, gained, owed_q, delay, next_delay;
  span_t                       new_delay, taking, working, shift, shift_q;
  span_t                       tail_os, tail_ws, tail_q;
  logic signed [TimeBits+15:0] lag, lag_q;
  logic [4:0]                  next_cycles, new_next_slots;
  logic                        next_narrow, new_narrow, next_known, pay;
  logic                        step_ready, sums_ready, fold_ready, go, final_fill;

  assign next_narrow = last_fold_q ? next_narrow_q || last_tile_q : last_tile_q;
  assign next_cycles = next_narrow ? last_cycles_i : cycles_i;
  assign delay       = row_delay(cycles_q);
  assign next_delay  = row_delay(next_cycles);
  assign next_known  = plan_ready_i[!parity_q];
  assign step_time   = longer(working, reads_q);
  assign next_time   = longer(span_t'(bank_i.n) * span_t'(next_cycles),
                              step_reads(parity_q ? plan_count_i[RowBits:0]
                                                  : plan_count_i[2*RowBits+1:RowBits+1]));
  assign gained      = step_time > next_time ? step_time - next_time : '0;
  assign pay         = owed_q != '0 && next_known;

  // Rows below are longer behind in a wider column tile: they begin with a narrower one so much sooner,
  // and take its values before.
  assign taking     = span_t'(records_i) << two;
  assign working    = span_t'(bank_i.n) * span_t'(cycles_q);
  assign shift      = last_q ? ((delay - next_delay) << RowBits) - (delay - next_delay)
                             + (taking > working ? taking - working : '0) : '0;
  assign step_ready = !reading_on_i;
  assign lag        = pay ? lag_q + $signed({16'd0, gained}) : lag_q;
  assign sums_ready = lag <= 1 && owed_q <= span_t'(pay);
  assign fold_ready = !loading_on_i && sums_ready
                    && (state_q == Step ? shift == '0 : shift_q <= span_t'(1));
  assign final_fill = last_q && last_tile_q && (!ws || last_fold_q);
  assign go         = step_ready && (!last_q || fold_ready);

  always_comb begin
    take = 1'b0;
    unique case (state_q)
      Fill: take = cycle_i >= 4'd8 && (ws ? !reading_on_i && !loading_on_i
                                          : span_t'(remaining_i) <= span_t'(1)
                                            && chain_left_q <= span_t'(1));
      Tile:    take = work_ends && !final_fill;
      Step:    take = work_ends && !final_fill && go;
      Wait:    take = go;
      default: take = 1'b0;
    endcase
  end

  assign fill_o = take || (state_q == Fill && cycle_i == 4'd7);

  // The span after the last fill: skew, pipeline and chain, or the way of the last partial sum.
  assign tail_os = span_t'(Rows + Cols - 2 + MulLatency + AddLatency) + chain;
  assign tail_ws = (delay << RowBits) + span_t'(cosparse_pkg::PartialSumWriteCycles)
                 + span_t'(slots_q) + span_t'(Cols + MulLatency - 2)
                 - working;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q      <= Idle;
      chain_left_q <= '0;
      tail_q       <= '0;
      lag_q        <= '0;
      owed_q       <= '0;
      shift_q      <= '0;
      reads_q      <= '0;
      tile_o       <= 1'b0;
      tile_drain_o <= 1'b0;
      tile_load_o  <= 1'b0;
    end else begin
      tile_o <= 1'b0;
      tail_q <= tail_q - span_t'(1);
      lag_q  <= lag - 1;
      if (chain_left_q != '0) chain_left_q <= chain_left_q - span_t'(1);
      if (shift_q != '0) shift_q <= shift_q - span_t'(1);
      if (pay) owed_q <= owed_q - span_t'(1);

      unique case (state_q)
        Fill: begin
          if (cycle_i == 4'd7) chain_left_q <= accumulate_i && !ws ? chain : '0;
          if (take) state_q <= ws ? Step : Tile;
        end
        Tile:    if (work_ends && final_fill) state_q <= Tail;
        Step: begin
          if (work_ends) begin
            shift_q <= shift;
            if (final_fill) state_q <= Tail;
            else if (!take) state_q <= Wait;
          end
        end
        Wait:    if (take) state_q <= Step;
        Tail:    if (tail_q == span_t'(1)) state_q <= Idle;
        default: state_q <= Idle;
      endcase
      if (start_i) state_q <= Fill;

      if (work_ends && final_fill && (state_q == Tile || state_q == Step)) begin
        tail_q       <= ws ? tail_ws : tail_os;
        tile_o       <= !ws;
        tile_drain_o <= 1'b1;
        tile_load_o  <= 1'b0;
      end
      if (take && !ws && first_i) begin
        tile_o       <= 1'b1;
        tile_drain_o <= state_q != Fill;
        tile_load_o  <= accumulate_i && !last_tile_i;
        // The first tile has none before it, but with `accumulate` the next one's first values come.
        chain_left_q <= state_q == Fill && !(accumulate_i && !last_tile_i) ? '0 : gap;
      end
      if (take && ws) begin
        if (first_i) begin
          lag_q   <= $signed({16'd0, (new_delay << RowBits)
                              + span_t'(cosparse_pkg::PartialSumWriteCycles)});
          owed_q  <= '0;
          reads_q <= step_reads(parity_i ? plan_count_i[2*RowBits+1:RowBits+1]
                                         : plan_count_i[RowBits:0]);
        end else if (!pay) begin
          owed_q <= owed_q + span_t'(1);
        end else begin
          owed_q <= owed_q;
        end
      end
    end
  end

  // WS: pairs of the next fold, from the first cycle of this one on.

  assign new_delay      = row_delay(cycles);
  assign new_narrow     = last_fold_i ? next_narrow_i : last_tile_i;
  assign new_next_slots = new_narrow ? last_slots_i : slots_i;
  assign load_o         = ws && take && first_i && !(last_fold_i && last_tile_i);
  assign load_next_o    = last_fold_i;
  assign load_pace_o    = longer(new_delay,
                                 span_t'(bank_i.n) * (span_t'(new_next_slots) >> two));

  logic start_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) start_q <= 1'b0;
    else start_q <= take && ws;
  end

  assign start_o = {start_q, first_q, last_fold_q, last_tile_q};
  assign fold_o  = {take && first_i, parity_i};

  assign done_o  = state_q == Tail && tail_q == span_t'(1);
  assign busy_o  = (state_q == Tile && !hold && occupied) || (state_q == Step && occupied);
  assign adder_o = (state_q == Tile && !hold && !occupied) || (state_q == Step && !occupied);
  assign data_o  = state_q == Fill || (state_q == Tile && hold && hold_data)
                 || (state_q == Wait && reading_i);
  assign drain_o = (state_q == Tile && hold && !hold_data) || (state_q == Wait && !reading_i)
                 || state_q == Tail;

  logic unused;
  assign unused = ^bank_i;

endmodule : stce_sequencer
