/// WS: the ACT words of a fold, and which of the array's rows finds its group where.
///
/// A fold is Rows groups of K in order. Groups that lie in one word of one segment share its read; a
/// group wider than a word has the words that follow. Two folds are kept: the feeder reads one while
/// the next one is planned.
///
/// Timing: one word a cycle from the cycle after `start_i` on; word k of the first fold is there in
/// the k + 2nd cycle after it. A fold is planned when `ready_o` says so, and free again in the cycle
/// of `release_i`. `rows_*` goes to the row edges in the cycle in which a word is planned.
///
/// Not here: tokens; addresses are relative to the word of token 0's pixel at the origin.
module stce_planner #(
  /// Array rows R.
  parameter int unsigned Rows = 4,
  /// Lanes of an activation word.
  parameter int unsigned ActLanes = 4,
  /// Bits of a pixel coordinate.
  parameter int unsigned CoordBits = 40,
  localparam int unsigned RowBits = $clog2(Rows),
  localparam int unsigned WordLaneBits = $clog2(ActLanes)
) (
  /// Clock.
  input  logic                                 clk_i,
  /// Reset, active low.
  input  logic                                 rst_ni,
  /// Begin with the first fold; no more folds.
  input  logic                                 start_i,
  input  logic                                 stop_i,
  /// Channels of a segment, log2 m.
  input  logic [23:0]                          channels_i,
  input  logic [2:0]                           m_log2_i,
  /// Segment that the planner is in, and its way to the next one.
  input  logic signed [CoordBits-1:0]          y_i,
  input  logic signed [CoordBits-1:0]          x_i,
  input  logic [cosparse_pkg::AddressBits-1:0] words_i,
  input  logic                                 last_segment_i,
  output logic                                 first_o,
  output logic                                 next_o,
  /// Fold `release_parity_i` is read.
  input  logic                                 release_i,
  input  logic                                 release_parity_i,
  /// Folds of even and odd number: planned, words, last one of a column tile.
  output logic [1:0]                           ready_o,
  output logic [2*(RowBits+1)-1:0]             count_o,
  output logic [1:0]                           last_o,
  /// Word `read_number_i` of fold `read_parity_i`: pixel, address, channels of its segment from it on.
  input  logic                                 read_parity_i,
  input  logic [RowBits-1:0]                   read_number_i,
  output logic signed [CoordBits-1:0]          read_y_o,
  output logic signed [CoordBits-1:0]          read_x_o,
  output logic [cosparse_pkg::AddressBits-1:0] read_word_o,
  output logic [23:0]                          read_left_o,
  /// To the rows: a word of fold `rows_parity_o` (`rows_first_o`, `rows_last_o`) holds the groups of
  /// `rows_count_o` rows from `rows_row_o` on, the first one at lane `rows_lane_o`.
  output logic                                 rows_we_o,
  output logic                                 rows_first_o,
  output logic                                 rows_last_o,
  output logic                                 rows_parity_o,
  output logic [RowBits-1:0]                   rows_number_o,
  output logic [RowBits-1:0]                   rows_row_o,
  output logic [RowBits:0]                     rows_count_o,
  output logic [WordLaneBits-1:0]              rows_lane_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;

  logic                   run_q, parity_q, begun_q;
  logic [RowBits:0]       number_q, row_q, count;
  logic [AddressBits-1:0] word_q;
  logic [WordLaneBits:0]  lane_q, lane_end;
  logic [23:0]            left_q, groups_left, used;
  logic [WordLaneBits:0]  groups_in_word;
  logic                   wide, work, segment_ends, all_ends, fold_ends;

  // m > a R: a group takes several words.
  assign wide           = (24'd1 << m_log2_i) > 24'(ActLanes);
  assign work           = run_q && !ready_o[parity_q];
  assign groups_in_word = ((WordLaneBits+1)'(ActLanes) - lane_q) >> m_log2_i;
  assign groups_left    = (left_q + (24'd1 << m_log2_i) - 24'd1) >> m_log2_i;

  always_comb begin
    count = (RowBits+1)'(Rows) - row_q;
    if (wide) count = (RowBits+1)'(1);
    else if (24'(groups_in_word) < 24'(count)) count = (RowBits+1)'(groups_in_word);
    if (groups_left < 24'(count)) count = (RowBits+1)'(groups_left);
  end

  assign used         = 24'(count) << m_log2_i;
  assign lane_end     = lane_q + (WordLaneBits+1)'(used);
  assign segment_ends = groups_left == 24'(count);
  assign all_ends     = segment_ends && last_segment_i;
  assign fold_ends    = all_ends || row_q + count == (RowBits+1)'(Rows);
  assign first_o      = work && all_ends;
  assign next_o       = work && segment_ends && !last_segment_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      run_q    <= 1'b0;
      parity_q <= 1'b0;
      begun_q  <= 1'b0;
      ready_o  <= '0;
      number_q <= '0;
      row_q    <= '0;
      word_q   <= '0;
      lane_q   <= '0;
      left_q   <= '0;
    end else begin
      if (release_i) ready_o[release_parity_i] <= 1'b0;
      if (work) begin
        begun_q  <= !fold_ends;
        number_q <= fold_ends ? '0 : number_q + (RowBits+1)'(1);
        row_q    <= fold_ends ? '0 : row_q + count;
        if (fold_ends) begin
          ready_o[parity_q] <= 1'b1;
          parity_q          <= !parity_q;
        end
        if (segment_ends) begin
          word_q <= '0;
          lane_q <= '0;
          left_q <= channels_i;
        end else begin
          left_q <= left_q - used;
          if (wide) begin
            word_q <= word_q + AddressBits'(used >> WordLaneBits);
          end else begin
            word_q <= word_q + AddressBits'(lane_end >> WordLaneBits);
            lane_q <= {1'b0, lane_end[WordLaneBits-1:0]};
          end
        end
      end
      if (start_i) begin
        run_q    <= 1'b1;
        parity_q <= 1'b0;
        begun_q  <= 1'b0;
        ready_o  <= '0;
        number_q <= '0;
        row_q    <= '0;
        word_q   <= '0;
        lane_q   <= '0;
        left_q   <= channels_i;
      end
      if (stop_i) run_q <= 1'b0;
    end
  end

  // Words of both folds.

  localparam int unsigned EntryBits = 2 * CoordBits + AddressBits + 24;

  logic [EntryBits-1:0] words_q [2*Rows];

  always_ff @(posedge clk_i) begin
    if (work) begin
      words_q[{parity_q, number_q[RowBits-1:0]}] <=
          {y_i, x_i, words_i + word_q, left_q + 24'(lane_q)};
    end
    if (work && fold_ends) begin
      count_o[(RowBits+1)*parity_q+:RowBits+1] <= number_q + (RowBits+1)'(1);
      last_o[parity_q]                         <= all_ends;
    end
  end

  assign {read_y_o, read_x_o, read_word_o, read_left_o} = words_q[{read_parity_i, read_number_i}];

  assign rows_we_o     = work;
  assign rows_first_o  = !begun_q;
  assign rows_last_o   = fold_ends;
  assign rows_parity_o = parity_q;
  assign rows_number_o = number_q[RowBits-1:0];
  assign rows_row_o    = row_q[RowBits-1:0];
  assign rows_count_o  = count;
  assign rows_lane_o   = lane_q[WordLaneBits-1:0];

endmodule : stce_planner
