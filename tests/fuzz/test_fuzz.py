"""Three thousand cases of the fuzzers, with fixed seeds; `python -m tests.fuzz` runs more."""

import logging
import warnings

import pytest

from tests.fuzz.families import FAMILIES, counts
from tests.fuzz.harness import ACCEPTED, DIFFERENT, REFUSED, TRACEBACK, Family, command, run_case
from tests.fuzz.report import COLUMNS, Tally, table

CASES = counts(3000)


@pytest.fixture(autouse=True)
def quiet(monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "1")
    logging.disable(logging.CRITICAL)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", FAMILIES)
def test_damaged_inputs(name, tmp_path):
    if name in ("checkpoints",):
        pytest.importorskip("torch", reason="PyTorch is not installed: its files cannot be made")
    family, tally = FAMILIES[name](tmp_path / "whole"), Tally(name)
    for seed in range(CASES[name]):
        outcome = run_case(family, seed, tmp_path / "case")
        tally.add({"seed": seed, **vars(outcome), "failures": outcome.failures})
    assert not tally.failures, "\n\n".join([table([tally]), *tally.failures])[:20_000]
    assert tally.cases == CASES[name] > 10
    assert tally.counts[ACCEPTED] >= 0.02 * tally.cases
    assert tally.counts[REFUSED] >= 0.02 * tally.cases or not family.refuses


class Odd(Family):
    """A family of one file, in which every failure that is looked for happens."""

    name = "odd"

    def damage(self, draw, folder):
        self.folder = folder
        return draw.choice(("a", "b", "c", "d", "e"))

    def read(self, subject):
        if subject == "a":
            raise ValueError(f"{self.folder} is refused")
        if subject == "b":
            raise ValueError("no name")
        if subject == "c":
            raise ValueError(f"{self.folder}\nis refused")
        return {"d": lambda: [].pop(), "e": lambda: 1}[subject]()

    def check(self, subject, value):
        command("tags", self.folder / "none.json")


def test_the_fuzzers_can_fail(tmp_path):
    family, tally = Odd(tmp_path / "whole"), Tally("odd")
    for seed in range(60):
        outcome = run_case(family, seed, tmp_path / "case")
        tally.add({"seed": seed, **vars(outcome), "failures": outcome.failures})
    assert tally.cases == 60 and tally.counts[REFUSED] > 10 and tally.counts[ACCEPTED] == 0
    assert 10 < tally.counts[TRACEBACK] == tally.failed < 60 and tally.counts[DIFFERENT] == 0
    assert {text.split("\n")[0].split()[1] for text in tally.failures} == {"traceback"}
    assert table([tally, tally]).splitlines()[-1].split()[:2] == ["all", "120"]
    assert set(COLUMNS) == tally.counts.keys()


def test_slow_large_and_different_cases_are_told(tmp_path, monkeypatch):
    family = Odd(tmp_path / "whole")
    monkeypatch.setattr("tests.fuzz.harness.PATIENCE", 0.5)
    monkeypatch.setattr("tests.fuzz.harness.SECONDS", 0.1)
    monkeypatch.setattr("tests.fuzz.harness.MEGABYTES", 30)

    def endless(subject):
        while True:
            pass

    monkeypatch.setattr(family, "read", endless)
    assert run_case(family, 0, tmp_path / "case").failures == ("over 10 s",)
    monkeypatch.setattr("tests.fuzz.harness.SECONDS", 60)
    monkeypatch.setattr(family, "read", lambda subject: b"x" * (64 << 20))
    monkeypatch.setattr(family, "check", lambda subject, value: command("tags", family.folder / "none.json"))
    assert run_case(family, 0, tmp_path / "case").failures == ("over 2 GB",)
    monkeypatch.setattr(family, "read", lambda subject: None)
    monkeypatch.setattr("shotverse_jax.cli.main", lambda argv: 1)
    assert run_case(family, 0, tmp_path / "case").failures == (DIFFERENT,)
