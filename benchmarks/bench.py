"""A bench of films of the stage, built at its real size: `python -m benchmarks.bench OUT`.

The films are those of `benchmarks.calibration`, whose pattern never repeats; the lens is given, nothing is masked.
It prints seconds and bytes of a scene, and the errors of the cameras of accepted scenes.
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np

from benchmarks.calibration import film
from shotverse_jax.bench.build import of_folder
from shotverse_jax.bench.check import check
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.config import CalibrationConfig
from shotverse_jax.views.video import write_video

FPS = 16.0


def make(place: Path, args) -> Path:
    """Writes the films, their cameras, and the table of them."""
    place.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in range(args.films):
        name = f"film{seed}"
        kinds, footage, known = film(seed, args)
        write_video(place / f"{name}.mp4", footage.frame_THWC, FPS)
        np.savez_compressed(place / f"{name}.npz", pose_T34=known.pose_T34)
        cuts = ",".join(str(k * args.frames) for k in range(1, len(kinds)))
        rows.append({"video": f"{name}.mp4", "cuts": cuts})
        print(f"made {name}: {' '.join(kinds)}", flush=True)
    table = place / "films.jsonl"
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return table


def main() -> None:
    """Makes the films that are not there, and builds the bench."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path)
    for name, value in (("films", 2), ("frames", 126), ("width", 640)):
        parser.add_argument(f"--{name}", type=int, default=value, help=f"default {value}")
    parser.add_argument("--proportion", type=int, nargs=3, default=(6, 3, 1))
    args = parser.parse_args()
    args.floor, args.repeating = "checker", False
    table = args.out / "films" / "films.jsonl"
    table = table if table.is_file() else make(args.out / "films", args)
    begun, spent = time.monotonic(), time.process_time()
    config = {"proportion": tuple(args.proportion), "calibration": CalibrationConfig(lens="35mm")}
    made = of_folder(table, args.out / "bench", **config)
    tried = made["statistics"]["tried"]
    wall, own = time.monotonic() - begun, time.process_time() - spent
    print(f"{tried} scenes tried in {wall:.0f} s, {wall / tried:.0f} s each ({own / tried:.0f} s of this process)")
    print(f"accepted {made['statistics']['accepted']}; gates {made['statistics']['gates']}")
    print(f"faults: {check(args.out / 'bench')}")
    for entry in made["scenes"]:
        place = args.out / "bench" / "scenes" / entry["id"]
        sizes = {path.name: path.stat().st_size for path in sorted(place.iterdir())}
        path = read_trajectory(place / "trajectory.json")
        true_T34 = np.load(args.out / "films" / f"{entry['film']}.npz")["pose_T34"]
        start, _ = entry["frames"]
        wanted = se3.relative(true_T34[start], true_T34[start : start + len(path)])
        wrong_T = np.degrees(se3.rotation_angle(se3.relative(path.pose_T34, wanted)[:, :, :3]))
        print(f"{entry['id']}: {sum(sizes.values())} bytes {sizes}")
        print(f"    rotation wrong by {np.median(wrong_T):.2f}°, at most {wrong_T.max():.2f}°")
    records = sum(path.stat().st_size for path in (args.out / "bench" / "records").rglob("*") if path.is_file())
    print(f"records: {records} bytes for {len(made['scenes'])} scenes")


if __name__ == "__main__":
    main()
