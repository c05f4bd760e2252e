/// A double-buffered scratchpad: two halves, and the multiplexers that give each half its owner.
///
/// Every user addresses the words of both halves (address >= HalfWords is half 1). Different users
/// may work in different halves in the same cycle. A user of single words drives word 0 of an access
/// and leaves the enables of the others low. A side reader reads single words through the write port
/// of a half that nobody writes, so that an owner may read two words of a half in a cycle.
///
/// Timing: read latency 1; no waiting, everybody works in every cycle.
///
/// Not here: arbitration. In one half the program gives one reader and one writer ownership at a time;
/// an assertion checks it, and synthesised hardware mixes the addresses of two.
module scratchpad_pair #(
  /// Words of a half.
  parameter int unsigned HalfWords = 16,
  /// Lanes of a word.
  parameter int unsigned Lanes = 4,
  /// Bits of a lane.
  parameter int unsigned LaneBits = 16,
  /// Words of one access, a power of two.
  parameter int unsigned Wide = 1,
  /// Users that read.
  parameter int unsigned Readers = 1,
  /// Users that write.
  parameter int unsigned Writers = 1
) (
  input  logic                                         clk_i,
  input  logic                                         rst_ni,
  input  logic [Readers-1:0]                           re_i,
  input  logic [Readers*cosparse_pkg::AddressBits-1:0] raddr_i,
  output logic [Readers*Wide*Lanes*LaneBits-1:0]       rdata_o,
  input  logic                                         side_re_i,
  input  logic [cosparse_pkg::AddressBits-1:0]         side_raddr_i,
  output logic [Lanes*LaneBits-1:0]                    side_rdata_o,
  input  logic [Writers*Wide*Lanes-1:0]                we_i,
  input  logic [Writers*cosparse_pkg::AddressBits-1:0] waddr_i,
  input  logic [Writers*Wide*Lanes*LaneBits-1:0]       wdata_i
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned Enables = Wide * Lanes;
  localparam int unsigned Bits = Enables * LaneBits;
  localparam logic [AddressBits-1:0] Half = AddressBits'(HalfWords);

  logic [Readers-1:0] read_half, read_half_q;
  logic [Writers-1:0] write_half, writes;
  logic [2*Bits-1:0]  words;
  logic               side_half, side_half_q;
  logic [2*Lanes*LaneBits-1:0] side_words;

  assign side_half = side_raddr_i >= Half;

  always_comb begin
    for (int r = 0; r < Readers; r++) begin
      read_half[r] = raddr_i[r*AddressBits+:AddressBits] >= Half;
    end
    for (int w = 0; w < Writers; w++) begin
      write_half[w] = waddr_i[w*AddressBits+:AddressBits] >= Half;
      writes[w]     = we_i[w*Enables+:Enables] != '0;
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      read_half_q <= '0;
      side_half_q <= 1'b0;
    end else begin
      if (side_re_i) side_half_q <= side_half;
      for (int r = 0; r < Readers; r++) begin
        if (re_i[r]) read_half_q[r] <= read_half[r];
      end
    end
  end

  for (genvar half = 0; half < 2; half++) begin : g_half
    localparam logic [AddressBits-1:0] First = half == 0 ? '0 : Half;

    logic                   re, side_re;
    logic [AddressBits-1:0] raddr, waddr;
    logic [Enables-1:0]     we;
    logic [Bits-1:0]        wdata;

    always_comb begin
      re    = 1'b0;
      raddr = '0;
      for (int r = 0; r < Readers; r++) begin
        if (re_i[r] && read_half[r] == half[0]) begin
          re    = 1'b1;
          raddr = raddr | raddr_i[r*AddressBits+:AddressBits] - First;
        end
      end
    end

    assign side_re = side_re_i && side_half == half[0];

    always_comb begin
      we    = '0;
      waddr = side_re ? side_raddr_i - First : '0;
      wdata = '0;
      for (int w = 0; w < Writers; w++) begin
        if (writes[w] && write_half[w] == half[0]) begin
          we    = we | we_i[w*Enables+:Enables];
          waddr = waddr | waddr_i[w*AddressBits+:AddressBits] - First;
          wdata = wdata | wdata_i[w*Bits+:Bits];
        end
      end
    end

    scratchpad_half #(
      .Words   (HalfWords),
      .Lanes   (Lanes),
      .LaneBits(LaneBits),
      .Wide    (Wide)
    ) u_half (
      .clk_i,
      .re_i   (re),
      .raddr_i(raddr),
      .rdata_o(words[half*Bits+:Bits]),
      .side_re_i(side_re),
      .side_rdata_o(side_words[half*Lanes*LaneBits+:Lanes*LaneBits]),
      .we_i   (we),
      .waddr_i(waddr),
      .wdata_i(wdata)
    );

`ifndef SYNTHESIS
    assert property (@(posedge clk_i) disable iff (!rst_ni)
        $onehot0(re_i & (half == 0 ? ~read_half : read_half)));
    assert property (@(posedge clk_i) disable iff (!rst_ni)
        $onehot0({side_re, writes & (half == 0 ? ~write_half : write_half)}));
`endif
  end

  for (genvar r = 0; r < Readers; r++) begin : g_reader
    assign rdata_o[r*Bits+:Bits] = read_half_q[r] ? words[Bits+:Bits] : words[0+:Bits];
  end

  assign side_rdata_o = side_half_q ? side_words[Lanes*LaneBits+:Lanes*LaneBits] :
      side_words[0+:Lanes*LaneBits];

endmodule : scratchpad_pair
