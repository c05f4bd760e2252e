"""Time that the memory channel needs at least: whole bursts, bounded bursts in flight."""

from .config import AcceleratorConfig


def ceil_div(a: int, b: int) -> int:
    """Quotient a / b rounded up."""
    return -(-a // b)


def transfer_cycles(total_bytes: int, config: AcceleratorConfig) -> int:
    """Lower bound for moving `total_bytes`.

    Bursts occupy the channel for whole cycles. A burst holds one of `outstanding` slots from its
    request to its last beat, which limits bandwidth by Little's law.
    """
    bursts = ceil_div(total_bytes, config.burst_bytes)
    burst_cycles = ceil_div(config.burst_bytes, config.dram_bytes_per_cycle)
    slot_cycles = bursts * (config.dram_latency_cycles + burst_cycles)
    return max(bursts * burst_cycles, ceil_div(slot_cycles, config.outstanding))
