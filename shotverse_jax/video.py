"""Video files: H.264 in mp4, by the encoder that comes with imageio-ffmpeg."""

import contextlib
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO

import imageio_ffmpeg
import numpy as np
from PIL import Image

from shotverse_jax.files import replacing


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float, enlarge: int = 1) -> None:
    """Writes frames [H, W, 3] uint8 (H and W even once enlarged) as an mp4, whole or not at all.

    enlarge: every frame becomes that many times as high and wide (bicubic), for players that blur small films.

    Raises:
        ValueError: a path that does not end in .mp4 or cannot be written, no frames, or the encoder's words.
    """
    frames = iter(frames)
    first = next(frames, None)
    if first is None:
        raise ValueError(f"{path} would be a film without frames")
    size = first.shape[1] * enlarge, first.shape[0] * enlarge
    with encoder(path, size, fps) as pipe:
        pipe.write(_enlarged(first, size))
        for frame in frames:
            pipe.write(_enlarged(frame, size))


def _enlarged(frame: np.ndarray, size: tuple[int, int]) -> bytes:
    if frame.shape[1::-1] == size:
        return frame.tobytes()
    return Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC).tobytes()


@contextlib.contextmanager
def encoder(path: str | Path, size: tuple[int, int], fps: float) -> Iterator[IO[bytes]]:
    """A pipe that takes RGB frames of `size` (width, height) and makes the film `path` of them, whole or not at all.

    The encoder of imageio-ffmpeg is started directly: the package's own writer forks, which JAX's threads forbid.

    Raises:
        ValueError: a path that does not end in .mp4 or cannot be written, or the encoder's words when it fails.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"films are written as mp4; {path} must end in .mp4")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of the film")
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", f"{fps:.12g}", "-i", "-"]
    film = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-preset", "veryfast", "-movflags", "+faststart"]
    with replacing(path) as scratch, tempfile.TemporaryFile() as words:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *raw, *film, str(scratch)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=words)
        fed = False
        try:
            with contextlib.suppress(BrokenPipeError):  # it ended early; its exit status and words say why
                yield process.stdin
                process.stdin.close()
            fed = True
        finally:
            if not fed:
                process.kill()
            process.wait()
        if process.returncode:
            words.seek(0)
            raise ValueError(f"the video encoder failed: {words.read().decode(errors='replace').strip()}")
