/// Block RAM of a bench, in a memory that the bench sees (hwsim.cosim.shared_memory).
///
/// One read and one write port, as the scratchpads have them: data come in the cycle after the
/// address and stay until the next read; a word that is read while it is written gives its old
/// contents. The bench opens memory `Number` before the first access.
///
/// Not here: ownership of the halves; see scratchpad.sv.
module tb_ram #(
  /// Number of the shared memory, 0 to 15.
  parameter int unsigned Number = 0,
  /// Lanes of a word, each with a write enable.
  parameter int unsigned Lanes = 1,
  /// Bits of a lane; a multiple of 8, and Lanes * LaneBits a multiple of 32.
  parameter int unsigned LaneBits = 32,
  /// Bits of a word address.
  parameter int unsigned AddressBits = 20
) (
  /// Clock.
  input  logic                      clk_i,
  /// Read port.
  input  logic                      re_i,
  input  logic [AddressBits-1:0]    raddr_i,
  output logic [Lanes*LaneBits-1:0] rdata_o,
  /// Write port, a write enable for each lane.
  input  logic [Lanes-1:0]          we_i,
  input  logic [AddressBits-1:0]    waddr_i,
  input  logic [Lanes*LaneBits-1:0] wdata_i
);

  localparam int unsigned Width = Lanes * LaneBits;

  if (Width % 32 != 0 || LaneBits % 8 != 0) begin : gen_illegal
    $fatal(1, "tb_ram: LaneBits must be a multiple of 8 and a word one of 32");
  end
  if (Width > 1024 || Lanes > 64) begin : gen_too_wide
    $fatal(1, "tb_ram: a word has at most 1024 bits and 64 lanes");
  end

  bit [1023:0] word;

  // The read comes first, so that it sees the old contents.
  always @(posedge clk_i) begin
    if (re_i) begin
      tb_mem_pkg::dpi_mem_read(int'(Number), int'(raddr_i), int'(Width / 8), word);
      rdata_o <= word[Width-1:0];
    end
    if (we_i != '0) begin
      tb_mem_pkg::dpi_mem_write(int'(Number), int'(waddr_i), int'(Width / 8), int'(LaneBits / 8),
                                64'(we_i), 1024'(wdata_i));
    end
  end

  // What the widest word has beyond this one.
  logic unused;
  assign unused = ^word;

endmodule : tb_ram
