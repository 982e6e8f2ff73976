"""Names and sizes of TransNetV2's PyTorch checkpoints (its state_dict) for `models/transnetv2.py`."""

from shotverse_jax.config import TransNetV2Config

from .core import Entry, Table, Tensors, Transform, canonical_names, linear

DILATIONS = (1, 2, 4, 8)
_FRAMES = Transform(lambda w: w[:, :, 0].transpose(2, 3, 1, 0), lambda w: w.transpose(3, 2, 0, 1)[:, :, None])
"""[out, in, 1, rows, columns] <-> [rows, columns, in, out]"""
_TIME = Transform(lambda w: w[..., 0, 0].transpose(2, 1, 0), lambda w: w.transpose(2, 1, 0)[..., None, None])
"""[out, in, time, 1, 1] <-> [time, in, out]"""
_NORM = {"weight": "scale", "bias": "bias", "running_mean": "mean", "running_var": "variance"}


def _block(stack: int, block: int) -> tuple[Entry, ...]:
    source, target = f"SDDCNN.{stack}.DDCNN.{block}", f"stack_{stack}/block_{block}"
    convolutions = (("layers.0", "conv", _FRAMES), ("layers.1", "time_conv", _TIME))
    return (
        *(
            Entry(f"{source}.Conv3D_{d}.{theirs}.weight", f"{target}/dilated_{d}/{ours}/kernel", transform)
            for d in DILATIONS
            for theirs, ours, transform in convolutions
        ),
        *(Entry(f"{source}.bn.{theirs}", f"{target}/norm/{ours}") for theirs, ours in _NORM.items()),
    )


def table(config: TransNetV2Config) -> Table:
    """Returns the table of a config."""
    return Table(
        entries=(
            *(e for s in range(config.stacks) for b in range(config.blocks) for e in _block(s, b)),
            *linear("frame_sim_layer.projection", "project"),
            *linear("frame_sim_layer.fc", "by_features/out"),
            *linear("color_hist_layer.fc", "by_colors/out"),
            *linear("fc1", "hidden"),
            *linear("cls_layer1", "cut_head"),
            *linear("cls_layer2", "change_head"),
        ),
        ignore=(r".*\.num_batches_tracked",),
    )


def config_from_tensors(tensors: Tensors) -> TransNetV2Config:
    """Returns the config of a TransNetV2 from the shapes of its tensors.

    Raises:
        ValueError: The tensors are not a TransNetV2's.
    """
    names = canonical_names(table(TransNetV2Config()), tensors)
    first = "SDDCNN.0.DDCNN.0.Conv3D_1.layers.1.weight"
    if missing := [name for name in (first, "frame_sim_layer.fc.weight", "fc1.weight") if name not in names]:
        raise ValueError(f"not a TransNetV2: {', '.join(missing)} missing")
    features, neighbours = tensors[names["frame_sim_layer.fc.weight"]].shape
    places = {tuple(name.split(".")[1:4:2]) for name in names if name.startswith("SDDCNN.")}
    return TransNetV2Config(
        filters=tensors[names[first]].shape[0],
        stacks=len({stack for stack, _ in places}),
        blocks=len({block for _, block in places}),
        hidden_size=tensors[names["fc1.weight"]].shape[0],
        features=features,
        neighbours=neighbours,
    )
