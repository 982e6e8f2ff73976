"""Replays of recorded outputs pass, fail when a number is off, and refuse what is not a record."""

import json

import numpy as np
import pytest

from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.conversion.verify import REPLAYS, verify_record


@pytest.fixture(scope="module")
def record(reference):
    with np.load(reference / "golden" / "gendop_opt.npz") as file:
        arrays = {name: file[name] for name in file.files}
    return json.loads(str(arrays.pop("meta"))), arrays


def save(path, meta, arrays):
    np.savez(path, **arrays, meta=np.array(json.dumps(meta)))
    return path


def test_the_gendop_record_replays(reference, record_property):
    report = verify_record(reference / "golden" / "gendop_opt.npz", tol=1e-5)
    assert report.ok and report.model == "gendop_opt"
    logits, tokens = report.outputs
    assert (logits.name, tokens.name) == ("logits", "greedy_token_ids")
    record_property("parity", ("logits", logits.max_rel_rms))
    assert 0 < logits.max_rel_rms < 1e-5
    assert tokens.max_abs == 0


def test_a_changed_weight_or_token_fails(tmp_path, record):
    meta, arrays = record
    name = "param/mesh_decoder.model.layers.1.fc2.bias"
    weight = arrays[name] + 0.1 * np.eye(64, dtype=np.float32)[0]
    changed = arrays | {name: weight, "greedy_token_ids": arrays["greedy_token_ids"] + 1}
    report = verify_record(save(tmp_path / "r.npz", meta, changed))
    assert not report.ok
    assert [output.ok for output in report.outputs] == [False, False]
    assert report.outputs[1].max_abs >= 1
    nan = arrays | {"logits": np.full_like(arrays["logits"], np.nan)}
    assert not verify_record(save(tmp_path / "r.npz", meta, nan)).outputs[0].ok
    short = arrays | {"logits": arrays["logits"][:, 1:]}
    assert not verify_record(save(tmp_path / "r.npz", meta, short)).outputs[0].ok


def test_a_missing_weight_is_named(tmp_path, record):
    meta, arrays = record
    fewer = {name: array for name, array in arrays.items() if not name.endswith("layers.1.fc2.bias")}
    with pytest.raises(ValueError, match=r"missing from the checkpoint \(1\): mesh_decoder.model.layers.1.fc2.bias"):
        verify_record(save(tmp_path / "r.npz", meta, fewer))


META = {"model": "gendop_opt", "inputs": [], "outputs": []}


@pytest.mark.parametrize(
    "meta, message",
    [
        (META | {"model": "sora"}, "'sora', which has no replay; known: clatr, "),
        (META | {"outputs": ["y"]}, "names y, which the file does not hold"),
        (META, "lacks cond_embeds, input_ids, num_heads"),
        (META | {"inputs": ["x"], "model": "qwen3_vl_text", "config": {}}, "cannot use: x"),
        ({"model": "gendop_opt"}, "must be JSON with model, inputs and outputs"),
        ([1], "must be JSON with model, inputs and outputs"),
    ],
)
def test_bad_meta(tmp_path, meta, message):
    with pytest.raises(ValueError, match=message):
        verify_record(save(tmp_path / "r.npz", meta, {"x": np.zeros(1)}))


def test_not_a_record(tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        verify_record(tmp_path / "none.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match="cannot be read as the .npz record of a model: File is not a zip file"):
        verify_record(tmp_path / "text.npz")
    np.savez(tmp_path / "plain.npz", x=np.zeros(1))
    with pytest.raises(ValueError, match="no `meta` entry"):
        verify_record(tmp_path / "plain.npz")
    np.savez(tmp_path / "bad.npz", meta=np.array("{"))
    with pytest.raises(ValueError, match="must be JSON"):
        verify_record(tmp_path / "bad.npz")


def test_every_network_that_can_be_converted_has_a_replay():
    assert {NETWORKS[replay.network].kind for replay in REPLAYS.values()} == {net.kind for net in NETWORKS.values()}
