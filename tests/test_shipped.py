"""The planner that ships: every example plans as asked, and the scores stay near those of its model card."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from shotverse_jax.evaluation.planner import read_prompts, score_prompts, score_scenes
from shotverse_jax.infer.plan import Director, plan
from shotverse_jax.pretrained import find_planner
from shotverse_jax.screenplay import read_screenplay
from shotverse_jax.stage.grammar import sample_example

pytestmark = pytest.mark.shipped
EXAMPLES = sorted((Path(__file__).parents[1] / "examples").iterdir())


@pytest.fixture(scope="module")
def director():
    return Director.load("planner_small")


def card(name: str) -> float:
    """A score as the model card prints it."""
    text = (find_planner("planner_small") / "README.md").read_text(encoding="utf-8")
    return float(re.search(rf"^\| {re.escape(name)} \| ([0-9.]+)", text, re.MULTILINE).group(1))


def test_weights_are_small_enough_to_ship():
    assert sum(path.stat().st_size for path in find_planner("planner_small").iterdir()) < 45e6


def test_examples_have_one_to_four_shots_and_plan_exactly(director):
    screenplays = [read_screenplay(path) for path in EXAMPLES]
    assert len(screenplays) >= 6 and {len(s.shots) for s in screenplays} == {1, 2, 3, 4}
    for screenplay, [trajectory] in zip(screenplays, plan(director, screenplays), strict=True):
        assert trajectory.spans == list(screenplay.layout().spans)


def test_held_out_scenes(director):
    examples = [sample_example(i, "test") for i in range(60)]
    planned = [samples[0] for samples in plan(director, [e.screenplay for e in examples])]
    scores = score_scenes(planned, [e.trajectory for e in examples])
    assert scores["cuts_exact"] == 1
    assert scores["tag_f1"] > card("tag_f1") - 0.08, "60 scenes scatter by about 0.04"


def test_hand_written_prompts(director):
    prompts = read_prompts()
    assert len(prompts) >= 100
    planned = [samples[0] for samples in plan(director, [p.screenplay for p in prompts])]
    assert score_prompts(planned, prompts)["prompt_accuracy"] > card("prompt_accuracy") - 0.06


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="peak memory is read from /proc")
def test_the_command_in_a_new_process_stays_small(tmp_path):
    """The README's command: its files, and less than 2 GB of memory at the peak."""
    # VmHWM, not ru_maxrss: the latter starts from the memory of the process that forked this one.
    program = (
        "import sys; from shotverse_jax import cli; code = cli.main(sys.argv[1:]);"
        "print(open('/proc/self/status').read().split('VmHWM:')[1].split()[0]); sys.exit(code)"
    )
    example = next(path for path in EXAMPLES if path.name == "last_train.yaml")
    done = subprocess.run(
        [sys.executable, "-c", program, "plan", str(example), "--out", str(tmp_path / "out"), "--quiet"],
        env=os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")},
        capture_output=True,
        text=True,
        check=True,
    )
    assert int(done.stdout.split()[-1]) < 2e6, "kilobytes"
    assert len(json.loads((tmp_path / "out" / "trajectory.json").read_text())["frames"]) == 257
