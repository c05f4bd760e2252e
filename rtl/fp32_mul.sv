/// FP32 multiplier: p = a * b, rounded once to nearest even.
///
/// Subnormals are operands and results like any other number, overflow gives infinity; infinity
/// times zero and NaN give 0x7FC00000 (docs/numerics.md).
///
/// Timing: fully pipelined, one product a cycle; `p_o` belongs to the operands of `Latency` cycles
/// before. The registers, in the order in which they are added: result, product, normalised
/// product, operands.
///
/// Not here: exception flags, other rounding modes, reset, valid or stall; whoever uses the
/// multiplier keeps its own valid pipeline.
///
/// Structure: the product of the significands, 48 bits, lies at the low end of a 74-bit window and
/// one left shift brings it under the result's leading position. That shift ends at the leading one,
/// or before it where the exponent would fall below its minimum, which covers left shifts for
/// subnormal operands and right shifts for subnormal results alike.
module fp32_mul #(
  /// Pipeline stages, 1 to 4 (cycles).
  parameter int unsigned Latency = 3
) (
  /// Clock.
  input  logic        clk_i,
  /// First operand, binary32.
  input  logic [31:0] a_i,
  /// Second operand, binary32.
  input  logic [31:0] b_i,
  /// Product, binary32.
  output logic [31:0] p_o
);

  if (Latency < 1 || Latency > 4) begin : gen_illegal
    $fatal(1, "fp32_mul: Latency must be 1 to 4");
  end

  // Operands.

  logic [31:0] a_q, b_q;
  logic a_normal, b_normal, a_special, b_special, a_clear, b_clear;

  assign a_normal  = a_q[30:23] != 8'd0;
  assign b_normal  = b_q[30:23] != 8'd0;
  assign a_special = &a_q[30:23];
  assign b_special = &b_q[30:23];
  assign a_clear   = a_q[22:0] == 23'd0;
  assign b_clear   = b_q[22:0] == 23'd0;

  // Product.

  typedef struct packed {
    logic        sign;
    logic        special;  // infinity or NaN
    logic        nan;
    logic [8:0]  exponent;  // sum of the biased exponents, 2 to 510
    logic [47:0] significand;
  } product_t;

  product_t product_d, product_q;

  assign product_d.sign = a_q[31] ^ b_q[31];
  assign product_d.special = a_special | b_special;
  assign product_d.nan = (a_special & ~a_clear) | (b_special & ~b_clear)
                       | (a_special & ~b_normal & b_clear) | (b_special & ~a_normal & a_clear);
  // A subnormal has the exponent of the smallest normal number.
  assign product_d.exponent = {1'b0, a_q[30:24], a_q[23] | ~a_normal}
                            + {1'b0, b_q[30:24], b_q[23] | ~b_normal};
  assign product_d.significand = {a_normal, a_q[22:0]} * {b_normal, b_q[22:0]};

  // Normalise. At shift 26 bit 47 of the product is the leading position, and the biased exponent of
  // the result is exponent - 126.

  typedef struct packed {
    logic        sign;
    logic        special;
    logic        nan;
    logic [8:0]  exponent;  // biased, where the leading bit is set
    logic [23:0] kept;
    logic        guard;
    logic        sticky;
  } normal_t;

  normal_t normal_d, normal_q;
  logic [4:0] zeros;
  logic [5:0] wanted, shift;
  logic [8:0] room;
  logic [73:0] window;

  always_comb begin
    // With more than 24 leading zeros both operands are subnormal, and the product rounds to zero.
    zeros = 5'd25;
    for (int unsigned i = 23; i < 48; i++) begin
      if (product_q.significand[i]) zeros = 5'(47 - i);
    end
  end

  assign wanted = {1'b0, zeros} + 6'd26;
  assign room = product_q.exponent - 9'd101;  // the shift that gives the biased exponent 1
  always_comb begin
    if (product_q.exponent < 9'd101) shift = 6'd0;
    else if (room < {3'd0, wanted}) shift = room[5:0];
    else shift = wanted;
  end

  assign window = {26'd0, product_q.significand} << shift;
  assign normal_d.sign = product_q.sign;
  assign normal_d.special = product_q.special;
  assign normal_d.nan = product_q.nan;
  assign normal_d.exponent = product_q.exponent - {3'd0, shift} - 9'd100;
  assign normal_d.kept = window[73:50];
  assign normal_d.guard = window[49];
  assign normal_d.sticky = window[48:0] != 49'd0;

  // Round.

  logic [31:0] rounded;

  assign rounded = {normal_q.exponent & {9{normal_q.kept[23]}}, normal_q.kept[22:0]}
                 + {31'd0, normal_q.guard & (normal_q.sticky | normal_q.kept[0])};

  always_ff @(posedge clk_i) begin
    p_o <= {normal_q.sign, rounded[30:0]};
    if (normal_q.special | rounded[31] | (&rounded[30:23])) p_o[30:0] <= {8'hff, 23'd0};
    if (normal_q.nan) p_o <= 32'h7fc0_0000;
  end

  // Pipeline registers that Latency asks for.

  if (Latency >= 4) begin : gen_operands
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

  if (Latency >= 3) begin : gen_normal
    always_ff @(posedge clk_i) normal_q <= normal_d;
  end else begin : gen_no_normal
    assign normal_q = normal_d;
  end

endmodule : fp32_mul
