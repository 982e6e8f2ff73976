"""Runs of several processes: what they learn is what one learns, they stop together, and any number goes on."""

import signal

import numpy as np
import pytest

from shotverse_jax.train.metrics import JSONL, read_metrics

pytestmark = pytest.mark.slow
STEPS, SAMPLES, BATCH = 30, 40, 8
CLOSE = 1e-6  # of a loss: sums of samples are taken in another order


@pytest.fixture(scope="module")
def alone(toy, tmp_path_factory):
    folder = tmp_path_factory.mktemp("alone") / "run"
    assert toy.run(folder, devices=8, steps=STEPS)[0] == [0]
    return toy.records(folder)


def ids(record):
    return [int(record[f"id_{i}"]) for i in range(BATCH)]


def same_run(found, expected):
    """Every step once, with the samples and the loss of the other run; → the largest relative difference."""
    assert list(found) == list(range(1, STEPS + 1)) and all(len(records) == 1 for records in found.values())
    assert all(ids(found[step][0]) == ids(expected[step][0]) for step in found)
    epoch = SAMPLES // BATCH
    for first in range(1, STEPS + 1, epoch):  # no sample is lost or comes twice
        assert sorted(sum((ids(found[step][0]) for step in range(first, first + epoch)), [])) == list(range(SAMPLES))
    return max(abs(found[step][0]["loss"] / expected[step][0]["loss"] - 1) for step in found)


def stopped(toy, folder, processes, devices, stops, **config):
    """The step at which a run of some processes stopped, for the stops-th time, after one of them had a signal."""
    codes, said = toy.run(folder, processes, devices, steps=STEPS, checkpoint_every=100, **config)
    assert codes == [75] * processes, said
    told = [each.count("start again to go on") for each in said]
    assert told == [stops] + [0] * (processes - 1)  # the first alone speaks
    step = max(int(path.name) for path in (folder / "checkpoints").iterdir())  # of the signal
    assert 0 < step < STEPS and max(toy.records(folder)) == step
    return step


def test_a_signal_to_one_stops_all_and_any_number_goes_on(toy, alone, tmp_path):
    """Four processes, then two with another mesh, then one."""
    folder = tmp_path / "run"
    steps = [stopped(toy, folder, 4, 2, stops=1, stop_at=12, stop_host=2)]
    steps.append(stopped(toy, folder, 2, 4, stops=2, stop_at=24, stop_host=1, mesh__data=1, mesh__fsdp=8))
    assert toy.run(folder, devices=2, steps=STEPS)[0] == [0]
    difference = same_run(toy.records(folder), alone)
    assert difference < CLOSE
    assert [r["step"] for r in read_metrics(folder / JSONL) if r["kind"] == "resume"] == steps
    base, exported = (np.load(folder / name) for name in ("base.npy", "export/base.npy"))
    assert base.any() and base.tobytes() == exported.tobytes()  # adapters learned; what they adapt did not move
    print(f"4 processes to step {steps[0]}, 2 to step {steps[1]}, then 1: losses within {difference:.1e}")


def test_a_killed_process_takes_the_other_down_and_a_new_start_goes_on(toy, alone, tmp_path):
    """The second of two, which the first misses after a while, and then the first, through which all hear of others."""
    folder, sizes = tmp_path / "run", {"mesh__data": 2, "mesh__fsdp": 4, "checkpoint_every": 4}
    for lost, step in ((1, 14), (0, 27)):
        killing = {"stop_at": step, "stop_host": lost, "stop_signal": "SIGKILL"}
        codes, said = toy.run(folder, 2, 4, steps=STEPS, **killing, **sizes)
        assert codes[lost] == -signal.SIGKILL and codes[1 - lost] not in (0, 75), said  # in bounded time, no success
        assert max(toy.records(folder)) < STEPS
    codes, said = toy.run(folder, 2, 4, steps=STEPS, **sizes)
    assert codes == [0, 0], said
    found = toy.records(folder)
    resumed = [r["step"] for r in read_metrics(folder / JSONL) if r["kind"] == "resume"]
    assert len(resumed) == 2 and 4 <= resumed[0] < resumed[1] and not any(step % 4 for step in resumed)
    difference = same_run({step: records[-1:] for step, records in found.items()}, alone)
    assert difference < CLOSE
    print(f"one process of 2 killed, then the other, resumed at steps {resumed}: losses within {difference:.1e}")


def test_losses_fall(alone):
    losses = [alone[step][0]["loss"] for step in alone]
    assert np.mean(losses[-5:]) < 0.6 * np.mean(losses[:5])
