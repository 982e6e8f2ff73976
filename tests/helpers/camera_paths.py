"""Camera paths for the tests of trajectory files, and how two of them are compared."""

from pathlib import Path

import numpy as np
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import FORMATS, read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory

QUICK = settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
LENGTHS = st.lists(st.integers(1, 6), min_size=1, max_size=3)


def motion(kind: str, frames: int, rng) -> np.ndarray:
    """A shot: standing, turning right, circling once, or wandering."""
    u = np.linspace(0, 1, frames) if frames > 1 else np.zeros(1)
    zero = np.zeros(frames)
    turn = {
        "static": np.zeros((frames, 3)),
        "pan": np.stack([zero, 2.5 * u, zero], -1),
        "loop": np.stack([zero, -2 * np.pi * u, zero], -1),
        "free": np.cumsum(rng.normal(0, 0.6, (frames, 3)), 0),
    }[kind]
    circle = 3 * np.stack([np.sin(2 * np.pi * u), zero, 1 - np.cos(2 * np.pi * u)], -1)
    walk = {"loop": circle, "free": np.cumsum(rng.normal(0, 2, (frames, 3)), 0)}.get(kind, np.zeros((frames, 3)))
    return se3.make(se3.so3_exp(turn), walk)


@st.composite
def trajectories(draw, lengths=LENGTHS, lens_varies=True):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    spans = draw(lengths)
    kinds = [draw(st.sampled_from(["static", "pan", "loop", "free"])) for _ in spans]
    world = se3.make(se3.so3_exp(rng.normal(size=(len(spans), 3))), rng.normal(0, 5, (len(spans), 3)))
    poses = [se3.compose(w, motion(kind, n, rng)) for w, kind, n in zip(world, kinds, spans, strict=True)]
    frames = sum(spans)
    lens = np.array([700.0, 710.0, 410.0, 244.0]) * np.ones((frames, 1))
    if lens_varies and draw(st.booleans()):
        lens = lens * np.linspace(1, 1.5, frames)[:, None]
    fps = draw(st.sampled_from([8.0, 16.0, 24.0, 24000 / 1001, 30.0]))
    return Trajectory(
        pose_T34=np.concatenate(poses),
        intrinsics_T4=lens,
        width=832,
        height=480,
        shot_T=np.repeat(np.arange(len(spans)), spans),
        fps=fps,
        scale=draw(st.sampled_from([1.0, 2.5])),
        captions=tuple(draw(st.text(st.characters(exclude_categories=["Cs"]), max_size=12)) for _ in spans),
        global_caption=draw(st.sampled_from(["", 'a "scene", 雨'])),
        stage_34=draw(st.sampled_from([None, se3.make(se3.so3_exp(np.array([0.1, 2.0, -0.3])), np.ones(3))])),
        time_T=100 + np.cumsum(rng.uniform(0.03, 0.1, frames)) if draw(st.booleans()) else None,
    )


def round_trip(trajectory, folder: Path, fmt: str, write=None, **read) -> Trajectory:
    path = folder / ("model" if FORMATS[fmt].folder else "file" + FORMATS[fmt].extension)
    write_trajectory(trajectory, path, fmt, **(write or {}))
    return read_trajectory(path, fmt, **read)


def assert_same(got: Trajectory, want: Trajectory, fields: str, atol=1e-9):
    np.testing.assert_allclose(got.pose_T34, want.pose_T34, rtol=0, atol=atol)
    for name in fields.split():
        a, b = getattr(got, name), getattr(want, name)
        if isinstance(b, str | tuple | int) or b is None or a is None:
            assert a == b, name
        else:
            np.testing.assert_allclose(a, b, rtol=3e-6 if name == "fps" else 1e-9, err_msg=name)


def edited(path: Path, old: str, new: str) -> Path:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new, 1))
    return path
