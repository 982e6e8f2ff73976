"""The PyTorch networks that `benchmarks/batch.py` measures ours against, with our weights and in our sizes."""

from typing import Any

import jax
import numpy as np
import torch
import transformers
from diffusers import AutoencoderKLWan, UniPCMultistepScheduler, WanPipeline, WanTransformer3DModel
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing

from shotverse_jax.camera.tokens.shotverse import BOS
from shotverse_jax.config import PlannerConfig, UMT5Config, WanDiTConfig, WanVAEConfig
from shotverse_jax.conversion import gendop_opt, qwen3_vl, wan_dit
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.flow.schedule import TIMESTEPS
from shotverse_jax.infer.cinematographer import Cinematographer
from shotverse_jax.infer.decode import Sampling
from shotverse_jax.inputs.planner_text import PlannerExample
from shotverse_jax.inputs.prompt import END_NAMES, PAD_NAMES
from shotverse_jax.models.wan_vae import space_factor


def with_weights(model: torch.nn.Module, row: str, params: dict, config: Any, style: str | None = None):
    """Returns the model with our parameters; row: a network of `conversion.networks`, style: its spelling of names."""
    arrays = NETWORKS[row].to_torch(jax.tree.map(np.asarray, params), config, style)
    tensors = {name: torch.tensor(array) for name, array in arrays.items()}
    missing, unknown = model.load_state_dict(tensors, strict=False)
    # UMT5's table of embeddings has two names there.
    if unknown or set(missing) - {"encoder.embed_tokens.weight"}:
        raise ValueError(f"{row} in PyTorch lacks {missing} or has no {unknown}; is this another version of it?")
    return model.eval()


def transformer(params: dict, config: WanDiTConfig) -> WanTransformer3DModel:
    """Returns diffusers' video transformer."""
    model = WanTransformer3DModel(**wan_dit.config_to_diffusers(config))
    return with_weights(model, "wan-dit", params, config, "diffusers")


def video_autoencoder(params: dict, config: WanVAEConfig) -> AutoencoderKLWan:
    """Returns diffusers' VAE."""
    model = AutoencoderKLWan(
        base_dim=config.base_size,
        z_dim=config.latent_channels,
        dim_mult=list(config.multipliers),
        num_res_blocks=config.res_blocks,
        temperal_downsample=list(config.temporal),
        latents_mean=list(config.latent_mean),
        latents_std=list(config.latent_std),
        scale_factor_spatial=space_factor(config),
    )
    return with_weights(model, "wan-vae", params, config, "diffusers")


def text_encoder(params: dict, config: UMT5Config) -> transformers.UMT5EncoderModel:
    """Returns transformers' UMT5 encoder."""
    hf_config = transformers.UMT5Config(
        vocab_size=config.vocab_size,
        d_model=config.hidden_size,
        num_layers=config.num_layers,
        num_heads=config.num_heads,
        d_kv=config.head_dim,
        d_ff=config.mlp_size,
        relative_attention_num_buckets=config.buckets,
        relative_attention_max_distance=config.max_distance,
        layer_norm_epsilon=config.rms_norm_eps,
    )
    return with_weights(transformers.UMT5EncoderModel(hf_config), "umt5", params, config, "transformers")


def hf_tokenizer(tokenizer: Tokenizer) -> transformers.PreTrainedTokenizerFast:
    """Returns our tokenizer as transformers takes it, with the end token that `inputs.prompt` puts after a prompt."""
    pad, end = (
        next(name for name in names if tokenizer.token_to_id(name) is not None) for names in (PAD_NAMES, END_NAMES)
    )
    copy = Tokenizer.from_str(tokenizer.to_str())
    copy.encode_special_tokens = True
    copy.post_processor = TemplateProcessing(single=f"$A {end}", special_tokens=[(end, copy.token_to_id(end))])
    return transformers.PreTrainedTokenizerFast(tokenizer_object=copy, pad_token=pad, eos_token=end)


class SameLevels(UniPCMultistepScheduler):
    """UniPC over the noise levels of `flow.schedule`; diffusers' own differ a little, and it rounds times."""

    def set_timesteps(self, num_inference_steps=None, device=None, **_):
        """Sets levels and times of so many steps."""
        super().set_timesteps(sigmas=1 - np.arange(num_inference_steps) / num_inference_steps, device=device)
        self.timesteps = TIMESTEPS * self.sigmas[:-1]


def pipeline(films: Cinematographer) -> WanPipeline:
    """Returns diffusers' pipeline with both experts, the text encoder and the VAE of a cinematographer without cameras.

    Its UniPC solver goes through our noise levels, so that both make the same film of the same noise.
    """
    config, design = films.config, films.design
    pipe = WanPipeline(
        tokenizer=hf_tokenizer(design.tokenizer),
        text_encoder=text_encoder(films.text, design.text_config),
        vae=video_autoencoder(films.vae, design.vae_config),
        scheduler=SameLevels(
            prediction_type="flow_prediction", use_flow_sigmas=True, flow_shift=config.shift, solver_order=2
        ),
        transformer=transformer(films.high, config.expert("base")),
        transformer_2=transformer(films.low, config.expert("base")),
        boundary_ratio=config.boundary,
    )
    pipe.set_progress_bar_config(disable=True)
    return pipe


def levels(video: torch.Tensor) -> np.ndarray:
    """Frames [T, H, W, 3] uint8 of one video [1, 3, T, H, W] in [-1, 1]."""
    return ((video[0].permute(1, 2, 3, 0) + 1) * 127.5).round().to(torch.uint8).numpy()


class Planner:
    """ShotVerse's planner of transformers' parts: Qwen3-VL's text decoder, a projection, OPT.

    params: of our planner.
    """

    def __init__(self, params: dict, config: PlannerConfig):
        self.config = config
        text_config = transformers.models.qwen3_vl.configuration_qwen3_vl.Qwen3VLTextConfig(
            **qwen3_vl.config_to_hf(config.text)
        )
        text = transformers.models.qwen3_vl.modeling_qwen3_vl.Qwen3VLTextModel(text_config)
        # transformers has the text decoder below a model that also has the vision tower.
        arrays = NETWORKS["qwen3-vl-text"].to_torch(jax.tree.map(np.asarray, params["vlm"]), config.text)
        text.load_state_dict(
            {name.removeprefix("model.language_model."): torch.tensor(array) for name, array in arrays.items()}
        )
        self.text = text.eval()
        opt_config = transformers.OPTConfig(
            **gendop_opt.config_to_hf(config.decoder), bos_token_id=BOS, eos_token_id=None
        )
        opt = transformers.OPTForCausalLM(opt_config)
        self.opt = with_weights(opt, "gendop-opt", params["decoder"], config.decoder, "transformers")
        tensors = jax.tree.map(lambda x: torch.tensor(np.asarray(x)), {k: params[k] for k in ("queries", "separator")})
        self.queries, self.separator = tensors["queries"], tensors["separator"]
        self.project = {name: torch.tensor(np.asarray(x)) for name, x in params["project"].items()}

    def prefix(self, example: PlannerExample) -> torch.Tensor:
        """What the pose decoder reads of a screenplay, [1, P, D]: the projected camera codes, and BOS."""
        ids, slots = (torch.tensor(x) for x in (example.text_ids_S, example.slot_S))
        queries = self.queries[slots % len(self.queries)]
        x = torch.where((slots >= 0)[:, None], queries, self.text.embed_tokens(ids))[None]
        codes = self.text(inputs_embeds=x).last_hidden_state[0, slots >= 0]
        shots = codes.reshape(-1, *self.queries.shape)
        separators = self.separator.expand(len(shots), 1, -1)
        codes = torch.cat([shots, separators], dim=1).flatten(0, 1)[:-1]
        prefix = codes @ self.project["kernel"] + self.project["bias"]
        return torch.cat([prefix, self.opt.get_input_embeddings()(torch.tensor([BOS]))])[None]

    def generate(self, example: PlannerExample, tokens: int, sampling: Sampling) -> np.ndarray:
        """Draws the ids [tokens] of a screenplay."""
        with torch.inference_mode():
            prefix = self.prefix(example)
            ids = self.opt.generate(
                inputs_embeds=prefix,
                attention_mask=torch.ones(prefix.shape[:2], dtype=torch.long),
                do_sample=True,
                temperature=sampling.temperature,
                top_p=sampling.top_p,
                top_k=sampling.top_k,
                max_new_tokens=tokens,
            )
        return ids[0].numpy()

    def log_probs(self, example: PlannerExample, ids_N: np.ndarray) -> np.ndarray:
        """log p(token | screenplay, tokens before it) [N - 1] of the ids of one plan, BOS … EOS."""
        with torch.inference_mode():
            ids = torch.tensor(ids_N[1:].astype(np.int64))
            inputs = torch.cat([self.prefix(example), self.opt.get_input_embeddings()(ids[:-1])[None]], dim=1)
            logits = self.opt(inputs_embeds=inputs, attention_mask=torch.ones(inputs.shape[:2])).logits[0, -len(ids) :]
            return torch.log_softmax(logits, dim=-1).gather(1, ids[:, None])[:, 0].numpy()
