"""The health check: its keys, and what goes together in it."""

from __future__ import annotations

from deployctl.config.commands import command
from deployctl.config.document import Node
from deployctl.config.key_shapes import keys_shape, one_of
from deployctl.config.readers import (
    Key,
    Table,
    duration,
    header_fault,
    line,
    mapping,
    mapping_of,
    one_or_more,
    read_keys,
    text,
    whole_number,
)
from deployctl.config.reading import ComplaintError, Reading
from deployctl.config.shapes import Shape, shaped
from deployctl.config.urls import health_url
from deployctl.repo import HealthCheck

_timeout = duration()
_OF_URL = ("status", "contains", "headers")


def _shape() -> Shape:
    goes_with_url = {key: ["url"] for key in _OF_URL}
    either = one_of("url", "command")
    return keys_shape(HEALTHCHECK_KEYS, HealthCheck, oneOf=either, dependencies=goes_with_url)


@shaped(_shape)
def healthcheck(node: Node, reading: Reading) -> HealthCheck:
    values = read_keys(node, HEALTHCHECK_KEYS, reading)
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


HEALTHCHECK_KEYS: Table = {
    "url": Key(health_url, "the URL to ask"),
    "command": Key(command, "the command that must exit 0"),
    "status": Key(one_or_more(whole_number(100, 599)), "the statuses that are good"),
    "contains": Key(text, "what the body must contain"),
    "headers": Key(mapping_of(line, header_fault), "headers to send"),
    "timeout": Key(_timeout, "how long one try may take"),
    "interval": Key(_timeout, "the pause between two tries"),
    "deadline": Key(_timeout, "how long all tries together may take"),
    "stable_for": Key(duration(zero=True), "how long the answers must stay good"),
}
