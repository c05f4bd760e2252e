"""Scenarios: what is accepted, what each mistake says, and that no mistake says it badly."""

import json
import random
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from algos.data import DATASETS
from cosparse.flow.scenario import load_scenario, shipped_scenarios
from cosparse.flow.scenario_schema import SCHEMA, SHIPPED_DATA, keys_of
from cosparse.flow.yamlfile import parse_yaml
from cosparse.spec import CosparseError, DataError, ScenarioError

DOCS = Path(__file__).parents[2] / "docs" / "scenarios.md"
BASE = {"schema": 1, "model": "digits-cnn"}
DESIGN_EXAMPLE = """\
schema: 1
model: digits-cnn
data: digits
train: {method: bdwp, pattern: "2:8", epochs: 20, seeds: [0, 1, 2, 3, 4]}
phases: [FF, BP, WU]
accelerator: {preset: sat-8x8, add_latency: 3}
backends: [cpu, simulator]
"""


def write(folder, text, name="s.yaml"):
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def problems(source, **options):
    with pytest.raises(ScenarioError) as caught:
        load_scenario(source, **options)
    return list(caught.value.problems)


def problems_of(folder, text):
    """Problems without the folder in front."""
    path = write(folder, text)
    return [line.replace(f"{path}", "s.yaml") for line in problems(path)]


# --- what is accepted


def test_the_design_example(tmp_path):
    scenario = load_scenario(write(tmp_path, DESIGN_EXAMPLE))
    assert scenario.name == "s"
    assert scenario.train.methods == ("bdwp", "dense")
    assert scenario.train.seeds == (0, 1, 2, 3, 4)
    assert scenario.accelerator_config().add_latency == 3
    assert scenario.folder == tmp_path
    assert scenario.source == DESIGN_EXAMPLE
    assert not scenario.requires_trust


def test_defaults():
    scenario = load_scenario(BASE)
    assert scenario.resolved()["train"] == {
        "method": "bdwp",
        "pattern": "2:8",
        "options": {},
        "compare": ["dense"],
        "epochs": 20,
        "steps": None,
        "batch": 64,
        "optimizer": "sgd",
        "lr": 0.1,
        "momentum": 0.9,
        "weight_decay": 0.0005,
        "schedule": "cosine",
        "decay": None,
        "seeds": [0],
        "include": [],
        "exclude": [],
        "select_dtype": "float16",
        "on": [],
    }
    assert (scenario.timed_batch, scenario.threads) == (64, 1)
    assert scenario.data_source.name == "digits"


@pytest.mark.parametrize(
    ("train", "expected"),
    [
        ({}, (20, True)),
        ({"epochs": 3}, (3, True)),
        ({"epochs": 0}, (0, False)),
        ({"steps": 7}, (None, True)),
    ],
)
def test_length_of_training(train, expected):
    scenario = load_scenario(BASE | {"train": train})
    assert (scenario.train.max_epochs, scenario.train.trains) == expected


def test_nothing_is_compared_with_dense_itself():
    assert load_scenario(BASE | {"train": {"method": "dense"}}).train.methods == ("dense",)


def test_numbers_as_users_write_them(tmp_path):
    text = (
        "schema: 1\nmodel: digits-cnn\ntrain: {lr: 1e-3, steps: 1e2, pattern: 2:4, seeds: [007]}\n"
    )
    train = load_scenario(write(tmp_path, text)).train
    assert (train.lr, train.steps, train.pattern, train.seeds) == (0.001, 100, "2:4", (7,))


def test_scenarios_are_frozen():
    with pytest.raises(ValueError, match="frozen"):
        load_scenario(BASE).batch = 3


def test_a_model_of_ones_own_is_only_looked_at(tmp_path):
    write(tmp_path, "raise SystemExit('executed')", "mine.py")
    scenario = load_scenario(BASE | {"model": "mine:build", "data": "digits"}, folder=tmp_path)
    assert scenario.requires_trust
    assert scenario.code_path == tmp_path / "mine.py"


def test_files_start_at_the_scenarios_folder(tmp_path):
    write(tmp_path, "", "w.safetensors")
    write(tmp_path, "", "d.npz")
    write(tmp_path, "{preset: sat-4x4, add_latency: 2}", "a.yaml")
    text = (
        "schema: 1\nmodel: {checkpoint: w.safetensors}\ndata: {file: d.npz}\n"
        "accelerator: {file: a.yaml}\n"
    )
    scenario = load_scenario(write(tmp_path, text))
    assert scenario.checkpoint_path == tmp_path / "w.safetensors"
    assert scenario.data_path == tmp_path / "d.npz"
    assert (scenario.accelerator_config().rows, scenario.accelerator_config().add_latency) == (4, 2)


def test_a_file_wins_over_a_shipped_name(tmp_path, monkeypatch):
    write(tmp_path, "schema: 1\nmodel: digits-mlp\n", "quickstart")
    monkeypatch.chdir(tmp_path)
    assert load_scenario("quickstart").model.name == "digits-mlp"


@pytest.mark.parametrize(
    ("file", "name"), [("my run (1).yaml", "my-run--1-"), (".yaml", "yaml"), ("é.yaml", "scenario")]
)
def test_the_files_stem_becomes_a_name(tmp_path, file, name):
    assert load_scenario(write(tmp_path, "schema: 1\nmodel: digits-cnn\n", file)).name == name


# --- what each mistake says

MISTAKES = [
    ("model: digit-cnn", "2:1: model: unknown model 'digit-cnn', did you mean 'digits-cnn'?"),
    ("model: a.b:3", "2:1: model: expected package.module:function, got 'a.b:3'"),
    ("model: {}", "2:1: model: expected a name or a checkpoint"),
    ("model: 3", "2:1: model: expected a mapping, got 3"),
    ("model: {name: digits-cnn, optoins: {}}", "2:27: model.optoins: unknown key 'optoins', "
     "did you mean 'options'?"),
    ("model: {name: digits-cnn, options: {a: .nan}}", "2:27: model.options: expected finite"),
    ("model: {checkpoint: no.pt, name: digits-cnn}", "2:9: model.checkpoint: expected a file at"),
    ("model: {checkpoint: s.yaml}", "2:9: model.checkpoint: expected a checkpoint (.safetensors, "
     ".pt, .pth), got 's.yaml'"),
    ("model: resnet18", "2:1: model: expected data to train on, got none"),
    ("model: 'mine:build'\ntrain: {epochs: 0}", "2:1: model: expected 'data' or 'input_shape'"),
    ("data: bites", "3:1: data: unknown data set 'bites', did you mean 'bytes'?"),
    ("data: bytes", "3:1: data: expected data for model 'digits-cnn', which takes 'digits', "
     "got 'bytes'"),
    ("data: {}", "3:1: data: expected the name of a data set or 'file', got nothing"),
    ("data: {file: s.yaml}", "3:8: data.file: expected a .npz file, got 's.yaml'"),
    ("data: {file: .}", "3:8: data.file: expected a .npz file"),
    ("input_shape: [3, 3]", "3:1: input_shape: expected no input_shape beside data"),
    ("input_shape: []", "3:1: input_shape: expected a list of at least 1, got a list of 0"),
    ("train: 5", "3:1: train: expected a mapping, got 5"),
    ("train:", "3:1: train: expected a mapping, got nothing"),
    ("train: {method: bdpw}", "3:9: train.method: unknown method 'bdpw', did you mean 'bdwp'?"),
    ("train: {pattern: 2/8}", "3:9: train.pattern: unknown pattern '2/8', did you mean '2:8'?"),
    ("train: {pattern: 9:8}", "3:9: train.pattern: pattern '9:8': expected 1 <= N <= M"),
    ("train: {pattern: 16:2:8}", "3:9: train.pattern: method 'bdwp' takes N:M patterns"),
    ("train: {pattern: 2:6}", "3:9: train.pattern: expected an M that divides the accelerator's"),
    ("train: {pattern: 2:32}", "3:9: train.pattern: expected M <= 16 (the accelerator's group_max)"),
    ("train: {pattern: 12:16}\naccelerator: {preset: sat-8x8, n_max: 8}",
     "3:9: train.pattern: expected N <= 8 (the accelerator's n_max), got 12"),
    ("train: {compare: [dense, bdwp]}", "3:26: train.compare[1]: expected other methods"),
    ("train: {compare: [dense, dense]}", "3:9: train.compare: expected each item once"),
    ("train: {compare: dense}", "3:9: train.compare: expected a list, got 'dense'"),
    ("train: {epochs: 1, steps: 1}", "3:20: train.steps: expected epochs or steps, got both"),
    ("train: {epochs: -1}", "3:9: train.epochs: expected at least 0, got -1"),
    ("train: {epochs: 1.5}", "3:9: train.epochs: expected a whole number, got 1.5"),
    ("train: {epochs: true}", "3:9: train.epochs: expected a whole number, got true"),
    ("train: {epochs: ten}", "3:9: train.epochs: expected a whole number, got 'ten'"),
    ("train: {steps: 0}", "3:9: train.steps: expected at least 1, got 0"),
    ("train: {lr: 0}", "3:9: train.lr: expected more than 0, got 0"),
    ("train: {lr: .nan}", "3:9: train.lr: expected a finite number, got nan"),
    ("train: {lr: 1e999}", "3:9: train.lr: expected a finite number, got inf"),
    ("train: {lr: on}", "3:9: train.lr: expected a number, got 'on'"),
    ("train: {lr: true}", "3:9: train.lr: expected a number, got true"),
    ("train: {momentum: 1}", "3:9: train.momentum: expected less than 1, got 1"),
    ("train: {momentum: 0.5, optimizer: adam}", "3:9: train.momentum: expected no momentum with "
     "optimizer 'adam'"),
    ("train: {optimizer: SGD}", "3:9: train.optimizer: unknown optimizer 'SGD' (valid: adam"),
    ("train: {seeds: []}", "3:9: train.seeds: expected a list of at least 1, got a list of 0"),
    ("train: {seeds: [1, 1]}", "3:9: train.seeds: expected each item once, got 1 twice"),
    ("train: {seeds: [0, -1]}", "3:20: train.seeds[1]: expected at least 0, got -1"),
    ("epochs: 3", "3:1: epochs: unknown key 'epochs', did you mean 'train.epochs'?"),
    ("phases: [FF, bp]", "3:14: phases[1]: unknown phase 'bp' (valid: BP, FF, WU)"),
    ("phases: []", "3:1: phases: expected a list of at least 1"),
    ("batch: 0", "3:1: batch: expected at least 1, got 0"),
    ("accelerator: sat-8", "3:1: accelerator: unknown accelerator preset 'sat-8', did you mean"),
    ("accelerator: {preset: sat-8x8, rowz: 4}", "3:32: accelerator.rowz: unknown accelerator "
     "field 'rowz', did you mean 'rows'?"),
    ("accelerator: {preset: sat-8x8, n_max: 32}", "3:32: accelerator.n_max: expected a power of"),
    ("accelerator: {rows: 4}", "3:1: accelerator: missing; expected a power of two"),
    ("accelerator: {file: no.yaml}", "3:15: accelerator.file: "),
    ("accelerator: {file: 3}", "3:15: accelerator.file: expected the name of a YAML file, got 3"),
    ("accelerator: {file: s.yaml, rows: 4}", "3:29: accelerator.rows: expected 'file' alone"),
    ("backends: [cpu, gpu]", "3:17: backends[1]: unknown backend 'gpu', did you mean 'cpu'?"),
    ("threads: 65", "3:1: threads: expected at most 64, got 65"),
    ("name: a/b", "3:1: name: expected up to 64 letters"),
    ("name: ..", "3:1: name: expected up to 64 letters"),
    ("description: 3", "3:1: description: expected text, got 3"),
    ("threads: 2\nthreads: 3", "4:1: threads: duplicate key 'threads', first on line 3"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "expected"), MISTAKES, ids=[text for text, _ in MISTAKES])
def test_one_mistake(tmp_path, text, expected):
    model = "" if text.startswith("model") else "model: digits-cnn\n"
    assert problems_of(tmp_path, f"schema: 1\n{model}{text}\n")[0].startswith(f"s.yaml:{expected}")


def test_every_mistake_at_once_in_the_files_order(tmp_path):
    text = (
        "threads: 0\nschema: 1\ntrain: {steps: 1, pattern: 2:32, epochs: 1, lr: x}\n"
        "model: resnet9\nbackend: [cpu]\nthreads: 1\n"
    )
    found = problems_of(tmp_path, text)
    assert [line.split(": ")[1] for line in found] == [
        "threads",
        "train.steps",
        "train.pattern",
        "train.lr",
        "model",
        "backend",
        "threads",
    ]


def test_rules_between_keys_wait_for_sound_keys():
    found = problems(BASE | {"train": {"pattern": "2:64"}, "accelerator": "sat-9"})
    assert len(found) == 1 and found[0].startswith("<scenario>: accelerator: unknown")


def test_the_simulators_limits_hold_for_the_simulator_only():
    train = {"pattern": "2:32"}
    assert load_scenario(BASE | {"train": train, "backends": ["cpu"]}).train.pattern == "2:32"


def test_a_message_is_one_short_line(tmp_path):
    text = f'schema: 1\nmodel: "{"x" * 5000}"\ndata: "a\\nb\\e[31m"\n'
    model, data = problems_of(tmp_path, text)
    assert len(model) < 1100
    assert data.startswith(r"s.yaml:3:1: data: unknown data set 'a\nb\x1b[31m'")


def test_schema_and_model_are_required(tmp_path):
    assert problems_of(tmp_path, "threads: 1\n") == [
        "s.yaml:1:1: expected the key 'schema', got none; write 'schema: 1'",
        "s.yaml:1:1: expected the key 'model', got none (valid: bert-base, bytes-lm, cifar-vit, "
        "digits-cnn, digits-mlp, digits-vit, resnet18, resnet18-64, resnet50, resnet9, vgg19, vit-b-16, "
        "package.module:function, or {checkpoint: FILE})",
    ]


@pytest.mark.parametrize("version", ["2", "'1'", "1.0", "true", "null"])
def test_another_schema_version_has_one_message_with_a_way_out(tmp_path, version):
    found = problems_of(tmp_path, f"schema: {version}\nmodle: x\n")
    assert len(found) == 1
    assert found[0].startswith("s.yaml:1:1: schema: expected scenario schema 1, got ")
    assert "docs/scenarios.md" in found[0]


def test_a_mistake_in_the_accelerators_own_file_names_both_places(tmp_path):
    write(tmp_path, "preset: sat-8x8\nadd_latency: 9\n", "a.yaml")
    found = problems_of(tmp_path, "schema: 1\nmodel: digits-cnn\naccelerator: {file: a.yaml}\n")
    inner = f"{tmp_path / 'a.yaml'}:2:1: add_latency: expected an integer from 1 to 4, got 9"
    assert found[0].startswith(f"s.yaml:3:15: accelerator.file: {inner}")


def test_a_mapping_from_python_has_key_paths():
    assert problems(BASE | {"train": {"lr": object(), "seeds": {0}}}) == [
        "<scenario>: train.lr: expected plain data, got object",
        "<scenario>: train.seeds: expected plain data, got set",
        "<scenario>: train.lr: expected a number, got nothing",
        "<scenario>: train.seeds: expected a list, got nothing",
    ]


def test_a_mapping_that_contains_itself():
    loop = dict(BASE)
    loop["train"] = loop
    assert any("levels of nesting" in line for line in problems(loop))


@pytest.mark.parametrize("source", ["quikstart", "", "x" * 5000, "a\0b"])
def test_unknown_scenario_names(source):
    assert problems(source)


def test_the_nearest_shipped_scenario_is_named():
    assert "did you mean 'quickstart'?" in problems("quikstart")[0]


def test_a_missing_file():
    assert problems("no/such.yaml") == [
        "no/such.yaml:1:1: cannot read the file: No such file or directory"
    ]


# --- the resolved form and its hash


@pytest.mark.parametrize("name", sorted(shipped_scenarios()))
def test_the_resolved_form_is_a_scenario_with_the_same_hash(name):
    scenario = load_scenario(name)
    again = load_scenario(json.loads(json.dumps(scenario.resolved())), folder=scenario.folder)
    assert again.resolved() == scenario.resolved()
    assert again.content_hash() == scenario.content_hash()


SAME = [
    DESIGN_EXAMPLE,
    "# a comment\n" + "\n".join(reversed(DESIGN_EXAMPLE.splitlines())),
    DESIGN_EXAMPLE.replace("data: digits", "data: {name: digits}"),
    DESIGN_EXAMPLE.replace("epochs: 20, ", "lr: 1e-1, "),
    DESIGN_EXAMPLE.replace("[FF, BP, WU]", "[WU, FF, BP]"),
    DESIGN_EXAMPLE + "name: other\ndescription: other\n",
]


def test_equal_content_has_an_equal_hash(tmp_path):
    (tmp_path / "elsewhere").mkdir()
    paths = [write(tmp_path, text, f"{index}.yaml") for index, text in enumerate(SAME)]
    paths.append(write(tmp_path / "elsewhere", DESIGN_EXAMPLE))
    assert len({load_scenario(path).content_hash() for path in paths}) == 1


@pytest.mark.parametrize(
    "change",
    [
        {"train": {"epochs": 19}},
        {"train": {"compare": []}},
        {"batch": 32},
        {"threads": 2},
        {"accelerator": {"preset": "sat-8x8", "add_latency": 3}},
        {"model": "digits-mlp"},
        {"backends": ["cpu"]},
    ],
)
def test_different_content_has_a_different_hash(change):
    assert load_scenario(BASE | change).content_hash() != load_scenario(BASE).content_hash()


def test_files_count_by_content_and_not_by_path(tmp_path):
    def hash_of(model, data, code):
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        names = {"w.pt": model, f"d{folder.name}.npz": data, "mine.py": code}
        for name, content in names.items():
            write(folder, content, name)
        given = {
            "model": {"name": "mine:build", "checkpoint": "w.pt"},
            "data": {"file": f"d{folder.name}.npz"},
        }
        return load_scenario(BASE | given, folder=folder).content_hash()

    first = hash_of("m", "d", "c")
    assert first == hash_of("m", "d", "c")
    assert len({first, hash_of("M", "d", "c"), hash_of("m", "D", "c"), hash_of("m", "d", "C")}) == 4


def test_a_file_that_vanished_after_the_check(tmp_path):
    path = write(tmp_path, "", "d.npz")
    scenario = load_scenario(BASE | {"data": {"file": "d.npz"}}, folder=tmp_path)
    path.unlink()
    with pytest.raises(DataError, match=r"cannot read .*d\.npz"):
        scenario.content_hash()


# --- the docs, and neighbours


def documented_rows():
    rows = re.findall(r"^\| `([a-z_.]+)` \|(.*)\|$", DOCS.read_text(encoding="utf-8"), re.M)
    return {key: [cell.strip().strip("`") for cell in cells.split("|")] for key, cells in rows}


def schema_fields():
    return {
        ".".join((*path, key)): field
        for path, section in SCHEMA.items()
        for key, field in zip(keys_of(section), section.model_fields.values(), strict=True)
    }


def test_the_docs_have_exactly_the_schemas_keys():
    assert set(documented_rows()) == set(schema_fields())


def plain(value):
    return list(value) if isinstance(value, tuple) else value


WORDED_DEFAULTS = {
    "schema": "required",
    "name": "the file's stem",
    "model": "required",
    "data": "the shipped model's own",
    "input_shape": "the shipped model's own",
    "train": "all defaults",
    "batch": "train.batch",
    "accelerator": "sat-8x8",
    "rtl.accelerator": "accelerator",
    "rtl.batch": "batch",
    "train.compare": "[dense]",
    "train.epochs": "20",
    "sweep.axes": "required",
    "sweep.sampler": "grid",
}


@pytest.mark.parametrize("key", sorted(schema_fields()))
def test_documented_defaults_are_the_schemas(key):
    default = documented_rows()[key][0]
    if key in WORDED_DEFAULTS:
        assert default == WORDED_DEFAULTS[key]
    else:
        got = yaml.safe_load(default)
        got = float(got) if key == "train.weight_decay" else got
        assert got == plain(schema_fields()[key].default)


def test_worded_defaults_are_true():
    scenario = load_scenario(BASE)
    assert scenario.train.compared == ("dense",)
    assert scenario.train.max_epochs == 20
    assert scenario.accelerator == {"preset": "sat-8x8"}
    assert scenario.data_source.name == "digits"


NEEDED_BESIDE = {
    "model.options": {"model": {"name": "digits-cnn"}},
    "train.options": {"train": {"method": "low-rank"}},
    "input_shape": {"model": "mine:build", "train": {"epochs": 0}},
    **{key: {"backends": ["rtl"]} for key in ("rtl", "rtl.accelerator", "rtl.batch", "rtl.cycles")},
    **{
        f"sweep.{key}": {"sweep": {"axes": {"accelerator.interleave": [2, 4]}}}
        for key in ("set", "constraints", "sampler", "objectives")
    },
}


@pytest.mark.parametrize("key", sorted(schema_fields()))
def test_documented_examples_are_valid(tmp_path, key):
    write(tmp_path, "", "weights.safetensors")
    write(tmp_path, "", "my_data.npz")
    example = parse_yaml(f"example: {documented_rows()[key][2]}", "docs").data["example"]
    mapping = BASE | NEEDED_BESIDE.get(key, {})
    section, _, last = key.rpartition(".")
    if section == "sweep.sampler":
        sampler = {"kind": "random", "points": 4} | {last: example}
        axes = {"accelerator.interleave": [2, 4]}
        given = {"sweep": {"axes": axes, "sampler": sampler, "objectives": ["cycles"]}}
    else:
        beside = NEEDED_BESIDE.get(key, {}).get(section, {})
        given = {section: beside | {last: example}} if section else {last: example}
    load_scenario(mapping | given, folder=tmp_path)


def test_shipped_data_are_the_loaders_own():
    assert set(SHIPPED_DATA) == set(DATASETS)


def test_reading_a_scenario_imports_no_heavy_package():
    code = (
        "import sys, cosparse.flow.scenario as s; s.load_scenario('quickstart').content_hash();"
        "print(sorted({'torch', 'numba', 'sklearn', 'simpy', 'plotly'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


# --- fuzz

FRAGMENTS = [
    "", "null", "~", "true", "[]", "{}", "[[[]]]", "{a: {b: {c: 1}}}", "-1", "0", "1e400", ".nan",
    ".inf", "-.inf", "9" * 30, "9" * 5000, "0x" + "f" * 400, "1e-400", "'", '"', "&a [*a]", "*a",
    "!!python/object:os.system x", "!!int x", "!!binary aGk=", "<<: {a: 1}", "? [a]", "\t", "é",
    "\u2028", "'\U0001f600'", '"\\0"', '"\\ud800"', "x" * 5000, "a:b", ":", "a:b:c", "2:8", "99:1",
    "0:0", "1:2:3", "block 1x1 @ 1e9", "unstructured @ .", "dense", "../..", "/", "/dev/zero", ".",
    "{file: s.yaml}", "{file: .}", "{file: [1]}", "{preset: {}}", "{preset: sat-8x8, rows: 3.5}",
    "{preset: sat-8x8, name: [1]}", "{checkpoint: /}", "{checkpoint: x.pt}", "{name: null}",
    "[1, 1]", "[null]", "[{}]", "[FF, FF]", "{1: 2}", "{null: 1}", "|\n  x", "- x", "---", "...",
    "{" * 40, "[" * 5000, "%YAML 9.9", "@", "`", "٣", "1_0", "١٢", "NaN", "0o9", "2026-11-21",
]  # fmt: skip
KEYS = sorted({key for section in SCHEMA.values() for key in keys_of(section)})


def typo(rng, word):
    place = rng.randrange(len(word) + 1)
    return word[:place] + rng.choice("aZ_. :-é") + word[place + rng.randrange(2) :]


def replace_value(rng, text):
    lines = text.split("\n")
    index = rng.randrange(len(lines))
    key, colon, _ = lines[index].partition(": ")
    lines[index] = f"{key}{colon or ': '}{rng.choice(FRAGMENTS)}"
    return "\n".join(lines)


def insert_key(rng, text):
    lines = text.split("\n")
    indent = rng.choice(["", "", "  ", "    ", "\t"])
    lines.insert(
        rng.randrange(len(lines) + 1), f"{indent}{rng.choice(KEYS)}: {rng.choice(FRAGMENTS)}"
    )
    return "\n".join(lines)


def misspell(rng, text):
    words = re.findall(r"[A-Za-z]{3,}", text)
    word = rng.choice(words or ["schema"])
    return text.replace(word, typo(rng, word), 1)


def swap_values(rng, text):
    values = re.findall(r": (.+)", text) or ["x"]
    first, second = rng.choice(values), rng.choice(values)
    return text.replace(first, second, 1)


def insert_fragment(rng, text):
    place = rng.randrange(len(text) + 1)
    return text[:place] + rng.choice(FRAGMENTS) + text[place:]


MUTATIONS = (replace_value, insert_key, misspell, swap_values, insert_fragment)


def flip_bytes(rng, source):
    content = bytearray(source)
    for _ in range(rng.randrange(1, 4)):
        if content:
            content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def mutant(rng, seeds):
    text = rng.choice(seeds)
    for _ in range(rng.randrange(1, 4)):
        text = rng.choice(MUTATIONS)(rng, text)
    source = text.encode("utf-8")
    return flip_bytes(rng, source) if rng.random() < 0.25 else source


def problems_found(path):
    """Problems of a file that is loaded and used; only our errors are caught."""
    try:
        load_scenario(path).content_hash()
    except ScenarioError as error:
        return list(error.problems)
    except CosparseError as error:
        return [f"{path}: {error}"]
    return []


def test_thousands_of_mutants_give_clean_errors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    seed, count = 20261121, 6000
    rng = random.Random(seed)
    shipped = [path.read_text(encoding="utf-8") for path in shipped_scenarios().values()]
    bare = [re.sub(r"\s*#.*", "", text).strip() + "\n" for text in shipped]
    path, sound = tmp_path / "s.yaml", 0
    located = re.compile(rf"{re.escape(str(path))}:\d+:\d+: .{{1,1200}}")
    for number in range(count):
        source = mutant(rng, [*bare, DESIGN_EXAMPLE])
        path.write_bytes(source)
        try:
            found = problems_found(path)
        except Exception as error:
            pytest.fail(f"seed {seed}, mutant {number}: {error!r}\n{source!r}")
        sound += not found
        bad = [line for line in found if not located.fullmatch(line)]
        assert not bad, f"seed {seed}, mutant {number}"
    assert 0 < sound < count / 2, "mutations should mostly break scenarios, and not always"


PLAIN_VALUES = [
    None, True, -1, 10**30, 2**63, 1e308, float("nan"), float("inf"), "", "\ud800", "\0", "a:b",
    [], {}, (), [[]], {1: 2}, {"": 0}, b"x", 1j, object(), {0}, Path("x"), Path("\0"), "x" * 9999,
]  # fmt: skip


def test_thousands_of_mappings_give_clean_errors(tmp_path):
    seed = 7
    rng = random.Random(seed)
    for number in range(2000):
        section = {rng.choice(KEYS): rng.choice(PLAIN_VALUES) for _ in range(rng.randrange(4))}
        mapping = BASE | {rng.choice(KEYS): rng.choice([section, *PLAIN_VALUES]) for _ in range(2)}
        try:
            load_scenario(mapping, folder=tmp_path).content_hash()
        except CosparseError:
            continue
        except Exception as error:
            pytest.fail(f"seed {seed}, mapping {number}: {error!r}\n{mapping!r}")


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ({"rtl": {"batch": 2}}, "rtl: expected the backend 'rtl' beside it, got none"),
        (
            {"backends": ["rtl"], "accelerator": "sat-32x32"},
            "accelerator: sat-32x32 exists in simul",
        ),
        (
            {"backends": ["rtl"], "rtl": {"accelerator": {"preset": "sat-4x4", "axi_bytes": 32}}},
            "rtl.accelerator: .*axi_bytes of 4, 8, 16 for RTL, got 32",
        ),
        ({"backends": ["rtl"], "rtl": {"accelerator": "sat-4x5"}}, "did you mean 'sat-4x4'"),
        (
            {"backends": ["rtl"], "rtl": {"accelerator": "sat-4x4"}, "train": {"pattern": "2:16"}},
            r"train.pattern: expected M <= 8 \(the accelerator's group_max\), got 16",
        ),
    ],
)
def test_rules_of_the_rtl(keys, problem):
    with pytest.raises(ScenarioError, match=problem):
        load_scenario(BASE | keys)


def test_the_rtl_runs_the_scenarios_accelerator_and_batch_unless_told_otherwise():
    plain = load_scenario(BASE | {"backends": ["rtl"], "batch": 8})
    assert (plain.rtl_config().name, plain.rtl_batch) == ("sat-8x8", 8)
    own = load_scenario(BASE | {"backends": ["rtl"], "rtl": {"accelerator": "sat-4x4", "batch": 2}})
    assert (own.rtl_config().name, own.rtl_batch) == ("sat-4x4", 2)
    assert load_scenario(own.resolved()).content_hash() == own.content_hash()
