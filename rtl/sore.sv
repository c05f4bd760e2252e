/// SORE, the N:M selector unit: executes PRUNE (docs/microarchitecture.md, docs/numerics.md).
///
///     ACT -> slice, +0 outside -> [transposer] -> SoreLanes selector lanes -> part of a WGT word
///
/// Timing, for start_i in cycle t: the first address is on act_raddr_o in cycle t +
/// PruneStartCycles - 2, its vector enters the lanes (transpose: the transposer) in cycle
/// t + PruneStartCycles, and one follows in each cycle. The results of a group are written during
/// the first n of the cycles in which the next group enters; the last group's n cycles come after
/// the last value. done_o is high in the last of them, cycle t + T - 1 with
///     T = PruneStartCycles + blocks * K + n + (transpose ? SoreLanes : 0).
///
/// Not here: the limits of PRUNE, halves, owners, semaphores, stalls: the scratchpads belong to it
/// while it works.
module sore #(
  /// Array rows.
  parameter int unsigned Rows = 4,
  /// Array columns: FP16 of a word of WGT.
  parameter int unsigned Cols = 4,
  /// Largest M.
  parameter int unsigned GroupMax = 8,
  /// Largest N.
  parameter int unsigned NMax = 8,
  /// A: a word of ACT has a * Rows FP16.
  parameter int unsigned ActValuesPerRowCycle = 1,
  /// Selector lanes.
  parameter int unsigned SoreLanes = 4,
  localparam int unsigned AddressBits = cosparse_pkg::AddressBits,
  localparam int unsigned IndexBits = cosparse_pkg::IndexBits,
  localparam int unsigned ActLanes = ActValuesPerRowCycle * Rows
) (
  /// Clock.
  input  logic                         clk_i,
  /// Asynchronous reset, active low.
  input  logic                         rst_ni,
  /// Issue: for one cycle.
  input  logic                         start_i,
  /// The PRUNE, in the cycle of start_i.
  input  cosparse_pkg::prune_instr_t   instr_i,
  /// Its registers, in the cycle of start_i.
  input  cosparse_pkg::sore_bank_t     bank_i,
  /// Last occupied cycle.
  output logic                         done_o,

  /// Read a word of ACT; the data come in the next cycle.
  output logic                         act_re_o,
  /// Word address.
  output logic [AddressBits-1:0]       act_raddr_o,
  /// Word read, lane 0 lowest.
  input  logic [ActLanes*16-1:0]       act_rdata_i,

  /// Write these lanes of a word of WGT and of IDX.
  output logic [Cols-1:0]              wgt_we_o,
  /// Word address.
  output logic [AddressBits-1:0]       wgt_waddr_o,
  /// Values, lane 0 lowest.
  output logic [Cols*16-1:0]           wgt_wdata_o,
  /// Their positions in their groups.
  output logic [Cols*IndexBits-1:0]    idx_wdata_o
);

  localparam int unsigned Slices = ActLanes / SoreLanes;
  localparam int unsigned SliceBits = Slices > 1 ? $clog2(Slices) : 1;
  localparam int unsigned Parts = Cols / SoreLanes;
  localparam int unsigned PartBits = Parts > 1 ? $clog2(Parts) : 1;
  localparam int unsigned SlotBits = NMax > 1 ? $clog2(NMax) : 1;
  localparam int unsigned VectorBits = SoreLanes * 16;
  // From start_i: instruction register, walk register, address register, ACT, vector register.
  localparam int unsigned Stages = 5;

  /// What the lanes must know of a vector.
  typedef struct packed {
    logic valid;
    logic is_real;
    logic ends_block;
    logic last;
  } tag_t;
  localparam int unsigned TagBits = 4;
  localparam int unsigned DelayBits = SoreLanes * TagBits;

  ////////////////////////
  // Instruction, walk  //
  ////////////////////////

  logic                     start_q;
  cosparse_pkg::sore_bank_t bank_q;
  logic [AddressBits-1:0]   act_q, wgt_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      start_q <= 1'b0;
      bank_q  <= '0;
      act_q   <= '0;
      wgt_q   <= '0;
    end else begin
      start_q <= start_i;
      if (start_i) begin
        bank_q <= bank_i;
        act_q  <= instr_i.act;
        wgt_q  <= instr_i.wgt;
      end
    end
  end

  tag_t                 walk_tag, read_tag_q, vector_tag_q;
  logic [SliceBits-1:0] walk_slice, slice_q;
  logic [SoreLanes-1:0] walk_in_source, in_source_q;

  sore_walk #(
    .GroupMax  (GroupMax),
    .SoreLanes (SoreLanes),
    .Cols      (Cols),
    .ActLanes  (ActLanes),
    .LeadCycles(cosparse_pkg::PruneStartCycles - Stages)
  ) u_walk (
    .clk_i,
    .rst_ni,
    .start_i     (start_q),
    .bank_i      (bank_q),
    .act_i       (act_q),
    .valid_o     (walk_tag.valid),
    .read_o      (act_re_o),
    .address_o   (act_raddr_o),
    .slice_o     (walk_slice),
    .in_source_o    (walk_in_source),
    .real_o      (walk_tag.is_real),
    .ends_block_o(walk_tag.ends_block),
    .last_o      (walk_tag.last)
  );

  /////////////
  // Vectors //
  /////////////

  logic [VectorBits-1:0] slice, vector_d, vector_q;

  assign slice = act_rdata_i[slice_q*VectorBits+:VectorBits];
  for (genvar l = 0; l < int'(SoreLanes); l++) begin : gen_outside
    assign vector_d[l*16+:16] = slice[l*16+:16] & {16{in_source_q[l]}};
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      read_tag_q   <= '0;
      vector_tag_q <= '0;
    end else begin
      read_tag_q   <= walk_tag;
      vector_tag_q <= read_tag_q;
    end
  end

  always_ff @(posedge clk_i) begin
    slice_q  <= walk_slice;
    in_source_q <= walk_in_source;
    vector_q <= vector_d;
  end

  logic [VectorBits-1:0] transposed;
  tag_t                  delayed_tag;
  // Tags of the vectors in the transposer, the oldest highest.
  logic [DelayBits-1:0]  delay_q;

  assign delayed_tag = delay_q[DelayBits-1-:TagBits];

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) delay_q <= '0;
    else delay_q <= (delay_q << TagBits) | DelayBits'(bank_q.transpose ? vector_tag_q : '0);
  end

  sore_transposer #(
    .Lanes(SoreLanes)
  ) u_transposer (
    .clk_i,
    .rst_ni,
    .step_i  (bank_q.transpose && (vector_tag_q.valid || delayed_tag.valid)),
    .vector_i(vector_q),
    .vector_o(transposed)
  );

  ///////////
  // Lanes //
  ///////////

  tag_t                            tag;
  logic [VectorBits-1:0]           vector;
  logic                            drain_d, drain_q;
  logic                            group_last, filling;
  logic [3:0]                      position;
  logic [NMax-1:0]                 member;
  logic [SlotBits-1:0]             head;
  logic [VectorBits-1:0]           values;
  logic [SoreLanes*IndexBits-1:0]  positions;

  assign tag = bank_q.transpose ? delayed_tag : vector_tag_q;
  assign vector = bank_q.transpose ? transposed : vector_q;

  sore_group #(
    .NMax(NMax)
  ) u_group (
    .clk_i,
    .rst_ni,
    .n_i       (bank_q.n),
    .m_i       (bank_q.m),
    .take_i    (tag.valid),
    .drain_i   (drain_q),
    .position_o(position),
    .last_o    (group_last),
    .filling_o (filling),
    .member_o  (member),
    .head_o    (head)
  );

  for (genvar l = 0; l < int'(SoreLanes); l++) begin : gen_lane
    sore_lane #(
      .NMax(NMax)
    ) u_lane (
      .clk_i,
      .step_i    (tag.valid || drain_q),
      .filling_i (filling),
      .member_i  (member),
      .head_i    (head),
      .value_i   (vector[l*16+:16]),
      .position_i(position),
      .value_o   (values[l*16+:16]),
      .position_o(positions[l*IndexBits+:IndexBits])
    );
  end

  assign done_o = drain_q && group_last;

  always_comb begin
    drain_d = drain_q;
    if (tag.valid && tag.last) drain_d = 1'b1;
    else if (done_o) drain_d = 1'b0;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) drain_q <= 1'b0;
    else drain_q <= drain_d;
  end

  ////////////
  // Result //
  ////////////

  // This group is not beyond the end of K (its first value is not).
  logic group_real, group_real_q;
  // The group that leaves: there is one, it is written, it is the last of its block.
  logic held_d, held_q, written_d, written_q, ends_block_d, ends_block_q;
  // Next entry's word; the block's word in an entry 0, and its part of that word.
  logic [AddressBits-1:0] entry_d, entry_q, word_d, word_q;
  logic [PartBits-1:0]    part_d, part_q;
  logic                   leaves;

  assign group_real = position == '0 ? tag.is_real : group_real_q;
  assign leaves = held_q && filling && (tag.valid || drain_q);

  always_comb begin
    held_d = held_q;
    written_d = written_q;
    ends_block_d = ends_block_q;
    if (tag.valid && group_last) begin
      held_d = 1'b1;
      written_d = group_real;
      ends_block_d = tag.ends_block;
    end else if (done_o) begin
      held_d = 1'b0;
    end
  end

  always_comb begin
    entry_d = entry_q;
    word_d = word_q;
    part_d = part_q;
    if (leaves) begin
      entry_d = entry_q + bank_q.wgt_words;
      if (ends_block_q && {1'b0, position} == bank_q.n - 5'd1) begin
        part_d = part_q + PartBits'(1);
        if (part_q == PartBits'(Parts - 1)) begin
          part_d = '0;
          word_d = word_q + AddressBits'(1);
        end
        entry_d = word_d;
      end
    end
    if (start_q) begin
      entry_d = wgt_q;
      word_d = wgt_q;
      part_d = '0;
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      group_real_q <= 1'b0;
      held_q       <= 1'b0;
      written_q    <= 1'b0;
      ends_block_q <= 1'b0;
      entry_q      <= '0;
      word_q       <= '0;
      part_q       <= '0;
    end else begin
      group_real_q <= group_real;
      held_q       <= held_d;
      written_q    <= written_d;
      ends_block_q <= ends_block_d;
      entry_q      <= entry_d;
      word_q       <= word_d;
      part_q       <= part_d;
    end
  end

  assign wgt_waddr_o = entry_q;
  for (genvar p = 0; p < int'(Parts); p++) begin : gen_part
    assign wgt_we_o[p*SoreLanes+:SoreLanes] =
        {SoreLanes{leaves && written_q && part_q == PartBits'(p)}};
    assign wgt_wdata_o[p*VectorBits+:VectorBits] = values;
    assign idx_wdata_o[p*SoreLanes*IndexBits+:SoreLanes*IndexBits] = positions;
  end

  if (GroupMax < 2 || GroupMax > 16 || (GroupMax & (GroupMax - 1)) != 0) begin : gen_bad_group
    initial $fatal(1, "sore: GroupMax must be a power of two from 2 to 16");
  end
  if (NMax < 1 || NMax > GroupMax || (NMax & (NMax - 1)) != 0) begin : gen_bad_n
    initial $fatal(1, "sore: NMax must be a power of two from 1 to GroupMax");
  end
  if (SoreLanes > Cols || Cols % SoreLanes != 0) begin : gen_bad_cols
    initial $fatal(1, "sore: SoreLanes must divide Cols (SORE writes one weight word)");
  end
  if (SoreLanes > ActLanes || ActLanes % SoreLanes != 0) begin : gen_bad_act
    initial $fatal(1, "sore: SoreLanes must divide ActValuesPerRowCycle * Rows");
  end
  if (cosparse_pkg::PruneStartCycles < Stages) begin : gen_bad_start
    initial $fatal(1, "sore: PruneStartCycles is shorter than the pipeline");
  end

endmodule : sore
