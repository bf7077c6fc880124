"""The health check: its keys, and what goes together in it."""

from __future__ import annotations

from deployctl.config import shapes
from deployctl.config.commands import command
from deployctl.config.complaints import ComplaintError, Reading
from deployctl.config.key_shapes import keys_shape, one_of
from deployctl.config.readers import (
    Key,
    Table,
    duration,
    header_fault,
    inside,
    line,
    mapping,
    mapping_of,
    one_or_more,
    path,
    read_keys,
    text,
    whole_number,
)
from deployctl.config.shapes import Reader, Shape, shaped
from deployctl.config.urls import health_url
from deployctl.config.yaml_tree import Node
from deployctl.values.repo import Evidence, HealthCheck

_timeout = duration()
_OF_URL = ("status", "contains", "headers")


@shaped(shapes.PATH)
def evidence_file(node: Node, reading: Reading) -> str:
    """``/…`` and ``~/…``, or relative to what is live: not known before it is looked at."""
    value = line(node, reading)
    if value.startswith(("/", "~")):
        return path(node, reading)
    if ".." in value.split("/"):
        raise ComplaintError(node, "relative to what is live, so without ..: write the whole path")
    return value


@shaped(shapes.INSIDE)
def file_of_release(node: Node, reading: Reading) -> str:
    """What a project's own file may name: nothing outside of the release."""
    if line(node, reading).startswith("~"):
        raise ComplaintError(node, "must be relative, without ~: it is inside the release")
    return inside(node, reading)


def _shape(table: Table) -> Shape:
    goes_with_url = {key: ["url"] for key in _OF_URL}
    either = one_of("url", "command")
    return keys_shape(table, HealthCheck, oneOf=either, dependencies=goes_with_url)


def evidence_of(table: Table) -> Reader[Evidence]:
    """One piece of evidence, with the keys of that table."""

    @shaped(lambda: keys_shape(table, Evidence, minProperties=1))
    def read_evidence(node: Node, reading: Reading) -> Evidence:
        values = read_keys(node, table, reading)
        if all(key.startswith("x-") for key in mapping(node).entries):
            raise ComplaintError(node, f"nothing to look at: write {' or '.join(table)}")
        return Evidence(**values)

    return read_evidence


def healthcheck_of(table: Table) -> Reader[HealthCheck]:
    """A health check with the keys of that table."""

    @shaped(lambda: _shape(table))
    def read_healthcheck(node: Node, reading: Reading) -> HealthCheck:
        values = read_keys(node, table, reading)
        keys = mapping(node).entries
        if ("url" in keys) == ("command" in keys):
            raise ComplaintError(node, "wanted either url or command, one of the two")
        for key in _OF_URL:
            if "command" in keys and key in keys:
                reading.complain(keys[key], "goes with url only: remove it, or use url")
        found = HealthCheck(**values)
        if found.stable_for >= found.deadline:
            reading.complain(
                keys.get("stable_for", node),
                f"must be shorter than deadline ({found.deadline:g}s), or it can never pass",
            )
        return found

    return read_healthcheck


def evidence_keys(file: Reader[str]) -> Table:
    """The table of a piece of evidence; ``file`` reads the paths that it may name."""
    return {
        "file": Key(file, "a file of which the last lines are shown"),
        "command": Key(command, "a command of which the last lines are shown"),
    }


def healthcheck_keys(evidence: Table) -> Table:
    """The table of a health check, with the keys that a piece of its evidence may have."""
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
        "evidence": Key(one_or_more(evidence_of(evidence)), "what to show when it has failed"),
    }


EVIDENCE_KEYS = evidence_keys(evidence_file)
HEALTHCHECK_KEYS = healthcheck_keys(EVIDENCE_KEYS)
healthcheck = healthcheck_of(HEALTHCHECK_KEYS)
project_healthcheck = healthcheck_of(healthcheck_keys(evidence_keys(file_of_release)))
