"""What captions ask of the camera: every phrase of the grammar, whole captions of it, and directors' own words."""

import collections

import pytest

from shotverse_jax.camera.vocabulary import ANGLES, MOTIONS, OPPOSITE, SIDES, SIZES, ZOOMS
from shotverse_jax.evaluation.tracks.stage_plans import read_prompts
from shotverse_jax.grammar import captions, moves, phrases, samples
from shotverse_jax.screenplay.slots import Slots, agreement, read_slots

ARCS = {"arc left": {"move left", "yaw right"}, "arc right": {"move right", "yaw left"}}
CRANES = {"crane up": {"move up", "move backward"}, "crane down": {"move down", "move forward"}}
TRACKS = {
    "lead": {"move backward"},
    "follow": {"move forward"},
    "track left": {"move left"},
    "track right": {"move right"},
}
WHIPS = {"whip left": {"yaw left"}, "whip right": {"yaw right"}}
TRUTH = {name: {name} for name in MOTIONS} | ARCS | CRANES | TRACKS | WHIPS


def motions(text: str) -> set[str]:
    """As the cameras of the grammar answer, whose lens stays."""
    return read_slots(text).with_one_lens.motions


def asked(segments) -> set[str]:
    return set().union(*(TRUTH[move.name] for segment in segments for move in segment.moves)) or {"static"}


@pytest.mark.parametrize("name", sorted(phrases.VERBS))
def test_every_verb_and_noun_of_the_grammar(name):
    frames = ("The camera {t}.", "We {b}.", "{G}.", "{B}.", "The camera is {g}", "It {t}")
    for verb in phrases.VERBS[name]:
        for subject in ("the woman", "a woman in a red coat", "her", "Anna"):
            base = verb.format(subject=subject)
            forms = {"b": base, "t": phrases.third_person(base), "g": phrases.gerund(base)}
            for frame in frames:
                text = frame.format(**forms, B=base.capitalize(), G=forms["g"].capitalize())
                assert motions(text) == TRUTH[name], text
    for noun in phrases.NOUNS[name]:
        for frame in ("{}.", "Shot with a {}", "A slow {}", "Make it a {}.", "Camera: {}"):
            text = frame.format(noun.format(subject="the woman"))
            assert motions(text) == TRUTH[name], text


@pytest.mark.parametrize("field", ("sizes", "angles", "sides"))
def test_every_size_angle_and_side_of_the_grammar(field):
    table = {"sizes": phrases.SIZES, "angles": phrases.ANGLES, "sides": phrases.SIDES}[field]
    for name, words in table.items():
        for word in filter(None, words):
            for frame in ("{} of a woman.", "A woman waits, {}.", "A woman, {}, the camera pans left"):
                slots = read_slots(frame.format(word if frame[0] == "A" else word[0].upper() + word[1:]))
                assert getattr(slots, field) == {name} and slots.motions <= {"yaw left"}, (word, slots)


def test_the_vocabularies_are_those_of_the_grammar():
    assert (
        set(moves.DISTANCES) < set(SIZES) and set(moves.ELEVATIONS) == set(ANGLES) and set(moves.AZIMUTHS) == set(SIDES)
    )
    assert set(OPPOSITE) == set(MOTIONS) - {"static"} | set(ZOOMS)
    assert set(ZOOMS.values()) < set(MOTIONS)


@pytest.mark.parametrize(("split", "scenes", "share"), [("train", 1100, 0.997), ("test", 500, 0.994)])
def test_captions_of_the_grammar(split, scenes, share, monkeypatch):
    written, tags = [], set()
    caption, describe = captions.shot_caption, captions.motion_tags.describe

    def shot_caption(rng, framing, segments, *rest):
        text = caption(rng, framing, segments, *rest)
        written.append((framing, segments, text))
        return text

    def described(*args, **options):
        tags.add(text := describe(*args, **options))
        return text

    monkeypatch.setattr(captions, "shot_caption", shot_caption)
    monkeypatch.setattr(captions.motion_tags, "describe", described)
    for seed in range(scenes):
        samples.sample_example(seed, split)
    count = collections.Counter()
    for framing, segments, text in written:
        if text in tags:  # written from the path, not from the moves
            continue
        slots, truth = read_slots(text).with_one_lens, asked(segments)
        count["captions"] += 1
        count["right"] += slots.motions == truth
        count["opposite"] += any(OPPOSITE.get(m) in truth and m not in truth for m in slots.motions)
        for seen, true in ((slots.sizes, framing.size), (slots.angles, framing.angle), (slots.sides, framing.side)):
            assert seen <= {true}, text
    assert count["captions"] > 2.0 * scenes and count["opposite"] == 0
    assert count["right"] > share * count["captions"], count


def test_prompts_written_by_hand():
    prompts = read_prompts()
    read = [motions(prompt.screenplay.shots[0].caption) for prompt in prompts]
    right = [bool(seen) and seen <= prompt.motions for seen, prompt in zip(read, prompts, strict=True)]
    assert sum(right) >= 115  # of 125; the others tell a story ("nothing stirs", "from a car in the next lane")
    assert not any(OPPOSITE.get(m) in prompt.motions for seen, prompt in zip(read, prompts, strict=True) for m in seen)


DIRECTORS = {
    "The lens zooms in slowly on her face.": {"motions": {"zoom in"}, "speeds": {"slow"}},
    "Zoom out from the window, then dolly in": {"motions": {"zoom out", "move forward"}},
    "A slow zoom-in, the camera pans left": {"motions": {"zoom in", "yaw left"}, "speeds": {"slow"}},
    "ECU on her eyes, dolly in.": {"motions": {"move forward"}, "sizes": {"extreme close"}},
    "OTS on Marcus, truck right": {"motions": {"move right"}, "sides": {"back left", "back right"}},
    "Dutch left as we push in": {"motions": {"move forward", "roll left"}},
    "pans left to the door, she turns right": {"motions": {"yaw left"}},
    "Trucks right, panning left, keeps her centred": {"motions": {"move right", "yaw left"}, "positions": {"center"}},
    "Whip pan right to the crowd": {"motions": {"yaw right"}, "speeds": {"fast"}},
    "jib down past the window on the left": {"motions": {"move down"}},
    "Rack focus to the man on the left third of the frame.": {"positions": {"left"}},
    "she pushes in the door, camera holds": {"motions": {"static"}},
    "Camera pushes in on the woman as she steps back": {"motions": {"move forward"}},
    "Orbit clockwise around the car": {"motions": {"move left", "yaw right"}},
    "camera tracks back ahead of him, wide": {"motions": {"move backward"}, "sizes": {"wide"}},
    "He enters frame left, medium two shot, eye-level": {"sizes": {"medium"}, "angles": {"eye"}, "positions": {"left"}},
    "Pan from the left to the right": {"motions": {"yaw right"}},
    "Pan from right to left, then truck to the left": {"motions": {"yaw left", "move left"}},
    "Wide to MCU, slow dolly-in": {"motions": {"move forward"}, "sizes": {"wide", "medium close"}, "speeds": {"slow"}},
    "Bird's-eye view. The camera descends.": {"motions": {"move down"}, "angles": {"overhead"}},
    "She turns to the right and walks out. He looks up.": {},
    "Leaves move in the wind; the sun is going down.": {},
    "": {},
}  # fmt: skip


@pytest.mark.parametrize("text", DIRECTORS)
def test_directors_words(text):
    assert read_slots(text) == Slots(**{name: frozenset(words) for name, words in DIRECTORS[text].items()})


def test_agreement():
    slots = lambda **fields: Slots(**{name: frozenset(words) for name, words in fields.items()})  # noqa: E731
    ask = slots(motions={"yaw left"}, sizes={"close"})
    assert agreement(ask, ask) == 1 and agreement(Slots(), ask) == 1
    near = agreement(ask, slots(motions={"yaw left"}, sizes={"medium close", "medium"}))
    far = agreement(ask, slots(motions={"yaw left"}, sizes={"wide"}))
    more = agreement(ask, slots(motions={"yaw left", "move up"}, sizes={"close"}))
    none = agreement(ask, slots(motions={"static"}, sizes={"close"}))
    opposite = agreement(ask, slots(motions={"yaw right"}, sizes={"close"}))
    assert 1 > near > far > opposite and 1 > more > none > opposite > 0
    assert agreement(slots(sides={"front"}), slots(sides={"front left"})) == 2 / 3  # a neighbour counts half
    assert agreement(slots(sides={"back"}), slots(sides={"front"})) == 0
    assert agreement(ask, Slots()) == 0
