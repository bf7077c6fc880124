"""The structure of deployctl: imports go down only, files and functions stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# Name of a layer -> its packages and modules, from top to bottom. Those of one layer do not import
# each other.
LAYERS = {
    "the program": "__main__",
    "the command line": "cli",
    "checks": "check",
    "actions": "deploy webhook manual",
    "output": "output",
    "releases and notices": "releases notices",
    "adapters": "health git config store",
    "plain data": "values",
    "system": "system",
    "errors": "errors",
    "the package": "__init__",
}
LAYER_NAMES = list(LAYERS)
LAYER = {part: layer for layer, parts in LAYERS.items() for part in parts.split()}
QUESTIONS = ("How", "What", "Where", "Whether", "Who", "Whoever", "Whose", "Why")
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 40


def modules() -> dict[str, Path]:
    """Return the file of each module, by names such as ``deployctl.git.mirror``."""
    found = {}
    for path in sorted((ROOT / "deployctl").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def part(module: str) -> str:
    """Return the package of a module: ``git`` for ``deployctl.git.mirror``."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(module: str) -> set[str]:
    """Return the modules of deployctl that a module imports, at its top or inside functions."""
    return {name for node in ast.walk(TREES[module]) for name in _imported(node)}


def _imported(node: ast.AST) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names if alias.name in MODULES)
    elif isinstance(node, ast.ImportFrom) and node.module in MODULES:
        names = [f"{node.module}.{alias.name}" for alias in node.names]
        yield from (name if name in MODULES else node.module for name in names)
    elif isinstance(node, ast.ImportFrom):
        assert node.level == 0, "imports name the whole package"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_is_in_a_layer_and_imports_only_from_layers_below(module: str) -> None:
    position = LAYER_NAMES.index(LAYER[part(module)])
    others = [name for name in imports(module) if part(name) != part(module)]
    assert [name for name in others if LAYER_NAMES.index(LAYER[part(name)]) <= position] == []


def test_imports_have_no_cycles() -> None:
    graph = {name: imports(name) - {name} for name in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_the_layers_name_exactly_the_packages_that_exist() -> None:
    assert set(LAYER) == {part(name) for name in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_at_most_400_lines(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= MAX_FILE_LINES


@pytest.mark.parametrize("module", MODULES)
def test_a_function_has_at_most_40_lines(module: str) -> None:
    functions = (
        node
        for node in ast.walk(TREES[module])
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    long = [
        node.name
        for node in functions
        if (node.end_lineno or node.lineno) - node.lineno + 1 > MAX_FUNCTION_LINES
    ]
    assert long == []


def test_the_top_of_the_package_can_be_read_as_a_table_of_contents() -> None:
    entries = {path.name for path in (ROOT / "deployctl").iterdir()} - {"__pycache__"}
    assert len(entries) <= 20


@pytest.mark.parametrize("module", MODULES)
def test_a_docstring_begins_with_what_a_thing_does_or_is(module: str) -> None:
    """With a verb or a noun, and not with the word of a question that it would then answer."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    nodes = [node for node in ast.walk(TREES[module]) if isinstance(node, documented)]
    docstrings = [text for node in nodes if (text := ast.get_docstring(node))]
    assert [text for text in docstrings if text.split()[0] in QUESTIONS] == []
