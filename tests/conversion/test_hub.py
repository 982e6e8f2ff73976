"""`shotverse get`: from a stand-in hub to models that are found by name; stopped, cheated, refused and out of space."""

import contextlib
import dataclasses
import errno
import io
import json
import os
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import threading

import jax
import numpy as np
import pytest
from safetensors.numpy import save
from stand_in_hub import COMMIT, DIT, HOLOCINE, PARTS, VAE, VAE_VALUES, repositories, tensors

import shotverse_jax
from shotverse_jax import cli, weights
from shotverse_jax.config import (
    CLaTrConfig,
    CLIPTextConfig,
    GenDoPConfig,
    OPTConfig,
)
from shotverse_jax.conversion import core
from shotverse_jax.conversion import hub as getting
from shotverse_jax.conversion.networks import NETWORKS
from shotverse_jax.conversion.published import PUBLISHED, Published

GENDOP = GenDoPConfig(CLIPTextConfig(20, 16, 2, 16, 12, 5), None, OPTConfig(20, 8, 2, 8))
HIGH, LOW = (f"HoloCine_dit/full/full_{side}_noise.safetensors" for side in ("high", "low"))


@pytest.fixture(scope="module", name="repositories")
def repositories_fixture():
    return repositories()


@pytest.fixture
def stocked(hub, repositories):
    hub.repositories = repositories
    return hub


def get(*args):
    return cli.main(["get", *map(str, args), "--yes", "--quiet"])


def models(tmp_path):
    return tmp_path / "cache" / "models"


def sentence(capsys) -> str:
    """What was said on stderr: one line, and no traceback."""
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and said.startswith("shotverse get: ") and "Traceback" not in said
    return said


def nothing_left(tmp_path) -> bool:
    """No model, and nothing that could be taken for one."""
    return not [path for path in models(tmp_path).glob("*") if not path.name.startswith(".")]


# ---------------------------------------------------------------------------------------------------- it is there


def test_a_controller_comes_with_its_parts_and_is_found_by_name(tmp_path, stocked, capsys):
    assert get("holocine-full") == 0
    said = capsys.readouterr()
    assert [line.split("/")[-1] for line in said.out.splitlines()] == ["umt5-xxl", "wan-vae", "holocine-full"]
    assert sorted(path.name for path in models(tmp_path).glob("[!.]*")) == ["holocine-full", "umt5-xxl", "wan-vae"]
    assert not [path for path in models(tmp_path).glob(".*") if path.is_dir()]
    record = json.loads((models(tmp_path) / "holocine-full" / "hub.json").read_text())
    assert (record["repository"], record["commit"]) == (HOLOCINE, COMMIT)
    assert [file["name"] for file in record["files"]] == [HIGH, LOW]
    assert record["licence"] == {"hub": "test-1.0", "project": "CC BY-NC-SA 4.0"}

    cinematographer = shotverse_jax.load("holocine-full")
    config = cinematographer.config
    assert (config.text, config.vae, config.windows, config.camera) == ("umt5-xxl", "wan-vae", "holocine", "none")
    assert (config.frames, config.fps, config.dit.self_attention) == (241, 15.0, "full")
    for params, seed in ((cinematographer.high, 0), (cinematographer.low, 1)):
        stored = tensors("holocine", DIT, seed=seed)
        for name, tensor in core.to_torch(NETWORKS["holocine"].table(DIT), params).items():
            np.testing.assert_array_equal(tensor, stored[name])

    stocked.asked.clear()
    assert get("holocine-full") == 0
    assert "holocine-full is there" in capsys.readouterr().out and not stocked.asked
    assert cli.main(["get", "--list"]) == 0
    table = capsys.readouterr().out.splitlines()
    assert len(table) == len(PUBLISHED)
    state = {line.split()[0]: line.split()[1:3] for line in table}
    assert state["holocine-full"] == ["there", "(c0ffee000000)"] and state["holocine-sparse"] == ["not", "there"]
    with pytest.raises(ValueError, match=r"that `shotverse get` fetched \(holocine-full\)"):
        shotverse_jax.load("holocine-half")


def test_parts_that_are_there_are_not_fetched_again(tmp_path, stocked):
    assert get("wan-vae") == get("umt5-xxl") == 0
    stocked.asked.clear()
    assert get("holocine-sparse") == get("wan2.2-t2v-a14b") == 0
    assert not [line for line in stocked.asked if PARTS in line]
    sparse, wan = (
        weights.load("controller", name, expert="high").config for name in ("holocine-sparse", "wan2.2-t2v-a14b")
    )
    assert sparse.dit == dataclasses.replace(DIT, self_attention="sparse")
    assert (wan.dit, wan.windows, wan.shift, wan.text) == (DIT, "none", 12.0, "umt5-xxl")


def test_a_folder_of_ones_own(tmp_path, stocked):
    assert get("holocine-full", "--out", tmp_path / "own", "--target-dtype", "bfloat16") == 0
    assert not models(tmp_path).exists()
    config = weights.load("controller", tmp_path / "own" / "holocine-full", expert="low").config
    assert (config.text, config.vae) == (str(tmp_path / "own" / "umt5-xxl"), str(tmp_path / "own" / "wan-vae"))
    arrays = weights.folder.open_weights(tmp_path / "own" / "umt5-xxl" / "model.safetensors")
    assert {str(array.dtype) for array in arrays.values()} == {"bfloat16"}
    assert shotverse_jax.load(tmp_path / "own" / "holocine-full").config == config


def test_gendop_is_published_without_its_tokenizer(tmp_path, hub, capsys):
    hub.repositories["Dubhe-zmc/GenDoP"] = {
        "checkpoints/text_motion.safetensors": save(tensors("gendop-text-motion", GENDOP))
    }
    assert get("gendop-text-motion", "--tokenizer", weights.find_tokenizer("planner_small")) == 2
    assert "is not CLIP's tokenizer" in sentence(capsys) and nothing_left(tmp_path)
    assert get("gendop-text-motion") == 2
    assert "without its tokenizer: give --tokenizer FILE, CLIP's" in sentence(capsys) and nothing_left(tmp_path)
    assert get("gendop-text-motion", "--tokenizer", "none") == 0
    assert "put one into its folder" in capsys.readouterr().out
    # A planner is looked for among both sorts of planners by its name too.
    with pytest.raises(ValueError, match="gendop-text-motion is not a GenDoP: it has no tokenizer.json"):
        shotverse_jax.plan("examples/red_coat.txt", "gendop-text-motion")


def test_a_pickle_needs_torch(tmp_path, hub, capsys, monkeypatch):
    torch = pytest.importorskip("torch")
    config = CLaTrConfig(8, 2, 4, 12, text_size=10)
    held = {name: torch.from_numpy(tensor.copy()) for name, tensor in tensors("clatr", config).items()}
    torch.save({"state_dict": held}, file := io.BytesIO())
    hub.repositories["Dubhe-zmc/GenDoP"] = {"CLaTr_checkpoints/epoch99_motion.ckpt": file.getvalue()}
    with monkeypatch.context() as without:
        without.setattr(getting.importlib.util, "find_spec", lambda _: None)
        assert get("clatr-motion") == 2
    assert "install torch to read it" in sentence(capsys)
    assert not [line for line in hub.asked if "/resolve/" in line]
    assert get("clatr-motion") == 0
    assert weights.load("clatr", "clatr-motion").config == config


def test_the_table_is_whole():
    for name, row in PUBLISHED.items():
        assert isinstance(row, Published) and row.source.startswith("https://github.com/") and row.licence
        assert all(part in PUBLISHED for part in row.needs.values()), name
        if row.network is None:
            continue
        assert row.network.is_expert == (set(row.needs) == {"text", "vae"} and len(row.weights) == 2)
        assert (row.network.read_tokenizer is None or "gendop" in name) == (row.weights[0].tokenizer is None)


def test_what_runs_in_pytorch_is_kept_as_it_is(tmp_path, hub, capsys):
    files = {"config.json": b"{}", "tokenizer.json": b"[]", "model.safetensors": save({"a": np.zeros(3)})}
    hub.repositories["IDEA-Research/grounding-dino-tiny"] = files | {"other.bin": b"not wanted"}
    assert get("grounding-dino", "--target-dtype", "bfloat16") == 2 and "is kept as it is" in sentence(capsys)
    assert get("grounding-dino") == 0
    folder = models(tmp_path) / "grounding-dino"
    assert {path.name: path.read_bytes() for path in folder.iterdir() if path.name != "hub.json"} == files
    assert get("grounding-dino") == 0 and "is there" in capsys.readouterr().out


# ---------------------------------------------------------------------------------------------------- the question


class Answer(io.StringIO):
    def isatty(self):
        return True


def test_it_asks(tmp_path, stocked, capsys, monkeypatch):
    assert cli.main(["get", "wan-vae"]) == 2
    assert "give --yes to accept the licences" in capsys.readouterr().err.splitlines()[-1]
    monkeypatch.setattr(sys, "stdin", Answer("\n"))
    assert cli.main(["get", "wan-vae", "--quiet"]) == 1  # what it is about is said all the same
    said = capsys.readouterr().err
    assert f"from {PARTS}, main (c0ffee000000); see https://github.com/Wan-Video/Wan2.2" in said
    assert "licence: test-1.0 on the hub; the project states Apache-2.0" in said
    size = len(stocked.repositories[PARTS]["vae/diffusion_pytorch_model.safetensors"])
    assert f"vae/diffusion_pytorch_model.safetensors  {size / 1000:.3g} kB" in said
    assert nothing_left(tmp_path) and not [line for line in stocked.asked if "/resolve/" in line]
    monkeypatch.setattr(sys, "stdin", Answer("y\n"))
    assert cli.main(["get", "wan-vae", "--quiet"]) == 0
    assert (models(tmp_path) / "wan-vae" / "hub.json").exists()


def test_ctrl_c_is_no_traceback(tmp_path, stocked, capsys, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(getting, "hf_hub_download", interrupted)
    assert cli.main(["get", "wan-vae", "--yes"]) == 130
    assert capsys.readouterr().err.endswith("stopped; the same command goes on\n") and nothing_left(tmp_path)


# ---------------------------------------------------------------------------------------------------- stopped


@pytest.fixture
def expected(hub, repositories, tree, tmp_path, monkeypatch):
    """The folder of wan2.2-t2v-a14b after a run that nothing stopped. The caches have only its parts again, by name."""
    hub.repositories = repositories
    for part in ("umt5-xxl", "wan-vae"):
        (models(tmp_path) / part).mkdir(parents=True)
        (models(tmp_path) / part / "hub.json").write_text('{"commit": ""}')
    assert get("wan2.2-t2v-a14b") == 0
    files = tree(models(tmp_path) / "wan2.2-t2v-a14b")
    shutil.rmtree(tmp_path / "hub")
    shutil.rmtree(models(tmp_path) / "wan2.2-t2v-a14b")
    hub.asked.clear()
    return files


def test_a_connection_that_breaks_at_random(tmp_path, expected, hub, tree, capsys):
    draw = random.Random(0)
    for _ in range(2):
        hub.cut = [draw.randrange(3000) for _ in range(6)]
        code = get("wan2.2-t2v-a14b")  # within a run, it goes on where it was cut
        assert code == 0 and tree(models(tmp_path) / "wan2.2-t2v-a14b") == expected
        shutil.rmtree(tmp_path / "hub")
        shutil.rmtree(models(tmp_path) / "wan2.2-t2v-a14b")
    assert [line for line in hub.asked if "bytes=" in line]

    codes = []
    for count in draw.sample(range(2, 9), 3):  # the hub goes away for good after so many requests
        hub.down, hub.stop_after = False, len(hub.asked) + count
        codes.append(get("wan2.2-t2v-a14b"))
        if codes[-1] == 2:
            assert "no connection to http://127.0.0.1" in sentence(capsys)
            assert "wan2.2-t2v-a14b" not in os.listdir(models(tmp_path))
    assert codes.count(2) >= 2
    hub.down, hub.stop_after = False, None
    assert get("wan2.2-t2v-a14b") == 0 and tree(models(tmp_path) / "wan2.2-t2v-a14b") == expected


class Killed(BaseException):
    """Stops a run like a kill: nothing in the program handles it."""


PROGRAM = """
import os, signal, sys
from shotverse_jax import cli
from shotverse_jax.conversion import stream
finish, count = stream.Journal.finish, int(sys.argv[1])
def killed(*args):
    global count
    finish(*args)
    count -= 1
    if count == 0:
        os.kill(os.getpid(), signal.SIGKILL)
stream.Journal.finish = killed
sys.exit(cli.main(["get", "wan2.2-t2v-a14b", "--yes", "--quiet"]))
"""


def test_sigkill_during_the_download_and_during_the_conversion(tmp_path, expected, hub, tree):
    started, go_on = threading.Event(), threading.Event()
    big = "low_noise_model/diffusion_pytorch_model-00001-of-00002.safetensors"

    def wait(sent):
        if sent > 3000:
            started.set()
            go_on.wait(30)

    hub.at[big] = wait
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    arguments = [sys.executable, "-c", PROGRAM]
    # The first expert is converted, and a piece of the second one's file is there.
    process = subprocess.Popen([*arguments, "1000"], env=environment, stderr=subprocess.PIPE)
    assert started.wait(60), process.communicate(timeout=1)
    process.send_signal(signal.SIGKILL)
    process.wait()
    go_on.set()
    hub.at.clear()
    assert "wan2.2-t2v-a14b" not in os.listdir(models(tmp_path))
    # The second run goes on with the second expert, and dies after its fifth array.
    hub.asked.clear()
    ran = subprocess.run([*arguments, "5"], env=environment, capture_output=True, text=True)
    assert ran.returncode == -signal.SIGKILL, ran.stderr
    assert not [line for line in hub.asked if line.startswith("GET") and "high_noise" in line]
    assert "wan2.2-t2v-a14b" not in os.listdir(models(tmp_path))
    hub.asked.clear()
    assert get("wan2.2-t2v-a14b") == 0
    assert tree(models(tmp_path) / "wan2.2-t2v-a14b") == expected
    assert not [line for line in hub.asked if "/resolve/" in line]


def test_what_was_begun_otherwise_is_not_continued(tmp_path, stocked, monkeypatch):
    with monkeypatch.context() as patch, contextlib.suppress(Killed):
        patch.setattr(getting, "_set_values", lambda *_: (_ for _ in ()).throw(Killed))
        get("wan-vae", "--target-dtype", "bfloat16")
    assert (models(tmp_path) / ".wan-vae.getting").exists()
    assert get("wan-vae") == 0  # as stored, which is float32
    _, params, _ = weights.load("vae", "wan-vae")
    expected = NETWORKS["wan-vae"].from_torch(tensors("wan-vae", VAE, "diffusers"), VAE)
    jax.tree.map(np.testing.assert_array_equal, params, expected)


def test_two_at_once(tmp_path, stocked, monkeypatch):
    offer, download, refused = getting.look("wan-vae"), getting._download, []

    def meanwhile(*args):
        with pytest.raises(ValueError, match=r"another process is writing to .*\.wan-vae\.getting"):
            getting.fetch(offer)
        refused.append(args)
        return download(*args)

    monkeypatch.setattr(getting, "_download", meanwhile)
    assert getting.fetch(offer) == [f"wrote {models(tmp_path) / 'wan-vae'}"] and refused
    assert getting.fetch(offer) == [f"{models(tmp_path) / 'wan-vae'} is there"]
    assert weights.load("vae", "wan-vae").config == VAE
    assert [path.name for path in models(tmp_path).iterdir()] == ["wan-vae"]


# ---------------------------------------------------------------------------------------------------- one sentence


@pytest.mark.parametrize("name", ["vae/diffusion_pytorch_model.safetensors", "vae/config.json"])
def test_a_wrong_hash(tmp_path, stocked, capsys, name):
    right = stocked.repositories[PARTS][name]
    stocked.lies[name] = right[:-9] + bytes(byte ^ 1 for byte in right[-9:])
    assert get("wan-vae") == 2
    assert f"{name} of {PARTS} is not what the hub says" in sentence(capsys) and nothing_left(tmp_path)
    stocked.lies.clear()
    assert get("wan-vae") == 0
    assert weights.load("vae", "wan-vae").config == VAE


@contextlib.contextmanager
def at_most(size):
    """No file grows larger: writing fails as on a full disk, with EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_disk_that_is_full(tmp_path, stocked, capsys, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setattr(getting.shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**9, 10**9, 100))
        assert get("wan-vae") == 2
    assert "no space: " in sentence(capsys) and not [line for line in stocked.asked if "/resolve/" in line]
    with at_most(5000):
        assert get("wan-vae") == 2  # during the download
    assert "the disk is full" in sentence(capsys) and nothing_left(tmp_path)
    assert not list((tmp_path / "hub").rglob("*.incomplete"))
    real = getting._download
    with monkeypatch.context() as patch, contextlib.ExitStack() as limit:

        def download(*args):
            paths = real(*args)
            limit.enter_context(at_most(300))
            return paths

        patch.setattr(getting, "_download", download)
        assert get("wan-vae") == 2  # during the conversion
    assert re.search("the disk is full|cannot be written", sentence(capsys)) and nothing_left(tmp_path)
    assert get("wan-vae") == 0


def test_a_full_disk_is_said_by_its_error():
    for number in (errno.ENOSPC, errno.EDQUOT):
        with pytest.raises(ValueError, match="^the disk is full"), getting._explained("a/b", "main"):
            raise OSError(number, os.strerror(number))


def test_no_network(tmp_path, stocked, capsys, monkeypatch):
    from huggingface_hub import constants

    stocked.close()
    assert get("wan-vae") == 2
    assert f"no connection to {stocked.url} for {PARTS}" in sentence(capsys) and nothing_left(tmp_path)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    assert get("wan-vae") == 2
    assert "HF_HUB_OFFLINE" in sentence(capsys)


@pytest.mark.parametrize(
    ("refuse", "words"),
    [
        ((401, "GatedRepo"), f"{PARTS} is given to those who accept its terms: accept them on"),
        ((403, "GatedRepo"), "log in with `hf auth login` or set HF_TOKEN"),
        ((403, ""), f"answers 403 for {PARTS}; log in"),
        ((404, "EntryNotFound"), f"answers 404 for {PARTS}, start again later"),
    ],
)
def test_files_that_are_refused(tmp_path, stocked, capsys, refuse, words):
    stocked.refuse = refuse
    assert get("wan-vae") == 2
    assert words in sentence(capsys) and nothing_left(tmp_path)
    stocked.refuse = None
    assert get("wan-vae") == 0


def test_what_is_not_there(tmp_path, stocked, capsys):
    assert get("holocine-huge") == 2
    assert "there is no published model 'holocine-huge'; known: holocine-full" in sentence(capsys)
    assert get() == 2
    assert "say which model: holocine-full" in sentence(capsys)
    assert get("wan-vae", "--revision", "v9") == 2
    assert f"{PARTS} has no revision 'v9'" in sentence(capsys)
    assert get("qwen3-vl-2b") == 2
    assert "there is no Qwen/Qwen3-VL-2B-Instruct on http://127.0.0.1" in sentence(capsys)
    assert get("wan-vae", "--tokenizer", "x.json") == 2
    assert "reads no text" in sentence(capsys)
    stocked.repositories = stocked.repositories | {PARTS: {"vae/config.json": VAE_VALUES}}
    assert get("wan-vae") == 2
    assert f"{PARTS} has no file vae/diffusion_pytorch_model*.safetensors*" in sentence(capsys)
    assert nothing_left(tmp_path)


def test_what_has_its_place_is_kept(tmp_path, stocked, capsys):
    assert get("wan-vae") == 0
    capsys.readouterr()
    assert get("wan-vae", "--revision", COMMIT) == 0
    assert get("wan-vae", "--revision", "v2") == 2
    assert f"is revision main ({COMMIT}); remove it to get v2" in sentence(capsys)
    (models(tmp_path) / "umt5-xxl").mkdir()
    assert get("umt5-xxl") == 2
    assert "umt5-xxl exists and is not what get wrote" in sentence(capsys)
