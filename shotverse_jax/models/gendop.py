"""GenDoP (arXiv 2504.07083): conditions go through CLIP's towers and a projection, and are a pose decoder's prefix.

It takes from the text tower the final-normed states of all 77 tokens, padding too, and from the towers of the image
and of its depth map all states of the last layer, class token first, without the final norm (GenDoP core/models.py).

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


class GenDoP(nn.Module):
    """P(pose tokens | caption); with `config.vision` P(pose tokens | caption, first frame, its depth).

    Parameters: text and, with vision, image and depth, each a `tower` and its `project`; norm; decoder.
    `inputs/clip.py` makes the inputs.
    """

    config: GenDoPConfig
    execution: Execution = Execution()

    def setup(self):
        config, width, execution = self.config, self.config.decoder.hidden_size, self.execution
        self.text = Condition(CLIPText(config.text, execution), width, execution)
        if config.vision is not None:
            self.image = Condition(CLIPVision(config.vision, execution), width, execution)
            self.depth = Condition(CLIPVision(config.vision, execution), width, execution)
        self.norm = LayerNorm()
        self.decoder = OPTDecoder(config.decoder, self.execution)

    def __call__(
        self,
        pose_ids_BN: jax.Array,
        text_ids_BT: jax.Array,
        real_BT: jax.Array,
        image_BHWC: jax.Array | None = None,
        depth_BHW: jax.Array | None = None,
        deterministic: bool = True,
    ) -> jax.Array:
        """Logits [B, N, V], float32; those at place j predict pose_ids_BN[:, j + 1] (BOS comes first).

        deterministic: False runs the decoder's dropout and needs an rng named "dropout". Other arguments as `prefix`.
        """
        prefix_BPD = self.prefix(text_ids_BT, real_BT, image_BHWC, depth_BHW)
        return self.decoder(prefix_BPD, pose_ids_BN, deterministic)[:, prefix_BPD.shape[1] :]

    def prefix(
        self,
        text_ids_BT: jax.Array,
        real_BT: jax.Array,
        image_BHWC: jax.Array | None = None,
        depth_BHW: jax.Array | None = None,
    ) -> jax.Array:
        """What the decoder reads before BOS, [B, P, decoder width]: text, then image, then depth, normed together.

        Args:
            text_ids_BT: int32 token ids of the caption.
            real_BT: bool, True up to the end token.
            image_BHWC: the first frame, normalised as CLIP's.
            depth_BHW: its depth map; it goes through a tower as three equal channels.

        Raises:
            ValueError: pictures for a network without towers for them, or the reverse.
        """
        given = [picture is not None for picture in (image_BHWC, depth_BHW)]
        if given != [self.config.vision is not None] * 2:
            raise ValueError(
                "a GenDoP with vision towers reads an image and its depth, one without reads neither; "
                f"got image: {given[0]}, depth: {given[1]}, vision towers: {self.config.vision is not None}"
            )
        parts = [self.text(text_ids_BT, real_BT)]
        if self.config.vision is not None:
            depth_BHWC = jnp.broadcast_to(depth_BHW[..., None], (*depth_BHW.shape, 3))
            parts += [self.image(image_BHWC), self.depth(depth_BHWC)]
        # One norm after joining: GenDoP has a single `norm_cond` for all conditions.
        return self.norm(jnp.concatenate(parts, axis=1))


def example(config: GenDoPConfig) -> dict:
    """The smallest arguments of `GenDoP.__call__` that fix the parameters, as shapes.

    One token, and one image with its depth where the network sees them.
    """
    inputs = {
        "pose_ids_BN": jax.ShapeDtypeStruct((1, 1), jnp.int32),
        "text_ids_BT": jax.ShapeDtypeStruct((1, 1), jnp.int32),
        "real_BT": jax.ShapeDtypeStruct((1, 1), bool),
    }
    if config.vision is not None:
        side = config.vision.image_size
        inputs["image_BHWC"] = jax.ShapeDtypeStruct((1, side, side, 3), jnp.float32)
        inputs["depth_BHW"] = jax.ShapeDtypeStruct((1, side, side), jnp.float32)
    return inputs
