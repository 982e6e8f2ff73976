"""From a trajectory to a film: what is fitted, what is refused, and that the loop follows both experts."""

import dataclasses

import jax
import numpy as np
import pytest

from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.denoise import advance, begin, decode, generate, measure_change
from shotverse_jax.infer.film import bucket_of
from shotverse_jax.infer.take import prepare
from shotverse_jax.screenplay import Screenplay, Shot


@pytest.fixture(scope="module")
def crew(controller_folder):
    return Cinematographer.load(controller_folder)


@pytest.fixture(scope="module")
def example():
    return sample_example(3, "train", num_shots=2)


def test_a_plan_is_told_in_the_frames_the_model_knows(crew, example):
    take = prepare(crew, example.screenplay, example.trajectory)
    assert len(take.trajectory) == 17 and take.trajectory.spans == list(take.layout.spans)
    assert (take.trajectory.height, take.trajectory.width, take.trajectory.fps) == (32, 48, 8.0)
    assert take.notes == (f"{len(example.trajectory)} frames become 17 at 8 fps, every camera path whole",)
    for (start, end), (first, last) in zip(take.trajectory.spans, example.trajectory.spans, strict=True):
        ends, asked = take.trajectory.pose_T34[[start, end - 1]], example.trajectory.pose_T34[[first, last - 1]]
        np.testing.assert_allclose(ends, asked, atol=1e-12)


def test_frames_are_snapped_and_said(crew, example):
    take = prepare(crew, example.screenplay, example.trajectory, frames=19, size=(16, 32))
    assert len(take.trajectory) == 17 and "17 frames instead of 19" in take.notes[0]
    assert (take.trajectory.height, take.trajectory.width) == (16, 32)


def test_a_trajectory_of_another_length_is_spread(crew, example):
    half = example.trajectory.retimed([(0, 20), (20, 41)], 16.0)
    take = prepare(crew, example.screenplay, half)
    assert len(take.trajectory) == 17 and "41 poses are spread over 17 frames" in take.notes[-1]


def test_a_lens_that_controllers_do_not_read_is_said(crew, example):
    lens_T4 = example.trajectory.intrinsics_T4 * np.linspace(1, 2, len(example.trajectory))[:, None]
    lens_T4[:, 2:] = example.trajectory.intrinsics_T4[:, 2:]
    take = prepare(
        crew, example.screenplay, dataclasses.replace(example.trajectory, intrinsics_T4=lens_T4, focus_T2=[2, 2.8])
    )
    assert take.notes[-1].endswith("lens is not filmed: its zoom, its focus") and take.trajectory.zoom > 1.3


@pytest.mark.parametrize(
    ("options", "words"),
    [({"size": (30, 48)}, "multiples of 16, got 30x48"), ({"frames": 5}, "2 shots need at least 9 frames")],
)
def test_impossible_films_are_refused(crew, example, options, words):
    with pytest.raises(ValueError, match=words):
        prepare(crew, example.screenplay, example.trajectory, **options)


def test_another_number_of_shots_is_refused(crew, example):
    with pytest.raises(ValueError, match="the trajectory has 1 shots and the screenplay 2"):
        prepare(crew, example.screenplay, example.trajectory.shot(0))


def test_a_prompt_that_is_too_long_is_refused(crew, example):
    long = Screenplay("A room.", (Shot("The camera moves in " + "very " * 600 + "slowly."), Shot("Cut.")))
    with pytest.raises(ValueError, match="tokens, and 512 is the most"):
        prepare(crew, long, example.trajectory)


def test_a_film_is_generated_and_decoded(crew, example):
    take = prepare(crew, example.screenplay, example.trajectory)
    latents = generate(crew, [take], seed=1)
    assert latents.shape == (1, 5, 4, 6, 4) and np.isfinite(latents).all()
    chunks = list(decode(crew, latents))
    assert [chunk.shape[1] for chunk in chunks] == [1, 4, 4, 4, 4]
    assert chunks[0].dtype == np.uint8 and chunks[0].shape[2:] == (32, 48, 3)


def test_a_film_does_not_depend_on_the_others_of_its_batch(crew, example):
    other = sample_example(8, "train", num_shots=3)
    takes = [prepare(crew, e.screenplay, e.trajectory) for e in (example, other)]
    alone, together = generate(crew, takes[:1], seed=[5]), generate(crew, takes[::-1], seed=[4, 5])
    np.testing.assert_allclose(alone[0], together[1], atol=1e-5)


def test_both_experts_the_camera_the_prompt_and_the_seed_matter(crew, example):
    take = prepare(crew, example.screenplay, example.trajectory)
    usual = np.asarray(generate(crew, [take]))

    def differs(other):
        return np.abs(np.asarray(other) - usual).max() > 1e-3

    np.testing.assert_array_equal(usual, generate(crew, [take]))
    assert differs(generate(crew, [take], seed=1))
    assert differs(generate(crew, [take], guidance=1.0))
    for name in ("high", "low"):
        assert differs(
            generate(dataclasses.replace(crew, **{name: jax.tree.map(lambda x: 1.5 * x, getattr(crew, name))}), [take])
        )
    turned = take.trajectory.pose_T34.copy()
    turned[8:, :, 3] += 1.0
    assert differs(generate(crew, [dataclasses.replace(take, trajectory=_with(take.trajectory, turned))]))
    sharing = dataclasses.replace(crew.design, config=dataclasses.replace(crew.config, shared_noise=0.5))
    assert differs(generate(dataclasses.replace(crew, design=sharing), [take]))
    words = dataclasses.replace(example.screenplay, caption="A green horse in the rain.")
    assert differs(generate(crew, [prepare(crew, words, example.trajectory)]))


def _with(trajectory: Trajectory, pose_T34) -> Trajectory:
    return dataclasses.replace(trajectory, pose_T34=pose_T34)


@pytest.mark.parametrize("solver", ["unipc", "euler"])
def test_a_film_made_in_parts_is_the_film_made_at_once(crew, example, solver):
    """Both experts have steps (4 in all); what is between is noisier than the film and can be decoded."""
    take = prepare(crew, example.screenplay, example.trajectory)
    whole = np.asarray(generate(crew, [take], seed=3, solver=solver))
    shoot = begin(crew, [take], seed=3, solver=solver)
    assert shoot.done == 0
    seen = []
    for steps in (1, 2, 5):
        shoot = advance(crew, shoot, steps)
        seen.append((shoot.done, float(np.abs(np.asarray(shoot.latents_BTHWC) - whole).max())))
    assert [done for done, _ in seen] == [1, 3, 4] and seen[0][1] > seen[1][1] > 0.01
    np.testing.assert_allclose(shoot.latents_BTHWC, whole, atol=1e-6 * np.abs(whole).max())
    assert next(decode(crew, shoot.latents_BTHWC)).dtype == np.uint8


def test_a_cinematographer_is_a_tree_of_its_weights(crew):
    """Its design is static: equal for equal networks, so that another load compiles nothing anew."""
    weights = (crew.high, crew.low, crew.text, crew.vae)
    assert len(jax.tree.leaves(crew)) == len(jax.tree.leaves(weights))
    doubled = jax.tree.map(lambda x: 2 * x, crew)
    np.testing.assert_array_equal(jax.tree.leaves(doubled.low)[0], 2 * np.asarray(jax.tree.leaves(crew.low)[0]))
    assert doubled.config == crew.config
    other = dataclasses.replace(crew.design, tokenizer=object())
    assert other == crew.design and hash(other) == hash(crew.design)


def test_guidance_in_a_part_of_the_steps(crew, example):
    """Four steps: a film guided in the first half is the guided one there, and the unguided one from there on."""
    take = prepare(crew, example.screenplay, example.trajectory)

    def shot(guidance, **options):
        return begin(crew, [take], seed=2, guidance=guidance, solver="euler", **options)

    half = np.asarray(generate(crew, [take], seed=2, guidance=3.0, solver="euler", guidance_range=(0.0, 0.5)))
    there = advance(crew, shot(3.0), 2)
    after = advance(crew, dataclasses.replace(there, denoising=shot(1.0).denoising), 2)
    np.testing.assert_allclose(half, after.latents_BTHWC, atol=1e-5 * np.abs(half).max())
    assert np.abs(half - np.asarray(generate(crew, [take], seed=2, guidance=3.0, solver="euler"))).max() > 1e-3
    assert shot(3.0, guidance_range=(0.3, 0.31)).denoising.guided_steps == (2, 3)
    with pytest.raises(ValueError, match="got 0.5 to 0.5"):
        shot(3.0, guidance_range=(0.5, 0.5))


@pytest.mark.parametrize("options", [{}, {"guidance_range": (0.0, 0.5)}])
def test_prompt_and_negative_as_one_batch_are_the_same_film(crew, example, options):
    """Two films whose prompts are longer than their negatives, in one batch."""
    other = sample_example(8, "train", num_shots=3)
    takes = [prepare(crew, e.screenplay, e.trajectory, negative="grey") for e in (example, other)]
    assert bucket_of(crew, takes[0])[-2] > bucket_of(crew, takes[0])[-1]
    usual = np.asarray(generate(crew, takes, seed=[5, 6], **options))
    together = np.asarray(generate(crew, takes, seed=[5, 6], one_pass=True, **options))
    np.testing.assert_allclose(together, usual, atol=1e-5 * np.abs(usual).max())


def test_steps_are_skipped_by_what_was_measured(crew, example):
    take = prepare(crew, example.screenplay, example.trajectory)
    with pytest.raises(ValueError, match="has no velocity_change"):
        generate(crew, [take], skip=0.1)
    changes = measure_change(crew, [take])
    assert changes.shape == (4,) and changes[0] == 0 and (changes[1:] > 0).all()
    config = dataclasses.replace(crew.config, velocity_change=(0.0, 0.1, 0.1, 0.1))
    measured = dataclasses.replace(crew, design=dataclasses.replace(crew.design, config=config))
    usual = np.asarray(generate(crew, [take]))
    np.testing.assert_array_equal(generate(measured, [take]), usual)
    assert begin(measured, [take], skip=0.15).denoising.skipped == (False, True, False, False)
    shoot = begin(measured, [take], skip=0.15)
    at_once = np.asarray(advance(measured, shoot, 4).latents_BTHWC)
    for _ in range(4):
        shoot = advance(measured, shoot, 1)
    np.testing.assert_allclose(shoot.latents_BTHWC, at_once, atol=1e-6 * np.abs(at_once).max())
    assert 1e-4 < np.abs(at_once - usual).max() < 1.0
