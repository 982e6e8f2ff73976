"""Make a data set of clips: python -m launch.encode --out=data/videos --clips=8000 --split=train

Renders clips of the stage into records of video. With --videos it reads such a data set instead, and with --vae it
writes latents in place of video: python -m launch.encode --out=data/latents --videos=data/videos --vae=vae_small

A run that was stopped goes on when started again. Several processes share the work with --host and --num_hosts.
"""

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from shotverse_jax.data.film import StageFilms
from shotverse_jax.data.records import Record, Records, write_dataset

OUT = flags.DEFINE_string("out", None, "folder of the data set to make")
CLIPS = flags.DEFINE_integer("clips", 8000, "how many clips of the stage to render")
SPLIT = flags.DEFINE_enum("split", "train", ["train", "test"], "the split of the film grammar")
FRAMES = flags.DEFINE_integer("frames", 33, "frames of a clip, 4t+1")
HEIGHT = flags.DEFINE_integer("height", 64, "pixels")
WIDTH = flags.DEFINE_integer("width", 96, "pixels")
FPS = flags.DEFINE_float("fps", 8.0, "frames per second of a clip")
VIDEOS = flags.DEFINE_string(
    "videos", None, "a data set of videos to read; without it, clips of the stage are rendered"
)
VAE = flags.DEFINE_string("vae", None, "name or folder of a video VAE; with it, latents are written in place of video")
BATCH = flags.DEFINE_integer("batch", 16, "videos encoded at once")
HOST = flags.DEFINE_integer("host", 0, "number of this process")
NUM_HOSTS = flags.DEFINE_integer("num_hosts", 1, "processes that share the work")


def main(_):
    try:
        source, settings = _source()
        transform = None
        if VAE.value:
            transform, more = to_latents(VAE.value, BATCH.value)
            settings |= more
        skipped = write_dataset(OUT.value, source, settings, transform, HOST.value, NUM_HOSTS.value, progress=True)
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"{OUT.value}: this process's shards are there" + (f"; {skipped} clips were skipped" if skipped else ""))
    return 0


def _source() -> tuple[Sequence[Record], dict]:
    """Where records of video come from, and the settings that decide about them."""
    if VIDEOS.value:
        records = Records(VIDEOS.value)
        if "video" not in records[0]:
            raise ValueError(f"{VIDEOS.value} holds no videos; was it made with --vae?")
        return records, dict(records.settings)
    films = StageFilms(CLIPS.value, SPLIT.value, FRAMES.value, HEIGHT.value, WIDTH.value, FPS.value)
    return films, {"source": "stage", **dataclasses.asdict(films)}


def to_latents(name: str, batch: int) -> tuple[Callable[[list[Record]], list[Record]], dict]:
    """A function that puts `latents`, float16 [T', H', W', C], normalised means, in the place of each record's `video`;
    and the settings that say which VAE made them. All videos have one shape.

    Raises:
        ValueError: there is no such VAE. The function: videos that it cannot encode.
    """
    from shotverse_jax.models.wan_vae import WanVAE
    from shotverse_jax.pretrained import load_vae

    config, params = load_vae(name)
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(params):
        digest.update(np.ascontiguousarray(leaf))
    params = jax.device_put(params)

    @jax.jit
    def encode(params, video_BTHWC):
        latents = WanVAE(config).apply({"params": params}, video_BTHWC / jnp.float32(127.5) - 1, method="encode")
        return latents.astype(jnp.float16)

    def transform(records: list[Record]) -> list[Record]:
        done = []
        for start in range(0, len(records), batch):
            part = records[start : start + batch]
            video_BTHWC = np.stack([record["video"] for record in part])
            fill = [(0, batch - len(part)), *[(0, 0)] * 4]  # one compiled program for all batches
            latents = np.asarray(encode(params, np.pad(video_BTHWC, fill)))
            done += [
                {"latents": latents[i], **{key: value for key, value in record.items() if key != "video"}}
                for i, record in enumerate(part)
            ]
        return done

    return transform, {"vae": Path(name).name, "vae_sha256": digest.hexdigest()[:16]}


if __name__ == "__main__":
    flags.mark_flags_as_required(["out"])
    jax.config.config_with_absl()
    app.run(main)
