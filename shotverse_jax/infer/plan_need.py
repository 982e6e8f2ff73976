"""What plans need of the memory of a device, by arithmetic alone: nothing is loaded or compiled."""

from collections.abc import Mapping
from pathlib import Path

import jax
import jax.numpy as jnp

from shotverse_jax.config import PLANNERS, GenDoPConfig, OPTConfig, PlannerConfig, planner_qwen3vl_2b
from shotverse_jax.infer.execution import choose
from shotverse_jax.infer.need import CPU_BASE, held
from shotverse_jax.infer.samples import block_rows
from shotverse_jax.weights.folder import find, kind_of, read_config


def planner_config(name_or_folder: str | Path) -> PlannerConfig | GenDoPConfig:
    """The config of a planner: "paper", a preset, a shipped or fetched planner, or the folder of one."""
    known = {"paper": planner_qwen3vl_2b, **PLANNERS}
    if str(name_or_folder) in known and not Path(name_or_folder).is_dir():
        return known[str(name_or_folder)]()
    folder = find(("planner", "gendop"), name_or_folder, ())
    return read_config(folder, GenDoPConfig if kind_of(folder) == "gendop" else PlannerConfig)


def decoder_numbers(config: OPTConfig) -> int:
    """Weights that a token of the pose decoder reads: the matrices of its blocks, and its head."""
    wide = config.hidden_size
    return config.num_layers * (4 * wide**2 + 2 * wide * config.mlp_size) + wide * config.vocab_size


def cache_bytes(config: OPTConfig, dtype: str) -> int:
    """Bytes of the keys and values of one place of the pose decoder."""
    return 2 * jnp.dtype(dtype).itemsize * config.num_layers * config.hidden_size


def plan_memory(
    config: PlannerConfig | GenDoPConfig, rows: int, places: int, decoded: int, dtype: str
) -> Mapping[str, int]:
    """Bytes of a block of plans: the weights with the decoder's own copy, keys and values, the text's states.

    Args:
        config: of the planner.
        rows: plans of a block, which are decoded together.
        places: tokens of a screenplay, queries included.
        decoded: places of the decoder, those of its prefix included.
        dtype: of weights and activations.
    """
    # A GenDoP may read pictures alone.
    tower = config.text or config.vision
    size, kind = jnp.dtype(dtype).itemsize, "gendop" if isinstance(config, GenDoPConfig) else "planner"
    return {
        "weights": held(kind, config, {}, dtype) + size * decoder_numbers(config.decoder),
        "keys and values": rows * decoded * cache_bytes(config.decoder, dtype),
        "text": rows * places * (2 * tower.hidden_size + 2 * tower.mlp_size) * size,
    }


def _places(config: GenDoPConfig) -> int:
    """The most states of one tower."""
    return max(config.text.max_positions if config.text else 0, config.vision.places if config.vision else 0)


def most_plan_memory(name_or_folder: str | Path, dtype: str | None = None) -> int:
    """Bytes of the device that any screenplay that a planner takes needs on this machine; on a CPU, of the process."""
    config = planner_config(name_or_folder)
    places = config.max_text_tokens if isinstance(config, PlannerConfig) else _places(config)
    dtype = dtype or choose()[0].dtype
    base = CPU_BASE if jax.default_backend() == "cpu" else 0
    return base + sum(plan_memory(config, block_rows(), places, config.decoder.max_positions, dtype).values())
