"""Plain output: whole lines, escaped control characters, and no error when the reader is gone."""

from __future__ import annotations

import contextlib
import io
import os
from dataclasses import replace

import pytest

from deployctl.output.screen import Output, Screen, Stream, stage_heading
from deployctl.values.deployment import Failure, StageRecord


class Terminal(io.TextIOWrapper):
    """A text stream with an encoding, whose bytes can be read back."""

    def __init__(self, encoding: str = "utf-8") -> None:
        self.bytes = io.BytesIO()
        super().__init__(self.bytes, encoding=encoding, newline="")

    @property
    def shown(self) -> str:
        return self.bytes.getvalue().decode(self.encoding)


@pytest.fixture
def terminal() -> Terminal:
    return Terminal()


@pytest.fixture
def screen(terminal: Terminal) -> Screen:
    return Screen(Stream(terminal))


def test_output_is_shown_at_once_and_lines_begin_on_a_new_line(
    screen: Screen, terminal: Terminal
) -> None:
    screen.line("$ make")
    screen.raw(b"building")
    assert terminal.shown == "$ make\nbuilding"
    screen.line("<== ok")
    assert terminal.shown == "$ make\nbuilding\n<== ok\n"
    screen.raw(b"whole\n")
    screen.line("next")
    assert terminal.shown.endswith("<== ok\nwhole\nnext\n")


def test_a_character_that_comes_in_two_chunks_is_shown_whole(
    screen: Screen, terminal: Terminal
) -> None:
    for byte in "grün\n".encode():
        screen.raw(bytes([byte]))
    assert terminal.shown == "grün\n"


def test_half_a_character_is_shown_before_the_next_line(screen: Screen, terminal: Terminal) -> None:
    screen.raw(b"ok\n\xc3")
    screen.line("next")
    screen.raw(b"\xffx\n")
    assert terminal.shown == "ok\n\\xc3\nnext\n\\xffx\n"


def test_control_characters_are_escaped(screen: Screen, terminal: Terminal) -> None:
    screen.raw(b"\x1b[31mred\r\n\tok\n")
    screen.line("\x1b]0;title\x07 \u202egnp.exe")
    assert terminal.shown == "\\x1b[31mred\\x0d\n\tok\n\\x1b]0;title\\x07 \\u202egnp.exe\n"


def test_characters_that_the_encoding_lacks_are_escaped() -> None:
    terminal = Terminal("ascii")
    Screen(Stream(terminal)).line("grün ✓")
    assert terminal.shown == "gr\\xfcn \\u2713\n"


def test_a_pipe_without_a_reader_is_no_error() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    stream = os.fdopen(writing, "w", buffering=1)
    screen = Screen(Stream(stream))
    for _ in range(3):
        screen.line("hello")
        screen.raw(b"hello")
    with contextlib.suppress(BrokenPipeError):
        stream.close()


def test_a_closed_stream_is_no_error() -> None:
    stream = io.StringIO()
    screen = Screen(Stream(stream))
    screen.line("hello")
    stream.close()
    screen.line("hello")
    screen.raw(b"hello")


STAGE = StageRecord("build", "running", 100.0)
SLOW = replace(STAGE, status="succeeded", duration=250.0, usual=40.0)


def test_stages_and_steps_have_lines_of_their_own(screen: Screen, terminal: Terminal) -> None:
    screen.begin_stage(STAGE)
    screen.begin_step("$ make")
    screen.raw(b"made")
    screen.end_stage(SLOW, "", None)
    failed = replace(SLOW, status="failed", duration=3.0)
    screen.end_stage(failed, "step 1 failed: exit code 2", Failure("build", "x", tail="made"))
    screen.end_stage(replace(STAGE, status="skipped", duration=0.0), "this is a rollback", None)
    screen.close()
    assert terminal.shown.splitlines() == [
        "==> build",
        "$ make",
        "made",
        "<== build: ok, 4m 10s, usually 40s",
        "<== build: failed, 3.0s: step 1 failed: exit code 2",
        "<== build: skipped: this is a rollback",
    ]


def test_a_heading_names_the_host() -> None:
    assert stage_heading(replace(STAGE, host="web1")) == "==> build on web1"


@pytest.mark.parametrize(
    ("took", "usual", "slow"),
    [
        (250.0, 40.0, True),
        (120.0, 40.0, True),
        (119.9, 40.0, False),
        (10.1, 0.1, True),
        (10.0, 0.1, False),
        (250.0, None, False),
        (None, 40.0, False),
    ],
)
def test_a_stage_is_slow_at_three_times_and_ten_seconds_more_than_usual(
    took: float | None, usual: float | None, slow: bool
) -> None:
    assert replace(STAGE, duration=took, usual=usual).slow == slow


def test_the_reason_for_waiting_is_shown_once(screen: Screen, terminal: Terminal) -> None:
    for text in ("waiting: #1 runs", "waiting: #1 runs", "waiting: #2 runs"):
        screen.waiting(text)
    screen.line("begun")
    screen.waiting("waiting: #3 runs")
    assert terminal.shown == "waiting: #1 runs\nbegun\nwaiting: #3 runs\n"


def test_the_output_of_a_worker_shows_nothing(capfd: pytest.CaptureFixture[str]) -> None:
    Output().line("hello")
    Output().raw(b"hello")
    assert capfd.readouterr() == ("", "")
