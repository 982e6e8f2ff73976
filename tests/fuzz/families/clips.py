"""Folders of clips with a class and a caption."""

import json
from pathlib import Path
from random import Random

from shotverse_jax.data.cinematic2k import CAPTIONS, KEYS, ClipFile, read_clips
from tests.fuzz import mutations
from tests.fuzz.harness import Family, expect


class Clips(Family):
    """Folders of clips whose lists are damaged.

    An accepted clip is a video of the folder, in that of its class; a caption may be any text. Every source is in one
    split.
    """

    name, share, refuses = "clips", 3, True

    def make(self) -> None:
        """The lists of three splits with two clips each."""
        self.rows = {
            split: [
                dict(zip(KEYS, (f"{name}/000001.mp4", name, "A man.", f"{split} 1"), strict=True))
                for name in ("pan-left", "still")
            ]
            for split in ("train", "val", "test")
        }

    def damage(self, draw: Random, folder: Path) -> Path:
        """The folder."""
        for split, rows in self.rows.items():
            for row in rows:
                video = folder / "set" / split / row["clip"]
                video.parent.mkdir(parents=True, exist_ok=True)
                video.touch()
            lines = [json.dumps(row) for row in rows]
            if split == "val":
                place, kind = draw.randrange(len(rows)), draw.randrange(2)
                if kind:
                    lines[place] = json.dumps(mutations.of_json(rows[place], draw))
                data = "\n".join(lines).encode()
                (folder / "set" / split / CAPTIONS).write_bytes(data if kind else mutations.of_text(data, draw, [data]))
            else:
                (folder / "set" / split / CAPTIONS).write_text("\n".join(lines))
        return folder / "set"

    def read(self, subject: Path) -> list[ClipFile]:
        """The clips."""
        return read_clips(subject)

    def check(self, subject: Path, value: list[ClipFile]) -> None:
        """See the class."""
        for clip in value:
            inside = clip.path.resolve().is_relative_to(subject.resolve() / clip.split / clip.name)
            expect(inside and clip.path.is_file(), "a clip is outside of the folder of its class")
        splits = {(clip.source, clip.split) for clip in value}
        expect(len(splits) == len({source for source, _ in splits}), "a source is in two splits")
