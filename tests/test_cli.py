"""The command line as a user meets it: files written, exit codes, one-sentence errors, nothing left behind."""

import json
import re
import shlex
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest

from shotverse_jax import cli
from shotverse_jax.camera.formats import FORMATS, read_trajectory, write_trajectory
from shotverse_jax.commands.common import options
from shotverse_jax.config import planner_nano
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.text_files import printable
from shotverse_jax.weights import abstract, export

ROOT = Path(__file__).parents[1]
PLAY = (
    "A woman in a red coat waits in a diner.\n\n[2s] Wide shot. The camera pushes in.\n\n[1.5s] Close-up. Pan left.\n"
)


@pytest.fixture(scope="session")
def nano(tmp_path_factory, drawn) -> Path:
    """An untrained planner, small enough to plan in a second."""
    folder = tmp_path_factory.mktemp("nano")
    config = planner_nano()
    tokenizer = train_text_tokenizer([PLAY], config.text.vocab_size)
    tokenizer.save(str(folder / "tokenizer.json"))
    variables = {"params": drawn(abstract("planner", config), 0)}
    export("planner", variables["params"], config, folder / "export", tokenizer_file=folder / "tokenizer.json")
    return folder / "export"


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def play(tmp_path) -> Path:
    path = tmp_path / "play.txt"
    path.write_text(PLAY)
    return path


@pytest.fixture
def film(tmp_path) -> Path:
    path = tmp_path / "film" / "trajectory.json"
    path.parent.mkdir()
    write_trajectory(sample_example(1, num_shots=2).trajectory, path, "shotverse")
    return path


def test_plan_writes_what_it_says(nano, play, tmp_path, capsys):
    out = tmp_path / "out"
    assert cli.main(["plan", str(play), "--model", str(nano), "--out", str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == ["preview.mp4", "trajectory.json", "trajectory.png"]
    data = json.loads((out / "trajectory.json").read_text())
    assert {"w", "h", "fl_x", "fl_y", "cx", "cy", "fps", "convention", "scale", "shots", "frames"} <= set(data)
    assert data["convention"] == "opengl" and len(data["frames"]) == 57
    assert [(s["start"], s["end"]) for s in data["shots"]] == [(0, 33), (33, 57)]
    assert [s["caption"] for s in data["shots"]] == ["Wide shot. The camera pushes in.", "Close-up. Pan left."]
    assert all(s["tags"] for s in data["shots"])
    np.testing.assert_allclose(data["frames"][0]["transform_matrix"], np.diag([1, -1, -1, 1]), atol=1e-9)
    said = capsys.readouterr().err
    assert "shot 2: frames 33-56" in said and len(re.findall(r"\n    .*the woman .*", said)) == 2  # a verdict a shot


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    def interrupted(args):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli.COMMANDS["tags"], "run", interrupted)
    assert cli.main(["tags", "none.json"]) == 130
    assert capsys.readouterr().err == "\nshotverse tags: stopped\n"


@pytest.mark.parametrize(("name", "folder"), [("...txt", "screenplay"), (".txt", "txt"), (". .txt", "screenplay")])
def test_a_name_of_dots_stays_below_out(nano, tmp_path, monkeypatch, name, folder):
    (tmp_path / name).write_text(PLAY)
    monkeypatch.chdir(tmp_path)
    assert cli.main(["plan", name, "--model", str(nano), "--no-preview", "--quiet"]) == 0
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == [folder]


@pytest.mark.parametrize("value", ["[", "{a: b", "!!int x", "\u0000", "*a", "[" * 2000, "%"])
def test_values_that_are_none(value):
    with pytest.raises(ValueError, match="the value of .frames. is (not valid YAML|nested too deeply)"):
        options([f"frames={value}"])


def test_a_terminal_sees_no_control_characters(capsys, tmp_path):
    assert cli.main(["tags", str(tmp_path / "a\x1b[2Jb\u202e.json")]) == 2
    said = capsys.readouterr().err
    assert "\\x1b[2Jb\\u202e.json" in said and "\x1b" not in said
    assert printable("é 日本 🎬\n\tx\x07\udce9") == "é 日本 🎬\n\tx\\x07\\udce9"


def test_a_file_is_no_folder_for_a_plan(nano, play, capsys):
    assert cli.main(["plan", str(play), "--model", str(nano), "--out", str(play)]) == 2
    assert "is a file; give the name of a folder" in capsys.readouterr().err and play.read_text() == PLAY


def test_seeds_samples_candidates_and_their_reviews(nano, play, tmp_path, capsys):
    run = lambda *more: cli.main(["plan", str(play), "--model", str(nano), "--no-preview", "--quiet", *more])  # noqa: E731
    assert run("--samples", "2", "--out", str(tmp_path / "two")) == 0
    assert run("--out", str(tmp_path / "one")) == 0
    assert run("--seed", "1", "--out", str(tmp_path / "other")) == 0
    read = lambda name: (tmp_path / name / "trajectory.json").read_text()  # noqa: E731
    assert read("two/sample_0") == read("one")
    assert read("two/sample_1") != read("one") != read("other")
    assert run("--candidates", "1", "--samples", "8", "--out", str(tmp_path / "drawn")) == 0
    assert read("one") in [read(f"drawn/sample_{number}") for number in range(8)]
    assert cli.main(["review", str(tmp_path / "two"), "--json"]) == 0
    reviews = json.loads(capsys.readouterr().out)
    assert list(reviews) == ["sample_0", "sample_1"] and len(reviews["sample_0"]["shots"]) == 2
    assert cli.main(["review", str(tmp_path / "one"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == reviews["sample_0"]
    assert cli.main(["review", str(tmp_path / "one")]) == 0
    said = capsys.readouterr().out
    assert said.startswith("shot 1: ") and "score" in said


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "empty"),
        ("A scene.\n\n[0s] Pan left.\n", "duration"),
        ("A scene.\n\n[-3s] Pan left.\n", "duration"),
        ("A scene.\n\n" + "\n\n".join(["Pan left."] * 70), "got 70"),
        ("A scene.\n\n" + "word " * 10_000, "words"),
        ("caption: a\nshots: {a: 1}\n", "shot 1"),
    ],
)
def test_bad_screenplays_end_in_one_sentence(nano, tmp_path, capsys, text, message):
    path = tmp_path / ("play.yaml" if text.startswith("caption:") else "play.txt")
    path.write_text(text)
    out = tmp_path / "out"
    assert cli.main(["plan", str(path), "--model", str(nano), "--out", str(out), "--quiet"]) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1 and "Traceback" not in error
    assert not out.exists() and sorted(p.name for p in tmp_path.iterdir()) == [path.name]


def test_binary_and_missing_files(tmp_path, capsys):
    (tmp_path / "play.txt").write_bytes(bytes(range(256)) * 4)
    for path in (tmp_path / "play.txt", tmp_path / "nowhere.txt", tmp_path):
        assert cli.main(["plan", str(path), "--out", str(tmp_path / "out")]) == 2
        assert cli.main(["tags", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 6 and not (tmp_path / "out").exists()


def test_unknown_planner_is_named(play, tmp_path, capsys):
    assert cli.main(["plan", str(play), "--model", "nobody", "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "no planner or GenDoP called nobody" in capsys.readouterr().err


def test_a_failure_while_writing_leaves_nothing(nano, play, tmp_path, monkeypatch, capsys):
    def fail(*_, **__):
        raise OSError("disk full")

    monkeypatch.setattr("shotverse_jax.infer.outputs.plot_trajectory", fail)
    assert cli.main(["plan", str(play), "--model", str(nano), "--out", str(tmp_path / "out"), "--quiet"]) == 2
    assert "disk full" in capsys.readouterr().err
    assert [p.name for p in tmp_path.iterdir()] == ["play.txt"]


@pytest.mark.parametrize("name", [name for name, fmt in FORMATS.items() if fmt.write and name != "usd"])
def test_export(film, name, capsys):
    more = ["--set", "frames=81"] if name == "recammaster" else []  # its cameras share one clock
    assert cli.main(["export", str(film), "--to", name, *more]) == 0
    written = [p for p in film.parent.iterdir() if p != film]
    assert len(written) == 1 and written[0].name in capsys.readouterr().err
    if FORMATS[name].read and not more and "poses" in FORMATS[name].keeps:
        assert len(read_trajectory(written[0], name)) == len(read_trajectory(film))


def test_export_refuses_unknown_formats_and_bad_trajectories(film, capsys):
    assert cli.main(["export", str(film), "--to", "fbx"]) == 2
    assert "formats that can be written" in capsys.readouterr().err
    data = json.loads(film.read_text())
    data["frames"][3]["transform_matrix"][0][0] = float("nan")
    film.write_text(json.dumps(data))
    assert cli.main(["export", str(film), "--to", "tum"]) == 2
    data["frames"][3]["transform_matrix"] = np.diag([-1.0, 1, 1, 1]).tolist()
    film.write_text(json.dumps(data))
    assert cli.main(["export", str(film), "--to", "tum"]) == 2
    assert capsys.readouterr().err.count("\n") == 2 and [p.name for p in film.parent.iterdir()] == [film.name]


def test_format_options(film, capsys):
    assert cli.main(["export", str(film), "--to", "recammaster"]) == 2
    assert cli.main(["export", str(film), "--to", "tum", "--set", "speed=3"]) == 2
    assert cli.main(["tags", str(film), "--read", "camera"]) == 2
    assert capsys.readouterr().err.count("\n") == 3
    assert cli.main(["export", str(film), "--to", "recammaster", "--set", "frames=5", "--quiet"]) == 0
    written = str(next(film.parent.glob("*recammaster*")))
    assert cli.main(["tags", written, "--from", "recammaster", "--read", "camera=all", "--json"]) == 0
    assert [row["end"] for row in json.loads(capsys.readouterr().out)] == [5, 10]


def test_tags_and_preview(film, capsys):
    assert cli.main(["tags", str(film), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    trajectory = read_trajectory(film)
    assert [(r["start"], r["end"]) for r in rows] == trajectory.spans
    assert all(r["caption"].startswith("The camera") and r["segments"] for r in rows)
    assert cli.main(["tags", str(film)]) == 0 and "shot 2" in capsys.readouterr().out
    assert cli.main(["preview", str(film), "--height", "64", "--quiet"]) == 0
    assert (film.parent / "preview.mp4").stat().st_size > 1000


def test_verify_exit_codes(tmp_path, reference, capsys):
    record = reference / "golden" / "gendop_opt.npz"
    assert cli.main(["verify", str(record)]) == 0
    printed = capsys.readouterr().out
    assert "max_abs" in printed and "max_rel_rms" in printed
    assert cli.main(["verify", str(record), "--tol", "1e-12"]) == 1
    np.savez(tmp_path / "no.npz", a=np.zeros(3))
    assert cli.main(["verify", str(tmp_path / "no.npz")]) == 2
    assert cli.main(["verify", str(tmp_path / "nowhere.npz")]) == 2


def test_files_and_tags_do_without_jax(film):
    program = "import sys\nfrom shotverse_jax import cli\nassert cli.main(sys.argv[1:]) == 0\n"
    program += "assert not {'jax', 'torch', 'flax'} & set(sys.modules), 'a slow import'\n"
    for command in (["tags", film], ["export", film, "--to", "blender"]):  # so does --help, which lists the formats
        done = subprocess.run([sys.executable, "-c", program, *map(str, command)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


COMMANDS = [
    "plan",
    "film",
    "batch",
    "gendop",
    "datadop",
    "plot",
    "preview",
    "review",
    "explain",
    "export",
    "export-lora",
    "tags",
    "verify",
    "get",
    "convert",
    "inspect",
    "fit",
    "eval",
    "preference",
    "clatr",
    "cinematic",
    "caption",
    "cuts",
    "calibrate",
    "score",
    "bench",
]


def examples() -> list[list[str]]:
    """The words of every command line that a --help shows, in order."""
    parser = cli._parser()
    commands = next(action for action in parser._actions if action.dest == "command").choices
    assert set(commands) == set(COMMANDS)
    lines = [
        line for each in (parser, *commands.values()) for line in each.epilog.removeprefix("example: ").split("\n")
    ]
    return [shlex.split(line) for line in lines]


@pytest.mark.parametrize("command", COMMANDS)
def test_every_command_explains_itself_with_an_example(command, capsys):
    with pytest.raises(SystemExit) as stop:
        cli.main([command, "--help"])
    printed = capsys.readouterr().out
    assert stop.value.code == 0 and "\nexample: " in printed
    assert any(words[:2] == ["shotverse", command] for words in examples())


def files(words: list[str]) -> tuple[list[str], list[str]]:
    """The files and folders that a command line (reads, writes)."""
    words = [part for word in words for part in word.split("=", 1)]
    written = [after for word, after in pairwise(words) if word in ("--out", "--workdir")]
    if not written and words[1] in ("plan", "film"):
        screenplay = next(word for word in words if word.startswith("examples/"))
        written = [f"out/{Path(screenplay).stem}"]
    named = [
        word
        for word in words
        if ("/" in word and "://" not in word) or Path(word).suffix in (".txt", ".npz", ".safetensors", ".json")
    ]
    return [word for word in named if word not in written], written


def test_examples_name_files_that_are_there_or_that_an_earlier_example_writes():
    made = set()
    for words in examples():
        read, written = files(words)
        missing = [
            name for name in read if not (ROOT / name).exists() and not made & {name, *map(str, Path(name).parents)}
        ]
        assert not missing, f"{shlex.join(words)}: no {missing}"
        silent = (
            "eval",
            "fit",
            "get",
            "gendop",
            "datadop",
            "preference",
            "caption",
            "cinematic",
            "cuts",
            "calibrate",
            "bench",
        )
        assert read or words[1] in silent, f"{shlex.join(words)} reads nothing"
        made |= set(written)


def test_examples_are_understood():
    for words in examples():
        if words[0] == "shotverse":
            _, overrides = cli._parser().parse_known_args(words[1:])
            assert all(word.startswith("--config.") for word in overrides), words


def test_the_record_of_the_example_replays(capsys):
    assert cli.main(["verify", str(ROOT / "examples" / "wan_dit.npz")]) == 0
    assert "holocine_dit: ok" in capsys.readouterr().out


def test_what_was_assumed_of_a_trajectory_is_said_once(tmp_path, capsys):
    (tmp_path / "a.tum").write_text("0 0 0 0 0 0 0 1\n0.5 1 0 0 0 0 0 1\n3 2 0 0 0 0 0 1\n")
    assert cli.main(["export", str(tmp_path / "a.tum"), "--to", "chan", "--read", "fov=50"]) == 0
    said = capsys.readouterr().err.splitlines()
    assert [line.split(" ")[1] for line in said if line.startswith("note: ")] == ["assumed,", "3", "chan"]
    assert cli.main(["export", str(tmp_path / "a.tum"), "--to", "chan", "--quiet"]) == 0
    assert not capsys.readouterr().err
    assert cli.main(["film", str(tmp_path / "play.txt"), "--read", "up=z"]) == 2
