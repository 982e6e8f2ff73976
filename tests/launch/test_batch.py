"""A batch over the devices of two processes: the first writes what one process alone would."""

import json
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.views.video import read_video


@pytest.mark.slow
def test_two_processes_film_one_list(tmp_path, controller_folder):
    shot = {"caption": "The camera pans left.", "duration": 1}
    rows = [
        {"id": "one", "seed": 4, "caption": "A room.", "shots": [shot] * 2},
        {"id": "two", "seed": 5, "caption": "A hall.", "shots": [shot] * 2},
        {"id": "bad", "seed": 5},
    ]
    (tmp_path / "list.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    common = [f"--list={tmp_path}/list.jsonl", "--task=film", f"--model={controller_folder}", "--steps=2"]
    common += ["--guidance_range=0-0.5"]
    alone = run(tmp_path, [*common, f"--out={tmp_path}/alone"])
    [(code, said)] = [finish(alone)]
    assert code == 3 and "2 made" in said and "1 failed" in said
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    job = {"JAX_COORDINATOR_ADDRESS": f"127.0.0.1:{port}", "JAX_NUM_PROCESSES": "2"}
    mesh = [*common, f"--out={tmp_path}/together", "--mesh=fsdp=2,sequence=2"]
    started = [run(tmp_path, mesh, job | {"JAX_PROCESS_ID": str(i), "JAX_NUM_CPU_DEVICES": "2"}) for i in range(2)]
    results = [finish(process) for process in started]
    assert "made" not in results[1][1]
    assert results[0][0] == 3 and "2 made" in results[0][1] and results[1][0] == 0
    videos = {}
    for name in ("one", "two"):
        for folder in ("alone", "together"):
            file = tmp_path / folder / name / "film.mp4"
            videos[folder, name] = read_video(file, np.arange(17), 48, 32).astype(int)
        paths = [read_trajectory(tmp_path / folder / name / "trajectory.json") for folder in ("alone", "together")]
        np.testing.assert_array_equal(paths[0].pose_T34, paths[1].pose_T34)
        # A last digit becomes a few levels where the video is compressed; another film is a hundred times as far.
        assert np.abs(videos["alone", name] - videos["together", name]).mean() < 0.5
    assert np.abs(videos["alone", "one"] - videos["together", "two"]).mean() > 10


def run(tmp_path, flags, environment=None):
    environment = os.environ | {"SHOTVERSE_CACHE": str(tmp_path / "cache")} | (environment or {})
    command = [sys.executable, "-m", "shotverse_jax.launch.batch", *flags]
    return subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def finish(process):
    said, errors = process.communicate(timeout=300)
    assert process.returncode in (0, 3), errors[-3000:]
    return process.returncode, said
