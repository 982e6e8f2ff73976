"""CameraCLIP ("Can video generation replace cinematographers?", arXiv 2412.12223): clips and texts in one space.

Both towers of a CLIP with their projections and its temperature, one network (transformers' CLIPModel). A clip is some
frames; its vector is the mean of theirs. A mean does not depend on the order of the frames, so a pan to the left and
one to the right have the same vector: the temporal code is added to it where the config has one.

The code reads, of every two neighbouring frames, the vector and the layout of the first (a few numbers of each patch,
in their places) and how both change to the second. One hidden layer makes a state of each pair, and a linear layer
reads the mean vector, the last frame's minus the first's, and the mean of the states. It begins as the mean over the
frames. (The mean of the differences of neighbours is the last minus the first, divided by their count; it needs no
entry of its own.)

Parameters: image and text, each a `tower` and its `project`; logit_scale, the logarithm of 1 / temperature; and `code`.

Axes: B clips, N texts, T frames (in texts: tokens), J numbers of the joint space, P patches, D width of the tower,
K pairs of neighbouring frames, F numbers of the state of a pair.
"""

from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from shotverse_jax.config import CameraCLIPConfig, Execution
from shotverse_jax.models.clip import CLIPText, CLIPVision, Seen
from shotverse_jax.nn.linear import Linear
from shotverse_jax.nn.norm import LayerNorm

FIRST_SCALE = 2.6592600369327783
"""logit_scale before training: the logarithm of 1 / 0.07."""


class VideoVector(NamedTuple):
    """What a clip becomes.

    Attributes:
        video_BJ: float32, of length 1.
        pair_BKF: [B, K, F] states of neighbouring frames, which the view probe reads; None without a temporal code.
    """

    video_BJ: jax.Array
    pair_BKF: jax.Array | None


class Read(NamedTuple):
    """Clips and texts in the joint space, float32, of length 1; and the factor of their products before a softmax."""

    video_BJ: jax.Array
    text_NJ: jax.Array
    scale: jax.Array
    pair_BKF: jax.Array | None


class Side(nn.Module):
    """One side of a CLIP: states of its tower, and what `project` makes of one of them, [B, J] float32."""

    tower: CLIPText | CLIPVision
    size: int
    execution: Execution

    @nn.compact
    def __call__(self, *inputs):
        states = self.tower(*inputs)
        if isinstance(states, Seen):
            one_BD = states.pooled_BD
        else:
            # A text ends at its last real token. Its id is the largest in CLIP's own vocabulary, but not in others.
            end_B11 = inputs[1].sum(1)[:, None, None] - 1
            one_BD = jnp.take_along_axis(states, end_B11, axis=1)[:, 0]
        return Linear(self.size, name="project")(one_BD.astype(self.execution.dtype)).astype(jnp.float32), states


def as_mean(key: jax.Array, shape: tuple[int, int], dtype: Any = jnp.float32) -> jax.Array:
    """A kernel whose output is its first inputs: the mean vector."""
    return jnp.eye(*shape, dtype=dtype)


class TemporalCode(nn.Module):
    """The vectors image_BTJ and patches patch_BTPD of frames to one vector [B, J], and the states of pairs."""

    config: CameraCLIPConfig
    execution: Execution

    @nn.compact
    def __call__(self, image_BTJ: jax.Array, patch_BTPD: jax.Array) -> tuple[jax.Array, jax.Array]:
        config, dtype = self.config, self.execution.dtype
        layout_BTPL = Linear(config.layout_size, name="squeeze")(LayerNorm(name="patch_norm")(patch_BTPD).astype(dtype))
        look_BTJ = LayerNorm(name="image_norm")(image_BTJ).astype(dtype)
        frame_BTC = jnp.concatenate([look_BTJ, layout_BTPL.reshape(*look_BTJ.shape[:2], -1)], axis=-1)
        first_BFC, change_BFC = frame_BTC[:, :-1], frame_BTC[:, 1:] - frame_BTC[:, :-1]
        hidden = Linear(config.code_size, True, nn.initializers.lecun_normal(), name="hidden")
        pair_BKF = nn.gelu(hidden(jnp.concatenate([first_BFC, change_BFC], axis=-1))).astype(jnp.float32)
        parts = image_BTJ.mean(1), image_BTJ[:, -1] - image_BTJ[:, 0], pair_BKF.mean(1)
        out = Linear(config.joint_size, kernel_init=as_mean, name="out")
        return out(jnp.concatenate(parts, axis=-1)), pair_BKF


class CameraCLIP(nn.Module):
    """Clips and texts in one space, where the cosine says how well a text fits a clip.

    kept: how many of the first blocks of the image's and the text's tower are stacks of their own that do not learn
        (`models.clip.CLIPText.kept`); default none.
    """

    config: CameraCLIPConfig
    execution: Execution = Execution()
    kept: tuple[int, int] = (0, 0)

    def setup(self):
        config, execution = self.config, self.execution
        self.image = Side(CLIPVision(config.vision, execution, self.kept[0]), config.joint_size, execution)
        self.text = Side(CLIPText(config.text, execution, self.kept[1]), config.joint_size, execution)
        self.logit_scale = self.param("logit_scale", nn.initializers.constant(FIRST_SCALE), ())
        if config.temporal == "code":
            self.code = TemporalCode(config, execution)

    def __call__(self, frames_BTHWC: jax.Array, ids_NT: jax.Array, real_NT: jax.Array) -> Read:
        """Clips, frames as those of `encode_video`, and texts, as those of `encode_text`; each side by itself."""
        video_BJ, pair_BKF = self.encode_video(frames_BTHWC)
        return Read(video_BJ, self.encode_text(ids_NT, real_NT), jnp.exp(self.logit_scale), pair_BKF)

    def encode_video(self, frames_BTHWC: jax.Array) -> VideoVector:
        """The vectors of clips.

        frames_BTHWC: squares of the tower's size, normalised as `inputs.camera_clip.prepare` makes them; one frame or
            more, and two or more for a temporal code.
        """
        batch, frames = frames_BTHWC.shape[:2]
        image_RJ, seen = self.image(frames_BTHWC.reshape(-1, *frames_BTHWC.shape[2:]))
        image_BTJ = image_RJ.reshape(batch, frames, -1)
        if self.config.temporal == "mean":
            return VideoVector(_unit(image_BTJ.mean(1)), None)
        patch_BTPD = seen.last_BPD[:, 1:].reshape(batch, frames, -1, self.config.vision.hidden_size)
        video_BJ, pair_BKF = self.code(image_BTJ, patch_BTPD)
        return VideoVector(_unit(video_BJ), pair_BKF)

    def encode_text(self, ids_NT: jax.Array, real_NT: jax.Array) -> jax.Array:
        """The vectors [N, J] of texts, float32, of length 1; real_NT is True up to the end token."""
        return _unit(self.text(ids_NT, real_NT)[0])


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.maximum(jnp.linalg.norm(x, axis=-1, keepdims=True), 1e-12)


def split_stack(tower: dict, kept: int) -> tuple[dict, dict]:
    """(the parts of a tower's parameters that stay, those that learn), for `kept` first blocks that do not learn."""
    learn = {name: tower[name] for name in ("post_norm", "final_norm") if name in tower}
    stay = {name: value for name, value in tower.items() if name not in (*learn, "layers")}
    first, last = (
        jax.tree.map(lambda x, part=part: x[part], tower["layers"]) for part in (slice(kept), slice(kept, None))
    )
    return stay | {"layers": first}, learn | {"last": last}


def join_stack(tower: dict) -> dict:
    """The parameters of a tower as one stack, of those that `split_stack` divided; others as they are."""
    if "last" not in tower:
        return tower
    layers = jax.tree.map(lambda *parts: jnp.concatenate(parts), tower["layers"], tower["last"])
    return {name: value for name, value in tower.items() if name != "last"} | {"layers": layers}


def example(config: CameraCLIPConfig) -> dict:
    """The smallest arguments of `CameraCLIP.__call__` that fix the parameters, as shapes.

    One clip of one or two frames, and one token.
    """
    side, frames = config.vision.image_size, 2 if config.temporal == "code" else 1
    return {
        "frames_BTHWC": jax.ShapeDtypeStruct((1, frames, side, side, 3), jnp.float32),
        "ids_NT": jax.ShapeDtypeStruct((1, 1), jnp.int32),
        "real_NT": jax.ShapeDtypeStruct((1, 1), bool),
    }
