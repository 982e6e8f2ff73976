"""The ShotVerse planner: captions with trajectory queries through a text model, its states into a pose decoder.

Axes: S tokens of the screenplay (query slots among them), N pose tokens, K shots, M queries of a shot, Q = K M, P
places of the decoder's prefix; T are screenplay and pose tokens together.
"""

from collections.abc import Mapping

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import Execution, PlannerConfig
from shotverse_jax.models.opt import OPTDecoder
from shotverse_jax.models.qwen3_vl import Cache, Qwen3VLText
from shotverse_jax.nn.linear import Linear

Batch = Mapping[str, jax.Array]


class Planner(nn.Module):
    """P(pose tokens | screenplay) of ShotVerse §3.1, Eq. 1 to 3, and its ablations (Table 6).

    A batch, all of whose screenplays have `num_shots` shots, holds:
        text_ids_BS: int32, token ids; any at query slots.
        slot_BS: int32, k * M + m at the slot of query m of shot k, -1 at text.
        real_BS: bool, True at tokens and query slots, False at padding.
        pose_ids_BN: int32, BOS … EOS and then PAD.

    Parameters: vlm, queries [M, D], separator [D], project, decoder. With `encoder` "text" or "none" there are no
    queries and no separator; with "none" a table `embedding` takes the place of vlm. With `decoder_kind` "native" a
    table `codebook` and a `head` take the place of project and decoder. A `lora` collection may have adapters below
    `vlm`.
    """

    config: PlannerConfig
    execution: Execution

    def setup(self):
        config = self.config
        width, init = config.text.hidden_size, nn.initializers.normal(0.02)
        if config.encoder == "none":
            if config.decoder_kind == "native":
                raise ValueError("a native decoder is the text model itself: it needs encoder 'queries' or 'text'")
            self.embedding = self.param("embedding", init, (config.text.vocab_size, width))
        else:
            self.vlm = Qwen3VLText(config.text, self.execution)
        if config.encoder == "queries":
            self.queries = self.param("queries", init, (config.num_queries, width))
            self.separator = self.param("separator", init, (width,))
        if config.decoder_kind == "native":
            self.codebook = self.param("codebook", init, (config.decoder.vocab_size, width))
            self.head = Linear(config.decoder.vocab_size)
        else:
            self.project = Linear(config.decoder.hidden_size, use_bias=True)
            self.decoder = OPTDecoder(config.decoder, self.execution)

    def __call__(self, batch: Batch, num_shots: int, deterministic: bool = True) -> tuple[jax.Array, jax.Array]:
        """(logits_BNV, codes_BPD), both float32; logits[:, j] predict pose_ids[:, j + 1], codes are `encode`'s.

        num_shots: of every screenplay; static. deterministic: False runs dropout and needs an rng named "dropout".
        """
        ids_BN = batch["pose_ids_BN"]
        if self.config.decoder_kind == "native":
            return self._native(batch, num_shots, ids_BN, deterministic)
        codes_BPD = self.encode(batch, num_shots, deterministic)
        logits_BTV = self.decoder(self._project(codes_BPD), ids_BN, deterministic)
        return logits_BTV[:, codes_BPD.shape[1] :], codes_BPD

    def encode(self, batch: Batch, num_shots: int, deterministic: bool = True) -> jax.Array:
        """Camera codes H_plan [B, P, D], float32 (Eq. 2).

        With queries P = K M + K - 1: the final-normed states at each shot's queries, and a separator between shots.
        Without queries P = S: every state of the text, zero at padding.
        """
        x_BSD, real_BS = self._embed(batch), batch["real_BS"]
        states_BSD = x_BSD if self.config.encoder == "none" else self.vlm(x_BSD, None, real_BS, deterministic)
        return self._codes(states_BSD, batch, num_shots)

    def prefix(self, batch: Batch, num_shots: int) -> jax.Array:
        """The projected codes [B, P, decoder width], which the OPT decoder reads before BOS."""
        return self._project(self.encode(batch, num_shots))

    def native_prefill(self, batch: Batch, length: int) -> Cache:
        """The cache of the native decoder after the text, with room for `length` pose tokens."""
        x_BSD, real_BS = self._embed(batch), batch["real_BS"]
        cache = self.vlm.empty_cache(x_BSD.shape[0], x_BSD.shape[1] + length)
        # Places of pose tokens are real from the start: until they are written, causality hides them.
        room_BS = jnp.pad(real_BS, ((0, 0), (0, length)), constant_values=True)
        return self.vlm.extend(x_BSD, cache, 0, real_BS=room_BS)[1]

    def native_step(self, batch: Batch, ids_B: jax.Array, index: jax.Array, cache: Cache) -> tuple[jax.Array, Cache]:
        """(logits [B, V] after pose token number `index`, the cache with it); ids_B are these tokens."""
        # In the cache a pose token comes after all text, padding too; its position counts real tokens only.
        real_BS = batch["real_BS"]
        positions_B = jnp.sum(real_BS, axis=1) + index
        room = cache["k"].shape[2] - real_BS.shape[1]
        states_B1D, cache = self.vlm.extend(
            self.codebook[ids_B][:, None],
            cache,
            real_BS.shape[1] + index,
            positions_3BT=jnp.broadcast_to(positions_B[:, None], (3, len(ids_B), 1)),
            real_BS=jnp.pad(real_BS, ((0, 0), (0, room)), constant_values=True),
        )
        return self.head(states_B1D[:, 0]).astype(jnp.float32), cache

    def _embed(self, batch):
        if self.config.encoder == "none":
            return self.embedding[batch["text_ids_BS"]]
        x_BSD = self.vlm.embed(batch["text_ids_BS"])
        if self.config.encoder == "text":
            return x_BSD
        # Every shot has the same M queries; what tells shots apart is the text around them.
        queries_BSD = self.queries[batch["slot_BS"] % self.config.num_queries].astype(x_BSD.dtype)
        return jnp.where((batch["slot_BS"] >= 0)[..., None], queries_BSD, x_BSD)

    def _codes(self, states_BSD, batch, num_shots):
        states_BSD = states_BSD.astype(jnp.float32)
        if self.config.encoder != "queries":
            return jnp.where(batch["real_BS"][..., None], states_BSD, 0.0)
        queries = self.config.num_queries
        # Where in the text each query is, found from slot_BS so that any layout of captions and queries is understood.
        places_BQ = jnp.argmax(batch["slot_BS"][:, None] == jnp.arange(num_shots * queries)[:, None], axis=-1)
        codes_BQD = jnp.take_along_axis(states_BSD, places_BQ[..., None], axis=1)
        batch_size, width = codes_BQD.shape[0], codes_BQD.shape[2]
        codes_BKMD = codes_BQD.reshape(batch_size, num_shots, queries, width)
        separator_BK1D = jnp.broadcast_to(self.separator, (batch_size, num_shots, 1, width))
        joined_BKMD = jnp.concatenate([codes_BKMD, separator_BK1D], axis=2)
        # Every shot was given a separator; Eq. 2 has them between shots, so none after the last.
        return joined_BKMD.reshape(batch_size, -1, width)[:, :-1]

    def _project(self, codes_BPD):
        return self.project(codes_BPD.astype(self.execution.dtype))

    def _native(self, batch, num_shots, ids_BN, deterministic):
        x_BSD, real_BS = self._embed(batch), batch["real_BS"]
        x_BTD = jnp.concatenate([x_BSD, self.codebook[ids_BN].astype(x_BSD.dtype)], axis=1)
        real_BT = jnp.concatenate([real_BS, jnp.ones(ids_BN.shape, bool)], axis=1)
        # Positions count real tokens only, so that the padding between text and poses does not shift the poses.
        positions_BT = jnp.cumsum(real_BT, axis=1) - 1
        states_BTD = self.vlm(x_BTD, jnp.broadcast_to(positions_BT, (3, *positions_BT.shape)), real_BT, deterministic)
        places = real_BS.shape[1]
        logits_BNV = self.head(states_BTD[:, places:]).astype(jnp.float32)
        return logits_BNV, self._codes(states_BTD[:, :places], batch, num_shots)


def example(config: PlannerConfig) -> dict:
    """The smallest arguments of `Planner.__call__` that fix the parameters, as shapes.

    One shot whose text is one token, before the queries of the shot.
    """
    tokens = 1 + (config.num_queries if config.encoder == "queries" else 0)
    return {
        "batch": {
            "text_ids_BS": jax.ShapeDtypeStruct((1, tokens), jnp.int32),
            "slot_BS": jax.ShapeDtypeStruct((1, tokens), jnp.int32),
            "real_BS": jax.ShapeDtypeStruct((1, tokens), bool),
            "pose_ids_BN": jax.ShapeDtypeStruct((1, 2), jnp.int32),
        },
        "num_shots": 1,
    }
