"""CLaTr's losses and their gradients against those of torch."""

import jax
import numpy as np
import pytest

from shotverse_jax.config import CLaTrTrainConfig
from shotverse_jax.models.clatr import Latent, Reading
from shotverse_jax.train.tasks.clatr import clatr_loss

torch = pytest.importorskip("torch")


def original(config, parts, features, same):
    """The loss by torch's modules and distributions, as the training of the original adds it up."""
    functional, normal = torch.nn.functional, torch.distributions.Normal
    recon = sum(functional.smooth_l1_loss(parts[f"{side}_recon"], features) for side in ("text", "traj"))
    dists = {s: normal(parts[f"{s}_mu"], (0.5 * parts[f"{s}_logvar"]).exp()) for s in ("text", "traj")}
    dists["normal"] = normal(torch.zeros_like(parts["text_mu"]), torch.ones_like(parts["text_mu"]))
    pairs = (("text", "traj"), ("traj", "text"), ("traj", "normal"), ("text", "normal"))
    kl = sum(torch.distributions.kl_divergence(dists[a], dists[b]).mean() for a, b in pairs)
    latent = functional.smooth_l1_loss(parts["text"], parts["traj"])
    cosine = functional.cosine_similarity(parts["text"][:, None], parts["traj"][None], dim=-1) / config.temperature
    cosine = cosine.masked_fill(torch.from_numpy(same & ~np.eye(len(same), dtype=bool)), -torch.inf)
    labels = torch.arange(len(same))
    contrast = (functional.cross_entropy(cosine, labels) + functional.cross_entropy(cosine.T, labels)) / 2
    return recon + config.kl_weight * kl + config.latent_weight * latent + config.contrast_weight * contrast


def test_the_loss_and_its_gradient(parity):
    config, rng = CLaTrTrainConfig(kl_weight=0.3, latent_weight=0.7, contrast_weight=0.9), np.random.default_rng(0)
    wide = {name: (5, 12, 9) for name in ("text_recon", "traj_recon")}
    shapes = wide | {f"{s}{part}": (5, 8) for s in ("text", "traj") for part in ("", "_mu", "_logvar")}
    parts = {name: rng.normal(0, 1.5, shape).astype(np.float32) for name, shape in shapes.items()}
    features, same = rng.normal(size=(5, 12, 9)).astype(np.float32), np.eye(5, dtype=bool)
    same[1, 3] = same[3, 1] = True

    def ours(parts):
        traj, text = (Latent(parts[f"{s}_mu"], parts[f"{s}_logvar"]) for s in ("traj", "text"))
        reading = Reading(traj, text, parts["traj_recon"], parts["text_recon"])
        return clatr_loss(config, reading, parts["traj"], parts["text"], features, same)[0]

    value, gradient = jax.value_and_grad(ours)(parts)
    leaves = {name: torch.from_numpy(x).requires_grad_() for name, x in parts.items()}
    theirs = original(config, leaves, torch.from_numpy(features), same)
    theirs.backward()
    assert parity("CLaTr's loss", np.array([value]), np.array([theirs.item()])) < 1e-5
    assert parity("CLaTr's gradient", gradient, {n: x.grad.numpy() for n, x in leaves.items()}, size=np.max) < 1e-4
