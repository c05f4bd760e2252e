/// Unified sparse processing element: one FP16 product and one FP32 addition a cycle.
///
/// Activations and weights come as FP17 (fp16_to_fp17), in which no number is subnormal.
///
/// It picks the activation that an index names from the group in its LUTRAM, multiplies it with the
/// weight, and adds to one of `2 ** SlotBits` sums in turn. Three small memories hold sums: those
/// that are being added to, the first values of this tile and the next one (`first`), and the results
/// of the last tile, which leave through the column's bus (`shadow`). In WS the pairs of weight and index
/// lie in a store of the element, and the bus carries partial sums.
///
/// Timing, in cycles of the element (`west_i` and the operands from the north of column c, row r are
/// those of column 0, row 0, c + r cycles later; WS rows lag further):
///     t                  read_addr, pair_raddr, weight and index: multiplier operands
///     t + MulLatency     op_sel, op_slot: adder operand beside the product
///     + AddLatency       sum_slot: the sum is written, or leaves on the bus
/// All of `west_i` goes east and weight, index and bus go south, one register each.
///
/// Not here: every decision. Control is decoded once a row (stce_row) and arrives at its time.
module uspe #(
  /// Activations that arrive in a cycle, a power of two.
  parameter int unsigned Lanes = 1,
  /// Bits of a record address of the group memory; a record is `Lanes` values.
  parameter int unsigned RecordBits = 4,
  /// Bits of a slot number.
  parameter int unsigned SlotBits = 2,
  /// Bits of an address of the pair store.
  parameter int unsigned PairBits = 6,
  /// Latency of the multiplier (cycles).
  parameter int unsigned MulLatency = 2,
  /// Latency of the adder (cycles).
  parameter int unsigned AddLatency = 3,
  localparam int unsigned LaneBits = Lanes > 1 ? $clog2(Lanes) : 0,
  localparam int unsigned ReadBits = RecordBits + LaneBits,
  /// Bits of the control and data that come from the west; the order is that of the concatenation.
  localparam int unsigned WestBits = Lanes + RecordBits + 17 * Lanes  // group memory, write
                                   + 1 + PairBits                     // pair store, write
                                   + 1 + PairBits + ReadBits          // operands
                                   + 3 + SlotBits                     // adder operand
                                   + 2 + SlotBits                     // sum
                                   + 4 + SlotBits                     // bus
) (
  /// Clock.
  input  logic                clk_i,
  /// Reset, active low; it clears what is registered for the east.
  input  logic                rst_ni,
  /// Control and activations from the west.
  input  logic [WestBits-1:0] west_i,
  /// The same for the east, a cycle later.
  output logic [WestBits-1:0] east_o,
  /// Weight from the north, FP17.
  input  logic [16:0]         weight_i,
  /// Its position in the group.
  input  logic [3:0]          index_i,
  /// Both for the south, a cycle later.
  output logic [16:0]         weight_o,
  output logic [3:0]          index_o,
  /// Bus from the north: first values, results of the rows above, or (WS) partial sums; FP32.
  input  logic [31:0]         bus_i,
  /// Bus for the south, a cycle later.
  output logic [31:0]         bus_o,
  /// Bus of this element in this cycle; the last row's goes into the accumulator bank.
  output logic [31:0]         out_o
);

  // From the west.

  logic [Lanes-1:0]      feed_we;
  logic [RecordBits-1:0] feed_addr;
  logic [17*Lanes-1:0]   feed_data;
  logic                  pair_we;
  logic [PairBits-1:0]   pair_waddr;
  logic                  stored;  // weight and index come from the pair store
  logic [PairBits-1:0]   pair_raddr;
  logic [ReadBits-1:0]   read_addr;
  logic [1:0]            op_sel;  // sums, sum of this cycle, first, bus
  logic                  op_odd;  // tile of odd number
  logic [SlotBits-1:0]   op_slot;
  logic                  sum_we;
  logic                  shadow_we;
  logic [SlotBits-1:0]   sum_slot;
  logic                  first_we;
  logic                  first_odd;
  logic [1:0]            bus_sel;  // from the north, shadow, sum of this cycle
  logic [SlotBits-1:0]   bus_slot;

  assign {feed_we, feed_addr, feed_data, pair_we, pair_waddr, stored, pair_raddr, read_addr,
          op_sel, op_odd, op_slot, sum_we, shadow_we, sum_slot,
          first_we, first_odd, bus_sel, bus_slot} = west_i;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) east_o <= '0;
    else east_o <= west_i;
  end

  // Weight and index.

  logic [20:0] pairs_q [2**PairBits];
  logic [16:0] weight;
  logic [3:0]  index;

  always_ff @(posedge clk_i) begin
    if (pair_we) pairs_q[pair_waddr] <= {index_i, weight_i};
    weight_o <= weight_i;
    index_o  <= index_i;
  end

  assign {index, weight} = stored ? pairs_q[pair_raddr] : {index_i, weight_i};

  // Activation. The address is that of the group's first value; groups are aligned.

  logic [ReadBits-1:0] value_addr;
  logic [17*Lanes-1:0] values;
  logic [16:0]         activation;

  assign value_addr = read_addr | ReadBits'(index);

  for (genvar lane = 0; lane < Lanes; lane++) begin : gen_lane
    logic [16:0] group_q [2**RecordBits];

    always_ff @(posedge clk_i) begin
      if (feed_we[lane]) group_q[feed_addr] <= feed_data[17*lane+:17];
    end

    assign values[17*lane+:17] = group_q[value_addr[ReadBits-1:LaneBits]];
  end

  if (Lanes == 1) begin : gen_one
    assign activation = values;
  end else begin : gen_select
    assign activation = values[17*value_addr[LaneBits-1:0]+:17];
  end

  // Small groups have short positions.
  logic unused;
  assign unused = ^index;

  // Product and sum.

  logic [31:0] product, operand, sum;
  logic [31:0] sums_q [2**SlotBits];
  logic [31:0] first_q [2**(SlotBits+1)];
  logic [31:0] shadow_q [2**SlotBits];

  fp17_mul #(
    .Latency(MulLatency)
  ) u_mul (
    .clk_i,
    .a_i(activation),
    .b_i(weight),
    .p_o(product)
  );

  always_comb begin
    unique case (op_sel)
      2'd0:    operand = sums_q[op_slot];
      2'd1:    operand = sum;
      2'd2:    operand = first_q[{op_odd, op_slot}];
      default: operand = bus_i;
    endcase
  end

  fp32_add #(
    .Latency(AddLatency)
  ) u_add (
    .clk_i,
    .a_i(operand),
    .b_i(product),
    .s_o(sum)
  );

  always_ff @(posedge clk_i) begin
    if (sum_we) sums_q[sum_slot] <= sum;
    if (shadow_we) shadow_q[sum_slot] <= sum;
    if (first_we) first_q[{first_odd, bus_slot}] <= bus_i;
  end

  // Bus.

  always_comb begin
    unique case (bus_sel)
      2'd0:    out_o = bus_i;
      2'd1:    out_o = shadow_q[bus_slot];
      default: out_o = sum;
    endcase
  end

  always_ff @(posedge clk_i) bus_o <= out_o;

endmodule : uspe
