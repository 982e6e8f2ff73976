"""Geometry of the film grammar: framings and camera moves as poses over time, in stage coordinates.

Stage coordinates: metres, y down, floor at y = 0. A camera state is (position, yaw, pitch, roll) with yaw to the
right, pitch up and roll clockwise positive; its pose is R = Ry(yaw) Rx(pitch) Rz(roll), OpenCV axes.
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
"""Camera to subject for a 1.7 m subject and a 35 mm lens (54° across), metres."""

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
"""Camera's place around the subject in degrees, 0 where the subject faces, positive on the subject's right."""

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
ARCS = {"arc left": 1, "arc right": -1}  # sign of the azimuth change
TRACKS = ("lead", "follow", "track left", "track right")
ANGLES = {"yaw": (58.0, 100.0), "pitch": (45.0, 64.0), "roll": (45.0, 85.0)}
ARC_ANGLES = (58.0, 115.0)
WHIP_ANGLES = (75.0, 120.0)
_LEAD = {"move forward": 1.0, "move down": 1.0, "crane down": 1.0} | dict.fromkeys(
    ("move left", "move right", "arc left", "arc right"), 0.5
)
SPEED_RANGE = {"slow": (0.0, 0.3), "normal": (0.3, 0.7), "fast": (0.7, 1.0)}


@dataclasses.dataclass(frozen=True)
class Move:
    """One camera move: its name (a key of `phrases.VERBS`) and how wide it is, 0 narrow to 1 wide."""

    name: str
    width: float = 0.5


@dataclasses.dataclass(frozen=True)
class Segment:
    """Moves made at the same time over a share of the shot. No moves at all is a static camera."""

    moves: tuple[Move, ...]
    share: float = 1.0


@dataclasses.dataclass(frozen=True)
class Framing:
    """How the subject is framed: keys of DISTANCES, ELEVATIONS and AZIMUTHS."""

    size: str
    angle: str
    side: str


@dataclasses.dataclass
class _State:
    position: np.ndarray
    yaw: float
    pitch: float
    roll: float = 0.0


def shot_poses(
    framing: Framing,
    segments: tuple[Segment, ...],
    *,
    target: np.ndarray,
    height: float,
    facing: float,
    travel: np.ndarray,
    frames: int,
    ramp: float = 0.1,
    distance_factor: float = 1.0,
) -> np.ndarray:
    """Camera-to-world poses [frames, 3, 4] of one shot in stage coordinates.

    target: subject's feet [3] where the shot frames it; height: subject's height in metres; facing: its yaw in
    radians; travel: the subject's displacement [3] during the shot, which tracking moves follow; ramp: share of each
    segment spent speeding up and slowing down.
    """
    distance = DISTANCES[framing.size] * distance_factor * max(height, 0.9) / 1.7
    state, aim = _frame(framing, target, height, facing, distance)
    state = _lead_in(state, framing, segments, distance, aim)
    u = np.linspace(0, 1, frames)
    edges = np.concatenate([[0], np.cumsum([s.share for s in segments])])
    edges /= edges[-1]
    poses = np.empty((frames, 3, 4))
    for segment, start, end in zip(segments, edges[:-1], edges[1:], strict=True):
        inside = (u >= start - 1e-9) & (u <= end + 1e-9)
        progress = _ease(np.append(np.clip((u[inside] - start) / (end - start), 0, 1), 1.0), ramp)
        path = _run(state, segment, progress, distance, aim, travel * (end - start))
        position, yaw, pitch, roll = path
        poses[inside] = _poses(position[:-1], yaw[:-1], pitch[:-1], roll[:-1])
        state = _State(position[-1], yaw[-1], pitch[-1], roll[-1])
    return poses


def handheld(pose_T34: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Adds the small sway of a shoulder camera: 5 mm and 0.6° of slow noise, below the motion-tag thresholds."""
    u = np.linspace(0, 2 * np.pi, len(pose_T34))[:, None]
    phase = rng.uniform(0, 2 * np.pi, (2, 6))
    sway = np.sin(u + phase[0]) + 0.5 * np.sin(2 * u + phase[1])
    sway -= sway[:1]
    shake = se3.make(se3.so3_exp(np.radians(0.4) * sway[:, :3]), 0.003 * sway[:, 3:])
    return se3.compose(pose_T34, shake)


def _frame(framing, target, height, facing, distance):
    """Camera state that frames the subject as asked, and the point it aims at."""
    aim = target + np.array([0.0, -max(AIM[framing.size] * height, 0.35), 0.0])
    elevation = np.radians(ELEVATIONS[framing.angle])
    azimuth = facing + np.radians(AZIMUTHS[framing.side])
    level = distance * np.cos(elevation)
    position = aim + np.array([level * np.sin(azimuth), -distance * np.sin(elevation), level * np.cos(azimuth)])
    position[1] = min(position[1], -0.15)
    drop = aim - position
    return _State(position, azimuth + np.pi, -np.arctan2(drop[1], np.hypot(drop[0], drop[2]))), aim


def _lead_in(state, framing, segments, distance, aim):
    """Moves the start back so that the first move ends on, or is centred on, the framing that was asked for."""
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
    """Position [n, 3], yaw, pitch, roll [n] along `progress` (0 → 1) of the moves of one segment."""
    n = len(progress)
    angle = {"yaw": np.full(n, state.yaw), "pitch": np.full(n, state.pitch), "roll": np.full(n, state.roll)}
    position = np.broadcast_to(state.position, (n, 3)).copy()
    turning = any(m.name in ROTATIONS for m in segment.moves) and len(segment.moves) > 1
    for move in segment.moves:
        if move.name in ROTATIONS:
            axis, sign = ROTATIONS[move.name]
            low, high = WHIP_ANGLES if move.name.startswith("whip") else ANGLES[axis]
            extent = np.radians(low + move.width * (high - low)) * (0.85 if turning and axis == "yaw" else 1.0)
            step = _whip(progress) if move.name.startswith("whip") else progress
            angle[axis] = angle[axis] + sign * extent * step
    angle["pitch"] = np.clip(angle["pitch"], np.radians(-88), np.radians(88))
    for move in segment.moves:
        if move.name in ARCS:
            turn = ARCS[move.name] * np.radians(ARC_ANGLES[0] + move.width * (ARC_ANGLES[1] - ARC_ANGLES[0])) * progress
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
    position[:, 1] = np.minimum(position[:, 1], -0.12)
    return position, angle["yaw"], angle["pitch"], angle["roll"]


def _glide(name, yaw, pitch, progress):
    """Unit-reach displacement [n, 3] along the camera's own axes as it turns, integrated over `progress`."""
    right, up, forward = TRANSLATIONS[name]
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
    """Progress with a trapezoid speed: it rises over the first `ramp` of the time and falls over the last."""
    if ramp <= 0:
        return x
    top = 1 / (1 - ramp)
    rise = np.minimum(x, ramp)
    fall = np.maximum(x - (1 - ramp), 0)
    return top * (rise**2 / (2 * ramp) + np.clip(x - ramp, 0, None) - fall**2 / (2 * ramp))


def _whip(progress):
    """All of the turn inside the second quarter of the time (negative progress, the lead-in, passes through)."""
    return np.where(progress < 0, progress, np.clip((progress - 0.25) / 0.25, 0, 1))
