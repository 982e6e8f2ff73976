"""GenDoP whole, put together of transformers' towers and OPT decoder and torch's projections, on the same weights."""

import jax
import numpy as np
import pytest

from shotverse_jax.config import CLIPTextConfig, CLIPVisionConfig, GenDoPConfig, OPTConfig
from shotverse_jax.conversion import core, gendop, gendop_opt
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.models.gendop import GenDoP

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TEXT = CLIPTextConfig(vocab_size=40, hidden_size=32, num_layers=2, num_heads=4, mlp_size=48, max_positions=9)
VISION = CLIPVisionConfig(hidden_size=48, num_layers=2, num_heads=4, mlp_size=40, patch_size=4, image_size=12)
DECODER = OPTConfig(hidden_size=32, num_layers=2, num_heads=4, ffn_size=128, max_positions=50)
SIZES = ("hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size")


def tower(config, kind):
    values = (config.hidden_size, config.num_layers, config.num_heads, config.mlp_size)
    sizes = dict(zip(SIZES, values, strict=True)) | {"hidden_act": "gelu"}
    if kind == "text":
        ids = {"vocab_size": 40, "max_position_embeddings": 9, "bos_token_id": 38, "eos_token_id": 39}
        return transformers.CLIPTextModel(transformers.CLIPTextConfig(**sizes, **ids))
    return transformers.CLIPVisionModel(transformers.CLIPVisionConfig(**sizes, patch_size=4, image_size=12))


def original(rgbd):
    """Modules by the first component of GenDoP's names; the decoder by transformers'."""
    modules = {"text_encoder": tower(TEXT, "text")}
    modules |= {f"{part}_encoder": tower(VISION, part) for part in ("image", "depth") if rgbd}
    widths = {"_text": 32, "_image": 48, "_depth": 48} if rgbd else {"": 32}
    modules |= {f"proj_cond{part}": torch.nn.Linear(width, 32) for part, width in widths.items()}
    modules["norm_cond"] = torch.nn.LayerNorm(32)
    opt = transformers.OPTConfig(**gendop_opt.config_to_hf(DECODER), attn_implementation="eager")
    torch.manual_seed(0)
    for module in [*modules.values(), decoder := transformers.OPTForCausalLM(opt)]:
        module.eval()
        for name, parameter in module.named_parameters():
            parameter.data = 0.3 * torch.randn_like(parameter) + (parameter.ndim == 1 and "bias" not in name)
    return modules, decoder


@pytest.mark.parametrize("rgbd", [False, True])
def test_logits(rgbd, parity, replayed):
    modules, decoder = original(rgbd)
    tensors = {f"{part}.{name}": x.numpy() for part, m in modules.items() for name, x in m.state_dict().items()}
    hf = {name: x.numpy() for name, x in decoder.state_dict().items()}
    opt_params = core.to_flax(gendop_opt.HF_TABLE, hf, NETWORKS["gendop-opt"].abstract(DECODER))
    tensors |= core.to_torch(gendop_opt.TABLE, opt_params)
    config = GenDoPConfig(TEXT, VISION if rgbd else None, DECODER)
    assert gendop.config_from_tensors(tensors, rgbd, tower_heads=4, decoder_heads=4) == config

    rng = np.random.default_rng(1)
    mask_BT = np.arange(9) < np.array([[9], [5]])
    text_ids_BT = np.where(mask_BT, rng.integers(1, 39, (2, 9)), 0)
    pose_ids_BN = rng.integers(1, 260, (2, 8))
    pictures = ()
    if rgbd:
        pictures = rng.normal(size=(2, 12, 12, 3)).astype(np.float32), rng.normal(size=(2, 12, 12)).astype(np.float32)

    with torch.no_grad():
        text = modules["text_encoder"](torch.tensor(text_ids_BT), torch.tensor(mask_BT, dtype=torch.long))
        parts = [modules["proj_cond_text" if rgbd else "proj_cond"](text.last_hidden_state)]
        if rgbd:
            image, depth = (torch.tensor(picture) for picture in pictures)
            seen = {"image": image.permute(0, 3, 1, 2), "depth": depth[:, None].repeat(1, 3, 1, 1)}
            for part, pixels in seen.items():
                parts.append(modules[f"proj_cond_{part}"](modules[f"{part}_encoder"](pixels).last_hidden_state))
        prefix = modules["norm_cond"](torch.cat(parts, dim=1))
        x = torch.cat([prefix, decoder.get_input_embeddings()(torch.tensor(pose_ids_BN))], dim=1)
        theirs = decoder(inputs_embeds=x, attention_mask=torch.ones(x.shape[:2], dtype=torch.long)).logits.numpy()

    places = 9 + 2 * 10 * rgbd
    assert prefix.shape == (2, places, 32)
    params = NETWORKS["gendop-text-motion"].from_torch(tensors, config)
    ours = jax.jit(GenDoP(config).apply)({"params": params}, pose_ids_BN, text_ids_BT, mask_BT, *pictures)
    assert ours.shape == (2, 8, 260)
    assert parity("logits", ours, theirs[:, places:]) < 1e-4

    inputs = {"text_ids": text_ids_BT, "text_mask": mask_BT, "input_ids": pose_ids_BN}
    if rgbd:
        inputs |= {"image": np.moveaxis(pictures[0], -1, 1), "depth": pictures[1]}
    outputs, heads = {"cond_embeds": prefix.numpy(), "logits": theirs[:, places:]}, {"tower_heads": 4, "num_heads": 4}
    assert replayed("gendop", tensors, inputs, outputs, **heads).ok
    assert not replayed("gendop", tensors, inputs, outputs, tower_heads=2, num_heads=4).ok
    wrong = inputs | {"image": 0, "depth": 0} if not rgbd else {name: inputs[name] for name in list(inputs)[:3]}
    with pytest.raises(ValueError, match="the weights have (no )?towers for"):
        replayed("gendop", tensors, wrong, outputs, **heads)
