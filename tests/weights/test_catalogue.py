"""Every row of the catalogue names a module whose smallest inputs it takes."""

import inspect

import jax
import pytest

from shotverse_jax import weights
from shotverse_jax.config import CLIPVisionConfig, GenDoPConfig


@pytest.mark.parametrize("kind", weights.KINDS)
def test_the_example_is_one_of_the_modules_own_inputs(kind):
    row = weights.KINDS[kind]
    module, inputs = row.build(row.config(), "high" if row.experts else None)
    parameters = inspect.signature(module.__call__).parameters
    needed = {name for name, parameter in parameters.items() if parameter.default is parameter.empty}
    assert needed <= inputs.keys() <= parameters.keys()
    assert all(leaf.shape for leaf in jax.tree.leaves(inputs) if isinstance(leaf, jax.ShapeDtypeStruct))


def test_parameters_have_the_shapes_of_abstract():
    """With the towers for pictures, which are in no other test of a whole network's initialisation."""
    small = {"hidden_size": 8, "num_layers": 1, "num_heads": 2, "mlp_size": 8}
    row = GenDoPConfig()
    config = GenDoPConfig(
        type(row.text)(vocab_size=9, max_positions=4, **small),
        CLIPVisionConfig(patch_size=2, image_size=4, **small),
        type(row.decoder)(hidden_size=8, num_layers=1, num_heads=2, ffn_size=8, max_positions=20),
    )
    drawn = jax.jit(lambda: weights.init("gendop", config, jax.random.key(0)))()
    shapes = weights.abstract("gendop", config, dtype="bfloat16")
    assert jax.tree.map(lambda leaf: leaf.shape, drawn) == jax.tree.map(lambda leaf: leaf.shape, shapes)
    assert {str(leaf.dtype) for leaf in jax.tree.leaves(shapes)} == {"bfloat16"}


def test_a_kind_that_does_not_exist():
    with pytest.raises(ValueError, match="there is no kind 'planer'; known: planner, "):
        weights.load("planer", "planner_small")
