/// Bench of wuve: executes a list of instructions, one after the other, on ACC and ACT in shared
/// memories (hwsim.cosim.shared_memory).
///
/// Memory 0 is ACC, memory 1 is ACT. Memory 2 holds one record of 16 words of 32 bits for every
/// instruction: 0 to 3 the instruction, 4 to 13 its bank, 14 the idle cycles before it issues.
/// Memory 3 gets a record of 4 words for each: T, the cycle of its first read, the cycle of its
/// last write, and the cycles that pulsed NONFINITE; cycles count from the issue.
///
/// A bank gives noise in every cycle after one in which it was not read, and instruction and bank
/// are inverted after the issue. `fault_o` says that the unit accessed a memory, or was done,
/// without an instruction.
module tb_wuve #(
  /// Fields of the configuration.
  parameter int unsigned Rows = 4,
  parameter int unsigned Cols = 4,
  parameter int unsigned AddLatency = 3,
  parameter int unsigned ActValuesPerRowCycle = 1,
  parameter int unsigned WuveLanes = 4
) (
  /// Clock.
  input  logic        clk_i,
  /// Reset.
  input  logic        rst_ni,
  /// Executes the first `count_i` records.
  input  logic        go_i,
  input  logic [31:0] count_i,
  /// The last record is executed.
  output logic        done_o,
  /// Something happened outside every instruction.
  output logic        fault_o
);

  localparam int unsigned AddressBits = cosparse_pkg::AddressBits;
  localparam int unsigned ActLanes = Rows * ActValuesPerRowCycle;
  localparam int unsigned BankBits = $bits(cosparse_pkg::wuve_bank_t);
  localparam int unsigned RecordWords = 16;
  localparam int unsigned BankWord = 4;
  localparam int unsigned GapWord = 14;

  logic                        start, done, nonfinite;
  logic [127:0]                instr;
  logic [BankBits-1:0]         bank;
  logic [Cols-1:0]             acc_re, acc_we;
  logic [Cols*AddressBits-1:0] acc_raddr, acc_waddr;
  logic [Cols*32-1:0]          acc_rdata, acc_wdata;
  logic [ActLanes-1:0]         act_we;
  logic [AddressBits-1:0]      act_waddr;
  logic [ActLanes*16-1:0]      act_wdata;

  wuve #(
    .Rows(Rows),
    .Cols(Cols),
    .AddLatency(AddLatency),
    .ActValuesPerRowCycle(ActValuesPerRowCycle),
    .WuveLanes(WuveLanes)
  ) u_dut (
    .clk_i,
    .rst_ni,
    .start_i(start),
    .instr_i(instr),
    .bank_i(bank),
    .done_o(done),
    .nonfinite_o(nonfinite),
    .acc_re_o(acc_re),
    .acc_raddr_o(acc_raddr),
    .acc_rdata_i(acc_rdata),
    .acc_we_o(acc_we),
    .acc_waddr_o(acc_waddr),
    .acc_wdata_o(acc_wdata),
    .act_we_o(act_we),
    .act_waddr_o(act_waddr),
    .act_wdata_o(act_wdata)
  );

  // Memories.

  bit [1023:0] word, record;

  logic unused;
  assign unused = ^{word, record};

  function automatic int bank_word(input logic [AddressBits-1:0] address, input int unsigned c);
    return int'(32'(address) * Cols + c);
  endfunction

  always @(posedge clk_i) begin
    for (int unsigned c = 0; c < Cols; c++) begin
      acc_rdata[c*32 +: 32] <= 32'h9e37_79b1 * ~acc_rdata[c*32 +: 32];
      if (acc_re[c]) begin
        tb_mem_pkg::dpi_mem_read(0, bank_word(acc_raddr[c*AddressBits +: AddressBits], c), 4, word);
        acc_rdata[c*32 +: 32] <= word[31:0];
      end
    end
    for (int unsigned c = 0; c < Cols; c++) begin
      if (acc_we[c]) begin
        tb_mem_pkg::dpi_mem_write(0, bank_word(acc_waddr[c*AddressBits +: AddressBits], c), 4, 4,
                                  64'd1, 1024'(acc_wdata[c*32 +: 32]));
      end
    end
    if (act_we != '0) begin
      tb_mem_pkg::dpi_mem_write(1, int'(act_waddr), int'(ActLanes * 2), 2, 64'(act_we),
                                1024'(act_wdata));
    end
  end

  // Instructions.

  typedef enum logic [1:0] {
    StIdle,
    StWait,
    StIssue,
    StBusy
  } state_e;

  state_e      state_q;
  logic [31:0] index_q, wait_q, cycle_q, first_read_q, last_write_q, nonfinite_q;
  logic        busy, reads, writes;

  assign start = state_q == StIssue;
  assign busy = start || state_q == StBusy;
  assign reads = acc_re != '0;
  assign writes = acc_we != '0 || act_we != '0;

  task automatic fetch(input logic [31:0] index);
    tb_mem_pkg::dpi_mem_read(2, int'(index), int'(4 * RecordWords), record);
    instr        <= record[127:0];
    bank         <= record[32*BankWord +: BankBits];
    wait_q       <= record[32*GapWord +: 32];
    state_q      <= record[32*GapWord +: 32] == 0 ? StIssue : StWait;
    cycle_q      <= 32'd0;
    first_read_q <= '1;
    last_write_q <= '1;
    nonfinite_q  <= '0;
  endtask

  task automatic report();
    tb_mem_pkg::dpi_mem_write(
        3, int'(index_q), 16, 16, 64'd1,
        1024'({nonfinite_q + 32'(nonfinite), writes ? cycle_q : last_write_q, first_read_q,
               cycle_q + 32'd1}));
  endtask

  always @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q <= StIdle;
      done_o  <= 1'b0;
      fault_o <= 1'b0;
    end else begin
      done_o <= 1'b0;
      if ((reads || writes || done || nonfinite) && !busy) fault_o <= 1'b1;
      if (busy) cycle_q <= cycle_q + 32'd1;
      if (reads && first_read_q == '1) first_read_q <= cycle_q;
      if (writes) last_write_q <= cycle_q;
      if (nonfinite) nonfinite_q <= nonfinite_q + 32'd1;
      unique case (state_q)
        StIdle: begin
          if (go_i) begin
            index_q <= '0;
            fetch(32'd0);
          end
        end
        StWait: begin
          wait_q <= wait_q - 32'd1;
          if (wait_q == 32'd1) state_q <= StIssue;
        end
        StIssue: begin
          state_q <= StBusy;
          instr   <= ~instr;
          bank    <= ~bank;
        end
        default: begin
          if (done) begin
            report();
            index_q <= index_q + 32'd1;
            if (index_q + 32'd1 == count_i) begin
              state_q <= StIdle;
              done_o  <= 1'b1;
            end else begin
              fetch(index_q + 32'd1);
            end
          end
        end
      endcase
    end
  end

endmodule : tb_wuve
