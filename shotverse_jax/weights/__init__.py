"""Weights on disk: what ships, what training runs export and what `shotverse convert` and `shotverse get` write.

A network is a folder with config.json (its kind and every field of its config), its weights, and tokenizer.json where
it reads text (`folder.py`). Weights are bfloat16 there. A controller has one weights file per expert. A run that
trained adapters also leaves them unmerged, in a folder `adapter` below that of the network. `catalogue.py` lists the
kinds.
"""

import dataclasses
import functools
from pathlib import Path
from typing import Any, Literal, NamedTuple

import jax
from jax.sharding import Mesh
from tokenizers import Tokenizer

from shotverse_jax.config import ControllerConfig, PlannerConfig
from shotverse_jax.parallel.rules import placed
from shotverse_jax.weights import folder as files
from shotverse_jax.weights import trees
from shotverse_jax.weights.catalogue import KINDS, abstract, init, init_module, row
from shotverse_jax.weights.folder import CONFIG, TOKENIZER, WEIGHTS

__all__ = [
    "KINDS",
    "Expert",
    "Loaded",
    "abstract",
    "adapted_experts",
    "experts_of",
    "export",
    "export_adapter",
    "find",
    "find_adapter",
    "find_tokenizer",
    "init",
    "init_module",
    "load",
    "load_adapter",
]

Expert = Literal["high", "low", "base"]


class Loaded(NamedTuple):
    """A network from its folder.

    Attributes:
        config: Its config, of the type that the catalogue names.
        params: Its parameters.
        tokenizer: Its tokenizer; None for a network that reads no text.
    """

    config: Any
    params: dict
    tokenizer: Tokenizer | None


def load(
    kind: str,
    name_or_folder: str | Path,
    *,
    expert: Expert | None = None,
    mesh: Mesh | None = None,
    dtype: str = "float32",
    memory: str | None = None,
) -> Loaded:
    """A network by its folder or by its name, for example `load("planner", "planner_small")`.

    Args:
        kind: A name in the catalogue.
        name_or_folder: The folder, or the name of a shipped network or of one that `shotverse get` fetched.
        expert: Which network of a controller.
        mesh: Devices to place the parameters on. Every device reads its own part of each parameter
            (`parallel/rules.py`). Without a mesh the parameters are NumPy arrays in float32.
        dtype: Type of the parameters on a mesh.
        memory: Memory of the mesh's devices to load to, for example "pinned_host"; None takes the devices' own.

    Raises:
        ValueError: No such folder, a folder of another kind, a file that is missing or broken, or parameters that do
            not fit the config (all of them listed).
    """
    folder = find(kind, name_or_folder, expert=expert)
    config = files.read_config(folder, row(kind).config)
    # What no network can have may fail anywhere in its module.
    with files.reading(folder / CONFIG, f"the config of a {row(kind).title}"):
        shapes = abstract(kind, config, expert=expert)
    wanted = shapes if mesh is None else placed(shapes, mesh, dtype, memory)
    params = files.read_params(folder / _weights(expert), wanted)
    read = row(kind).read_tokenizer
    return Loaded(config, params, read(folder / TOKENIZER) if row(kind).reads_text(config) else None)


def export(
    kind: str,
    params: dict,
    config: Any,
    folder: str | Path,
    *,
    expert: Expert | None = None,
    tokenizer_file: str | Path | None = None,
) -> None:
    """Writes the folder of a network: config.json, the weights in bfloat16, and a copy of the tokenizer.

    Adapters must be merged into `params`; the config is written without its `lora`. The experts of one controller share
    a folder and its config.json, which each call writes anew. "base" is the network before its cameras, which both
    other experts begin with.

    Raises:
        ValueError: An expert of another name, or a parameter that is not finite.
    """
    if row(kind).experts:
        config.expert(expert)  # raises for an expert of another name
    if getattr(config, "lora", None) is not None:
        # A config.json with `lora` would say that the folder holds an adapter (`find_adapter`).
        config = dataclasses.replace(config, lora=None)
    files.write(kind, folder, config, params, weights=_weights(expert), tokenizer_file=tokenizer_file)


def find(kind: str, name_or_folder: str | Path, *, expert: Expert | None = None) -> Path:
    """The folder of a network, by its path or by its name, shipped or fetched; it has all files of its kind.

    Without an expert, the folder of a controller only needs its config.json.

    Raises:
        ValueError: No such folder (the message names those that are there), a folder of another kind, or a missing
            file.
    """
    reads_text = row(kind).read_tokenizer is not None
    folder = files.find(kind, name_or_folder, ())
    # A GenDoP without a text tower says so in its config.
    if reads_text and (folder / CONFIG).is_file() and files.read_values(folder).get("text", "") is None:
        reads_text = False
    needed = [CONFIG] + [TOKENIZER] * reads_text
    if expert or not row(kind).experts:
        needed.append(_weights(expert))
    return files.find(kind, folder, needed)


def experts_of(name_or_folder: str | Path) -> tuple[Expert, Expert]:
    """The networks with which a controller films high and low noise: its two experts.

    A folder that has "base" and not both of them films all noise levels with that.

    Raises:
        ValueError: No such controller.
    """
    folder = find("controller", name_or_folder)
    both = all(files.has(folder, _weights(expert)) for expert in ("high", "low"))
    return ("base", "base") if not both and files.has(folder, _weights("base")) else ("high", "low")


def find_tokenizer(name_or_folder: str | Path) -> Path:
    """The tokenizer.json of a text encoder or planner. Raises ValueError when there is none."""
    return files.find(("text_encoder", "planner"), name_or_folder, (TOKENIZER,)) / TOKENIZER


def _weights(expert: str | None) -> str:
    return f"{expert}.safetensors" if expert else WEIGHTS


# ---------------------------------------------------------------------------------------------------- adapters


def export_adapter(
    adapter: dict, params: dict, config: ControllerConfig | PlannerConfig, folder: str | Path, expert: str | None = None
) -> None:
    """Writes what a run trained on a frozen network: config.json with its `lora`, and its weights.

    Args:
        adapter: The `lora` collection of the expert, or that of the planner's vlm.
        params: What was trained whole: the expert's camera encoders, or all of the planner but its vlm.
        config: Config of the network, with its `lora`.
        folder: Where to write. The experts of one controller share a folder, as in `export`.
        expert: Which expert it is; None for a planner. The file is <expert>.safetensors or model.safetensors. It holds
            "lora/<linear>/adapter/a" and "b", and "params/…".

    Raises:
        ValueError: A parameter that is not finite.
    """
    files.write("adapter", folder, config, {"lora": adapter, "params": params}, weights=_weights(expert))


def find_adapter(folder: str | Path) -> Path:
    """The folder of adapters that is this one or that a run left in it. Raises ValueError when there is none."""
    for place in (Path(folder) / "export" / "adapter", Path(folder) / "adapter", Path(folder)):
        if adapted_experts(place) and files.read_values(place).get("lora"):
            return place
    raise ValueError(f"{folder} holds no adapter: give a run that trained one and was exported, or its export/adapter")


def adapted_experts(folder: Path) -> list[str | None]:
    """The experts that a folder of adapters has; [None] for the folder of a planner's adapter."""
    present = [name for name in ("high", "low", None) if (folder / _weights(name)).is_file()]
    return present if (folder / CONFIG).is_file() else []


def load_adapter(
    folder: str | Path, expert: Expert | None = None
) -> tuple[ControllerConfig | PlannerConfig, dict, dict]:
    """(config, adapter, params) that `export_adapter` wrote, float32 NumPy. expert: None for a planner's adapter.

    Raises:
        ValueError: As `load`.
    """
    from shotverse_jax import lora

    folder = files.find("adapter", folder, (CONFIG, _weights(expert)))
    kind = "controller" if expert else "planner"
    config = files.read_config(folder, row(kind).config)
    if config.lora is None:
        raise ValueError(f"{folder} is a model, not an adapter: its {CONFIG} has no lora")
    with files.reading(folder / CONFIG, f"the config of a {row(kind).title}"):
        adapted = abstract(kind, config, expert=expert)
    if expert is None:
        rest = dict(adapted)
        adapted = rest.pop("vlm")
    else:
        rest = {"blocks": {"camera": adapted["blocks"]["camera"]}} if config.expert(expert).camera else {}
    adapter = jax.eval_shape(lambda: lora.init(jax.random.key(0), adapted, config.lora))
    expected = {"lora": adapter, "params": rest}
    stored = files.read_params(folder / _weights(expert), expected)
    # The adapters are objects with a scale and a dropout, which are in the config and not in the file.
    paths, shape = jax.tree_util.tree_flatten_with_path(expected)
    leaves = [functools.reduce(lambda node, part: node[part], trees.name(path).split("/"), stored) for path, _ in paths]
    tree = jax.tree.unflatten(shape, leaves)
    return config, tree["lora"], tree["params"]
