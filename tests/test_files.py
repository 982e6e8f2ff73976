"""Files and folders are written whole or not at all."""

import os
import stat

import numpy as np
import pytest
from safetensors.numpy import load_file

from shotverse_jax.files import cache_folder, replacing, write_safetensors


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
