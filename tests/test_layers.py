"""The structure of the package: imports go down only, files and functions stay short."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# From top to bottom; packages of one row do not import each other.
LAYERS = {
    "the program": "__main__",
    "the command line": "cli",
    "the doctor": "check",
    "actions": "deploy webhook manual",
    "what people are shown": "output",
    "releases and notices": "releases notices",
    "adapters": "health git config store",
    "plain data": "values",
    "this machine": "system",
    "errors": "errors",
    "the package": "__init__",
}
ORDER = list(LAYERS)
LAYER = {part: layer for layer, parts in LAYERS.items() for part in parts.split()}
MOST_LINES = 400
LONGEST_FUNCTION = 40


def modules() -> dict[str, Path]:
    """``deployctl.git.mirror`` -> its file."""
    found = {}
    for path in sorted((ROOT / "deployctl").rglob("*.py")):
        name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def part(module: str) -> str:
    """``deployctl.git.mirror`` -> ``git``."""
    return module.split(".")[1] if "." in module else "__init__"


def imports(module: str) -> set[str]:
    """The modules of ours that a module imports, anywhere in it."""
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
def test_every_module_has_its_place_and_imports_only_go_down(module: str) -> None:
    here = ORDER.index(LAYER[part(module)])
    others = [name for name in imports(module) if part(name) != part(module)]
    assert [name for name in others if ORDER.index(LAYER[part(name)]) <= here] == []


def test_no_import_leads_back_to_where_it_came_from() -> None:
    graph = {name: imports(name) - {name} for name in MODULES}
    assert len(list(TopologicalSorter(graph).static_order())) == len(MODULES)


def test_the_plan_names_nothing_that_is_not_there() -> None:
    assert set(LAYER) == {part(name) for name in MODULES}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_can_be_read_at_one_sitting(module: str) -> None:
    assert len(MODULES[module].read_text().splitlines()) <= MOST_LINES


@pytest.mark.parametrize("module", MODULES)
def test_a_function_fits_on_a_screen(module: str) -> None:
    functions = (
        node
        for node in ast.walk(TREES[module])
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    long = [
        node.name
        for node in functions
        if (node.end_lineno or node.lineno) - node.lineno + 1 > LONGEST_FUNCTION
    ]
    assert long == []
