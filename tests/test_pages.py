"""What the README and the pages of docs/ show is there: commands, flags, files, modules, Python names."""

import ast
import functools
import importlib
import importlib.util
import re
import shlex
from pathlib import Path

import pytest

from shotverse_jax.cli import main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)
# Folders that a reader makes, and files that a reader brings.
MADE = re.compile(r"(out|runs|data|weights|controller)/|.*[*<…$]")


def blocks(page: Path, language: str) -> list[str]:
    return [body for name, body in BLOCK.findall(page.read_text(encoding="utf-8")) if name == language]


def inline(page: Path) -> list[str]:
    """The pieces of a page in `backquotes`, outside its blocks."""
    return re.findall(r"`([^`\n]+)`", BLOCK.sub("", page.read_text(encoding="utf-8")))


def command_lines(page: Path) -> list[list[str]]:
    """Words of every shell command that a page shows, in blocks and in running text."""
    lines = []
    for block in blocks(page, "bash"):
        lines += re.sub(r"\\\n", " ", block).splitlines()
    lines += [code for code in inline(page) if re.match(r"(shotverse|python -m) ", code)]
    commands = []
    for line in lines:
        for part in line.split("&&"):
            words = shlex.split(part.split(" #")[0].replace("[", " ").replace("]", " "))
            commands.append([word for word in words if "=" not in word or word.startswith("-")])
    return [words for words in commands if words]


def shown(program: str) -> list[tuple[str, list[str]]]:
    """(page, words after the program) of the commands of one program."""
    found = []
    for page in PAGES:
        for words in command_lines(page):
            for i, word in enumerate(words):
                if word == program or word.endswith(f"/{program}"):
                    found.append((page.name, words[i + 1 :]))
                    break
    return found


@functools.cache
def help_of(command: str) -> str:
    import contextlib
    import io

    said = io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), pytest.raises(SystemExit):
        main([command, "--help"])
    return said.getvalue()


def flags(words: list[str]) -> set[str]:
    return {word.split("=")[0] for word in words if word.startswith("--")}


@pytest.mark.parametrize(("page", "words"), shown("shotverse"), ids=lambda x: x if isinstance(x, str) else " ".join(x))
def test_commands_have_the_flags_that_pages_show(page, words):
    if words[0] == "COMMAND":
        return
    text = help_of(words[0])
    assert "usage: shotverse " + words[0] in text, f"{page} shows shotverse {words[0]}"
    unknown = {flag for flag in flags(words) if not re.search(rf"{re.escape(flag)}\b", text)}
    assert all(flag.startswith("--config.") for flag in unknown), f"{page}: shotverse {words[0]} has no {unknown}"


def test_programs_have_the_flags_that_pages_show():
    missing = []
    for page, words in shown("-m"):
        name, *rest = words
        name = name.removeprefix("shotverse_jax.")  # where launch/ is installed
        if name in ("venv", "pytest"):
            continue
        program = ROOT / name.replace(".", "/")
        program = program / "__main__.py" if program.is_dir() else program.with_suffix(".py")
        if not program.is_file():
            missing.append(f"{page}: python -m {name}")
            continue
        sources = "".join(path.read_text(encoding="utf-8") for path in program.parent.glob("*.py"))
        for flag in flags(rest):
            if not flag.startswith("--config") and not re.search(rf'["\'](--)?{flag[2:]}["\']', sources):
                missing.append(f"{page}: {name} {flag}")
    assert not missing, "\n".join(missing)


def test_files_that_pages_show_exist():
    missing = []
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        wanted = {
            (page.parent / link.split("#")[0]) for link in re.findall(r"\]\(([^):]+)\)", text) if link.split("#")[0]
        }
        words = [word for command in command_lines(page) for word in command] + inline(page)
        for word in words:
            word = word.split("=")[-1].rstrip(",.:")
            if re.fullmatch(r"(examples|configs|tests|docs|benchmarks|launch|conversion)/[\w./-]+", word):
                wanted.add(ROOT / word)
            elif page.name == "house.md" and re.fullmatch(r"[\w/]+(\.py|/)", word) and not MADE.match(word):
                inside = next((ROOT / "shotverse_jax").rglob(word.rstrip("/")), ROOT / word)  # `tokens/` of camera
                wanted.add(inside)
        missing += [f"{page.name}: {path.relative_to(ROOT)}" for path in wanted if not path.exists()]
    # `<model>.py` and `x.py` stand for any.
    missing = [line for line in missing if not re.search(r"/x\.py|<", line)]
    assert not missing, "\n".join(sorted(missing))


def test_the_house_names_every_room():
    text = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    rooms = {path.name for path in (ROOT / "shotverse_jax").iterdir() if path.is_dir() and path.name != "__pycache__"}
    assert not {room for room in rooms if f"{room}/" not in text}


def test_python_names_that_the_readme_shows_exist():
    for block in blocks(ROOT / "README.md", "python"):
        for node in ast.walk(ast.parse(block)):
            if isinstance(node, ast.ImportFrom):
                module = importlib.import_module(node.module)
                for name in (alias.name for alias in node.names):
                    found = hasattr(module, name) or importlib.util.find_spec(f"{node.module}.{name}")
                    assert found, ast.unparse(node)
            elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "shotverse_jax":
                assert hasattr(importlib.import_module("shotverse_jax"), node.attr), ast.unparse(node)


@pytest.mark.shipped
def test_plans_that_the_readme_shows_are_made(monkeypatch):
    """Every Python block but those that film or train, which other tests do."""
    monkeypatch.chdir(ROOT)
    names = {"shotverse_jax": importlib.import_module("shotverse_jax")}
    for block in blocks(ROOT / "README.md", "python"):
        if "film(" not in block and "train(" not in block:
            exec(compile(block, "README.md", "exec"), names)
    assert names["trajectory"].num_shots == 4 and names["trajectory"].pose_T34.shape[1:] == (3, 4)
    assert names["director"].config.max_shots == 4


def test_contents_of_the_readme_lead_to_its_sections():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    sections = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^## (.+)$", text, re.M)
    }
    assert set(re.findall(r"\]\(#([\w-]+)\)", text)) <= sections
