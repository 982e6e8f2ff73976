"""A bench of twenty scenes of the stage, built once by the command, with the true cameras of its films."""

import shutil

import pytest
from shelf import SIZE, write_shelf

from shotverse_jax import cli
from shotverse_jax.bench import scenes


@pytest.fixture(scope="session")
def shelf(tmp_path_factory):
    """The table of the films."""
    return write_shelf(tmp_path_factory.mktemp("shelf"), [2] * 12 + [3] * 6 + [4] * 2)


@pytest.fixture(scope="session")
def built(shelf, tmp_path_factory):
    """The folder of the bench. Its first contact sheet is copied, because drawing all takes most of the time."""
    out, drawn, plot = tmp_path_factory.mktemp("bench") / "out", [], scenes.plot_film

    def once(video, trajectory, path):
        if drawn:
            shutil.copyfile(drawn[0], path)
        else:
            plot(video, trajectory, path)
            drawn.append(shutil.copyfile(path, out.parent / "sheet.png"))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scenes, "plot_film", once)
        assert cli.main(["bench", "build", str(shelf), "--out", str(out), "--quiet", *SIZE]) == 0
    return out
