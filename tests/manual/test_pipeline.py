"""``deployctl docs pipeline``: it names every key, and its examples run as they stand."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployctl.config.healthcheck import HEALTHCHECK_KEYS
from deployctl.config.load import parse
from deployctl.config.pipeline import POST_KEYS
from deployctl.config.project import PROJECT_KEYS, parse_project
from deployctl.config.readers import Table
from deployctl.config.stages import STAGE_KEYS, WHEN_KEYS
from deployctl.manual import topics
from tests.conftest import WriteConfig
from tests.support.app import App
from tests.support.paths import README
from tests.support.upstream import Upstream

TEXT = topics.read("pipeline")
EXAMPLES = {
    title: re.findall(r"(?ms)^```yaml\n(.*?)^```$", text)
    for title, text in re.findall(r"(?ms)^## Example: ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT)
}
PYTHON, NODE, STATIC, COMPOSE = EXAMPLES
ROWS: dict[str, str] = dict(re.findall(r"(?m)^\| `(\w+)` \| [^|]+ \| `(.*)` \|$", TEXT))


def test_there_is_an_example_for_each_kind_of_project() -> None:
    for title, (project, server) in EXAMPLES.items():
        (repo,) = parse(server.encode(), "/etc/deployctl/repos.yml").repos.values()
        assert repo.pipeline_file == ".deployctl.yml", title
        assert repo.webhook_secrets
        assert {"stages", "healthcheck"} <= parse_project(project.encode(), title).keys()
    kinds = ("Python", "Node", "a static site", "Docker Compose")
    assert all(map(str.startswith, EXAMPLES, kinds))


@pytest.mark.parametrize("table", [STAGE_KEYS, HEALTHCHECK_KEYS])
def test_every_key_has_its_row_with_an_example_that_is_read(table: Table) -> None:
    for key in table:
        example = yaml.safe_load(ROWS[key])
        assert [*example] == [key]
        assert parse_project(around(table, example), key)


def around(table: Table, example: Mapping[str, Any]) -> bytes:
    """A pipeline file with this key in a stage or in the health check."""
    if table is STAGE_KEYS:
        run = {} if "parallel" in example else {"run": "make"}
        return yaml.safe_dump({"stages": [{"name": "build", **run, **example}]}).encode()
    url = {} if "command" in example else {"url": "http://127.0.0.1/"}
    return yaml.safe_dump({"healthcheck": {**url, **example}}).encode()


def test_all_other_keys_are_named_too() -> None:
    assert [key for key in (*PROJECT_KEYS, *WHEN_KEYS, *POST_KEYS) if f"`{key}`" not in TEXT] == []


# ---- The examples, run -----------------------------------------------------------------------

# Stands in for a program: writes down how it was called.
STAND_IN = """#!/bin/sh
echo "$(basename "$0") $*" >>{notes}
"""
MAKES_A_VENV = """
[ "$2" != venv ] || { mkdir -p .venv/bin; cp "$0" .venv/bin/pip; cp "$0" .venv/bin/python; }
"""


class Example(App):
    def begin(self, title: str, *programs: str) -> None:
        """Commit the example's file and let these programs do nothing but tell of it."""
        place = self.directory / "programs"
        place.mkdir()
        for name in programs:
            program = place / name
            program.write_text(STAND_IN.format(notes=self.notes))
            program.chmod(0o755)
        with (place / "python3").open("a") as file:
            file.write(
                STAND_IN.format(notes=self.notes) + f'[ "$2" != venv ] || {{ {MAKES_A_VENV}}}'
            )
        (place / "python3").chmod(0o755)
        self.configure(
            stages=None,
            pipeline_file=".deployctl.yml",
            env={"PATH": f"{place}:/usr/bin:/bin"},
            healthcheck={"command": "true"},
        )
        self.upstream.commit({".deployctl.yml": EXAMPLES[title][0], "version": "1\n"})

    @property
    def notes(self) -> Path:
        return self.directory / "notes"

    @property
    def called(self) -> list[str]:
        return self.notes.read_text().splitlines()


@pytest.fixture
def app(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> Example:
    return Example(tmp_path, upstream, write_config)


def test_python(app: Example) -> None:
    app.begin(PYTHON, "supervisorctl")
    app.deploy()
    assert app.called == [
        "python3 -m venv .venv",
        "pip install --quiet -r requirements.txt",
        "python -m unittest",
        "python manage.py collectstatic --noinput",
        "python manage.py migrate --noinput",
        "supervisorctl restart blog:*",
    ]


def test_node(app: Example) -> None:
    app.begin(NODE, "npm", "pm2")
    app.deploy()
    assert app.called[0] == "npm ci --no-audit --no-fund"
    assert sorted(app.called[1:3]) == ["npm run lint", "npm test"]
    assert app.called[3:] == [
        "npm run build",
        "pm2 startOrReload ecosystem.config.js --update-env",
        "pm2 save",
    ]


def test_static(app: Example) -> None:
    app.begin(STATIC)
    build = "#!/bin/sh -e\nmkdir $1\necho '<html></html>' >$1/index.html\n"
    app.upstream.commit({"build.sh": build, "check-links.sh": "#!/bin/sh\nexit 1\n"})
    document = app.deploy()
    assert document["reason"] == "failed, as allow_failure lets it: links"
    assert (app.path / "current" / "public" / "index.html").exists()
    app.upstream.commit({"build.sh": "#!/bin/sh\nmkdir $1\n"})
    assert app.deploy(code=1)["failure"]["stage"] == "check"


def test_docker_compose(app: Example) -> None:
    app.begin(COMPOSE, "docker")
    with (app.directory / "programs" / "docker").open("a") as file:
        file.write(f'echo "$DEPLOYCTL_REVISION" >>{app.directory}/images\n')
    first = app.deploy()
    assert app.called == [
        "docker compose -p app build --pull",
        "docker compose -p app run --rm --no-deps web ./run-tests",
        "docker compose -p app up -d --no-build --remove-orphans",
        "docker image prune -f",
    ]
    app.push("2")
    app.deploy()
    app.notes.unlink()
    app.cli.json("rollback", "app")
    assert app.called[0] == "docker compose -p app up -d --no-build --remove-orphans"
    images = (app.directory / "images").read_text().splitlines()
    assert images[-2] == first["revision"], "what goes back starts the old image"


def test_what_the_readme_shows_is_read() -> None:
    (block,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", README.read_text())
    assert {"stages", "restart", "healthcheck", "post"} <= parse_project(block.encode(), "x").keys()
