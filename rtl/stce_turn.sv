/// Corner turn: an ACT word arrives whole, and every row takes `Lanes` values of it in a cycle.
///
/// A word is Rows blocks of Lanes values. Line d gives block d delayed, so that consecutive blocks of
/// a word leave in consecutive cycles:
///     lhs = ROW      line d is block d, d mod (blocks a row takes) cycles after it arrived
///     lhs = COLUMN   line d is the value (Ir = 2: values) of row d, d cycles after it arrived
/// Lanes of no value, and whole words outside the image, become +0.
///
/// Timing: `word_i` and what describes it in the same cycle; line 0 has no delay.
///
/// Not here: which row takes which line (stce_row).
module stce_turn #(
  /// Array rows R.
  parameter int unsigned Rows = 4,
  /// Values of a block.
  parameter int unsigned Lanes = 1,
  localparam int unsigned RowBits = $clog2(Rows),
  localparam int unsigned LaneBits = Lanes > 1 ? $clog2(Lanes) : 1,
  localparam int unsigned WordLaneBits = $clog2(Lanes * Rows)
) (
  /// Clock.
  input  logic                     clk_i,
  /// The word; lanes of it that hold values.
  input  logic [16*Lanes*Rows-1:0] word_i,
  input  logic [WordLaneBits:0]    valid_lanes_i,
  /// lhs = COLUMN; blocks of a word that a row takes, less one, otherwise.
  input  logic                     column_i,
  input  logic [RowBits-1:0]       blocks_less1_i,
  /// lhs = COLUMN: first values are `part_i` times Rows lanes into the word; Ir = 2.
  input  logic [LaneBits-1:0]      part_i,
  input  logic                     two_i,
  /// Lines of the rows.
  output logic [16*Lanes*Rows-1:0] lines_o
);

  logic [16*Lanes*Rows-1:0] masked;

  always_comb begin
    for (int lane = 0; lane < Lanes * Rows; lane++) begin
      masked[16*lane+:16] =
          (WordLaneBits+1)'(lane) < valid_lanes_i ? word_i[16*lane+:16] : 16'd0;
    end
  end

  for (genvar d = 0; d < Rows; d++) begin : gen_line
    logic [16*Lanes-1:0] block;

    for (genvar b = 0; b < Lanes; b++) begin : gen_lane
      logic [15:0] value;

      if (Lanes == 1) begin : gen_one
        assign value = masked[16*d+:16];
      end else begin : gen_part
        logic [LaneBits-1:0] part;

        assign part  = part_i | (two_i ? LaneBits'(b % 2) : '0);
        assign value = masked[16*(Rows*part+d)+:16];
      end

      assign block[16*b+:16] = column_i ? value : masked[16*(Lanes*d+b)+:16];
    end

    if (d == 0) begin : gen_now
      assign lines_o[16*Lanes*d+:16*Lanes] = block;
    end else begin : gen_later
      logic [16*Lanes*(d+1)-1:0] taps;
      logic [16*Lanes*d-1:0]     taps_q;
      logic [RowBits-1:0]        delay;

      assign taps  = {taps_q, block};
      assign delay = column_i ? RowBits'(d) : RowBits'(d) & blocks_less1_i;

      always_ff @(posedge clk_i) taps_q <= taps[16*Lanes*d-1:0];

      assign lines_o[16*Lanes*d+:16*Lanes] = taps[16*Lanes*delay+:16*Lanes];
    end
  end

  logic unused;
  assign unused = ^{part_i, two_i};

endmodule : stce_turn
