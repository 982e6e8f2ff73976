"""What CLIP's towers read: token ids of the original program, its pictures, and torch's resizing."""

import json

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
