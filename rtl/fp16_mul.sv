/// FP16 multiplier with an exact FP32 product: p = a * b, subnormal operands included.
///
/// Infinity times zero and NaN give 0x7FC00000 (docs/numerics.md).
///
/// Timing: as fp17_mul; the conversion of the operands lies before its first register.
///
/// Not here: reset, valid or stall; whoever uses the multiplier keeps its own valid pipeline.
module fp16_mul #(
  /// Pipeline stages, 1 to 4 (cycles).
  parameter int unsigned Latency = 2
) (
  /// Clock.
  input  logic        clk_i,
  /// First operand, binary16.
  input  logic [15:0] a_i,
  /// Second operand, binary16.
  input  logic [15:0] b_i,
  /// Product, binary32.
  output logic [31:0] p_o
);

  logic [16:0] a, b;

  fp16_to_fp17 u_a (
    .a_i(a_i),
    .r_o(a)
  );
  fp16_to_fp17 u_b (
    .a_i(b_i),
    .r_o(b)
  );
  fp17_mul #(
    .Latency(Latency)
  ) u_mul (
    .clk_i,
    .a_i(a),
    .b_i(b),
    .p_o
  );

endmodule : fp16_mul
