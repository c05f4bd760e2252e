/// Where the selector lanes are in a group of m values: one counter for all lanes.
///
/// Timing: the outputs describe the value that enters in this cycle; they change at the end of a
/// cycle with `take_i` or `drain_i`.
///
/// Not here: where a group lies in the operand (sore_walk); n_i and m_i must be stable while it works.
module sore_group #(
  /// Slots of a lane.
  parameter int unsigned NMax = 8,
  /// Width of a slot number.
  localparam int unsigned SlotBits = NMax > 1 ? $clog2(NMax) : 1
) (
  /// Clock.
  input  logic                clk_i,
  /// Asynchronous reset, active low.
  input  logic                rst_ni,
  /// Values kept of a group, 1 to NMax.
  input  logic [4:0]          n_i,
  /// Values of a group, n_i to 16.
  input  logic [4:0]          m_i,
  /// A value enters.
  input  logic                take_i,
  /// The last group leaves and nothing enters; for n_i cycles, never together with take_i.
  input  logic                drain_i,
  /// Position in the group of the value that enters.
  output logic [3:0]          position_o,
  /// This value is the last of its group (with drain_i: the last result leaves).
  output logic                last_o,
  /// Fewer than n_i values of this group have entered: the head slot is free, or leaves now.
  output logic                filling_o,
  /// Slots that hold values of this group: the highest min(position_o, n_i).
  output logic [NMax-1:0]     member_o,
  /// The lowest slot in use, NMax - n_i.
  output logic [SlotBits-1:0] head_o
);

  logic [3:0]      position_d, position_q;
  logic [NMax-1:0] member_d, member_q;

  assign position_o = position_q;
  assign member_o   = member_q;
  assign last_o     = {1'b0, position_q} == (drain_i ? n_i : m_i) - 5'd1;
  assign filling_o  = {1'b0, position_q} < n_i;
  assign head_o     = SlotBits'(5'(NMax) - n_i);

  always_comb begin
    position_d = position_q;
    member_d   = member_q;
    if (take_i || drain_i) begin
      if (last_o) begin
        position_d = '0;
        member_d   = '0;
      end else begin
        position_d = position_q + 4'd1;
        if (filling_o) member_d = (member_q >> 1) | (NMax'(1) << (NMax - 1));
      end
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      position_q <= '0;
      member_q   <= '0;
    end else begin
      position_q <= position_d;
      member_q   <= member_d;
    end
  end

  if (NMax < 1 || NMax > 16) begin : gen_illegal
    initial $fatal(1, "sore_group: NMax must be 1 to 16");
  end

endmodule : sore_group
