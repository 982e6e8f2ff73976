"""The large programs lower for GPUs and TPUs, with the attention kernel that each would use there; no device is needed.

A program that does not lower is found here and not on a pod. Weights are shapes, and networks are small, with heads as
wide as the kernels take (64 to 128 channels).
"""

import dataclasses
import functools
import json
import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from shotverse_jax.config import (
    TEXT_ENCODERS,
    Execution,
    LoraConfig,
    MeshConfig,
    UMT5Config,
    WanDiTConfig,
    WanVAEConfig,
    controller_14b,
    controller_small,
    pi3,
    planner_nano,
)
from shotverse_jax.configs.controller import common
from shotverse_jax.configs.planner import nano
from shotverse_jax.fit.report import _step
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.infer import denoise
from shotverse_jax.infer.cinematographer import Cinematographer, Design
from shotverse_jax.infer.decode import Draw, Grammar
from shotverse_jax.infer.pi3 import _see
from shotverse_jax.infer.plan import Director, decode
from shotverse_jax.infer.take import prepare
from shotverse_jax.inputs.tokenizer import load_text_tokenizer
from shotverse_jax.models.pi3 import Pi3
from shotverse_jax.models.planner import Planner
from shotverse_jax.nn.attention import kernels_on
from shotverse_jax.parallel.mesh import make_mesh
from shotverse_jax.train import outline, read_config
from shotverse_jax.weights import abstract, find_tokenizer

PLATFORMS = {"cuda": "gpu", "tpu": "tpu"}  # as jax.export names them: as the table of kernels does
CUDNN = ("__cudnn$fmhaSoftmax", "__cudnn$fmhaScaleBiasSoftmax")  # without and with a mask
TEXT = UMT5Config(vocab_size=4096, hidden_size=16, num_layers=1, num_heads=2, head_dim=8, mlp_size=32)
DIT = WanDiTConfig(
    hidden_size=256, num_layers=2, num_heads=2, mlp_size=64, frequency_size=16, text_size=16, latent_channels=4
)


@pytest.fixture(params=PLATFORMS)
def platform(request, cudnn_without_gpu):
    return request.param


def execution(platform, remat="none"):
    kernel = kernels_on(PLATFORMS[platform])[0]
    assert kernel != "xla"
    return Execution(attention=kernel, remat=remat, dtype="bfloat16")


def lowered(program, platform, *arguments, **options):
    """The text of a jitted program that `jax.export` lowered for a platform."""
    # Exported programs are kept, and JAX may rename these calls: export wants to hear that this is known.
    names = (name + which for name in CUDNN for which in ("", "Backward"))
    allowed = [jax.export.DisabledSafetyCheck.custom_call(name) for name in names]
    export = jax.export.export(program, platforms=(platform,), disabled_checks=allowed)
    return export(*arguments, **options).mlir_module()


def kernels(text, platform):
    """(forward, backward): how many calls of the attention kernel a program has; a stack of blocks counts once."""
    if platform == "cuda":
        return tuple(sum(text.count(f"@{name}{which}(") for name in CUDNN) for which in ("", "Backward"))
    names = re.findall(r'kernel_name = "splash_mha_(\w+?)_', text)
    return names.count("fwd"), names.count("dkv")


def controller_config():
    return dataclasses.replace(
        controller_small(), dit=DIT, frames=9, height=32, width=48, see_padding=True, text_length=128, steps=4
    )


def planner_config():
    config = planner_nano()
    text = dataclasses.replace(config.text, head_dim=64, mrope_section=(16, 8, 8))
    decoder = dataclasses.replace(config.decoder, hidden_size=128, num_heads=2)
    return dataclasses.replace(config, text=text, decoder=decoder)


def test_the_planners_decoding(platform):
    """Its text model reads the screenplay with the kernel; the decoder writes tokens with a cache of its own."""
    config, run = planner_config(), execution(platform)
    batch = {"text_ids_BS": np.zeros((2, 128), np.int32), "real_BS": np.ones((2, 128), bool)}
    slots = np.full((2, 128), -1, np.int32)
    slots[:, : 2 * config.num_queries] = np.arange(2 * config.num_queries)
    batch["slot_BS"] = slots
    planner, key = Planner(config, run), jax.random.key(0)
    params = jax.eval_shape(lambda: planner.init(key, batch | {"pose_ids_BN": jnp.zeros((2, 8), jnp.int32)}, 2))
    grammar = Grammar.of_planner(config, 2)

    @jax.jit
    def program(params, batch, key):
        return decode(Director(config, params, None, run), batch, Draw.of(grammar, key, 2, limit=127))

    text = lowered(program, platform, params["params"], batch, key)
    assert kernels(text, platform) == (1, 0) and "stablehlo.while" in text


def sampling_programs(design, monkeypatch, num_shots=2):
    """(program, arguments) of every call with which `generate` makes a film; weights are shapes, nothing runs."""
    dtype = design.execution.dtype
    high, low = (abstract("controller", design.config, expert=name, dtype=dtype) for name in ("high", "low"))
    crew = Cinematographer(high, low, abstract("text_encoder", design.text_config, dtype=dtype), {}, design)
    example = sample_example(3, "train", num_shots=num_shots)
    calls = []

    def shapes_of(program):
        def call(*arguments):
            calls.append((program, arguments))
            of_arrays = functools.partial(lambda static, *arrays: program(*arrays, *static), arguments[-3:])
            return jax.eval_shape(of_arrays, *arguments[:-3])

        return call

    for name in ("_begin", "_denoise"):
        monkeypatch.setattr(denoise, name, shapes_of(getattr(denoise, name)))
    # The frames of the paper's films are more than those of the example.
    denoise.generate(crew, [prepare(crew, example.screenplay, example.trajectory, frames=design.config.frames)])
    return calls


def test_a_films_sampling_loop(platform, monkeypatch):
    """With both experts, text encoder and guidance; `generate` prepares the arguments as it does for a film."""
    vae = WanVAEConfig(4, 4, (1, 1, 1, 1), 1, latent_mean=(0.1,) * 4, latent_std=(0.9,) * 4)
    tokenizer = load_text_tokenizer(find_tokenizer("planner_small"))
    design = Design(controller_config(), TEXT, vae, tokenizer, execution(platform))
    text = "".join(
        lowered(program, platform, *arguments) for program, arguments in sampling_programs(design, monkeypatch)
    )
    # On GPUs two experts, with and without the prompt, see the film and the text. On TPUs the text windows, whose rows
    # differ by token, go past the kernel, and the other two calls of an expert are one function.
    assert kernels(text, platform) == ({"cuda": 8, "tpu": 2}[platform], 0) and "stablehlo.while" in text


PAPER_TOKENS = 63 * 30 * 52  # of 249 frames of 480x832


@pytest.mark.parametrize("attention", ["full", "sparse"])
def test_no_array_of_the_papers_film_is_as_large_as_its_scores(platform, attention, monkeypatch):
    """An expert of the paper's size, 249 frames of 480x832 in four shots: the kernel is there, scores are not."""
    config = controller_14b()
    config = dataclasses.replace(config, dit=dataclasses.replace(config.dit, self_attention=attention))
    tokenizer = load_text_tokenizer(find_tokenizer("planner_small"))
    design = Design(config, TEXT_ENCODERS[config.text](), WanVAEConfig(), tokenizer, execution(platform))
    # The expert of low noise is the same without cameras.
    _, (program, arguments), _ = sampling_programs(design, monkeypatch, num_shots=4)
    text = lowered(program, platform, *arguments)
    calls, backward = kernels(text, platform)
    assert calls >= 1 and backward == 0 and "stablehlo.while" in text
    shapes = {tuple(map(int, shape.split("x")[:-1])) for shape in re.findall(r"tensor<((?:\d+x)+)", text)}
    assert any(PAPER_TOKENS in shape for shape in shapes)
    lengths = arguments[2].denoising.shot_lengths
    tokens = PAPER_TOKENS if lengths is None else 1560 * min(lengths)
    assert (lengths is None) == (attention == "full") and tokens > 13824 + 5120
    # The scores of one head are tokens x tokens of the film, or of a shot; no array has two such axes, however cut.
    assert not [shape for shape in shapes if sum(axis >= tokens for axis in shape) > 1]
    assert not [shape for shape in shapes if math.prod(shape) >= PAPER_TOKENS**2]
    # The largest arrays are weights, of which a stack of all blocks is one array, then the tokens' hidden layer.
    largest = sorted(shapes, key=math.prod, reverse=True)
    stacks = [shape for shape in largest if shape[0] == config.dit.num_layers]
    assert sorted(largest[0]) == [40, 5120, 13824]
    assert next(shape for shape in largest if shape not in stacks) == (1, PAPER_TOKENS, 13824)


def test_a_chunk_of_frames_seen_by_pi3(platform):
    """The published network, frames that are padded: every attention is the kernel's, and none has its scores."""
    config, count, (height, width) = pi3(), 16, (378, 672)
    tokens = 27 * 48 + config.registers
    frames = jax.ShapeDtypeStruct((1, count, height, width, 3), np.uint8)
    params = abstract("pi3", config, dtype="bfloat16")
    text = lowered(_see, platform, Pi3(config, execution(platform)), params, frames, np.array([count - 1], np.int32))
    # In the encoder, within frames and within the scene, and in three towers. On TPUs those within frames are one
    # function: the encoder has as many registers, with its class token, as the decoder.
    assert kernels(text, platform) == ({"cuda": 6, "tpu": 2}[platform], 0)
    shapes = {tuple(map(int, shape.split("x")[:-1])) for shape in re.findall(r"tensor<((?:\d+x)+)", text)}
    assert any(count * tokens in shape for shape in shapes)
    assert not [shape for shape in shapes if math.prod(shape) >= (count * tokens) ** 2]


def step_text(values, platform):
    mesh = make_mesh(MeshConfig(), jax.devices()[:1])
    step, _, arguments = _step(outline(read_config(values), mesh), mesh)
    return lowered(step, platform, *arguments)


def test_a_step_of_the_controllers_training(platform, monkeypatch):
    monkeypatch.setitem(TEXT_ENCODERS, "text_small", lambda: TEXT)
    run = dataclasses.asdict(execution(platform, "save_attention"))
    config = common.get_config(expert="high", batch=2, ema=0.0, execution=run)
    lora = LoraConfig(4, 4.0, targets=("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out"))
    model = dataclasses.replace(controller_config(), lora=lora)
    config.model = ConfigDict(json.loads(json.dumps(dataclasses.asdict(model))))
    text = step_text(config.to_dict(), platform)
    # Of the film itself and of the text, whose windows go past the kernel on TPUs.
    assert kernels(text, platform) == {"cuda": (2, 2), "tpu": (1, 1)}[platform]


def test_a_step_of_the_planners_training(platform):
    run = dataclasses.asdict(execution(platform, "save_attention"))
    values = nano.get_config(execution=run, shot_weights=(0.0, 1.0), text_lengths=(128, 128), bpe_examples=20).to_dict()
    values["model"] = json.loads(json.dumps(dataclasses.asdict(planner_config())))
    text = step_text(values, platform)
    # The text model, and the decoder over an odd number of places, which cuDNN takes filled up only.
    assert kernels(text, platform) == (2, 2)
