"""The repos.yml at the top of the project: it works without changes, and shows every key."""

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
from deployctl.config.readers import KeyTable
from deployctl.config.stages import STAGE_KEYS, WHEN_KEYS
from deployctl.config.yaml_tree import List, Map, Node, read_document
from deployctl.values.repo import Channel, Config, HealthCheck, Repo
from deployctl.values.secret import Secret
from tests.support.paths import ROOT

EXAMPLE = ROOT / "repos.yml"
TEXT = EXAMPLE.read_text()
# "#" directly before text disables a key; "#" and a space begin a comment.
UNCOMMENTED = re.sub(r"(?m)^( *)#(?=[^\s#])", r"\1", TEXT)

TABLES: dict[str, KeyTable] = {
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


def parse_yaml(text: str) -> Map:
    return read_document(text.encode(), Reading(str(EXAMPLE)))


def sections(top: Map) -> Iterator[tuple[KeyTable, Map]]:
    """Yield every mapping in the file, with the table of the keys that it may have."""
    yield schema.TOP_KEYS, top
    yield from entries(schema.DEPLOYER_KEYS, top.entries["deployers"])
    yield from entries(schema.CHANNEL_KEYS, top.entries["channels"])
    for _, repo in [*entries(schema.REPO_KEYS, top.entries["repos"])]:
        yield schema.REPO_KEYS, repo
        stages = [*items(STAGE_KEYS, repo.entries.get("stages"))]
        yield from stages
        yield from (when for _, stage in stages for when in value_of(WHEN_KEYS, stage, "when"))
        yield from value_of(POST_KEYS, repo, "post")
        yield from items(schema.NOTIFY_KEYS, repo.entries.get("notify"))
        healthcheck = repo.entries["healthcheck"]
        assert isinstance(healthcheck, Map)
        yield HEALTHCHECK_KEYS, healthcheck
        yield from items(EVIDENCE_KEYS, healthcheck.entries.get("evidence"))


def value_of(table: KeyTable, node: Map, key: str) -> Iterator[tuple[KeyTable, Map]]:
    """Yield the value of ``key``, if it is a mapping."""
    value = node.entries.get(key)
    if isinstance(value, Map):
        yield table, value


def entries(table: KeyTable, node: Node) -> Iterator[tuple[KeyTable, Map]]:
    """Yield the values of a mapping that are mappings."""
    assert isinstance(node, Map)
    yield from ((table, value) for value in node.entries.values() if isinstance(value, Map))


def items(table: KeyTable, node: Node | None) -> Iterator[tuple[KeyTable, Map]]:
    """Yield the items of a list that are mappings; no items if there is no list."""
    if isinstance(node, List):
        yield from ((table, value) for value in node.items if isinstance(value, Map))


@pytest.mark.parametrize("name", TABLES)
def test_the_example_shows_every_key_and_no_other(name: str) -> None:
    table = TABLES[name]
    shown = {
        key
        for kind, node in sections(parse_yaml(UNCOMMENTED))
        if kind is table
        for key in node.entries
    }
    assert shown == set(table)


def test_the_example_loads_with_everything_uncommented() -> None:
    config = parse(UNCOMMENTED.encode(), str(EXAMPLE))
    assert sorted(config.repos) == ["blog", "demo"]
    assert sorted(config.channels) == ["mail", "phone"]


def test_the_unchanged_example_deploys_the_clone_that_it_is_in(tmp_path: Path) -> None:
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


def test_git_ignores_the_directory_of_the_demo() -> None:
    assert "/.demo/" in (ROOT / ".gitignore").read_text().splitlines()


def test_the_defaults_in_the_example_are_those_of_the_code() -> None:
    """In lines such as ``#key: value  # default: VALUE``, VALUE is the default of the key."""
    defaults = {
        (table_name(line), match[1]): match[2]
        for line, text in enumerate(TEXT.splitlines(), 1)
        if (match := re.match(r" *#?([a-z_]+): .*# default: (\S+)$", text))
    }
    assert {key: read_value(*key, written) for key, written in defaults.items()} == {
        key: default_in_code(*key) for key in defaults
    }
    assert len(defaults) == 22


def table_name(line: int) -> str:
    """Return the name of the table of the mapping that has a key on this line."""
    names = {id(table): name for name, table in TABLES.items()}
    for table, node in sections(parse_yaml(UNCOMMENTED)):
        if any(value.line == line for value in node.entries.values()):
            return names[id(table)]
    raise AssertionError(line)


def read_value(table: str, key: str, written: str) -> object:
    node = parse_yaml(f"key: {written}").entries["key"]
    reading = Reading(str(EXAMPLE))
    reading.names = {"deployers": tuple(BUILT_IN)}
    return TABLES[table][key].reader(node, reading)


def default_in_code(table: str, key: str) -> object:
    defaults = {
        "TOP_KEYS": Config("", "", {}),
        "REPO_KEYS": Repo("", "", ""),
        "HEALTHCHECK_KEYS": HealthCheck(),
        "CHANNEL_KEYS": Channel("", Secret("")),
    }
    return getattr(defaults[table], key)


def test_the_example_lists_the_built_in_deployers_and_the_events() -> None:
    assert f"# Built in: {', '.join(BUILT_IN)}." in TEXT
    assert f"    # {', '.join(schema.EVENTS)}; unless" in TEXT


def test_every_key_has_a_description_of_one_line() -> None:
    for table in TABLES.values():
        for key in table.values():
            assert 10 < len(key.doc) < 80
            assert "\n" not in key.doc
