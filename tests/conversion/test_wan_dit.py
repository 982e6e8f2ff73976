"""The expert's converter: both spellings, there and back; what it refuses; replays of the original programs."""

import json
from dataclasses import replace

import jax
import numpy as np
import pytest

from shotverse_jax.config import WanDiTConfig
from shotverse_jax.conversion import wan_dit
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.conversion.verify import verify_record
from shotverse_jax.models.wan_dit import WanDiT

CONFIG = WanDiTConfig(
    hidden_size=24, num_layers=2, num_heads=2, mlp_size=40, frequency_size=8, text_size=10, latent_channels=4
)
RECORDS = {
    "holocine_full_3shots": "holocine_dit",
    "holocine_sparse_3shots": "holocine_dit",
    "holocine_full_no_text_ranges": "holocine_dit",
    "shotverse_controller_3shots": "shotverse_controller",
}


def random_params(config, seed=0):
    rng = np.random.default_rng(seed)
    return jax.tree.map(
        lambda leaf: rng.normal(size=leaf.shape).astype(np.float32), NETWORKS["wan-dit"].abstract(config)
    )


def assert_same(ours, theirs):
    jax.tree.map(np.testing.assert_array_equal, ours, theirs)


@pytest.mark.parametrize("style", ["wan", "diffusers"])
def test_there_and_back(style):
    params = random_params(CONFIG)
    tensors = NETWORKS["wan-dit"].to_torch(params, CONFIG, style)
    assert len(tensors) == 2 * (27 + 2) + 15  # of a block, its camera encoder, and the rest
    assert_same(NETWORKS["wan-dit"].from_torch(tensors, CONFIG), params)
    assert wan_dit.config_from_tensors(tensors, num_heads=2) == CONFIG


def test_names_and_shapes_are_those_of_the_released_experts():
    """14,288,491,584 parameters in 1,095 tensors; nothing is allocated."""
    abstract = NETWORKS["wan-dit"].abstract(WanDiTConfig(camera=False), "bfloat16")
    assert sum(leaf.size for leaf in jax.tree.leaves(abstract)) == 14_288_491_584
    entries = wan_dit.table(WanDiTConfig(camera=False)).entries
    assert sum(40 if entry.stacked else 1 for entry in entries) == 1_095
    small = replace(CONFIG, camera=False)
    wan, theirs = (NETWORKS["wan-dit"].to_torch(random_params(small), small, style) for style in ("wan", "diffusers"))
    assert wan["patch_embedding.weight"].shape == (24, 4, 1, 2, 2)
    assert wan["blocks.1.modulation"].shape == (1, 6, 24) and wan["head.modulation"].shape == (1, 2, 24)
    assert wan["blocks.1.ffn.0.weight"].shape == (40, 24)
    np.testing.assert_array_equal(wan["blocks.1.norm3.weight"], theirs["blocks.1.norm2.weight"])
    np.testing.assert_array_equal(wan["blocks.0.cross_attn.o.bias"], theirs["blocks.0.attn2.to_out.0.bias"])


def test_what_does_not_fit_is_named():
    tensors = NETWORKS["wan-dit"].to_torch(random_params(CONFIG), CONFIG)
    fewer = {name: tensor for name, tensor in tensors.items() if name != "blocks.1.norm3.bias"}
    with pytest.raises(ValueError, match=r"missing from the checkpoint \(1\): blocks.1.norm3.bias"):
        NETWORKS["wan-dit"].from_torch(fewer, CONFIG)
    with pytest.raises(ValueError, match="shot_embedding"):
        NETWORKS["wan-dit"].from_torch(tensors | {"shot_embedding.weight": np.zeros((20, 24), np.float32)}, CONFIG)
    with pytest.raises(ValueError, match="not a Wan transformer: patch_embedding.weight"):
        wan_dit.config_from_tensors({"lm_head.weight": np.zeros((2, 2))})


@pytest.mark.parametrize("name", RECORDS)
def test_a_record_replays(reference, name, record_property):
    """Original HoloCine in float32, and ShotVerse's camera and 4D RoPE built on it."""
    report = verify_record(reference / "golden" / f"{name}.npz", tol=1e-4)
    assert report.model == RECORDS[name] and [output.name for output in report.outputs] == ["output"]
    record_property("parity", (f"velocity, {RECORDS[name]}", report.outputs[0].max_rel_rms))
    assert report.ok and 0 < report.outputs[0].max_rel_rms < 1e-4, report


@pytest.mark.parametrize(
    "name, change",
    [
        ("holocine_full_3shots", {"text_shot_positions": [[8, 11], [13, 15], [17, 18]]}),
        ("holocine_sparse_3shots", {"sparse_inter_shot_attention": False}),
        ("shotverse_controller_3shots", {"rope": "wan3d"}),
    ],
)
def test_a_record_of_another_program_does_not(reference, tmp_path, name, change):
    with np.load(reference / "golden" / f"{name}.npz") as file:
        arrays = {key: file[key] for key in file.files}
    meta = json.loads(str(arrays.pop("meta"))) | change
    np.savez(tmp_path / "record.npz", **arrays, meta=np.array(json.dumps(meta)))
    assert not verify_record(tmp_path / "record.npz", tol=1e-4).ok


# ----------------------------------------------------------------------------- records that a test makes for itself


def save_record(path, config, mask_BKS=None, camera=False, **meta):
    """A record of one pass of 4 latent frames, shots of 2 and 2, and a text of 30 places."""
    rng = np.random.default_rng(5)
    params = jax.tree.map(
        lambda leaf: 0.3 * rng.normal(size=leaf.shape).astype(np.float32), NETWORKS["wan-dit"].abstract(config)
    )
    latents_BTHWC = rng.normal(size=(1, 4, 4, 6, 4)).astype(np.float32)
    inputs = {
        "latents": np.moveaxis(latents_BTHWC, -1, 1),
        "timestep": np.array([500.0], np.float32),
        "context": rng.normal(size=(1, 30, 10)).astype(np.float32),
        "shot_indices": np.array([[0, 0, 1, 1]]),
    }
    pose_BT34 = rng.normal(size=(1, 4, 3, 4)).astype(np.float32) if camera else None
    velocity_BTHWC = WanDiT(config).apply(
        {"params": params},
        latents_BTHWC,
        *list(inputs.values())[1:],
        mask_BKS,
        pose_BT34.reshape(1, 4, 12) if camera and config.camera else None,
    )
    inputs |= {"camera_c2w": pose_BT34} if camera else {}
    meta = {
        "model": "holocine_dit",
        "inputs": list(inputs),
        "outputs": ["output"],
        "num_heads": 2,
        "eps": 1e-6,
        "text_global_positions": None,
        "text_shot_positions": [],
        "sparse_inter_shot_attention": False,
    } | meta
    arrays = inputs | {f"param/{name}": weight for name, weight in NETWORKS["wan-dit"].to_torch(params, config).items()}
    np.savez(path, **arrays, output=np.moveaxis(velocity_BTHWC, -1, 1), meta=np.array(json.dumps(meta)))
    return path


def test_windows_of_one_token_replay(tmp_path):
    """HoloCine includes both ends of a window, so [26, 26] is token 26, and [7, 7] of all shots is token 7."""
    windows = [7, 7], [[20, 25], [26, 26]]

    def seen(shot, place):
        spans = windows[0], windows[1][shot]
        return any(start <= place <= end for start, end in spans) or place >= 26 + 1

    mask_BKS = np.array([[[seen(shot, place) for place in range(30)] for shot in range(2)]])
    config = replace(CONFIG, camera=False, rope="wan3d")
    meta = {"text_global_positions": windows[0], "text_shot_positions": windows[1]}
    report = verify_record(save_record(tmp_path / "record.npz", config, mask_BKS, **meta), tol=1e-5)
    assert report.ok, report
    mask_BKS[0, 1, 26] = False
    assert not verify_record(save_record(tmp_path / "record.npz", config, mask_BKS, **meta)).ok


@pytest.mark.parametrize("camera", [True, False])
def test_controllers_replay_with_a_camera_and_without(tmp_path, camera):
    """ShotVerse conditions the expert of high noise on the camera, and that of low noise not."""
    config = replace(CONFIG, camera=camera)
    meta = {"model": "shotverse_controller", "rope": config.rope}
    report = verify_record(save_record(tmp_path / "record.npz", config, camera=camera, **meta), tol=1e-5)
    assert report.ok, report


def test_cameras_and_camera_encoders_go_together(tmp_path):
    meta = {"model": "shotverse_controller", "rope": CONFIG.rope}
    other = save_record(tmp_path / "record.npz", replace(CONFIG, camera=False), camera=True, **meta)
    with pytest.raises(ValueError, match="have no camera encoders .* to read the input camera_c2w"):
        verify_record(other)
    record = save_record(tmp_path / "record.npz", CONFIG, camera=True, **meta)
    with np.load(record) as file:
        arrays = {name: file[name] for name in file.files}
    meta = json.loads(str(arrays.pop("meta")))
    meta["inputs"].remove("camera_c2w")
    np.savez(record, **arrays, meta=np.array(json.dumps(meta)))
    with pytest.raises(ValueError, match="have camera encoders .* so the record needs the input camera_c2w"):
        verify_record(record)
