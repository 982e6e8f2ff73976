"""Descriptions of a scene: subjects, props, floor and sky. `raycast.py` renders them.

Stage coordinates, metres: y points down (gravity) and the floor is y = 0, so the top of a person of 1.7 m is at
y = -1.7; x is to the right of someone who faces +z. Subject 1 is at the origin at t = 0 and faces +z. A yaw turns about
the up axis (-y): a positive yaw turns to the left, and yaw pi/2 faces -x.
"""

import dataclasses
import math

import numpy as np

LENS_MM = 35.0
"""Focal length of every shot of the stage, for a sensor of `camera.trajectory.FILM_BACK_MM`: 54° across."""

WALK_PER_SHOT = 1.8
"""Metres that a walking subject covers during one shot."""

COLORS = {
    "red": (0.80, 0.11, 0.10),
    "orange": (0.95, 0.47, 0.09),
    "yellow": (0.96, 0.80, 0.15),
    "green": (0.16, 0.55, 0.22),
    "teal": (0.08, 0.54, 0.56),
    "blue": (0.13, 0.32, 0.80),
    "purple": (0.47, 0.22, 0.66),
    "pink": (0.95, 0.52, 0.68),
    "white": (0.93, 0.93, 0.91),
    "grey": (0.50, 0.51, 0.53),
    "black": (0.09, 0.09, 0.11),
    "brown": (0.45, 0.28, 0.16),
}
"""Colour words and their RGB in [0, 1]."""


@dataclasses.dataclass(frozen=True)
class Kind:
    """A kind of subject.

    Attributes:
        height: default height, metres.
        pace: walking speed, metres per second.
        radius: radius of its footprint, in heights.
        phrase: noun phrase with {} for the colour.
        actions, colors: words that `random_scene` draws from.
    """

    height: float
    pace: float
    radius: float
    phrase: str
    actions: tuple[str, ...]
    colors: tuple[str, ...] = tuple(COLORS)


ACTIONS = ("stand", "walk", "turn", "wave", "sit")
_ANIMAL_COLORS = ("brown", "black", "white", "grey")

KINDS = {
    "man": Kind(1.78, 1.3, 0.2, "a man in a {} jacket", ACTIONS),
    "woman": Kind(1.68, 1.2, 0.2, "a woman in a {} coat", ACTIONS),
    "child": Kind(1.2, 0.9, 0.22, "a child in a {} sweater", ACTIONS),
    "robot": Kind(1.75, 0.9, 0.22, "a {} robot", ACTIONS),
    "dog": Kind(0.7, 1.0, 0.75, "a {} dog", ("stand", "walk", "turn"), _ANIMAL_COLORS),
    "horse": Kind(2.1, 1.5, 0.6, "a {} horse", ("stand", "walk", "turn"), _ANIMAL_COLORS),
    "car": Kind(1.45, 3.0, 1.5, "a {} car", ("stand", "walk")),
}
"""All kinds of subject. A car that "walks" drives."""

FLOORS = ("plain", "checker", "stripes")
SHAPES = ("box", "ball", "column", "tree", "wall")
SKIES = ("day", "overcast", "sunset", "dawn", "night")
MAX_SUBJECTS = 3
MAX_PROPS = 8
TURN_RATE = 0.7
"""Yaw rate of the action "turn", rad/s, to the left."""


def _check(what: str, value: str, known) -> None:
    if value not in known:
        raise ValueError(f"unknown {what} {value!r}; choose one of {', '.join(known)}")


@dataclasses.dataclass(frozen=True)
class Subject:
    """A person, animal or thing that the camera films.

    Attributes:
        kind: word of `KINDS`.
        color: word of `COLORS`.
        action: word of `ACTIONS`; default "stand".
        height: metres from the floor to the top of the head when standing; None (default) means the kind's height.
        x, z: place on the floor at t = 0, metres; default 0.
        yaw: radians at t = 0; 0 (default) faces +z, positive turns to the left.
        speed: metres per second in the direction it faces; default 0. With the action "turn" it walks along an arc.

    Raises:
        ValueError: a word is unknown, or the height is not positive.
    """

    kind: str
    color: str
    action: str = "stand"
    height: float | None = None
    x: float = 0.0
    z: float = 0.0
    yaw: float = 0.0
    speed: float = 0.0

    def __post_init__(self):
        _check("subject", self.kind, KINDS)
        _check("colour", self.color, COLORS)
        _check("action", self.action, ACTIONS)
        if self.height is None:
            object.__setattr__(self, "height", KINDS[self.kind].height)
        if not self.height > 0:
            raise ValueError(f"the height of {self.description()} must be positive, got {self.height}")

    def yaw_at(self, t):
        """Returns the yaw in radians at time `t` (seconds, a number or an array)."""
        return self.yaw + (TURN_RATE if self.action == "turn" else 0.0) * np.asarray(t, np.float64)

    def facing(self, t):
        """Returns the unit vector [..., 3] in which it faces at time `t`."""
        yaw = self.yaw_at(t)
        return np.stack([-np.sin(yaw), np.zeros_like(yaw), np.cos(yaw)], axis=-1)

    def position(self, t):
        """Returns the point [..., 3] on the floor below it at time `t`, metres."""
        t = np.asarray(t, np.float64)
        if self.action == "turn":
            yaw, radius = self.yaw_at(t), self.speed / TURN_RATE
            x = self.x + radius * (np.cos(yaw) - math.cos(self.yaw))
            z = self.z + radius * (np.sin(yaw) - math.sin(self.yaw))
        else:
            x = self.x - self.speed * math.sin(self.yaw) * t
            z = self.z + self.speed * math.cos(self.yaw) * t
        return np.stack([x, np.zeros_like(t), z], axis=-1)

    @property
    def radius(self) -> float:
        """Radius of a disc on the floor that holds it, metres."""
        return KINDS[self.kind].radius * self.height

    def description(self) -> str:
        """Returns a noun phrase: "a woman in a red coat", "an orange robot"."""
        phrase = KINDS[self.kind].phrase.format(self.color)
        return phrase.replace("a orange", "an orange")


@dataclasses.dataclass(frozen=True)
class Prop:
    """A thing that stands still on the floor.

    Attributes:
        shape: word of `SHAPES`.
        color: word of `COLORS`.
        size: height in metres (the edge of a box, the diameter of a ball); a wall is twice as wide as high.
        x, z: place on the floor, metres.
        yaw: radians, as in `Subject`; default 0.

    Raises:
        ValueError: a word is unknown, or the size is not positive.
    """

    shape: str
    color: str
    size: float
    x: float
    z: float
    yaw: float = 0.0

    def __post_init__(self):
        _check("prop", self.shape, SHAPES)
        _check("colour", self.color, COLORS)
        if not self.size > 0:
            raise ValueError(f"the size of a {self.shape} must be positive, got {self.size}")

    @property
    def radius(self) -> float:
        """Radius of a disc on the floor that holds it, metres."""
        return self.size * {"box": 0.71, "ball": 0.5, "column": 0.12, "tree": 0.3, "wall": 1.01}[self.shape]

    def description(self) -> str:
        """Returns a noun phrase: "a green tree"."""
        return f"{'an' if self.color == 'orange' else 'a'} {self.color} {self.shape}"


@dataclasses.dataclass(frozen=True)
class Scene:
    """One stage. Instance numbers in rendered masks: 0 sky, 1 floor, 2… subjects in order, then props in order.

    Attributes:
        subjects: at most `MAX_SUBJECTS`; the first is the main one.
        props: at most `MAX_PROPS`; default none.
        floor: word of `FLOORS`; default "checker".
        floor_colors: the two colour words of the floor's pattern; a plain floor has the first.
        sky: word of `SKIES`; default "day".
        sun: unit vector towards the sun, y < 0.

    Raises:
        ValueError: a word is unknown, there are too many subjects or props, or the sun is below the horizon.
    """

    subjects: tuple[Subject, ...]
    props: tuple[Prop, ...] = ()
    floor: str = "checker"
    floor_colors: tuple[str, str] = ("grey", "white")
    sky: str = "day"
    sun: tuple[float, float, float] = (0.4364, -0.7274, 0.5294)

    def __post_init__(self):
        _check("floor", self.floor, FLOORS)
        _check("sky", self.sky, SKIES)
        for color in self.floor_colors:
            _check("colour", color, COLORS)
        if len(self.subjects) > MAX_SUBJECTS or len(self.props) > MAX_PROPS:
            raise ValueError(
                f"a scene holds at most {MAX_SUBJECTS} subjects and {MAX_PROPS} props, "
                f"got {len(self.subjects)} and {len(self.props)}"
            )
        if self.sun[1] >= 0:
            raise ValueError(f"the sun must be above the horizon (y < 0), got {self.sun}")

    def clear_views(self, eye_T3: np.ndarray, margin: float = 0.4) -> "Scene":
        """Returns the scene without the props that a camera stands in or that are between it and subject 1.

        A scene without subjects keeps all.

        Args:
            eye_T3: [T, 3] camera positions in stage coordinates, metres.
            margin: metres kept free around each line of sight, measured on the floor; default 0.4.
        """
        if not self.props or not self.subjects:
            return self
        eye_T2 = np.asarray(eye_T3)[:, [0, 2]]
        place_P2 = np.array([[p.x, p.z] for p in self.props])
        reach_P = np.array([p.radius for p in self.props]) + margin
        start_2 = np.array([self.subjects[0].x, self.subjects[0].z])
        sight_T2 = eye_T2 - start_2
        offset_P2 = place_P2 - start_2
        # Distance from each prop to each line of sight, a segment on the floor from the subject to the camera.
        along_PT = np.clip(offset_P2 @ sight_T2.T / np.maximum((sight_T2**2).sum(-1), 1e-9), 0, 1)
        gap_PT = np.linalg.norm(offset_P2[:, None] - along_PT[..., None] * sight_T2, axis=-1)
        keep_P = gap_PT.min(1) > reach_P
        return dataclasses.replace(self, props=tuple(p for p, keep in zip(self.props, keep_P, strict=True) if keep))


def sun_direction(azimuth: float, elevation: float) -> tuple[float, float, float]:
    """Returns the unit vector towards the sun.

    Both angles are in radians: azimuth 0 is +z and a positive one turns to the left, as a yaw does; the elevation is
    measured from the floor up.
    """
    flat = math.cos(elevation)
    return (-flat * math.sin(azimuth), -math.sin(elevation), flat * math.cos(azimuth))


_PROP_COLORS = {
    "tree": ("green", "green", "teal", "orange"),
    "column": ("white", "grey", "brown"),
    "wall": ("brown", "grey", "white", "teal", "red"),
}
_FLOOR_PAIRS = (("grey", "white"), ("brown", "white"), ("teal", "white"), ("grey", "black"), ("green", "white"))
_SIZES = {"box": (0.5, 1.3), "ball": (0.5, 1.4), "column": (2.5, 4.5), "tree": (2.5, 5.0), "wall": (1.8, 3.0)}
NEAR_RADIUS, FAR_RADIUS = 3.0, 12.0
"""The whole footprint of a prop is between these distances from subject 1, metres."""


def _pick(rng: np.random.Generator, items):
    return items[int(rng.random() * len(items))]


def _random_subject(rng: np.random.Generator, **place) -> Subject:
    name = _pick(rng, tuple(KINDS))
    kind = KINDS[name]
    action = _pick(rng, kind.actions)
    speed = kind.pace * (0.8 + 0.4 * rng.random()) if action == "walk" else 0.0
    height = kind.height * (0.95 + 0.1 * rng.random())
    return Subject(name, _pick(rng, kind.colors), action, height, speed=speed, **place)


def beside(first: Subject, second: Subject, side: float = 1.0, facing: bool = False) -> Subject:
    """Returns `second` moved next to `first` at t = 0.

    The gap between the two bodies is about 0.6 m, so two people are 1.3 m apart.

    Args:
        first: the subject that stays.
        second: the subject that is moved.
        side: 1 (default) to the right of `first`, -1 to its left.
        facing: True to place it in front of `first`, facing it; False (default) to its side, facing the same way.
    """
    gap = first.radius + second.radius + 0.6
    ahead = first.facing(0.0)
    right = np.array([ahead[2], 0.0, -ahead[0]])
    step = ahead if facing else side * right
    yaw = first.yaw + (math.pi if facing else 0.0)
    return dataclasses.replace(second, x=first.x + gap * float(step[0]), z=first.z + gap * float(step[2]), yaw=yaw)


def random_props(rng: np.random.Generator, keep_clear=((0.0, 0.0, 0.0),), count: int | None = None) -> tuple[Prop, ...]:
    """Draws 3 to 8 props, or up to `count`.

    They touch neither each other nor the discs (x, z, radius) of `keep_clear`, metres on the floor.
    """
    count = 3 + int(6 * rng.random()) if count is None else count
    props, discs = [], list(keep_clear)
    for _ in range(3 * count):
        if len(props) == count:
            break
        shape = _pick(rng, SHAPES)
        low, high = _SIZES[shape]
        prop = Prop(shape, "grey", low + (high - low) * rng.random(), 0.0, 0.0)
        inner, outer = NEAR_RADIUS + prop.radius, FAR_RADIUS - prop.radius
        if shape in ("tree", "wall"):  # what could hide a subject stands further back
            inner = max(inner, 6.0)
        # The square root spreads them evenly over the area instead of crowding them near the middle.
        distance, angle = inner + (outer - inner) * math.sqrt(rng.random()), 2 * math.pi * rng.random()
        x, z = -distance * math.sin(angle), distance * math.cos(angle)
        if any(math.hypot(x - dx, z - dz) < prop.radius + reach + 0.3 for dx, dz, reach in discs):
            continue
        color = _pick(rng, _PROP_COLORS.get(shape, tuple(COLORS)))
        yaw = angle if shape == "wall" else 2 * math.pi * rng.random()  # a wall shows its face to the stage
        props.append(Prop(shape, color, prop.size, x, z, yaw))
        discs.append((x, z, prop.radius))
    return tuple(props)


def _lane(subject: Subject) -> list[tuple[float, float, float]]:
    """Discs (x, z, radius) that cover a subject's way, as far out as props can be."""
    step = 2.0 * subject.radius
    count = 1 + (int(FAR_RADIUS / step) if subject.speed > 0 else 0)
    dx, dz = -step * math.sin(subject.yaw), step * math.cos(subject.yaw)
    return [(subject.x + i * dx, subject.z + i * dz, subject.radius) for i in range(count)]


def random_scene(rng: np.random.Generator, num_subjects: int = 1) -> Scene:
    """Draws a scene of 1 or 2 subjects and 3 to 8 props, which are 3 m to 12 m from the first subject.

    Raises:
        ValueError: another number of subjects.
    """
    if num_subjects not in (1, 2):
        raise ValueError(f"a random scene has 1 or 2 subjects, not {num_subjects}")
    subjects = [_random_subject(rng)]
    if num_subjects == 2:
        other = _random_subject(rng)
        while (other.kind, other.color) == (subjects[0].kind, subjects[0].color):
            other = _random_subject(rng)
        moves = subjects[0].speed > 0 or other.speed > 0  # two who face each other and walk would collide
        subjects.append(beside(subjects[0], other, _pick(rng, (-1.0, 1.0)), facing=not moves and rng.random() < 0.5))
    return Scene(
        subjects=tuple(subjects),
        props=random_props(rng, keep_clear=[disc for s in subjects for disc in _lane(s)]),
        floor=_pick(rng, FLOORS),
        floor_colors=_pick(rng, _FLOOR_PAIRS),
        sky=_pick(rng, SKIES),
        sun=sun_direction(2 * math.pi * rng.random(), 0.5 + 0.6 * rng.random()),
    )
