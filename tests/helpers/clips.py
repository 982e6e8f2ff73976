"""What MonST3R leaves of a clip, of which DataDoP is made."""

from pathlib import Path

import numpy as np
from PIL import Image


def monst3r(folder: Path, count: int = 40, black: int = 2, move: float = 1.0) -> None:
    """Writes the results for a clip of `count` frames, 8x16: a camera that moves right by `move`.

    black: frames at the beginning that are black.
    """
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    for t in range(count):
        pixels = rng.integers(60, 255, (8, 16, 3)) if t >= black else np.zeros((8, 16, 3))
        Image.fromarray(pixels.astype(np.uint8)).save(folder / f"frame_{t:04d}.png")
        np.save(folder / f"frame_depth_{t:04d}.npy", np.full((8, 16), t, np.float32))
    rows = [f"{t}.0 {move * t / count} 0 0 1 0 0 0" for t in range(count)]
    (folder / "pred_traj.txt").write_text("\n".join(rows) + "\n")
    (folder / "pred_intrinsics.txt").write_text(f"{20 + 0:.6f} 0 8.0 0 21.0 4.0 0 0 1\n" * count)
