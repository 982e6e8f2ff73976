"""GenDoP whole, put together of transformers' towers and OPT decoder and torch's projections, on the same weights."""

import jax
import numpy as np
import pytest

from shotverse_jax.config import MODES, CLIPTextConfig, CLIPVisionConfig, GenDoPConfig, OPTConfig
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


def projection(part, conditions):
    return f"proj_cond_{part}" if len(conditions) > 1 else "proj_cond"


def original(conditions):
    """Modules by the first component of GenDoP's names; the decoder by transformers'."""
    modules = {}
    for part in conditions:
        modules[f"{part}_encoder"] = tower(TEXT if part == "text" else VISION, part)
        modules[projection(part, conditions)] = torch.nn.Linear(32 if part == "text" else 48, 32)
    modules["norm_cond"] = torch.nn.LayerNorm(32)
    opt = transformers.OPTConfig(**gendop_opt.config_to_hf(DECODER), attn_implementation="eager")
    torch.manual_seed(0)
    for module in [*modules.values(), decoder := transformers.OPTForCausalLM(opt)]:
        module.eval()
        for name, parameter in module.named_parameters():
            parameter.data = 0.3 * torch.randn_like(parameter) + (parameter.ndim == 1 and "bias" not in name)
    return modules, decoder


@pytest.mark.parametrize("mode", MODES)
def test_logits(mode, parity, replayed):
    conditions = MODES[mode]
    modules, decoder = original(conditions)
    tensors = {f"{part}.{name}": x.numpy() for part, m in modules.items() for name, x in m.state_dict().items()}
    hf = {name: x.numpy() for name, x in decoder.state_dict().items()}
    opt_params = core.to_flax(gendop_opt.HF_TABLE, hf, NETWORKS["gendop-opt"].abstract(DECODER))
    tensors |= core.to_torch(gendop_opt.TABLE, opt_params)
    text, vision = TEXT if "text" in conditions else None, VISION if "image" in conditions else None
    config = GenDoPConfig(text, vision, DECODER, depth="depth" in conditions or vision is None)
    assert config.mode == mode == gendop.mode_of(tensors)
    assert gendop.config_from_tensors(tensors, mode, tower_heads=4, decoder_heads=4) == config

    rng = np.random.default_rng(1)
    mask_BT = np.arange(9) < np.array([[9], [5]])
    given = {
        "text_ids": np.where(mask_BT, rng.integers(1, 39, (2, 9)), 0),
        "image": rng.normal(size=(2, 3, 12, 12)).astype(np.float32),
        "depth": rng.normal(size=(2, 12, 12)).astype(np.float32),
    }
    pose_ids_BN = rng.integers(1, 260, (2, 8))
    with torch.no_grad():
        words = (torch.tensor(given["text_ids"]), torch.tensor(mask_BT, dtype=torch.long))
        seen = {
            "text": words,
            "image": [torch.tensor(given["image"])],
            "depth": [torch.tensor(given["depth"])[:, None].repeat(1, 3, 1, 1)],
        }
        states = {part: modules[f"{part}_encoder"](*seen[part]).last_hidden_state for part in conditions}
        parts = [modules[projection(part, conditions)](states[part]) for part in conditions]
        prefix = modules["norm_cond"](torch.cat(parts, dim=1))
        x = torch.cat([prefix, decoder.get_input_embeddings()(torch.tensor(pose_ids_BN))], dim=1)
        theirs = decoder(inputs_embeds=x, attention_mask=torch.ones(x.shape[:2], dtype=torch.long)).logits.numpy()

    places = sum(9 if part == "text" else 10 for part in conditions)
    assert prefix.shape == (2, places, 32)
    inputs = {name: value for name, value in given.items() if name.removesuffix("_ids") in conditions}
    inputs |= {"text_mask": mask_BT} if "text" in conditions else {}
    outputs, heads = {"cond_embeds": prefix.numpy(), "logits": theirs[:, places:]}, {"tower_heads": 4, "num_heads": 4}
    report = replayed("gendop", tensors, inputs | {"input_ids": pose_ids_BN}, outputs, **heads)
    assert report.ok
    params = NETWORKS["gendop-text-motion"].from_torch(tensors, config)
    arguments = [inputs.get("text_ids"), inputs.get("text_mask"), None, inputs.get("depth")]
    if "image" in conditions:
        arguments[2] = np.moveaxis(given["image"], 1, -1)
    ours = jax.jit(GenDoP(config).apply)({"params": params}, pose_ids_BN, *arguments)
    assert ours.shape == (2, 8, 260)
    assert parity("logits", ours, theirs[:, places:]) < 1e-4
    if mode != "text":
        with pytest.raises(ValueError, match=r"the weights have towers for .*, so the record needs "):
            replayed("gendop", tensors, {"text_ids": 0, "text_mask": 0, "input_ids": pose_ids_BN}, outputs, **heads)
        return
    assert not replayed("gendop", tensors, inputs | {"input_ids": pose_ids_BN}, outputs, tower_heads=2, num_heads=4).ok
