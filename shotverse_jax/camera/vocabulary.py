"""The words for what a camera does and for what its picture shows, one list each for captions, scores and geometry."""

from shotverse_jax.camera.motion_tags import ROTATION_NAMES, TRANSLATION_NAMES

MOTIONS = (
    "static", "move forward", "move backward", "move left", "move right", "move up", "move down", *ROTATION_NAMES[1:]
)  # fmt: skip
"""Single motions of a camera. An arc to the right is two at once, "move right" and "yaw left"."""
ZOOMS = {"zoom in": "move forward", "zoom out": "move backward"}
"""What a lens does, and the move with which a camera answers whose lens stays, as those of planners do."""
OPPOSITE = {
    f"{verb} {a}": f"{verb} {b}"
    for verb, *pair in (
        ("move", "forward", "backward"), ("move", "left", "right"), ("move", "up", "down"), ("pitch", "up", "down"),
        ("yaw", "left", "right"), ("roll", "left", "right"), ("zoom", "in", "out"),
    )
    for a, b in (pair, pair[::-1])
}  # fmt: skip
"""The motion the other way round."""

SIZES = {
    "extreme wide": 0.3,
    "wide": 0.65,
    "medium wide": 1.0,
    "medium": 1.4,
    "medium close": 2.0,
    "close": 3.0,
    "extreme close": 6.0,
}
"""Shot sizes and the height of the whole body in heights of the picture; above 1 a part of it is cut off.

A shot belongs to the size whose height is nearest by ratio. No standard has numbers: these put the framings of the
stage's grammar into the middle of their classes."""
ANGLES = {"low": (-90.0, -10.0), "eye": (-10.0, 10.0), "high": (10.0, 60.0), "overhead": (60.0, 90.0)}
"""Camera angles, as degrees of elevation of the camera seen from the subject."""
POSITIONS = {"left": 1 / 3, "center": 1 / 2, "right": 2 / 3}
"""Screen positions and their u. A subject is on the left before 5/12, on the right beyond 7/12."""
SIDES = ("front", "front right", "right", "back right", "back", "back left", "left", "front left")
"""The side of the subject that is seen, by eighths of a turn: "right" when the camera is on the subject's right."""


def motion_parts(translation: int, rotation: int) -> frozenset[str]:
    """Returns the single motions of a motion tag, such as {"move right", "yaw left"}; {"static"} for no motion.

    Args:
        translation, rotation: classes of `motion_tags`.
    """
    parts = set()
    if translation:
        words = TRANSLATION_NAMES[translation].removeprefix("move ").replace(" and ", ", ").replace(",,", ",")
        parts |= {f"move {word.strip()}" for word in words.split(",")}
    if rotation:
        parts.add(ROTATION_NAMES[rotation])
    return frozenset(parts or {"static"})
