"""Adapters that diffusers and PEFT save run here, and those written here run there, on tiny random models, float32."""

import copy

import jax
import numpy as np
import pytest

from shotverse_jax import lora
from shotverse_jax.config import LoraConfig, Qwen3VLTextConfig, WanDiTConfig
from shotverse_jax.conversion import wan_dit
from shotverse_jax.conversion.lora import read_changes
from shotverse_jax.conversion.lora_write import write_adapter
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.qwen3_vl import Qwen3VLText
from shotverse_jax.models.wan_dit import WanDiT

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")
peft = pytest.importorskip("peft")
configuration = pytest.importorskip("transformers.models.qwen3_vl.configuration_qwen3_vl")
modeling = pytest.importorskip("transformers.models.qwen3_vl.modeling_qwen3_vl")

CONFIG = WanDiTConfig(
    hidden_size=24,
    num_layers=2,
    num_heads=2,
    mlp_size=40,
    frequency_size=8,
    text_size=10,
    latent_channels=4,
    rope="wan3d",
    camera=False,
)
TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out")
THEIR_TARGETS = ["to_q", "to_k", "to_v", "to_out.0", "ffn.net.0.proj", "ffn.net.2"]
TEXT = Qwen3VLTextConfig(
    vocab_size=96,
    hidden_size=48,
    num_layers=2,
    num_heads=4,
    num_kv_heads=2,
    head_dim=16,
    mlp_size=80,
    mrope_section=(4, 2, 2),
)
HF_TEXT = {
    "vocab_size": 96,
    "hidden_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 80,
    "rms_norm_eps": 1e-6,
    "rope_parameters": {"rope_theta": 5e6, "rope_type": "default", "mrope_section": [4, 2, 2]},
}


def shake(module, only=""):
    """Random parameters, and adapters that change something."""
    torch.manual_seed(1)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if only in name:
                parameter.copy_(0.2 * torch.randn_like(parameter) + (name.endswith("weight") and "norm" in name))
    return module.eval()


def assert_close(ours, theirs, base):
    """Within 1e-4 of the outputs' size, and the adapter is not lost in that."""
    size = np.abs(theirs).max()
    assert np.abs(theirs - base).max() > 0.01 * size
    np.testing.assert_allclose(ours, theirs, atol=1e-4 * size)


# ---------------------------------------------------------------------------------------------------- experts


@pytest.fixture(scope="module")
def transformer():
    return shake(diffusers.WanTransformer3DModel(**wan_dit.config_to_diffusers(CONFIG), rope_max_seq_len=32))


@pytest.fixture(scope="module")
def params(transformer):
    tensors = {name: tensor.numpy() for name, tensor in transformer.state_dict().items()}
    return NETWORKS["wan-dit"].from_torch(tensors, CONFIG)


@pytest.fixture(scope="module")
def adapter(params):
    """Of rank 3 and scale 2."""
    tree = lora.init(jax.random.key(0), params, LoraConfig(rank=3, alpha=6.0, targets=TARGETS))
    rng = np.random.default_rng(0)
    return jax.tree.map(lambda leaf: (0.2 * rng.normal(size=leaf.shape)).astype(np.float32), tree)


INPUTS = np.random.default_rng(2).normal(size=(2, 2, 4, 6, 4)), np.random.default_rng(3).normal(size=(2, 5, 10))
TIMES = np.array([700.0, 30.0])
OURS = jax.jit(WanDiT(CONFIG).apply)


def ours(params, adapter=None):
    latents_BTHWC, context_BSD = (x.astype(np.float32) for x in INPUTS)
    variables = {"params": params} if adapter is None else {"params": params, "lora": adapter}
    return np.asarray(OURS(variables, latents_BTHWC, TIMES, context_BSD))


def theirs(transformer):
    latents_BTHWC, context_BSD = (torch.tensor(x, dtype=torch.float32) for x in INPUTS)
    with torch.no_grad():
        [y_BCTHW] = transformer(
            latents_BTHWC.permute(0, 4, 1, 2, 3), torch.tensor(TIMES), context_BSD, return_dict=False
        )
    return y_BCTHW.permute(0, 2, 3, 4, 1).numpy()


def test_the_base_is_the_same(transformer, params):
    np.testing.assert_allclose(ours(params), theirs(transformer), atol=1e-5)


@pytest.mark.parametrize(
    "saved_by, options",
    [
        ("peft", {"use_rslora": True}),
        ("peft", {"rank_pattern": {"attn2.to_q": 2}, "alpha_pattern": {"blocks.1.attn2.to_q": 5}}),
        ("diffusers", {"rank_pattern": {"attn2.to_q": 2}}),
    ],
)
def test_theirs_runs_here(transformer, params, tmp_path, saved_by, options):
    config = peft.LoraConfig(r=4, lora_alpha=6, target_modules=THEIR_TARGETS, **options)
    model = copy.deepcopy(transformer)
    if saved_by == "peft":
        model = shake(peft.get_peft_model(model, config), "lora_")
        model.save_pretrained(tmp_path)
    else:
        model.add_adapter(config)
        shake(model, "lora_").save_lora_adapter(tmp_path)
    changes = read_changes(tmp_path, CONFIG)
    assert not changes.deltas
    assert_close(ours(params, changes.adapter), theirs(model), theirs(transformer))


def pipeline(transformer):
    parts = dict.fromkeys(("tokenizer", "text_encoder", "vae", "scheduler"))
    return diffusers.WanPipeline(
        transformer=copy.deepcopy(transformer), transformer_2=copy.deepcopy(transformer), boundary_ratio=0.875, **parts
    )


@pytest.mark.parametrize("fmt", ["diffusers", "comfyui", "kohya", "musubi"])
def test_ours_loads_in_a_pipeline_for_either_expert(transformer, params, adapter, tmp_path, fmt):
    [file] = write_adapter(adapter, CONFIG, fmt, tmp_path, dtype="float32")
    pipe = pipeline(transformer)
    pipe.load_lora_weights(tmp_path, weight_name=file.name, load_into_transformer_2=True)
    assert_close(ours(params, adapter), theirs(pipe.transformer_2), theirs(pipe.transformer))
    np.testing.assert_array_equal(theirs(pipe.transformer), theirs(transformer))
    pipe.load_lora_weights(tmp_path, weight_name=file.name)
    np.testing.assert_allclose(theirs(pipe.transformer), theirs(pipe.transformer_2), atol=1e-6)


def test_ours_loads_by_its_folder_alone(transformer, params, adapter, tmp_path):
    """Beside other files, as the command line writes it; the model's own loader takes it too."""
    write_adapter(adapter, CONFIG, "diffusers", tmp_path, dtype="float32")
    (tmp_path / "camera.safetensors").write_bytes(b"")
    pipe = pipeline(transformer)
    pipe.load_lora_weights(tmp_path)
    assert_close(ours(params, adapter), theirs(pipe.transformer), theirs(transformer))
    model = copy.deepcopy(transformer)
    model.load_lora_adapter(tmp_path, weight_name="pytorch_lora_weights.safetensors")
    np.testing.assert_allclose(theirs(model), theirs(pipe.transformer), atol=1e-6)


def test_ours_loads_in_peft(transformer, params, adapter, tmp_path):
    write_adapter(adapter, CONFIG, "peft", tmp_path, dtype="float32")
    model = peft.PeftModel.from_pretrained(copy.deepcopy(transformer), tmp_path)
    assert_close(ours(params, adapter), theirs(model.eval()), theirs(transformer))


# ---------------------------------------------------------------------------------------------------- planners


@pytest.fixture(scope="module")
def language_model():
    """The whole Qwen3-VL, as its checkpoints are loaded, with a vision tower of the least size."""
    vision = {"depth": 1, "hidden_size": 16, "intermediate_size": 16, "num_heads": 2, "out_hidden_size": 48}
    vision |= {"deepstack_visual_indexes": [0]}
    config = configuration.Qwen3VLConfig(text_config=HF_TEXT, vision_config=vision, tie_word_embeddings=True)
    config._attn_implementation = config.text_config._attn_implementation = "eager"
    return shake(modeling.Qwen3VLForConditionalGeneration(config))


@pytest.fixture(scope="module")
def text_params(language_model):
    return NETWORKS["qwen3-vl-text"].from_torch(
        {name: tensor.numpy() for name, tensor in language_model.state_dict().items()}, TEXT
    )


def their_states(text_model, x_BTD):
    with torch.no_grad():
        return text_model(inputs_embeds=torch.tensor(x_BTD)).last_hidden_state.numpy()


def our_states(params, adapter, x_BTD):
    return np.asarray(Qwen3VLText(TEXT).apply({"params": params, "lora": adapter}, x_BTD))


@pytest.mark.parametrize("part", ["whole", "text"])
def test_qwens_adapter_runs_here(language_model, text_params, tmp_path, part):
    x_BTD = np.random.default_rng(0).normal(size=(2, 7, 48)).astype(np.float32)
    names = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = copy.deepcopy(language_model)
    text = model.model.language_model
    base = their_states(text, x_BTD)
    wrapped = peft.get_peft_model(
        model if part == "whole" else text, peft.LoraConfig(r=4, lora_alpha=6, target_modules=names)
    )
    shake(wrapped, "lora_").save_pretrained(tmp_path)
    changes = read_changes(tmp_path, TEXT)
    assert_close(our_states(text_params, changes.adapter, x_BTD), their_states(text, x_BTD), base)


def test_our_planners_adapter_runs_in_qwen(language_model, text_params, tmp_path):
    x_BTD = np.random.default_rng(0).normal(size=(2, 7, 48)).astype(np.float32)
    tree = lora.init(jax.random.key(0), text_params, LoraConfig(rank=3, alpha=6.0))
    rng = np.random.default_rng(0)
    tree = jax.tree.map(lambda leaf: (0.2 * rng.normal(size=leaf.shape)).astype(np.float32), tree)
    write_adapter(tree, TEXT, "peft", tmp_path, dtype="float32")
    model = copy.deepcopy(language_model)
    text = model.model.language_model
    base = their_states(text, x_BTD)
    peft.PeftModel.from_pretrained(model, tmp_path).eval()
    assert_close(our_states(text_params, tree, x_BTD), their_states(text, x_BTD), base)
