"""Pi3 as a provider: chunks in worlds of their own become one, with the film's masks and lenses."""

import numpy as np
import pytest

import rooms
from shotverse_jax.calibration.align import Similarity
from shotverse_jax.calibration.calibrate import calibrate
from shotverse_jax.calibration.pi3 import Pi3
from shotverse_jax.calibration.reconstruction import Footage
from shotverse_jax.camera import se3
from shotverse_jax.infer.pi3 import PointMaps, chunks

SIZE = 64, 40


class Seer:
    """What Pi3 would say if it were right: true points, in a world and a unit of its own at every call."""

    def __init__(self, film, pose_T34, depth_THW, confidence=0.9):
        self.film, self.pose_T34, self.depth_THW, self.confidence = film, pose_T34, depth_THW, confidence
        self.rng = np.random.default_rng(0)

    def _numbers(self, frames):
        return [int(np.argmax((self.film == frame).all((1, 2, 3)))) for frame in frames]

    def __call__(self, frames):
        numbers, rng = self._numbers(frames), self.rng
        world = Similarity(float(np.exp(rng.uniform(-1, 1))), se3.so3_exp(rng.normal(size=3)), rng.normal(size=3))
        focal, _, cx, cy = rooms.lens(*SIZE)
        u, v = np.meshgrid(np.arange(SIZE[0]) + 0.5, np.arange(SIZE[1]) + 0.5)
        ray_HW3 = np.stack([(u - cx) / focal, (v - cy) / focal, np.ones_like(u)], axis=-1)
        local_THWC = (world.scale * self.depth_THW[numbers][..., None] * ray_HW3).astype(np.float32)
        pose_T34 = world.poses(self.pose_T34[numbers])
        confidence = np.full(local_THWC.shape[:3], self.confidence, np.float32)
        focal_T2 = np.full((len(frames), 2), focal) * (1 + 0.02 * rng.normal(size=(len(frames), 1)))
        return PointMaps(pose_T34, local_THWC, local_THWC, confidence, focal_T2)

    def by_chunks(self, frames):
        for part in chunks(len(frames)):
            yield part, self(frames[part.start : part.stop])


@pytest.fixture(scope="module")
def film():
    pose_T34 = np.concatenate([rooms.path("truck", 30), rooms.path("arc", 9)])
    return *rooms.pictures(pose_T34, *SIZE), np.repeat([0, 1], [30, 9]), pose_T34


def test_chunks_and_shots_become_one_world(film):
    color_THWC, depth_THW, shot_T, pose_T34 = film
    static_THW = np.ones(depth_THW.shape, bool)
    static_THW[:, :, :20] = False
    seen_THW = np.where(static_THW, depth_THW, 9 * depth_THW)  # what moves has depths of its own
    footage = Footage(color_THWC, shot_T, static_THW=static_THW)
    made = calibrate(footage, Pi3(footage, Seer(color_THWC, pose_T34, seen_THW)))
    assert made.world_K.tolist() == [0, 0] and made.found_T.all() and not made.notes
    path, true = (se3.relative(poses[0], poses) for poses in (made.pose_T34, pose_T34))
    np.testing.assert_allclose(path[:, :, :3], true[:, :, :3], atol=1e-6)
    scale = np.linalg.norm(path[29, :, 3]) / np.linalg.norm(true[29, :, 3])
    np.testing.assert_allclose(path[:, :, 3], scale * true[:, :, 3], atol=1e-5 * scale)
    pixel_M2 = made.points.pixel_M2.astype(int)
    assert static_THW[made.points.frame_M, pixel_M2[:, 1], pixel_M2[:, 0]].all()
    true_M = depth_THW[made.points.frame_M, pixel_M2[:, 1], pixel_M2[:, 0]]
    np.testing.assert_allclose(made.points.depth_M, scale * true_M, rtol=1e-5)
    # The noise of single frames is no zoom: a shot has one lens.
    assert [np.ptp(made.lens_T4[shot_T == k], axis=0).max() for k in (0, 1)] == [0, 0]
    assert made.lens_T4[:, 0] == pytest.approx(np.full(39, SIZE[0]), rel=0.02)


def test_known_lenses_are_kept_and_zooms_are_seen(film):
    color_THWC, depth_THW, shot_T, pose_T34 = film
    lens_T4 = np.tile(rooms.lens(*SIZE), (39, 1))
    footage = Footage(color_THWC, shot_T, lens_T4)
    provider = Pi3(footage, Seer(color_THWC, pose_T34, depth_THW))
    np.testing.assert_array_equal(provider.reconstruct(np.arange(30)).lens_N4, lens_T4[:30])
    maps = provider.network(list(color_THWC[:30]))
    focal_T2 = maps.focal_T2 * np.linspace(1, 1.5, 30)[:, None]
    focal_T2[4] = np.nan  # a frame without points
    part = Pi3(Footage(color_THWC, shot_T), None)
    made = part._one_lens(part._part(np.arange(30), maps._replace(focal_T2=focal_T2)))
    assert np.flatnonzero(~made.found_N).tolist() == [4] and not (made.points.frame_M == 4).any()
    assert made.lens_N4[[0, 29], 0] / SIZE[0] == pytest.approx([1, 1.5], rel=0.05)


def test_depths_without_confidence_do_not_pass(film):
    color_THWC, depth_THW, _, pose_T34 = film
    footage = Footage(color_THWC[:30], np.zeros(30, int))
    made = calibrate(footage, Pi3(footage, Seer(color_THWC, pose_T34, depth_THW, confidence=0.2)))
    assert made.quality[0].failed == ("confidence",)
