"""Motion tags against the original program's records and against a slow reading of the algorithm."""

import json
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from scipy.spatial.transform import Rotation

from shotverse_jax.camera import motion_tags, se3
from shotverse_jax.camera.motion_tags import Segment
from shotverse_jax.camera.trajectory import Trajectory

# Readers of the camera files, no more than these tests need.


def read_re10k(path):
    """RealEstate10K text: a URL, then rows of 7 values and a world-to-camera 3x4 matrix, OpenCV."""
    rows = [line.split() for line in path.read_text().splitlines()[1:] if line.strip()]
    return se3.inverse(np.asarray(rows, np.float64)[:, 7:].reshape(-1, 3, 4))


def read_motionctrl(path):
    return se3.inverse(np.asarray(json.loads(path.read_text()), np.float64).reshape(-1, 3, 4))


def read_recammaster(path, camera, stride):
    """Unreal row-vector matrices in centimetres → OpenCV camera axes in a left-handed world."""
    frames = json.loads(path.read_text())
    poses = []
    for index in range(0, len(frames), stride):
        rows = frames[f"frame{index}"][camera].strip().strip("[]").split("] [")
        matrix = np.asarray([row.split() for row in rows], np.float64).T[:, [1, 2, 0, 3]]
        matrix[:, 1] *= -1
        matrix[:3, 3] /= 100
        poses.append(matrix[:3])
    return np.stack(poses)


def read_gendop(path):
    """DataDoP's json: OpenGL camera-to-world."""
    return np.asarray([f["transform_matrix"] for f in json.loads(path.read_text())["frames"]], np.float64)[:, :3]


def read_named(root, name):
    source, rest = name.split("/", 1)
    if source == "CamI2V":
        return read_re10k(root / "cami2v/camera_pose_files" / rest)
    if source == "CameraCtrl":
        return read_re10k(root / "cameractrl/pose_files" / rest)
    if source == "MotionCtrl":
        return read_motionctrl(root / "motionctrl" / rest)
    camera, stride = rest.split("/stride")
    return read_recammaster(root / "recammaster/camera_extrinsics.json", camera, int(stride))


def chunks(labels):
    return [[s.translation, s.rotation, s.start, s.end - 1, s.name] for s in motion_tags.segments(labels)]


# Records


def test_named_camera_files(reference):
    """Every named real camera file gets the tags of the original program."""
    records = json.loads((reference / "golden/named_tags.json").read_text())
    wrong, seen = {}, 0
    for name, record in records.items():
        try:
            pose_T34 = read_named(reference / "data/trajectories", name)
        except FileNotFoundError:
            continue
        seen += 1
        assert len(pose_T34) == record["n_frames"], name
        if (got := chunks(motion_tags.tag_labels(pose_T34))) != record["chunks"]:
            wrong[name] = (got, record["chunks"])
    assert not wrong
    assert seen >= 50


def test_label_lists(reference):
    """DataDoP's own trajectories, raw and scaled to unit extent, label by label."""
    records = json.loads((reference / "golden/metrics.json").read_text())["segments"]
    seen = 0
    for name, record in records.items():
        for path in (reference / "data/gendop").rglob(name):
            pose_T34 = read_gendop(path)
            np.testing.assert_array_equal(motion_tags.tag_labels(pose_T34, "opengl"), record["raw"])
            offset = pose_T34[:, :, 3] - pose_T34[0, :, 3]
            pose_T34[:, :, 3] = offset / np.linalg.norm(offset, axis=1).max()
            np.testing.assert_array_equal(motion_tags.tag_labels(pose_T34, "opengl"), record["scale1"])
            seen += 1
    assert seen >= 5


def test_caption_of_a_real_shot(reference):
    """The caption a language model wrote from the tags of case1 is what `describe` says."""
    folder = reference / "data/gendop/assets/examples/text_rgbd"
    shot = motion_tags.segments(
        motion_tags.tag_labels(read_gendop(folder / "case1_transforms_cleaning.json"), "opengl")
    )
    assert motion_tags.describe(shot) == json.loads((folder / "case1_caption.json").read_text())["Movement"]
    assert motion_tags.outline(shot) == (
        "Outline: Total frames 119. [Camera motion] Between frames 0 and 29: move right + yaw left; "
        "Between frames 30 and 72: move right and forward; Between frames 73 and 118: static"
    )


def test_turns_are_judged_per_frame(reference):
    """A 20 degree pan over 81 frames is too slow per frame to be tagged; every fourth frame of it is a pan."""
    path = reference / "data/trajectories/recammaster/camera_extrinsics.json"
    slow, fast = (motion_tags.tag_labels(read_recammaster(path, "cam01", stride)) for stride in (1, 4))
    assert chunks(slow)[0][4] == "static"
    assert chunks(fast)[0][4] == "static + yaw right"


# A slow reading of the algorithm, frame by frame


def slow_labels(pose_T34, fps=30.0):
    patterns = list(product([0, 1, -1], repeat=3))
    raw = []
    for a, b in zip(pose_T34[:-1], pose_T34[1:], strict=True):
        a, b = (np.vstack([pose, [0, 0, 0, 1]]) @ np.diag([1, -1, -1, 1]) for pose in (a, b))
        step = np.linalg.inv(a) @ b
        v, w = fps * step[:3, 3], Rotation.from_matrix(step[:3, :3]).as_rotvec()
        on = [bool(abs(x) > 0.02) for x in v]
        keep = list(on)
        for i, j in ((0, 1), (0, 2), (1, 2)):
            if on[i] and on[j]:
                ratio = (abs(v[i]) - abs(v[j])) / max(abs(v[i]), abs(v[j]))
                if ratio > 0.4:
                    keep[j] = False
                elif ratio < -0.4:
                    keep[i] = False
        translation = patterns.index(tuple(int(np.sign(x)) if k else 0 for x, k in zip(v, keep, strict=True)))
        axis = int(np.argmax(np.abs(w)))
        rotation = 0 if abs(w[axis]) <= 0.005 else 1 + 2 * axis + int(w[axis] < 0)
        raw.append(7 * translation + rotation)
    window, shortest = 15, 10
    while True:
        labels = slow_remove(slow_filter(raw, window), shortest)
        if sum(a != b for a, b in zip(labels[:-1], labels[1:], strict=True)) < 4:
            return labels
        window, shortest = window + 5, shortest + 5


def slow_filter(labels, window):
    if len(labels) < window:
        return list(labels)
    half = window // 2
    return [int(stats.mode(labels[max(0, i - half) : i + half + 1]).mode) for i in range(len(labels))]


def slow_remove(labels, shortest):
    """Runs as lists of their frames' labels; a removed run's frames are handed over one by one."""
    runs = []
    for label in labels:
        if runs and runs[-1][0] == label:
            runs[-1].append(label)
        else:
            runs.append([label])
    while len(runs) > 1:
        sizes = [len(run) for run in runs]
        i = sizes.index(min(sizes))
        if sizes[i] >= shortest:
            break
        to_left = i > 0 and (i == len(runs) - 1 or None)
        for n in range(sizes[i]):
            left = to_left if to_left is not None else n % 2 == 0
            neighbour = runs[i - 1] if left else runs[i + 1]
            neighbour.append(neighbour[0])
        del runs[i]
    return [label for run in runs for label in run]


@st.composite
def shots(draw):
    """Shots of one to six stretches of constant velocity with noise, starting anywhere."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    frames = draw(st.integers(2, 140))
    parts = rng.integers(1, 7)
    speed = rng.choice([0, 1], (parts, 6), p=[0.6, 0.4]) * rng.normal(size=(parts, 6)) * ([0.01] * 3 + [0.02] * 3)
    step = speed[np.sort(rng.integers(0, parts, frames - 1))]
    step = step + rng.normal(size=step.shape) * rng.choice([0.0, 0.002, 0.01])
    poses = [se3.make(se3.so3_exp(rng.normal(size=3)), rng.normal(size=3))]
    for v in step:
        poses.append(se3.compose(poses[-1], se3.make(se3.so3_exp(v[3:]), v[:3])))
    return np.stack(poses)


@settings(max_examples=120, deadline=None)
@given(shots())
def test_labels_equal_the_slow_reading(pose_T34):
    np.testing.assert_array_equal(motion_tags.tag_labels(pose_T34), slow_labels(pose_T34))


@settings(max_examples=60, deadline=None)
@given(st.lists(st.integers(0, 4), min_size=1, max_size=90), st.integers(1, 12))
def test_smoothing_equals_the_slow_reading(labels, size):
    # Of two shots at once: neither changes the other.
    both_NT = np.asarray([labels, [9 - label for label in labels]])
    filtered_NT = motion_tags._mode_filter(both_NT, size)
    for row_T, filtered_T in zip(both_NT, filtered_NT, strict=True):
        np.testing.assert_array_equal(filtered_T, slow_filter(row_T.tolist(), size))
        shortened_T = row_T.copy()
        motion_tags._remove_short(shortened_T, size)
        np.testing.assert_array_equal(shortened_T, slow_remove(row_T.tolist(), size))


def test_shots_together_have_the_tags_of_each_alone():
    rng = np.random.default_rng(1)
    paths = []
    for frames in (1, 2, 40, 120, 300):
        turn, go = rng.normal(0, 0.004, (2, frames, 3)).cumsum(axis=1)
        paths.append(se3.make(se3.so3_exp(turn), 3 * go))
    labels = motion_tags.labels_of_shots(paths)
    assert labels.shape == (5, 119) and len(np.unique(labels)) > 3
    for path, ours in zip(paths, labels, strict=True):
        resampled = se3.resample(path, np.linspace(0, len(path) - 1, 120))
        np.testing.assert_array_equal(ours, motion_tags.tag_labels(resampled))
        np.testing.assert_array_equal(ours, slow_labels(resampled))
    with pytest.raises(ValueError, match="no shot"):
        motion_tags.labels_of_shots([])
    with pytest.raises(ValueError, match=r"shape \[T, 3, 4\]"):
        motion_tags.labels_of_shots([paths[0], np.zeros((0, 3, 4))])


@settings(max_examples=30, deadline=None)
@given(shots())
def test_tags_do_not_depend_on_the_world(pose_T34):
    """Nor on the axes the camera is given in; all frames belong to one of at most four segments."""
    moved = se3.compose(se3.make(se3.so3_exp(np.array([0.3, -2.0, 0.5])), np.array([1.0, 2.0, -3.0])), pose_T34)
    assert (motion_tags.shot_labels(pose_T34) == motion_tags.shot_labels(moved)).mean() > 0.99
    opengl = motion_tags.tag_labels(se3.flip_yz(pose_T34), "opengl")
    np.testing.assert_array_equal(motion_tags.tag_labels(pose_T34), opengl)
    found = motion_tags.tag_shot(pose_T34)
    assert 1 <= len(found) <= 4
    assert [s.start for s in found] + [119] == [0] + [s.end for s in found]


# Single motions


def move(translation=(0, 0, 0), rotation=(0, 0, 0), frames=120):
    """A shot that goes by `translation` in all and turns by `rotation` in all, OpenCV axes."""
    u = np.linspace(0, 1, frames)[:, None]
    return se3.make(se3.so3_exp(u * np.asarray(rotation, float)), u * np.asarray(translation, float))


SINGLE = {
    "move right": move((1, 0, 0)),
    "move left": move((-1, 0, 0)),
    "move up": move((0, -1, 0)),
    "move down": move((0, 1, 0)),
    "move forward": move((0, 0, 1)),
    "move backward": move((0, 0, -1)),
    "move right and forward": move((1, 0, 1)),
    "move left, up, and backward": move((-1, -1, -1)),
    "static + pitch up": move(rotation=(1, 0, 0)),
    "static + pitch down": move(rotation=(-1, 0, 0)),
    "static + yaw right": move(rotation=(0, 1, 0)),
    "static + yaw left": move(rotation=(0, -1, 0)),
    "static + roll right": move(rotation=(0, 0, 1)),
    "static + roll left": move(rotation=(0, 0, -1)),
    "static": move(),
}


@pytest.mark.parametrize("name", SINGLE)
@pytest.mark.parametrize("frames", [2, 33, 120, 250])
def test_single_motions(name, frames):
    pose_T34 = se3.resample(SINGLE[name], np.linspace(0, 119, frames))
    assert [s.name for s in motion_tags.tag_shot(pose_T34)] == [name]


def test_loop_around_the_subject():
    """A full circle facing its centre is one segment; travel sideways against the pan is an arc."""
    angle = np.linspace(0, 2 * np.pi, 120)
    eye = np.stack([4 * np.sin(angle), np.zeros(120), -4 * np.cos(angle)], 1)
    shot = motion_tags.tag_shot(se3.look_at(eye, np.zeros((120, 3))))
    assert [s.name for s in shot] == ["move right + yaw left"]
    assert motion_tags.describe(shot, "film") == "The camera arcs right."


def test_single_frame():
    assert motion_tags.tag_labels(se3.identity((1,))).shape == (0,)
    assert motion_tags.segments(motion_tags.tag_labels(se3.identity((1,)))) == []
    assert motion_tags.tag_shot(se3.identity((1,))) == [Segment(0, 119, 0, 0)]


def test_trajectory_segments_cover_each_shot():
    shots = [
        np.concatenate([move(frames=20), move((0, 0, 1), frames=21)]),
        move((1, 0, 0), frames=2),
        se3.identity((1,)),
    ]
    shot_T = np.repeat(np.arange(3), [len(s) for s in shots])
    trajectory = Trajectory(np.concatenate(shots), [100, 100, 50, 50], 100, 100, shot_T)
    tags = motion_tags.tag_trajectory(trajectory)
    assert [[s.name for s in shot] for shot in tags] == [["static", "move forward"], ["move right"], ["static"]]
    assert [(shot[0].start, shot[-1].end) for shot in tags] == [(0, 41), (0, 2), (0, 1)]
    assert abs(tags[0][0].end - 20) <= 2


# Words


def shot_of(*parts):
    """(frames, translation name, rotation name), … → segments."""
    result, start = [], 0
    for frames, translation, rotation in parts:
        classes = motion_tags.TRANSLATION_NAMES.index(translation), motion_tags.ROTATION_NAMES.index(rotation)
        result.append(Segment(start, start + frames, *classes))
        start += frames
    return result


@pytest.mark.parametrize(
    ("shot", "plain", "film"),
    [
        (shot_of(), "remains static", "holds"),
        (
            shot_of((10, "move right", "yaw left"), (10, "static", "static")),
            "moves right while yawing left, then remains static",
            "arcs right, then holds",
        ),
        (
            shot_of(
                (9, "static", "static"),
                (9, "static", "pitch up"),
                (9, "move forward", "pitch up"),
                (9, "static", "static"),
            ),
            "remains static, then pitches up in place, then moves forward while continuing to pitch up, "
            "and finally remains static again",
            "holds, then tilts up, then pushes in while tilting up, and finally holds again",
        ),
        (
            shot_of((9, "move up and backward", "static"), (9, "move up and backward", "yaw right")),
            "moves up and backward, then continues up and backward while yawing right",
            "cranes up and pulls back, then cranes up and pulls back while panning right",
        ),
    ],
)
def test_describe(shot, plain, film):
    assert motion_tags.describe(shot) == f"The camera {plain}."
    assert motion_tags.describe(shot, style="film") == f"The camera {film}."


def test_dominant_motion():
    assert motion_tags.dominant_motion(shot_of((50, "static", "static"), (9, "static", "yaw left"))) == (0, 3)
    assert motion_tags.dominant_motion(shot_of((119, "static", "static"))) == (0, 0)
    parts = shot_of((20, "move up", "static"), (30, "move left", "static"), (20, "move up", "static"))
    assert motion_tags.dominant_motion(parts) == (3, 0)
    assert motion_tags.dominant_motion([]) == (0, 0)


def test_bad_input():
    with pytest.raises(ValueError, match=r"\[T, 3, 4\]"):
        motion_tags.tag_labels(np.zeros((5, 4, 4)))
    with pytest.raises(ValueError, match="opencv"):
        motion_tags.tag_labels(se3.identity((3,)), camera="blender")
    with pytest.raises(ValueError, match="style"):
        motion_tags.describe([], style="terse")
