"""Measure what durability costs: parallel deliveries, the search for crashes, and memory.

    sudo apt-get install -y nginx fcgiwrap
    .venv/bin/python -m tests.bench.durability [ROUNDS]

(a) 50 deliveries at once, each verified, synced and answered by its own process of deploy.cgi
behind nginx and fcgiwrap, while the worker deploys. (b) `deployctl run` with nothing to do, and the
part of it that looks for traces of a crash, with a short and a long history. (c) The most memory
that deployctl takes while a step prints 1 GB.
"""

from __future__ import annotations

import contextlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from deployctl.config.load import load as load_config
from deployctl.deploy.admission import Runtime
from deployctl.deploy.worker import recover_all
from deployctl.output.screen import Output
from deployctl.store import deployments, queue
from deployctl.store.database import Database
from tests.bench.acknowledge import installation, load, wait_for_idle
from tests.support.deliveries import SECRET
from tests.support.nginx import WebServer
from tests.support.upstream import Upstream

AT_ONCE = 50
HISTORY = 10_000
OUTPUTS = {
    "1 GB in lines": "yes 'a line of the output of a step' | head -c 1000000000",
    "1 GB in one line": "head -c 1000000000 /dev/zero | tr '\\0' x",
}


def main(rounds: int = 9) -> None:
    """Print the three measurements, each with its own directory."""
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        os.environ |= {f"{name}_NAME": "Bench", f"{name}_EMAIL": "bench@example.org"}
    for part in (_deliveries, _idle, _output):
        with tempfile.TemporaryDirectory() as directory:
            part(Path(directory), rounds)


def _deliveries(directory: Path, rounds: int) -> None:
    """Measure (a)."""
    config = _config(directory, id=1296269, webhook_secret=SECRET, stages=_stage("sleep 1"))
    times: list[float] = []
    slowest: list[float] = []
    unexpected = 0
    with _web_server(directory, config) as server:
        load(server, "/deploy.cgi", 1, 1)
        for _ in range(rounds):
            answers = load(server, "/deploy.cgi", AT_ONCE, AT_ONCE)
            times += [seconds for _, seconds in answers]
            slowest.append(max(seconds for _, seconds in answers))
            unexpected += sum(status != 202 for status, _ in answers)
        wait_for_idle(directory / "state")
    print(f"{AT_ONCE} deliveries at once, {rounds} rounds, {unexpected} of them not answered 202")
    print(f"  p50 {statistics.median(times) * 1000:.0f} ms, slowest {max(slowest) * 1000:.0f} ms")


@contextlib.contextmanager
def _web_server(directory: Path, config: Path) -> Iterator[WebServer]:
    web = directory / "web"
    web.mkdir()
    server = WebServer(web, config, script=installation(directory))
    try:
        yield server
    finally:
        server.stop()


def _idle(directory: Path, rounds: int) -> None:
    """Measure (b)."""
    config = _config(directory)
    _deployctl(config, "deploy", "app")
    rows = []
    for history in (1, HISTORY):
        _fill(directory / "state", history)
        whole = statistics.median(_timed(partial(_deployctl, config, "run")) for _ in range(rounds))
        rows.append((history, whole, _recovery(config, rounds)))
    bare = statistics.median(
        _timed(partial(_deployctl, config, "--version")) for _ in range(rounds)
    )
    print(f"deployctl run with nothing to do, {rounds} rounds, medians")
    print(f"  deployctl --version {bare * 1000:.1f} ms")
    for history, whole, recovery in rows:
        print(
            f"  {history} deployments in the record: the whole process {whole * 1000:.1f} ms, "
            f"of it looking for traces of a crash {recovery * 1000:.2f} ms"
        )


def _fill(state: Path, history: int) -> None:
    """Add failed deployments to the record until it has this number."""
    with Database(str(state)) as db, db.writing() as connection:
        (count,) = connection.execute("SELECT count(*) FROM deployments").fetchone()
        for _ in range(history - count):
            number = queue.enqueue(
                connection, repo="app", trigger="cli", actor="bench", now=time.time()
            )
            deployments.finish(
                connection, number, status="failed", reason=None, failure=None, now=time.time()
            )


def _recovery(path: Path, rounds: int) -> float:
    """Return the median of the seconds that recover_all takes."""
    config = load_config(str(path))
    with Database(config.state_dir) as db:
        runtime = Runtime(config, db, Output())
        return statistics.median(_timed(partial(recover_all, runtime)) for _ in range(rounds))


def _output(directory: Path, _rounds: int) -> None:
    """Measure (c)."""
    Upstream(directory).commit({"README": "hello\n"})
    for how, command in {"nothing": "true", **OUTPUTS}.items():
        config = _config(directory, stages=_stage(command), upstream=False)
        began = time.perf_counter()
        peak = _peak([*_program(config), "deploy", "app", "--force"])
        took = time.perf_counter() - began
        print(f"a step that prints {how}: {took:.1f} s, {peak:.1f} MB")


def _peak(words: list[str]) -> float:
    """Run a program; return the most resident memory (VmHWM) that its process took, in MB."""
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL)
    peak = 0.0
    while process.poll() is None:
        with contextlib.suppress(OSError, StopIteration):
            lines = Path(f"/proc/{process.pid}/status").read_text().splitlines()
            peak = next(int(line.split()[1]) for line in lines if line[:6] == "VmHWM:") / 1000
        time.sleep(0.005)
    assert process.returncode == 0
    return peak


def _stage(command: str) -> list[dict[str, str]]:
    return [{"name": "build", "run": command}]


def _config(directory: Path, *, upstream: bool = True, **keys: object) -> Path:
    if upstream:
        Upstream(directory).commit({"README": "hello\n"})
    path = directory / "repos.yml"
    url = f"file://{directory / 'upstream.git'}"
    repo = {"url": url, "path": str(directory / "app"), **keys}
    path.write_text(json.dumps({"state_dir": str(directory / "state"), "repos": {"app": repo}}))
    path.chmod(0o600)
    return path


def _program(config: Path) -> list[str]:
    return [sys.executable, "-m", "deployctl", "-c", str(config)]


def _deployctl(config: Path, *words: str) -> None:
    subprocess.run([*_program(config), *words], check=True, stdout=subprocess.DEVNULL)


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
