"""Qwen3-VL with an image and a video against transformers on the same random weights, float32: patches, positions,
features, logits and the gradients of all parameters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from shotverse_jax.config import Qwen3VLConfig, Qwen3VLTextConfig, Qwen3VLVisionConfig
from shotverse_jax.conversion import core, qwen3_vl
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.inputs.qwen3_vl import arrange, fit_size, pack, patchify, prepare_image
from shotverse_jax.models.qwen3_vl import Qwen3VL

torch = pytest.importorskip("torch")
modeling = pytest.importorskip("transformers.models.qwen3_vl.modeling_qwen3_vl")
configuration = pytest.importorskip("transformers.models.qwen3_vl.configuration_qwen3_vl")

CONFIG = Qwen3VLConfig(
    Qwen3VLTextConfig(
        vocab_size=64,
        hidden_size=32,
        num_layers=3,
        num_heads=4,
        num_kv_heads=2,
        head_dim=16,
        mlp_size=48,
        mrope_section=(4, 2, 2),
    ),
    Qwen3VLVisionConfig(
        hidden_size=24,
        num_layers=3,
        num_heads=2,
        mlp_size=40,
        out_size=32,
        patch_size=4,
        position_grid=6,
        deepstack_layers=(0, 1),
    ),
    image_token=60,
    video_token=61,
)
HF_CONFIG = {
    "text_config": {
        "vocab_size": 64,
        "hidden_size": 32,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 48,
        "rope_parameters": {"rope_theta": 5e6, "rope_type": "default", "mrope_section": [4, 2, 2]},
    },
    "vision_config": {
        "hidden_size": 24,
        "depth": 3,
        "num_heads": 2,
        "intermediate_size": 40,
        "out_hidden_size": 32,
        "patch_size": 4,
        "num_position_embeddings": 36,
        "deepstack_visual_indexes": [0, 1],
    },
    "image_token_id": 60,
    "video_token_id": 61,
    "tie_word_embeddings": True,
}
# One text with an image; one with a video of two pairs of frames, padded on the right.
IDS = np.array([[5, 62, *[60] * 6, 63, 7, 8, 9, 10], [5, 62, 61, 61, 63, 6, 62, 61, 61, 63, 7, 0, 0]])
MASK = np.array([[True] * 13, [True] * 11 + [False] * 2])


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    config = configuration.Qwen3VLConfig(**HF_CONFIG)
    config._attn_implementation = "eager"
    model = modeling.Qwen3VLForConditionalGeneration(config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            parameter.copy_(torch.randn_like(parameter) * 0.2 + ("norm" in name and "weight" in name))
    return model


@pytest.fixture(scope="module")
def pictures():
    """(rows, grid) of an image and of a video."""
    rng = np.random.default_rng(0)
    image, video = rng.uniform(-1, 1, (1, 16, 24, 3)), rng.uniform(-1, 1, (3, 16, 8, 3))
    return [patchify(x.astype(np.float32), CONFIG.vision) for x in (image, video)]


@pytest.fixture(scope="module")
def theirs(model, pictures):
    """What transformers makes of it, and the gradient of a weighted sum of the logits."""
    (image, image_grid), (video, video_grid) = pictures
    weights_BTV = np.random.default_rng(1).normal(size=(2, 13, 64)).astype(np.float32) * MASK[..., None]
    grids = {"image_grid_thw": torch.tensor([image_grid]), "video_grid_thw": torch.tensor([video_grid])}
    kinds = torch.tensor((IDS == 60) + 2 * (IDS == 61))
    mask = torch.tensor(MASK, dtype=torch.long)
    positions, delta = model.model.get_rope_index(torch.tensor(IDS), kinds, attention_mask=mask, **grids)
    pixels, frames = torch.tensor(image), torch.tensor(video)
    seen = model.model.visual(torch.cat([pixels, frames]), torch.tensor([image_grid, video_grid]))
    logits = model(
        input_ids=torch.tensor(IDS),
        attention_mask=mask,
        mm_token_type_ids=kinds,
        pixel_values=pixels,
        pixel_values_videos=frames,
        **grids,
    ).logits
    model.zero_grad()
    (logits * torch.tensor(weights_BTV)).sum().backward()
    grads = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    return positions.numpy(), delta.numpy(), seen, logits.detach().numpy(), grads, weights_BTV


@pytest.fixture(scope="module")
def params(model):
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    return NETWORKS["qwen3-vl"].from_torch(tensors, CONFIG)


def test_features_logits_and_gradients(theirs, params, pictures, parity):
    positions, delta, seen, their_logits, their_grads, weights_BTV = theirs
    rows, grids = zip(*pictures, strict=True)
    pixels_FSP, size_F2 = pack(np.concatenate(rows), grids, CONFIG.vision, patches=28, frames=4)
    places = arrange(IDS, grids, CONFIG, 28, MASK)
    np.testing.assert_array_equal(places.positions_3BT, positions)
    np.testing.assert_array_equal(places.delta_B, delta[:, 0])
    ours = Qwen3VL(CONFIG)

    def forward(model):
        features = model.vision(pixels_FSP, size_F2)
        hidden_BTD = model(IDS, pixels_FSP, size_F2, places.feature_BT, places.positions_3BT, MASK)
        return features, model.logits(hidden_BTD)

    def loss(params):
        features, logits_BTV = ours.apply({"params": params}, method=forward)
        return jnp.sum(logits_BTV * weights_BTV), (features, logits_BTV)

    grads, (features, logits_BTV) = jax.jit(jax.grad(loss, has_aux=True))(params)

    def rows_of(x_FSD, merged):
        return np.concatenate([x[: h * w // merged] for x, (h, w) in zip(np.asarray(x_FSD), size_F2, strict=True)])

    assert parity("vision states", rows_of(features.last_FSD, 1), seen.last_hidden_state.detach()) < 1e-5
    assert parity("features", rows_of(features.merged_FMD, 4), seen.pooler_output.detach()) < 1e-5
    for k, feature in enumerate(seen.deepstack_features):
        assert parity("features", rows_of(features.deepstack_KFMD[k], 4), feature.detach()) < 1e-5
    assert parity("logits", logits_BTV[MASK], their_logits[MASK]) < 1e-5
    assert (
        parity("gradients of weights", grads, NETWORKS["qwen3-vl"].from_torch(their_grads, CONFIG), size=np.max) < 1e-4
    )


def test_export_loads_in_transformers(model, params):
    """What to_torch writes is all that transformers wants but the tied head, and bit for bit the same."""
    written = core.to_torch(qwen3_vl.FULL_TABLE, params)
    state = model.state_dict()
    assert written.keys() == state.keys() - {"lm_head.weight"}
    assert all(np.array_equal(array, state[name].numpy()) for name, array in written.items())


def test_config_from_transformers_config():
    config = configuration.Qwen3VLConfig(**HF_CONFIG).to_dict()
    assert qwen3_vl.full_config_from_hf(config) == CONFIG
    assert configuration.Qwen3VLConfig(**qwen3_vl.config_to_hf(CONFIG)).to_dict() == config


def test_images_are_prepared_as_transformers_does():
    module = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    limits = (32 * 32, 64 * 64)
    processor = module.Qwen2VLImageProcessorPil(
        size={"shortest_edge": limits[0], "longest_edge": limits[1]},
        patch_size=4,
        merge_size=2,
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    rng = np.random.default_rng(0)
    for height, width in ((70, 150), (9, 33), (40, 40)):
        image = rng.integers(0, 256, (height, width, 3), np.uint8)
        theirs = processor(images=image)
        rows, grid = prepare_image(image, CONFIG.vision, limits)
        assert grid == tuple(np.asarray(theirs["image_grid_thw"])[0])
        np.testing.assert_allclose(rows, np.asarray(theirs["pixel_values"]), atol=1e-6)


def test_sizes_of_images_and_videos_as_transformers_fits_them():
    images = pytest.importorskip("transformers.models.qwen2_vl.image_processing_pil_qwen2_vl")
    videos = pytest.importorskip("transformers.models.qwen3_vl.video_processing_qwen3_vl")
    rng = np.random.default_rng(0)
    for height, width, frames in zip(*rng.integers(2, 3000, (2, 200)), rng.integers(2, 60, 200), strict=True):
        height, width, frames = int(height), int(width), int(frames)
        if max(height, width) > 200 * min(height, width):
            continue
        for limits in ((65_536, 16_777_216), (4_096, 500_000)):
            assert fit_size(height, width, 32, limits) == images.smart_resize(height, width, 32, *limits)
            theirs = videos.smart_resize(frames, height, width, 2, 32, *limits)
            assert fit_size(height, width, 32, limits, frames) == theirs
