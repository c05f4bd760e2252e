/// FP17 multiplier with an exact FP32 product: p = a * b (for FP17 see fp16_to_fp17).
///
/// 11 x 11 bits of significand fit in the 24 of FP32 and so do the exponents: nothing is ever
/// rounded. Infinity times zero and NaN give 0x7FC00000 (docs/numerics.md).
///
/// Timing: fully pipelined, one product a cycle; `p_o` belongs to the operands of `Latency` cycles
/// before. The registers, in the order in which they are added: result, product, operands, and a
/// second one behind the product. All but the first lie inside the DSP block.
///
/// Not here: reset, valid or stall; whoever uses the multiplier keeps its own valid pipeline.
module fp17_mul #(
  /// Pipeline stages, 1 to 4 (cycles).
  parameter int unsigned Latency = 2
) (
  /// Clock.
  input  logic        clk_i,
  /// First operand, FP17.
  input  logic [16:0] a_i,
  /// Second operand, FP17.
  input  logic [16:0] b_i,
  /// Product, binary32.
  output logic [31:0] p_o
);

  if (Latency < 1 || Latency > 4) begin : gen_illegal
    $fatal(1, "fp17_mul: Latency must be 1 to 4");
  end

  // Operands.

  logic [16:0] a_q, b_q;
  logic a_zero, b_zero, a_infinite, b_infinite, a_nan, b_nan;

  assign a_zero     = a_q[15:12] == 4'b1100;
  assign b_zero     = b_q[15:12] == 4'b1100;
  assign a_infinite = a_q[15:12] == 4'b1101;
  assign b_infinite = b_q[15:12] == 4'b1101;
  assign a_nan      = a_q[15:12] == 4'b1110;
  assign b_nan      = b_q[15:12] == 4'b1110;

  // Product.

  typedef struct packed {
    logic        sign;
    logic        zero;
    logic        special;  // infinity or NaN
    logic        nan;
    logic [6:0]  exponent;  // less 64
    logic [21:0] significand;
  } product_t;

  product_t product_d, product_q, settled_q;

  assign product_d.sign = a_q[16] ^ b_q[16];
  assign product_d.zero = a_zero | b_zero;
  assign product_d.special = a_infinite | b_infinite | product_d.nan;
  assign product_d.nan = a_nan | b_nan | (a_infinite & b_zero) | (b_infinite & a_zero);
  // Bias 127 instead of twice 31.
  assign product_d.exponent = {1'b0, a_q[15:10]} + {1'b0, b_q[15:10]} + 7'd1;
  assign product_d.significand = {1'b1, a_q[9:0]} * {1'b1, b_q[9:0]};

  // Two significands of 1 to 2 make one of 1 to 4.

  logic        carry;
  logic [6:0]  exponent;
  logic [20:0] fraction;

  assign carry    = settled_q.significand[21];
  assign exponent = settled_q.exponent + {6'd0, carry};
  assign fraction = carry ? settled_q.significand[20:0] : {settled_q.significand[19:0], 1'b0};

  // One condition a field, so that it becomes the reset of the field's flip-flops.
  always_ff @(posedge clk_i) begin
    p_o[31]    <= settled_q.sign & ~settled_q.nan;
    p_o[30:23] <= {exponent[6], ~exponent[6], exponent[5:0]} & {8{~settled_q.zero}};
    if (settled_q.special) p_o[30:23] <= 8'hff;
    p_o[22]    <= (fraction[20] & ~settled_q.zero & ~settled_q.special) | settled_q.nan;
    p_o[21:0]  <= {fraction[19:0], 2'd0};
    if (settled_q.zero | settled_q.special) p_o[21:0] <= '0;
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

endmodule : fp17_mul
