/// N:M selector lane: keeps the n values of largest magnitude of a stream of groups.
///
/// The selection rule (docs/formats.md): the magnitude is the 15 bits without the sign, unsigned; a
/// NaN becomes 0x7E00 and so ranks highest; on a tie the lower position wins.
///
/// The lane is one shift register of NMax slots in ascending position, of which the upper n are in
/// use. A value enters at the top and everything above the slot that it replaces moves down by one:
///   - While its group has fewer than n values (`filling_i`) the head slot is replaced. It holds
///     the next result of the group before, which leaves on `value_o` in the same cycle: results
///     come out in ascending position while the next group streams in, without a second buffer.
///   - Afterwards the worst slot is replaced, if the value is larger than any of the group's slots.
/// The worst slot is known without comparing slots with each other: one bit for each pair of slots
/// tells which of the two won when the later one entered, and moves along with them.
///
/// Timing: one value a cycle with `step_i`; the n results of a group are complete one cycle after
/// its last value and leave, one a step, during the next n steps.
///
/// Not here: positions (sore_group counts them), and when a result is valid.
module sore_lane #(
  /// Slots: the largest n.
  parameter int unsigned NMax = 8,
  /// Width of a slot number.
  localparam int unsigned SlotBits = NMax > 1 ? $clog2(NMax) : 1
) (
  /// Clock.
  input  logic                clk_i,
  /// A value enters, or (with filling_i) only the head leaves.
  input  logic                step_i,
  /// The head slot is replaced, whatever it holds.
  input  logic                filling_i,
  /// Slots that hold values of the group that streams in.
  input  logic [NMax-1:0]     member_i,
  /// The lowest slot in use, NMax - n.
  input  logic [SlotBits-1:0] head_i,
  /// FP16 value that enters.
  input  logic [15:0]         value_i,
  /// Its position in the group.
  input  logic [3:0]          position_i,
  /// Value in the head slot.
  output logic [15:0]         value_o,
  /// Its position in its group.
  output logic [3:0]          position_o
);

  localparam int unsigned SlotWidth = 16 + 4;

  // Value and position of each slot, ascending; above them what enters.
  logic [NMax-1:0][SlotWidth-1:0] slot_q;
  logic [NMax:0][SlotWidth-1:0]   slot;
  // won_q[i][j], i < j: slot i beats slot j (the other bits are 0); above them slot i beats
  // what enters. Slots of an earlier group beat every later value.
  logic [NMax-1:0][NMax-1:0]      won_q;
  logic [NMax-1:0][NMax:0]        won;

  logic [15:0]                    value;
  logic [NMax-1:0]                beaten, moves;

  assign value = value_i[14:0] > 15'h7C00 ? 16'h7E00 : value_i;
  assign slot = {value, position_i, slot_q};
  assign {value_o, position_o} = slot_q[head_i];

  always_comb begin
    for (int unsigned i = 0; i < NMax; i++) begin
      beaten[i] = member_i[i] && value[14:0] > slot_q[i][18:4];
      won[i] = {!beaten[i], won_q[i]};
    end
  end

  // The lowest slot that beats none above it is the worst of all: each slot above it is strictly
  // larger; each slot below it beats one above, that one perhaps another, up to this slot or past it.
  always_comb begin
    logic [NMax-1:0] loses;
    for (int unsigned i = 0; i < NMax; i++) loses[i] = won_q[i] == '0;
    for (int unsigned i = 0; i < NMax; i++) begin
      moves[i] = step_i && (filling_i || (beaten != '0 && (loses << (NMax - 1 - i)) != '0));
    end
  end

  always_ff @(posedge clk_i) begin
    for (int unsigned i = 0; i < NMax; i++) begin
      if (moves[i]) slot_q[i] <= slot[i+1];
      for (int unsigned j = 0; j < NMax; j++) begin
        if (j <= i) won_q[i][j] <= 1'b0;
        else if (moves[j]) won_q[i][j] <= moves[i] ? won[i+1][j+1] : won[i][j+1];
      end
    end
  end

  if (NMax < 1 || NMax > 16) begin : gen_illegal
    initial $fatal(1, "sore_lane: NMax must be 1 to 16");
  end

endmodule : sore_lane
