"""Subjects and props built from capsules, ellipsoids, boxes and cylinders, posed over time.

A body is drawn in its own frame (x to its right, y down, z forward, feet at y = 0) in units of its height, then
scaled, turned by its yaw and put in its place. All arrays are NumPy's and have a leading time axis.

Array axes: T times; N parts; 3 coordinates x, y, z. Radii, colours and sizes are numbers.
"""

import dataclasses
import math

import numpy as np

from shotverse_jax.stage.scene import COLORS, Prop, Subject

SOLIDS = ("ellipsoid", "box", "cylinder")
"""Shapes stored as an affine map to a unit shape: the unit sphere, the cube [-1, 1]³, the cylinder along the y axis."""

_SKIN = (0.86, 0.64, 0.50)
_HAIR = {"man": (0.20, 0.13, 0.09), "woman": (0.30, 0.14, 0.07), "child": (0.72, 0.52, 0.24)}
_TROUSERS = {"man": (0.20, 0.21, 0.27), "woman": (0.15, 0.15, 0.19), "child": (0.24, 0.33, 0.50)}
_SHOES = (0.10, 0.08, 0.08)
_EYE = (0.06, 0.05, 0.06)
_METAL = (0.42, 0.44, 0.48)
_DARK = (0.08, 0.09, 0.11)
_GLASS = (0.16, 0.22, 0.29)
_LAMP = (1.0, 0.95, 0.70)
_GLOW = (0.35, 0.95, 0.95)
_SEATED = 0.04  # how much lower a sitting person is, in heights of the person


class Parts:
    """Collects the parts of one body in its own frame and puts them into the stage.

    Attributes:
        frames: number of times T.
        lift: number or [T], how far down (along y) the whole body moves, in heights; feet then touch the floor.
    """

    def __init__(self, frames: int):
        self.frames = frames
        self.lift = 0.0
        self._ends, self._radii, self._capsule_colors = [], [], []
        self._joints = np.zeros((frames, 0, 3))
        self._solids = {shape: [] for shape in SOLIDS}

    def _point(self, p) -> np.ndarray:
        """(x, y, z) of numbers or [T] arrays, or a [T, 3] array → [T, 3]."""
        if isinstance(p, np.ndarray):
            return p
        out = np.empty((self.frames, 3))
        out[:, 0], out[:, 1], out[:, 2] = p
        return out

    def capsule(self, a, b, radius: float, color) -> None:
        """Adds a rod with round ends from `a` to `b`; it is a ball when they are one point."""
        self._ends.append((self._point(a), self._point(b)))
        self._radii.append(radius)
        self._capsule_colors.append(color)

    def ball(self, center, radius: float, color) -> None:
        """Adds a ball."""
        self.capsule(center, center, radius, color)

    def joints(self, trunk, left, right) -> None:
        """Says where the key joints are, in the order of `camera.framing.JOINTS`.

        Args:
            trunk: head, chest and pelvis.
            left, right: wrist, knee and ankle of each side.
        """
        sides = [point for pair in zip(left, right, strict=True) for point in pair]
        self._joints = np.stack([self._point(p) for p in (*trunk, *sides)], axis=1)

    def solid(self, shape: str, center, half, color, roll: float = 0.0) -> None:
        """Adds a shape of `SOLIDS`.

        Args:
            shape: word of `SOLIDS`.
            center: its middle.
            half: [3] half sizes along its own axes.
            color: RGB in [0, 1].
            roll: rotation about z in radians; a quarter turn brings its y axis to the x axis. Default 0.
        """
        c, s = math.cos(roll), math.sin(roll)
        rotation = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        self._solids[shape].append((self._point(center), rotation / np.array(half), color))

    def placed(self, scale: float, yaw_T: np.ndarray, position_T3: np.ndarray) -> dict:
        """Returns the parts in stage coordinates, as {shape: (rows, colours [N, 3])}.

        Rows of "capsule" are [T, N, 7]: one end, the way to the other end, the radius. Rows of the `SOLIDS` are
        [T, N, 3, 4]: the affine map of a point of the stage into the unit shape.

        Args:
            scale: height of the body in metres.
            yaw_T: yaw in radians, positive to the left.
            position_T3: point on the floor below the body, metres.
        """
        turn_T33, position_T3 = self._place(scale, yaw_T, position_T3)
        out = {}
        if self._ends:
            ends = np.array(self._ends)  # [N, 2, T, 3]
            ends = np.einsum("tij,nktj->tnki", turn_T33, ends) * scale + position_T3[:, None, None]
            radii = np.broadcast_to(scale * np.array(self._radii)[:, None], (self.frames, len(self._radii), 1))
            rows = np.concatenate([ends[:, :, 0], ends[:, :, 1] - ends[:, :, 0], radii], -1)
            out["capsule"] = (rows, np.array(self._capsule_colors))
        for shape, items in self._solids.items():
            if not items:
                continue
            # q = A Rᵀ (p - centre) / scale, kept as [A Rᵀ / scale | -A Rᵀ centre / scale].
            center = np.einsum("tij,ntj->tni", turn_T33, np.array([i[0] for i in items])) * scale + position_T3[:, None]
            linear = np.einsum("tij,njk->tnki", turn_T33, np.array([i[1] for i in items])) / scale
            rows = np.concatenate([linear, -linear @ center[..., None]], -1)
            out[shape] = (rows, np.array([i[2] for i in items]))
        return out

    def placed_joints(self, scale: float, yaw_T: np.ndarray, position_T3: np.ndarray) -> np.ndarray:
        """Returns the joints [T, J, 3] in stage coordinates; the arguments are those of `placed`."""
        turn_T33, position_T3 = self._place(scale, yaw_T, position_T3)
        return np.einsum("tij,tkj->tki", turn_T33, self._joints) * scale + position_T3[:, None]

    def _place(self, scale: float, yaw_T: np.ndarray, position_T3: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Rotations [T, 3, 3] and translations [T, 3] from the body's own frame, in metres, to the stage."""
        cos, sin, zero = np.cos(yaw_T), np.sin(yaw_T), np.zeros_like(yaw_T)
        turn_T33 = np.stack([cos, zero, -sin, zero, zero + 1, zero, sin, zero, cos], -1).reshape(-1, 3, 3)
        lift_T = np.broadcast_to(self.lift, self.frames)
        return turn_T33, position_T3 + scale * np.stack([0 * lift_T, lift_T, 0 * lift_T], -1)


def subject_parts(subject: Subject, time_T: np.ndarray) -> dict:
    """Returns the parts of a subject at `time_T` seconds, as `Parts.placed` does."""
    return _drawn(subject, time_T).placed(subject.height, subject.yaw_at(time_T), subject.position(time_T))


def subject_joints(subject: Subject, time_T: np.ndarray) -> np.ndarray:
    """Returns the key joints [T, J, 3] of a subject at `time_T` seconds, in stage coordinates, metres.

    They are `camera.framing.JOINTS`. An animal's wrists are its fore feet, its knees and ankles those of the hind legs.
    A car's head is its nose, its pelvis the tail; wrists, knees and ankles are lamps, front wheels and rear wheels.
    """
    return _drawn(subject, time_T).placed_joints(subject.height, subject.yaw_at(time_T), subject.position(time_T))


def _drawn(subject: Subject, time_T: np.ndarray) -> Parts:
    """A subject's parts in its own frame."""
    parts = Parts(len(time_T))
    draw = {"robot": _robot, "dog": _dog, "horse": _horse, "car": _car}.get(subject.kind, _person)
    draw(parts, subject, time_T)
    return parts


def prop_parts(prop: Prop) -> dict:
    """Returns the parts of a prop at one time (T = 1; props stand still), as `Parts.placed` does."""
    parts, color = Parts(1), COLORS[prop.color]
    if prop.shape == "box":
        parts.solid("box", (0, -0.5, 0), (0.5, 0.5, 0.5), color)
    elif prop.shape == "ball":
        parts.ball((0, -0.5, 0), 0.5, color)
    elif prop.shape == "column":
        parts.solid("cylinder", (0, -0.5, 0), (0.07, 0.5, 0.07), color)
        parts.solid("box", (0, -0.02, 0), (0.085, 0.02, 0.085), color)
        parts.solid("box", (0, -0.98, 0), (0.085, 0.02, 0.085), color)
    elif prop.shape == "tree":
        parts.solid("cylinder", (0, -0.2, 0), (0.035, 0.2, 0.035), (0.36, 0.24, 0.15))
        parts.solid("ellipsoid", (0, -0.55, 0), (0.28, 0.24, 0.28), color)
        parts.solid("ellipsoid", (0.04, -0.80, 0.03), (0.19, 0.20, 0.19), color)
    else:
        parts.solid("box", (0, -0.5, 0), (1.0, 0.5, 0.06), color)
    return parts.placed(prop.size, np.array([prop.yaw]), np.array([[prop.x, 0.0, prop.z]]))


def _stride(subject: Subject, time_T: np.ndarray, length: float):
    """Phase of the gait in radians, a full turn for every `length` heights of way; None when it does not walk."""
    if subject.action != "walk":
        return None
    # The legs move as at 0.8 m/s at least, however slowly the body goes.
    return 2 * math.pi * time_T * max(subject.speed, 0.8) / (length * subject.height)


def _limb(start, length: float, angle):
    """End of a bone that hangs from `start` and swings forward by `angle` (radians, [T] or number)."""
    x, y, z = start
    return x, y + length * np.cos(angle), z + length * np.sin(angle)


def _skeleton(parts: Parts, subject: Subject, time_T: np.ndarray, shoulder: float, hip: float):
    """Joints of a body with two legs: {side: [hip, knee, ankle]} and {side: [shoulder, elbow, hand]}; side is -1 or 1.

    -1 is left and 1 right. The body is moved down or up until the lower foot is on the floor. Someone who sits is on a
    high stool, so the head is about where the framings of a standing person expect it.
    """
    phase = _stride(subject, time_T, 0.8)
    sits = subject.action == "sit"
    legs, lowest = {}, []
    for side in (-1, 1):
        swing = 0.0 if phase is None else 0.5 * side * np.sin(phase)
        # A leg bends most while it swings forward, a quarter of the phase after it was furthest back.
        bend = 0.04 if phase is None else 0.12 + 0.45 * (1 + np.cos(phase + (0 if side > 0 else math.pi))) / 2
        if sits:
            swing, bend = 1.15, 1.0
        knee = _limb((side * hip, -0.50, 0.0), 0.235, swing)
        ankle = _limb(knee, 0.225, swing - bend)
        legs[side] = [(side * hip, -0.50, 0.0), knee, ankle]
        lowest.append(np.broadcast_to(ankle[1], len(time_T)))
    parts.lift = _SEATED if sits else -0.04 - np.max(lowest, axis=0)

    arms = {}
    for side in (-1, 1):
        top = (side * shoulder, -0.795, 0.0)
        swing = 0.0 if phase is None else -0.45 * side * np.sin(phase)  # against the leg of the same side
        elbow = _limb((side * (shoulder + 0.035), top[1], 0.0), 0.16, swing)
        hand = _limb((side * (shoulder + 0.045), elbow[1], elbow[2]), 0.155, swing + 0.18)
        if sits:
            hand = _limb((side * (shoulder - 0.01), elbow[1], elbow[2]), 0.155, 1.2)
        if subject.action == "wave" and side > 0:
            beat = 0.45 * np.sin(2 * math.pi * 1.2 * time_T)
            elbow = (shoulder + 0.13, top[1] - 0.05, 0.05)
            hand = (elbow[0] + 0.155 * np.sin(beat + 0.1), elbow[1] - 0.155 * np.cos(beat + 0.1), 0.07)
        arms[side] = [top, elbow, hand]
    return legs, arms


def _stool(parts: Parts) -> None:
    down = -_SEATED  # it is drawn with the body, which hangs lower
    parts.solid("cylinder", (0, -0.405 + down, -0.015), (0.115, 0.018, 0.115), (0.42, 0.30, 0.20))
    parts.capsule((0, -0.39 + down, -0.015), (0, -0.03 + down, -0.015), 0.018, _METAL)
    parts.solid("cylinder", (0, -0.015 + down, -0.015), (0.110, 0.015, 0.110), _METAL)


def _person(parts: Parts, subject: Subject, time_T: np.ndarray) -> None:
    kind, color = subject.kind, COLORS[subject.color]
    broad = {"man": 1.0, "woman": 0.86, "child": 0.95}[kind]
    head = 1.3 if kind == "child" else 1.0
    legs, arms = _skeleton(parts, subject, time_T, 0.115 * broad, 0.052)
    hair, trousers = _HAIR[kind], _TROUSERS[kind]

    face = -1.0 + 0.072 * head
    limbs = {side: (arms[side][2], *legs[side][1:]) for side in (-1, 1)}
    parts.joints([(0, face, 0.005), (0, -0.71, 0), (0, -0.52, 0)], limbs[-1], limbs[1])
    parts.solid("ellipsoid", (0, face, 0.005), (0.050 * head, 0.070 * head, 0.056 * head), _SKIN)
    parts.solid("ellipsoid", (0, face - 0.020 * head, -0.006 * head), (0.055 * head, 0.060 * head, 0.058 * head), hair)
    for side in (-1, 1):
        parts.ball((side * 0.020 * head, face - 0.002, 0.005 + 0.051 * head), 0.0075 * head, _EYE)
    parts.ball((0, face + 0.016 * head, 0.004 + 0.056 * head), 0.010 * head, _SKIN)
    if kind == "woman":  # long hair
        parts.solid("ellipsoid", (0, face + 0.055, -0.034), (0.060, 0.105, 0.034), hair)
    parts.capsule((0, face, -0.005), (0, -0.82, 0), 0.026, _SKIN)

    parts.capsule((-0.085 * broad, -0.79, 0), (0.085 * broad, -0.79, 0), 0.046, color)
    parts.solid("ellipsoid", (0, -0.71, 0.004), (0.122 * broad, 0.145, 0.078), color)
    parts.solid("ellipsoid", (0, -0.57, 0), (0.100 * broad, 0.130, 0.074), color)
    if kind == "woman":  # the skirt of the coat
        forward = 0.05 if subject.action == "sit" else 0.0
        reach = 0.10 if subject.action == "sit" else 0.19
        parts.solid("ellipsoid", (0, -0.46, forward), (0.118, reach, 0.098 + forward), color)

    for side, (hip, knee, ankle) in legs.items():
        parts.capsule(hip, knee, 0.050 * broad, trousers)
        parts.capsule(knee, ankle, 0.036 * broad, trousers)
        heel = (ankle[0], ankle[1] + 0.017, ankle[2])
        parts.capsule(heel, (heel[0] + 0.008 * side, heel[1], heel[2] + 0.075), 0.023, _SHOES)
    for shoulder, elbow, hand in arms.values():
        parts.capsule(shoulder, elbow, 0.034 * broad + 0.002, color)
        parts.capsule(elbow, hand, 0.028 * broad + 0.001, color)
        parts.ball(tuple(1.12 * h - 0.12 * e for h, e in zip(hand, elbow, strict=True)), 0.027, _SKIN)
    if subject.action == "sit":
        _stool(parts)


def _robot(parts: Parts, subject: Subject, time_T: np.ndarray) -> None:
    color = COLORS[subject.color]
    legs, arms = _skeleton(parts, subject, time_T, 0.155, 0.068)
    limbs = {side: (arms[side][2], *legs[side][1:]) for side in (-1, 1)}
    parts.joints([(0, -0.88, 0), (0, -0.685, 0), (0, -0.525, 0)], limbs[-1], limbs[1])
    parts.solid("box", (0, -0.880, 0), (0.085, 0.068, 0.075), color)
    parts.solid("box", (0, -0.890, 0.06), (0.068, 0.026, 0.020), _DARK)
    for side in (-1, 1):
        parts.ball((side * 0.034, -0.890, 0.078), 0.015, _GLOW)
        parts.solid("cylinder", (side * 0.09, -0.88, 0), (0.030, 0.014, 0.030), _METAL, roll=math.pi / 2)
    parts.capsule((0, -0.94, 0), (0, -0.985, 0), 0.006, _METAL)
    parts.ball((0, -0.985, 0), 0.015, (0.9, 0.2, 0.15))
    parts.capsule((0, -0.83, 0), (0, -0.76, 0), 0.035, _METAL)
    parts.solid("box", (0, -0.685, 0), (0.135, 0.105, 0.085), color)
    parts.solid("box", (0, -0.700, 0.078), (0.060, 0.040, 0.014), _DARK)
    parts.ball((0.0, -0.700, 0.090), 0.016, _GLOW)
    parts.solid("box", (0, -0.525, 0), (0.090, 0.065, 0.065), _METAL)
    for hip, knee, ankle in legs.values():
        parts.capsule(hip, knee, 0.036, _METAL)
        parts.ball(knee, 0.045, color)
        parts.capsule(knee, ankle, 0.038, color)
        parts.solid("box", (ankle[0], ankle[1] + 0.012, ankle[2] + 0.025), (0.045, 0.028, 0.080), _DARK)
    for shoulder, elbow, hand in arms.values():
        parts.ball(shoulder, 0.046, color)
        parts.capsule(shoulder, elbow, 0.027, _METAL)
        parts.capsule(elbow, hand, 0.036, color)
        parts.ball(tuple(1.2 * h - 0.2 * e for h, e in zip(hand, elbow, strict=True)), 0.030, _DARK)
    if subject.action == "sit":
        _stool(parts)


@dataclasses.dataclass(frozen=True)
class _Legs:
    """Four legs, in heights of the body: places of the hips (`half` to the sides, `front` and `back` along z, `top`
    above the floor) and radii of upper bone, lower bone and hoof."""

    half: float
    front: float
    back: float
    top: float
    upper: float
    lower: float
    hoof: float


_DOG_LEGS = _Legs(half=0.12, front=0.30, back=-0.34, top=0.48, upper=0.068, lower=0.048, hoof=0.055)
_HORSE_LEGS = _Legs(half=0.085, front=0.27, back=-0.28, top=0.46, upper=0.050, lower=0.032, hoof=0.036)


def _trot(parts: Parts, legs: _Legs, phase, color, hoof_color) -> dict[int, list]:
    """Draws four legs of two bones each. Diagonal pairs swing together, as in a trot.

    Returns:
        of each side (-1 left, 1 right) the fore foot, and the knee and the foot of the hind leg.
    """
    lowest, limbs = [], {-1: [], 1: []}
    for side in (-1, 1):
        for z, sign in ((legs.front, side), (legs.back, -side)):
            swing = 0.0 if phase is None else 0.42 * sign * np.sin(phase)
            fold = 0.0 if phase is None else 0.55 * np.maximum(0.0, sign * np.cos(phase))
            hip = (side * legs.half, -legs.top, z)
            knee = _limb(hip, 0.5 * legs.top, swing)
            foot = _limb(knee, 0.5 * legs.top - legs.hoof, swing - fold)
            parts.capsule(hip, knee, legs.upper, color)
            parts.capsule(knee, foot, legs.lower, color)
            parts.ball(foot, legs.hoof, hoof_color)
            lowest.append(np.broadcast_to(foot[1], parts.frames))
            limbs[side] += [foot] if z > 0 else [knee, foot]
    parts.lift = -legs.hoof - np.max(lowest, axis=0)
    return limbs


def _dog(parts: Parts, subject: Subject, time_T: np.ndarray) -> None:
    color = COLORS[subject.color]
    dark = tuple(0.55 * c for c in color)
    limbs = _trot(parts, _DOG_LEGS, _stride(subject, time_T, 1.1), color, dark)
    parts.joints([(0, -0.86, 0.54), (0, -0.56, 0.20), (0, -0.57, -0.20)], limbs[-1], limbs[1])
    parts.solid("ellipsoid", (0, -0.56, 0.20), (0.175, 0.195, 0.26), color)
    parts.solid("ellipsoid", (0, -0.57, -0.20), (0.150, 0.160, 0.30), color)
    parts.capsule((0, -0.62, 0.34), (0, -0.80, 0.50), 0.095, color)
    parts.solid("ellipsoid", (0, -0.86, 0.54), (0.125, 0.130, 0.145), color)
    parts.capsule((0, -0.82, 0.62), (0, -0.80, 0.76), 0.062, color)
    parts.ball((0, -0.835, 0.82), 0.030, _EYE)
    for side in (-1, 1):
        parts.solid("ellipsoid", (side * 0.120, -0.84, 0.49), (0.032, 0.115, 0.062), dark, roll=-0.25 * side)
        parts.ball((side * 0.062, -0.905, 0.655), 0.022, _EYE)
    wag = 0.10 * np.sin(2 * math.pi * 1.6 * time_T)
    parts.capsule((0, -0.64, -0.46), (wag, -0.86, -0.64), 0.036, color)


def _horse(parts: Parts, subject: Subject, time_T: np.ndarray) -> None:
    color = COLORS[subject.color]
    mane = (0.10, 0.07, 0.06) if subject.color != "black" else (0.24, 0.22, 0.22)
    limbs = _trot(parts, _HORSE_LEGS, _stride(subject, time_T, 0.95), color, mane)
    parts.joints([(0, -0.85, 0.45), (0, -0.52, 0.16), (0, -0.54, -0.22)], limbs[-1], limbs[1])
    parts.solid("ellipsoid", (0, -0.52, 0.16), (0.135, 0.150, 0.22), color)
    parts.solid("ellipsoid", (0, -0.52, -0.02), (0.130, 0.130, 0.32), color)
    parts.solid("ellipsoid", (0, -0.54, -0.22), (0.135, 0.145, 0.19), color)
    parts.capsule((0, -0.57, 0.23), (0, -0.83, 0.42), 0.078, color)
    parts.capsule((0, -0.66, 0.235), (0, -0.92, 0.375), 0.034, mane)
    parts.capsule((0, -0.88, 0.43), (0, -0.76, 0.60), 0.052, color)
    parts.ball((0, -0.745, 0.615), 0.047, tuple(0.6 * c for c in color))
    for side in (-1, 1):
        parts.capsule((side * 0.034, -0.92, 0.42), (side * 0.042, -0.975, 0.425), 0.017, color)
        parts.ball((side * 0.045, -0.86, 0.475), 0.012, _EYE)
    sway = 0.03 * np.sin(2 * math.pi * 0.5 * time_T)
    parts.capsule((0, -0.60, -0.40), (0.5 * sway, -0.50, -0.47), 0.028, mane)
    parts.capsule((0.5 * sway, -0.50, -0.47), (sway, -0.24, -0.48), 0.034, mane)


def _car(parts: Parts, subject: Subject, time_T: np.ndarray) -> None:
    color, side = COLORS[subject.color], math.pi / 2
    limbs = {x: [(0.40 * x, -0.46, 1.47), (0.53 * x, -0.23, 0.85), (0.53 * x, -0.23, -0.85)] for x in (-1, 1)}
    parts.joints([(0, -0.42, 1.30), (0, -0.62, 0), (0, -0.42, -1.30)], limbs[-1], limbs[1])
    parts.solid("box", (0, -0.42, 0), (0.58, 0.17, 1.38), color)
    for z in (1.38, -1.38):  # rounded nose and tail
        parts.solid("cylinder", (0, -0.42, z), (0.17, 0.58, 0.12), color, roll=side)
    parts.solid("cylinder", (0, -0.62, -0.12), (0.36, 0.50, 0.90), _GLASS, roll=side)
    parts.solid("box", (0, -0.960, -0.12), (0.46, 0.030, 0.40), color)
    for x in (-0.505, 0.505):
        parts.solid("box", (x, -0.76, -0.12), (0.012, 0.20, 0.035), color)
    for x in (-0.53, 0.53):
        for z in (0.85, -0.85):
            parts.solid("cylinder", (x, -0.23, z), (0.23, 0.09, 0.23), _DARK, roll=side)
            parts.solid("cylinder", (1.03 * x, -0.23, z), (0.12, 0.085, 0.12), _METAL, roll=side)
        parts.solid("ellipsoid", (0.75 * x, -0.46, 1.47), (0.10, 0.07, 0.06), _LAMP)
        parts.solid("box", (0.8 * x, -0.47, -1.48), (0.10, 0.045, 0.03), (0.75, 0.05, 0.05))
    parts.solid("box", (0, -0.30, 1.47), (0.30, 0.05, 0.04), _DARK)
