"""Rules 1 to 4, against hand-made programs and an all-pairs search on random ones."""

from itertools import combinations
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

import hwsim.legality.semaphores
from cosparse.spec.errors import ProgramError
from hwsim.accesses import Store, accesses, half_words
from hwsim.config import AcceleratorConfig
from hwsim.isa import Instruction, Op, Space, Unit, configure
from hwsim.legality import check_program, require_legal
from hwsim.legality.intervals import LatestTouch
from hwsim.legality.steps import Step, program_steps
from hwsim.program import Program
from tests.programs import IMAGE_BYTES, program_from_seed

CONFIG = AcceleratorConfig.preset("sat-4x4")
ROW = {
    **dict.fromkeys(("count0", "count1", "count2", "row_words"), 1),
    "run_bytes": 64,
    "row_bytes": 64,
}


def transfer(op, space, local, dram, **masks):
    args = {"bank": 0, "space": space, "local": local, "dram": dram}
    return Instruction(op, args, **masks)


def fill(space, local, words, **masks):
    args = {"space": space, "local": local, "words": words, "value": 0}
    return Instruction(Op.FILL, args, **masks)


def copy(a, dst, **masks):
    """VECTOR COPY of one word."""
    return Instruction(Op.VECTOR, {"bank": 0, "vector_op": 0, "a": a, "b": 0, "dst": dst}, **masks)


def touch(unit, **masks):
    """A CONFIG: the shortest instruction of a unit."""
    args = {"unit": unit, "bank": 1, "register": 0, "value0": 0, "value1": 0}
    return Instruction(Op.CONFIG, args, **masks)


def program(*instructions):
    described = [
        *configure(Unit.DMA, 0, ROW),
        *configure(Unit.WUVE, 0, {"rows": 1, "words": 1, "a_words": 1, "dst_words": 1}),
    ]
    return Program.assemble([*described, *instructions], "test")


def rules_of(*instructions, dram_bytes=1 << 20):
    return [item.rule for item in check_program(program(*instructions), CONFIG, dram_bytes)]


LOAD_ACC = transfer(Op.LOAD, Space.ACC, 0, 0, signal=1)


def test_a_token_orders_units():
    assert rules_of(LOAD_ACC, copy(0, 1, wait=1)) == []


def test_a_race_names_both_instructions_and_the_half():
    (found,) = check_program(
        program(transfer(Op.LOAD, Space.ACC, 0, 0), copy(0, 1)), CONFIG, IMAGE_BYTES
    )
    first, second = found.instructions
    assert second == first + 1
    for part in ("ACC half 0", f"{first} (DMA: LOAD", f"{second} (WUVE: VECTOR", "ACC[0] <- DRAM"):
        assert part in str(found)


def test_a_half_has_one_owner_even_for_reads_of_different_words():
    store = transfer(Op.STORE, Space.ACC, 100, 4096)
    assert rules_of(LOAD_ACC, store, copy(0, 1, wait=1)) == [3]


def test_the_other_half_does_not_race():
    other = CONFIG.accumulator_half_words
    assert rules_of(LOAD_ACC, copy(other, other + 1)) == []


def test_indices_share_the_owner_of_the_weights():
    prune = {"n": 2, "m": 4, "rows": 4, "columns": 4, "act_words": 1, "wgt_words": 1}
    instructions = [
        *configure(Unit.SORE, 0, prune),
        fill(Space.ACT, 0, 4, signal=1),
        transfer(Op.LOAD, Space.IDX, 100, 0, signal=2),
        Instruction(Op.PRUNE, {"bank": 0, "act": 0, "wgt": 0}, wait=1),
    ]
    (found,) = check_program(program(*instructions), CONFIG, IMAGE_BYTES)
    assert "WGT half 0" in str(found)


def test_a_token_of_a_later_transfer_covers_the_earlier_ones():
    before = transfer(Op.LOAD, Space.ACC, 8, 0)
    assert rules_of(before, LOAD_ACC, copy(8, 1, wait=1)) == []


def test_a_config_of_the_dma_proves_nothing_of_a_transfer():
    before = transfer(Op.LOAD, Space.ACC, 0, 0)
    assert rules_of(before, touch(Unit.DMA, signal=1), copy(0, 1, wait=1)) == [3]
    assert rules_of(fill(Space.ACC, 0, 1), touch(Unit.DMA, signal=1), copy(0, 1, wait=1)) == []


def test_knowledge_travels_over_a_third_unit():
    between = touch(Unit.STCE, wait=1, signal=2)
    assert rules_of(LOAD_ACC, between, copy(0, 1, wait=2)) == []


@pytest.mark.parametrize(
    ("first", "second", "races"),
    [
        (transfer(Op.LOAD, Space.ACT, 0, 0), transfer(Op.STORE, Space.ACT, 0, 4096), "ACT words"),
        (transfer(Op.LOAD, Space.ACT, 0, 0), transfer(Op.STORE, Space.ACT, 20, 4096), None),
        (transfer(Op.LOAD, Space.ACT, 0, 0), transfer(Op.LOAD, Space.ACT, 0, 4096), None),
        (transfer(Op.STORE, Space.ACT, 0, 0), transfer(Op.LOAD, Space.ACT, 0, 4096), None),
        (transfer(Op.LOAD, Space.ACT, 0, 0), fill(Space.ACT, 0, 1), None),
        (transfer(Op.LOAD, Space.ACT, 0, 0), transfer(Op.STORE, Space.WGT, 0, 48), "DRAM bytes"),
        (transfer(Op.STORE, Space.ACT, 0, 48), transfer(Op.LOAD, Space.WGT, 0, 0), "DRAM bytes"),
        (transfer(Op.STORE, Space.ACT, 0, 64), transfer(Op.LOAD, Space.WGT, 0, 0), None),
        (transfer(Op.STORE, Space.ACT, 0, 0), transfer(Op.STORE, Space.WGT, 0, 0), None),
        (transfer(Op.LOAD, Space.WGT, 0, 0), transfer(Op.STORE, Space.IDX, 0, 4096), None),
    ],
)
def test_pairs_of_the_dma(first, second, races):
    found = check_program(program(first, second), CONFIG, IMAGE_BYTES)
    assert [races in str(item) for item in found] == ([True] if races else [])


def test_a_dram_race_names_the_common_bytes():
    found = check_program(
        program(transfer(Op.LOAD, Space.ACT, 0, 0x1000), transfer(Op.STORE, Space.WGT, 0, 0x1030)),
        CONFIG,
        IMAGE_BYTES,
    )
    assert "DRAM bytes 0x1030 to 0x103f" in str(found[0])


def test_a_token_of_the_dma_to_itself_orders_transfers():
    first = transfer(Op.LOAD, Space.ACT, 0, 0, signal=1)
    assert rules_of(first, transfer(Op.STORE, Space.ACT, 0, 4096, wait=1)) == []


def test_a_blocking_instruction_is_named_with_its_semaphore():
    (found,) = check_program(program(copy(0, 1, wait=1 << 5)), CONFIG, IMAGE_BYTES)
    assert found.rule == 1
    assert "s5" in str(found)
    assert f"{found.instructions[0]} (WUVE: VECTOR" in str(found)


def test_a_token_that_comes_later_in_program_order_blocks():
    assert rules_of(copy(0, 1, wait=1), LOAD_ACC) == [1]


@pytest.mark.parametrize(
    "instructions",
    [
        (touch(Unit.DMA, signal=1), touch(Unit.SORE, signal=1)),
        (
            touch(Unit.DMA, signal=1),
            touch(Unit.DMA, signal=1),
            touch(Unit.SORE, wait=1),
            touch(Unit.STCE, wait=1),
        ),
    ],
)
def test_a_semaphore_has_one_maker_and_one_taker(instructions):
    assert rules_of(*instructions) == [2]


def handshake(count, answered):
    """The DMA makes `count` tokens for SORE; `answered`: it waits for SORE before the next one."""
    back = 2 if answered else 0
    lines = []
    for number in range(count):
        lines += [
            touch(Unit.DMA, signal=1, wait=back if number else 0),
            touch(Unit.SORE, wait=1, signal=back),
        ]
    return lines


def test_counts_are_bounded_in_every_execution():
    assert rules_of(*handshake(255, answered=False)) == []
    assert set(rules_of(*handshake(256, answered=False))) == {2}
    assert rules_of(*handshake(600, answered=True)) == []


def test_a_config_of_the_dma_does_not_overtake_the_token_of_a_transfer():
    later = touch(Unit.DMA, signal=1)
    assert rules_of(LOAD_ACC, later) == [2]
    assert rules_of(fill(Space.ACC, 0, 1, signal=1), later) == []


@pytest.mark.parametrize(
    "instructions",
    [
        (fill(Space.IDX, 0, 1),),
        (fill(Space.ACC, 2 * CONFIG.accumulator_half_words, 1),),
        (fill(Space.ACC, CONFIG.accumulator_half_words - 1, 2),),
        (transfer(Op.LOAD, Space.ACT, 0, (1 << 20) - 32),),
        (transfer(Op.LOAD, Space.ACT, 0, 8),),
        (Instruction(Op.HALT), Instruction(Op.HALT)),
        (Instruction(Op.HALT, signal=1),),
    ],
)
def test_limits(instructions):
    assert set(rules_of(*instructions)) == {4}


def test_require_legal_raises_with_the_name_of_the_program():
    with pytest.raises(ProgramError, match=r"test: instruction .* blocks"):
        require_legal(program(copy(0, 1, wait=1)), CONFIG)


def test_a_long_list_is_cut():
    with pytest.raises(ProgramError, match="and 10 more"):
        require_legal(program(*[copy(0, 1, wait=1)] * 30), CONFIG)


# Against a search over all pairs


class AllPairs:
    """Ancestors of every issue and completion, as bit masks; node 2 i is issue, 2 i + 1 completion."""

    def __init__(self, steps: list[Step]) -> None:
        self.steps = steps
        self.ancestors: list[int] = []
        makers = {number: [] for number in range(16)}
        latest: dict[Unit, list[int]] = {unit: [] for unit in Unit}
        for number, step in enumerate(steps):
            instruction = step.job.instruction
            stream = latest[step.unit]
            transfers = [k for k in stream if steps[k].job.instruction.op is not Op.CONFIG]
            before = [makers[s].pop(0) * 2 + 1 for s in instruction.waits()]
            before += [2 * k for k in stream[-1:]]
            if stream and (step.unit is not Unit.DMA or stream[-1] not in transfers):
                before.append(2 * stream[-1] + 1)
            if instruction.op is Op.FILL:
                before += [2 * k + 1 for k in transfers]
            if transfers and steps[transfers[-1]].job.instruction.op is Op.FILL:
                before.append(2 * transfers[-1] + 1)
            self._add(before)
            after = [2 * number]
            if step.unit is Unit.DMA and instruction.op is not Op.CONFIG:
                after += [2 * k + 1 for k in transfers[-1:]]
            self._add(after)
            stream.append(number)
            for semaphore in instruction.signals():
                makers[semaphore].append(number)

    def _add(self, before):
        mask = 0
        for node in before:
            mask |= self.ancestors[node] | 1 << node
        self.ancestors.append(mask)

    def races(self) -> set[tuple[int, int]]:
        """Indices of all conflicting pairs that nothing orders."""
        return {
            (one.index, two.index)
            for (i, one), (j, two) in combinations(enumerate(self.steps), 2)
            if conflict(one, two) and not self.ancestors[2 * j] >> (2 * i + 1) & 1
        }

    def largest_count(self, semaphore: int) -> int:
        """Tokens made before each signal completes, less the waits known to be issued by then."""
        made, largest, waits = 0, 0, []
        for number, step in enumerate(self.steps):
            if semaphore in step.job.instruction.waits():
                waits.append(number)
            if semaphore in step.job.instruction.signals():
                made += 1
                known = self.ancestors[2 * number + 1]
                largest = max(largest, made - sum(known >> 2 * wait & 1 for wait in waits))
        return largest


def conflict(one: Step, two: Step) -> bool:
    """Word for word as docs/microarchitecture.md has it."""
    pairs = [(a, b) for a in accesses(one.job) for b in accesses(two.job)]
    if one.unit is not two.unit:
        return any(
            half(a, one.job.config) == half(b, one.job.config)
            for a, b in pairs
            if Store.DRAM not in (a.store, b.store)
        )
    if one.unit is not Unit.DMA:
        return False
    kinds = one.job.instruction.op, two.job.instruction.op
    return any(
        a.store is b.store
        and a.first <= b.last
        and b.first <= a.last
        and (
            set(kinds) == {Op.LOAD, Op.STORE}
            if a.store is Store.DRAM
            else kinds in ((Op.LOAD, Op.STORE), (Op.LOAD, Op.FILL))
        )
        for a, b in pairs
    )


def half(access, config):
    store = Store.WGT if access.store is Store.IDX else access.store
    return store, access.first // half_words(store, config)


def without_a_token(instructions, rng):
    """The program less one token: a signal, and the wait that takes it."""
    number = rng.choice([s for item in instructions for s in item.waits()])
    waits = [k for k, item in enumerate(instructions) if number in item.waits()]
    signals = [k for k, item in enumerate(instructions) if number in item.signals()]
    place = rng.randrange(len(waits))
    changed = list(instructions)
    for k, name in ((waits[place], "wait"), (signals[place], "signal")):
        item = changed[k]
        masks = {"wait": item.wait, "signal": item.signal}
        masks[name] &= ~(1 << number)
        changed[k] = Instruction(item.op, item.args, **masks)
    return changed


def small_programs(count):
    seed, found = 0, 0
    while found < count:
        config, made = program_from_seed(seed)
        instructions = list(made)
        if len(instructions) < 160 and any(item.wait for item in instructions):
            found += 1
            yield seed, config, instructions
        seed += 1


def test_races_are_those_of_a_search_over_all_pairs():
    racing = 0
    for seed, config, instructions in small_programs(40):
        rng = Random(seed)
        for changed in (instructions, *(without_a_token(instructions, rng) for _ in range(3))):
            expected = AllPairs(list(program_steps(changed, config))).races()
            found = check_program(Program.assemble(changed), config, IMAGE_BYTES)
            assert {item.rule for item in found} <= {3}, seed
            pairs = {item.instructions for item in found}
            assert pairs <= expected, seed
            assert {second for _, second in pairs} == {second for _, second in expected}, seed
            racing += bool(expected)
    assert racing > 40


def test_counts_are_those_of_a_search_over_all_pairs(monkeypatch):
    for seed, config, instructions in small_programs(15):
        search = AllPairs(list(program_steps(instructions, config)))
        largest = max(search.largest_count(number) for number in range(16))
        for limit, rules in ((largest, set()), (largest - 1, {2})):
            monkeypatch.setattr(hwsim.legality.semaphores, "SEMAPHORE_MAX", limit)
            found = check_program(Program.assemble(instructions), config, IMAGE_BYTES)
            assert {item.rule for item in found} == rules, seed


@given(
    st.lists(
        st.tuples(st.booleans(), st.integers(0, 30), st.integers(1, 12), st.integers(0, 3)),
        max_size=40,
    )
)
def test_the_latest_touch_is_that_of_an_array(operations):
    stamps, latest, since = [-1] * 50, LatestTouch(), 0
    for stamp, (writes, start, length, forget) in enumerate(operations):
        stop = start + length
        if writes:
            latest.touch(start, stop, stamp)
            stamps[start:stop] = [stamp] * length
            continue
        since = max(since, stamp - 4 * (forget + 1))
        newest = max(stamps[start:stop])
        found = latest.latest(start, stop, since)
        if newest < since:
            assert found is None
        else:
            assert found is not None and found[0] == newest
            assert set(stamps[found[1] : found[2]]) == {newest}
