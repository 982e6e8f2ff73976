"""Pictures for Qwen3-VL, prepared on the host: pixels → patches → frames of one length, and their places in the text.

A grid is (t, h, w) in patches, as transformers counts them: t pairs of frames; h and w are multiples of merge_size. An
image is one pair, which has the image twice. In the text every pair is a run of its own, of h * w / merged_patches
image or video tokens, with other tokens between two runs (`<|vision_start|>`, `<|vision_end|>` and, in a video, the
time).

Array axes: B texts; T text tokens (of frames_THWC: frames); F frames; S patches of a frame; N patches of all frames; P
values of a patch.
"""

import itertools
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from einops import rearrange
from PIL import Image

from shotverse_jax.config import Qwen3VLConfig, Qwen3VLVisionConfig

# Least and most pixels as they are published; a network's own are in its config.
IMAGE_PIXELS, VIDEO_PIXELS = Qwen3VLConfig.image_pixels, Qwen3VLConfig.video_pixels

Grid = tuple[int, int, int]


def fit_size(
    height: int, width: int, factor: int, limits: tuple[int, int], frames: int | None = None
) -> tuple[int, int]:
    """Returns (height, width) to which a picture is resized: multiples of `factor` near its size, inside the limits.

    Source: transformers' smart_resize of Qwen2-VL (images) and of Qwen3-VL (videos).

    Args:
        height, width: size of the picture in pixels.
        factor: patch_size * merge_size.
        limits: least and most pixels.
        frames: number of frames of a video; None (default) for an image.

    Raises:
        ValueError: one side is more than 200 times the other.
    """
    least, most = limits
    if frames is not None and min(height, width) < factor:
        scale = max(factor / height, factor / width)
        height, width = int(height * scale), int(width * scale)
    if max(height, width) > 200 * min(height, width):
        raise ValueError(f"a picture of {height} x {width} is too narrow; one side may be at most 200 times the other")
    # Python rounds halves to even, and so does the original.
    fitted = [round(side / factor) * factor for side in (height, width)]
    count = 1 if frames is None else frames
    # Frames go in pairs; Python rounds half a pair to an even number of pairs, and so does the original.
    total = math.prod(fitted) * (1 if frames is None else round(frames / 2) * 2)
    if total > most:
        shrink = math.sqrt(count * height * width / most)
        # Sides are rounded towards the limit that was missed: down to stay below the most, up to reach the least.
        fitted = [max(factor, math.floor(side / shrink / factor) * factor) for side in (height, width)]
    elif total < least:
        grow = math.sqrt(least / (count * height * width))
        fitted = [math.ceil(side * grow / factor) * factor for side in (height, width)]
    return fitted[0], fitted[1]


def prepare_image(image_HWC: np.ndarray, config: Qwen3VLVisionConfig, limits=IMAGE_PIXELS) -> tuple[np.ndarray, Grid]:
    """Returns the rows of patches [N, P] and the grid of one uint8 RGB image, resized (bicubic) to fit the limits."""
    return _prepare(np.asarray(image_HWC)[None], config, limits, None)


def prepare_video(frames_THWC: np.ndarray, config: Qwen3VLVisionConfig, limits=VIDEO_PIXELS) -> tuple[np.ndarray, Grid]:
    """Returns the rows of patches [N, P] and the grid of uint8 RGB frames, resized (bicubic) to fit the limits.

    The frames are used as they are; the published processor samples 2 per second, 4 to 768 of them. An odd last frame
    is used twice.
    """
    return _prepare(np.asarray(frames_THWC), config, limits, len(frames_THWC))


def _prepare(frames_THWC, config, limits, frames):
    if frames_THWC.ndim != 4 or frames_THWC.shape[-1] != 3 or frames_THWC.dtype != np.uint8 or not frames_THWC.size:
        raise ValueError(
            "pictures are uint8 RGB arrays, [height, width, 3] for an image, [frames, height, width, 3] for a video; "
            f"got {frames_THWC.dtype} {frames_THWC.shape[frames is None :]}"
        )
    size = fit_size(*frames_THWC.shape[1:3], config.patch_size * config.merge_size, limits, frames)
    if size != frames_THWC.shape[1:3]:
        resized = [Image.fromarray(frame).resize(size[::-1], Image.Resampling.BICUBIC) for frame in frames_THWC]
        frames_THWC = np.stack([np.asarray(frame) for frame in resized])
    # The settings beside the weights have mean and deviation 0.5, not CLIP's, which are transformers' default.
    return patchify(frames_THWC.astype(np.float32) / 127.5 - 1, config)


def patchify(frames_THWC: np.ndarray, config: Qwen3VLVisionConfig) -> tuple[np.ndarray, Grid]:
    """Cuts frames into patches. The last frame is repeated up to a multiple of temporal_patch_size.

    Args:
        frames_THWC: [T, H, W, channels] float32.
        config: the vision tower.

    Returns:
        rows [t * h * w, channels * temporal_patch_size * patch_size²] in the order of merged blocks, and the grid.

    Raises:
        ValueError: height or width is not a multiple of patch_size * merge_size.
    """
    factor = config.patch_size * config.merge_size
    height, width = frames_THWC.shape[1:3]
    if height % factor or width % factor:
        raise ValueError(
            f"{height} x {width} pixels cannot be cut into tokens of {factor} x {factor}; resize to a multiple"
        )
    missing = -len(frames_THWC) % config.temporal_patch_size
    frames_THWC = np.concatenate([frames_THWC, *[frames_THWC[-1:]] * missing])
    # The patches that become one token are neighbours, so the tower merges them by a reshape. Values of a patch have
    # the order of the stored convolution.
    rows = rearrange(
        frames_THWC,
        "(t f) (h mh y) (w mw x) c -> (t h w mh mw) (c f y x)",
        f=config.temporal_patch_size,
        mh=config.merge_size,
        mw=config.merge_size,
        y=config.patch_size,
        x=config.patch_size,
    )
    grid = len(frames_THWC) // config.temporal_patch_size, height // config.patch_size, width // config.patch_size
    return rows, grid


def pack(
    rows_NP: np.ndarray,
    grids: Sequence[Grid] | np.ndarray,
    config: Qwen3VLVisionConfig,
    patches: int | None = None,
    frames: int | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Packs the rows of all images and videos, in the order of the text, into the arrays of the vision tower.

    Args:
        rows_NP: patches of all pictures.
        grids: grid of every image or video.
        config: the vision tower.
        patches: S of the result; None (default) is the longest frame. Choose it from a few fixed values, so that the
            tower is compiled a few times only; the splash kernel needs multiples of 128.
        frames: F of the result; None (default) is the number of frames. Choose it from a few values too.

    Returns:
        pixels_FSP: float32 patches of each frame, padded with zeros.
        size_F2: int32 height and width of each frame in patches, 0 for padding.

    Raises:
        ValueError: the grids do not fit the rows or the merging, or do not fit into these numbers.
    """
    size_F2 = _frame_sizes(grids, config)
    lengths = size_F2.prod(axis=1)
    if rows_NP.shape != (lengths.sum(), config.patch_values):
        raise ValueError(
            f"the grids make {lengths.sum()} rows of {config.patch_values} values, got an array {rows_NP.shape}"
        )
    patches, frames = patches or int(lengths.max()), frames or len(lengths)
    if lengths.max() > patches or len(lengths) > frames or patches % config.merged_patches:
        raise ValueError(
            f"{len(lengths)} frames of up to {lengths.max()} patches do not fit into {frames} frames of {patches}; "
            f"give more room, in multiples of {config.merged_patches} patches"
        )
    pixels_FSP = np.zeros((frames, patches, config.patch_values), np.float32)
    for frame, rows in zip(pixels_FSP, np.split(rows_NP, np.cumsum(lengths)[:-1]), strict=False):
        frame[: len(rows)] = rows
    return pixels_FSP, np.pad(size_F2, ((0, frames - len(size_F2)), (0, 0))).astype(np.int32)


def _frame_sizes(grids, config) -> np.ndarray:
    """Height and width of every frame in patches, [F, 2]."""
    grids = np.asarray(grids)
    if grids.ndim != 2 or grids.shape[1] != 3 or not len(grids) or (grids < 1).any():
        raise ValueError(f"grids are (t, h, w) in patches, one for each image or video, got {grids.tolist()}")
    for t, h, w in grids.tolist():
        if h % config.merge_size or w % config.merge_size:
            raise ValueError(
                f"grid {(t, h, w)} is not divisible by the merge size {config.merge_size}; resize the picture so that "
                f"it has a multiple of {config.patch_size * config.merge_size} pixels each way"
            )
    return np.repeat(grids[:, 1:], grids[:, 0], axis=0)


class Arrangement(NamedTuple):
    """Where pictures are in texts.

    Attributes:
        positions_3BT: int32 positions of M-RoPE in time, height and width.
        feature_BT: int32 index of the picture's feature that replaces a token, -1 at text.
        delta_B: int32; number of real tokens + delta = position of the next token.
    """

    positions_3BT: np.ndarray
    feature_BT: np.ndarray
    delta_B: np.ndarray


def arrange(
    ids_BT: np.ndarray,
    grids: Sequence[Grid] | np.ndarray,
    config: Qwen3VLConfig,
    patches: int,
    real_BT: np.ndarray | None = None,
) -> Arrangement:
    """Finds the frames' places and positions in texts (transformers' Qwen3VLModel.get_rope_index).

    A text token has the next position on all three axes. The tokens of a frame share one position in time and count
    their row and column in height and width; the text after it goes on behind the longer of its sides.

    Args:
        ids_BT: token ids with runs of image or video tokens.
        grids: grid of every image or video, in the order of the texts.
        config: the language model.
        patches: S of the packed pixels.
        real_BT: bool, False at padding, which gets position 0; None (default) for no padding.

    Raises:
        ValueError: the runs of image and video tokens are not as many or as long as the frames.
    """
    ids_BT = np.asarray(ids_BT)
    real_BT = np.ones(ids_BT.shape, bool) if real_BT is None else np.asarray(real_BT, bool)
    merge, per_frame = config.vision.merge_size, patches // config.vision.merged_patches
    sizes = _frame_sizes(grids, config.vision) // merge if len(grids) else []
    frame, sides = 0, [(int(h), int(w)) for h, w in sizes]
    out = Arrangement(np.zeros((3, *ids_BT.shape), np.int32), np.full(ids_BT.shape, -1, np.int32), [])
    for b, (ids, mask) in enumerate(zip(ids_BT, real_BT, strict=True)):
        (real,) = np.nonzero(mask)
        start, at = 0, 0
        # Runs of one seen token are frames, runs of anything else (-1) are text.
        for token, run in itertools.groupby(np.where(np.isin(ids[real], _seen_tokens(config)), ids[real], -1)):
            count = len(list(run))
            where, at = real[at : at + count], at + count
            if token < 0:
                out.positions_3BT[:, b, where] = start + np.arange(count)
                start += count
                continue
            h, w = sides[frame] if frame < len(sides) else (0, 0)
            if h * w != count:
                made = f"frame {frame + 1} makes {h * w}" if h else f"there are only {len(sides)} frames"
                raise ValueError(
                    f"text {b + 1} has {count} image tokens in a row where {made}; "
                    "write as many as the picture has merged patches, each frame apart from the next"
                )
            place = np.stack([np.zeros(count, int), *np.divmod(np.arange(count), w)])
            out.positions_3BT[:, b, where] = start + place
            out.feature_BT[b, where] = frame * per_frame + np.arange(count)
            start, frame = start + max(h, w), frame + 1
        # A picture takes fewer positions than tokens, so the count of tokens alone does not give the next position.
        out.delta_B.append(start - len(real))
    if frame < len(sides):
        raise ValueError(f"the texts have {frame} runs of image tokens for {len(sides)} frames; write one run for each")
    return out._replace(delta_B=np.asarray(out.delta_B, np.int32))


def _seen_tokens(config: Qwen3VLConfig) -> tuple[int, int]:
    return config.image_token, config.video_token
