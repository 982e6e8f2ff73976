"""Scores of a CameraCLIP on held-out clips: retrieval both ways, classes, and clips that are played backwards."""

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from shotverse_jax.cinematic.clip_source import ROUND, FolderSamples, Sample, StageSamples
from shotverse_jax.cinematic.facts import agreement, numbers
from shotverse_jax.cinematic.phrases import CLASSES, OPPOSITES
from shotverse_jax.cinematic.scorer import CameraScorer, class_vectors
from shotverse_jax.evaluation.metrics.retrieval import retrieval

RANKS = (1, 5, 10)
HEIGHT, WIDTH = 64, 96
TOGETHER = 20  # clips that are made and read before the progress is called


def score_held_out(
    scorer: CameraScorer,
    folder: str | Path | None = None,
    count: int = 200,
    seed: int = 0,
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, float]:
    """Returns the scores on the clips of the split "test" of a folder, or on clips of the stage.

    Args:
        scorer: the network.
        folder: a data set of Cinematic2K's form; None (default) renders clips of the stage, 64 x 96 pixels.
        count: clips of the stage, every class as often; default 200.
        seed: another seed, other clips of the stage.
        progress: called with ("clips", done, total).

    Returns:
        The keys of `score_samples`.

    Raises:
        ValueError: the folder cannot be used, or the clips of the stage are not whole rounds of the classes.
    """
    if folder is None and count % ROUND:
        raise ValueError(f"every class comes as often, so the clips are a multiple of {ROUND}; got {count}")
    size = scorer.config.frames, HEIGHT, WIDTH
    # A folder's clips are read in their own size and are reduced by the network's own preparation.
    source = (
        StageSamples("test", *size, variants=False) if folder is None else FolderSamples(str(folder), "test", *size)
    )
    count = count if folder is None else len(source.all)
    samples: list[Sample] = []
    vectors: list[np.ndarray] = []
    for start in range(0, count, TOGETHER):
        places = range(start, min(start + TOGETHER, count))
        if folder is None:
            part = source.pick(seed, places)
        else:
            part = [source.worded(k)._replace(frames_THWC=scorer.read(source.all[k].path)) for k in places]
        # A clip and the same one backwards.
        vectors.append(scorer.video_features([s.frames_THWC[::step] for step in (1, -1) for s in part]))
        samples += [sample._replace(frames_THWC=None) for sample in part]
        if progress is not None:
            progress("clips", len(samples), count)
    video_NJ, reverse_NJ = (np.concatenate([v.reshape(2, -1, v.shape[-1])[way] for v in vectors]) for way in (0, 1))
    return score_samples(scorer, samples, video_NJ, reverse_NJ)


def score_samples(
    scorer: CameraScorer, samples: Sequence[Sample], video_NJ: np.ndarray, reverse_NJ: np.ndarray
) -> dict[str, float]:
    """Returns the scores of clips by their vectors.

    Args:
        scorer: the network, which reads the texts.
        samples: the clips; their frames are not used.
        video_NJ: their vectors.
        reverse_NJ: the vectors of the same clips, played backwards.

    Returns:
        text_r1, text_r5, text_r10: share of clips with a right text among the nearest 1, 5, 10 of all texts. Right is
            every text that says nothing false of the clip (`cinematic.facts`); of a folder, an equal caption.
        video_r1, …: share of texts with a right clip among the nearest.
        class/NAME: share of the clips of a class whose nearest class is right, of those of its group; a class is the
            mean vector of its phrases. class_mean: the mean over the classes.
        reversed/NAME: of the classes with a direction, share of the clips that, played backwards, are nearer to the
            opposite class than to their own; 0.5 is chance. reversed_mean: the mean over these classes.
        cosine/NAME: mean cosine of the clips of a class with its first phrase; without "cosine/" they are the `means`
            of `cinematic.guidance.Compose`.
        clips: how many.
    """
    facts_NK, said_NK = (np.stack([numbers(getattr(s, part)) for s in samples]) for part in ("facts", "said"))
    right_NN, open_NN = agreement(facts_NK, said_NK)
    text_NJ = np.asarray(scorer.text_features([sample.caption for sample in samples]))
    found = retrieval(video_NJ, text_NJ, right_NN | open_NN, ranks=RANKS)
    scores = {name.replace("trajectory", "video"): value for name, value in found.items() if "_r" in name}
    scores |= _by_class(scorer, np.array([sample.name for sample in samples]), video_NJ, reverse_NJ)
    return scores | {"clips": len(samples)}


def _by_class(
    scorer: CameraScorer, name_N: np.ndarray, video_NJ: np.ndarray, reverse_NJ: np.ndarray
) -> dict[str, float]:
    first = scorer.text_features([each.phrases[0] for each in CLASSES.values()])
    first_CJ, class_CJ = dict(zip(CLASSES, np.asarray(first), strict=True)), class_vectors(scorer)
    found: dict[str, dict[str, float]] = {"class": {}, "reversed": {}, "cosine": {}}
    for name, each in CLASSES.items():
        mine = name_N == name
        if not mine.any():
            continue
        rivals = [other for other in CLASSES if CLASSES[other].group == each.group]
        best = (video_NJ[mine] @ np.stack([class_CJ[other] for other in rivals]).T).argmax(1)
        found["cosine"][name] = float((video_NJ[mine] @ first_CJ[name]).mean())
        found["class"][name] = float((best == rivals.index(name)).mean())
        if name in OPPOSITES:
            own, other = (reverse_NJ[mine] @ class_CJ[c] for c in (name, OPPOSITES[name]))
            found["reversed"][name] = float((own < other).mean())
    scores = {
        f"{kind}_mean": float(np.mean(list(part.values()))) for kind, part in found.items() if part and kind != "cosine"
    }
    return scores | {f"{kind}/{name}": value for kind, part in found.items() for name, value in part.items()}
