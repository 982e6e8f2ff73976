"""YAML of any size and shape is read in bounded time, or refused with one sentence."""

import time

import pytest

from shotverse_jax.text_files import MOST_CHARACTERS, read_yaml


@pytest.mark.parametrize("text", ["shots:\n" + "- a\n" * 250_000, "[" + "1," * 500_000 + "]", "- {a: b}\n" * 100_000])
def test_a_megabyte_of_values_is_refused_at_once(text):
    begun = time.process_time()
    with pytest.raises(ValueError, match="it has too many values"):
        read_yaml(text)
    assert time.process_time() - begun < 5  # the parser in Python takes 15 to 60


def test_a_long_text_is_read():
    assert len(read_yaml("a: |\n" + "  words and words\n" * 55_000)["a"]) > 800_000
    assert len(read_yaml("- a\n" * 90_000)) == 90_000


def bomb(entry, levels=40):
    return "".join(f"a{i}: &a{i} {entry(f'*a{i - 1}') if i else '{x: 1}'}\n" for i in range(levels))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (bomb(lambda one: f"[{one}, {one}]"), "it has too many values, as its aliases repeat them"),
        ("&a [*a]", "a value holds itself"),
        ("&a {b: {c: *a}}", "a value holds itself"),
        ("[" * 100_000, "is nested too deeply"),
        ("[" * 900 + "]" * 900, "is nested too deeply"),
        ("a: 1\na: 2", "the key 'a' is given twice"),
        ("!!int x", "is not valid YAML"),
        ("!!python/object:os.system a", "is not valid YAML"),
        ("a: *b", "is not valid YAML"),
        ("x" * (MOST_CHARACTERS + 1), "has 1048577 characters"),
        ("\x00", "is not valid YAML"),
    ],
)
def test_what_is_refused(text, said):
    begun = time.monotonic()
    with pytest.raises(ValueError, match=said) as caught:
        read_yaml(text, "it")
    assert str(caught.value).startswith("it ") and "\n" not in str(caught.value) and time.monotonic() - begun < 5


def test_aliases_and_dates_are_read():
    assert read_yaml("a: &one {x: 1}\nb: *one\nc: {<<: *one, y: 2020-01-01}") == {
        "a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": "2020-01-01"}
    }  # fmt: skip
    merged = bomb(lambda one: f"{{<<: [{one}, {one}]}}")
    assert read_yaml(merged)["a39"] == {"x": 1}
