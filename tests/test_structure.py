"""What import-linter does not see: libraries that a layer must not import, circles between files, unsafe loading."""

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "hnmine"
MODULES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> set[str]:
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module)
    return found


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name in ("arrays", "science")], ids=name_of)
def test_formulas_import_numpy_alone(path):
    # numpy has no product of listed pairs that copies no vector, and no k-means
    allowed = {"faiss"} if path.name in ("dots.py", "kmeans.py") else set()
    allowed |= {"pyarrow"} if path.parent.name == "arrays" else set()
    others = {"pyarrow", "faiss", "torch", "pydantic", "typer"} - allowed
    assert not {name.split(".")[0] for name in imports(path)} & others


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_numbers_of_threads_are_limited_in_one_place(path):
    assert "threadpoolctl" not in imports(path) or path.name == "single_thread.py"  # overlapping limits need a lock


def test_no_circle_between_files():
    names = {".".join(("hnmine", *path.relative_to(PACKAGE).with_suffix("").parts)): path for path in MODULES}
    below = {name: modules(path, names) for name, path in names.items()}
    assert list(TopologicalSorter(below).static_order())  # raises CycleError, which names the circle


def modules(path: Path, names: dict[str, Path]) -> set[str]:
    """Return the modules of the package that a file imports, those inside of functions too."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            given = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= given & names.keys() or {node.module, f"{node.module}.__init__"} & names.keys()
    return found - {"hnmine.__init__"}


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name != "cli"], ids=name_of)
def test_only_the_command_line_imports_typer_and_rich(path):
    assert not {name.split(".")[0] for name in imports(path)} & {"typer", "rich"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_pickle_or_evaluates_text(path):
    assert not imports(path) & {"pickle", "dill", "cloudpickle", "marshal", "shelve"}
    calls = [
        n.func.id
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    ]
    assert not set(calls) & {"eval", "exec"}
