"""GenDoP (arXiv 2504.07083): conditions go through CLIP's towers and a projection, and are a pose decoder's prefix.

A network reads a caption, a picture, the picture's depth map, or several of them (`config.MODES`). It takes from the
text tower the final-normed states of all 77 tokens, padding too, and from the towers of the image and of its depth map
all states of the last layer, class token first, without the final norm (GenDoP core/models.py).

Axes: T tokens of the text, P places of the prefix, N pose tokens; images are [B, H, W, C].
"""

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import Execution, GenDoPConfig
from shotverse_jax.models.clip import CLIPText, CLIPVision, Seen
from shotverse_jax.models.opt import OPTDecoder
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import LayerNorm


class Condition(nn.Module):
    """The states of a tower, projected to the decoder's width, [B, P, width]."""

    tower: CLIPText | CLIPVision
    width: int
    execution: Execution

    @nn.compact
    def __call__(self, *inputs):
        states = self.tower(*inputs)
        states_BPD = states.last_BPD if isinstance(states, Seen) else states
        return Linear(self.width, use_bias=True, name="project")(states_BPD.astype(self.execution.dtype))


CONDITIONS = ("text_ids_BT", "real_BT", "image_BHWC", "depth_BHW")
"""Names of the arrays of conditions, in the order in which `GenDoP.prefix` takes them."""


class AnchorHead(nn.Module):
    """The position of the first camera [B, 3], float32, of the conditions together (VERTIGO core/models.py)."""

    execution: Execution

    @nn.compact
    def __call__(self, prefix_BPD):
        width = prefix_BPD.shape[-1]
        mean_BD = jnp.mean(prefix_BPD.astype(jnp.float32), axis=1)
        hidden_BD = LayerNorm(name="norm")(mean_BD).astype(self.execution.dtype)
        hidden_BD = nn.silu(Linear(width, use_bias=True, name="hidden")(hidden_BD))
        return Linear(3, use_bias=True, name="out")(hidden_BD).astype(jnp.float32)


class GenDoP(nn.Module):
    """P(pose tokens | the conditions of `config.conditions`).

    Parameters: text, image and depth, those that it is conditioned on, each a `tower` and its `project`; norm; decoder;
    and anchor_head where `config.tokens.anchor` is "head". `inputs/clip.py` makes the inputs.
    """

    config: GenDoPConfig
    execution: Execution = Execution()

    def setup(self):
        config, width, execution = self.config, self.config.decoder.hidden_size, self.execution
        if "text" in config.conditions:
            self.text = Condition(CLIPText(config.text, execution), width, execution)
        if "image" in config.conditions:
            self.image = Condition(CLIPVision(config.vision, execution), width, execution)
        if "depth" in config.conditions:
            self.depth = Condition(CLIPVision(config.vision, execution), width, execution)
        self.norm = LayerNorm()
        self.decoder = OPTDecoder(config.decoder, self.execution)
        if config.tokens.anchor == "head":
            self.anchor_head = AnchorHead(execution)

    def __call__(
        self,
        pose_ids_BN: jax.Array,
        text_ids_BT: jax.Array | None = None,
        real_BT: jax.Array | None = None,
        image_BHWC: jax.Array | None = None,
        depth_BHW: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Logits [B, N, V], float32; those at place j predict pose_ids_BN[:, j + 1] (BOS comes first).

        deterministic: False runs the decoder's dropout and needs an rng named "dropout". Other arguments as `prefix`.
        """
        prefix_BPD = self.prefix(text_ids_BT, real_BT, image_BHWC, depth_BHW)
        if self.is_initializing() and self.config.tokens.anchor == "head":
            self.predict_anchor(prefix_BPD)  # its parameters belong to the tree
        return self.decoder(prefix_BPD, pose_ids_BN, deterministic)[:, prefix_BPD.shape[1] :]

    def prefix(
        self,
        text_ids_BT: jax.Array | None = None,
        real_BT: jax.Array | None = None,
        image_BHWC: jax.Array | None = None,
        depth_BHW: jax.Array | None = None,
    ) -> jax.Array:
        """What the decoder reads before BOS, [B, P, decoder width]: text, then image, then depth, normed together.

        Conditions that are None are left out of the prefix: a network of several reads any of `MODES` that it has the
        towers for.

        Args:
            text_ids_BT: int32 token ids of the caption.
            real_BT: bool, True up to the end token.
            image_BHWC: the first frame, normalised as CLIP's.
            depth_BHW: its depth map; it goes through a tower as three equal channels.

        Raises:
            ValueError: a condition that the network has no tower for, or none of them.
        """
        given = {"text": text_ids_BT, "image": image_BHWC, "depth": depth_BHW}
        given = [name for name, value in given.items() if value is not None]
        if not given or not set(given) <= set(self.config.conditions):
            has = " and ".join(self.config.conditions)
            raise ValueError(f"this GenDoP has towers for {has}; it was given {' and '.join(given) or 'nothing'}")
        parts = []
        if text_ids_BT is not None:
            parts.append(self.text(text_ids_BT, real_BT))
        if image_BHWC is not None:
            parts.append(self.image(image_BHWC))
        if depth_BHW is not None:
            parts.append(self.depth(jnp.broadcast_to(depth_BHW[..., None], (*depth_BHW.shape, 3))))
        # One norm after joining: GenDoP has a single `norm_cond` for all conditions.
        return self.norm(jnp.concatenate(parts, axis=1))

    def predict_anchor(self, prefix_BPD: jax.Array) -> jax.Array:
        """The first camera's position [B, 3], float32, as (position - mean) / scale of `config.tokens`.

        Only a network whose `config.tokens.anchor` is "head" has it. prefix_BPD: what `prefix` returns.
        """
        return self.anchor_head(prefix_BPD)


def example(config: GenDoPConfig) -> dict:
    """The smallest arguments of `GenDoP.__call__` that fix the parameters, as shapes.

    One token, and one of each condition of the network.
    """
    inputs = {"pose_ids_BN": jax.ShapeDtypeStruct((1, 1), jnp.int32)}
    if "text" in config.conditions:
        inputs["text_ids_BT"] = jax.ShapeDtypeStruct((1, 1), jnp.int32)
        inputs["real_BT"] = jax.ShapeDtypeStruct((1, 1), bool)
    side = config.vision.image_size if config.vision else 0
    if "image" in config.conditions:
        inputs["image_BHWC"] = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
    if "depth" in config.conditions:
        inputs["depth_BHW"] = jax.ShapeDtypeStruct((1, side, side), jnp.float32)
    return inputs
