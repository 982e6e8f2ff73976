"""What a shot does, in the numbers by which its class is told: from cameras, lens, focus and the main subject.

Lengths are shares of the distance from the first camera to the subject, so they do not depend on the unit.

Array axes: T frames; J joints; 3 coordinates. The world's y axis points down.
"""

import dataclasses

import jax
import numpy as np

from shotverse_jax.camera import framing, se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.camera.vocabulary import ANGLES, SIZES

USUAL_DISTANCE = 3.0
"""Distance in world units that is taken where no subject is known and nothing is focused."""
FRAMES = 17
"""Frames of a shot that are looked at for size and angle."""


@dataclasses.dataclass(frozen=True)
class Measures:
    """Numbers of one shot.

    Attributes:
        along: way of the camera along its first optical axis; positive is forward.
        across: way perpendicular to it.
        travel: largest distance from the first position.
        pan, tilt, roll: degrees that it turns to the right, up and to the right, summed over the frames.
        turned: largest angle to the first orientation, degrees.
        zoom: natural logarithm of the last focal length over the first.
        zoomed: largest such logarithm of any frame, without its sign.
        refocused: largest radius, as a share of the picture's width, of the disc to which the focus of any other frame
            spreads what is sharp in the first frame; 0 for a pinhole.
        racked: that radius for the last frame.
        subject: whether a subject is known and on screen in every frame.
        subject_travel: way of the subject.
        together: cosine between the ways of subject and camera; 0 where one stands still.
        nearer, farther: least and largest distance to the subject, of any frame by that of the first.
        shift: largest way of the subject in the picture, as a share of its sides.
        sizes: words of `SIZES` of all frames, sorted.
        angles: words of `ANGLES` of all frames, sorted.
    """

    along: float
    across: float
    travel: float
    pan: float
    tilt: float
    roll: float
    turned: float
    zoom: float
    zoomed: float
    refocused: float
    racked: float
    subject: bool = False
    subject_travel: float = 0.0
    together: float = 0.0
    nearer: float = 1.0
    farther: float = 1.0
    shift: float = 0.0
    sizes: tuple[str, ...] = ()
    angles: tuple[str, ...] = ()


def measure(shot: Trajectory, joint_TJ3: np.ndarray | None = None, height: float = 1.7) -> Measures:
    """Returns the numbers of a shot.

    Args:
        shot: one shot, in the world of the subject, whose y axis points down.
        joint_TJ3: `framing.JOINTS` of the main subject at every frame; None (default) when no subject is known.
        height: of the subject, world units.

    Raises:
        ValueError: there are several shots, or not one set of joints a frame.
    """
    if shot.num_shots != 1:
        raise ValueError(f"a class is that of one shot, this path has {shot.num_shots}; give its shots alone")
    if joint_TJ3 is not None and joint_TJ3.shape != (len(shot), len(framing.JOINTS), 3):
        raise ValueError(f"{len(shot)} frames need joints of {len(framing.JOINTS)} points each, got {joint_TJ3.shape}")
    distance = subject_distance(shot, joint_TJ3)
    camera = _camera(shot, distance)
    return Measures(**camera, **({} if joint_TJ3 is None else _subject(shot, joint_TJ3, height, distance)))


def subject_distance(shot: Trajectory, joint_TJ3: np.ndarray | None) -> float:
    """Returns how far the subject is from the first camera; without one what is focused, or `USUAL_DISTANCE`."""
    if joint_TJ3 is not None:
        return max(float(np.linalg.norm(joint_TJ3[0, : framing.CORE].mean(0) - shot.pose_T34[0, :, 3])), 1e-6)
    return USUAL_DISTANCE if shot.focus_T2 is None else float(shot.focus_T2[0, 0])


def _camera(shot: Trajectory, distance: float) -> dict[str, float]:
    pose_T34 = shot.pose_T34
    way_T3 = (pose_T34[:, :, 3] - pose_T34[0, :, 3]) / distance
    ahead_3 = pose_T34[0, :, 2]
    along = float(way_T3[-1] @ ahead_3)
    # In OpenCV axes a positive turn about x, y and z is a tilt up, a pan to the right and a roll to the right.
    step_T3 = se3.so3_log(se3.relative(pose_T34[:-1], pose_T34[1:])[..., :3])
    tilt, pan, roll = np.degrees(step_T3.sum(0)).tolist()
    zoom_T = np.log(shot.intrinsics_T4[:, 0] / shot.intrinsics_T4[0, 0])
    disc_T = np.zeros(len(shot))
    if shot.focus_T2 is not None:
        opening_T = shot.lens_radius_T * shot.intrinsics_T4[:, 0] / shot.width
        disc_T = opening_T * np.abs(1 / shot.focus_T2[:, 0] - 1 / shot.focus_T2[0, 0])
    return {
        "along": along,
        "across": float(np.linalg.norm(way_T3[-1] - along * ahead_3)),
        "travel": float(np.linalg.norm(way_T3, axis=1).max()),
        "pan": pan,
        "tilt": tilt,
        "roll": roll,
        "turned": float(np.degrees(se3.rotation_angle(pose_T34[0, :, :3].T @ pose_T34[:, :, :3])).max()),
        "zoom": float(zoom_T[-1]),
        "zoomed": float(np.abs(zoom_T).max()),
        "refocused": float(disc_T.max()),
        "racked": float(disc_T[-1]),
    }


def _subject(shot: Trajectory, joint_TJ3: np.ndarray, height: float, distance: float) -> dict:
    middle_T3 = joint_TJ3[:, : framing.CORE].mean(1)
    way_3, camera_3 = middle_T3[-1] - middle_T3[0], shot.pose_T34[-1, :, 3] - shot.pose_T34[0, :, 3]
    lengths = float(np.linalg.norm(way_3)), float(np.linalg.norm(camera_3))
    away_T = np.linalg.norm(middle_T3 - shot.pose_T34[:, :, 3], axis=1) / distance
    # One number of frames, so that one program is compiled.
    index = np.round(np.linspace(0, len(shot) - 1, FRAMES)).astype(int)
    lens_T4 = shot.intrinsics_T4[index] / ([shot.width, shot.height] * 2)
    arrays = (shot.pose_T34[index], lens_T4, joint_TJ3[index], np.float64(height))
    size_T, angle_T, on_T, place_T2 = map(np.asarray, _framed(*(np.asarray(x, np.float32) for x in arrays)))
    return {
        "subject": bool(on_T.all()),
        "subject_travel": lengths[0] / distance,
        "together": float(way_3 @ camera_3) / (lengths[0] * lengths[1]) if min(lengths) > 1e-6 * distance else 0.0,
        "nearer": float(away_T.min() / away_T[0]),
        "farther": float(away_T.max() / away_T[0]),
        "shift": float(np.abs(place_T2 - place_T2[0]).max()),
        "sizes": tuple(sorted({list(SIZES)[k] for k in size_T})),
        "angles": tuple(sorted({list(ANGLES)[k] for k in angle_T})),
    }


@jax.jit
def _framed(pose_T34, lens_T4, joint_TJ3, height):
    """Size and angle classes [T], whether the subject is on screen [T], and the place of its trunk [T, 2]."""
    seen = framing.project(pose_T34, lens_T4, joint_TJ3)
    height_T = framing.body_height(seen, lens_T4, height)
    degrees_T = framing.elevation(pose_T34, framing.aim(joint_TJ3, height_T))
    place_T2 = seen.uv_TJ2[:, : framing.CORE].mean(1)
    return framing.size_class(height_T), framing.angle_class(degrees_T), ~framing.off_screen(seen), place_T2
