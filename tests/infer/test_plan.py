"""Planning end to end with an untrained planner: exact frames, and results that depend on nothing beside them."""

import dataclasses

import jax
import numpy as np
import pytest

from shotverse_jax.config import Execution, PoseTokenConfig, planner_nano
from shotverse_jax.infer.decode import SAMPLERS
from shotverse_jax.infer.plan import Director, encode, plan, read_plan, sample_ids
from shotverse_jax.inputs.planner_text import collate
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.models.planner import Planner
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.weights import init


def director(**changes):
    config = dataclasses.replace(planner_nano(), **changes)
    tokenizer = train_text_tokenizer(["the camera pans left and pushes in"], config.text.vocab_size)
    params = jax.jit(lambda: init("planner", config, jax.random.key(0)))()
    return Director(config, params, tokenizer)


@pytest.fixture(scope="module")
def nano():
    return director()


def play(*seconds, words="pan left"):
    return Screenplay("a scene", tuple(Shot(f"{words} {i}", s) for i, s in enumerate(seconds)))


def test_frames_and_cuts_are_those_asked_for(nano):
    plays = [play(2, 3.5, 1), play(None), play(0.5, 0.5), play(None, None, None, None)]
    for screenplay, [trajectory] in zip(plays, plan(nano, plays), strict=True):
        layout = screenplay.layout()
        assert trajectory.spans == list(layout.spans) and len(trajectory) == layout.num_frames
        assert trajectory.captions == tuple(s.caption for s in screenplay.shots)
        np.testing.assert_allclose(trajectory.pose_T34[0], np.eye(3, 4), atol=1e-9)
        assert trajectory.stage_34 is not None and trajectory.scale > 0


def test_a_plan_does_not_depend_on_the_batch_or_on_later_samples(nano):
    one, other = play(2, 3), play(1, 1, words="tilt up")
    [[alone]] = plan(nano, [one], seed=3)
    together = plan(nano, [other, one], seed=3, samples=2)
    np.testing.assert_array_equal(together[1][0].pose_T34, alone.pose_T34)
    assert np.abs(together[1][1].pose_T34 - alone.pose_T34).max() > 0
    [[reseeded]] = plan(nano, [one], seed=4)
    assert np.abs(reseeded.pose_T34 - alone.pose_T34).max() > 0


def test_a_plan_is_the_same_bit_for_bit_in_every_company_and_place(nano):
    """Lengths, texts and shots differ, so do the seeds; log-probabilities would show the last digit of a difference."""
    plays = [play(*(1 + (i * k) % 3 for k in range(1 + i % 3)), words="tilt up " * (1 + 5 * (i % 2))) for i in range(7)]
    seeds = [10 + i for i in range(7)]
    alone = [sample_ids(nano, [one], seed=[seed], samples=2)[0] for one, seed in zip(plays, seeds, strict=True)]
    for order in ([0, 1, 2, 3, 4, 5, 6], [6, 2, 4, 0, 5, 1, 3]):
        together = sample_ids(nano, [plays[i] for i in order], seed=[seeds[i] for i in order], samples=3)
        for i, drawn in zip(order, together, strict=True):
            np.testing.assert_array_equal(drawn.ids_JN[:2], alone[i].ids_JN)
            np.testing.assert_array_equal(drawn.log_probs_JN[:2], alone[i].log_probs_JN)


def test_plans_come_as_they_finish_and_seeds_are_counted(nano):
    plays = [play(1, 1), play(2), play(1, 1, words="tilt up")]
    found = {plan.index: plan.trajectories for plan in nano.plan(plays, seeds=[1, 2, 3], samples=2)}
    assert sorted(found) == [0, 1, 2] and list(found) == [0, 2, 1]  # screenplays of one bucket share a block
    for index, trajectories in found.items():
        [wanted] = plan(nano, [plays[index]], seed=index + 1, samples=2)
        for ours, theirs in zip(trajectories, wanted, strict=True):
            np.testing.assert_array_equal(ours.pose_T34, theirs.pose_T34)
    with pytest.raises(ValueError, match="3 items and 2 seeds"):
        list(nano.plan(plays, seeds=[1, 2]))


def test_greedy_needs_no_seed(nano):
    first, second = (plan(nano, [play(2, 2)], seed=seed, sampling=SAMPLERS["greedy"])[0][0] for seed in (0, 1))
    np.testing.assert_array_equal(first.pose_T34, second.pose_T34)


def test_every_fourth_frame_as_in_the_paper():
    paper = director(tokens=PoseTokenConfig(poses="every", every=4, origin="none"))
    screenplay = play(1, 0.5)
    [[trajectory]] = plan(paper, [screenplay])
    assert trajectory.spans == list(screenplay.layout().spans) and trajectory.stage_34 is None


def test_too_many_shots_are_refused(nano):
    with pytest.raises(ValueError, match="up to 4 shots"):
        plan(nano, [play(1, 1, 1, 1, 1)])


def test_sampled_ids_are_those_of_the_plan_with_their_log_probabilities(nano):
    """As a network under teacher forcing gives them; the text is tokenized once a screenplay."""
    plays = [play(2, 3), play(1), play(1, 1, words="tilt up")]
    spied = Spy(nano.tokenizer)
    drawn = sample_ids(dataclasses.replace(nano, tokenizer=spied), plays, seed=3, samples=2)
    assert spied.calls == len(plays)
    planned = plan(nano, plays, seed=3, samples=2)
    for screenplay, sampled, trajectories in zip(plays, drawn, planned, strict=True):
        assert sampled.ids_JN.shape == sampled.log_probs_JN.shape and sampled.log_probs_JN.dtype == np.float32
        for ids_N, trajectory in zip(sampled.ids_JN, trajectories, strict=True):
            np.testing.assert_array_equal(read_plan(nano.config, screenplay, ids_N).pose_T34, trajectory.pose_T34)

    example = encode(nano, plays[0])._replace(pose_ids_N=drawn[0].ids_JN[1])
    batch = collate([example], 64)
    logits_BNV, _ = Planner(nano.config, Execution()).apply({"params": nano.params}, batch, 2)
    forced_NV = np.asarray(jax.nn.log_softmax(logits_BNV[0, :-1]))
    forced_N = np.take_along_axis(forced_NV, drawn[0].ids_JN[1, 1:, None], axis=-1)[:, 0]
    np.testing.assert_allclose(drawn[0].log_probs_JN[1, 1:], forced_N, atol=2e-5)


class Spy:
    """A tokenizer that counts the texts it encodes."""

    def __init__(self, tokenizer):
        self.tokenizer, self.calls = tokenizer, 0

    def encode_batch(self, *args, **options):
        self.calls += 1
        return self.tokenizer.encode_batch(*args, **options)
