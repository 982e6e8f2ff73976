"""What a report says, and the exit code of the command."""

import json

import jax
import pytest

from shotverse_jax import cli
from shotverse_jax.fit import report
from shotverse_jax.fit.devices import ACCELERATORS
from shotverse_jax.fit.program import Collective, Memory
from shotverse_jax.fit.report import Report, lines

GIB = 1 << 30
REFUSED = (
    "RESOURCE_EXHAUSTED: TPU backend error (ResourceExhausted). Ran out of memory in memory space hbm. "
    "Used 20.89G of 15.75G hbm. Exceeded hbm capacity by 5.14G.\n\nTotal hbm usage >= 21.39G:"
)


MEMORY = Memory(3 * GIB, 5 * GIB, 8 * GIB)


def make(problem="", memory=MEMORY):
    return Report(
        topology="cpu:8",
        mesh={"data": 1, "fsdp": 4, "sequence": 2, "tensor": 1},
        accelerator=ACCELERATORS["h100"],
        held={"frozen parameters": 3 * GIB, "batch": 1536},
        memory=memory,
        collectives={"all-gather": Collective(80, 2 * GIB)},
        useful=8 * 989e12,
        executed=9e15,
        mfu=0.5,
        compile_seconds=7.2,
        notes=("a note",),
        problem=problem,
    )


def test_a_report_reads_well():
    assert list(lines(make())) == [
        "cpu:8: 8 devices, fsdp 4 x sequence 2",
        "on each device",
        "  frozen parameters            3 GiB",
        "  batch                      1.5 KiB",
        "  temporaries                  5 GiB",
        "  all of the step              8 GiB",
        "received by each device in a step",
        "  all-gather                   2 GiB  in 80",
        "7.912 PFLOP a step, 9 PFLOP with what is computed again",
        "2 s a step at 50% of 989 TFLOP/s a device",  # one second at the peak
        "compiled in 7 s",
        "note: a note",
        "fits",
    ]


@pytest.mark.parametrize(("problem", "code"), [("", 0), ("a step needs 9 GiB", 1)])
def test_the_command_says_whether_it_fits(monkeypatch, capsys, problem, code):
    asked = []
    monkeypatch.setattr(report, "fit", lambda *args: asked.append(args) or make(problem))
    arguments = ["fit", "configs/planner/nano.py", "--topology=cpu:8", "--device=h100", "--mfu=0.5"]
    assert cli.main([*arguments, "--config.batch=7"]) == code
    [(values, *rest)] = asked
    assert values["batch"] == 7 and rest == ["cpu:8", "h100", 0.5]
    assert capsys.readouterr().out.splitlines()[-1] == (f"does not fit: {problem}" if problem else "fits")
    cli.main([*arguments, "--json"])
    assert json.loads(capsys.readouterr().out)["seconds"] == 2


def test_other_arguments_are_refused(capsys):
    for wrong in (["fit", "a.py", "--topology=cpu:8", "--batch=7"], ["tags", "a.json", "--config.batch=7"]):
        with pytest.raises(SystemExit, match="2"):
            cli.main(wrong)
        assert "unrecognized arguments: --" in capsys.readouterr().err


def test_what_the_compiler_refuses_for_its_memory_does_not_fit():
    class Step:
        def __init__(self, message):
            self.message = message

        def lower(self):
            raise jax.errors.JaxRuntimeError(self.message)

    problem = "the compiler refuses the step: it needs 20.89G of the 15.75G of each device"
    assert report._compile(Step(REFUSED), ()) == (None, problem)
    other = "RESOURCE_EXHAUSTED: Ran out of memory on HBM, temporaries (36.88G) exceed available HBM (15.75G).\nMore"
    assert report._compile(Step(other), ())[1].endswith("the step: " + other.splitlines()[0].partition(": ")[2])
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        report._compile(Step("INTERNAL: no"), ())
    text = list(lines(make(problem, memory=None)))
    assert not any("temporaries" in line for line in text) and text[-1] == f"does not fit: {problem}"


def test_the_kernel_is_one_that_the_compiler_has():
    assert report._kernel("splash", "v5p:4x4x4") == ("splash", ())
    assert report._kernel("xla", "cpu:8")[0] == "xla"
    kernel, notes = report._kernel("splash", "cpu:64")
    assert kernel == "xla" and "splash attention is not on a CPU" in notes[-1]
    with pytest.raises(ValueError, match="cudnn does not run on v6e:4x4; set execution.attention to splash, or to xla"):
        report._kernel("cudnn", "v6e:4x4")
