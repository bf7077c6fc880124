"""Tests of the evidence for a failed health check: response, log files, output of commands."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest

from deployctl.health.evidence import collect_evidence
from deployctl.values.masking import Masker
from deployctl.values.repo import Evidence, HealthCheck
from tests.support.app import App
from tests.support.bark import Bark
from tests.support.failing_server import failing_server
from tests.support.health import no_command

SECRET = "s3cr3t-of-the-app"


# Files


def evidence_from(path: str, directory: Path) -> str:
    """Return the evidence from a file; ``directory`` is the live directory.

    The same text must have been passed to ``tell``.
    """
    passed: list[str] = []
    shown = collect_evidence(
        HealthCheck(command=("probe",), evidence=(Evidence(file=path),)),
        "",
        heading="Last lines of the check itself",
        directory=str(directory),
        run_command=no_command,
        mask=Masker([SECRET]).mask_text,
        tell=passed.append,
    )
    assert passed == [shown]
    return shown


def test_the_last_fifty_lines_of_a_file_are_shown(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    log.write_text("".join(f"line {number}\r\n" for number in range(100_000)))
    first, *lines = evidence_from("app.log", tmp_path).split("\n")
    assert first == f"last lines of {log}:"
    assert lines == [f"  line {number}" for number in range(99_950, 100_000)]


def test_only_the_end_of_long_lines_is_shown_and_no_part_of_a_secret(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    size = 8 * 1024
    for shift in range(0, len(SECRET) + 2, 3):
        log.write_text(f"start {SECRET}{'x' * (size - shift)}")
        shown = evidence_from("app.log", tmp_path)
        assert len(shown) < size + 100
        assert not any(SECRET[at : at + 6] in shown for at in range(len(SECRET) - 5))


def test_only_the_end_of_a_huge_file_is_read(tmp_path: Path) -> None:
    log = tmp_path / "app.log"
    with log.open("wb") as file:
        file.truncate(1 << 40)
        file.seek(0, os.SEEK_END)
        file.write(b"\nout of memory\n")
    assert evidence_from(str(log), tmp_path) == f"last lines of {log}:\n  out of memory"


def test_a_line_is_not_shown_if_only_its_end_was_read(tmp_path: Path) -> None:
    """It may begin with half a secret, also with one that has spaces."""
    log = tmp_path / "app.log"
    log.write_text("x" * 100_000 + "y\n")
    shown = evidence_from("app.log", tmp_path)
    assert shown == f"last lines of {log}: none (its last line is longer than 64 KiB)"
    log.write_text("x y" * 100_000 + "\nlast\n")
    assert evidence_from("app.log", tmp_path) == f"last lines of {log}:\n  last"


def test_control_characters_are_escaped(tmp_path: Path) -> None:
    (tmp_path / "app.log").write_bytes(b"\x1b[2Jred\x00\xff\n\n==> fetch\n")
    assert evidence_from("app.log", tmp_path) == (
        f"last lines of {tmp_path}/app.log:\n  \\x1b[2Jred\\x00\\xff\n\n  ==> fetch"
    )


def test_the_shown_path_of_a_file_is_still_right_after_the_rollback(tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "releases/2").mkdir(parents=True)
    (tmp_path / "releases/2/log").symlink_to("../../shared")
    (tmp_path / "current").symlink_to("releases/2")
    (tmp_path / "shared/app.log").write_text("broken\n")
    shown = evidence_from("log/app.log", tmp_path / "current")
    assert shown == f"last lines of {tmp_path}/shared/app.log:\n  broken"
    missing = evidence_from("app.log", tmp_path / "current")
    assert missing == (
        f"last lines of {tmp_path}/releases/2/app.log: none (No such file or directory)"
    )


def make_fifo(path: Path) -> None:
    os.mkfifo(path)


def make_loop(path: Path) -> None:
    path.symlink_to(path)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (Path.touch, "it is empty"),
        (Path.mkdir, "it is a directory and no file"),
        (make_fifo, "it is a pipe and no file"),
        (make_loop, "Too many levels of symbolic links"),
        (lambda path: path.symlink_to("/dev/zero"), "it is a device and no file"),
        (lambda path: path.symlink_to("/proc/self/mem"), "Input/output error"),
    ],
)
def test_a_file_that_cannot_be_read_gives_one_line_with_the_reason(
    make: Any, why: str, tmp_path: Path
) -> None:
    path = tmp_path / "app.log"
    make(path)
    assert evidence_from(str(path), tmp_path) == f"last lines of {path}: none ({why})"


# A deployment whose health check fails


def failed_deployment(
    app: App, phone: Bark, *, code: int = 4, **healthcheck: Any
) -> dict[str, Any]:
    """Deploy twice, the second time with this health check; return the failure of the second.

    ``code`` is the expected exit code of the second: 4 (the default) if the health check fails for
    both releases, 3 if only for the second.
    """
    top = {"channels": {"phone": phone.url()}}
    common_keys = {"notify": ["phone"], "secrets": {"TOKEN": SECRET}, "shared_dirs": ["log"]}
    app.configure(top, stages=[], healthcheck=None, **common_keys)
    app.release("1")
    app.push("2")
    check = {"deadline": 2, "interval": 1, "stable_for": 0, **healthcheck}
    app.configure(top, stages=[], healthcheck=check, **common_keys)
    failure: dict[str, Any] = app.deploy(code=code)["failure"]
    return failure


def healthcheck_log(app: App) -> str:
    """Return the part of the log of deployment 2 that is about its first health check."""
    log = app.cli("logs", "2").stdout
    return log[log.index("==> healthcheck") : log.index("==> rollback")]


def test_evidence_is_in_the_record_the_log_the_notice_and_the_output_of_show(
    app: App, phone: Bark
) -> None:
    (app.path / "shared/log").mkdir(parents=True)
    (app.path / "shared/log/app.log").write_text(f"no database for {SECRET}\x07\n")
    evidence = [
        {"file": "log/app.log", "command": "cat version; echo $TOKEN >&2; exit 3"},
        {"file": "log/none.log"},
    ]
    with failing_server(lambda _: f"<h1>Broken</h1>\n{SECRET}\n") as port:
        failure = failed_deployment(app, phone, url=f"http://127.0.0.1:{port}/", evidence=evidence)
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


def test_evidence_is_collected_once_and_only_if_the_check_fails(app: App, phone: Bark) -> None:
    calls = app.directory / "calls"
    evidence = {"command": f"cat version >>{calls}; sleep 30"}
    check = "echo not yet; ! grep 2 version"
    failure = failed_deployment(app, phone, code=3, command=check, timeout=0.4, evidence=evidence)
    assert calls.read_text() == "2\n"
    assert failure["tail"] == (
        "last lines of the check itself:\n  not yet\n  2\n"
        f"last lines of the command cat version >>{calls}; sleep 30: none (timed out after 0.4s)"
    )
    assert (failure["command"], failure["exit_code"], failure["timed_out"]) == (check, 1, False)


def test_the_beginning_of_a_response_is_shown_under_first_lines(app: App, phone: Bark) -> None:
    with failing_server(lambda _: "no database\n") as port:
        failure = failed_deployment(app, phone, url=f"http://127.0.0.1:{port}/")
    assert failure["tail"] == "no database\n"
    assert "\nfirst lines:\n  no database\n" in app.cli("show", "2").stdout
    assert "\nfirst lines of the answer:\n  no database\n" in healthcheck_log(app)
