"""What CLIP's towers read, made ready on the host as GenDoP does it (core/provider.py, core/models.py)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from tokenizers import Tokenizer

from shotverse_jax.inputs.tokenizer import load_text_tokenizer

START, END, PAD = "<|startoftext|>", "<|endoftext|>", 0
CANVAS = 512  # pixels each way that a picture is cut or filled up to before it is made smaller
MEAN = np.asarray((0.48145466, 0.4578275, 0.40821073), np.float32)
STD = np.asarray((0.26862954, 0.26130258, 0.27577711), np.float32)


def load_clip_tokenizer(path: str | Path) -> Tokenizer:
    """CLIP's tokenizer from its tokenizer.json. Special tokens written in a text are those tokens, as in the original:
    with Stable Diffusion 2's, whose padding is "!", an exclamation mark in a text has the id of padding.

    transformers' CLIPTokenizer writes the file (`save_pretrained`) where there are only vocab.json and merges.txt.

    Raises:
        ValueError: no such file, or another tokenizer's.
    """
    tokenizer = load_text_tokenizer(path)
    if missing := [token for token in (START, END) if tokenizer.token_to_id(token) is None]:
        raise ValueError(f"{path} is not CLIP's tokenizer: it has no {' and no '.join(missing)}")
    tokenizer.encode_special_tokens = False
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], length: int = 77) -> tuple[np.ndarray, np.ndarray]:
    """ids_BT int32 and real_BT bool (True up to the end token), T = length: start, text, end, then zeros.

    Of a text that is too long the end is cut off; the end token stays.
    """
    ids_BT, real_BT = np.full((len(texts), length), PAD, np.int32), np.zeros((len(texts), length), bool)
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for ids, mask, text in zip(ids_BT, real_BT, texts, strict=True):
        words = tokenizer.encode(text, add_special_tokens=False).ids[: length - 2]
        ids[: len(words) + 2] = [start, *words, end]
        mask[: len(words) + 2] = True
    return ids_BT, real_BT


def prepare_image(image_HWC: np.ndarray, size: int = 224) -> np.ndarray:
    """A uint8 RGB image as the image tower reads it, float32 [size, size, 3].

    The middle 512 x 512 pixels, black where there are none, normalised by CLIP's mean and deviation, then resized.
    Raises ValueError for another kind of array.
    """
    image_HWC = np.asarray(image_HWC)
    if image_HWC.ndim != 3 or image_HWC.shape[-1] != 3 or image_HWC.dtype != np.uint8 or not image_HWC.size:
        raise ValueError(f"an image is a uint8 array [height, width, 3], got {image_HWC.dtype} {image_HWC.shape}")
    canvas_HWC = _on_canvas(image_HWC).astype(np.float32) / 255
    return _resize((canvas_HWC - MEAN) / STD, size)


def prepare_depth(depth_HW: np.ndarray, size: int = 224) -> np.ndarray:
    """A depth map as the depth tower reads it, float32 [size, size], in the unit it has; zero where there is none.

    Raises ValueError for an array that is not a map of finite numbers.
    """
    depth_HW = np.asarray(depth_HW)
    if depth_HW.ndim != 2 or not depth_HW.size or not np.isfinite(depth_HW).all():
        raise ValueError(f"a depth map is an array [height, width] of finite numbers, got shape {depth_HW.shape}")
    return _resize(_on_canvas(depth_HW).astype(np.float32), size)


def _on_canvas(picture):
    """The middle of a picture, CANVAS each way, with zeros around what is smaller."""
    for axis in (0, 1):
        missing = CANVAS - picture.shape[axis]
        if missing < 0:
            picture = np.take(picture, range(-missing // 2, -missing // 2 + CANVAS), axis)
        else:
            around = [(0, 0)] * picture.ndim
            around[axis] = missing // 2, missing - missing // 2
            picture = np.pad(picture, around)
    return picture


def _resize(picture, size):
    """Bilinear between the two nearest pixels each way, whatever the factor (torch's interpolate, no antialiasing)."""
    for axis in (0, 1):
        last = picture.shape[axis] - 1
        place = np.clip((np.arange(size) + 0.5) * (last + 1) / size - 0.5, 0, last)
        low = np.floor(place).astype(int)
        share = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(picture.ndim)])
        below, above = np.take(picture, low, axis), np.take(picture, np.minimum(low + 1, last), axis)
        picture = below + share * (above - below)
    return picture.astype(np.float32)
