"""Questions with pictures against transformers' chat template, processor and image processor, in Qwen's own tokens."""

import types

import numpy as np
import pytest

from shotverse_jax.config import Qwen3VLConfig
from shotverse_jax.inputs import chat
from shotverse_jax.inputs.tokenizer import load_text_tokenizer

transformers = pytest.importorskip("transformers")
PADS = {"image": "<|image_pad|>", "video": "<|video_pad|>"}


@pytest.fixture(scope="module")
def folder(reference):
    place = reference / "data/tokenizers/qwen_tokenizer"
    if not (place / "chat_template.jinja").is_file():
        pytest.skip("Qwen's tokenizer and chat template are not among the records")
    return place


def video_text(grid, taken, fps):
    """What the processor writes for a video."""
    processing = pytest.importorskip("transformers.models.qwen3_vl.processing_qwen3_vl")
    processor = types.SimpleNamespace(
        video_processor=types.SimpleNamespace(merge_size=2, temporal_patch_size=2),
        vision_start_token="<|vision_start|>",
        vision_end_token="<|vision_end|>",
        video_token=PADS["video"],
    )
    calculate = processing.Qwen3VLProcessor._calculate_timestamps
    processor._calculate_timestamps = lambda *args: calculate(processor, *args)
    metadata = types.SimpleNamespace(fps=fps, frames_indices=list(taken))
    inputs = {"video_grid_thw": np.array([grid]), "video_metadata": [metadata]}
    return processing.Qwen3VLProcessor.replace_video_token(processor, inputs, 0)


def test_a_question_with_an_image_and_a_video(folder):
    config, rng = Qwen3VLConfig(), np.random.default_rng(0)
    still = rng.integers(0, 256, (300, 500, 3), dtype=np.uint8)
    moving = rng.integers(0, 256, (50, 128, 160, 3), dtype=np.uint8)
    talk = chat.Chat(load_text_tokenizer(folder / "tokenizer.json"), config)
    seen, film = chat.image(still, config), chat.video(moving, config, 8.0)
    ours = talk.ask(seen, "What, 12 <b>?", film, "And this?", system="You are terse.")

    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    parts = [{"type": "image"}, {"type": "text", "text": "What, 12 <b>?"}, {"type": "video"}]
    messages = [
        {"role": "system", "content": [{"type": "text", "text": "You are terse."}]},
        {"role": "user", "content": [*parts, {"type": "text", "text": "And this?"}]},
    ]
    template = (folder / "chat_template.jinja").read_text()
    text = tokenizer.apply_chat_template(messages, chat_template=template, add_generation_prompt=True, tokenize=False)
    text = text.replace(PADS["image"], PADS["image"] * (np.prod(seen.grid) // 4))
    video_processing = pytest.importorskip("transformers.models.qwen3_vl.video_processing_qwen3_vl")
    sampler = types.SimpleNamespace(fps=2, min_frames=4, max_frames=768)
    metadata = types.SimpleNamespace(total_num_frames=50, fps=8.0)
    taken = video_processing.Qwen3VLVideoProcessor.sample_frames(sampler, metadata)
    np.testing.assert_array_equal(chat.frames_to_take(50, 8.0, config), taken)
    whole = f"<|vision_start|>{PADS['video']}<|vision_end|>"
    text = text.replace(whole, video_text(film.grid, taken, 8.0))
    assert list(ours.ids) == tokenizer(text)["input_ids"]
    assert talk.text(talk.answer("The camera pans left.")) == "The camera pans left."


def test_an_image_is_cut_as_theirs():
    config = Qwen3VLConfig()
    processor = transformers.Qwen2VLImageProcessorPil(
        patch_size=16,
        size={"shortest_edge": 65_536, "longest_edge": 16_777_216},
        image_mean=[0.5] * 3,
        image_std=[0.5] * 3,
    )
    image = np.random.default_rng(0).integers(0, 256, (300, 500, 3), dtype=np.uint8)
    theirs, ours = processor(image, return_tensors="np"), chat.image(image, config)
    assert list(ours.grid) == theirs["image_grid_thw"][0].tolist()
    np.testing.assert_allclose(ours.rows_NP, theirs["pixel_values"], atol=1e-6)
