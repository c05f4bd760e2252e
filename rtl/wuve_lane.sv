/// FP32 arithmetic of one vector lane: two multipliers and one adder for every operation of WUVE.
///
/// One operand enters a cycle and is multiplied by a factor; the adder takes in each cycle what
/// `add_i` says. Every operation rounds once.
///
/// Timing (wuve_pkg): the product comes MulCycles after the operand, the registered result
/// AddCycles + 1 after its addition begins, whatever AddLatency is.
///
/// UPDATE brings v, w, dW in three successive cycles with the factors momentum, decay, scale, and
/// asks for
///   AddPair      g = decay * w + scale * dW      with the product of dW
///   AddVelocity  v = momentum * v + g            AddCycles later
///   AddWeight    w = w - rate * v                AddCycles + MulCycles later
///
/// Not here: which results are wanted. The lane has no state besides its pipelines, no valid bits
/// and no reset.
module wuve_lane #(
  /// latency of the FP32 adder, which is also the shortest loop of COLSUM (cycles)
  parameter int unsigned AddLatency = 3
) (
  /// clock
  input  logic             clk_i,
  /// one operand a cycle
  input  logic [31:0]      operand_i,
  /// what the operand is multiplied by
  input  logic [31:0]      factor_i,
  /// learning rate; constant during an instruction
  input  logic [31:0]      rate_i,
  /// the addition that begins in this cycle
  input  wuve_pkg::add_e   add_i,
  /// AddLoop adds the sum of AddLatency + loop_delay_i cycles ago; below AddLatency
  input  logic [1:0]       loop_delay_i,
  /// sum
  output logic [31:0]      result_o,
  /// sum, rounded to FP16
  output logic [15:0]      half_o,
  /// half_o is an infinity or NaN
  output logic             half_nonfinite_o
);

  localparam logic [31:0] PlusZero = 32'h0000_0000;
  localparam logic [31:0] MinusZero = 32'h8000_0000;
  // From the product of v to the addition that needs it, and from w.
  localparam int unsigned VelocityWait = 2 + wuve_pkg::VelocityAddAt - wuve_pkg::AddAt;
  localparam int unsigned WeightWait = 1 + wuve_pkg::WeightAddAt - wuve_pkg::OperandCycles;
  localparam int unsigned AddPadding = wuve_pkg::AddCycles - AddLatency;

  if (AddLatency < 1 || AddLatency > wuve_pkg::AddCycles) begin : gen_check
    $fatal(1, "wuve_lane: AddLatency must be 1 to 4");
  end

  // Products
  logic [31:0] product, previous_q, velocity_product, weight;

  fp32_mul #(.Latency(wuve_pkg::MulCycles)) u_mul (
    .clk_i,
    .a_i(operand_i),
    .b_i(factor_i),
    .p_o(product)
  );

  always_ff @(posedge clk_i) previous_q <= product;

  delay_line #(.Width(32), .Depth(VelocityWait - 1)) u_velocity_product (
    .clk_i,
    .data_i(previous_q),
    .data_o(velocity_product)
  );

  delay_line #(.Width(32), .Depth(WeightWait)) u_weight (
    .clk_i,
    .data_i(operand_i),
    .data_o(weight)
  );

  // Sums. NaN products are canonical, therefore positive.
  logic [31:0] lhs, rhs, newest, sum_1_q, sum_2_q, sum_3_q, sum, loop, step;
  logic        product_negative, product_above_zero;

  assign product_negative = product[31];
  assign product_above_zero = !product[31] && product[30:0] != '0 && !(&product[30:22]);

  always_comb begin
    unique case (add_i)
      wuve_pkg::AddPair:     lhs = previous_q;
      wuve_pkg::AddFirst:    lhs = PlusZero;
      wuve_pkg::AddLoop:     lhs = loop;
      wuve_pkg::AddVelocity: lhs = velocity_product;
      wuve_pkg::AddWeight:   lhs = weight;
      default:               lhs = MinusZero;
    endcase
  end

  always_comb begin
    unique case (add_i)
      wuve_pkg::AddRelu:     rhs = product_negative ? PlusZero : product;
      wuve_pkg::AddMask:     rhs = product_above_zero ? previous_q : PlusZero;
      wuve_pkg::AddVelocity: rhs = sum;
      wuve_pkg::AddWeight:   rhs = {!step[31], step[30:0]};
      default:               rhs = product;
    endcase
  end

  fp32_add #(.Latency(AddLatency)) u_add (
    .clk_i,
    .a_i(lhs),
    .b_i(rhs),
    .s_o(newest)
  );

  always_ff @(posedge clk_i) begin
    sum_1_q <= newest;
    sum_2_q <= sum_1_q;
    sum_3_q <= sum_2_q;
  end

  logic [4*32-1:0] sums;
  assign sums = {sum_3_q, sum_2_q, sum_1_q, newest};
  assign sum = sums[AddPadding*32 +: 32];
  assign loop = sums[loop_delay_i*32 +: 32];

  fp32_mul #(.Latency(wuve_pkg::MulCycles)) u_rate (
    .clk_i,
    .a_i(sum),
    .b_i(rate_i),
    .p_o(step)
  );

  // Results
  logic [15:0] half;
  logic        half_nonfinite;

  fp32_to_fp16 u_round (
    .a_i(sum),
    .r_o(half),
    .nonfinite_o(half_nonfinite)
  );

  always_ff @(posedge clk_i) begin
    result_o         <= sum;
    half_o           <= half;
    half_nonfinite_o <= half_nonfinite;
  end

endmodule : wuve_lane
