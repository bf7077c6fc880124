"""``deployctl docs schema``: what editors are told is what the readers read."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import jsonschema
import pytest

from deployctl.config.complaints import Reading
from deployctl.config.json_schema import project_file, repos_yml
from deployctl.config.load import parse
from deployctl.config.project import PROJECT_KEYS
from deployctl.config.readers import Table
from deployctl.config.schema import REPO_KEYS, TOP_KEYS
from deployctl.config.yaml_tree import List, Map, Node, read_document
from deployctl.errors import ConfigError
from deployctl.manual import topics
from deployctl.values.forge_names import FORGE_ALIASES, FORGES
from tests.config import test_complaints as complaints
from tests.config.test_complaints import repo
from tests.config.test_example import TABLES, TEXT, UNCOMMENTED
from tests.support.app import App
from tests.support.paths import README

REPOS, PROJECT = repos_yml(), project_file()
# What only a reader knows: git's rules, what other keys say, what a value means.
LOOSER = [
    *("branch: a..b", "branch: refs/tags/v1", "tags: v..1"),
    "dir: web/.git",
    *("timeout: 0", "timeout: 8d", f"timeout: {'9' * 400}", "fetch_timeout: 0s"),
    *(f"known_hosts: {'a' * 4097}", "webhook_secret: env:HTTP_X"),
    *("shared_dirs: [.]", "shared_files: [./REVISION]", "shared_files: [.complete]"),
    "shared_dirs: [a, a/]",
    *(
        "cache: [.]",
        "cache: [REVISION]",
        "cache: ['*.pyc']",
        "cache: [a, a/]",
        "cache: [a/b/c, a]",
        "memory: 0",
    ),
    "shared_dirs: [a/b/c, a]",
    "restart: ['', a]",
    "stages: [{name: a, run: a}, {name: a, run: b}, {name: c, run: d}]",
    "stages: [{name: a, run: a, timeout: 0}]",
    "deployer: supervisord",
    *("healthcheck: {url: 'http://a:b'}", "healthcheck: {url: 'http://[::1'}"),
    "healthcheck: {url: 'http://a:p4ss@b'}",
    "healthcheck: {url: 'http://169.254.169.254/'}",
    "healthcheck: {url: 'http://2852039166/'}",
    "healthcheck: {url: 'http://0xa9.254.1.1/'}",
    "healthcheck: {url: 'http://[fe80::1]/'}",
    "healthcheck: {url: 'http://[::ffff:169.254.1.1]/'}",
    "healthcheck: {url: 'http://a', interval: 0}",
    "healthcheck: {command: a, evidence: {file: ../a.log}}",
    *("notify: [phone]", "notify: [{channel: phone}]", "notify: [{phone: {on: failed}}]"),
    *("max_running: 010", "max_body: 1G", "max_body: 26M", "max_body: 0"),
    "channels: {phone: {url: env:A, timeout: 0}}",
]
KINDS: dict[str, Callable[[str], Any]] = {
    "a whole number": lambda text: int(text) if text.isdecimal() else text,
    "a number": float,
    "true or false": lambda text: text == "true",
}


def plain(node: Node) -> Any:
    """The value as an editor has it."""
    if isinstance(node, Map):
        return {key: plain(value) for key, value in node.entries.items()}
    if isinstance(node, List):
        return [plain(item) for item in node.items]
    if node.kind == "nothing":
        return None
    return KINDS.get(node.kind, str)(node.text)


def faults(text: str, schema: Any = REPOS) -> list[str]:
    """Where an editor would draw a red line."""
    document = plain(read_document(text.encode(), Reading("/x/repos.yml")))
    checker = jsonschema.Draft7Validator(schema)
    return sorted(".".join(map(str, each.absolute_path)) for each in checker.iter_errors(document))


def blocks(text: str) -> Iterator[str]:
    yield from re.findall(r"(?ms)^ *```yaml\n(.*?)^ *```$", text)


@pytest.mark.parametrize(("topic", "schema"), [("schema", REPOS), ("schema-project", PROJECT)])
def test_it_is_printed_and_is_a_schema_that_editors_know(
    app: App, topic: str, schema: dict[str, Any]
) -> None:
    printed = json.loads(app.cli("docs", topic).stdout)
    assert printed == schema
    assert printed["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(printed)


def test_every_example_that_loads_is_good() -> None:
    setup = re.findall(r"(?ms)^sudo -u deploy tee \S+repos.yml .*?\n(.*?)^END$", README.read_text())
    examples = [TEXT, UNCOMMENTED, *setup, *blocks(README.read_text())]
    for topic in topics.topics():
        examples += blocks(topics.read(topic))
    assert len(examples) > 10
    assert [text for text in examples if faults(text, PROJECT if is_project(text) else REPOS)] == []


def is_project(text: str) -> bool:
    return not re.search(r"(?m)^repos:", text)


def inside(schema: Any) -> Iterator[dict[str, Any]]:
    """Every shape of a mapping with known keys."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            yield schema
        for part in schema.values():
            yield from inside(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from inside(part)


@pytest.mark.parametrize("name", TABLES)
def test_every_key_of_every_table_is_in_it_with_its_line_of_explanation(name: str) -> None:
    table: Table = TABLES[name]
    found = [shape["properties"] for shape in inside(REPOS) if {*shape["properties"]} == {*table}]
    assert found
    for properties in found:
        assert {key: shape["description"] for key, shape in properties.items()} == {
            key: value.doc for key, value in table.items()
        }


def test_a_project_may_say_what_its_table_has_and_no_more() -> None:
    assert {*PROJECT["properties"]} == {*PROJECT_KEYS}
    for key in (REPO_KEYS.keys() | TOP_KEYS.keys()) - PROJECT_KEYS.keys():
        assert faults(f"{key}: x", PROJECT) == [""]


def test_the_defaults_are_those_that_the_example_names() -> None:
    named = re.findall(r"(?m)^ *#?([a-z_]+): .*# default: (\S+)$", TEXT)
    told = {
        (
            key,
            shape["default"] if isinstance(shape["default"], str) else json.dumps(shape["default"]),
        )
        for table in inside(REPOS)
        for key, shape in table["properties"].items()
        if "default" in shape
    }
    assert {*named} <= told


def test_an_editor_is_offered_every_forge_and_every_deployer() -> None:
    keys = REPOS["properties"]["repos"]["additionalProperties"]["properties"]
    assert keys["forge"]["enum"] == [*FORGES, *FORGE_ALIASES]
    assert "docker-compose" in keys["deployer"]["examples"]


def marked(test: Any) -> list[Any]:
    """The values that a test of the readers is run with."""
    (values,) = [mark.args[1] for mark in test.pytestmark if mark.name == "parametrize"]
    return [*values]


BAD = [
    *(repo(line) for line, _ in marked(complaints.test_a_wrong_value_in_a_repo_is_explained)),
    *(
        f"repos: {{}}\n{line}"
        for line, _ in marked(complaints.test_a_wrong_value_at_the_top_is_explained)
    ),
]


def test_most_of_what_the_readers_complain_of_has_a_red_line() -> None:
    unseen = [text.splitlines()[-1].strip() for text in BAD if not faults(text)]
    assert unseen == LOOSER


@pytest.mark.parametrize(
    "value", marked(complaints.test_any_value_under_any_key_is_read_or_complained_about)
)
def test_nothing_that_is_read_has_a_red_line(value: str) -> None:
    texts = [f"repos: {{s: {{url: a, path: b, {key}: {value}}}}}" for key in REPO_KEYS]
    texts += [f"repos: {{}}\n{key}: {value}" for key in TOP_KEYS.keys() - {"repos"}]
    assert [text for text in texts if loads(text) and faults(text)] == []


def loads(text: str) -> bool:
    try:
        parse(text.encode(), "/x/repos.yml")
    except ConfigError:
        return False
    return True
