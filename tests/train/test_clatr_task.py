"""CLaTr's run: its losses by their records, its batches, and a few steps through the launcher's task."""

import dataclasses
import json
import pickle

import jax
import numpy as np
import pytest

from shotverse_jax import weights
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.config import CLaTrConfig, CLIPTextConfig
from shotverse_jax.configs.clatr import base, small
from shotverse_jax.data.clatr_source import CLaTrSource, SceneShots, StageShots
from shotverse_jax.evaluation.features.clatr import CLaTrReader
from shotverse_jax.inputs.clip import END, START
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.models.clatr import CLaTr, Latent
from shotverse_jax.models.clip import CLIPText
from shotverse_jax.train import build, contrast_losses, read_config
from shotverse_jax.train.state import init_state, make_optimizer, merge
from shotverse_jax.train.step import make_train_step
from shotverse_jax.train.tasks import clatr

NANO = CLaTrConfig(hidden_size=16, num_layers=1, num_heads=2, mlp_size=32, feature_size=72, text_size=16, step_scale=30)
TOWER = CLIPTextConfig(vocab_size=300, hidden_size=16, num_layers=1, num_heads=2, mlp_size=32, max_positions=40)


def test_the_losses_of_the_record(reference):
    from safetensors.numpy import load_file

    record = load_file(reference / "golden/clatr_tiny_parity.safetensors")
    traj, text = (Latent(record[f"{side}_mu"], record[f"{side}_logvar"]) for side in ("traj", "text"))
    np.testing.assert_allclose(clatr.kl(text, traj), record["kl_text_traj"][0], atol=1e-5)
    end = record["sent"] / np.linalg.norm(record["sent"], axis=1, keepdims=True)
    filtered, whole = record["nce"]
    of = lambda same: contrast_losses.info_nce(text.mu_BD, traj.mu_BD, same, 0.1)  # noqa: E731
    np.testing.assert_allclose(of(np.eye(3, dtype=bool)), whole, atol=1e-5)
    np.testing.assert_allclose(of(end @ end.T > 0.99), filtered, atol=1e-5)


def test_smooth_l1_and_kl_by_hand():
    np.testing.assert_allclose(clatr.smooth_l1(np.array([0.5, 3.0, -1.0]), np.zeros(3)), (0.125 + 2.5 + 0.5) / 3)
    narrow, normal = Latent(np.full((1, 2), 2.0), np.full((1, 2), -1.0)), Latent(np.zeros((1, 2)), np.zeros((1, 2)))
    np.testing.assert_allclose(clatr.kl(narrow, normal), 0.5 * (np.exp(-1) + 4 - 1 + 1), rtol=1e-6)
    assert clatr.kl(narrow, narrow) == 0


def test_first_counts_every_right_answer():
    cosine = np.array([[0.9, 0.1, 0.0], [0.1, 0.2, 0.8], [0.0, 0.0, 0.5]])
    same = np.eye(3, dtype=bool)
    assert contrast_losses.first(cosine, same) == pytest.approx(2 / 3)
    same[1, 2] = same[2, 1] = True
    assert contrast_losses.first(cosine, same) == 1


def path(shots=1, frames=21, seed=0):
    rng = np.random.default_rng(seed)
    go = rng.normal(0, 0.1, (frames * shots, 3)).cumsum(0)
    pose_T34 = np.concatenate([se3.so3_exp(rng.normal(0, 0.02, go.shape)), go[..., None]], -1)
    return Trajectory(pose_T34, [500.0, 500.0, 256.0, 256.0], 512, 512, np.repeat(np.arange(shots), frames))


@pytest.fixture
def datadop(tmp_path):
    """Two shots laid out as DataDoP's in train, one in test, and one without a caption."""
    for index, (split, caption) in enumerate([("train", "a"), ("train", "b"), ("test", "c"), ("train", None)]):
        stem = tmp_path / split / "0_0001" / f"shot_{index:04d}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        write_trajectory(path(seed=index), f"{stem}_transforms_cleaning.json", "nerfstudio")
        words = {"Movement": f"The camera does {caption}."} if caption else {}
        stem.with_name(f"{stem.name}_caption.json").write_text(json.dumps(words))
    return tmp_path


def test_shots_of_a_folder_come_once_per_epoch(datadop, caplog):
    shots = SceneShots(str(datadop), "train", "movement")
    assert {shot.caption for shot in shots.pick(0, [0, 1])} == {"The camera does a.", "The camera does b."}
    assert "shot_0003" in caplog.text
    assert [shot.caption for shot in SceneShots(str(datadop), "test").all] == ["The camera does c."]


def test_every_shot_of_a_scene_has_its_own_caption(tmp_path):
    trajectory = dataclasses.replace(path(shots=2), captions=("Push in.", "Pan left."), global_caption="A street.")
    write_trajectory(trajectory, tmp_path / "a.trajectory.json", "shotverse")
    (tmp_path / "a.holocine.txt").write_text(
        "[global caption] A street. This scene contains 2 shots. [per shot caption] Push in. [shot cut] Pan left."
    )
    first, second = SceneShots(str(tmp_path)).all
    assert (first.caption, second.caption) == ("Push in.", "Pan left.")
    assert np.abs(first.features_TC - second.features_TC).max() > 0.01


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    shots = StageShots("train")
    captions = (shot.caption for seed in range(20) for shot in shots.shots(seed))
    file = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    train_text_tokenizer(captions, 300, special=("<pad>", START, END)).save(str(file))
    return str(file)


def test_batches_do_not_depend_on_the_hosts(tokenizer_file):
    def source(**more):
        values = {"shots": StageShots("train"), "seed": 3, "global_batch": 12, "num_steps": 9} | more
        return CLaTrSource(config=NANO, tokenizer_file=tokenizer_file, length=40, **values)

    bucket, batch = source()[1]
    assert bucket is None and batch["traj_BIC"].shape == (12, 15, 72) and batch["ids_BS"].shape == (12, 40)
    halves = [source(host=host, num_hosts=2)[1][1] for host in range(2)]
    for name, whole in batch.items():
        np.testing.assert_array_equal(np.concatenate([half[name] for half in halves]), whole)
    assert not np.array_equal(source()[2][1]["traj_BIC"], batch["traj_BIC"])
    np.testing.assert_array_equal(pickle.loads(pickle.dumps(source()))[1][1]["same_B"], batch["same_B"])
    movement = source(shots=StageShots("train", ("movement",)))[1][1]
    # Shots are no wrong answers for each other where their motion is described alike, whatever their captions.
    alike = (movement["ids_BS"][:, None] == movement["ids_BS"][None]).all(-1)
    np.testing.assert_array_equal(movement["same_B"][:, None] == movement["same_B"][None], alike)


def run_values(**more):
    values = small.get_config().to_dict()
    nano = {"model": dataclasses.asdict(NANO), "text": dataclasses.asdict(TOWER), "text_length": 0, "bpe_examples": 20}
    return (
        values
        | nano
        | {"batch": 16, "styles": ("movement",), "lr": 2e-2, "warmup": 2, "ema": 0.5, "optimizer": "adamw"}
        | more
    )


def test_a_run_from_config_to_folder(tmp_path):
    """Steps on one batch: the captions of its shots become telling; the export reads them with its own tower."""
    task = build(read_config(run_values()), tmp_path)
    optimizer, schedule = make_optimizer(task.config)
    state = init_state(task.trainable, optimizer, ema=True)
    step = make_train_step(task.loss, optimizer, schedule, task.config.ema)
    bucket, batch = task.source("train", 1)[0]
    found = []
    for _ in range(40):
        state, metrics = step(state, task.frozen, batch, jax.random.key(0), bucket=bucket)
        found.append(metrics)
    first, last = found[0], found[-1]
    assert last["contrast"] < first["contrast"] - 0.3 and last["reconstruction"] < 0.7 * first["reconstruction"]
    variables = merge(state.averaged, task.frozen)
    task.export(variables, tmp_path / "export")
    reader = CLaTrReader.load(tmp_path / "export")
    assert reader.config == NANO and reader.tower[0] == TOWER and reader.title == "export, not CLaTr"
    shots = StageShots("train", ("movement",)).pick(task.config.seed, range(16))
    ours = reader.read_captions([shot.caption for shot in shots]).latents.mu_ND
    states = CLIPText(TOWER).apply({"params": variables["params"]["text"]}, batch["ids_BS"], batch["real_BS"])
    network = CLaTr(NANO)
    theirs = network.apply({"params": variables["params"]["clatr"]}, states, batch["real_BS"], method="encode_text")
    np.testing.assert_allclose(ours, theirs.mu_BD, atol=0.1)  # exported in bfloat16


def test_the_published_tower_stays_as_it_is(tmp_path, tokenizer_file, datadop):
    weights.export(
        "clip_text",
        weights.init("clip_text", TOWER, jax.random.key(0)),
        TOWER,
        tmp_path / "t",
        tokenizer_file=tokenizer_file,
    )
    values = base.get_config().to_dict() | {"model": dataclasses.asdict(NANO), "text_weights": str(tmp_path / "t")}
    task = build(read_config(values | {"data": str(datadop), "batch": 2}), tmp_path / "run")
    assert set(task.trainable["params"]) == {"clatr"} and set(task.frozen["params"]) == {"text"}
    _, batch = task.source("train", 1)[0]
    loss, metrics = task.loss(merge(task.trainable, task.frozen), batch, None, jax.random.key(0))
    assert np.isfinite(loss) and metrics["contrast"] >= 0
    task.export(merge(task.trainable, task.frozen), tmp_path / "export")
    assert not (tmp_path / "export" / "text").exists()
    with pytest.raises(ValueError, match="texts of 512 numbers a token, and this tower makes 16"):
        build(read_config(values | {"model": dataclasses.asdict(CLaTrConfig())}), tmp_path / "other")


def test_a_batch_is_not_computed_in_parts():
    with pytest.raises(ValueError, match="accumulate must be 1 in a run of clatr"):
        read_config(run_values(accumulate=2))
