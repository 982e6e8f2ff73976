"""The command `score`, and the scores of a CameraCLIP; tests/train has `CameraScorer.score`."""

import json

import numpy as np
import pytest
import small_models

from shotverse_jax import cli
from shotverse_jax.cinematic.clip_source import Sample
from shotverse_jax.cinematic.phrases import CLASSES, OPPOSITES
from shotverse_jax.cinematic.scorer import CameraScorer
from shotverse_jax.evaluation.tracks.camera_clip import score_samples
from shotverse_jax.views.video import write_video

TEXTS = ["the camera pans left", "zoom in"]


@pytest.fixture(scope="module")
def scorer(tmp_path_factory):
    folder = small_models.camera_clip(tmp_path_factory.mktemp("clip"))
    return folder, CameraScorer.load(folder)


def test_the_command_prints_a_matrix(scorer, tmp_path, capsys):
    folder, scorer = scorer
    rng = np.random.default_rng(1)
    films = [tmp_path / "a.mp4", tmp_path / "b.mp4"]
    for film in films:
        write_video(film, rng.integers(0, 256, (5, 16, 24, 3), np.uint8), 8)
    line = ["score", *map(str, films), "--model", str(folder), *(part for text in TEXTS for part in ("--text", text))]
    assert cli.main([*line, "--json", "--quiet"]) == 0
    said = json.loads(capsys.readouterr().out)
    np.testing.assert_allclose(said["scores"], scorer.scores([scorer.read(film) for film in films], TEXTS), atol=1e-5)
    assert cli.main([*line, "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == str(films[0])
    assert cli.main(["score", str(tmp_path / "c.mp4"), "--model", str(folder), "--text", "zoom in", "--quiet"]) == 2
    assert capsys.readouterr().err == f"shotverse score: {tmp_path / 'c.mp4'}: no such file\n"
    assert cli.main(["score", str(films[0]), "--model", str(folder), "--text", " ", "--quiet"]) == 2
    assert "give one text or more, none of them empty" in capsys.readouterr().err


def test_clips_of_another_form_are_refused(scorer):
    with pytest.raises(ValueError, match=r"a clip is uint8 \[frames, height, width, 3\], got float64 \[2, 4, 4, 3\]"):
        scorer[1].video_features([np.zeros((2, 4, 4, 3))])
    with pytest.raises(ValueError, match="give one clip or more"):
        scorer[1].video_features([])


class Knowing:
    """Reads the class that a text names, as a direction of its own."""

    def text_features(self, texts):
        names = [next(n for n, each in CLASSES.items() if text.lower().rstrip(".") in each.phrases) for text in texts]
        return np.stack([direction(name) for name in names])


def direction(name):
    return np.eye(len(CLASSES))[list(CLASSES).index(name)]


def test_scores_of_a_network_that_knows_all_and_of_one_that_knows_no_time():
    samples = [
        Sample(None, each.phrases[0], {each.group: name}, {each.group: name}, name) for name, each in CLASSES.items()
    ]
    forward, back = (np.stack([direction(turn.get(s.name, s.name)) for s in samples]) for turn in ({}, OPPOSITES))
    scores = score_samples(Knowing(), samples, forward, back)
    assert scores["text_r1"] == scores["video_r1"] == scores["class_mean"] == scores["reversed_mean"] == 1
    assert {name for name in scores if name.startswith("reversed/")} == {f"reversed/{name}" for name in OPPOSITES}
    assert all(scores[f"cosine/{name}"] == 1 for name in CLASSES) and "cosine_mean" not in scores
    timeless = score_samples(Knowing(), samples, forward, forward)
    assert timeless["reversed_mean"] == 0 and timeless["text_r1"] == 1
    # Every clip with a direction is taken for its opposite.
    wrong = score_samples(Knowing(), samples, back, forward)
    assert wrong["text_r1"] == wrong["class_mean"] == 1 - len(OPPOSITES) / len(CLASSES)
