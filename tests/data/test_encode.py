"""The program that makes data sets: clips of the stage, and their latents."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from shotverse_jax.config import UMT5Config, controller_small, vae_small
from shotverse_jax.data import encode as encoding
from shotverse_jax.data.controller_source import ControllerSource
from shotverse_jax.data.records import Records
from shotverse_jax.data.stage_films import StageFilms, film_clip
from shotverse_jax.inputs.prompt import tokenize_prompt
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.launch import encode
from shotverse_jax.models.umt5 import UMT5Encoder
from shotverse_jax.models.wan_vae import WanVAE
from shotverse_jax.screenplay import Screenplay, Shot, parse_text, to_text
from shotverse_jax.stage.preview import stage_poses
from shotverse_jax.views.video import write_video
from shotverse_jax.weights import abstract, export, find_tokenizer, load

FRAMES, HEIGHT, WIDTH, CLIPS = 17, 16, 24, 5
SIZE = dict(clips=CLIPS, frames=FRAMES, height=HEIGHT, width=WIDTH)


def run(**values):
    flags.FLAGS.mark_as_parsed()  # there is no command line
    with flagsaver.as_parsed(**{name: str(value) for name, value in values.items()}):
        return encode.main([])


@pytest.fixture(scope="module")
def videos(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encode") / "videos"
    assert run(out=folder, **SIZE) == 0
    return folder


@pytest.fixture(scope="module")
def vae(tmp_path_factory):
    folder = tmp_path_factory.mktemp("vae") / "tiny"
    config = dataclasses.replace(
        vae_small(),
        base_size=4,
        multipliers=(1, 1, 1, 1),
        latent_channels=2,
        latent_mean=(0.1, -2),
        latent_std=(0.5, 2),
    )
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), abstract("vae", config))
    export("vae", params, config, folder)
    return folder


def test_records_are_clips_of_the_stage(videos):
    records = Records(videos)
    assert len(records) == CLIPS
    assert records.settings == {"source": "stage", "split": "train", "fps": 8.0, **SIZE}
    clip, record = film_clip(0, "train", FRAMES, HEIGHT, WIDTH, 8.0), records[0]
    assert clip.trajectory.num_shots > 1
    np.testing.assert_array_equal(record["video"], clip.video_THWC)
    np.testing.assert_allclose(record["pose_T34"], stage_poses(clip.trajectory)[[0, 4, 8, 12, 16]], atol=1e-6)
    np.testing.assert_array_equal(record["shot_T"], clip.screenplay.layout().latent_index_T)
    np.testing.assert_array_equal(record["subject_THW"], clip.subject_THW[::4])
    np.testing.assert_allclose(record["intrinsics"], np.array([35 / 36, 35 / 36, 0.5, 1 / 3]) * WIDTH, rtol=1e-6)
    kinds = {"pose_T34": np.float32, "shot_T": np.int32, "intrinsics": np.float32, "subject_THW": np.uint8}
    assert [record[name].dtype for name in kinds] == list(kinds.values())
    assert parse_text(record["prompt"], "holocine").caption == clip.screenplay.caption
    assert record["prompt"].count("[shot cut]") == clip.trajectory.num_shots - 1 and record["seed"] == "0"


def test_latents_take_the_place_of_video(videos, vae, tmp_path):
    assert run(out=tmp_path / "latents", videos=videos, vae=vae, batch=2) == 0  # 5 clips: the last batch is filled up
    latents, films = Records(tmp_path / "latents"), Records(videos)
    assert latents.settings.items() > films.settings.items() and latents.settings["vae"] == "tiny"
    config, params, _ = load("vae", vae)
    video_BTHWC = np.stack([films[i]["video"] for i in range(CLIPS)]).astype(np.float32) / 127.5 - 1
    expected = jax.jit(lambda p, x: WanVAE(config).apply({"params": p}, x, method="encode"))(params, video_BTHWC)
    for i in range(CLIPS):
        assert latents[i]["latents"].dtype == np.float16 and latents[i]["latents"].shape == (5, 2, 3, 2)
        np.testing.assert_allclose(latents[i]["latents"], expected[i], atol=2e-3)
        assert latents[i].keys() - films[i].keys() == {"latents"} and films[i].keys() - latents[i].keys() == {"video"}
        assert latents[i]["prompt"] == films[i]["prompt"]


def test_wrong_wishes_end_in_one_line_and_exit_code_2(videos, vae, tmp_path, capsys):
    wishes = {
        "other settings": dict(out=videos, **SIZE | {"frames": 9}),
        "4t\\+1 frames": dict(out=tmp_path / "a", **SIZE | {"frames": 16}),
        "no data set": dict(out=tmp_path / "a", videos=tmp_path / "nowhere"),
        "tiny-vae": dict(out=tmp_path / "a", vae=tmp_path / "tiny-vae", **SIZE),
        "two sources": dict(out=tmp_path / "a", videos=videos, source=tmp_path),
        "is for planners": dict(out=tmp_path / "a", no_video=True),
        "holds no scenes": dict(out=tmp_path / "a", source=tmp_path),
        "no such file or folder": dict(out=tmp_path / "a", source=tmp_path / "none.csv"),
    }
    for words, values in wishes.items():
        assert run(**values) == 2
        error = capsys.readouterr().err
        assert error.startswith("launch.encode: ") and error.count("\n") == 1
        with pytest.raises(ValueError, match=words):
            raise ValueError(error)
    assert not (tmp_path / "a").exists()


def test_settings_of_films_are_checked():
    for wrong, words in (
        ({"split": "dev"}, "train"),
        ({"clips": 0}, "the clips must be a whole number from 1"),
        ({"frames": 1}, "at least 5"),
    ):
        with pytest.raises(ValueError, match=words):
            StageFilms(**{"clips": 3} | wrong)


def test_prompts_split_into_as_many_windows_as_shots(videos):
    records = Records(videos)
    prompts = [records[i]["prompt"] for i in range(CLIPS)]
    tokenizer = train_text_tokenizer(prompts, 500)
    for i, prompt in enumerate(prompts):
        shots = int(records[i]["shot_T"][-1]) + 1
        assert len(tokenize_prompt(prompt, tokenizer, 512, shots).shot_spans) == shots


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    """Three scenes, the second of a video that cannot be read; 20 frames of 16x24 at 8 fps, with a camera path."""
    folder, rng = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    rows = []
    for i in range(3):
        shots = [Shot(f"Take {k} of {i}.") for k in range(1 + (i == 2))]
        if i == 1:
            (folder / "1.mp4").write_bytes(b"not a video")
        else:
            write_video(folder / f"{i}.mp4", rng.integers(0, 256, (20, 16, 24, 3), np.uint8), 8.0)
        matrices = [np.eye(4).tolist() for _ in range(20)]
        (folder / f"{i}.json").write_text(
            json.dumps({"w": 24, "h": 16, "fl_x": 20, "frames": [{"transform_matrix": matrix} for matrix in matrices]})
        )
        prompt = to_text(Screenplay(f"Scene {i}.", tuple(shots)), "holocine")
        rows.append({"video": f"{i}.mp4", "screenplay": prompt, "trajectory": f"{i}.json", "cuts": [9] * (i == 2)})
    (folder / "scenes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder / "scenes.jsonl"


@pytest.fixture(scope="module")
def text(tmp_path_factory, drawn):
    folder = tmp_path_factory.mktemp("encoder") / "text"
    config = UMT5Config(vocab_size=4096, hidden_size=16, num_layers=1, num_heads=2, head_dim=8, mlp_size=32)
    params = drawn(abstract("text_encoder", config), 0)
    export("text_encoder", params, config, folder, tokenizer_file=find_tokenizer("planner_small"))
    return folder


def test_scenes_of_ones_own_with_latents_and_text_states(table, text, vae, tmp_path, monkeypatch, capsys):
    out = tmp_path / "films"
    wish = dict(out=out, source=table, vae=vae, text=text, text_length=64, negative="ugly", batch=2, **SIZE)
    assert run(**wish) == 0
    said = capsys.readouterr().out
    assert "2 records; 1 skipped" in said and "2 cut short" in said
    skipped = [json.loads(line) for line in (out / "skipped.jsonl").read_text().splitlines()]
    assert [note["index"] for note in skipped] == [1] and "row 2, 1.mp4" in skipped[0]["reason"]
    records = Records(out)
    assert len(records) == 2 and "video" not in records[0] and "ids" not in records[0]
    assert records.settings["text"] == "text" and records.settings["negative"] == "ugly"

    config = dataclasses.replace(controller_small(), text_length=64, negative="ugly", camera_frame="scene")
    tokenizer_file = str(find_tokenizer("planner_small"))
    tokens, states = (
        ControllerSource(config, str(out), tokenizer_file if not kept else "", 0, 2, 9, 0.5, states=kept)
        for kept in (False, True)
    )
    text_config, params, _ = load("text_encoder", text)
    for step in range(4):
        _, told = tokens[step]
        _, kept = states[step]
        assert told.keys() - kept.keys() == {"ids_BS"} and kept.keys() - told.keys() == {"context_BSD"}
        for name in told.keys() & kept.keys():
            np.testing.assert_array_equal(told[name], kept[name])
        expected = UMT5Encoder(text_config).apply({"params": params}, told["ids_BS"], told["real_BS"])
        np.testing.assert_allclose(kept["context_BSD"], expected, atol=5e-3, rtol=2e-3)
    with pytest.raises(ValueError, match="no stage"):
        dataclasses.replace(tokens, config=dataclasses.replace(config, camera_frame="stage"))[0]

    monkeypatch.setattr(encoding, "WHOLE", 0)  # in chunks of time
    assert run(**wish | {"out": tmp_path / "chunked"}) == 0
    np.testing.assert_allclose(Records(tmp_path / "chunked")[1]["latents"], records[1]["latents"], atol=5e-3)
    assert run(**wish | {"text_length": 9, "out": tmp_path / "long"}) == 1  # no prompt fits: all are bad


def test_two_processes_write_what_one_does(table, tmp_path, monkeypatch):
    monkeypatch.setattr("shotverse_jax.data.records.SHARD_RECORDS", 1)
    assert run(out=tmp_path / "one", source=table, **SIZE) == 0
    results = [run(out=tmp_path / "two", source=table, process=i, processes=2, **SIZE) for i in (0, 1)]
    assert results == [0, 0]  # though the second had the bad scene alone
    one, two = Records(tmp_path / "one"), Records(tmp_path / "two")
    assert len(one) == len(two) == 2
    for i in range(2):
        assert one[i].keys() == two[i].keys()
        assert all(np.array_equal(one[i][name], two[i][name]) for name in one[i])
    texts = [{p.name: p.read_text() for p in (tmp_path / name).glob("*.json*")} for name in ("one", "two")]
    assert texts[0] == texts[1] and len(texts[0]) == 3 + 1 + 2  # reports of the shards, settings, lists of all


def test_paths_and_captions_alone(table, tmp_path):
    assert run(out=tmp_path / "paths", source=table, no_video=True, frames=81) == 0
    records = Records(tmp_path / "paths")
    assert len(records) == 3 and records[2]["pose_T34"].shape == (21, 3, 4) and "video" not in records[2]
    assert records[2]["shot_T"].tolist().count(0) == 10  # the cut at frame 9 of 20 is the film's frame 37
