"""What networks make of films for training: latents of videos, states of prompts; streams of records in and out."""

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
"""Pixels of a batch of films up to which they are encoded at once; larger ones go in chunks of time (four frames)."""


def chained(steps: Sequence[Transform]) -> Transform | None:
    """The transforms one after the other; None for none."""

    def run(records: Iterable[Record]) -> Iterable[Record]:
        for step in steps:
            records = step(records)
        return records

    return run if steps else None


def encode_video(config: WanVAEConfig, params: dict, video_BTHWC: jax.Array) -> jax.Array:
    """Latents [B, T', H', W', C], normalised means, of frames [B, T, H, W, 3] uint8; large ones by chunks."""
    from shotverse_jax.models.wan_vae import WanVAE
    from shotverse_jax.models.wan_vae_stream import encode_chunked

    video_BTHWC = video_BTHWC / jnp.float32(127.5) - 1
    if video_BTHWC.size // 3 > WHOLE:
        return encode_chunked(WanVAE(config), {"params": params}, video_BTHWC)
    return WanVAE(config).apply({"params": params}, video_BTHWC, method="encode")


def to_latents(name: str, batch: int) -> tuple[Transform, dict]:
    """A transform that puts `latents`, float16 [T', H', W', C], normalised means, in the place of each record's
    `video`; and the settings that say which VAE made them. All videos have one shape; the films of a batch are split
    over this process's devices.

    Raises:
        ValueError: there is no such VAE. The transform: videos that it cannot encode.
    """
    from shotverse_jax.weights import load_vae

    config, params = load_vae(name)
    settings = {"vae": Path(name).name, "vae_sha256": _digest(params)}
    split, params, batch = _spread(params, batch)
    encode = jax.jit(lambda params, video_BTHWC: encode_video(config, params, video_BTHWC).astype(jnp.float16))

    def transform(records: Iterable[Record]) -> Iterator[Record]:
        for part in _batches(records, batch):
            video_BTHWC = _filled([record.pop("video") for record in part], batch)
            latents = np.asarray(encode(params, jax.device_put(video_BTHWC, split)))
            yield from ({"latents": latent, **record} for latent, record in zip(latents, part, strict=False))

    return transform, settings


@dataclasses.dataclass(frozen=True)
class PromptRecords:
    """Records with their prompts tokenized: `ids` int32 [S] and `spans` int32 [1 + K, 2], the tokens (first, end) of
    the global caption and of every shot. A prompt that does not fit `length` is a bad item."""

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
    """A transform that puts `text_SD`, float16 states of the real tokens, in the place of each record's `ids`; the
    settings; the tokenizer for `PromptRecords`; and the record of the prompt that guidance steers away from.

    On a GPU or TPU the encoder runs in bfloat16, as Wan's does.

    Raises:
        ValueError: there is no such encoder, or the negative prompt is too long for `length`.
    """
    from shotverse_jax.models.umt5 import UMT5Encoder
    from shotverse_jax.weights import load_text

    dtype = "float32" if jax.default_backend() == "cpu" else "bfloat16"
    config, params, tokenizer = load_text(name, dtype=dtype)
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
            if not np.isfinite(states_BSD).all():
                raise ValueError(f"the states of the text encoder {name} do not fit float16")
            for record, states_SD, size in zip(part, states_BSD, sizes_B, strict=False):
                yield record | {"text_SD": states_SD[:size]}

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
    """How batches are split over this process's devices, the parameters on all of them, a batch that divides."""
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
    """Stacked and filled up with zeros, so that one program does all batches."""
    rows_BX = np.stack(rows)
    return np.pad(rows_BX, [(0, size - len(rows)), *[(0, 0)] * (rows_BX.ndim - 1)])


def _digest(params: dict) -> str:
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf))
    return digest.hexdigest()[:16]
