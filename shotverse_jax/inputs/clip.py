"""Inputs of CLIP's text, image and depth towers, made on the host as in GenDoP (core/provider.py, core/models.py)."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from tokenizers import Tokenizer

from shotverse_jax.config import GenDoPConfig
from shotverse_jax.files import reading
from shotverse_jax.inputs.tokenizer import load_text_tokenizer
from shotverse_jax.limits import SIDE

START, END, PAD = "<|startoftext|>", "<|endoftext|>", 0
SPECIAL_TOKENS = ("<pad>", START, END)
"""Those of a tokenizer that is learned for a text tower like CLIP's; the first has the id PAD."""
CANVAS = 512  # side in pixels to which a picture is cropped or padded before it is resized
MEAN = np.asarray((0.48145466, 0.4578275, 0.40821073), np.float32)
STD = np.asarray((0.26862954, 0.26130258, 0.27577711), np.float32)


def load_clip_tokenizer(path: str | Path) -> Tokenizer:
    """Reads CLIP's tokenizer from its tokenizer.json.

    Special tokens that are written in a text become those tokens, as in the original. In Stable Diffusion 2's tokenizer
    the padding is "!", so an exclamation mark in a text gets the id of padding. Where there are only vocab.json and
    merges.txt, `save_pretrained` of transformers' CLIPTokenizer writes the file.

    Raises:
        ValueError: the file does not exist, or is another tokenizer's.
    """
    tokenizer = load_text_tokenizer(path)
    if missing := [token for token in (START, END) if tokenizer.token_to_id(token) is None]:
        raise ValueError(f"{path} is not CLIP's tokenizer: it has no {' and no '.join(missing)}")
    tokenizer.encode_special_tokens = False
    return tokenizer


def tokenize(tokenizer: Tokenizer, texts: Sequence[str], length: int = 77) -> tuple[np.ndarray, np.ndarray]:
    """Tokenizes texts for CLIP. A text that is too long is cut before the end token.

    Args:
        tokenizer: CLIP's.
        texts: the texts.
        length: number of tokens T of each row; default 77.

    Returns:
        ids_BT: int32; start token, text, end token, then zeros.
        real_BT: bool, True up to the end token.
    """
    ids_BT, real_BT = np.full((len(texts), length), PAD, np.int32), np.zeros((len(texts), length), bool)
    start, end = tokenizer.token_to_id(START), tokenizer.token_to_id(END)
    # The file's own truncation and padding would work before the start and end tokens are added below.
    tokenizer.no_truncation()
    tokenizer.no_padding()
    for ids, mask, text in zip(ids_BT, real_BT, texts, strict=True):
        words = tokenizer.encode(text, add_special_tokens=False).ids[: length - 2]
        ids[: len(words) + 2] = [start, *words, end]
        mask[: len(words) + 2] = True
    return ids_BT, real_BT


def read_conditions(
    config: GenDoPConfig,
    conditions: Sequence[str],
    tokenizer: Tokenizer | None,
    captions: Sequence[str],
    images: Sequence[np.ndarray | None],
    depths: Sequence[np.ndarray | None],
) -> dict[str, np.ndarray]:
    """Returns what GenDoP reads of a batch: of text_ids_BT, real_BT, image_BHWC and depth_BHW those asked for.

    Args:
        config: the network.
        conditions: which of "text", "image" and "depth" it is given, each with a tower of the network.
        tokenizer: CLIP's; None without "text".
        captions, images, depths: one for each sample; those that are not asked for are not read.

    Raises:
        ValueError: an array is no image or depth map.
    """
    found = {}
    if "text" in conditions:
        found["text_ids_BT"], found["real_BT"] = tokenize(tokenizer, captions, config.text.max_positions)
    if "image" in conditions:
        found["image_BHWC"] = np.stack([prepare_image(image_HWC, config.vision.image_size) for image_HWC in images])
    if "depth" in conditions:
        found["depth_BHW"] = np.stack([prepare_depth(depth_HW, config.vision.image_size) for depth_HW in depths])
    return found


def read_image(path: str | Path) -> np.ndarray:
    """Returns a picture as uint8 RGB [H, W, 3], turned as its file asks; what is transparent is dropped.

    Raises:
        ValueError: the file is no picture, or has a side above `limits.SIDE`.
    """
    with reading(path, "a picture"), Image.open(path) as picture:
        _check_sides(path, picture.size)
        return np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))


def read_depth(path: str | Path) -> np.ndarray:
    """Returns a depth map as float32 [H, W]: of an .npy file as it is, of a picture, or of an OpenEXR file.

    The whole numbers of a picture (.png, .tif) are thousandths, millimetres for metres, as depth cameras write them.
    An .exr file needs the package OpenEXR; its channel Z is taken, else the only one.

    Raises:
        ValueError: the file holds no map of finite numbers, or has a side above `limits.SIDE`.
    """
    path = Path(path)
    suffix = path.suffix.lower()
    if suffix == ".exr":
        depth_HW = _read_exr(path)
    elif suffix == ".npy":
        with reading(path, "a depth map"):
            depth_HW = np.load(path, allow_pickle=False, mmap_mode="r")
    else:
        with reading(path, "a depth map, an .npy, .png or .exr file"), Image.open(path) as picture:
            _check_sides(path, picture.size)
            if len(picture.getbands()) != 1:
                raise ValueError(f"{path} is a coloured picture; a depth map has one channel")
            depth_HW = np.asarray(picture)
            depth_HW = depth_HW if depth_HW.dtype.kind == "f" else depth_HW / 1000
    if depth_HW.dtype.kind not in "fiu" or depth_HW.ndim != 2 or not depth_HW.size:
        raise ValueError(
            f"{path} holds an array {depth_HW.dtype}{list(depth_HW.shape)}; a depth map is [height, width]"
        )
    _check_sides(path, depth_HW.shape[::-1])
    depth_HW = np.array(depth_HW, np.float32)
    if not np.isfinite(depth_HW).all():
        raise ValueError(f"{path} holds NaN or infinity; a depth map is of finite numbers")
    return depth_HW


def _read_exr(path: Path) -> np.ndarray:
    try:
        import OpenEXR
    except ImportError as error:
        raise ValueError(f"{path}: reading .exr needs a package: pip install OpenEXR; or save it as .npy") from error
    with reading(path, "an OpenEXR file"), OpenEXR.File(str(path)) as file:
        channels = {name: channel.pixels for name, channel in file.channels().items()}
        named = [name for name in channels if name.rsplit(".")[-1] in ("Z", "depth", "Y")] or list(channels)
        if len(named) != 1:
            raise ValueError(f"{path} has the channels {', '.join(channels)}; a depth map has Z, or one alone")
        return np.asarray(channels[named[0]])


def _check_sides(path: str | Path, size: Sequence[int]) -> None:
    if max(size) > SIDE:
        raise ValueError(f"{path} is {size[0]}x{size[1]}; pictures have at most {SIDE} pixels on a side")


def prepare_image(image_HWC: np.ndarray, size: int = 224) -> np.ndarray:
    """Prepares an image for the image tower.

    The middle 512 x 512 pixels are taken, with black around a smaller image, normalised by CLIP's mean and deviation,
    and resized.

    Args:
        image_HWC: [H, W, 3] uint8 RGB.
        size: side of the result in pixels; default 224.

    Returns:
        [size, size, 3] float32.

    Raises:
        ValueError: the array is no such image.
    """
    image_HWC = np.asarray(image_HWC)
    if image_HWC.ndim != 3 or image_HWC.shape[-1] != 3 or image_HWC.dtype != np.uint8 or not image_HWC.size:
        raise ValueError(f"an image is a uint8 array [height, width, 3], got {image_HWC.dtype} {image_HWC.shape}")
    canvas_HWC = on_canvas(image_HWC).astype(np.float32) / 255
    # GenDoP normalises before it resizes, and the black around a small picture with it.
    return _resize((canvas_HWC - MEAN) / STD, size)


def prepare_depth(depth_HW: np.ndarray, size: int = 224) -> np.ndarray:
    """Prepares a depth map for the depth tower: the middle 512 x 512 pixels, with zeros around a smaller map, resized.

    Args:
        depth_HW: [H, W] depths in any unit, which is kept.
        size: side of the result in pixels; default 224.

    Returns:
        [size, size] float32.

    Raises:
        ValueError: the array is no map of finite numbers.
    """
    depth_HW = np.asarray(depth_HW)
    if depth_HW.ndim != 2 or not depth_HW.size or not np.isfinite(depth_HW).all():
        raise ValueError(f"a depth map is an array [height, width] of finite numbers, got shape {depth_HW.shape}")
    # GenDoP gives depths to the tower as they are, without normalising them.
    return _resize(on_canvas(depth_HW).astype(np.float32), size)


def on_canvas(picture):
    """The middle CANVAS x CANVAS pixels of a picture, with zeros around a smaller one."""
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
    """Bilinear resizing between the nearest pixels, without antialiasing (torch's interpolate)."""
    for axis in (0, 1):
        last = picture.shape[axis] - 1
        # Samples are at the centres of pixels, as with align_corners=False in the original.
        place = np.clip((np.arange(size) + 0.5) * (last + 1) / size - 0.5, 0, last)
        low = np.floor(place).astype(int)
        share = (place - low).astype(np.float32).reshape([-1 if a == axis else 1 for a in range(picture.ndim)])
        below, above = np.take(picture, low, axis), np.take(picture, np.minimum(low + 1, last), axis)
        picture = below + share * (above - below)
    return picture.astype(np.float32)
