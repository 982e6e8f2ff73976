"""The video transformer's blocks in plain PyTorch, to measure ours against; the section `torch` of `benchmarks.gpu`.

The arithmetic is that of `shotverse_jax/models/wan_dit.py` with Wan's 3D RoPE and without camera encoder and text
windows, which only our side computes: modulation, norms, RoPE and gates in float32, products in bfloat16, attention by
`scaled_dot_product_attention` with whichever of its flash kernels is the fastest here. A training step learns LoRA on
the same linears by AdamW and recomputes every block (our remat "full").
"""

import statistics
import time
from collections.abc import Callable, Iterator

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint

from benchmarks.gpu.rows import GIB, Row, attempt
from shotverse_jax.config import LoraConfig, WanDiTConfig
from shotverse_jax.cost import flops

TEXT = 512
LORA = LoraConfig(rank=128, alpha=128.0, targets=("q_proj", "k_proj", "v_proj", "o_proj", "ffn_in", "ffn_out"))


class LoraLinear(nn.Linear):
    """A frozen linear with a low-rank side path that learns, where `rank` is not 0."""

    def __init__(self, inside: int, out: int, rank: int):
        super().__init__(inside, out)
        self.rank = rank
        if rank:
            self.a = nn.Parameter(torch.rand(inside, rank) * inside**-0.5)
            self.b = nn.Parameter(torch.zeros(rank, out))

    def forward(self, x):
        """The product with the weights and, if there is one, the side path."""
        y = super().forward(x)
        return y + (x @ self.a.to(x.dtype)) @ self.b.to(x.dtype) if self.rank else y


class Attention(nn.Module):
    """Attention with RMSNorm of queries and keys over all heads together."""

    def __init__(self, width: int, heads: int, rank: int):
        super().__init__()
        self.heads = heads
        self.q, self.k, self.v, self.o = (LoraLinear(width, width, rank) for _ in range(4))
        self.q_scale, self.k_scale = (nn.Parameter(torch.ones(width)) for _ in range(2))

    def forward(self, x, memory, rope=None):
        """Queries from x, keys and values from memory; rope: (cos, sin) for queries and keys, or None."""
        width = x.shape[-1]
        q = F.rms_norm(self.q(x), (width,), self.q_scale, 1e-6)
        k = F.rms_norm(self.k(memory), (width,), self.k_scale, 1e-6)
        q, k, v = (y.unflatten(-1, (self.heads, -1)) for y in (q, k, self.v(memory)))
        if rope is not None:
            q, k = _rotate(q, *rope), _rotate(k, *rope)
        y = F.scaled_dot_product_attention(*(y.transpose(1, 2) for y in (q, k, v)))
        return self.o(y.transpose(1, 2).flatten(2))


class Block(nn.Module):
    """Self-attention and MLP with modulation and gates, and between them cross-attention to the text."""

    def __init__(self, width: int, heads: int, mlp: int, rank: int):
        super().__init__()
        self.modulation = nn.Parameter(torch.randn(6, width) * width**-0.5)
        self.self_attn, self.cross_attn = (Attention(width, heads, rank) for _ in range(2))
        self.cross_norm = nn.LayerNorm(width, 1e-6)
        self.ffn_in, self.ffn_out = LoraLinear(width, mlp, rank), LoraLinear(mlp, width, rank)

    def forward(self, x, time, context, cos, sin):
        """The tokens after the block; time: [batch, 6, width], float32."""
        shift, scale, gate, mlp_shift, mlp_scale, mlp_gate = (self.modulation.float() + time).chunk(6, dim=1)
        y = _modulate(x, shift, scale)
        x = (x.float() + self.self_attn(y, y, (cos, sin)).float() * gate).to(x.dtype)
        x = x + self.cross_attn(self.cross_norm(x), context)
        y = self.ffn_out(F.gelu(self.ffn_in(_modulate(x, mlp_shift, mlp_scale)), approximate="tanh"))
        return (x.float() + y.float() * mlp_gate).to(x.dtype)


def _modulate(x, shift, scale):
    return (F.layer_norm(x.float(), x.shape[-1:], eps=1e-6) * (1 + scale) + shift).to(x.dtype)


def _rotate(x, cos, sin):
    even, odd = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1).flatten(-2).to(x.dtype)


def sections(small: bool) -> Iterator[Row]:
    """The rows of the section `torch`; nothing where PyTorch has no GPU, unless it is `small`."""
    if not torch.cuda.is_available() and not small:
        yield {"what": "torch", "error_text": "torch sees no GPU"}
        return
    on = "cuda" if torch.cuda.is_available() else "cpu"
    config = WanDiTConfig(num_layers=4, camera=False, rope="wan3d")
    films = ((21, 60, 104), (63, 60, 104))
    if small:
        config = WanDiTConfig(128, 2, 4, 256, camera=False, rope="wan3d")
        films = ((5, 8, 12),)
    yield {"what": "torch", "torch": torch.__version__, "cudnn": torch.backends.cudnn.version()}
    if on == "cuda":
        a, b = (torch.randn(8192, 8192, device=on, dtype=torch.bfloat16) for _ in range(2))
        each = _median(lambda: [a @ b for _ in range(20)], a.device) / 20
        yield {"what": "matmul 8192x8192x8192, bf16", "ms": 1e3 * each, "tflops": 2 * 8192**3 / each / 1e12}
        yield from _choose_kernel(config, films[0])
    for learn in (False, True):
        blocks = _blocks(config, LORA.rank if learn else 0, on)
        for how in ("eager",) if small else ("eager", "compiled"):
            run = [torch.compile(block, dynamic=False) for block in blocks] if how == "compiled" else blocks
            for sides in films if how == "eager" and not learn else films[:1]:
                yield from attempt(f"{'training step' if learn else 'forward'}, {how}", _measure, config, run, sides)


def _blocks(config: WanDiTConfig, rank: int, on: str) -> list[Block]:
    """Random frozen weights in bfloat16; adapters and what is computed in float32 stay float32."""
    with torch.device(on):
        sizes = config.hidden_size, config.num_heads, config.mlp_size
        blocks = [Block(*sizes, rank) for _ in range(config.num_layers)]
    for block in blocks:
        for name, parameter in block.named_parameters():
            adapter = name.endswith((".a", ".b"))
            parameter.requires_grad_(adapter)
            if not adapter and name != "modulation":
                parameter.data = parameter.data.to(torch.bfloat16)
    return blocks


def _measure(config: WanDiTConfig, blocks: list[Block], sides: tuple[int, int, int]) -> Iterator[Row]:
    parameters = [p for block in blocks for p in block.parameters()]
    learning = [p for p in parameters if p.requires_grad]
    on, width, tokens = parameters[0].device, config.hidden_size, sides[0] * sides[1] * sides[2] // 4
    draw = torch.Generator(on).manual_seed(0)

    def normal(*shape, dtype=torch.bfloat16):
        return torch.randn(*shape, generator=draw, device=on, dtype=dtype)

    angles = normal(1, tokens, 1, width // config.num_heads // 2, dtype=torch.float32)
    x, target, context = normal(1, tokens, width), normal(1, tokens, width), normal(1, TEXT, width)
    rest = normal(1, 6, width, dtype=torch.float32), context, angles.cos(), angles.sin()

    def forward():
        y = x
        with torch.no_grad():
            for block in blocks:
                y = block(y, *rest)
        return y

    optimizer = torch.optim.AdamW(learning, lr=1e-4, fused=on.type == "cuda") if learning else None

    def step():
        y = x
        for block in blocks:
            y = checkpoint(block, y, *rest, use_reentrant=False)
        ((y - target).float() ** 2).mean().backward()
        optimizer.step()
        optimizer.zero_grad()

    run = step if learning else forward
    if on.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
    first = _seconds(run, on)
    each = _median(run, on)
    work = flops.dit(config, *sides, TEXT, lora=LORA if learning else None)[:1]
    useful = sum(part.step() if learning else part.forward for part in work)
    how = "compiled" if hasattr(blocks[0], "_orig_mod") else "eager"
    kind = "training step, every block recomputed" if learning else "forward"
    yield {
        "what": f"{kind}, {config.num_layers} blocks, {tokens:,} tokens, {how}",
        "ms": 1e3 * each,
        "tflops": useful / each / 1e12,
        "compile_s": first - each,
    } | ({"peak_gib": torch.cuda.max_memory_allocated() / GIB} if on.type == "cuda" else {})


def _choose_kernel(config: WanDiTConfig, sides: tuple[int, int, int]) -> Iterator[Row]:
    """Times PyTorch's two flash kernels and leaves the faster one switched on."""
    tokens = sides[0] * sides[1] * sides[2] // 4
    shape = 1, config.num_heads, tokens, config.head_dim
    q, k, v = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(3))
    switches = {"flash": torch.backends.cuda.enable_flash_sdp, "cudnn": torch.backends.cuda.enable_cudnn_sdp}
    # PyTorch's slower kernels are off, so that it cannot fall back to them without notice.
    torch.backends.cuda.enable_mem_efficient_sdp(False)
    torch.backends.cuda.enable_math_sdp(False)
    times = {}
    for name in switches:
        for other, switch in switches.items():
            switch(other == name)

        def run():
            with torch.no_grad():
                return F.scaled_dot_product_attention(q, k, v)

        def measure(name, run=run):
            times[name] = _median(run, q.device)
            rate = 4 * tokens**2 * config.hidden_size / times[name] / 1e12
            yield {"what": f"attention alone, {tokens:,} tokens, {name}", "ms": 1e3 * times[name], "tflops": rate}

        yield from attempt(f"attention alone, {name}", measure, name)
    best = min(times, key=times.get)
    for name, switch in switches.items():
        switch(name == best)


def _median(run: Callable[[], object], on: torch.device) -> float:
    """Seconds of a call, the median of three after one that warms up."""
    return statistics.median([_seconds(run, on) for _ in range(4)][1:])


def _seconds(run: Callable[[], object], on: torch.device) -> float:
    start = time.perf_counter()
    run()
    if on.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
