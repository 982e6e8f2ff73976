"""The families of inputs: one class each, which makes whole inputs, damages them, reads them, and checks what came."""

from tests.fuzz.families import cameras, clips, data, gendop, pairs, results, screenplays, weights
from tests.fuzz.harness import Family

FAMILIES: dict[str, type[Family]] = {
    family.name: family
    for family in (
        cameras.Trajectories,
        cameras.Options,
        screenplays.Screenplays,
        screenplays.Lists,
        weights.Checkpoints,
        weights.Adapters,
        weights.Records,
        weights.Folders,
        weights.Journals,
        results.Batches,
        results.Runs,
        data.Datasets,
        data.Scenes,
        data.Videos,
        gendop.Cases,
        gendop.DataDoP,
        gendop.Features,
        gendop.Plots,
        pairs.Pairs,
        cameras.Focused,
        clips.Clips,
    )
}


def counts(cases: int, only: list[str] | None = None) -> dict[str, int]:
    """Family → number of its cases, so that all together have `cases`.

    Raises:
        ValueError: a family that is not there.
    """
    if unknown := set(only or ()) - FAMILIES.keys():
        raise ValueError(f"there is no family {', '.join(sorted(unknown))}; there are {', '.join(FAMILIES)}")
    chosen = [family for name, family in FAMILIES.items() if not only or name in only]
    whole = sum(family.share for family in chosen)
    return {family.name: max(1, round(cases * family.share / whole)) for family in chosen}
