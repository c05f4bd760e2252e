/// First in, first out, of any number of entries.
///
/// Timing: the head is read without latency; a pushed word is seen in the next cycle. One push and one
/// pop a cycle.
///
/// Not here: protection; the user pushes only while `ready_o` and pops only while `valid_o`. No bypass
/// from push to pop, so a full FIFO takes nothing in the cycle of a pop.
module fifo #(
  /// Bits of an entry.
  parameter int unsigned Width = 8,
  /// Entries, at least 1; need not be a power of two.
  parameter int unsigned Depth = 2
) (
  input  logic             clk_i,
  input  logic             rst_ni,
  /// Forget all entries.
  input  logic             clear_i,
  input  logic             push_i,
  input  logic [Width-1:0] data_i,
  /// There is room for one more.
  output logic             ready_o,
  input  logic             pop_i,
  output logic [Width-1:0] data_o,
  /// There is an entry, shown on `data_o`.
  output logic             valid_o
);

  localparam int unsigned PointerBits = Depth > 1 ? $clog2(Depth) : 1;
  localparam int unsigned CountBits = $clog2(Depth + 1);
  localparam logic [PointerBits-1:0] Last = PointerBits'(Depth - 1);

  logic [Width-1:0]       entries_q [Depth];
  logic [PointerBits-1:0] head_q, tail_q;
  logic [CountBits-1:0]   count_q;

  assign ready_o = count_q != CountBits'(Depth);
  assign valid_o = count_q != '0;
  assign data_o  = entries_q[head_q];

  always_ff @(posedge clk_i) begin
    if (push_i) entries_q[tail_q] <= data_i;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      head_q  <= '0;
      tail_q  <= '0;
      count_q <= '0;
    end else if (clear_i) begin
      head_q  <= '0;
      tail_q  <= '0;
      count_q <= '0;
    end else begin
      if (push_i) tail_q <= tail_q == Last ? '0 : tail_q + 1'b1;
      if (pop_i) head_q <= head_q == Last ? '0 : head_q + 1'b1;
      if (push_i != pop_i) count_q <= push_i ? count_q + 1'b1 : count_q - 1'b1;
    end
  end

endmodule : fifo
