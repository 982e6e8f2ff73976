"""Make a data set: python -m launch.encode --out=data/videos --clips=8000 --split=train

Renders clips of the stage into records of video. Other sources take their place: --source=scenes.csv, a folder of
videos with screenplays and camera paths, or DataDoP's folder (docs/data.md); --videos=data/videos, a data set made
before. With --vae latents are written in place of video, with --text the text encoder's states beside the prompt:
python -m launch.encode --out=data/films --source=scenes.csv --frames=249 --height=480 --width=832 --fps=16
    --vae=weights/wan2.1_vae --text=weights/umt5_xxl --batch=1
--no_video leaves out the pictures: camera paths and captions, all that a planner learns from.

Items that cannot be used are left out and listed in skipped.jsonl with the reason; changed.jsonl lists what was
resized, resampled or cut. A run that was stopped goes on when started again. Several processes share the work with
--process and --processes, or as their launcher counts them (docs/pods.md): no process waits for another, and one that
dies leaves its shards to the next start. The exit code is 1 when nothing could be used.
"""

import collections
import dataclasses
from collections.abc import Sequence

import jax
from absl import flags

from shotverse_jax.commands.common import show
from shotverse_jax.config import NEGATIVE_PROMPT
from shotverse_jax.data.encode import PromptRecords, chained, to_latents, to_states, write_negative
from shotverse_jax.data.records import CHANGED, SKIPPED, Record, Records, Written, alone, write_dataset
from shotverse_jax.data.scenes import CAPTIONS, CHANGES, SceneRecords, find_scenes
from shotverse_jax.data.stage_films import StageFilms
from shotverse_jax.files import check_place
from shotverse_jax.launch import distributed, program

OUT = flags.DEFINE_string("out", None, "folder of the data set to make")
CLIPS = flags.DEFINE_integer("clips", 8000, "how many clips of the stage to render", 1)
SPLIT = flags.DEFINE_enum("split", "train", ["train", "test"], "the split of the film grammar, or of DataDoP's folder")
FRAMES = flags.DEFINE_integer("frames", 33, "frames of a film, 4t+1; longer videos are cut, shorter ones left out", 5)
HEIGHT = flags.DEFINE_integer("height", 64, "pixels", 1)
WIDTH = flags.DEFINE_integer("width", 96, "pixels", 1)
FPS = flags.DEFINE_float("fps", 8.0, "frames per second of a film")
SOURCE = flags.DEFINE_string("source", None, "scenes of your own: a table (.csv, .jsonl) or a folder")
CAPTION = flags.DEFINE_enum("caption", "concise", list(CAPTIONS), "which of a DataDoP shot's captions")
NO_VIDEO = flags.DEFINE_bool("no_video", False, "leave out the pictures of --source, as planners do not see them")
VIDEOS = flags.DEFINE_string("videos", None, "a data set of videos to read")
VAE = flags.DEFINE_string("vae", None, "name or folder of a video VAE; with it, latents are written in place of video")
TEXT = flags.DEFINE_string("text", None, "name or folder of a text encoder; with it, its states are written too")
TEXT_LENGTH = flags.DEFINE_integer("text_length", 512, "most tokens of a prompt that has states", 1, 1 << 20)
NEGATIVE = flags.DEFINE_string("negative", NEGATIVE_PROMPT, "the prompt of guidance, whose states are written once")
BATCH = flags.DEFINE_integer("batch", 16, "films encoded at once", 1, 1 << 20)
PROCESS = flags.DEFINE_integer("process", None, "number of this process; JAX's unless given", 0)
PROCESSES = flags.DEFINE_integer("processes", None, "processes that share the work; JAX's unless given", 1)


@program.refusing
def main(_):
    """Makes the data set; returns the exit code."""
    check_place(OUT.value, folder=True)
    process, processes = _place()
    with alone(OUT.value, process, processes):
        source, settings = _source()
        steps = []
        if VAE.value:
            step, more = to_latents(VAE.value, BATCH.value)
            steps, settings = [*steps, step], settings | more
        if TEXT.value:
            step, more, tokenizer, negative = to_states(TEXT.value, BATCH.value, TEXT_LENGTH.value, NEGATIVE.value)
            steps, settings = [*steps, step], settings | more
            source = PromptRecords(source, tokenizer, TEXT_LENGTH.value)
        written = write_dataset(OUT.value, source, settings, chained(steps), process, processes, progress=True)
        if TEXT.value:
            write_negative(OUT.value, negative)
    show(f"{OUT.value}: {_summary(written)}")
    return 1 if written.empty else 0


def _place() -> tuple[int, int]:
    """(process, processes) from the flags, or else as JAX counts them."""
    if PROCESS.value is not None and PROCESSES.value is not None:
        return PROCESS.value, PROCESSES.value
    distributed.join(distributed.DISTRIBUTED.value, distributed.HEARTBEAT.value)
    process, processes = jax.process_index(), jax.process_count()
    jax.distributed.shutdown()  # they share nothing from here on: none ends because another does
    return (
        process if PROCESS.value is None else PROCESS.value,
        processes if PROCESSES.value is None else PROCESSES.value,
    )


def _source() -> tuple[Sequence[Record], dict]:
    """The source of records, and the settings that decide what they are."""
    if SOURCE.value and VIDEOS.value:
        raise ValueError("--source and --videos are two sources; give one")
    if NO_VIDEO.value and (VAE.value or not SOURCE.value):
        raise ValueError("--no_video is for planners: it goes with --source, and without --vae")
    if SOURCE.value:
        scenes = find_scenes(SOURCE.value, SPLIT.value, CAPTION.value)
        films = SceneRecords(scenes, FRAMES.value, HEIGHT.value, WIDTH.value, FPS.value, not NO_VIDEO.value)
        settings = {name: value for name, value in vars(films).items() if name != "scenes"}
        return films, {"source": SOURCE.value, "split": SPLIT.value, "scenes": len(scenes), **settings}
    if VIDEOS.value:
        records = Records(VIDEOS.value)
        if "video" not in records[0]:
            raise ValueError(f"{VIDEOS.value} holds no videos; was it made with --vae?")
        return records, dict(records.settings)
    films = StageFilms(CLIPS.value, SPLIT.value, FRAMES.value, HEIGHT.value, WIDTH.value, FPS.value)
    return films, {"source": "stage", **dataclasses.asdict(films)}


def _summary(written: Written) -> str:
    """A sentence: the number of records of this process, why others are missing, and what was changed how often."""
    words = [f"this process's shards are there, {written.records} records"]
    if written.skipped:
        words.append(f"{len(written.skipped)} skipped, as {SKIPPED} says; the first: {written.skipped[0]['reason']}")
    changes = [change for note in written.changed for change in note["changes"].split("; ")]
    kinds = collections.Counter(next(kind for kind in CHANGES if change.startswith(kind)) for change in changes)
    if kinds:
        words.append(", ".join(f"{count} {kind}" for kind, count in kinds.most_common()) + f" ({CHANGED} says how)")
    return "; ".join(words)


if __name__ == "__main__":
    program.start(main, "out")
