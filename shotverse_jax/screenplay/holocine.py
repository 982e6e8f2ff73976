"""HoloCine's screenplays: its prompt, and the arguments of its inference script."""

import ast
import re

from shotverse_jax.screenplay.play import Screenplay, Shot

_PER_SHOT = re.compile(r"\[\s*per shot caption\s*\]", re.IGNORECASE)
_GLOBAL = re.compile(r"\[\s*global caption\s*\]", re.IGNORECASE)
_CUT = re.compile(r"\[\s*shot cut\s*\]", re.IGNORECASE)
_COUNT = re.compile(r"\s*This scene contains (\d+) shots?\.\s*$")
_CALL = re.compile(r"\bshot_captions\s*=\s*[\[(]")


def is_prompt(text: str) -> bool:
    """Whether a text is a prompt of HoloCine."""
    return bool(_PER_SHOT.search(text) or (_GLOBAL.match(text.lstrip()) and _CUT.search(text)))


def parse_prompt(text: str) -> Screenplay:
    """Reads `[global caption] … [per shot caption] … [shot cut] …`; the global caption may be missing.

    Raises:
        ValueError: it is no such prompt, or a shot has no caption.
    """
    parts = _PER_SHOT.split(text)
    if len(parts) != 2:
        raise ValueError("a HoloCine prompt reads '[global caption] … [per shot caption] … [shot cut] …'")
    notes = []
    before, mark, caption = _partition(parts[0])
    if mark and before.strip():
        notes.append("what stands before [global caption] was left out")
    caption = caption if mark else before
    shots = _CUT.split(parts[1])
    if len(shots) > 1 and not shots[-1].strip():
        shots.pop()
        notes.append("nothing follows the last [shot cut]; there is no shot after it")
    said = _COUNT.search(caption)
    if said and int(said[1]) != len(shots):
        notes.append(f"the prompt says {said[1]} shots, and there are {len(shots)}")
        caption = caption[: said.start()]
    made = []
    for number, words in enumerate(shots, 1):
        try:
            made.append(Shot(words))
        except ValueError as error:
            raise ValueError(f"shot {number}: {error}") from error
    return Screenplay(caption, tuple(made), notes=tuple(notes))


def _partition(text: str) -> tuple[str, str, str]:
    match = _GLOBAL.search(text)
    return (text[: match.start()], match[0], text[match.end() :]) if match else (text, "", "")


def is_call(text: str) -> bool:
    """Whether a text is Python with the arguments of HoloCine's `run_inference`."""
    return bool(_CALL.search(text))


def arguments(text: str) -> dict:
    """Returns the arguments of the first call of a Python text that has shot_captions, as far as they are literals.

    Raises:
        ValueError: it is no Python, or there is no such call.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        try:
            tree = ast.parse(f"f({text.strip().rstrip(',')})")  # the arguments alone
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            raise ValueError("the arguments of HoloCine are no valid Python") from error
    except (RecursionError, MemoryError) as error:
        raise ValueError("this Python is nested too deeply to be a screenplay") from error
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and any(word.arg == "shot_captions" for word in node.keywords):
            return _literals({word.arg: word.value for word in node.keywords if word.arg})
    names = {
        t.id: n.value for n in ast.walk(tree) if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)
    }
    if "shot_captions" in names:
        return _literals(names)
    raise ValueError("there is no shot_captions=[...] in this Python")


# What a film is made with, and not what it shows.
_NOT_CONTENT = (
    "pipe",
    "output_path",
    "seed",
    "negative_prompt",
    "tiled",
    "quality",
    "num_inference_steps",
    "cfg_scale",
)


def _literals(values: dict[str, ast.expr]) -> dict:
    found = {}
    for name, node in values.items():
        if name in _NOT_CONTENT:
            continue
        try:
            value = ast.literal_eval(node)
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            value = None
        if value is not None:
            found[name] = list(value) if isinstance(value, tuple) else value
    return found
