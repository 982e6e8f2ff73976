"""An outline is the run: the same program, the same batch; and what the program of a step holds."""

import collections
import dataclasses
import json

import jax
import numpy as np
import pytest
import small_models
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr
from ml_collections import ConfigDict

from shotverse_jax.config import (
    TEXT_ENCODERS,
    CLaTrConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    Execution,
    GenDoPConfig,
    GenDoPTokenConfig,
    LoraConfig,
    MeshConfig,
    OPTConfig,
    UMT5Config,
    VAETrainConfig,
    WanDiTConfig,
    controller_small,
)
from shotverse_jax.configs.cinematic import camera_clip_small
from shotverse_jax.configs.clatr import base as clatr_base
from shotverse_jax.configs.controller import common
from shotverse_jax.configs.gendop import base as gendop_base
from shotverse_jax.configs.planner import nano
from shotverse_jax.data.records import write_dataset
from shotverse_jax.fit.report import _step
from shotverse_jax.inputs.clip import SPECIAL_TOKENS
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.train import build, outline, read_config
from shotverse_jax.train.placement import Placement
from shotverse_jax.train.state import init_state, make_optimizer
from shotverse_jax.train.step import make_steps
from shotverse_jax.train.tasks import controller
from shotverse_jax.weights import abstract, export

PROMPT = (
    "[global caption] A man. This scene contains 2 shots. [per shot caption] Push in. [shot cut] The camera pans left."
)
TEXT = UMT5Config(vocab_size=4096, hidden_size=16, num_layers=1, num_heads=2, head_dim=8, mlp_size=32)


def controller_values(stage, **training):
    config = common.get_config(expert=stage, batch=2, ema=0.0, **training)
    dit = WanDiTConfig(24, 2, 3, 32, 16, 16, 4)
    lora = LoraConfig(4, 4.0, targets=("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out"))
    model = dataclasses.replace(
        controller_small(), dit=dit, lora=lora, frames=9, height=16, width=32, see_padding=True, text_length=64
    )
    config.model = ConfigDict(json.loads(json.dumps(dataclasses.asdict(model))))
    return config.to_dict()


def program(task, folder):
    """The operations of the training step of a task, and its first batch's shapes."""
    optimizer, _ = make_optimizer(task.config)
    state = init_state(task.trainable, optimizer, ema=task.config.ema > 0)
    step = make_steps(task, Placement.of(task.config, state, task.frozen)).train
    bucket, batch = task.source("train", 1)[0]
    shapes = {name: (value.shape, str(value.dtype)) for name, value in batch.items()}
    return operations(step.trace(state, task.frozen, batch, jax.random.key(0), bucket)), shapes


def outlined(values):
    mesh = make_mesh(MeshConfig())
    plan = outline(read_config(values), mesh)
    step, _, arguments = _step(plan, mesh)
    shapes = {name: (value.shape, str(value.dtype)) for name, value in plan.batch.items()}
    return operations(step.trace(*arguments)), shapes


def depends_on_tracing(eqn):
    """Whether it is there or not says nothing: it depends on what was traced before, on arrays or on shapes of them."""
    name = eqn.primitive.name
    same_shape = name == "reshape" and eqn.invars[0].aval.shape == eqn.outvars[0].aval.shape
    constant = name == "convert_element_type" and eqn.outvars[0].aval.shape == ()
    return same_shape or constant or name in ("jit", "reshard")


def operations(trace):
    """How often a program has every operation, by name and results, without those that nothing reads."""
    found = collections.Counter()

    def visit(jaxpr):
        jaxpr = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0]
        for eqn in jaxpr.eqns:
            inner = list(jaxprs_in_params(eqn.params))
            if not depends_on_tracing(eqn):
                found[eqn.primitive.name, *(str(out.aval) for out in eqn.outvars)] += 1
            for sub in inner:
                visit(sub)

    visit(trace.jaxpr.jaxpr)
    return found


def test_a_controllers_outline_is_its_run(monkeypatch, tmp_path):
    monkeypatch.setitem(TEXT_ENCODERS, "text_small", lambda: TEXT)
    pose_T34 = np.tile(np.eye(3, 4, dtype=np.float32), (3, 1, 1))
    film = {"latents": np.zeros((3, 2, 4, 4), np.float16), "pose_T34": pose_T34, "prompt": PROMPT}
    film["shot_T"] = np.array([0, 0, 1], np.int32)
    write_dataset(tmp_path / "films", [film] * 2, {})

    def run(stage, folder=tmp_path / "films", **options):
        values = controller_values(stage, data=str(folder), test_data=str(folder), text_dropout=0.0)
        values["base_weights"] = options.get("base_weights", "")
        values["model"]["text"] = options.get("text", "text_small")
        expected = outlined(values)
        assert len(controller.work(read_config(values))) == 2 + (
            folder.name != "states"
        )  # of the transformer, and of the text encoder
        task = build(read_config(values), tmp_path)
        assert program(task, tmp_path) == expected
        return task

    task = run("base")
    base = tmp_path / "base"
    task.export(jax.device_get(task.trainable), base)
    for stage in ("high", "low"):
        run(stage, base_weights=str(base), text=str(base / "text"))

    film |= {"text_SD": np.ones((9, 16), np.float16), "spans": np.array([[0, 3], [3, 6], [6, 9]], np.int32)}
    write_dataset(tmp_path / "states", [film] * 2, {"text": "elsewhere", "negative": ""})
    run("high", tmp_path / "states", base_weights=str(base), text="elsewhere")


@pytest.mark.parametrize("adapted", [True, False])
def test_a_planners_outline_is_its_run(adapted, tmp_path):
    adapters = dataclasses.asdict(LoraConfig(4, 4.0)) if adapted else None
    values = nano.get_config(shot_weights=(0.0, 1.0), text_lengths=(80, 128), bpe_examples=20).to_dict()
    values["model"]["lora"] = adapters
    expected = outlined(values)
    assert program(build(read_config(values), tmp_path), tmp_path) == expected


@pytest.mark.parametrize("mode", ["text", "depth+image+text"])
def test_the_outline_of_a_gendop_is_its_run(mode, tmp_path):
    """The one for captions has VERTIGO's anchor head."""
    text = CLIPTextConfig(300, 16, 1, 2, 32, 24)
    vision = CLIPVisionConfig(16, 1, 2, 32, 8, 16) if "image" in mode else None
    tokens = GenDoPTokenConfig(world="origin_global", anchor="head") if vision is None else GenDoPTokenConfig()
    decoder = OPTConfig(hidden_size=16, num_layers=1, num_heads=2, max_positions=400)
    model = GenDoPConfig(text, vision, decoder, tokens=tokens)
    config = gendop_base.get_config(mode, model, batch=2, bpe_examples=20, freeze_towers=vision is not None)
    expected = outlined(config.to_dict())
    assert program(build(read_config(config.to_dict()), tmp_path), tmp_path) == expected


@pytest.mark.parametrize("learned", [True, False])
def test_the_outline_of_a_clatr_is_its_run(learned, drawn, tmp_path):
    model = CLaTrConfig(16, 1, 2, 32, feature_size=72, text_size=16)
    text = CLIPTextConfig(300, 16, 1, 2, 32, 40)
    if not learned:
        train_text_tokenizer(["The camera pans left."] * 2, 300, special=SPECIAL_TOKENS).save(str(tmp_path / "t.json"))
        params = drawn(abstract("clip_text", text), 0)
        export("clip_text", params, text, tmp_path / "tower", tokenizer_file=tmp_path / "t.json")
    values = clatr_base.get_config(batch=2, bpe_examples=20, text_weights="" if learned else str(tmp_path / "tower"))
    values = values.to_dict() | {"model": dataclasses.asdict(model), "text": dataclasses.asdict(text)}
    expected = outlined(values)
    assert program(build(read_config(values), tmp_path / "run"), tmp_path) == expected


def test_the_outline_of_a_camera_clip_is_its_run(tmp_path):
    base = str(small_models.camera_clip(tmp_path))
    values = camera_clip_small.get_config().to_dict() | {"model": dataclasses.asdict(small_models.camera_clip_config())}
    values |= {"trained": "last", "base_weights": base, "image_layers": 1, "text_layers": 1, "text_length": 0}
    values |= {"batch": 2, "height": 16, "width": 24, "bpe_examples": 20}
    expected = outlined(values)
    assert program(build(read_config(values), tmp_path / "run"), tmp_path) == expected


@pytest.mark.parametrize(("remat", "forwards"), [("full", 2), ("save_attention", 1)])
def test_a_step_runs_every_attention_kernel_once(monkeypatch, cudnn_without_gpu, remat, forwards):
    """A block has two, of itself and of the text; full remat runs them again in the backward pass."""
    monkeypatch.setitem(TEXT_ENCODERS, "text_small", lambda: TEXT)
    execution = dataclasses.asdict(Execution(attention="cudnn", remat=remat, dtype="bfloat16"))
    values = controller_values("high", execution=execution)
    values["model"]["dit"] |= {"hidden_size": 48}  # heads of 16
    mesh = make_mesh(MeshConfig())
    step, _, arguments = _step(outline(read_config(values), mesh), mesh)
    jaxpr = step.trace(*arguments).jaxpr.jaxpr
    jaxpr = dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0]
    assert count(jaxpr, "dot_product_attention_bwd") == 2
    assert count(jaxpr, "dot_product_attention_fwd") == 2 * forwards


def count(jaxpr, wanted):
    inner = (sub for eqn in jaxpr.eqns for sub in jaxprs_in_params(eqn.params))
    return sum(eqn.primitive.name.startswith(wanted) for eqn in jaxpr.eqns) + sum(count(sub, wanted) for sub in inner)


def test_what_cannot_be_outlined_is_refused():
    mesh = make_mesh(MeshConfig())
    with pytest.raises(ValueError, match="those of .*controller and gendop and planner.*; this config's is vae"):
        outline(VAETrainConfig(), mesh)
    values = controller_values("high")
    values["model"]["text"] = "nowhere"
    with pytest.raises(
        ValueError, match="model.text is nowhere: give the folder of a text encoder, or one of umt5_xxl"
    ):
        outline(read_config(values), mesh)
