"""Calibration of films of the stage against their true cameras, as Markdown: `python -m benchmarks.calibration`.

Every scene has two or three shots of one stage: static, pan, dolly, truck and arc. Its subjects move and are masked by
their instance numbers. `noise` in place of `colmap` gives every reconstruction the errors of a feed-forward network: a
world and a unit of its own, rotations 1 degree, positions 1 % and depths 2 % wrong, a fifth of the depths by far more.
"""

import argparse
import contextlib
import dataclasses
import itertools
import time

import numpy as np

from shotverse_jax.calibration import align, colmap
from shotverse_jax.calibration.calibrate import Calibration, calibrate
from shotverse_jax.calibration.known import Known, film_stage
from shotverse_jax.calibration.reconstruction import Footage, Provider, Reconstruction
from shotverse_jax.camera import se3
from shotverse_jax.camera.similarity import similarity
from shotverse_jax.grammar.moves import AIM
from shotverse_jax.stage.scene import LENS_MM, random_scene
from shotverse_jax.stage.texture import textured

SCENES = (
    ("arc", "pan"), ("dolly", "static"), ("truck", "arc"), ("pan", "pan"), ("static", "static"),
    ("static", "arc", "dolly"), ("pan", "truck", "static"), ("dolly", "arc"), ("truck", "pan"),
    ("arc", "static", "pan"),
)  # fmt: skip
WRONG = 3.0
"""Degrees by which a camera of an accepted scene must not be wrong."""
FPS = 8.0


def shot(kind: str, rng: np.random.Generator, around: float, frames: int) -> np.ndarray:
    """Cameras [frames, 3, 4] of one shot; all shots of a scene look at its middle from about the same side."""
    u, angle = np.linspace(0, 1, frames), around + rng.uniform(-0.5, 0.5)
    distance, height = rng.uniform(3.5, 5.5), rng.uniform(1.2, 2.2)
    middle = np.array([rng.uniform(-0.5, 0.5), -1.7 * AIM["medium wide"], rng.uniform(-0.5, 0.5)])
    side = np.array([np.cos(angle), 0.0, -np.sin(angle)])
    place = lambda a, r: np.stack([r * np.sin(a), -height + 0 * a, r * np.cos(a)], axis=-1)  # noqa: E731
    eye, target = place(angle + 0 * u, distance + 0 * u), np.tile(middle, (frames, 1))
    if kind == "pan":
        target = middle + (5 * u - 2.5)[:, None] * side
    elif kind == "dolly":
        eye = place(angle + 0 * u, distance - 1.5 * u)
    elif kind == "truck":
        way = (2 * u - 1)[:, None] * side
        eye, target = eye + way, target + way
    elif kind == "arc":
        eye = place(angle + np.radians(50) * (u - 0.5), distance + 0 * u)
    return np.stack([se3.look_at(*row) for row in zip(eye, target, strict=True)])


def film(seed: int, args) -> tuple[tuple[str, ...], Footage, Known]:
    """Scene number `seed`: the kinds of its shots, the film and its true cameras."""
    kinds, rng = SCENES[seed % len(SCENES)], np.random.default_rng(seed)
    scene = dataclasses.replace(random_scene(rng, 1), floor=args.floor)
    around, size = rng.uniform(-np.pi, np.pi), (args.width, args.width * 3 // 5)
    pose_T34 = np.concatenate([shot(kind, rng, around, args.frames) for kind in kinds])
    scene, focal = scene.clear_views(pose_T34[:, :, 3]), args.width * LENS_MM / 36
    lens_T4 = np.tile([focal, focal, size[0] / 2, size[1] / 2], (len(pose_T34), 1))
    shot_T, time_T = np.repeat(np.arange(len(kinds)), args.frames), np.arange(len(pose_T34)) / FPS
    footage, known = film_stage(scene, pose_T34, lens_T4, shot_T, size, time_T)
    if not args.repeating:
        color = textured(footage.frame_THWC, known.depth_THW, footage.static_THW, pose_T34, lens_T4)
        footage = dataclasses.replace(footage, frame_THWC=color)
    return kinds, footage, known


class Noisy(Provider):
    """True cameras and depths with the errors of a network, in another world and unit at every call."""

    def __init__(self, known: Known, seed: int):
        self.known, self.rng = known, np.random.default_rng(seed)

    def reconstruct(self, frames: np.ndarray) -> Reconstruction:
        made, rng = dataclasses.replace(self.known.reconstruct(frames), joint=False), self.rng
        points, size = made.points, np.median(made.points.depth_M)
        turn_N33 = se3.so3_exp(np.radians(1 / np.sqrt(3)) * rng.normal(size=(len(frames), 3)))
        shift_N3 = 0.01 * size / np.sqrt(3) * rng.normal(size=(len(frames), 3))
        pose_N34 = se3.make(made.pose_N34[:, :, :3] @ turn_N33, made.pose_N34[:, :, 3] + shift_N3)
        far_M = np.where(rng.random(len(points)) < 0.2, np.exp(0.5 * rng.normal(size=len(points))), 1)
        world = align.Similarity(float(np.exp(rng.uniform(-1, 1))), se3.so3_exp(rng.normal(size=3)), rng.normal(size=3))
        depth_M = world.scale * points.depth_M * far_M * np.exp(0.02 * rng.normal(size=len(points)))
        points = dataclasses.replace(points, depth_M=depth_M)
        return dataclasses.replace(made, pose_N34=world.poses(pose_N34), points=points)


class Kept(Provider):
    """Remembers what a provider made, so that every alignment gets the same."""

    def __init__(self, provider: Provider):
        self.provider, self.made = provider, {}

    def _once(self, key, make):
        if key not in self.made:
            self.made[key] = make()
        return self.made[key]

    def reconstruct(self, frames):
        return self._once(tuple(frames), lambda: self.provider.reconstruct(frames))

    def joint(self, shots, keys):
        return self._once("joint", lambda: self.provider.joint(shots, keys))

    def agreement(self, made):
        return self._once(id(made), lambda: self.provider.agreement(made))


def errors(made: Calibration, footage: Footage, known: Known) -> dict[str, np.ndarray]:
    """Errors of a calibration after the best similarity of every world.

    Returns:
        rotation: degrees of every frame.
        ate: root mean square distance of the cameras of every world, by its extent.
        across: degrees between the first cameras of every two shots of one world.
        unit: factor between the units of length of every two such shots, by their depths, 1 or more.
    """
    pose_T34 = known.pose_T34
    out = {"rotation": [], "ate": [], "across": [], "unit": []}
    units = unit_of_shots(made, footage, known)
    world_T = made.world_K[footage.shot_T]
    for world in np.unique(made.world_K):
        frames = np.flatnonzero((world_T == world) & made.found_T)
        if not len(frames):
            continue
        got_N34, true_N34 = made.pose_T34[frames], pose_T34[frames]
        turn_N33 = true_N34[:, :, :3] @ got_N34[:, :, :3].swapaxes(1, 2)
        mean_33 = se3.project_to_so3(turn_N33.sum(0))
        out["rotation"].append(np.degrees(se3.rotation_angle(mean_33.T @ turn_N33)))
        extent = np.linalg.norm(true_N34[:, :, 3] - true_N34[0, :, 3], axis=1).max()
        if extent > 0.1:  # a camera that stands has no way to compare
            scale, turn_33, shift_3 = similarity(got_N34[:, :, 3], true_N34[:, :, 3])
            away_N3 = scale * got_N34[:, :, 3] @ turn_33.T + shift_3 - true_N34[:, :, 3]
            out["ate"].append([np.sqrt((away_N3**2).sum(1).mean()) / extent])
        first = [frames[footage.shot_T[frames] == k][0] for k in np.unique(footage.shot_T[frames])]
        for a, b in itertools.combinations(first, 2):
            turns = [se3.relative(path[a], path[b])[:, :3] for path in (made.pose_T34, pose_T34)]
            out["across"].append([np.degrees(se3.rotation_angle(turns[0].T @ turns[1]))])
            if (pair := {footage.shot_T[a], footage.shot_T[b]}) <= units.keys():
                out["unit"].append([np.exp(abs(np.subtract(*(np.log(units[k]) for k in pair))))])
    return {name: np.concatenate([*parts, []]) for name, parts in out.items()}


def unit_of_shots(made: Calibration, footage: Footage, known: Known) -> dict[int, float]:
    """The unit of every shot that has points: the median of its depths by the true ones."""
    column, row = made.points.pixel_M2.astype(int).T
    ratio_M = made.points.depth_M / known.depth_THW[made.points.frame_M, row, column]
    shot_M = footage.shot_T[made.points.frame_M]
    return {int(k): float(np.median(ratio_M[shot_M == k])) for k in np.unique(shot_M)}


@contextlib.contextmanager
def provided(args, footage: Footage, known: Known, seed: int):
    """The provider that was asked for."""
    if args.provider == "noise":
        yield Noisy(known, seed)
        return
    with colmap.opened(footage) as provider:
        yield provider


def main() -> None:
    """Prints a row for every scene and alignment, and what they come to together."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, value in (("scenes", 10), ("first", 0), ("frames", 12), ("width", 640)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default {value}")
    parser.add_argument("--provider", choices=("colmap", "noise"), default="colmap")
    parser.add_argument("--floor", choices=("plain", "checker", "stripes"), default="checker")
    parser.add_argument("--repeating", action="store_true", help="leave the stage's own floors as they are")
    args = parser.parse_args()
    rows = {method: [] for method in align.METHODS[:2]}
    print(
        "| scene | shots | alignment | worlds | rotation, median ° | largest ° | ATE % | across ° | failed gates | s |"
    )
    print("|---|---|---|---|---|---|---|---|---|---|")
    for seed in range(args.first, args.first + args.scenes):
        kinds, footage, known = film(seed, args)
        begun = time.monotonic()
        with provided(args, footage, known, seed) as provider:
            kept = Kept(provider)
            for method, results in rows.items():
                made = calibrate(footage, kept, method)
                error = errors(made, footage, known)
                failed = sorted({name for quality in made.quality for name in quality.failed})
                results.append((error, failed, len(set(made.world_K))))
                numbers = [
                    f"{function(values):.2f}" if len(values) else "-"
                    for function, values in (
                        (np.median, error["rotation"]),
                        (np.max, error["rotation"]),
                        (np.max, 100 * error["ate"]),
                        (np.max, error["across"]),
                        (np.max, error["unit"]),
                    )
                ]
                seconds = time.monotonic() - begun
                cells = [
                    seed,
                    " ".join(kinds),
                    method,
                    len(set(made.world_K)),
                    *numbers,
                    ", ".join(failed),
                    f"{seconds:.0f}",
                ]
                print("| " + " | ".join(map(str, cells)) + " |", flush=True)
    print()
    heads = ("alignment", "accepted", "rotation, median °", "ATE, median %", "across, median °", "unit, median ×")
    heads = (*heads, "largest ×", f"accepted and wrong by {WRONG:g}°", "rejected and right", "in several worlds")
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for method, results in rows.items():
        print("| " + " | ".join([method, *summary(results)]) + " |")


def summary(results) -> list[str]:
    """The numbers of all scenes: errors are those of accepted scenes, all of whose shots passed the gates."""
    accepted = [error for error, failed, _ in results if not failed]
    wrong = lambda error: max(error["rotation"].max(initial=0), error["across"].max(initial=0)) > WRONG  # noqa: E731
    rotation, ate, across, unit = (
        np.concatenate([error[name] for error in accepted] or [[]]) for name in ("rotation", "ate", "across", "unit")
    )
    medians = [f"{np.median(x):.2f}" if len(x) else "-" for x in (rotation, 100 * ate, across, unit)]
    rejected = [error for error, failed, _ in results if failed]
    return [
        f"{len(accepted)} of {len(results)}",
        *medians,
        f"{unit.max():.2f}" if len(unit) else "-",
        f"{sum(map(wrong, accepted))} of {len(accepted)}",
        f"{sum(not wrong(error) for error in rejected)} of {len(rejected)}",
        str(sum(worlds > 1 for *_, worlds in results)),
    ]


if __name__ == "__main__":
    main()
