"""Trees as flat mappings, and what a comparison of two lists."""

import numpy as np
import pytest

from shotverse_jax.weights.trees import check_same, flatten, nest

TREE = {"a": {"kernel": np.zeros((2, 3), np.float32), "bias": np.zeros(3, np.float32)}, "b": np.zeros(1, np.int32)}


def test_flat_and_nested():
    flat = flatten(TREE)
    assert list(flat) == ["a/bias", "a/kernel", "b"]
    assert flatten(nest(flat)).keys() == flat.keys() and nest(flat)["a"]["kernel"] is TREE["a"]["kernel"]


def test_everything_that_differs_is_listed():
    expected = flatten(TREE)
    found = {"a/kernel": np.zeros((3, 2), np.float32), "a/bias": np.zeros(3, np.float16), "c": np.zeros(1)}
    with pytest.raises(ValueError) as caught:
        check_same(found, expected, "the file does not fit")
    assert str(caught.value) == (
        "the file does not fit: a/kernel has shape [3, 2], expected [2, 3]; missing b; unexpected c"
    )
    with pytest.raises(ValueError, match=r"a/bias is float16\[3\], expected float32\[3\]; a/kernel is float32\[3, 2\]"):
        check_same(found, expected, "the file does not fit", dtypes=True)
    check_same({**expected, "a/bias": found["a/bias"]}, expected, "only the dtypes differ")
