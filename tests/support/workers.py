"""A stand-in for the worker, started as the real one is, that tells how it was started."""

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
FRONT = """#!{python}
import sys
sys.path.insert(0, {root!r})
from deployctl.system import wake
wake.PACKAGE = {package!r}
exec(open({script!r}).read())
"""


class StubWorker:
    """A package ``deployctl`` below ``directory`` whose ``run`` reports and sleeps."""

    def __init__(self, directory: Path, seconds: float = 0) -> None:
        self.package = directory / "stub" / "deployctl"
        self.package.mkdir(parents=True)
        self.path = directory / "worker.json"
        (self.package / "__init__.py").touch()
        (self.package / "__main__.py").write_text(
            PROGRAM.format(report=str(self.path), seconds=seconds)
        )

    def front(self, directory: Path) -> Path:
        """deploy.cgi as an installation leaves it, except that it starts this worker."""
        path = directory / "deploy.cgi"
        path.write_text(
            FRONT.format(
                python=sys.executable,
                root=str(ROOT),
                package=str(self.package),
                script=str(ROOT / "deploy.cgi"),
            )
        )
        path.chmod(0o755)
        return path

    def report(self) -> dict[str, Any]:
        """What it said when it was started, as soon as it does."""
        wait_until(self.path.exists)
        document: dict[str, Any] = json.loads(self.path.read_text())
        return document

    def has_ended(self) -> bool:
        return Path(f"{self.path}.end").exists()


def wait_until(true: Callable[[], bool], seconds: float = 20) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)
