"""The keys of a health check, and the rules about their combinations."""

from __future__ import annotations

from deployctl.config import json_schema_types
from deployctl.config.commands import command
from deployctl.config.complaints import ComplaintError, Reading
from deployctl.config.json_schema_keys import exactly_one_of, keys_shape
from deployctl.config.json_schema_types import Reader, Shape, shaped
from deployctl.config.readers import (
    Key,
    KeyTable,
    duration,
    header_fault,
    line,
    mapping,
    mapping_of,
    one_or_more,
    path,
    read_keys,
    relative_path,
    text,
    whole_number,
)
from deployctl.config.urls import health_url
from deployctl.config.yaml_tree import Node
from deployctl.values.repo import Evidence, HealthCheck

_timeout = duration()
_URL_ONLY_KEYS = ("status", "contains", "headers")


@shaped(json_schema_types.PATH)
def evidence_file(node: Node, reading: Reading) -> str:
    """Read the path of a file: ``/…`` and ``~/…`` become absolute, others are returned as written.

    A relative path is relative to the live version, whose directory is known only at the time of
    the check.
    """
    value = line(node, reading)
    if value.startswith(("/", "~")):
        return path(node, reading)
    if ".." in value.split("/"):
        raise ComplaintError(node, "relative to what is live, so without ..: write the whole path")
    return value


@shaped(json_schema_types.RELATIVE_PATH)
def file_in_release(node: Node, reading: Reading) -> str:
    """Read the path of a file for evidence in a project's own file: only inside the release."""
    if line(node, reading).startswith("~"):
        raise ComplaintError(node, "must be relative, without ~: it is inside the release")
    return relative_path(node, reading)


def _healthcheck_shape(table: KeyTable) -> Shape:
    needs_url = {key: ["url"] for key in _URL_ONLY_KEYS}
    either = exactly_one_of("url", "command")
    return keys_shape(table, HealthCheck, oneOf=either, dependencies=needs_url)


def evidence_reader(table: KeyTable) -> Reader[Evidence]:
    """Return a reader of one piece of evidence; ``table`` has its keys."""

    @shaped(lambda: keys_shape(table, Evidence, minProperties=1))
    def read_evidence(node: Node, reading: Reading) -> Evidence:
        values = read_keys(node, table, reading)
        if all(key.startswith("x-") for key in mapping(node).entries):
            raise ComplaintError(node, f"nothing to look at: write {' or '.join(table)}")
        return Evidence(**values)

    return read_evidence


def healthcheck_reader(table: KeyTable) -> Reader[HealthCheck]:
    """Return a reader of a health check; ``table`` has its keys."""

    @shaped(lambda: _healthcheck_shape(table))
    def read_healthcheck(node: Node, reading: Reading) -> HealthCheck:
        values = read_keys(node, table, reading)
        keys = mapping(node).entries
        if ("url" in keys) == ("command" in keys):
            raise ComplaintError(node, "wanted either url or command, one of the two")
        for key in _URL_ONLY_KEYS:
            if "command" in keys and key in keys:
                reading.complain(keys[key], "goes with url only: remove it, or use url")
        check = HealthCheck(**values)
        if check.stable_for is not None and check.stable_for >= check.deadline:
            reading.complain(
                keys.get("stable_for", node),
                f"must be shorter than deadline ({check.deadline:g}s), or it can never pass",
            )
        return check

    return read_healthcheck


def evidence_keys(file: Reader[str]) -> KeyTable:
    """Return the keys of a piece of evidence; ``file`` is the reader of a file's path."""
    return {
        "file": Key(file, "a file of which the last lines are shown"),
        "command": Key(command, "a command of which the last lines are shown"),
    }


def healthcheck_keys(evidence: KeyTable) -> KeyTable:
    """Return the keys of a health check; ``evidence`` are the keys of a piece of evidence."""
    return {
        "url": Key(health_url, "the URL to ask"),
        "command": Key(command, "the command that must exit 0"),
        "status": Key(one_or_more(whole_number(100, 599)), "the statuses that are good"),
        "contains": Key(text, "what the body must contain"),
        "headers": Key(mapping_of(line, header_fault), "headers to send"),
        "timeout": Key(_timeout, "how long one try may take"),
        "interval": Key(_timeout, "the pause between two tries"),
        "deadline": Key(_timeout, "how long all tries together may take"),
        "stable_for": Key(duration(zero=True), "how long the answers must stay good"),
        "evidence": Key(one_or_more(evidence_reader(evidence)), "what to show when it has failed"),
    }


EVIDENCE_KEYS = evidence_keys(evidence_file)
HEALTHCHECK_KEYS = healthcheck_keys(EVIDENCE_KEYS)
healthcheck = healthcheck_reader(HEALTHCHECK_KEYS)
project_healthcheck = healthcheck_reader(healthcheck_keys(evidence_keys(file_in_release)))
