/// Widen: FP16 to FP32, exact. A NaN becomes 0x7FC00000 (docs/numerics.md).
///
/// Timing: combinational.
///
/// Not here: registers, flags.
module fp16_to_fp32 (
  /// Operand, binary16.
  input  logic [15:0] a_i,
  /// The same number, binary32.
  output logic [31:0] r_o
);

  logic [3:0] zeros;
  logic [9:0] fraction;

  always_comb begin
    // Leading zeros of a subnormal's fraction.
    zeros = 4'd0;
    for (int unsigned i = 0; i < 10; i++) begin
      if (a_i[i]) zeros = 4'(9 - i);
    end
    fraction = (a_i[9:0] << zeros) << 1;

    if (a_i[14:10] == 5'd31) begin
      r_o = a_i[9:0] == 10'd0 ? {a_i[15], 8'hff, 23'd0} : 32'h7fc0_0000;
    end else if (a_i[14:10] != 5'd0) begin
      r_o = {a_i[15], {3'd0, a_i[14:10]} + 8'd112, a_i[9:0], 13'd0};
    end else if (a_i[9:0] != 10'd0) begin
      r_o = {a_i[15], 8'd112 - {4'd0, zeros}, fraction, 13'd0};
    end else begin
      r_o = {a_i[15], 31'd0};
    end
  end

endmodule : fp16_to_fp32
