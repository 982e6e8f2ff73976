"""Video files, by the FFmpeg that comes with imageio-ffmpeg. It writes H.264 in mp4 and reads all formats it knows."""

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
from shotverse_jax.limits import POSES, SIDE, memory, whole

LOCAL = ("-protocol_whitelist", "file,pipe")
"""FFmpeg's option that keeps it from the network: a file may be a list of the addresses of others."""

SUFFIXES = (".mp4", ".mov", ".mkv", ".webm", ".avi", ".m4v")


class VideoInfo(NamedTuple):
    """The header of a video file.

    Attributes:
        frames: number of frames.
        fps: frames per second, on average.
        width, height: size in pixels as the video is shown, after a rotation that the file asks for.
    """

    frames: int
    fps: float
    width: int
    height: int


def probe_video(path: str | Path) -> VideoInfo:
    """Reads a file's header and counts its frames without decoding them.

    Raises:
        ValueError: the file does not exist or has no video.
    """
    # FFmpeg copies the packets to nowhere and prints how many there were; only its messages are used.
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    count = ["-map", "0:v:0", "-c", "copy", "-f", "null", "-"]
    # Without -nostdin FFmpeg reads keys from the user's terminal.
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-hide_banner", *LOCAL, "-i", _local(path), *count]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    words = done.stderr.decode(errors="replace")
    stream = re.search(r"Stream #0.*Video:.* (\d+)x(\d+)[ ,].*", words)
    rate = stream and re.search(r"([\d.]+) fps", stream[0])
    frames = re.findall(r"frame=\s*(\d+)", words)
    if done.returncode or not rate or not frames or not int(frames[-1]) or not float(rate[1]):
        raise ValueError(f"{path}: no video that can be read ({(words.strip().splitlines() or ['empty'])[-1]})")
    width, height = int(stream[1]), int(stream[2])
    # FFmpeg prints the stored size, but turns the frames that it hands out.
    if re.search(r"rotation of -?(90|270)\b", words):
        width, height = height, width
    for side in (width, height):
        whole(side, f"{path}: a side of the video", 1, SIDE)
    return VideoInfo(
        whole(int(frames[-1]), f"{path}: the frames of the video", 1, POSES), float(rate[1]), width, height
    )


def _local(path: str | Path) -> str:
    """The path for FFmpeg, which takes "http:…" and the like for addresses, and asks the network for them."""
    return f"file:{path}"


def read_video(path: str | Path, index_T: np.ndarray, width: int, height: int) -> np.ndarray:
    """Reads frames of a video.

    Frames are resized (Lanczos) until they cover width x height, and cropped to it about their centre.

    Args:
        path: the file.
        index_T: [T] numbers of the frames, not decreasing; a number may occur several times.
        width, height: size of the result in pixels.

    Returns:
        [T, height, width, 3] uint8.

    Raises:
        ValueError: the file does not have these frames, or they cannot be decoded.
    """
    last, size = int(index_T[-1]), width * height * 3
    cover = f"scale={width}:{height}:flags=lanczos+accurate_rnd:force_original_aspect_ratio=increase"
    # Passthrough keeps the frames as they are stored: otherwise FFmpeg repeats or drops some, and their numbers are
    # wrong.
    frames = ["-vf", f"{cover},crop={width}:{height}", "-fps_mode", "passthrough", "-frames:v", str(last + 1)]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *LOCAL, "-i", _local(path), "-map", "0:v:0"]
    memory(3 * len(index_T) * height * width, f"{path}: a film of {len(index_T)} frames of {height}x{width}")
    video_THWC = np.empty((len(index_T), height, width, 3), np.uint8)
    # The messages go to a file: FFmpeg would wait for ever on a full pipe that is only read at the end.
    with tempfile.TemporaryFile() as words:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": words}
        with subprocess.Popen([*command, *frames, *raw], **pipes) as process:
            # All frames up to the last one are decoded, as seeking is inexact in many files.
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
    """Writes frames as an mp4, whole or not at all.

    Args:
        path: the file.
        frames: [H, W, 3] uint8 each; H and W times `enlarge` are even.
        fps: frames per second.
        enlarge: factor on height and width (bicubic), because players blur small films; default 1.

    Raises:
        ValueError: the file does not end in .mp4 or cannot be written, there are no frames, or the encoder fails.
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
    """Returns the factor by which films of this height are enlarged on writing: they get at least 256 lines."""
    return max(1, -(-256 // height))


def _enlarged(frame: np.ndarray, size: tuple[int, int]) -> bytes:
    if frame.shape[1::-1] == size:
        return frame.tobytes()
    return Image.fromarray(frame).resize(size, Image.Resampling.BICUBIC).tobytes()


@contextlib.contextmanager
def encoder(path: str | Path, size: tuple[int, int], fps: float) -> Iterator[IO[bytes]]:
    """Opens a pipe that takes the bytes of RGB frames and writes them as a film, whole or not at all.

    imageio-ffmpeg's encoder is started as a process of its own. The package's writer would fork this process, which is
    unsafe beside JAX's threads.

    Args:
        path: the mp4 file.
        size: (width, height) of the frames in pixels.
        fps: frames per second.

    Raises:
        ValueError: the file does not end in .mp4 or cannot be written, or the encoder fails; the message is its own.
    """
    path = Path(path)
    if path.suffix.lower() != ".mp4":
        raise ValueError(f"films are written as mp4; {path} must end in .mp4")
    if path.is_dir():
        raise ValueError(f"{path} is a folder; give the name of the film")
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{size[0]}x{size[1]}", "-r", f"{fps:.12g}", "-i", "-"]
    # Players and browsers show yuv420p everywhere; faststart puts the index first, so a film plays before it has all
    # come.
    film = ["-c:v", "libx264", "-pix_fmt", "yuv420p", "-crf", "20", "-preset", "veryfast", "-movflags", "+faststart"]
    with replacing(path) as scratch, tempfile.TemporaryFile() as words:
        command = [imageio_ffmpeg.get_ffmpeg_exe(), "-y", "-v", "error", *raw, *film, _local(scratch)]
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
