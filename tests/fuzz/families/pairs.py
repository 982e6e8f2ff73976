"""Lists of pairs of plans: ours with tokens, VERTIGO's with files and with transforms."""

import dataclasses
import json
from pathlib import Path
from random import Random

import numpy as np

from shotverse_jax import weights
from shotverse_jax.camera.formats import write_trajectory
from shotverse_jax.camera.tokens.shotverse import PoseTokenizer
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.data.pair_source import PlannerPairs
from shotverse_jax.data.pairs import ORIGINS, Pair, read_pairs, to_row
from shotverse_jax.grammar.samples import sample_example
from shotverse_jax.inputs.items import Refused
from tests.fuzz import mutations
from tests.fuzz.families.screenplays import check_play
from tests.fuzz.harness import Family, expect
from tests.helpers import small_models


class Pairs(Family):
    """Lists of pairs as a run reads them.

    An accepted pair has plans that are finite rigid paths or tokens, scores that are finite, and a screenplay as in
    `Screenplays`; what a planner encodes of it are tokens of its own form. Where one line was changed, all other pairs
    are as they were.
    """

    name, share, refuses = "pairs", 5, False

    def make(self) -> None:
        """A planner, and a list of three lines."""
        folder = small_models.planner(self.place)
        self.config, _, tokenizer = weights.load("planner", folder)
        self.reader = PlannerPairs(self.config, tokenizer)
        one, two = (sample_example(seed, num_shots=1) for seed in (0, 1))
        write_trajectory(two.trajectory, self.place / "two.json", "nerfstudio")
        poses = PoseTokenizer(self.config.tokens)
        play = dataclasses.replace(
            one.screenplay, shots=(dataclasses.replace(one.screenplay.shots[0], caption="Pan."),)
        )
        ids_2 = [poses.encode(each.trajectory.retimed(list(play.layout().spans), play.fps)) for each in (one, two)]
        inline = json.loads((self.place / "two.json").read_text(encoding="utf-8"))
        inline["frames"] = inline["frames"][:9]
        self.rows = [
            to_row(Pair("a", play, *ids_2, 0.9, 0.2, 0, "sampled", {"geometric": (0.9, 0.2)}, (0.0, 0.5))),
            {"prompt": "Pan left.", "chosen": "two.json", "rejected": inline, "chosen_score": 0.8, "rejected_score": 1},
            {"text": "Tilt up.", "winner": inline, "loser": "two.json", "id": "c"},
        ]

    def damage(self, draw: Random, folder: Path) -> tuple[Path, int | None]:
        """(the list, the number of the line that was changed or None)."""
        (folder / "two.json").write_bytes((self.place / "two.json").read_bytes())
        lines, place = [json.dumps(row) for row in self.rows], draw.randrange(len(self.rows))
        path, kind = folder / "pairs.jsonl", draw.randrange(3)
        if kind < 2:
            lines[place] = json.dumps(mutations.of_json(self.rows[place], draw))
        data = "\n".join(lines).encode()
        path.write_bytes(mutations.of_text(data, draw, [data]) if kind == 2 else data)
        return path, place if kind < 2 else None

    def read(self, subject: tuple[Path, int | None]) -> list[Pair | Refused]:
        """The pairs."""
        return read_pairs(subject[0])

    def check(self, subject: tuple[Path, int | None], value: list[Pair | Refused]) -> None:
        """Every pair by itself, and those that were not changed."""
        path, changed = subject
        for pair in value:
            if isinstance(pair, Refused):
                expect("\n" not in pair.error and len(pair.error) < 9000, f"no sentence: {pair.error[:300]}")
                continue
            check_play(pair.screenplay)
            scores = [s for s in (pair.chosen_score, pair.rejected_score, *(pair.misframed or ())) if s is not None]
            scores += [score for both in pair.scores.values() for score in both]
            expect(bool(np.isfinite(scores).all()), f"scores are not finite: {scores}")
            expect(pair.origin in ORIGINS, f"the origin {pair.origin!r}")
            expect(pair.shot is None or 0 <= pair.shot < len(pair.screenplay.shots), f"shot {pair.shot}")
            for plan in (pair.chosen, pair.rejected):
                tokens = isinstance(plan, np.ndarray) and plan.dtype == np.int32 and plan.ndim == 1
                expect(tokens or isinstance(plan, Trajectory), f"a plan is {type(plan)}")
            self._encoded(pair)
        if changed is not None:
            path.write_text("\n".join(map(json.dumps, self.rows)), encoding="utf-8")
            whole = read_pairs(path)
            expect(len(whole) == len(value), "another number of pairs")
            for number, (ours, theirs) in enumerate(zip(value, whole, strict=True)):
                same = number == changed or isinstance(ours, Refused) or ours.screenplay == theirs.screenplay
                expect(same, f"pair {number} is another one: {ours}")

    def _encoded(self, pair: Pair) -> None:
        """What a planner reads of a pair, or a sentence."""
        try:
            found = self.reader.encode(pair)
        except ValueError as error:
            expect("\n" not in str(error), f"no sentence: {error}")
            return
        for ids_N, counts_N in zip(found.ids_2, found.counts_2, strict=True):
            expect(bool((ids_N < self.config.decoder.vocab_size).all()), "a token is none of the decoder's")
            expect(ids_N.shape == counts_N.shape and bool(counts_N.any()), "no token counts")
