"""What CLIP's towers read: token ids of the original program, its pictures, and torch's resizing."""

import json
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from shotverse_jax.inputs import clip
from shotverse_jax.weights import find_tokenizer

CAPTION = "The camera moves right while yawing left, then shifts right and forward, and finally remains static."
IDS = [49406, 518, 3934, 6880, 1155, 1519, 31989, 519, 1823, 267, 1594, 23957, 1155, 537, 2342, 267, 537, 1992, 6807]
IDS += [16363, 269, 49407]


@pytest.fixture(scope="module")
def tokenizer(reference, tmp_path_factory):
    transformers = pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("clip")
    source = reference / "data" / "tokenizers" / "clip_tokenizer"
    transformers.CLIPTokenizer.from_pretrained(source, local_files_only=True).save_pretrained(folder)
    return clip.load_clip_tokenizer(folder / "tokenizer.json")


def test_ids_of_the_original(tokenizer):
    ids_BT, real_BT = clip.tokenize(tokenizer, [CAPTION, "Go!", ""])
    assert ids_BT.shape == real_BT.shape == (3, 77) and ids_BT.dtype == np.int32
    assert ids_BT[0, :22].tolist() == IDS and not ids_BT[0, 22:].any()
    assert real_BT.sum(axis=1).tolist() == [22, 4, 2]
    assert ids_BT[1, 2] == clip.PAD and real_BT[1, 2]  # the original's padding is "!"
    assert ids_BT[2, :3].tolist() == [49406, 49407, 0]


def test_a_long_text_keeps_its_end_token(tokenizer):
    ids_BT, real_BT = clip.tokenize(tokenizer, [f"{CAPTION} " * 9])
    assert real_BT.all() and ids_BT[0, -1] == 49407 and ids_BT[0, :21].tolist() == IDS[:21]
    assert (ids_BT[0, 1:-1] < 49406).all()


def test_another_tokenizer_is_refused():
    with pytest.raises(ValueError, match=r"is not CLIP's tokenizer: it has no <\|startoftext\|> and no"):
        clip.load_clip_tokenizer(find_tokenizer("planner_small"))


@pytest.mark.parametrize("case", ["case1", "case2"])
def test_pictures_of_the_original(reference, case):
    expected = json.loads((reference / "golden" / "rgbd_preproc.json").read_text())[case]
    source = reference / "data" / "gendop" / "assets" / "examples" / "text_rgbd"
    with Image.open(source / f"{case}_rgb.png") as file:
        image_HWC = clip.prepare_image(np.asarray(file.convert("RGB")))
    depth_HW = clip.prepare_depth(np.load(source / f"{case}_depth.npy"))
    assert image_HWC.shape == (224, 224, 3) and depth_HW.shape == (224, 224)
    np.testing.assert_allclose(image_HWC.mean(axis=(0, 1), dtype=np.float64), expected["rgb_mean"], atol=1e-5)
    np.testing.assert_allclose(image_HWC[112, 112], expected["rgb_112_112"], atol=1e-5)
    np.testing.assert_allclose(image_HWC[0, 0], expected["rgb_0_0"], atol=1e-5)
    assert depth_HW.mean() == pytest.approx(expected["depth_mean"], abs=1e-5)
    assert depth_HW[112, 112] == pytest.approx(expected["depth_112_112"], abs=1e-5)
    assert depth_HW[60, 30] == pytest.approx(expected["depth_60_30"], abs=1e-5)


@pytest.mark.parametrize("size", [(700, 300), (300, 1001), (512, 512)])
def test_the_middle_of_a_picture(size):
    """A pixel of the output, from its four neighbours on the canvas by hand."""
    depth_HW = np.random.default_rng(0).normal(size=size).astype(np.float32)
    canvas = np.zeros((512, 512), np.float32)
    height, width = (min(side, 512) for side in size)
    there = [slice((512 - side) // 2, (512 - side) // 2 + side) for side in (height, width)]
    top, left = ((full - side) // 2 for full, side in zip(size, (height, width), strict=True))
    canvas[tuple(there)] = depth_HW[top : top + height, left : left + width]
    ours = clip.prepare_depth(depth_HW)
    for y, x in ((0, 0), (100, 130), (223, 223)):
        (v, a), (u, b) = (divmod((place + 0.5) * 512 / 224 - 0.5, 1) for place in (y, x))
        v, u = int(v), int(u)
        rows = canvas[v : v + 2, u] * (1 - b) + canvas[v : v + 2, u + 1] * b
        assert ours[y, x] == pytest.approx(rows[0] * (1 - a) + rows[1] * a, abs=1e-5)


def test_what_is_no_picture():
    with pytest.raises(ValueError, match=r"got float32 \(4, 4, 3\)"):
        clip.prepare_image(np.zeros((4, 4, 3), np.float32))
    with pytest.raises(ValueError, match="of finite numbers"):
        clip.prepare_depth(np.full((4, 4), np.nan))


def test_depth_files(tmp_path, monkeypatch):
    """Floating numbers as they are, whole numbers of a picture as thousandths, and the channel Z of an .exr."""
    depth_HW = np.arange(6, dtype=np.float32).reshape(2, 3) + 0.5
    np.save(tmp_path / "a.npy", depth_HW.astype(np.float64))
    Image.fromarray((depth_HW * 1000).astype(np.uint16)).save(tmp_path / "a.png")
    Image.fromarray(depth_HW).save(tmp_path / "a.tif")
    for name in ("a.npy", "a.png", "a.tif"):
        read = clip.read_depth(tmp_path / name)
        assert read.dtype == np.float32
        np.testing.assert_allclose(read, depth_HW)
    monkeypatch.setitem(sys.modules, "OpenEXR", None)
    with pytest.raises(ValueError, match="pip install OpenEXR; or save it as .npy"):
        clip.read_depth(tmp_path / "a.exr")

    class File:
        def __init__(self, path):
            self.channels = lambda: {name: SimpleNamespace(pixels=depth_HW) for name in File.names}

        __enter__ = lambda self: self  # noqa: E731
        __exit__ = lambda self, *_: None  # noqa: E731

    monkeypatch.setitem(sys.modules, "OpenEXR", SimpleNamespace(File=File))
    for File.names in (["RGB", "Z"], ["V"]):
        np.testing.assert_array_equal(clip.read_depth(tmp_path / "a.exr"), depth_HW)
    File.names = ["U", "V"]
    with pytest.raises(ValueError, match="has the channels U, V; a depth map has Z, or one alone"):
        clip.read_depth(tmp_path / "a.exr")


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((2, 3, 4)), "a depth map is"),
        (np.full((2, 3), np.nan), "holds NaN or infinity"),
        (np.array([["a", "b"]]), "a depth map is"),
        (np.zeros((1, 20000), np.float32), "pictures have at most 16384 pixels on a side"),
        (np.array([{}]), "cannot be read as a depth map"),
    ],
)
def test_arrays_that_are_no_depth(tmp_path, array, words):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(ValueError, match=words):
        clip.read_depth(tmp_path / "a.npy")


def test_pictures_that_are_no_depth_or_no_pictures(tmp_path):
    Image.fromarray(np.zeros((2, 3, 3), np.uint8)).save(tmp_path / "color.png")
    with pytest.raises(ValueError, match="a depth map has one channel"):
        clip.read_depth(tmp_path / "color.png")
    (tmp_path / "text.png").write_text("no picture")
    for read in (clip.read_depth, clip.read_image):
        with pytest.raises(ValueError, match="cannot be read as a"):
            read(tmp_path / "text.png")
    Image.fromarray(np.full((2, 3, 4), 90, np.uint8)).save(tmp_path / "alpha.png")
    assert (clip.read_image(tmp_path / "alpha.png") == 90).all()
