"""Loss and every gradient are those of one device on any mesh; eight devices are eight threads of a child process."""

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.slow
PLANNER_MESHES = [{"data": 2, "fsdp": 4}, {"data": 4, "fsdp": 2}, {"data": 2, "tensor": 4}]
SEQUENCE_MESHES = [{"data": 2, "sequence": 4}, {"fsdp": 2, "sequence": 2, "tensor": 2}]
TOKENS = 56  # of the transformer: a number that nothing else here is


def child(name):
    environment = os.environ | {"JAX_PLATFORMS": "cpu", "JAX_NUM_CPU_DEVICES": "8"}
    command = [sys.executable, __file__, name]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize(
    "name", ["planner", "controller", "clatr", "camera_clip", "captioner", "full", "windows", "sparse"]
)
def test_loss_and_gradients_equal_those_of_one_device(name):
    found = child(name)
    assert len(found) == (2 if name in ("full", "windows", "sparse") else 3)
    for mesh, result in found.items():
        assert result["error"] < 1e-5 and result["loss"] > 0.1, (name, mesh, result)
        if "fsdp" in mesh or "tensor" in mesh:
            assert result["split"] > 10, (name, mesh)  # parameters do lie in parts
        if "sequence" in mesh:
            # q, k, v of self-attention there and its output back, in the forward and in the backward pass
            assert result["all_to_all"] >= 8, (name, mesh, result)
        if "sequence" in mesh or ("fsdp" in mesh and name == "controller"):
            # Parameters are gathered, and of what has tokens nothing but pixels (4 channels of a 2x2 patch).
            assert all(shape.split("{")[0].endswith("16]") for shape in result["gathered_tokens"]), (name, mesh, result)


def test_the_training_step_on_a_mesh_learns_what_one_device_learns():
    found = child("step")
    assert found["loss"] < 1e-5 and found["params"] < 1e-4
    assert found["donated"] and found["stays"] and found["moments"]


@pytest.fixture(scope="module")
def few():
    """What the child finds that is asked for several small things; its start costs more than they do."""
    return child("few")


def test_frames_of_a_scene_are_seen_as_on_one_device(few):
    found = few["frames"]
    assert max(found["errors"]) < 1e-5 and found["parameters"] > 10, found
    assert (
        found["refused"] == "Pi3 splits frames over data and fsdp, and heads over tensor; give a mesh with sequence=1"
    )


def test_heads_and_tokens_that_do_not_divide_are_refused(few):
    found = few["refused"]
    assert found["heads"] == "8 heads do not divide over tensor=4 x sequence=4 devices; choose a mesh that divides them"
    assert found["tokens"] == "54 tokens do not divide over sequence=4 devices; choose a mesh that divides them"


# ------------------------------------------------------------------------------------------------ in the child process


def planner_setup():
    import jax
    import numpy as np

    from shotverse_jax import lora
    from shotverse_jax.config import Execution, LoraConfig, planner_nano
    from shotverse_jax.models.planner import Planner
    from shotverse_jax.parallel.sequence import spread
    from shotverse_jax.train.tasks.planner import planner_loss
    from shotverse_jax.weights import init

    config = planner_nano()
    rng = np.random.default_rng(0)
    batch = {
        "text_ids_BS": rng.integers(9, 200, (8, 12)).astype(np.int32),
        "slot_BS": np.tile(np.array([-1] * 8 + [0, 1, 2, 3], np.int32), (8, 1)),
        "real_BS": np.ones((8, 12), bool),
        "pose_ids_BN": rng.integers(3, 200, (8, 20)).astype(np.int32),
    }

    def make():
        variables = {"params": init("planner", config, jax.random.key(0))}
        vlm = variables["params"]["vlm"]
        return variables | {"lora": {"vlm": lora.init(jax.random.key(1), vlm, LoraConfig(rank=4, alpha=4.0))}}

    def loss(variables, batch, mesh=None):
        execution = Execution() if mesh is None else spread(Execution(), mesh)
        logits, codes = Planner(config, execution).apply(variables, batch, 2)
        return planner_loss(logits, codes, batch["pose_ids_BN"], config.code_penalty)[0]

    return shaken(make), batch, loss


def controller_setup(self_attention="full", known_shots=False):
    import jax
    import numpy as np

    from shotverse_jax import lora
    from shotverse_jax.config import Execution, LoraConfig, UMT5Config, WanDiTConfig, controller_small
    from shotverse_jax.models.controller import Controller, example
    from shotverse_jax.models.wan_dit import WanDiT
    from shotverse_jax.parallel.sequence import spread
    from shotverse_jax.train.tasks.controller import controller_loss
    from shotverse_jax.weights import init_module

    text = UMT5Config(vocab_size=64, hidden_size=16, num_layers=1, num_heads=2, head_dim=8, mlp_size=32)
    dit = WanDiTConfig(64, 2, 8, 96, 16, 16, 4, self_attention="full")
    config = dataclasses.replace(controller_small(), dit=dit)
    adapters = LoraConfig(rank=4, alpha=4.0, targets=("q_proj", "o_proj", "ffn_in"))
    controller = Controller(config, text, "high")
    rng = np.random.default_rng(0)
    shots = np.array([0, 0, 0, 1, 1, 2, 2], np.int32)
    batch = {
        "latents_BTHWC": rng.normal(size=(8, 7, 4, 8, 4)).astype(np.float32),
        "shot_BT": np.tile(shots, (8, 1)),
        "camera_BTP": rng.normal(size=(8, 7, 12)).astype(np.float32),
        "ids_BS": rng.integers(0, 64, (8, 10)).astype(np.int32),
        "real_BS": np.ones((8, 10), bool),
        "window_BKS": rng.random((8, 3, 10)) < 0.7,
    }

    def make():
        variables = {"params": init_module(controller, example(config), jax.random.key(0))}
        return variables | {"lora": {"dit": lora.init(jax.random.key(1), variables["params"]["dit"], adapters)}}

    def loss(variables, batch, mesh=None):
        execution = Execution(remat="full") if mesh is None else spread(Execution(remat="full"), mesh)
        if not known_shots:
            run = Controller(config, text, "high", execution)
            return controller_loss(run, variables, batch, jax.random.key(2), deterministic=True)[0]
        network = WanDiT(dataclasses.replace(dit, self_attention=self_attention), execution)
        context = jax.random.normal(jax.random.key(3), (8, 10, 16))
        inputs = batch["latents_BTHWC"], jax.numpy.full(8, 500.0), context, batch["shot_BT"], batch["window_BKS"]
        parts = {"params": variables["params"]["dit"], "lora": variables["lora"]["dit"]}
        velocity = network.apply(parts, *inputs, batch["camera_BTP"], shot_lengths=(3, 2, 2))
        return jax.numpy.mean((velocity - 1) ** 2)

    return shaken(make), batch, loss


def clatr_setup():
    import jax
    import numpy as np

    from shotverse_jax.config import CLaTrConfig, CLaTrTrainConfig, CLIPTextConfig, Execution
    from shotverse_jax.parallel.sequence import spread
    from shotverse_jax.train.tasks import clatr
    from shotverse_jax.weights import init

    text = CLIPTextConfig(40, 16, 1, 4, 32, 12)
    model = CLaTrConfig(16, 1, 4, 32, feature_size=72, text_size=16, dropout=0.0)
    config, rng = CLaTrTrainConfig(model=model, text=text, contrast_weight=1.0), np.random.default_rng(0)
    batch = {
        "traj_BIC": rng.normal(size=(8, 15, 72)).astype(np.float32),
        "ids_BS": rng.integers(0, 40, (8, 12)).astype(np.int32),
        "real_BS": np.arange(12) < rng.integers(3, 13, (8, 1)),
        "same_B": np.array([0, 1, 2, 3, 0, 1, 4, 5], np.int32),  # two pairs of one meaning, on different devices
    }

    def make():
        keys = jax.random.split(jax.random.key(0))
        return {"params": {"clatr": init("clatr", model, keys[0]), "text": init("clip_text", text, keys[1])}}

    def loss(variables, batch, mesh=None):
        execution = Execution() if mesh is None else spread(Execution(), mesh)
        return clatr.make_loss(config, text, execution)(variables, batch, None, jax.random.key(2))[0]

    return shaken(make), batch, loss


def camera_clip_setup():
    import jax
    import numpy as np

    from shotverse_jax.config import (
        CameraCLIPConfig,
        CameraCLIPTrainConfig,
        CLIPTextConfig,
        CLIPVisionConfig,
        Execution,
    )
    from shotverse_jax.parallel.sequence import spread
    from shotverse_jax.train.tasks import camera_clip
    from shotverse_jax.weights import init

    towers = CLIPTextConfig(40, 16, 1, 4, 32, 12), CLIPVisionConfig(16, 1, 4, 32, 8, 16)
    model = CameraCLIPConfig(*towers, 8, frames=2, code_size=16, fit="stretch")
    config, rng = CameraCLIPTrainConfig(model=model), np.random.default_rng(0)
    facts = rng.integers(0, 3, (8, 7)).astype(np.int32)
    batch = {
        "frames_BTHWC": rng.integers(0, 256, (8, 2, 16, 16, 3)).astype(np.uint8),
        "ids_BS": rng.integers(0, 40, (8, 12)).astype(np.int32),
        "real_BS": np.arange(12) < rng.integers(3, 13, (8, 1)),
        "facts_BK": facts,
        "said_BK": np.where(rng.random(facts.shape) < 0.3, facts, 0),
    }

    def make():
        return {"params": init("camera_clip", model, jax.random.key(0))}

    def loss(variables, batch, mesh=None):
        execution = Execution() if mesh is None else spread(Execution(), mesh)
        return camera_clip.make_loss(config, execution)(variables, batch, None, None)[0]

    return shaken(make), batch, loss


def captioner_setup():
    import jax
    import numpy as np

    from shotverse_jax.config import Execution, captioner_nano
    from shotverse_jax.models.qwen3_vl import Qwen3VL
    from shotverse_jax.parallel.sequence import spread
    from shotverse_jax.train.tasks import captioner
    from shotverse_jax.weights import init

    model, rng = captioner_nano(), np.random.default_rng(0)
    model = dataclasses.replace(model, text=dataclasses.replace(model.text, tied=False))
    feature_BT = np.full((8, 20), -1, np.int32)
    feature_BT[:, 2:8], feature_BT[:, 9:15] = np.arange(6), np.arange(6, 12)
    batch = {
        "pixels_BFSP": rng.normal(size=(8, 2, 24, 96)).astype(np.float32),
        "size_BF2": np.tile(np.array([4, 6], np.int32), (8, 2, 1)),
        "ids_BT": rng.integers(7, 300, (8, 20)).astype(np.int32),
        "real_BT": np.arange(20) < rng.integers(18, 21, (8, 1)),
        "feature_BT": feature_BT,
        "positions_B3T": np.tile(np.arange(20, dtype=np.int32), (8, 3, 1)),
        "places_BN": np.tile(np.arange(14, 18, dtype=np.int32), (8, 1)),
        "targets_BN": rng.integers(7, 300, (8, 4)).astype(np.int32),
    }

    def make():
        return {"params": init("qwen3_vl", model, jax.random.key(0))}

    def loss(variables, batch, mesh=None):
        execution = Execution() if mesh is None else spread(Execution(), mesh)
        return captioner.make_loss(Qwen3VL(model, execution))(variables, batch, None, None)[0]

    return shaken(make), batch, loss


def shaken(make):
    """The tree of `make` with random values everywhere, so that no gradient is zero; NumPy."""
    import jax
    import numpy as np

    rng = np.random.default_rng(1)
    return jax.tree.map(lambda x: np.asarray(x + rng.normal(size=x.shape) * 0.05, np.float32), jax.jit(make)())


SETUPS = {
    "planner": (planner_setup, PLANNER_MESHES),
    "controller": (controller_setup, PLANNER_MESHES),
    "clatr": (clatr_setup, PLANNER_MESHES),
    "camera_clip": (camera_clip_setup, PLANNER_MESHES),
    "captioner": (captioner_setup, PLANNER_MESHES),
    "full": (controller_setup, SEQUENCE_MESHES),
    "windows": (lambda: controller_setup("full", True), SEQUENCE_MESHES),
    "sparse": (lambda: controller_setup("sparse", True), SEQUENCE_MESHES),
}


def compare(name):
    import jax
    import numpy as np

    from shotverse_jax.config import MeshConfig
    from shotverse_jax.parallel.mesh import batch_sharding, make_mesh
    from shotverse_jax.parallel.rules import shardings

    setup, meshes = SETUPS[name]
    variables, batch, loss_of = setup()
    loss, grads = jax.device_get(jax.jit(jax.value_and_grad(loss_of))(variables, batch))
    found = {}
    for sizes in meshes:
        mesh = make_mesh(MeshConfig(**{"data": 1} | sizes))
        places = shardings(variables, mesh)
        inputs = jax.device_put((variables, batch), (places, batch_sharding(mesh, 8)))
        step = jax.jit(
            jax.value_and_grad(lambda variables, batch, mesh=mesh: loss_of(variables, batch, mesh)),
            in_shardings=(places, batch_sharding(mesh)),
            out_shardings=(None, places),
        )
        program = step.lower(*inputs).compile()
        ours, there = program(*inputs)
        errors = jax.tree.map(lambda a, b: np.abs(np.asarray(a) - b).max() / (np.abs(b).max() + 1e-3), there, grads)
        text = program.as_text()
        gathered = re.findall(r"= (\S+) all-gather(?:-start)?\(", text)
        found[json.dumps(sizes)] = {
            "loss": float(loss),
            "error": float(max(abs(ours - loss) / abs(loss), *jax.tree.leaves(errors))),
            "split": sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(there)),
            "all_to_all": len(re.findall(r" all-to-all(?:-start)?\(", text)),
            "gathered_tokens": [shape for shape in gathered if re.search(rf"[\[,]{TOKENS}[\],]", shape)],
        }
    return found


def train_steps():
    import jax
    import jax.numpy as jnp
    import numpy as np

    from shotverse_jax.config import MeshConfig, TrainConfig
    from shotverse_jax.train.placement import Placement
    from shotverse_jax.train.state import init_state, make_optimizer, split_frozen
    from shotverse_jax.train.step import make_train_step

    variables, batch, loss_of = planner_setup()
    run = TrainConfig(steps=9, batch=8, warmup=0, optimizer="muon", mesh=MeshConfig(data=2, fsdp=2, tensor=2))
    optimizer, schedule = make_optimizer(run)
    loss_fn = lambda variables, batch, bucket, key: (loss_of(variables, batch), {})  # noqa: E731

    def steps(place):
        trainable, frozen = split_frozen(jax.tree.map(jnp.asarray, variables))
        state = init_state(trainable, optimizer, ema=True)
        state, frozen = place.put(state, frozen) if place else (state, frozen)
        step = make_train_step(loss_fn, optimizer, schedule, 0.9, place)
        data = place.put_batch(batch) if place else batch
        losses = []
        for _ in range(2):
            before = jax.tree.leaves(state.params)[0]
            state, metrics = step(state, frozen, data, jax.random.key(0), None)
            losses.append(float(metrics["loss"]))
        return state, losses, before.is_deleted()

    one, expected, _ = steps(None)
    place = Placement.of(run, one, split_frozen(variables)[1])
    state, losses, donated = steps(place)
    pairs = zip(jax.tree.leaves(state.params), jax.tree.leaves(one.params), strict=True)
    stays = jax.tree.map(lambda leaf, sharding: leaf.sharding == sharding, state, place.state)
    split = [leaf for leaf in jax.tree.leaves(state.opt_state) if not leaf.sharding.is_fully_replicated]
    return {
        "loss": float(np.abs(np.array(losses) / expected - 1).max()),
        "params": max(float(np.abs(np.asarray(a) - np.asarray(b)).max()) for a, b in pairs),
        "donated": donated,
        "stays": all(jax.tree.leaves(stays)),
        "moments": len(split) > 10,
    }


def refused():
    import jax.numpy as jnp

    from shotverse_jax.config import MeshConfig
    from shotverse_jax.parallel.mesh import make_mesh
    from shotverse_jax.parallel.sequence import Ulysses

    found = {}
    mesh = make_mesh(MeshConfig(data=1, sequence=4, tensor=2))
    try:
        Ulysses(mesh).tokens(jnp.zeros((1, 54, 8)))
    except ValueError as error:
        found["tokens"] = str(error)
    import jax

    mesh = jax.sharding.AbstractMesh((1, 1, 4, 4), ("data", "fsdp", "sequence", "tensor"))
    try:
        Ulysses(mesh).mix(lambda q: q, (jnp.zeros((1, 56, 8, 8)),))
    except ValueError as error:
        found["heads"] = str(error)
    return found


def frames():
    """Ten frames, which do not divide over the devices, by a Pi3 whose attention runs device by device."""
    import jax
    import numpy as np

    from shotverse_jax.config import Execution, Pi3Config
    from shotverse_jax.infer.execution import read_mesh
    from shotverse_jax.infer.pi3 import Reconstructor
    from shotverse_jax.parallel.rules import shardings
    from shotverse_jax.parallel.sequence import Ulysses
    from shotverse_jax.weights import abstract

    rng = np.random.default_rng(0)
    config, mesh = Pi3Config(16, 8, 1, 2, 3, 2, 1, 16, 1, 8, 4, pixels=64), read_mesh("data=2,fsdp=2,tensor=2")
    shapes = abstract("pi3", config)
    params = jax.tree.map(lambda leaf: rng.normal(scale=0.2, size=leaf.shape).astype(np.float32), shapes)
    params["image_std"] = np.ones(3, np.float32)
    frames = rng.integers(0, 256, (10, 8, 8, 3), np.uint8)
    there = jax.device_put(params, shardings(params, mesh))
    alone = Reconstructor(config, params)(frames)
    found = Reconstructor(config, there, Execution(spread=Ulysses(mesh, by_hand=True)), mesh)(frames)
    pairs = zip(found, alone, strict=True)
    try:
        Reconstructor.load("pi3", mesh=read_mesh("sequence=8"))
    except ValueError as error:
        refused = str(error)
    return {
        "errors": [float(np.abs(a - b).max() / np.abs(b).max()) for a, b in pairs],
        "parameters": sum(not leaf.sharding.is_fully_replicated for leaf in jax.tree.leaves(there)),
        "refused": refused,
    }


if __name__ == "__main__":
    name = sys.argv[1]
    run = {"step": train_steps, "few": lambda: {"frames": frames(), "refused": refused()}}.get(
        name, lambda: compare(name)
    )
    sys.path.insert(0, str(Path(__file__).parent))
    print(json.dumps(run()))
