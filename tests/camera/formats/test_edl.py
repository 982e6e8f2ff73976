"""Edit lists."""

import dataclasses

import numpy as np

from shotverse_jax.camera.formats import write_trajectory


def test_edl_events_cover_the_film(tmp_path, film):
    cut = dataclasses.replace(
        film.shot(0),
        pose_T34=np.tile(np.eye(3, 4), (2000, 1, 1)), intrinsics_T4=[700, 700, 416, 240],
        shot_T=np.repeat([0, 1, 2], [100, 1, 1899]), captions=("one\ntwo", "", "三"), fps=24.0,
    )  # fmt: skip
    write_trajectory(cut, tmp_path / "film.edl", clip="my film.mp4")
    lines = (tmp_path / "film.edl").read_text(encoding="utf-8").splitlines()
    assert lines[:2] == ["TITLE: SHOTVERSE FILM", "FCM: NON-DROP FRAME"]
    events = [line.split() for line in lines if line[:3].isdigit()]
    assert [event[:4] for event in events] == [[f"00{k}", "AX", "V", "C"] for k in (1, 2, 3)]

    def count(code):
        hours, minutes, seconds, frames = map(int, code.split(":"))
        return ((hours * 60 + minutes) * 60 + seconds) * 24 + frames

    assert [(count(e[4]), count(e[5])) for e in events] == cut.spans
    assert [(count(e[6]) - 86400, count(e[7]) - 86400) for e in events] == cut.spans
    assert lines.count("* FROM CLIP NAME: my film.mp4") == 3 and "* COMMENT: shot_01 one two" in lines
