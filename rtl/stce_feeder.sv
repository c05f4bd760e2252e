/// Feeder: walks tiles, chunks and tokens (OS) or folds and steps (WS), and reads ACT a word a cycle.
///
/// A fill is a chunk of Q channels (lhs = COLUMN: tokens) of a tile, or a step of Ir tokens of a fold.
/// One fill follows another in the order of the contract; the sequencer says when the next one begins
/// and takes the description of each fill when the array begins to work on it.
///
/// Timing: the first read of a fill is in the cycle after `fill_i`, the others follow without a gap;
/// a word and what describes it (`word_o`, `token_o`, `valid_lanes_o`) belong to the cycle after its
/// address. `fill_i` may come with the last read of the fill before it, not earlier.
///
/// Not here: which taps and words there are (stce_segments, stce_planner), when the array is ready
/// (stce_sequencer).
module stce_feeder #(
  /// Array rows R.
  parameter int unsigned Rows = 4,
  /// Largest M.
  parameter int unsigned GroupMax = 8,
  /// Accumulators of an element.
  parameter int unsigned Interleave = 4,
  /// Activations a row takes in a cycle.
  parameter int unsigned ActValuesPerRowCycle = 1,
  /// Bits of a pixel coordinate.
  parameter int unsigned CoordBits = 40,
  localparam int unsigned Lanes = ActValuesPerRowCycle,
  localparam int unsigned ActLanes = Lanes * Rows,
  localparam int unsigned WordLaneBits = $clog2(ActLanes),
  localparam int unsigned LaneBits = Lanes > 1 ? $clog2(Lanes) : 1,
  localparam int unsigned Chunk = GroupMax > ActLanes ? GroupMax : ActLanes,
  localparam int unsigned ChunkBits = $clog2(Chunk),
  localparam int unsigned IrMax = Interleave > 1 ? 2 : 1,
  localparam int unsigned RecordBits = 1 + $clog2(IrMax * Chunk / Lanes),
  localparam int unsigned RowBits = $clog2(Rows),
  localparam int unsigned WordBits = 2 + RowBits + RecordBits,
  localparam int unsigned TokenBits = Lanes + RecordBits,
  localparam int unsigned FillBits = ChunkBits + RowBits + 3
) (
  /// Clock.
  input  logic                                 clk_i,
  /// Reset, active low.
  input  logic                                 rst_ni,
  /// Walk from the start: the MATMUL's registers and products of tokens are there.
  input  logic                                 begin_i,
  /// Descriptor bank, first word of the left operand, tokens, words of a row of the result.
  input  cosparse_pkg::stce_bank_t             bank_i,
  input  logic [cosparse_pkg::AddressBits-1:0] act_i,
  input  logic [23:0]                          tokens_i,
  input  logic [cosparse_pkg::AddressBits-1:0] row_words_i,
  input  logic [cosparse_pkg::AddressBits-1:0] stride_x_words_i,
  input  logic [cosparse_pkg::AddressBits-1:0] stride_y_words_i,
  input  logic [2:0]                           m_log2_i,
  /// Records of a group: ceil(m / a).
  input  logic [4:0]                           records_i,
  /// Segment of this fill, and its way to the next one (OS).
  input  logic signed [CoordBits-1:0]          y_i,
  input  logic signed [CoordBits-1:0]          x_i,
  input  logic [cosparse_pkg::AddressBits-1:0] words_i,
  input  logic [cosparse_pkg::AddressBits-1:0] word_i,
  input  logic [WordLaneBits-1:0]              lane_i,
  input  logic                                 last_segment_i,
  output logic                                 first_segment_o,
  output logic                                 next_segment_o,
  /// Words of this fold (WS).
  input  logic [1:0]                           plan_ready_i,
  input  logic [2*(RowBits+1)-1:0]             plan_count_i,
  input  logic [1:0]                           plan_last_i,
  output logic                                 plan_parity_o,
  output logic [RowBits-1:0]                   plan_number_o,
  input  logic signed [CoordBits-1:0]          plan_y_i,
  input  logic signed [CoordBits-1:0]          plan_x_i,
  input  logic [cosparse_pkg::AddressBits-1:0] plan_word_i,
  input  logic [23:0]                          plan_left_i,
  output logic                                 plan_release_o,
  output logic                                 plan_release_parity_o,
  /// The next fill begins in the next cycle.
  input  logic                                 fill_i,
  /// Reads left of this fill, this cycle's included (OS).
  output logic [FillBits-1:0]                  remaining_o,
  /// It is being read in this cycle; it will be in the next one, unless a new fill begins.
  output logic                                 reading_o,
  output logic                                 reading_on_o,
  /// The fill that began last. OS: entries, first and last chunk of a tile, of the last tile.
  /// WS: (`first`, `last`) step of a fold, fold of the last column tile.
  output logic [ChunkBits:0]                   entries_o,
  output logic                                 first_o,
  output logic                                 last_o,
  output logic                                 last_tile_o,
  /// Column words and (Ir = 2) both rows that the tile occupies; its first column word; first lane.
  output logic [4:0]                           columns_o,
  output logic                                 two_o,
  output logic [cosparse_pkg::AddressBits-1:0] column_word_o,
  output logic [WordLaneBits-1:0]              lane_o,
  /// WS: last fold of its column tile, parity of the fold, the next column tile is the last one.
  output logic                                 last_fold_o,
  output logic                                 parity_o,
  output logic                                 next_narrow_o,
  /// WS: words of the last column tile, from the one before it on.
  output logic [4:0]                           last_columns_o,
  /// Activation scratchpad.
  output logic                                 act_re_o,
  output logic [cosparse_pkg::AddressBits-1:0] act_raddr_o,
  /// Word that arrives: for the rows, and for the corner turn.
  output logic [WordBits-1:0]                  word_o,
  output logic [TokenBits-1:0]                 token_o,
  output logic [WordLaneBits:0]                valid_lanes_o,
  output logic [LaneBits-1:0]                  part_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned SizeBits = 24;

  logic ws, column, two;

  assign ws     = bank_i.flow == cosparse_pkg::FlowWs;
  assign column = bank_i.lhs == cosparse_pkg::LhsColumn;
  assign two    = bank_i.ir == 2'd2;

  // Where the walk is: rows, columns, and K left from this fill on.

  logic                    done_q, first_q, half_q, parity_q;
  logic [SizeBits-1:0]     rows_left_q, k_left_q, tile_rows, k_fill, row_total, k_total;
  logic [AddressBits-1:0]  columns_left_q, column_word_q, chunk_word_q;
  logic [SizeBits-1:0]     part_q;  // lhs = COLUMN: channels before this tile, in units of Rows
  logic                    wide;

  assign tile_rows = two ? SizeBits'(2 * Rows) : SizeBits'(Rows);
  assign row_total = column ? bank_i.channels : tokens_i;
  assign k_total   = column || ws ? tokens_i : bank_i.channels;
  assign wide      = (SizeBits'(1) << m_log2_i) > SizeBits'(ActLanes);

  always_comb begin
    if (ws) k_fill = SizeBits'(bank_i.ir);
    else k_fill = SizeBits'(Chunk);
  end

  logic k_ends, rows_end, columns_end, segments_end, tile_ends, all_end;

  assign k_ends       = k_left_q <= k_fill;
  assign segments_end = column || last_segment_i;
  assign tile_ends    = ws ? k_ends : k_ends && segments_end;
  assign rows_end     = ws ? plan_last_i[parity_q]
                           : rows_left_q <= tile_rows && (!column || last_segment_i);
  assign columns_end  = columns_left_q <= AddressBits'(bank_i.ic);
  assign all_end      = tile_ends && rows_end && columns_end;

  // One fill: three loops of reads.
  //              inner                     middle             outer
  //     ROW      rows                      Ir                 words of the chunk
  //     COLUMN   words of a token          1                  tokens
  //     WS       words of the fold         words of a group   Ir

  logic [RowBits:0]   inner_q, inner_count, words_of_fold, records;
  logic [4:0]         middle_q, middle_count;
  logic [ChunkBits:0] outer_q, outer_count, size;
  logic               active_q, reads, inner_ends, middle_ends, outer_ends, fill_ends;

  assign size          = k_ends ? (ChunkBits+1)'(k_left_q) : (ChunkBits+1)'(Chunk);
  // Words of a chunk of so many channels; packed entries may name any of whole groups.
  function automatic logic [ChunkBits:0] words_of(input logic [ChunkBits:0] channels);
    logic [ChunkBits+1:0] filled;
    filled = {1'b0, channels};
    if (bank_i.is_packed) begin
      filled = (filled + (ChunkBits+2)'(bank_i.m - 5'd1)) >> m_log2_i << m_log2_i;
    end
    words_of = (ChunkBits+1)'((filled + (ChunkBits+2)'(ActLanes - 1)) >> WordLaneBits);
  endfunction

  assign words_of_fold = plan_count_i[(RowBits+1)*parity_q+:RowBits+1];
  assign records       = (RowBits+1)'(records_i);

  always_comb begin
    inner_count  = (RowBits+1)'(Rows);
    middle_count = 5'(bank_i.ir);
    outer_count  = words_of(size);
    if (column) begin
      inner_count  = two && Lanes == 1 ? (RowBits+1)'(2) : (RowBits+1)'(1);
      middle_count = 5'd1;
      outer_count  = size;
    end
    if (ws) begin
      if (!wide) inner_count = words_of_fold > records ? words_of_fold : records;
      middle_count = wide ? 5'((6'd1 << m_log2_i) >> WordLaneBits) : 5'd1;
      outer_count  = (ChunkBits+1)'(bank_i.ir);
    end
  end

  assign inner_ends  = inner_q == inner_count - (RowBits+1)'(1) && (!ws || plan_ready_i[parity_q]);
  assign middle_ends = inner_ends && middle_q == middle_count - 5'd1;
  assign outer_ends  = middle_ends && outer_q == outer_count - (ChunkBits+1)'(1);
  assign fill_ends   = reads && outer_ends;

  assign first_segment_o = fill_ends && !ws && (column ? k_ends && rows_left_q <= tile_rows
                                                       && last_segment_i : tile_ends);
  assign next_segment_o  = fill_ends && !ws && !first_segment_o && k_ends
                         && (!column || rows_left_q <= tile_rows);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      active_q       <= 1'b0;
      done_q         <= 1'b1;
      first_q        <= 1'b0;
      half_q         <= 1'b0;
      parity_q       <= 1'b0;
      inner_q        <= '0;
      middle_q       <= '0;
      outer_q        <= '0;
      rows_left_q    <= '0;
      k_left_q       <= '0;
      columns_left_q <= '0;
      column_word_q  <= '0;
      chunk_word_q   <= '0;
      part_q         <= '0;
    end else if (begin_i) begin
      active_q       <= 1'b0;
      done_q         <= 1'b0;
      first_q        <= 1'b1;
      half_q         <= 1'b0;
      parity_q       <= 1'b0;
      inner_q        <= '0;
      middle_q       <= '0;
      outer_q        <= '0;
      rows_left_q    <= row_total;
      k_left_q       <= k_total;
      columns_left_q <= row_words_i;
      column_word_q  <= '0;
      chunk_word_q   <= '0;
      part_q         <= '0;
    end else begin
      if (fill_ends) active_q <= 1'b0;
      if (fill_i && !(done_q || (fill_ends && all_end))) active_q <= 1'b1;
      if (reads) begin
        inner_q <= inner_ends ? '0 : inner_q + (RowBits+1)'(1);
        if (inner_ends) middle_q <= middle_ends ? '0 : middle_q + 5'd1;
        if (middle_ends) outer_q <= outer_ends ? '0 : outer_q + (ChunkBits+1)'(1);
      end
      if (fill_ends) begin
        half_q       <= !half_q;
        first_q      <= tile_ends;
        k_left_q     <= k_ends ? k_total : k_left_q - k_fill;
        chunk_word_q <= k_ends ? '0 : chunk_word_q + AddressBits'(Chunk / ActLanes);
        if (ws && k_ends) parity_q <= !parity_q;
        if (tile_ends) begin
          rows_left_q <= rows_left_q <= tile_rows ? row_total : rows_left_q - tile_rows;
          part_q      <= rows_left_q <= tile_rows ? '0 : part_q + SizeBits'(bank_i.ir);
          if (rows_end) begin
            done_q         <= columns_end;
            columns_left_q <= columns_left_q - AddressBits'(bank_i.ic);
            column_word_q  <= column_word_q + AddressBits'(bank_i.ic);
          end
        end
      end
    end
  end

  // The fold before is free when the first step of the next one is read.

  logic fold_waits_q, fold_ends;

  assign fold_ends             = fill_ends && ws && k_ends;
  assign plan_release_o        = fill_i && (fold_ends || fold_waits_q);
  assign plan_release_parity_o = parity_q ^ fold_waits_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) fold_waits_q <= 1'b0;
    else if (begin_i || fill_i) fold_waits_q <= 1'b0;
    else if (fold_ends) fold_waits_q <= 1'b1;
  end

  // Before the first word of a fold, rows take the blocks of the last word before it.

  logic [4:0] turn, turn_left_q;

  assign turn  = 32'(records_i) < Rows ? records_i - 5'd1 : 5'(Rows - 1);
  assign reads = active_q && turn_left_q == '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) turn_left_q <= '0;
    else if (plan_release_o) turn_left_q <= turn;
    else if (turn_left_q != '0) turn_left_q <= turn_left_q - 5'd1;
  end

  // Reads left of an OS fill.

  logic [FillBits-1:0]    fill_reads, remaining_q;
  logic [SizeBits-1:0]    next_k_left;
  logic [ChunkBits:0]     next_size;

  assign next_k_left = fill_ends ? (k_ends ? k_total : k_left_q - k_fill) : k_left_q;
  assign next_size   = next_k_left <= SizeBits'(Chunk) ? (ChunkBits+1)'(next_k_left)
                                                       : (ChunkBits+1)'(Chunk);

  always_comb begin
    if (column) begin
      fill_reads = FillBits'(next_size) << (two && Lanes == 1);
    end else begin
      fill_reads = FillBits'(words_of(next_size)) << (RowBits + 32'(two));
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      remaining_q <= '0;
    end else if (fill_i) begin
      remaining_q <= done_q || (fill_ends && all_end) ? '0 : fill_reads;
    end else if (remaining_q != '0) begin
      remaining_q <= remaining_q - FillBits'(1);
    end
  end

  assign remaining_o  = remaining_q;
  assign reading_o    = active_q;
  assign reading_on_o = active_q && !fill_ends;

  // Description of the fill, kept after the walk has gone on.

  localparam int unsigned NoteBits = ChunkBits + 1 + 3 + 5 + 1 + AddressBits + WordLaneBits + 2;

  logic [NoteBits-1:0]  note, note_q;
  logic                 fold_last_q;
  logic [ChunkBits:0]   entries;
  logic [4:0]           columns;

  always_comb begin
    entries = size;
    if (bank_i.is_packed) begin
      entries = (ChunkBits+1)'((32'(size) + (32'd1 << m_log2_i) - 32'd1) >> m_log2_i)
              * (ChunkBits+1)'(bank_i.n);
    end
  end

  assign columns = columns_end ? 5'(columns_left_q) : bank_i.ic;
  assign note    = {entries, first_q, tile_ends, columns_end && (ws || rows_end), columns,
                    two && (ws || rows_left_q > SizeBits'(Rows)), column_word_q, lane_i, parity_q,
                    columns_left_q <= AddressBits'({bank_i.ic, 1'b0})};

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      note_q      <= '0;
      fold_last_q <= 1'b0;
    end else if (active_q) begin
      note_q      <= note;
      fold_last_q <= plan_last_i[parity_q];
    end
  end

  assign {entries_o, first_o, last_o, last_tile_o, columns_o, two_o, column_word_o, lane_o,
          parity_o, next_narrow_o} = active_q ? note : note_q;
  assign last_fold_o = active_q ? plan_last_i[parity_q] : fold_last_q;

  logic [4:0] last_columns_q;

  always_comb begin
    last_columns_o = last_columns_q;
    if (!done_q && columns_end) begin
      last_columns_o = 5'(columns_left_q);
    end else if (!done_q && columns_left_q <= AddressBits'({bank_i.ic, 1'b0})) begin
      last_columns_o = 5'(columns_left_q - AddressBits'(bank_i.ic));
    end
  end

  always_ff @(posedge clk_i) last_columns_q <= last_columns_o;

  // Tokens. `tile` is the first token of the tile (lhs = ROW), where every word begins again.

  localparam int unsigned PointBits = 2 * SizeBits + 2 * CoordBits + 3 * AddressBits;

  logic [PointBits-1:0]        token_q, tile_q, token_next;
  logic [SizeBits-1:0]         ox, oy;
  logic signed [CoordBits-1:0] x, y;
  logic [AddressBits-1:0]      pixel, row, image, next_row, next_image;

  assign {oy, ox, y, x, image, row, pixel} = token_q;
  assign next_row   = row + stride_y_words_i;
  assign next_image = image + bank_i.image_words;

  always_comb begin
    if (ox != bank_i.out_w - SizeBits'(1)) begin
      token_next = {oy, ox + SizeBits'(1), y, x + CoordBits'({1'b0, bank_i.stride_x}), image, row,
                    pixel + stride_x_words_i};
    end else if (oy != bank_i.out_h - SizeBits'(1)) begin
      token_next = {oy + SizeBits'(1), SizeBits'(0), y + CoordBits'({1'b0, bank_i.stride_y}),
                    CoordBits'(0), image, next_row, next_row};
    end else begin
      token_next = {{(2*SizeBits+2*CoordBits){1'b0}}, next_image, next_image, next_image};
    end
  end

  always_ff @(posedge clk_i) begin
    if (begin_i) begin
      token_q <= '0;
      tile_q  <= '0;
    end else if (reads) begin
      if (ws) begin
        if (middle_ends) token_q <= fill_ends && k_ends ? '0 : token_next;
      end else if (column) begin
        if (inner_ends) token_q <= fill_ends && k_ends ? '0 : token_next;
      end else if (fill_ends && tile_ends) begin
        token_q <= rows_left_q <= tile_rows ? '0 : token_next;
        tile_q  <= rows_left_q <= tile_rows ? '0 : token_next;
      end else begin
        token_q <= middle_ends ? tile_q : token_next;
      end
    end
  end

  // Address and what the word holds.

  logic signed [CoordBits-1:0] pixel_y, pixel_x;
  logic [AddressBits-1:0]      offset;
  logic                        in_image, exists;
  logic [SizeBits-1:0]         left;
  logic [WordLaneBits:0]       valid_lanes;

  assign plan_parity_o = parity_q;
  assign plan_number_o = inner_q[RowBits-1:0];
  assign pixel_y       = y + (ws ? plan_y_i : y_i);
  assign pixel_x       = x + (ws ? plan_x_i : x_i);
  // A negative coordinate is a large one without its sign.
  assign in_image      = $unsigned(pixel_y) < CoordBits'(bank_i.in_h)
                       && $unsigned(pixel_x) < CoordBits'(bank_i.in_w);

  always_comb begin
    if (ws) begin
      offset = plan_word_i + AddressBits'(middle_q);
      exists = (inner_q < words_of_fold || !plan_ready_i[parity_q])
             && SizeBits'(outer_q) < k_left_q;
      left   = plan_left_i - (SizeBits'(middle_q) << WordLaneBits);
      if (plan_left_i <= SizeBits'(middle_q) << WordLaneBits) left = '0;
    end else if (column) begin
      offset = words_i + AddressBits'(part_q >> $clog2(Lanes)) + AddressBits'(inner_q);
      exists = 1'b1;
      left   = '1;
    end else begin
      offset = words_i + word_i + chunk_word_q + AddressBits'(outer_q);
      exists = (SizeBits'(middle_q) << RowBits) + SizeBits'(inner_q) < rows_left_q;
      left   = '1;
      if (bank_i.is_packed) begin
        left = k_left_q - (SizeBits'(outer_q) << WordLaneBits);
        if (k_left_q <= SizeBits'(outer_q) << WordLaneBits) left = '0;
      end
    end
  end

  assign valid_lanes = !exists || !in_image ? '0
                     : left < SizeBits'(ActLanes) ? (WordLaneBits+1)'(left)
                     : (WordLaneBits+1)'(ActLanes);
  assign act_re_o    = reads && valid_lanes != '0;
  assign act_raddr_o = act_i + pixel + offset;

  // Records: position (ROW, WS) or token and slot row (COLUMN).

  logic [RecordBits-1:0]     record;
  logic [RecordBits+LaneBits:0] position;
  logic [Lanes-1:0]          lanes;
  logic                      word_valid;

  assign position = two ? (RecordBits+LaneBits+1)'({outer_q, 1'b0})
                          + (RecordBits+LaneBits+1)'(inner_q)
                        : (RecordBits+LaneBits+1)'(outer_q);

  always_comb begin
    record = RecordBits'(half_q) << (RecordBits - 1);
    lanes  = '0;
    if (column) begin
      record = record | RecordBits'(position >> $clog2(Lanes));
      for (int lane = 0; lane < Lanes; lane++) begin
        lanes[lane] = (lane >> 32'(two && Lanes > 1))
                   == ((32'(position) % Lanes) >> 32'(two && Lanes > 1));
      end
    end else if (ws) begin
      record = record | RecordBits'(outer_q[0] ? Chunk / Lanes : 0)
             | RecordBits'(32'(middle_q) << RowBits);
    end else begin
      record = record | RecordBits'(middle_q[0] ? Chunk / Lanes : 0)
             | RecordBits'(32'(outer_q) << RowBits);
    end
  end

  assign word_valid = reads && !column
                    && (!ws || inner_q < words_of_fold || !plan_ready_i[parity_q]);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      word_o        <= '0;
      token_o       <= '0;
      valid_lanes_o <= '0;
      part_o        <= '0;
    end else begin
      word_o        <= {word_valid, parity_q, inner_q[RowBits-1:0], record};
      token_o       <= {lanes & {Lanes{active_q && column}}, record};
      valid_lanes_o <= valid_lanes;
      part_o        <= LaneBits'(part_q % SizeBits'(Lanes));
    end
  end

endmodule : stce_feeder
