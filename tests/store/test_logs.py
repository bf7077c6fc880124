"""The log of a deployment: whole if it is short, beginning and end if it is long."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path

import pytest

from deployctl.store.logs import KEPT_AT_EACH_END, LogFile, log_path
from tests.support.paths import ROOT


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "1.log"


def test_lines_and_output_are_written_in_order(path: Path) -> None:
    log = LogFile(str(path))
    log.line("$ make")
    log.begin_step()
    log.raw(b"built")
    log.raw(b" it")
    log.end_step()
    log.line("<== done")
    log.close()
    assert path.read_text() == "$ make\nbuilt it\n<== done\n"


def test_the_position_is_where_the_next_line_begins(path: Path) -> None:
    log = LogFile(str(path))
    log.line("one")
    start = log.position()
    log.raw(b"half a line")
    start = log.position()
    log.line("two")
    assert path.read_bytes()[start : log.position()] == b"two\n"
    log.close()
    assert log.position() == 0


def test_a_second_attempt_appends_to_the_log_of_the_first(path: Path) -> None:
    for text in ("first attempt", "second attempt"):
        log = LogFile(str(path))
        log.line(text)
        log.close()
    assert path.read_text() == "first attempt\nsecond attempt\n"


@pytest.mark.parametrize("size", [1, 3, 7, 100])
def test_the_beginning_and_the_end_of_long_output_are_kept(path: Path, size: int) -> None:
    output = bytes(range(65, 91)) * 4
    log = LogFile(str(path), kept_at_each_end=10)
    log.begin_step()
    for start in range(0, len(output), size):
        log.raw(output[start : start + size])
    log.end_step()
    log.line("end")
    log.close()
    assert path.read_bytes() == (
        output[:10] + b"\n[84 bytes of output are left out here]\n" + output[-10:] + b"\nend\n"
    )


@pytest.mark.parametrize("size", [10, 11, 19, 20])
def test_output_that_fits_is_kept_whole(path: Path, size: int) -> None:
    log = LogFile(str(path), kept_at_each_end=10)
    log.begin_step()
    log.raw(b"x" * size)
    log.end_step()
    log.close()
    assert path.read_bytes() == b"x" * size


def test_every_step_has_a_limit_of_its_own(path: Path) -> None:
    log = LogFile(str(path), kept_at_each_end=4)
    for letter in (b"a", b"b"):
        log.begin_step()
        log.raw(letter * 10)
        log.end_step()
    log.close()
    assert path.read_text() == (
        "aaaa\n[2 bytes of output are left out here]\naaaa"
        "bbbb\n[2 bytes of output are left out here]\nbbbb"
    )


def test_the_last_output_of_an_interrupted_step_is_written_before_the_next_line(
    path: Path,
) -> None:
    log = LogFile(str(path), kept_at_each_end=4)
    log.begin_step()
    log.raw(b"0123456789\n")
    log.line("<== build: cancelled")
    log.close()
    assert path.read_text() == (
        "0123\n[3 bytes of output are left out here]\n789\n<== build: cancelled\n"
    )


def test_the_last_output_of_a_step_is_written_when_the_log_is_closed(path: Path) -> None:
    log = LogFile(str(path), kept_at_each_end=4)
    log.begin_step()
    log.raw(b"01234567")
    log.close()
    log.close()
    assert path.read_text() == "01234567"


def test_ten_mebibytes_of_a_step_are_kept_and_memory_stays_bounded(path: Path) -> None:
    log = LogFile(str(path))
    log.begin_step()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    chunk = b"x" * 1023 + b"\n"
    for _ in range(40 * 1024):
        log.raw(chunk)
    log.end_step()
    log.close()
    assert 2 * KEPT_AT_EACH_END < path.stat().st_size < 2 * KEPT_AT_EACH_END + 100
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 40 * 1024


def test_bytes_that_are_not_text_are_written_unchanged(path: Path) -> None:
    log = LogFile(str(path))
    log.raw(b"\xff\x00\n")
    log.line("half a pair: \udcff")
    log.close()
    assert path.read_bytes() == b"\xff\x00\nhalf a pair: \\udcff\n"


def test_a_log_is_private_whatever_the_umask(path: Path) -> None:
    before = os.umask(0)
    try:
        LogFile(str(path)).close()
    finally:
        os.umask(before)
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_log_that_cannot_be_opened_raises_nothing(tmp_path: Path) -> None:
    log = LogFile(str(tmp_path / "missing" / "1.log"))
    log.line("hello")
    log.raw(b"hello")
    log.end_step()
    assert log.position() == 0
    log.close()


WRITING_TO_A_FULL_DISK = """
import resource, signal, sys
from deployctl.store.logs import LogFile
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
log = LogFile(sys.argv[1])
log.line("x" * 90)
log.line("y" * 90)
log.line("z" * 90)
log.close()
"""


def test_a_full_disk_raises_nothing(path: Path) -> None:
    command = [sys.executable, "-c", WRITING_TO_A_FULL_DISK, str(path)]
    subprocess.run(command, cwd=ROOT, check=True)
    assert path.read_text().startswith("x" * 90 + "\n")
    assert path.stat().st_size == 100


def test_the_log_of_a_deployment_is_named_by_its_number() -> None:
    assert log_path("/state", 17) == "/state/logs/17.log"
