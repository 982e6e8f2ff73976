"""What GenDoP is asked for: single captions, pictures and depth maps, and the shots of a data set like DataDoP."""

import dataclasses
import glob
from pathlib import Path

from shotverse_jax.inputs.items import Item, Place

SUFFIXES = {
    "prediction": "_transforms_pred.json",
    "reference": "_transforms_ref.json",
    "caption": "_caption.json",
    "text": "_caption.txt",
    "plot": "_traj.png",
    "reference plot": "_traj_GT.png",
    "image": "_rgb.png",
    "depth": "_depth.png",
    "preview": "_preview.mp4",
    "record": "_result.json",
}
"""The files of a case's result, by the endings of their names; all but the last two have GenDoP's own names."""


@dataclasses.dataclass(frozen=True)
class Case(Item):
    """One case. Its result is <out>/<id>_…, where the id may have folders; several samples have folders sample_*.

    The screenplay is of one shot, whose caption is not read in a mode without text.

    Attributes:
        image: the picture file of the first frame; None in a mode without.
        depth: the depth file; None in a mode without.
        source: beginning of the names of the shot's files in a data set like DataDoP, of which captions, path and plot
            are copied to the result; None for a case that is of none.
        captions: the caption file that is copied where there is no source.
    """

    image: str | None = None
    depth: str | None = None
    source: str | None = None
    captions: str | None = None

    @property
    def files(self) -> tuple[str, ...]:
        """The files that decide its result."""
        return tuple(file for file in (self.image, self.depth, *self.copied.values()) if file is not None)

    @property
    def copied(self) -> dict[str, str]:
        """The files that are copied to the result, those that are there, by their key in `SUFFIXES`."""
        own = {
            "reference": "_transforms_cleaning.json",
            "caption": "_caption.json",
            "reference plot": "_traj_cleaning.png",
        }
        found = {key: f"{self.source}{end}" for key, end in own.items() if self.source is not None}
        if self.captions is not None:
            found["caption"] = self.captions
        return {key: file for key, file in found.items() if Path(file).is_file()}

    def place(self, out: Path) -> Place:
        """Where its result is: beside those of other cases."""
        id_ = glob.escape(self.id)
        owns = [f"{folder}{id_}{end}" for folder in ("", "sample_*/") for end in SUFFIXES.values()]
        return Place(out, f"{self.id}{SUFFIXES['record']}", tuple(owns))
