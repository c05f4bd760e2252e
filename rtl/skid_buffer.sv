/// Skid buffer: cuts a valid/ready handshake, both the forward and the backward path, with registers.
///
/// A word is accepted in a cycle with `valid_i` and `ready_o`, and leaves in a cycle with `valid_o`
/// and `ready_i`. Words leave in order, none is lost or doubled.
///
/// Timing: one cycle from input to output, one word a cycle; `ready_o` is a register. Once valid, an
/// output word stays until it is taken.
///
/// Not here: more than the two words that full throughput needs; see fifo.sv.
module skid_buffer #(
  /// Bits of a word.
  parameter int unsigned Width = 8
) (
  /// Clock.
  input  logic             clk_i,
  /// Reset, asynchronous, active low: both registers are empty.
  input  logic             rst_ni,
  /// Source.
  input  logic             valid_i,
  output logic             ready_o,
  input  logic [Width-1:0] data_i,
  /// Sink.
  output logic             valid_o,
  input  logic             ready_i,
  output logic [Width-1:0] data_o
);

  // A word goes to the output register, or to `spare` where the output waits for the sink.
  logic full_q, valid_q;
  logic [Width-1:0] spare_q, data_q;
  logic advance;

  assign ready_o = ~full_q;
  assign valid_o = valid_q;
  assign data_o  = data_q;
  assign advance = ready_i | ~valid_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
      full_q  <= 1'b0;
    end else if (advance) begin
      valid_q <= full_q | valid_i;
      full_q  <= 1'b0;
    end else begin
      full_q  <= full_q | valid_i;
    end
  end

  always_ff @(posedge clk_i) begin
    if (advance) data_q <= full_q ? spare_q : data_i;
    if (~full_q) spare_q <= data_i;
  end

endmodule : skid_buffer
