"""The scene of the sweep: one deployed repo, which can be put back to each of some saved states."""

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
from tests.sweep.faults import adopt_orphans, kill_descendants, reap

VERSIONS = 5  # 1 to 4 were deployed, 5 is pushed
FILES = 8
_STAMP = "echo {word} $$ >> {up}stamps"
_LONG_AGO = 86400.0 * 400

_TIMEOUT = 15  # seconds; a command that takes longer hangs

Work = Callable[[], int]


@dataclass(frozen=True)
class Result:
    """Exit code and output of a command; the code is negative if a signal ended it."""

    code: int
    output: str


class Scene:
    """A directory ``root`` with one repo, its state and its repos.yml; and saved copies of it.

    A saved copy is always restored to the same path, as repos.yml and the record contain absolute
    paths. The repository to deploy from is made in ``upstream`` (None: in ``directory``).
    """

    def __init__(self, directory: Path, strategy: str, upstream: Path | None = None) -> None:
        self.strategy = strategy
        self.root = directory / "now"
        self.app = self.root / "app"
        self.state = self.root / "state"
        self.config = self.root / "repos.yml"
        self.mutate: Callable[[], None] | None = None
        self._saved = directory / "saved"
        self.root.mkdir(parents=True)
        self._upstream = Upstream(upstream or directory)
        self.revisions: list[str] = []
        for _ in range(VERSIONS):
            self.push()

    def push(self, kind: str = "") -> None:
        """Commit and push the next version.

        ``kind`` is empty (a good one), ``broken`` (its stage fails) or ``bad`` (its health check
        fails).
        """
        version = len(self.revisions) + 1
        files = {f"lib/{number % 5}/{number}": f"{number}\n" for number in range(FILES)}
        files |= {"version": f"{version}\n", "kind": f"{kind}\n"}
        self.revisions.append(self._upstream.commit(files, f"Version {version}"))

    def build(self) -> None:
        """Deploy the versions 1 to 4, and save the states that operations start from."""
        adopt_orphans()
        self.configure(keep_releases=5)
        for revision in self.revisions[:-1]:
            done = self.deployctl("deploy", "app", "--revision", revision)
            assert done.code == 0, done.output
        self._add_old_data()
        self.configure(keep_releases=2)
        self.save("live")
        with Database(str(self.state)) as db, db.writing() as connection:
            queue.enqueue(connection, repo="app", trigger="cron", actor="sweep", now=time.time())
        self.save("queued")
        for name, step in (("half-built", "stages"), ("half-live", "restart")):
            self._kill_runner_in(step)
            self.save(name)

    def _kill_runner_in(self, step: str) -> None:
        """Start a deployment that is killed by its own step, which goes on meanwhile."""
        self.restore("queued")
        kill = "kill -KILL $PPID; sleep 60"
        self.configure(**{step: kill if step == "restart" else [{"name": "x", "run": kill}]})
        done = self.deployctl("run")
        assert done.code == -signal.SIGKILL, done
        kill_descendants()
        reap()
        self.configure(keep_releases=2)

    def _add_old_data(self) -> None:
        """Add deliveries and a log that are so old that the next prune removes them."""
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
        """Write repos.yml; each step writes to the file ``stamps`` as it starts and as it stops."""
        releases = self.strategy == "releases"
        # In place, the file that one version built would still be there after a rollback from the
        # next one: so restart builds it, too.
        build, test = "cat version > built", "grep -qv broken kind"
        repo = {
            "url": self._upstream.url,
            "path": str(self.app),
            "strategy": self.strategy,
            "id": 1296269,
            "webhook_secret": deliveries.SECRET,
            "min_free": 0,
            "stages": [
                {"name": "build", "run": self._stamped(f"{test}; {build}" if releases else test)}
            ],
            "restart": self._stamped("true" if releases else build),
            "healthcheck": {
                "command": "cmp version built && grep -qv bad kind",
                "deadline": 2,
                "interval": 1,
                "stable_for": 0,
            },
            **keys,
        }
        if self.strategy == "releases":
            repo["shared_dirs"] = ["data"]
        document = {"state_dir": str(self.state), "repos": {"app": repo}}
        self.config.write_text(yaml.safe_dump(document))
        self.config.chmod(0o600)

    def _stamped(self, command: str) -> str:
        up = f"{self.root}/"
        first, last = (_STAMP.format(word=word, up=up) for word in ("start", "stop"))
        return f"{first}; {command}; {last}"

    def save(self, name: str) -> None:
        """Save a copy of the scene under this name."""
        shutil.copytree(self.root, self._saved / name, symlinks=True)

    def restore(self, name: str) -> None:
        """Replace the scene by the saved copy of this name."""
        shutil.rmtree(self.root)
        shutil.copytree(self._saved / name, self.root, symlinks=True)

    def command(self, *words: str) -> Work:
        """Return a function that runs a command of deployctl, to be called in a forked process."""

        def work() -> int:
            self._prepare_process({})
            sys.argv = ["deployctl", "-c", str(self.config), *words]
            try:
                main()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
            return 0

        return work

    def delivery(self) -> Work:
        """Return a function that runs deploy.cgi with a push, to be called in a forked process."""

        def work() -> int:
            from deployctl.webhook.cgi import main as answer

            body = json.dumps(deliveries.push(after=self.revisions[-1])).encode()
            file = self.root / "body"
            file.write_bytes(body)
            os.dup2(os.open(file, os.O_RDONLY), 0)
            self._prepare_process(_cgi_environment(body))
            answer(str(self.config))

        return work

    def _prepare_process(self, environment: Mapping[str, str]) -> None:
        """Set directory, environment and streams of a forked process as if it had been executed."""
        os.chdir(self.root)
        os.environ.clear()
        os.environ.update({"PATH": os.defpath, "LANG": "C.UTF-8", **environment})
        for number, name in ((1, "stdout"), (2, "stderr")):
            setattr(sys, name, open(number, "w", encoding="utf-8", closefd=False))  # noqa: SIM115
        if self.mutate is not None:
            self.mutate()

    def deployctl(self, *words: str) -> Result:
        """Run a command of deployctl to its end, without any fault."""
        return run_in_child(self.command(*words))

    @property
    def live(self) -> str | None:
        """The live revision, as the release's file or git's HEAD names it; None: there is none."""
        with contextlib.suppress(OSError):
            if self.strategy == "releases":
                return (self.app / "current" / "REVISION").read_text().strip()
            return (self.app / ".git" / "HEAD").read_text().strip()
        return None

    def rows(self, query: str) -> list[tuple[object, ...]]:
        """Return the rows of a query to the record."""
        connection = sqlite3.connect(f"file:{self.state / FILE}?mode=rw", uri=True)
        try:
            return connection.execute(query).fetchall()
        finally:
            connection.close()


def run_in_child(work: Work) -> Result:
    """Call the function in a child process, and return how that ended."""
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        code = 99
        try:
            os.dup2(writing, 1)
            os.dup2(writing, 2)
            os.close(reading)
            os.close(writing)
            signal.alarm(_TIMEOUT)
            code = work()
        except SystemExit as ended:
            code = ended.code if isinstance(ended.code, int) else 1
        finally:
            os._exit(code)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        output = file.read().decode(errors="replace")
    return Result(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), output)


def _cgi_environment(body: bytes) -> dict[str, str]:
    variables = {"GATEWAY_INTERFACE": "CGI/1.1", "REQUEST_METHOD": "POST", "PATH_INFO": ""}
    for name, value in deliveries.headers(body).items():
        upper = name.upper().replace("-", "_")
        variables[upper if upper.startswith("CONTENT_") else f"HTTP_{upper}"] = value
    return variables
