"""Screenplays of every form, and the lists of them that batches are made of."""

import dataclasses
import json
import math
from pathlib import Path
from random import Random
from typing import Any

from shotverse_jax.inputs.items import Item, Refused, read_items
from shotverse_jax.screenplay import Screenplay, Shot, parse_text, read_screenplay, to_text
from tests.fuzz import mutations
from tests.fuzz.harness import Family, expect

PLAY = Screenplay(
    "A man in a red coat.", (Shot("The camera pushes in.", 2.0), Shot("The camera pans left.", 1.5)), 24.0
)
TEXTS = {
    "a.yaml": to_text(PLAY, "yaml"),
    "a.json": to_text(PLAY, "json"),
    "scenes.json": json.dumps({"scenes": [{"title": "One", "shots": ["Pan left."]}, {"shots": ["Tilt up.", "Pull."]}]}),
    "a.txt": "A man in a red coat.\n\nStyle: noir.\n\n[2s] The camera pushes in.\n\n(1.5 s) The camera pans left.\n",
    "labels.txt": "Scene: A hall.\n\nShot 1 (0:00-0:02): Push in.\nShot 2 (2 s): Pan left.\nShot 3: Wide. Tilt up.\n",
    "a.md": "# Film\n\nA hall.\n\n## Shot 1\n\n- **Camera:** push in\n\n## Shot 2 - 3 seconds\n\nPan left.\n",
    "table.md": "A hall.\n\n| Shot | Caption | Duration |\n|---|---|---|\n| 1 | Push in | 2s |\n| 2 | Pan | 3 |\n",
    "fence.md": "Here it is:\n\n```yaml\ncaption: A hall.\nshots: [Push in., Pan left.]\n```\n",
    "a.holocine.txt": to_text(PLAY, "holocine"),
    "call.txt": 'run_inference(global_caption="A hall.", shot_captions=["Push in.", "Pan left."], num_frames=81)\n',
    "a.csv": 'shot,caption,duration\n1,"Push in, slowly.",2\n2,Pan left.,1.5\n',
    "a.fountain": "Title: Film\n\nINT. HALL - DAY\n\nA man waits.\n\nMAN\n(softly)\nHello.\n\nThe camera pans left.\n",
    "a.fdx": '<?xml version="1.0"?><FinalDraft><Content><Paragraph Type="Scene Heading"><Text>INT. HALL</Text>'
    '</Paragraph><Paragraph Type="Action"><Text>A man waits.</Text></Paragraph></Content></FinalDraft>',
}


def check_play(play: Screenplay) -> None:
    """Raises Different unless a screenplay has words and numbers, and is the same after it was written and read."""
    expect(bool(play.shots) and all(shot.caption.strip() for shot in play.shots), "a shot has no caption")
    seconds = [shot.duration for shot in play.shots if shot.duration is not None]
    expect(all(math.isfinite(value) and value > 0 for value in (*seconds, play.fps)), "a length or rate is no number")
    expect("\0" not in play.caption + "".join(shot.caption for shot in play.shots), "a caption holds NUL")
    plain = dataclasses.replace(play, notes=())
    again = dataclasses.replace(parse_text(to_text(play, "json"), "json"), notes=())
    expect(again == plain, f"written and read it is another: {plain} {again}"[:2000])


class Screenplays(Family):
    """Screenplays in all forms, by suffix and by content, with and without the number of a scene.

    An accepted one has captions and finite lengths, and is the same after it was written as JSON and read again.
    """

    name, share = "screenplays", 40

    def make(self) -> None:
        """The texts of `TEXTS`."""
        for name, text in TEXTS.items():
            (self.place / name).write_text(text, encoding="utf-8")

    def damage(self, draw: Random, folder: Path) -> tuple[Path, int | None]:
        """(the file, the scene)."""
        name = draw.choice(sorted(TEXTS))
        path = folder / (name if draw.random() < 0.8 else draw.choice(("a", "a.txt", *TEXTS)))
        path.write_bytes((self.place / name).read_bytes())
        other = (self.place / draw.choice(sorted(TEXTS))).read_bytes()
        for _ in range(draw.choice((1, 1, 2, 3))):
            mutations.of_file(path, draw, [other])
        return path, draw.choice((None, None, None, 1, 2, 0, -1, 2**63))

    def read(self, subject: tuple[Path, int | None]) -> Screenplay:
        """The screenplay."""
        return read_screenplay(*subject)

    def check(self, subject: tuple[Path, int | None], value: Screenplay) -> None:
        """See `check_play`."""
        check_play(value)


ROWS = (
    {
        "id": "one",
        "screenplay": "a.txt",
        "seed": 3,
        "size": "48x64",
        "frames": 17,
        "trajectory": "p.tum",
        "read": "up=z",
    },
    {"id": "two", "text": "A room.\n\nPan left.\n\nPan right.", "samples": 2, "negative": "blur", "scene": 1},
    {"id": "three", "caption": "A room", "shots": [{"caption": "Tilt up", "duration": 2}], "lora": ["a@0.5"]},
    {"screenplay": {"caption": "x", "shots": ["y"]}, "trajectory": "p.tum", "read": {"up": "z", "fps": 24}},
)


class Lists(Family):
    """Lists of screenplays: JSON lines, tables and folders.

    An accepted list gives entries whose values have their types and whose screenplays are as in `Screenplays`, or one
    sentence for each entry that cannot be used. In a JSON list of which one line was changed, all other entries are
    as they were.
    """

    name, share = "lists", 20

    def make(self) -> None:
        """A list of each form, and the screenplays that they name."""
        (self.place / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
        table = "id,screenplay,seed,size,lora,read\none,a.txt,4,32x48,x@1;y,\ntwo,b.yaml,,,,\nthree,a.txt,1,,,\n"
        (self.place / "list.csv").write_text(table, encoding="utf-8")
        (self.place / "a.txt").write_text(TEXTS["a.txt"], encoding="utf-8")
        (self.place / "b.yaml").write_text(TEXTS["a.yaml"], encoding="utf-8")

    def damage(self, draw: Random, folder: Path) -> tuple[Path, int | None]:
        """(the list, the number of the line that was changed or None)."""
        for file in self.place.iterdir():
            (folder / file.name).write_bytes(file.read_bytes())
        kind = draw.randrange(4)
        if kind == 0:
            lines = [json.dumps(row) for row in ROWS]
            place = draw.randrange(len(lines))
            lines[place] = json.dumps(mutations.of_json(ROWS[place], draw))
            (folder / "list.jsonl").write_text("\n".join(lines), encoding="utf-8")
            return folder / "list.jsonl", place
        if kind == 3:
            mutations.of_folder(folder, draw)
            return draw.choice((folder, folder / "list.jsonl", folder / "list.csv")), None
        path = folder / ("list.jsonl" if kind == 1 else "list.csv")
        path.write_bytes(mutations.of_text(path.read_bytes(), draw, [TEXTS["a.csv"].encode()]))
        return path, None

    def read(self, subject: tuple[Path, int | None]) -> list[Item | Refused]:
        """The entries."""
        return read_items(subject[0])

    def check(self, subject: tuple[Path, int | None], value: list[Item | Refused]) -> None:
        """Every entry by itself, and those that were not changed."""
        path, changed = subject
        for item in value:
            if isinstance(item, Refused):
                expect("\n" not in item.error and len(item.error) < 9000, f"no sentence: {item.error[:300]}")
                continue
            check_play(item.screenplay)
            numbers = (item.seed, item.samples, *(item.size or ()))
            expect(all(type(number) is int for number in numbers), f"a number has another type: {numbers}")
            expect("/" not in item.id and item.id not in ("", ".", ".."), f"the id {item.id!r} leaves its folder")
            expect(isinstance(item.negative, str | None) and isinstance(item.trajectory, str | None), "not a text")
        if changed is not None:
            whole = read_items(self._whole(path))
            expect(len(whole) == len(value), "another number of entries")
            ids = {item.id for item in value}
            for number, (ours, theirs) in enumerate(zip(value, whole, strict=True)):
                # A changed entry may have taken the name of a later one, which is then refused.
                same = ours == theirs or number == changed or (isinstance(ours, Refused) and theirs.id in ids)
                expect(same, f"entry {number} is another one: {ours}")

    @staticmethod
    def _whole(path: Path) -> Path:
        """The undamaged list, beside the same files."""
        whole = path.with_name("whole.jsonl")
        whole.write_text("".join(json.dumps(row) + "\n" for row in ROWS), encoding="utf-8")
        return whole

    def names(self, subject: Any, folder: Path, message: str) -> bool:
        """The list."""
        return str(folder) in message
