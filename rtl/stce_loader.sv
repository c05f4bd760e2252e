/// WS: brings the pairs of a fold from the weight scratchpad into the elements, a word a cycle.
///
/// Rows follow each other at a pace that the sequencer gives, so that a row's pairs never overwrite
/// those that it still works with. What the fold lacks (entries that the end of a segment cuts, rows
/// without a group) is loaded as -0 with +0 beside it in the group memory: a product of -0 leaves
/// every sum as it is.
///
/// Timing: the first address is in the cycle after `load_i`; `pair_o`, `blank_o` belong to the cycle
/// after an address, like the word itself.
///
/// Not here: activations; indices of dense operands (stce).
module stce_loader #(
  /// Array rows R.
  parameter int unsigned Rows = 4,
  /// Largest N.
  parameter int unsigned NMax = 8,
  /// Accumulators of an element.
  parameter int unsigned Interleave = 4,
  localparam int unsigned SlotBits = Interleave > 1 ? $clog2(Interleave) : 1,
  localparam int unsigned EntryBits = NMax > 1 ? $clog2(NMax) : 1,
  localparam int unsigned PairBits = 1 + EntryBits + SlotBits,
  localparam int unsigned RowBits = $clog2(Rows),
  localparam int unsigned PairWriteBits = 1 + RowBits + PairBits
) (
  /// Clock.
  input  logic                                 clk_i,
  /// Reset, active low.
  input  logic                                 rst_ni,
  /// A MATMUL begins: the first fold is loaded from the next cycle on, if `ws_i`.
  input  logic                                 begin_i,
  input  logic                                 ws_i,
  /// Its descriptor bank, first word of the right operand, words of a row of the result.
  input  cosparse_pkg::stce_bank_t             bank_i,
  input  logic [cosparse_pkg::AddressBits-1:0] wgt_i,
  input  logic [cosparse_pkg::AddressBits-1:0] row_words_i,
  /// Load the next fold, the first one of the next column tile; cycles from row to row.
  input  logic                                 load_i,
  input  logic                                 next_i,
  input  logic [23:0]                          pace_i,
  /// There will be an address in the next cycle or later.
  output logic                                 loading_on_o,
  /// Weight scratchpad.
  output logic                                 wgt_re_o,
  output logic [cosparse_pkg::AddressBits-1:0] wgt_raddr_o,
  /// Pair that comes from it; see stce_row. It is a missing one.
  output logic [PairWriteBits-1:0]             pair_o,
  output logic                                 blank_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;

  logic                   active_q, work, buffer_q, exists, spent_q;
  logic [RowBits-1:0]     row_q;
  logic [4:0]             entry_q, column_q, columns;
  logic [23:0]            pace_q, pace_left_q, left_q;
  logic [15:0]            kx_q, ky_q;
  logic [AddressBits-1:0] weight_q, column_word_q, columns_left_q;
  logic                   rest_q, column_ends, entries_end, row_ends, last_row, last_tap;

  assign columns     = columns_left_q < AddressBits'(bank_i.ic) ? 5'(columns_left_q) : bank_i.ic;
  assign work        = active_q && !rest_q;
  assign exists      = !spent_q && (bank_i.is_packed || 24'(entry_q) < left_q);
  assign column_ends = column_q == columns - 5'd1;
  assign entries_end = column_ends && entry_q == bank_i.n - 5'd1;
  assign last_row    = row_q == RowBits'(Rows - 1);
  assign row_ends    = (rest_q || entries_end) && pace_left_q <= 24'd1;
  assign last_tap    = kx_q == bank_i.taps_x - 16'd1 && ky_q == bank_i.taps_y - 16'd1;

  assign loading_on_o = active_q && !(work && entries_end && last_row);
  assign wgt_re_o     = work && exists;
  assign wgt_raddr_o  = weight_q + AddressBits'(column_q);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      active_q       <= 1'b0;
      rest_q         <= 1'b0;
      spent_q        <= 1'b0;
      buffer_q       <= 1'b0;
      row_q          <= '0;
      entry_q        <= '0;
      column_q       <= '0;
      pace_q         <= '0;
      pace_left_q    <= '0;
      left_q         <= '0;
      kx_q           <= '0;
      ky_q           <= '0;
      weight_q       <= '0;
      column_word_q  <= '0;
      columns_left_q <= '0;
    end else begin
      if (work) begin
        column_q <= column_ends ? '0 : column_q + 5'd1;
        if (column_ends) begin
          entry_q <= entries_end ? '0 : entry_q + 5'd1;
          if (exists) weight_q <= weight_q + bank_i.wgt_words;
        end
        if (entries_end && !spent_q) begin
          left_q <= left_q > 24'(bank_i.m) ? left_q - 24'(bank_i.m) : bank_i.channels;
          if (left_q <= 24'(bank_i.m)) begin
            kx_q <= kx_q == bank_i.taps_x - 16'd1 ? '0 : kx_q + 16'd1;
            if (kx_q == bank_i.taps_x - 16'd1) ky_q <= ky_q + 16'd1;
            spent_q <= last_tap;
          end
        end
      end
      if (active_q) begin
        pace_left_q <= pace_left_q <= 24'd1 ? pace_q : pace_left_q - 24'd1;
        rest_q      <= (rest_q || entries_end) && !row_ends;
        if (row_ends) row_q <= row_q + RowBits'(1);
        if (!loading_on_o) begin
          active_q <= 1'b0;
          rest_q   <= 1'b0;
        end
      end
      if (begin_i || load_i) begin
        active_q    <= load_i || ws_i;
        rest_q      <= 1'b0;
        row_q       <= '0;
        entry_q     <= '0;
        column_q    <= '0;
        buffer_q    <= load_i && !buffer_q;
        pace_q      <= load_i ? pace_i : '0;
        pace_left_q <= load_i ? pace_i : '0;
      end
      if (begin_i || (load_i && next_i)) begin
        left_q         <= bank_i.channels;
        kx_q           <= '0;
        ky_q           <= '0;
        spent_q        <= 1'b0;
        weight_q       <= wgt_i + (begin_i ? '0 : column_word_q + AddressBits'(bank_i.ic));
        column_word_q  <= begin_i ? '0 : column_word_q + AddressBits'(bank_i.ic);
        columns_left_q <= begin_i ? row_words_i : columns_left_q - AddressBits'(bank_i.ic);
      end
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      pair_o  <= '0;
      blank_o <= 1'b0;
    end else begin
      pair_o  <= {work, row_q, buffer_q, EntryBits'(entry_q), SlotBits'(column_q)};
      blank_o <= !exists;
    end
  end

  logic unused;
  assign unused = ^bank_i;

endmodule : stce_loader
