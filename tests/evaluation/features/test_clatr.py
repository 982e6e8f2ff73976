"""CLaTr's features against a slow reading of their definition, and the way from converted files to latents."""

import dataclasses

import jax
import numpy as np
import pytest
from safetensors.numpy import save_file

from shotverse_jax import cli, weights
from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import CLaTrConfig, CLIPTextConfig
from shotverse_jax.conversion import clatr as clatr_files
from shotverse_jax.conversion import clip as clip_files
from shotverse_jax.conversion import core
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.evaluation.features import clatr
from shotverse_jax.evaluation.metrics.clatr_score import clatr_score
from shotverse_jax.inputs.clip import tokenize
from shotverse_jax.models.clatr import CLaTr
from shotverse_jax.models.clip import CLIPText


def path(frames=120, seed=0, shots=1):
    rng = np.random.default_rng(seed)
    turn, go = rng.normal(0, 0.02, (2, frames, 3)).cumsum(axis=1)
    pose_T34 = np.concatenate([se3.so3_exp(turn), go[..., None]], axis=-1)
    return Trajectory(pose_T34, [500.0, 500.0, 256.0, 256.0], 512, 512, np.arange(frames) * shots // frames)


def test_features_by_their_definition():
    trajectory = path()
    axes = np.diag([1.0, -1.0, -1.0, 1.0])  # OpenCV to OpenGL camera
    pose_T44 = se3.to_44(trajectory.pose_T34) @ axes
    rows, before = [], np.zeros(3)
    for pose in np.linalg.inv(pose_T44[0]) @ pose_T44:
        rows.append([*pose[:3, 0], *pose[:3, 1], *(pose[:3, 3] - before)])
        before = pose[:3, 3]
    ours = clatr.trajectory_features(trajectory)
    assert ours.shape == (120, 9) and ours.dtype == np.float32
    np.testing.assert_allclose(ours, rows, atol=1e-6)
    np.testing.assert_allclose(ours[0], [1, 0, 0, 0, 1, 0, 0, 0, 0], atol=1e-6)


def test_features_do_not_know_the_world_and_are_of_120_frames():
    trajectory = path(61)
    moved = trajectory.moved(path(seed=5).pose_T34[50])
    ours = clatr.trajectory_features(trajectory)
    np.testing.assert_allclose(clatr.trajectory_features(moved), ours, atol=1e-6)
    every_T34 = se3.resample(trajectory.pose_T34, np.linspace(0, 60, 120))
    resampled = dataclasses.replace(
        trajectory, pose_T34=every_T34, shot_T=np.zeros(120, int), intrinsics_T4=[1, 1, 1, 1]
    )
    np.testing.assert_allclose(clatr.trajectory_features(resampled), ours, atol=1e-6)
    with pytest.raises(ValueError, match="CLaTr reads one shot, got 2"):
        clatr.trajectory_features(path(shots=2))


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Converted folders of a small CLaTr and of a small text tower."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    root, rng = tmp_path_factory.mktemp("clatr"), np.random.default_rng(0)
    tower = CLIPTextConfig(vocab_size=12, hidden_size=16, num_layers=2, num_heads=2, mlp_size=20, max_positions=9)
    config = CLaTrConfig(hidden_size=16, num_layers=2, num_heads=4, mlp_size=24, text_size=16)
    parts = {
        "clatr": (clatr_files.TABLE, NETWORKS["clatr"].abstract(config)),
        "clip-text": (clip_files.TEXT_TABLE, NETWORKS["clip-text"].abstract(tower)),
    }
    words = ["!", "<|startoftext|>", "<|endoftext|>", "pan", "left", "right"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, unk_token="!"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.save(str(root / "tokenizer.json"))
    values = {"text_config": {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}}
    values["text_config"] |= {"vocab_size": 12, "intermediate_size": 20, "max_position_embeddings": 9}
    (root / "config.json").write_text(str(values).replace("'", '"'))
    for name, (table, abstract) in parts.items():
        params = jax.tree.map(lambda leaf: rng.normal(0, 0.3, leaf.shape).astype(np.float32), abstract)
        save_file(core.to_torch(table, params), root / f"{name}.safetensors")
        given = ["--tokenizer", str(root / "tokenizer.json")] if name == "clip-text" else []
        source = str(root / f"{name}.safetensors")
        assert cli.main(["convert", source, "--as", name, "--out", str(root / name), "--quiet", *given]) == 0
    return root


def test_from_converted_files_to_a_score(folders):
    config, params, _ = weights.load("clatr", folders / "clatr")
    tower = weights.load("clip_text", folders / "clip-text")
    assert tower[0].activation == "quick_gelu" and config.text_size == 16
    trajectories = [path(seed=i) for i in range(3)]
    captions = ["pan left", "pan right", "left left right pan"]
    traj_ND = clatr.trajectory_latents(config, params, trajectories)
    text_ND = clatr.text_latents(config, params, tower, captions)
    assert traj_ND.shape == text_ND.shape == (3, 16)

    ids_NT, real_NT = tokenize(tower[2], captions, 9)
    length = int(real_NT[0].sum())
    states_1TD = jax.jit(CLIPText(tower[0]).apply)({"params": tower[1]}, ids_NT[:1, :length], real_NT[:1, :length])
    features_1TC = clatr.trajectory_features(trajectories[0])[None]
    ones = np.ones((1, 120), bool), np.ones((1, length), bool)
    read = jax.jit(CLaTr(config).apply)({"params": params}, features_1TC, ones[0], states_1TD, ones[1])
    np.testing.assert_allclose(traj_ND[0], read.traj.mu_BD[0], atol=1e-5)
    np.testing.assert_allclose(text_ND[0], read.text.mu_BD[0], atol=1e-5)
    assert 0 <= clatr_score(traj_ND, text_ND)["clatr_score"] <= 100


def test_a_tower_of_another_width(folders):
    config, params, _ = weights.load("clatr", folders / "clatr")
    tower = weights.load("clip_text", folders / "clip-text")
    with pytest.raises(ValueError, match="CLaTr reads texts of 512 numbers a token, this tower makes 16"):
        clatr.text_latents(dataclasses.replace(config, text_size=512), params, tower, ["pan"])
