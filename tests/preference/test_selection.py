"""Which candidates make a pair, and plans with a shot of another plan."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from shotverse_jax.camera import se3
from shotverse_jax.camera.tokens.shotverse import PoseTokenizer, header_length
from shotverse_jax.config import PoseTokenConfig
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.preference.selection import Rule, Verdict, choose, combined, spliced, swapped_tokens

GOOD = np.array([[0.9, 0.8], [0.1, 0.2], [0.5, 0.9]])


def test_best_against_worst():
    [choice] = choose({"a": Verdict(GOOD)}, None, Rule())
    assert (choice.chosen, choice.rejected, choice.shot) == (0, 1, None)
    assert choice.chosen_score == pytest.approx(0.85) and choice.rejected_score == pytest.approx(0.15)


def test_each_shot_alone():
    first, second = choose({"a": Verdict(GOOD)}, None, Rule(unit="shot"))
    assert (first.chosen, first.rejected, first.shot) == (0, 1, 0)
    assert (second.chosen, second.rejected, second.shot) == (2, 1, 1)


def test_scores_of_whole_plans_may_have_more_than_shots():
    [choice] = choose({"a": Verdict(GOOD, np.array([0.1, 0.9, 0.5]))}, None, Rule())
    assert (choice.chosen, choice.rejected) == (1, 0)


@pytest.mark.parametrize(
    ("rule", "misframed", "count"),
    [
        (Rule(margin=0.71), None, 0),
        (Rule(margin=0.69), None, 1),
        (Rule(), [[0.5, 0.5], [0.0, 0.0], [0.0, 0.0]], 0),
        (Rule(agreed=False), [[0.5, 0.5], [0.0, 0.0], [0.0, 0.0]], 1),
    ],
)
def test_what_makes_no_pair(rule, misframed, count):
    misframed = None if misframed is None else np.array(misframed)
    assert len(list(choose({"a": Verdict(GOOD)}, misframed, rule))) == count


def test_judges_must_agree():
    verdicts = {"a": Verdict(GOOD), "b": Verdict(np.array([[0.4, 0.4], [0.5, 0.5], [0.45, 0.45]]))}
    assert not list(choose(verdicts, None, Rule()))
    assert len(list(choose(verdicts, None, Rule(agreed=False)))) == 1
    [choice] = choose(verdicts, None, Rule(agreed=False, weights={"a": 0.0}))
    assert (choice.chosen, choice.rejected) == (1, 0)


@given(hnp.arrays(float, (4, 3), elements=st.floats(0, 1)), st.sampled_from(["scene", "shot"]), st.floats(0, 0.5))
def test_a_choice_always_has_its_margin(scores_JK, unit, margin):
    for choice in choose({"a": Verdict(scores_JK)}, None, Rule(unit, margin)):
        assert choice.chosen != choice.rejected
        assert choice.chosen_score - choice.rejected_score >= margin


def test_weights():
    scores = {"a": np.array([1.0, 0.0]), "b": np.array([0.0, 1.0])}
    np.testing.assert_allclose(combined(scores, {"a": 3.0}), [0.75, 0.25])
    np.testing.assert_allclose(combined(scores, {"a": 0.0, "b": 0.0}), [0.5, 0.5])


def test_a_shot_of_another_plan_stays_where_it_is_on_the_stage():
    first, other = (sample_example(seed, num_shots=2).trajectory for seed in (3, 3))
    moved = other.moved(se3.make(se3.so3_exp(np.array([0.0, 1.0, 0.0])), np.array([4.0, 0.0, 1.0])))
    np.testing.assert_allclose(spliced(first, 1, moved).pose_T34, first.pose_T34, atol=1e-9)


@pytest.mark.parametrize("shot", range(3))
def test_tokens_of_another_plan(shot):
    config = PoseTokenConfig(poses="count", count=3, origin="world", path="step")
    tokenizer, header = PoseTokenizer(config), 1 + header_length(config)
    first = sample_example(5, num_shots=3).trajectory
    start, end = first.spans[shot]
    poses = first.pose_T34.copy()
    poses[start:end, :, :3] = poses[start:end, :, :3] @ se3.so3_exp(np.array([0.0, 0.4, 0.0]))

    other = dataclasses.replace(first, pose_T34=poses)
    first_N, other_N = tokenizer.encode(first), tokenizer.encode(other)
    swapped_N = swapped_tokens(first_N, shot, other_N, tokenizer.sep, header)
    np.testing.assert_array_equal(swapped_N, other_N)
    changed_N = other_N.copy()
    changed_N[1] += 1
    assert swapped_tokens(first_N, shot, changed_N, tokenizer.sep, header) is None
