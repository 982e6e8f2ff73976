"""Scenes are read from captions as a reader would imagine them."""

from pathlib import Path

import pytest

from shotverse_jax.screenplay import read_screenplay
from shotverse_jax.stage.casting import scene_from_screenplay
from shotverse_jax.stage.scene import KINDS, Subject

EXAMPLES = Path(__file__).parents[2] / "examples"


@pytest.mark.parametrize("kind", KINDS)
def test_captions_name_the_subject_in_its_colour(kind):
    for color in KINDS[kind].colors:
        described = Subject(kind, color).description()
        scene = scene_from_screenplay([f"In a diner, {described} is waiting.", f"Close-up of {described}.", ""])
        [found] = scene.subjects
        assert (found.kind, found.color) == (kind, color)


@pytest.mark.parametrize(
    ("captions", "cast", "sky"),
    [
        (["A man in a blue jacket and a woman in a green coat argue."], [("man", "blue"), ("woman", "green")], "day"),
        (["A man and a black dog at dusk."], [("man", "blue"), ("dog", "black")], "sunset"),
        (["A robot. A life.", "The gray robot looks at a girl."], [("robot", "grey"), ("child", "yellow")], "day"),
        (["A man in a blue jacket and a man in a pink jacket"], [("man", "blue"), ("man", "pink")], "day"),
        (["", "He opens the door."], [("man", "blue")], "day"),
        (["Two friends on a bench in the rain"], [("woman", "red"), ("man", "blue")], "overcast"),
        (["EXT. ROOFTOP - NIGHT", "The camera pans left."], [("woman", "red")], "night"),
        ([""], [("woman", "red")], "day"),
        (["A woman and her grown son, a tall man in a green work jacket"], [("woman", "red"), ("man", "green")], "day"),
        (["A man in a blue coat and his daughter, now a young woman"], [("man", "blue"), ("woman", "red")], "day"),
        (["An adult daughter in white"], [("woman", "white")], "day"),
        (["A man, his son in a pink jumper and a dog"], [("man", "blue"), ("child", "pink")], "day"),
        (["A man with a white beard in a black coat"], [("man", "black")], "day"),
        (["A man waits.", "Cowboy shot of the man. Truck slowly left."], [("man", "blue")], "day"),
        (["A child in a purple sweater.", "The child lifts a black knife."], [("child", "purple")], "day"),
        (["A car park. A photograph of a young girl in a woman's hand."], [("woman", "red")], "day"),
        ([], [("woman", "red")], "day"),
    ],
)  # fmt: skip
def test_captions_cast_the_scene(captions, cast, sky):
    scene = scene_from_screenplay(captions)
    assert [(s.kind, s.color) for s in scene.subjects] == cast
    assert scene.sky == sky
    assert scene == scene_from_screenplay(captions)


@pytest.mark.parametrize(
    ("name", "cast", "sky"),
    [
        ("getaway.json", "white woman walk, black robot stand", "night"),
        ("interview.txt", "orange woman sit", "day"),
        ("kitchen_light.txt", "purple child sit, white dog stand", "overcast"),
        ("last_train.yaml", "green woman stand, blue man stand", "dawn"),
        ("lighthouse.holocine.txt", "red woman stand, black man stand", "sunset"),
        ("one_take.yaml", "blue child walk, black horse walk", "day"),
        ("red_sedan.txt", "grey man stand, red car stand", "overcast"),
        ("robot_garden.json", "orange robot stand", "day"),
        ("salt_harvest.yaml", "yellow man stand, brown horse stand", "day"),
        ("standoff.yaml", "black man stand, grey robot stand", "day"),
    ],
)
def test_examples_are_cast_as_a_reader_would(name, cast, sky):
    screenplay = read_screenplay(EXAMPLES / name)
    scene = scene_from_screenplay([screenplay.caption, *(shot.caption for shot in screenplay.shots)])
    assert ", ".join(f"{s.color} {s.kind} {s.action}" for s in scene.subjects) == cast
    assert scene.sky == sky
    faces = len(scene.subjects) == 2 and scene.subjects[1].facing(0.0)[2] < -0.9
    assert faces == (name.split(".")[0] in ("last_train", "lighthouse", "standoff"))


def test_captions_say_what_they_do_and_where_the_other_stands():
    walk = scene_from_screenplay(["A man walks down a road.", "Wide.", "Close."], seconds=9.0).subjects[0]
    assert walk.action == "walk" and walk.speed * 9.0 == pytest.approx(2 * 1.8)
    first, second = scene_from_screenplay(["A man and a woman walk side by side."]).subjects
    assert first.speed == second.speed > 0 and second.facing(0.0)[2] == pytest.approx(1.0)
    first, second = scene_from_screenplay(["A man walks past a woman.", "Reverse shot."]).subjects
    assert first.speed == second.speed == 0 and second.facing(0.0)[2] == pytest.approx(-1.0)  # nobody walks into her
    assert scene_from_screenplay(["Water running down a wall. A man."]).subjects[0].action == "stand"
    assert scene_from_screenplay(["A child waving."]).subjects[0].action == "wave"
    assert scene_from_screenplay(["A woman waits.", "Rain runs down the window."]).subjects[0].action == "stand"
    first, second = scene_from_screenplay(["A man and a woman talk.", "Over the shoulder."]).subjects
    assert second.z > 1 and second.facing(0.0)[2] == pytest.approx(-1.0)
    first, second = scene_from_screenplay(["A man and a horse."]).subjects
    assert abs(second.x) > first.radius + second.radius and second.facing(0.0)[2] == pytest.approx(1.0)
