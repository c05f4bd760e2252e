/// FP16 multiplier with an exact FP32 product: p = a * b.
///
/// 11 x 11 bits of significand fit in the 24 of FP32 and the exponents fit too, subnormals
/// included, so nothing is ever rounded. Infinity times zero and NaN give 0x7FC00000
/// (docs/numerics.md).
///
/// Timing: fully pipelined, one product a cycle; `p_o` belongs to the operands of `Latency` cycles
/// before. The registers, in the order in which they are added: result, product, operands, and a
/// second one behind the product. All but the first lie inside the DSP block.
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

  if (Latency < 1 || Latency > 4) begin : gen_illegal
    $fatal(1, "fp16_mul: Latency must be 1 to 4");
  end

  // Operands.

  logic [15:0] a_q, b_q;
  logic a_normal, b_normal, a_special, b_special, a_clear, b_clear;

  assign a_normal  = a_q[14:10] != 5'd0;
  assign b_normal  = b_q[14:10] != 5'd0;
  assign a_special = &a_q[14:10];
  assign b_special = &b_q[14:10];
  assign a_clear   = a_q[9:0] == 10'd0;
  assign b_clear   = b_q[9:0] == 10'd0;

  // Product.

  typedef struct packed {
    logic        sign;
    logic        special;  // infinity or NaN
    logic        nan;
    logic [5:0]  exponent;  // sum of the biased exponents, at least 2
    logic [21:0] significand;
  } product_t;

  product_t product_d, product_q, settled_q;

  assign product_d.sign = a_q[15] ^ b_q[15];
  assign product_d.special = a_special | b_special;
  assign product_d.nan = (a_special & ~a_clear) | (b_special & ~b_clear)
                       | (a_special & ~b_normal & b_clear) | (b_special & ~a_normal & a_clear);
  // A subnormal has the exponent of the smallest normal number.
  assign product_d.exponent = {1'b0, a_q[14:11], a_q[10] | ~a_normal}
                            + {1'b0, b_q[14:11], b_q[10] | ~b_normal};
  assign product_d.significand = {a_normal, a_q[9:0]} * {b_normal, b_q[9:0]};

  // Normalise: the leading one goes to bit 21, in steps of 8, 2 and 1. A zero has none.

  logic [1:0] step8, step2;
  logic step1;
  logic [21:0] norm8, norm2, norm1;
  logic [7:0] exponent;

  always_comb begin
    if (settled_q.significand[21:14] != 8'd0) step8 = 2'd0;
    else if (settled_q.significand[13:6] != 8'd0) step8 = 2'd1;
    else step8 = 2'd2;
    norm8 = settled_q.significand << {step8, 3'd0};

    if (norm8[21:20] != 2'd0) step2 = 2'd0;
    else if (norm8[19:18] != 2'd0) step2 = 2'd1;
    else if (norm8[17:16] != 2'd0) step2 = 2'd2;
    else step2 = 2'd3;
    norm2 = norm8 << {step2, 1'b0};

    step1 = ~norm2[21];
    norm1 = norm2 << step1;
  end

  // Bias 127 instead of twice 15, and bit 21 of the product weighs two.
  assign exponent = {2'd0, settled_q.exponent} + (8'd98 - {3'd0, step8, step2, step1});

  always_ff @(posedge clk_i) begin
    p_o <= {settled_q.sign, exponent & {8{norm1[21]}}, norm1[20:0], 2'd0};
    if (settled_q.special) p_o[30:0] <= {8'hff, 23'd0};
    if (settled_q.nan) p_o <= 32'h7fc0_0000;
  end

  // Pipeline registers that Latency asks for.

  if (Latency >= 3) begin : gen_operands
    always_ff @(posedge clk_i) begin
      a_q <= a_i;
      b_q <= b_i;
    end
  end else begin : gen_no_operands
    assign a_q = a_i;
    assign b_q = b_i;
  end

  if (Latency >= 2) begin : gen_product
    always_ff @(posedge clk_i) product_q <= product_d;
  end else begin : gen_no_product
    assign product_q = product_d;
  end

  if (Latency >= 4) begin : gen_settled
    always_ff @(posedge clk_i) settled_q <= product_q;
  end else begin : gen_no_settled
    assign settled_q = product_q;
  end

endmodule
