"""Films encoded for training: latents of their videos and states of their prompts, as transforms of record streams."""

import dataclasses
import hashlib
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from tokenizers import Tokenizer

from shotverse_jax.config import Execution, WanVAEConfig
from shotverse_jax.data.records import NEGATIVE, Record, pack
from shotverse_jax.files import replacing
from shotverse_jax.inputs.prompt import PromptWindows, tokenize_prompt

Transform = Callable[[Iterable[Record]], Iterable[Record]]
WHOLE = 2**23
"""The most pixels of a batch that are encoded at once; a larger batch is encoded in chunks of four frames."""


def chained(steps: Sequence[Transform]) -> Transform | None:
    """Returns one transform that applies all of them in order, or None when there are none."""

    def run(records: Iterable[Record]) -> Iterable[Record]:
        for step in steps:
            records = step(records)
        return records

    return run if steps else None


def encode_video(config: WanVAEConfig, params: dict, video_BTHWC: jax.Array) -> jax.Array:
    """Encodes videos.

    Args:
        config: the VAE.
        params: its weights.
        video_BTHWC: [B, T, H, W, 3] uint8, T = 4t+1.

    Returns:
        [B, T', H', W', C] float32 latents: means of the VAE's distribution, normalised per channel.
    """
    from shotverse_jax.models.wan_vae import WanVAE
    from shotverse_jax.models.wan_vae_stream import encode_chunked

    # Wan's VAE reads colours from -1 to 1.
    video_BTHWC = video_BTHWC / jnp.float32(127.5) - 1
    if video_BTHWC.size // 3 > WHOLE:
        return encode_chunked(WanVAE(config), {"params": params}, video_BTHWC)
    return WanVAE(config).apply({"params": params}, video_BTHWC, method="encode")


def to_latents(name: str, batch: int) -> tuple[Transform, dict]:
    """Makes the transform that replaces each record's `video` by `latents`.

    Args:
        name: name or folder of the VAE.
        batch: films encoded at once. It is rounded up to a multiple of this process's devices, which share its films.

    Returns:
        the transform, which adds `latents`, float16 [T', H', W', C], as `encode_video` makes them; all videos must have
        one shape. And the settings that record which VAE made them.

    Raises:
        ValueError: there is no such VAE. When the transform runs: it cannot encode the videos.
    """
    from shotverse_jax.weights import load

    config, params, _ = load("vae", name)
    settings = {"vae": Path(name).name, "vae_sha256": _digest(params)}
    split, params, batch = _spread(params, batch)
    # The weights are an argument: a jitted function that closes over them would hold them as constants of the program.
    encode = jax.jit(lambda params, video_BTHWC: encode_video(config, params, video_BTHWC).astype(jnp.float16))

    def transform(records: Iterable[Record]) -> Iterator[Record]:
        for part in _batches(records, batch):
            video_BTHWC = _filled([record.pop("video") for record in part], batch)
            latents = np.asarray(encode(params, jax.device_put(video_BTHWC, split)))
            yield from ({"latents": latent, **record} for latent, record in zip(latents, part, strict=False))

    return transform, settings


@dataclasses.dataclass(frozen=True)
class PromptRecords:
    """Records with their prompts tokenized.

    Each gets `ids` int32 [S], the tokens of its prompt, and `spans` int32 [1 + K, 2], the (first, end exclusive) token
    of the global caption and of every shot. Reading a record raises ValueError when its prompt is longer than `length`.

    Attributes:
        records: the records.
        tokenizer: the text encoder's.
        length: the most tokens of a prompt.
    """

    records: Sequence[Record]
    tokenizer: Tokenizer
    length: int

    def __len__(self) -> int:
        return len(self.records)

    def __getitem__(self, index: int) -> Record:
        record = self.records[index]
        prompt = tokenize_prompt(record["prompt"], self.tokenizer, self.length, int(record["shot_T"][-1]) + 1)
        return record | _tokens(prompt)


def to_states(name: str, batch: int, length: int, negative: str) -> tuple[Transform, dict, Tokenizer, Record]:
    """Makes the transform that replaces each record's `ids` by the states of the text encoder.

    On a GPU or TPU the encoder runs in bfloat16, as Wan's does; on a CPU in float32.

    Args:
        name: name or folder of the text encoder.
        batch: prompts encoded at once, rounded up to a multiple of this process's devices.
        length: tokens that prompts are padded to.
        negative: the prompt that guidance steers away from.

    Returns:
        the transform, which adds `text_SD`, float16 [S, D] states of the tokens without padding; the settings that
        record which encoder made them; the tokenizer for `PromptRecords`; the record of the negative prompt.

    Raises:
        ValueError: there is no such encoder, or the negative prompt is longer than `length`.
    """
    from shotverse_jax.models.umt5 import UMT5Encoder
    from shotverse_jax.weights import load

    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    config, params, tokenizer = load("text_encoder", name, dtype=dtype)
    settings = {"text": Path(name).name, "text_sha256": _digest(params), "text_length": length, "negative": negative}
    split, params, batch = _spread(params, batch)

    @jax.jit
    def encode(params, ids_BS, real_BS):
        states = UMT5Encoder(config, Execution(dtype=dtype)).apply({"params": params}, ids_BS, real_BS)
        return states.astype(jnp.float16)

    def transform(records: Iterable[Record]) -> Iterator[Record]:
        for part in _batches(records, batch):
            ids = [record.pop("ids") for record in part]
            sizes_B = np.array([len(row) for row in ids] + [1] * (batch - len(ids)))  # a row of padding sees one token
            ids_BS = _filled([np.pad(row, (0, length - len(row))) for row in ids], batch)
            batch_BS = jax.device_put((ids_BS, np.arange(length) < sizes_B[:, None]), split)
            states_BSD = np.asarray(encode(params, *batch_BS))
            # float16 ends at 65504, and a larger state would be written as infinity.
            if not np.isfinite(states_BSD).all():
                raise ValueError(f"the states of the text encoder {name} do not fit float16")
            for record, states_SD, size in zip(part, states_BSD, sizes_B, strict=False):
                yield record | {"text_SD": states_SD[:size]}

    # The negative prompt goes the way of all prompts, so its states have the same rounding as theirs.
    (nothing,) = transform([_tokens(tokenize_prompt(negative, tokenizer, length))])
    return transform, settings, tokenizer, nothing


def write_negative(folder: str | Path, record: Record) -> None:
    """Writes the states of the negative prompt beside the shards."""
    with replacing(Path(folder) / NEGATIVE) as scratch:
        scratch.write_bytes(pack(record))


def _tokens(prompt: PromptWindows) -> Record:
    spans = [prompt.global_span, *prompt.shot_spans] if prompt.shot_spans else []
    return {"ids": prompt.ids_S[: prompt.length], "spans": np.array(spans, np.int32).reshape(-1, 2)}


def _spread(params: dict, batch: int) -> tuple[NamedSharding, dict, int]:
    """Returns the sharding of a batch over this process's devices, the parameters on each, the batch rounded up."""
    mesh = Mesh(np.array(jax.local_devices()), ("films",))
    devices = mesh.size
    everywhere = NamedSharding(mesh, PartitionSpec())
    return (
        NamedSharding(mesh, PartitionSpec("films")),
        jax.device_put(params, everywhere),
        -(-batch // devices) * devices,
    )


def _batches(records: Iterable[Record], size: int) -> Iterator[list[Record]]:
    records = iter(records)
    while part := [dict(record) for record in itertools.islice(records, size)]:
        yield part


def _filled(rows: list[np.ndarray], size: int) -> np.ndarray:
    """Stacks rows and fills the batch with zeros: batches of one size need one compiled program."""
    rows_BX = np.stack(rows)
    return np.pad(rows_BX, [(0, size - len(rows)), *[(0, 0)] * (rows_BX.ndim - 1)])


def _digest(params: dict) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf))
    return digest.hexdigest()[:16]
