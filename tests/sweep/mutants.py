"""Mistakes that other programs have made, built into deployctl: the sweep must catch each."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO

from deployctl.deploy import recover, worker
from deployctl.releases.layout.atomic import Releases
from deployctl.releases.layout.files import remove
from deployctl.system.durable import sync
from deployctl.system.locks import FileLock
from deployctl.webhook import cgi
from deployctl.webhook.receive import Answer


@dataclass(frozen=True)
class Mutant:
    """A mistake, the operation that must reveal it, and the beginning of the violation's text.

    ``calls`` limits the points that are tried to these calls; empty: all.
    """

    name: str
    patch: Callable[[], None]
    operation: str
    violation: str
    calls: frozenset[str] = frozenset()


def _replace(where: Any, name: str, by: Any) -> None:
    assert hasattr(where, name), f"{where} has no {name} to replace"
    setattr(where, name, by)


def _nothing(*_: object) -> None:
    """Stand in for a function that the mutant does not call."""


def _unlink_and_symlink() -> None:
    """Switch as many deploy scripts do: for a short time nothing is live."""

    def point(self: Releases, link: str) -> None:
        remove(self.current)
        os.symlink(link, self.current)
        sync(self.root)

    _replace(Releases, "_point", point)


def _answer_before_the_commit() -> None:
    """Answer 202 before the delivery is stored."""
    original = cgi.serve

    def serve(
        config: str | None, environ: Mapping[str, str], stdin: BinaryIO, stdout: BinaryIO
    ) -> None:
        stdout.write(b"Status: 202 Accepted\r\n\r\n" + Answer(202, "queued", "").body())
        stdout.flush()
        original(config, environ, stdin, stdout)

    _replace(cgi, "serve", serve)


def _no_recovery() -> None:
    """Never repair after a crash."""
    _replace(worker, "recover_all", _nothing)
    _replace(worker, "recover", _nothing)


def _exists_is_complete() -> None:
    """Take a directory with the right name for a release that was built."""
    original = Releases.prepare

    def new_name(_self: Releases, number: int, revision: str) -> str:
        return f"{number}-{revision[:12]}"

    def prepare(self: Releases, number: int, revision: str, name: str | None) -> list[str]:
        exists = os.path.isdir(self.directory(name))
        return [] if exists else original(self, number, revision, name)

    _replace(Releases, "new_name", new_name)
    _replace(Releases, "prepare", prepare)
    _replace(recover, "prune", _nothing)


def _lock_files() -> None:
    """Lock by the existence of a file, which remains when the process that made it is killed."""

    def lock(self: Any, _how: int) -> bool:
        try:
            flags = os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._fd = os.open(f"{self._path}.taken", flags, 0o600)
        except FileExistsError:
            return False
        return True

    def release(self: Any) -> None:
        if self._fd is not None:
            os.close(self._fd)
            os.unlink(f"{self._path}.taken")
            self._fd = None

    _replace(FileLock, "_lock", lock)
    _replace(FileLock, "release", release)


MUTANTS = {
    mutant.name: mutant
    for mutant in (
        Mutant(
            "unlink-symlink", _unlink_and_symlink, "deploy", "before repair: I2: None is live",
            frozenset(("symlink",)),
        ),
        Mutant("answer-first", _answer_before_the_commit, "accept", "I1"),
        Mutant("no-recovery", _no_recovery, "deploy", "after run: I3"),
        Mutant("exists-is-complete", _exists_is_complete, "run", "I3"),
        Mutant("lock-files", _lock_files, "run", "after run: I3"),
    )
}  # fmt: skip
