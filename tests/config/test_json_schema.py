"""``deployctl docs schema``: the JSON Schemas accept what the readers accept."""

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
from deployctl.config.readers import KeyTable
from deployctl.config.schema import REPO_KEYS, TOP_KEYS
from deployctl.config.yaml_tree import List, Map, Node, read_document
from deployctl.errors import ConfigError
from deployctl.manual import topics
from deployctl.values.forge_names import FORGE_ALIASES, FORGES
from tests.config import test_complaints, test_repo_values, test_yaml_tree
from tests.config.test_example import TABLES, TEXT, UNCOMMENTED
from tests.support.app import App
from tests.support.complaints import repo
from tests.support.paths import README

REPOS, PROJECT = repos_yml(), project_file()
# Values that the schema accepts and a reader refuses: because of git's rules, of other keys, or of
# what a value means.
ACCEPTED_BY_SCHEMA_ONLY = [
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
# Kind of a scalar -> the value that an editor makes of its text; of other kinds, the text.
CONVERSIONS: dict[str, Callable[[str], Any]] = {
    "a whole number": lambda text: int(text) if text.isdecimal() else text,
    "a number": float,
    "true or false": lambda text: text == "true",
}


def to_json(node: Node) -> Any:
    """Return the value of a node as JSON has it."""
    if isinstance(node, Map):
        return {key: to_json(value) for key, value in node.entries.items()}
    if isinstance(node, List):
        return [to_json(item) for item in node.items]
    if node.kind == "nothing":
        return None
    return CONVERSIONS.get(node.kind, str)(node.text)


def faults(text: str, schema: Any = REPOS) -> list[str]:
    """Return the dotted paths at which an editor would mark an error."""
    document = to_json(read_document(text.encode(), Reading("/x/repos.yml")))
    checker = jsonschema.Draft7Validator(schema)
    return sorted(
        ".".join(map(str, error.absolute_path)) for error in checker.iter_errors(document)
    )


def yaml_blocks(text: str) -> Iterator[str]:
    """Yield the code blocks of a Markdown text that are in YAML."""
    yield from re.findall(r"(?ms)^ *```yaml\n(.*?)^ *```$", text)


@pytest.mark.parametrize(("topic", "schema"), [("schema", REPOS), ("schema-project", PROJECT)])
def test_docs_prints_a_valid_json_schema_of_draft_07(
    app: App, topic: str, schema: dict[str, Any]
) -> None:
    printed = json.loads(app.cli("docs", topic).stdout)
    assert printed == schema
    assert printed["$schema"] == "http://json-schema.org/draft-07/schema#"
    jsonschema.Draft7Validator.check_schema(printed)


def test_every_example_in_the_documentation_is_valid() -> None:
    setup = re.findall(r"(?ms)^sudo -u deploy tee \S+repos.yml .*?\n(.*?)^END$", README.read_text())
    examples = [TEXT, UNCOMMENTED, *setup, *yaml_blocks(README.read_text())]
    for topic in topics.topics():
        examples += yaml_blocks(topics.read(topic))
    assert len(examples) > 10
    assert [
        text for text in examples if faults(text, PROJECT if is_pipeline_file(text) else REPOS)
    ] == []


def is_pipeline_file(text: str) -> bool:
    return not re.search(r"(?m)^repos:", text)


def mappings_with_keys(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield every part of a schema that is about a mapping with known keys."""
    if isinstance(schema, dict):
        if "patternProperties" in schema:
            yield schema
        for part in schema.values():
            yield from mappings_with_keys(part)
    elif isinstance(schema, list):
        for part in schema:
            yield from mappings_with_keys(part)


@pytest.mark.parametrize("name", TABLES)
def test_every_key_of_every_table_is_in_the_schema_with_its_description(name: str) -> None:
    table: KeyTable = TABLES[name]
    found = [
        shape["properties"]
        for shape in mappings_with_keys(REPOS)
        if {*shape["properties"]} == {*table}
    ]
    assert found
    for properties in found:
        assert {key: shape["description"] for key, shape in properties.items()} == {
            key: value.doc for key, value in table.items()
        }


def test_a_project_may_set_the_keys_of_its_table_and_no_others() -> None:
    assert {*PROJECT["properties"]} == {*PROJECT_KEYS}
    for key in (REPO_KEYS.keys() | TOP_KEYS.keys()) - PROJECT_KEYS.keys():
        assert faults(f"{key}: x", PROJECT) == [""]


def test_the_defaults_that_the_example_names_are_in_the_schema() -> None:
    in_example = re.findall(r"(?m)^ *#?([a-z_]+): .*# default: (\S+)$", TEXT)
    in_schema = {
        (
            key,
            shape["default"] if isinstance(shape["default"], str) else json.dumps(shape["default"]),
        )
        for table in mappings_with_keys(REPOS)
        for key, shape in table["properties"].items()
        if "default" in shape
    }
    assert {*in_example} <= in_schema


def test_the_schema_lists_every_forge_and_every_built_in_deployer() -> None:
    keys = REPOS["properties"]["repos"]["additionalProperties"]["properties"]
    assert keys["forge"]["enum"] == [*FORGES, *FORGE_ALIASES]
    assert "docker-compose" in keys["deployer"]["examples"]


def parameters(test: Any) -> list[Any]:
    """Return the values that a test is parametrized with."""
    (values,) = [mark.args[1] for mark in test.pytestmark if mark.name == "parametrize"]
    return [*values]


INVALID = [
    *(
        repo(line)
        for line, _ in parameters(test_repo_values.test_a_wrong_value_in_a_repo_is_explained)
    ),
    *(
        f"repos: {{}}\n{line}"
        for line, _ in parameters(test_complaints.test_a_wrong_value_at_the_top_is_explained)
    ),
]


def test_the_schema_refuses_most_of_what_the_readers_refuse() -> None:
    accepted = [text.splitlines()[-1].strip() for text in INVALID if not faults(text)]
    assert accepted == ACCEPTED_BY_SCHEMA_ONLY


@pytest.mark.parametrize(
    "value", parameters(test_yaml_tree.test_any_value_of_any_key_is_accepted_or_gets_a_complaint)
)
def test_the_schema_accepts_everything_that_the_readers_accept(value: str) -> None:
    texts = [f"repos: {{s: {{url: a, path: b, {key}: {value}}}}}" for key in REPO_KEYS]
    texts += [f"repos: {{}}\n{key}: {value}" for key in TOP_KEYS.keys() - {"repos"}]
    assert [text for text in texts if loads(text) and faults(text)] == []


def loads(text: str) -> bool:
    try:
        parse(text.encode(), "/x/repos.yml")
    except ConfigError:
        return False
    return True
