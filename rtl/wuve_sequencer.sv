/// Order of the reads of one UPDATE or VECTOR: addresses, lane blocks, and the places of the
/// results.
///
/// A step is WuveLanes values of one ACC word; it reads its operands in successive cycles (UPDATE:
/// v, w, dW; VECTOR: a, b). Steps follow each other without a gap: through the lane blocks of a
/// word, the words of a row, the rows.
///
/// Timing: the first read is VectorStartCycles after start_i, the last one VectorLatencyCycles
/// before done_o.
///
/// COLSUM row after row would need a sum for every value of a row. Instead it walks down all rows
/// for one chunk of AddLatency steps after the other. The last chunk takes what is left, less than
/// 2 * AddLatency, and a row shorter than AddLatency is padded with idle cycles: the cycles are
/// those of row after row.
///
/// Not here: data, and what happens after the read, which is wuve's.
module wuve_sequencer #(
  /// shortest loop of COLSUM (cycles)
  parameter int unsigned AddLatency = 3,
  /// lane blocks of an ACC word, a power of two
  parameter int unsigned Blocks = 1,
  /// lane blocks of an ACT word, a power of two
  parameter int unsigned Parts = 1,
  localparam int unsigned BlockBits = Blocks > 1 ? $clog2(Blocks) : 1,
  localparam int unsigned PartBits = Parts > 1 ? $clog2(Parts) : 1
) (
  /// clock
  input  logic                                    clk_i,
  /// reset
  input  logic                                    rst_ni,
  /// an instruction issues
  input  logic                                    start_i,
  /// UPDATE or VECTOR, valid with start_i
  input  logic [cosparse_pkg::InstructionBits-1:0] instr_i,
  /// its bank, valid with start_i
  input  cosparse_pkg::wuve_bank_t                bank_i,
  /// last cycle of the instruction
  output logic                                    done_o,
  /// an operand is read in this cycle
  output logic                                    read_o,
  /// its ACC word
  output logic [cosparse_pkg::AddressBits-1:0]    address_o,
  /// its lane block
  output logic [BlockBits-1:0]                    block_o,
  /// which operand of the step, from 0
  output logic [1:0]                              operand_o,
  /// COLSUM: the step is of row 0
  output logic                                    first_row_o,
  /// it is the last operand of a step that gives a result (COLSUM: only in the last row)
  output logic                                    result_o,
  /// ACC word of the result of a VECTOR
  output logic [cosparse_pkg::AddressBits-1:0]    acc_word_o,
  /// ACT word of an FP16 result
  output logic [cosparse_pkg::AddressBits-1:0]    act_word_o,
  /// lane block of the ACT word
  output logic [PartBits-1:0]                     act_part_o,
  /// COLSUM: cycles from a step to the same step of the next row, less AddLatency
  output logic [1:0]                              loop_delay_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned StepBits = AddressBits + $clog2(Blocks);
  localparam int unsigned RowBits = 24;
  localparam logic [StepBits-1:0] Loop = StepBits'(AddLatency);
  // Reads leave through a register, so the walk is one cycle ahead of them.
  localparam logic [4:0] StartWait = 5'(cosparse_pkg::VectorStartCycles - 3);
  localparam logic [4:0] DrainWait = 5'(cosparse_pkg::VectorLatencyCycles);

  cosparse_pkg::update_instr_t update_instr;
  cosparse_pkg::vector_instr_t vector_instr;
  logic is_update, is_colsum, is_bias, is_pair;
  assign update_instr = instr_i;
  assign vector_instr = instr_i;

  assign is_update = vector_instr.opcode == cosparse_pkg::OpUpdate;
  assign is_colsum = !is_update && vector_instr.vector_op == cosparse_pkg::VectorColsum;
  assign is_bias = !is_update && vector_instr.vector_op == cosparse_pkg::VectorBias;
  assign is_pair = is_bias || (!is_update && (vector_instr.vector_op == cosparse_pkg::VectorAdd ||
                                              vector_instr.vector_op == cosparse_pkg::VectorMask));

  // The instruction
  logic                   colsum_q;
  logic [1:0]             last_operand_q;
  logic [RowBits-1:0]     last_row_q;
  logic [AddressBits-1:0] top_q;  // operand 0, row 0
  logic [AddressBits-1:0] stride_0_q, stride_1_q, stride_2_q, result_stride_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      colsum_q        <= is_colsum;
      last_operand_q  <= is_update ? 2'd2 : {1'b0, is_pair};
      last_row_q      <= bank_i.rows - 1'b1;
      top_q           <= vector_instr.a;
      stride_0_q      <= bank_i.a_words;
      stride_1_q      <= is_update ? bank_i.a_words : is_bias ? '0 : bank_i.b_words;
      stride_2_q      <= bank_i.a_words;
      result_stride_q <= is_colsum ? '0 : bank_i.dst_words;
    end
  end

  // Phases of the instruction
  typedef enum logic [1:0] {
    StIdle,
    StStart,
    StRead,
    StDrain
  } state_e;

  state_e     state_d, state_q;
  logic [4:0] wait_d, wait_q;
  logic       reading, at_end;

  assign reading = state_q == StRead;
  assign done_o = state_q == StDrain && wait_q == '0;

  always_comb begin
    state_d = state_q;
    wait_d  = wait_q - 1'b1;
    unique case (state_q)
      StStart: begin
        if (wait_q == '0) state_d = StRead;
      end
      StRead: begin
        wait_d = DrainWait;
        if (at_end) state_d = StDrain;
      end
      StDrain: begin
        if (wait_q == '0) state_d = StIdle;
      end
      default: begin
        wait_d = StartWait;
        if (start_i) state_d = StStart;
      end
    endcase
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) state_q <= StIdle;
    else state_q <= state_d;
  end

  always_ff @(posedge clk_i) wait_q <= wait_d;

  // The walk: chunks, rows, slots (steps or, past `steps`, idle), operands
  logic [StepBits-1:0] chunk_q;  // first step of the chunk
  logic [StepBits-1:0] left_q;   // steps of a row from there on
  logic [StepBits-1:0] slot_q, step_q;
  logic [RowBits-1:0]  row_q;
  logic [1:0]          operand_q;
  logic [StepBits-1:0] steps, slots;
  logic                busy_slot, at_operand, at_slot, at_row;

  assign steps = colsum_q && left_q >= (Loop << 1) ? Loop : left_q;
  assign slots = colsum_q && left_q < Loop ? Loop : steps;
  assign busy_slot = slot_q < steps;
  assign at_operand = operand_q == last_operand_q;
  assign at_slot = at_operand && slot_q == slots - 1'b1;
  assign at_row = at_slot && row_q == last_row_q;
  assign at_end = at_row && left_q == steps;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      chunk_q   <= '0;
      left_q    <= StepBits'(bank_i.words) << $clog2(Blocks);
      slot_q    <= '0;
      step_q    <= '0;
      row_q     <= '0;
      operand_q <= '0;
    end else if (reading) begin
      operand_q <= at_operand ? '0 : operand_q + 1'b1;
      if (at_operand) begin
        slot_q <= slot_q + 1'b1;
        step_q <= step_q + 1'b1;
      end
      if (at_slot) begin
        slot_q <= '0;
        step_q <= chunk_q;
        row_q  <= row_q + 1'b1;
      end
      if (at_row) begin
        chunk_q <= chunk_q + steps;
        left_q  <= left_q - steps;
        step_q  <= chunk_q + steps;
        row_q   <= '0;
      end
    end
  end

  // First words of the row
  logic [AddressBits-1:0] operand_0_q, operand_1_q, operand_2_q, result_q;

  always_ff @(posedge clk_i) begin
    if (start_i) begin
      operand_0_q <= is_update ? update_instr.momentum : vector_instr.a;
      operand_1_q <= is_update ? update_instr.weight : vector_instr.b;
      operand_2_q <= update_instr.gradient;
      result_q    <= is_update ? update_instr.act : vector_instr.dst;
    end else if (reading && at_slot) begin
      operand_0_q <= at_row ? top_q : operand_0_q + stride_0_q;
      operand_1_q <= operand_1_q + stride_1_q;
      operand_2_q <= operand_2_q + stride_2_q;
      result_q    <= result_q + result_stride_q;
    end
  end

  logic [AddressBits-1:0] row_word, word;
  assign word = AddressBits'(step_q >> $clog2(Blocks));

  always_comb begin
    unique case (operand_q)
      2'd0:    row_word = operand_0_q;
      2'd1:    row_word = operand_1_q;
      default: row_word = operand_2_q;
    endcase
  end

  // What is read
  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      read_o   <= 1'b0;
      result_o <= 1'b0;
    end else begin
      read_o   <= reading && busy_slot;
      result_o <= reading && busy_slot && at_operand && (!colsum_q || row_q == last_row_q);
    end
  end

  always_ff @(posedge clk_i) begin
    address_o    <= row_word + word;
    block_o      <= Blocks > 1 ? BlockBits'(step_q) : '0;
    operand_o    <= operand_q;
    first_row_o  <= row_q == '0;
    acc_word_o   <= result_q + word;
    act_word_o   <= result_q + AddressBits'(step_q >> $clog2(Parts));
    act_part_o   <= Parts > 1 ? PartBits'(step_q) : '0;
    loop_delay_o <= 2'(slots - Loop);
  end

endmodule : wuve_sequencer
