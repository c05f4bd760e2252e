"""Area against exact fits, a held-out array, and memories counted by hand."""

from dataclasses import replace

import pytest
import yaml

from cosparse.spec import InputError
from hwsim import AcceleratorConfig
from hwsim.area import AreaTable, SynthesisedArray, bram36, element_memory_luts, estimate_area, fit
from hwsim.scratchpads import Scratchpad

TABLE = AreaTable.default()


BASE = AcceleratorConfig.preset("sat-4x4")


def array(rows, cols, group_max=8, *, lut, ff=0, dsp=0, **fields):
    elements = {"mul_latency": 2, "add_latency": 3, "interleave": 4, "act_values_per_row_cycle": 1}
    sizes = {"rows": rows, "cols": cols, "group_max": group_max, "n_max": group_max}
    return SynthesisedArray(**sizes, **{**elements, **fields}, lut=lut, ff=ff, dsp=dsp)


def test_a_table_that_follows_the_formula_is_fitted_exactly():
    # 300 + 10 M flip-flops an element, 40 a row, 7 a column, 500 beside.
    def count(r, c, m):
        return r * c * (300 + 10 * m) + 40 * r + 7 * c + 500

    sizes = [(4, 4, 8), (8, 4, 8), (4, 8, 8), (8, 8, 8), (4, 4, 16), (8, 8, 16)]
    model = fit([array(r, c, m, lut=1, ff=count(r, c, m)) for r, c, m in sizes], "ff")
    assert model.residual == pytest.approx(0, abs=1e-9)
    assert model.at(array(32, 16, 16, lut=1)) == pytest.approx(count(32, 16, 16))


def test_what_a_small_table_cannot_tell_is_left_out():
    model = fit([array(2, 2, lut=1, ff=400)], "ff")
    assert model.weights == (pytest.approx(100), 0, 0, 0, 0, 0, 0)


@pytest.mark.parametrize("m", [8, 16])
def test_the_largest_arrays_held_out_are_predicted(m):
    """8 x 16, twice as large as all that it is predicted from, within 5 %."""
    held_out = [row for row in TABLE.arrays if (row.rows, row.cols) == (8, 16)]
    small = [row for row in TABLE.arrays if row not in held_out]
    assert max(row.pes for row in small) == 64
    (largest,) = (row for row in held_out if row.group_max == m)
    for resource in ("lut", "ff", "dsp"):
        got = fit(small, resource).at(largest)
        assert got == pytest.approx(getattr(largest, resource), rel=0.05)


@pytest.mark.parametrize("preset", ["sat-4x4", "sat-8x8"])
def test_a_synthesised_array_is_returned_within_its_range(preset):
    config = AcceleratorConfig.preset(preset)
    area = estimate_area(config)
    fields = set(SynthesisedArray.__dataclass_fields__) - {"lut", "ff", "dsp"}
    (row,) = (r for r in TABLE.arrays if all(getattr(r, f) == getattr(config, f) for f in fields))
    for name in ("lut", "ff", "dsp"):
        amount = getattr(area, name)
        assert amount.low <= getattr(row, name) <= amount.high
        assert amount.high <= 1.05 * amount.value
    assert not area.extrapolated and area.label == TABLE.label


@pytest.mark.parametrize(
    "change",
    [{"rows": 16, "cols": 16}, {"group_max": 4, "n_max": 4}, {"interleave": 8}],
    ids=["larger", "another M", "another interleave"],
)
def test_extrapolation_is_said_and_widens_the_range(change):
    outside = replace(BASE, **change)
    assert not estimate_area(BASE).extrapolated
    area = estimate_area(outside)
    assert area.extrapolated and area.label.endswith("extrapolated")
    assert area.lut.low <= 0.71 * area.lut.value and area.lut.high >= 1.29 * area.lut.value


def test_memories_of_an_element_counted_by_hand():
    # 32 x 17 bits of groups, 64 x 21 of pairs, 4, 4 and 8 sums of 32: 2 + 3 + 3 * 3 slices of 8 LUTs.
    assert element_memory_luts(BASE) == 8 * (2 + 3 + 9)


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        # ACT, WGT, IDX, ACC. Halves of 8 KiB; a lane of indices takes a byte lane of a block.
        ("sat-4x4", 4 + 4 + 4 + 4),
        ("sat-8x8", 16 + 16 + 8 + 16),
        ("sat-32x32", 256 + 224 + 128 + 128),
    ],
)
def test_memories_of_the_presets(preset, expected):
    assert bram36(AcceleratorConfig.preset(preset)) == expected


def test_memories_by_the_width_of_their_port():
    # 4 KiB fit one block, but a word of 64 rows is 128 bytes: 32 half blocks a half. Weights: a side reader
    # leaves 2 bytes a half block, 8; indices: 4 RAMs of 26 words, 8 lanes of a byte lane each, 2 half
    # blocks each; accumulators: 512 words, a half block a bank.
    small = {"activation_kib": 8, "weight_kib": 4, "accumulator_kib": 32}
    config = AcceleratorConfig.preset(
        "sat-8x8", rows=64, group_max=4, n_max=4, interleave=2, act_values_per_row_cycle=1, **small
    )
    assert bram36(config) == 32 + 8 + 4 * 2 + 8


@pytest.mark.parametrize(
    ("words", "lanes", "lane_bits", "wide", "blocks"), [(16384, 4, 4, 4, 32), (5000, 4, 16, 1, 40)]
)
def test_deep_memories_as_yosys_builds_them(words, lanes, lane_bits, wide, blocks):
    assert Scratchpad(words, lanes, lane_bits, wide, readers=2, writers=2).bram18 == blocks


def test_the_large_array_beside_a_vu9p():
    area = estimate_area(AcceleratorConfig.preset("sat-32x32"))
    share = area.share_of(TABLE.device("VU9P"))
    assert area.extrapolated and area.label.endswith("extrapolated")
    assert 1024 / 6840 < share["dsp"] < 1.05 * 1024 / 6840
    assert share["bram36"] == pytest.approx(736 / 2160)
    # The element alone, synthesised with these parameters: 737 LUTs.
    assert share["lut"] == pytest.approx(1024 * 737 / 1_182_000, rel=0.1)
    with pytest.raises(InputError, match="unknown device 'VU9', did you mean 'VU9P'"):
        TABLE.device("VU9")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda d: d["arrays"][0].pop("lut"), r"arrays\[0\]: missing key 'lut'"),
        (lambda d: d["arrays"][1].update(lut=-1), r"arrays\[1\].lut: expected an integer >= 0"),
        (lambda d: d.update(arrays=[]), "arrays: expected a list of rows"),
        (lambda d: d.update(devices=3), "devices: expected a mapping"),
        (lambda d: d["devices"]["X"].update(luts=3), "devices.X: unknown key 'luts'"),
    ],
)
def test_what_is_wrong_with_a_table_is_named(tmp_path, change, message):
    row = vars(array(1, 1, lut=1, ff=1, dsp=1)).copy()
    device = {"lut": 1, "ff": 1, "dsp": 1, "bram36": 1}
    data = {
        "schema": 1,
        "label": "x",
        "tool": "y",
        "arrays": [row, dict(row)],
        "devices": {"X": device},
    }
    change(data)
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(data))
    with pytest.raises(InputError, match=rf"mine\.yaml.*{message}"):
        AreaTable.from_file(tmp_path / "mine.yaml")
