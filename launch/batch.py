"""Plans or films of a list on a pod: python -m launch.batch --list=plays.jsonl --task=film --out=results --mesh=fsdp=8

For a model that needs the devices of several hosts: all processes of the job (docs/pods.md says how they find each
other) run the same list over one mesh, and the first of them writes the results. A list for many machines that can each
hold the model is run by `shotverse batch --workers N --ray auto` instead (docs/batch.md), where no machine waits for
another. Flags are named as the options of `shotverse batch`. The exit code is 3 if an item failed.
"""

import threading

import jax
from absl import flags

from shotverse_jax.commands.batch import report, stop_on_signals
from shotverse_jax.commands.common import Terminal
from shotverse_jax.infer.batch import run_batch
from shotverse_jax.infer.execution import read_range, use_compilation_cache
from shotverse_jax.infer.hosts import Led, follow
from shotverse_jax.infer.job import Job
from shotverse_jax.inputs.items import read_items
from shotverse_jax.launch import distributed, program

LIST = flags.DEFINE_string("list", None, ".jsonl or .csv file, or a folder of screenplays")
TASK = flags.DEFINE_enum("task", None, ["plan", "film"], "what is made of every screenplay")
OUT = flags.DEFINE_string("out", None, "folder of results, the same for all processes")
MODEL = flags.DEFINE_string("model", None, "name or folder of the controller of films")
PLANNER = flags.DEFINE_string("planner", None, "name or folder of the planner")
SAMPLING = flags.DEFINE_enum("sampling", None, ["nucleus", "top_k", "greedy"], "how to pick tokens")
CANDIDATES = flags.DEFINE_integer("candidates", None, "plans drawn for each that is kept, the best")
STEPS = flags.DEFINE_integer("steps", None, "denoising steps of films")
CFG = flags.DEFINE_float("cfg", None, "strength of text guidance, 1 is none")
SOLVER = flags.DEFINE_enum("solver", "unipc", ["unipc", "euler"], "how noise is followed to films")
LORA = flags.DEFINE_multi_string("lora", [], "an adapter of all films, FILE[@SCALE][:high|low]; may be given again")
PREVIEW = flags.DEFINE_bool("preview", False, "also make trajectory.png and preview.mp4 of every plan")
MESH = flags.DEFINE_string("mesh", None, "devices of the model, e.g. fsdp=4,sequence=2")
DTYPE = flags.DEFINE_enum("dtype", None, ["float32", "bfloat16"], "of weights and activations")
ATTENTION = flags.DEFINE_enum("attention", None, ["xla", "cudnn", "splash"], "attention kernel")
OFFLOAD = flags.DEFINE_enum("offload", None, ["none", "text", "experts"], "weights that wait in the host's memory")
GUIDANCE_RANGE = flags.DEFINE_string("guidance_range", None, "part of the steps that have guidance, e.g. 0-0.75")
ONE_PASS = flags.DEFINE_bool("one_pass", None, "prompt and negative prompt in one forward pass")
SKIP = flags.DEFINE_float("skip", None, "go on without a pass while little changes, e.g. 0.05")
QUANTIZE = flags.DEFINE_enum("quantize", None, ["int8", "float8"], "weights of the experts in 8 bits")


@program.refusing
def main(_):
    """Makes the results; returns the exit code."""
    distributed.join(distributed.DISTRIBUTED.value, distributed.HEARTBEAT.value)
    use_compilation_cache(0.0)
    part = None if GUIDANCE_RANGE.value is None else read_range(GUIDANCE_RANGE.value)
    faster = {"guidance_range": part, "one_pass": ONE_PASS.value, "skip": SKIP.value}
    job = Job(
        task=TASK.value,
        model=MODEL.value,
        planner=PLANNER.value,
        sampling=SAMPLING.value,
        candidates=CANDIDATES.value,
        steps=STEPS.value,
        guidance=CFG.value,
        solver=SOLVER.value,
        lora=tuple(LORA.value),
        faster=tuple((name, value) for name, value in faster.items() if value is not None),
        preview=PREVIEW.value,
        mesh=MESH.value,
        dtype=DTYPE.value,
        attention=ATTENTION.value,
        offload=OFFLOAD.value,
        quantize=QUANTIZE.value,
    )
    if jax.process_index() != 0:
        return follow(job.load())
    stop, led = threading.Event(), None
    stop_on_signals(stop)
    try:
        # The others wait for the leader as soon as they have their models.
        led = Led(job.load())
        summary = run_batch(read_items(LIST.value), led, OUT.value, stop=stop, progress=Terminal(quiet=False))
    finally:
        if led is not None:
            led.close()
    return report(summary, OUT.value, stop.is_set())


if __name__ == "__main__":
    program.start(main, "list", "task", "out")
