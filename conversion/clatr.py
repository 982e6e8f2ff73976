"""Names and sizes of CLaTr checkpoints (the state_dict of a Lightning .ckpt) for `models/clatr.py`."""

from shotverse_jax.config import CLaTrConfig

from .core import TRANSPOSE, Entry, Table, Tensors, canonical_names, linear, norm

NUM_HEADS = 4  # in GenDoP's releases; the tensors do not show it


def _attention(source: str, target: str) -> tuple[Entry, ...]:
    return (
        Entry(f"{source}.in_proj_weight", f"{target}/qkv/kernel", TRANSPOSE),  # q, k and v, stacked
        Entry(f"{source}.in_proj_bias", f"{target}/qkv/bias"),
        *linear(f"{source}.out_proj", f"{target}/out_proj"),
    )


def _layers(source: str, target: str, norms: tuple[str, ...]) -> tuple[Entry, ...]:
    source, target = f"{source}.layers.{{i}}.", f"{target}/layers/"
    return (
        *_attention(f"{source}self_attn", f"{target}self_attn"),
        *(_attention(f"{source}multihead_attn", f"{target}cross_attn") if "cross_norm" in norms else ()),
        *(e for i in (1, 2) for e in linear(f"{source}linear{i}", f"{target}fc{i}")),
        *(e for i, name in enumerate(norms, 1) for e in norm(f"{source}norm{i}", f"{target}{name}")),
    )


def _encoder(name: str) -> tuple[Entry, ...]:
    return (
        Entry(f"{name}.tokens", f"{name}/queries"),
        *linear(f"{name}.projection", f"{name}/project"),
        *_layers(f"{name}.seqTransEncoder", name, ("self_norm", "mlp_norm")),
    )


TABLE = Table(
    entries=(
        *_encoder("traj_encoder"),
        *_encoder("text_encoder"),
        *_layers("traj_decoder.seqTransDecoder", "traj_decoder", ("self_norm", "cross_norm", "mlp_norm")),
        *linear("traj_decoder.final_layer", "traj_decoder/head"),
    )
)


def config_from_tensors(tensors: Tensors, num_heads: int = NUM_HEADS) -> CLaTrConfig:
    """Returns the config of a CLaTr from the shapes of its tensors, which do not show the number of heads.

    Raises:
        ValueError: The tensors are not a CLaTr's.
    """
    names, stack = canonical_names(TABLE, tensors), "traj_encoder.seqTransEncoder.layers."
    sized = [f"{part}_encoder.projection.weight" for part in ("traj", "text")] + [f"{stack}0.linear1.weight"]
    if missing := [name for name in sized if name not in names]:
        raise ValueError(f"not a CLaTr: {', '.join(missing)} missing; give the .ckpt of all three networks")
    traj, text, mlp = (tensors[names[name]].shape for name in sized)
    return CLaTrConfig(
        hidden_size=traj[0],
        num_layers=len({name.removeprefix(stack).split(".")[0] for name in names if name.startswith(stack)}),
        num_heads=num_heads,
        mlp_size=mlp[0],
        feature_size=traj[1],
        text_size=text[1],
    )
