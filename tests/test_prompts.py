"""The handwritten prompts are well formed: what measures generalisation has to be trusted first."""

from collections import Counter

import pytest
import yaml

from shotverse_jax.evaluation.tracks.stage_plans import DEFAULT_PROMPTS
from shotverse_jax.screenplay import Screenplay, Shot

MOTIONS = ["static"]
MOTIONS += [f"move {way}" for way in ("forward", "backward", "left", "right", "up", "down")]
MOTIONS += ["pitch up", "pitch down", "yaw left", "yaw right", "roll left", "roll right"]


@pytest.fixture(scope="module")
def prompts():
    return yaml.safe_load(DEFAULT_PROMPTS.read_text(encoding="utf-8"))


def accepted(prompt):
    return prompt["motion"] if isinstance(prompt["motion"], list) else [prompt["motion"]]


def test_schema(prompts):
    assert len(prompts) >= 120
    for prompt in prompts:
        assert set(prompt) | {"hard"} == {"caption", "shot", "motion", "hard"}, prompt
        assert prompt.get("hard", True) is True, prompt
        assert set(accepted(prompt)) <= set(MOTIONS) and len(set(accepted(prompt))) == len(accepted(prompt)), prompt
        Screenplay(prompt["caption"], (Shot(prompt["shot"]),))
    assert len({prompt["shot"].lower() for prompt in prompts}) == len(prompts)


def test_spread(prompts):
    clear = Counter(prompt["motion"] for prompt in prompts if not prompt.get("hard"))
    assert set(clear) == set(MOTIONS)
    assert min(clear.values()) >= 7, clear
    assert sum(clear.values()) >= 90
    assert sum(prompt.get("hard", False) for prompt in prompts) >= 25


def test_alternatives_can_happen_together(prompts):
    opposites = [{"left", "right"}, {"up", "down"}, {"forward", "backward"}]
    for prompt in prompts:
        kinds = Counter(motion.split()[0] for motion in accepted(prompt))
        for kind in kinds:
            ways = {motion.split()[-1] for motion in accepted(prompt) if motion.split()[0] == kind}
            assert ways not in opposites, prompt
        assert "static" not in kinds or len(kinds) == 1, prompt
