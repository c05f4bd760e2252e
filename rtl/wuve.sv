/// WUVE, the weight-update and vector unit: executes UPDATE and VECTOR on the accumulator banks.
///
/// Timing: an instruction occupies the unit from start_i to done_o, T cycles
/// (docs/microarchitecture.md, WUVE). Its first operand is read VectorStartCycles after start_i,
/// then WuveLanes values a cycle, and done_o is VectorLatencyCycles after the last read. Results
/// are written 10 cycles after the last operand of their step is read, those of UPDATE 14 (v) and
/// 21 cycles (w and its FP16 copy) after it, all before done_o. In place is safe: a step reads its
/// operands before it writes, and in a legal program no other step reads what it writes.
///
/// FP16 results fill ACT words from their low lanes, WuveLanes a step.
///
/// Not here: the limits of an instruction, the sticky NONFINITE flag, the owners of scratchpad
/// halves.
module wuve #(
  /// array rows; with ActValuesPerRowCycle the FP16 lanes of an ACT word
  parameter int unsigned Rows = 4,
  /// accumulator banks
  parameter int unsigned Cols = 4,
  /// latency of the FP32 adder (cycles)
  parameter int unsigned AddLatency = 3,
  /// FP16 of an ACT word, a row
  parameter int unsigned ActValuesPerRowCycle = 1,
  /// vector lanes, at most Cols and at most Rows * ActValuesPerRowCycle
  parameter int unsigned WuveLanes = 4,
  localparam int unsigned AddressBits = cosparse_pkg::AddressBits,
  localparam int unsigned ActLanes = Rows * ActValuesPerRowCycle
) (
  /// clock
  input  logic                                     clk_i,
  /// reset
  input  logic                                     rst_ni,
  /// an instruction issues
  input  logic                                     start_i,
  /// UPDATE or VECTOR, valid with start_i
  input  logic [cosparse_pkg::InstructionBits-1:0] instr_i,
  /// its bank, valid with start_i
  input  cosparse_pkg::wuve_bank_t                 bank_i,
  /// last cycle of the instruction
  output logic                                     done_o,
  /// an FP16 result written in this cycle is an infinity or NaN
  output logic                                     nonfinite_o,
  /// read a bank
  output logic [Cols-1:0]                          acc_re_o,
  /// word to read, of each bank
  output logic [Cols*AddressBits-1:0]              acc_raddr_o,
  /// what was read in the cycle before
  input  logic [Cols*32-1:0]                       acc_rdata_i,
  /// write a bank
  output logic [Cols-1:0]                          acc_we_o,
  /// word to write, of each bank
  output logic [Cols*AddressBits-1:0]              acc_waddr_o,
  /// FP32 values
  output logic [Cols*32-1:0]                       acc_wdata_o,
  /// write an FP16 lane of the ACT word
  output logic [ActLanes-1:0]                      act_we_o,
  /// ACT word
  output logic [AddressBits-1:0]                   act_waddr_o,
  /// FP16 values
  output logic [ActLanes*16-1:0]                   act_wdata_o
);

  localparam int unsigned Blocks = Cols / WuveLanes;
  localparam int unsigned Parts = ActLanes / WuveLanes;
  localparam int unsigned BlockBits = Blocks > 1 ? $clog2(Blocks) : 1;
  localparam int unsigned PartBits = Parts > 1 ? $clog2(Parts) : 1;

  if (WuveLanes > Cols || WuveLanes > ActLanes) begin : gen_check_lanes
    $fatal(1, "wuve: WuveLanes must be at most Cols and at most Rows * ActValuesPerRowCycle");
  end
  if ((Cols & (Cols - 1)) != 0 || (ActLanes & (ActLanes - 1)) != 0 ||
      (WuveLanes & (WuveLanes - 1)) != 0) begin : gen_check_powers
    $fatal(1, "wuve: Cols, Rows * ActValuesPerRowCycle and WuveLanes must be powers of two");
  end
  if (wuve_pkg::WeightAt > cosparse_pkg::VectorLatencyCycles) begin : gen_check_latency
    $fatal(1, "wuve: UPDATE does not fit into VectorLatencyCycles");
  end

  // The instruction
  cosparse_pkg::vector_instr_t vector_instr;
  assign vector_instr = instr_i;

  logic            update_q, to_acc_q, to_act_q;
  wuve_pkg::add_e  vector_add;  // what an operation asks of the adder
  wuve_pkg::add_e  vector_add_q;
  logic [31:0]     factor_0_q, factor_1_q, factor_2_q, rate_q;
  logic            start_update, start_scale;

  assign start_update = vector_instr.opcode == cosparse_pkg::OpUpdate;
  assign start_scale = vector_instr.vector_op == cosparse_pkg::VectorScale;

  always_comb begin
    unique case (vector_instr.vector_op)
      cosparse_pkg::VectorRelu:   vector_add = wuve_pkg::AddRelu;
      cosparse_pkg::VectorBias:   vector_add = wuve_pkg::AddPair;
      cosparse_pkg::VectorAdd:    vector_add = wuve_pkg::AddPair;
      cosparse_pkg::VectorMask:   vector_add = wuve_pkg::AddMask;
      cosparse_pkg::VectorColsum: vector_add = wuve_pkg::AddLoop;
      default:                    vector_add = wuve_pkg::AddMove;
    endcase
  end

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      update_q     <= start_update;
      to_acc_q     <= start_update || !bank_i.to_act;
      to_act_q     <= start_update || bank_i.to_act;
      vector_add_q <= vector_add;
      factor_0_q   <= start_update ? bank_i.momentum
                    : start_scale ? bank_i.scale : wuve_pkg::One;
      factor_1_q   <= start_update ? bank_i.decay : wuve_pkg::One;
      factor_2_q   <= bank_i.scale;
      rate_q       <= bank_i.rate;
    end
  end

  // Reads
  logic                   read, first_row, result;
  logic [AddressBits-1:0] address, vector_word, act_word;
  logic [BlockBits-1:0]   block;
  logic [PartBits-1:0]    part;
  logic [1:0]             operand, loop_delay;

  wuve_sequencer #(
    .AddLatency(AddLatency),
    .Blocks(Blocks),
    .Parts(Parts)
  ) u_sequencer (
    .clk_i,
    .rst_ni,
    .start_i,
    .instr_i,
    .bank_i,
    .done_o,
    .read_o(read),
    .address_o(address),
    .block_o(block),
    .operand_o(operand),
    .first_row_o(first_row),
    .result_o(result),
    .acc_word_o(vector_word),
    .act_word_o(act_word),
    .act_part_o(part),
    .loop_delay_o(loop_delay)
  );

  assign acc_raddr_o = {Cols{address}};
  for (genvar b = 0; b < Blocks; b++) begin : gen_read
    assign acc_re_o[b*WuveLanes +: WuveLanes] = {WuveLanes{read && block == BlockBits'(b)}};
  end

  // Steering: the block that was read, and the factor of the operand
  logic [BlockBits-1:0]    read_block_q;
  logic [1:0]              read_operand_q;
  logic [WuveLanes*32-1:0] operands_q;
  logic [31:0]             factor_q;

  always_ff @(posedge clk_i) begin
    read_block_q   <= block;
    read_operand_q <= operand;
    operands_q     <= acc_rdata_i[read_block_q*WuveLanes*32 +: WuveLanes*32];
    unique case (read_operand_q)
      2'd0:    factor_q <= factor_0_q;
      2'd1:    factor_q <= factor_1_q;
      default: factor_q <= factor_2_q;
    endcase
  end

  // Control: results on their way, newest first
  localparam int unsigned WeightAt = wuve_pkg::WeightAt;
  logic [WeightAt:1] way_q;
  logic              first_row_add;
  logic [1:0]        loop_delay_add, loop_delay_q;
  wuve_pkg::add_e    add_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) way_q <= '0;
    else way_q <= {way_q[WeightAt-1:1], result};
  end

  delay_line #(.Width(3), .Depth(wuve_pkg::AddAt - 1)) u_loop (
    .clk_i,
    .data_i({first_row, loop_delay}),
    .data_o({first_row_add, loop_delay_add})
  );

  // Chosen one cycle before the addition begins; what no result waits for is arbitrary.
  always_ff @(posedge clk_i) begin
    loop_delay_q <= loop_delay_add;
    if (!update_q) begin
      add_q <= vector_add_q == wuve_pkg::AddLoop && first_row_add ? wuve_pkg::AddFirst
                                                                  : vector_add_q;
    end else if (way_q[wuve_pkg::AddAt-1]) begin
      add_q <= wuve_pkg::AddPair;
    end else if (way_q[wuve_pkg::VelocityAddAt-1]) begin
      add_q <= wuve_pkg::AddVelocity;
    end else begin
      add_q <= wuve_pkg::AddWeight;
    end
  end

  // Lanes
  logic [WuveLanes*32-1:0] results;
  logic [WuveLanes*16-1:0] halves;
  logic [WuveLanes-1:0]    halves_nonfinite;

  for (genvar l = 0; l < WuveLanes; l++) begin : gen_lane
    wuve_lane #(.AddLatency(AddLatency)) u_lane (
      .clk_i,
      .operand_i(operands_q[l*32 +: 32]),
      .factor_i(factor_q),
      .rate_i(rate_q),
      .add_i(add_q),
      .loop_delay_i(loop_delay_q),
      .result_o(results[l*32 +: 32]),
      .half_o(halves[l*16 +: 16]),
      .half_nonfinite_o(halves_nonfinite[l])
    );
  end

  // Places of the results. UPDATE writes v and w where it read them, two and one cycles before dW.
  localparam int unsigned AccBits = AddressBits + BlockBits;
  localparam int unsigned ActBits = AddressBits + PartBits;
  localparam int unsigned ResultAt = wuve_pkg::ResultAt;
  localparam int unsigned VelocityAt = wuve_pkg::VelocityAt;
  logic [AccBits-1:0] acc_place, acc_place_vector, acc_place_velocity, acc_place_weight;
  logic [ActBits-1:0] act_place_vector, act_place_weight;

  assign acc_place = {block, update_q ? address : vector_word};

  delay_line #(.Width(AccBits), .Depth(ResultAt)) u_acc_vector (
    .clk_i, .data_i(acc_place), .data_o(acc_place_vector)
  );
  delay_line #(.Width(AccBits), .Depth(VelocityAt + 2 - ResultAt)) u_acc_velocity (
    .clk_i, .data_i(acc_place_vector), .data_o(acc_place_velocity)
  );
  delay_line #(.Width(AccBits), .Depth(WeightAt + 1 - (VelocityAt + 2))) u_acc_weight (
    .clk_i, .data_i(acc_place_velocity), .data_o(acc_place_weight)
  );
  delay_line #(.Width(ActBits), .Depth(ResultAt)) u_act_vector (
    .clk_i, .data_i({part, act_word}), .data_o(act_place_vector)
  );
  delay_line #(.Width(ActBits), .Depth(WeightAt - ResultAt)) u_act_weight (
    .clk_i, .data_i(act_place_vector), .data_o(act_place_weight)
  );

  // Writes
  logic                   write_last, write_velocity, acc_write, act_write;
  logic [AddressBits-1:0] acc_word;
  logic [BlockBits-1:0]   acc_block;
  logic [PartBits-1:0]    act_part;

  assign write_last = update_q ? way_q[WeightAt] : way_q[ResultAt];
  assign write_velocity = update_q && way_q[VelocityAt];
  assign acc_write = (write_last && to_acc_q) || write_velocity;
  assign act_write = write_last && to_act_q;
  assign {acc_block, acc_word} = !update_q ? acc_place_vector
                               : write_velocity ? acc_place_velocity : acc_place_weight;
  assign {act_part, act_waddr_o} = update_q ? act_place_weight : act_place_vector;

  assign acc_waddr_o = {Cols{acc_word}};
  assign acc_wdata_o = {Blocks{results}};
  for (genvar b = 0; b < Blocks; b++) begin : gen_acc_write
    assign acc_we_o[b*WuveLanes +: WuveLanes] =
        {WuveLanes{acc_write && acc_block == BlockBits'(b)}};
  end

  assign act_wdata_o = {Parts{halves}};
  for (genvar p = 0; p < Parts; p++) begin : gen_act_write
    assign act_we_o[p*WuveLanes +: WuveLanes] =
        {WuveLanes{act_write && act_part == PartBits'(p)}};
  end

  assign nonfinite_o = act_write && |halves_nonfinite;

`ifndef SYNTHESIS
  OneWriter: assert property (@(posedge clk_i) disable iff (!rst_ni)
      !(write_velocity && write_last));
  StartWhenIdle: assert property (@(posedge clk_i) disable iff (!rst_ni)
      start_i |-> way_q == '0);
`endif

endmodule : wuve
