/// Round: FP32 to FP16, to nearest even. A NaN becomes 0x7E00 (docs/numerics.md).
///
/// Timing: combinational.
///
/// Not here: registers; the sticky NONFINITE flag, which belongs to the machine.
module fp32_to_fp16 (
  /// Operand, binary32.
  input  logic [31:0] a_i,
  /// The nearest number, binary16; too large a magnitude gives infinity.
  output logic [15:0] r_o,
  /// The result is an infinity or NaN.
  output logic        nonfinite_o
);

  // FP16's smallest normal number has the FP32 exponent 113, its largest 142.
  logic subnormal, too_large, hidden, round_up;
  logic [7:0] deficit;
  logic [3:0] shift;
  logic [23:0] significand, lost;
  logic [9:0] kept;
  logic [4:0] exponent;
  logic [14:0] rounded;

  assign subnormal = a_i[30:23] < 8'd113;
  assign too_large = a_i[30:23] > 8'd142;
  assign deficit   = 8'd113 - a_i[30:23];

  // 12 places and more leave nothing but the sticky bit.
  always_comb begin
    if (!subnormal) shift = 4'd0;
    else if (deficit > 8'd12) shift = 4'd12;
    else shift = deficit[3:0];
  end

  // kept: the fraction of the result; lost: what is below it, the guard bit in bit 23.
  assign significand = {a_i[30:23] != 8'd0, a_i[22:0]};
  assign {hidden, kept, lost} = {significand, 11'd0} >> shift;

  assign exponent = a_i[27:23] - 5'd16;  // minus 112, modulo 32
  assign round_up = lost[23] & (kept[0] | lost[22:0] != 23'd0);
  assign rounded  = {hidden ? exponent : 5'd0, kept} + {14'd0, round_up};

  always_comb begin
    if (a_i[30:0] > 31'h7f80_0000) r_o = 16'h7e00;
    else if (too_large) r_o = {a_i[31], 5'd31, 10'd0};
    else r_o = {a_i[31], rounded};
  end

  assign nonfinite_o = &r_o[14:10];

endmodule : fp32_to_fp16
