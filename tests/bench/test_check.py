"""`shotverse bench check`: every fault of a bench is one sentence."""

import json
import re
import shutil

import numpy as np
import pytest

from shotverse_jax import cli
from shotverse_jax.bench.check import check
from shotverse_jax.calibration.kept import sha256
from shotverse_jax.views.video import write_video


@pytest.fixture
def bench(built, tmp_path):
    shutil.copytree(built, tmp_path / "bench")
    return tmp_path / "bench"


def values(bench):
    return json.loads((bench / "bench.json").read_text())


class Spoiler:
    """Spoils scenes of a bench, by their numbers in its list."""

    def __init__(self, bench):
        self.bench, self.names = bench, [entry["id"] for entry in values(bench)["scenes"]]

    def file(self, number, name):
        return self.bench / "scenes" / self.names[number] / name

    def listed(self, change):
        value = values(self.bench)
        change(value["scenes"])
        (self.bench / "bench.json").write_text(json.dumps(value))

    def edit(self, number, name, change):
        """Changes a file, and its SHA-256, so that the content alone is at fault."""
        path = self.file(number, name)
        if path.suffix == ".json":
            value = json.loads(path.read_text())
            change(value)
            path.write_text(json.dumps(value))
        else:
            path.write_text(change(path.read_text()))
        self.listed(lambda scenes: scenes[number]["files"].update({name: sha256(path)}))


def test_a_whole_bench_has_no_fault(built, capsys):
    assert cli.main(["bench", "check", str(built)]) == 0
    said = capsys.readouterr()
    assert said.out == "" and "no fault" in said.err


def faults_of(bench, capsys):
    assert cli.main(["bench", "check", str(bench), "--quiet"]) == 1
    said = capsys.readouterr()
    assert said.err == "" and all(len(line) < 200 for line in said.out.splitlines())
    return said.out.splitlines()


def turned(value):
    value["frames"][5]["transform_matrix"][0][1] += 1e-4


def stands(value):
    for frame in value["frames"]:
        frame["transform_matrix"] = value["frames"][0]["transform_matrix"]


def shorter(value):
    value["frames"].pop()
    value["shots"][-1]["frames"][1] -= 1


def test_faults_of_files(bench, capsys):
    """Every fault is in a scene of its own, and is said once."""
    spoil = Spoiler(bench)
    split = values(bench)["scenes"][3]["split"]
    spoil.file(0, "sheet.png").unlink()
    shutil.copyfile(spoil.file(19, "film.mp4"), spoil.file(1, "film.mp4"))
    spoil.edit(2, "trajectory.json", turned)
    spoil.edit(3, "trajectory.json", stands)
    spoil.edit(4, "trajectory.json", lambda value: value.update({"global_caption": ""}))
    spoil.edit(5, "screenplay.yaml", lambda text: text.replace("The camera", "A camera", 1))
    spoil.edit(7, "screenplay.yaml", lambda text: "caption: [")
    write_video(spoil.file(8, "film.mp4"), np.zeros((20, 32, 50, 3), np.uint8), 24.0)
    spoil.listed(lambda scenes: scenes[8]["files"].update({"film.mp4": sha256(spoil.file(8, "film.mp4"))}))
    spoil.edit(9, "trajectory.json", lambda value: value["frames"].clear())
    found = faults_of(bench, capsys)
    for number, words in (
        (0, "sheet.png is missing"),
        (1, "film.mp4 has changed: its SHA-256 is not that of bench.json"),
        (2, r"trajectory.json has a rotation that is not orthonormal, by \S+, at frame 5"),
        (4, "trajectory.json has no caption of the scene"),
        (4, "screenplay.yaml and trajectory.json have other captions"),
        (5, "screenplay.yaml and trajectory.json have other captions"),
        (7, "screenplay.yaml"),
        (8, "film.mp4 has 20 frames, and scenes have 33"),
        (8, "film.mp4 has 50x32 pixels, and scenes have 49x32"),
        (8, "film.mp4 has 24 frames per second, and scenes have 8"),
        (9, "trajectory.json"),
    ):
        [line] = [line for line in found if re.match(f"{spoil.names[number]}: {words}", line)]
        found.remove(line)
    # The turned matrix is an outlier of the records too, by a ten-thousandth.
    assert [line for line in found if spoil.names[2] not in line] == [
        f"records/{split} has other cameras for {spoil.names[3]} than its trajectory.json"
    ]


def test_faults_of_the_list(bench, capsys):
    spoil = Spoiler(bench)
    source, film = (values(bench)["scenes"][0][name] for name in ("source", "film"))
    spoil.listed(lambda scenes: scenes[0].update({"split": "test" if scenes[0]["split"] == "train" else "train"}))
    spoil.listed(lambda scenes: scenes[1].update({"film": film}))
    spoil.listed(lambda scenes: scenes[2].update({"shots": scenes[2]["shots"] + 1, "split": "val"}))
    spoil.listed(lambda scenes: scenes.__delitem__(slice(3, 8)))
    next((bench / "records" / "train").glob("*.arrayrecord")).unlink()
    (bench / "test.jsonl").write_text("{}\n")
    found = "\n".join(faults_of(bench, capsys))
    for words in (
        f"the source {source} is in test and train",
        f"{spoil.names[0]} and {spoil.names[1]} show the same frames of {film}",
        f"{spoil.names[2]} is in the split 'val'; there are train and test",
        f"{spoil.names[2]}: trajectory.json has 2 shots, and bench.json says 3",
        "and in the proportion 6:3:1 they would be 9, 5, 1",
        "train.jsonl lists 16 scenes that are not the",
        "records/train: ",
        "test.jsonl is no table of scenes",
    ):
        assert words in found, found


def test_what_is_no_bench(bench, tmp_path):
    with pytest.raises(ValueError, match="has no bench.json: it is no bench, or one that is not finished"):
        check(tmp_path)
    for spoil in (
        lambda value: value.pop("scenes"),
        lambda value: value["settings"].pop("frames") and value["settings"].update({"frames": "many"}),
        lambda value: value["scenes"][0].update({"id": "../elsewhere"}),
        lambda value: value["scenes"][0].update({"frames": [1]}),
    ):
        value = values(bench)
        spoil(value)
        (tmp_path / "bench.json").write_text(json.dumps(value))
        with pytest.raises(ValueError, match="cannot be read as the list of a bench"):
            check(tmp_path)
