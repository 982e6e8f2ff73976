"""Every value of a training config has a range, and one sentence refuses what is outside, before anything is made."""

import dataclasses
import math
import types
import typing
from typing import Annotated, Literal

import pytest

from shotverse_jax.config import ControllerTrainConfig, PlannerTrainConfig, from_dict
from shotverse_jax.config.ranges import Range, hints
from shotverse_jax.train import TASKS, build, read_config


def fields(cls, path=()):
    """(path of names, class, type, whether it is inside of a tuple) of every field of a config and of those in it."""
    for name, kind in hints(cls).items():
        unions = types.UnionType, typing.Union
        for one in typing.get_args(kind) if typing.get_origin(kind) in unions else (kind,):
            if dataclasses.is_dataclass(one):
                yield from fields(one, (*path, name))
            elif typing.get_origin(one) is tuple:
                yield from (((*path, name), cls, part, True) for part in typing.get_args(one) if part is not ...)
            else:
                yield (*path, name), cls, one, False


ALL = [
    (task, *field)
    for task in TASKS
    if task != "toy"  # of other tests
    for field in fields(TASKS[task].config)
    if field[2] is not type(None)
]


NEEDED = {"lora": {"rank": 4, "alpha": 4.0}}
"""Values of parts that are left out by default and have no values of their own."""


def values_of(task, path, value, listed):
    """Plain values of the task's config with one changed."""
    values = dataclasses.asdict(TASKS[task].config())
    *above, name = path
    here = values
    for each in above:
        # A part that is left out by default is put in with one wrong value.
        here[each] = here[each] or dict(NEEDED.get(each, {}))
        here = here[each]
    here[name] = [value, *here.get(name, ())[1:]] if listed else value
    return values


def wrong(kind):
    """Values that a field of this type must refuse."""
    if typing.get_origin(kind) is Annotated:
        number, bounds = typing.get_args(kind)
        step = 1 if number is int else 1e-3 * max(1.0, abs(bounds.most))
        yield from (bounds.least - step, bounds.most + step, "x", None, True, [], {}, math.nan, math.inf, -math.inf)
        yield from (10**400, -(10**400), 2**64)
        yield from (0.5, 1.0) if number is int else (bounds.most,) if bounds.below else ()
    elif typing.get_origin(kind) is Literal:
        yield from ("other", None, 3, ["x"], {})
    elif kind is bool:
        yield from ("yes", None, 2, [])
    elif kind is str:
        yield from (3, None, [], {})


def test_every_number_of_a_training_config_has_a_range():
    bare = [f"{task}: {'.'.join(path)}" for task, path, _, kind, _ in ALL if kind in (int, float)]
    assert not bare, f"give these fields a type of config/ranges.py: {bare}"
    assert len(ALL) > 200


def test_every_default_is_in_its_range():
    for kind in (kind for name, kind in TASKS.items() if name != "toy"):
        values = dataclasses.asdict(kind.config())
        assert from_dict(kind.config, values) == kind.config()


def test_every_field_refuses_what_is_outside_its_range():
    failed, tried = [], 0
    for task, path, cls, kind, listed in ALL:
        if path[-1] == "spread":
            continue
        for value in wrong(kind):
            tried += 1
            try:
                read_config(values_of(task, path, value, listed))
                failed.append(f"{task}: {'.'.join(path)} took {value!r:.40}")
            except ValueError as error:
                said = str(error)
                bounds = typing.get_args(kind)[1] if typing.get_origin(kind) is Annotated else None
                # The task names the config's class, so another sentence refuses it.
                named = path[-1] in said and (cls.__name__ in said or path == ("task",))
                ranged = bounds is None or "must be a" in said or "NaN" in said
                if not named or not ranged or "\n" in said or len(said) > 300:
                    failed.append(f"{task}: {'.'.join(path)}={value!r:.40}: {said}")
    assert not failed, "\n".join(failed)
    assert tried > 2000


@pytest.mark.parametrize(
    ("task", "values", "said"),
    [
        ("planner", {"accumulate": 3}, "a batch of 32 does not divide into accumulate=3 parts"),
        ("planner", {"text_lengths": (80, 80, 176)}, "one number for each shot count, got 3 and 4"),
        ("planner", {"text_lengths": (128, 80, 176, 224)}, "text_lengths must rise"),
        ("planner", {"text_lengths": (80, 128, 176, 9999)}, "up to model.max_text_tokens=1024"),
        ("planner", {"shot_weights": (0.0,) * 4}, "one of shot_weights must be more than 0"),
        ("planner", {"move_weights": (0, 0, 0, 0)}, "one of move_weights must be more than 0"),
        ("planner", {"move_weights": (1.0,)}, "move_weights of PlannerTrainConfig is 4 values"),
        ("planner", {"betas": (0.9,)}, "betas of PlannerTrainConfig is 2 values"),
        ("planner", {"mesh": {"data": 1, "fsdp": 0}}, "a mesh has positive sizes"),
        ("planner", {"mesh": {"data": 7}}, "does not use all devices"),
        ("planner", {"mesh": {"data": -1, "fsdp": -1}}, "one of them may be -1"),
        ("controller", {"data": "x"}, "test_data must name a data set for a run of controller, and is empty"),
        ("controller", {"data": "", "test_data": "x"}, "^data must name a data set"),
        ("pose_net", {}, "data must name a data set for a run of pose_net"),
        ("vae", {"part": "decoder"}, "give base_weights"),
        ("vae", {"frames": 8}, "crops must have 4t\\+1 frames"),
        ("vae", {"width": 63}, "sides that 8 divides"),
        ("controller", {"data": "x", "test_data": "x"}, "base_weights must name the base model"),
        ("controller", {"data": "x", "test_data": "x", "expert": "base", "model": {"text": "t5"}}, "got 't5'"),
        ("ship", {}, "task is one of planner, controller, "),
        (["planner"], {}, "task is one of planner"),
        (None, {}, "task is one of planner"),
    ],
)
def test_values_that_do_not_go_together_are_refused_and_nothing_is_made(task, values, said, tmp_path):
    with pytest.raises(ValueError, match=said):
        build(read_config({"task": task} | values), tmp_path / "run")
    assert not list(tmp_path.rglob("*.json"))


def test_configs_made_in_python_are_checked_too():
    with pytest.raises(ValueError, match="batch of PlannerTrainConfig must be a whole number from 1 to 1048576, got 0"):
        PlannerTrainConfig(batch=0)
    with pytest.raises(ValueError, match="ema of ControllerTrainConfig must be a number from 0 to below 1, got 1.0"):
        dataclasses.replace(ControllerTrainConfig(), ema=1.0)
    with pytest.raises(ValueError, match=r"must be a whole number from 1 to 3, got a number of 333 bits"):
        Range(1, 3).check(int, 10**100, "x")
