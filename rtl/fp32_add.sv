/// FP32 adder: s = a + b, rounded once to nearest even.
///
/// Subnormals are operands and results like any other number, overflow gives infinity, a NaN result
/// is 0x7FC00000 (docs/numerics.md). An exact zero is +0 unless both operands are -0.
///
/// Timing: fully pipelined, one addition a cycle; `s_o` belongs to the operands of `Latency` cycles
/// before. The register behind the result is always there; the next ones to come are those behind
/// the alignment, the sum and the comparison.
///
/// Not here: exception flags, other rounding modes, reset, valid or stall; whoever uses the adder
/// keeps its own valid pipeline.
///
/// Structure: the operand of smaller magnitude is shifted right under the larger one, with what
/// falls off kept as one sticky bit; one carry chain adds or subtracts, so that the sum is never
/// negative; the normaliser shifts left in steps of 8, 2 and 1, none of which passes the smallest
/// exponent, so that subnormal results need no path of their own; one carry chain rounds fraction
/// and exponent together.
module fp32_add #(
  /// Pipeline stages, 1 to 4 (cycles).
  parameter int unsigned Latency = 3
) (
  /// Clock.
  input  logic        clk_i,
  /// First operand, binary32.
  input  logic [31:0] a_i,
  /// Second operand, binary32.
  input  logic [31:0] b_i,
  /// Sum, binary32.
  output logic [31:0] s_o
);

  if (Latency < 1 || Latency > 4) begin : gen_illegal
    $fatal(1, "fp32_add: Latency must be 1 to 4");
  end

  // Compare: which magnitude is larger, and by how many places do the significands differ.

  typedef struct packed {
    logic [31:0] a;
    logic [31:0] b;
    logic        swap;
    logic [7:0]  distance;
  } compared_t;

  compared_t compared_d, compared_q;
  logic a_normal, b_normal, fraction_less;
  logic [8:0] difference;

  assign a_normal = a_i[30:23] != 8'd0;
  assign b_normal = b_i[30:23] != 8'd0;
  assign fraction_less = {a_normal, a_i[22:0]} < {b_normal, b_i[22:0]};
  // A subnormal has the exponent of the smallest normal number.
  assign difference = {1'b0, a_i[30:24], a_i[23] | ~a_normal}
                    - {1'b0, b_i[30:24], b_i[23] | ~b_normal};

  assign compared_d.a = a_i;
  assign compared_d.b = b_i;
  assign compared_d.swap = difference[8] | (difference[7:0] == 8'd0 & fraction_less);
  assign compared_d.distance =
      (difference[7:0] ^ {8{difference[8]}}) + {7'd0, difference[8]};

  // Align: 24 bits of significand, two guard bits, one sticky bit.

  typedef struct packed {
    logic        sign;
    logic        subtract;
    logic        nan;
    logic [7:0]  exponent;  // of the larger operand; at least 1
    logic [23:0] larger;
    logic [26:0] smaller;
  } aligned_t;

  aligned_t aligned_d, aligned_q;
  logic [31:0] larger, smaller;
  logic [25:0] shift1, shift2, shift8;
  logic lost2, lost8, beyond;

  assign larger  = compared_q.swap ? compared_q.b : compared_q.a;
  assign smaller = compared_q.swap ? compared_q.a : compared_q.b;
  assign beyond  = compared_q.distance[7:5] != 3'd0;
  assign shift1  = {smaller[30:23] != 8'd0, smaller[22:0], 2'b00} >> compared_q.distance[0];

  assign shift2 = shift1 >> {compared_q.distance[2:1], 1'b0};
  assign shift8 = shift2 >> {compared_q.distance[4:3], 3'd0};

  // What falls off at steps of 2 and of 8.
  assign lost2 = (|compared_q.distance[2:1] & |shift1[1:0])
               | (compared_q.distance[2] & |shift1[3:2])
               | (&compared_q.distance[2:1] & |shift1[5:4]);
  assign lost8 = (|compared_q.distance[4:3] & |shift2[7:0])
               | (compared_q.distance[4] & |shift2[15:8])
               | (&compared_q.distance[4:3] & |shift2[23:16]);

  assign aligned_d.sign = larger[31];
  assign aligned_d.subtract = larger[31] ^ smaller[31];
  assign aligned_d.exponent = {larger[30:24], larger[23] | (larger[30:23] == 8'd0)};
  assign aligned_d.larger = {larger[30:23] != 8'd0, larger[22:0]};
  // NaN ranks above infinity, so the larger operand tells; infinities of unlike sign make one too.
  assign aligned_d.nan = larger[22:0] != 23'd0 | (aligned_d.subtract & (&smaller[30:23]));
  // So far below the last guard bit that rounding to nearest never sees it.
  assign aligned_d.smaller = beyond ? 27'd0 : {shift8, lost8 | lost2};

  // Add.

  typedef struct packed {
    logic        sign;
    logic        subtract;
    logic        nan;
    logic [7:0]  exponent;
    logic [27:0] magnitude;
  } summed_t;

  summed_t summed_d, summed_q;

  assign summed_d.sign = aligned_q.sign;
  assign summed_d.subtract = aligned_q.subtract;
  assign summed_d.nan = aligned_q.nan;
  assign summed_d.exponent = aligned_q.exponent;
  assign summed_d.magnitude = {1'b0, aligned_q.larger, 3'd0}
      + ({1'b0, aligned_q.smaller} ^ {28{aligned_q.subtract}}) + {27'd0, aligned_q.subtract};

  // Normalise. A step is the number of leading zeros that it can see, but never passes `exponent`.
  // While every step so far stopped at the exponent (`tight`), the next one must not pass its rest.

  logic [1:0] zeros8, limit8, step8, zeros2, limit2, step2;
  logic step1, tight8, tight2;
  logic [27:0] norm8, norm2, norm1;

  assign limit8 = summed_q.exponent[7:5] != 3'd0 ? 2'd3 : summed_q.exponent[4:3];
  assign tight8 = summed_q.exponent[7:5] == 3'd0 & step8 == summed_q.exponent[4:3];
  assign limit2 = tight8 ? summed_q.exponent[2:1] : 2'd3;
  assign tight2 = tight8 & step2 == summed_q.exponent[2:1];

  always_comb begin
    if (summed_q.magnitude[27:20] != 8'd0) zeros8 = 2'd0;
    else if (summed_q.magnitude[19:12] != 8'd0) zeros8 = 2'd1;
    else if (summed_q.magnitude[11:4] != 8'd0) zeros8 = 2'd2;
    else zeros8 = 2'd3;
    step8 = zeros8 < limit8 ? zeros8 : limit8;
    norm8 = summed_q.magnitude << {step8, 3'd0};

    if (norm8[27:26] != 2'd0) zeros2 = 2'd0;
    else if (norm8[25:24] != 2'd0) zeros2 = 2'd1;
    else if (norm8[23:22] != 2'd0) zeros2 = 2'd2;
    else zeros2 = 2'd3;
    step2 = zeros2 < limit2 ? zeros2 : limit2;
    norm2 = norm8 << {step2, 1'b0};

    step1 = ~norm2[27] & (~tight2 | summed_q.exponent[0]);
    norm1 = norm2 << step1;
  end

  // Round. The leading one sits in bit 27; without it the result is subnormal or zero.

  logic round_up, special, overflow, zero, not_number;
  logic [7:0] exponent;
  logic [30:0] rounded;

  assign zero = summed_q.magnitude == 28'd0;
  assign special = &summed_q.exponent;
  assign exponent = summed_q.exponent - {3'd0, step8, step2, step1} + 8'd1;
  assign round_up = norm1[3] & (norm1[4] | norm1[2] | norm1[1] | norm1[0]);
  assign rounded = {exponent & {8{norm1[27]}}, norm1[26:4]} + {30'd0, round_up};
  assign overflow = (&exponent) | (&rounded[30:23]);

  assign not_number = special & summed_q.nan;

  // One condition a field, so that it becomes the reset of the field's flip-flops.
  always_ff @(posedge clk_i) begin
    s_o[31]    <= summed_q.sign & ~(summed_q.subtract & zero) & ~not_number;
    s_o[30:23] <= rounded[30:23];
    if (special | overflow) s_o[30:23] <= 8'hff;
    s_o[22]    <= (rounded[22] & ~(special | overflow)) | not_number;
    s_o[21:0]  <= rounded[21:0];
    if (special | overflow) s_o[21:0] <= '0;
  end

  // Pipeline registers that Latency asks for.

  if (Latency >= 4) begin : gen_compared
    always_ff @(posedge clk_i) compared_q <= compared_d;
  end else begin : gen_no_compared
    assign compared_q = compared_d;
  end

  if (Latency >= 2) begin : gen_aligned
    always_ff @(posedge clk_i) aligned_q <= aligned_d;
  end else begin : gen_no_aligned
    assign aligned_q = aligned_d;
  end

  if (Latency >= 3) begin : gen_summed
    always_ff @(posedge clk_i) summed_q <= summed_d;
  end else begin : gen_no_summed
    assign summed_q = summed_d;
  end

endmodule : fp32_add
