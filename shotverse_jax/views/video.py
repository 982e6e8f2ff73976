"""Video files, by the FFmpeg that comes with imageio-ffmpeg: H.264 in mp4 is written, whatever it knows is read."""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, NamedTuple

import imageio_ffmpeg
import numpy as np
from PIL import Image

from shotverse_jax.files import replacing

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


class VideoInfo(NamedTuple):
    """What a video file says of itself: frames, frames per second (on average), size in pixels as it is shown."""

    frames: int
    fps: float
    width: int
    height: int


def probe_video(path: str | Path) -> VideoInfo:
    """Reads a file's header and counts its frames without decoding them.

    Raises:
        ValueError: no such file, or none with video in it.
    """
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    count = ["-map", "0:v:0", "-c", "copy", "-f", "null", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", "-i", str(path), *count]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    words = done.stderr.decode(errors="replace")
    stream = re.search(r"Stream #0.*Video:.* (\d+)x(\d+)[ ,].*", words)
    rate = stream and re.search(r"([\d.]+) fps", stream[0])
    frames = re.findall(r"frame=\s*(\d+)", words)
    if done.returncode or not rate or not frames or not int(frames[-1]) or not float(rate[1]):
        raise ValueError(f"{path}: no video that can be read ({(words.strip().splitlines() or ['empty'])[-1]})")
    width, height = int(stream[1]), int(stream[2])
    if re.search(r"rotation of -?(90|270)\b", words):
        width, height = height, width
    return VideoInfo(int(frames[-1]), float(rate[1]), width, height)


def read_video(path: str | Path, index_T: np.ndarray, width: int, height: int) -> np.ndarray:
    """Frames `index_T` (not decreasing; a frame may come twice) of a video, [T, height, width, 3] uint8.

    They are made as large as covers width x height (Lanczos) and cut to it about their centre.

    Raises:
        ValueError: frames that the file does not have or that cannot be decoded.
    """
    last, size = int(index_T[-1]), width * height * 3
    cover = f"scale={width}:{height}:flags=lanczos+accurate_rnd:force_original_aspect_ratio=increase"
    frames = ["-vf", f"{cover},crop={width}:{height}", "-fps_mode", "passthrough", "-frames:v", str(last + 1)]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", "-i", str(path), "-map", "0:v:0"]
    video_THWC = np.empty((len(index_T), height, width, 3), np.uint8)
    with tempfile.TemporaryFile() as words:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": words}
        with subprocess.Popen([*command, *frames, *raw], **pipes) as process:
            for number in range(last + 1):
                data = process.stdout.read(size)
                if len(data) < size:
                    break
                video_THWC[index_T == number] = np.frombuffer(data, np.uint8).reshape(height, width, 3)
        if len(data) < size:
            words.seek(0)
            said = words.read().decode(errors="replace").strip().splitlines()
            raise ValueError(f"{path}: frame {number} of {last + 1} cannot be read ({(said or ['the end'])[-1]})")
    return video_THWC


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


def enlargement(height: int) -> int:
    """How many times a film is enlarged on writing: small ones to 256 lines at least, as players blur them."""
    return max(1, -(-256 // height))


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
