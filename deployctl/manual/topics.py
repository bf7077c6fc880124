"""Read the manual: a Markdown file of this package for each topic, and two JSON Schemas."""

from __future__ import annotations

import difflib
import json
import os

from deployctl.errors import UsageError

MANUAL = os.path.dirname(os.path.abspath(__file__))
_SUFFIX = ".md"
# These topics are made from the tables that the parsers use, so they always have the same keys.
SCHEMAS = {
    "schema": "JSON Schema of repos.yml, for editors",
    "schema-project": "JSON Schema of .deployctl.yml, for editors",
}


def topics() -> dict[str, str]:
    """Return the title of each topic by its name, sorted by name."""
    files = [name for name in os.listdir(MANUAL) if name.endswith(_SUFFIX)]
    pages = {name.removesuffix(_SUFFIX): _title(name) for name in files}
    return dict(sorted({**pages, **SCHEMAS}.items()))


def read(topic: str) -> str:
    """Return the text of a topic; UsageError, with a similar name, if there is no such topic."""
    known = topics()
    if topic not in known:
        close = difflib.get_close_matches(topic, known, 1)
        guess = f", did you mean {close[0]}?" if close else ""
        raise UsageError(f"the manual has no topic {topic}{guess} (there are: {', '.join(known)})")
    if topic in SCHEMAS:
        return _schema(topic)
    with open(_path(topic + _SUFFIX), encoding="utf-8") as file:
        return file.read()


def _schema(topic: str) -> str:
    from deployctl.config import json_schema

    make = {"schema": json_schema.repos_yml, "schema-project": json_schema.project_file}[topic]
    return json.dumps(make(), indent=2, ensure_ascii=False) + "\n"


def _title(name: str) -> str:
    with open(_path(name), encoding="utf-8") as file:
        return file.readline().strip("# \n")


def _path(name: str) -> str:
    return os.path.join(MANUAL, name)
