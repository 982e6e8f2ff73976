"""Lists of pairs: what is written is read again, VERTIGO's own lines are read, and bad lines are named."""

import json

import numpy as np
import pytest

from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.data.pairs import SYNONYMS, Pair, read_pairs, write_pairs
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.items import Refused
from shotverse_jax.screenplay import Screenplay, Shot

PLAY = Screenplay("A woman waits.", (Shot("The camera pans left.", 2.0), Shot("A close-up of her.")), fps=24.0)
TOKENS = np.array([1, 7, 8, 2], np.int32)


def pair(**values):
    values = {"id": "a", "screenplay": PLAY, "chosen": TOKENS, "rejected": TOKENS + 1} | values
    return Pair(**values)


def write(folder, *rows):
    path = folder / "pairs.jsonl"
    path.write_text("".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows))
    return path


def transforms(folder, name="path.json"):
    path = sample_example(0, num_shots=1).trajectory
    write_trajectory(path, folder / name, "nerfstudio")
    return path


def test_round_trip(tmp_path):
    first = pair(
        chosen_score=0.8,
        rejected_score=0.4,
        shot=1,
        origin="sampled",
        scores={"geometric": (0.8, 0.4), "cyclic": (0.9, 0.2)},
        misframed=(0.0, 0.5),
    )
    write_pairs([first, pair(id="b")], tmp_path / "pairs.jsonl")
    found, plain = read_pairs(tmp_path / "pairs.jsonl")
    for name in ("id", "screenplay", "chosen_score", "rejected_score", "shot", "origin", "scores", "misframed"):
        assert getattr(found, name) == getattr(first, name)
    np.testing.assert_array_equal(found.chosen, first.chosen)
    np.testing.assert_array_equal(found.rejected, first.rejected)
    assert found.gap == pytest.approx(0.4)
    assert plain.gap == 0.0 and plain.shot is None and plain.misframed is None


def test_vertigos_lines(tmp_path):
    path = transforms(tmp_path)
    inline = json.loads((tmp_path / "path.json").read_text())
    line = {"prompt": "Pan left.", "chosen": "path.json", "rejected": inline, "chosen_score": 0.82}
    (found,) = read_pairs(write(tmp_path, line))
    assert found.screenplay.shots[0].caption == "Pan left."
    for plan in (found.chosen, found.rejected):
        assert isinstance(plan, Trajectory)
        np.testing.assert_allclose(plan.pose_T34, path.pose_T34, atol=1e-6)
    assert (found.chosen_score, found.rejected_score, found.gap) == (0.82, None, 0.0)


@pytest.mark.parametrize(("ours", "other"), [(ours, other) for ours, names in SYNONYMS.items() for other in names])
def test_synonyms(tmp_path, ours, other):
    transforms(tmp_path)
    line = {"prompt": "Pan left.", "chosen": "path.json", "rejected": "path.json"}
    line[other] = line.pop(ours)
    (found,) = read_pairs(write(tmp_path, line))
    assert isinstance(found, Pair)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"chosen": "gone.json"}, "gone.json"),
        ({"chosen": None}, "no chosen plan"),
        ({"rejected": {"frames": []}}, "its rejected plan"),
        ({"prompt": None}, "no prompt"),
        ({"prompt": ""}, "no caption"),
        ({"chosen_prompt": "a", "rejected_prompt": "b"}, "different prompts"),
        ({"chosen_tokens": [1, "x"]}, "whole numbers"),
        ({"chosen_tokens": [1, 1 << 40]}, "whole numbers"),
        ({"chosen_score": float("nan")}, "chosen_score"),
        ({"scores": {"geometric": [1]}}, "two numbers"),
        ({"scores": 3}, "an object"),
        ({"shot": 7}, "shot"),
        ({"origin": "dream"}, "origin"),
        ({"image": 3}, "names of files"),
        ({"id": 7}, "an id"),
        ({"screenplay": "x"}, "an object"),
    ],
)
def test_bad_lines(tmp_path, changes, words):
    transforms(tmp_path)
    line = {"prompt": "Pan left.", "chosen": "path.json", "rejected": "path.json"}
    bad, good = read_pairs(write(tmp_path, line | changes, line | {"id": "good"}))
    assert isinstance(bad, Refused) and words in bad.error
    assert isinstance(good, Pair)


def test_bad_lists(tmp_path):
    bad, list_, same, again = read_pairs(write(tmp_path, "{", "[1]", json.dumps(LINE), json.dumps(LINE)))
    assert "JSON" in bad.error and "object" in list_.error and isinstance(same, Pair) and "taken" in again.error
    with pytest.raises(ValueError, match="holds no pairs"):
        read_pairs(write(tmp_path, ""))
    with pytest.raises(ValueError, match="does not exist"):
        read_pairs(tmp_path / "nothing.jsonl")
    with pytest.raises(ValueError, match="only pairs of tokens"):
        write_pairs([pair(chosen=sample_example(0).trajectory)], tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


LINE = {"id": "x", "prompt": "Pan.", "chosen_tokens": [1, 5, 2], "rejected_tokens": [1, 6, 2]}
