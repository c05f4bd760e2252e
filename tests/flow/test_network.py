"""Checkpoints and the user's code, below the level of a whole run."""

import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import cosparse as cs
from cosparse.flow.checkpoint import load_into, read_checkpoint, write_checkpoint
from cosparse.flow.network import check_forward, resolve_network
from cosparse.flow.user_code import blame, import_function
from cosparse.spec import CosparseError, DataError, InputError, RunError, ShapeError


class WithExtraState(nn.Linear):
    def get_extra_state(self):
        return {"step": 3}

    def set_extra_state(self, state):
        raise AssertionError("a checkpoint holds tensors alone")


@pytest.mark.parametrize(
    "model",
    [
        nn.Conv2d(4, 8, 3).to(memory_format=torch.channels_last),
        nn.BatchNorm2d(4),
        WithExtraState(4, 4),
        nn.Linear(4, 4).bfloat16(),
    ],
    ids=lambda model: type(model).__name__,
)
def test_round_trip(model, tmp_path):
    write_checkpoint(tmp_path / "a.safetensors", model, "mine", {"width": 3})
    found = read_checkpoint(tmp_path / "a.safetensors")
    assert (found.model, found.options) == ("mine", {"width": 3})
    for name, tensor in found.state.items():
        assert tensor.equal(model.state_dict()[name])
    load_into(model, found.state, "a")


def test_tied_weights_round_trip(tmp_path):
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    write_checkpoint(tmp_path / "a.safetensors", model, "mine")
    load_into(model, read_checkpoint(tmp_path / "a.safetensors").state, "a")
    assert model[1].weight is model[0].weight


def test_equal_weights_are_equal_files(tmp_path):
    model = nn.Linear(4, 4)
    contents = set()
    for index in range(8):
        path = tmp_path / f"{index}.safetensors"
        write_checkpoint(path, model, "mine", {"b": 1, "a": 2})
        contents.add(path.read_bytes())
    assert len(contents) == 1


@pytest.mark.parametrize("text", ["", "[]", '{"model": 3, "options": {}}', '{"model": "m"}'])
def test_damaged_metadata(tmp_path, text):
    save_file({"w": torch.zeros(2)}, tmp_path / "a.safetensors", {"cosparse": text})
    with pytest.raises(DataError, match="metadata 'cosparse'"):
        read_checkpoint(tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    "content", [torch.zeros(3), [torch.zeros(3)], {"epoch": 3}, {"state_dict": {"w": 1}}]
)
def test_what_is_not_a_state_dict(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(DataError, match="expected a state_dict"):
        read_checkpoint(tmp_path / "a.pt")


def test_every_key_that_does_not_fit_is_named_up_to_eight():
    model = nn.Sequential(*(nn.Linear(2, 2) for _ in range(6)))
    with pytest.raises(DataError, match=r"missing '0\.weight'") as caught:
        load_into(model, {}, "here")
    assert str(caught.value).count("missing") == 8
    assert str(caught.value).startswith("here: ") and str(caught.value).endswith("; ...")


# --- whose exception it is


def run_as(file, code, **names):
    exec(compile(code, str(file), "exec"), names)


@pytest.mark.parametrize(
    ("beside", "raised"),
    [(True, RunError), (False, ZeroDivisionError)],
    ids=["in the scenario's folder", "elsewhere"],
)
def test_blame_by_the_place_of_the_code(tmp_path, beside, raised):
    file = (tmp_path if beside else tmp_path.parent) / "own.py"
    with pytest.raises(raised, match="division by zero"), blame("own:f", tmp_path):
        run_as(file, "\n\n1 / 0")


def test_the_message_names_the_line(tmp_path):
    with pytest.raises(RunError) as caught, blame("own:f", tmp_path):
        run_as(tmp_path / "own.py", "\n\n1 / 0")
    expected = f"'own:f' raised ZeroDivisionError: division by zero ({tmp_path / 'own.py'}:3)"
    assert str(caught.value) == expected


def test_a_bug_of_ours_that_the_users_code_calls_is_ours(tmp_path):
    ours = Path(cs.__file__).parent / "flow" / "made_up.py"
    bug = compile("def call():\n    return {}['a bug of ours']", str(ours), "exec")
    names = {}
    exec(bug, names)
    with pytest.raises(KeyError), blame("own:f", tmp_path):
        run_as(tmp_path / "own.py", "call()", call=names["call"])


def test_our_own_errors_pass(tmp_path):
    with pytest.raises(ShapeError), blame("own:f", tmp_path):
        run_as(tmp_path / "own.py", "raise error", error=ShapeError("expected 3"))


def test_code_beside_the_scenario_is_read_afresh(tmp_path):
    path = tmp_path / "own_fresh.py"
    for value in (1, 2):
        path.write_text(f"def f():\n    return {value}  #{' ' * value}\n")
        assert import_function("own_fresh:f", tmp_path, path)() == value
    del sys.modules["own_fresh"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("absent_module:f", "cannot import 'absent_module'"), ("json:dupms", "did you mean 'dumps'")],
)
def test_functions_that_do_not_exist(tmp_path, name, message):
    with pytest.raises(InputError, match=message):
        import_function(name, tmp_path, None)


# --- the trial forward


def test_seeds_decide_the_starting_weights(tiny):
    network = resolve_network(cs.load_scenario(tiny()), trust=False)
    first, again, other = (network.build(seed).fc1.weight for seed in (0, 0, 1))
    assert first.equal(again) and not first.equal(other)


def test_a_language_model_with_too_short_a_context(tiny):
    model = {"name": "bytes-lm", "options": {"context": 64}}
    network = resolve_network(cs.load_scenario(tiny(model=model)), trust=False)
    with pytest.raises(ShapeError, match="at most 64 tokens, got 128"):
        check_forward(network)


def test_input_shape_of_a_shipped_model(tiny):
    scenario = tiny({"epochs": 0, "steps": None}, model="resnet18", input_shape=[3, 32, 32])
    network = resolve_network(cs.load_scenario(scenario), trust=False)
    assert network.sample(2).shape == (2, 3, 32, 32)
    check_forward(network)
    bad = scenario | {"input_shape": [1, 32, 32]}
    with pytest.raises(ShapeError, match=r"'resnet18' does not take inputs of shape \(1, 32, 32\)"):
        check_forward(resolve_network(cs.load_scenario(bad), trust=False))


def test_exit_codes_are_one_and_two():
    assert {error.exit_code for error in (CosparseError, RunError)} == {1}
    assert {error.exit_code for error in (InputError, DataError, ShapeError)} == {2}


def test_users_code_cannot_end_the_run_as_a_success(tmp_path):
    with pytest.raises(RunError, match="SystemExit"), blame("own:f", tmp_path):
        run_as(tmp_path / "own.py", "raise SystemExit(0)")
