"""Seconds that the metrics of Track A take, and those that its tags take in loops over poses.

    python -m benchmarks.track_a_metrics

The data are shots of the stage, 3,000 predictions and as many references of 120 frames, and random latents of CLaTr's
width: what the networks take is not in these numbers. The loops go pose by pose and window by window, as those of the
released evaluation do. They run on the same data, and every tag must be the same.
"""

import argparse
import time
from collections import Counter

import numpy as np

from shotverse_jax.camera import se3
from shotverse_jax.camera.motion_tags import labels_of_shots
from shotverse_jax.evaluation.metrics.caption_f1 import axis_f1, caption_f1
from shotverse_jax.evaluation.metrics.clatr_score import clatr_score
from shotverse_jax.evaluation.metrics.frechet import frechet
from shotverse_jax.evaluation.metrics.prdc import prdc
from shotverse_jax.evaluation.metrics.retrieval import retrieval
from shotverse_jax.grammar.samples import sample_example

FRAMES, WIDTH = 120, 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=3000)
    args = parser.parse_args()
    pred, ref = paths(args.samples), paths(args.samples, first=1 << 20)
    rng = np.random.default_rng(0)
    pred_ND, ref_ND, text_ND = rng.normal(size=(3, args.samples, WIDTH))

    start = time.perf_counter()
    tags = [labels_of_shots(side) for side in (pred, ref)]
    tagged = time.perf_counter() - start
    f1 = caption_f1(*tags)["f1"]
    axis_f1(*tags)
    counted = time.perf_counter() - start - tagged
    clatr_score(pred_ND, text_ND), frechet(pred_ND, ref_ND), prdc(pred_ND, ref_ND), retrieval(pred_ND, text_ND)
    total = time.perf_counter() - start
    print(
        f"{args.samples} samples of {FRAMES} frames: tags {tagged:.2f} s, F1 {counted:.2f} s, all metrics {total:.2f} s"
    )

    start = time.perf_counter()
    slow = [[loop_labels(path) for path in side] for side in (pred, ref)]
    slow_tagged = time.perf_counter() - start
    slow_f1 = loop_f1(*slow)
    slow_total = time.perf_counter() - start
    same = sum(
        np.array_equal(a, b) for ours, loops in zip(tags, slow, strict=True) for a, b in zip(ours, loops, strict=True)
    )
    print(f"loops over poses: tags {slow_tagged:.2f} s, tags and F1 {slow_total:.2f} s")
    print(f"ratio: tags {slow_tagged / tagged:.0f}, tags and F1 {slow_total / (tagged + counted):.0f}")
    print(f"tags are the same in {same} of {2 * args.samples} shots; F1 {f1:.6f} and {slow_f1:.6f}")


def paths(count: int, first: int = 0) -> np.ndarray:
    """`count` shots of the stage, [N, 120, 3, 4]."""
    shots: list[np.ndarray] = []
    while len(shots) < count:
        trajectory = sample_example(first).trajectory
        shots += [trajectory.pose_T34[start:end] for start, end in trajectory.spans]
        first += 1
    return se3.resample_whole(shots[:count], FRAMES)


# ------------------------------------------------------------------------------------ the same, pose by pose


def loop_labels(pose_T34: np.ndarray) -> list[int]:
    """The smoothed labels of one shot, OpenCV camera-to-world."""
    poses = []
    for pose_34 in pose_T34:
        matrix = np.eye(4)
        matrix[:3] = pose_34
        poses.append(matrix @ np.diag([1.0, -1.0, -1.0, 1.0]))
    raw = []
    for before, after in zip(poses[:-1], poses[1:], strict=True):
        step = np.linalg.inv(before) @ after
        raw.append(7 * loop_translation(30.0 * step[:3, 3]) + loop_rotation(se3.so3_log(step[:3, :3])))
    window, shortest = 15, 10
    while True:
        labels = loop_remove(loop_filter(raw, window), shortest)
        changes = sum(a != b for a, b in zip(labels[:-1], labels[1:], strict=True))
        if changes < 4:
            return labels
        window, shortest = window + 5, shortest + 5


def loop_translation(velocity: np.ndarray) -> int:
    on = [abs(v) > 0.02 for v in velocity]
    keep = list(on)
    for a, b in ((0, 1), (0, 2), (1, 2)):
        larger = max(abs(velocity[a]), abs(velocity[b]))
        if on[a] and on[b] and larger > 0:
            ratio = (abs(velocity[a]) - abs(velocity[b])) / larger
            if ratio > 0.4:
                keep[b] = False
            if ratio < -0.4:
                keep[a] = False
    digits = [0 if not k else 1 if v > 0 else 2 for k, v in zip(keep, velocity, strict=True)]
    return 9 * digits[0] + 3 * digits[1] + digits[2]


def loop_rotation(turn: np.ndarray) -> int:
    sizes = [abs(w) for w in turn]
    largest = max(sizes)
    if largest <= 0.005 or sizes.count(largest) > 1:
        return 0
    axis = sizes.index(largest)
    return 1 + 2 * axis + (turn[axis] < 0)


def loop_filter(labels: list[int], window: int) -> list[int]:
    if len(labels) < window:
        return list(labels)
    half, result = window // 2, []
    for i in range(len(labels)):
        counts = Counter(labels[max(0, i - half) : i + half + 1])
        most = max(counts.values())
        result.append(min(label for label, count in counts.items() if count == most))
    return result


def loop_remove(labels: list[int], shortest: int) -> list[int]:
    runs: list[list[int]] = []
    for label in labels:
        if runs and runs[-1][0] == label:
            runs[-1][1] += 1
        else:
            runs.append([label, 1])
    while len(runs) > 1:
        i = min(range(len(runs)), key=lambda n: runs[n][1])
        length = runs[i][1]
        if length >= shortest:
            break
        if i == 0:
            runs[1][1] += length
        elif i == len(runs) - 1:
            runs[-2][1] += length
        else:
            runs[i - 1][1] += length - length // 2
            runs[i + 1][1] += length // 2
        del runs[i]
    return [label for label, length in runs for _ in range(length)]


def loop_f1(pred: list[list[int]], ref: list[list[int]]) -> float:
    right, predicted, support = Counter(), Counter(), Counter()
    for p_T, r_T in zip(pred, ref, strict=True):
        for p, r in zip(p_T, r_T, strict=True):
            predicted[p] += 1
            support[r] += 1
            right[r] += p == r
    total = sum(support.values())
    return sum(count * 2 * right[c] / (predicted[c] + count) for c, count in support.items()) / total


if __name__ == "__main__":
    main()
