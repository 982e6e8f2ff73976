"""Track A (GenDoP Table 3, ShotVerse Table 2): do planned cameras move as the reference, and as the caption says.

Every shot of a scene is scored alone, with its own caption, and all shots are pooled.
"""

import dataclasses
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from shotverse_jax.camera.motion_tags import labels_of_shots
from shotverse_jax.evaluation.features.clatr import CLaTrReader
from shotverse_jax.evaluation.metrics.caption_f1 import Scale, axis_f1, caption_f1, same_unit
from shotverse_jax.evaluation.metrics.clatr_score import clatr_score
from shotverse_jax.evaluation.metrics.frechet import frechet
from shotverse_jax.evaluation.metrics.prdc import prdc
from shotverse_jax.evaluation.metrics.retrieval import retrieval
from shotverse_jax.evaluation.tracks.pairs import Pair

_SAME = 0.99  # cosine of two captions' end tokens above which they mean the same (GenDoP evaluate/CLaTr)


@dataclasses.dataclass(frozen=True)
class Variant:
    """How the numbers are counted, where the released evaluation leaves a choice.

    Attributes:
        tag_source: "raw" (default) tags the cameras; "recon" tags what CLaTr decodes of their latents.
        scale: how a prediction is brought to its reference's unit of length, see `trajectory_caption_f1`: "match"
            (default), "none" or "unit". CLaTr reads the same paths.
        latent: "mean" (default) takes the means of CLaTr's distributions, "sample" one random draw of each.
        recall: "true" (default), or "upstream", GenDoP's, see `prdc`.
    """

    tag_source: Literal["raw", "recon"] = "raw"
    scale: Scale = "match"
    latent: Literal["mean", "sample"] = "mean"
    recall: Literal["true", "upstream"] = "true"


UPSTREAM = Variant(tag_source="recon", scale="none", latent="sample", recall="upstream")
"""How GenDoP's released evaluation counts."""


class Shots(NamedTuple):
    """All shots of all scenes, as a variant reads them.

    Attributes:
        number_N: which shot of its scene each is, from 1.
        pred_NF, ref_NF: motion labels of every frame.
        pred_ND, ref_ND: latents of the cameras; None without a CLaTr.
        text_ND: latents of the captions; None where captions are missing or there is no CLaTr.
        same_NN: True where two captions mean the same.
    """

    number_N: np.ndarray
    pred_NF: np.ndarray
    ref_NF: np.ndarray
    pred_ND: np.ndarray | None = None
    ref_ND: np.ndarray | None = None
    text_ND: np.ndarray | None = None
    same_NN: np.ndarray | None = None

    def part(self, keep_N: np.ndarray) -> "Shots":
        """Returns the shots where `keep_N` is True."""
        arrays = [None if array is None else array[keep_N] for array in self[:-1]]
        return Shots(*arrays, None if self.same_NN is None else self.same_NN[np.ix_(keep_N, keep_N)])


def read_shots(
    pairs: Sequence[Pair], reader: CLaTrReader | None = None, variant: Variant = Variant(), seed: int = 0
) -> Shots:
    """Tags the shots of all scenes, and reads their latents.

    Args:
        pairs: the scenes.
        reader: a CLaTr; None (default) reads no latents.
        variant: how they are read.
        seed: of the random draws of "sample".

    Raises:
        ValueError: no scenes, or tags of reconstructions without a CLaTr.
    """
    if variant.tag_source == "recon" and reader is None:
        raise ValueError("tags of reconstructions need a CLaTr")
    both = [same_unit(pair.pred, pair.ref, variant.scale) for pair in pairs]
    paths = [[path for scene in both for path in scene[side]] for side in (0, 1)]
    number_N = np.concatenate([np.arange(1, pair.ref.num_shots + 1) for pair in pairs])
    if reader is None:
        return Shots(number_N, *map(labels_of_shots, paths))
    rng = np.random.default_rng(seed)
    take = (lambda gaussians: gaussians.mu_ND) if variant.latent == "mean" else (lambda gaussians: gaussians.draw(rng))
    latents = [take(reader.read_shots(side)) for side in paths]
    if variant.tag_source == "recon":
        paths = [list(reader.decode(latent_ND)) for latent_ND in latents]
    captions = [caption for pair in pairs for caption in pair.captions]
    text_ND, same_NN = None, None
    if reader.tower is not None and all(captions):
        read = reader.read_captions(captions)
        text_ND, same_NN = take(read.latents), _same(captions, read.end_ND if reader.published else None)
    return Shots(number_N, *map(labels_of_shots, paths), *latents, text_ND, same_NN)


def _same(captions: Sequence[str], end_ND: np.ndarray | None) -> np.ndarray:
    """Which captions are equal, or by the states of a tower that was not trained for it nearly so."""
    _, number_N = np.unique(captions, return_inverse=True)
    same_NN = number_N[:, None] == number_N[None, :]
    if end_ND is None:
        return same_NN
    end_ND = end_ND / np.linalg.norm(end_ND, axis=1, keepdims=True)
    return same_NN | (end_ND @ end_ND.T > _SAME)


def scores(shots: Shots, variant: Variant = Variant()) -> dict[str, float]:
    """Returns the scores of shots; a score that so few shots do not have is left out.

    Returns:
        samples: number of shots.
        captions/precision, recall, f1: exact classes, see `caption_f1`.
        captions/<axis>/f1: of each axis and their mean, see `axis_f1`.
        clatr/clatr_score: GenDoP's CLaTr-CLIP.
        clatr/fcd: GenDoP's CLaTr-FID.
        clatr/precision, recall, density, coverage: see `prdc`; of five parts, of fewer where a part would have less
            than four shots.
        retrieval/…: see `retrieval`, among all captions.
    """
    count = len(shots.number_N)
    values: dict[str, float] = {"samples": count}
    exact = caption_f1(shots.pred_NF, shots.ref_NF)
    values |= {f"captions/{name}": value for name, value in exact.items()}
    axes = axis_f1(shots.pred_NF, shots.ref_NF)
    values |= {f"captions/{axis}/f1": value["f1"] for axis, value in axes.items()}
    if shots.text_ND is not None:
        values["clatr/clatr_score"] = clatr_score(shots.pred_ND, shots.text_ND)["clatr_score"]
    if shots.pred_ND is not None and count >= 2:
        values["clatr/fcd"] = frechet(shots.pred_ND, shots.ref_ND)["fcd"]
    if shots.pred_ND is not None and count >= 4:
        found = prdc(shots.pred_ND, shots.ref_ND, chunks=chunks(count))
        if variant.recall == "upstream":
            found["recall"] = found["recall_upstream"]
        values |= {f"clatr/{name}": found[name] for name in ("precision", "recall", "density", "coverage")}
    if shots.text_ND is not None and count >= 2:
        found = retrieval(shots.pred_ND, shots.text_ND, shots.same_NN)
        values |= {f"retrieval/{name}": value for name, value in found.items()}
    return values


def chunks(count: int) -> int:
    """Returns the number of parts that precision and its kin are counted in: five, if each has four shots or more."""
    # As in torch.chunk all parts but the last are of one size, and the last one has the rest.
    sizes = ((parts, -(-count // parts)) for parts in (5, 4, 3, 2))
    return next((parts for parts, size in sizes if count - size * (-(-count // size) - 1) >= 4), 1)


def by_shot(shots: Shots, variant: Variant = Variant()) -> dict[str, dict[str, float]]:
    """Returns `scores` of "all" shots; where scenes have several, also of all first ones ("shot 1"), second ones, …"""
    values = {"all": scores(shots, variant)}
    last = int(shots.number_N.max())
    numbers = range(1, last + 1) if last > 1 else ()
    return values | {f"shot {number}": scores(shots.part(shots.number_N == number), variant) for number in numbers}


def of_each(pairs: Sequence[Pair], shots: Shots) -> list[dict[str, str | int | float]]:
    """Returns for every shot its scene, its number, the share of frames with the same tag, and its CLaTr score."""
    names = [pair.name for pair in pairs for _ in range(pair.ref.num_shots)]
    rows = [
        {"scene": name, "shot": int(number), "same_tags": float(same)}
        for name, number, same in zip(names, shots.number_N, (shots.pred_NF == shots.ref_NF).mean(1), strict=True)
    ]
    if shots.text_ND is not None:
        norms = np.linalg.norm(shots.pred_ND, axis=1) * np.linalg.norm(shots.text_ND, axis=1)
        for row, cosine in zip(rows, (shots.pred_ND * shots.text_ND).sum(1) / norms, strict=True):
            row["clatr_score"] = 100 * float(cosine)
    return rows


def cautions(counts: tuple[int, int], shots: Shots) -> list[str]:
    """Returns sentences about what the scores cannot be compared with.

    counts: number of scenes of the folder of predictions and of that of references.
    """
    count, found = len(shots.number_N), []
    if counts[0] != counts[1]:
        found.append(
            f"there are {counts[0]} predictions and {counts[1]} references: all scores are of the scenes that both "
            "have. FCD and coverage depend on the number of samples: compare them only with scores of as many"
        )
    if shots.pred_ND is None:
        return found
    width = shots.pred_ND.shape[1]
    if count <= width:
        found.append(f"FCD of {count} shots in {width} dimensions is far too uncertain to be compared")
    if count >= 4 and chunks(count) != 5:
        found.append(
            f"precision, recall, density and coverage are not of five parts but of {chunks(count)}, as there are "
            f"only {count} shots"
        )
    if shots.text_ND is None:
        found.append("not every shot has a caption that can be read: there is no CLaTr score and no retrieval")
    return found
