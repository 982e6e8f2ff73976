"""Text that Qwen3-VL writes against transformers' `generate` and its processor, on the same random weights, float32."""

import dataclasses

import jax
import numpy as np
import pytest

from shotverse_jax.config import Execution, captioner_nano
from shotverse_jax.conversion import qwen3_vl
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.data.captioner_source import CaptionerSource, StageClips
from shotverse_jax.infer.decode import GREEDY
from shotverse_jax.infer.generate import Writer, Writing, generate, prompts
from shotverse_jax.inputs import chat
from shotverse_jax.inputs.tokenizer import train_text_tokenizer
from shotverse_jax.models.qwen3_vl import Qwen3VL
from shotverse_jax.train.tasks import captioner

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

LIMIT = 12


@pytest.fixture(scope="module")
def tokenizer():
    words = ["user", "assistant", "<0.1 seconds>", "What is in the picture?", "The camera pans left."] * 3
    return train_text_tokenizer(words, 300, chat.SPECIAL_TOKENS)


@pytest.fixture(scope="module", params=[True, False], ids=["tied", "untied"])
def pair(request, tokenizer):
    """(our config, our params, transformers' model) with the same random weights."""
    config = captioner_nano()
    config = dataclasses.replace(config, text=dataclasses.replace(config.text, tied=request.param))
    torch.manual_seed(1)
    values = qwen3_vl.config_to_hf(config) | {"vision_start_token_id": 3, "vision_end_token_id": 4}
    hf_config = transformers.Qwen3VLConfig(**values)
    hf_config._attn_implementation = "eager"
    model = transformers.Qwen3VLForConditionalGeneration(hf_config).eval()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            # Large weights, so that the likeliest token is clear and differs from place to place.
            parameter.copy_(torch.randn_like(parameter) * 0.3 + ("norm" in name and name.endswith("weight")))
    tensors = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    if request.param:
        del tensors["lm_head.weight"]
    return config, NETWORKS["qwen3-vl"].from_torch(tensors, config), model


def questions(config, tokenizer):
    """Text alone, one image, two images of different sizes, a video with an odd number of frames."""
    rng, talk = np.random.default_rng(0), chat.Chat(tokenizer, config)

    def image(height, width):
        return chat.image(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), config)

    video = chat.video(rng.integers(0, 256, (3, 16, 24, 3), dtype=np.uint8), config, 8.0)
    return {
        "text": talk.ask("What is in the picture?"),
        "image": talk.ask(image(16, 24), "What?"),
        "images": talk.ask(image(16, 16), "and", image(24, 32), "What is in the picture?", system="The camera."),
        "video": talk.ask(video, "The camera pans left."),
    }


def theirs(model, batch, config, asked):
    """What transformers' `generate` writes."""
    ids = torch.tensor(batch.ids_BT, dtype=torch.long)
    kinds = (ids == config.image_token).long() + 2 * (ids == config.video_token).long()
    arguments = {"input_ids": ids, "attention_mask": torch.tensor(batch.real_BT).long(), "mm_token_type_ids": kinds}
    for name, still in (("", True), ("_videos", False)):
        seen = [p for question in asked for p in question.pictures if (p.times is None) == still]
        if seen:
            arguments[f"pixel_values{name}"] = torch.tensor(np.concatenate([p.rows_NP for p in seen]))
            arguments[f"{'image' if still else 'video'}_grid_thw"] = torch.tensor([p.grid for p in seen])
    model.model.rope_deltas = None
    with torch.no_grad():
        made = model.generate(
            **arguments, do_sample=False, max_new_tokens=LIMIT, eos_token_id=[2, 0], pad_token_id=0, use_cache=True
        )
    return np.pad(made[:, ids.shape[1] :].numpy(), ((0, 0), (0, LIMIT)))[:, :LIMIT]


def test_greedy_tokens_equal_transformers(pair, tokenizer):
    config, params, model = pair
    # The layers are unrolled for one network and scanned for the other: the program is the same but for that.
    asked, execution = questions(config, tokenizer), Execution(unroll=config.text.tied)
    writer = Writer.of(params, chat.Chat(tokenizer, config), execution)
    writing = Writing(LIMIT, (2, 0), 0, GREEDY)
    for kinds in (["text"], ["text", "images", "image", "video"]):
        part = [asked[kind] for kind in kinds]
        batch = prompts(part, config, 0)
        keys = jax.random.split(jax.random.key(0), len(part))
        ours = np.asarray(generate(writer.weights, config, execution, batch, keys, writing))
        np.testing.assert_array_equal(ours, theirs(model, batch, config, part), err_msg=str(kinds))
    assert len(np.unique(ours)) > 8  # they do not all say one thing
    assert (ours[0] != ours[1:]).any(1).all()


def test_the_loss_of_training_equals_theirs(pair, tokenizer, tmp_path, parity):
    """The loss of answers to videos, and the gradients of some weights of both towers."""
    config, params, model = pair
    if config.text.tied:
        pytest.skip("the untied network has all the weights of the tied one")
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    clips = StageClips("train", 4, 16, 24)
    values = dict(length=192, answer=96, patches=24, pairs=2, seed=0, global_batch=2, num_steps=1)
    _, batch = CaptionerSource(config, str(tmp_path / "tokenizer.json"), clips, **values)[0]

    ids_BT, real_BT = batch["ids_BT"], batch["real_BT"]
    labels_BT = np.full(ids_BT.shape, -100)
    for b, (places, targets) in enumerate(zip(batch["places_BN"], batch["targets_BN"], strict=True)):
        labels_BT[b, places[targets >= 0] + 1] = targets[targets >= 0]
    kinds = 2 * (torch.tensor(ids_BT) == config.video_token).long()
    model.zero_grad()
    loss = model(
        input_ids=torch.tensor(ids_BT).long(),
        attention_mask=torch.tensor(real_BT).long(),
        mm_token_type_ids=kinds,
        pixel_values_videos=torch.tensor(batch["pixels_BFSP"].reshape(-1, config.vision.patch_values)),
        video_grid_thw=torch.tensor([[2, 4, 6]] * 2),
        labels=torch.tensor(labels_BT),
    ).loss
    loss.backward()
    gradients = {name: parameter.grad.numpy() for name, parameter in model.named_parameters()}
    task = jax.jit(
        jax.value_and_grad(
            lambda params: captioner.make_loss(Qwen3VL(config))({"params": params}, batch, None, None)[0]
        )
    )
    ours, our_gradients = task(params)
    assert abs(float(ours) - loss.item()) < 1e-5 * loss.item()
    wanted = NETWORKS["qwen3-vl"].from_torch(gradients, config)
    assert parity("gradients of a captioner", our_gradients, wanted, size=np.max) < 1e-4
