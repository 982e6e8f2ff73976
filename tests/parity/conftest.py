"""Shared by the tests that write a record of a PyTorch network and replay it."""

import json

import numpy as np
import pytest

from shotverse_jax.conversion.verify import verify_record


@pytest.fixture
def replayed(tmp_path, record_property):
    """replayed(model, tensors, inputs, outputs, **meta) → the report of `shotverse verify` on such a record."""

    def replay(model, tensors, inputs, outputs, **meta):
        meta |= {"model": model, "inputs": list(inputs), "outputs": list(outputs)}
        weights = {f"param/{name}": np.asarray(tensor) for name, tensor in tensors.items()}
        path = tmp_path / "record.npz"
        np.savez(path, **weights, **inputs, **outputs, meta=np.array(json.dumps(meta)))
        report = verify_record(path)
        for output in report.outputs if report.ok else ():  # a record that was changed on purpose measures nothing
            record_property("parity", (f"replay of {model}, {output.name}", output.max_rel_rms))
        return report

    return replay
