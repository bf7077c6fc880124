"""How the house is built: imports go down, adapters stay apart, everything stays small."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

from tests.support.paths import ROOT

# From top to bottom; a package stands for all that is in it.
LAYERS = {
    "edges": "__main__ cgi cli inetd webhook",
    "actions": (
        "again announced attempt cancel check decide deliveries deploy deploy_request "
        "fetch foreground notices output plan post probation probe receive releases manual "
        "recover run succeeded sync turn "
        "undo unneeded journal pipeline steps story"
    ),
    "domain": ("claim forges health inbox limits payload request"),
    "adapters": "config git store",
    "values": "values",
    "system": "system",
    "errors": "__init__ errors",
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
    upward = [name for name in imports(module) if ORDER.index(LAYER[part(name)]) < here]
    assert upward == []


@pytest.mark.parametrize("module", [name for name in MODULES if LAYER[part(name)] == "adapters"])
def test_adapters_do_not_import_each_other(module: str) -> None:
    others = {part(name) for name in imports(module) if LAYER[part(name)] == "adapters"}
    assert others <= {part(module)}


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
