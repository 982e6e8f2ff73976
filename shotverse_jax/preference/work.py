"""Pairs of a list of screenplays, by the machinery of batches: in any order, resumed, on any number of workers.

The folder of an item has `candidates.npz` (tokens and log-probabilities of all candidates), `pairs.jsonl`, and in its
`result.json` what every judge said.
"""

import dataclasses
import functools
import json
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from shotverse_jax.camera.tokens.shotverse import header_length
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.data.pairs import Pair, read_pairs, write_pairs
from shotverse_jax.files import json_text, read_json
from shotverse_jax.infer.batch import Made, each
from shotverse_jax.infer.decode import Sampling
from shotverse_jax.infer.gendop import GenDoPPlanner
from shotverse_jax.infer.plan import Director
from shotverse_jax.infer.samples import block_rows
from shotverse_jax.infer.work import versions
from shotverse_jax.inputs.items import RECORD, Item, Refused
from shotverse_jax.preference.candidates import Candidates, draw, load, tokenizer_of
from shotverse_jax.preference.contrast import reversed_motion, scaled_motion, with_shot
from shotverse_jax.preference.judges import Judge
from shotverse_jax.preference.measures import Measured, measure
from shotverse_jax.preference.previews import Clips, Renderer
from shotverse_jax.preference.selection import Choice, Rule, Verdict, choose, combined, spliced, swapped_tokens
from shotverse_jax.screenplay.slots import Slots, read_slots

CANDIDATES, PAIRS = "candidates.npz", "pairs.jsonl"


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How pairs are made.

    Attributes:
        candidates: plans of each screenplay.
        rule: which of them make a pair.
        contrast: share of the pairs that are of the best candidate and the same with a motion reversed or scaled,
            below 1; about so many, because not every plan has a motion that can be wrong.
        amounts: of a scaled motion, too little and too much.
    """

    candidates: int = 8
    rule: Rule = Rule()
    contrast: float = 0.25
    amounts: tuple[float, float] = (0.5, 1.5)


class PairsWork:
    """Makes pairs; one of the works of `infer.batch.run_batch`.

    Args:
        planner: ShotVerse's or GenDoP's, whose plans are compared.
        judges: at least one; their names differ.
        renderer: films candidates for the judges that see; None where none does.
        recipe: how pairs are made.
        settings: what decides results beside that, for the records: the models.
        sampling: how tokens are picked; None takes the planner's own way.
        truth: gives the cameras that an item was written for, where they are known.
        drawn: folder of pairs that were made before, whose candidates are judged anew; None draws them.
    """

    def __init__(
        self,
        planner: Director | GenDoPPlanner,
        judges: Sequence[Judge],
        renderer: Renderer | None,
        recipe: Recipe = Recipe(),
        settings: Mapping[str, Any] | None = None,
        sampling: Sampling | None = None,
        truth: Callable[[Item], Trajectory | None] | None = None,
        drawn: Path | None = None,
    ):
        if any(judge.sees for judge in judges) and renderer is None:
            raise ValueError("these judges look at previews; give a renderer")
        self._planner, self._judges, self._recipe = planner, tuple(judges), recipe
        self._sampling, self._truth, self._drawn = sampling, truth, drawn
        self._renderer = renderer if any(judge.sees for judge in judges) else None
        self.settings = {
            "task": "pairs",
            "judges": {judge.name: judge.settings for judge in judges},
            "previews": self._renderer and self._renderer.settings,
            "recipe": dataclasses.asdict(recipe),
            **(settings or {}),
        }
        self.notes: tuple[str, ...] = ()
        # Candidates that are read fail one by one.
        self.group = block_rows(planner.parts) if drawn is None else 1

    def buckets(self, items: Sequence[Item]) -> list[Hashable | Exception]:
        """As `infer.batch.Work.buckets`."""
        return each(lambda item: self._planner.bucket(item.screenplay), items)

    def make(self, items: Sequence[Item]) -> Iterator[Made]:
        """As `infer.batch.Work.make`."""
        for index, (item, found) in enumerate(zip(items, self._candidates(items), strict=True)):
            clips = self._renderer.clips(item.id, item.screenplay, found.paths_J) if self._renderer else None
            verdicts = self._judged(found, clips, self._truth(item) if self._truth else None)
            yield Made(index, functools.partial(self._write, item, found, verdicts))

    def _candidates(self, items: Sequence[Item]) -> Iterator[Candidates]:
        if self._drawn is None:
            plays, seeds = [item.screenplay for item in items], [item.seed for item in items]
            return draw(self._planner, plays, seeds, self._recipe.candidates, self._sampling)
        return (self._again(item, item.place(self._drawn).folder) for item in items)

    def _again(self, item: Item, folder: Path) -> Candidates:
        if (folder / RECORD).is_file():
            before = read_json(folder / RECORD).get("planner")
            if before != json.loads(json_text(self.settings.get("planner"))):
                raise ValueError(f"{folder} has candidates of another planner: {before}")
        return load(self._planner, item.screenplay, folder / CANDIDATES, self._recipe.candidates)

    def _judged(self, found: Candidates, clips: Clips | None, truth: Trajectory | None) -> dict[str, Verdict]:
        play, paths = found.screenplay, found.paths_J
        return {judge.name: judge.judge(play, paths, clips if judge.sees else None, truth) for judge in self._judges}

    def _write(self, item: Item, found: Candidates, verdicts: dict[str, Verdict], folder: Path) -> dict[str, Any]:
        measured = measure(found.screenplay, found.paths_J)
        misframed_JK = measured.misframed_JK
        pairs = [
            self._pair(item, found, choice, verdicts, misframed_JK)
            for choice in choose(verdicts, misframed_JK, self._recipe.rule)
        ]
        share = self._recipe.contrast
        pairs += self._contrasts(item, found, verdicts, measured, len(pairs) * share / (1 - share))
        found.save(folder / CANDIDATES)
        write_pairs(pairs, folder / PAIRS)
        return {
            **self.settings,
            "versions": versions(),
            "broken": found.broken,
            "misframed": np.round(misframed_JK, 4).tolist(),
            "scores": {name: np.round(verdict.plans_J, 4).tolist() for name, verdict in verdicts.items()},
            "shot_scores": {name: np.round(verdict.shots_JK, 4).tolist() for name, verdict in verdicts.items()},
            "pairs": len(pairs),
        }

    def _pair(
        self,
        item: Item,
        found: Candidates,
        choice: Choice,
        verdicts: Mapping[str, Verdict],
        misframed_JK: np.ndarray,
    ) -> Pair:
        both, shot = [choice.chosen, choice.rejected], choice.shot
        ids_2 = tuple(found.ids_J[number] for number in both)
        values = {
            name: verdict.plans_J if shot is None else verdict.shots_JK[:, shot] for name, verdict in verdicts.items()
        }
        misframed_J = misframed_JK.mean(1) if shot is None else misframed_JK[:, shot]
        if shot is not None:
            ids_2 = self._one_shot(found, choice)
        return Pair(
            f"{item.id}/{'scene' if shot is None else f'shot_{shot + 1}'}",
            item.screenplay,
            *ids_2,
            choice.chosen_score,
            choice.rejected_score,
            shot,
            "sampled",
            {name: tuple(float(values_J[number]) for number in both) for name, values_J in values.items()},
            tuple(float(misframed_J[number]) for number in both),
        )

    def _one_shot(self, found: Candidates, choice: Choice) -> tuple[np.ndarray, np.ndarray]:
        """(the worse plan with the better one's shot, the worse plan): they differ in that shot alone."""
        shot, worse = choice.shot, choice.rejected
        if len(found.screenplay.shots) == 1:
            return found.ids_J[choice.chosen], found.ids_J[worse]
        tokens = tokenizer_of(self._planner)
        header = 1 + header_length(tokens.config)
        swapped_N = swapped_tokens(found.ids_J[worse], shot, found.ids_J[choice.chosen], tokens.sep, header)
        if swapped_N is not None:
            return swapped_N, found.ids_J[worse]
        # Both are written anew, so that what they have in common is the same in both, or nearly.
        whole = spliced(found.paths_J[worse], shot, found.paths_J[choice.chosen])
        return tokens.encode(whole), tokens.encode(found.paths_J[worse])

    def _contrasts(
        self, item: Item, found: Candidates, verdicts: Mapping[str, Verdict], measured: Measured, odds: float
    ) -> Iterator[Pair]:
        """With these odds a pair of the best candidate against itself with another motion in one shot.

        There is none where the words ask for no motion, or the candidate does not make it.
        """
        rng = np.random.default_rng((item.seed, len(item.id), *item.id.encode()))
        if rng.random() >= odds:
            return
        scores = {name: verdict.plans_J for name, verdict in verdicts.items()}
        best = int(np.argmax(combined(scores, self._recipe.rule.weights)))
        path, tokens = found.paths_J[best], tokenizer_of(self._planner)
        asked = [read_slots(shot.caption).with_one_lens for shot in found.screenplay.shots]
        got = measured.motions_JK[best]
        shots = [shot for shot, slots in enumerate(asked) if _can_be_wrong(slots, got[shot])]
        if not shots:
            return
        shot = int(rng.choice(shots))
        start, end = path.spans[shot]
        pose_T34 = path.pose_T34[start:end]
        if asked[shot].speeds & {"slow", "fast"} and rng.random() < 0.5:
            # Too much for a slow move, too little for a fast one.
            origin, other = "intensity", scaled_motion(pose_T34, self._recipe.amounts["slow" in asked[shot].speeds])
        else:
            origin, other = "reversal", reversed_motion(pose_T34)
        worse = with_shot(path, shot, other)
        try:
            ids_2 = tokens.encode(path), tokens.encode(worse)
        except ValueError:  # no tokens for such a path
            return
        if not np.array_equal(*ids_2):
            yield Pair(f"{item.id}/{origin}_{shot + 1}", item.screenplay, *ids_2, shot=shot, origin=origin)


def _can_be_wrong(asked: Slots, got: frozenset[str]) -> bool:
    """Whether a shot moves as it was asked to, so that the opposite would be wrong."""
    return bool(asked.motions - {"static"}) and bool(asked.motions & got)


def collect(items: Sequence[Item | Refused], out: Path) -> tuple[int, int]:
    """Writes the pairs of all items that were made to `out/pairs.jsonl`, in the order of the list.

    Returns:
        how many pairs there are, and from how many items.
    """
    pairs, used = [], 0
    for item in items:
        file = item.place(out).folder / PAIRS if isinstance(item, Item) else None
        if file is not None and file.is_file() and file.stat().st_size:
            found = [pair for pair in read_pairs(file) if isinstance(pair, Pair)]
            pairs, used = pairs + found, used + bool(found)
    write_pairs(pairs, out / PAIRS)
    return len(pairs), used
