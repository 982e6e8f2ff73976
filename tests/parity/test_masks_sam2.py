"""Masks by SAM 2 and boxes by Grounding DINO, with small random networks of transformers' classes."""

import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from shotverse_jax.calibration import torch_models  # noqa: E402
from shotverse_jax.calibration.masks import load_masker  # noqa: E402
from shotverse_jax.calibration.masks_sam2 import Sam2  # noqa: E402
from shotverse_jax.calibration.prompts import Boxes, Words  # noqa: E402

TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", ".", "person", "animal", "vehicle", "dog"]


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    """Folders of a small SAM 2 and a small Grounding DINO."""
    folder = tmp_path_factory.mktemp("networks")
    torch.manual_seed(0)
    backbone = dict(
        model_type="sam2_hiera_det_model",
        hidden_size=8,
        image_size=[128, 128],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 1, 2, 2],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = dict(
        model_type="sam2_vision_model",
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[32, 32], [16, 16], [8, 8]],
        fpn_hidden_size=128,
    )
    config = transformers.Sam2VideoConfig(
        vision_config=vision,
        prompt_encoder_config=dict(hidden_size=128, image_size=128),
        mask_decoder_config=dict(hidden_size=128, mlp_dim=32, num_attention_heads=2, iou_head_hidden_dim=32),
        image_size=128,
        memory_attention_hidden_size=128,
        memory_attention_num_layers=1,
        memory_attention_feed_forward_hidden_size=128,
        memory_encoder_hidden_size=128,
        memory_attention_rope_feat_sizes=[8, 8],
        mask_downsampler_embed_dim=128,
        memory_fuser_embed_dim=128,
        memory_fuser_intermediate_dim=32,
    )
    transformers.Sam2VideoModel(config).save_pretrained(folder / "sam2")
    backbone = dict(embed_dim=8, depths=[1, 1, 1, 1], num_heads=[1, 1, 2, 2], window_size=4)
    text = dict(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config = transformers.GroundingDinoConfig(
        backbone_config=dict(model_type="swin", **backbone, out_features=["stage2", "stage3", "stage4"]),
        text_config=dict(model_type="bert", **text, vocab_size=len(TOKENS), max_position_embeddings=64),
        num_queries=10,
        max_text_len=16,
        d_model=32,
        **{f"{part}_{name}": 2 for part in ("encoder", "decoder") for name in ("layers", "attention_heads")},
        **{f"{part}_ffn_dim": 16 for part in ("encoder", "decoder")},
    )
    transformers.GroundingDinoForObjectDetection(config).save_pretrained(folder / "dino")
    words = Tokenizer(models.WordPiece({word: n for n, word in enumerate(TOKENS)}, unk_token="[UNK]"))
    words.normalizer, words.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    words.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    words.save(str(folder / "dino" / "tokenizer.json"))
    return folder


@pytest.fixture(scope="module")
def frames():
    return np.random.default_rng(0).integers(0, 255, (6, 48, 64, 3), np.uint8)


def boxes_file(path, *rows, size=(64, 48)):
    rows = [{"frame": frame, "box": box} for frame, box in rows]
    path.write_text(json.dumps({"size": size, "boxes": rows}))
    return str(path)


def test_what_is_in_a_box_is_followed_both_ways(folders, frames, tmp_path):
    box = [10, 8, 40, 30]
    masker = Sam2(boxes_file(tmp_path / "one.json", (102, box)), model=folders / "sam2")
    mask_THW = masker(frames, range(100, 106))
    assert mask_THW.shape == frames.shape[:3] and mask_THW.dtype == bool
    assert (mask_THW.any((1, 2)) & ~mask_THW.all((1, 2))).all()  # a random network follows it through all frames
    # The same box in a larger picture; and its frame by itself.
    twice = boxes_file(tmp_path / "two.json", (102, [2 * side for side in box]), size=(128, 96))
    np.testing.assert_array_equal(Sam2(twice, model=folders / "sam2")(frames, range(100, 106)), mask_THW)
    np.testing.assert_array_equal(masker(frames[2:3], [102])[0], mask_THW[2])
    assert not masker(frames, range(6)).any()  # another shot has no boxes
    # A second box is followed up to the first one's frame, and the masks are those of both.
    both = boxes_file(tmp_path / "both.json", (102, box), (105, [2, 2, 20, 20]))
    both_THW = Sam2(both, model=folders / "sam2")(frames, range(100, 106))
    np.testing.assert_array_equal(both_THW[:2], mask_THW[:2])
    assert (both_THW[2:] >= mask_THW[2:]).all() and (both_THW != mask_THW).any()


def test_boxes_are_those_of_the_librarys_own_processing(folders, frames, monkeypatch):
    words = Words("Person, dog.", model=folders / "dino", threshold=0.0)
    assert words._ids == [2, 5, 4, 8, 4, 3]  # [CLS] person . dog . [SEP]
    monkeypatch.setattr("shotverse_jax.calibration.prompts.SHORT", 64)
    found = words(frames, range(6))
    assert sorted(found) == [0, 5] and found[0].shape == (10, 4)
    image = transformers.GroundingDinoImageProcessorPil(size={"shortest_edge": 64, "longest_edge": 1333})
    values = image(images=frames[0], return_tensors="pt")["pixel_values"]
    network = transformers.GroundingDinoForObjectDetection.from_pretrained(folders / "dino").eval()
    with torch.inference_mode():
        boxes = network(pixel_values=values, input_ids=torch.tensor([words._ids])).pred_boxes[0].numpy()
    middle, side = (found[0][:, :2] + found[0][:, 2:]) / 2, found[0][:, 2:] - found[0][:, :2]
    inside = ((boxes[:, :2] - boxes[:, 2:] / 2 > 0) & (boxes[:, :2] + boxes[:, 2:] / 2 < 1)).all(1)
    assert inside.any()
    np.testing.assert_allclose(np.hstack([middle, side])[inside], boxes[inside], atol=1e-4)
    assert Words("dog", model=folders / "dino", threshold=1.0)(frames, range(6)) == {}


def test_what_is_missing_or_damaged_is_said(folders, frames, tmp_path, monkeypatch):
    monkeypatch.setenv("SHOTVERSE_CACHE", str(tmp_path / "cache"))
    with pytest.raises(ValueError, match="masks by sam2 need the network sam2.*shotverse get sam2"):
        load_masker("sam2")
    with pytest.raises(ValueError, match="shotverse get grounding-dino"):
        Sam2("dog", model=folders / "sam2")
    with pytest.raises(ValueError, match="cannot be read as a network Sam2VideoModel"):
        Sam2(model=folders / "dino")
    with pytest.raises(ValueError, match="need words"):
        Words(" , ", model=folders / "dino")
    file = tmp_path / "boxes.json"
    for text, words in (
        ("[", "is not JSON"),
        ('{"size": [64, 48], "boxes": [{"frame": 0}]}', "cannot be read as a file of boxes"),
        ('{"size": [64, 48], "boxes": [{"frame": 0, "box": [5, 5, 70, 9]}]}', "is no box in a picture of 64x48"),
        ('{"size": [64, 48], "boxes": [{"frame": 0, "box": [5, 9, 6, 9]}]}', "is no box"),
    ):
        file.write_text(text)
        with pytest.raises(ValueError, match=words):
            Boxes(file)
    with pytest.raises(ValueError, match="is of pictures of 64x64"):
        Boxes(boxes_file(file, size=(64, 64)))(frames, range(6))
    with monkeypatch.context() as patch:
        patch.setitem(__import__("sys").modules, "torch", None)
        with pytest.raises(ValueError, match=r"need PyTorch and transformers.*shotverse_jax\[masks\]"):
            torch_models.opened(folders / "sam2", "Sam2VideoModel")
