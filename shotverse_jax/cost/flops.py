"""Floating-point operations of the networks, from their configs: the cost of a run is known before it runs.

Only matrix products and convolutions are counted, with two operations for a multiply-add; all else is below a percent
of them at the sizes where it matters. Attention counts every pair of query and key in the arrays, masked ones too.
"""

import dataclasses
from collections.abc import Iterable, Sequence

from shotverse_jax.config import (
    CLATR_FRAMES,
    CameraCLIPConfig,
    CLaTrConfig,
    CLIPTextConfig,
    CLIPVisionConfig,
    GenDoPConfig,
    LoraConfig,
    OPTConfig,
    PlannerConfig,
    Qwen3VLConfig,
    Qwen3VLTextConfig,
    Qwen3VLVisionConfig,
    UMT5Config,
    WanDiTConfig,
    WanVAEConfig,
)


@dataclasses.dataclass(frozen=True)
class Work:
    """Operations of one forward pass through a part of a network, by what training does with them.

    Attributes:
        linear: products with weights.
        attention: products of queries with keys, and of their scores with values.
        adapter: the side paths of LoRA.
        last: the part of `linear` whose result is only added to the residual stream; a block that is computed again
            for its gradient leaves it out.
        trained: whether the weights of `linear` learn; if not, they need no gradient.
        gradient: whether a gradient passes through; none does before the first part that learns.
    """

    linear: float
    attention: float = 0.0
    adapter: float = 0.0
    last: float = 0.0
    trained: bool = False
    gradient: bool = True

    @property
    def forward(self) -> float:
        """Operations of the forward pass."""
        return self.linear + self.attention + self.adapter

    def step(self) -> float:
        """Operations that the mathematics of a training step needs; MFU counts these."""
        if not self.gradient:
            return self.forward
        # A product with weights has one product of the same size for the gradient of its input, and one for that of its
        # weights. In attention both factors need a gradient, so its backward pass is always twice the forward.
        return (3 if self.trained else 2) * self.linear + 3 * (self.attention + self.adapter)

    def executed(self, remat: str, flash: bool) -> float:
        """Operations that a training step executes: `step`, and all that is computed again.

        Args:
            remat: `Execution.remat`.
            flash: whether the attention kernel does not store its scores; its gradient computes them again and so has
                five products in place of four.
        """
        if not self.gradient:
            return self.forward
        # Attention's forward pass is two products, so the fifth product of the backward pass is half of it.
        total = self.step() + (self.attention / 2 if flash else 0)
        if remat != "none":
            total += self.linear - (0 if self.trained else self.last) + self.adapter
        if remat == "full" or (remat == "save_attention" and not flash):
            total += self.attention
        return total


def forward(parts: Iterable[Work]) -> float:
    """Operations of the forward pass of several parts."""
    return sum(part.forward for part in parts)


def dit(
    config: WanDiTConfig,
    frames: int,
    height: int,
    width: int,
    text: int = 512,
    *,
    shots: Sequence[int] | None = None,
    lora: LoraConfig | None = None,
    trained: bool = False,
) -> tuple[Work, Work]:
    """One sample of the video transformer: (its blocks and head, the embeddings before them).

    Args:
        config: the network.
        frames, height, width: size of the latents.
        text: tokens of the prompt.
        shots: latent frames of each shot, for sparse attention; None is one shot.
        lora: the adapters that are trained; None for none.
        trained: whether the network itself is trained.
    """
    wide, deep = config.hidden_size, config.num_layers
    frame = (height // config.patch[1]) * (width // config.patch[2])
    tokens = frames * frame
    pixels = config.latent_channels * config.patch[0] * config.patch[1] * config.patch[2]
    pairs = tokens**2
    if config.self_attention == "sparse":
        # A shot sees its own tokens and the first latent frame of every shot, its own too (HoloCine §3.2.2).
        lengths = [count * frame for count in (shots or (frames,))]
        pairs = sum(length * (length + len(lengths) * frame) for length in lengths)
    widths = {
        "q_proj": (2 * tokens, wide, wide),  # of self-attention and of cross-attention
        "k_proj": (tokens + text, wide, wide),
        "v_proj": (tokens + text, wide, wide),
        "o_proj": (2 * tokens, wide, wide),
        "ffn_in": (tokens, wide, config.mlp_size),
        "ffn_out": (tokens, config.mlp_size, wide),
    }
    linear = sum(rows * inside * out for rows, inside, out in widths.values())
    # Cameras are repeated before they are encoded (`models/camera_encoder.py`), so every token counts, not every frame.
    camera = tokens * 12 * wide if config.camera else 0
    blocks = Work(
        linear=2.0 * deep * (linear + camera) + 2.0 * tokens * wide * pixels,
        attention=4.0 * deep * wide * (pairs + tokens * text),
        adapter=2.0 * deep * _adapters(widths, lora),
        last=2.0 * deep * tokens * config.mlp_size * wide + 2.0 * tokens * wide * pixels,
        trained=trained,
    )
    # 7: one square matrix of `time_out` and six of `time_proj`.
    time = config.frequency_size * wide + 7 * wide**2
    before = 2.0 * (tokens * pixels * wide + text * (config.text_size * wide + wide**2) + time)
    # Adapters are in the blocks alone, so no gradient reaches the embeddings unless the network itself is trained.
    return blocks, Work(before, trained=trained, gradient=trained)


def umt5(config: UMT5Config, text: int = 512, *, trained: bool = False) -> Work:
    """One prompt through UMT5's encoder."""
    inner = config.num_heads * config.head_dim
    matrices = 4 * config.hidden_size * inner + 3 * config.hidden_size * config.mlp_size
    linear = 2.0 * config.num_layers * text * matrices
    return Work(linear, 4.0 * config.num_layers * text**2 * inner, trained=trained, gradient=trained)


def qwen3_vl(config: Qwen3VLTextConfig, tokens: int, *, lora: LoraConfig | None = None, trained: bool = False) -> Work:
    """One sequence through Qwen3-VL's text decoder, without its head."""
    wide, inner, mlp = config.hidden_size, config.num_heads * config.head_dim, config.mlp_size
    keys = config.num_kv_heads * config.head_dim
    widths = {
        "q_proj": (tokens, wide, inner),
        "k_proj": (tokens, wide, keys),
        "v_proj": (tokens, wide, keys),
        "o_proj": (tokens, inner, wide),
        "gate_proj": (tokens, wide, mlp),
        "up_proj": (tokens, wide, mlp),
        "down_proj": (tokens, mlp, wide),
    }
    deep = config.num_layers
    return Work(
        linear=2.0 * deep * sum(rows * inside * out for rows, inside, out in widths.values()),
        attention=4.0 * deep * inner * tokens**2,
        adapter=2.0 * deep * _adapters(widths, lora),
        last=2.0 * deep * tokens * mlp * wide,
        trained=trained,
    )


def qwen3_vision(config: Qwen3VLVisionConfig, frames: int, patches: int, *, trained: bool = False) -> Work:
    """`frames` pairs of frames of `patches` patches each through Qwen3-VL's vision tower, with its mergers."""
    wide, rows = config.hidden_size, frames * patches
    blocks = config.num_layers * rows * (4 * wide**2 + 2 * wide * config.mlp_size)
    joined = wide * config.merged_patches
    mergers = (1 + len(config.deepstack_layers)) * rows // config.merged_patches * joined * (joined + config.out_size)
    linear = 2.0 * (rows * config.patch_values * wide + blocks + mergers)
    # The pixels need no gradient, but all that is counted here stands after weights that learn, or none does.
    return Work(linear, 4.0 * config.num_layers * wide * rows * patches, trained=trained, gradient=trained)


def captioner(
    config: Qwen3VLConfig,
    tokens: int,
    answer: int,
    frames: int,
    patches: int,
    *,
    lora: LoraConfig | None = None,
    trained: bool = True,
    vision: bool = True,
) -> tuple[Work, ...]:
    """One clip with its caption: the vision tower, the text decoder and its head.

    Args:
        config: the network.
        tokens: of question and answer together.
        answer: tokens of the answer, of which alone there are logits.
        frames, patches: pairs of frames, and patches of one.
        lora: the adapters that are trained on the text decoder; None for none.
        trained: whether the text decoder itself is trained.
        vision: whether the vision tower is trained.
    """
    head = Work(2.0 * answer * config.text.hidden_size * config.text.vocab_size, trained=trained)
    text = qwen3_vl(config.text, tokens, lora=lora, trained=trained)
    return qwen3_vision(config.vision, frames, patches, trained=vision), text, head


def opt(config: OPTConfig, prefix: int, tokens: int, prefix_size: int) -> Work:
    """One sequence of pose tokens after the projection of a prefix of `prefix_size` channels, all of it trained."""
    wide, places = config.hidden_size, prefix + tokens
    blocks = config.num_layers * places * (4 * wide**2 + 2 * wide * config.mlp_size)
    ends = prefix * prefix_size * wide + places * wide * config.vocab_size
    return Work(2.0 * (blocks + ends), 4.0 * config.num_layers * wide * places**2, trained=True)


def planner(config: PlannerConfig, text: int, poses: int, shots: int) -> tuple[Work, ...]:
    """One screenplay of `text` places (tokens and queries) and `poses` pose tokens: language model and decoder."""
    size, decoder = config.text.hidden_size, config.decoder
    options = {"lora": config.lora, "trained": config.lora is None}
    if config.decoder_kind == "native":
        head = Work(2.0 * poses * size * decoder.vocab_size, trained=True)
        return qwen3_vl(config.text, text + poses, **options), head
    codes = shots * config.num_queries + shots - 1 if config.encoder == "queries" else text
    pose_decoder = opt(decoder, codes, poses, size)
    return (pose_decoder,) if config.encoder == "none" else (qwen3_vl(config.text, text, **options), pose_decoder)


def clip(config: CLIPTextConfig | CLIPVisionConfig, *, trained: bool = True) -> Work:
    """One text of the greatest length, or one picture, through a tower of CLIP."""
    wide, vision = config.hidden_size, isinstance(config, CLIPVisionConfig)
    places = config.places if vision else config.max_positions
    patches = (places - 1) * 3 * config.patch_size**2 * wide if vision else 0
    blocks = config.num_layers * places * (4 * wide**2 + 2 * wide * config.mlp_size)
    attention = 4.0 * config.num_layers * wide * places**2
    return Work(2.0 * (blocks + patches), attention, trained=trained, gradient=trained)


def gendop(config: GenDoPConfig, poses: int, *, trained: bool = True) -> tuple[Work, ...]:
    """One shot of `poses` pose tokens: the towers, their projections, and the decoder.

    An anchor head is not counted: it has a row where the decoder has hundreds.

    trained: whether the towers learn; the rest always does.
    """
    towers = {"text": config.text, "image": config.vision, "depth": config.vision}
    read = [towers[part] for part in config.conditions]
    places = [tower.places if isinstance(tower, CLIPVisionConfig) else tower.max_positions for tower in read]
    sizes = zip(places, read, strict=True)
    projections = sum(count * tower.hidden_size * config.decoder.hidden_size for count, tower in sizes)
    decoder = opt(config.decoder, sum(places), poses, 0)
    return (*(clip(tower, trained=trained) for tower in read), Work(2.0 * projections, trained=True), decoder)


def clatr(config: CLaTrConfig, text: CLIPTextConfig, tokens: int, *, tower: bool = True) -> tuple[Work, ...]:
    """One shot with its caption of `tokens` tokens: the text tower, both encoders, and the decoder of both latents.

    tower: whether the text tower learns; the rest always does.
    """
    wide, deep, items = config.hidden_size, config.num_layers, CLATR_FRAMES // config.frames_per_item
    block = 4 * wide**2 + 2 * wide * config.mlp_size

    def encoder(places: int, inside: int) -> Work:
        # Two learned tokens stand before what is read.
        linear = places * inside * wide + deep * (places + 2) * block
        return Work(2.0 * linear, 4.0 * deep * wide * (places + 2) ** 2, trained=True)

    # Attention to the latent is one more in each block; its q, k and v are one product, of the latent too.
    decoded = deep * (items * (block + 4 * wide**2) + 3 * wide**2) + items * wide * config.feature_size
    decoder = Work(4.0 * decoded, 8.0 * deep * wide * (items**2 + items), trained=True)
    read = clip(dataclasses.replace(text, max_positions=tokens), trained=tower)
    return read, encoder(items, config.feature_size), encoder(tokens, config.text_size), decoder


def camera_clip(config: CameraCLIPConfig, tokens: int, kept: tuple[int, int] = (0, 0)) -> tuple[Work, ...]:
    """One clip with its text of `tokens` tokens: both towers, their projections, and the temporal code.

    kept: how many of the first blocks of the image's and of the text's tower do not learn; the rest does.
    """
    text, vision = dataclasses.replace(config.text, max_positions=tokens), config.vision
    parts = []
    for tower, count, first in ((vision, config.frames, kept[0]), (text, 1, kept[1])):
        whole, shorter = clip(tower), clip(dataclasses.replace(tower, num_layers=tower.num_layers - first))
        if not first:
            parts.append(dataclasses.replace(whole, linear=count * whole.linear, attention=count * whole.attention))
            continue
        # A block is what both differ by; the rest of the first part embeds the patches.
        block = (whole.linear - shorter.linear) / first
        last = block * (tower.num_layers - first)
        parts.append(Work(count * (whole.linear - last), count * (whole.attention - shorter.attention), gradient=False))
        parts.append(Work(count * last, count * shorter.attention, trained=True))
    joint = config.frames * vision.hidden_size + text.hidden_size
    if config.temporal == "code":
        patches = vision.places - 1
        joint += config.joint_size * 2 + config.code_size  # of `out`
        pair = 2 * (config.joint_size + patches * config.layout_size) * config.code_size
        inside = config.frames * patches * vision.hidden_size * config.layout_size + (config.frames - 1) * pair
        parts.append(Work(2.0 * inside, trained=True))
    return (*parts, Work(2.0 * joint * config.joint_size, trained=True))


def vae(config: WanVAEConfig, frames: int, height: int, width: int) -> tuple[Work, Work]:
    """One clip through the video VAE: (encoder, decoder); frames, height and width of the video."""
    channels = [multiplier * config.base_size for multiplier in config.multipliers]
    seen = [frames]  # at every resolution
    for halved in config.temporal:
        # The first frame of a clip stays alone when frames are halved, as in `wan_vae.Down`.
        seen.append((seen[-1] - 1) // 2 + 1 if halved else seen[-1])
    area = [(height >> i) * (width >> i) for i in range(len(channels))]
    size = [count * pixels for count, pixels in zip(seen, area, strict=True)]
    top, latent = channels[-1], config.latent_channels
    middle = size[-1] * (4 * 27 + 4) * top**2  # two residual blocks and the projections of attention
    # Attention is among the pixels of one frame, so it grows with the square of the area, but not of the frames.
    attention = 4.0 * top * size[-1] * area[-1]

    def blocks(count, inside, out, pixels):
        return pixels * (27 * (inside + out) * out + (inside * out if inside != out else 0) + (count - 1) * 54 * out**2)

    encoder = size[0] * 27 * 3 * channels[0] + middle + size[-1] * (27 * top * 2 * latent + (2 * latent) ** 2)
    inside = channels[0]
    for i, out in enumerate(channels):
        encoder += blocks(config.res_blocks, inside, out, size[i])
        inside = out
        if i < len(config.temporal):
            encoder += seen[i] * area[i + 1] * 9 * out**2
            encoder += config.temporal[i] * (seen[i + 1] - 1) * area[i + 1] * 3 * out**2

    decoder = size[-1] * (latent**2 + 27 * latent * top) + middle + size[0] * 27 * channels[0] * 3
    inside = top
    for i in reversed(range(len(channels))):
        decoder += blocks(config.res_blocks + 1, inside, channels[i], size[i])
        inside = channels[i]
        if i:
            decoder += config.temporal[i - 1] * (seen[i] - 1) * area[i] * 6 * inside**2
            inside //= 2
            decoder += size[i - 1] * 18 * inside**2
    return Work(2.0 * encoder, attention, trained=True), Work(2.0 * decoder, attention, trained=True)


def _adapters(widths: dict[str, tuple[int, int, int]], lora: LoraConfig | None) -> int:
    """Multiply-adds of the side paths of one block."""
    if lora is None:
        return 0
    return sum(widths[name][0] * lora.rank * (widths[name][1] + widths[name][2]) for name in lora.targets)
