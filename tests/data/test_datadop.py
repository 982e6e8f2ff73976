"""DataDoP: MonST3R's results become shots, captions by template and by a server on loopback, and what is refused."""

import contextlib
import http.server
import json
import threading

import numpy as np
import pytest
from clips import monst3r
from PIL import Image

from shotverse_jax import cli
from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import read_trajectory
from shotverse_jax.config import GenDoPTokenConfig
from shotverse_jax.data.datadop import captions, shots
from shotverse_jax.data.datadop.statistics import token_statistics
from shotverse_jax.data.gendop_source import StageShots
from shotverse_jax.endpoint import NoAnswer, endpoint


def run(*args):
    return cli.main(["datadop", *map(str, args), "--quiet"])


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    folder = tmp_path_factory.mktemp("datadop")
    monst3r(folder / "Monst3r" / "1_0000" / "shot_0001" / "NULL")
    monst3r(folder / "Monst3r" / "1_0000" / "shot_0002", black=0, move=0.001)
    monst3r(folder / "Monst3r" / "1_0001" / "shot_0001" / "NULL", count=12)
    assert run("build", folder / "Monst3r", "--out", folder / "DataDoP", "--split", "train") == 3
    return folder


def test_monst3rs_results_become_shots(built, capfd):
    data = built / "DataDoP"
    # Again: what is there is kept, and the bad ones are listed once more.
    assert run("build", built / "Monst3r", "--out", data, "--split", "train") == 3
    said = capfd.readouterr().err
    assert "left out 1_0000/shot_0002: " in said and "the camera stands still" in said
    assert "left out 1_0001/shot_0001: " in said and "12 frames; a shot has at least 15" in said
    [shot] = shots.list_shots(data, "train", "traj")
    assert shot.name == "1_0000/shot_0001" and not shot.has("caption")
    # The two black frames are left out of picture, depth, poses and lenses together.
    assert (shots.read_depth(shot.path("depth")) == 2).all()
    path = shots.read_path(shot)
    assert len(path) == 38 and (path.width, path.height) == (16, 8)
    np.testing.assert_allclose(path.intrinsics_T4[0], [20, 21, 8, 4])
    assert path.pose_T34[0, 0, 3] == pytest.approx(2 / 40)
    made = json.loads(shot.path("transforms").read_text())
    assert list(made) == ["w", "h", "fl_x", "fl_y", "cx", "cy", "frames"] and len(made["frames"]) == 120
    assert np.array(made["frames"][0]["transform_matrix"])[:3, :3].tolist() == np.diag([1, -1, -1]).tolist()
    assert run("build", built / "Monst3r", "--out", data, "--split", "train", "--strict") == 2
    assert "shotverse datadop: 1_0000/shot_0002" in capfd.readouterr().err


def test_cleaning_again_and_alone(built, tmp_path):
    [shot] = shots.list_shots(built / "DataDoP", "train", "traj")
    before = shot.path("transforms").read_bytes()
    shot.path("transforms").unlink()
    assert run("clean", built / "DataDoP") == 0
    assert shot.path("transforms").read_bytes() == before
    assert run("clean", shot.path("traj"), "--out", tmp_path / "alone_transforms_cleaning.json") == 0
    assert (tmp_path / "alone_transforms_cleaning.json").read_bytes() == before


def test_the_quaternions_of_traj_have_their_real_part_first(tmp_path):
    pose_T34 = se3.make(se3.so3_exp(np.array([[0, 0.2 * t, 0] for t in range(4)])), np.ones((4, 3)))
    from shotverse_jax.camera.trajectory import Trajectory

    shot = shots.ShotFiles("a/b", tmp_path / "a" / "b")
    shots.write_shot(shot, path=Trajectory(pose_T34, (20.0, 20.0, 8.0, 4.0), 16, 8, np.zeros(4)))
    row = np.loadtxt(shot.path("traj"))[1]
    np.testing.assert_allclose(row, [1, 1, 1, 1, np.cos(0.1), 0, np.sin(0.1), 0], atol=1e-12)
    np.testing.assert_allclose(shots.read_path(shot).pose_T34, pose_T34, atol=1e-9)


@pytest.mark.parametrize("case", ["case1", "case2"])
def test_captions_of_the_original_shots(reference, case):
    """The template has the moves and turns of GenDoP's own caption, in order."""
    folder = reference / "data" / "gendop" / "assets" / "examples" / "text_rgbd"
    shot = shots.ShotFiles(case, folder / case)
    words = ("right", "left", "forward", "backward", "up", "down", "yaw", "pitch", "static")
    ours = captions.template(captions.shot_segments(shot))["Movement"]
    theirs = shots.read_captions(shot.path("caption"))["Movement"]

    def order(text):
        return [word for token in text.lower().replace("yawing", "yaw").split() for word in words if word in token]

    assert order(ours) == order(theirs)


@contextlib.contextmanager
def server(answers):
    """An endpoint on loopback that gives (status, text of the answer) in turn, and the requests that it got."""
    got = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            got.append((self.path, self.headers.get("Authorization"), body))
            status, text = answers[min(len(got), len(answers)) - 1]
            data = json.dumps({"choices": [{"message": {"content": text}}]}).encode() if status == 200 else b"busy"
            self.send_response(status)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *args):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{httpd.server_port}/v1", got
        httpd.shutdown()


SCENE = "**Detailed**: The camera passes 3 cups.\n**Concise**: It passes cups."


def test_captions_by_template_and_by_an_endpoint(built, monkeypatch, capfd):
    data = built / "DataDoP"
    [shot] = shots.list_shots(data, "train", "traj")
    assert run("caption", data) == 0
    assert shots.read_captions(shot.path("caption")) == {"Movement": "The camera moves right."}
    monkeypatch.setenv("OTHER_KEY", "secret")
    # A caption with digits is asked for again; so is an answer without its two lines.
    with server([(200, "It moves 3 metres."), (200, "It moves right."), (200, "nothing"), (200, SCENE)]) as (url, got):
        asked = ["--endpoint", url, "--model", "small", "--key-variable", "OTHER_KEY"]
        assert run("caption", data, *asked) == 0
        # All three captions are there now: nothing is asked.
        assert run("caption", data, *asked) == 0
    assert shots.read_captions(shot.path("caption")) == {
        "Movement": "It moves right.",
        "Detailed Interaction": "The camera passes 3 cups.",
        "Concise Interaction": "It passes cups.",
    }
    assert len(got) == 4 and {path for path, _, _ in got} == {"/v1/chat/completions"}
    assert {key for _, key, _ in got} == {"Bearer secret"}
    prompts = [body["messages"][0]["content"] for _, _, body in got]
    assert "Between frames 0 and 118: move right" in prompts[0][0]["text"] and len(prompts[0]) == 1
    assert prompts[3][0]["text"].endswith("Movement: It moves right.")
    assert prompts[3][1]["image_url"]["url"].startswith("data:image/png;base64,")
    with server([(200, "7")]) as (url, got):
        assert run("caption", data, "--endpoint", url, "--model", "small", "--overwrite") == 3
    assert "no caption of the motion in 3 tries: it has digits" in capfd.readouterr().err and len(got) == 3
    assert shots.read_captions(shot.path("caption"))["Movement"] == "It moves right."


def test_a_server_that_is_busy_refuses_or_is_not_there(built, capfd):
    waits = []
    with server([(503, ""), (429, ""), (200, "yes")]) as (url, got):
        assert endpoint(url, "m", wait=waits.append)("a?") == "yes"
    assert len(got) == 3 and waits == [1.0, 4.0] and got[0][1] is None
    with (
        server([(500, "")]) as (url, got),
        pytest.raises(NoAnswer, match="did not answer in 3 tries: status 500, busy"),
    ):
        endpoint(url, "m", wait=waits.append)("a?")
    assert len(got) == 3
    with server([(401, "")]) as (url, got):
        # One refusal ends the command: the next shot would be refused too.
        assert run("caption", built / "DataDoP", "--endpoint", url, "--model", "m", "--overwrite") == 2
    assert "refused: status 401" in capfd.readouterr().err and len(got) == 1
    with pytest.raises(NoAnswer, match="did not answer in 3 tries"):
        endpoint(url, "m", wait=waits.append)("a?")
    with pytest.raises(ValueError, match="an endpoint is an address"):
        endpoint("file:///etc/passwd", "m")


def test_sixteen_frames_in_four_rows(tmp_path):
    for t in range(35):
        Image.fromarray(np.full((20, 40, 3), t * 7, np.uint8)).save(tmp_path / f"frame_{t:04d}.png")
    grid = captions.frames_grid(sorted(tmp_path.glob("*.png")))
    assert grid.shape == (4 * 112, 900, 3)
    # Every second frame, as GenDoP takes them: 35 // 16.
    assert grid[56, 112, 0] == 0 and grid[56, 337, 0] == 14 and grid[3 * 112 + 56, 787, 0] == 30 * 7


def test_checking_and_the_list(built, capsys):
    data = built / "DataDoP"
    assert run("caption", data) == 0 and run("plot", data) == 0
    [shot] = shots.list_shots(data, "train", "traj")
    with Image.open(shot.path("plot")) as picture:
        assert picture.width > 1000
    full = {key: "words" for key in shots.CAPTIONS.values()}
    shots.write_shot(shot, captions=full)
    assert run("check", data, "--write") == 0
    assert (data / "train_valid.txt").read_text() == "1_0000/shot_0001\n"
    assert shots.problems(shot) == []
    shots.write_shot(shot, captions=full | {"Concise Interaction": ""}, depth_HW=np.ones((8, 15), np.float32))
    found = "; ".join(shots.problems(shot))
    assert "it has no caption Concise Interaction" in found and "its picture is (8, 16) and its depth (8, 15)" in found
    assert run("check", data) == 3
    assert "0 of 1 shots are good" in capsys.readouterr().out
    shots.write_shot(shot, captions=full, depth_HW=np.ones((8, 16), np.float32))
    path = read_trajectory(shot.path("transforms"))
    with pytest.raises(ValueError, match="DataDoP's shots have 120 poses, 1_0000/shot_0001 has 119"):
        shots.write_shot(shot, cleaned=path._sampled(np.arange(119.0), [119]))


def test_statistics_of_tokens_around_the_subject(tmp_path, capsys):
    """99 % of all values are within mean ± scale, and a far outlier moves neither much."""
    rng = np.random.default_rng(0)
    place_KT3 = rng.uniform(-1, 1, (500, 30, 3)) * [2, 1, 0] + rng.normal([3, 0, 5], 0.1, (500, 1, 3))
    place_KT3[0, :] += 1e4
    found = token_statistics(place_KT3)
    config = GenDoPTokenConfig("origin_global", "tokens", "centre", **found)
    np.testing.assert_allclose(config.anchor_mean, [3, 0, 5], atol=0.3)
    offset_N3 = (place_KT3 - place_KT3[:, :1]).reshape(-1, 3)
    within = np.abs(offset_N3 - config.translation_mean) <= config.translation_scale
    np.testing.assert_allclose(within[:, :2].mean(0), 0.99, atol=1e-3)
    assert config.translation_scale[2] == 1e-6 and max(config.anchor_scale) < 4
    with pytest.raises(ValueError, match="no shots"):
        token_statistics([])

    # Of the stage, and of the same shots as files in the world of their subject.
    assert run("statistics", "--stage", 4) == 0
    of_stage = json.loads(capsys.readouterr().out)
    for index in range(4):
        path = StageShots("train", (), alone=True)(index, 0).trajectory.retimed([(0, 120)], 30.0)
        opengl = se3.make(np.diag([1.0, -1.0, -1.0]), np.array([0.0, -config.origin_height, 0.0]))
        stem = tmp_path / "train" / "v" / f"s{index}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        shots.write_shot(
            shots.ShotFiles(f"v/s{index}", stem), cleaned=path.moved(se3.compose(opengl, se3.inverse(path.stage_34)))
        )
    assert run("statistics", tmp_path) == 2
    said = capsys.readouterr()
    assert "v/s0: it does not say where its subject is" in said.err and "--subject-at-origin" in said.err
    assert said.err.count("\n") == 1 and not said.out
    broken = tmp_path / "train" / "v" / "s9_transforms_cleaning.json"
    broken.write_text("{}")
    assert run("statistics", tmp_path, "--subject-at-origin", "--out", tmp_path / "found.json") == 3
    assert "left out v/s9: " in capsys.readouterr().err
    of_files = json.loads((tmp_path / "found.json").read_text())
    for name, values in of_stage.items():
        np.testing.assert_allclose(of_files[name], values, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("line", ["../../secret", "/etc/passwd", "a/../../b"])
def test_a_list_does_not_lead_out_of_the_data_set(tmp_path, line):
    (tmp_path / "test").mkdir()
    (tmp_path / "test_valid.txt").write_text(f"1_0000/shot_0001\n{line}\n")
    with pytest.raises(ValueError, match="is no <video>/<shot>"):
        shots.list_shots(tmp_path, "test")


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["clean", "nowhere"], "nowhere: no such file or folder"),
        (["build", "EMPTY", "--out", "x"], "holds no results of MonST3R"),
        (["build", "EMPTY"], "say with --out"),
        (["caption", "EMPTY"], "has no shots"),
        (["caption", "EMPTY", "--model", "m"], "--endpoint and --model go together"),
        (["check"], "give one data set"),
        (["check", "--stage", "5"], "--stage and --subject-at-origin are for statistics"),
        (["statistics"], "give one data set, or --stage N"),
        (["statistics", "EMPTY", "--stage", "5"], "give one data set, or --stage N"),
        (["statistics", "EMPTY", "--subject-at-origin"], "has no shots"),
        (["statistics", "--stage", "5", "--out", "EMPTY"], "is a folder"),
    ],
)
def test_mistakes(tmp_path, capsys, args, words):
    assert run(*[str(tmp_path) if arg == "EMPTY" else arg for arg in args]) == 2
    said = capsys.readouterr().err
    assert words in said and said.count("\n") == 1 and not list(tmp_path.iterdir())
