/// The instruction stream of one unit: fetch, decode, wait, issue, signal.
///
/// Timing (docs/microarchitecture.md, "Programs"), `start_i` in cycle 0:
/// - instruction k is fetched in cycle 1 + k and may issue from cycle FetchCycles + k on. A queue of
///   QueueDepth >= FetchLatency + 2 entries keeps that pace; a shorter one, from 1 entry, executes
///   the same program later.
/// - `issue_o` is high for one cycle, with `instr_o` and `bank_o`, when the unit is free and every
///   token that the instruction waits for is there; FILL and HALT wait for `complete_i` of all
///   instructions before them. The tokens are taken in that cycle.
/// - `done_i` in cycle t frees the unit for an issue in cycle t + 1. `complete_i` in cycle t makes
///   the tokens of the oldest instruction in flight: `signal_o` is high in cycle t + 1.
/// - CONFIG takes one cycle.
/// An illegal instruction raises `error_o` when it would have issued, and is not executed.
///
/// Not here: the limits that depend on descriptor banks. It fetches a few instructions beyond HALT,
/// which it drops.
module front_end #(
  /// The unit, a cosparse_pkg::unit_e.
  parameter logic [1:0] Unit = cosparse_pkg::UnitDma,
  /// Registers of one of its banks.
  parameter int unsigned Registers = cosparse_pkg::DmaRegisters,
  /// Their widths, eight bits each, the first one lowest.
  parameter logic [Registers*8-1:0] RegisterWidths = cosparse_pkg::DmaRegisterWidths,
  /// Bits of a bank.
  parameter int unsigned BankBits = cosparse_pkg::DmaBankBits,
  /// Instructions that are fetched ahead.
  parameter int unsigned QueueDepth = 8,
  /// Cycles from an address to its instruction, from 1 to FetchCycles - 3.
  parameter int unsigned FetchLatency = 2,
  /// Instructions that may be issued and not complete.
  parameter int unsigned InFlight = 1
) (
  input  logic                                     clk_i,
  input  logic                                     rst_ni,
  /// Start of a program: one cycle.
  input  logic                                     start_i,
  /// Issue nothing.
  input  logic                                     stop_i,
  /// Byte address of the first instruction, constant while a program runs.
  input  logic [39:0]                              stream_i,
  output logic                                     fetch_valid_o,
  output logic [39:0]                              fetch_address_o,
  /// The instruction, FetchLatency cycles after its address.
  input  logic [cosparse_pkg::InstructionBits-1:0] fetch_data_i,
  /// Semaphores that have a token.
  input  logic [cosparse_pkg::Semaphores-1:0]      tokens_i,
  /// Semaphores of which a token is taken.
  output logic [cosparse_pkg::Semaphores-1:0]      take_o,
  /// Semaphores that get a token.
  output logic [cosparse_pkg::Semaphores-1:0]      signal_o,
  /// The unit starts on `instr_o`.
  output logic                                     issue_o,
  output logic [cosparse_pkg::InstructionBits-1:0] instr_o,
  /// The bank that it names.
  output logic [BankBits-1:0]                      bank_o,
  /// Last cycle in which the unit is occupied.
  input  logic                                     done_i,
  /// The oldest instruction in flight completes in the next cycle.
  input  logic                                     complete_i,
  /// HALT has issued.
  output logic                                     halted_o,
  /// The unit executes an instruction, or has issued one in this cycle.
  output logic                                     occupied_o,
  /// A CONFIG issues.
  output logic                                     config_o,
  /// The next instruction waits for a token.
  output logic                                     token_o,
  /// The next instruction waits for transfers in flight.
  output logic                                     data_o,
  /// The next instruction is illegal.
  output logic                                     error_o,
  /// Its byte address.
  output logic [39:0]                              error_address_o
);

  localparam int unsigned InstructionBits = cosparse_pkg::InstructionBits;
  localparam int unsigned Pairs = (Registers + 1) / 2;
  localparam int unsigned QueueBits = $clog2(QueueDepth + 1);
  localparam int unsigned DelayBits = $clog2(cosparse_pkg::FetchCycles + 1);

  if (QueueDepth < 1) begin : g_queue_depth
    $fatal(1, "QueueDepth: expected at least 1");
  end
  if (FetchLatency < 1 || FetchLatency + 3 > cosparse_pkg::FetchCycles) begin : g_fetch_latency
    $fatal(1, "FetchLatency: expected 1 to FetchCycles - 3");
  end
  if (InFlight < 1) begin : g_in_flight
    $fatal(1, "InFlight: expected at least 1");
  end

  // Fetch: addresses go out while the queue has room for what comes back.

  logic                    fetching_q;
  logic [39:0]             address_q;
  logic [FetchLatency-1:0] returning_q;
  logic [QueueBits-1:0]    reserved_q;
  logic                    returned, queue_valid, queue_pop, unused_ready;
  logic [InstructionBits-1:0] queue_head;

  assign fetch_valid_o   = fetching_q && reserved_q != QueueBits'(QueueDepth);
  assign fetch_address_o = address_q;
  assign returned        = returning_q[FetchLatency-1] && fetching_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      fetching_q  <= 1'b0;
      address_q   <= '0;
      returning_q <= '0;
      reserved_q  <= '0;
    end else if (start_i) begin
      fetching_q  <= 1'b1;
      address_q   <= stream_i;
      returning_q <= '0;
      reserved_q  <= '0;
    end else begin
      if (fetch_valid_o) address_q <= address_q + 40'(cosparse_pkg::InstructionBytes);
      if (returned && fetch_data_i[3:0] == cosparse_pkg::OpHalt) fetching_q <= 1'b0;
      returning_q <= FetchLatency'({returning_q, fetch_valid_o});
      if (fetch_valid_o != queue_pop) begin
        reserved_q <= fetch_valid_o ? reserved_q + 1'b1 : reserved_q - 1'b1;
      end
    end
  end

  fifo #(
    .Width(InstructionBits),
    .Depth(QueueDepth)
  ) u_queue (
    .clk_i,
    .rst_ni,
    .clear_i(start_i),
    .push_i (returned),
    .data_i (fetch_data_i),
    .ready_o(unused_ready),
    .pop_i  (queue_pop),
    .data_o (queue_head),
    .valid_o(queue_valid)
  );

  // Decode: one register stage.

  logic                       valid_q, legal_q, legal;
  logic [InstructionBits-1:0] instr_q;
  logic [39:0]                position_q;
  logic                       leaves;

  instruction_check #(
    .Unit          (Unit),
    .Registers     (Registers),
    .RegisterWidths(RegisterWidths)
  ) u_check (
    .instr_i(queue_head),
    .legal_o(legal)
  );

  assign queue_pop = queue_valid && (!valid_q || leaves);

  always_ff @(posedge clk_i) begin
    if (queue_pop) begin
      instr_q <= queue_head;
      legal_q <= legal;
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      valid_q    <= 1'b0;
      position_q <= '0;
    end else if (start_i) begin
      valid_q    <= 1'b0;
      position_q <= stream_i;
    end else begin
      valid_q <= queue_pop || (valid_q && !leaves);
      if (leaves) position_q <= position_q + 40'(cosparse_pkg::InstructionBytes);
    end
  end

  // Wait and issue.

  cosparse_pkg::config_instr_t instr;
  logic [DelayBits-1:0]        delay_q;
  logic                        busy_q, ready, is_config, is_halt, drains, has_tokens;
  logic                        flight_valid, room, drained;

  assign instr      = instr_q;
  assign is_config  = instr.opcode == cosparse_pkg::OpConfig;
  assign is_halt    = instr.opcode == cosparse_pkg::OpHalt;
  assign drains     = is_halt || instr.opcode == cosparse_pkg::OpFill;
  assign has_tokens = (instr.wait_mask & ~tokens_i) == '0;
  assign ready      = valid_q && delay_q == '0 && !busy_q && !stop_i;
  assign leaves     = ready && legal_q && has_tokens && (drained || !drains) && room;

  assign issue_o         = leaves && !is_config && !is_halt;
  assign instr_o         = instr_q;
  assign take_o          = leaves ? instr.wait_mask : '0;
  assign occupied_o      = issue_o || busy_q;
  assign config_o        = leaves && is_config;
  assign token_o         = ready && legal_q && !has_tokens;
  assign data_o          = ready && legal_q && has_tokens && !leaves;
  assign error_o         = ready && !legal_q;
  assign error_address_o = position_q;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      delay_q  <= '0;
      busy_q   <= 1'b0;
      halted_o <= 1'b0;
    end else if (start_i) begin
      delay_q  <= DelayBits'(cosparse_pkg::FetchCycles - 1);
      busy_q   <= 1'b0;
      halted_o <= 1'b0;
    end else begin
      if (delay_q != '0) delay_q <= delay_q - 1'b1;
      busy_q   <= occupied_o && !done_i;
      halted_o <= halted_o || (leaves && is_halt);
    end
  end

  // Instructions in flight, and the tokens they make.

  logic [cosparse_pkg::Semaphores-1:0] flight_head, config_signals;

  fifo #(
    .Width(cosparse_pkg::Semaphores),
    .Depth(InFlight)
  ) u_in_flight (
    .clk_i,
    .rst_ni,
    .clear_i(start_i),
    .push_i (issue_o),
    .data_i (instr.signal_mask),
    .ready_o(room),
    .pop_i  (complete_i),
    .data_o (flight_head),
    .valid_o(flight_valid)
  );

  assign drained        = !flight_valid;
  assign config_signals = config_o ? instr.signal_mask : '0;

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      signal_o <= '0;
    end else begin
      signal_o <= config_signals | (complete_i && !start_i ? flight_head : '0);
    end
  end

  // Descriptor banks: the registers lie side by side, two of them are written at a time.

  // All instructions that name a bank name it in the same place.
  cosparse_pkg::load_instr_t load_instr;

  assign load_instr = instr_q;

  for (genvar pair = 0; pair < Pairs; pair++) begin : g_pair
    localparam int unsigned Even = 2 * pair;
    localparam int unsigned First = offset_of(Even);
    localparam int unsigned Width0 = offset_of(Even + 1) - First;
    localparam int unsigned Width1 = offset_of(Even + 2) - First - Width0;
    localparam int unsigned Width = Width0 + Width1;

    logic [Width-1:0] values;

    if (Width1 == 0) begin : g_single
      assign values = instr.value0[Width0-1:0];
    end else begin : g_double
      assign values = {instr.value1[Width1-1:0], instr.value0[Width0-1:0]};
    end

    descriptor_pair #(
      .Width(Width)
    ) u_pair (
      .clk_i,
      .rst_ni,
      .clear_i(start_i),
      .we_i   (config_o && instr.register == 5'(Even)),
      .waddr_i(instr.bank),
      .wdata_i(values),
      .raddr_i(load_instr.bank),
      .rdata_o(bank_o[First+:Width])
    );
  end

  // Of elaboration only: coverage would count it as never run.
  // verilator coverage_off
  /// Bits of the registers before `register`, which may be past the last one.
  function automatic int unsigned offset_of(int unsigned register);
    offset_of = 0;
    for (int unsigned r = 0; r < Registers; r++) begin
      if (r < register) offset_of += int'(RegisterWidths[8*r+:8]);
    end
  endfunction
  // verilator coverage_on

endmodule : front_end
