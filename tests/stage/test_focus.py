"""Zoom and depth of field in pictures of the stage, against the plan and against a lens made of many pinholes."""

import dataclasses

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.stage.focus import blur_radius
from shotverse_jax.stage.preview import BATCH, frame_at, preview_frames
from shotverse_jax.stage.raycast import SUBJECT, primitives, render
from shotverse_jax.stage.scene import Prop, Scene, Subject

WIDTH, HEIGHT = 72, 48
TWO = Scene(
    (Subject("woman", "red", x=-0.3), Subject("man", "blue", x=0.7, z=-3.2)), (Prop("tree", "green", 3, -1, -8),)
)


def shot(eye_T3, target, mm_T, width=WIDTH, height=HEIGHT, **fields) -> Trajectory:
    """Cameras at `eye_T3` of the stage that look in the direction of the first one, with focal lengths in mm."""
    eye_T3, frames = np.asarray(eye_T3, float), len(eye_T3)
    turn_33 = se3.look_at(eye_T3[:1], np.asarray(target, float))[0, :, :3]
    focal_T = np.broadcast_to(np.asarray(mm_T, float) / 36 * width, frames)
    return Trajectory(
        pose_T34=se3.make(np.tile(turn_33, (frames, 1, 1)), eye_T3),
        intrinsics_T4=np.stack([focal_T, focal_T, np.full(frames, width / 2), np.full(frames, height / 2)], axis=1),
        width=width,
        height=height,
        shot_T=np.zeros(frames),
        fps=8.0,
        stage_34=se3.identity(),
        **fields,
    )


def test_the_field_of_view_of_a_rendered_zoom_is_that_of_the_plan():
    scene, distance, wide = Scene((Subject("man", "blue", z=40.0),), (Prop("wall", "red", 2.4, 0, 0),)), 10.0, 8192
    # One wide row of pixels, above the horizon: sky, the face of the wall, sky.
    zoom = shot([[0.0, -1.6, distance]] * 5, (0, -1.6, 0), np.linspace(35, 60, 5), 832, 1)
    wall_34 = primitives(scene, np.zeros(1))["box"][0, 0]
    across, deep = 2 / np.linalg.norm(wall_34[0, :3]), 1 / np.linalg.norm(wall_34[2, :3])
    plan_T = 2 * np.arctan(832 / 2 / zoom.intrinsics_T4[:, 0])
    for fov, frame in zip(plan_T, preview_frames(zoom, scene, wide, 1), strict=True):
        red = np.flatnonzero(frame[0, :, 0] > frame[0, :, 2])
        assert red[-1] - red[0] + 1 == len(red) < wide
        focal = len(red) * (distance - deep) / across  # in pixels
        assert 2 * np.arctan(wide / 2 / focal) == pytest.approx(fov, abs=1e-3)


def rendered(scene: Scene, pose_T34, lens_T4):
    """Frames of the stage in batches of the size that previews have, so that one program serves all."""
    index = np.minimum(np.arange(-(-len(pose_T34) // BATCH) * BATCH), len(pose_T34) - 1)
    prims = primitives(scene, np.zeros(BATCH))
    batches = [
        render(prims, pose_T34[part], lens_T4[part], WIDTH, HEIGHT) for part in np.split(index, len(index) // BATCH)
    ]
    return [np.concatenate(values)[: len(pose_T34)] for values in zip(*batches, strict=True)]


def test_a_dolly_and_a_zoom_that_keep_the_size_of_the_subject_show_other_backgrounds():
    scene = Scene((Subject("man", "blue"),), (Prop("column", "red", 3.0, 1.2, -6.0),))
    start, end = 4.0, 2.0
    dolly = shot([[0, -0.9, start], [0, -0.9, end]], (0, -0.9, 0), 35)
    zoom = shot([[0, -0.9, start]] * 2, (0, -0.9, 0), [35, 35 * start / end])
    (man_dolly, column_dolly), (man_zoom, column_zoom) = (
        [rendered(scene, path.pose_T34, path.intrinsics_T4)[2] == number for number in (SUBJECT, SUBJECT + 1)]
        for path in (dolly, zoom)
    )
    middle = slice(WIDTH // 2 - 2, WIDTH // 2 + 2)
    size_dolly, size_zoom = (man[1, :, middle].sum() for man in (man_dolly, man_zoom))
    assert size_dolly == pytest.approx(size_zoom, rel=0.05)
    np.testing.assert_array_equal(man_dolly[0], man_zoom[0])
    # The column is 10 m from the first camera. The zoom shows it twice as large, and a dolly to 8 m a quarter larger.
    width_dolly, width_zoom = (
        column[1].any(0).sum() / column[0].any(0).sum() for column in (column_dolly, column_zoom)
    )
    assert width_zoom > 1.4 * width_dolly


@pytest.fixture(scope="module")
def rack():
    """A rack focus from a woman at 1.6 m to a man at 4.8 m: (trajectory, sharp frames, focused frames)."""
    focus_T2 = np.stack([np.linspace(1.6, 4.8, 4), np.full(4, 1.2)], axis=1)
    path = shot([[0, -1.5, 1.6]] * 4, (0, -1.45, 0), 85, focus_T2=focus_T2)
    sharp = np.stack(list(preview_frames(dataclasses.replace(path, focus_T2=None), TWO, WIDTH, HEIGHT)))
    return path, sharp, np.stack(list(preview_frames(path, TWO, WIDTH, HEIGHT)))


def _sharpness(frames, mask_HW):
    """[T] mean contrast of neighbouring pixels within a mask."""
    step_THW = np.abs(np.diff(frames.astype(float).mean(-1), axis=2)) * (mask_HW[:, 1:] & mask_HW[:, :-1])
    return step_THW.sum((1, 2)) / mask_HW.sum()


def test_a_rack_focus_moves_the_sharpness_from_the_first_to_the_second_subject(rack):
    path, sharp, seen = rack
    instance_HW = rendered(TWO, path.pose_T34[:1], path.intrinsics_T4[:1])[2][0]
    masks = [instance_HW == SUBJECT + k for k in (0, 1)]
    near, far = (_sharpness(seen, mask) / _sharpness(sharp, mask) for mask in masks)
    assert near[0] > 0.85 and far[-1] > 0.85 and near[-1] < 0.8 and far[0] < 0.8
    assert (np.diff(near) < 0.02).all() and (np.diff(far) > -0.02).all()


def test_the_blur_is_that_of_a_lens_made_of_many_pinholes(rack):
    path, sharp, seen = rack
    count = 4 * BATCH
    turn_K, away_K = np.arange(count) * np.pi * (3 - 5**0.5), np.sqrt((np.arange(count) + 0.5) / count)
    for t in (0, 3):
        offset_K2 = path.lens_radius_T[t] * away_K[:, None] * np.stack([np.cos(turn_K), np.sin(turn_K)], axis=1)
        pose_K34, lens_K4 = (np.repeat(each[t : t + 1], count, axis=0) for each in (path.pose_T34, path.intrinsics_T4))
        pose_K34[:, :, 3] += offset_K2 @ path.pose_T34[t, :, :2].T
        lens_K4[:, 2:] += path.intrinsics_T4[t, :2] * offset_K2 / path.focus_T2[t, 0]
        truth_HW3 = rendered(TWO, pose_K34, lens_K4)[0].mean(0)
        error, pinhole = np.abs(seen[t] - truth_HW3).mean(), np.abs(sharp[t] - truth_HW3).mean()
        assert error < 0.45 * pinhole


def test_a_small_opening_leaves_the_picture_as_it_is(rack):
    path, sharp, _ = rack
    tiny = dataclasses.replace(path, focus_T2=[1.6, 200.0])
    assert blur_radius(tiny, np.inf).max() < 0.1
    np.testing.assert_array_equal(np.stack(list(preview_frames(tiny, TWO, WIDTH, HEIGHT))), sharp)
    color_HW3, _ = frame_at(3, path, TWO, WIDTH, HEIGHT)
    np.testing.assert_array_equal(color_HW3, rack[2][3])
    assert blur_radius(path, 1.6)[0] == 0 and blur_radius(path, 3.2, 2 * WIDTH)[0] == pytest.approx(
        2 * path.lens_radius_T[0] * path.intrinsics_T4[0, 0] * (1 / 1.6 - 1 / 3.2)
    )
