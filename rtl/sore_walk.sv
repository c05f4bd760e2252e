/// Walk of a PRUNE through its source: one vector of SoreLanes columns of one row a cycle.
///
/// A block is SoreLanes lanes of the result. With transpose = 0 a block is one slice of SoreLanes
/// columns, read down all rows. With transpose = 1 it is SoreLanes rows, read slice by slice, so
/// that every SoreLanes vectors are a square for the transposer. Blocks follow each other without a
/// gap; the length of each is K of docs/microarchitecture.md. Rows and columns beyond the source
/// are stepped through but never read.
///
/// Timing: registered outputs. `start_i` in cycle t; the first step is on the outputs from cycle
/// t + 2 + LeadCycles, and one follows in each cycle until the one with `last_o`.
///
/// Not here: data, and waiting for anything.
module sore_walk #(
  /// Largest m.
  parameter int unsigned GroupMax = 8,
  /// Lanes.
  parameter int unsigned SoreLanes = 4,
  /// FP16 of a word of WGT.
  parameter int unsigned Cols = 4,
  /// FP16 of a word of ACT.
  parameter int unsigned ActLanes = 4,
  /// Cycles to wait before the first step.
  parameter int unsigned LeadCycles = 1,
  /// Width of a slice number.
  localparam int unsigned SliceBits = ActLanes > SoreLanes ? $clog2(ActLanes / SoreLanes) : 1
) (
  /// Clock.
  input  logic                                 clk_i,
  /// Asynchronous reset, active low.
  input  logic                                 rst_ni,
  /// Begin.
  input  logic                                 start_i,
  /// Registers of the PRUNE, stable from start_i to last_o.
  input  cosparse_pkg::sore_bank_t             bank_i,
  /// First word of the source, with start_i.
  input  logic [cosparse_pkg::AddressBits-1:0] act_i,
  /// The other outputs describe a step.
  output logic                                 valid_o,
  /// Read a word of ACT.
  output logic                                 read_o,
  /// Its address.
  output logic [cosparse_pkg::AddressBits-1:0] address_o,
  /// Slice of SoreLanes values in that word.
  output logic [SliceBits-1:0]                 slice_o,
  /// Lanes of the slice that lie in the source; the others are +0.
  output logic [SoreLanes-1:0]                 in_source_o,
  /// The value that lanes get for this step is not beyond the end of K, rounded up to m if it is
  /// the first of its group.
  output logic                                 real_o,
  /// Last step of a block.
  output logic                                 ends_block_o,
  /// Last step of all.
  output logic                                 last_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned SizeBits = 24;
  localparam int unsigned Span = GroupMax > SoreLanes ? GroupMax : SoreLanes;
  localparam int unsigned PhaseBits = $clog2(Span) > 0 ? $clog2(Span) : 1;
  localparam int unsigned Slices = ActLanes / SoreLanes;
  localparam int unsigned Parts = Cols / SoreLanes;
  localparam int unsigned PartBits = Parts > 1 ? $clog2(Parts) : 1;
  localparam int unsigned LeadBits = $clog2(LeadCycles + 2);
  localparam logic [PhaseBits-1:0] SquareMask = PhaseBits'(SoreLanes - 1);

  function automatic logic [SizeBits-1:0] less(input logic [SizeBits-1:0] left,
                                              input logic [SizeBits-1:0] taken);
    less = left > taken ? left - taken : '0;
  endfunction

  logic                   busy_d, busy_q;
  logic [LeadBits-1:0]    lead_d, lead_q;
  // Steps of this block, modulo Span.
  logic [PhaseBits-1:0]   phase_d, phase_q;
  // Word of column 0 of this row, and of the block's first row; rows from there to the end.
  logic [AddressBits-1:0] row_d, row_q, first_row_d, first_row_q;
  logic [SizeBits-1:0]    rows_left_d, rows_left_q, first_rows_left_d, first_rows_left_q;
  // Slice of this step: word in its row, slice of that word, columns from there to the end.
  logic [AddressBits-1:0] word_d, word_q;
  logic [SliceBits-1:0]   slice_d, slice_q;
  logic [SizeBits-1:0]    columns_left_d, columns_left_q;
  // Blocks of the result to come: words of an entry, parts of this word that are done.
  logic [AddressBits-1:0] words_left_d, words_left_q;
  logic [PartBits-1:0]    part_d, part_q;

  logic                   step, ends_sweep, ends_block, last;
  logic [PhaseBits-1:0]   group_mask;
  logic [AddressBits-1:0] next_row;
  logic [SizeBits-1:0]    next_rows_left;

  assign step = busy_q && lead_q == '0;
  assign group_mask = PhaseBits'(bank_i.m - 5'd1);
  assign next_row = row_q + bank_i.act_words;
  assign next_rows_left = less(rows_left_q, SizeBits'(1));

  // A sweep is the steps that read one slice: all rows, or the rows of a square.
  always_comb begin
    if (bank_i.transpose) begin
      ends_sweep = (phase_q & SquareMask) == SquareMask;
      ends_block = ends_sweep && (phase_q & group_mask) == group_mask &&
                   columns_left_q <= SizeBits'(SoreLanes);
    end else begin
      ends_sweep = (phase_q & group_mask) == group_mask && rows_left_q <= SizeBits'(1);
      ends_block = ends_sweep;
    end
    last = ends_block && words_left_q == AddressBits'(1) && part_q == PartBits'(Parts - 1);
  end

  always_comb begin
    busy_d = busy_q;
    lead_d = lead_q == '0 ? '0 : lead_q - LeadBits'(1);
    phase_d = phase_q;
    if (step) begin
      phase_d = ends_block ? '0 : phase_q + PhaseBits'(1);
      if (last) busy_d = 1'b0;
    end
    if (start_i) begin
      busy_d = 1'b1;
      lead_d = LeadBits'(LeadCycles);
      phase_d = '0;
    end
  end

  always_comb begin
    row_d = row_q;
    rows_left_d = rows_left_q;
    first_row_d = first_row_q;
    first_rows_left_d = first_rows_left_q;
    if (step) begin
      if (!ends_sweep) begin
        row_d = next_row;
        rows_left_d = next_rows_left;
      end else begin
        if (ends_block && bank_i.transpose) begin
          first_row_d = next_row;
          first_rows_left_d = next_rows_left;
        end
        row_d = first_row_d;
        rows_left_d = first_rows_left_d;
      end
    end
    if (start_i) begin
      row_d = act_i;
      rows_left_d = bank_i.rows;
      first_row_d = act_i;
      first_rows_left_d = bank_i.rows;
    end
  end

  always_comb begin
    word_d = word_q;
    slice_d = slice_q;
    columns_left_d = columns_left_q;
    if (step && ends_sweep) begin
      slice_d = slice_q + SliceBits'(1);
      columns_left_d = less(columns_left_q, SizeBits'(SoreLanes));
      if (slice_q == SliceBits'(Slices - 1)) begin
        slice_d = '0;
        word_d = word_q + AddressBits'(1);
      end
    end
    if (start_i || (step && ends_block && bank_i.transpose)) begin
      word_d = '0;
      slice_d = '0;
      columns_left_d = bank_i.columns;
    end
  end

  always_comb begin
    words_left_d = words_left_q;
    part_d = part_q;
    if (step && ends_block) begin
      part_d = part_q + PartBits'(1);
      if (part_q == PartBits'(Parts - 1)) begin
        part_d = '0;
        words_left_d = words_left_q - AddressBits'(1);
      end
    end
    if (start_i) begin
      words_left_d = bank_i.wgt_words;
      part_d = '0;
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      busy_q            <= 1'b0;
      lead_q            <= '0;
      phase_q           <= '0;
      row_q             <= '0;
      rows_left_q       <= '0;
      first_row_q       <= '0;
      first_rows_left_q <= '0;
      word_q            <= '0;
      slice_q           <= '0;
      columns_left_q    <= '0;
      words_left_q      <= '0;
      part_q            <= '0;
    end else begin
      busy_q            <= busy_d;
      lead_q            <= lead_d;
      phase_q           <= phase_d;
      row_q             <= row_d;
      rows_left_q       <= rows_left_d;
      first_row_q       <= first_row_d;
      first_rows_left_q <= first_rows_left_d;
      word_q            <= word_d;
      slice_q           <= slice_d;
      columns_left_q    <= columns_left_d;
      words_left_q      <= words_left_d;
      part_q            <= part_d;
    end
  end

  logic [SoreLanes-1:0] in_source;
  for (genvar l = 0; l < int'(SoreLanes); l++) begin : gen_inside
    assign in_source[l] = rows_left_q != '0 && columns_left_q > SizeBits'(l);
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_o      <= 1'b0;
      read_o       <= 1'b0;
      address_o    <= '0;
      slice_o      <= '0;
      in_source_o     <= '0;
      real_o       <= 1'b0;
      ends_block_o <= 1'b0;
      last_o       <= 1'b0;
    end else begin
      valid_o      <= step;
      read_o       <= step && in_source[0];
      address_o    <= row_q + word_q;
      slice_o      <= slice_q;
      in_source_o     <= in_source;
      real_o       <= bank_i.transpose ? columns_left_q > SizeBits'(phase_q & SquareMask)
                                       : rows_left_q != '0;
      ends_block_o <= ends_block;
      last_o       <= last;
    end
  end

endmodule : sore_walk
