"""Every number of the timing model that is not a configuration field: one row each, with its meaning.

The values are our choices. Whoever builds the hardware changes them here and nowhere else.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class Constant:
    """One fixed number of the microarchitecture."""

    value: int
    unit: str
    meaning: str


CONSTANTS: dict[str, Constant] = {
    "matmul_start": Constant(
        8, "cycles", "c0: a MATMUL leaves its queue, until the feeder reads its first word"
    ),
    "partial_sum_write": Constant(
        2, "cycles", "W: a partial sum leaves the last row, until a later fold may read it back"
    ),
    "value_bytes": Constant(2, "bytes", "one FP16 operand or result"),
    "accumulator_bytes": Constant(4, "bytes", "one FP32 accumulator or weight gradient"),
    "index_bits": Constant(4, "bits", "position of a packed N:M value inside its group, M <= 16"),
    "packed_lanes": Constant(
        32, "lanes", "lanes of a packed plane are padded to a multiple of this"
    ),
    "block_index_bytes": Constant(
        4, "bytes", "column of a present block, and pointer of a block row"
    ),
}

MATMUL_START_CYCLES = CONSTANTS["matmul_start"].value
PARTIAL_SUM_WRITE_CYCLES = CONSTANTS["partial_sum_write"].value
VALUE_BYTES = CONSTANTS["value_bytes"].value
ACCUMULATOR_BYTES = CONSTANTS["accumulator_bytes"].value
INDEX_BITS = CONSTANTS["index_bits"].value
PACKED_LANES = CONSTANTS["packed_lanes"].value
BLOCK_INDEX_BYTES = CONSTANTS["block_index_bytes"].value
