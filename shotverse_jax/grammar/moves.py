"""Geometry of the film grammar: framings and camera moves as poses over time, in stage coordinates.

Stage coordinates: metres, y down, floor at y = 0. A camera state is (position, yaw, pitch, roll); yaw to the right,
pitch up and roll clockwise are positive, and the pose is R = Ry(yaw) Rx(pitch) Rz(roll) with OpenCV axes.

Array axes: N points in time; 3 coordinates x, y, z.
"""

import dataclasses

import numpy as np

from shotverse_jax.camera import se3

DISTANCES = {
    "extreme wide": 7.0,
    "wide": 4.2,
    "medium wide": 3.0,
    "medium": 2.1,
    "medium close": 1.5,
    "close": 1.0,
}
"""Distance in metres from the camera to a subject of 1.7 m, for a 35 mm lens (54° across)."""

AIM = {"extreme wide": 0.5, "wide": 0.5, "medium wide": 0.6, "medium": 0.75, "medium close": 0.85, "close": 0.9}
"""Height the camera aims at, as a fraction of the subject's height."""

ELEVATIONS = {"eye": 0.0, "low": -18.0, "high": 32.0, "overhead": 72.0}
AZIMUTHS = {
    "front": 0.0,
    "front right": 45.0,
    "right": 90.0,
    "back right": 135.0,
    "back": 180.0,
    "back left": -135.0,
    "left": -90.0,
    "front left": -45.0,
}
"""Direction of the camera seen from the subject, degrees: 0 is where it faces, positive is on its right."""

ROTATIONS = {  # move: (axis of the state, sign)
    "yaw left": ("yaw", -1),
    "yaw right": ("yaw", 1),
    "pitch up": ("pitch", 1),
    "pitch down": ("pitch", -1),
    "roll left": ("roll", -1),
    "roll right": ("roll", 1),
    "whip left": ("yaw", -1),
    "whip right": ("yaw", 1),
}
TRANSLATIONS = {  # move: (right, up, forward) in the camera's own, unpitched frame
    "move left": (-1, 0, 0),
    "move right": (1, 0, 0),
    "move up": (0, 1, 0),
    "move down": (0, -1, 0),
    "move forward": (0, 0, 1),
    "move backward": (0, 0, -1),
    "crane up": (0, 1, -0.8),
    "crane down": (0, -1, 0.8),
}
ARCS = {"arc left": 1, "arc right": -1}
"""Sign of the change of azimuth."""
TRACKS = ("lead", "follow", "track left", "track right")
ANGLES = {"yaw": (58.0, 100.0), "pitch": (45.0, 64.0), "roll": (45.0, 85.0)}
"""Degrees of the narrowest and of the widest turn; both are wide enough for the motion tags to see."""
ARC_ANGLES = (58.0, 115.0)
WHIP_ANGLES = (75.0, 120.0)
_LEAD = {"move forward": 1.0, "move down": 1.0, "crane down": 1.0} | dict.fromkeys(
    ("move left", "move right", "arc left", "arc right"), 0.5
)
"""Share of a move that is made before the camera reaches the framing that the caption names."""
SPEED_RANGE = {"slow": (0.0, 0.3), "normal": (0.3, 0.7), "fast": (0.7, 1.0)}
"""Widths of moves that the words for a speed stand for: in one shot, a wider move is a faster one."""


@dataclasses.dataclass(frozen=True)
class Move:
    """One camera move.

    Attributes:
        name: a key of `phrases.VERBS`.
        width: extent of the move, from 0 (narrow) to 1 (wide); default 0.5.
    """

    name: str
    width: float = 0.5


@dataclasses.dataclass(frozen=True)
class Segment:
    """Moves made at the same time, over a part of the shot.

    Attributes:
        moves: the moves; none for a static camera.
        share: length of the segment relative to the shot's other segments; default 1.
    """

    moves: tuple[Move, ...]
    share: float = 1.0


@dataclasses.dataclass(frozen=True)
class Framing:
    """How the subject is framed.

    Attributes:
        size: a key of `DISTANCES`.
        angle: a key of `ELEVATIONS`.
        side: a key of `AZIMUTHS`.
    """

    size: str
    angle: str
    side: str


@dataclasses.dataclass(frozen=True, eq=False)
class Mark:
    """Where the subject of a shot stands, and how it walks during the shot.

    Attributes:
        feet: [3] point on the floor below the subject where the shot frames it, metres.
        height: height of the subject, metres.
        facing: direction it faces, radians; 0 is +z, positive turns to the right.
        travel: [3] displacement of the subject during the shot, metres; tracking moves follow it.
    """

    feet: np.ndarray
    height: float
    facing: float
    travel: np.ndarray


@dataclasses.dataclass
class _State:
    position: np.ndarray
    yaw: float
    pitch: float
    roll: float = 0.0


def shot_poses(
    framing: Framing,
    segments: tuple[Segment, ...],
    mark: Mark,
    frames: int,
    ramp: float = 0.1,
    distance_factor: float = 1.0,
) -> np.ndarray:
    """Returns the camera poses of one shot.

    Args:
        framing: how the subject is framed.
        segments: moves of the camera, in order.
        mark: the subject.
        frames: number of poses.
        ramp: share of each segment in which the camera speeds up, and in which it slows down; default 0.1.
        distance_factor: factor on the distance of the framing, for variety; default 1.

    Returns:
        [frames, 3, 4] camera-to-world poses in stage coordinates, metres.
    """
    # The distances are for 1.7 m; a smaller subject is filmed from nearer, but no nearer than one of 0.9 m.
    distance = DISTANCES[framing.size] * distance_factor * max(mark.height, 0.9) / 1.7
    state, aim = _frame(framing, mark, distance)
    state = _lead_in(state, framing, segments, distance, aim)
    u = np.linspace(0, 1, frames)
    edges = np.concatenate([[0], np.cumsum([s.share for s in segments])])
    edges /= edges[-1]
    poses = np.empty((frames, 3, 4))
    for segment, start, end in zip(segments, edges[:-1], edges[1:], strict=True):
        inside = (u >= start - 1e-9) & (u <= end + 1e-9)
        # One more point, at the segment's very end, is the state in which the next segment begins: the frames of two
        # segments need not meet there.
        progress = _ease(np.append(np.clip((u[inside] - start) / (end - start), 0, 1), 1.0), ramp)
        path = _run(state, segment, progress, distance, aim, mark.travel * (end - start))
        position, yaw, pitch, roll = path
        poses[inside] = _poses(position[:-1], yaw[:-1], pitch[:-1], roll[:-1])
        state = _State(position[-1], yaw[-1], pitch[-1], roll[-1])
    return poses


def handheld(pose_T34: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds the sway of a camera on a shoulder, about 5 mm and 0.6°, slow and below the motion tags' thresholds."""
    u = np.linspace(0, 2 * np.pi, len(pose_T34))[:, None]
    phase = rng.uniform(0, 2 * np.pi, (2, 6))
    sway = np.sin(u + phase[0]) + 0.5 * np.sin(2 * u + phase[1])
    # The shot begins exactly on its framing.
    sway -= sway[:1]
    shake = se3.make(se3.so3_exp(np.radians(0.4) * sway[:, :3]), 0.003 * sway[:, 3:])
    return se3.compose(pose_T34, shake)


def _frame(framing: Framing, mark: Mark, distance: float):
    """Camera state that frames the subject as asked, and the point it aims at."""
    aim = mark.feet + np.array([0.0, -max(AIM[framing.size] * mark.height, 0.35), 0.0])
    elevation = np.radians(ELEVATIONS[framing.angle])
    azimuth = mark.facing + np.radians(AZIMUTHS[framing.side])
    level = distance * np.cos(elevation)
    position = aim + np.array([level * np.sin(azimuth), -distance * np.sin(elevation), level * np.cos(azimuth)])
    position[1] = min(position[1], -0.15)  # a low camera stays above the floor
    drop = aim - position
    # The camera looks back to where the subject is, hence half a turn. y points down, so looking down is a negative
    # pitch.
    return _State(position, azimuth + np.pi, -np.arctan2(drop[1], np.hypot(drop[0], drop[2]))), aim


def _lead_in(state, framing, segments, distance, aim):
    """Moves the start back, so that the first move ends on the asked framing or has it in its middle.

    "Push in to a close-up" names the end of the move, "pull back from a close-up" its start.
    """
    moves = next((s.moves for s in segments if s.moves), ())
    for move in moves:
        back = _LEAD.get(move.name, 0.0)
        if move.name == "move forward" and DISTANCES[framing.size] > DISTANCES["medium"]:
            back = 0.0  # pushing in from a wide shot starts wide
        if move.name == "move backward" and framing.size == "extreme wide":
            back = 1.0
        if back:
            path = _run(state, Segment((move,)), np.array([0.0, -back]), distance, aim, np.zeros(3))
            state = _State(*(values[-1] for values in path))
    return state


def _run(state, segment, progress, distance, aim, travel):
    """Position [N, 3], yaw, pitch, roll [N] along `progress` [N] (0 → 1) of the moves of one segment."""
    n = len(progress)
    angle = {"yaw": np.full(n, state.yaw), "pitch": np.full(n, state.pitch), "roll": np.full(n, state.roll)}
    position = np.broadcast_to(state.position, (n, 3)).copy()
    turning = any(m.name in ROTATIONS for m in segment.moves) and len(segment.moves) > 1
    # Rotations come first, because a camera that moves while it turns moves along its own, turning axes.
    for move in segment.moves:
        if move.name in ROTATIONS:
            axis, sign = ROTATIONS[move.name]
            low, high = WHIP_ANGLES if move.name.startswith("whip") else ANGLES[axis]
            extent = np.radians(low + move.width * (high - low)) * (0.85 if turning and axis == "yaw" else 1.0)
            step = _whip(progress) if move.name.startswith("whip") else progress
            angle[axis] = angle[axis] + sign * extent * step
    # At 90 degrees up or down, yaw and roll would be the same turn.
    angle["pitch"] = np.clip(angle["pitch"], np.radians(-88), np.radians(88))
    for move in segment.moves:
        if move.name in ARCS:
            turn = ARCS[move.name] * np.radians(ARC_ANGLES[0] + move.width * (ARC_ANGLES[1] - ARC_ANGLES[0])) * progress
            # Position and yaw turn together about the aim, which therefore keeps its place in the image.
            offset = position - aim
            cos, sin = np.cos(turn), np.sin(turn)
            x, z = offset[:, 0], offset[:, 2]
            position = aim + np.stack([cos * x + sin * z, offset[:, 1], cos * z - sin * x], axis=1)
            angle["yaw"] = angle["yaw"] + turn
        elif move.name in TRACKS:
            position = position + progress[:, None] * travel
        elif move.name in TRANSLATIONS:
            reach = max(0.42 * distance, 0.8) * (0.75 + 0.7 * move.width)
            position = position + reach * _glide(move.name, angle["yaw"], state.pitch, progress)
    # y points down and the floor is at 0, so a camera above the floor has a negative y.
    position[:, 1] = np.minimum(position[:, 1], -0.12)
    return position, angle["yaw"], angle["pitch"], angle["roll"]


def _glide(name, yaw, pitch, progress):
    """Displacement [N, 3] of length 1 along the camera's own axes as it turns, integrated over `progress`."""
    right, up, forward = TRANSLATIONS[name]
    # A push in goes where the camera looks; a truck or a crane stays level or upright when the camera is tilted.
    level = np.cos(pitch) if name in ("move forward", "move backward") else 1.0
    lift = forward * np.sin(pitch) if name in ("move forward", "move backward") else 0.0
    direction = np.stack(
        [
            right * np.cos(yaw) + forward * level * np.sin(yaw),
            np.full_like(yaw, -up - lift),
            -right * np.sin(yaw) + forward * level * np.cos(yaw),
        ],
        axis=1,
    )
    # Trapezoid rule. The first value counts too: a lead-in starts at a progress that is not 0.
    middle = (direction[1:] + direction[:-1]) / 2
    steps = middle * np.diff(progress)[:, None]
    return np.concatenate([direction[:1] * progress[0], steps]).cumsum(0)


def _poses(position, yaw, pitch, roll):
    cy, sy, cp, sp, cr, sr = np.cos(yaw), np.sin(yaw), np.cos(pitch), np.sin(pitch), np.cos(roll), np.sin(roll)
    zero = np.zeros_like(yaw)
    turn = np.stack([cy, zero, sy, zero, zero + 1, zero, -sy, zero, cy], -1).reshape(-1, 3, 3)
    tilt = np.stack([zero + 1, zero, zero, zero, cp, -sp, zero, sp, cp], -1).reshape(-1, 3, 3)
    bank = np.stack([cr, -sr, zero, sr, cr, zero, zero, zero, zero + 1], -1).reshape(-1, 3, 3)
    return se3.make(turn @ tilt @ bank, position)


def _ease(x, ramp):
    """Progress with a trapezoid speed, which rises over the first `ramp` of the time and falls over the last."""
    if ramp <= 0:
        return x
    # This speed makes the area below the trapezoid 1, which is the whole move.
    top = 1 / (1 - ramp)
    rise = np.minimum(x, ramp)
    fall = np.maximum(x - (1 - ramp), 0)
    return top * (rise**2 / (2 * ramp) + np.clip(x - ramp, 0, None) - fall**2 / (2 * ramp))


def _whip(progress):
    """Progress of a whip pan: the whole turn is made in the second quarter of the time.

    Negative progress, that of a lead-in, is returned as it is.
    """
    return np.where(progress < 0, progress, np.clip((progress - 0.25) / 0.25, 0, 1))
