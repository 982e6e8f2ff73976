"""`shotverse bench build`: twenty scenes of the stage end to end, what trains on them, and what is refused."""

import dataclasses
import json
import shutil

import jax
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from ml_collections import ConfigDict
from PIL import Image
from shelf import SIZE

import rooms
from shotverse_jax import cli
from shotverse_jax.bench import build, captions, scenes
from shotverse_jax.bench.check import check
from shotverse_jax.bench.films import Film, read_films
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.config import (
    TEXT_ENCODERS,
    BenchConfig,
    CalibrationConfig,
    LoraConfig,
    PlannerTrainConfig,
    UMT5Config,
    WanDiTConfig,
    controller_small,
    planner_nano,
    vae_small,
)
from shotverse_jax.configs.controller import common
from shotverse_jax.data.records import Records
from shotverse_jax.inputs.items import Refused
from shotverse_jax.launch import encode
from shotverse_jax.train import build as build_task
from shotverse_jax.train import read_config
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import init_state, make_optimizer
from shotverse_jax.train.step import make_train_step
from shotverse_jax.views.video import probe_video, read_video, write_video
from shotverse_jax.weights import abstract, export


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_twenty_scenes_of_the_stage(built, shelf):
    bench = json.loads((built / "bench.json").read_text())
    sizes = [entry["shots"] for entry in bench["scenes"]]
    assert [sizes.count(size) for size in (2, 3, 4)] == [12, 6, 2] and not bench["spare"]
    of_split = {
        name: {entry["source"] for entry in bench["scenes"] if entry["split"] == name} for name in ("train", "test")
    }
    assert not of_split["train"] & of_split["test"]
    assert [len(lines(built / f"{name}.jsonl")) for name in ("train", "test")] == [16, 4]
    for entry in bench["scenes"]:
        place, (start, end) = built / "scenes" / entry["id"], entry["frames"]
        made, true = read_trajectory(place / "trajectory.json"), read_trajectory(shelf.parent / f"{entry['film']}.json")
        number_F = start + np.round(np.arange(33) * 1.5).astype(int)
        # Next to a cut at most two frames are shown twice or left out.
        same_F = true.shot_T[np.minimum(number_F, end - 1)] == made.shot_T
        assert same_F.sum() >= 33 - 2 * (entry["shots"] - 1)
        wanted = se3.relative(true.pose_T34[start], true.pose_T34[number_F[same_F]])
        np.testing.assert_allclose(made.pose_T34[same_F], wanted, atol=1e-6)
        assert made.intrinsics_T4[0] == pytest.approx([49 * 35 / 36] * 2 + [24.5, 16], rel=1e-3)
        info = probe_video(place / "film.mp4")
        assert (info.frames, info.fps, info.width, info.height) == (33, 8.0, 49, 32)
    shown = read_video(place / "film.mp4", np.array([0, 32]), 48, 32).astype(float)
    wanted = read_video(shelf.parent / f"{entry['film']}.mp4", number_F[[0, 32]], 48, 32).astype(float)
    assert np.abs(shown - wanted).mean() < 0.5 * np.abs(shown - wanted[::-1]).mean()
    assert not (built / "stages").exists()


def test_the_page_and_the_pictures(built):
    page = (built / "index.html").read_text()
    assert page.count("<h2>") == 20 and "The camera" in page
    made = json.loads((built / "statistics.json").read_text())
    assert made["accepted"] == 20 and sum(made["seconds"].values()) == made["shots"] == 50
    assert made["moves"]["static"] >= 1 and made["focal_mm"]["35-50"] == 50
    for name in ("statistics.png", f"scenes/{lines(built / 'train.jsonl')[0]['id']}/sheet.png"):
        picture = np.asarray(Image.open(built / name).convert("L"))
        assert min(picture.shape) > 200 and np.ptp(picture) > 200


def test_what_is_there_is_not_made_again(built, shelf, tmp_path, monkeypatch):
    out = tmp_path / "out"
    shutil.copytree(built, out)
    files = lambda: {path: path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}  # noqa: E731
    before = files()
    monkeypatch.setattr(scenes, "plot_film", lambda *_: pytest.fail("a scene was made again"))
    assert cli.main(["bench", "build", str(shelf), "--out", str(out), "--quiet", *SIZE]) == 0
    assert files() == before
    # Other settings make other scenes; what was only of the old ones is gone, and while they are made it is no bench.
    monkeypatch.setattr(scenes, "plot_film", lambda video, trajectory, path: path.touch())
    rows = lines(shelf)
    table = shelf.parent / "one.jsonl"
    table.write_text(json.dumps(rows[0]) + "\n")
    sealed = []
    monkeypatch.setattr(build.outputs, "write", lambda *_: sealed.append((out / "bench.json").exists()) or {})
    build.of_folder(table, out, frames=33, width=48, height=32, fps=8.0, least=0.5)
    assert sealed == [False] and {path.name for path in (out / "scenes").iterdir()} == {"f00_000003", "results.jsonl"}


def losses(task, steps=2):
    """The losses of some steps on the data of a task."""
    optimizer, schedule = make_optimizer(task.config)
    state = init_state(task.trainable, optimizer, ema=False)
    place = Placement.of(task.config, state, task.frozen)
    state, frozen = place.put(state, task.frozen)
    step, found, source = make_train_step(task.loss, optimizer, schedule, 0.0, place), [], task.source("train", steps)
    for number in range(steps):
        bucket, batch = source[number]
        state, metrics = step(state, frozen, batch, jax.random.key(0), bucket)
        found.append(float(metrics["loss"]))
    return found


def test_a_planner_trains_on_it(built, tmp_path):
    tokens = dataclasses.replace(planner_nano().tokens, origin="none")
    model = dataclasses.replace(planner_nano(), tokens=tokens)
    run = {"bpe_examples": 20, "batch": 2, "steps": 2, "warmup": 0, "text_lengths": (120, 160, 200, 240)}
    places = {"data": str(built / "records" / "train"), "test_data": str(built / "records" / "test")}
    task = build_task(PlannerTrainConfig(model=model, path_weight=0.0, **run, **places), tmp_path)
    assert np.isfinite(losses(task)).all()


def test_encode_reads_it_and_a_controller_trains_on_it(built, tmp_path, monkeypatch):
    latents = {"latent_channels": 4, "latent_mean": (0.0,) * 4, "latent_std": (1.0,) * 4}
    config = dataclasses.replace(vae_small(), base_size=4, multipliers=(1, 1, 1, 1), **latents)
    rng = np.random.default_rng(0)
    params = jax.tree.map(lambda leaf: rng.normal(0, 0.2, leaf.shape).astype(np.float32), abstract("vae", config))
    export("vae", params, config, tmp_path / "vae")
    values = {"out": tmp_path / "films", "source": built / "test.jsonl", "vae": tmp_path / "vae", "frames": 33}
    values |= {"height": 32, "width": 48, "fps": 8.0, "batch": 4}
    flags.FLAGS.mark_as_parsed()  # there is no command line
    with flagsaver.as_parsed(**{key: str(value) for key, value in values.items()}):
        assert encode.main([]) == 0
    assert not (tmp_path / "films" / "skipped.jsonl").exists() and len(Records(tmp_path / "films", ("latents",))) == 4
    text = UMT5Config(vocab_size=4096, hidden_size=16, num_layers=1, num_heads=2, head_dim=8, mlp_size=32)
    monkeypatch.setitem(TEXT_ENCODERS, "text_small", lambda: text)
    size = {"hidden_size": 24, "num_layers": 1, "num_heads": 2, "mlp_size": 32, "frequency_size": 16, "text_size": 16}
    dit, lora = WanDiTConfig(**size, latent_channels=4), LoraConfig(rank=4, alpha=4.0, targets=("q_proj",))
    model = dataclasses.replace(controller_small(), dit=dit, lora=lora, camera_frame="scene")
    run = {"expert": "base", "batch": 2, "steps": 2, "warmup": 1, "ema": 0.0, "subject_weight": 1.0}
    config = common.get_config(data=str(tmp_path / "films"), test_data=str(tmp_path / "films"), **run)
    config.model = ConfigDict(json.loads(json.dumps(dataclasses.asdict(model))))
    assert np.isfinite(losses(build_task(read_config(config.to_dict()), tmp_path / "run"))).all()


@pytest.fixture(scope="module")
def room(tmp_path_factory):
    """A film of two shots of a room, 12 frames each at 8 frames per second, between black bars."""
    pytest.importorskip("pycolmap")
    folder = tmp_path_factory.mktemp("room")
    pose_T34 = np.concatenate([rooms.path("truck", 9), rooms.path("arc", 9)])
    color_THWC, _ = rooms.pictures(pose_T34, 240, 144)
    write_video(folder / "film.mp4", np.pad(color_THWC, ((0, 0), (16, 16), (0, 0), (0, 0))), 8.0)
    return folder, pose_T34


def test_a_scene_through_colmap(room, tmp_path, monkeypatch):
    folder, pose_T34 = room
    monkeypatch.setattr(scenes, "plot_film", lambda video, trajectory, path: path.touch())
    known = CalibrationConfig(cuts="9", lens="36mm")
    size = {"frames": 17, "width": 120, "height": 64, "fps": 8.0, "least": 0.5}
    made = build.of_folder(folder, tmp_path / "out", **size, calibration=known)
    assert made["statistics"]["accepted"] == 1
    path = read_trajectory(tmp_path / "out" / "scenes" / made["scenes"][0]["id"] / "trajectory.json")
    record = json.loads((tmp_path / "out" / "scenes" / made["scenes"][0]["id"] / "result.json").read_text())
    start = made["scenes"][0]["frames"][0]
    true_T34 = pose_T34[start : start + 17]
    wanted = se3.relative(true_T34[0], true_T34)
    assert np.degrees(se3.rotation_angle(se3.relative(path.pose_T34, wanted)[:, :, :3])).max() < 0.5
    # COLMAP has no unit of length: what is seen is 5 away in the middle, and the room is of 4 to each wall.
    unit = np.linalg.norm(wanted[:, :, 3], axis=1).max() / np.linalg.norm(path.pose_T34[:, :, 3], axis=1).max()
    np.testing.assert_allclose(unit * path.pose_T34[:, :, 3], wanted[:, :, 3], atol=0.05)
    assert 0.5 < unit < 1.5 and record["scale"] != 1
    # The bars are cut off: 240x144 pixels become 120x72, of which the rows in the middle are kept.
    assert path.intrinsics_T4[0] == pytest.approx([120, 120, 60, 32], abs=0.1)


def test_rejected_scenes_are_named(shelf, tmp_path, monkeypatch):
    monkeypatch.setattr(scenes, "plot_film", lambda video, trajectory, path: path.touch())
    path = read_trajectory(shelf.parent / "f00.json")
    cameras = {"poses_c2w": path.pose_T34, "intrinsics": path.intrinsics_T4, "size": [48, 32]}
    rows = []
    for name, more in (
        ("good", {}),
        ("lost", {"registered": np.arange(61) < 30}),
        ("apart", {"joint": False}),
    ):
        np.savez(tmp_path / f"{name}.npz", **cameras, **more)
        row = lines(shelf)[0] | {"video": f"{name}.mp4", "reconstruct": f"file:{name}.npz"}
        data = (shelf.parent / "f00.mp4").read_bytes()
        (tmp_path / f"{name}.mp4").write_bytes(data + bytes(len(rows)))  # another file with the same frames
        rows.append(row)
    (tmp_path / "films.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    out, size = tmp_path / "out", {"frames": 33, "width": 48, "height": 32, "fps": 8.0, "least": 0.5}
    made = build.of_folder(tmp_path / "films.jsonl", out, **size, proportion=(1, 0, 0))
    assert made["statistics"]["gates"] == {"disconnected": 2, "registered": 1}
    assert [entry["film"] for entry in made["scenes"]] == ["good"]
    assert {path.name for path in (out / "scenes" / "lost_000003").iterdir()} == {"result.json"}
    assert check(out) == ["good_000003: sheet.png is no picture"]  # the test's own
    (tmp_path / "films.jsonl").write_text(json.dumps(rows[1]) + "\n")
    with pytest.raises(ValueError, match="none of 1 scenes can be believed.*gates that they failed are registered"):
        build.of_folder(tmp_path / "films.jsonl", out, **size)
    assert not (out / "bench.json").exists()


def test_captions_of_what_is_seen(built):
    entry = json.loads((built / "bench.json").read_text())["scenes"][0]
    path = read_trajectory(built / "scenes" / entry["id"] / "trajectory.json")
    asked = []

    class Captioner:
        def answer(self, clips, question, fps):
            asked.append(([name for name, _ in clips], question, [len(clip) for _, clip in clips]))
            return "A  man waits" if len(clips) == 1 else "One hall."

    video = np.zeros((33, 32, 49, 3), np.uint8)
    said = captions.seen(path, video, Captioner())
    assert said.scene == "One hall." and said.shots == tuple(f"A man waits. {text}" for text in path.captions)
    assert asked[-1][0] == ["Shot 1:", "Shot 2:"] and "Shot 2: A man waits." in asked[-1][1]
    assert [lengths for _, _, lengths in asked[:2]] == [[17], [16]]
    Captioner.answer = lambda *_: " … "
    with pytest.raises(ValueError, match="no caption"):
        captions.seen(path, video, Captioner())


def test_lists_of_films(tmp_path):
    for number, name in enumerate(("a.mp4", "Movie/b.mp4", "Movie/c.mkv", ".hidden/d.mp4")):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(number + 1))
    shutil.copyfile(tmp_path / "a.mp4", tmp_path / "z.mp4")
    found = read_films(tmp_path, CalibrationConfig())
    assert [(film.id, film.source) for film in found[:3]] == [("Movie_b", "Movie"), ("Movie_c", "Movie"), ("a", "a")]
    assert isinstance(found[3], Refused) and "that of a, an earlier film" in found[3].error
    (tmp_path / "films.csv").write_text(
        "video,id,cuts,lens\na.mp4,one,3,\nb.mp4,two,,\nMovie/b.mp4,x/y,,\nMovie/c.mkv,c,,35mm,50mm\n"
    )
    one, *refused = read_films(tmp_path / "films.csv", CalibrationConfig(lens="28mm"))
    assert isinstance(one, Film) and one.calibration == CalibrationConfig(cuts="3", lens="28mm")
    words = ("no such file", "an id is a name", "more cells")
    assert all(word in row.error for word, row in zip(words, refused, strict=True))
    with pytest.raises(ValueError, match="no column 'film'"):
        (tmp_path / "bad.csv").write_text("film\na.mp4\n")
        read_films(tmp_path / "bad.csv", CalibrationConfig())
    with pytest.raises(ValueError, match="no such file or folder"):
        read_films(tmp_path / "nowhere", CalibrationConfig())


@pytest.mark.parametrize(
    ("values", "words"),
    [({"frames": 250}, r"4t\+1"), ({"proportion": (0, 0, 0)}, "0:0:0"), ({"test": 2.0}, "from 0 to 1")],
)
def test_settings_that_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        BenchConfig(**values)


def test_films_without_scenes(shelf, tmp_path, capsys):
    command = ["bench", "build", str(shelf), "--out", str(tmp_path / "out"), "--quiet", "--fps", "8"]
    assert cli.main(command) == 2
    assert "together last 31.1 s" in capsys.readouterr().err
    (tmp_path / "films").mkdir()
    (tmp_path / "films" / "bad.mp4").write_bytes(b"none")
    assert cli.main(["bench", "build", str(tmp_path / "films"), "--out", str(tmp_path / "out2"), "--quiet"]) == 2
    assert "no film can be used; bad: " in capsys.readouterr().err
    assert cli.main(["bench", "build", str(shelf)]) == 2 and "needs --out" in capsys.readouterr().err
