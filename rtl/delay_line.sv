/// A value, `Depth` cycles later; synthesis makes shift-register LUTs of it.
///
/// Timing: `data_o` is `data_i` of `Depth` cycles ago; Depth 0 is a wire.
///
/// Not here: reset, enable or taps; what comes out in the first `Depth` cycles is unknown.
module delay_line #(
  /// bits of the value
  parameter int unsigned Width = 1,
  /// cycles
  parameter int unsigned Depth = 1
) (
  /// clock
  input  logic             clk_i,
  /// value
  input  logic [Width-1:0] data_i,
  /// the value of `Depth` cycles ago
  output logic [Width-1:0] data_o
);

  if (Depth == 0) begin : gen_wire
    logic unused_clk;
    assign unused_clk = clk_i;
    assign data_o = data_i;
  end else begin : gen_registers
    logic [Depth*Width-1:0] line_q;
    if (Depth == 1) begin : gen_one
      always_ff @(posedge clk_i) line_q <= data_i;
    end else begin : gen_many
      always_ff @(posedge clk_i) line_q <= {line_q[(Depth-1)*Width-1:0], data_i};
    end
    assign data_o = line_q[(Depth-1)*Width +: Width];
  end

endmodule : delay_line
