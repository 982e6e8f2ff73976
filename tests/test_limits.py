"""Numbers from outside are in their range, or one sentence says so."""

import math

import jax
import numpy as np
import pytest

from shotverse_jax import cli
from shotverse_jax.infer.samples import keys_of, seeds_of
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
