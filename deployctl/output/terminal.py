"""A deployment on a terminal: a line for each stage, and of the running one what it does now."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace

from deployctl.output.region import Region
from deployctl.output.screen import Output, Screen, Stream, prompt
from deployctl.system.process import LastLines
from deployctl.values.deployment import Failure, StageRecord
from deployctl.values.masking import escape_controls
from deployctl.values.text import cut
from deployctl.values.times import duration

_PAUSE = 0.25  # seconds between two looks at what is new
_TAIL = 3  # lines of the running step
_WIDE = 40  # columns from which on there is room to put words below each other
_NAME, _WORD, _TOOK = 11, 6, 6

# ECMA-48, SGR; the terminal's own eight colours are readable on its own background.
_BOLD, _DIM, _RED, _GREEN, _YELLOW = "1", "2", "31", "32", "33"
_COLOURS = {"succeeded": _GREEN, "skipped": _DIM}


class Terminal(Output):
    """Shows how far it is; what a step prints is gone again once it has succeeded.

    A thread keeps the time. The one that deploys only says what is new, so a step that prints a
    gigabyte costs a few repaints a second.
    """

    in_place = True

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
        self._since = 0.0
        self._last = LastLines()
        self._notes: list[str] = []

    def line(self, text: str) -> None:
        """In a stage it is shown for the moment, and below the stage when that has ended."""
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

    def begin_step(self, prompt: str, *, beside: bool = False) -> None:
        with self._lock:
            self._now = prompt
            if not beside:
                self._last = LastLines()

    def end_stage(self, stage: StageRecord, why: str, failure: Failure | None) -> None:
        with self._lock:
            evidence = _evidence(failure) if failure else self._last.tail().splitlines()
            notes = [*self._notes, *(evidence if stage.status == "failed" else ())]
            self._clear()
            columns, _ = self._region.size()
            self._stream.write(f"{self._ended(stage, columns, why)}\n")
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
        already = time.time() - stage.started_at if stage else 0.0
        self._since = time.monotonic() - max(already, 0.0)
        self._last, self._notes = LastLines(), []
        self._paint()
        if self._ticker is None:
            self._ticker = threading.Thread(target=self._tick, daemon=True)
            _start_undisturbed(self._ticker)

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
        tail = [cut(f"    {_shown(line)}", columns - 1) for line in lines[: max(rows - 2, 0)]]
        self._region.paint([self._in(_BOLD, head), *(self._in(_DIM, line) for line in tail)])

    def _head(self, columns: int) -> str:
        passed = time.monotonic() - self._since
        if self._stage is None:
            return f"{_shown(self._now)}  {duration(passed)}"
        running = replace(self._stage, duration=passed)
        return "  ".join([*_cells(running, "", columns), *_usually(running), _shown(self._now)])

    def _ended(self, stage: StageRecord, columns: int, why: str) -> str:
        name, word, took = _cells(stage, stage.word, columns)
        word = self._in(_COLOURS.get(stage.status, _RED), word)
        told = [self._in(_YELLOW, usual) for usual in _usually(stage)]
        return "  ".join([name, word, took, *told, *filter(None, [_shown(why)])])

    def _in(self, style: str, text: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self._colours else text


def _cells(stage: StageRecord, word: str, columns: int) -> list[str]:
    """Name, word and time, below those of the stage before where there is room for that."""
    name = _shown(f"{stage.name} on {stage.host}" if stage.host else stage.name)
    took = duration(stage.duration)
    if columns < _WIDE:
        return [name, word, took]
    return [name.ljust(_NAME), word.ljust(_WORD), took.rjust(_TOOK)]


def _usually(stage: StageRecord) -> list[str]:
    return [f"usually {duration(stage.usual)}"] if stage.slow else []


def _evidence(failure: Failure) -> Iterator[str]:
    """The step that failed and what it said last."""
    if failure.command:
        yield prompt(failure.command)
    yield from failure.tail.splitlines()


def _shown(text: str) -> str:
    """On one line, and without a tab, which is as wide as the place it stands at wants."""
    return escape_controls(text).replace("\n", " ").replace("\t", " ")


def _start_undisturbed(thread: threading.Thread) -> None:
    """Signals are for the thread that deploys: one that another gets interrupts no wait there."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        thread.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
