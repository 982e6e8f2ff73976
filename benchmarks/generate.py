"""Speed of Qwen3-VL's text generation beside transformers' `generate`, same sizes and machine, runs taken in turn.

    python -m benchmarks.generate            # 12 layers, 512 wide; a video of 16 frames, 64 tokens, greedy

Both programs get the same random weights, prompt and pixels, and write as many tokens; their tokens are compared too.
Printed are medians of the seconds of a whole answer, prompt and pictures included, and their ratio.
"""

import argparse
import dataclasses
import statistics
import time

import jax
import numpy as np

from shotverse_jax import weights
from shotverse_jax.config import Execution, Qwen3VLConfig, Qwen3VLTextConfig, Qwen3VLVisionConfig
from shotverse_jax.conversion import qwen3_vl
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.infer.generate import Writer, Writing, generate, prompts
from shotverse_jax.inputs.chat import SPECIAL_TOKENS, Chat, video
from shotverse_jax.inputs.tokenizer import train_text_tokenizer

TEXT = Qwen3VLTextConfig(
    vocab_size=8192, hidden_size=512, num_layers=12, num_heads=8, num_kv_heads=4, head_dim=64, mlp_size=1536,
    mrope_section=(12, 10, 10),
)  # fmt: skip
VISION = Qwen3VLVisionConfig(
    hidden_size=256, num_layers=6, num_heads=4, mlp_size=1024, out_size=512, deepstack_layers=(1, 3)
)


def torch_model(params, config: Qwen3VLConfig):
    """Returns transformers' network with our weights."""
    import torch
    import transformers

    values = qwen3_vl.config_to_hf(config) | {"vision_start_token_id": 3, "vision_end_token_id": 4}
    model = transformers.Qwen3VLForConditionalGeneration(transformers.Qwen3VLConfig(**values)).eval()
    tensors = NETWORKS["qwen3-vl"].to_torch(params, config)
    missing, unexpected = model.load_state_dict(
        {n: torch.tensor(np.array(a)) for n, a in tensors.items()}, strict=False
    )
    assert set(missing) <= {"lm_head.weight"} and not unexpected
    model.tie_weights()
    return model


def torch_answers(model, batch, config: Qwen3VLConfig, pictures, tokens: int):
    """Returns the ids [B, tokens] that transformers' `generate` writes greedily."""
    import torch

    ids = torch.tensor(batch.ids_BT, dtype=torch.long)
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids,
            attention_mask=torch.tensor(batch.real_BT).long(),
            mm_token_type_ids=2 * (ids == config.video_token).long(),
            pixel_values_videos=torch.tensor(np.concatenate([picture.rows_NP for picture in pictures])),
            video_grid_thw=torch.tensor([picture.grid for picture in pictures]),
            do_sample=False,
            max_new_tokens=tokens,
            min_new_tokens=tokens,
            pad_token_id=0,
        )
    return made[:, ids.shape[1] :].numpy()


def seconds(run) -> float:
    """Returns the seconds that one call takes."""
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def main():
    """Runs both programs in turn and prints medians, their ratio, and how many tokens are equal."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=1)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--runs", type=int, default=5)
    args = parser.parse_args()
    config = Qwen3VLConfig(TEXT, VISION, image_token=5, video_token=6, frames=(16, 16), video_pixels=(4096, 1 << 20))
    tokenizer = train_text_tokenizer(["user assistant <0.5 seconds> Describe the shot."] * 9, 300, SPECIAL_TOKENS)
    rng, chat = np.random.default_rng(0), Chat(tokenizer, config)
    clips = rng.integers(0, 256, (args.batch, 16, 128, 192, 3), dtype=np.uint8)
    asked = [chat.ask(video(clip, config, 8.0), "Describe the shot.") for clip in clips]
    batch = prompts(asked, config, chat.pad)
    params = jax.tree.map(np.asarray, weights.init("qwen3_vl", config, jax.random.key(0)))
    execution = Execution(unroll=jax.default_backend() == "cpu")
    writer, keys = Writer.of(params, chat, execution), jax.random.split(jax.random.key(0), args.batch)
    writing = Writing(args.tokens, (), chat.pad)
    ours = lambda: np.asarray(generate(writer.weights, config, execution, batch, keys, writing))  # noqa: E731
    model, pictures = torch_model(params, config), [question.pictures[0] for question in asked]
    theirs = lambda: torch_answers(model, batch, config, pictures, args.tokens)  # noqa: E731
    same = float((ours() == theirs()).mean())
    times = [(seconds(ours), seconds(theirs)) for _ in range(args.runs)]
    mine, other = (statistics.median(column) for column in zip(*times, strict=True))
    print(f"{batch.ids_BT.shape[1]} places of the prompt, {args.tokens} tokens, batch {args.batch}")
    print(f"shotverse_jax {mine:.3f} s, transformers {other:.3f} s: {other / mine:.2f} times as fast")
    print(f"equal tokens: {same:.1%}")
    print({field.name: getattr(config.text, field.name) for field in dataclasses.fields(config.text)})


if __name__ == "__main__":
    main()
