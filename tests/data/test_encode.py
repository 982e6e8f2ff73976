"""The program that makes data sets: clips of the stage, and their latents."""

import dataclasses

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver

from shotverse_jax.config import vae_small
from shotverse_jax.data.bpe import train_text_tokenizer
from shotverse_jax.data.film import StageFilms, film_clip
from shotverse_jax.data.prompt import tokenize_prompt
from shotverse_jax.data.records import Records
from shotverse_jax.launch import encode
from shotverse_jax.models.wan_vae import WanVAE
from shotverse_jax.pretrained import export_vae, init_vae, load_vae
from shotverse_jax.screenplay import parse_text
from shotverse_jax.stage.preview import stage_poses

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
    abstract = jax.eval_shape(lambda: init_vae(WanVAE(config), config, jax.random.key(0)))["params"]
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), abstract)
    export_vae(params, config, folder)
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
    np.testing.assert_allclose(record["intrinsics"], np.array([35 / 36, 35 / 36, 0.5, 1 / 3]) * WIDTH, rtol=1e-6)
    assert [record[name].dtype for name in ("pose_T34", "shot_T", "intrinsics")] == [np.float32, np.int32, np.float32]
    assert parse_text(record["prompt"], "holocine").caption == clip.screenplay.caption
    assert record["prompt"].count("[shot cut]") == clip.trajectory.num_shots - 1 and record["seed"] == "0"


def test_latents_take_the_place_of_video(videos, vae, tmp_path):
    assert run(out=tmp_path / "latents", videos=videos, vae=vae, batch=2) == 0  # 5 clips: the last batch is filled up
    latents, films = Records(tmp_path / "latents"), Records(videos)
    assert latents.settings.items() > films.settings.items() and latents.settings["vae"] == "tiny"
    config, params = load_vae(vae)
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
    }
    for words, values in wishes.items():
        assert run(**values) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: ") and error.count("\n") == 1
        with pytest.raises(ValueError, match=words):
            raise ValueError(error)
    assert not (tmp_path / "a").exists()


def test_settings_of_films_are_checked():
    for wrong, words in (({"split": "dev"}, "train"), ({"clips": 0}, "at least one"), ({"frames": 1}, "at least 5")):
        with pytest.raises(ValueError, match=words):
            StageFilms(**{"clips": 3} | wrong)


def test_prompts_split_into_as_many_windows_as_shots(videos):
    records = Records(videos)
    prompts = [records[i]["prompt"] for i in range(CLIPS)]
    tokenizer = train_text_tokenizer(prompts, 500)
    for i, prompt in enumerate(prompts):
        shots = int(records[i]["shot_T"][-1]) + 1
        assert len(tokenize_prompt(prompt, tokenizer, 512, shots).shot_spans) == shots
