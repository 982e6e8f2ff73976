"""Films sampled on eight devices are those of one device, whatever the mesh; experts may wait on the host."""

import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest

MESHES = ("data=2,fsdp=2,sequence=2", "fsdp=2,sequence=4")


@pytest.mark.parametrize("kind", ["full", "sparse"])
def test_sharded_sampling_equals_one_device(tmp_path, controller_folder, kind):
    folder = shutil.copytree(controller_folder, tmp_path / "controller")
    config = json.loads((folder / "config.json").read_text())
    config["dit"]["self_attention"] = kind
    (folder / "config.json").write_text(json.dumps(config))
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    command = [sys.executable, __file__, str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["size"] > 0.1
    assert all(error <= 1e-5 * found["size"] for error in found["errors"].values()), found
    assert found["kinds"] == {"text": ["pinned_host"], "high": ["pinned_host"], "vae": ["device"]}


def main(folder):
    """Prints the largest errors of latents on meshes against those of one device."""

    import jax

    from shotverse_jax.grammar.samples import sample_example
    from shotverse_jax.infer.cinematographer import Cinematographer
    from shotverse_jax.infer.execution import read_mesh
    from shotverse_jax.infer.take import prepare

    examples = [sample_example(3, "train", num_shots=2), sample_example(8, "train", num_shots=2)]

    def latents(cinematographer):
        takes = [prepare(cinematographer, e.screenplay, e.trajectory, size=(32, 64)) for e in examples]
        films = cinematographer.film(takes, [4, 5], steps=3)
        return {film.index: np.asarray(film.latents_BTHWC) for film in films}

    alone, errors = latents(Cinematographer.load(folder)), {}
    for text in MESHES:
        crew = Cinematographer.load(folder, read_mesh(text), offload="experts")
        errors[text] = max(float(np.abs(made - alone[i]).max()) for i, made in latents(crew).items())
    kinds = {
        part: sorted({x.sharding.memory_kind for x in jax.tree.leaves(getattr(crew, part))})
        for part in ("text", "high", "vae")
    }
    print(json.dumps({"errors": errors, "size": float(np.std(alone[0])), "kinds": kinds}))


if __name__ == "__main__":
    main(*sys.argv[1:])
