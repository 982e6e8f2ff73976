"""The film grammar: an endless, reproducible source of screenplays with the trajectories that satisfy them.

Example number `seed` is a pure function of (seed, split, number of shots). An example is one scene in one world frame.
2, 3 and 4 shots come in the ratio 6:3:1 of ShotVerse-Bench; single shots are added. There are four scene patterns: a
progression from wide to close or back, shot–reverse-shot that keeps to one side of the line (180° rule), free coverage,
and a walk with a tracking camera.
"""

import dataclasses
import zlib
from typing import Literal

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import FILM_BACK_MM, Trajectory
from shotverse_jax.grammar import captions, moves
from shotverse_jax.grammar.moves import Framing, Mark, Move, Segment
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.stage.scene import KINDS, LENS_MM, WALK_PER_SHOT, Scene, Subject, beside, random_scene

SHOT_RATIO = {1: 0.15, 2: 0.51, 3: 0.255, 4: 0.085}
MOVE_RATIO = {"static": 0.10, "one move": 0.52, "two at once": 0.16, "in a row": 0.22}
"""How often a shot is drawn as each kind. A few of those "in a row" become one move (see `_draw`)."""
_THREE_IN_A_ROW = 0.05 / MOVE_RATIO["in a row"]

_SPLITS = {"train": 0, "test": 1}
_PATTERNS = ("progression", "reverse", "coverage", "coverage", "walk")  # the first two need several shots
_SINGLE = (
    ("yaw left", 9), ("yaw right", 9), ("pitch up", 7), ("pitch down", 7), ("roll left", 5), ("roll right", 5),
    ("move left", 8), ("move right", 8), ("move forward", 13), ("move backward", 11), ("move up", 7), ("move down", 7),
    ("arc left", 5), ("arc right", 5), ("crane up", 2), ("crane down", 2), ("whip left", 1.5), ("whip right", 1.5),
)  # fmt: skip
_NAMES = tuple(name for name, _ in _SINGLE)
_ODDS = np.cumsum([odds for _, odds in _SINGLE]) / sum(odds for _, odds in _SINGLE)
_TURNS = ("yaw left", "yaw right", "pitch up", "pitch down", "roll left", "roll right")
_STEPS = ("move left", "move right", "move forward", "move backward", "move up", "move down")


@dataclasses.dataclass(frozen=True)
class Example:
    """One example of the grammar.

    Attributes:
        screenplay: captions and durations.
        trajectory: camera path that satisfies the screenplay; metres, world = first camera.
        scene: the stage it was shot on.
    """

    screenplay: Screenplay
    trajectory: Trajectory
    scene: Scene


def sample_example(
    seed: int,
    split: Literal["train", "test"] = "train",
    num_shots: int | None = None,
    move_weights: tuple[float, ...] = tuple(MOVE_RATIO.values()),
    even_angles: float = 0.0,
) -> Example:
    """Draws example number `seed` of a split.

    The test split is written with held-out sentence patterns, and half of its shots are held-out combinations (of move
    and shot size, or of two moves) that training never shows.

    Args:
        seed: number of the example.
        split: "train" (default) or "test".
        num_shots: number of shots; None (default) draws it by `SHOT_RATIO`.
        move_weights: how often a shot is drawn as each kind in `MOVE_RATIO`, relative to each other.
        even_angles: share of the shots that look from low, eye level or high equally often, whatever the scene pattern;
            in the others eye level prevails. Default 0.

    Raises:
        ValueError: the weights are no ratio of the four kinds, or the share is not in [0, 1].
    """
    _check(move_weights, even_angles)
    # A list of numbers as seed, so that no example of one split or number of shots equals one of another.
    rng = np.random.default_rng([seed, _SPLITS[split], num_shots or 0])
    patterns = captions.TRAIN if split == "train" else captions.HELD_OUT
    count = num_shots or int(rng.choice(list(SHOT_RATIO), p=list(SHOT_RATIO.values())))
    pattern = _pick(rng, _PATTERNS if count > 1 else _PATTERNS[2:])
    subjects, scene_seed = _subjects(rng, pattern)
    framings, frames = _framings(rng, pattern, count), _frame_counts(rng, pattern, count)
    words = [captions.words_for(rng, s.kind, s.description(), s.action) for s in subjects]

    poses, texts = [], []
    for index, framing in enumerate(framings):
        who = index % 2 if pattern == "reverse" else 0
        if even_angles and rng.random() < even_angles:
            framing = dataclasses.replace(framing, angle=_pick(rng, ("low", "eye", "high")))
        subject = subjects[who]
        framing, segments = _moves(rng, framing, split, move_weights, tracking=pattern == "walk" and rng.random() < 0.6)
        tracking = any(m.name in moves.TRACKS for s in segments for m in s.moves)
        # A tracking camera begins with the walker; any other frames the middle of the shot's way.
        walked = WALK_PER_SHOT * (index + (0.0 if tracking else 0.5)) if pattern == "walk" else 0.0
        ahead = subject.facing(0.0)
        mark = Mark(subject.position(0.0) + walked * ahead, subject.height, -subject.yaw, WALK_PER_SHOT * ahead)
        ramp, factor = rng.uniform(0, 0.15), rng.uniform(0.94, 1.06)
        pose_T34 = moves.shot_poses(framing, segments, mark, frames[index], ramp, factor)
        shaky = rng.random() < 0.07
        if shaky:
            pose_T34 = moves.handheld(pose_T34, rng)
        text = captions.shot_caption(rng, framing, segments, words[who], patterns, pose_T34, shaky)
        texts.append(captions.misspell(rng, text) if rng.random() < 0.12 else text)
        poses.append(pose_T34)

    other = subjects[1].description() if len(subjects) > 1 else None
    world = captions.global_caption(rng, words[0], other, patterns)
    if rng.random() < 0.1:  # people also write captions that say nothing
        shots = f"A film in {count} {'shots' if count > 1 else 'shot'}."
        world = _pick(rng, (shots, "A film.", "A scene.", "Short film."))
    return _assemble(world, texts, poses, frames, subjects, scene_seed)


def _check(move_weights: tuple[float, ...], even_angles: float) -> None:
    if len(move_weights) != len(MOVE_RATIO) or min(move_weights) < 0 or not 0 < sum(move_weights) < np.inf:
        raise ValueError(f"move weights are one number for each of {', '.join(MOVE_RATIO)}, not {move_weights}")
    if not 0 <= even_angles <= 1:
        raise ValueError(f"even_angles is a share of the shots, 0 to 1, not {even_angles}")


def _assemble(world, texts, poses, frames, subjects, scene_seed) -> Example:
    """The example of a scene's caption, and of the captions, poses and number of frames of its shots."""
    fps, width, height = 16.0, 832, 480
    seconds = [n / fps for n in frames]
    walking = subjects[0].action == "walk"
    if walking:  # all shots of a walk last equally long but for the first one's extra frame
        subjects = [dataclasses.replace(subjects[0], speed=WALK_PER_SHOT / seconds[-1]), *subjects[1:]]
    focal = width * LENS_MM / FILM_BACK_MM
    trajectory = Trajectory(
        pose_T34=np.concatenate(poses),
        intrinsics_T4=np.array([focal, focal, width / 2, height / 2]),
        width=width,
        height=height,
        shot_T=np.repeat(np.arange(len(frames)), frames),
        fps=fps,
        captions=tuple(texts),
        global_caption=world,
        # The poses are in the stage's coordinates until `from_first_camera` moves both together.
        stage_34=se3.identity(),
    )
    backdrop = random_scene(np.random.default_rng(scene_seed), 1)
    scene = dataclasses.replace(backdrop, subjects=tuple(subjects)).clear_views(trajectory.pose_T34[:, :, 3])
    shots = tuple(Shot(text, second) for text, second in zip(texts, seconds, strict=True))
    screenplay = Screenplay(world, shots, fps=fps, width=width, height=height)
    return Example(screenplay, trajectory.from_first_camera(), scene)


def _pick(rng, items):
    return items[int(rng.random() * len(items))]


def _subjects(rng, pattern) -> tuple[list[Subject], int]:
    """The subjects on the stage, one, or two who face each other for a dialogue; and a seed for the props."""
    people = ("man", "woman", "child", "robot")
    if pattern != "reverse":
        return [_subject(rng, (*people, *people, "dog", "horse", "car"), pattern)], int(rng.integers(2**31))
    first, second = _subject(rng, people, pattern), _subject(rng, people, pattern)
    while second.description() == first.description():  # captions could not tell them apart
        second = _subject(rng, people, pattern)
    return [first, beside(first, second, facing=True)], int(rng.integers(2**31))


def _subject(rng, names, pattern) -> Subject:
    name = _pick(rng, names)
    kind = KINDS[name]
    actions = [a for a in kind.actions if a != "walk"]
    return Subject(name, _pick(rng, kind.colors), "walk" if pattern == "walk" else _pick(rng, actions))


def _frame_counts(rng, pattern, count) -> list[int]:
    """Frames per shot: multiples of 4, and one more for the first, so every cut is at a frame 4t+1."""
    lengths = 4 * rng.integers(8, 25, count)
    if pattern == "walk":  # the same way in every shot, at one speed
        lengths[:] = lengths[0]
    lengths[0] += 1
    return lengths.tolist()


def _framings(rng, pattern, count) -> list[Framing]:
    """Size, angle and side of each shot, by the scene's pattern."""
    sizes = tuple(moves.DISTANCES)
    angle = lambda: _pick(rng, ("eye", "eye", "eye", "eye", "low", "high")) if rng.random() > 0.03 else "overhead"  # noqa: E731
    side = _pick(rng, ("left", "right"))
    near = ("front", f"front {side}", f"front {side}", side, f"back {side}")
    if pattern == "reverse":
        # Both cameras stand on the same side of the line between the two: the sides swap with the one who is seen.
        across = {"left": "right", "right": "left"}
        sides = [f"front {side if i % 2 == 0 else across[side]}" for i in range(count)]
        return [Framing(_pick(rng, ("medium", "medium close", "close")), "eye", s) for s in sides]
    if pattern == "progression":
        order = np.sort(rng.choice(len(sizes), count, replace=False))
        # Sizes are listed from wide to close: most progressions go in, some go out.
        order = order if rng.random() < 0.75 else order[::-1]
        first = "eye" if rng.random() < 0.5 else "high"
        return [Framing(sizes[i], first if n == 0 else angle(), _pick(rng, near)) for n, i in enumerate(order)]
    free = tuple(moves.AZIMUTHS) if count == 1 else (*near, "back")
    return [Framing(_pick(rng, sizes), angle(), _pick(rng, free)) for _ in range(count)]


def _moves(rng, framing, split, move_weights, tracking) -> tuple[Framing, tuple[Segment, ...]]:
    """The framing and the moves of a shot, drawn again until the combination belongs to the split."""
    want_held_out = split == "test" and rng.random() < 0.5
    for _ in range(40):
        choice = _tracking(rng) if tracking else (framing, _draw(rng, framing, move_weights))
        if is_held_out(choice[0].size, choice[1]) == want_held_out:
            break
        if not want_held_out and split == "test":  # the other half of the test shots may be anything
            break
    if tracking:
        return dataclasses.replace(choice[0], size=_pick(rng, ("wide", "medium wide", "medium"))), choice[1]
    return choice


def _tracking(rng) -> tuple[Framing, tuple[Segment, ...]]:
    """A camera that keeps its place beside, ahead of or behind a walking subject."""
    name, side = _pick(rng, (("lead", "front"), ("follow", "back"), ("track left", "left"), ("track right", "right")))
    # Standing on the subject's right, the camera sees it walk to the right of the frame.
    return Framing("medium wide", _pick(rng, ("eye", "eye", "low")), side), (Segment((Move(name),)),)


def _draw(rng, framing, move_weights) -> tuple[Segment, ...]:
    """Segments of a shot of one of the kinds in `MOVE_RATIO`."""
    edges = np.cumsum([0, *move_weights]) / sum(move_weights)
    draw = rng.random()
    kind = int(np.searchsorted(edges, draw, side="right")) - 1
    if kind == 0:
        return (Segment(()),)
    if kind == 1:
        return (Segment((_one(rng, framing),)),)
    if kind == 2:
        pair = (_pick(rng, _STEPS), _pick(rng, _TURNS)) if rng.random() < 0.75 else _diagonal(rng)
        pair = pair if rng.random() < 0.7 else pair[::-1]
        width = _width(rng)
        return (Segment(tuple(Move(name, width) for name in pair)),)
    # No second random number: the uppermost part of the range of "in a row" means three moves.
    parts = 2 if 1 - draw > _THREE_IN_A_ROW * (1 - edges[3]) else 3
    segments = [Segment(() if rng.random() < 0.25 else (_one(rng, framing),)) for _ in range(parts)]
    names = [s.moves[0].name if s.moves else "static" for s in segments]
    if any(a == b for a, b in zip(names, names[1:], strict=False)):  # one move after itself is one move
        return (Segment((_one(rng, framing),)),)
    shares = _pick(rng, ((2, 2), (2, 2), (1, 3), (3, 1))) if parts == 2 else (1, 2, 1)
    return tuple(dataclasses.replace(s, share=float(n)) for s, n in zip(segments, shares, strict=True))


def _one(rng, framing) -> Move:
    """A single move that is possible from this framing."""
    name = _NAMES[int(np.searchsorted(_ODDS, rng.random(), side="right"))]
    if framing.angle == "overhead" and name in _TURNS:
        name = "move up"
    if framing.angle == "high" and name == "pitch down":
        name = "pitch up"
    return Move(name, _width(rng))


def _width(rng) -> float:
    low, high = moves.SPEED_RANGE[_pick(rng, ("slow", "normal", "normal", "fast"))]
    return float(rng.uniform(low, high))


def _diagonal(rng) -> tuple[str, str]:
    axes = (("move left", "move right"), ("move up", "move down"), ("move forward", "move backward"))
    first, second = rng.choice(3, 2, replace=False)
    return _pick(rng, axes[first]), _pick(rng, axes[second])


def is_held_out(size: str, segments: tuple[Segment, ...]) -> bool:
    """Returns True when this combination is kept for the test split: an eighth of all (size, move) and move pairs."""
    names = [m.name for s in segments for m in s.moves]
    # A checksum of the words, because Python's own hash differs from one process to the next.
    key = "|".join([size, names[0]] if len(names) == 1 else ["pair", *names[:2]])
    return bool(names) and zlib.crc32(key.encode()) % 8 == 0
