"""What is shown of a health check that failed: the answer, log files, what commands print."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from deployctl.health.check import HealthResult
from deployctl.health.evidence import explain
from deployctl.system.command import Command
from deployctl.system.process import Outcome
from deployctl.values.masking import Masker
from deployctl.values.repo import Evidence, HealthCheck
from tests.support.app import App
from tests.support.bark import Bark, bark
from tests.support.unwell import unwell

SECRET = "s3cr3t-of-the-app"


@pytest.fixture
def phone() -> Iterator[Bark]:
    with bark() as server:
        yield server


# What is read of a file


def no_command(command: Command, timeout: float) -> Outcome:
    raise AssertionError("no command was to be run")


def of_file(path: str, directory: Path) -> str:
    """What is shown of a file where what is live is that directory; it is told as well."""
    told: list[str] = []
    shown = explain(
        HealthCheck(command=("probe",), evidence=(Evidence(file=path),)),
        HealthResult(False, "it failed", 1),
        directory=str(directory),
        run_command=no_command,
        mask=Masker([SECRET]).mask_text,
        tell=told.append,
    )
    assert told == [shown]
    return shown


def test_the_last_fifty_lines_of_a_file_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("".join(f"line {number}\r\n" for number in range(100_000)))
    first, *lines = of_file("app.log", tmp_path).split("\n")
    assert first == f"last lines of {log}:"
    assert lines == [f"  line {number}" for number in range(99_950, 100_000)]


def test_of_long_lines_only_the_end_is_shown_and_no_half_of_a_secret(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    size = 8 * 1024
    for shift in range(0, len(SECRET) + 2, 3):
        log.write_text(f"start {SECRET}{'x' * (size - shift)}")
        shown = of_file("app.log", tmp_path)
        assert len(shown) < size + 100
        assert not any(SECRET[at : at + 6] in shown for at in range(len(SECRET) - 5))


def test_a_file_far_larger_than_the_memory_is_read_at_its_end(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    with log.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\nout of memory\n")
    assert of_file(str(log), tmp_path) == f"last lines of {log}:\n  out of memory"


def test_a_line_of_which_only_the_end_was_read_is_not_shown(tmp_path: Path) -> None:
    """Half a secret may be in it, one with spaces too."""
    log = tmp_path / "app.log"
    log.write_text("x" * 100_000 + "y\n")
    shown = of_file("app.log", tmp_path)
    assert shown == f"last lines of {log}: none (its last line is longer than 64 KiB)"
    log.write_text("x y" * 100_000 + "\nlast\n")
    assert of_file("app.log", tmp_path) == f"last lines of {log}:\n  last"


def test_what_a_terminal_would_obey_is_shown_escaped(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_bytes(b"\x1b[2Jred\x00\xff\n\n==> fetch\n")
    assert of_file("app.log", tmp_path) == (
        f"last lines of {tmp_path}/app.log:\n  \\x1b[2Jred\\x00\\xff\n\n  ==> fetch"
    )


def test_a_relative_path_is_named_as_it_will_still_be_after_the_rollback(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "releases/2").mkdir(parents=True)
    (tmp_path / "releases/2/log").symlink_to("../../shared")
    (tmp_path / "current").symlink_to("releases/2")
    (tmp_path / "shared/app.log").write_text("broken\n")
    found = of_file("log/app.log", tmp_path / "current")
    assert found == f"last lines of {tmp_path}/shared/app.log:\n  broken"
    missing = of_file("app.log", tmp_path / "current")
    assert missing == (
        f"last lines of {tmp_path}/releases/2/app.log: none (No such file or directory)"
    )


def make_fifo(place: Path) -> None:
    os.mkfifo(place)


def make_loop(place: Path) -> None:
    place.symlink_to(place)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.touch, "it is empty"),
        (Path.mkdir, "it is a directory and no file"),
        (make_fifo, "it is a pipe and no file"),
        (make_loop, "Too many levels of symbolic links"),
        (lambda place: place.symlink_to("/dev/zero"), "it is a device and no file"),
        (lambda place: place.symlink_to("/proc/self/mem"), "Input/output error"),
    ],
)
def test_what_cannot_be_read_says_so_in_one_line(make: Any, why: str, tmp_path: Path) -> None:
    place = tmp_path / "app.log"
    make(place)
    assert of_file(str(place), tmp_path) == f"last lines of {place}: none ({why})"


# A deployment whose health check fails


def failed(app: App, phone: Bark, *, code: int = 4, **healthcheck: Any) -> dict[str, Any]:
    """The failure of a second deployment, whose check fails: so do all, unless it says 2."""
    top = {"channels": {"phone": phone.url()}}
    usual = {"notify": ["phone"], "secrets": {"TOKEN": SECRET}, "shared_dirs": ["log"]}
    app.configure(top, stages=[], healthcheck=None, **usual)
    app.release("1")
    app.push("2")
    check = {"deadline": 0.2, "interval": 0.1, **healthcheck}
    app.configure(top, stages=[], healthcheck=check, **usual)
    failure: dict[str, Any] = app.deploy(code=code)["failure"]
    return failure


def healthcheck_log(app: App) -> str:
    """The stage of the first health check in the log."""
    log = app.cli("logs", "2").stdout
    return log[log.index("==> healthcheck") : log.index("==> rollback")]


def test_all_evidence_is_in_the_record_the_log_show_and_the_notice(app: App, phone: Bark) -> None:
    (app.path / "shared/log").mkdir(parents=True)
    (app.path / "shared/log/app.log").write_text(f"no database for {SECRET}\x07\n")
    evidence = [
        {"file": "log/app.log", "command": "cat version; echo $TOKEN >&2; exit 3"},
        {"file": "log/none.log"},
    ]
    with unwell(lambda _: f"<h1>Broken</h1>\n{SECRET}\n") as port:
        failure = failed(app, phone, url=f"http://127.0.0.1:{port}/", evidence=evidence)
    assert failure["tail"].split("\n") == [
        "first lines of the answer:",
        "  <h1>Broken</h1>",
        "  [hidden]",
        f"last lines of {app.path}/shared/log/app.log:",
        "  no database for [hidden]\\x07",
        "last lines of the command cat version; echo $TOKEN >&2; exit 3 (exit code 3):",
        "  2",
        "  [hidden]",
        f"last lines of {app.path}/shared/log/none.log: none (No such file or directory)",
    ]
    assert (failure["command"], failure["exit_code"]) == (None, None)
    shown = app.cli("show", "2").stdout
    indented = "\n".join(f"  {line}" for line in failure["tail"].split("\n"))
    assert f"\nevidence:\n{indented}\n" in shown
    parts = re.split(r"\n(?=first|last)", failure["tail"])
    assert phone.posts[-1][1]["body"].endswith("\n\n" + "\n\n".join(parts))
    log = healthcheck_log(app)
    assert re.sub(r"GET .*|ok, .*|failed, .*", "…", log).split("\n") == [
        "==> healthcheck",
        *parts[0].split("\n"),
        *parts[1].split("\n"),
        "$ cat version; echo $TOKEN >&2; exit 3",
        "2",
        "[hidden]",
        parts[3],
        "<== healthcheck: …",
        "",
    ]


def test_evidence_is_looked_at_once_and_not_where_the_check_succeeds(app: App, phone: Bark) -> None:
    looked = app.directory / "looked"
    evidence = {"command": f"cat version >>{looked}; sleep 30"}
    check = "echo not yet; ! grep 2 version"
    failure = failed(app, phone, code=3, command=check, timeout=0.4, evidence=evidence)
    assert looked.read_text() == "2\n"
    assert failure["tail"] == (
        "last lines of the check itself:\n  not yet\n  2\n"
        f"last lines of the command cat version >>{looked}; sleep 30: none (timed out after 0.4s)"
    )
    assert (failure["command"], failure["exit_code"], failure["timed_out"]) == (check, 1, False)


def test_what_an_answer_begins_with_is_called_so(app: App, phone: Bark) -> None:
    with unwell(lambda _: "no database\n") as port:
        failure = failed(app, phone, url=f"http://127.0.0.1:{port}/")
    assert failure["tail"] == "no database\n"
    assert "\nfirst lines:\n  no database\n" in app.cli("show", "2").stdout
    assert "\nfirst lines of the answer:\n  no database\n" in healthcheck_log(app)
