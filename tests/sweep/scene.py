"""What the sweep is run on: one repo, pushed to and deployed, put back to any beginning."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from deployctl.__main__ import main
from deployctl.store import queue
from deployctl.store.database import FILE, Database
from tests.support import deliveries
from tests.support.upstream import Upstream
from tests.sweep.faults import adopt_orphans, end_all_below, reap

VERSIONS = 5  # 1 to 4 were deployed, 5 is pushed
FILES = 8
_STAMP = "echo {word} $$ >> {up}stamps"
_LONG_AGO = 86400.0 * 400

_PATIENCE = 15  # seconds; who waits longer waits for ever

Work = Callable[[], int]


@dataclass(frozen=True)
class Called:
    """How a call of ours ended."""

    code: int
    output: str


class Scene:
    """A directory in which everything happens: ``now``, and its beginnings by name.

    Every beginning is copied to the same place before it is used, so that paths stay true. What is
    deployed is pushed to a repository in ``upstream``, or beside.
    """

    def __init__(self, directory: Path, strategy: str, upstream: Path | None = None) -> None:
        self.strategy = strategy
        self.now = directory / "now"
        self.app = self.now / "app"
        self.state = self.now / "state"
        self.config = self.now / "repos.yml"
        self.mutate: Callable[[], None] | None = None
        self._beginnings = directory / "beginnings"
        self.now.mkdir(parents=True)
        self._upstream = Upstream(upstream or directory)
        self.revisions: list[str] = []
        for _ in range(VERSIONS):
            self.push()

    def push(self, kind: str = "") -> None:
        """Commit the next version; ``broken`` fails its stage, ``bad`` its health check."""
        version = len(self.revisions) + 1
        files = {f"lib/{number % 5}/{number}": f"{number}\n" for number in range(FILES)}
        files |= {"version": f"{version}\n", "kind": f"{kind}\n"}
        self.revisions.append(self._upstream.commit(files, f"Version {version}"))

    def build(self) -> None:
        """Deploy the versions 1 to 4, and keep what is needed to begin with."""
        adopt_orphans()
        self.configure(keep_releases=5)
        for revision in self.revisions[:-1]:
            done = self.deployctl("deploy", "app", "--revision", revision)
            assert done.code == 0, done.output
        self._grow_old()
        self.configure(keep_releases=2)
        self.keep("live")
        with Database(str(self.state)) as db, db.writing() as connection:
            queue.enqueue(connection, repo="app", trigger="cron", actor="sweep", now=time.time())
        self.keep("queued")
        for name, step in (("half-built", "stages"), ("half-live", "restart")):
            self._die_in(step)
            self.keep(name)

    def _die_in(self, step: str) -> None:
        """Let the runner be killed by a step of its own, while that goes on."""
        self.begin("queued")
        deadly = "kill -KILL $PPID; sleep 60"
        self.configure(**{step: deadly if step == "restart" else [{"name": "x", "run": deadly}]})
        done = self.deployctl("run")
        assert done.code == -signal.SIGKILL, done
        end_all_below()
        reap()
        self.configure(keep_releases=2)

    def _grow_old(self) -> None:
        """What has been there for so long that it is to be removed: deliveries, a log."""
        long_ago = time.time() - _LONG_AGO
        with Database(str(self.state)) as db, db.writing() as connection:
            for _ in range(3):
                connection.execute(
                    "INSERT INTO deliveries (received_at, result, reason)"
                    " VALUES (?, 'ignored', 'long ago')",
                    (long_ago,),
                )
        os.utime(self.state / "logs" / "1.log", (long_ago, long_ago))

    def configure(self, **keys: object) -> None:
        """Write repos.yml; the steps leave stamps, so that it is seen when they ran."""
        beside = self.strategy == "releases"
        # In place, what one version built is still there for the next one: restart builds it.
        build, test = "cat version > built", "grep -qv broken kind"
        repo = {
            "url": self._upstream.url,
            "path": str(self.app),
            "strategy": self.strategy,
            "id": 1296269,
            "webhook_secret": deliveries.SECRET,
            "min_free": 0,
            "stages": [
                {"name": "build", "run": self._stamped(f"{test}; {build}" if beside else test)}
            ],
            "restart": self._stamped("true" if beside else build),
            "healthcheck": {
                "command": "cmp version built && grep -qv bad kind",
                "deadline": 0.1,
                "interval": 0.1,
            },
            **keys,
        }
        if self.strategy == "releases":
            repo["shared_dirs"] = ["data"]
        document = {"state_dir": str(self.state), "repos": {"app": repo}}
        self.config.write_text(yaml.safe_dump(document))
        self.config.chmod(0o600)

    def _stamped(self, command: str) -> str:
        up = f"{self.now}/"
        first, last = (_STAMP.format(word=word, up=up) for word in ("start", "stop"))
        return f"{first}; {command}; {last}"

    def keep(self, name: str) -> None:
        """What is now becomes a beginning."""
        shutil.copytree(self.now, self._beginnings / name, symlinks=True)

    def begin(self, name: str) -> None:
        """Put the beginning of that name where everything happens."""
        shutil.rmtree(self.now)
        shutil.copytree(self._beginnings / name, self.now, symlinks=True)

    def command(self, *words: str) -> Work:
        """The command line, to be run in a process of its own that was forked from this one."""

        def work() -> int:
            self._be_a_program({})
            sys.argv = ["deployctl", "-c", str(self.config), *words]
            try:
                main()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
            return 0

        return work

    def delivery(self) -> Work:
        """deploy.cgi, given a signed push."""

        def work() -> int:
            from deployctl.webhook.cgi import main as answer

            body = json.dumps(deliveries.push(after=self.revisions[-1])).encode()
            file = self.now / "body"
            file.write_bytes(body)
            os.dup2(os.open(file, os.O_RDONLY), 0)
            self._be_a_program(_cgi_environment(body))
            answer(str(self.config))

        return work

    def _be_a_program(self, environment: Mapping[str, str]) -> None:
        """As if just started: with a directory, an environment and streams of its own."""
        os.chdir(self.now)
        os.environ.clear()
        os.environ.update({"PATH": os.defpath, "LANG": "C.UTF-8", **environment})
        for number, name in ((1, "stdout"), (2, "stderr")):
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        if self.mutate is not None:
            self.mutate()

    def deployctl(self, *words: str) -> Called:
        """Run a command to its end, without any fault."""
        return call(self.command(*words))

    @property
    def live(self) -> str | None:
        """The revision whose files are there, as git or the release itself says; None: none."""
        with contextlib.suppress(OSError):
            if self.strategy == "releases":
                return (self.app / "current" / "REVISION").read_text().strip()
            return (self.app / ".git" / "HEAD").read_text().strip()
        return None

    def rows(self, question: str) -> list[tuple[object, ...]]:
        """Ask the record, which is opened for reading alone."""
        connection = sqlite3.connect(f"file:{self.state / FILE}?mode=rw", uri=True)
        try:
            return connection.execute(question).fetchall()
        finally:
            connection.close()


def call(work: Work) -> Called:
    """Do the work in a child of ours -> how it ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 99
        try:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.close(reading)
            os.close(writing)
            signal.alarm(_PATIENCE)
            code = work()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        output = file.read().decode(errors="replace")
    return Called(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output)


def _cgi_environment(body: bytes) -> dict[str, str]:
    found = {"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "POST", "PATH_INFO": ""}
    for name, value in deliveries.headers(body).items():
        upper = name.upper().replace("-", "_")
        found[upper if upper.startswith("CONTENT_") else f"HTTP_{upper}"] = value
    return found
