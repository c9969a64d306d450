"""Imports point one way: cli -> pipeline -> stages -> science; science imports numpy and itself alone."""

import ast
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


@pytest.mark.parametrize("path", sorted((PACKAGE / "science").glob("*.py")), ids=name_of)
def test_science_imports_no_other_layer(path):
    ours = {name for name in imports(path) if name.startswith("hnmine")}
    assert all(name.startswith("hnmine.science") for name in ours)
    kernel = {"faiss"} if path.name == "dots.py" else set()  # numpy has no product of listed pairs that copies none
    others = {"pyarrow", "faiss", "torch", "pydantic", "typer"} - kernel
    assert not {name.split(".")[0] for name in imports(path)} & others


@pytest.mark.parametrize("path", [p for p in MODULES if p.parent.name != "cli"], ids=name_of)
def test_only_the_command_line_imports_typer_and_rich(path):
    assert not {name.split(".")[0] for name in imports(path)} & {"typer", "rich"}
    if path.name != "__main__.py":
        assert not any(name.startswith("hnmine.cli") for name in imports(path))


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_no_module_imports_pickle_or_evaluates_text(path):
    assert not imports(path) & {"pickle", "dill", "cloudpickle", "marshal", "shelve"}
    calls = [
        n.func.id
        for n in ast.walk(ast.parse(path.read_text()))
        if isinstance(n, ast.Call) and isinstance(n.func, ast.Name)
    ]
    assert not set(calls) & {"eval", "exec"}


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_files_and_functions_stay_small(path):
    source = path.read_text()
    assert source.count("\n") <= 300
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            lines = (body[-1].end_lineno - body[0].lineno + 1) if body else 0
            assert lines <= 40, f"{node.name} has {lines} lines"
