"""Numbers from outside are in their range, or one sentence says so."""

import argparse
import json
import math

import jax
import numpy as np
import pytest

from shotverse_jax import api, cli
from shotverse_jax.conversion.adapters import parse_lora
from shotverse_jax.infer.job import Job
from shotverse_jax.infer.samples import keys_of, seeds_of
from shotverse_jax.inputs.items import Item, Refused, read_items
from shotverse_jax.limits import SEEDS, finite, whole


@pytest.mark.parametrize("value", [0, 11, -1, 1.0, 2.5, "3", None, True, math.nan, np.float32(3), 10**30])
def test_whole_numbers_outside_the_range_are_refused(value):
    with pytest.raises(ValueError, match="the steps must be a whole number from 1 to 10, got "):
        whole(value, "the steps", 1, 10)


def test_whole_numbers_of_any_type_become_pythons():
    found = [whole(value, "x", 1, 10) for value in (1, 10, np.int32(3), np.uint8(4))]
    assert found == [1, 10, 3, 4] and {type(value) for value in found} == {int}


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf, 2.1, -1e-9, "1", None, True, 10**400, [1.0]])
def test_numbers_outside_the_range_are_refused(value):
    with pytest.raises(ValueError, match="a scale must be a number from 0 to 2, got "):
        finite(value, "a scale", 0, 2)


def test_numbers_of_any_type_become_pythons():
    found = [finite(value, "x", 0, 2) for value in (0, 2, np.float32(0.5), np.int8(1))]
    assert found == [0.0, 2.0, 0.5, 1.0] and {type(value) for value in found} == {float}


def test_seeds_that_would_count_modulo_are_refused():
    assert seeds_of(SEEDS - 1, 2) == [SEEDS - 1] * 2 and seeds_of(np.arange(2), 2) == [0, 1]
    keys_BK = np.asarray(jax.random.key_data(keys_of([0, 1, SEEDS - 1], [0, 0, 0])))
    assert len({key.tobytes() for key in keys_BK}) == 3
    for seed in (SEEDS, -1, 1.0, [0, SEEDS], "01", [1.5, 2]):
        with pytest.raises(ValueError, match="a seed must be a whole number from 0 to 4294967295"):
            seeds_of(seed, 2)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["film", "--cfg", "nan"], "--cfg: the strength of guidance must be a number from -1000 to 1000, got nan"),
        (["film", "--cfg", "inf"], "got inf"),
        (["film", "--cfg", "much"], "got 'much'"),
        (
            ["film", "--seed", "4294967296"],
            "a seed must be a whole number from 0 to 4294967295, got 4294967296",
        ),
        (["plan", "--seed", "-1"], "got -1"),
        (["plan", "--seed", "1.5"], "got '1.5'"),
    ],
)
def test_arguments_are_checked_before_anything_is_loaded(arguments, said, capsys):
    with pytest.raises(SystemExit) as ended:
        cli.main([arguments[0], "none.txt", *arguments[1:]])
    assert ended.value.code == 2 and said in capsys.readouterr().err


HUGE = str(10**30)


@pytest.mark.parametrize(
    ("arguments", "values"),
    [
        (["film", "none.txt", "--steps"], ("0", "-1", "1.5", "10001", HUGE, "nan", "")),
        (["film", "none.txt", "--frames"], ("0", "1.5", "100001", HUGE)),
        (["film", "none.txt", "--size"], ("0x64", "-1x64", "64", "64x96x3", "1.5x64", "64x99999", f"64x{HUGE}")),
        (["film", "none.txt", "--skip"], ("nan", "-0.1", "1.5", "much")),
        (["film", "none.txt", "--guidance-range"], ("nan-1", "0.5-0.5", "0.9-0.1", "0-2", "0", "a-b")),
        (["film", "none.txt", "--scene"], ("0", "1.5", HUGE)),
        (["plan", "none.txt", "--samples"], ("0", "1.5", "10001")),
        (["batch", "none.csv", "--task", "film", "--out", "x", "--cfg"], ("nan", "inf", "1e9")),
        (["batch", "none.csv", "--task", "film", "--out", "x", "--steps"], ("0", "1e3", HUGE)),
        (["batch", "none.csv", "--task", "film", "--out", "x", "--workers"], ("0", "5000", "two")),
        (["preview", "none.json", "--height"], ("0", "63", "99999", "64.5")),
        (["eval", "film", "--scenes"], ("0", HUGE, "3.5")),
        (["eval", "film", "--seed"], ("-1", HUGE)),
        (["verify", "none.npz", "--tol"], ("nan", "-1", "inf")),
        (["fit", "film", "--device", "h100", "--mfu"], ("0", "nan", "2", "-1")),
        (["fit", "film", "--device", "h100", "--cfg"], ("nan", "inf")),
        (["fit", "film", "--device", "h100", "--items"], ("0", HUGE, "1.5")),
        (["fit", "plan", "--device", "h100", "--shots"], ("0", "-3", HUGE)),
    ],
)
def test_every_argument_that_is_a_number_has_a_range(arguments, values, capsys):
    for value in values:
        with pytest.raises(SystemExit) as ended:
            cli.main(
                [*arguments, value] if not value.startswith("-") else [*arguments[:-1], f"{arguments[-1]}={value}"]
            )
        said = capsys.readouterr().err.splitlines()[-1]
        assert ended.value.code == 2 and arguments[-1].split("=")[0] in said, (value, said)
        assert "must be" in said or "expected" in said or "guidance acts" in said, (value, said)


def test_no_argument_takes_numbers_without_a_range():
    """A new argument with type=int or type=float would be cut or take NaN."""
    for name, command in cli.COMMANDS.items():
        parser = argparse.ArgumentParser()
        command.arguments(parser)
        assert not [a.dest for a in parser._actions if a.type in (int, float)], name


@pytest.mark.parametrize(
    "row",
    [
        {"seed": 1.5},
        {"seed": -1},
        {"seed": SEEDS},
        {"seed": "1e3"},
        {"samples": 0},
        {"samples": 10**9},
        {"frames": 1.5},
        {"frames": 10**6},
        {"size": "0x64"},
        {"size": "99999x64"},
        {"size": "1.5x64"},
        {"scene": 0},
        {"seed": True},
    ],
)
def test_items_of_a_batch_are_refused_one_by_one(tmp_path, row):
    (tmp_path / "a.jsonl").write_text("\n".join(json.dumps({"text": "A man walks."} | each) for each in (row, {})))
    refused, item = read_items(tmp_path / "a.jsonl")
    assert isinstance(refused, Refused) and next(iter(row)).replace("size", "") in refused.error
    assert isinstance(item, Item)


@pytest.mark.parametrize(
    "options",
    [
        {"frames": 33.5},
        {"frames": 0},
        {"size": (64.5, 96)},
        {"size": (64,)},
        {"size": (64, 10**6)},
        {"steps": 1.5},
        {"steps": 0},
        {"guidance": math.nan},
        {"guidance": "3"},
        {"skip": math.nan},
        {"skip": 2},
        {"guidance_range": (0.5, 0.5)},
        {"guidance_range": (math.nan, 1)},
        {"seed": 2**32},
        {"seed": [0, 1.5]},
    ],
)
def test_python_refuses_before_a_model_is_loaded(options):
    with pytest.raises(ValueError, match="must be a|a size is|guidance acts"):
        api.film("A man walks. He sits down.", model="no such model", **options)
    if set(options) & {"steps", "guidance", "skip", "guidance_range"}:
        names = ("steps", "guidance")
        own = {name: value for name, value in options.items() if name in names}
        faster = tuple((name, value) for name, value in options.items() if name not in names)
        with pytest.raises(ValueError, match="must be a|guidance acts"):
            Job("film", model="no such model", faster=faster, **own).load()


@pytest.mark.parametrize("scale", ["nan", "inf", "1e9", "-2000"])
def test_strengths_of_adapters_have_a_range(scale):
    with pytest.raises(ValueError, match="where the scale is a number from -1000 to 1000"):
        parse_lora(f"style.safetensors@{scale}")
