"""Shared fixtures."""

import os
import tempfile
from pathlib import Path

# Programs that several tests compile are compiled once, also across worker processes and runs. JAX reads these names
# when it is imported, so the processes that tests start share the cache too.
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", str(Path(tempfile.gettempdir()) / "shotverse_jax_tests"))
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0.2")

import jax
import numpy as np
import pytest
import small_models
from jax._src import compiler

# Folders whose networks have a few channels. Compiled without most optimisations, and by the older emitters of loops
# where XLA still has them, their programs take a fifth of the time to compile, and mean the same. In the other folders
# (parity, conversion, shipped, …) everything is compiled as people compile it.
QUICKLY_COMPILED = ("aot", "bench", "infer", "launch", "models", "nn", "parallel", "train", "weights")


@pytest.fixture(scope="session")
def quick_options() -> dict:
    """The options of XLA that compile quickly, of those that this version knows."""
    options = {"xla_cpu_use_fusion_emitters": False}
    try:
        jax.jit(lambda: 0, compiler_options=options)()
    except jax.errors.JaxRuntimeError:
        return {}
    return options


@pytest.fixture(scope="session")
def quick_environment(quick_options) -> dict:
    """Variables with which a process compiles quickly."""
    flags = [f"--{name}={str(value).lower()}" for name, value in quick_options.items()]
    return {"JAX_DISABLE_MOST_OPTIMIZATIONS": "1", "XLA_FLAGS": " ".join([os.environ.get("XLA_FLAGS", ""), *flags])}


@pytest.fixture(scope="module", autouse=True)
def quickly_compiled(request, quick_options, quick_environment):
    """Compiles quickly in the folders above, and in the processes that their tests start."""
    if request.path.parent.name not in QUICKLY_COMPILED or "JAX_DISABLE_MOST_OPTIMIZATIONS" in os.environ:
        yield
        return
    make = compiler.get_compile_options

    def options(*args, env_options_overrides=None, **kwargs):
        return make(*args, env_options_overrides=quick_options | (env_options_overrides or {}), **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        for name, value in quick_environment.items():
            patch.setenv(name, value)
        patch.setattr(compiler, "get_compile_options", options)
        jax.config.update("jax_disable_most_optimizations", True)
        yield
        jax.config.update("jax_disable_most_optimizations", False)


def pytest_collection_modifyitems(items):
    """Files with slow tests come first, so that parallel workers end at about the same time."""
    slow = {item.path for item in items if item.get_closest_marker("slow")}
    items.sort(key=lambda item: item.path not in slow)


@pytest.fixture(scope="session")
def reference() -> Path:
    """Folder with records of the original programs and real trajectory files; named by SHOTVERSE_REFERENCE."""
    folder = os.environ.get("SHOTVERSE_REFERENCE")
    if not folder:
        pytest.skip("SHOTVERSE_REFERENCE is not set: the records of the original programs are not here")
    return Path(folder)


@pytest.fixture
def cudnn_without_gpu(monkeypatch):
    """JAX traces and lowers cuDNN attention as for a Hopper GPU, instead of asking the devices and finding none."""
    from jax._src.cudnn import fused_attention_stablehlo as cudnn

    monkeypatch.setattr(cudnn, "check_cudnn_version", lambda: 91000)
    monkeypatch.setattr(cudnn, "check_compute_capability", lambda capability: True)
    monkeypatch.setattr(cudnn, "is_cuda_compute_capability_equal", lambda capability: capability == "9.0")


@pytest.fixture
def parity(record_property):
    """parity(what, ours, theirs) → largest difference over the RMS of theirs; of a tree that of the worst leaf.

    size=np.max takes the largest value in place of the RMS, for the gradients of embeddings, which are nearly all zero.
    The largest of every test file are printed at the end of the run.
    """

    def rms(x):
        return np.sqrt(np.mean(np.square(x)))

    def measure(what, ours, theirs, size=rms):
        def of_leaf(ours, theirs):
            ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
            return float(np.max(np.abs(ours - theirs)) / size(np.abs(theirs)))

        error = max(jax.tree.leaves(jax.tree.map(of_leaf, ours, theirs)))
        record_property("parity", (what, error))
        return error

    return measure


def pytest_terminal_summary(terminalreporter):
    largest = {}
    for report in (*terminalreporter.getreports("passed"), *terminalreporter.getreports("failed")):
        for name, value in report.user_properties if report.when == "call" else ():
            if name == "parity":
                key = report.nodeid.split("::")[0], value[0]
                largest[key] = max(largest.get(key, 0.0), value[1])
    if largest:
        terminalreporter.section("parity: largest errors")
    for (file, what), error in sorted(largest.items()):
        terminalreporter.write_line(f"{error:.1e}  {what}  {file}")


@pytest.fixture(scope="session")
def controller_folder(tmp_path_factory) -> Path:
    """A controller of random weights with its text encoder and VAE: 17 frames of 32x48, made in a second."""
    return small_models.controller(tmp_path_factory.mktemp("controller"))


@pytest.fixture(scope="session", name="drawn")
def drawn_fixture():
    """drawn(shapes, seed) → random parameters; see `small_models.drawn`."""
    return small_models.drawn
