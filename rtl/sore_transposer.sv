/// Transposer of Lanes x Lanes values of 16 bits, one vector in and one out a step.
///
/// One array of cells whose direction goes back and forth (ping-pong): for Lanes steps vectors
/// enter as rows at the bottom and the rows above leave at the top; for the next Lanes steps they
/// enter as columns on the right and columns leave on the left. So each block of Lanes vectors
/// leaves transposed while the next one enters, and no second array is needed.
///
/// Timing: block b enters in steps b * Lanes .. (b + 1) * Lanes - 1 (counted from reset); its
/// vector i, element l of which is element i of the l-th vector that entered, is on vector_o during
/// step (b + 1) * Lanes + i, before the clock edge of that step.
///
/// Not here: which vectors are valid; the user steps it a multiple of Lanes times.
module sore_transposer #(
  /// Values of a vector, and vectors of a block; a power of two.
  parameter int unsigned Lanes = 4
) (
  /// Clock.
  input  logic                clk_i,
  /// Asynchronous reset, active low.
  input  logic                rst_ni,
  /// A vector enters and the array moves by one.
  input  logic                step_i,
  /// Vector that enters, element 0 lowest.
  input  logic [Lanes*16-1:0] vector_i,
  /// Vector that leaves.
  output logic [Lanes*16-1:0] vector_o
);

  localparam int unsigned CountBits = $clog2(Lanes) + 1;
  localparam int unsigned End = Lanes - 1;

  // Steps modulo 2 * Lanes; its highest bit is the direction.
  logic [CountBits-1:0] count_q;
  logic                 sideways;
  logic [Lanes*16-1:0]  row_q [Lanes];

  assign sideways = count_q[CountBits-1];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) count_q <= '0;
    else if (step_i) count_q <= count_q + CountBits'(1);
  end

  for (genvar r = 0; r < int'(Lanes); r++) begin : gen_row
    assign vector_o[r*16+:16] = sideways ? row_q[r][15:0] : row_q[0][r*16+:16];
    for (genvar c = 0; c < int'(Lanes); c++) begin : gen_cell
      logic [15:0] below, right;
      assign below = r == int'(End) ? vector_i[c*16+:16] : row_q[(r + 1) % Lanes][c*16+:16];
      assign right = c == int'(End) ? vector_i[r*16+:16] : row_q[r][((c + 1) % Lanes)*16+:16];
      always_ff @(posedge clk_i) begin
        if (step_i) row_q[r][c*16+:16] <= sideways ? right : below;
      end
    end
  end

  if (Lanes < 1 || Lanes > 32 || (Lanes & (Lanes - 1)) != 0) begin : gen_illegal
    initial $fatal(1, "sore_transposer: Lanes must be a power of two from 1 to 32");
  end

endmodule : sore_transposer
