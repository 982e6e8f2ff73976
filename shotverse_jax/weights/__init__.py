"""Weights on disk: what ships in this folder and what training runs export, one format for both (`folder.py`).

Every model is a folder with config.json (every field of its config) and model.safetensors; a controller has one file
per expert instead, and a planner and a text encoder have a tokenizer.json. Weights are bfloat16 there and float32 NumPy
arrays here. A run that trained adapters leaves them unmerged too, in a folder `adapter` below the model's.
A loader that is given a mesh returns jax arrays of `dtype` instead: every device reads its part of each parameter
(`parallel/rules.py`), from a safetensors file or from the arrays that `shotverse convert` writes.
The networks are imported where they are needed: flax is slow to import.
"""

import dataclasses
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
from jax.sharding import Mesh
from tokenizers import Tokenizer

from shotverse_jax.config import (
    CLaTrConfig,
    CLIPTextConfig,
    ControllerConfig,
    Execution,
    GenDoPConfig,
    PlannerConfig,
    PoseNetConfig,
    Qwen3VLTextConfig,
    UMT5Config,
    WanDiTConfig,
    WanVAEConfig,
)
from shotverse_jax.inputs.clip import load_clip_tokenizer
from shotverse_jax.inputs.tokenizer import load_text_tokenizer
from shotverse_jax.parallel.rules import placed
from shotverse_jax.weights import folder as files
from shotverse_jax.weights.folder import CONFIG, TOKENIZER, WEIGHTS

Expert = Literal["high", "low", "base"]


def _load(
    what: str,
    folder_or_name: str | Path,
    config_type: type,
    init: Callable[[Any, jax.Array], dict],
    mesh: Mesh | None = None,
    dtype: str = "float32",
    *,
    weights: str = WEIGHTS,
    read_tokenizer: Callable[[Path], Tokenizer] | None = None,
) -> tuple:
    """(config, params) of a folder, and its tokenizer where one is read. init(config, key) draws the variables."""
    wanted = (CONFIG, weights) if read_tokenizer is None else (CONFIG, TOKENIZER, weights)
    folder = files.find(what, folder_or_name, wanted)
    config = files.read_config(folder, config_type)
    abstract = jax.eval_shape(lambda: init(config, jax.random.key(0)))["params"]
    params = files.read_params(folder / weights, abstract if mesh is None else placed(abstract, mesh, dtype))
    return (config, params) if read_tokenizer is None else (config, params, read_tokenizer(folder / TOKENIZER))


# ---------------------------------------------------------------------------------------------------- planner


def export_planner(params: dict, config: PlannerConfig, tokenizer_file: str | Path, folder: str | Path) -> None:
    """Writes a planner folder. `params`: the whole 'params' collection, adapters merged (so `config.lora` is dropped).

    Raises:
        ValueError: a parameter that is not finite.
    """
    config = dataclasses.replace(config, lora=None)
    files.write("planner", folder, config, params, tokenizer_file=tokenizer_file)


def load_planner(
    folder_or_name: str | Path, *, mesh: Mesh | None = None, dtype: str = "float32"
) -> tuple[PlannerConfig, dict, Tokenizer]:
    """A planner by folder or by shipped name ("planner_small") → (config, params, text tokenizer).

    Raises:
        ValueError: no such planner, a file missing or broken, or parameters that do not fit the config (all listed).
    """
    from shotverse_jax.models.planner import Planner

    def init(config, key):
        return init_planner(Planner(config, Execution()), config, key)

    return _load("planner", folder_or_name, PlannerConfig, init, mesh, dtype, read_tokenizer=load_text_tokenizer)


def find_planner(folder_or_name: str | Path) -> Path:
    """The folder of a planner. Raises ValueError naming what is missing and what ships."""
    return files.find("planner", folder_or_name, (CONFIG, TOKENIZER, WEIGHTS))


def init_planner(planner, config: PlannerConfig, key: jax.Array) -> dict:
    """Random variables of a planner, from the smallest batch it takes: one shot, one word."""
    slots = config.num_queries if config.encoder == "queries" else 0
    slot_BS = jnp.concatenate([jnp.full((1, 1), -1), jnp.arange(slots)[None]], axis=1).astype(jnp.int32)
    batch = {
        "text_ids_BS": jnp.zeros_like(slot_BS),
        "slot_BS": slot_BS,
        "real_BS": jnp.ones(slot_BS.shape, bool),
        "pose_ids_BN": jnp.ones((1, 2), jnp.int32),
    }
    return planner.init(key, batch, num_shots=1, deterministic=True)


def load_language_model(folder: str | Path, mesh: Mesh, dtype: str) -> tuple[Qwen3VLTextConfig, dict]:
    """A converted text decoder of Qwen3-VL, which a planner starts from → (config, params on the mesh).

    Raises as `load_planner`.
    """
    from shotverse_jax.models.qwen3_vl import Qwen3VLText

    def init(config, key):
        return Qwen3VLText(config, Execution()).init(key, jnp.zeros((1, 1, config.hidden_size)))

    return _load("language model", folder, Qwen3VLTextConfig, init, mesh, dtype)


# ---------------------------------------------------------------------------------------------------- VAE


def export_vae(params: dict, config: WanVAEConfig, folder: str | Path) -> None:
    """Writes the folder of a video VAE. Raises ValueError for a parameter that is not finite."""
    files.write("VAE", folder, config, params)


def load_vae(
    folder_or_name: str | Path, *, mesh: Mesh | None = None, dtype: str = "float32"
) -> tuple[WanVAEConfig, dict]:
    """A video VAE by folder or by shipped name ("vae_small") → (config, params).

    Raises as `load_planner`.
    """
    from shotverse_jax.models.wan_vae import WanVAE

    return _load("VAE", folder_or_name, WanVAEConfig, lambda c, key: init_vae(WanVAE(c), c, key), mesh, dtype)


def init_vae(vae, config: WanVAEConfig, key: jax.Array) -> dict:
    """Random variables of a `WanVAE`, from the smallest frame it takes."""
    size = 2 ** len(config.temporal)
    return vae.init(key, jnp.zeros((1, 1, size, size, 3)))


# ---------------------------------------------------------------------------------------------------- text encoder


def export_text(params: dict, config: UMT5Config, tokenizer_file: str | Path, folder: str | Path) -> None:
    """Writes the folder of a text encoder. Raises ValueError for a parameter that is not finite."""
    files.write("text encoder", folder, config, params, tokenizer_file=tokenizer_file)


def load_text(
    folder_or_name: str | Path, *, mesh: Mesh | None = None, dtype: str = "float32"
) -> tuple[UMT5Config, dict, Tokenizer]:
    """A text encoder by folder or by shipped name ("text_small") → (config, params, tokenizer).

    Raises as `load_planner`.
    """
    from shotverse_jax.models.umt5 import UMT5Encoder

    def init(config, key):
        return init_text(UMT5Encoder(config), config, key)

    return _load("text encoder", folder_or_name, UMT5Config, init, mesh, dtype, read_tokenizer=load_text_tokenizer)


def find_tokenizer(folder_or_name: str | Path) -> Path:
    """The tokenizer.json of a text encoder or planner. Raises ValueError when there is none."""
    return files.find("text encoder", folder_or_name, (TOKENIZER,)) / TOKENIZER


def init_text(encoder, config: UMT5Config, key: jax.Array) -> dict:
    """Random variables of a `UMT5Encoder`, from a single token."""
    return encoder.init(key, jnp.zeros((1, 1), jnp.int32), jnp.ones((1, 1), bool))


# ---------------------------------------------------------------------------------------------------- controller


def export_expert(params: dict, config: ControllerConfig, expert: Expert, folder: str | Path) -> None:
    """Writes config.json and one expert of a controller, adapters merged (so `config.lora` is dropped).

    expert: "high" or "low" (noise), or "base", the network before its cameras, which both begin with. The experts of
    one controller share a folder and its config.json, which each call writes anew.

    Raises:
        ValueError: an expert of another name, or a parameter that is not finite.
    """
    config.expert(expert)
    config = dataclasses.replace(config, lora=None)
    files.write("controller", folder, config, params, weights=f"{expert}.safetensors")


def load_expert(
    folder_or_name: str | Path, expert: Expert, *, mesh: Mesh | None = None, dtype: str = "float32"
) -> tuple[ControllerConfig, dict]:
    """One expert of a controller by folder or shipped name ("controller_small") → (config, params).

    Raises as `load_planner`.
    """
    from shotverse_jax.models.wan_dit import WanDiT

    def init(config, key):
        dit = config.expert(expert)
        return init_dit(WanDiT(dit), dit, key)

    weights = f"{expert}.safetensors"
    return _load("controller", folder_or_name, ControllerConfig, init, mesh, dtype, weights=weights)


def init_dit(dit, config: WanDiTConfig, key: jax.Array) -> dict:
    """Random variables of a `WanDiT`, from one latent frame of one patch."""
    from shotverse_jax.models.camera_encoder import CAMERA_SIZE

    frames, height, width = config.patch
    camera_BTP = jnp.zeros((1, frames, CAMERA_SIZE)) if config.camera else None
    return dit.init(
        key,
        jnp.zeros((1, frames, height, width, config.latent_channels)),
        jnp.zeros(1),
        jnp.zeros((1, 1, config.text_size)),
        camera_BTP=camera_BTP,
        shot_lengths=(1,),
    )


# ---------------------------------------------------------------------------------------------------- adapters


def export_adapter(
    adapter: dict, params: dict, config: ControllerConfig | PlannerConfig, folder: str | Path, expert: str | None = None
) -> None:
    """Writes what a run trained on a frozen network: config.json with its `lora`, and its weights.

    adapter: the `lora` collection of the expert, of a planner that of its vlm. params: what was trained whole: the
    expert's camera encoders, all of a planner but its vlm. The file is <expert>.safetensors, and experts share a folder
    as in `export_expert`; a planner's is model.safetensors. It holds "lora/<linear>/adapter/a" and "b", and "params/…".

    Raises:
        ValueError: a parameter that is not finite.
    """
    weights = f"{expert}.safetensors" if expert else WEIGHTS
    files.write("adapter", folder, config, {"lora": adapter, "params": params}, weights=weights)


def find_adapter(folder: str | Path) -> Path:
    """The folder of adapters that is this one or that a run left in it. Raises ValueError when there is none."""
    for place in (Path(folder) / "export" / "adapter", Path(folder) / "adapter", Path(folder)):
        if adapted_experts(place) and files.read_values(place).get("lora"):
            return place
    raise ValueError(f"{folder} holds no adapter: give a run that trained one and was exported, or its export/adapter")


def adapted_experts(folder: Path) -> list[str | None]:
    """The experts that a folder of adapters has; of a planner's, [None]."""
    names: tuple[str | None, ...] = ("high", "low", None)
    present = [name for name in names if (folder / (f"{name}.safetensors" if name else WEIGHTS)).is_file()]
    return present if (folder / CONFIG).is_file() else []


def load_adapter(
    folder: str | Path, expert: Expert | None = None
) -> tuple[ControllerConfig | PlannerConfig, dict, dict]:
    """(config, adapter, params) of `export_adapter`, float32 NumPy; expert None is a planner's.

    Raises as `load_planner`.
    """
    from shotverse_jax import lora
    from shotverse_jax.models.planner import Planner
    from shotverse_jax.models.wan_dit import WanDiT

    key = jax.random.key(0)
    if expert is None:
        folder = files.find("adapter", folder, (CONFIG, WEIGHTS))
        config = files.read_config(folder, PlannerConfig)
        rest = jax.eval_shape(lambda: init_planner(Planner(config, Execution()), config, key))["params"]
        adapted = rest.pop("vlm")
    else:
        folder = files.find("adapter", folder, (CONFIG, f"{expert}.safetensors"))
        config = files.read_config(folder, ControllerConfig)
        dit = config.expert(expert)
        adapted = jax.eval_shape(lambda: init_dit(WanDiT(dit), dit, key))["params"]
        rest = {"blocks": {"camera": adapted["blocks"]["camera"]}} if dit.camera else {}
    if config.lora is None:
        raise ValueError(f"{folder} is a model, not an adapter: its {CONFIG} has no lora")
    abstract = {"lora": jax.eval_shape(lambda: lora.init(key, adapted, config.lora)), "params": rest}
    stored = files.read_params(folder / (f"{expert}.safetensors" if expert else WEIGHTS), abstract)
    paths, shape = jax.tree_util.tree_flatten_with_path(abstract)
    leaves = [functools.reduce(lambda node, part: node[part], files.name(path).split("/"), stored) for path, _ in paths]
    tree = jax.tree.unflatten(shape, leaves)
    return config, tree["lora"], tree["params"]


# ---------------------------------------------------------------------------------------------------- pose estimator


def export_pose_net(params: dict, config: PoseNetConfig, folder: str | Path) -> None:
    """Writes the folder of a pose estimator. Raises ValueError for a parameter that is not finite."""
    files.write("pose net", folder, config, params)


def load_pose_net(folder_or_name: str | Path) -> tuple[PoseNetConfig, dict]:
    """A pose estimator by folder or by shipped name ("pose_small") → (config, float32 NumPy params).

    Raises as `load_planner`.
    """
    from shotverse_jax.models.pose_net import PoseNet

    return _load("pose net", folder_or_name, PoseNetConfig, lambda c, key: init_pose_net(PoseNet(c), c, key))


def init_pose_net(network, config: PoseNetConfig, key: jax.Array) -> dict:
    """Random variables of a `PoseNet`, from one frame."""
    return network.init(key, jnp.zeros((1, config.height, config.width, 3)))


# ---------------------------------------------------------------------------------------------------- GenDoP, CLaTr


def load_gendop(
    folder: str | Path, *, mesh: Mesh | None = None, dtype: str = "float32"
) -> tuple[GenDoPConfig, dict, Tokenizer]:
    """A folder that `shotverse convert --as gendop-…` wrote → (config, params, CLIP's tokenizer).

    Raises as `load_planner`.
    """
    return _load("GenDoP", folder, GenDoPConfig, init_gendop, mesh, dtype, read_tokenizer=load_clip_tokenizer)


def init_gendop(config: GenDoPConfig, key: jax.Array) -> dict:
    """Random variables of a GenDoP, from one token and blank pictures."""
    from shotverse_jax.models.gendop import GenDoP

    ids, pictures = jnp.zeros((1, 1), jnp.int32), ()
    if config.vision is not None:
        side = config.vision.image_size
        pictures = jnp.zeros((1, side, side, 3)), jnp.zeros((1, side, side))
    return GenDoP(config).init(key, ids, ids, ids == 0, *pictures)


def load_clatr(folder: str | Path, *, mesh: Mesh | None = None, dtype: str = "float32") -> tuple[CLaTrConfig, dict]:
    """A folder that `shotverse convert --as clatr` wrote → (config, params). Raises as `load_planner`."""
    from shotverse_jax.models.clatr import CLaTr

    def init(config, key):
        mask = jnp.ones((1, 1), bool)
        features = (jnp.zeros((1, 1, size)) for size in (config.feature_size, config.text_size))
        return CLaTr(config).init(key, *(x for feature in features for x in (feature, mask)))

    return _load("CLaTr", folder, CLaTrConfig, init, mesh, dtype)


def load_clip_text(
    folder: str | Path, *, mesh: Mesh | None = None, dtype: str = "float32"
) -> tuple[CLIPTextConfig, dict, Tokenizer]:
    """A folder that `shotverse convert --as clip-text` wrote → (config, params, tokenizer).

    CLaTr reads OpenAI's ViT-B/32. Raises as `load_planner`.
    """
    from shotverse_jax.models.clip import CLIPText

    def init(config, key):
        ids = jnp.zeros((1, 1), jnp.int32)
        return CLIPText(config).init(key, ids, ids == 0)

    return _load("CLIP text tower", folder, CLIPTextConfig, init, mesh, dtype, read_tokenizer=load_clip_tokenizer)
