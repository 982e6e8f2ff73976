"""TransNetV2 against a module of torch with the same names, sizes and random weights."""

import jax
import numpy as np
import pytest

from shotverse_jax.config import TransNetV2Config
from shotverse_jax.conversion import transnetv2
from shotverse_jax.conversion.networks import NETWORKS

torch = pytest.importorskip("torch")
nn, F = torch.nn, torch.nn.functional


class Dilated(nn.Module):
    def __init__(self, inputs, filters, dilation):
        super().__init__()
        space = nn.Conv3d(inputs, 2 * filters, (1, 3, 3), padding=(0, 1, 1), bias=False)
        taps = {"dilation": (dilation, 1, 1), "padding": (dilation, 0, 0)}
        self.layers = nn.Sequential(space, nn.Conv3d(2 * filters, filters, (3, 1, 1), bias=False, **taps))

    def forward(self, x):
        return self.layers(x)


class Block(nn.Module):
    def __init__(self, inputs, filters):
        super().__init__()
        for d in (1, 2, 4, 8):
            setattr(self, f"Conv3D_{d}", Dilated(inputs, filters, d))
        self.bn = nn.BatchNorm3d(4 * filters, eps=1e-3)

    def forward(self, x):
        return self.bn(torch.cat([getattr(self, f"Conv3D_{d}")(x) for d in (1, 2, 4, 8)], dim=1))


class Stack(nn.Module):
    def __init__(self, inputs, filters, blocks):
        super().__init__()
        self.DDCNN = nn.ModuleList([Block(inputs if i == 0 else 4 * filters, filters) for i in range(blocks)])

    def forward(self, x):
        first = x = self.DDCNN[0](x).relu()
        for block in self.DDCNN[1:]:
            x = block(x).relu()
        return F.avg_pool3d(x + first, (1, 2, 2))


def neighbours(x, count):
    """The similarity of each frame to the frames around it, one by one."""
    x = F.normalize(x, dim=2)
    rows = x.new_zeros(*x.shape[:2], count)
    for t in range(x.shape[1]):
        for n in range(count):
            if 0 <= (other := t + n - count // 2) < x.shape[1]:
                rows[:, t, n] = (x[:, t] * x[:, other]).sum(-1)
    return rows


class Original(nn.Module):
    def __init__(self, c):
        super().__init__()
        widths = [4 * c.filters * 2**s for s in range(c.stacks)]
        self.SDDCNN = nn.ModuleList(
            [Stack(i, w // 4, c.blocks) for i, w in zip([3, *widths[:-1]], widths, strict=True)]
        )
        self.frame_sim_layer, self.color_hist_layer = nn.Module(), nn.Module()
        self.frame_sim_layer.projection = nn.Linear(sum(widths), c.features)
        self.frame_sim_layer.fc = nn.Linear(c.neighbours, c.features)
        self.color_hist_layer.fc = nn.Linear(c.neighbours, c.features)
        places = (27 >> c.stacks) * (48 >> c.stacks)
        self.fc1 = nn.Linear(widths[-1] * places + 2 * c.features, c.hidden_size)
        self.cls_layer1, self.cls_layer2 = nn.Linear(c.hidden_size, 1), nn.Linear(c.hidden_size, 1)
        self.count = c.neighbours

    def forward(self, frames):
        x, means = frames.permute(0, 4, 1, 2, 3).float() / 255, []
        for stack in self.SDDCNN:
            x = stack(x)
            means.append(x.mean((3, 4)).transpose(1, 2))
        x = x.permute(0, 2, 3, 4, 1).flatten(2)
        features = self.frame_sim_layer.projection(torch.cat(means, dim=2))
        level = frames.long() // 32
        color = (level[..., 0] * 64 + level[..., 1] * 8 + level[..., 2]).flatten(2)
        histogram = torch.stack([row.bincount(minlength=512) for row in color.flatten(0, 1)])
        histogram = histogram.reshape(*color.shape[:2], 512).float()
        alike = self.frame_sim_layer.fc(neighbours(features, self.count)).relu()
        colors = self.color_hist_layer.fc(neighbours(histogram, self.count)).relu()
        x = self.fc1(torch.cat([colors, alike, x], dim=2)).relu()
        return self.cls_layer1(x)[..., 0], self.cls_layer2(x)[..., 0]


def test_outputs(replayed):
    config = TransNetV2Config(filters=2, stacks=2, blocks=2, hidden_size=24, features=10, neighbours=9)
    torch.manual_seed(0)
    theirs = Original(config).eval()
    with torch.no_grad():
        for name, buffer in theirs.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
            if name.endswith("running_var"):
                buffer.uniform_(0.5, 2)
        for name, weight in theirs.named_parameters():
            if ".bn." in name:
                weight.uniform_(0.5, 1.5)
    tensors = {name: tensor.numpy() for name, tensor in theirs.state_dict().items()}
    assert transnetv2.config_from_tensors(tensors) == config
    params = NETWORKS["transnetv2"].from_torch(tensors, config)

    # Squares of colour, with a cut: noise would have the same histogram everywhere.
    rng = np.random.default_rng(0)
    frames = rng.integers(0, 255, (2, 3, 9, 16, 3), np.uint8).repeat([5, 4, 5], 1).repeat(3, 2).repeat(3, 3)
    frames = np.clip(frames.astype(int) + rng.integers(-20, 20, frames.shape), 0, 255).astype(np.uint8)
    with torch.no_grad():
        cuts, changes = theirs(torch.from_numpy(frames))
    assert cuts.shape == changes.shape == (2, 14)
    outputs = {"one_hot": cuts.numpy(), "many_hot": changes.numpy()}
    assert replayed("transnetv2", tensors, {"frames": frames}, outputs).ok

    back = NETWORKS["transnetv2"].to_torch(params, config)
    assert back.keys() == {name for name in tensors if not name.endswith("num_batches_tracked")}
    assert all(back[name].tobytes() == tensors[name].tobytes() for name in back)


def test_the_published_size():
    shapes = NETWORKS["transnetv2"].abstract(TransNetV2Config())
    # The package's file has 7,618,056 numbers; six count the batches of its training.
    assert sum(leaf.size for leaf in jax.tree.leaves(shapes)) == 7_618_050
