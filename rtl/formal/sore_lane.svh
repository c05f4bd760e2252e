// Proof of sore_lane.sv with sore_group.sv: of every group the lane gives out the n largest elements,
// in ascending position, NaN canonical, ties to the lower position; for every n <= NMax, m from n to
// 16, all values and any pauses. README.md here says how the proof goes.
//
// One group is watched. Of it one element, the ghost, is fixed beforehand: an arbitrary position and
// an arbitrary value. Everything else that enters is arbitrary. `worse_q` counts what the lane does
// not know: how many elements so far beat the ghost.
//
// Assumed: the lane is driven by a sore_group; a drain begins between two groups, and nothing enters
// until all results have left. sore.sv does so.

// ---- Environment -----------------------------------------------------------------------------------

(* anyconst *) logic [4:0]  n;
(* anyconst *) logic [4:0]  m;
(* anyconst *) logic [3:0]  ghost_position;
(* anyconst *) logic [15:0] ghost_value;
(* anyseq *)   logic        take;
(* anyseq *)   logic        drain;
(* anyseq *)   logic        watch;

logic                reset_n = 1'b0;
logic                filling, last;
logic [3:0]          position;
logic [NMax-1:0]     member;
logic [SlotBits-1:0] head;

sore_group #(
  .NMax(NMax)
) u_group (
  .clk_i,
  .rst_ni    (reset_n),
  .n_i       (n),
  .m_i       (m),
  .take_i    (take),
  .drain_i   (drain),
  .position_o(position),
  .last_o    (last),
  .filling_o (filling),
  .member_o  (member),
  .head_o    (head)
);

// The watched group enters, then leaves while the next one enters or the lane drains.
logic enters_q = 1'b0;
logic leaves_q = 1'b0;
logic drains_q = 1'b0;
logic enters;
assign enters = enters_q || (position == '0 && watch && !leaves_q && !drain);

always_comb begin
  assume (n >= 5'd1 && n <= 5'(NMax) && n <= m && m <= 5'd16);
  assume ({1'b0, ghost_position} < m);
  assume (step_i == (take || drain) && filling_i == filling && member_i == member);
  assume (head_i == head && position_i == position);
  assume (!(take && drain));
  if (drain) assume (position == '0 || drains_q);
  if (drains_q) assume (!take);
  if (!reset_n) assume (!take && !drain);
  if (enters && position == ghost_position) assume (value_i == ghost_value);
end

always_ff @(posedge clk_i) begin
  reset_n <= 1'b1;
  if (take || drain) begin
    drains_q <= drain && !last;
    enters_q <= enters && take && !last;
    if (enters && take && last) leaves_q <= 1'b1;
    else if (leaves_q && {1'b0, position} == n - 5'd1) leaves_q <= 1'b0;
  end
end

// ---- Specification ---------------------------------------------------------------------------------

// The selection rule between two elements.
function automatic logic beats(input logic [14:0] key, input logic [3:0] place,
                               input logic [14:0] other_key, input logic [3:0] other_place);
  beats = key > other_key || (key == other_key && place < other_place);
endfunction

logic [15:0] canonical, ghost;
assign canonical = value_i[14:10] == '1 && value_i[9:0] != '0 ? 16'h7E00 : value_i;
assign ghost = ghost_value[14:10] == '1 && ghost_value[9:0] != '0 ? 16'h7E00 : ghost_value;

logic [4:0] worse_q;
logic [3:0] previous_q;
logic       emitted_q;
logic       kept;
assign kept = worse_q < n;

always_ff @(posedge clk_i) begin
  if (take && enters) begin
    worse_q <= (position == '0 ? 5'd0 : worse_q) +
               {4'd0, beats(canonical[14:0], position, ghost[14:0], ghost_position)};
    emitted_q <= 1'b0;
  end
  if ((take || drain) && leaves_q) begin
    previous_q <= position_o;
    emitted_q  <= emitted_q || position_o == ghost_position;
  end
end

// ---- Facts, each proved from those above it and from all of them in the cycle before ---------------

// `old`: results that have not left, from the head to below the members.
logic [NMax-1:0]       old, holds, better, beats_none;
logic [NMax-1:0][14:0] key;
logic [NMax-1:0][3:0]  place;
logic                  seen, enters_better;

for (genvar i = 0; i < int'(NMax); i++) begin : g_ghost
  assign key[i] = slot_q[i][18:4];
  assign place[i] = slot_q[i][3:0];
  assign old[i] = leaves_q && 5'(i) + n >= 5'(NMax) && 5'(i) + {1'b0, position} < 5'(NMax);
  assign holds[i] = place[i] == ghost_position;
  assign better[i] = member[i] && beats(key[i], place[i], ghost[14:0], ghost_position);
  assign beats_none[i] = won_q[i] == '0;
end
assign seen = position > ghost_position;
assign enters_better = beats(canonical[14:0], position, ghost[14:0], ghost_position);

logic [4:0] entered;
assign entered = {1'b0, position} < n ? {1'b0, position} : n;

// Sums are in unary, which suits a SAT solver.
function automatic logic [NMax-1:0] ones(input logic [NMax-1:0] bits);
  ones = '0;
  for (int unsigned i = 0; i < NMax; i++) if (bits[i]) ones = (ones << 1) | NMax'(1);
endfunction

function automatic logic [NMax-1:0] unary(input logic [4:0] number);
  for (int unsigned i = 0; i < NMax; i++) unary[i] = 5'(i) < number;
endfunction

// Who beats the ghost now (a copy of `better`) and after this step; how many, and how many should.
logic [NMax-1:0] better_q, next_better, count, next_count;
logic [4:0]      worse, next_worse;
// All members beat the ghost. The slot that is replaced.
logic            all_better;
logic [NMax-1:0] replaced;

for (genvar i = 0; i < int'(NMax); i++) begin : g_next
  if (i == int'(NMax) - 1) begin : g_top
    assign next_better[i] = moves[i] ? enters_better : better_q[i];
  end else begin : g_below
    assign next_better[i] = moves[i] ? better_q[i+1] : better_q[i];
  end
  assign replaced[i] = enters && !filling && moves[i] && (moves << (NMax - i)) == '0;
end
assign count = ones(better_q);
assign next_count = ones(next_better);
assign worse = enters_q ? worse_q : 5'd0;
assign next_worse = worse + {4'd0, enters_better};
assign all_better = (better_q | ~member) == '1;

initial better_q = '0;
always_ff @(posedge clk_i) if (take && enters) better_q <= last ? '0 : next_better;

always_comb begin
  // Phases and counters.
  if (!reset_n) assert (!enters_q && !leaves_q && !drains_q);
  assert ({1'b0, position} < (drains_q ? n : m));
  if (drains_q) assert (position != '0 && !enters_q);
  if (enters_q) assert (position != '0 && !leaves_q && worse_q <= {1'b0, position});
  if (leaves_q) assert ({1'b0, position} < n && !(position == '0 && emitted_q));
  for (int unsigned i = 0; i < NMax; i++) begin
    if (!drains_q) assert (member[i] == (5'(i) + entered >= 5'(NMax)));
  end

  // What moves is the slots from one on upwards.
  for (int unsigned i = 0; i + 1 < NMax; i++) if (moves[i]) assert (moves[i+1]);

  // Members and old results are in ascending position.
  for (int unsigned i = 0; i < NMax; i++) begin
    if (enters_q && member[i]) assert (place[i] < position);
    if (old[i]) assert ({1'b0, place[i]} < m && (position == '0 || place[i] > previous_q));
    for (int unsigned j = i + 1; j < NMax; j++) begin
      if (enters_q && member[i] || old[i] && old[j]) assert (place[i] < place[j]);
    end
  end

  // The bits of the pairs say who wins.
  for (int unsigned i = 0; i < NMax; i++) begin
    for (int unsigned j = 0; j <= i; j++) begin
      if (reset_n) assert (!won_q[i][j]);
    end
    for (int unsigned j = i + 1; j < NMax; j++) begin
      if (enters_q && member[j]) assert (won_q[i][j] == (!member[i] || key[i] >= key[j]));
    end
  end

  // The lowest slot that beats none above it is the worst of a full list. From there downwards: a slot
  // beats one above it, which is the lowest one, or beats it as just proved, or has a larger key.
  for (int unsigned i = 0; i < NMax; i++) begin
    for (int j = int'(i) - 1; j >= 0; j--) begin
      if (enters_q && !filling && beats_none[i] && (beats_none << (NMax - i)) == '0)
        assert (won_q[j][i]);
    end
  end

  // The copy is one.
  for (int unsigned i = 0; i < NMax; i++) assert (better_q[i] == (enters_q && better[i]));

  // Who beats an element that beats the ghost, beats the ghost.
  for (int unsigned i = 0; i < NMax; i++) begin
    if (enters_q && member[i]) begin
      if (beaten[i] && better_q[i]) assert (enters_better);
      if (!beaten[i] && enters_better) assert (better_q[i]);
      if (position == ghost_position) assert (beaten[i] == !better_q[i]);
      for (int unsigned j = i + 1; j < NMax; j++) begin
        if (won_q[i][j] && better_q[j]) assert (better_q[i]);
        if (!won_q[i][j] && better_q[i]) assert (better_q[j]);
      end
    end
  end

  // As many members beat the ghost as elements did, n at most: the element that enters and the
  // one that is replaced change the sum, the moves do not.
  if (enters_q) assert (count == unary(kept ? worse_q : n));
  if (enters_q && !filling) assert (all_better == !kept);
  if (take && enters && filling)
    assert (next_count == (enters_better ? (count << 1) | NMax'(1) : count));
  for (int unsigned i = 0; i < NMax; i++) begin
    if (replaced[i]) begin
      if (better_q[i]) assert (all_better && enters_better);
      assert (next_count == (better_q[i] == enters_better ? count : (count << 1) | NMax'(1)));
    end
  end
  if (take && enters) assert (next_count == unary(next_worse < n ? next_worse : n));

  // The ghost is in the list just if it has entered and fewer than n elements beat it.
  for (int unsigned i = 0; i < NMax; i++) begin
    if ((enters_q && member[i] || old[i]) && holds[i]) assert (slot_q[i][19:4] == ghost);
    if (enters_q && !filling && member[i] && holds[i]) begin
      assert (((better_q | ~member | NMax'(1) << i) == '1) == (worse_q >= n - 5'd1));
      for (int unsigned j = 0; j < NMax; j++) begin
        if (j < i && member[j]) assert (won_q[j][i] == better_q[j]);
        if (j > i) assert (won_q[i][j] == !better_q[j]);
      end
      assert (beaten[i] == enters_better);
      if (take) assert (replaced[i] == (enters_better && worse_q == n - 5'd1));
    end
  end
  if (take && enters && position == ghost_position)
    assert ((filling || beaten != '0) == (worse < n));
  if (enters_q) assert (|(holds & member) == (seen && kept));
  if (leaves_q) assert (|(holds & old) == (kept && !emitted_q));
  if (leaves_q && emitted_q) assert (kept);
end

// ---- What leaves -----------------------------------------------------------------------------------

// Positions ascend; the ghost is among them just if fewer than n elements beat it, with its value.
// The ghost is any element, so these are the n largest.
always_comb begin
  if ((take || drain) && leaves_q) begin
    assert ({1'b0, position_o} < m);
    if (position != '0) assert (position_o > previous_q);
    if (position_o == ghost_position) assert (kept && value_o == ghost);
    if ({1'b0, position} == n - 5'd1)
      assert (kept == (emitted_q || position_o == ghost_position));
  end
end
