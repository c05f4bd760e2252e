/// Cuts one transfer into AXI bursts: the DRAM side of LOAD and STORE.
///
///     for i2 < count2, i1 < count1, i0 < count0:
///         run_bytes contiguous bytes at dram + i2 * stride2 + i1 * stride1 + i0 * stride0
///
/// cut where the byte address is a multiple of BurstBeats * AxiBytes.
///
/// Timing: the first burst is shown in the cycle after `load_i`, the next one in the cycle after
/// `ready_i`: one burst a cycle.
///
/// Not here: checks; sizes of at least 1 and multiples of the DRAM alignment are taken for granted.
module dma_bursts #(
  /// Bytes of a beat.
  parameter int unsigned AxiBytes = 8,
  /// Beats of the longest burst.
  parameter int unsigned BurstBeats = 16
) (
  input  logic                    clk_i,
  input  logic                    rst_ni,
  /// Forget the transfer.
  input  logic                    clear_i,
  /// Take a transfer; only while `valid_o` is low.
  input  logic                    load_i,
  input  logic [39:0]             dram_i,
  input  cosparse_pkg::dma_bank_t bank_i,
  /// A burst is shown.
  output logic                    valid_o,
  /// The burst is taken.
  input  logic                    ready_i,
  output logic [39:0]             address_o,
  /// Address of its last byte.
  output logic [39:0]             end_o,
  /// Beats - 1.
  output logic [7:0]              length_o,
  /// The transfer's last burst.
  output logic                    last_o
);

  localparam int unsigned BurstBytes = BurstBeats * AxiBytes;
  localparam int unsigned BeatShift = $clog2(AxiBytes);
  localparam logic [39:0] OffsetMask = 40'(BurstBytes - 1);

  cosparse_pkg::dma_bank_t bank_q;
  logic        valid_q;
  /// Bytes of the run that are left, and where they begin.
  logic [31:0] left_q;
  logic [39:0] address_q;
  /// Where the run, the inner and the middle loop begin, and iterations that are left.
  logic [39:0] run_q, inner_q, middle_q;
  logic [23:0] left0_q, left1_q, left2_q;

  logic [39:0] room, next_run;
  logic [31:0] bytes;
  logic        ends_run, ends_inner, ends_middle;

  assign room        = 40'(BurstBytes) - (address_q & OffsetMask);
  assign ends_run    = 40'(left_q) <= room;
  assign bytes       = ends_run ? left_q : room[31:0];
  assign ends_inner  = left0_q == 24'd1;
  assign ends_middle = ends_inner && left1_q == 24'd1;

  assign valid_o   = valid_q;
  assign address_o = address_q;
  assign end_o     = address_q + 40'(bytes) - 40'd1;
  assign length_o  = 8'(bytes >> BeatShift) - 8'd1;
  assign last_o    = ends_run && ends_middle && left2_q == 24'd1;

  always_comb begin
    if (ends_middle) next_run = middle_q + bank_q.stride2;
    else if (ends_inner) next_run = inner_q + bank_q.stride1;
    else next_run = run_q + bank_q.stride0;
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q <= 1'b0;
    end else if (clear_i) begin
      valid_q <= 1'b0;
    end else if (load_i) begin
      valid_q <= 1'b1;
    end else if (valid_q && ready_i && last_o) begin
      valid_q <= 1'b0;
    end
  end

  always_ff @(posedge clk_i) begin
    if (load_i) begin
      bank_q    <= bank_i;
      left_q    <= bank_i.run_bytes;
      address_q <= dram_i;
      run_q     <= dram_i;
      inner_q   <= dram_i;
      middle_q  <= dram_i;
      left0_q   <= bank_i.count0;
      left1_q   <= bank_i.count1;
      left2_q   <= bank_i.count2;
    end else if (valid_q && ready_i) begin
      if (!ends_run) begin
        left_q    <= left_q - bytes;
        address_q <= address_q + 40'(bytes);
      end else begin
        left_q    <= bank_q.run_bytes;
        address_q <= next_run;
        run_q     <= next_run;
        left0_q   <= ends_inner ? bank_q.count0 : left0_q - 1'b1;
        if (ends_inner) begin
          inner_q <= next_run;
          left1_q <= ends_middle ? bank_q.count1 : left1_q - 1'b1;
        end
        if (ends_middle) begin
          middle_q <= next_run;
          left2_q  <= left2_q - 1'b1;
        end
      end
    end
  end

  logic unused;
  assign unused = ^{bank_q.row_bytes, bank_q.row_words};

endmodule : dma_bursts
