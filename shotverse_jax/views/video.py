"""Video files, by the FFmpeg that comes with imageio-ffmpeg. It writes H.264 in mp4 and reads all formats it knows."""

import contextlib
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Sequence
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


def read_video(path: str | Path, index_T: np.ndarray, width: int, height: int, crop: str = "") -> np.ndarray:
    """Reads frames of a video.

    Frames are resized (Lanczos) until they cover width x height, and cropped to it about their centre.

    Args:
        path: the file.
        index_T: [T] numbers of the frames, not decreasing; a number may occur several times.
        width, height: size of the result in pixels.
        crop: FFmpeg's filter that leaves a part of the frames, first of all; "" (default) takes them whole.

    Returns:
        [T, height, width, 3] uint8.

    Raises:
        ValueError: the file does not have these frames, or they cannot be decoded.
    """
    memory(3 * len(index_T) * height * width, f"{path}: a film of {len(index_T)} frames of {height}x{width}")
    video_THWC = np.empty((len(index_T), height, width, 3), np.uint8)
    # All frames up to the last one are decoded, as seeking is inexact in many files.
    filters = f"{crop},{cover(width, height)}" if crop else None
    for number, frame_HWC in enumerate(stream_video(path, width, height, int(index_T[-1]) + 1, filters)):
        video_THWC[index_T == number] = frame_HWC
    return video_THWC


def cover(width: int, height: int) -> str:
    """Returns FFmpeg's filter that resizes frames until they cover a size, and crops them to it about their centre."""
    scale = f"scale={width}:{height}:flags=lanczos+accurate_rnd:force_original_aspect_ratio=increase"
    return f"{scale},crop={width}:{height}"


def stream_video(
    path: str | Path, width: int, height: int, count: int, filters: str | None = None
) -> Iterator[np.ndarray]:
    """Yields the frames of a video one by one, so that its length costs no memory.

    Args:
        path: the file.
        width, height: size of the frames in pixels.
        count: frames that are read, from the first one.
        filters: FFmpeg's filters, which end in frames of this size; by default those of `cover`.

    Yields:
        [height, width, 3] uint8, read-only.

    Raises:
        ValueError: there are fewer frames, or one cannot be decoded.
    """
    # Passthrough keeps the frames as they are stored: otherwise FFmpeg repeats or drops some, and their numbers are
    # wrong.
    frames = ["-vf", filters or cover(width, height), "-fps_mode", "passthrough", "-frames:v", str(count)]
    raw = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *LOCAL, "-i", _local(path), "-map", "0:v:0"]
    size = width * height * 3
    # The messages go to a file: FFmpeg would wait for ever on a full pipe that is only read at the end.
    with tempfile.TemporaryFile() as words:
        pipes = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": words}
        with subprocess.Popen([*command, *frames, *raw], **pipes) as process:
            try:
                for number in range(count):
                    data = process.stdout.read(size)
                    if len(data) < size:
                        process.wait()
                        words.seek(0)
                        said = words.read().decode(errors="replace").strip().splitlines()
                        raise ValueError(
                            f"{path}: frame {number} of {count} cannot be read ({(said or ['the end'])[-1]})"
                        )
                    yield np.frombuffer(data, np.uint8).reshape(height, width, 3)
            finally:
                process.kill()  # whoever reads may have seen enough


def frame_times(path: str | Path) -> np.ndarray:
    """Returns the seconds [T] at which the frames of a video are shown, the first at 0; nothing is decoded.

    In files of a variable rate they are not evenly spaced.

    Raises:
        ValueError: the file has no video that can be read.
    """
    packets = ["-map", "0:v:0", "-c", "copy", "-f", "framecrc", "-"]
    command = [imageio_ffmpeg.get_ffmpeg_exe(), "-nostdin", "-v", "error", *LOCAL, "-i", _local(path), *packets]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    lines = done.stdout.decode(errors="replace")
    base = re.search(r"^#tb 0: (\d+)/(\d+)", lines, re.MULTILINE)
    # Packets are stored in the order in which they are decoded: their second number is the decoder's time, the third
    # the viewer's.
    stamps = sorted(int(stamp) for stamp in re.findall(r"^0,\s*-?\d+,\s*(-?\d+),", lines, re.MULTILINE))
    if done.returncode or base is None or not stamps:
        raise ValueError(f"{path}: no video that can be read")
    return (np.array(stamps) - stamps[0]) * (int(base[1]) / int(base[2]))


def cut_spans(path: str | Path, frames: int, cuts: Sequence[int]) -> list[tuple[int, int]]:
    """Returns [start, end) of the shots of a video that is cut before these frames.

    Raises:
        ValueError: they are not rising frame numbers of it.
    """
    edges = [0, *cuts, frames]
    if any(b <= a for a, b in zip(edges, edges[1:], strict=False)):
        raise ValueError(f"cuts are rising frame numbers, 1 to {frames - 1} of {path}; got {list(cuts)}")
    return list(zip(edges[:-1], edges[1:], strict=True))


def write_video(path: str | Path, frames: Iterable[np.ndarray], fps: float, enlarge: int = 1) -> None:
    """Writes frames as an mp4, whole or not at all.

    Args:
        path: the file.
        frames: [H, W, 3] uint8 each. If H or W times `enlarge` is odd, colours are not halved in size (4:4:4), which
            browsers other than Chrome may not show.
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
    colors = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
    film = ["-c:v", "libx264", "-pix_fmt", colors, "-crf", "20", "-preset", "veryfast", "-movflags", "+faststart"]
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
