"""Clips of the stage that show one class of cinematic language each, without end.

A source is one stage: its subjects, props, floor and sky. Every source gives a clip of every class, so that nothing but
the class tells its clips apart, and sources belong to one split each. Clip and source are pure functions of number and
split.
"""

import dataclasses
import zlib
from collections.abc import Callable

import numpy as np

from shotverse_jax.camera import framing, se3
from shotverse_jax.camera.trajectory import FILM_BACK_MM, Trajectory
from shotverse_jax.camera.vocabulary import SIZES
from shotverse_jax.cinematic.facts import Facts
from shotverse_jax.cinematic.measures import measure, subject_distance
from shotverse_jax.cinematic.phrases import CLASSES, classes_of, named
from shotverse_jax.data.cinematic2k import SPLITS
from shotverse_jax.stage.bodies import subject_joints
from shotverse_jax.stage.preview import preview_frames
from shotverse_jax.stage.scene import KINDS, Scene, Subject, random_scene

PEOPLE = ("man", "woman", "child", "robot")
LENGTHS = (17, 21, 25, 29, 33)
"""Frames of a clip; 2 to 4 seconds at 8 frames per second."""
SHALLOW = 0.25
"""Share of the clips whose camera stays and that have depth of field, so that blur alone does not mean a rack focus."""
CONTENT_ONLY = 0.1
"""Share of the captions that do not name the class."""
_TRIES = 200
_SKIES = {
    "day": "in daylight", "overcast": "under a grey sky", "sunset": "at sunset", "dawn": "at dawn", "night": "at night"
}  # fmt: skip
_ACTIONS = {"stand": "standing", "walk": "walking", "turn": "turning around", "wave": "waving", "sit": "sitting"}


@dataclasses.dataclass(frozen=True, eq=False)
class StageClip:
    """One clip.

    Attributes:
        name: its class, of `CLASSES`.
        trajectory: the cameras, in stage coordinates.
        scene: the stage.
        caption: what is seen, and mostly the class, in words.
        source: name of the stage, which clips of other classes share.
        facts: what is true of it (`cinematic.facts`): its class in each group to one of whose classes it belongs, who
            is seen, what they do, and the sky.
        said: those of them that the caption says.
        distance: metres from the first camera to the subject.
    """

    name: str
    trajectory: Trajectory
    scene: Scene
    caption: str
    source: str
    facts: Facts
    said: Facts
    distance: float

    def frames(self) -> np.ndarray:
        """Renders the clip, [T, H, W, 3] uint8."""
        path = self.trajectory
        return np.stack(list(preview_frames(path, self.scene, path.width, path.height)))


def stage_clip(
    name: str, number: int, split: str = "train", height: int = 96, width: int = 144, fps: float = 8.0
) -> StageClip:
    """Returns the clip of a class from source `number` of a split.

    It passes the test of its class, and no other of its group.

    Args:
        name: the class.
        number: number of the source, from 0.
        split: a word of `SPLITS`; default "train".
        height, width: size in pixels; default 96 x 144.
        fps: frames per second; default 8.

    Raises:
        ValueError: the class or the split is unknown.
    """
    group = named(name).group
    if split not in SPLITS:
        raise ValueError(f"the splits are {', '.join(SPLITS)}, got {split!r}")
    place = SPLITS.index(split)
    scene = _source(np.random.default_rng([number, place]))
    rng = np.random.default_rng([number, place, zlib.crc32(name.encode())])
    for _ in range(_TRIES):
        clip = _Camera(rng, scene, height, width, fps)
        draw = {"framing": _framed, "angle": _angled}.get(group) or _MOVES[name]
        draw(clip, name)
        trajectory, joints = clip.trajectory(), clip.joints()
        classes = classes_of(measure(trajectory, joints, clip.subject.height))
        if classes.get(group) == name:
            facts = classes | clip.content()
            caption, said = describe(rng, name, facts)
            source, distance = f"stage-{split}-{number:06d}", subject_distance(trajectory, joints)
            scene = clip.cleared(trajectory)
            return StageClip(name, trajectory, scene, caption, source, facts, said, distance)
    raise RuntimeError(f"{_TRIES} cameras of source {number} did not make a clip of the class {name}")


def _source(rng: np.random.Generator) -> Scene:
    """A stage with one person, and a second one for those clips that need two."""
    scene = random_scene(rng)
    first, second = (_person(rng) for _ in range(2))
    while second.description() == first.description():
        second = _person(rng)
    # On a plain floor a dolly and a zoom could look alike.
    return dataclasses.replace(scene, subjects=(first, second), floor=_pick(rng, ("checker", "stripes")))


def _person(rng: np.random.Generator) -> Subject:
    kind = _pick(rng, PEOPLE)
    return Subject(kind, _pick(rng, KINDS[kind].colors), _pick(rng, ("stand", "wave", "turn")))


def _pick(rng: np.random.Generator, items):
    return items[int(rng.random() * len(items))]


class _Camera:
    """A camera that stands still before a subject, until a class moves it.

    Attributes (shots of T frames; progress_T rises from 0 to 1):
        scene: the stage of the source.
        subjects: who of it is there.
        eye_T3, turn_T33, mm_T, focus_T2: position, rotation, focal length and focus (None for a pinhole).
        distance: metres from the camera to what it aims at.
    """

    def __init__(self, rng: np.random.Generator, scene: Scene, height: int, width: int, fps: float):
        self.rng, self.scene, self._size, self._fps = rng, scene, (width, height), fps
        self.subjects: tuple[Subject, ...] = scene.subjects[:1]
        self.count = _pick(rng, LENGTHS)
        u = np.linspace(0, 1, self.count)
        self.progress_T = u if rng.random() < 0.5 else u * u * (3 - 2 * u)
        self.focus_T2: np.ndarray | None = None
        self.time_T = np.arange(self.count) / fps

    @property
    def subject(self) -> Subject:
        return self.subjects[0]

    def joints(self) -> np.ndarray:
        return subject_joints(self.subject, self.time_T)

    def content(self) -> dict[str, str]:
        """Who is seen, what they do, and the sky, in words."""
        who = " and ".join(subject.description() for subject in self.subjects)
        return {"who": who, "action": _ACTIONS[self.subject.action], "sky": _SKIES[self.scene.sky]}

    def stand(self, size: float, elevation: float, mm: float | None = None) -> None:
        """Puts the camera before the subject, which has `size` heights of the picture, at `elevation` degrees."""
        rng, (width, height) = self.rng, self._size
        mm = _pick(rng, (28.0, 35.0, 50.0)) if mm is None else mm
        self.distance = mm / FILM_BACK_MM * width / height * self.subject.height / size
        aim_3 = np.asarray(framing.aim(self.joints()[:1], np.array([size])))[0].astype(np.float64)
        azimuth, rise = np.radians(rng.uniform(-70, 70)), np.radians(elevation)
        level = self.distance * np.cos(rise)
        way_3 = np.array([level * np.sin(azimuth), -self.distance * np.sin(rise), level * np.cos(azimuth)])
        eye_3 = aim_3 + way_3
        eye_3[1] = min(eye_3[1], -0.12)  # above the floor
        # The subject need not be in the middle of the picture.
        side_3 = np.cross([0.0, 1.0, 0.0], -way_3) / self.distance
        reach = 0.12 * self.distance * FILM_BACK_MM / mm
        look_3 = aim_3 + side_3 * rng.uniform(-reach, reach)
        self.aim_at(eye_3, look_3, mm)

    def aim_at(self, eye_3: np.ndarray, look_3: np.ndarray, mm: float) -> None:
        pose_34 = se3.look_at(eye_3, look_3)
        self.eye_T3 = np.tile(eye_3, (self.count, 1))
        self.turn_T33 = np.tile(pose_34[:, :3], (self.count, 1, 1))
        self.mm_T = np.full(self.count, mm)

    def blur_some(self) -> None:
        """Gives some of the clips a focus that stays on the subject."""
        if self.rng.random() < SHALLOW:
            self.focus_T2 = np.tile([self.distance, self.rng.uniform(0.7, 2.0)], (self.count, 1))

    def trajectory(self) -> Trajectory:
        (width, height), focal_T = self._size, self.mm_T / FILM_BACK_MM * self._size[0]
        middle_T2 = np.tile([width / 2, height / 2], (self.count, 1))
        return Trajectory(
            pose_T34=se3.make(self.turn_T33, self.eye_T3),
            intrinsics_T4=np.concatenate([focal_T[:, None], focal_T[:, None], middle_T2], axis=1),
            width=width,
            height=height,
            shot_T=np.zeros(self.count, np.int32),
            fps=self._fps,
            stage_34=se3.identity(),
            focus_T2=self.focus_T2,
        )

    def cleared(self, trajectory: Trajectory) -> Scene:
        """The stage without props that stand between the camera and a subject, wherever it is by then."""
        scene = dataclasses.replace(self.scene, subjects=self.subjects)
        props = scene.props
        for subject in self.subjects:
            for k in range(0, self.count, 4):
                x, _, z = subject.position(self.time_T[k])
                there = dataclasses.replace(scene, subjects=(dataclasses.replace(subject, x=x, z=z),), props=props)
                props = there.clear_views(trajectory.pose_T34[k : k + 1, :, 3]).props
        return dataclasses.replace(scene, props=props)


def _size_between(rng, *names: str) -> float:
    """A height of the body in pictures, within the middle of the range from the first to the last of some sizes."""
    heights = [SIZES[name] for name in names]
    return float(np.exp(rng.uniform(np.log(min(heights) * 0.93), np.log(max(heights) * 1.07))))


def _framed(camera: _Camera, name: str) -> None:
    size = {
        "extreme close-up": "extreme close", "close-up": "close", "medium shot": "medium", "full shot": "wide",
        "long shot": "extreme wide",
    }[name]  # fmt: skip
    spread = {"extreme close": 1.15, "extreme wide": 1.25}.get(size, 1.12)
    height = SIZES[size] * float(np.exp(camera.rng.uniform(-1, 1) * np.log(spread)))
    mm = 50.0 if name in ("extreme close-up", "close-up") else None
    camera.stand(height, camera.rng.uniform(-7, 25 if size in ("wide", "extreme wide") else 12), mm)
    camera.blur_some()


def _angled(camera: _Camera, name: str) -> None:
    low, high = {"eye-level": (-6, 6), "low angle": (-30, -14), "high angle": (18, 45), "overhead": (66, 84)}[name]
    # A low camera that sees the whole body would be under the floor.
    sizes = ("medium", "close") if name == "low angle" else ("wide", "medium close")
    camera.stand(_size_between(camera.rng, *sizes), camera.rng.uniform(low, high))
    camera.blur_some()


def _stand_for_move(camera: _Camera, *sizes: str, mm: float | None = None) -> None:
    camera.stand(_size_between(camera.rng, *sizes), camera.rng.uniform(-6, 8), mm)


def _turn(axis: int, sign: int, low: float, high: float) -> Callable[[_Camera, str], None]:
    """A turn about the camera's x axis (0) or about the vertical (1); the subject is in the middle of the way."""

    def draw(camera: _Camera, _: str) -> None:
        _stand_for_move(camera, "wide", "medium close")
        begin = _pick(camera.rng, (0.0, 0.5, 0.5, 1.0))
        angle_T = sign * np.radians(camera.rng.uniform(low, high)) * (camera.progress_T - begin)
        turn_T33 = se3.so3_exp(angle_T[:, None] * np.eye(3)[axis])
        camera.turn_T33 = turn_T33 @ camera.turn_T33 if axis == 1 else camera.turn_T33 @ turn_T33

    return draw


def _dolly(sign: int) -> Callable[[_Camera, str], None]:
    def draw(camera: _Camera, _: str) -> None:
        _stand_for_move(camera, *(("extreme wide", "medium wide") if sign > 0 else ("medium wide", "medium close")))
        way = camera.distance * camera.rng.uniform(*((0.3, 0.55) if sign > 0 else (0.5, 1.2)))
        camera.eye_T3 = camera.eye_T3 + sign * way * camera.progress_T[:, None] * camera.turn_T33[:, :, 2]

    return draw


def _track(camera: _Camera, _: str) -> None:
    walker = camera.subject
    speed = KINDS[walker.kind].pace * camera.rng.uniform(0.8, 1.2)
    yaw = camera.rng.uniform(-np.pi, np.pi)
    camera.subjects = (dataclasses.replace(walker, action="walk", speed=speed, yaw=yaw),)
    _stand_for_move(camera, "wide", "medium")
    camera.eye_T3 = camera.eye_T3 + camera.subject.position(camera.time_T) - camera.subject.position(0.0)


def _zoom(sign: int) -> Callable[[_Camera, str], None]:
    def draw(camera: _Camera, _: str) -> None:
        ratio, wide = camera.rng.uniform(1.5, 2.6), camera.rng.uniform(26, 36)
        _stand_for_move(camera, "extreme wide", "medium wide", mm=wide)
        rising_T = camera.progress_T if sign > 0 else 1 - camera.progress_T
        camera.mm_T = wide * ratio**rising_T
        camera.blur_some()

    return draw


def _rack(camera: _Camera, _: str) -> None:
    """Two people at two distances before a long lens, one on each side of the picture."""
    rng, mm = camera.rng, camera.rng.uniform(80, 100)
    near, far = rng.uniform(1.6, 2.2), rng.uniform(3.6, 5.5)
    side, height = _pick(rng, (-1, 1)), 0.85 * camera.subject.height
    # The arms of the one in front hang down, so that the other one is seen beside it.
    first = dataclasses.replace(camera.subject, action="stand", yaw=rng.uniform(-0.6, 0.6))
    eye_3 = np.array([0.0, -height, near])
    # At a depth d the picture is d * 36 / mm wide; the two stand about a quarter of that beside its middle.
    quarter = 0.27 * FILM_BACK_MM / mm
    shift_3 = np.array([side * quarter * near, 0.0, 0.0])
    second = dataclasses.replace(
        camera.scene.subjects[1], x=shift_3[0] + side * quarter * far, z=near - far, yaw=rng.uniform(-0.6, 0.6)
    )
    backward = rng.random() < 0.5
    ends = (far, near) if backward else (near, far)
    camera.subjects = (second, first) if backward else (first, second)
    camera.aim_at(eye_3 + shift_3, eye_3 + shift_3 - [0.0, 0.0, 1.0], mm)
    # The focus rests at both ends; between them it moves evenly in 1 / distance, as the blur does.
    pull_T = np.clip((camera.progress_T - 0.2) / 0.6, 0, 1)
    distance_T = 1 / ((1 - pull_T) / ends[0] + pull_T / ends[1])
    camera.focus_T2 = np.stack([distance_T, np.full(camera.count, rng.uniform(0.9, 1.4))], axis=1)
    camera.distance = ends[0]


def _still(camera: _Camera, _: str) -> None:
    camera.stand(_size_between(camera.rng, "wide", "close"), camera.rng.uniform(-8, 20))
    camera.blur_some()


_MOVES: dict[str, Callable[[_Camera, str], None]] = {
    "pan-left": _turn(1, -1, 12, 35),
    "pan-right": _turn(1, 1, 12, 35),
    "tilt-up": _turn(0, 1, 10, 26),
    "tilt-down": _turn(0, -1, 10, 26),
    "dolly-in": _dolly(1),
    "dolly-out": _dolly(-1),
    "tracking-shot": _track,
    "zoom-in": _zoom(1),
    "zoom-out": _zoom(-1),
    "rack-focus": _rack,
    "still": _still,
}


def describe(rng: np.random.Generator, name: str, facts: Facts, phrases: float = 0.0) -> tuple[str, dict[str, str]]:
    """Returns a caption of a clip, and which facts it says: content, with a phrase of the class or, seldom, without.

    Args:
        rng: decides what is said, and how.
        name: the class.
        facts: what is true of the clip, with its content.
        phrases: share of the captions that are a phrase alone; default none.
    """
    if phrases and rng.random() < phrases:
        return _sentence(_pick(rng, CLASSES[name].phrases)), {named(name).group: name}
    kinds = _pick(rng, (("who", "action"), ("who", "action", "sky"), ("who",)))
    content, said = " ".join(facts[kind] for kind in kinds), {kind: facts[kind] for kind in kinds}
    if rng.random() < CONTENT_ONLY:
        return _sentence(content), said
    phrase = _pick(rng, CLASSES[name].phrases)
    text = _pick(rng, (f"{content}, {phrase}", f"{phrase}: {content}", f"{phrase}, {content}"))
    return _sentence(text), said | {named(name).group: name}


def _sentence(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}."
