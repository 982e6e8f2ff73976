"""Batches: every item by itself, whatever is beside it, whoever makes it, and whenever it is killed."""

import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time

import jax
import numpy as np
import pytest
import small_models
from safetensors.numpy import save_file

from shotverse_jax.api import film
from shotverse_jax.cli import main
from shotverse_jax.files import replacing
from shotverse_jax.infer import batch
from shotverse_jax.infer.batch import Made, each, made_of, run_batch
from shotverse_jax.infer.job import Job
from shotverse_jax.inputs.items import Item, Refused, read_items
from shotverse_jax.screenplay import Screenplay, Shot


@pytest.fixture(scope="module")
def planner_folder(tmp_path_factory):
    return str(small_models.planner(tmp_path_factory.mktemp("planner")))


@pytest.fixture(scope="module")
def job(planner_folder):
    return Job("plan", planner=planner_folder)


@pytest.fixture(scope="module")
def work(job):
    return job.load()


def rows(count):
    """Screenplays of one to three shots, of several lengths, with seeds of their own."""
    shot = {"caption": "The camera pans left.", "duration": 1}
    return [
        {
            "id": f"play_{i}",
            "seed": 10 + i,
            "samples": 1 + (i % 4 == 3),
            "caption": "A woman waits. " * (1 + 3 * (i % 2)),
            "shots": [shot] * (1 + i % 3),
        }
        for i in range(count)
    ]


def listed(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def contents(folder):
    """Every file of a folder of results; of records everything but the seconds."""

    def record(text):
        return {name: value for name, value in json.loads(text).items() if name != "seconds"}

    found = {}
    for file in sorted(p for p in folder.rglob("*") if p.is_file()):
        name, data = str(file.relative_to(folder)), file.read_bytes()
        if name.endswith("result.json"):
            data = record(data)
        elif name == "results.jsonl":
            data = [record(line) for line in data.splitlines()]
        found[name] = data
    return found


# ------------------------------------------------------------------------------------------------------------ lists


def test_a_list_of_lines(tmp_path):
    (tmp_path / "scene.txt").write_text("A room.\n\nThe camera pans left.")
    items = read_items(
        listed(
            tmp_path / "list.jsonl",
            [
                {"screenplay": "scene.txt", "seed": 3, "size": "48x64", "trajectory": "path.json", "frames": 17},
                {"id": "two", "text": "A room.\n\nPan left.\n\nPan right.", "samples": 2, "negative": "blur"},
                {"id": 3, "screenplay": {"caption": "x", "shots": ["y"]}, "lora": ["a.safetensors@0.5"]},
                {"caption": "A room", "shots": [{"caption": "Tilt up", "duration": 2}]},
            ],
        )
    )
    assert [item.id for item in items] == ["scene", "two", "3", "item_000004"]
    first = items[0]
    assert (first.seed, first.samples, first.size, first.frames) == (3, 1, (48, 64), 17)
    assert first.trajectory == str(tmp_path / "path.json") and first.screenplay.caption == "A room."
    assert (items[1].samples, items[1].negative, len(items[1].screenplay.shots)) == (2, "blur", 2)
    assert items[2].lora == ("a.safetensors@0.5",)


def test_how_a_trajectory_is_read(tmp_path):
    row = {"text": "A room.\n\nPan left.", "trajectory": "path.tum"}
    ways = [{"up": "z", "fps": 24}, "up=z; fps=24", {"from": "tum"}, "up", 3, "a=[;"]
    rows = [row | {"read": way} for way in ways]
    items = read_items(listed(tmp_path / "list.jsonl", [*rows, {"text": row["text"], "read": "up=z"}]))
    assert [item.read for item in items[:3]] == [(("up", "z"), ("fps", 24))] * 2 + [(("from", "tum"),)]
    assert [type(item) for item in items[3:]] == [Refused] * 4
    assert "give one" in items[-1].error and "an object like" in items[4].error


def test_a_table_and_a_folder(tmp_path):
    (tmp_path / "b.txt").write_text("A room.\n\nPan left.")
    (tmp_path / "a.yaml").write_text("caption: A hall\nshots: [Tilt up]\n")
    (tmp_path / "notes.pdf").write_text("no screenplay")
    (tmp_path / "list.csv").write_text("id,screenplay,seed,size,lora\none,b.txt,4,,x@1;y\n,a.yaml,,32x48,\n")
    one, two = read_items(tmp_path / "list.csv")
    assert (one.id, one.seed, one.size, one.lora) == ("one", 4, None, ("x@1", "y"))
    assert (two.id, two.seed, two.size) == ("a", 0, (32, 48))
    assert [item.id for item in read_items(tmp_path)] == ["a", "b"]


@pytest.mark.parametrize(
    "text",
    [
        "screenplay,seed,id",
        "screenplay;seed;id",
        "Screenplay, Seed, ID",
        "\ufeffSCREENPLAY\tseed\tid",
        "sep=;\nscreenplay;Seed;Id",
    ],
)
@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_tables_of_spreadsheets(tmp_path, text, encoding):
    (tmp_path / "a.txt").write_text("A room.\n\nPan left.")
    delimiter = next(sign for sign in ";\t," if sign in text)
    rows = [text, delimiter.join(["a.txt", "4", '"one"']), "", delimiter.join([" a.txt", " 5", " two"])]
    (tmp_path / "list.csv").write_bytes("\r\n".join(rows).encode(encoding))
    assert [(item.id, item.seed) for item in read_items(tmp_path / "list.csv")] == [("one", 4), ("two", 5)]


def test_a_scene_of_a_script_is_asked_for_by_its_number(tmp_path):
    scenes = json.dumps({"scenes": [{"shots": ["Pan left."]}, {"shots": ["Pan right.", "Tilt up."]}]})
    entries = [{"id": "first", "text": scenes, "scene": 1}, {"id": "other", "text": scenes}]
    one, two = read_items(listed(tmp_path / "list.jsonl", entries), scene=2)
    assert (len(one.screenplay.shots), len(two.screenplay.shots)) == (1, 2)
    [refused] = read_items(listed(tmp_path / "list.jsonl", [{"id": "x", "text": scenes, "scene": 3}]))
    assert "there is no scene 3; the screenplay has 2 scenes" in refused.error


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ({"id": "x"}, "it needs one of screenplay, text, or caption and shots; it has none"),
        ({"id": "x", "text": "a\n\nb", "screenplay": "y.txt"}, "it has screenplay and text"),
        ({"id": "x", "text": ""}, "the screenplay is empty"),
        ({"id": "x", "text": 7}, "text must be text"),
        ({"id": "x", "text": "a\n\nb", "seed": 1.5}, "seed must be a whole number from 0 to 4294967295, got 1.5"),
        ({"id": "x", "text": "a\n\nb", "samples": 0}, "samples must be a whole number from 1 to 10000"),
        ({"id": "x", "text": "a\n\nb", "seed": True}, "seed must be a whole number"),
        ({"id": "x", "text": "a\n\nb", "size": "480"}, "size is HEIGHTxWIDTH like 480x832, got '480'"),
        ({"id": "x", "text": "a\n\nb", "lora": [""]}, "lora is [NAME=]FILE"),
        ({"id": "x", "text": "a\n\nb", "sead": 1}, "it has no key 'sead'"),
        ({"id": "x", "screenplay": "nothing.txt"}, "there is no file"),
        ({"id": "../x", "text": "a\n\nb"}, "an id is a name"),
        ({"id": "x.", "text": "a\n\nb"}, "an id is a name"),
        ({"id": "x", "caption": "a", "shots": []}, "no shots"),
        ([1], "a line is an object"),
    ],
)
def test_bad_entries_are_refused_alone(tmp_path, row, words):
    good = {"id": "good", "text": "a\n\nb"}
    bad, fine = read_items(listed(tmp_path / "list.jsonl", [row, good]))
    assert isinstance(bad, Refused) and words in bad.error
    assert isinstance(fine, Item) and fine.id == "good"


def test_double_ids_and_broken_lists(tmp_path):
    first, second = read_items(listed(tmp_path / "l.jsonl", [{"id": "x", "text": "a\n\nb"}] * 2))
    assert isinstance(first, Item) and second == Refused(
        "line 2", "the id 'x' is taken by an earlier entry; give every entry its own"
    )
    (tmp_path / "l.csv").write_text("id,scenery\n1,2\n")
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.jsonl").write_bytes(b"\xff\xfe\x00")
    for name, words in (
        ("l.csv", "no column 'scenery'"),
        ("empty.jsonl", "holds no screenplays"),
        ("broken.jsonl", "is no text in UTF-8"),
        ("none.jsonl", "cannot be read"),
        ("list.xlsx", "is no list"),
    ):
        with pytest.raises(ValueError, match=words):
            read_items(tmp_path / name)


# ------------------------------------------------------------------------------------------------------------ plans


def test_results_are_those_of_each_item_alone(tmp_path, work, capsys, planner_folder):
    items = read_items(listed(tmp_path / "list.jsonl", rows(7)))
    summary = run_batch(items, work, tmp_path / "all")
    assert (summary.made, summary.skipped, summary.failed, summary.left) == (7, 0, 0, 0)
    assert 0 < summary.busy <= 1
    run_batch(items[::-1], work, tmp_path / "reverse")
    whole = contents(tmp_path / "all")
    assert sorted(p.name for p in (tmp_path / "all" / "play_3").iterdir()) == ["result.json", "sample_0", "sample_1"]
    for item in items[::3]:
        run_batch([item], work, tmp_path / "alone")
    for other in ("reverse", "alone"):
        files = contents(tmp_path / other)
        assert {name: data for name, data in files.items() if "/" in name} == {
            name: whole[name] for name in files if "/" in name
        }
    record = whole["results.jsonl"][3]
    assert (record["id"], record["seed"], record["error"], len(record["tags"])) == ("play_3", 13, None, 2)
    assert record["versions"]["jax"] == jax.__version__ and 0 <= record["off_screen"][0] <= 1
    assert record["planner"]["name"] == "nano"


def test_the_command(tmp_path, planner_folder, capsys):
    bad = [{"id": "many", "text": "a\n\n" + "word " * 999}, {"id": "none"}]
    path, out = listed(tmp_path / "list.jsonl", [*rows(2), *bad]), tmp_path / "out"
    command = ["batch", str(path), "--task", "plan", "--planner", planner_folder, "--out", str(out)]
    assert main([*command, "--quiet"]) == 3
    assert "2 made" in capsys.readouterr().out
    records = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    assert [record["id"] for record in records] == ["play_0", "play_1", "many", "none"]
    assert "shorten them" in records[2]["error"] and "it has none" in records[3]["error"]
    assert sorted(p.name for p in (out / "play_0").iterdir()) == ["result.json", "trajectory.json"]
    before = {p: p.stat().st_mtime_ns for p in out.glob("play_*/*")}
    listed(path, rows(3))
    assert main([*command, "--quiet"]) == 0
    assert "1 made" in (said := capsys.readouterr().out) and "2 were there" in said
    assert before == {p: p.stat().st_mtime_ns for p in before}
    # More shots than the planner takes are planned in groups, and the record says so, and what the reader noted.
    grouped = {"id": "long", "text": "a\n\nStyle: noir.\n\n" + "\n\n".join("bcdef")}
    listed(path, [*rows(3), grouped])
    assert main(command) == 0
    assert "long: “Style:” is read as" in capsys.readouterr().err
    record = json.loads((out / "long" / "result.json").read_text())
    assert len(record["tags"][0]) == 5 and "“Style:”" in record["notes"][0]
    assert any("5 shots are planned in 2 groups" in note for note in record["notes"])
    # Another seed is another result; pictures are wanted now.
    listed(path, [rows(3)[0] | {"seed": 99}])
    assert main([*command, "--preview"]) == 0
    assert json.loads((out / "play_0" / "result.json").read_text())["seed"] == 99
    assert {p.name for p in (out / "play_0").iterdir()} == {
        "result.json", "trajectory.json", "trajectory.png", "preview.mp4"
    }  # fmt: skip


def test_nothing_is_compiled_after_the_first_of_each_bucket(tmp_path, work):
    items = read_items(listed(tmp_path / "list.jsonl", rows(12)))
    run_batch(items, work, tmp_path / "first")
    compiled = []
    listener = lambda name, *_, **__: compiled.append(name) if "backend_compile" in name else None  # noqa: E731
    jax.monitoring.register_event_duration_secs_listener(listener)
    try:
        again = [dataclasses.replace(item, seed=item.seed + 100) for item in items]
        run_batch(again, work, tmp_path / "again")
        assert not compiled
        jax.jit(lambda x: x * 3 + len(compiled))(np.ones(7))  # the listener hears
        assert compiled
    finally:
        jax.monitoring.clear_event_listeners()


def test_a_stopped_batch_goes_on(tmp_path, work):
    items, stop = read_items(listed(tmp_path / "list.jsonl", rows(9))), threading.Event()
    summary = run_batch(items, work, tmp_path / "out", stop=stop, progress=lambda *_: stop.set())
    assert summary.left > 0 and summary.made + summary.left == 9 and not summary.failed
    (tmp_path / "out" / ".writing-left").mkdir()
    summary = run_batch(items, work, tmp_path / "out")
    assert summary.skipped + summary.made == 9 and summary.skipped > 0
    run_batch(items, work, tmp_path / "whole")
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_one_batch_at_a_time(tmp_path, work):
    items = read_items(listed(tmp_path / "list.jsonl", rows(1)))

    def other(*_):
        with pytest.raises(ValueError, match="another process is writing"):
            run_batch(items, work, tmp_path / "out")

    assert run_batch(items, work, tmp_path / "out", progress=other).made == 1


@pytest.mark.slow
def test_a_process_that_is_asked_to_stop_is_gone_on_with(tmp_path, planner_folder):
    """Kills are in tests/survival. Programs are compiled once, by the first process."""
    path = listed(tmp_path / "list.jsonl", rows(10))
    command = [sys.executable, "-m", "shotverse_jax.cli", "batch", str(path), "--task", "plan", "--quiet"]
    command += ["--planner", planner_folder, "--out"]
    environment = os.environ | {"XDG_CACHE_HOME": str(tmp_path / "cache")}
    subprocess.run([*command, str(tmp_path / "whole")], env=environment, check=True, capture_output=True)
    programs = sorted((tmp_path / "cache").rglob("*-cache"))
    assert programs
    process = subprocess.Popen([*command, str(tmp_path / "out")], env=environment, stdout=subprocess.PIPE)
    while process.poll() is None and not list((tmp_path / "out").glob("play_*")):
        time.sleep(0.01)
    process.send_signal(signal.SIGTERM)
    assert process.wait(timeout=120) in (0, 143)
    subprocess.run([*command, str(tmp_path / "out")], env=environment, check=True, capture_output=True)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    assert sorted((tmp_path / "cache").rglob("*-cache")) == programs


@pytest.mark.slow
def test_on_ray_the_same_files_come_out(tmp_path, job, work):
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'shotverse_jax[ray]'")
    from shotverse_jax.infer.ray_workers import RayWorkers

    entries = [*rows(6), {"id": "many", "text": "a\n\n" + "word " * 999}, {"id": "none"}]
    items = read_items(listed(tmp_path / "list.jsonl", entries))
    run_batch(items, work, tmp_path / "here")
    # Two of the three have a place on this machine; the batch does not wait for the third.
    workers = RayWorkers(job, tmp_path / "there", 3, resources={"CPU": os.cpu_count() / 2})
    summary = run_batch(items, workers, tmp_path / "there", run=workers)
    assert (summary.made, summary.failed) == (6, 2)
    assert contents(tmp_path / "there") == contents(tmp_path / "here")


# ------------------------------------------------------------------------------------------------------------ faults


class Fragile:
    """Work that fails for some seeds; every item of a group is made in turn."""

    settings, group, notes = {}, 4, ("it breaks at times",)

    def buckets(self, items):
        return each(lambda item: 0, items)

    def make(self, items):
        for index, item in enumerate(items):
            if item.seed == 13:
                raise RuntimeError("RESOURCE_EXHAUSTED: out\nof memory")
            yield Made(index, lambda folder, item=item: self.write(folder, item))

    def write(self, folder, item):
        (folder / "half").write_text("x")
        if item.seed == 17:
            raise OSError(errno.EIO, "broken")
        return {"value": item.seed}


class Full(Fragile):
    """Work whose disk is full."""

    def write(self, folder, item):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_stops_the_batch(tmp_path):
    items = [Item(f"i{seed}", Screenplay("", (Shot("x"),)), seed=seed) for seed in (1, 2)]
    with pytest.raises(ValueError, match="out cannot be written: No space left"):
        run_batch(items, Full(), tmp_path / "out")
    assert not list(tmp_path.iterdir())


def test_a_fault_fails_one_item_and_leaves_nothing_half_written(tmp_path):
    items = [Item(f"i{seed}", Screenplay("", (Shot("x"),)), seed=seed) for seed in (11, 12, 13, 14, 15, 17, 18)]
    said = []
    summary = run_batch(items, Fragile(), tmp_path, progress=lambda *what: said.append(what))
    assert (summary.made, summary.failed) == (5, 2)
    assert said.pop(0) == ("it breaks at times", 0, 0) and {what for what, *_ in said} == {"item"}
    records = {r["id"]: r for r in map(json.loads, (tmp_path / batch.RESULTS).read_text().splitlines())}
    assert records["i13"]["error"] == "RESOURCE_EXHAUSTED: out of memory"
    assert "broken" in records["i17"]["error"] and records["i14"]["value"] == 14
    assert sorted(p.name for p in tmp_path.iterdir() if p.is_dir()) == ["i11", "i12", "i14", "i15", "i18"]


def test_an_older_folder_is_replaced_whole(tmp_path):
    [item] = [Item("i", Screenplay("", (Shot("x"),)), seed=1)]
    with replacing(tmp_path / "i") as place:
        place.mkdir()
        (place / "old").write_text("x")
    run_batch([item], Fragile(), tmp_path)
    assert sorted(p.name for p in (tmp_path / "i").iterdir()) == ["half", "result.json"]


# ------------------------------------------------------------------------------------------------------------ films


@pytest.mark.slow
def test_films(tmp_path, planner_folder, controller_folder):
    """A film of the list is the one that is made alone, its cameras planned or given; samples differ."""
    shots = [{"caption": "The camera pans left.", "duration": 1}] * 2
    plays = [
        {"id": "planned", "seed": 4, "caption": "A room.", "shots": shots},
        {"id": "twice", "seed": 5, "samples": 2, "caption": "A hall.", "shots": shots[:1], "negative": "blur"},
    ]
    job = Job("film", model=str(controller_folder), planner=planner_folder, steps=2)
    work, items = job.load(), read_items(listed(tmp_path / "list.jsonl", plays))
    assert run_batch(items, work, tmp_path / "out").made == 2
    alone = film(items[0].screenplay, model=str(controller_folder), planner=planner_folder, seed=4, steps=2)
    alone.write(tmp_path / "alone")
    pair = {"lora_A": np.ones((2, 64), np.float32), "lora_B": np.ones((64, 2), np.float32)}
    stem, adapter = "diffusion_model.blocks.1.self_attn.q", tmp_path / "style_high_noise.safetensors"
    save_file({f"{stem}.{name}.weight": value for name, value in pair.items()}, adapter)
    style = plays[0] | {"id": "styled", "lora": f"{adapter}@0.5"}
    marked = [{"caption": "The camera pans left. [lora: noir 0.5]", "duration": 1}] * 2
    named = plays[0] | {"id": "named", "shots": marked, "lora": f"noir={adapter}"}
    unread = plays[0] | {"id": "unread", "lora": "none.safetensors"}
    given = plays[0] | {"id": "given", "trajectory": str(tmp_path / "alone" / "trajectory.json"), "size": "32x48"}
    missing = plays[0] | {"id": "missing", "trajectory": "none.json"}
    summary = run_batch(
        read_items(listed(tmp_path / "l.jsonl", [given, missing, style, unread, named])), work, tmp_path / "out"
    )
    assert (summary.made, summary.failed) == (3, 2)
    [asked] = json.loads((tmp_path / "out" / "named" / "result.json").read_text())["adapters"]
    assert asked == {"rule": "merge", "shots": [{"asked": {"noir": 0.5}, "shares": [[1.0]] * 2}] * 2}
    styled, plain = ((tmp_path / "out" / name / "film.mp4").read_bytes() for name in ("styled", "planned"))
    assert styled != plain
    # What was assumed of an adapter stands in the item's record, or is said once of a batch that it is for.
    notes = json.loads((tmp_path / "out" / "styled" / "result.json").read_text())["notes"]
    [said] = [note for note in notes if "is used for both experts" in note]
    assert dataclasses.replace(job, lora=(style["lora"],)).load().notes == (said,)
    # Another adapter of the same name is another result.
    [styled] = read_items(listed(tmp_path / "l.jsonl", [style]))
    before = made_of(styled, work.settings)
    pair["lora_A"] *= 2
    save_file({f"{stem}.{name}.weight": value for name, value in pair.items()}, adapter)
    assert made_of(styled, work.settings) != before
    films = [tmp_path / "alone", *(tmp_path / "out" / name for name in ("planned", "given"))]
    assert len({(folder / "film.mp4").read_bytes() for folder in films}) == 1
    first, second = ((tmp_path / "out" / "twice" / f"sample_{i}" / "film.mp4").read_bytes() for i in range(2))
    assert first != second
    assert "notes" in json.loads((tmp_path / "out" / "planned" / "result.json").read_text())
