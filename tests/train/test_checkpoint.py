"""Checkpoints are whole, strict and swept."""

import types

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.train.checkpoint import Checkpoints, checksums

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
    Checkpoints(tmp_path / "run", writes=False).close()
    assert orphan.exists()  # it may be what another run writes at this moment
    again = Checkpoints(tmp_path / "run")
    assert again.latest == 7 and not orphan.exists()
    assert int(again.restore(TREE)["step"]) == 7
    again.close()


def test_a_save_that_fails_is_told_at_the_next_call(tmp_path, monkeypatch):
    checkpoints = Checkpoints(tmp_path)
    failing = types.SimpleNamespace(result=lambda: False)
    monkeypatch.setattr(checkpoints._checkpointer, "save_async", lambda *_, **__: failing)
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")  # where saves go on in the background
    checkpoints.save(1, TREE)
    with pytest.raises(RuntimeError, match="checkpoint 1 was not written"):
        checkpoints.save(2, TREE)
    with pytest.raises(RuntimeError, match="checkpoint 2 was not written"):
        checkpoints.save(2, TREE, wait=True)
    checkpoints.save(3, TREE)
    with pytest.raises(RuntimeError, match="checkpoint 3 was not written"):
        checkpoints.close()


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")  # of Orbax, of reads it gave up
def test_no_file_can_be_changed_without_notice(tmp_path):
    """A bit of any file, or half of it, or the file: the checkpoint is refused by name, or what it says is right."""
    noise = np.random.default_rng(0).normal(size=(60, 60)).astype(np.float32)
    checkpoints, refused, tree = Checkpoints(tmp_path), set(), {"w": jnp.asarray(noise), "n": jnp.arange(9)}
    for step in (1, 2):
        checkpoints.save(step, tree, wait=True)
    for path in [path for path in (tmp_path / "2").rglob("*") if path.is_file() and path.stat().st_size]:
        whole = path.read_bytes()
        for wrong in (flipped(whole, 0.3), flipped(whole, 0.6), whole[: len(whole) // 2], None):
            path.unlink() if wrong is None else path.write_bytes(wrong)
            try:
                found = checkpoints.restore(tree, 2)
            except ValueError as error:
                assert str(error).startswith(f"checkpoint {tmp_path / '2'} is damaged (")
                assert str(error).endswith("delete it to go on from step 1")
                refused.add(path.parent.name)
            else:
                assert all((found[name] == tree[name]).all() for name in tree), path
        path.write_bytes(whole)
    assert {"2", "state", "d"} <= refused  # what it is, where arrays are, and arrays
    checkpoints.close()


def flipped(data, where):
    content = bytearray(data)
    content[int(where * len(content))] ^= 1
    return bytes(content)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "int32", "uint8", "bool", "float16"])
def test_a_checksum_sees_every_change(dtype):
    array = np.random.default_rng(0).integers(0, 2, (3, 4)).astype(jnp.dtype(dtype))
    found = {checksums({"a": jnp.asarray(array)})["a"]}
    for place in np.ndindex(array.shape):
        other = array.copy()
        other[place] = 1 - other[place]
        found.add(checksums({"a": jnp.asarray(other)})["a"])
    assert len(found) == 13
