"""GenDoP's tokens around the subject (VERTIGO's world): what they hold, how near they come, and what is refused."""

import dataclasses
import functools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from shotverse_jax.camera import se3
from shotverse_jax.camera.tokens.gendop import BOS, EOS, FIRST_BIN, GenDoPTokenizer, sequence_length
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import GenDoPConfig, GenDoPTokenConfig, from_dict, vertigo_tokens
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.stage.review import framed

OURS = GenDoPTokenConfig(
    world="origin_global",
    anchor="tokens",
    bins="centre",
    translation_mean=(0.1, -0.2, 0.3),
    translation_scale=(2.5, 1.5, 3.0),
    anchor_mean=(0.0, 0.4, -0.1),
    anchor_scale=(6.0, 3.0, 7.0),
)
AXES = np.diag([1.0, -1.0, -1.0])


def around(config, rng, frames=120):
    """A shot whose translations and first position are all within the bins, in any world, with a lens that zooms."""
    first_3 = config.anchor_mean + rng.uniform(-1, 1, 3) * config.anchor_scale
    knots_K3 = rng.uniform(-1, 1, (5, 3)) * 0.9 * np.subtract(config.translation_scale, np.abs(config.translation_mean))
    knots_K3[0] = 0
    knots = se3.make(Rotation.random(5, random_state=rng.integers(2**31)).as_matrix(), first_3 + knots_K3)
    # These are OpenGL poses around the subject; the stage is anywhere, and its floor is below the subject.
    path = se3.resample(knots, np.linspace(0, 4, frames))
    stage_34 = se3.make(se3.so3_exp(rng.normal(size=3)), rng.normal(size=3))
    origin_34 = se3.compose(stage_34, se3.make(np.eye(3), np.array([0.0, -config.origin_height, 0.0])))
    opencv = se3.make(AXES @ path[:, :, :3] @ AXES, path[:, :, 3] @ AXES)
    lens_T4 = np.stack([np.linspace(300, 900, frames), np.full(frames, 500.0), *np.full((2, frames), 200.0)], axis=1)
    return path, Trajectory(
        se3.compose(origin_34, opencv), lens_T4, 512, 400, np.zeros(frames, np.int32), stage_34=stage_34
    )


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_round_trip_with_centres(seed):
    """A rotation is within 0.9°, a translation within half a bin on every axis, and so is the first position."""
    path, trajectory = around(OURS, np.random.default_rng(seed))
    tokenizer = GenDoPTokenizer(OURS)
    ids = tokenizer.encode(trajectory)
    assert ids.shape == (sequence_length(OURS),) == (305,) and ids[0] == BOS and ids[-1] == EOS
    tokens, path = tokenizer.parse(ids), path[::4]
    found = se3.make(AXES @ tokens.pose_T34[:, :, :3] @ AXES, tokens.pose_T34[:, :, 3] @ AXES)
    assert np.degrees(se3.rotation_angle(se3.relative(found, path)[..., :3])).max() < 0.9
    half = np.asarray(OURS.translation_scale) / 256
    assert (np.abs(found[:, :, 3] - (path[:, :, 3] - path[0, :, 3])) <= half + 1e-6).all()
    anchor_3 = (path[0, :, 3] - OURS.anchor_mean) / OURS.anchor_scale
    assert np.abs(tokens.anchor_3 - anchor_3).max() <= 1 / 256 + 1e-6
    assert np.abs(tokens.lens_T2 - trajectory.intrinsics_T4[::4, :2] / (512, 400)).max() <= 10 / 512 + 1e-6

    decoded = tokenizer.decode(ids, first_camera=False, width=512, height=400)
    seen, expected = (se3.relative(each.stage_34, each.pose_T34)[0, :, 3] for each in (decoded, trajectory))
    assert (np.abs(seen - expected) <= half + np.asarray(OURS.anchor_scale) / 256 + 1e-6).all()
    np.testing.assert_allclose(decoded.stage_34[:, 3], [0, OURS.origin_height, 0])
    # The lens of every frame is that of its own pose.
    assert decoded.intrinsics_T4[0, 0] < 0.4 * decoded.intrinsics_T4[-1, 0]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31))
def test_centres_in_the_world_of_the_first_camera(seed):
    """The published form with centres: half the errors, and the scale exact to a bin."""
    rng = np.random.default_rng(seed)
    _, trajectory = around(OURS, rng)
    tokenizer = GenDoPTokenizer(GenDoPTokenConfig(bins="centre"))
    ids = tokenizer.encode(trajectory)
    tokens = tokenizer.parse(ids)
    np.testing.assert_array_equal(ids, GenDoPTokenizer(GenDoPTokenConfig()).encode(trajectory))
    pose = se3.relative(trajectory.pose_T34[0], trajectory.pose_T34[::4])
    scale = np.linalg.norm(pose[:, :, 3], axis=1).max() + 1e-5
    assert np.degrees(se3.rotation_angle(se3.relative(tokens.pose_T34, pose)[..., :3])).max() < 0.9
    assert np.abs(tokens.pose_T34[:, :, 3] - pose[:, :, 3] / scale).max() <= 1 / 256 + 1e-6
    assert abs(tokens.log_scale - np.log10(scale)) <= 1 / 128 + 1e-6
    np.testing.assert_allclose(tokenizer.decode(ids).scale, 10**tokens.log_scale)


def test_bins_are_those_of_an_independent_reckoning():
    """VERTIGO's own form, step by step with scipy's quaternions, on files whose world is the subject's."""
    config, rng = vertigo_tokens(), np.random.default_rng(0)
    for _ in range(5):
        path, trajectory = around(config, rng)
        file = dataclasses.replace(trajectory, pose_T34=se3.flip_yz(path), stage_34=None)
        rows = []
        for place_3, turn, lens_4 in zip(path[::4, :, 3], path[::4, :, :3], file.intrinsics_T4[::4], strict=True):
            x, y, z, w = Rotation.from_matrix(turn).as_quat(canonical=True)
            moved = (place_3 - path[0, :, 3] - config.translation_mean) / config.translation_scale
            values = [(v + 1) / 2 for v in (w, x, y, z, *moved)] + [lens_4[0] / 512 / 10, lens_4[1] / 400 / 10, 0.5]
            rows.append([min(max(v * 256, 0), 256) for v in values])
        place = np.asarray(rows)
        exact = np.abs(place - np.round(place)) > 1e-3
        exact[:, 9] = True
        ids = GenDoPTokenizer(config).encode(file)
        np.testing.assert_array_equal((ids[1:-1].reshape(30, 10) - FIRST_BIN)[exact], np.floor(place)[exact])
        # A path that knows its stage gives the same as a file in the subject's world.
        np.testing.assert_array_equal(
            GenDoPTokenizer(config).encode(trajectory)[1:-1].reshape(30, 10)[exact], ids[1:-1].reshape(30, 10)[exact]
        )
        view = GenDoPTokenizer(config).first_view(trajectory)
        np.testing.assert_allclose(view.anchor_3 * config.anchor_scale + config.anchor_mean, path[0, :, 3], atol=1e-5)
        np.testing.assert_allclose(view.rotation_33, path[0, :, :3], atol=1e-6)
        np.testing.assert_allclose(view.lens_4, [300 / 512, 1.25, 200 / 512, 0.5], atol=1e-6)


@functools.cache
def examples():
    return [sample_example(seed, num_shots=1) for seed in range(20)]


def test_the_subject_of_the_stage_keeps_its_place():
    """A plan that is read back has its subject where it was, to a few hundredths of a metre, and in the picture."""
    tokenizer = GenDoPTokenizer(dataclasses.replace(OURS, translation_scale=(3.0, 3.0, 4.0), anchor_scale=(9.0,) * 3))
    for example in examples():
        path = example.trajectory
        fields = {"width": path.width, "height": path.height, "fps": path.fps}
        decoded = tokenizer.decode(tokenizer.encode(path), path.spans, **fields)
        np.testing.assert_allclose(decoded.pose_T34[0], np.eye(3, 4), atol=1e-12)
        true, found = (se3.relative(each.stage_34, each.pose_T34)[0] for each in (path, decoded))
        if np.abs(true[:, 3]).max() < 8.5:
            assert np.abs(true[:, 3] - found[:, 3]).max() < 0.06
            off = [framed(one, example.scene.subjects[0]).off.mean() for one in (decoded, path)]
            assert abs(off[0] - off[1]) < 0.15


def test_without_an_anchor_the_subject_is_not_known():
    trajectory = examples()[0].trajectory
    for anchor, length in (("none", 302), ("head", 302), ("tokens", 305)):
        tokenizer = GenDoPTokenizer(dataclasses.replace(OURS, anchor=anchor))
        ids = tokenizer.encode(trajectory)
        decoded = tokenizer.decode(ids)
        assert len(ids) == length and (decoded.stage_34 is None) == (anchor != "tokens")
        # What the network's head predicts is taken where the sequence itself does not say it.
        if anchor == "head":
            known = tokenizer.decode(ids, anchor_3=tokenizer.first_view(trajectory).anchor_3)
            true, found = (se3.relative(each.stage_34, each.pose_T34)[0] for each in (trajectory, known))
            assert np.abs(true - found).max() < 0.02
            np.testing.assert_allclose(known.pose_T34, decoded.pose_T34, atol=1e-12)


def test_what_is_refused():
    trajectory = dataclasses.replace(examples()[0].trajectory, stage_34=None)
    with pytest.raises(ValueError, match="where the subject is, the stage pose, but this trajectory has none"):
        GenDoPTokenizer(OURS).encode(trajectory)
    with pytest.raises(ValueError, match="needs the world 'origin_global'"):
        GenDoPTokenConfig(anchor="head")
    with pytest.raises(ValueError, match="translation_scale"):
        dataclasses.replace(OURS, translation_scale=(1.0, 0.0, 1.0))
    published = GenDoPTokenizer(GenDoPTokenConfig()).encode(trajectory)
    with pytest.raises(ValueError, match="BOS, 3 values of the anchor, 300 pose values and EOS"):
        GenDoPTokenizer(OURS).parse(published)


def test_configs_of_old_folders_have_the_published_form():
    values = dataclasses.asdict(GenDoPConfig())
    del values["tokens"]
    assert from_dict(GenDoPConfig, values) == GenDoPConfig() and GenDoPConfig().tokens == GenDoPTokenConfig()
    hash(from_dict(GenDoPConfig, {"tokens": {"world": "origin_global", "anchor_mean": [1, 2, 3]}}))
