"""The metrics file: whole lines only, one writer, and event files where something can write them."""

import json
import sys
import types

import pytest

from shotverse_jax.train import metrics
from shotverse_jax.train.metrics import JSONL, MetricsWriter, read_metrics


def written(folder, **values):
    writer = MetricsWriter(folder)
    writer.write(3, "train", values)
    writer.close()


def test_a_line_that_was_cut_short_is_taken_again(tmp_path):
    written(tmp_path, loss=1.0)
    with open(tmp_path / JSONL, "a", encoding="utf-8") as file:
        file.write('{"step": 4, "kind": "tr')
    written(tmp_path, loss=2.0)
    assert [record["loss"] for record in read_metrics(tmp_path / JSONL)] == [1.0, 2.0]


def test_processes_other_than_the_first_write_nothing(tmp_path):
    writer = MetricsWriter(tmp_path / "folder", quiet=True)
    writer.write(1, "train", {"loss": 1.0})
    writer.close()
    assert not (tmp_path / "folder").exists()


@pytest.mark.parametrize(("package", "module", "name"), metrics.EVENTS)
def test_whoever_writes_events_gets_the_values(tmp_path, monkeypatch, package, module, name):
    calls = []

    class Writer:
        def __init__(self, folder):
            calls.append(folder)

        def add_scalar(self, *values):
            calls.append(values)

        def flush(self):
            pass

        def close(self):
            calls.append("closed")

    monkeypatch.setattr(metrics.importlib.util, "find_spec", lambda wanted: wanted == package or None)
    monkeypatch.setitem(sys.modules, module, types.SimpleNamespace(**{name: Writer}))
    written(tmp_path, loss=1.5, lr=0.1)
    assert calls == [str(tmp_path / "tensorboard"), ("train/loss", 1.5, 3), ("train/lr", 0.1, 3), "closed"]
    assert json.loads((tmp_path / JSONL).read_text()) == {"step": 3, "kind": "train", "loss": 1.5, "lr": 0.1}


def test_time_is_told_of_steps_of_data_and_at_the_peak(toy, tmp_path):
    toy.here(tmp_path, ideal_step_seconds=lambda bucket: 1e-5, log_every=5, steps=20)
    records = toy.records(tmp_path)
    assert list(records) == [5, 10, 15, 20]
    for [record] in records.values():
        assert record["mfu"] * record["step_seconds"] == pytest.approx(1e-5)
        assert record["samples_per_second"] * record["step_seconds"] == pytest.approx(8)
        assert 0 < record["data_seconds"] < record["step_seconds"]
    toy.here(tmp_path / "unknown", steps=2)
    assert "mfu" not in toy.records(tmp_path / "unknown")[2][0]


def test_event_files_can_be_read(tmp_path):
    pytest.importorskip("tensorboardX", reason="tensorboardX, which writes event files, is not installed")
    written(tmp_path, loss=1.5)
    [path] = (tmp_path / "tensorboard").iterdir()
    assert "tfevents" in path.name and b"train/loss" in path.read_bytes()
