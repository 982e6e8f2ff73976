"""Scores of a planner on held-out scenes of the stage: motions, prompts, framing, nearness to the true paths."""

from typing import Any

from shotverse_jax.evaluation.features.clatr import CLaTrReader
from shotverse_jax.evaluation.metrics.frechet import frechet
from shotverse_jax.evaluation.tracks.stage_plans import read_prompts, score_framing, score_prompts, score_scenes
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.plan import in_order


def score_planner(planner: Any, scenes: int, seed: int = 0, candidates: int = 1) -> dict[str, Any]:
    """Returns the scores of a planner on held-out scenes.

    Args:
        planner: the planner.
        scenes: how many.
        seed: of its plans.
        candidates: plans of each scene, of which the best by review counts; 1 takes plans as they are drawn.

    Returns:
        those of `score_scenes`, `score_framing` and `score_prompts`;
        clatr_fcd: the Fréchet distance of CLaTr's latents of the shots of plans and of true cameras;
        scenes_lost: off_screen_lost of every scene, a list.
    """
    examples = [sample_example(number, "test") for number in range(scenes)]
    prompts = read_prompts()
    plans = _plans(planner, [example.screenplay for example in examples], seed, candidates)
    truths, stages = zip(*((example.trajectory, example.scene) for example in examples), strict=True)
    scores: dict[str, Any] = score_scenes(plans, truths) | score_framing(plans, truths, stages)
    scores |= score_prompts(_plans(planner, [prompt.screenplay for prompt in prompts], seed, candidates), prompts)
    shots = [[path.pose_T34[start:end] for path in paths for start, end in path.spans] for paths in (plans, truths)]
    latents = [CLaTrReader.load().read_shots(paths).mu_ND for paths in shots]
    each = zip(plans, truths, stages, strict=True)
    return scores | {
        "clatr_fcd": frechet(*latents)["fcd"],
        "scenes_lost": [round(score_framing(*([part] for part in one))["off_screen_lost"], 4) for one in each],
    }


def _plans(planner: Any, plays: list, seed: int, candidates: int) -> list:
    return [paths[0] for paths in in_order(planner.plan(plays, seed, candidates=candidates))]
