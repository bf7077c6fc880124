"""The static status page: its contents, its file, and errors."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from tests.conftest import WriteConfig
from tests.support.app import App
from tests.support.cli import Cli, Done
from tests.support.upstream import Upstream


class _Page(HTMLParser):
    """The words and the tags of an HTML page."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []
        self.tags: set[str] = set()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)

    def handle_data(self, data: str) -> None:
        self.words += data.split()


def _deployctl(config: Path, *words: str) -> Done:
    return Cli(config.parent, config)(*words)


def _parse(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text())
    return page


def test_the_page_shows_what_is_live_and_past_deployments(
    tmp_path: Path, upstream: Upstream, write_config: WriteConfig
) -> None:
    revision = upstream.commit({"a": "1"}, "Größer <script>alert(1)</script> & schöner")
    config = write_config({"app": {}})
    _deployctl(config, "deploy", "app")
    done = _deployctl(config, "status", "--page", str(tmp_path / "web"))
    assert (done.code, done.stderr) == (0, "")
    page = _parse(tmp_path / "web" / "index.html")
    text = " ".join(page.words)
    assert f"Live: {revision[:12]} Größer <script>alert(1)</script> & schöner (since" in text
    assert "#1 succeeded" in text
    assert "script" not in page.tags
    assert str(tmp_path) not in text


def test_a_web_server_can_read_the_page_whatever_the_umask_is(
    tmp_path: Path, upstream: Upstream, write_config: WriteConfig
) -> None:
    config = write_config({"app": {}})
    _deployctl(config, "status", "--page", str(tmp_path / "web"))
    assert (tmp_path / "web").stat().st_mode & 0o777 == 0o755
    assert (tmp_path / "web" / "index.html").stat().st_mode & 0o777 == 0o644
    assert os.listdir(tmp_path / "web") == ["index.html"]


@pytest.mark.parametrize("repos", [{}, {"app": {}}])
def test_before_the_first_deployment_the_page_says_that_nothing_is_live(
    tmp_path: Path, write_config: WriteConfig, repos: dict[str, dict[str, str]]
) -> None:
    _deployctl(write_config(repos), "status", "--page", str(tmp_path / "web"))
    text = " ".join(_parse(tmp_path / "web" / "index.html").words)
    assert ("Nothing is live yet." if repos else "No repos yet.") in text


def test_a_directory_that_cannot_be_made_is_an_error(
    tmp_path: Path, write_config: WriteConfig
) -> None:
    (tmp_path / "file").touch()
    done = _deployctl(write_config({}), "status", "--page", str(tmp_path / "file" / "web"))
    assert done.code == 1
    assert done.stderr == f"deployctl: {tmp_path}/file: Not a directory\n"


def test_a_relative_directory_is_made_in_the_working_directory(
    tmp_path: Path, write_config: WriteConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = write_config({"app": {}})
    monkeypatch.chdir(tmp_path)
    for directory in ("public", "a/b"):
        done = _deployctl(config, "status", "--page", directory)
        assert (done.code, done.stderr) == (0, "")
        assert (tmp_path / directory / "index.html").is_file()


def test_an_empty_directory_name_is_wrong_usage(write_config: WriteConfig) -> None:
    done = _deployctl(write_config({"app": {}}), "status", "--page", "")
    assert (done.code, done.stderr) == (
        2,
        "deployctl: --page wants a directory: name one, for example --page public\n",
    )


def test_the_page_is_written_after_every_outcome(app: App) -> None:
    app.configure({"status_page": "public"})
    index = app.directory / "public" / "index.html"
    app.release("1")
    assert "#1 succeeded" in " ".join(_parse(index).words)
    app.push("2")
    assert app.cli("sync", "-q").code == 0
    assert "#2 succeeded" in " ".join(_parse(index).words)
    app.cli("rollback", "app")
    words = " ".join(_parse(index).words)
    assert "#3 succeeded" in words
    assert "Held: " in words
    app.push("bad")
    app.deploy(code=3)
    assert "#4 rolled_back" in " ".join(_parse(index).words)
    app.push("")
    app.deploy(code=1)
    assert "#5 failed" in " ".join(_parse(index).words)
    assert index.stat().st_mode & 0o777 == 0o644


def test_a_page_that_cannot_be_written_changes_no_outcome(app: App) -> None:
    (app.directory / "file").touch()
    app.configure({"status_page": "file/web"})
    app.push("1")
    done = app.cli("deploy", "app")
    assert done.code == 0
    assert done.stdout.splitlines()[-1] == (
        f"warning: cannot write the status page: {app.directory}/file: Not a directory"
    )
    assert app.live == "1"
