"""A stub for the worker that reports how it was started; and waiting for a condition."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.support.paths import ROOT

PROGRAM = """
import json, os, sys, time
links = [f"/proc/self/fd/{{name}}" for name in os.listdir("/proc/self/fd")]
report = {{
    "argv": sys.argv[1:],
    "cwd": os.getcwd(),
    "env": dict(os.environ),
    "executable": sys.executable,
    "files": [os.readlink(link) for link in links if os.path.lexists(link)],
    "parent": os.getppid(),
    "pid": os.getpid(),
    "session": os.getsid(0),
    "umask": os.umask(0),
}}
with open({report!r} + ".new", "w") as file:
    json.dump(report, file)
os.rename({report!r} + ".new", {report!r})
time.sleep({seconds})
open({report!r} + ".end", "w").close()
"""
DEPLOY_CGI = """#!{python}
import sys
sys.path.insert(0, {root!r})
from deployctl.system import wake
wake.PACKAGE = {package!r}
exec(open({script!r}).read())
"""


class StubWorker:
    """A package ``deployctl`` below ``directory`` that stands in for the real one.

    Every command writes a report of its process to ``path`` and sleeps for so many seconds.
    """

    def __init__(self, directory: Path, seconds: float = 0) -> None:
        self.package = directory / "stub" / "deployctl"
        self.package.mkdir(parents=True)
        self.path = directory / "worker.json"
        (self.package / "__init__.py").touch()
        (self.package / "__main__.py").write_text(
            PROGRAM.format(report=str(self.path), seconds=seconds)
        )

    def write_deploy_cgi(self, directory: Path) -> Path:
        """Write a deploy.cgi that starts this worker instead of the real one; return its path."""
        path = directory / "deploy.cgi"
        path.write_text(
            DEPLOY_CGI.format(
                python=sys.executable,
                root=str(ROOT),
                package=str(self.package),
                script=str(ROOT / "deploy.cgi"),
            )
        )
        path.chmod(0o755)
        return path

    def report(self) -> dict[str, Any]:
        """Wait until the worker was started, and return its report."""
        wait_until(self.path.exists)
        document: dict[str, Any] = json.loads(self.path.read_text())
        return document

    def has_ended(self) -> bool:
        """Tell whether the worker was started and has slept to its end."""
        return Path(f"{self.path}.end").exists()


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait until the condition returns true; fail after so many seconds.

    A condition that takes long, because it runs a command, is looked at less often: so most of the
    machine is left to what is waited for.
    """
    deadline = time.monotonic() + seconds
    while True:
        began = time.monotonic()
        if condition():
            return
        now = time.monotonic()
        assert now < deadline, "it did not happen in time"
        time.sleep(max(0.01, 3 * (now - began)))
