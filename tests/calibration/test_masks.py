"""Masks of what moves: from files, from the stage, by motion, by saliency; how they grow and what they fill."""

import importlib.util

import numpy as np
import pytest
from PIL import Image, ImageDraw, ImageFont

from shotverse_jax.calibration import sources
from shotverse_jax.calibration.masks import dilated, filled, find_masks, load_masker
from shotverse_jax.data.stage_films import film_clip


def needs(package: str):
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


def test_masks_grow():
    mask = np.zeros((2, 200, 300), bool)
    mask[0, 100, 150] = True
    assert dilated(mask).sum() == 25 and dilated(mask)[0, 98:103, 148:153].all()  # 1 % of 200 is 2 pixels
    np.testing.assert_array_equal(dilated(mask, 0), mask)
    small = np.zeros((1, 20, 30), bool)
    small[0, 0, 0] = True
    assert dilated(small).sum() == 4


def test_masks_fill():
    frames, mask = np.full((1, 4, 4, 3), 7, np.uint8), np.eye(4, dtype=bool)[None]
    assert filled(frames, mask) is frames
    assert (filled(frames, mask, "zero") == np.where(mask[..., None], 0, 7)).all()
    with pytest.raises(ValueError, match="none or zero, got 'mean'"):
        filled(frames, mask, "mean")


def test_a_folder_of_masks(tmp_path):
    frames = np.zeros((2, 20, 30, 3), np.uint8)
    for number in range(12):
        ids = np.zeros((40, 60), np.uint8)
        ids[number, 5] = 3
        Image.fromarray(ids).save(tmp_path / f"{number}.png")
    colors = np.zeros((20, 30, 4), np.uint8)
    colors[..., 3], colors[4, 4, 1] = 255, 9
    Image.fromarray(colors).save(tmp_path / "3.png")
    masks = find_masks(load_masker("file", tmp_path), frames, [3, 10], dilation=0)
    assert [tuple(np.argwhere(mask)[0]) for mask in masks] == [(4, 4), (5, 2)] and masks.sum() == 2

    with pytest.raises(ValueError, match="has 12 masks and none for frame 12"):
        load_masker("file", tmp_path)(frames, [11, 12])
    with pytest.raises(ValueError, match="60x40; the frames have the proportions of 30x30"):
        load_masker("file", tmp_path)(np.zeros((1, 30, 30, 3), np.uint8), [0])
    (tmp_path / "0.png").write_bytes(b"no picture")
    with pytest.raises(ValueError, match="0.png cannot be read as a picture"):
        load_masker("file", tmp_path)(frames, [0])
    with pytest.raises(ValueError, match="is no folder"):
        load_masker("file", tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="has no masks"):
        load_masker("file", tmp_path / "empty")
    with pytest.raises(ValueError, match="no masks 'x'; known: motion, saliency, sam2, text, file, stage"):
        load_masker("x")


def test_the_stage_knows():
    clip = film_clip(0)
    # The trajectory's own captions are put onto the stage with other subjects than the clip's.
    masker = load_masker("stage", clip.trajectory, clip.scene)
    numbers = [2, 30, 7]
    np.testing.assert_array_equal(masker(clip.video_THWC[numbers], numbers), clip.subject_THW[numbers])
    with pytest.raises(ValueError, match="has 33 frames, and frame 33 was asked for"):
        masker(clip.video_THWC[:1], [33])


def wall_and_thing(turning: bool):
    """A camera that moves or turns before a wall (and a nearer one), and a square that moves against it."""
    rng = np.random.default_rng(0)
    near, far = (
        np.asarray(Image.fromarray(rng.integers(0, 255, (20, 60, 3), np.uint8)).resize((720, 240), 3)) for _ in range(2)
    )
    thing = np.asarray(Image.fromarray(rng.integers(0, 255, (6, 6, 3), np.uint8)).resize((48, 48), 3))
    frames, masks = [], []
    for t in range(6):
        frame = far[:, 40 + 3 * t :][:, :320].copy()
        frame[160:] = near[160:, 40 + (3 if turning else 8) * t :][:, :320]
        mask = np.zeros((240, 320), bool)
        row = 30 + 6 * t
        frame[row : row + 48, 150:198], mask[row : row + 48, 150:198] = thing, True
        frames.append(frame)
        masks.append(mask)
    return np.stack(frames), np.stack(masks)


@needs("cv2")
@pytest.mark.parametrize("turning", [True, False])
def test_motion(turning):
    frames, true = wall_and_thing(turning)
    found = find_masks(load_masker("motion"), frames)
    assert (found & true).sum() > 0.9 * true.sum() and (found & ~true).mean() < 0.05
    still = np.repeat(frames[:1], 3, axis=0)
    assert not load_masker("motion")(still, range(3)).any()
    assert not load_masker("motion")(frames[:1], [0]).any()


@needs("onnxruntime")
@needs("rembg")
def test_saliency():
    rng = np.random.default_rng(0)
    frame = np.full((180, 320, 3), 200, np.uint8)
    frame[40:150, 120:200] = rng.integers(0, 120, 3)
    [found] = find_masks(load_masker("saliency"), frame[None])
    assert found[60:140, 130:190].mean() > 0.9 and found[:, :60].mean() < 0.05


def test_what_is_missing_is_said(monkeypatch, tmp_path):
    for name, package in (("motion", "cv2"), ("saliency", "onnxruntime"), ("text", "rapidocr")):
        with monkeypatch.context() as patch:
            patch.setitem(__import__("sys").modules, package, None)
            with pytest.raises(ValueError, match=f"masks (by|of) {name} need"):
                load_masker(name)
    if importlib.util.find_spec("onnxruntime") is not None:
        (tmp_path / "a.onnx").write_bytes(b"nothing")
        with pytest.raises(ValueError, match="a.onnx cannot be read as an ONNX network"):
            load_masker("saliency", model=tmp_path / "a.onnx")


@needs("rapidocr")
@needs("onnxruntime")
def test_text_that_stands_is_masked_and_text_in_the_place_is_not():
    frames, true_HW = np.zeros((5, 180, 320, 3), np.uint8), np.zeros((180, 320), bool)
    for t in range(5):
        image = Image.new("RGB", (320, 180), (70, 100, 70))
        draw = ImageDraw.Draw(image)
        font = ImageFont.load_default(20)
        draw.text((60, 150), "Where are you going?", font=font, fill="white")
        draw.text((10 + 40 * t, 20), "BAKERY", font=font, fill="white")
        frames[t] = np.asarray(image)
    true_HW[135:, 45:290] = True
    mask_THW = load_masker("text")(frames, range(5))
    assert mask_THW[:, 153:167, 65:230].mean() > 0.9 and not (mask_THW & ~true_HW).any()
    assert load_masker("text")(frames[:1], [0])[0, 22:36, 20:70].all()  # of one frame all text is masked


def test_several_maskers_are_one(tmp_path):
    for name, column in (("a", 1), ("b", 3)):
        (tmp_path / name).mkdir()
        mask_HW = np.zeros((4, 6), np.uint8)
        mask_HW[:, column] = 255
        Image.fromarray(mask_HW).save(tmp_path / name / "0.png")
    both = f"file:{tmp_path / 'a'}+file:{tmp_path / 'b'}"
    mask_THW = sources.masker(both)(np.zeros((1, 4, 6, 3), np.uint8), [0])
    assert np.flatnonzero(mask_THW[0].any(0)).tolist() == [1, 3]
    assert [sources.named_file(part) for part in sources.mask_parts(both)] == [str(tmp_path / name) for name in "ab"]
    assert sources.mask_parts("file:a+b") == ["file:a+b"] and sources.mask_parts("sam2:dog+text") == [
        "sam2:dog",
        "text",
    ]
    assert sources.named_file("sam2:a dog") == "" and sources.named_file("sam2:boxes.json") == "boxes.json"
    with pytest.raises(ValueError, match="none alone"):
        sources.masker("none+file:a")
