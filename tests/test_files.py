"""Files and folders are written whole or not at all."""

import errno
import itertools
import json
import os
import signal
import stat
import subprocess
import sys
import time

import numpy as np
import pytest
from safetensors.numpy import load_file

from shotverse_jax import files
from shotverse_jax.files import UNFINISHED, cache_folder, check_place, json_text, replacing
from shotverse_jax.weights.safetensors import write_safetensors


def tree(folder):
    return {str(p.relative_to(folder)): p.read_text() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_a_file_appears_at_the_end_in_folders_of_its_own(tmp_path):
    path = tmp_path / "new" / "deep" / "film.mp4"
    with replacing(path) as place:
        assert place.name == "film.mp4" and not place.exists()
        place.write_text("whole")
        assert not path.exists()
    assert tree(tmp_path) == {"new/deep/film.mp4": "whole"}
    assert [p.name for p in path.parent.iterdir()] == ["film.mp4"]


def test_a_file_is_as_readable_as_one_written_plainly(tmp_path):
    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "a.txt") as place:
            place.write_text("a")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "a.txt").stat().st_mode) == 0o640


def test_a_file_of_tensors_is_as_readable_as_one_written_plainly(tmp_path):
    path, plain = tmp_path / "a.safetensors", tmp_path / "plain"
    plain.write_text("")
    tensors = {"x": np.arange(3)}
    write_safetensors(path, tensors, tensors.items(), {"format": "pt"})
    assert path.stat().st_mode == plain.stat().st_mode
    np.testing.assert_array_equal(load_file(path)["x"], [0, 1, 2])


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
def test_a_failure_leaves_what_was_there(tmp_path, error):
    (tmp_path / "a.txt").write_text("old")
    with pytest.raises(error), replacing(tmp_path / "a.txt") as place:
        place.write_text("half")
        raise error
    assert tree(tmp_path) == {"a.txt": "old"}
    with pytest.raises(error), replacing(tmp_path / "out") as place:
        place.mkdir()
        (place / "b.txt").write_text("half")
        raise error
    assert tree(tmp_path) == {"a.txt": "old"} and [p.name for p in tmp_path.iterdir()] == ["a.txt"]


def test_a_folder_keeps_its_other_files(tmp_path):
    for texts in ({"a": "1", "sub/b": "1"}, {"a": "2", "new/c": "2"}):
        with replacing(tmp_path / "out") as place:
            for name, text in texts.items():
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(text)
    assert tree(tmp_path) == {"out/a": "2", "out/new/c": "2", "out/sub/b": "1"}


def test_a_new_result_removes_what_it_owns_of_the_old_one(tmp_path):
    out = tmp_path / "out"
    for names in (("film", "shot_1", "shot_2", "sample_0/film", "sample_1/film"), ("film", "shot_1")):
        with replacing(out, ("film", "shot_*", "sample_*/film")) as place:
            for name in names:
                (place / name).parent.mkdir(parents=True, exist_ok=True)
                (place / name).write_text(str(len(names)))
        (out / "sample_1").mkdir(exist_ok=True)
        (out / "sample_1" / "mine").write_text("mine")
        (out / "shots.txt").write_text("mine")
    assert tree(out) == {"film": "2", "shot_1": "2", "sample_1/mine": "mine", "shots.txt": "mine"}
    assert not (out / "sample_0").exists()


KILLED_MOVING = """
import os, sys
from shotverse_jax.files import replacing
left = int(sys.argv[2])
def replace(source, target):
    global left
    os.rename(source, target)
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
os.replace = replace
with replacing(sys.argv[1]) as place:
    place.mkdir()
    for name in "ab":
        (place / name).write_text("2")
"""


@pytest.mark.parametrize("count", range(1, 5))
def test_a_mixture_says_that_it_is_one(tmp_path, count):
    out = tmp_path / "out"
    write(out, {"a": "1", "b": "1"})
    ran = subprocess.run([sys.executable, "-c", KILLED_MOVING, str(out), str(count)], check=False)
    assert ran.returncode == -signal.SIGKILL
    assert "run it again" in (out / UNFINISHED).read_text()
    write(out, {"a": "2", "b": "2"})
    assert tree(out) == {"a": "2", "b": "2"}


@pytest.mark.parametrize("count", range(1, 6))
def test_a_result_that_cannot_be_moved_to_its_place_leaves_the_old_one(tmp_path, monkeypatch, count):
    out = tmp_path / "out"
    write(out, {"a": "1", "old/b": "1"})
    calls = itertools.count(1)

    def replace(source, target):
        if next(calls) == count:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.rename(source, target)

    monkeypatch.setattr(os, "replace", replace)
    with (
        pytest.raises(files.Unwritable, match="out cannot be written: No space left"),
        replacing(out, ("*/*",)) as place,
    ):
        (place / "new").mkdir(parents=True)
        for name in ("a", "new/c"):
            (place / name).write_text("2")
    assert tree(tmp_path) == {"out/a": "1", "out/old/b": "1"} and sorted(p.name for p in out.iterdir()) == ["a", "old"]


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)),
        RuntimeError(f"writer: {os.strerror(errno.ENOSPC)} [in a library]"),
        ValueError("wrapped"),
    ],
)
def test_errors_of_the_disk_are_one_sentence_whoever_raises_them(tmp_path, error):
    if error.args == ("wrapped",):
        error.__cause__ = OSError(errno.EROFS, os.strerror(errno.EROFS))
    with pytest.raises(files.Unwritable, match=r"a\.txt cannot be written: (Disk quota|No space|Read-only)"):  # noqa: SIM117
        with replacing(tmp_path / "a.txt"):
            raise error
    with pytest.raises(KeyError), replacing(tmp_path / "a.txt"):
        raise KeyError("other")
    assert not list(tmp_path.iterdir())


def test_an_owned_folder_has_one_process(tmp_path):
    with files.owned(tmp_path / "new" / "out") as out:
        with pytest.raises(files.Locked, match="another process is writing to .*out"), files.owned(out):
            pass
        assert out.is_dir()
    assert not list(tmp_path.iterdir())
    with files.owned(tmp_path / "out", shared=True) as out, files.owned(out, shared=True):
        with pytest.raises(files.Locked), files.owned(out):
            pass
        (out / "mine").write_text("mine")
    assert tree(tmp_path) == {"out/mine": "mine"}


def test_a_folder_on_another_disk(tmp_path):
    """A link that leads away: what is written is never moved between disks."""
    (tmp_path / "target").mkdir()
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "link").symlink_to(tmp_path / "target")
    for text in ("1", "2"):
        with replacing(tmp_path / "here" / "link") as place:
            assert (tmp_path / "target").resolve() in place.resolve().parents
            place.mkdir()
            (place / "a").write_text(text)
    assert tree(tmp_path / "target") == {"a": "2"} and (tmp_path / "here" / "link").is_symlink()


def write(folder, texts):
    with replacing(folder) as place:
        place.mkdir()
        for name, text in texts.items():
            (place / name).parent.mkdir(exist_ok=True)
            (place / name).write_text(text)


def test_a_failure_leaves_no_empty_folders(tmp_path):
    with pytest.raises(RuntimeError), replacing(tmp_path / "a" / "b" / "c.txt"):
        raise RuntimeError
    assert not list(tmp_path.iterdir())


KILLED = """
import os, sys
from shotverse_jax.files import replacing
with replacing(sys.argv[1]) as place:
    place.write_text("half")
    os.kill(os.getpid(), 9)
"""


def test_what_a_killed_process_left_is_swept_and_what_a_living_one_uses_is_not(tmp_path):
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a.txt")], check=False)
    [left] = tmp_path.iterdir()
    with replacing(tmp_path / "b.txt") as place:
        place.write_text("b")
    assert left.exists()  # it might be one that is just being made
    long_ago = time.time() - 60
    with replacing(tmp_path / "c.txt") as place:
        place.write_text("c")
        os.utime(left, (long_ago, long_ago))
        os.utime(place.parent, (long_ago, long_ago))
        files._sweep.cache_clear()
        with replacing(tmp_path / "d.txt") as other:
            other.write_text("d")
    assert tree(tmp_path) == {"b.txt": "b", "c.txt": "c", "d.txt": "d"} and not left.exists()


def test_a_place_is_refused_before_the_work(tmp_path):
    (tmp_path / "file").write_text("")
    (tmp_path / "folder").mkdir()
    for path, folder, said in (
        ("file", True, "file is a file; give the name of a folder"),
        ("folder", False, "folder is a folder; give the name of a file"),
        ("file/below", False, "below cannot be written: .*file is a file"),
        ("file/below/deeper", True, "deeper cannot be written: .*file is a file"),
    ):
        with pytest.raises(ValueError, match=said):
            check_place(tmp_path / path, folder)
    check_place(tmp_path / "folder" / "new" / "deep")
    check_place(tmp_path / "folder", folder=True)
    check_place("new.txt")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"] and not list(
        (tmp_path / "folder").iterdir()
    )


@pytest.mark.skipif(os.name == "nt" or os.geteuid() == 0, reason="the superuser may write anywhere")
def test_a_place_without_permission_is_refused(tmp_path):
    tmp_path.chmod(0o500)
    with pytest.raises(ValueError, match="there is no permission"):
        check_place(tmp_path / "new" / "a.txt")


@pytest.mark.parametrize("name", [".", "..", "../here", "sub/.."])
def test_the_folder_one_stands_in(tmp_path, monkeypatch, name):
    here = tmp_path / "here"
    (here / "sub").mkdir(parents=True)
    (here / "old").write_text("old")
    monkeypatch.chdir(here)
    with replacing(name) as place:
        place.mkdir(exist_ok=True)
        (place / "a").write_text("a")
    where = "a" if name == ".." else "here/a"
    assert tree(tmp_path) == {where: "a", "here/old": "old"}
    assert sorted(p.name for p in here.iterdir()) == sorted({"old", "sub"} | ({"a"} if where != "a" else set()))


def test_what_cannot_be_written_is_said_in_one_sentence(tmp_path):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "folder").mkdir()
    (tmp_path / "folder" / "kept").write_text("mine")
    for path, folder in [("file/below.txt", False), ("file", True), ("folder", False)]:
        with pytest.raises(ValueError, match=f"{path} cannot be written: "), replacing(tmp_path / path) as place:
            place.mkdir() if folder else place.write_text("new")
    assert tree(tmp_path) == {"file": "mine", "folder/kept": "mine"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["file", "folder"]


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({"SHOTVERSE_CACHE": "/a", "XDG_CACHE_HOME": "/b"}, "/a"),
        ({"XDG_CACHE_HOME": "/b"}, "/b/shotverse_jax"),
        ({"XDG_CACHE_HOME": ""}, "/h/.cache/shotverse_jax"),
    ],
)
def test_the_cache_is_where_the_user_says(monkeypatch, variables, expected):
    for name in ("SHOTVERSE_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", "/h")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert str(cache_folder()) == expected


def sealed(folder, text, names=("a_one.txt", "sub/a_two.txt")):
    with replacing(folder, owns=("a_*", "sub/a_*"), seal="a_whole.txt") as place:
        for name in (*names, "a_whole.txt"):
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_text(text)


def files_of(folder):
    return {str(path.relative_to(folder)): path.read_text() for path in sorted(folder.rglob("*")) if path.is_file()}


def test_results_that_share_a_folder_are_whole_where_their_seal_is(tmp_path, monkeypatch):
    folder = tmp_path / "shared"
    folder.mkdir()
    (folder / "b_one.txt").write_text("another's")
    sealed(folder, "first")
    assert files_of(folder) == {"a_one.txt": "first", "a_whole.txt": "first", "b_one.txt": "another's"} | {
        "sub/a_two.txt": "first"
    }
    sealed(folder, "second", names=("a_one.txt",))
    assert files_of(folder) == {"a_one.txt": "second", "a_whole.txt": "second", "b_one.txt": "another's"}
    # Killed when the first file is in its place: the rest is old and new, and no seal says that it is whole.
    move, done = os.replace, []

    def killed(source, target):
        if done:
            raise OSError("killed")
        done.append(move(source, target))

    monkeypatch.setattr(os, "replace", killed)
    with pytest.raises(ValueError, match="cannot be written"):
        sealed(folder, "third")
    assert "a_whole.txt" not in files_of(folder) and files_of(folder)["b_one.txt"] == "another's"


def test_json_of_any_text_can_be_written_and_is_equal(tmp_path):
    value = {"雨": "a\ud800 \udcffb\0\x1b\u202e", "x": [1, None]}
    for indent in (None, 1):
        (tmp_path / "a.json").write_text(json_text(value, indent), encoding="utf-8")
        assert json.loads((tmp_path / "a.json").read_text(encoding="utf-8")) == value
    assert "雨" in json_text(value)
