"""Damaged and random trajectory files: a reader returns a valid path or raises a ValueError that names the file."""

import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from shotverse_jax.camera import se3
from shotverse_jax.camera.formats import FORMATS, read_trajectory, write_trajectory
from shotverse_jax.camera.trajectory import Trajectory

READABLE = [name for name, form in FORMATS.items() if form.read]
JSON = [name for name in READABLE if FORMATS[name].extension == ".json"]
BINARY = ("gltf",)
QUICK = settings(max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])

JUNK = [
    b"nan",
    b"-inf",
    b"1e400",
    b"-1",
    b"0",
    b"1e308",
    b"1e-320",
    b"9" * 400,
    b"1_0",
    b"x",
    b'"',
    b"\xff",
    b"\0",
    b",",
]
JUNK += [b"", b" ", b"\n", b"#", b"\r\n", b"[", b"]", b"[" * 5000, b"{", b"}", b"null", b"true", "½٣".encode(), b"NaN"]
LEAVES = st.sampled_from([None, True, -1, 0, 2, 0.5, 1e308, float("nan"), 10**400, "", "1", [], {}, [1, 2], [[]]])


def sample() -> Trajectory:
    rng = np.random.default_rng(0)
    pose = se3.make(se3.so3_exp(rng.normal(size=(4, 3))), rng.normal(size=(4, 3)))
    return Trajectory(pose, [9, 9, 4, 3], 8, 6, [0, 0, 1, 1], captions=("a", "b"), stage_34=np.eye(3, 4))


def check(path, fmt=None):
    """Reads; anything but a Trajectory or a ValueError with the file's name is a failure."""
    try:
        with np.errstate(all="ignore"):
            trajectory = read_trajectory(path, fmt)
    except ValueError as error:
        assert str(error).startswith(str(path)), error
        return None
    rotation = trajectory.pose_T34[:, :, :3]
    np.testing.assert_allclose(
        rotation @ rotation.swapaxes(1, 2), np.eye(3) * np.ones((len(rotation), 1, 1)), atol=1e-9
    )
    return trajectory


def main_file(folder, fmt):
    """A small valid file of the format: (what to read, which file of it to damage)."""
    path = folder / ("model" if FORMATS[fmt].folder else "a" + FORMATS[fmt].extension)
    write_trajectory(sample(), path, fmt)
    return path, MAIN_FILES.get(fmt, lambda path: path)(path)


MAIN_FILES = {"colmap": lambda path: path / "images.txt", "multishotmaster": lambda path: path / "multishot.csv"}
OTHER_FILES = {"colmap": "cameras.txt", "multishotmaster": "captions_0.json"}


@pytest.mark.parametrize("fmt", READABLE)
def test_the_undamaged_file_is_read(tmp_path, fmt):
    """Without this, the other tests could pass on files that are refused for a reason of their own."""
    assert check(main_file(tmp_path, fmt)[0], fmt) is not None


@pytest.mark.parametrize("fmt", READABLE)
@QUICK
@given(data=st.binary(max_size=200))
def test_random_bytes(tmp_path, fmt, data):
    path, file = main_file(tmp_path, fmt)
    file.write_bytes(data)
    assert check(path, fmt) is None
    assert check(path) is None


@pytest.mark.parametrize("fmt", READABLE)
@QUICK
@given(st.data())
def test_mutated_files(tmp_path, fmt, data):
    path, file = main_file(tmp_path, fmt)
    if FORMATS[fmt].folder and data.draw(st.booleans()):
        file = path / OTHER_FILES[fmt]
    content = file.read_bytes()
    for _ in range(data.draw(st.integers(1, 3))):
        start = data.draw(st.integers(0, len(content)))
        end = start + data.draw(st.sampled_from([0, 0, 1, 3, 20, len(content)]))
        content = content[:start] + data.draw(st.sampled_from(JUNK)) + content[end:]
    file.write_bytes(content)
    check(path, fmt)
    check(path)


@pytest.mark.parametrize("fmt", [name for name in READABLE if name not in JSON and name not in BINARY])
@QUICK
@given(st.data())
def test_one_word_replaced(tmp_path, fmt, data):
    path, file = main_file(tmp_path, fmt)
    separator = "," if fmt in ("csv", "euroc", "multishotmaster") else " "
    lines = file.read_text().split("\n")
    line = data.draw(st.integers(0, len(lines) - 1))
    words = lines[line].split(separator)
    words[data.draw(st.integers(0, len(words) - 1))] = data.draw(st.sampled_from(JUNK)).decode(errors="replace")
    lines[line] = separator.join(words)
    file.write_text("\n".join(lines))
    check(path, fmt)


def places(value, where=()):
    """Paths of all values inside a JSON document."""
    yield where
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in inside:
        yield from places(child, (*where, key))


def replaced(value, where, new):
    if not where:
        return new
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[where[0]] = replaced(copy[where[0]], where[1:], new)
    return copy


@pytest.mark.parametrize("fmt", JSON)
@QUICK
@given(st.data())
def test_one_json_value_replaced(tmp_path, fmt, data):
    path, _ = main_file(tmp_path, fmt)
    doc = json.loads(path.read_text())
    where = data.draw(st.sampled_from(list(places(doc))))
    path.write_text(json.dumps(replaced(doc, where, data.draw(LEAVES))))
    check(path, fmt)
    check(path)


@QUICK
@given(st.data())
def test_one_value_of_a_gltf_replaced(tmp_path, data):
    path, _ = main_file(tmp_path, "gltf")
    content = path.read_bytes()
    size = int.from_bytes(content[12:16], "little")
    doc = json.loads(content[20 : 20 + size])
    where = data.draw(st.sampled_from(list(places(doc))))
    text = json.dumps(replaced(doc, where, data.draw(LEAVES))).encode()
    text += b" " * (-len(text) % 4)
    rest = content[20 + size :]
    head = b"glTF" + b"".join(n.to_bytes(4, "little") for n in (2, 20 + len(text) + len(rest), len(text))) + b"JSON"
    path.write_bytes(head + text + rest)
    check(path)


@pytest.mark.parametrize("fmt", READABLE)
def test_every_truncation(tmp_path, fmt):
    path, file = main_file(tmp_path, fmt)
    content = file.read_bytes()
    for size in range(0, len(content), 7):
        file.write_bytes(content[:size])
        check(path, fmt)
        check(path)
