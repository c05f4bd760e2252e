/// One run of the machine: start, HALT, errors, watchdog, and where the cycles go.
///
/// A request while a run is on is ignored. The first error counts. The watchdog ends a run in which
/// nothing at all has happened for WatchdogCycles: no issue, no unit at work, no beat on the bus. So it
/// sees a deadlock of semaphores and a memory that does not answer.
///
/// Timing: `start_o` is cycle 0, the cycle of the request. `ended_o` is high for one cycle: with HALT
/// of all units, or after an error when everything that was under way has ended. From the cycle after
/// an error `stop_o` keeps all units from issuing. `cycles_o` and the counters cover cycle 0 to the
/// last HALT.
///
/// Not here: a unit that works for ever, which the watchdog does not see, and transfers cut short: a
/// memory that never answers keeps the run from ending. The error is there; the machine needs a reset.
module run_control #(
  /// Longest time without any progress; beyond every latency of the memory.
  parameter int unsigned WatchdogCycles = 65536
) (
  input  logic         clk_i,
  input  logic         rst_ni,
  /// The host asks for a run; refused while one is on.
  input  logic         request_i,
  output logic         start_o,
  output logic         stop_o,
  output logic         ended_o,
  output logic         running_o,
  /// The last run ended with HALT.
  output logic         done_o,
  /// The last run ended with an error.
  output logic         failed_o,
  output logic [3:0]   error_code_o,
  output logic [1:0]   error_unit_o,
  output logic [39:0]  error_address_o,
  /// A value was rounded to infinity or NaN since the start.
  output logic         nonfinite_o,
  output logic [47:0]  cycles_o,
  /// 48 bits each: seven a unit (cosparse_pkg::counter_e), unit 0 lowest.
  output logic [4*7*48-1:0] counters_o,

  /// HALT has issued in each unit.
  input  logic [3:0]   halted_i,
  /// Nothing is under way.
  input  logic         quiet_i,
  /// Something is under way or happens.
  input  logic         progress_i,
  input  logic         nonfinite_i,
  /// Illegal instruction at the head of each unit's stream, and its address, unit 0 lowest.
  input  logic [3:0]   illegal_i,
  input  logic [159:0] illegal_address_i,
  /// The DMA cannot go on.
  input  logic         dma_error_i,
  input  logic [3:0]   dma_error_code_i,
  input  logic [39:0]  dma_error_address_i,
  /// A semaphore has too many tokens.
  input  logic         overflow_i,
  /// What each unit does in this cycle: six bits, cosparse_pkg::counter_e below CounterIdle, at most
  /// one of them high; none is idle.
  input  logic [23:0]  activity_i
);

  localparam int unsigned WatchBits = $clog2(WatchdogCycles + 1);

  logic                 running_q, stopping_q, counts, all_halted, watchdog;
  logic [WatchBits-1:0] quiet_q;
  logic                 error;
  logic [3:0]           error_code;
  logic [1:0]           error_unit;
  logic [39:0]          error_address;

  assign start_o    = request_i && !running_q;
  assign running_o  = running_q;
  assign stop_o     = stopping_q;
  assign all_halted = halted_i == '1;
  assign counts     = start_o || (running_q && !stopping_q && !all_halted);
  assign ended_o    = running_q && (stopping_q ? quiet_i : all_halted);
  assign watchdog   = quiet_q == WatchBits'(WatchdogCycles);

  // The first error; of several in one cycle the one of the lowest unit.

  always_comb begin
    error         = 1'b0;
    error_code    = cosparse_pkg::ErrorNone;
    error_unit    = '0;
    error_address = '0;
    if (watchdog) begin
      error      = 1'b1;
      error_code = cosparse_pkg::ErrorWatchdog;
    end
    if (overflow_i) begin
      error      = 1'b1;
      error_code = cosparse_pkg::ErrorSemaphore;
    end
    for (int unit = 3; unit >= 0; unit--) begin
      if (illegal_i[unit]) begin
        error         = 1'b1;
        error_code    = cosparse_pkg::ErrorInstruction;
        error_unit    = 2'(unit);
        error_address = illegal_address_i[40*unit+:40];
      end
    end
    if (dma_error_i) begin
      error         = 1'b1;
      error_code    = dma_error_code_i;
      error_unit    = cosparse_pkg::UnitDma;
      error_address = dma_error_address_i;
    end
  end

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) begin
      running_q       <= 1'b0;
      stopping_q      <= 1'b0;
      done_o          <= 1'b0;
      failed_o        <= 1'b0;
      error_code_o    <= cosparse_pkg::ErrorNone;
      error_unit_o    <= '0;
      error_address_o <= '0;
      nonfinite_o     <= 1'b0;
      quiet_q         <= '0;
    end else if (start_o) begin
      running_q       <= 1'b1;
      stopping_q      <= 1'b0;
      done_o          <= 1'b0;
      failed_o        <= 1'b0;
      error_code_o    <= cosparse_pkg::ErrorNone;
      error_unit_o    <= '0;
      error_address_o <= '0;
      nonfinite_o     <= 1'b0;
      quiet_q         <= '0;
    end else begin
      nonfinite_o <= nonfinite_o || nonfinite_i;
      quiet_q     <= progress_i || !running_q || stopping_q ? '0 : quiet_q + 1'b1;
      if (running_q && !stopping_q && !ended_o && error) begin
        stopping_q      <= 1'b1;
        error_code_o    <= error_code;
        error_unit_o    <= error_unit;
        error_address_o <= error_address;
      end
      if (ended_o) begin
        running_q <= 1'b0;
        done_o    <= !stopping_q;
        failed_o  <= stopping_q;
      end
    end
  end

  // Counters.

  always_ff @(posedge clk_i or negedge rst_ni) begin
    if (!rst_ni) cycles_o <= '0;
    else if (counts) cycles_o <= start_o ? 48'd1 : cycles_o + 1'b1;
  end

  for (genvar unit = 0; unit < 4; unit++) begin : g_unit
    logic [6:0] activity;

    assign activity = {activity_i[6*unit+:6] == '0, activity_i[6*unit+:6]};

    for (genvar counter = 0; counter < 7; counter++) begin : g_counter
      logic [47:0] count_q;

      always_ff @(posedge clk_i or negedge rst_ni) begin
        if (!rst_ni) count_q <= '0;
        else if (counts) count_q <= (start_o ? '0 : count_q) + 48'(activity[counter]);
      end

      assign counters_o[48*(7*unit+counter)+:48] = count_q;
    end

`ifndef SYNTHESIS
    assert property (@(posedge clk_i) disable iff (!rst_ni) $onehot0(activity_i[6*unit+:6]));
`endif
  end

endmodule : run_control
