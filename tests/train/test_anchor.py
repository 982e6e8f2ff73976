"""VERTIGO's generator: its anchor head and losses against PyTorch, its runs, its plans, and DPO on its tokens."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.camera.tokens.gendop import GenDoPTokenizer
from shotverse_jax.config import (
    CLIPTextConfig,
    GenDoPConfig,
    GenDoPTrainConfig,
    OPTConfig,
    PreferenceTrainConfig,
    vertigo_tokens,
)
from shotverse_jax.configs.gendop import vertigo, vertigo_small
from shotverse_jax.data.datadop.shots import ShotFiles, write_shot
from shotverse_jax.data.pairs import Pair, write_pairs
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer.gendop import GenDoPPlanner, plan, predictions, read_plan, sample_ids
from shotverse_jax.infer.gendop_work import write_prediction
from shotverse_jax.models.gendop import GenDoP
from shotverse_jax.train import build, read_config
from shotverse_jax.train.anchor_losses import CLIP, NEAR, anchor_losses

TEXT = CLIPTextConfig(vocab_size=300, hidden_size=16, num_layers=1, num_heads=2, mlp_size=32, max_positions=24)
DECODER = OPTConfig(hidden_size=16, num_layers=1, num_heads=2, max_positions=400, dropout=0.1)
TOKENS = dataclasses.replace(vertigo_tokens(), without_stage="refused", bins="centre")


def nano(anchor):
    return GenDoPConfig(TEXT, None, DECODER, tokens=dataclasses.replace(TOKENS, anchor=anchor))


def run_of(anchor, **values):
    values = {"steps": 4, "batch": 4, "bpe_examples": 20, "ema": 0.0, "warmup": 0} | values
    return read_config(dataclasses.asdict(GenDoPTrainConfig(model=nano(anchor), **values)))


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """{anchor: (task, folder of its export)}, of random weights that are large enough to matter."""
    found = {}
    for anchor in ("head", "tokens"):
        folder = tmp_path_factory.mktemp(anchor)
        task = build(run_of(anchor), folder)
        task = dataclasses.replace(task, trainable=jax.tree.map(jnp.asarray, small_models.drawn(task.trainable, 0)))
        task.export(task.trainable, folder / "export")
        found[anchor] = task, folder / "export"
    return found


def test_the_head_and_its_losses_equal_torch(runs):
    torch = pytest.importorskip("torch", reason="PyTorch is not installed")
    functional = torch.nn.functional
    task, _ = runs["head"]
    variables, (_, batch) = task.trainable, task.source("train", 1)[0]
    network = GenDoP(nano("head"))
    prefix_BPD = jax.jit(lambda *given: network.apply(variables, *given, method="prefix"))(
        batch["text_ids_BT"], batch["real_BT"]
    )
    width = prefix_BPD.shape[-1]
    head = torch.nn.Sequential(
        torch.nn.LayerNorm(width), torch.nn.Linear(width, width), torch.nn.SiLU(), torch.nn.Linear(width, 3)
    )
    ours = variables["params"]["anchor_head"]
    head.load_state_dict(
        {
            "0.weight": torch.tensor(np.asarray(ours["norm"]["scale"])),
            "0.bias": torch.tensor(np.asarray(ours["norm"]["bias"])),
            "1.weight": torch.tensor(np.asarray(ours["hidden"]["kernel"]).T),
            "1.bias": torch.tensor(np.asarray(ours["hidden"]["bias"])),
            "3.weight": torch.tensor(np.asarray(ours["out"]["kernel"]).T),
            "3.bias": torch.tensor(np.asarray(ours["out"]["bias"])),
        }
    )
    predicted = head(torch.tensor(np.array(prefix_BPD)).mean(dim=1))
    found = jax.jit(lambda prefix: network.apply(variables, prefix, method="predict_anchor"))(prefix_BPD)
    np.testing.assert_allclose(found, predicted.detach(), atol=1e-5)

    true = {name: torch.tensor(batch[name]) for name in ("anchor_B3", "rotation_B33", "lens_B4")}
    mean, scale = torch.tensor(TOKENS.anchor_mean), torch.tensor(TOKENS.anchor_scale)

    def screen(anchor):
        seen = torch.einsum("bji,bj->bi", true["rotation_B33"], -(anchor * scale + mean))
        depth, lens = -seen[:, 2], true["lens_B4"]
        away = depth.clamp_min(NEAR)
        u, v = lens[:, 0] * seen[:, 0] / away + lens[:, 2], -lens[:, 1] * seen[:, 1] / away + lens[:, 3]
        return torch.stack([u, v], 1).clamp(-CLIP, CLIP), depth

    anchor = functional.smooth_l1_loss(predicted, true["anchor_B3"])
    (place, depth), (wanted, in_front) = screen(predicted), screen(true["anchor_B3"])
    each = functional.smooth_l1_loss(place, wanted, reduction="none").mean(1) + (NEAR - depth).clamp_min(0)
    missed = (each * (in_front > NEAR)).mean()
    value, metrics = jax.jit(lambda *given: task.loss(*given, None, None))(variables, batch)
    np.testing.assert_allclose(metrics["anchor"], anchor.item(), rtol=1e-5)
    np.testing.assert_allclose(metrics["screen"], missed.item(), rtol=1e-5)
    np.testing.assert_allclose(value, metrics["ce"] + 0.2 * anchor.item() + 0.05 * missed.item(), rtol=1e-5)
    assert missed.item() > 0 and int(metrics["tokens"]) == 4 * 301


def test_a_subject_behind_the_camera_has_no_place_in_the_picture():
    """A predicted camera that has it behind is not rewarded for its mirrored point, and a true one does not count."""
    tokens = dataclasses.replace(TOKENS, anchor_mean=(0.0,) * 3, anchor_scale=(1.0,) * 3)
    lens_B4 = jnp.array([[1.0, 1.5, 0.5, 0.5]])
    level_B33 = jnp.eye(3)[None]  # OpenGL: it looks along -z
    loss = jax.jit(lambda predicted, true: anchor_losses(predicted, true, level_B33, lens_B4, tokens)[1])
    there = jnp.array([[0.0, 0.0, 3.0]])
    assert float(loss(there, there)) == 0
    behind = jnp.array([[0.0, 0.0, -3.0]])
    assert float(loss(behind, there)) == pytest.approx(3 + NEAR, rel=1e-5)
    assert jax.grad(lambda x: loss(x, there))(behind)[0, 2] == pytest.approx(-1)  # towards z > 0
    assert float(loss(there, behind)) == 0
    # A pinhole's own reckoning: 1 m to the right of the axis at 3 m is a third of the focal length to the left.
    aside = jnp.array([[1.0, 0.0, 3.0]])
    assert float(loss(aside, there)) == pytest.approx(0.5 * (1 / 3) ** 2 / 2, rel=1e-5)


@pytest.mark.parametrize("anchor", ["head", "tokens"])
def test_plans_know_where_their_subject_is(runs, anchor, tmp_path):
    _, folder = runs[anchor]
    planner = GenDoPPlanner.load(str(folder))
    assert planner.config == nano(anchor)
    plays = [sample_example(seed, num_shots=1).screenplay for seed in range(5)]
    sampled = sample_ids(planner, plays, samples=2)
    assert sampled[0].ids_JN.shape == (2, 305 if anchor == "tokens" else 302)
    paths = plan(planner, plays, samples=2)
    for play, drawn, found in zip(plays, sampled, paths, strict=True):
        for number, path in enumerate(found):
            anchor_3 = None if drawn.anchor_J3 is None else drawn.anchor_J3[number]
            assert (anchor_3 is None) == (anchor == "tokens")
            again = read_plan(planner.config, play, drawn.ids_JN[number], anchor_3)
            np.testing.assert_array_equal(again.pose_T34, path.pose_T34)
            np.testing.assert_array_equal(again.stage_34, path.stage_34)
    # What is predicted depends on the screenplay alone, not on what is planned beside it.
    [alone] = sample_ids(planner, plays[3:4])
    if anchor == "head":
        np.testing.assert_array_equal(alone.anchor_J3[0], sampled[3].anchor_J3[1])
        assert np.abs(sampled[0].anchor_J3[0] - alone.anchor_J3[0]).max() > 1e-4
    # GenDoP's file of it is in the subject's world, y up: the camera is where the anchor says.
    [made] = predictions(planner, plays[3:4])
    write_prediction(made.trajectories[0], tmp_path / "pred.json")
    file = read_trajectory(tmp_path / "pred.json", "nerfstudio")
    tokens = GenDoPTokenizer(planner.config.tokens).parse(alone.ids_JN[0])
    start_3 = tokens.anchor_3 if anchor == "tokens" else alone.anchor_J3[0]
    offset_3 = tokens.pose_T34[0, :, 3] * [1, -1, -1]
    expected_3 = start_3 * np.asarray(TOKENS.anchor_scale) + TOKENS.anchor_mean + offset_3
    np.testing.assert_allclose(file.pose_T34[0, :, 3], expected_3, atol=1e-5)


def test_a_run_on_files_in_the_subjects_world(tmp_path):
    """VERTIGO's files say nothing of a stage: the config says what their world is."""
    on_stage = sample_example(3, num_shots=1).trajectory.retimed([(0, 120)], 30.0)
    opengl = se3.make(np.diag([1.0, -1.0, -1.0]), np.array([0.0, -TOKENS.origin_height, 0.0]))
    path = on_stage.moved(se3.compose(opengl, se3.inverse(on_stage.stage_34)))
    for number in range(4):
        name = f"1_0000/shot_{number}"
        (tmp_path / "train" / name).parent.mkdir(parents=True, exist_ok=True)
        write_shot(ShotFiles(name, tmp_path / "train" / name), captions={"Movement": "moves"}, cleaned=path)
    refused = run_of("tokens", data=str(tmp_path), test_data=str(tmp_path))
    with pytest.raises(ValueError, match="this trajectory has none"):
        build(refused, tmp_path / "refused").source("train", 1)[0]
    tokens = dataclasses.replace(refused.model.tokens, without_stage="subject")
    config = dataclasses.replace(refused, model=dataclasses.replace(refused.model, tokens=tokens))
    _, batch = build(config, tmp_path / "run").source("train", 1)[0]
    # A file has rounded numbers, so a value on the edge of a bin may fall to the other side.
    assert np.abs(batch["pose_ids_BN"][0] - GenDoPTokenizer(tokens).encode(on_stage)).max() <= 1


def test_dpo_covers_the_anchor(runs, tmp_path):
    """The first step's loss is log 2, and a plan that differs in its first position alone is preferred or not."""
    _, folder = runs["tokens"]
    planner = GenDoPPlanner.load(str(folder))
    plays = [sample_example(seed, num_shots=1).screenplay for seed in range(8)]
    drawn = sample_ids(planner, plays, samples=2)
    rows = []
    for number, (play, found) in enumerate(zip(plays, drawn, strict=True)):
        worse = found.ids_JN[0].copy()
        worse[1:4] = found.ids_JN[1, 1:4]  # the same path from another first position
        rows.append(Pair(f"p{number}", play, found.ids_JN[0], worse))
    write_pairs(rows, tmp_path / "pairs.jsonl")
    values = {"pairs": str(tmp_path / "pairs.jsonl"), "test_pairs": str(tmp_path / "pairs.jsonl"), "sft_weight": 0.0}
    config = PreferenceTrainConfig(base_weights=str(folder), steps=4, batch=8, ema=0.0, warmup=0, **values)
    task = build(read_config(dataclasses.asdict(config)), tmp_path / "run")
    found_P2 = np.load(tmp_path / "run" / "test_reference.npz")["log_probs"]
    # All that was drawn counts, and EOS, which GenDoP's grammar does not draw.
    assert (found_P2[:, 0] < [found.log_probs_JN[0].sum() for found in drawn]).all()
    assert (np.abs(found_P2[:, 0] - found_P2[:, 1]) > 1e-3).all()
    [(bucket, batch), *_] = task.batches("test")
    assert batch["counts_B2N"][..., 1:4].all()
    value, _ = jax.jit(task.loss, static_argnums=2)(task.trainable, batch, bucket, None)
    assert float(value) == pytest.approx(np.log(2), abs=1e-6)


def test_configs():
    config = read_config(vertigo.get_config().to_dict())
    assert config.model.tokens == vertigo_tokens() and config.model.mode == "text" and config.caption == "movement"
    assert (config.lr, config.batch, config.anchor_weight, config.screen_weight) == (1e-5, 16, 0.2, 0.05)
    assert config.steps == 128 * 2062
    small = read_config(vertigo_small.get_config().to_dict()).model
    assert small.tokens == vertigo_small.TOKENS and small.text.max_positions + 305 <= small.decoder.max_positions
