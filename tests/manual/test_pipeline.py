"""``deployctl docs pipeline``: it names every key, and its examples run unchanged."""

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
from deployctl.config.project import PROJECT_KEYS, parse_pipeline_file
from deployctl.config.readers import KeyTable
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
    for title, (project_file, repos_yml) in EXAMPLES.items():
        (repo,) = parse(repos_yml.encode(), "/etc/deployctl/repos.yml").repos.values()
        assert repo.pipeline_file == ".deployctl.yml", title
        assert repo.webhook_secrets
        assert {"stages", "healthcheck"} <= parse_pipeline_file(project_file.encode(), title).keys()
    kinds = ("Python", "Node", "a static site", "Docker Compose")
    assert all(map(str.startswith, EXAMPLES, kinds))


@pytest.mark.parametrize("table", [STAGE_KEYS, HEALTHCHECK_KEYS])
def test_every_key_has_a_row_with_an_example_that_parses(table: KeyTable) -> None:
    for key in table:
        example = yaml.safe_load(ROWS[key])
        assert [*example] == [key]
        assert parse_pipeline_file(project_file_with(table, example), key)


def project_file_with(table: KeyTable, example: Mapping[str, Any]) -> bytes:
    """Return a project's file that has the example in a stage or in the health check."""
    if table is STAGE_KEYS:
        run = {} if "parallel" in example else {"run": "make"}
        return yaml.safe_dump({"stages": [{"name": "build", **run, **example}]}).encode()
    url = {} if "command" in example else {"url": "http://127.0.0.1/"}
    return yaml.safe_dump({"healthcheck": {**url, **example}}).encode()


def test_every_other_key_is_named_in_the_text() -> None:
    assert [key for key in (*PROJECT_KEYS, *WHEN_KEYS, *POST_KEYS) if f"`{key}`" not in TEXT] == []


# ---- The examples, run -----------------------------------------------------------------------

# A stub for a program: it writes its command line into a file.
STUB = """#!/bin/sh
echo "$(basename "$0") $*" >>{calls}
"""
MAKES_A_VENV = """
[ "$2" != venv ] || { mkdir -p .venv/bin; cp "$0" .venv/bin/pip; cp "$0" .venv/bin/python; }
"""


class Example(App):
    """A project with the ``.deployctl.yml`` of an example and stubs for the programs it calls."""

    def prepare(self, title: str, *programs: str) -> None:
        """Commit the example's file and write stubs for these programs and for python3."""
        directory = self.directory / "programs"
        directory.mkdir()
        for name in programs:
            program = directory / name
            program.write_text(STUB.format(calls=self.calls_file))
            program.chmod(0o755)
        with (directory / "python3").open("a") as file:
            file.write(
                STUB.format(calls=self.calls_file) + f'[ "$2" != venv ] || {{ {MAKES_A_VENV}}}'
            )
        (directory / "python3").chmod(0o755)
        self.configure(
            stages=None,
            pipeline_file=".deployctl.yml",
            env={"PATH": f"{directory}:/usr/bin:/bin"},
            healthcheck={"command": "true"},
        )
        self.upstream.commit({".deployctl.yml": EXAMPLES[title][0], "version": "1\n"})

    @property
    def calls_file(self) -> Path:
        return self.directory / "calls"

    @property
    def calls(self) -> list[str]:
        """The command lines of the stubs, in the order of their calls."""
        return self.calls_file.read_text().splitlines()


@pytest.fixture
def app(tmp_path: Path, upstream: Upstream, write_config: WriteConfig) -> Example:
    return Example(tmp_path, upstream, write_config)


def test_the_python_example_runs(app: Example) -> None:
    app.prepare(PYTHON, "supervisorctl")
    app.deploy()
    assert app.calls == [
        "python3 -m venv .venv",
        "pip install --quiet -r requirements.txt",
        "python -m unittest",
        "python manage.py collectstatic --noinput",
        "python manage.py migrate --noinput",
        "supervisorctl restart blog:*",
    ]


def test_the_node_example_runs(app: Example) -> None:
    app.prepare(NODE, "npm", "pm2")
    app.deploy()
    assert app.calls[0] == "npm ci --no-audit --no-fund"
    assert sorted(app.calls[1:3]) == ["npm run lint", "npm test"]
    assert app.calls[3:] == [
        "npm run build",
        "pm2 startOrReload ecosystem.config.js --update-env",
        "pm2 save",
    ]


def test_the_static_site_example_runs(app: Example) -> None:
    app.prepare(STATIC)
    build = "#!/bin/sh -e\nmkdir $1\necho '<html></html>' >$1/index.html\n"
    app.upstream.commit({"build.sh": build, "check-links.sh": "#!/bin/sh\nexit 1\n"})
    document = app.deploy()
    assert document["reason"] == "failed, as allow_failure lets it: links"
    assert (app.path / "current" / "public" / "index.html").exists()
    app.upstream.commit({"build.sh": "#!/bin/sh\nmkdir $1\n"})
    assert app.deploy(code=1)["failure"]["stage"] == "check"


def test_the_docker_compose_example_runs(app: Example) -> None:
    app.prepare(COMPOSE, "docker")
    with (app.directory / "programs" / "docker").open("a") as file:
        file.write(f'echo "$DEPLOYCTL_REVISION" >>{app.directory}/images\n')
    first = app.deploy()
    assert app.calls == [
        "docker compose -p app build --pull",
        "docker compose -p app run --rm --no-deps web ./run-tests",
        "docker compose -p app up -d --no-build --remove-orphans",
        "docker image prune -f",
    ]
    app.push("2")
    app.deploy()
    app.calls_file.unlink()
    app.cli.json("rollback", "app")
    assert app.calls[0] == "docker compose -p app up -d --no-build --remove-orphans"
    images = (app.directory / "images").read_text().splitlines()
    assert images[-2] == first["revision"], "a rollback starts the old image"


def test_the_example_in_the_readme_parses() -> None:
    (block,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", README.read_text())
    assert {"stages", "restart", "healthcheck", "post"} <= parse_pipeline_file(
        block.encode(), "x"
    ).keys()
