"""CLIP's towers against transformers on the same random weights, float32: states, pooled states and all gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import CameraCLIPConfig, CLIPTextConfig, CLIPVisionConfig
from shotverse_jax.conversion import clip
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.camera_clip import CameraCLIP
from shotverse_jax.models.clip import CLIPText, CLIPVision, end_of_text

torch = pytest.importorskip("torch")
modeling = pytest.importorskip("transformers.models.clip.modeling_clip")
configuration = pytest.importorskip("transformers.models.clip.configuration_clip")

SIZES = {"hidden_size": 24, "num_layers": 3, "num_heads": 4, "mlp_size": 40}
HF_SIZES = {"hidden_size": 24, "num_hidden_layers": 3, "num_attention_heads": 4, "intermediate_size": 40}
TEXT = {"vocab_size": 50, "max_positions": 14}
HF_TEXT = {"vocab_size": 50, "max_position_embeddings": 14, "bos_token_id": 48, "eos_token_id": 49, "pad_token_id": 0}
VISION = {"patch_size": 5, "image_size": 22}  # the last 2 pixels each way are in no patch
LENGTHS = (12, 7)


def random_weights(model):
    torch.manual_seed(0)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(0.3 * torch.randn_like(parameter) + ("norm" in name and "weight" in name))
    return model.eval()


def arrays(model, prefix):
    """Weights and gradients under the names of transformers 4, which have one level more."""
    weights = {prefix + name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return weights, {prefix + name: parameter.grad.numpy() for name, parameter in model.named_parameters()}


def text_inputs(vocab):
    rng = np.random.default_rng(1)
    real_BT = np.arange(max(LENGTHS)) < np.array(LENGTHS)[:, None]
    ids_BT = np.where(real_BT, rng.integers(1, vocab - 2, real_BT.shape), 0)
    ids_BT[[0, 1], np.array(LENGTHS) - 1] = vocab - 1
    return ids_BT, real_BT


@pytest.mark.parametrize("activation", ["gelu", "quick_gelu"])
def test_text_states_and_gradients(activation, parity):
    hf = configuration.CLIPTextConfig(**HF_SIZES, **HF_TEXT, hidden_act=activation)
    model, config = random_weights(modeling.CLIPTextModel(hf)), CLIPTextConfig(**SIZES, **TEXT, activation=activation)
    assert clip.text_config_from_hf(hf.to_dict()) == config
    ids_BT, real_BT = text_inputs(50)
    weights_BTD = np.random.default_rng(2).normal(size=(*ids_BT.shape, 24)).astype(np.float32)
    theirs = model(input_ids=torch.tensor(ids_BT), attention_mask=torch.tensor(real_BT, dtype=torch.long))
    (theirs.last_hidden_state * torch.tensor(weights_BTD)).sum().backward()
    tensors, their_grads = arrays(model, "")  # the names of transformers 5

    def loss(params):
        states_BTD = CLIPText(config).apply({"params": params}, ids_BT, real_BT)
        return jnp.sum(states_BTD * weights_BTD), states_BTD

    grads, ours = jax.jit(jax.grad(loss, has_aux=True))(NETWORKS["clip-text"].from_torch(tensors, config))
    # Padding too, which GenDoP reads.
    assert parity("text states", ours, theirs.last_hidden_state.detach().numpy()) < 2e-5
    assert parity("text states", end_of_text(ours, ids_BT), theirs.pooler_output.detach().numpy()) < 2e-5
    expected = NETWORKS["clip-text"].from_torch(their_grads, config)
    expected["layers"]["k_proj"].pop("bias"), grads["layers"]["k_proj"].pop("bias")  # zero: a shift of all scores
    assert parity("gradients of weights", grads, expected, size=np.max) < 1e-4


def test_vision_states_and_gradients(parity):
    hf = configuration.CLIPVisionConfig(**HF_SIZES, **VISION, hidden_act="gelu")
    model = random_weights(modeling.CLIPVisionModel(hf))
    config = CLIPVisionConfig(**SIZES, **VISION)
    rng = np.random.default_rng(1)
    image_BHWC = rng.normal(size=(2, 22, 22, 3)).astype(np.float32)
    weights_BPD = rng.normal(size=(2, config.places, 24)).astype(np.float32)
    theirs = model(pixel_values=torch.tensor(image_BHWC.transpose(0, 3, 1, 2)))
    their_loss = (theirs.last_hidden_state * torch.tensor(weights_BPD)).sum()
    (their_loss + (theirs.pooler_output * torch.tensor(weights_BPD[:, 0])).sum()).backward()
    tensors, their_grads = arrays(model, "")
    sizes = clip.vision_config_from_shapes(tensors, 3, 4)
    assert sizes.places == config.places and sizes.mlp_size == 40 and sizes.patch_size == 5
    assert clip.vision_config_from_hf(hf.to_dict()) == config

    def loss(params):
        seen = CLIPVision(config).apply({"params": params}, image_BHWC)
        return jnp.sum(seen.last_BPD * weights_BPD) + jnp.sum(seen.pooled_BD * weights_BPD[:, 0]), seen

    grads, seen = jax.jit(jax.grad(loss, has_aux=True))(NETWORKS["clip-vision"].from_torch(tensors, config))
    assert parity("vision states", seen.last_BPD, theirs.last_hidden_state.detach().numpy()) < 2e-5
    assert parity("vision states", seen.pooled_BD, theirs.pooler_output.detach().numpy()) < 2e-5
    expected = NETWORKS["clip-vision"].from_torch(their_grads, config)
    expected["layers"]["k_proj"].pop("bias"), grads["layers"]["k_proj"].pop("bias")
    assert parity("gradients of weights", grads, expected, size=np.max) < 1e-4


def test_a_whole_clip_is_read_for_one_tower(parity):
    text = configuration.CLIPTextConfig(**HF_SIZES, **HF_TEXT)
    vision = configuration.CLIPVisionConfig(**HF_SIZES, **VISION)
    whole = configuration.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    model, (ids_BT, real_BT) = random_weights(modeling.CLIPModel(whole)), text_inputs(50)
    config = clip.text_config_from_hf(whole.to_dict())
    assert config == CLIPTextConfig(**SIZES, **TEXT, activation="quick_gelu")
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    ours = CLIPText(config).apply({"params": NETWORKS["clip-text"].from_torch(tensors, config)}, ids_BT, real_BT)
    with torch.no_grad():
        theirs = model.text_model(torch.tensor(ids_BT), torch.tensor(real_BT, dtype=torch.long)).last_hidden_state
    assert parity("text states", ours, theirs.numpy()) < 2e-5
    image_BHWC = np.random.default_rng(1).normal(size=(1, 22, 22, 3)).astype(np.float32)
    config = clip.vision_config_from_hf(whole.to_dict())
    assert config == CLIPVisionConfig(**SIZES, **VISION, activation="quick_gelu")
    ours = CLIPVision(config).apply({"params": NETWORKS["clip-vision"].from_torch(tensors, config)}, image_BHWC)
    with torch.no_grad():
        theirs = model.vision_model(torch.tensor(image_BHWC.transpose(0, 3, 1, 2)))
    assert parity("vision states", ours.last_BPD, theirs.last_hidden_state.numpy()) < 2e-5


@pytest.fixture(scope="module")
def whole():
    """(transformers' CLIPModel, its config, ours, our parameters)."""
    text = configuration.CLIPTextConfig(**HF_SIZES, **HF_TEXT)
    vision = configuration.CLIPVisionConfig(**HF_SIZES, **VISION)
    hf = configuration.CLIPConfig(text_config=text.to_dict(), vision_config=vision.to_dict(), projection_dim=8)
    model, config = random_weights(modeling.CLIPModel(hf)), clip.whole_config_from_hf(hf.to_dict())
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return model, hf, config, NETWORKS["clip"].from_torch(tensors, config)


def test_clips_and_texts_with_projections_and_all_gradients(whole, parity):
    model, _, config, params = whole
    assert config == CameraCLIPConfig(
        CLIPTextConfig(**SIZES, **TEXT, activation="quick_gelu"),
        CLIPVisionConfig(**SIZES, **VISION, activation="quick_gelu"),
        joint_size=8,
        temporal="mean",
    )
    ids_BT, real_BT = text_inputs(50)
    rng = np.random.default_rng(1)
    frames_BTHWC = rng.normal(size=(2, 3, 22, 22, 3)).astype(np.float32)
    weights = {name: rng.normal(size=(2, n)).astype(np.float32) for name, n in (("video", 8), ("text", 8), ("of", 2))}
    pixels = torch.tensor(frames_BTHWC.reshape(6, 22, 22, 3).transpose(0, 3, 1, 2))
    mask = torch.tensor(real_BT, dtype=torch.long)
    unit = torch.nn.functional.normalize
    video = unit(model.visual_projection(model.vision_model(pixels).pooler_output).reshape(2, 3, 8).mean(1))
    text = unit(model.text_projection(model.text_model(torch.tensor(ids_BT), mask).pooler_output))
    their = {"video": video, "text": text, "of": model.logit_scale.exp() * text @ video.T}
    model.zero_grad()
    sum((their[name] * torch.tensor(weights[name])).sum() for name in their).backward()
    grads = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}

    def loss(params):
        read = CameraCLIP(config).apply({"params": params}, frames_BTHWC, ids_BT, real_BT)
        products = read.scale * read.text_NJ @ read.video_BJ.T
        found = {"video": read.video_BJ, "text": read.text_NJ, "of": products}
        return sum(jnp.sum(found[name] * weights[name]) for name in found), found

    ours, found = jax.jit(jax.grad(loss, has_aux=True))(params)
    assert parity("vectors", found, {name: x.detach().numpy() for name, x in their.items()}) < 1e-4
    expected = NETWORKS["clip"].from_torch(grads, config)
    for tree in (ours, expected):  # zero: a shift of all scores
        for side in ("image", "text"):
            tree[side]["tower"]["layers"]["k_proj"].pop("bias")
    assert parity("gradients of weights", ours, expected, size=np.max) < 1e-4


def test_a_record_of_both_towers_replays(whole, replayed):
    model, hf, _, _ = whole
    ids_BT, real_BT = text_inputs(50)
    pixels = np.random.default_rng(1).normal(size=(1, 3, 22, 22)).astype(np.float32)
    inputs = {"input_ids": ids_BT, "attention_mask": real_BT.astype(np.int64), "pixel_values": pixels}
    with torch.no_grad():
        theirs = model(**{name: torch.tensor(x) for name, x in inputs.items()})
    outputs = {"image_embeds": theirs.image_embeds.numpy(), "text_embeds": theirs.text_embeds.numpy()}
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert replayed("clip", tensors, inputs, outputs, config=hf.to_dict()).ok


def test_a_record_of_the_text_tower_replays(replayed):
    hf = configuration.CLIPTextConfig(**HF_SIZES, **HF_TEXT, hidden_act="quick_gelu")
    model, (ids_BT, real_BT) = random_weights(modeling.CLIPTextModel(hf)), text_inputs(50)
    inputs = {"input_ids": ids_BT, "attention_mask": real_BT.astype(np.int64)}
    with torch.no_grad():
        theirs = model(**{name: torch.tensor(x) for name, x in inputs.items()})
    outputs = {"last_hidden": theirs.last_hidden_state.numpy(), "pooled": theirs.pooler_output.numpy()}
    tensors, meta = {name: tensor.numpy() for name, tensor in model.state_dict().items()}, hf.to_dict()
    assert replayed("clip_text", tensors, inputs, outputs, config=meta).ok
    # Another activation is another network.
    assert not replayed("clip_text", tensors, inputs, outputs, config=meta | {"hidden_act": "gelu"}).ok


def test_a_record_of_the_vision_tower_replays(replayed):
    hf = configuration.CLIPVisionConfig(**HF_SIZES, **VISION)
    model = random_weights(modeling.CLIPVisionModel(hf))
    inputs = {"pixel_values": np.random.default_rng(1).normal(size=(1, 3, 22, 22)).astype(np.float32)}
    with torch.no_grad():
        theirs = model(**{name: torch.tensor(x) for name, x in inputs.items()})
    outputs = {"last_hidden": theirs.last_hidden_state.numpy(), "pooled": theirs.pooler_output.numpy()}
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    assert replayed("clip_vision", tensors, inputs, outputs, config=hf.to_dict()).ok
