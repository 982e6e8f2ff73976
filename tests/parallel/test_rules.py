"""Every parameter of every model has one sharding rule, and at the size of a pod it splits what is large."""

import dataclasses
import math
import re

import jax
import pytest
from jax.sharding import PartitionSpec as P

from shotverse_jax import lora
from shotverse_jax.config import (
    CONTROLLERS,
    PLANNERS,
    TEXT_ENCODERS,
    VAES,
    CameraCLIPConfig,
    PoseNetConfig,
    TrainConfig,
    TransNetV2Config,
    pi3,
    planner_small,
    qwen3_vl,
)
from shotverse_jax.models.controller import Controller, example
from shotverse_jax.parallel import rules
from shotverse_jax.train import path_probe, view_probe
from shotverse_jax.train.state import init_state, make_optimizer
from shotverse_jax.weights import abstract, init, init_module
from shotverse_jax.weights.trees import flatten


def planner(config):
    def make():
        variables = {"params": init("planner", config, jax.random.key(0))}
        if config.lora:
            variables["lora"] = {"vlm": lora.init(jax.random.key(0), variables["params"]["vlm"], config.lora)}
        if config == planner_small():
            variables[path_probe.COLLECTION] = path_probe.init_probe(jax.random.key(0), config)
        return variables

    return jax.eval_shape(make)


def controller(config, expert="high"):
    def make():
        module = Controller(config, TEXT_ENCODERS[config.text](), expert)
        variables = {"params": init_module(module, example(config), jax.random.key(0))}
        variables["lora"] = {"dit": lora.init(jax.random.key(0), variables["params"]["dit"], config.lora)}
        return variables

    return jax.eval_shape(make)


def vae(config):
    return {"params": abstract("vae", config)}


def captioner(config):
    probe = jax.eval_shape(lambda: view_probe.init_probe(jax.random.key(0), config.text.hidden_size))
    return {"params": abstract("qwen3_vl", config), view_probe.COLLECTION: probe}


def models():
    for name, preset in PLANNERS.items():
        yield name, planner, preset()
    small = PLANNERS["planner_nano"]()
    for values in ({"encoder": "none"}, {"encoder": "text"}, {"decoder_kind": "native"}):
        yield str(values), planner, dataclasses.replace(small, **values)
    for name, preset in CONTROLLERS.items():
        yield name, controller, preset()
    for name, preset in VAES.items():
        yield name, vae, preset()
    config = PoseNetConfig()
    yield "pose_net", lambda c: {"params": abstract("pose_net", c)}, config
    yield "transnetv2", lambda c: {"params": abstract("transnetv2", c)}, TransNetV2Config()
    yield "pi3", lambda c: {"params": abstract("pi3", c)}, pi3()
    yield "camera_clip", lambda c: {"params": abstract("camera_clip", c)}, CameraCLIPConfig()
    yield "qwen3_vl", captioner, qwen3_vl("8b")


def hits(path):
    return [pattern for pattern, _ in rules.RULES if re.fullmatch(f"(.*/)?({pattern})", path)]


@pytest.mark.parametrize(("make", "config"), [pytest.param(m, c, id=name) for name, m, c in models()])
def test_every_leaf_of_a_run_has_exactly_one_rule(make, config):
    variables = make(config)
    used = set()
    for name in ("adamw", "muon"):
        optimizer, _ = make_optimizer(TrainConfig(optimizer=name))
        state = jax.eval_shape(lambda tree, optimizer=optimizer: init_state(tree, optimizer, ema=True), variables)
        leaves = flatten(state)
        assert {path: hits(path) for path in leaves if len(hits(path)) != 1} == {}
        used |= {hits(path)[0] for path in leaves}
        for mesh in ({}, {"fsdp": 4}, {"data": 2, "fsdp": 2, "tensor": 2}):
            for path, leaf in leaves.items():
                parts = rules.spec(path, leaf.shape, mesh)
                assert all(leaf.shape[i] % mesh[axis] == 0 for i, axis in enumerate(parts) if axis)
        params, moments = flatten(state.params), [path for path in leaves if re.search("/(mu|nu)/", path)]
        assert len(moments) >= len(params)  # the optimizer's copies lie where their parameters do
        for path in moments:
            param = re.split("/(?:mu|nu)/", path)[1]
            assert rules.spec(path, leaves[path].shape, mesh) == rules.spec(param, params[param].shape, mesh)
    assert len(used) >= 3


def test_every_rule_is_used():
    paths = {path for _, make, config in models() for path in flatten(make(config))}
    optimizer, _ = make_optimizer(TrainConfig(optimizer="muon"))
    tree = {"kernel": jax.ShapeDtypeStruct((2, 2), "float32")}
    paths |= set(flatten(jax.eval_shape(lambda tree: init_state(tree, optimizer, True), tree)))
    for pattern, _ in rules.RULES:
        for option in re.sub(r"^\((.*)\)/kernel$", r"\1", pattern).split("|"):
            name = f"{option}/kernel" if pattern.endswith("/kernel") else option
            if "(" not in name and ")" not in name:
                assert any(re.fullmatch(f"(.*/)?({name})", path) for path in paths), name


def test_a_path_without_a_rule_or_with_two_is_an_error_that_prints_it(monkeypatch):
    with pytest.raises(ValueError, match="params/thing/weight has no sharding rule; every parameter needs exactly one"):
        rules.spec("params/thing/weight", (2, 2), {})
    twice = [(re.compile(f"(?:.*/)?(?:{p})"), axes) for p, axes in [*rules.RULES, (r"q_proj/\w+", P())]]
    monkeypatch.setattr(rules, "_COMPILED", twice)
    with pytest.raises(ValueError, match="a/q_proj/kernel has 2 sharding rules"):
        rules.spec("a/q_proj/kernel", (2, 2), {})


def test_what_an_axis_does_not_divide_stays_whole():
    mesh = {"fsdp": 4, "tensor": 2}
    assert rules.spec("x/q_proj/kernel", (3, 8, 6), mesh) == P(None, "fsdp", "tensor")
    assert rules.spec("x/o_proj/kernel", (3, 8, 12), mesh) == P(None, "tensor", "fsdp")
    assert rules.spec("x/q_proj/kernel", (3, 6, 8), {"fsdp": 4}) == P(None, None, "fsdp")  # the other axis
    assert rules.spec("x/q_proj/kernel", (4, 6, 7), mesh) == P()  # never the layers
    assert rules.spec("x/conv/kernel", (4, 4, 4, 3, 8), mesh) == P(None, None, None, None, "fsdp")
    assert rules.spec("x/q_proj/bias", (8,), mesh) == P()
    assert rules.spec("x/q_proj/kernel", (8, 8), {"fsdp": 1, "data": 8}) == P()


def test_the_large_transformer_is_split_64_times():
    leaves = flatten(controller(CONTROLLERS["controller_14b"]()))
    mesh = {"data": 1, "fsdp": 64, "sequence": 1, "tensor": 1}
    held = {}
    for path, leaf in leaves.items():
        ways = math.prod(mesh[axis] for axis in rules.spec(path, leaf.shape, mesh) if axis)
        held[path] = math.prod(leaf.shape) / ways
        assert ways == 64 or math.prod(leaf.shape) < 1 << 23, path
    total = sum(math.prod(leaf.shape) for leaf in leaves.values())
    assert total > 19e9 and sum(held.values()) < total / 64 * 1.02


def test_a_large_array_that_fsdp_cannot_split_is_refused_with_what_would_do():
    message = r"fsdp=96 divides no axis of .*q_proj/kernel \[40, 5120, 5120\].*take fsdp=32"
    with pytest.raises(ValueError, match=message):
        rules.spec("dit/blocks/self_attn/q_proj/kernel", (40, 5120, 5120), {"fsdp": 96})
