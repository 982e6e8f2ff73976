"""Pairs of a list: what a folder holds, that a list goes on, what fails alone, and the loop around it."""

import dataclasses
import json

import numpy as np
import pytest
import small_models

from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.tokens.shotverse import PoseTokenizer
from shotverse_jax.config import LoopConfig, PairsConfig, PreferenceTrainConfig
from shotverse_jax.data.pairs import read_pairs
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.batch import run_batch
from shotverse_jax.infer.plan import Director
from shotverse_jax.inputs.items import read_items
from shotverse_jax.preference import loop
from shotverse_jax.preference.job import PairsJob
from shotverse_jax.preference.judges import Cyclic, Geometric
from shotverse_jax.preference.previews import StageRenderer
from shotverse_jax.preference.selection import Rule
from shotverse_jax.preference.work import CANDIDATES, PAIRS, PairsWork, Recipe, collect
from shotverse_jax.train.tasks.preference import PlannerPairs

RECIPE = Recipe(candidates=4, rule=Rule(margin=0.0, agreed=False), contrast=0.0)


@pytest.fixture(scope="module")
def planner(tmp_path_factory):
    return small_models.planner(tmp_path_factory.mktemp("planner"))


@pytest.fixture(scope="module")
def director(planner):
    return Director.load(str(planner))


def items(folder, captions=("The camera pans left.", "A close-up; push in slowly.", "The camera rises.")):
    rows = [
        {"id": f"play_{i}", "caption": "A woman waits.", "shots": [{"caption": caption, "duration": 1}] * (1 + i % 2)}
        for i, caption in enumerate(captions)
    ]
    path = folder / "plays.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return read_items(path)


def files(folder):
    times = ("seconds",)
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.name == "result.json":
            values = json.loads(path.read_text())
            found[str(path.relative_to(folder))] = {k: v for k, v in values.items() if k not in times}
        elif path.suffix == ".npz":
            found[str(path.relative_to(folder))] = {k: v.tolist() for k, v in np.load(path).items()}
        elif path.is_file() and path.name != "results.jsonl":
            found[str(path.relative_to(folder))] = path.read_bytes()
    return found


def test_a_list(director, tmp_path):
    plays, work = items(tmp_path), PairsWork(director, [Geometric()], None, RECIPE)
    summary = run_batch(plays, work, tmp_path / "out")
    assert (summary.made, summary.failed) == (3, 0)
    assert collect(plays, tmp_path / "out") == (3, 3)
    reader = PlannerPairs(director.config, director.tokenizer)
    for pair, item in zip(read_pairs(tmp_path / "out" / PAIRS), plays, strict=True):
        assert pair.id == f"{item.id}/scene" and pair.origin == "sampled" and pair.gap > 0
        drawn = np.load(tmp_path / "out" / item.id / CANDIDATES)
        encoded = reader.encode(pair)
        record = json.loads((tmp_path / "out" / item.id / "result.json").read_text())
        best, worst = np.argmax(record["scores"]["geometric"]), np.argmin(record["scores"]["geometric"])
        for ids_N, number in zip(encoded.ids_2, (best, worst), strict=True):
            np.testing.assert_array_equal(ids_N, drawn["ids_JN"][number][: len(ids_N)])
        assert pair.misframed == pytest.approx(tuple(np.mean(record["misframed"], axis=1)[[best, worst]]), abs=1e-4)
    again = run_batch(plays, work, tmp_path / "out")
    assert (again.made, again.skipped) == (0, 3)
    run_batch(plays[::-1], PairsWork(director, [Geometric()], None, RECIPE), tmp_path / "other")
    collect(plays, tmp_path / "other")
    assert files(tmp_path / "other") == files(tmp_path / "out")


def test_candidates_are_judged_anew(planner, director, tmp_path):
    """Another rule about the same plans; of another planner, and where there are too few, an item fails."""
    plays, config = items(tmp_path), PairsConfig(planner=str(planner), candidates=4, margin=0.0, agreed=False, probes=0)
    run_batch(plays, PairsJob(config).load(), tmp_path / "first")
    collect(plays, tmp_path / "first")
    again = dataclasses.replace(config, drawn=str(tmp_path / "first"))
    run_batch(plays, PairsJob(again).load(), tmp_path / "again")
    collect(plays, tmp_path / "again")
    assert files(tmp_path / "again") == files(tmp_path / "first")
    few = dataclasses.replace(again, candidates=2)
    run_batch(plays, PairsJob(few).load(), tmp_path / "few")
    for item in plays:
        kept, all_ = (np.load(tmp_path / name / item.id / CANDIDATES)["ids_JN"] for name in ("few", "first"))
        np.testing.assert_array_equal(kept, all_[:2, : kept.shape[1]])
    for changes, words in (
        ({"candidates": 5}, "has 4 candidates, not 5"),
        ({"planner": "planner_small"}, "of another"),
    ):
        job = PairsJob(dataclasses.replace(again, **changes))
        assert run_batch(plays[:1], job.load(), tmp_path / words).failed == 1
        assert words in (tmp_path / words / "results.jsonl").read_text()


def test_true_cameras_of_a_list_and_of_the_stage(planner, tmp_path):
    """The score of a plan is then its nearness to them: the share of the frames that keep the subject and the tag."""
    example = sample_example(7, "train")
    write_trajectory(example.trajectory, tmp_path / "path.json", "shotverse")
    [line] = loop.stage_prompts(1, part=7)
    row = json.loads(line) | {"trajectory": str(tmp_path / "path.json")}
    (tmp_path / "scenes.jsonl").write_text(json.dumps(row) + "\n")
    plays, scores = read_items(tmp_path / "scenes.jsonl"), {}
    for truth in ("none", "list", "stage"):
        job = PairsJob(PairsConfig(planner=str(planner), candidates=3, truth=truth, probes=0))
        run_batch(plays, job.load(), tmp_path / truth)
        record = json.loads((tmp_path / truth / row["id"] / "result.json").read_text())
        assert record["truth"] == truth
        scores[truth] = record["scores"]["geometric"]
    assert scores["list"] == scores["stage"] != scores["none"]
    summary = run_batch(items(tmp_path), job.load(), tmp_path / "stage")
    assert summary.failed == 3  # they are no scenes of the stage


def test_pairs_of_single_shots_differ_in_one(director, tmp_path):
    recipe = dataclasses.replace(RECIPE, rule=Rule("shot", 0.0, agreed=False))
    # As the shipped planner's: poses are in the world of the stage, which stays where it is when a shot is replaced.
    tokens = dataclasses.replace(director.config.tokens, origin="world", path="step")
    director = dataclasses.replace(director, config=dataclasses.replace(director.config, tokens=tokens))
    plays = items(tmp_path)
    run_batch(plays, PairsWork(director, [Geometric()], None, recipe), tmp_path / "out")
    collect(plays, tmp_path / "out")
    reader, shots, poses = PlannerPairs(director.config, director.tokenizer), [], PoseTokenizer(director.config.tokens)
    for pair in read_pairs(tmp_path / "out" / PAIRS):
        encoded = reader.encode(pair)
        better, worse = (poses.parse(ids_N) for ids_N in encoded.ids_2)
        # Where the scales of two plans differ, both are written anew, and their other shots differ by roundings.
        cell = 4 * max(better.scale, worse.scale) / poses.config.bins
        for shot, (mine, theirs) in enumerate(zip(better.shots, worse.shots, strict=True)):
            if shot != pair.shot:
                np.testing.assert_allclose(mine[:, :, 3], theirs[:, :, 3], atol=cell)
        shots.append(pair.shot)
    assert {0, 1} <= set(shots)


def test_a_judge_that_fails_on_one_item(director, tmp_path):
    def caption(found, count, seed, fps):
        if (found[0][..., 0] == 7).all():
            raise ValueError("the captioner timed out")
        return [["The camera pans left."]] * len(found)

    class Renderer(StageRenderer):
        def clips(self, name, screenplay, candidates):
            return [[np.full((2, 4, 4, 3), 7 if name == "play_1" else 0, np.uint8)] * len(screenplay.shots)] * len(
                candidates
            )

    plays = items(tmp_path)
    work = PairsWork(director, [Geometric(), Cyclic(caption, None)], Renderer(), RECIPE)
    summary = run_batch(plays, work, tmp_path / "out")
    assert (summary.made, summary.failed) == (2, 1)
    records = {r["id"]: r for r in map(json.loads, (tmp_path / "out/results.jsonl").read_text().splitlines())}
    assert records["play_1"]["error"] == "the captioner timed out"
    assert set(records["play_0"]["scores"]) == {"geometric", "cyclic"}
    with pytest.raises(ValueError, match="give a renderer"):
        PairsWork(director, [Cyclic(caption, None)], None)


def test_contrasts(director, tmp_path):
    """Of plans that move as they were asked to, which a network of random weights does at times."""
    recipe = dataclasses.replace(RECIPE, contrast=0.9)
    found = []
    for round_ in range(4):
        folder = tmp_path / str(round_)
        folder.mkdir()
        directions = ("left", "right", "forward", "backward", "up", "down")
        plays = items(folder, [f"The camera moves {word} slowly, pans left and right." for word in directions])
        plays = [dataclasses.replace(item, seed=round_) for item in plays]
        run_batch(plays, PairsWork(director, [Geometric()], None, recipe), folder / "out")
        collect(plays, folder / "out")
        found += [pair for pair in read_pairs(folder / "out" / PAIRS) if pair.origin != "sampled"]
        if {pair.origin for pair in found} == {"reversal", "intensity"}:
            break
    reader = PlannerPairs(director.config, director.tokenizer)
    assert found
    for pair in found:
        encoded = reader.encode(pair)
        assert pair.shot is not None and not np.array_equal(*encoded.ids_2)


@pytest.mark.slow
def test_the_loop(planner, tmp_path, monkeypatch):
    """Two rounds from nothing; a loop that was stopped goes on, and one with other values is refused."""
    monkeypatch.setattr(loop, "score_planner", lambda planner, scenes: scores_of(planner, scenes))
    train = PreferenceTrainConfig(steps=3, batch=2, warmup=0, ema=0.0, lr=1e-4)
    pairs = PairsConfig(planner=str(planner), candidates=3, margin=0.0, agreed=False, probes=0)
    items(tmp_path)
    config = LoopConfig(pairs, train, rounds=1, prompts=str(tmp_path / "plays.jsonl"), test_scenes=2)
    best = loop.run(config, tmp_path / "run")
    first = (tmp_path / "run/round_1/train/export/model.safetensors").read_bytes()
    assert (tmp_path / "run/report.md").is_file() and best
    loop.run(dataclasses.replace(config, rounds=2), tmp_path / "run")
    assert (tmp_path / "run/round_1/train/export/model.safetensors").read_bytes() == first
    assert (tmp_path / "run/round_2/scores.json").is_file()
    with pytest.raises(ValueError, match="begun with another pairs"):
        loop.run(dataclasses.replace(config, pairs=dataclasses.replace(pairs, candidates=2)), tmp_path / "run")


def scores_of(planner, scenes):
    assert isinstance(planner, Director)
    values = {"off_screen_lost": 0.1, "misr": 0.2, "tag_f1": 0.5, "prompt_accuracy": 0.5, "clatr_fcd": 1.0}
    return values | {"scenes_lost": [0.5] * scenes}


def test_prompts_of_the_stage_are_a_list(tmp_path):
    (tmp_path / "prompts.jsonl").write_text("".join(loop.stage_prompts(3, part=2)))
    found = read_items(tmp_path / "prompts.jsonl")
    assert [item.id for item in found] == ["scene_000006", "scene_000007", "scene_000008"]
