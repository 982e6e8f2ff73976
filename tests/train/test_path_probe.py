"""The path probe's targets against the trajectory they came from, and what its loss reads."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.tokens.shotverse import PoseTokenizer
from shotverse_jax.config import PoseTokenConfig, planner_nano
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.train import path_probe

CONFIG = planner_nano()


@pytest.mark.parametrize(("num_shots", "stage"), [(1, "header"), (3, "header"), (2, "world")])
@pytest.mark.parametrize("path", ["world", "shot", "step"])
def test_targets_are_the_stage_and_the_path_as_the_shot_sees_them(num_shots, stage, path):
    config = dataclasses.replace(CONFIG, tokens=dataclasses.replace(CONFIG.tokens, origin=stage, path=path))
    tokenizer = PoseTokenizer(config.tokens)
    for seed in range(8):
        trajectory = sample_example(seed, num_shots=num_shots).trajectory
        ids = tokenizer.encode(trajectory)
        [target_KCP] = np.asarray(path_probe.path_targets(jnp.asarray(ids)[None], config, num_shots))
        for (start, end), target_CP in zip(trajectory.spans, target_KCP, strict=True):
            poses = se3.resample(trajectory.pose_T34, tokenizer.pose_frames(start, end))
            seen = se3.relative(poses[0], np.concatenate([trajectory.stage_34[None], poses[1:]]))
            if path == "step":
                steps = se3.compose(se3.inverse(poses[:-1]), poses[1:])
                seen[1:] = np.eye(3, 4) + len(steps) ** 0.5 * (steps - np.eye(3, 4))
            cell = tokenizer.parse(ids).scale / 256
            np.testing.assert_allclose(target_CP[:, :3] * path_probe.METRES, seen[:, :, 3], atol=4 * cell + 0.1)
            np.testing.assert_allclose(target_CP[:, 3:].reshape(-1, 3, 3), seen[:, :, :3], atol=0.03)


def test_loss_reads_the_codes_of_its_own_shot():
    probe = path_probe.init_probe(jax.random.key(0), CONFIG)
    tokenizer = PoseTokenizer(CONFIG.tokens)
    ids_BN = jnp.asarray(tokenizer.encode(sample_example(0, num_shots=2).trajectory))[None]
    codes = jax.random.normal(jax.random.key(1), (1, 2 * CONFIG.num_queries + 1, CONFIG.text.hidden_size))
    gradient = jax.grad(path_probe.path_loss, argnums=1)(probe, codes, ids_BN, CONFIG, 2)[0]
    used = np.abs(np.asarray(gradient)).max(axis=1) > 0
    assert used.tolist() == [True] * CONFIG.num_queries + [False] + [True] * CONFIG.num_queries


def test_other_codes_are_refused():
    for changes in ({"encoder": "none"}, {"tokens": PoseTokenConfig(poses="every")}):
        with pytest.raises(ValueError, match="path probe"):
            path_probe.init_probe(jax.random.key(0), dataclasses.replace(CONFIG, **changes))
