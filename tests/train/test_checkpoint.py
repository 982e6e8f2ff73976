"""Checkpoints are whole, strict and swept."""

import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.train.checkpoint import Checkpoints

TREE = {"a": {"w": jnp.arange(6.0).reshape(2, 3)}, "n": None, "step": jnp.asarray(7, jnp.int32)}


@pytest.fixture
def saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "run")
    checkpoints.save(7, TREE, wait=True)
    yield checkpoints
    checkpoints.close()


def test_round_trip_is_exact_and_the_last_two_stay(saved, tmp_path):
    for step in (8, 9):
        saved.save(step, {**TREE, "step": jnp.asarray(step, jnp.int32)})
    saved.close()
    again = Checkpoints(tmp_path / "run")
    assert again.latest == 9
    restored = again.restore(TREE)
    assert int(restored["step"]) == 9 and restored["n"] is None
    assert (np.asarray(restored["a"]["w"]) == np.arange(6.0).reshape(2, 3)).all()
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["8", "9"]
    again.close()


@pytest.mark.parametrize(
    ("like", "message"),
    [
        ({**TREE, "b": jnp.zeros(2)}, "missing b"),
        ({"step": TREE["step"]}, "unexpected a/w"),
        ({**TREE, "a": {"w": jnp.zeros((3, 2))}}, r"a/w is float32\[2, 3\], expected float32\[3, 2\]"),
        ({**TREE, "a": {"w": jnp.zeros((2, 3), jnp.bfloat16)}}, r"a/w is float32\[2, 3\], expected bfloat16\[2, 3\]"),
        ({**TREE, "step": jnp.zeros((), jnp.float32)}, r"step is int32\[\], expected float32\[\]"),
    ],
)
def test_a_tree_that_does_not_fit_is_refused_by_path(saved, like, message):
    with pytest.raises(ValueError, match=message):
        saved.restore(like)


def test_all_problems_are_listed_at_once(saved):
    with pytest.raises(ValueError, match="a/w is float32.*missing b.*missing c"):
        saved.restore({"a": {"w": jnp.zeros(1)}, "b": jnp.zeros(1), "c": jnp.zeros(1), "step": TREE["step"]})


def test_nothing_to_restore(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    assert checkpoints.latest is None
    with pytest.raises(ValueError, match="no checkpoint in"):
        checkpoints.restore(TREE)
    checkpoints.close()


def test_what_a_killed_run_left_is_swept(saved, tmp_path):
    orphan = tmp_path / "run" / "8.orbax-checkpoint-tmp"
    (orphan / "state.orbax-checkpoint-tmp").mkdir(parents=True)
    (orphan / "state.orbax-checkpoint-tmp" / "piece").write_bytes(b"x" * 100)
    again = Checkpoints(tmp_path / "run")
    assert again.latest == 7 and not orphan.exists()
    assert int(again.restore(TREE)["step"]) == 7
    again.close()
