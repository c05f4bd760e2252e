/// Whether a unit may execute an instruction, as far as the 128 bits tell.
///
/// Refuses unknown opcodes, opcodes of another unit, bits that must be zero, semaphores of HALT,
/// registers that the unit lacks and values too wide for them, unknown spaces and operations, and
/// DRAM addresses that are not aligned.
///
/// Timing: combinational.
///
/// Not here: descriptor banks. The limits of docs/microarchitecture.md that depend on registers are
/// the compiler's, except those that the DMA checks when it starts a transfer.
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

  cosparse_pkg::halt_instr_t   halt_instr;
  cosparse_pkg::config_instr_t config_instr;
  cosparse_pkg::load_instr_t   load_instr;
  cosparse_pkg::fill_instr_t   fill_instr;
  cosparse_pkg::matmul_instr_t matmul_instr;
  cosparse_pkg::prune_instr_t  prune_instr;
  cosparse_pkg::update_instr_t update_instr;
  cosparse_pkg::vector_instr_t vector_instr;

  assign halt_instr   = instr_i;
  assign config_instr = instr_i;
  assign load_instr   = instr_i;
  assign fill_instr   = instr_i;
  assign matmul_instr = instr_i;
  assign prune_instr  = instr_i;
  assign update_instr = instr_i;
  assign vector_instr = instr_i;

  // CONFIG: the pair exists and its values fit.
  logic [Pairs-1:0] pair_fits;

  for (genvar pair = 0; pair < Pairs; pair++) begin : g_pair
    localparam int unsigned Even = 2 * pair;
    localparam int unsigned Width0 = int'(RegisterWidths[Even*8+:8]);
    localparam int unsigned Width1 =
        Even + 1 < Registers ? int'(RegisterWidths[(Even + 1) % Registers*8+:8]) : 0;

    assign pair_fits[pair] = config_instr.register == 5'(Even) &&
        config_instr.value0 >> Width0 == '0 && config_instr.value1 >> Width1 == '0;
  end

  logic is_dma, is_stce, is_sore, is_wuve;
  logic fill_fits;

  assign is_dma    = Unit == cosparse_pkg::UnitDma;
  assign is_stce   = Unit == cosparse_pkg::UnitStce;
  assign is_sore   = Unit == cosparse_pkg::UnitSore;
  assign is_wuve   = Unit == cosparse_pkg::UnitWuve;
  assign fill_fits = fill_instr.value[31:16] == '0 || fill_instr.space == cosparse_pkg::SpaceAcc;

  always_comb begin
    unique case (halt_instr.opcode)
      cosparse_pkg::OpHalt: begin
        legal_o = halt_instr.reserved == '0 && halt_instr.wait_mask == '0 &&
            halt_instr.signal_mask == '0;
      end
      cosparse_pkg::OpConfig: legal_o = config_instr.unit == Unit && pair_fits != '0;
      cosparse_pkg::OpLoad, cosparse_pkg::OpStore: begin
        legal_o = is_dma && load_instr.reserved == '0 &&
            load_instr.space <= cosparse_pkg::SpaceAcc16 &&
            (load_instr.dram[3:0] & AlignmentMask) == '0;
      end
      cosparse_pkg::OpFill: begin
        legal_o = is_dma && fill_instr.reserved == '0 && fill_instr.words != '0 && fill_fits &&
            (fill_instr.space == cosparse_pkg::SpaceAct ||
             fill_instr.space == cosparse_pkg::SpaceWgt ||
             fill_instr.space == cosparse_pkg::SpaceAcc);
      end
      cosparse_pkg::OpMatmul: legal_o = is_stce && matmul_instr.reserved == '0;
      cosparse_pkg::OpPrune:  legal_o = is_sore && prune_instr.reserved == '0;
      cosparse_pkg::OpUpdate: legal_o = is_wuve && update_instr.reserved == '0;
      cosparse_pkg::OpVector: begin
        legal_o = is_wuve && vector_instr.reserved == '0 &&
            vector_instr.vector_op <= cosparse_pkg::VectorColsum;
      end
      default: legal_o = 1'b0;
    endcase
  end

endmodule : instruction_check
