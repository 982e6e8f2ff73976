"""The built wheel, installed alone into an empty environment outside the checkout: what it lacks shows nowhere else."""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest

from shotverse_jax.weights import load

ROOT = Path(__file__).parents[1]
LEFT_OUT = shutil.ignore_patterns(".*", "build", "dist", "venv", "out", "runs", "tests", "*.egg-info", "__pycache__")
PLAY = "A man in a grey coat waits beside a red sedan.\n\n[2s] Wide shot. The camera pushes in.\n"

pytestmark = [pytest.mark.slow, pytest.mark.shipped]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> Path:
    """Built from a copy of the sources, as setuptools would put files of an older build in the checkout into it."""
    folder = tmp_path_factory.mktemp("wheel")
    shutil.copytree(ROOT, folder / "sources", ignore=LEFT_OUT)
    pip(folder, "wheel", "--no-deps", "--no-build-isolation", "--wheel-dir", str(folder), str(folder / "sources"))
    [path] = folder.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def run(wheel, tmp_path_factory):
    """run(program, *arguments, **variables) in the new environment and outside the checkout; → what it printed.

    The environment sees the packages that the project needs through a .pth file. Nothing that the .pth files of those
    packages do happens there, so the checkout that is installed beside them for tests cannot be found.
    """
    folder = tmp_path_factory.mktemp("elsewhere")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(folder / "venv")], check=True)
    python = folder / "venv" / "bin" / "python"
    pip(folder, "--python", str(python), "install", "--no-deps", "--no-index", str(wheel))
    [packages] = (folder / "venv" / "lib").glob("python*/site-packages")
    others = [entry for entry in sys.path if entry.endswith(("site-packages", "dist-packages"))]
    (packages / "dependencies.pth").write_text("\n".join(others) + "\n")
    surroundings = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    surroundings["XDG_CACHE_HOME"] = str(Path(tempfile.gettempdir()) / "shotverse_jax_tests")

    def run(program, *arguments, **variables):
        command, told = [str(python.with_name(program)), *arguments], surroundings | variables
        done = subprocess.run(command, cwd=folder, env=told, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    (folder / "play.txt").write_text(PLAY)
    run.folder, run.packages = folder, packages
    return run


def pip(folder, *arguments):
    command = [sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_wheel_holds_every_file_that_is_no_test(wheel):
    """All that git keeps below the import root and the folders that install there."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git here to list the files of the checkout")
    rooms = ("shotverse_jax", "conversion", "configs", "launch")
    kept = subprocess.run(["git", "ls-files", *rooms], cwd=ROOT, capture_output=True, text=True, check=True)
    files = [
        name for name in kept.stdout.splitlines() if not name.startswith(("launch/gke", "launch/slurm", "launch/tpu"))
    ]
    expected = {name if name.startswith("shotverse_jax/") else f"shotverse_jax/{name}" for name in files}
    with zipfile.ZipFile(wheel) as archive:
        assert expected <= set(archive.namelist())


def test_it_is_the_wheel_that_runs(run):
    program = "import shotverse_jax, shotverse_jax.conversion, shotverse_jax.launch as last\n"
    program += "print(shotverse_jax.__file__, shotverse_jax.conversion.__file__, last.__file__, sep='\\n')\n"
    places = run("python", "-c", program).splitlines()
    assert len(places) == 3 and all(Path(place).is_relative_to(run.packages) for place in places), places


def test_the_default_preview_is_a_screenplay(run):
    program = "from importlib.resources import files\nfrom shotverse_jax.screenplay import read_screenplay\n"
    program += "print(len(read_screenplay(files('shotverse_jax.screenplay') / 'last_train.yaml').shots))\n"
    assert int(run("python", "-c", program)) == 4


def test_plan(run):
    run("shotverse", "plan", "play.txt", "--out", "plan", "--no-preview")
    assert (run.folder / "plan" / "trajectory.json").stat().st_size > 1000


def test_film(run):
    run("shotverse", "film", "play.txt", "--out", "film", "--steps", "1", "--size", "32x48", "--frames", "17")
    assert (run.folder / "film" / "film.mp4").stat().st_size > 1000


def test_eval_planner(run):
    """With the prompts that ship."""
    printed = run("shotverse", "eval", "planner", "--scenes", "1", "--sampling", "greedy")
    scores = dict(line.rsplit(maxsplit=1) for line in printed.splitlines())
    assert int(scores["prompts"]) >= 120 and float(scores["prompt_accuracy"]) > 0.7


def test_convert(run):
    assert "usage: shotverse convert" in run("shotverse", "convert", "--help")
    model = run.packages / "shotverse_jax" / "pretrained" / "text_small"
    run("shotverse", "convert", str(model), "--as", "umt5", "--to", "transformers", "--out", "text.safetensors")
    assert (run.folder / "text.safetensors").stat().st_size > 1e6


def test_train(run, quick_environment):
    config = run.packages / "shotverse_jax" / "configs" / "planner" / "nano.py"
    values = {
        "steps": 1,
        "warmup": 0,
        "bpe_examples": 20,
        "shot_weights": "(1.0,)",
        "text_lengths": "(112,)",
        "eval_batches": 1,
    }
    changes = [f"--config.{name}={value}" for name, value in values.items()]
    said = run(
        "python",
        "-m",
        "shotverse_jax.launch.train",
        f"--config={config}",
        "--workdir=run",
        *changes,
        **quick_environment,
    )
    assert "exported step 1" in said
    load("planner", run.folder / "run" / "export")
