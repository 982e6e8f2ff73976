"""Adapters of experts that are split over devices; four devices are four threads of a child process."""

import json
import os
import subprocess
import sys

FAST_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def test_adapters_on_a_mesh(controller_folder):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "4", "XLA_FLAGS": FAST_COMPILE}
    command = [sys.executable, __file__, str(controller_folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["split"] > 10 and found["stay"]
    assert found["folded"] < 1e-6  # from the weights that one device folds
    assert found["film"] < 1e-5 < 0.1 < found["change"]


def on_four_devices(folder):
    import jax
    import numpy as np

    from shotverse_jax import lora
    from shotverse_jax.config import LoraConfig, MeshConfig
    from shotverse_jax.grammar.samples import sample_example
    from shotverse_jax.infer.cinematographer import Cinematographer
    from shotverse_jax.infer.denoise import generate
    from shotverse_jax.infer.take import prepare
    from shotverse_jax.parallel.mesh import make_mesh

    alone = Cinematographer.load(folder)
    crew = Cinematographer.load(folder, make_mesh(MeshConfig(data=1, fsdp=2, tensor=2)), dtype="float32")
    targets = LoraConfig(4, 8.0, targets=("q_proj", "o_proj", "ffn_in", "head"))
    shapes = jax.eval_shape(lambda: lora.init(jax.random.key(0), alone.low, targets))
    rng = np.random.default_rng(0)
    adapter = jax.tree.map(lambda x: rng.normal(size=x.shape).astype(np.float32) / np.sqrt(x.shape[-2]) / 3, shapes)
    changes = lora.Changes(adapter, {"head/bias": rng.normal(size=alone.low["head"]["bias"].shape).astype(np.float32)})
    loras = [lora.Lora("a", 1.0, {"high": changes, "low": changes}), lora.Lora("b", 0.5, {"low": changes})]
    expected, folded = alone.with_loras(loras).low, crew.with_loras(loras)
    pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(folded.low), jax.tree.leaves(crew.low), strict=True)
    example = sample_example(3, "train", num_shots=2)
    take = prepare(crew, example.screenplay, example.trajectory)
    films = [np.asarray(generate(c, [take])) for c in (folded, crew.with_loras(loras, fold=False), crew)]
    size = np.abs(films[0]).max()
    return {
        "folded": max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b, _ in pairs),
        "stay": all(map(lambda a, b: a.sharding == b.sharding, *map(jax.tree.leaves, (folded.low, crew.low)))),
        "split": sum(not leaf.is_fully_replicated for leaf in jax.tree.leaves(folded.low)),
        "film": float(np.abs(films[1] - films[0]).max() / size),
        "change": float(np.abs(films[2] - films[0]).max() / size),
    }


if __name__ == "__main__":
    print(json.dumps(on_four_devices(sys.argv[1])))
