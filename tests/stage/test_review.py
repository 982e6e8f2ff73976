"""Reviews say what is seen: of cameras whose framing is known, and of films of the grammar that are spoiled."""

import dataclasses
import json

import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.grammar.moves import Framing, Mark, Move, Segment, shot_poses
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.screenplay.slots import Slots
from shotverse_jax.stage.review import best, framed, review
from shotverse_jax.stage.scene import Scene, Subject

WOMAN = Subject("woman", "red")
FOCAL = 832 * 35 / 36


def film(*shots, subjects=(WOMAN,), frames=40):
    """A trajectory on the stage of (caption, size, angle, side, moves, number of the subject) for each shot."""
    poses = []
    for _, size, angle, side, moves, who in shots:
        subject = subjects[who]
        mark = Mark(subject.position(0.0), subject.height, -subject.yaw, np.zeros(3))
        segments = (Segment(tuple(Move(name) for name in moves)),)
        poses.append(shot_poses(Framing(size, angle, side), segments, mark, frames))
    lens = np.array([FOCAL, FOCAL, 416, 240])
    shot_T = np.repeat(np.arange(len(shots)), frames)
    captions = tuple(shot[0] for shot in shots)
    path = Trajectory(np.concatenate(poses), lens, 832, 480, shot_T, captions=captions, stage_34=se3.identity())
    return path, Scene(subjects)


def one(caption, size="medium", angle="eye", side="front", moves=(), **options):
    path, scene = film((caption, size, angle, side, moves, 0), **options)
    [shot] = (found := review(path, scene)).shots
    return shot, found


def test_a_shot_as_it_was_asked_for():
    shot, whole = one(
        "Medium shot of a woman, low angle, from the right side. Static camera.", "medium", "low", "right"
    )
    assert shot.seen == Slots(*map(frozenset, ({"static"}, {"medium"}, {"low"}, {"right"}, {"center"})))
    assert shot.sentences == ("keeps the woman in frame",) and shot.agreement == 1 == whole.score
    assert shot.verdict == "medium shot, a low angle; keeps the woman in frame"
    assert (shot.off_screen, shot.out, shot.misframed, whole.off_screen, whole.cuts) == (0, 0, 0, 0, ())


def test_what_is_asked_and_not_seen_is_said():
    shot, _ = one(
        "Close-up from a high angle, from behind. The camera pans right.", "wide", "eye", "front", ["move left"]
    )
    said = "; ".join(shot.sentences)
    assert "asked for pan right, got move left" in said
    assert "asked for a close-up, got a full shot" in said
    assert "asked for from behind, got from the front" in said
    assert shot.agreement < 0.2
    near, _ = one("Medium close-up.", "medium")  # one size off is a matter of taste
    assert near.sentences == ("keeps the woman in frame",)


def test_a_zoom_is_no_move():
    """In words, and of the lens; plans, whose lens stays, are ranked as if a move were the zoom that was asked for."""
    path, scene = film(("Medium shot. The lens zooms in on her.", "medium", "eye", "front", (), 0))
    still = review(path, scene).shots[0]
    assert "asked for zoom in, got static" in still.sentences and still.seen.motions == {"static"}
    lens_T4 = np.tile(path.intrinsics_T4[:1], (40, 1))
    lens_T4[:, :2] *= np.geomspace(1, 1.4, 40)[:, None]
    zoomed = review(dataclasses.replace(path, intrinsics_T4=lens_T4), scene)
    assert zoomed.shots[0].seen.motions == {"zoom in"} == zoomed.shots[0].asked.motions
    assert zoomed.shots[0].agreement == 1
    back = dataclasses.replace(path, intrinsics_T4=np.concatenate([lens_T4[::2], lens_T4[::-2]]))
    assert review(back, scene).shots[0].seen.motions == {"zoom in", "zoom out"}
    dollied, _ = film(("Medium shot. The lens zooms in on her.", "medium", "eye", "front", ("move forward",), 0))
    moved = review(dollied, scene)
    assert "asked for zoom in, got move forward" in moved.shots[0].sentences and moved.shots[0].agreement < 1
    words = ("Medium shot. The camera moves in on her.",)
    assert moved.score == review(dataclasses.replace(dollied, captions=words), scene).score
    asked_to_move = review(dataclasses.replace(path, intrinsics_T4=lens_T4, captions=words), scene).shots[0]
    assert "asked for move forward, got zoom in" in asked_to_move.sentences


def test_a_subject_that_leaves_is_counted():
    shot, whole = one("Medium shot. The camera pans left.", "medium", moves=["yaw left"])
    off = round(40 * shot.off_screen)
    assert 10 < off < 40 and f"the woman leaves the frame for {off} of 40 frames" in shot.sentences
    assert shot.out <= shot.off_screen <= shot.misframed and whole.misframed == shot.misframed
    path, scene = film(("Medium shot.", "medium", "eye", "front", (), 0))
    turned = se3.compose(path.pose_T34, se3.make(np.diag([-1.0, 1.0, -1.0]), np.zeros(3)))
    [shot] = review(dataclasses.replace(path, pose_T34=turned), scene).shots
    assert "the woman is never in frame" in shot.sentences and shot.off_screen == 1 and not shot.seen.sizes
    shaken = path.pose_T34.copy()
    shaken[::2, 0, 3] += 0.05
    [shot] = review(dataclasses.replace(path, pose_T34=shaken), scene).shots
    assert "the camera shakes" in shot.sentences


def test_cuts_that_break_a_rule():
    a, b = WOMAN, Subject("man", "blue", z=1.4, yaw=np.pi)
    pair = lambda side_a, side_b: film(  # noqa: E731
        ("Medium shot of the woman.", "medium", "eye", side_a, (), 0),
        ("Medium shot of the man.", "medium", "eye", side_b, (), 1),
        subjects=(a, b),
    )  # fmt: skip
    assert review(*pair("front left", "front right")).cuts == ()
    assert review(*pair("front left", "front left")).cuts == (
        "shots 1→2 cross the line",
        "the looks of shots 1→2 do not meet",
    )
    same = film(*[("Medium shot.", "medium", "eye", side, (), 0) for side in ("front", "front", "right", "left")])
    assert review(*same).cuts == ("shots 1→2 jump: 0° apart at the same size",)
    walker = (dataclasses.replace(WOMAN, action="walk", speed=0.05),)
    walk = film(*[("The woman walks.", "wide", "eye", side, (), 0) for side in ("left", "right")], subjects=walker)
    assert review(*walk).cuts == ("shots 1→2 cross the line",)


def test_the_one_who_is_named_counts():
    couple = (WOMAN, Subject("man", "blue", x=3.0))
    path, scene = film(("Close-up of the man.", "close", "eye", "front", (), 0), subjects=couple)
    assert review(path, scene).shots[0].who == "the man" and review(path, scene).shots[0].off_screen == 1
    nobody = dataclasses.replace(path, captions=("Close-up.",))
    assert review(nobody, scene).shots[0].who == "the woman"


@pytest.mark.parametrize("seed", range(3))
def test_films_of_the_grammar_are_better_than_their_spoiled_copies(seed):
    example = sample_example(seed, num_shots=2)
    path = example.trajectory
    away = dataclasses.replace(path, stage_34=se3.compose(path.stage_34, se3.make(np.eye(3), np.array([0, 0, -30.0]))))
    good, bad = review(path, example.scene), review(away, example.scene)
    assert good.score > bad.score and good.off_screen < bad.off_screen
    assert best([away, path, path]) == 1 and best([away]) == 0
    values = json.loads(json.dumps(good.values()))
    assert len(values["shots"]) == 2 and values["score"] == pytest.approx(good.score, abs=1e-6)
    assert values["shots"][0]["sentences"] and values["off_screen"] == pytest.approx(good.off_screen, abs=1e-6)
    one = framed(path, example.scene.subjects[0])
    assert (
        all(len(value) == len(path) for value in one)
        and (one.out <= one.off).all()
        and (one.off <= one.misframed).all()
    )


def test_a_path_without_captions_or_stage_has_a_review():
    path, _ = film(("", "medium", "eye", "front", ["arc right"], 0))
    found = review(dataclasses.replace(path, stage_34=None, captions=()))
    assert found.shots[0].asked == Slots() and found.shots[0].agreement == 1 and found.off_screen == 0
