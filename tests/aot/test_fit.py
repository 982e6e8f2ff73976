"""`shotverse fit`: what presets need on fake devices of a child process, as it was when last looked at.

A change here is a change of what runs cost: see that it is meant, then write the new numbers with
`python tests/aot/test_fit.py`.
"""

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import jaxlib
import pytest

pytestmark = pytest.mark.slow
ROOT = Path(__file__).parents[2]
GOLDEN = ROOT / "tests" / "golden" / "fit.json"
TINY = (
    "--config.batch=8",
    "--config.model.dit.hidden_size=64",
    "--config.model.dit.num_layers=2",
    "--config.model.dit.num_heads=4",
    "--config.model.dit.mlp_size=96",
    "--config.model.frames=13",
    "--config.model.height=32",
    "--config.model.width=64",
    "--config.model.lora.rank=8",
    "--config.execution.remat=save_attention",
    "--config.execution.dtype=bfloat16",
)
# name: (topology, config, changes)
PRESETS = {
    "controller high, fsdp": ("cpu:8", "controller/small_high", *TINY, "--config.mesh.fsdp=4"),
    "controller low, fsdp and sequence": (
        "cpu:8",
        "controller/small_low",
        *TINY,
        "--config.mesh.fsdp=2",
        "--config.mesh.sequence=4",
    ),
    "planner, fsdp and tensor": (
        "cpu:8",
        "planner/nano",
        "--config.batch=8",
        "--config.mesh.fsdp=2",
        "--config.mesh.tensor=2",
    ),
    "the paper's controller, stage 1": ("cpu:96", "controller/pod", "--config.mesh.data=3"),
    "the paper's controller, stage 2": ("cpu:96", "controller/pod_low", "--config.mesh.data=3"),
    "the paper's planner": ("cpu:96", "planner/qwen3vl_2b", "--config.batch=96", "--config.mesh.fsdp=8"),
}
SLOWER = 3
"""times the golden compile time are too much: a loop that was unrolled, not another machine"""


def measure(topology):
    """{preset: bytes of each device by kind, collectives, seconds to compile}; for a process of its own, which has
    that topology's devices."""
    from shotverse_jax.fit.config_file import read
    from shotverse_jax.fit.report import fit

    found = {}
    for name, (own, config, *changes) in PRESETS.items():
        if own != topology:
            continue
        report = fit(read(str(ROOT / "configs" / f"{config}.py"), changes), topology, "h100")
        assert not report.problem and report.executed >= report.useful > 0
        other = report.memory.arguments - sum(report.held.values())
        # Besides come the counters of the run and its key; what of the batch nothing reads (cameras) is left out.
        assert -report.held["batch"] < other <= 64, (name, other)
        assert report.memory.temporaries > 0
        exchanged = {kind: [each.count, each.size] for kind, each in report.collectives.items()}
        seconds = round(report.compile_seconds, 1)
        found[name] = {"bytes": dict(report.held), "collectives": exchanged, "compile_seconds": seconds}
    return found


@functools.cache
def in_a_process(topology):
    command = [sys.executable, __file__, topology]
    environment = os.environ | {"JAX_PLATFORMS": "cpu"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=1800)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


def measured(preset):
    return in_a_process(PRESETS[preset][0])[preset]


@pytest.mark.parametrize("preset", PRESETS)
def test_bytes_are_those_of_the_golden_file(preset):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    assert measured(preset)["bytes"] == golden["presets"][preset]["bytes"]


@pytest.mark.parametrize("preset", PRESETS)
def test_collectives_are_those_of_the_golden_file(preset):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))
    if golden["jaxlib"] != jaxlib.__version__:
        pytest.skip(f"counted with jaxlib {golden['jaxlib']}, this is {jaxlib.__version__}: its compiler is another")
    assert measured(preset)["collectives"] == golden["presets"][preset]["collectives"]


@pytest.mark.parametrize("preset", PRESETS)
def test_compiling_takes_about_as_long_as_it_did(preset):
    golden = json.loads(GOLDEN.read_text(encoding="utf-8"))["presets"][preset]["compile_seconds"]
    assert measured(preset)["compile_seconds"] < SLOWER * golden + 30


def test_the_golden_file_says_what_meshes_are_for():
    presets = json.loads(GOLDEN.read_text(encoding="utf-8"))["presets"]
    assert all("all-gather" in found["collectives"] for found in presets.values())
    assert presets["controller low, fsdp and sequence"]["collectives"]["all-to-all"][0] >= 2 * 8  # two blocks, 4 + 4
    for found in presets.values():  # AdamW keeps two numbers for each that learns
        assert found["bytes"]["optimizer"] == pytest.approx(2 * found["bytes"]["trained parameters"], abs=16)


def run(*arguments, timeout=300):
    command = [sys.executable, "-m", "shotverse_jax.cli", "fit", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout)


def test_the_command_refuses_what_does_not_divide():
    done = run("configs/planner/nano.py", "--topology=cpu:6", "--device=h20", "--config.mesh.fsdp=4")
    assert done.returncode == 2 and "does not use all devices, of which there are 6" in done.stderr


@pytest.mark.skipif(not importlib.util.find_spec("libtpu"), reason="libtpu is not installed (extra `tpu`)")
def test_a_step_compiles_for_a_tpu_that_is_not_there():
    done = run("configs/planner/nano.py", "--topology=v5e:2x4", "--config.batch=8", "--config.mesh.fsdp=2", "--json")
    assert done.returncode == 0, done.stderr[-2000:]
    report = json.loads(done.stdout)
    assert report["mesh"] == {"data": 4, "fsdp": 2, "sequence": 1, "tensor": 1}
    assert 0 < report["memory"]["total"] < 1 << 30


if __name__ == "__main__":
    if topologies := sys.argv[1:]:
        print(json.dumps(measure(*topologies)))
    else:
        presets = {name: measured(name) for name in PRESETS}
        text = json.dumps({"jaxlib": jaxlib.__version__, "presets": presets}, indent=2)
        GOLDEN.write_text(text + "\n", encoding="utf-8")
