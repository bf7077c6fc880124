"""The repos.yml at the top of the project: it works as it stands, and shows every key."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from deployctl.config import schema
from deployctl.config.complaints import Reading
from deployctl.config.deployers import BUILT_IN
from deployctl.config.healthcheck import EVIDENCE_KEYS, HEALTHCHECK_KEYS
from deployctl.config.load import load, parse
from deployctl.config.pipeline import POST_KEYS
from deployctl.config.readers import Table
from deployctl.config.stages import STAGE_KEYS, WHEN_KEYS
from deployctl.config.yaml_tree import List, Map, Node, read_document
from deployctl.values.repo import Channel, Config, HealthCheck, Repo
from deployctl.values.secret import Secret
from tests.support.paths import ROOT

EXAMPLE = ROOT / "repos.yml"
TEXT = EXAMPLE.read_text()
# A "#" right in front of something hides it; a "#" and a space begin a remark.
UNCOMMENTED = re.sub(r"(?m)^( *)#(?=[^\s#])", r"\1", TEXT)

TABLES: dict[str, Table] = {
    "TOP_KEYS": schema.TOP_KEYS,
    "REPO_KEYS": schema.REPO_KEYS,
    "STAGE_KEYS": STAGE_KEYS,
    "WHEN_KEYS": WHEN_KEYS,
    "POST_KEYS": POST_KEYS,
    "HEALTHCHECK_KEYS": HEALTHCHECK_KEYS,
    "EVIDENCE_KEYS": EVIDENCE_KEYS,
    "DEPLOYER_KEYS": schema.DEPLOYER_KEYS,
    "CHANNEL_KEYS": schema.CHANNEL_KEYS,
    "NOTIFY_KEYS": schema.NOTIFY_KEYS,
}


def tree(text: str) -> Map:
    return read_document(text.encode(), Reading(str(EXAMPLE)))


def sections(top: Map) -> Iterator[tuple[Table, Map]]:
    """Every mapping in the file, with the table of the keys it may have."""
    yield schema.TOP_KEYS, top
    yield from entries(schema.DEPLOYER_KEYS, top.entries["deployers"])
    yield from entries(schema.CHANNEL_KEYS, top.entries["channels"])
    for _, repo in [*entries(schema.REPO_KEYS, top.entries["repos"])]:
        yield schema.REPO_KEYS, repo
        stages = [*items(STAGE_KEYS, repo.entries.get("stages"))]
        yield from stages
        yield from (each for _, stage in stages for each in named(WHEN_KEYS, stage, "when"))
        yield from named(POST_KEYS, repo, "post")
        yield from items(schema.NOTIFY_KEYS, repo.entries.get("notify"))
        healthcheck = repo.entries["healthcheck"]
        assert isinstance(healthcheck, Map)
        yield HEALTHCHECK_KEYS, healthcheck
        yield from items(EVIDENCE_KEYS, healthcheck.entries.get("evidence"))


def named(table: Table, node: Map, key: str) -> Iterator[tuple[Table, Map]]:
    value = node.entries.get(key)
    if isinstance(value, Map):
        yield table, value


def entries(table: Table, node: Node) -> Iterator[tuple[Table, Map]]:
    assert isinstance(node, Map)
    yield from ((table, value) for value in node.entries.values() if isinstance(value, Map))


def items(table: Table, node: Node | None) -> Iterator[tuple[Table, Map]]:
    if isinstance(node, List):
        yield from ((table, value) for value in node.items if isinstance(value, Map))


@pytest.mark.parametrize("name", TABLES)
def test_every_key_is_shown_and_no_other(name: str) -> None:
    table = TABLES[name]
    shown = {
        key for kind, node in sections(tree(UNCOMMENTED)) if kind is table for key in node.entries
    }
    assert shown == set(table)


def test_it_loads_with_everything_uncommented() -> None:
    config = parse(UNCOMMENTED.encode(), str(EXAMPLE))
    assert sorted(config.repos) == ["blog", "demo"]
    assert sorted(config.channels) == ["mail", "phone"]


def test_as_it_stands_it_deploys_a_clone_of_the_project_beside_itself(tmp_path: Path) -> None:
    clone = tmp_path / "deployctl"
    clone.mkdir()
    shutil.copy(EXAMPLE, clone)
    config = load(str(clone / "repos.yml"))
    demo = config.repos["demo"]
    assert list(config.repos) == ["demo"]
    assert config.state_dir == str(clone / ".demo/state")
    assert (demo.url, demo.path) == (str(clone), str(clone / ".demo/site"))
    assert (demo.branch, demo.deployer) == ("main", "static")
    assert [stage.name for stage in demo.pipeline.stages] == ["check"]
    assert demo.pipeline.healthcheck is not None
    assert demo.pipeline.healthcheck.command == 'test -s REVISION && python3 -c "import deployctl"'


def test_the_directory_of_the_demo_is_ignored_by_git() -> None:
    assert "/.demo/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_defaults_it_names_are_those_of_the_code() -> None:
    """``#key: value  # default: VALUE`` -> what the reader makes of VALUE."""
    named = {
        (table_name(line), match[1]): match[2]
        for line, text in enumerate(TEXT.splitlines(), 1)
        if (match := re.match(r" *#?([a-z_]+): .*# default: (\S+)$", text))
    }
    assert {key: schema_value(*key, written) for key, written in named.items()} == {
        key: default(*key) for key in named
    }
    assert len(named) == 23


def table_name(line: int) -> str:
    """The table of the mapping that has a key on this line."""
    names = {id(table): name for name, table in TABLES.items()}
    for table, node in sections(tree(UNCOMMENTED)):
        if any(value.line == line for value in node.entries.values()):
            return names[id(table)]
    raise AssertionError(line)


def schema_value(table: str, key: str, written: str) -> object:
    node = tree(f"key: {written}").entries["key"]
    reading = Reading(str(EXAMPLE))
    reading.names = {"deployers": tuple(BUILT_IN)}
    return TABLES[table][key].reader(node, reading)


def default(table: str, key: str) -> object:
    defaults = {
        "TOP_KEYS": Config("", "", {}),
        "REPO_KEYS": Repo("", "", ""),
        "HEALTHCHECK_KEYS": HealthCheck(),
        "CHANNEL_KEYS": Channel("", Secret("")),
    }
    return getattr(defaults[table], key)


def test_it_lists_the_built_in_deployers_and_the_events() -> None:
    assert f"# Built in: {', '.join(BUILT_IN)}." in TEXT
    assert f"    # {', '.join(schema.EVENTS)}; unless" in TEXT


def test_every_key_has_a_line_of_explanation() -> None:
    for table in TABLES.values():
        for key in table.values():
            assert 10 < len(key.doc) < 80
            assert "\n" not in key.doc
