/// Addresses of the accumulator words of a MATMUL, in the order in which its sums pass.
///
/// OS: tile by tile all slots of a column, row of the array by row, used or not. WS: step by step the
/// occupied slots; rows begin again with each fold.
///
/// Timing: `addr_o` and what describes it belong to the next sum; `step_i` goes on to the one behind.
///
/// Not here: the skew of the columns, and whether a column of the last word exists (stce).
module stce_sums #(
  /// Array rows R.
  parameter int unsigned Rows = 4
) (
  /// Clock.
  input  logic                                 clk_i,
  /// Reset, active low.
  input  logic                                 rst_ni,
  /// Go to the first sum.
  input  logic                                 begin_i,
  /// Descriptor bank, first word, rows of a band (a tap, lhs = COLUMN; else all), words from band to
  /// band, words of a row.
  input  cosparse_pkg::stce_bank_t             bank_i,
  input  logic [cosparse_pkg::AddressBits-1:0] acc_i,
  input  logic [23:0]                          band_rows_i,
  input  logic [cosparse_pkg::AddressBits-1:0] band_words_i,
  input  logic [cosparse_pkg::AddressBits-1:0] row_words_i,
  /// Go to the next sum; WS: this one is of the last fold of its column tile.
  input  logic                                 step_i,
  input  logic                                 last_fold_i,
  /// Word; it is one of the result; it is the last one of its row.
  output logic [cosparse_pkg::AddressBits-1:0] addr_o,
  output logic                                 valid_o,
  output logic                                 last_word_o,
  /// WS: it is of the first fold of its column tile.
  output logic                                 first_fold_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned RowBits = $clog2(Rows);

  logic ws, column, two;

  assign ws     = bank_i.flow == cosparse_pkg::FlowWs;
  assign column = bank_i.lhs == cosparse_pkg::LhsColumn;
  assign two    = bank_i.ir == 2'd2;

  // Rows of the result: of this array row, of the first one of the tile, of the first one of the band.

  logic [AddressBits-1:0] row_q, tile_q, band_q, second, tile_words, column_word_q, columns_left_q;
  logic [23:0]            rows_left_q, row, tile_rows;
  logic [15:0]            kx_q, ky_q;
  logic [RowBits-1:0]     number_q;
  logic [4:0]             column_q, columns;
  logic                   second_q, column_ends, row_ends, tile_ends, rows_end, last_tap, all_end;

  assign second      = ws ? bank_i.acc_words : bank_i.acc_words << RowBits;
  assign tile_words  = two ? second << 1 : second;
  assign tile_rows   = (ws ? 24'd1 : 24'(Rows)) << two;
  assign row         = (second_q ? (ws ? 24'd1 : 24'(Rows)) : 24'd0) + 24'(number_q);
  assign addr_o      = row_q + (second_q ? second : '0) + column_word_q + AddressBits'(column_q);
  assign valid_o     = row < rows_left_q && AddressBits'(column_q) < columns_left_q;
  assign last_word_o = AddressBits'(column_q) == columns_left_q - AddressBits'(1);

  assign columns     = ws && columns_left_q < AddressBits'(bank_i.ic) ? 5'(columns_left_q)
                                                                      : bank_i.ic;
  assign column_ends = second_q == two;
  assign row_ends    = column_ends && column_q == columns - 5'd1;
  assign tile_ends   = row_ends && (ws || number_q == RowBits'(Rows - 1));
  assign rows_end    = tile_ends && rows_left_q <= tile_rows;
  assign last_tap    = kx_q == bank_i.taps_x - 16'd1 && ky_q == bank_i.taps_y - 16'd1;
  assign all_end     = rows_end && (ws ? last_fold_i : !column || last_tap);

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      row_q          <= '0;
      tile_q         <= '0;
      band_q         <= '0;
      column_word_q  <= '0;
      columns_left_q <= '0;
      rows_left_q    <= '0;
      kx_q           <= '0;
      ky_q           <= '0;
      number_q       <= '0;
      column_q       <= '0;
      second_q       <= 1'b0;
      first_fold_o   <= 1'b0;
    end else if (begin_i) begin
      row_q          <= acc_i;
      tile_q         <= acc_i;
      band_q         <= acc_i;
      column_word_q  <= '0;
      columns_left_q <= row_words_i;
      rows_left_q    <= band_rows_i;
      kx_q           <= '0;
      ky_q           <= '0;
      number_q       <= '0;
      column_q       <= '0;
      second_q       <= 1'b0;
      first_fold_o   <= 1'b1;
    end else if (step_i) begin
      second_q <= !column_ends;
      if (column_ends) column_q <= row_ends ? '0 : column_q + 5'd1;
      if (row_ends && !ws) begin
        number_q <= number_q + RowBits'(1);
        row_q    <= row_q + bank_i.acc_words;
      end
      if (tile_ends) begin
        row_q       <= tile_q + tile_words;
        tile_q      <= tile_q + tile_words;
        rows_left_q <= rows_left_q - tile_rows;
      end
      if (rows_end) begin
        first_fold_o <= all_end;
        rows_left_q <= band_rows_i;
        row_q       <= band_q;
        tile_q      <= band_q;
        if (column) begin
          row_q  <= band_q + band_words_i;
          tile_q <= band_q + band_words_i;
          band_q <= band_q + band_words_i;
          kx_q   <= kx_q == bank_i.taps_x - 16'd1 ? '0 : kx_q + 16'd1;
          if (kx_q == bank_i.taps_x - 16'd1) ky_q <= ky_q + 16'd1;
        end
      end
      if (all_end) begin
        row_q          <= acc_i;
        tile_q         <= acc_i;
        band_q         <= acc_i;
        kx_q           <= '0;
        ky_q           <= '0;
        column_word_q  <= column_word_q + AddressBits'(bank_i.ic);
        columns_left_q <= columns_left_q - AddressBits'(bank_i.ic);
      end
    end
  end

  logic unused;
  assign unused = ^bank_i;

endmodule : stce_sums
