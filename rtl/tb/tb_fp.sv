/// Every number unit at every latency, side by side, for rtl/tb/fp_main.cpp.
///
/// Lane i of a result belongs to Latency i + 1.
module tb_fp #(
  /// Only what has few enough operands to try them all: fp16_mul at Latency 1 and the casts.
  parameter bit Exhaustive = 1'b0
) (
  /// Clock.
  input  logic         clk_i,
  /// Operands of the binary32 adder and multiplier.
  input  logic [31:0]  a32_i,
  input  logic [31:0]  b32_i,
  /// Operands of the binary16 multiplier; the first is widened too.
  input  logic [15:0]  a16_i,
  input  logic [15:0]  b16_i,
  /// Operand that is rounded to binary16.
  input  logic [31:0]  round_i,
  /// Sums, binary32.
  output logic [127:0] add_o,
  /// Products of binary32 operands.
  output logic [127:0] mul32_o,
  /// Products of binary16 operands.
  output logic [127:0] mul16_o,
  /// The first binary16 operand, widened.
  output logic [31:0]  widened_o,
  /// `round_i`, rounded.
  output logic [15:0]  rounded_o,
  /// The rounded value is an infinity or NaN.
  output logic         nonfinite_o
);

  for (genvar i = 0; i < 4; i++) begin : gen_latency
    if (i == 0 || !Exhaustive) begin : gen_mul16
      fp16_mul #(.Latency(i + 1)) u_mul16 (
        .clk_i, .a_i(a16_i), .b_i(b16_i), .p_o(mul16_o[32*i+:32])
      );
    end else begin : gen_no_mul16
      assign mul16_o[32*i+:32] = 32'd0;
    end

    if (!Exhaustive) begin : gen_binary32
      fp32_add #(.Latency(i + 1)) u_add (
        .clk_i, .a_i(a32_i), .b_i(b32_i), .s_o(add_o[32*i+:32])
      );
      fp32_mul #(.Latency(i + 1)) u_mul32 (
        .clk_i, .a_i(a32_i), .b_i(b32_i), .p_o(mul32_o[32*i+:32])
      );
    end else begin : gen_no_binary32
      logic unused;
      assign unused = ^{a32_i, b32_i};
      assign add_o[32*i+:32] = 32'd0;
      assign mul32_o[32*i+:32] = 32'd0;
    end
  end

  fp16_to_fp32 u_widen (.a_i(a16_i), .r_o(widened_o));
  fp32_to_fp16 u_round (.a_i(round_i), .r_o(rounded_o), .nonfinite_o);

endmodule : tb_fp
