"""Planning end to end with an untrained planner: exact frames, and results that depend on nothing beside them."""

import dataclasses
import itertools

import jax
import numpy as np
import pytest

from shotverse_jax.camera import se3
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import Execution, PoseTokenConfig, planner_nano
from shotverse_jax.infer import groups
from shotverse_jax.infer.decode import SAMPLERS
from shotverse_jax.infer.plan import Director, encode, plan, read_plan, sample_ids
from shotverse_jax.inputs.planner_text import collate
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.models.planner import Planner
from shotverse_jax.screenplay import Screenplay, Shot
from shotverse_jax.stage.review import review
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


def test_a_plan_is_the_best_of_its_candidates(nano):
    one, long = play(2, 3, words="pan left"), play(*[0.5] * 5)
    [drawn], [kept] = plan(nano, [one], seed=3, samples=6), plan(nano, [one], seed=3, samples=2, candidates=3)
    for number, found in enumerate(kept):
        own = drawn[3 * number : 3 * number + 3]
        scores = [review(candidate).score for candidate in own]
        np.testing.assert_array_equal(found.pose_T34, own[int(np.argmax(scores))].pose_T34)
    assert len({review(candidate).score for candidate in drawn}) > 1
    # Whoever plans for people gets the best of several; the groups of a long screenplay are chosen each by itself.
    [front] = nano.plan([one], 3)
    best = plan(nano, [one], seed=3, candidates=nano.usual_candidates)
    np.testing.assert_array_equal(front.trajectories[0].pose_T34, best[0][0].pose_T34)
    [[joined]] = plan(nano, [long], candidates=2)
    assert joined.num_shots == 5
    for wrong in (0, -1, 10_001, 1.5):
        with pytest.raises(ValueError, match="the candidates"):
            plan(nano, [one], candidates=wrong)
    with pytest.raises(ValueError, match="the samples"):
        plan(nano, [one], samples=10_000, candidates=2)


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
    found = {plan.index: plan.trajectories for plan in nano.plan(plays, seeds=[1, 2, 3], samples=2, candidates=1)}
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


def test_more_shots_than_the_planner_takes_are_planned_in_groups_of_one_stage(nano):
    """Seven shots in groups of shots 1-4 and 4-7; every shot has its frames, and the stage of all is that of shot 1."""
    screenplay = play(1, 0.5, None, 2, 1, None, 0.5)
    [[one, two]] = plan(nano, [screenplay], seed=3, samples=2)
    assert one.spans == list(screenplay.layout().spans) and one.num_shots == 7
    assert one.captions == tuple(shot.caption for shot in screenplay.shots)
    assert np.abs(one.pose_T34 - two.pose_T34).max() > 0
    first, second = groups.split(screenplay, 4)
    assert [len(part.shots) for part in (first, second)] == [4, 4] and first.shots[3].caption == second.shots[0].caption
    [[head]] = plan(nano, [first], seed=3)
    [[tail]] = plan(nano, [second], seed=groups.seeds(3, 2)[1])
    np.testing.assert_array_equal(one.pose_T34[: len(head)], head.pose_T34)
    seen = se3.compose(se3.inverse(one.stage_34), one.pose_T34[len(head) :])
    np.testing.assert_allclose(
        seen, se3.compose(se3.inverse(tail.stage_34), tail.pose_T34[tail.spans[1][0] :]), atol=1e-9
    )
    assert "the 7 shots are planned in 2 groups" in nano.notes(screenplay)[0]
    assert not any("groups" in note for note in nano.notes(first))


def test_a_plan_in_groups_is_the_same_bit_for_bit_in_every_company(nano):
    long, short = play(*[0.5] * 9), play(1, 1)
    [[alone]] = plan(nano, [long], seed=[5])
    together = plan(nano, [short, long, short], seed=[1, 5, 2])
    np.testing.assert_array_equal(together[1][0].pose_T34, alone.pose_T34)
    assert nano.bucket(long) != nano.bucket(short) and len(nano.bucket(long)) == 3


def test_without_a_stage_the_shot_in_common_agrees():
    """A path that is known from both groups, each in a world of its own, comes out in one piece."""
    rng, frames = np.random.default_rng(0), [5, 4, 4, 8, 4]
    screenplay = Screenplay("a", tuple(Shot(f"s {i}", n / 16) for i, n in enumerate(frames)), frames=25)
    angle_T, step = np.linspace(0, 2, 25), np.linspace(0, 3, 25)
    pose_T34 = se3.make(se3.so3_exp(angle_T[:, None] * [0, 1, 0.2]), np.stack([step, np.sin(step), step**2], axis=1))
    whole = Trajectory(pose_T34, [60, 60, 32, 24], 64, 48, np.repeat(np.arange(5), frames)).from_first_camera()
    head = Trajectory(whole.pose_T34[:13], [60, 60, 32, 24], 64, 48, whole.shot_T[:13])
    world = se3.make(np.linalg.qr(rng.normal(size=(3, 3)))[0], rng.normal(size=3))
    world[:, :3] *= np.sign(np.linalg.det(world[:, :3]))
    common = se3.resample(whole.pose_T34[9:13], np.linspace(0, 3, 5))
    pose = se3.compose(world, np.concatenate([common, whole.pose_T34[13:]]))
    tail = Trajectory(pose, [60, 60, 32, 24], 64, 48, np.repeat(np.arange(3), [5, 8, 4]))
    joined = groups.join([head, tail], screenplay)
    np.testing.assert_allclose(joined.pose_T34, whole.pose_T34, atol=1e-2)
    np.testing.assert_array_equal(joined.shot_T, whole.shot_T)


@pytest.mark.parametrize(("count", "most"), [(5, 4), (6, 4), (7, 4), (8, 4), (16, 4), (3, 2), (17, 5), (60, 4)])
def test_groups_cover_all_shots_with_one_in_common(count, most):
    found = groups.bounds(count, most)
    assert found[0][0] == 0 and found[-1][1] == count - 1
    assert all(before[1] == after[0] for before, after in itertools.pairwise(found))
    assert all(1 < last - first + 1 <= most for first, last in found)
    screenplay = play(*[None if i % 3 else 0.1 * (i + 1) for i in range(count)])
    length_K = np.diff(screenplay.layout().spans)[:, 0]
    for (first, last), part in zip(found, groups.split(screenplay, most), strict=True):
        np.testing.assert_array_equal(np.diff(part.layout().spans)[1:, 0], length_K[first + 1 : last + 1])


def test_what_cannot_be_planned_in_groups_is_refused(nano):
    with pytest.raises(ValueError, match="takes 1 shot, the screenplay has 2"):
        groups.split(play(1, 1), 1)
    with pytest.raises(ValueError, match="up to 4 shots"):
        sample_ids(nano, [play(1, 1, 1, 1, 1)])


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
