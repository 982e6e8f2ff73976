"""GenDoP's tokens against the original program's records and their own round trip."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial.transform import Rotation

from shotverse_jax.camera import se3
from shotverse_jax.camera.tokens.gendop import BOS, EOS, FIRST_BIN, GenDoPTokenizer
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import GenDoPTokenConfig

AXES = np.diag([1.0, -1.0, -1.0])
PUBLISHED = GenDoPTokenConfig()


def read(path):
    record = json.loads(path.read_text())
    pose_T34 = np.asarray([frame["transform_matrix"] for frame in record["frames"]])[:, :3]
    intrinsics = [record[key] for key in ("fl_x", "fl_y", "cx", "cy")]
    return single(se3.flip_yz(pose_T34), intrinsics, int(record["w"]), int(record["h"]))


def single(pose_T34, intrinsics=(400.0, 300.0, 256.0, 144.0), width=512, height=288):
    return Trajectory(pose_T34, intrinsics, width, height, np.zeros(len(pose_T34)))


def to_ids(bins):
    return np.concatenate([[BOS], np.asarray(bins).ravel() + FIRST_BIN, [EOS]])


def opengl(pose_T34):
    """OpenCV poses relative to the first camera as GenDoP writes them, in OpenGL axes on both sides."""
    return np.concatenate([AXES @ pose_T34[..., :3] @ AXES, AXES @ pose_T34[..., 3:]], axis=-1)


def test_bins_equal_the_original(reference):
    records = json.loads((reference / "golden/gendop_tokens.json").read_text())
    seen = 0
    for name, record in records.items():
        for path in (reference / "data/gendop").rglob(name):
            np.testing.assert_array_equal(GenDoPTokenizer(PUBLISHED).encode(read(path)), to_ids(record["tokens"]))
            seen += 1
    assert seen >= 5


@pytest.mark.parametrize("case", ["case1", "case2"])
def test_bins_of_datadop_cases(reference, case):
    record = np.load(reference / f"golden/gendop_tokens_{case}.npz")
    path = reference / f"data/gendop/assets/examples/text_rgbd/{case}_transforms_cleaning.json"
    ids = GenDoPTokenizer(PUBLISHED).encode(read(path))
    np.testing.assert_array_equal(ids, to_ids(record["bins"]))
    # Log10 of the scale, read back at the lower edge of its bin, 1/64 wide.
    assert 0 <= np.log10(record["scale"]) - GenDoPTokenizer(PUBLISHED).parse(ids).log_scale < 1 / 64


def test_decoding_equals_the_original(reference):
    """Poses, focal lengths and the resampled path, in the unit of GenDoP's prediction files; all six records."""
    records = json.loads((reference / "golden/gendop_tokens.json").read_text())
    for record in records.values():
        ids = to_ids(record["tokens"])
        tokens = GenDoPTokenizer(PUBLISHED).parse(ids)
        np.testing.assert_allclose(opengl(tokens.pose_T34), record["decoded_3x4"], atol=1e-6)
        # The original's path starts at its own first pose, ours has that camera as the world.
        path = GenDoPTokenizer(PUBLISHED, "none").decode(ids)
        frames = se3.compose(tokens.pose_T34[0], path.pose_T34[[0, 60, 119]])
        for got, frame in zip(opengl(frames), (0, 60, 119), strict=True):
            np.testing.assert_allclose(got.ravel(), record[f"resampled_frame_{frame}"], atol=2e-6)
        np.testing.assert_allclose(path.intrinsics_T4[0], record["decoded_intr"][:4], atol=1e-4)
        exp = GenDoPTokenizer(PUBLISHED, "exp").decode(ids)
        np.testing.assert_allclose(exp.scale, record["exp_scale"], rtol=1e-6)
        np.testing.assert_allclose(exp.pose_T34[:, :, 3], path.pose_T34[:, :, 3] * exp.scale, atol=1e-9)
        assert path.scale == 1.0


def reference_bins(trajectory):
    """Quaternions from scipy and plain double arithmetic; the path starts anywhere in the world."""
    pose = np.concatenate([trajectory.pose_T34, np.tile([[[0, 0, 0, 1.0]]], (120, 1, 1))], 1)
    pose = pose @ np.diag([1, -1, -1, 1])
    pose = np.linalg.inv(pose[0]) @ pose[::4]
    quaternion = Rotation.from_matrix(pose[:, :3, :3]).as_quat()[:, [3, 0, 1, 2]]
    quaternion = np.where(quaternion[:, :1] < 0, -quaternion, quaternion)
    scale = np.linalg.norm(pose[:, :3, 3], axis=1).max() + 1e-5
    fx, fy = trajectory.intrinsics_T4[0, :2]
    rows = []
    for q, t in zip(quaternion, pose[:, :3, 3] / scale, strict=True):
        places = [(v + 1) / 2 for v in (*q, *t)]
        places += [fx / trajectory.width / 10, fy / trajectory.height / 10, (np.log10(scale) + 2) / 4]
        rows.append([min(max(place * 256, 0), 256) for place in places])
    return np.asarray(rows)


@st.composite
def paths(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    size = 10 ** draw(st.floats(-1.5, 1.0))
    knots = se3.make(se3.so3_exp(rng.normal(size=(5, 3)) * 0.6), rng.normal(size=(5, 3)) * size)
    intrinsics = [*rng.uniform(100, 2800, 2), 256, 144]
    return single(se3.resample(knots, np.linspace(0, 4, 120)), intrinsics)


@settings(max_examples=30, deadline=None)
@given(paths())
def test_bins_are_floors(trajectory):
    bins = GenDoPTokenizer(PUBLISHED).encode(trajectory)[1:-1].reshape(30, 10) - FIRST_BIN
    place = reference_bins(trajectory)
    exact = np.abs(place - np.round(place)) > 1e-4  # rounding decides the few values on an edge
    np.testing.assert_array_equal(bins[exact], np.floor(place)[exact])


@settings(max_examples=30, deadline=None)
@given(paths())
def test_round_trip(trajectory):
    tokenizer = GenDoPTokenizer(PUBLISHED)
    tokens = tokenizer.parse(tokenizer.encode(trajectory))
    pose_T34 = se3.relative(trajectory.pose_T34[0], trajectory.pose_T34[::4])
    scale = np.linalg.norm(pose_T34[:, :, 3], axis=1).max() + 1e-5
    assert np.abs(tokens.pose_T34[:, :, 3] - pose_T34[:, :, 3] / scale).max() <= 1 / 128 + 1e-6
    # Four components off by up to 1/128 turn the quaternion by at most 2 asin(2/128).
    turn = se3.rotation_angle(se3.relative(tokens.pose_T34, pose_T34)[..., :3])
    assert np.degrees(turn).max() < np.degrees(2 * np.arcsin(2 / 128))
    decoded = tokenizer.decode(tokenizer.encode(trajectory), width=trajectory.width, height=trajectory.height)
    assert 10 ** (-1 / 64) - 1e-6 <= decoded.scale / scale <= 1 + 1e-6
    focal = decoded.intrinsics_T4[0, :2] - trajectory.intrinsics_T4[0, :2]
    assert (focal <= 1e-3).all() and (focal > -10 / 256 * 512 - 1e-3).all()
    np.testing.assert_allclose(decoded.pose_T34[0], np.eye(3, 4), atol=1e-12)


def test_static_short_and_single_frame_shots():
    for frames in (1, 2, 50, 300):
        ids = GenDoPTokenizer(PUBLISHED).encode(single(se3.identity((frames,))))
        assert ids.shape == (302,)
        decoded = GenDoPTokenizer(PUBLISHED).decode(ids, [(0, frames)])
        assert len(decoded) == frames
        np.testing.assert_allclose(decoded.pose_T34, se3.identity((frames,)), atol=1e-12)


def test_more_than_one_shot_is_refused():
    shots = Trajectory(se3.identity((4,)), [100, 100, 50, 50], 100, 100, [0, 0, 1, 1])
    with pytest.raises(ValueError, match="one shot"):
        GenDoPTokenizer(PUBLISHED).encode(shots)
    with pytest.raises(ValueError, match="one shot"):
        GenDoPTokenizer(PUBLISHED).decode(to_ids(np.full((30, 10), 200)), [(0, 5), (5, 10)])


@pytest.mark.parametrize(
    ("break_", "message"),
    [
        (lambda ids: ids[:-1], "EOS"),
        (lambda ids: ids[1:], "BOS"),
        (lambda ids: np.delete(ids, 5), "300 pose values"),
        (lambda ids: np.where(np.arange(302) == 7, 1, ids), "token 7 has id 1"),
        (lambda ids: np.where(np.arange(302) == 9, 260, ids), "token 9 has id 260"),
        (lambda ids: np.where(np.isin(np.arange(302), [11, 12, 13, 14]), 131, ids), "quaternion of pose 1"),
    ],
)
def test_broken_sequences_are_refused(break_, message):
    ids = GenDoPTokenizer(PUBLISHED).encode(single(se3.identity((120,))))
    GenDoPTokenizer(PUBLISHED).parse(ids)
    with pytest.raises(ValueError, match=message):
        GenDoPTokenizer(PUBLISHED).parse(break_(ids))
    with pytest.raises(ValueError, match="pred_scale"):
        GenDoPTokenizer(PUBLISHED, "log")
