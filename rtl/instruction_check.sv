/// Whether a unit may execute an instruction, as far as the 128 bits tell. Combinational.
///
/// Refuses unknown opcodes, opcodes of another unit, bits that must be zero, semaphores of HALT,
/// registers that the unit lacks and values too wide for them, unknown spaces and operations, and
/// DRAM addresses that are not aligned. It does not look at descriptor banks: the limits of
/// docs/microarchitecture.md that depend on registers are the compiler's, except those that the DMA
/// checks when it starts a transfer.
module instruction_check #(
  /// The unit, a cosparse_pkg::unit_e.
  parameter logic [1:0] Unit = cosparse_pkg::UnitDma,
  /// Registers of one of its banks.
  parameter int unsigned Registers = cosparse_pkg::DmaRegisters,
  /// Their widths, eight bits each, the first one lowest.
  parameter logic [Registers*8-1:0] RegisterWidths = cosparse_pkg::DmaRegisterWidths
) (
  input  logic [cosparse_pkg::InstructionBits-1:0] instr_i,
  output logic                                     legal_o
);

  localparam int unsigned Pairs = (Registers + 1) / 2;
  localparam logic [3:0]  AlignmentMask = 4'(cosparse_pkg::DramAlignment - 1);

  cosparse_pkg::halt_instr_t   as_halt;
  cosparse_pkg::config_instr_t as_config;
  cosparse_pkg::load_instr_t   as_load;
  cosparse_pkg::fill_instr_t   as_fill;
  cosparse_pkg::matmul_instr_t as_matmul;
  cosparse_pkg::prune_instr_t  as_prune;
  cosparse_pkg::update_instr_t as_update;
  cosparse_pkg::vector_instr_t as_vector;

  assign as_halt   = instr_i;
  assign as_config = instr_i;
  assign as_load   = instr_i;
  assign as_fill   = instr_i;
  assign as_matmul = instr_i;
  assign as_prune  = instr_i;
  assign as_update = instr_i;
  assign as_vector = instr_i;

  // CONFIG: the pair exists and its values fit.
  logic [Pairs-1:0] pair_fits;

  for (genvar pair = 0; pair < Pairs; pair++) begin : g_pair
    localparam int unsigned Even = 2 * pair;
    localparam int unsigned Width0 = int'(RegisterWidths[Even*8+:8]);
    localparam int unsigned Width1 =
        Even + 1 < Registers ? int'(RegisterWidths[(Even + 1) % Registers*8+:8]) : 0;

    assign pair_fits[pair] = as_config.register == 5'(Even) && as_config.value0 >> Width0 == '0 &&
        as_config.value1 >> Width1 == '0;
  end

  logic is_dma, is_stce, is_sore, is_wuve;
  logic fill_fits;

  assign is_dma    = Unit == cosparse_pkg::UnitDma;
  assign is_stce   = Unit == cosparse_pkg::UnitStce;
  assign is_sore   = Unit == cosparse_pkg::UnitSore;
  assign is_wuve   = Unit == cosparse_pkg::UnitWuve;
  assign fill_fits = as_fill.value[31:16] == '0 || as_fill.space == cosparse_pkg::SpaceAcc;

  always_comb begin
    unique case (as_halt.opcode)
      cosparse_pkg::OpHalt: begin
        legal_o = as_halt.reserved == '0 && as_halt.wait_mask == '0 && as_halt.signal_mask == '0;
      end
      cosparse_pkg::OpConfig: legal_o = as_config.unit == Unit && pair_fits != '0;
      cosparse_pkg::OpLoad, cosparse_pkg::OpStore: begin
        legal_o = is_dma && as_load.reserved == '0 &&
            as_load.space <= cosparse_pkg::SpaceAcc16 &&
            (as_load.dram[3:0] & AlignmentMask) == '0;
      end
      cosparse_pkg::OpFill: begin
        legal_o = is_dma && as_fill.reserved == '0 && as_fill.words != '0 && fill_fits &&
            (as_fill.space == cosparse_pkg::SpaceAct || as_fill.space == cosparse_pkg::SpaceWgt ||
             as_fill.space == cosparse_pkg::SpaceAcc);
      end
      cosparse_pkg::OpMatmul: legal_o = is_stce && as_matmul.reserved == '0;
      cosparse_pkg::OpPrune:  legal_o = is_sore && as_prune.reserved == '0;
      cosparse_pkg::OpUpdate: legal_o = is_wuve && as_update.reserved == '0;
      cosparse_pkg::OpVector: begin
        legal_o = is_wuve && as_vector.reserved == '0 &&
            as_vector.vector_op <= cosparse_pkg::VectorColsum;
      end
      default: legal_o = 1'b0;
    endcase
  end

endmodule : instruction_check
