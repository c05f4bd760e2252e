/// FP16 to FP17, a format in which every number is normal: one exponent bit more, nothing rounded.
///
///     {sign, exponent[5:0], fraction[9:0]}    (-1)^sign * 1.fraction * 2^(exponent - 31)
///
/// Numbers have exponents 7 to 46. Above them, by exponent[5:4] = 3: zero, infinity and NaN, which
/// exponent[3:2] tells apart as 0, 1 and 2; their other bits are zero. The array makes FP17 once at
/// its edges, so that no element has to normalise products.
///
/// Timing: combinational.
///
/// Not here: registers, flags, the way back; products of FP17 are FP32.
module fp16_to_fp17 (
  /// Number, binary16.
  input  logic [15:0] a_i,
  /// The same number, FP17.
  output logic [16:0] r_o
);

  localparam logic [5:0] Zero     = 6'b11_00_00;
  localparam logic [5:0] Infinity = 6'b11_01_00;
  localparam logic [5:0] Nan      = 6'b11_10_00;

  logic [4:0] exponent;
  logic [9:0] fraction, shifted;
  logic [3:0] zeros;

  assign {exponent, fraction} = a_i[14:0];

  // Zeros before the leading one of a subnormal number.
  always_comb begin
    zeros = '0;
    for (int unsigned i = 0; i < 10; i++) begin
      if (fraction[i]) zeros = 4'(9 - i);
    end
  end

  assign shifted = fraction << zeros << 1;

  always_comb begin
    r_o = {a_i[15], {1'b0, exponent} + 6'd16, fraction};
    if (exponent == 5'd0) r_o[15:0] = {fraction == 10'd0 ? Zero : 6'd16 - {2'd0, zeros}, shifted};
    if (exponent == 5'd31) r_o[15:0] = {fraction == 10'd0 ? Infinity : Nan, 10'd0};
  end

endmodule : fp16_to_fp17
