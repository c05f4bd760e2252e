"""Area against exact fits, a held-out array, and memories counted by hand."""

from dataclasses import replace

import pytest
import yaml

from cosparse.spec import InputError
from hwsim import AcceleratorConfig
from hwsim.area import AreaTable, SynthesisedArray, bram36, estimate_area, fit

TABLE = AreaTable.default()


def array(side, m, lut, ff=0, dsp=0):
    return SynthesisedArray(side, side, m, 3, lut=lut, ff=ff, dsp=dsp)


def test_a_linear_table_is_fitted_exactly():
    # 500 + 10 M LUT a PE.
    arrays = [array(side, m, side**2 * (500 + 10 * m)) for side in (2, 4, 8) for m in (4, 8, 16)]
    model = fit(arrays, "lut")
    assert (model.base, model.per_m) == (pytest.approx(500), pytest.approx(10))
    assert model.residual == pytest.approx(0, abs=1e-9)
    assert model.at(1024, 16) == pytest.approx(1024 * 660)


def test_one_m_in_the_table_gives_no_slope():
    model = fit([array(2, 8, 400), array(4, 8, 1600)], "lut")
    assert (model.base, model.per_m) == (pytest.approx(100), 0)


def test_the_largest_array_held_out_is_predicted():
    *small, largest = TABLE.arrays
    for resource, tolerance in (("lut", 0.005), ("ff", 0.05), ("dsp", 1e-9)):
        got = fit(small, resource).at(largest.pes, largest.group_max)
        assert got == pytest.approx(getattr(largest, resource), rel=tolerance)


def test_a_synthesised_array_is_returned_within_its_range():
    config = AcceleratorConfig.preset("sat-4x4")
    area = estimate_area(config)
    row = next(row for row in TABLE.arrays if row.pes == 16 and row.group_max == config.group_max)
    for name in ("lut", "ff", "dsp"):
        amount = getattr(area, name)
        assert amount.low <= getattr(row, name) <= amount.high
    assert not area.extrapolated and area.label == "prototype synthesis"


@pytest.mark.parametrize(
    "change", [{"rows": 16, "cols": 8}, {"group_max": 16}], ids=["larger", "another M"]
)
def test_extrapolation_is_said_and_widens_the_range(change):
    inside = AcceleratorConfig.preset("sat-8x8", group_max=8, n_max=8)
    outside = replace(inside, **change)
    assert not estimate_area(inside).extrapolated
    area = estimate_area(outside)
    assert area.extrapolated and area.label.endswith("extrapolated")
    assert area.lut.low <= 0.71 * area.lut.value and area.lut.high >= 1.29 * area.lut.value


@pytest.mark.parametrize(
    ("preset", "expected"),
    [
        # Two halves of 8 KiB each need 2 blocks; no port is wider than 2 blocks' 16 bytes.
        ("sat-4x4", 3 * 2 * 2),
        ("sat-8x8", 3 * 2 * 8),
        ("sat-32x32", 2 * (128 + 128 + 64)),
    ],
)
def test_memories_by_capacity(preset, expected):
    assert bram36(AcceleratorConfig.preset(preset)) == expected


def test_memories_by_the_width_of_their_port():
    # 4 KiB fit one block, but a word of 64 rows is 128 bytes: 16 blocks a half. Weights: 8 lanes of
    # 2.5 bytes are 20 bytes, 3 blocks; accumulators: 8 banks of 4 bytes, 4 blocks.
    small = {"activation_kib": 8, "weight_kib": 4, "accumulator_kib": 32}
    config = AcceleratorConfig.preset(
        "sat-8x8", rows=64, group_max=4, n_max=4, interleave=2, act_values_per_row_cycle=1, **small
    )
    assert bram36(config) == 2 * (16 + 3 + 4)


def test_the_large_array_beside_a_vu9p():
    area = estimate_area(AcceleratorConfig.preset("sat-32x32"))
    share = area.share_of(TABLE.device("VU9P"))
    assert share["dsp"] == pytest.approx(1024 / 6840)
    assert share["bram36"] == pytest.approx(640 / 2160)
    assert share["lut"] == pytest.approx(1024 * 746 / 1_182_000, rel=0.01)
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
    row = {"rows": 1, "cols": 1, "group_max": 8, "add_latency": 3, "lut": 1, "ff": 1, "dsp": 1}
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
