/// One half of a scratchpad: reads and writes up to Wide consecutive words in a cycle.
///
/// A bus beat may carry several words; words are interleaved over Wide block RAMs, so that any Wide
/// consecutive ones lie in different RAMs. With Wide = 1 it is one block RAM. Word w of an access is
/// address + w.
///
/// Timing: as `scratchpad`, read latency 1.
///
/// Not here: a check of the end; words past it must not be enabled, and are unknown when they are read.
module scratchpad_half #(
  /// Words of the half.
  parameter int unsigned Words = 16,
  /// Lanes of a word.
  parameter int unsigned Lanes = 4,
  /// Bits of a lane.
  parameter int unsigned LaneBits = 16,
  /// Words of one access, a power of two.
  parameter int unsigned Wide = 1
) (
  input  logic                                 clk_i,
  input  logic                                 re_i,
  /// Of the first word.
  input  logic [cosparse_pkg::AddressBits-1:0] raddr_i,
  output logic [Wide*Lanes*LaneBits-1:0]       rdata_o,
  /// Read one word at the address of the write port.
  input  logic                                 side_re_i,
  output logic [Lanes*LaneBits-1:0]            side_rdata_o,
  /// Lanes of all words.
  input  logic [Wide*Lanes-1:0]                we_i,
  input  logic [cosparse_pkg::AddressBits-1:0] waddr_i,
  input  logic [Wide*Lanes*LaneBits-1:0]       wdata_i
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned WordBits = Lanes * LaneBits;
  localparam int unsigned Shift = $clog2(Wide);
  localparam int unsigned RamWords = (Words + Wide - 1) / Wide;
  localparam int unsigned RamBits = RamWords > 1 ? $clog2(RamWords) : 1;

  if (Wide == 1) begin : g_one
    scratchpad #(
      .Words   (Words),
      .Lanes   (Lanes),
      .LaneBits(LaneBits)
    ) u_ram (
      .clk_i,
      .re_i,
      .raddr_i(raddr_i[RamBits-1:0]),
      .rdata_o,
      .side_re_i,
      .side_rdata_o,
      .we_i,
      .waddr_i(waddr_i[RamBits-1:0]),
      .wdata_i
    );

    logic unused;
    assign unused = ^{raddr_i, waddr_i};
  end else begin : g_interleaved
    logic [Wide*WordBits-1:0] words, side_words;
    logic [Shift-1:0]         first_q, side_first_q;

    always_ff @(posedge clk_i) begin
      if (re_i) first_q <= raddr_i[Shift-1:0];
      if (side_re_i) side_first_q <= waddr_i[Shift-1:0];
    end

    assign side_rdata_o = side_words[side_first_q*WordBits+:WordBits];

    for (genvar ram = 0; ram < Wide; ram++) begin : g_ram
      // This RAM has word `position` of the access, in row address / Wide or the one after it.
      logic [Shift-1:0]       write_position;
      logic [AddressBits-1:0] waddr, raddr;

      assign write_position = Shift'(ram) - waddr_i[Shift-1:0];
      assign waddr = (waddr_i + AddressBits'(Wide - 1 - ram)) >> Shift;
      assign raddr = (raddr_i + AddressBits'(Wide - 1 - ram)) >> Shift;

      logic [WordBits-1:0] wdata;
      logic [Lanes-1:0]    we;

      assign wdata = wdata_i[write_position*WordBits+:WordBits];
      assign we    = we_i[write_position*Lanes+:Lanes];

      logic [WordBits-1:0] rdata, side_rdata;

      scratchpad #(
        .Words   (RamWords),
        .Lanes   (Lanes),
        .LaneBits(LaneBits)
      ) u_ram (
        .clk_i,
        .re_i,
        .raddr_i(raddr[RamBits-1:0]),
        .rdata_o(rdata),
        .side_re_i,
        .side_rdata_o(side_rdata),
        .we_i   (we),
        .waddr_i(waddr[RamBits-1:0]),
        .wdata_i(wdata)
      );

      assign words[ram*WordBits+:WordBits]      = rdata;
      assign side_words[ram*WordBits+:WordBits] = side_rdata;

      logic unused;
      assign unused = ^{waddr, raddr};
    end

    // Word w of the access comes from RAM first + w.
    for (genvar word = 0; word < Wide; word++) begin : g_word
      logic [Shift-1:0] ram;

      assign ram = first_q + Shift'(word);
      assign rdata_o[word*WordBits+:WordBits] = words[ram*WordBits+:WordBits];
    end
  end

endmodule : scratchpad_half
