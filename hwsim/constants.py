"""Every number of the microarchitecture that is not a configuration field: one row each, with its meaning.

The values are our choices. Whoever builds the hardware changes them here and nowhere else; the
SystemVerilog package is generated from these rows.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """One fixed number of the microarchitecture."""

    value: int
    unit: str
    meaning: str


CONSTANTS: dict[str, Constant] = {
    "fetch": Constant(8, "cycles", "start, until a unit's first instruction may issue"),
    "semaphore": Constant(1, "cycles", "an instruction completes, until its token may be consumed"),
    "config": Constant(1, "cycles", "a CONFIG issues, until the unit is free"),
    "halt": Constant(1, "cycles", "the last unit issues HALT, until the machine reports done"),
    "dma_start": Constant(4, "cycles", "a transfer issues, until its first burst may be granted"),
    "dma_end": Constant(
        2, "cycles", "the last burst is done, until the transfer completes (local write, response)"
    ),
    "matmul_start": Constant(
        8, "cycles", "c0: a MATMUL issues, until the feeder reads its first word"
    ),
    "partial_sum_write": Constant(
        2, "cycles", "W: a partial sum leaves the last row, until a later fold may read it back"
    ),
    "prune_start": Constant(6, "cycles", "a PRUNE issues, until SORE takes its first value"),
    "vector_start": Constant(6, "cycles", "UPDATE or VECTOR issues, until its first word is read"),
    "vector_latency": Constant(
        24, "cycles", "WUVE: last operand read, until the result is written"
    ),
    "semaphores": Constant(16, "semaphores", "counting semaphores, all zero at the start"),
    "semaphore_max": Constant(255, "tokens", "largest count of a semaphore"),
    "banks": Constant(32, "banks", "descriptor banks of a unit"),
    "address_bits": Constant(20, "bits", "word address inside one scratchpad"),
    "dram_alignment": Constant(
        16, "bytes", "DRAM addresses, runs and rows of a transfer are multiples of this"
    ),
    "instruction_bytes": Constant(16, "bytes", "one instruction"),
    "value_bytes": Constant(2, "bytes", "one FP16 operand or result"),
    "accumulator_bytes": Constant(4, "bytes", "one FP32 accumulator or weight gradient"),
    "index_bits": Constant(4, "bits", "position of a packed N:M value inside its group, M <= 16"),
    "packed_lanes": Constant(
        32, "lanes", "lanes of a packed plane are padded to a multiple of this"
    ),
    "block_index_bytes": Constant(
        4, "bytes", "one entry of a block-sparse segment table: tap and channel of a present block"
    ),
}

FETCH_CYCLES = CONSTANTS["fetch"].value
SEMAPHORE_CYCLES = CONSTANTS["semaphore"].value
CONFIG_CYCLES = CONSTANTS["config"].value
HALT_CYCLES = CONSTANTS["halt"].value
DMA_START_CYCLES = CONSTANTS["dma_start"].value
DMA_END_CYCLES = CONSTANTS["dma_end"].value
MATMUL_START_CYCLES = CONSTANTS["matmul_start"].value
PARTIAL_SUM_WRITE_CYCLES = CONSTANTS["partial_sum_write"].value
PRUNE_START_CYCLES = CONSTANTS["prune_start"].value
VECTOR_START_CYCLES = CONSTANTS["vector_start"].value
VECTOR_LATENCY_CYCLES = CONSTANTS["vector_latency"].value
SEMAPHORES = CONSTANTS["semaphores"].value
SEMAPHORE_MAX = CONSTANTS["semaphore_max"].value
BANKS = CONSTANTS["banks"].value
ADDRESS_BITS = CONSTANTS["address_bits"].value
DRAM_ALIGNMENT_BYTES = CONSTANTS["dram_alignment"].value
INSTRUCTION_BYTES = CONSTANTS["instruction_bytes"].value
VALUE_BYTES = CONSTANTS["value_bytes"].value
ACCUMULATOR_BYTES = CONSTANTS["accumulator_bytes"].value
INDEX_BITS = CONSTANTS["index_bits"].value
PACKED_LANES = CONSTANTS["packed_lanes"].value
BLOCK_INDEX_BYTES = CONSTANTS["block_index_bytes"].value
