/// Sizes of one MATMUL that are products of registers, made in the cycles before its first read.
///
/// Word addresses count modulo 2 ** AddressBits, so the low bits of a product are enough.
///
/// Timing: `cycle_o` counts the cycles of the MATMUL from 1 (the cycle after `start_i`) to 15, where
/// it stays. Products of steps are there from cycle 3 on, of the origin from cycle 5, of strides from
/// cycle 7, `tokens_o` from cycle 3, `band_words_o` from cycle 8.
///
/// Not here: a copy of the bank, which must stay until then, and checks that a product fits.
module stce_setup (
  /// Clock.
  input  logic                                 clk_i,
  /// Reset, active low.
  input  logic                                 rst_ni,
  /// The MATMUL issues.
  input  logic                                 start_i,
  /// Its descriptor bank, from the next cycle on.
  input  cosparse_pkg::stce_bank_t             bank_i,
  /// Cycle of the MATMUL.
  output logic [3:0]                           cycle_o,
  /// images * out_h * out_w; fits since every token has a word of its own.
  output logic [23:0]                          tokens_o,
  /// Words from tap to tap, of the origin, from token to token.
  output logic [cosparse_pkg::AddressBits-1:0] step_x_words_o,
  output logic [cosparse_pkg::AddressBits-1:0] step_y_words_o,
  output logic [cosparse_pkg::AddressBits-1:0] origin_x_words_o,
  output logic [cosparse_pkg::AddressBits-1:0] origin_y_words_o,
  output logic [cosparse_pkg::AddressBits-1:0] stride_x_words_o,
  output logic [cosparse_pkg::AddressBits-1:0] stride_y_words_o,
  /// Words of the result from tap to tap (lhs = COLUMN).
  output logic [cosparse_pkg::AddressBits-1:0] band_words_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;

  logic [AddressBits-1:0] a, b, product;
  logic [23:0]            count;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) cycle_o <= '1;
    else if (start_i) cycle_o <= 4'd1;
    else if (cycle_o != '1) cycle_o <= cycle_o + 4'd1;
  end

  // One multiplier for words, one for tokens.

  always_comb begin
    unique case (cycle_o)
      4'd1:    {a, b} = {AddressBits'(bank_i.step_x), bank_i.pixel_words};
      4'd2:    {a, b} = {AddressBits'(bank_i.step_y), bank_i.row_words};
      4'd3:    {a, b} = {AddressBits'(bank_i.origin_x), bank_i.pixel_words};
      4'd4:    {a, b} = {AddressBits'(bank_i.origin_y), bank_i.row_words};
      4'd5:    {a, b} = {AddressBits'(bank_i.stride_x), bank_i.pixel_words};
      4'd6:    {a, b} = {AddressBits'(bank_i.stride_y), bank_i.row_words};
      default: {a, b} = {AddressBits'(bank_i.channels), bank_i.acc_words};
    endcase
  end

  assign product = a * b;
  assign count   = cycle_o == 4'd1 ? bank_i.out_h * bank_i.out_w : tokens_o * bank_i.images;

  always_ff @(posedge clk_i) begin
    if (cycle_o == 4'd1 || cycle_o == 4'd2) tokens_o <= count;
    if (cycle_o == 4'd1) step_x_words_o <= product;
    if (cycle_o == 4'd2) step_y_words_o <= product;
    if (cycle_o == 4'd3) origin_x_words_o <= product;
    if (cycle_o == 4'd4) origin_y_words_o <= product;
    if (cycle_o == 4'd5) stride_x_words_o <= product;
    if (cycle_o == 4'd6) stride_y_words_o <= product;
    if (cycle_o == 4'd7) band_words_o <= product;
  end

  logic unused;
  assign unused = ^bank_i;

endmodule : stce_setup
