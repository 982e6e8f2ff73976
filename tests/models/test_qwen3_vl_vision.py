"""Qwen3-VL with images: the records of transformers, padding that changes nothing, cached prompts, and gradients."""

import json
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import Execution, Qwen3VLConfig, Qwen3VLTextConfig, Qwen3VLVisionConfig
from shotverse_jax.conversion import core
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.conversion.verify import verify_record
from shotverse_jax.inputs.qwen3_vl import arrange, pack
from shotverse_jax.models.qwen3_vl import Qwen3VL, Qwen3VLText
from shotverse_jax.models.qwen3_vl_vision import Qwen3VLVision, interpolate, patch_places

VISION = Qwen3VLVisionConfig(
    hidden_size=24,
    num_layers=4,
    num_heads=2,
    mlp_size=40,
    out_size=32,
    patch_size=2,
    position_grid=5,
    deepstack_layers=(0, 2),
)
TEXT = Qwen3VLTextConfig(
    vocab_size=64,
    hidden_size=32,
    num_layers=3,
    num_heads=2,
    num_kv_heads=1,
    head_dim=16,
    mlp_size=48,
    mrope_section=(4, 2, 2),
)
CONFIG = Qwen3VLConfig(TEXT, VISION, image_token=60, video_token=61)
GRIDS = [(1, 4, 6), (2, 4, 2)]
IDS = np.array([[5, 6, 62, *[60] * 6, 63, 7, 62, 61, 61, 63, 8, 62, 61, 61, 63, 9, 10]])


@pytest.fixture(scope="module")
def variables():
    rng = np.random.default_rng(0)
    abstract = NETWORKS["qwen3-vl"].abstract(CONFIG)
    return {"params": jax.tree.map(lambda x: 0.2 * rng.normal(size=x.shape).astype(np.float32), abstract)}


@pytest.fixture(scope="module")
def rows_NP():
    return np.random.default_rng(1).normal(size=(40, VISION.patch_values)).astype(np.float32)


def run(variables, rows_NP, execution=None, **room):
    pixels_FSP, size_F2 = pack(rows_NP, GRIDS, VISION, **room)
    places = arrange(IDS, GRIDS, CONFIG, pixels_FSP.shape[1])
    model = Qwen3VL(CONFIG, execution or Execution())
    return jax.jit(model.apply)(variables, IDS, pixels_FSP, size_F2, places.feature_BT, places.positions_3BT)


@pytest.fixture(scope="module")
def plain(variables, rows_NP):
    return run(variables, rows_NP)


def golden_record(reference, path, change=lambda arrays: arrays):
    """The multimodal record of transformers in the form that `verify_record` replays."""
    folder = reference / "golden" / "qwen3vl_tiny"
    record = core.read_safetensors(folder / "io.safetensors")
    names = {
        "input_ids": "mm.input_ids",
        "pixel_values": "vis.pixel_values",
        "image_grid_thw": "vis.grid_thw",
        "position_ids": "mm.position_ids",
        "rope_delta": "mm.rope_delta",
        "vision_last_hidden": "vis.last_hidden",
        "vision_merged": "vis.merged",
        "vision_deepstack_0": "vis.deepstack_0",
        "vision_deepstack_1": "vis.deepstack_1",
        "logits": "mm.logits",
    }
    arrays = change({ours: record[theirs] for ours, theirs in names.items()})
    params = core.read_safetensors(folder / "tiny")
    meta = {
        "model": "qwen3_vl",
        "config": json.loads((folder / "tiny" / "config.json").read_text()),
        "inputs": list(names)[:3],
        "outputs": list(names)[3:],
    }
    weights = {f"param/{name}": tensor for name, tensor in params.items()}
    np.savez(path, **arrays, **weights, meta=np.array(json.dumps(meta)))
    return path


def test_golden_images_and_text(reference, tmp_path):
    report = verify_record(golden_record(reference, tmp_path / "record.npz"), tol=1e-5)
    assert report.ok, report
    assert len(report.outputs) == 7 and all(o.max_abs < 1e-5 for o in report.outputs), report


def test_another_picture_fails_the_record(reference, tmp_path):
    def change(arrays):
        return arrays | {"pixel_values": arrays["pixel_values"] + 0.01 * (np.arange(56) == 50)[:, None]}

    report = verify_record(golden_record(reference, tmp_path / "record.npz", change), tol=1e-5)
    assert [o.name for o in report.outputs if o.ok] == ["position_ids", "rope_delta"]


def test_padding_changes_nothing(variables, rows_NP, plain):
    np.testing.assert_allclose(run(variables, rows_NP, patches=28, frames=5), plain, atol=1e-5)


def test_forms_of_execution_agree(variables, rows_NP, plain):
    np.testing.assert_allclose(run(variables, rows_NP, Execution(unroll=True)), plain, atol=1e-5)
    rounded = run(variables, rows_NP, Execution(dtype="bfloat16"))
    assert rounded.dtype == jnp.bfloat16
    assert np.sqrt(np.mean((np.asarray(rounded, np.float32) - plain) ** 2)) < 0.05 * np.std(plain)


def test_frames_do_not_see_each_other(variables, rows_NP):
    vision = jax.jit(Qwen3VLVision(VISION).apply)
    params = {"params": variables["params"]["vision"]}
    before = vision(params, *pack(rows_NP, GRIDS, VISION))
    other = rows_NP.copy()
    other[24:32] += 1.0  # the first of two frames of the video
    after = vision(params, *pack(other, GRIDS, VISION))
    for name in ("last_FSD", "merged_FMD"):
        changed = np.abs(np.asarray(getattr(after, name)) - getattr(before, name)).max(axis=(1, 2))
        np.testing.assert_array_equal(changed > 0, [False, True, False])


def test_deepstack_reaches_the_text(variables, rows_NP, plain):
    """Zero features of the earlier blocks give other states at the images and after, and the same before."""
    merger = variables["params"]["vision"]["deepstack_mergers"] | {
        "linear_fc2": jax.tree.map(np.zeros_like, variables["params"]["vision"]["deepstack_mergers"]["linear_fc2"])
    }
    vision = variables["params"]["vision"] | {"deepstack_mergers": merger}
    without = run({"params": variables["params"] | {"vision": vision}}, rows_NP)
    differs = np.abs(np.asarray(without - plain)).max(axis=(0, 2)) > 1e-4
    np.testing.assert_array_equal(differs, np.arange(IDS.shape[1]) >= 3)


def test_a_prompt_with_images_in_the_cache(variables, rows_NP, plain):
    model, text = Qwen3VL(CONFIG), Qwen3VLText(TEXT)
    pixels_FSP, size_F2 = pack(rows_NP, GRIDS, VISION)
    places = arrange(IDS, GRIDS, CONFIG, pixels_FSP.shape[1])
    embed, extend = (jax.jit(partial(m.apply, method=name)) for m, name in ((model, "embed"), (text, "extend")))
    x_BTD, deepstack_KBTD = embed(variables, IDS, pixels_FSP, size_F2, places.feature_BT)
    params, cut = {"params": variables["params"]["text"]}, IDS.shape[1] - 1
    cache = text.apply(params, 1, 32, method="empty_cache")
    whole, cut_3BT = deepstack_KBTD[:, :, :cut], places.positions_3BT[..., :cut]
    first, cache = extend(params, x_BTD[:, :cut], cache, 0, cut_3BT, None, whole)
    next_3BT = np.broadcast_to(cut + places.delta_B, (3, 1, 1))
    last, _ = extend(params, x_BTD[:, cut:], cache, cut, next_3BT)
    np.testing.assert_allclose(jnp.concatenate([first, last], axis=1), plain, atol=1e-5)


def test_gradients_with_remat_and_empty_frames(variables, rows_NP):
    def loss(variables, execution, room):
        return jnp.sum(jnp.sin(run(variables, rows_NP, execution, **room)))

    grad = jax.grad(loss)
    plain = grad(variables, Execution(), {})
    other = grad(variables, Execution(remat="full"), {"patches": 32, "frames": 4})
    for a, b in zip(jax.tree.leaves(plain), jax.tree.leaves(other), strict=True):
        assert np.abs(a).max() > 0
        np.testing.assert_allclose(a, b, atol=1e-5 * np.abs(a).max())


def test_patch_places():
    row_FS, column_FS = patch_places(np.array([[2, 4], [4, 2]]), 8, 2)
    np.testing.assert_array_equal(row_FS, [[0, 0, 1, 1, 0, 0, 1, 1], [0, 0, 1, 1, 2, 2, 3, 3]])
    np.testing.assert_array_equal(column_FS, [[0, 1, 0, 1, 2, 3, 2, 3], [0, 1, 0, 1, 0, 1, 0, 1]])


@pytest.mark.parametrize("height, width", [(5, 5), (8, 2), (1, 6), (4, 3)])
def test_interpolated_positions(height, width):
    """Corner on corner, against numpy's one-dimensional interpolation of rows, then of columns."""
    table = np.random.default_rng(0).normal(size=(25, 3))
    row, column = np.divmod(np.arange(height * width), width)
    ours = interpolate(jnp.asarray(table), row[None], column[None], np.array([[height, width]]))[0]
    rows, columns = (np.arange(n) * 4 / max(n - 1, 1) for n in (height, width))
    square = table.reshape(5, 5, 3)
    for c in range(3):
        tall = np.stack([np.interp(rows, np.arange(5), square[:, j, c]) for j in range(5)], axis=1)
        expected = np.stack([np.interp(columns, np.arange(5), line) for line in tall])
        np.testing.assert_allclose(ours[:, c].reshape(height, width), expected, atol=1e-6)


def test_the_tower_refuses_other_patches(variables):
    params = {"params": variables["params"]["vision"]}
    for patches, values in ((6, VISION.patch_values), (8, 12)):
        with pytest.raises(ValueError, match=f"multiple of 4 patches with 24 values each, got {patches} with {values}"):
            Qwen3VLVision(VISION).apply(params, np.zeros((1, patches, values)), np.array([[2, 2]]))
