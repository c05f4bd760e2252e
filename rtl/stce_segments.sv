/// Segments of K one after the other: taps in order, or the entries of the segment table.
///
/// The table is read ahead through a port of its own, since the array may read a weight word in every
/// cycle; its half belongs to the STCE, so that nothing writes there.
///
/// Timing: the outputs change in the cycle after `first_i` or `next_i`, either at most every second
/// cycle with a table; table entries are there 4 cycles after `start_i`. After the last segment comes
/// the first one again.
///
/// Not here: which pixels lie inside the image.
module stce_segments #(
  /// Array columns C: lanes of a weight word.
  parameter int unsigned Cols = 4,
  /// Lanes of an activation word.
  parameter int unsigned ActLanes = 4,
  /// Bits of a pixel coordinate.
  parameter int unsigned CoordBits = 40
) (
  /// Clock.
  input  logic                                 clk_i,
  /// Reset, active low.
  input  logic                                 rst_ni,
  /// A MATMUL issues; its last cycle.
  input  logic                                 start_i,
  input  logic                                 stop_i,
  /// Descriptor bank and products of the MATMUL.
  input  cosparse_pkg::stce_bank_t             bank_i,
  input  logic [cosparse_pkg::AddressBits-1:0] table_word_i,
  input  logic [cosparse_pkg::AddressBits-1:0] step_x_words_i,
  input  logic [cosparse_pkg::AddressBits-1:0] step_y_words_i,
  input  logic [cosparse_pkg::AddressBits-1:0] origin_x_words_i,
  input  logic [cosparse_pkg::AddressBits-1:0] origin_y_words_i,
  /// Go to the first segment, to the next one.
  input  logic                                 first_i,
  input  logic                                 next_i,
  /// Pixel of token 0, its word, first word and lane of the segment, whether it is the last one.
  output logic signed [CoordBits-1:0]          y_o,
  output logic signed [CoordBits-1:0]          x_o,
  output logic [cosparse_pkg::AddressBits-1:0] words_o,
  output logic [cosparse_pkg::AddressBits-1:0] word_o,
  output logic [$clog2(ActLanes)-1:0]          lane_o,
  output logic                                 last_o,
  /// Segment table in the weight scratchpad.
  output logic                                 table_re_o,
  output logic [cosparse_pkg::AddressBits-1:0] table_raddr_o,
  input  logic [16*Cols-1:0]                   table_rdata_i
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned PerWord = Cols / 2;
  localparam int unsigned EntryBits = PerWord > 1 ? $clog2(PerWord) : 1;
  localparam int unsigned WordLaneBits = $clog2(ActLanes);

  // Table entries, four ahead.

  logic                   run_q, coming_q, start_q;
  logic [15:0]            number_q;
  logic [EntryBits-1:0]   part_q, part_coming_q;
  logic [AddressBits-1:0] addr_q;
  logic [31:0]            queue_q [4];
  logic [1:0]             put_q, take_q;
  logic [2:0]             held_q;
  logic                   take, last_entry, last_part;
  logic [31:0]            arriving, entry;

  assign take          = bank_i.use_table && (first_i || next_i);
  assign table_re_o    = run_q && held_q + 3'(coming_q) < 3'd4;
  assign table_raddr_o = addr_q;
  assign last_entry    = number_q == bank_i.segments - 16'd1;
  assign last_part     = part_q == EntryBits'(PerWord - 1);
  assign entry         = queue_q[take_q];

  if (PerWord == 1) begin : gen_whole
    assign arriving = table_rdata_i[31:0];

    logic unused_part;
    assign unused_part = ^part_coming_q;
  end else begin : gen_part
    assign arriving = table_rdata_i[32*part_coming_q+:32];
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      start_q       <= 1'b0;
      run_q         <= 1'b0;
      coming_q      <= 1'b0;
      number_q      <= '0;
      part_q        <= '0;
      part_coming_q <= '0;
      addr_q        <= '0;
      put_q         <= '0;
      take_q        <= '0;
      held_q        <= '0;
    end else begin
      start_q       <= start_i;
      coming_q      <= table_re_o;
      part_coming_q <= part_q;
      held_q        <= held_q + 3'(coming_q) - 3'(take);
      put_q         <= put_q + 2'(coming_q);
      take_q        <= take_q + 2'(take);
      if (table_re_o) begin
        number_q <= last_entry ? 16'd0 : number_q + 16'd1;
        part_q   <= last_entry || last_part ? '0 : part_q + EntryBits'(1);
        if (last_entry) addr_q <= table_word_i;
        else if (last_part) addr_q <= addr_q + AddressBits'(1);
      end
      if (start_q) begin
        run_q    <= bank_i.use_table;
        number_q <= '0;
        part_q   <= '0;
        addr_q   <= table_word_i;
        put_q    <= '0;
        take_q   <= '0;
        held_q   <= '0;
      end
      if (stop_i) begin
        run_q    <= 1'b0;
        coming_q <= 1'b0;
      end
    end
  end

  always_ff @(posedge clk_i) begin
    if (coming_q) queue_q[put_q] <= arriving;
  end

  // Tap and table entry as pixels and words.

  logic [15:0]                 kx_q, ky_q, left_q;
  logic                        last_kx, last_ky;
  logic [AddressBits-1:0]      x_words_q, y_words_q;
  logic signed [CoordBits-1:0] origin_x, origin_y, step_x, step_y;
  logic signed [24:0]          entry_x, entry_y;

  assign last_kx  = kx_q == bank_i.taps_x - 16'd1;
  assign last_ky  = ky_q == bank_i.taps_y - 16'd1;
  assign last_o   = bank_i.use_table ? left_q == 16'd1 : last_kx && last_ky;
  assign origin_x = CoordBits'(bank_i.origin_x);
  assign origin_y = CoordBits'(bank_i.origin_y);
  assign step_x   = CoordBits'(bank_i.step_x);
  assign step_y   = CoordBits'(bank_i.step_y);
  assign entry_x  = $signed({1'b0, entry[23:16]}) * bank_i.step_x;
  assign entry_y  = $signed({1'b0, entry[31:24]}) * bank_i.step_y;
  assign words_o  = x_words_q + y_words_q;

  always_ff @(posedge clk_i) begin
    if (bank_i.use_table) begin
      if (first_i || next_i) begin
        x_o       <= origin_x + CoordBits'(entry_x);
        y_o       <= origin_y + CoordBits'(entry_y);
        x_words_q <= origin_x_words_i + AddressBits'(entry[23:16]) * step_x_words_i;
        y_words_q <= origin_y_words_i + AddressBits'(entry[31:24]) * step_y_words_i;
        word_o    <= AddressBits'(entry[15:WordLaneBits]);
        lane_o    <= entry[WordLaneBits-1:0];
        left_q    <= first_i ? bank_i.segments : left_q - 16'd1;
      end
    end else if (first_i || (next_i && last_kx && last_ky)) begin
      kx_q      <= '0;
      ky_q      <= '0;
      x_o       <= origin_x;
      y_o       <= origin_y;
      x_words_q <= origin_x_words_i;
      y_words_q <= origin_y_words_i;
      word_o    <= '0;
      lane_o    <= '0;
    end else if (next_i && last_kx) begin
      kx_q      <= '0;
      ky_q      <= ky_q + 16'd1;
      x_o       <= origin_x;
      y_o       <= y_o + step_y;
      x_words_q <= origin_x_words_i;
      y_words_q <= y_words_q + step_y_words_i;
    end else if (next_i) begin
      kx_q      <= kx_q + 16'd1;
      x_o       <= x_o + step_x;
      x_words_q <= x_words_q + step_x_words_i;
    end
  end

  logic unused;
  assign unused = ^bank_i;

endmodule : stce_segments
