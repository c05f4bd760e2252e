/// The host of a bench: executes a list of AXI4-Lite accesses from shared memory `Number`.
///
/// A command is 16 bytes: operation, register, data, 0 as 32-bit words. Operations: 0 end, 1 write,
/// 2 read (the data are written back), 3 wait for the interrupt. `go_i` high starts with command 0;
/// `done_o` rises at the end and falls with `go_i`.
// verilator lint_off BLKSEQ
module tb_host #(
  parameter int unsigned Number = 2
) (
  input  logic        clk_i,
  input  logic        rst_ni,
  input  logic        go_i,
  output logic        done_o,
  input  logic        irq_i,
  output logic [11:0] awaddr_o,
  output logic        awvalid_o,
  input  logic        awready_i,
  output logic [31:0] wdata_o,
  output logic        wvalid_o,
  input  logic        wready_i,
  input  logic        bvalid_i,
  output logic        bready_o,
  output logic [11:0] araddr_o,
  output logic        arvalid_o,
  input  logic        arready_i,
  input  logic [31:0] rdata_i,
  input  logic        rvalid_i,
  output logic        rready_o
);

  typedef enum logic [2:0] {
    StIdle,
    StFetch,
    StWrite,
    StRead,
    StWait,
    StDone
  } state_e;

  state_e      state_q;
  int unsigned command_q;
  bit [1023:0] word;

  assign bready_o = 1'b1;
  assign rready_o = 1'b1;
  assign done_o   = state_q == StDone;

  always @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      state_q   <= StIdle;
      command_q <= 0;
      awvalid_o <= 1'b0;
      wvalid_o  <= 1'b0;
      arvalid_o <= 1'b0;
    end else begin
      if (awvalid_o && awready_i) awvalid_o <= 1'b0;
      if (wvalid_o && wready_i) wvalid_o <= 1'b0;
      if (arvalid_o && arready_i) arvalid_o <= 1'b0;
      unique case (state_q)
        StIdle: begin
          command_q <= 0;
          if (go_i) state_q <= StFetch;
        end
        StFetch: begin
          tb_mem_pkg::dpi_mem_read(int'(Number), int'(command_q), 16, word);
          awaddr_o <= word[43:32];
          araddr_o <= word[43:32];
          wdata_o  <= word[95:64];
          unique case (word[31:0])
            1: begin
              state_q   <= StWrite;
              awvalid_o <= 1'b1;
              wvalid_o  <= 1'b1;
            end
            2: begin
              state_q   <= StRead;
              arvalid_o <= 1'b1;
            end
            3:       state_q <= StWait;
            default: state_q <= StDone;
          endcase
        end
        StWrite: begin
          if (bvalid_i) begin
            command_q <= command_q + 1;
            state_q   <= StFetch;
          end
        end
        StRead: begin
          if (rvalid_i) begin
            word[95:64] = rdata_i;
            tb_mem_pkg::dpi_mem_write(int'(Number), int'(command_q), 16, 4, 64'hf, word);
            command_q <= command_q + 1;
            state_q   <= StFetch;
          end
        end
        StWait: begin
          if (irq_i) begin
            command_q <= command_q + 1;
            state_q   <= StFetch;
          end
        end
        default: if (!go_i) state_q <= StIdle;
      endcase
    end
  end

endmodule : tb_host
