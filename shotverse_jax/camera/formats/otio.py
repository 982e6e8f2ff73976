"""OpenTimelineIO: the film's cuts for Resolve, Nuke Studio, RV and other editing programs (written only).

One video track with a clip per shot, all from one rendered film, whose frames count from 0. The timeline begins at
01:00:00:00. A clip is named shot_01, … and has the shot's caption as a marker and in its metadata. The rate is one that
editing programs have, as in `edl`; seconds stay. No camera is stored. OpenTimelineIO writes the file.
"""

from pathlib import Path

from shotverse_jax.camera.formats import _common as common
from shotverse_jax.camera.formats import edl
from shotverse_jax.camera.trajectory import Trajectory


def write(trajectory: Trajectory, path: Path, *, clip: str = "film.mp4", title: str = "SHOTVERSE FILM") -> None:
    """Writes the timeline; `clip` is the file name of the rendered film.

    Raises:
        ValueError: OpenTimelineIO is not installed, or editing programs do not have the trajectory's rate.
    """
    try:
        import opentimelineio as otio
    except ImportError as error:
        raise ValueError(
            "writing OTIO needs OpenTimelineIO; install it with: pip install 'shotverse_jax[edit]'"
        ) from error
    rate = edl.check_rate(trajectory.fps)

    def span(start: int, end: int) -> otio.opentime.TimeRange:
        return otio.opentime.TimeRange(*(otio.opentime.RationalTime(n, rate) for n in (start, end - start)))

    begin = otio.opentime.RationalTime(edl.RECORD_START_HOURS * 3600 * round(rate), rate)
    timeline = otio.schema.Timeline(title, global_start_time=begin)
    track = otio.schema.Track("V1", kind=otio.schema.TrackKind.Video)
    timeline.tracks.append(track)
    for k, (start, end) in enumerate(trajectory.spans):
        film = otio.schema.ExternalReference(clip, available_range=span(0, len(trajectory)))
        shot = otio.schema.Clip(common.shot_name(k), media_reference=film, source_range=span(start, end))
        if caption := trajectory.captions[k]:
            shot.metadata["shotverse"] = {"caption": caption}
            shot.markers.append(otio.schema.Marker(caption, marked_range=span(start, start + 1)))
        track.append(shot)
    if trajectory.global_caption:
        timeline.metadata["shotverse"] = {"caption": trajectory.global_caption}
    otio.adapters.write_to_file(timeline, str(path), adapter_name="otio_json")


FORMAT = common.Format(
    name="otio",
    suffixes=(".otio",),
    description="OpenTimelineIO cut list (write; needs OpenTimelineIO)",
    convention="one clip per shot of one film, whose frames count from 0; timeline from 01:00:00:00; no camera",
    keeps=frozenset({"cuts", "captions", "rate"}),
    write=write,
    steady=True,
    rate=edl.rate_for,
)
