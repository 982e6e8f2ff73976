"""`shotverse film`: what it writes, what it says, and what it refuses before anything is written."""

import numpy as np
import pytest
from PIL import Image
from safetensors.numpy import save_file

from shotverse_jax import cli
from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.screenplay import write_screenplay
from shotverse_jax.views.video import probe_video


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path_factory):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.getbasetemp() / "cache"))


@pytest.fixture
def scene(tmp_path):
    """A screenplay of two shots and a trajectory that satisfies it, as files."""
    example = sample_example(5, num_shots=2)
    play, path = tmp_path / "play.yaml", tmp_path / "path" / "trajectory.json"
    path.parent.mkdir()
    write_screenplay(example.screenplay, play)
    write_trajectory(example.trajectory, path, "shotverse")
    return play, path


def frames_of(path):
    """(frames, height, width) of a film."""
    info = probe_video(path)
    return info.frames, info.height, info.width


def test_a_film_of_a_given_trajectory(scene, controller_folder, tmp_path, capsys):
    play, path = scene
    out = tmp_path / "out"
    out.mkdir()
    for name in ("shot_3.mp4", "mine.txt"):  # of an earlier film of three shots; of the user
        (out / name).write_text(name)
    command = ["film", str(play), "--trajectory", str(path), "--model", str(controller_folder), "--out", str(out)]
    assert cli.main([*command, "--compare", "--steps", "2"]) == 0
    names = sorted(file.name for file in out.iterdir() if file.name != "mine.txt")
    assert (out / "mine.txt").read_text() == "mine.txt"
    plan = ["preview.mp4", "trajectory.json", "trajectory.png"]
    assert names == sorted(["cameras.json", "compare.mp4", "film.mp4", "film.png", "shot_1.mp4", "shot_2.mp4", *plan])
    cameras = read_trajectory(out / "cameras.json")
    assert len(cameras) == 17 and cameras.fps == 8.0 and (cameras.height, cameras.width) == (32, 48)
    lengths = [end - start for start, end in cameras.spans]
    assert frames_of(out / "film.mp4") == (17, 256, 384) and frames_of(out / "compare.mp4") == (17, 256, 768)
    assert [frames_of(out / f"shot_{i}.mp4")[0] for i in (1, 2)] == lengths
    assert np.asarray(Image.open(out / "film.png")).std() > 10
    words = capsys.readouterr().err
    assert "frames become 17 at 8 fps" in words and "film.mp4" in words
    whole = read_trajectory(out / "trajectory.json")
    np.testing.assert_allclose(whole.pose_T34, read_trajectory(path).pose_T34, atol=1e-6)


def test_a_film_with_adapters(scene, controller_folder, tmp_path, capsys):
    """It is another film than without, the one of the folded weights; what is not used of a file is said."""
    play, path = scene
    files = tmp_path / "style.safetensors", tmp_path / "low.safetensors"
    rng = np.random.default_rng(0)
    for file, name in zip(files, ("self_attn.q", "ffn.0"), strict=True):
        pair = {"A": rng.normal(size=(2, 64)), "B": rng.normal(size=(64, 2))}
        stem = f"diffusion_model.blocks.1.{name}.lora_"
        save_file({f"{stem}{key}.weight": value.astype(np.float32) for key, value in pair.items()}, file)
    options = [[], ["--lora", f"{files[0]}@2"], ["--lora", f"{files[0]}@2:high", "--lora", str(files[1])]]
    frames = []
    for number, loras in enumerate(options):
        command = ["film", str(play), "--trajectory", str(path), "--model", str(controller_folder), *loras]
        assert cli.main([*command, "--out", str(tmp_path / str(number)), "--steps", "2"]) == 0
        frames.append(np.asarray(Image.open(tmp_path / str(number) / "film.png"), int))
    assert all(np.abs(a - b).max() > 0 for a, b in ((frames[0], frames[1]), (frames[1], frames[2])))
    assert f"{files[1]} is used for both experts" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--style", "noir, zoom-in"], "no adapter is called noir, zoom-in; shots may ask for none"),
        (["--style", "noir 1e9"], "the strength of the adapter noir"),
        (["--style", "noir", "--compose", "cliplora"], "cliplora needs a CameraCLIP"),
        (["--lora", "nowhere.safetensors@2"], "there is no adapter nowhere.safetensors"),
        (["--lora", "style@much"], "the scale is a number from -1000 to 1000; got 'much'"),
        (["--size", "33x48"], "multiples of 16, got 33x48"),
        (["--frames", "5"], "2 shots need at least 9 frames, got 5"),
        (["--model", "nowhere"], "no controller called nowhere"),
        (["--trajectory", "nowhere.json"], "nowhere.json"),
    ],
)
def test_what_cannot_be_filmed_is_said_in_one_sentence(scene, controller_folder, tmp_path, capsys, options, words):
    play, path = scene
    command = ["film", str(play), "--trajectory", str(path), "--model", str(controller_folder)]
    assert cli.main([*command, "--out", str(tmp_path / "out"), *options]) == 2
    assert words in capsys.readouterr().err.splitlines()[-1] and not (tmp_path / "out").exists()


def test_a_trajectory_of_other_shots_is_refused(scene, controller_folder, tmp_path, capsys):
    play, path = scene
    write_trajectory(sample_example(6, num_shots=3).trajectory, path, "shotverse")
    command = ["film", str(play), "--trajectory", str(path), "--model", str(controller_folder)]
    assert cli.main([*command, "--out", str(tmp_path / "out")]) == 2
    assert "the trajectory has 3 shots and the screenplay 2" in capsys.readouterr().err


def test_a_size_is_two_numbers(scene, controller_folder):
    with pytest.raises(SystemExit):
        cli.main(["film", str(scene[0]), "--size", "big", "--model", str(controller_folder)])
