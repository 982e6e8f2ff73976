"""Judges: what geometry sees, cyclic scores by hand, comparisons in an order by chance, and probes that refuse."""

import dataclasses

import numpy as np
import pytest

from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.preference import probes
from shotverse_jax.preference.contrast import reversed_motion, with_shot
from shotverse_jax.preference.judges import COSINE, Cyclic, Direct, Geometric, letter
from shotverse_jax.preference.measures import FRAMES, measure, measure_all
from shotverse_jax.preference.previews import frames_of_shot
from shotverse_jax.preference.probes import pushed
from shotverse_jax.preference.selection import Verdict
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.stage.review import framed

SCENES = 6


@pytest.fixture(scope="module")
def examples():
    return [sample_example(i, "test") for i in range(SCENES)]


def test_measures_of_many_are_those_of_each(examples):
    entries = [(e.screenplay, [e.trajectory, pushed(e.trajectory, e.screenplay)], e.scene) for e in examples[:3]]
    for found, entry in zip(measure_all(entries), entries, strict=True):
        alone = measure(*entry)
        for name in ("off_screen_JK", "misframed_JK", "reward_JK", "motion_JK", "seen_JKT", "labels_JKT"):
            np.testing.assert_array_equal(getattr(found, name), getattr(alone, name))
        assert found.motions_JK == alone.motions_JK


def test_pushed_cameras_lose_the_subject_and_keep_the_motion(examples):
    for example in examples[:3]:
        found = measure(example.screenplay, [example.trajectory, pushed(example.trajectory, example.screenplay)])
        assert (found.off_screen_JK[1] > 0.9).all()
        np.testing.assert_array_equal(found.labels_JKT[1], found.labels_JKT[0])
        assert (found.kept(found)[0] == 1).all() and (found.same_tags(found) == 1).all()


def test_the_truth_is_better_than_its_reverse(examples):
    judge, seen = Geometric(), 0
    for example in examples:
        path, play = example.trajectory, example.screenplay
        (start, end), before = path.spans[0], measure(play, [path])
        if before.motions_JK[0][0] == {"static"}:
            continue
        worse = with_shot(path, 0, reversed_motion(path.pose_T34[start:end]))
        for truth in (None, path):
            scores_JK = judge.judge(play, [path, worse], truth=truth).shots_JK
            assert scores_JK[0, 0] > scores_JK[1, 0]
        seen += 1
    assert seen >= 3


def test_measures_are_those_of_the_review(examples):
    """`stage.review` looks at every frame of one plan, this at a few frames of many."""
    for example in examples:
        if len(example.scene.subjects) == 1:
            path = example.trajectory
            shown, found = framed(path, example.scene.subjects[0]), measure(example.screenplay, [path], example.scene)
            for shot, (start, end) in enumerate(path.spans):
                index_T = frames_of_shot(start, end, FRAMES)
                np.testing.assert_array_equal(found.seen_JKT[0, shot], ~shown.off[index_T])
                assert found.misframed_JK[0, shot] == pytest.approx(shown.misframed[index_T].mean())


PLAY = Screenplay("A woman waits.", (Shot("The camera pans left."), Shot("A close-up of her, from behind.")))


def clips(count=3, shots=2):
    return [[np.full((4, 2, 2, 3), 10 * j + k, np.uint8) for k in range(shots)] for j in range(count)]


def test_cyclic_scores_by_hand():
    said = {
        0: "The camera pans left.",
        10: "The camera pans right.",
        20: "A woman.",
        1: "A close-up.",
        11: "A wide shot.",
    }

    def caption(found, count, seed, fps):
        assert count == 2
        return [[said.get(int(clip[0, 0, 0, 0]), "From the front.")] * count for clip in found]

    scores_JK = Cyclic(caption, None, captions=2).judge(PLAY, [None] * 3, clips()).shots_JK
    assert scores_JK[0, 0] == 1.0 and scores_JK[0, 0] > scores_JK[2, 0] >= scores_JK[1, 0]
    assert scores_JK[0, 1] > scores_JK[1, 1]

    def embed(texts):
        return np.stack(
            [np.array([1.0, 0.0]) if "left" in text or text == texts[0] else np.array([0.0, 1.0]) for text in texts]
        )

    with_cosine = Cyclic(caption, embed, captions=2).judge(PLAY, [None] * 3, clips()).shots_JK
    assert with_cosine[0, 0] == pytest.approx(1.0)
    assert with_cosine[1, 0] == pytest.approx((1 - COSINE) * scores_JK[1, 0])


def test_a_captioner_that_says_nothing_is_an_error():
    with pytest.raises(ValueError, match="nothing to say"):
        Cyclic(lambda found, count, seed, fps: [[" "]] * len(found), None).judge(PLAY, [None], clips(1))


def test_direct_counts_comparisons_that_are_won():
    orders = []

    def compare(question, first, second, fps):
        assert "pans left" in question or "close-up" in question
        orders.append(first[0, 0, 0, 0] < second[0, 0, 0, 0])
        return "Answer: A." if first[0, 0, 0, 0] > second[0, 0, 0, 0] else "B"

    scores_JK = Direct(compare).judge(PLAY, [None] * 4, clips(4)).shots_JK
    np.testing.assert_allclose(scores_JK, np.arange(4)[:, None] / 3 * np.ones(2))
    assert 0 < np.mean(orders) < 1  # no candidate always comes first


@pytest.mark.parametrize(("answer", "found"), [("A", "A"), (" b) B", "B"), ("I think A is better", "A")])
def test_letters(answer, found):
    assert letter(answer) == found


@pytest.mark.parametrize("answer", ["", "neither", "A or B", "AB"])
def test_answers_that_are_none(answer):
    with pytest.raises(ValueError, match="neither A nor B"):
        letter(answer)


@dataclasses.dataclass(frozen=True)
class Blind:
    """A judge that likes everything the same."""

    name: str = "blind"
    sees: bool = False
    settings: dict = dataclasses.field(default_factory=dict)

    def judge(self, screenplay, candidates, clips=None, truth=None):
        return Verdict(np.full((len(candidates), len(screenplay.shots)), 0.5))


def test_probes():
    [found] = probes.check([Geometric()], None, 20)
    assert found.passed and found.true > found.pushed > found.strange and found.rank > 0.7
    with pytest.raises(ValueError, match="blind: on 3 scenes .* above the pushed ones on 0%"):
        probes.check([Blind()], None, 3)
