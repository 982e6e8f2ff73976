"""Counts of operations: the published ones, and those of programs that are traced."""

import dataclasses
import math
from functools import partial

import jax
import jax.numpy as jnp
import pytest
import small_models
from jax.extend.core import jaxprs_in_params
from jax.interpreters.partial_eval import dce_jaxpr

from shotverse_jax import lora
from shotverse_jax.config import (
    MODES,
    CameraCLIPTrainConfig,
    CLaTrConfig,
    CLaTrTrainConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    Execution,
    GenDoPConfig,
    LoraConfig,
    OPTConfig,
    PlannerConfig,
    Qwen3VLTextConfig,
    UMT5Config,
    WanDiTConfig,
    WanVAEConfig,
    gendop_of,
    planner_nano,
)
from shotverse_jax.cost import flops
from shotverse_jax.models.gendop import GenDoP
from shotverse_jax.models.planner import Planner
from shotverse_jax.models.umt5 import UMT5Encoder
from shotverse_jax.models.wan_dit import WanDiT
from shotverse_jax.models.wan_vae import WanVAE
from shotverse_jax.train.state import merge
from shotverse_jax.train.tasks import camera_clip, clatr
from shotverse_jax.train.tasks.gendop import make_loss
from shotverse_jax.train.tasks.planner import planner_loss
from shotverse_jax.weights import abstract

SPARSE = dataclasses.replace(WanDiTConfig(), self_attention="sparse")


# Seconds of the official implementations divided by these give the utilisations that others publish.
@pytest.mark.parametrize(
    ("frames", "height", "width", "petaflop"), [(21, 60, 104, 1.678), (21, 90, 160, 6.523), (61, 60, 104, 9.735)]
)
def test_the_large_transformer_costs_what_is_known(frames, height, width, petaflop):
    assert flops.forward(flops.dit(WanDiTConfig(), frames, height, width)) / 1e15 == pytest.approx(petaflop, rel=2e-3)


@pytest.mark.parametrize(
    ("shots", "petaflop"), [((11, 10), 1.324), ((13, 12, 12, 12, 12), 4.411), ((31, 30), 6.271), ((21, 21, 21), 5.408)]
)
def test_sparse_attention_costs_what_is_known(shots, petaflop):
    found = flops.forward(flops.dit(SPARSE, sum(shots), 60, 104, shots=shots))
    assert found / 1e15 == pytest.approx(petaflop, rel=2e-3)


def test_training_with_adapters_costs_what_is_known():
    adapters = LoraConfig(128, 128.0, targets=("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out"))
    for frames, useful, full, saved in ((21, 4.25, 5.93, 5.03), (61, 26.93, 36.66, 29.21)):
        blocks, _ = flops.dit(WanDiTConfig(), frames, 60, 104, lora=adapters)
        assert blocks.step() / 1e15 == pytest.approx(useful, rel=0.03)
        # There the gradient of attention was taken as four products, and the blocks' last one as computed again.
        there = blocks.last - blocks.attention / 2
        assert (blocks.executed("full", True) + there) / 1e15 == pytest.approx(full, rel=0.03)
        assert (blocks.executed("save_attention", True) + there) / 1e15 == pytest.approx(saved, rel=0.03)


def test_text_encoder_and_vae_cost_what_is_known():
    assert flops.umt5(UMT5Config()).forward / 1e12 == pytest.approx(4.8, rel=0.02)
    for frames, encode, decode in ((81, 164, 275), (241, 486, 817), (249, 502, 844)):
        encoder, decoder = flops.vae(WanVAEConfig(), frames, 480, 832)
        assert encoder.forward / 1e12 == pytest.approx(encode, rel=0.02)
        assert decoder.forward / 1e12 == pytest.approx(decode, rel=0.02)


# ------------------------------------------------------------------------------------------------- traced programs

DIT = WanDiTConfig(64, 2, 4, 160, 32, 48, 4)
ADAPTERS = LoraConfig(8, 8.0, targets=("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out"))


def products(jaxpr) -> float:
    """Operations of the matrix products and convolutions of a jaxpr, those in loops as often as they run."""
    total = 0.0
    for eqn in jaxpr.eqns:
        name, shapes = eqn.primitive.name, [getattr(v.aval, "shape", ()) for v in eqn.invars]
        if name == "dot_general":
            contracted = eqn.params["dimension_numbers"][0][0]
            total += 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(shapes[0][axis] for axis in contracted)
        elif name == "conv_general_dilated":
            kernel = [shapes[1][axis] for axis in eqn.params["dimension_numbers"].rhs_spec]
            total += 2 * math.prod(eqn.outvars[0].aval.shape) * math.prod(kernel[1:])
        inner = list(jaxprs_in_params(eqn.params))
        if name == "cond":  # the same on different platforms
            inner = inner[:1]
        total += eqn.params.get("length", 1) * sum(products(sub) for sub in inner)
    return total


def traced(function, *args) -> float:
    jaxpr = jax.make_jaxpr(function)(*args).jaxpr
    return products(dce_jaxpr(jaxpr, [True] * len(jaxpr.outvars))[0])


def dit_inputs(config, shots):
    shape = jax.ShapeDtypeStruct
    latents, context = shape((1, sum(shots), 8, 12, 4), "float32"), shape((1, 16, config.text_size), "float32")
    return latents, shape((1,), "float32"), context, shape((1, sum(shots), 12), "float32")


def run_dit(config, execution, shots, variables, latents, time, context, camera):
    return WanDiT(config, execution).apply(variables, latents, time, context, camera_BTP=camera, shot_lengths=shots)


@pytest.mark.parametrize("attention", ["full", "sparse"])
def test_a_forward_pass_has_these_products(attention):
    config, shots = dataclasses.replace(DIT, self_attention=attention), (3, 2, 2)
    variables = {"params": abstract("wan_dit", config)}
    run, inputs = partial(run_dit, config, Execution(), shots), dit_inputs(config, shots)
    expected = flops.forward(flops.dit(config, 7, 8, 12, 16, shots=shots))
    assert traced(run, variables, *inputs) == pytest.approx(expected, rel=1e-9)


def test_xla_counts_as_we_do():
    """XLA counts a loop's body once; straight code has none."""
    config = dataclasses.replace(DIT, hidden_size=256, mlp_size=1024)
    variables = {"params": abstract("wan_dit", config)}
    run = jax.jit(partial(run_dit, config, Execution(unroll=True), (7,)))
    cost = run.lower(variables, *dit_inputs(config, (7,))).cost_analysis()
    assert cost["flops"] == pytest.approx(flops.forward(flops.dit(config, 7, 8, 12, 16)), rel=0.04)


@pytest.mark.parametrize("remat", ["none", "full"])
@pytest.mark.parametrize("adapted", [True, False])
def test_a_training_step_has_these_products(remat, adapted):
    shots = (4, 3)
    params = abstract("wan_dit", DIT)
    adapter = jax.eval_shape(lambda: lora.init(jax.random.key(1), params, ADAPTERS))
    run = partial(run_dit, DIT, Execution(remat=remat), shots)

    def gradient(params, adapter, *inputs):
        def loss(learned):
            return run({"params": params, "lora": learned} if adapted else {"params": learned}, *inputs).sum()

        return jax.grad(loss)(adapter if adapted else params)

    parts = flops.dit(DIT, 7, 8, 12, 16, lora=ADAPTERS if adapted else None, trained=not adapted)
    expected = sum(part.executed(remat, flash=False) for part in parts)
    # Nothing needs the gradients of text, pixels and cameras, and the last product's input is not computed twice.
    assert traced(gradient, params, adapter, *dit_inputs(DIT, shots)) == pytest.approx(expected, rel=0.03)
    assert expected >= sum(part.step() for part in parts)


def test_text_encoder_and_vae_have_these_products():
    shape = jax.ShapeDtypeStruct
    text = UMT5Config(vocab_size=64, hidden_size=32, num_layers=2, num_heads=2, head_dim=8, mlp_size=48)
    encoder = UMT5Encoder(text)
    ids, real = shape((1, 24), "int32"), shape((1, 24), "bool")
    variables = jax.eval_shape(encoder.init, jax.random.key(0), ids, real)
    assert traced(encoder.apply, variables, ids, real) == flops.umt5(text, 24).forward

    config = WanVAEConfig(4, 4, (1, 2, 3), 1, (False, True), (0.0,) * 4, (1.0,) * 4)
    vae, video = WanVAE(config), shape((1, 5, 16, 24, 3), "float32")
    variables = {"params": abstract("vae", config)}
    encode, decode = flops.vae(config, 5, 16, 24)
    assert traced(partial(vae.apply, method="encode"), variables, video) == encode.forward
    latents = shape((1, 3, 4, 6, 4), "float32")
    assert traced(partial(vae.apply, method="decode"), variables, latents) == decode.forward


@pytest.mark.parametrize("kind", ["opt", "native", "text", "none"])
def test_a_planner_has_these_products(kind):
    options = {"decoder_kind": "native"} if kind == "native" else {"encoder": "queries" if kind == "opt" else kind}
    config = dataclasses.replace(planner_nano(), **options)
    planner, shape = Planner(config, Execution()), jax.ShapeDtypeStruct
    variables = {"params": abstract("planner", config)}
    batch = {
        "text_ids_BS": shape((1, 40), "int32"),
        "slot_BS": shape((1, 40), "int32"),
        "real_BS": shape((1, 40), "bool"),
        "pose_ids_BN": shape((1, 30), "int32"),
    }

    def loss(variables, batch):
        logits, codes = planner.apply(variables, batch, 3)
        return planner_loss(logits, codes, batch["pose_ids_BN"], 1e-4)[0]

    parts = flops.planner(config, 40, 30, 3)
    assert traced(partial(planner.apply, num_shots=3), variables, batch) == flops.forward(parts)
    step = sum(part.step() for part in parts if part.trained)
    if kind != "opt":  # else its vlm is said to be frozen, as it has adapters
        assert traced(jax.grad(loss), variables, batch) == pytest.approx(step, rel=0.01)


@pytest.mark.parametrize("mode", MODES)
def test_gendop_has_these_products(mode):
    conditions, shape = MODES[mode], jax.ShapeDtypeStruct
    text = CLIPTextConfig(40, 16, 2, 2, 24, 12) if "text" in conditions else None
    vision = CLIPVisionConfig(24, 2, 2, 40, 4, 12) if "image" in conditions else None
    decoder = OPTConfig(40, 32, 2, 2, max_positions=99)
    config = GenDoPConfig(text, vision, decoder, depth="depth" in conditions or vision is None)
    network, variables = GenDoP(config), {"params": abstract("gendop", config)}
    batch = {"pose_ids_BN": shape((1, 30), "int32")}
    if "text" in conditions:
        batch |= {"text_ids_BT": shape((1, 12), "int32"), "real_BT": shape((1, 12), "bool")}
    if "image" in conditions:
        batch["image_BHWC"] = shape((1, 12, 12, 3), "float32")
    if "depth" in conditions:
        batch["depth_BHW"] = shape((1, 12, 12), "float32")
    parts = flops.gendop(config, 30)
    # The head of the decoder also sees the prefix, whose logits nobody reads.
    found = traced(make_loss(network, 0.0), variables, batch, None, None)
    assert found == pytest.approx(flops.forward(parts), rel=1e-9)
    gradient = jax.grad(lambda variables: make_loss(network, 0.0)(variables, *rest)[0])
    rest = ({name: jnp.zeros(value.shape, value.dtype) for name, value in batch.items()}, None, None)
    assert traced(gradient, variables) == pytest.approx(sum(part.step() for part in parts), rel=0.02)


def test_gendop_as_published():
    """Twice its parameters a token; the towers and the decoder of 12 layers."""
    text, _, decoder = flops.gendop(gendop_of("text"), 302)
    assert text.linear == pytest.approx(2 * 289.4e6 * 77, rel=0.01)
    assert decoder.linear == pytest.approx(2 * 151.3e6 * 379, rel=0.01)
    frozen, *rest = flops.gendop(gendop_of("text"), 302, trained=False)
    assert frozen.step() == frozen.forward and all(part.trained for part in rest)


def test_clatr_has_these_products():
    model, text = CLaTrConfig(16, 2, 2, 24, feature_size=72, text_size=16), CLIPTextConfig(40, 16, 2, 2, 24, 12)
    config, shape = CLaTrTrainConfig(model=model, text=text), jax.ShapeDtypeStruct
    variables = {"params": {"clatr": abstract("clatr", model), "text": abstract("clip_text", text)}}
    batch = {"traj_BIC": shape((1, 15, 72), "float32"), "ids_BS": shape((1, 12), "int32")}
    batch |= {"real_BS": shape((1, 12), "bool"), "same_B": shape((1,), "int32")}
    loss = clatr.make_loss(config, text, Execution())
    parts = clatr.work(config, text)
    # The losses add the products of latents with latents, of 16 numbers: in the contrast, and in what comes first.
    assert traced(loss, variables, batch, None, None) == flops.forward(parts) + 2 * 2 * 16
    rest = ({name: jnp.zeros(value.shape, value.dtype) for name, value in batch.items()}, None, None)
    gradient = jax.grad(lambda variables: loss(variables, *rest)[0])
    assert traced(gradient, variables) == pytest.approx(sum(part.step() for part in parts), rel=0.03)


def test_a_camera_clip_has_these_products():
    model, shape = small_models.camera_clip_config(), jax.ShapeDtypeStruct
    config = CameraCLIPTrainConfig(model=model, trained="last", base_weights="a", image_layers=1, text_layers=1)
    params = abstract("camera_clip", model)
    trainable, frozen = jax.eval_shape(lambda params: camera_clip.split_learned({"params": params}, config), params)
    batch = {"frames_BTHWC": shape((1, 4, 16, 16, 3), "uint8"), "ids_BS": shape((1, 24), "int32")}
    batch |= {"real_BS": shape((1, 24), "bool")} | {f"{x}_BK": shape((1, 7), "int32") for x in ("facts", "said")}
    loss = camera_clip.make_loss(config, Execution())
    parts = camera_clip.work(config)
    # A frame of the size that is read is not resized. The loss adds the product of one clip with one text.
    assert traced(loss, merge(trainable, frozen), batch, None, None) == flops.forward(parts) + 2 * model.joint_size
    rest = ({name: jnp.zeros(value.shape, value.dtype) for name, value in batch.items()}, None, None)
    gradient = jax.grad(lambda trainable, frozen: loss(merge(trainable, frozen), *rest)[0])
    assert traced(gradient, trainable, frozen) == pytest.approx(sum(part.step() for part in parts), rel=0.05)


def test_the_planner_of_the_paper():
    """Twice its parameters a token, and attention on top."""
    config = PlannerConfig()
    language_model, decoder = flops.planner(config, 512, 758, 3)
    assert language_model.linear == pytest.approx(2 * 1.409e9 * 512, rel=0.01)
    assert decoder.linear == pytest.approx(2 * 151.0e6 * (98 + 758), rel=0.02)
    assert config.text == Qwen3VLTextConfig() and config.decoder == OPTConfig()
