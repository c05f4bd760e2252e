/// Where the beats of a transfer lie in a scratchpad: the local side of LOAD and STORE.
///
/// Row j starts at word local + j * row_words and has row_bytes bytes. AxiBytes divides the DRAM
/// alignment, so that a beat lies in one row: it is one of the parts of a word, or several whole
/// words.
///
/// Timing: the position of the first beat is shown in the cycle after `load_i`, that of the next one
/// in the cycle after `advance_i`.
///
/// Not here: where the transfer ends (dma_bursts).
module dma_walk #(
  /// Bytes of a beat.
  parameter int unsigned AxiBytes = 8,
  /// DRAM bytes of a word of each space, 16 bits each, space 0 lowest.
  parameter logic [79:0] WordBytes = '0
) (
  input  logic                                 clk_i,
  input  logic                                 load_i,
  input  logic [2:0]                           space_i,
  input  logic [cosparse_pkg::AddressBits-1:0] word_i,
  input  logic [cosparse_pkg::AddressBits-1:0] row_words_i,
  input  logic [31:0]                          row_bytes_i,
  input  logic                                 advance_i,
  output logic [2:0]                           space_o,
  /// First word of the beat.
  output logic [cosparse_pkg::AddressBits-1:0] word_o,
  /// Which part of the word the beat is.
  output logic [10:0]                          part_o,
  /// Parts of a word; 1 where a beat has whole words.
  output logic [10:0]                          parts_o,
  /// The beat is the last one of its row.
  output logic                                 row_end_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;

  logic [2:0]             space_q;
  logic [AddressBits-1:0] row_q, word_q, row_words_q;
  logic [31:0]            row_bytes_q, left_q;
  logic [10:0]            part_q, parts;
  logic [AddressBits-1:0] step;

  /// Parts of a word, and words of a beat, by space; one of them is 1.
  always_comb begin
    parts = 11'd1;
    step  = AddressBits'(1);
    for (int space = 0; space < 5; space++) begin
      if (space_q == 3'(space)) begin
        if (int'(WordBytes[16*space+:16]) >= AxiBytes) begin
          parts = 11'(int'(WordBytes[16*space+:16]) / AxiBytes);
        end else begin
          step = AddressBits'(AxiBytes / int'(WordBytes[16*space+:16]));
        end
      end
    end
  end

  assign space_o   = space_q;
  assign word_o    = word_q;
  assign part_o    = part_q;
  assign parts_o   = parts;
  assign row_end_o = left_q == 32'(AxiBytes);

  always_ff @(posedge clk_i) begin
    if (load_i) begin
      space_q     <= space_i;
      row_q       <= word_i;
      word_q      <= word_i;
      row_words_q <= row_words_i;
      row_bytes_q <= row_bytes_i;
      left_q      <= row_bytes_i;
      part_q      <= '0;
    end else if (advance_i) begin
      if (row_end_o) begin
        row_q  <= row_q + row_words_q;
        word_q <= row_q + row_words_q;
        left_q <= row_bytes_q;
        part_q <= '0;
      end else begin
        left_q <= left_q - 32'(AxiBytes);
        part_q <= part_q == parts - 1'b1 ? '0 : part_q + 1'b1;
        if (part_q == parts - 1'b1) word_q <= word_q + step;
      end
    end
  end

endmodule : dma_walk
