/// The array: Rows x Cols elements, the edges of its rows, and the skew of its columns.
///
/// Control and activations go east from the row edges, weights, indices and the bus go south.
///
/// Timing: a register a step, so an element works c cycles after the edge of its row. Weights and
/// indices of column c are delayed by c cycles here; first values come and results leave with that
/// skew, since every accumulator bank has addresses of its own.
///
/// Not here: decisions; see stce_row for what the ports mean.
module stce_array #(
  /// Array rows R.
  parameter int unsigned Rows = 4,
  /// Array columns C.
  parameter int unsigned Cols = 4,
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
  /// To all rows; see stce_row.
  input  logic                     clear_i,
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
  input  logic [RowBits-1:0]       blocks_less1_i,
  input  logic [WordBits-1:0]      word_i,
  input  logic [16*Lanes*Rows-1:0] lines_i,
  input  logic [PlanBits-1:0]      plan_i,
  input  logic [1:0]               fold_i,
  input  logic [2:0]               m_log2_i,
  /// To row 0; see stce_row.
  input  logic [StepBits-1:0]      step_i,
  input  logic [ItemBits-1:0]      item_i,
  input  logic [PairWriteBits-1:0] pair_i,
  input  logic [3:0]               start_i,
  input  logic [TokenBits-1:0]     token_i,
  /// Weights and indices of row 0, all columns in the same cycle.
  input  logic [16*Cols-1:0]       weights_i,
  input  logic [4*Cols-1:0]        indices_i,
  /// Bus of row 0; column c lags by c cycles.
  input  logic [32*Cols-1:0]       bus_i,
  /// WS: column 0 takes partial sums from the bus in the next cycle, those of the last fold.
  output logic                     reads_o,
  output logic                     reads_last_o,
  /// Results on `bus_o` of column 0 in this cycle, WS: those of the last fold.
  output logic                     leaves_o,
  output logic                     leaves_last_o,
  /// Bus behind the last row; column c lags by c cycles.
  output logic [32*Cols-1:0]       bus_o
);

  logic [(Rows+1)*StepBits-1:0]      step;
  logic [(Rows+1)*ItemBits-1:0]      item;
  logic [(Rows+1)*PairWriteBits-1:0] pair;
  logic [(Rows+1)*4-1:0]             start;
  logic [(Rows+1)*TokenBits-1:0]     token;
  logic [Rows-1:0]                   reads, reads_last, leaves, leaves_last;

  logic [Rows*(Cols+1)*WestBits-1:0] west;
  logic [(Rows+1)*Cols*17-1:0]       weight;
  logic [(Rows+1)*Cols*4-1:0]        index;
  logic [(Rows+1)*Cols*32-1:0]       bus;
  logic [Rows*Cols*32-1:0]           out;

  assign step[0+:StepBits]      = step_i;
  assign item[0+:ItemBits]      = item_i;
  assign pair[0+:PairWriteBits] = pair_i;
  assign start[0+:4]            = start_i;
  assign token[0+:TokenBits]    = token_i;
  assign bus[0+:32*Cols]        = bus_i;

  assign reads_o       = reads[0];
  assign reads_last_o  = reads_last[0];
  assign leaves_o      = leaves[Rows-1];
  assign leaves_last_o = leaves_last[Rows-1];
  assign bus_o         = out[(Rows-1)*Cols*32+:Cols*32];

  // The elements compute with FP17.
  for (genvar c = 0; c < Cols; c++) begin : gen_skew
    logic [16:0] wide;

    fp16_to_fp17 u_wide (
      .a_i(weights_i[16*c+:16]),
      .r_o(wide)
    );

    if (c == 0) begin : gen_none
      assign weight[16:0] = wide;
      assign index[3:0]   = indices_i[3:0];
    end else begin : gen_delay
      logic [21*(c+1)-1:0] taps;
      logic [21*c-1:0]     taps_q;

      assign taps = {taps_q, indices_i[4*c+:4], wide};

      always_ff @(posedge clk_i) taps_q <= taps[21*c-1:0];

      assign {index[4*c+:4], weight[17*c+:17]} = taps[21*c+:21];
    end
  end

  for (genvar r = 0; r < Rows; r++) begin : gen_row
    stce_row #(
      .Row                 (r),
      .Rows                (Rows),
      .GroupMax            (GroupMax),
      .NMax                (NMax),
      .MulLatency          (MulLatency),
      .AddLatency          (AddLatency),
      .Interleave          (Interleave),
      .ActValuesPerRowCycle(ActValuesPerRowCycle)
    ) u_row (
      .clk_i,
      .rst_ni,
      .clear_i,
      .ws_i,
      .column_i,
      .packed_i,
      .n_i,
      .two_i,
      .slots_i,
      .cycles_i,
      .last_slots_i,
      .last_cycles_i,
      .records_i,
      .blocks_less1_i,
      .step_i       (step[r*StepBits+:StepBits]),
      .step_o       (step[(r+1)*StepBits+:StepBits]),
      .item_i       (item[r*ItemBits+:ItemBits]),
      .item_o       (item[(r+1)*ItemBits+:ItemBits]),
      .pair_i       (pair[r*PairWriteBits+:PairWriteBits]),
      .pair_o       (pair[(r+1)*PairWriteBits+:PairWriteBits]),
      .start_i      (start[r*4+:4]),
      .start_o      (start[(r+1)*4+:4]),
      .reads_o      (reads[r]),
      .reads_last_o (reads_last[r]),
      .leaves_o     (leaves[r]),
      .leaves_last_o(leaves_last[r]),
      .word_i,
      .token_i      (token[r*TokenBits+:TokenBits]),
      .token_o      (token[(r+1)*TokenBits+:TokenBits]),
      .lines_i,
      .plan_i,
      .fold_i,
      .m_log2_i,
      .west_o       (west[r*(Cols+1)*WestBits+:WestBits])
    );

    for (genvar c = 0; c < Cols; c++) begin : gen_col
      uspe #(
        .Lanes     (Lanes),
        .RecordBits(RecordBits),
        .SlotBits  (SlotBits),
        .PairBits  (PairBits),
        .MulLatency(MulLatency),
        .AddLatency(AddLatency)
      ) u_pe (
        .clk_i,
        .rst_ni,
        .west_i  (west[(r*(Cols+1)+c)*WestBits+:WestBits]),
        .east_o  (west[(r*(Cols+1)+c+1)*WestBits+:WestBits]),
        .weight_i(weight[(r*Cols+c)*17+:17]),
        .index_i (index[(r*Cols+c)*4+:4]),
        .weight_o(weight[((r+1)*Cols+c)*17+:17]),
        .index_o (index[((r+1)*Cols+c)*4+:4]),
        .bus_i   (bus[(r*Cols+c)*32+:32]),
        .bus_o   (bus[((r+1)*Cols+c)*32+:32]),
        .out_o   (out[(r*Cols+c)*32+:32])
      );
    end
  end

  // What leaves the last column and the last row ends there.
  logic unused;
  assign unused = ^{step, item, pair, start, token, weight, index, bus, reads, reads_last, leaves,
                    leaves_last, west, out};

endmodule : stce_array
