"""What Qwen3-VL sees, prepared on the host: the order of patches, places in the text, and what is refused."""

import numpy as np
import pytest

from shotverse_jax.config import Qwen3VLConfig, Qwen3VLVisionConfig
from shotverse_jax.inputs.qwen3_vl import arrange, fit_size, pack, patchify, prepare_image, prepare_video

VISION = Qwen3VLVisionConfig(patch_size=2)
CONFIG = Qwen3VLConfig(vision=VISION, image_token=60, video_token=61)


def test_every_number_of_a_patch_is_where_it_belongs():
    """Frames whose values say where they are, against the definition written out."""
    frames_THWC = np.arange(3 * 8 * 12 * 3, dtype=np.float32).reshape(3, 8, 12, 3)
    rows, grid = patchify(frames_THWC, VISION)
    assert grid == (2, 4, 6) and rows.shape == (48, 24)
    expected = []
    for t in range(2):
        for block_row in range(2):
            for block_column in range(3):
                for row in (2 * block_row, 2 * block_row + 1):
                    for column in (2 * block_column, 2 * block_column + 1):
                        cut = frames_THWC[:, 2 * row : 2 * row + 2, 2 * column : 2 * column + 2]
                        pair = np.stack([cut[min(2 * t + f, 2)] for f in (0, 1)])  # the odd last one twice
                        expected.append(pair.transpose(3, 0, 1, 2).ravel())
    np.testing.assert_array_equal(rows, expected)


def test_pictures_are_resized_and_scaled():
    image_HWC = np.zeros((9, 13, 3), np.uint8)
    image_HWC[..., 1] = 255
    rows, grid = prepare_image(image_HWC, VISION, limits=(16, 10_000))
    assert grid == (1, 4, 6)
    np.testing.assert_array_equal(rows.reshape(24, 3, 8), np.broadcast_to([[[-1], [1], [-1]]], (24, 3, 8)))
    rows, grid = prepare_video(np.stack([image_HWC] * 5), VISION, limits=(16, 10_000))
    assert grid == (3, 4, 6) and rows.shape == (72, 24)


@pytest.mark.parametrize(
    "height, width, frames, limits, expected",
    [
        (480, 832, None, (65_536, 16_777_216), (480, 832)),  # 390 tokens
        (100, 100, None, (65_536, 16_777_216), (256, 256)),
        (48, 80, None, (1, 10**9), (64, 64)),  # halves go to the even number
        (5000, 8000, None, (65_536, 16_777_216), (3232, 5152)),
        (20, 40, 4, (4_096, 25_165_824), (32, 64)),
        (480, 832, 64, (4_096, 1_000_000), (64, 160)),
    ],
)
def test_sizes(height, width, frames, limits, expected):
    assert fit_size(height, width, 32, limits, frames) == expected


def test_frames_of_several_sizes_are_packed():
    rows_NP = np.arange(32.0)[:, None] * np.ones(24)
    pixels_FSP, size_F2 = pack(rows_NP, [(1, 4, 4), (2, 2, 4)], VISION, patches=20, frames=4)
    np.testing.assert_array_equal(size_F2, [[4, 4], [2, 4], [2, 4], [0, 0]])
    assert pixels_FSP.shape == (4, 20, 24)
    np.testing.assert_array_equal(pixels_FSP[0, :, 0], [*range(16), 0, 0, 0, 0])
    np.testing.assert_array_equal(pixels_FSP[2, :, 5], [*range(24, 32), *[0] * 12])
    assert not pixels_FSP[3].any()
    assert pack(rows_NP, [(1, 4, 4), (2, 2, 4)], VISION)[0].shape == (3, 16, 24)


IDS = np.array([[1, 2, 3, *[60] * 6, 4, 5, 6, *[60] * 8, 7, 8, 9, 10]])
GRIDS = [(1, 4, 6), (1, 8, 4)]


def test_positions_of_a_text_with_two_images():
    places = arrange(IDS, GRIDS, CONFIG, patches=40)
    rest = [13, 14, 15, 16]
    expected = [
        [0, 1, 2, *[3] * 6, 6, 7, 8, *[9] * 8, *rest],
        [0, 1, 2, 3, 3, 3, 4, 4, 4, 6, 7, 8, 9, 9, 10, 10, 11, 11, 12, 12, *rest],
        [0, 1, 2, 3, 4, 5, 3, 4, 5, 6, 7, 8, *[9, 10] * 4, *rest],
    ]
    np.testing.assert_array_equal(places.positions_3BT[:, 0], expected)
    np.testing.assert_array_equal(places.delta_B, [17 - 24])
    feature = [-1, -1, -1, *range(6), -1, -1, -1, *range(10, 18), -1, -1, -1, -1]
    np.testing.assert_array_equal(places.feature_BT, [feature])


def test_padding_shifts_nothing():
    """On either side; the second text has the next frames, a video of two pairs."""
    other = [60, 11, 61, 61, 12, 61, 61, 13]
    ids_BT = np.array([[0, 0, *IDS[0]], [*other[1:], *[0] * 19]])
    real_BT = np.array([[False] * 2 + [True] * 24, [True] * 7 + [False] * 19])
    places = arrange(ids_BT, [*GRIDS, (2, 4, 2)], CONFIG, 32, real_BT)
    alone = arrange(IDS, GRIDS, CONFIG, 32)
    np.testing.assert_array_equal(places.positions_3BT[:, 0, 2:], alone.positions_3BT[:, 0])
    np.testing.assert_array_equal(places.feature_BT[0, 2:], alone.feature_BT[0])
    video = [[0, 1, 1, 3, 4, 4, 6], [0, 1, 2, 3, 4, 5, 6], [0, 1, 1, 3, 4, 4, 6]]
    np.testing.assert_array_equal(places.positions_3BT[:, 1, :7], video)
    np.testing.assert_array_equal(places.feature_BT[1, :7], [-1, 16, 17, -1, 24, 25, -1])
    np.testing.assert_array_equal(places.delta_B, [-7, 0])
    assert not places.positions_3BT[:, ~real_BT].any() and (places.feature_BT[~real_BT] == -1).all()


def test_a_text_alone_counts_on():
    places = arrange(np.ones((2, 5), int), [], CONFIG, 4)
    np.testing.assert_array_equal(places.positions_3BT, np.broadcast_to(np.arange(5), (3, 2, 5)))
    np.testing.assert_array_equal(places.delta_B, [0, 0])


@pytest.mark.parametrize(
    "grids, message",
    [
        ([(1, 4, 6), (1, 8, 6)], "text 1 has 8 image tokens in a row where frame 2 makes 12; write as many as"),
        ([(1, 4, 6)], "text 1 has 8 image tokens in a row where there are only 1 frames"),
        ([*GRIDS, (1, 2, 2)], "the texts have 2 runs of image tokens for 3 frames; write one run for each"),
        ([(1, 4, 6), (1, 8, 3)], r"grid \(1, 8, 3\) is not divisible by the merge size 2; resize the picture so that"),
        ([(4, 6)], "grids are .t, h, w. in patches"),
        ([(1, 4, 6), (1, 0, 4)], "grids are .t, h, w. in patches"),
    ],
)
def test_images_that_do_not_fit_the_text(grids, message):
    with pytest.raises(ValueError, match=message):
        arrange(IDS, grids, CONFIG, 40)


@pytest.mark.parametrize(
    "rows, grids, room, message",
    [
        (24, [(1, 3, 8)], {}, "not divisible by the merge size 2"),
        (20, [(1, 4, 6)], {}, "the grids make 24 rows of 24 values, got an array .20, 24."),
        (
            24,
            [(1, 4, 6)],
            {"patches": 20},
            "1 frames of up to 24 patches do not fit into 1 frames of 20; give more room",
        ),
        (24, [(1, 4, 6)], {"patches": 26}, "in multiples of 4 patches"),
        (48, [(2, 4, 6)], {"frames": 1}, "2 frames of up to 24 patches do not fit into 1 frames of 24"),
        (0, [], {}, "grids are .t, h, w. in patches"),
    ],
)
def test_rows_that_do_not_fit_the_grids(rows, grids, room, message):
    with pytest.raises(ValueError, match=message):
        pack(np.zeros((rows, 24), np.float32), grids, VISION, **room)


def test_pictures_that_are_none():
    with pytest.raises(ValueError, match="8 x 6 pixels cannot be cut into tokens of 4 x 4"):
        patchify(np.zeros((1, 8, 6, 3), np.float32), VISION)
    with pytest.raises(ValueError, match="50 x 20000 is too narrow"):
        fit_size(50, 20_000, 32, (1, 10**9))
    for image in (np.zeros((8, 8, 3)), np.zeros((8, 8), np.uint8), np.zeros((8, 8, 4), np.uint8)):
        with pytest.raises(ValueError, match="pictures are uint8 RGB arrays"):
            prepare_image(image, VISION)
    with pytest.raises(ValueError, match=r"got uint8 \(0, 8, 8, 3\)"):
        prepare_video(np.zeros((0, 8, 8, 3), np.uint8), VISION)
