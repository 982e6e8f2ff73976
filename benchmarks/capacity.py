"""How many devices make so many films a day: the tables of docs/batch.md, by the arithmetic of `shotverse fit film`.

    python -m benchmarks.capacity

Nothing is measured here and no device is needed. Where a film does not fit one device, the smallest mesh that it fits
takes its place.
"""

from collections.abc import Iterator

from shotverse_jax.fit.capacity import time_shown
from shotverse_jax.fit.film import FilmReport, fit_film, result_bytes
from shotverse_jax.infer.fits import smallest_mesh
from shotverse_jax.infer.need import GIB, Networks, Request

DEVICES = ("h100", "h200", "v5p", "v6e")
FRAMES = (81, 249)
RECIPES = {"50 steps, guidance": {}, "4 steps, distilled": {"steps": 4, "guidance": 1}}
FILMS = (100, 10_000, 1_000_000)
DAY = 86400


def sized(device: str, frames: int, **asked) -> FilmReport:
    """Returns the report of a film of the paper's size, on the smallest mesh that it fits."""
    report = fit_film("paper", device, frames=frames, **asked)
    if not report.problem:
        return report
    networks, place, memory = Networks.of("paper"), report.place, report.accelerator.memory * GIB
    return fit_film(
        "paper", device, frames=frames, mesh=smallest_mesh(networks, report.request, place, memory), **asked
    )


def devices_table() -> Iterator[str]:
    """Yields the lines of the table of devices."""
    yield "| film | device | memory | together | time | " + " | ".join(f"{count:,} a day" for count in FILMS) + " |"
    yield "|---" * (5 + len(FILMS)) + "|"
    for frames in FRAMES:
        for recipe, asked in RECIPES.items():
            for device in DEVICES:
                report = sized(device, frames, **asked)
                mesh = ",".join(f"{axis}={size}" for axis, size in report.place.sizes.items()) or "1"
                memory = f"{report.need.total / GIB:.1f} of {report.accelerator.memory:g} GiB"
                time = f"{time_shown(report.seconds)}" + f" for {report.place.films}" * (report.place.films > 1)
                counts = (f"{report.capacity(count, DAY).devices:,}" for count in FILMS)
                cells = f"{frames} frames, {recipe}", device.upper() if device[0] == "h" else device, memory, mesh, time
                yield f"| {' | '.join((*cells, *counts))} |"


def storage_table() -> Iterator[str]:
    """Yields the lines of the table of storage."""
    networks = Networks.of("paper")
    yield "| results | a film | " + " | ".join(f"{count:,} films" for count in FILMS) + " |"
    yield "|---" * (2 + len(FILMS)) + "|"
    for frames in FRAMES:
        for latents in (False, True):
            each = result_bytes(networks, Request.of(networks, frames), latents)
            sizes = (f"{count * each / 1e9:,.1f} GB" for count in FILMS)
            yield f"| {frames} frames{', latents kept' * latents} | {each / 1e6:.1f} MB | {' | '.join(sizes)} |"


def main() -> None:
    """Prints both tables."""
    print("\n".join([*devices_table(), "", *storage_table()]))


if __name__ == "__main__":
    main()
