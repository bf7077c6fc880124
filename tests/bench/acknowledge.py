"""Measure how fast a delivery is answered: verified, decided, on disk, its worker started.

    sudo apt-get install -y nginx fcgiwrap webhook
    .venv/bin/python -m tests.bench.acknowledge [REQUESTS] [BURST]

Three programs answer, in one run and behind one nginx: deploy.cgi, as pip installs it for the
system's Python, run by fcgiwrap; (a) a CGI program for that Python that only prints an answer, run
by the same fcgiwrap; (b) Debian's webhook, a resident server, with a hook that verifies the same
signature. Each time is that of one request over a connection that stays open; each delivery has a
new id. Meanwhile deployments run, of some seconds and a new commit each, as after real pushes.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.client
import itertools
import json
import os
import random
import socket
import sqlite3
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import yaml

from tests.support.deliveries import SECRET, push
from tests.support.nginx import WebServer
from tests.support.paths import ROOT
from tests.support.servers import free_port, installed_program, stop, wait_for_start
from tests.support.upstream import Upstream

SYSTEM_PYTHON = "/usr/bin/python3"
ROUNDS = 5
BUILD = 5  # seconds that the stage of a deployment sleeps, as real ones wait most of their time
PLAIN = """#!/usr/bin/python3
print("Status: 202 Accepted\\r\\nContent-Type: application/json\\r\\n\\r\\n{}")
"""
LOCATIONS = """
location = /plain.cgi {{
    fastcgi_param GATEWAY_INTERFACE CGI/1.1;
    fastcgi_param REQUEST_METHOD $request_method;
    fastcgi_param CONTENT_TYPE $content_type;
    fastcgi_param CONTENT_LENGTH $content_length;
    fastcgi_param SCRIPT_FILENAME {plain};
    fastcgi_pass unix:{{sockets}}/fcgi;
}}
location /hooks/ {{ proxy_pass http://127.0.0.1:{port}; }}
"""
HOOKS = [
    {
        "id": "push",
        "execute-command": "/bin/true",
        "success-http-response-code": 202,
        "trigger-rule": {
            "match": {
                "type": "payload-hmac-sha256",
                "secret": SECRET,
                "parameter": {"source": "header", "name": "X-Hub-Signature-256"},
            }
        },
    }
]
TARGETS = {
    "(a) a program that only prints": "/plain.cgi",
    "(b) Debian's webhook, resident": "/hooks/push",
    "deploy.cgi": "/deploy.cgi",
}


def main(requests: int = 300, burst: int = 2000) -> None:
    """Print all measurements; ``burst`` is the number of deliveries in the burst."""
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        os.environ |= {f"{name}_NAME": "Bench", f"{name}_EMAIL": "bench@example.org"}
    with tempfile.TemporaryDirectory() as name, _servers(Path(name)) as (server, peer):
        time.sleep(1)
        for program in ("nginx", "fcgiwrap"):
            size = _pss(getattr(server, program).pid)
            print(f"resident while idle: {program:<9} {size:6.1f} MiB PSS")
        print(f"resident while idle: {'webhook':<9} {_pss(peer.pid):6.1f} MiB PSS (the peer)")
        for connections in (1, 8):
            _compare(server, requests, connections)
        _burst(server, Path(name) / "state", burst)
        print(f"after the burst:     {'webhook':<9} {_pss(peer.pid):6.1f} MiB PSS (the peer)")
        wait_for_idle(Path(name) / "state")


def _compare(server: WebServer, requests: int, connections: int) -> None:
    """Print the times of the three programs, in random order in each round."""
    times: dict[str, list[float]] = {name: [] for name in TARGETS}
    unexpected = dict.fromkeys(TARGETS, 0)
    for _ in range(ROUNDS):
        for name in random.sample([*TARGETS], len(TARGETS)):
            for status, seconds in load(server, TARGETS[name], requests // ROUNDS, connections):
                times[name].append(seconds)
                unexpected[name] += status not in (200, 202)
    base = statistics.median(times["(a) a program that only prints"])
    plural = "" if connections == 1 else "s"
    print(f"{requests} requests, {connections} connection{plural}: p50, p99, p50 to that of (a)")
    for name, found in times.items():
        p50, p99 = statistics.median(found), statistics.quantiles(found, n=100)[98]
        others = f"  ({unexpected[name]} answered neither 200 nor 202)" if unexpected[name] else ""
        row = f"  {name:<32} {p50 * 1000:7.1f} ms {p99 * 1000:7.1f} ms {p50 / base:6.2f}"
        print(row + others)


def _burst(server: WebServer, state: Path, burst: int) -> None:
    """Send many deliveries over 8 connections; print how many were answered 202 and stored."""
    before = _stored(state)
    began = time.perf_counter()
    answers = load(server, "/deploy.cgi", burst, 8)
    took = time.perf_counter() - began
    accepted = sum(status == 202 for status, _ in answers)
    print(
        f"a burst of {burst} from 8 connections in {took:.1f} s ({burst / took:.0f}/s): "
        f"{accepted} answered 202, {_stored(state) - before} stored, "
        f"the slowest after {max(seconds for _, seconds in answers):.2f} s"
    )


_numbers = itertools.count(1)


def load(server: WebServer, path: str, count: int, connections: int) -> list[tuple[int, float]]:
    """Send ``count`` signed deliveries to this path; return HTTP status and seconds of each."""
    body = json.dumps(push(padding="x" * 7700)).encode()
    signature = "sha256=" + hmac.new(SECRET.encode(), body, hashlib.sha256).hexdigest()
    remaining = iter(range(count))  # shared by all threads
    answers: list[tuple[int, float]] = []

    def work() -> None:
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
        for _ in remaining:
            headers = {
                "Content-Type": "application/json",
                "X-GitHub-Event": "push",
                "X-GitHub-Delivery": f"bench-{os.getpid()}-{next(_numbers)}",
                "X-Hub-Signature-256": signature,
            }
            answers.append(_timed(connection, path, body, headers))
        connection.close()

    threads = [threading.Thread(target=work) for _ in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return answers


def _timed(
    connection: http.client.HTTPConnection, path: str, body: bytes, headers: Mapping[str, str]
) -> tuple[int, float]:
    began = time.perf_counter()
    connection.request("POST", path, body, dict(headers))
    response = connection.getresponse()
    response.read()
    return response.status, time.perf_counter() - began


@contextmanager
def _servers(directory: Path) -> Iterator[tuple[WebServer, subprocess.Popen[bytes]]]:
    """Run nginx and fcgiwrap, and Debian's webhook, until the block is left."""
    upstream = Upstream(directory)
    upstream.commit({f"src/{number}": f"{number}\n" * 40 for number in range(300)})
    plain = directory / "plain.cgi"
    plain.write_text(PLAIN)
    plain.chmod(0o755)
    port = free_port()
    peer = _webhook(directory, port)
    script = installation(directory)
    web = directory / "web"
    web.mkdir()
    locations = LOCATIONS.format(plain=plain, port=port)
    threading.Thread(target=_keep_pushing, args=(upstream,), daemon=True).start()
    config = _config(directory, upstream.url)
    server = WebServer(web, config, script=script, locations=locations)
    try:
        yield server, peer
    finally:
        server.stop()
        stop(peer)


def _keep_pushing(upstream: Upstream) -> None:
    """Push a new commit every few seconds: a deployment of the live revision would take no time."""
    for number in itertools.count():
        time.sleep(BUILD / 2)
        try:
            upstream.commit({"version": f"{number}\n"})
        except (AssertionError, OSError):  # at the end the directory is removed
            return


def installation(directory: Path) -> Path:
    """Install deployctl into a new virtual environment of the system's Python.

    Return the path of its deploy.cgi. Program (a) runs with the same Python.
    """
    place = directory / "installation"
    environment = {"PATH": os.defpath, "HOME": str(directory)}
    for words in (
        [SYSTEM_PYTHON, "-m", "venv", str(place)],
        [str(place / "bin" / "pip"), "install", "--quiet", str(ROOT)],
        [str(place / "bin" / "python"), "-m", "compileall", "-q", str(place)],
    ):
        subprocess.run(words, check=True, env=environment, stderr=subprocess.DEVNULL)
    return place / "bin" / "deploy.cgi"


def _webhook(directory: Path, port: int) -> subprocess.Popen[bytes]:
    """Start Debian's webhook."""
    hooks = directory / "hooks.json"
    hooks.write_text(json.dumps(HOOKS))
    process = subprocess.Popen(
        [
            installed_program("webhook"),
            "-hooks",
            str(hooks),
            "-ip",
            "127.0.0.1",
            "-port",
            str(port),
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    wait_for_start(lambda: _listens(port), process)
    return process


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _config(directory: Path, url: str) -> Path:
    path = directory / "repos.yml"
    build = {"name": "build", "run": f"sleep {BUILD}"}
    repo = {"url": url, "path": str(directory / "app"), "id": 1296269, "webhook_secret": SECRET}
    repo["stages"] = [build]
    document = {"state_dir": str(directory / "state"), "repos": {"app": repo}}
    path.write_text(yaml.safe_dump(document))
    path.chmod(0o600)
    return path


def _stored(state: Path) -> int:
    """Return how many deliveries are in the record."""
    if not (state / "deployctl.db").exists():
        return 0
    with contextlib.closing(sqlite3.connect(state / "deployctl.db", timeout=30)) as db:
        count: int = db.execute("SELECT count(*) FROM deliveries").fetchone()[0]
        return count


def wait_for_idle(state: Path) -> None:
    """Wait until the last deployment has ended, as the caller removes the directory next."""
    unfinished = "SELECT count(*) FROM deployments WHERE status IN ('queued', 'running')"
    with contextlib.closing(sqlite3.connect(state / "deployctl.db", timeout=30)) as db:
        while db.execute(unfinished).fetchone()[0]:
            time.sleep(0.2)
    time.sleep(1)


def _pss(leader: int) -> float:
    """Return the proportional set size of a process and its children, in MiB.

    Each shared page counts as its size divided by the number of processes that share it.
    """
    children = Path(f"/proc/{leader}/task/{leader}/children").read_text().split()
    return sum(map(_pss_of, [str(leader), *children]))


def _pss_of(pid: str) -> float:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
