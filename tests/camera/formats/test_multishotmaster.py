"""MultiShotMaster's lists."""

import csv
import json

import numpy as np
import pytest

from shotverse_jax.camera.formats import read_trajectory, write_trajectory

CAPTIONS = {"global_caption": "A harbour at dawn.", "shot0": "A boat leaves.", "shot1": "Gulls.", "shot2": "Open sea."}


def a_list(folder, *ranges, name="toy_cases/boat.json", caption=CAPTIONS):
    (folder / "boat.json").write_text(json.dumps(caption))
    with (folder / "test.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("shot_groups", "gemini_caption"), *((str(r), name) for r in ranges)])
    return folder / "test.csv"


def test_cuts_and_captions_are_read(tmp_path):
    got = read_trajectory(a_list(tmp_path, [[0, 37], [37, 62], [62, 125]]))
    assert got.spans == [(0, 37), (37, 62), (62, 125)] and got.fps == 16
    assert got.captions == ("A boat leaves.", "Gulls.", "Open sea.") and got.global_caption == "A harbour at dawn."
    np.testing.assert_allclose(got.pose_T34, np.tile(np.eye(3, 4), (125, 1, 1)))
    assert any("no cameras" in note for note in got.notes)


def test_a_film_is_chosen_by_its_line(tmp_path):
    path = a_list(tmp_path, [[0, 80]], [[0, 40], [40, 90]])
    assert any("film=NUMBER" in note for note in read_trajectory(path).notes)
    assert read_trajectory(path, film=1).spans == [(0, 40), (40, 90)]
    with pytest.raises(ValueError, match="no film 2; the list has films 0 to 1"):
        read_trajectory(path, film=2)


def test_missing_captions_are_named(tmp_path):
    got = read_trajectory(a_list(tmp_path, [[0, 80]], name="elsewhere/sea.json"))
    assert got.captions == ("",) and any("elsewhere/sea.json" in note for note in got.notes)


@pytest.mark.parametrize(
    "ranges", ["[[0, 37], [40, 62]]", "[[5, 9]]", "[]", "[[0, 0]]", "[[0, 1e9]]", "what", "[[0.5, 2]]"]
)
def test_ranges_with_gaps_are_refused(tmp_path, ranges):
    with pytest.raises(ValueError, match=r"test.csv: film 0: "):
        read_trajectory(a_list(tmp_path, ranges))


def test_a_written_list_has_the_columns_and_the_captions(tmp_path, film):
    write_trajectory(film, tmp_path / "list", "multishotmaster", root="/data/list")
    with (tmp_path / "list/multishot.csv").open(newline="") as file:
        (line,) = csv.DictReader(file)
    assert (
        json.loads(line["shot_groups"]) == [[0, 3], [3, 5]] and line["gemini_caption"] == "/data/list/captions_0.json"
    )
    got = read_trajectory(tmp_path / "list")
    assert (got.spans, got.captions, got.global_caption) == (film.spans, film.captions, "scene")
