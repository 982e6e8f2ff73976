"""Planner weights on disk: what ships in this folder and what a training run exports, one format for both.

A planner is a folder with config.json (every field of `PlannerConfig`), tokenizer.json and model.safetensors
(bfloat16 parameters, tree paths joined by "/").
"""

import dataclasses
import functools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file
from tokenizers import Tokenizer

from shotverse_jax.config import Execution, PlannerConfig, from_dict
from shotverse_jax.data.bpe import load_text_tokenizer

FOLDER = Path(__file__).parent
CONFIG, TOKENIZER, WEIGHTS = "config.json", "tokenizer.json", "model.safetensors"


def export_planner(params: dict, config: PlannerConfig, tokenizer_file: str | Path, folder: str | Path) -> None:
    """Writes a planner folder. `params`: the whole 'params' collection, adapters merged (so `config.lora` is dropped).

    Raises:
        ValueError: a parameter that is not finite.
    """
    tensors = {}
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        value = np.asarray(jax.device_get(leaf), np.float32)
        if not np.isfinite(value).all():
            raise ValueError(f"parameter {name} holds NaN or infinity; it is not exported")
        tensors[name] = np.ascontiguousarray(value.astype(jnp.bfloat16))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    values = dataclasses.asdict(dataclasses.replace(config, lora=None))
    tokenizer = Path(tokenizer_file).read_text(encoding="utf-8")
    save_file(tensors, folder / WEIGHTS, metadata={"format": "shotverse_jax planner"})
    (folder / TOKENIZER).write_text(tokenizer, encoding="utf-8")
    (folder / CONFIG).write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def load_planner(folder_or_name: str | Path) -> tuple[PlannerConfig, dict, Tokenizer]:
    """A planner by folder or by shipped name ("planner_small") → (config, float32 NumPy params, text tokenizer).

    Raises:
        ValueError: no such planner, a file missing or broken, or parameters that do not fit the config (all listed).
    """
    folder = find_planner(folder_or_name)
    try:
        values = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except json.JSONDecodeError as error:
        raise ValueError(f"{folder / CONFIG} is not JSON: {error}") from error
    config = from_dict(PlannerConfig, values)
    try:
        tensors = load_file(folder / WEIGHTS)
    except SafetensorError as error:
        raise ValueError(f"{folder / WEIGHTS} is not a safetensors file: {error}") from error
    expected = abstract_params(config)
    problems = [f"missing {name}" for name in expected if name not in tensors]
    problems += [f"unexpected {name}" for name in tensors if name not in expected]
    problems += [
        f"{name} has shape {list(tensors[name].shape)}, expected {list(expected[name].shape)}"
        for name in expected.keys() & tensors.keys()
        if tensors[name].shape != expected[name].shape
    ]
    if problems:
        raise ValueError(f"the weights in {folder} do not fit their {CONFIG}: " + "; ".join(sorted(problems)))
    params: dict = {}
    for name, value in tensors.items():
        *parents, leaf = name.split("/")
        functools.reduce(lambda node, part: node.setdefault(part, {}), parents, params)[leaf] = value.astype(np.float32)
    return config, params, load_text_tokenizer(folder / TOKENIZER)


def find_planner(folder_or_name: str | Path) -> Path:
    """The folder of a planner. Raises ValueError naming what is missing and what ships."""
    folder = next((f for f in (Path(folder_or_name), FOLDER / folder_or_name) if f.is_dir()), None)
    if folder is None:
        shipped = ", ".join(sorted(path.parent.name for path in FOLDER.glob(f"*/{CONFIG}"))) or "none"
        raise ValueError(f"no planner called {folder_or_name}: give a folder or the name of a shipped one ({shipped})")
    missing = [name for name in (CONFIG, TOKENIZER, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} is not a planner: it has no {' and no '.join(missing)}")
    return folder


def abstract_params(config: PlannerConfig) -> dict[str, jax.ShapeDtypeStruct]:
    """{path: shape and dtype} of a planner's 'params', nothing allocated."""
    from shotverse_jax.models.planner import Planner  # flax is slow to import; only loading needs it

    variables = jax.eval_shape(lambda: init_planner(Planner(config, Execution()), config, jax.random.key(0)))
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    return {jax.tree_util.keystr(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def init_planner(planner, config: PlannerConfig, key: jax.Array) -> dict:
    """Random variables of a planner, from the smallest batch it takes: one shot, one word."""
    slots = config.num_queries if config.encoder == "queries" else 0
    slot_BS = jnp.concatenate([jnp.full((1, 1), -1), jnp.arange(slots)[None]], axis=1).astype(jnp.int32)
    batch = {
        "text_ids_BS": jnp.zeros_like(slot_BS),
        "slot_BS": slot_BS,
        "text_mask_BS": jnp.ones(slot_BS.shape, bool),
        "pose_ids_BN": jnp.ones((1, 2), jnp.int32),
    }
    return planner.init(key, batch, num_shots=1, deterministic=True)
