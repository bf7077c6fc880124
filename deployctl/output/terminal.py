"""Show a deployment on a terminal: a line for each stage, and progress of the running one."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from deployctl.output.region import Region
from deployctl.output.screen import Output, Screen, Stream, step_heading
from deployctl.system.process import LastLines
from deployctl.values.deployment import Failure, StageRecord
from deployctl.values.masking import escape_controls
from deployctl.values.text import cut
from deployctl.values.times import duration

_PAUSE = 0.25  # seconds between two repaints
_TAIL = 3  # last lines of the output that are shown while a step runs
_WIDE = 40  # columns that a terminal must have at least for a table of name, word and duration
_NAME, _WORD, _DURATION = 11, 6, 6  # widths of that table's columns

# ECMA-48, SGR; the terminal's own eight colours are readable on its own background.
_BOLD, _DIM, _RED, _GREEN, _YELLOW = "1", "2", "31", "32", "33"
_COLOURS = {"succeeded": _GREEN, "skipped": _DIM}


class Terminal(Output):
    """An output that shows the progress in place, and of a stage that succeeded only one line.

    A thread of its own repaints. The thread that deploys only stores what is new, so that a step
    which prints a gigabyte costs a few repaints a second.
    """

    draws_stages = True

    def __init__(self, stream: Stream, *, colours: bool) -> None:
        self._stream = stream
        self._colours = colours
        self._screen = Screen(stream)
        self._region = Region(stream)
        self._lock = threading.RLock()
        self._closed = threading.Event()
        self._ticker: threading.Thread | None = None
        self._stage: StageRecord | None = None
        self._now = ""  # what is waited for, or the step that runs
        self._since = 0.0  # when that began, in seconds of time.monotonic()
        self._last = LastLines()
        self._notes: list[str] = []

    def line(self, text: str) -> None:
        """Show a line; during a stage temporarily, and once more below the stage when that ends."""
        with self._lock:
            if self._stage is None:
                self._clear()
                self._screen.line(text)
            else:
                self._notes.append(text)
                self._last(f"{text}\n".encode(errors="backslashreplace"))

    def raw(self, chunk: bytes) -> None:
        with self._lock:
            if self._stage is None:
                self._clear()
                self._screen.raw(chunk)
            else:
                self._last(chunk)

    def waiting(self, text: str) -> None:
        with self._lock:
            if self._now != text:
                self._begin(None, text)

    def begin_stage(self, stage: StageRecord) -> None:
        with self._lock:
            self._begin(stage, "")

    def begin_step(self, heading: str, *, parallel: bool = False) -> None:
        with self._lock:
            self._now = heading
            if not parallel:
                self._last = LastLines()

    def end_stage(self, stage: StageRecord, why: str, failure: Failure | None) -> None:
        with self._lock:
            evidence = _evidence(failure) if failure else self._last.tail().splitlines()
            notes = [*self._notes, *(evidence if stage.status == "failed" else ())]
            self._clear()
            columns, _ = self._region.size()
            self._stream.write(f"{self._end_line(stage, columns, why)}\n")
            for note in notes:
                self._screen.line(f"  {note}")

    def close(self) -> None:
        self._closed.set()
        if self._ticker is not None:
            self._ticker.join()
        with self._lock:
            self._clear()

    def _begin(self, stage: StageRecord | None, now: str) -> None:
        self._stage, self._now = stage, now
        elapsed = time.time() - stage.started_at if stage else 0.0
        self._since = time.monotonic() - max(elapsed, 0.0)
        self._last, self._notes = LastLines(), []
        self._paint()
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            _start_without_signals(self._ticker)

    def _clear(self) -> None:
        self._stage, self._now = None, ""
        self._region.clear()

    def _tick(self) -> None:
        while not self._closed.wait(_PAUSE):
            with self._lock:
                self._paint()

    def _paint(self) -> None:
        if self._stage is None and not self._now:
            return
        columns, rows = self._region.size()
        head = cut(self._head(columns), columns - 1)
        lines = [line for line in self._last.tail().splitlines() if line.strip()][-_TAIL:]
        tail = [cut(f"    {_one_line(line)}", columns - 1) for line in lines[: max(rows - 2, 0)]]
        self._region.paint(
            [self._styled(_BOLD, head), *(self._styled(_DIM, line) for line in tail)]
        )

    def _head(self, columns: int) -> str:
        elapsed = time.monotonic() - self._since
        if self._stage is None:
            return f"{_one_line(self._now)}  {duration(elapsed)}"
        running = replace(self._stage, duration=elapsed)
        cells = _cells(running, "", columns)
        return "  ".join([*cells, *_usual_duration(running), _one_line(self._now)])

    def _end_line(self, stage: StageRecord, columns: int, why: str) -> str:
        name, word, took = _cells(stage, stage.word, columns)
        word = self._styled(_COLOURS.get(stage.status, _RED), word)
        usually = [self._styled(_YELLOW, text) for text in _usual_duration(stage)]
        return "  ".join([name, word, took, *usually, *filter(None, [_one_line(why)])])

    def _styled(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colours else text


def _cells(stage: StageRecord, word: str, columns: int) -> list[str]:
    """Return name, word and duration of a stage, as cells of a table on a wide terminal."""
    name = _one_line(f"{stage.name} on {stage.host}" if stage.host else stage.name)
    took = duration(stage.duration)
    if columns < _WIDE:
        return [name, word, took]
    return [name.ljust(_NAME), word.ljust(_WORD), took.rjust(_DURATION)]


def _usual_duration(stage: StageRecord) -> list[str]:
    """Return how long a slow stage usually takes; nothing for any other stage."""
    return [f"usually {duration(stage.usual)}"] if stage.slow else []


def _evidence(failure: Failure) -> Iterator[str]:
    """Yield the command that failed and the last lines of its output."""
    if failure.command:
        yield step_heading(failure.command)
    yield from failure.tail.splitlines()


def _one_line(text: str) -> str:
    """Return a text on one line, without tabs: the width of one depends on its column."""
    return escape_controls(text).replace("\n", " ").replace("\t", " ")


def _start_without_signals(thread: threading.Thread) -> None:
    """Start a thread that the kernel delivers no signals to.

    A signal must interrupt what the thread that deploys waits for: one that is delivered to another
    thread does not.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
