"""The stand-in hub, and folders as values."""

from pathlib import Path

import pytest
from stand_in_hub import StandInHub, pieces, variables


@pytest.fixture
def hub(tmp_path, monkeypatch):
    """A hub without repositories, which huggingface_hub asks; its cache and ours are below tmp_path."""
    server = StandInHub()
    for name, value in variables(server.url, tmp_path / "hub").items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SHOTVERSE_CACHE", str(tmp_path / "cache"))
    for piece in pieces(server.url, tmp_path / "hub"):
        monkeypatch.setattr(*piece)
    yield server
    server.close()


def tree(folder: Path) -> dict[str, bytes]:
    """The files below a folder and what is in them."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@pytest.fixture(name="tree")
def tree_fixture():
    """tree(folder) → file → bytes; see the function."""
    return tree
