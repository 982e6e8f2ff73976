"""Sizes and counts that a file claims are checked before anything of that size is made; nothing asks the network."""

import contextlib
import http.server
import json
import os
import socket
import struct
import threading
import zipfile

import numpy as np
import pytest

from shotverse_jax import limits
from shotverse_jax.camera.formats import read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory
from shotverse_jax.conversion.verify import verify_record
from shotverse_jax.data.stage_films import StageFilms
from shotverse_jax.files import read_json
from shotverse_jax.inputs.items import read_items
from shotverse_jax.views.video import probe_video, read_video, write_video

FRAMES = [np.full((16, 16, 3), 80 * k, np.uint8) for k in range(3)]


def transforms(folder, image=None, **head):
    frame = {"transform_matrix": np.eye(4).tolist()} | ({"file_path": str(image)} if image else {})
    path = folder / "transforms.json"
    path.write_text(json.dumps({"fl_x": 500, **head, "frames": [frame]}))
    return path


def picture(width, height):
    """The beginning of a picture (PPM), which claims a size."""
    return b"P6 %d %d 255\n" % (width, height)


@pytest.mark.filterwarnings("error")
def test_pictures_that_claim_any_size(tmp_path):
    (tmp_path / "a.png").write_bytes(picture(2_000_000, 1))
    with pytest.raises(ValueError, match="the size of the image a.png should be a whole number of pixels up to"):
        read_trajectory(transforms(tmp_path, "a.png"))
    (tmp_path / "a.png").write_bytes(picture(30_000, 30_000))  # PIL takes this for a bomb and warns of less
    assert read_trajectory(transforms(tmp_path, "a.png", cx=400, cy=300)).width == 800
    (tmp_path / "a.png").write_bytes(picture(12_000, 12_000))
    assert read_trajectory(transforms(tmp_path, "a.png")).width == 12_000


def test_a_pipe_in_the_place_of_a_picture_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "a.png")
    assert read_trajectory(transforms(tmp_path, "a.png", cx=400, cy=300)).width == 800
    with pytest.raises(ValueError, match="is no file"):
        read_json(tmp_path / "a.png")


def test_files_that_are_too_long_are_not_read(tmp_path):
    for name, most in (("a.json", limits.FILE), ("a.tum", limits.CAMERA_FILE), ("a.csv", limits.FILE)):
        with (tmp_path / name).open("wb") as file:
            file.truncate(most + 1)  # no byte of it is on the disk
    for read, name in ((read_json, "a.json"), (read_trajectory, "a.tum"), (read_items, "a.csv")):
        with pytest.raises(ValueError, match="bytes; at most"):
            read(tmp_path / name)


@pytest.mark.parametrize("shape", ["(1000000000000,)", "(1000000, 1000000)", "(65, 1)"])
def test_records_that_claim_more_than_they_hold(tmp_path, shape):
    head = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    with zipfile.ZipFile(tmp_path / "r.npz", "w") as archive:
        archive.writestr("meta.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(head)) + head.encode() + bytes(128))
    with pytest.raises(ValueError, match=r"meta.npy claims [\d,]+ bytes, and has \d+"):
        verify_record(tmp_path / "r.npz")


@pytest.mark.parametrize("count", [2**63, 2**40, 3])
def test_colmap_counts_are_those_of_the_file(tmp_path, count):
    camera = struct.pack("<IiQQ3d", 1, 0, 832, 480, 700.0, 416.0, 240.0)
    image = struct.pack("<I7dI", 1, 1, 0, 0, 0, 0, 0, 0, 1) + b"a.png\0"
    (tmp_path / "cameras.bin").write_bytes(struct.pack("<Q", 1) + camera)
    (tmp_path / "images.bin").write_bytes(struct.pack("<Q", 1) + image + struct.pack("<Q", count))
    with pytest.raises(ValueError, match="the file ends after"):
        read_trajectory(tmp_path)
    (tmp_path / "images.bin").write_bytes(struct.pack("<Q", count) + image + struct.pack("<Q", 0))
    with pytest.raises(ValueError, match="the file ends after|holds"):
        read_trajectory(tmp_path)
    (tmp_path / "images.bin").write_bytes(struct.pack("<Q", 1) + image + struct.pack("<Q", 0))
    assert len(read_trajectory(tmp_path)) == 1


def test_a_scene_of_many_cameras_is_read_at_their_samples(tmp_path):
    """A small file may name a hundred thousand frames for each of its cameras."""
    pytest.importorskip("pxr", reason="usd-core is not installed: it reads USD")
    cameras = [
        f'def Camera "c{k}"\n{{\ndouble3 xformOp:translate.timeSamples = {{ {k}: (0, 0, 1), {9**5 + k}: (0, 0, 2) }}\n'
        'uniform token[] xformOpOrder = ["xformOp:translate"]\n}'
        for k in range(40)
    ]
    (tmp_path / "a.usda").write_text('#usda 1.0\n(upAxis = "Y")\n' + "\n".join(cameras))
    path = read_trajectory(tmp_path / "a.usda", camera="all")
    assert len(path) == 80


def test_films_that_no_machine_holds_are_refused_with_the_estimate(tmp_path, monkeypatch):
    monkeypatch.setattr(limits, "host_memory", lambda: 8 << 30)
    with pytest.raises(ValueError, match=r"a film of 33 frames of 16384x16384 needs 24.8 GiB of memory, .* has 8.0"):
        StageFilms(10, height=16384, width=16384)
    write_video(tmp_path / "a.mp4", FRAMES, 8)
    with pytest.raises(ValueError, match=r"a.mp4: a film of 33 frames of 16384x16384 needs 24.8 GiB"):
        read_video(tmp_path / "a.mp4", np.zeros(33, int), 16384, 16384)


@pytest.fixture
def server():
    """(port, addresses that were asked for) of a program on this machine that answers every request."""
    asked = []

    class Answer(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            self.send_response(404)
            self.end_headers()

        do_PUT = do_POST = do_HEAD = do_GET

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, asked
        server.shutdown()


NAMES = ["http://127.0.0.1:{}/x.mp4", "concat:a|b.mp4", "data:x.mp4", "-x.mp4", "pipe:1.mp4", "file:x.mp4", "-i.mp4"]


@pytest.mark.parametrize("name", NAMES)
def test_names_of_films_are_paths(tmp_path, monkeypatch, server, name):
    port, asked = server
    monkeypatch.chdir(tmp_path)
    name = name.format(port)
    with pytest.raises(ValueError, match="no such file"):
        probe_video(name)
    write_video(name, FRAMES, 8)
    assert probe_video(name).frames == 3
    np.testing.assert_allclose(read_video(name, np.arange(3), 16, 16), np.stack(FRAMES), atol=4)
    assert asked == [] and [p for p in tmp_path.rglob("*") if p.is_file()]


LISTS = ["#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{}\n#EXT-X-ENDLIST\n", "ffconcat version 1.0\nfile '{}'\n"]


@pytest.mark.parametrize("list_of", LISTS)
def test_a_film_that_is_a_list_of_addresses_is_not_followed(tmp_path, server, list_of):
    port, asked = server
    (tmp_path / "a.mp4").write_text(list_of.format(f"http://127.0.0.1:{port}/x.ts"))
    with pytest.raises(ValueError, match="no video that can be read"):
        probe_video(tmp_path / "a.mp4")
    assert asked == []


@contextlib.contextmanager
def no_network(monkeypatch):
    def refuse(*_, **__):
        raise AssertionError("the network was asked for")

    with monkeypatch.context() as blocked:
        for name in ("connect", "connect_ex"):
            blocked.setattr(socket.socket, name, refuse)
        blocked.setattr(socket, "getaddrinfo", refuse)
        blocked.setattr(socket, "create_connection", refuse)
        yield


def test_camera_files_whose_names_are_addresses_are_local(tmp_path, monkeypatch):
    path = Trajectory(np.eye(3, 4)[None], [700, 700, 416, 240], 832, 480, [0])
    monkeypatch.chdir(tmp_path)
    with no_network(monkeypatch):
        for end in ("json", "csv", "tum", "usda", "glb", "edl", "otio", "py", "chan", "kitti"):
            for name in (f"http://example.com/a.{end}", f"-a.{end}", f"s3:a.{end}"):
                with contextlib.suppress(ValueError):  # a package that is not installed
                    write_trajectory(path, name)
                    if end not in ("edl", "otio"):
                        read_trajectory(name)
    assert (tmp_path / "http:/example.com/a.json").is_file() and (tmp_path / "-a.tum").is_file()


def test_local_models_do_not_ask_the_network(tmp_path, monkeypatch):
    from shotverse_jax import weights

    with no_network(monkeypatch):
        config, _, tokenizer = weights.load("planner", "planner_small")
        weights.load("text_encoder", "text_small")
        (tmp_path / "config.json").write_text(json.dumps({"model_type": "umt5", "_name_or_path": "google/umt5-xxl"}))
        with pytest.raises(ValueError, match="no tokenizer|tokenizer"):
            weights.find_tokenizer(tmp_path)
        with pytest.raises(ValueError, match="called google/umt5-xxl|no .* called"):
            weights.load("text_encoder", "google/umt5-xxl")
    assert tokenizer.get_vocab_size() <= config.text.vocab_size
