"""The notebook of examples/ runs from its first cell to its last."""

import json
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).parents[1] / "examples" / "batch.ipynb"


@pytest.mark.shipped
def test_every_cell_runs(capsys, monkeypatch):
    monkeypatch.setenv("MPLBACKEND", "agg")
    names: dict = {}
    for cell in json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]:
        assert not cell.get("outputs"), "outputs are not kept in the repository"
        if cell["cell_type"] == "code":
            exec("".join(cell["source"]), names)
    said = capsys.readouterr().out
    assert "made=2, skipped=0" in said and "made=0, skipped=2" in said
    assert names["films"][1].shape[1:] == (64, 96, 3) and len(names["plans"][0]) == 2
