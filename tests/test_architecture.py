"""The layout of the project, kept true by reading the sources: which room imports which, and what no file may do."""

import ast
import importlib
import re
import subprocess
import sys
import warnings
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
LIBRARY = ("shotverse_jax", "conversion", "configs", "launch")

# The rooms that each room may import: at once the drawing of the project and its check. Data flow down this table.
ALLOWED = {
    "config": "limits",
    "cost": "config",
    "endpoint": "",
    "files": "limits",
    "limits": "",
    "text_files": "",
    "screenplay": "camera files limits text_files",
    "camera": "config files limits text_files",
    "stage": "camera screenplay",
    "grammar": "camera screenplay stage",
    "views": "camera files limits stage text_files",
    "nn": "config",
    "flow": "",
    "lora": "config nn",
    "parallel": "config nn",
    "models": "camera config nn",
    "inputs": "camera config files limits screenplay stage text_files",
    "weights": "config files inputs limits lora models parallel",
    "conversion": "camera config files inputs limits lora models nn parallel weights",
    "data": "camera config endpoint files grammar inputs limits models screenplay stage text_files views weights",
    "infer": "camera config conversion cost endpoint files flow inputs limits lora models nn parallel screenplay stage"
    " views weights",
    "api": "camera cinematic conversion infer lora screenplay views weights",
    "commands": "api bench calibration camera cinematic config conversion data endpoint evaluation files fit grammar"
    " infer inputs limits preference screenplay stage text_files train views",
    "evaluation": "camera cinematic config data files infer inputs limits models screenplay stage text_files weights",
    "train": "camera cinematic config conversion cost data files flow grammar infer inputs lora models parallel"
    " screenplay text_files views weights",
    "cinematic": "camera config data files infer inputs limits lora models screenplay stage views weights",
    "preference": "camera config data evaluation files grammar infer inputs screenplay stage train views",
    "fit": "camera config cost infer nn parallel train views weights",
    "calibration": "camera config evaluation files infer inputs limits models stage text_files views weights",
    "bench": "calibration camera config data files infer inputs limits screenplay views",
    "cli": "commands text_files",
    "configs": "config",
    "launch": "cli commands config data files infer inputs limits train",
}

TORCH_FOLDERS = ("conversion", "shotverse_jax/calibration/torch_models.py", "tests/parity", "tests/fuzz", "benchmarks")
FLAX_FOLDERS = ("shotverse_jax/nn", "shotverse_jax/models", "tests", "benchmarks")

# Packages that change fast: what is used of them must be public, there, and not deprecated.
ML_PACKAGES = ("jax", "flax", "optax", "orbax", "grain", "numpy")

# Calls that start a backend or make an array; none may run while a module is imported.
DEVICE_CALLS = re.compile(
    r"jax\.(numpy|random|lax|nn|sharding)\.(?!dtype$|finfo$|iinfo$|PartitionSpec$|bfloat16$)\w+"
    r"|jax\.(devices|local_devices|device_count|local_device_count|default_backend|process_index|process_count)"
    r"|jax\.(device_put|make_mesh|eval_shape)|torch\.(?!nn\.|no_grad$|inference_mode$|dtype$)[\w.]+"
)


def sources(*folders):
    paths = [path for folder in folders for path in sorted((ROOT / folder).rglob("*.py"))]
    return [path for path in paths if not any(part.startswith(".") or part == "build" for part in path.parts)]


def module_name(path: Path) -> str:
    """Dotted name a file is imported by: conversion/, configs/ and launch/ lie below shotverse_jax."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "shotverse_jax" else ("shotverse_jax", *parts)
    return ".".join(parts)


def imports(tree: ast.AST, module: str) -> set[str]:
    """Absolute dotted names that a module imports, anywhere in it; `from a import b` gives a.b."""
    names = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                parent = module.split(".")[: -node.level]
                base = ".".join([*parent, *([base] if base else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def room(name: str) -> str | None:
    """Folder or file directly below shotverse_jax that a dotted name lies in."""
    parts = name.split(".")
    return parts[1] if parts[0] == "shotverse_jax" and len(parts) > 1 and parts[1] != "__init__" else None


def wrong_imports(module: str, imported: set[str]) -> list[str]:
    here = room(module)
    if here is None:  # the package itself, whose names are those of api.py
        return [f"{module} imports {name}" for name in imported if room(name) not in (None, "api")]
    errors = []
    for name in sorted(imported):
        there = room(name)
        if there is None or there == here:
            continue
        if there not in ALLOWED or here not in ALLOWED:
            errors.append(f"{module} imports {name}: give {there if there not in ALLOWED else here} a row of ALLOWED")
        elif there not in ALLOWED[here].split():
            errors.append(f"{module} imports {name}")
    return errors


def parsed(*folders):
    return [(path, ast.parse(path.read_text(encoding="utf-8"), str(path))) for path in sources(*folders)]


def test_imports_point_one_way():
    errors = []
    for path, tree in parsed(*LIBRARY):
        module = module_name(path)
        # A package's own __init__ resolves relative names from itself.
        errors += wrong_imports(module, imports(tree, module))
    assert not errors, "\n".join(errors)


def test_metrics_are_functions_of_numbers():
    # They read no files and run no networks; evaluation/features does, and evaluation/tracks puts both together.
    errors = [
        f"{module_name(path)} imports {name}"
        for path, tree in parsed("shotverse_jax/evaluation/metrics")
        for name in imports(tree, module_name(path))
        if room(name) not in (None, "camera", "stage") and not name.startswith("shotverse_jax.evaluation.metrics")
    ]
    assert not errors, "\n".join(errors)


def test_no_two_rooms_import_each_other():
    graph: dict[str, set[str]] = {}
    for path, tree in parsed(*LIBRARY):
        module = module_name(path)
        graph.setdefault(room(module), set()).update(room(name) for name in imports(tree, module))
    cycle = find_cycle({here: there - {here, None} for here, there in graph.items()})
    assert not cycle, " -> ".join(map(str, cycle))


def find_cycle(graph: dict) -> list:
    done = set()

    def visit(node, trail):
        if node in trail:
            return [*trail[trail.index(node) :], node]
        if node not in done:
            for there in sorted(graph.get(node, ())):
                found = visit(there, [*trail, node])
                if found:
                    return found
            done.add(node)
        return []

    return next((found for node in sorted(graph, key=str) if (found := visit(node, []))), [])


@pytest.mark.parametrize(("package", "folders"), [("torch", TORCH_FOLDERS), ("flax", FLAX_FOLDERS)])
def test_frameworks_stay_in_their_folders(package, folders):
    # flax.traverse_util is a pair of functions on plain dicts, of use to whoever handles parameters.
    errors = []
    for path, tree in parsed(*LIBRARY, "tests", "benchmarks"):
        where = path.relative_to(ROOT)
        if not any(where.is_relative_to(folder) for folder in folders):
            errors += [
                f"{where} imports {n}"
                for n in imports(tree, module_name(path))
                if re.match(rf"{package}\b(?!\.traverse_util)", n)
            ]
    assert not errors, "\n".join(errors)


def offences(tree: ast.AST) -> list[tuple[int, str]]:
    """(line, what) of the calls to print and the handlers that catch everything."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print":
            found.append((node.lineno, "calls print"))
        if isinstance(node, ast.ExceptHandler):
            kinds = node.type.elts if isinstance(node.type, ast.Tuple) else [node.type]
            for kind in kinds:
                if kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException")):
                    found.append((node.lineno, "catches every exception"))
    return found


def test_no_print_and_no_blind_except():
    # Programs speak to people; the library returns values and logs.
    errors = [
        f"{path.relative_to(ROOT)}:{line} {what}"
        for path, tree in parsed(*LIBRARY)
        for line, what in offences(tree)
        if not (what == "calls print" and room(module_name(path)) in ("launch", "cli", "commands"))
        # The one border to libraries that read files, which raise anything.
        and not (what == "catches every exception" and room(module_name(path)) == "files")
    ]
    assert not errors, "\n".join(errors)


def aliases(tree: ast.AST) -> dict[str, str]:
    """The dotted name that each imported name of a module stands for, as in `import a as b`; relative ones left out."""
    alias = {}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            alias |= {
                (a.asname or a.name.split(".")[0]): (a.name if a.asname else a.name.split(".")[0]) for a in node.names
            }
        elif isinstance(node, ast.ImportFrom) and not node.level:
            alias |= {(a.asname or a.name): f"{node.module}.{a.name}" for a in node.names}
    return alias


def import_time_calls(tree: ast.Module) -> list[tuple[int, str]]:
    """(line, dotted name) of the calls that run while the module is imported, with `import a as b` resolved."""
    alias = aliases(tree)
    calls = []

    def visit(node):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            # Its body runs later; decorators and defaults run now.
            now = [*node.decorator_list, *node.args.defaults, *filter(None, node.args.kw_defaults)]
        elif isinstance(node, ast.Lambda):
            now = node.args.defaults
        elif isinstance(node, ast.If) and "__main__" in ast.unparse(node.test):
            now = node.orelse
        else:
            now = ast.iter_child_nodes(node)
        if isinstance(node, ast.Call):
            head, _, rest = ast.unparse(node.func).partition(".")
            calls.append((node.lineno, ".".join(filter(None, [alias.get(head, head), rest]))))
        for child in now:
            visit(child)

    visit(tree)
    return calls


def test_nothing_touches_a_device_at_import():
    errors = [
        f"{path.relative_to(ROOT)}:{line} calls {name} while it is imported"
        for path, tree in parsed(*LIBRARY)
        for line, name in import_time_calls(tree)
        if DEVICE_CALLS.fullmatch(name)
    ]
    assert not errors, "\n".join(errors)


def test_importing_the_library_starts_no_backend():
    modules = [module_name(path).removesuffix(".__init__") for path in sources("shotverse_jax")]
    program = "import importlib, sys\n"
    program += "for name in sys.argv[1:]: importlib.import_module(name)\n"
    program += "from jax._src import xla_bridge\n"
    program += "assert not xla_bridge.backends_are_initialized(), 'a backend was started'\n"
    program += "assert 'torch' not in sys.modules, 'torch was imported'\n"
    result = subprocess.run([sys.executable, "-c", program, *modules], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stderr[-3000:]


def foreign_names(tree: ast.AST) -> set[str]:
    """Dotted names of ML_PACKAGES that a module imports or reads, with `import a as b` resolved."""
    alias = aliases(tree)
    names = set(alias.values())
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            head, _, rest = ast.unparse(node).partition(".")
            if head in alias and re.fullmatch(r"[\w.]+", rest):
                names.add(f"{alias[head]}.{rest}")
    return {name for name in names if name.split(".")[0] in ML_PACKAGES}


def private(name: str) -> bool:
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


def fault(name: str) -> str | None:
    """What is wrong with a dotted name in the packages that are installed: it is deprecated, or there is none."""
    first, *parts = name.split(".")
    found, path = importlib.import_module(first), first
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)
        try:
            for part in parts:
                path += f".{part}"
                found = getattr(found, part) if hasattr(found, part) else importlib.import_module(path)
        except (DeprecationWarning, ImportError) as error:
            return f"{name}: {error}"
    return None


def test_nothing_private_or_deprecated_of_other_packages_is_used():
    # Tests may replace parts of JAX by those of devices that are not here; they use nothing deprecated either.
    used = {}
    for path, tree in parsed(*LIBRARY, "benchmarks", "tests"):
        for name in foreign_names(tree):
            used.setdefault(name, []).append(str(path.relative_to(ROOT)))
    errors = [f"{files}: {name} is private" for name, files in used.items() if private(name) and not only_tests(files)]
    errors += [f"{used[name]}: {problem}" for name in sorted(used) if (problem := fault(name))]
    assert not errors, "\n".join(errors)


def only_tests(files: list[str]) -> bool:
    return all(file.startswith("tests/") for file in files)


def test_no_file_names_a_folder_of_one_machine():
    pattern = re.compile(r"(?<![\w.~/$}-])/(home|root|work|tmp|mnt|Users)/|\.\./" + "shared")
    texts = [*sources(*LIBRARY, "tests", "benchmarks"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    errors = [
        f"{path.relative_to(ROOT)}:{number} {line.strip()[:100]}"
        for path in texts
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if pattern.search(line)
    ]
    assert not errors, "\n".join(errors)


# ------------------------------------------------------------------------------------ the rules themselves can fail


@pytest.mark.parametrize(
    ("module", "source", "wrong"),
    [
        ("shotverse_jax.models.opt", "from shotverse_jax.nn import linear\nfrom shotverse_jax import config", 0),
        ("shotverse_jax.models.opt", "def f():\n    from shotverse_jax.train import loop", 1),
        ("shotverse_jax.models.opt", "from shotverse_jax import parallel, data", 2),
        ("shotverse_jax.stage.scene", "from shotverse_jax.grammar import samples", 1),
        ("shotverse_jax.flow.loss", "import shotverse_jax.models.opt", 1),
        ("shotverse_jax.camera.se3", "from ..nn import rope", 1),
        ("shotverse_jax.conversion.opt", "from . import core\nfrom .core import table", 0),
        ("shotverse_jax.conversion.opt", "from ..launch import train", 1),
        ("shotverse_jax.nn.linear", "from shotverse_jax.lora import merge", 1),
        ("shotverse_jax.infer.plan", "from shotverse_jax.gadgets import x", 1),
        ("shotverse_jax.__init__", "from shotverse_jax.train import loop", 1),
        ("shotverse_jax.__init__", "from shotverse_jax import api", 0),
        ("shotverse_jax.cli", "from shotverse_jax.commands import plan\nimport numpy", 0),
        ("shotverse_jax.cli", "from shotverse_jax.infer import plan", 1),
    ],
)
def test_rule_of_imports(module, source, wrong):
    assert len(wrong_imports(module, imports(ast.parse(source), module))) == wrong


def test_rule_of_cycles():
    assert find_cycle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b", "c", "b"]
    assert find_cycle({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []


def test_rule_of_offences():
    assert offences(ast.parse("print(1)\ntry:\n    f()\nexcept (ValueError, Exception):\n    pass")) == [
        (1, "calls print"),
        (4, "catches every exception"),
    ]
    assert offences(ast.parse("try:\n    f()\nexcept ValueError:\n    log.print(1)")) == []


@pytest.mark.parametrize(
    ("source", "touches"),
    [
        ("import jax.numpy as jnp\nZERO = jnp.zeros(3)", True),
        ("from jax import numpy as jnp\ndef f(x=jnp.ones(2)): return x", True),
        ("import jax\nclass A:\n    n = jax.device_count()", True),
        ("import jax\nKEY = [jax.random.key(0)]", True),
        ("import jax.numpy as jnp\ndef f(): return jnp.zeros(3)", False),
        ("import jax\n@jax.jit\ndef f(x): return jax.devices()", False),
        ("import jax.numpy as jnp\nDTYPE = jnp.dtype('bfloat16')\ng = lambda: jnp.ones(2)", False),
        ("import jax\nif __name__ == '__main__':\n    jax.devices()", False),
        ("from jax.sharding import PartitionSpec as P\nRULES = [('a', P('data'))]", False),
    ],
)
def test_rule_of_devices(source, touches):
    assert any(DEVICE_CALLS.fullmatch(name) for _, name in import_time_calls(ast.parse(source))) == touches


@pytest.mark.parametrize(
    ("source", "names"),
    [
        ("import jax.numpy as jnp\njnp.zeros(3).shape", {"jax.numpy", "jax.numpy.zeros"}),
        ("from flax import linen as nn\nclass A(nn.Module): ...", {"flax.linen", "flax.linen.Module"}),
        ("from . import jax\nimport torch\ntorch.zeros(3), jax.x", set()),
    ],
)
def test_rule_of_foreign_names(source, names):
    assert foreign_names(ast.parse(source)) == names


def test_rule_of_private_and_deprecated_names(monkeypatch):
    assert private("jax._src.core") and not private("jax.__version__")
    assert fault("jax.numpy.zeros") is None
    assert "jax.numpy.zero" in fault("jax.numpy.zero")
    warn = {"__getattr__": lambda self, name: warnings.warn(f"{name} is deprecated", DeprecationWarning, stacklevel=2)}
    monkeypatch.setattr("jax.old", type("Old", (), warn)(), raising=False)
    assert "name is deprecated" in fault("jax.old.name")
