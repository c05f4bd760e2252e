"""MATMULs of one way of the plan: a pattern, a dataflow and a phase, edges and whole tiles in turn."""

from functools import partial
from random import Random
from typing import NamedTuple

from hwsim.accesses import ceil_div
from hwsim.config import AcceleratorConfig
from hwsim.isa import Flow, Lhs
from tests.programs import products
from tests.rtl.matmuls import Case, Contents, random_case

from .plan import PRODUCTS, Bin

CONTENTS = (Contents(special_cases=1, special_share=0.15), Contents(few=True), Contents())


class Way(NamedTuple):
    """One value of the first three axes of PRODUCTS."""

    pattern: str
    dataflow: str
    phase: str


def ways() -> list[Way]:
    """All that the plan does not rule out."""
    return sorted({Way(*each[1:4]) for each in PRODUCTS.bins()})


def goals(way: Way) -> list[Bin]:
    """What cases of this way are to meet."""
    return [each for each in PRODUCTS.bins() if each[1:4] == way]


def suits(way: Way, config: AcceleratorConfig) -> bool:
    n, m = _group(way.pattern)
    return m <= config.group_max and n <= config.n_max


def directed_case(seed: int, config: AcceleratorConfig, way: Way) -> Case:
    """Many special values, or sums that cancel, in turn with ordinary contents."""
    return random_case(seed, config, partial(shape, way=way), CONTENTS[seed % len(CONTENTS)])


def shape(rng: Random, config: AcceleratorConfig, way: Way) -> tuple[dict[str, int], int]:
    """Registers of a legal MATMUL, and the alignment of its segment table (0: none)."""
    packed, table, ws = ":" in way.pattern, way.pattern == "blocks", way.dataflow == "WS"
    registers = {
        **_walk(rng, config, way.phase),
        **(_packed(way.pattern) if packed else products._group(rng, config, None)),
        **products._interleave(rng, config),
        "flow": Flow[way.dataflow],
        "lhs": Lhs.COLUMN if way.phase == "WU" else Lhs.ROW,
        "packed": int(packed),
        "use_table": int(table),
        "segments": 0,
    }
    registers["channels"] = products._channels(rng, config, registers["m"], ws)
    registers["columns"] = products._columns(rng, config, registers["ic"])
    _fill_tiles(rng, config, registers)
    if rng.random() < 0.25:
        _shorten(rng, config, registers)
    alignment = products._table(rng, config, registers) if table else 0
    words = ceil_div(registers["columns"], config.cols)
    registers |= {"wgt_words": words, "acc_words": words}
    return registers | products._strides(rng, config, registers, alignment), alignment


def _packed(pattern: str) -> dict[str, int]:
    n, m = _group(pattern)
    return {"n": n, "m": m}


def _group(pattern: str) -> tuple[int, int]:
    n, _, m = pattern.partition(":")
    return (int(n), int(m)) if m else (1, 1)


def _walk(rng: Random, config: AcceleratorConfig, phase: str) -> dict[str, int]:
    """FF and WU walk the taps forward, BP backward."""
    if phase != "BP" and rng.random() < 0.4:
        return products._matrix(rng, config)
    walk = products._walk(rng, config)
    for axis in "yx":
        step = abs(walk[f"step_{axis}"])
        walk[f"step_{axis}"] = -step if phase == "BP" else step
        reach = (walk[f"taps_{axis}"] - 1) * step if phase == "BP" else 0
        walk[f"origin_{axis}"] = reach - rng.randint(0, 2)
    return walk


def _fill_tiles(rng: Random, config: AcceleratorConfig, registers: dict[str, int]) -> None:
    """Make each of rows, columns and depth whole in half of the cases."""
    height = registers["ir"] * config.rows if registers["flow"] == Flow.OS else registers["ir"]
    group = registers["m"] if registers["packed"] else config.chunk
    by_columns = registers["lhs"] == Lhs.COLUMN
    if rng.random() < 0.5:
        registers["columns"] = registers["ic"] * config.cols * rng.randint(1, 2)
    if rng.random() < 0.5:
        size = (group if by_columns else height) * rng.randint(1, 2)
        registers |= {"images": 1, "out_h": 1, "out_w": size}
    if rng.random() < 0.5:
        registers["channels"] = (height if by_columns else group) * rng.randint(1, 3)


def _shorten(rng: Random, config: AcceleratorConfig, registers: dict[str, int]) -> None:
    """Several tiles of so little work that the results of one hold up the next."""
    registers |= dict.fromkeys(("taps_y", "taps_x"), 1)
    height = registers["ir"] * config.rows
    if registers["lhs"] == Lhs.COLUMN:
        registers |= {"images": 1, "out_h": 1, "out_w": rng.randint(1, 3)}
        registers["channels"] = height * rng.randint(2, 3) - rng.randint(0, 1)
    else:
        registers["channels"] = rng.choice((registers["m"], rng.randint(1, registers["m"])))
        tokens = height * rng.randint(2, 3) - rng.randint(0, 1)
        registers |= {"images": 1, "out_h": 1, "out_w": tokens}
