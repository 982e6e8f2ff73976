"""What a run outlives: being killed at any moment, steps that are not finite, files that are damaged."""

import random
import shutil
import signal
import time

import jax
import numpy as np
import pytest

from shotverse_jax.train.checkpoint import Checkpoints
from shotverse_jax.train.metrics import JSONL, read_metrics

KILLS = 4  # `python -m tests.survival kills` has as many as one likes


def stored(folder, step=None):
    """What is stored in a checkpoint, as a flat mapping, read as a resumed run reads it."""
    checkpoints = Checkpoints(folder / "checkpoints")
    shapes = checkpoints._checkpointer.metadata(step).metadata
    like = {path: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype) for path, leaf in shapes.items()}
    state = jax.device_get(checkpoints.restore(like, step))
    checkpoints.close()
    return state


def visible(folder):
    return sorted(int(path.name) for path in (folder / "checkpoints").glob("*") if path.name.isdecimal())


def unfinished(folder):
    return list((folder / "checkpoints").glob("*tmp*"))


def said_by(records):
    """Without what the clock says."""
    return [{n: v for n, v in r.items() if not n.endswith(("seconds", "per_second"))} for r in records]


@pytest.mark.slow
def test_killed_at_random_moments_a_run_loses_nothing(toy, tmp_path):
    """Nothing that any of its lives said is wrong, not even of steps that the next one takes again."""
    draw, folder, lives, half_written = random.Random(0), tmp_path / "killed", [], 0
    values = dict(eval_every=7, steps=2000)  # more than so many lives get through
    for _ in range(KILLS):
        before = len(read_metrics(folder / JSONL)) if lives else 0
        process = toy.start(folder, checkpoint_every=2, **values)
        while process.poll() is None and lines(folder / JSONL) < before + 3:
            time.sleep(0.02)
        time.sleep(draw.uniform(0, 1.5))  # of steps, saves and evaluations
        process.send_signal(signal.SIGKILL)
        assert process.wait() == -signal.SIGKILL  # it had not ended by itself
        half_written += bool(unfinished(folder))
        for step in visible(folder):
            assert stored(folder, step)["step"] == step
        assert not unfinished(folder)  # swept, as at every start
        lives.append(max(visible(folder), default=0))
    assert lives[-1] > 0
    values["stop_at"] = lives[-1] + 20
    assert toy.run(folder, checkpoint_every=2, **values)[0] == [75]
    assert toy.here(tmp_path / "whole", **values).step < values["steps"]
    again = 0
    for kind in ("train", "eval"):
        found, expected = (toy.records(path, kind) for path in (folder, tmp_path / "whole"))
        both = found.keys() & expected.keys()
        assert max(both) >= lives[-1] - 7
        for step in range(1, max(both) + 1):
            records = said_by(found.get(step, []))
            assert [*records] == said_by(expected.get(step, [])) * len(records) and bool(records) == (step in expected)
            again += len(records) > 1
    print(f"{KILLS} kills, {half_written} in a save; newest checkpoint after each {lives}; {again} records came twice")


def lines(path):
    return path.read_bytes().count(b"\n") if path.exists() else 0


def test_steps_that_are_not_finite_reach_no_checkpoint(toy, tmp_path):
    values = dict(checkpoint_every=4, expert="high", log_every=5)
    # Samples of step 7, from 0, are the first bad ones: the steps 8, 9 and 10, from 1.
    message = (
        r"3 steps in a row up to step 10 of the expert 'high' were not finite, first in the gradient of lora/q_proj"
    )
    with pytest.raises(FloatingPointError, match=message):
        toy.here(tmp_path, poison=7, **values)
    assert visible(tmp_path) == [4, 8]
    good, state = stored(tmp_path, 4), stored(tmp_path, 8)
    assert all(np.isfinite(leaf).all() for leaf in state.values())
    assert (state["step"], state["bad_steps"]) == (8, 1)
    assert any((good[path] != state[path]).any() for path in good if path.startswith("params"))  # 5 to 7 did learn
    assert int(toy.here(tmp_path, **values).step) == 30  # with good samples it goes on


def test_a_damaged_checkpoint_is_refused_by_name(toy, tmp_path):
    toy.here(tmp_path, steps=10)
    arrays = (tmp_path / "checkpoints" / "10").rglob("ocdbt.process_0/d/*")
    data = max(arrays, key=lambda path: path.stat().st_size)
    content = bytearray(data.read_bytes())
    for part in range(1, 8):
        content[part * len(content) // 8] ^= 1
    data.write_bytes(content)
    with pytest.raises(ValueError, match=r"checkpoints/10 is damaged \(.*\); delete it to go on from step 5"):
        toy.here(tmp_path, steps=20)
    shutil.rmtree(tmp_path / "checkpoints" / "10")
    assert int(toy.here(tmp_path, steps=20).step) == 20


def test_a_damaged_shard_of_data_is_refused_by_name(toy, tmp_path):
    shutil.copytree(toy.data, tmp_path / "data")
    [shard] = (tmp_path / "data").glob("*.arrayrecord")
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ValueError, match=r"00000-of-00001\.arrayrecord cannot be read: it is damaged"):
        toy.here(tmp_path, data=str(tmp_path / "data"))


def test_accumulated_steps_learn_from_the_same_samples(toy, tmp_path):
    for name, parts in (("whole", 1), ("parts", 4)):
        toy.here(tmp_path / name, accumulate=parts, noise=0.0)
    whole, parts = (toy.records(tmp_path / name) for name in ("whole", "parts"))
    assert max(abs(parts[step][0]["loss"] / whole[step][0]["loss"] - 1) for step in whole) < 1e-5
    assert whole[30][0]["loss"] < 0.9 * whole[1][0]["loss"]
