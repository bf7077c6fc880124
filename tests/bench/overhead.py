"""Measure how much time deployctl adds to the git commands that a deployment needs anyway.

    .venv/bin/python -m tests.bench.overhead [FILES] [ROUNDS]

The reference is the same work by hand: fetch into a mirror, check the commit out into a new
directory, move the symlink. No release is removed on either side: on ext4 that would slow down the
next writes. Commands that only read are compared with a bare Python interpreter.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import datetime
from functools import partial
from pathlib import Path

from deployctl.store import queue
from deployctl.store.database import Database
from tests.support.upstream import Upstream, git

HISTORY = 10_000


def main(files: int = 5000, rounds: int = 9) -> None:
    """Print the measurements of a deployment of so many files, and of commands that only read."""
    for name in ("GIT_AUTHOR", "GIT_COMMITTER"):
        os.environ |= {f"{name}_NAME": "Bench", f"{name}_EMAIL": "bench@example.org"}
    with tempfile.TemporaryDirectory() as directory:
        _deployments(Path(directory), files, rounds)
    with tempfile.TemporaryDirectory() as directory:
        _read_commands(Path(directory), rounds)


def _deployments(directory: Path, files: int, rounds: int) -> None:
    """Deploy by hand and with deployctl, in alternating order, and print the medians."""
    upstream = Upstream(directory)
    names = (f"src/{number // 50}/{number}" for number in range(files))
    upstream.commit({name: _text(number) for number, name in enumerate(names)})
    config = _config(directory, upstream.url)
    mirror = directory / "mirror.git"
    git(directory, "init", "-q", "--bare", str(mirror))
    _by_hand(directory, mirror, upstream.url, 0)
    _deployctl(config, "deploy", "app")
    by_hand, whole, live, git_alone = [], [], [], []
    for round_ in range(1, rounds + 1):
        upstream.commit({"src/0/0": f"{round_}\n"})
        hand = partial(_by_hand, directory, mirror, upstream.url, round_)
        if round_ % 2:  # alternate: while the second one runs, the disk writes data of the first
            by_hand.append(_timed(hand))
        began = time.time()
        document = json.loads(_deployctl(config, "deploy", "app", "--json"))
        whole.append(time.time() - began)
        if not round_ % 2:
            by_hand.append(_timed(hand))
        finished = datetime.fromisoformat(document["finished_at"].replace("Z", "+00:00"))
        live.append(finished.timestamp() - began)
        took = {stage["name"]: stage["duration"] for stage in document["stages"]}
        git_alone.append(took["fetch"] + took["prepare"])
    base = statistics.median(by_hand)
    print(f"a deployment of {files} files, one changed, {rounds} rounds, medians")
    _row("git fetch, checkout and symlink by hand", base, base)
    _row("deployctl deploy, the whole process", statistics.median(whole), base)
    _row("  of it: until it is live and recorded", statistics.median(live), base)
    _row("  of it: the stages fetch and prepare", statistics.median(git_alone), base)


def _text(number: int) -> str:
    """Return a text as long as a source file: half of them have less than 3 KB, 6 KB on average."""
    rng = random.Random(number)
    length = min(int(rng.lognormvariate(8, 1.2)), 200_000)
    return "".join(f"{rng.getrandbits(120):x}\n" for _ in range(length // 31 + 1))


def _read_commands(directory: Path, rounds: int) -> None:
    """Measure commands that only read, with a long history in the record."""
    config = _config(directory, str(directory / "upstream.git"))
    with Database(str(directory / "state")) as db, db.writing() as connection:
        for number in range(HISTORY):
            queue.enqueue(connection, repo="app", trigger="cli", actor="bench", now=number)
    bare = [_timed(lambda: _run(sys.executable, "-I", "-S", "-c", "pass")) for _ in range(rounds)]
    base = statistics.median(bare)
    print(f"commands that only read, {HISTORY} deployments in the record, {rounds} rounds, medians")
    _row("a bare interpreter (python -I -S)", base, base)
    for words in (["--version"], ["status"], ["history"]):
        times = [_timed(partial(_deployctl, config, *words)) for _ in range(rounds)]
        _row(f"deployctl {words[0]}", statistics.median(times), base)


def _config(directory: Path, url: str) -> Path:
    path = directory / "repos.yml"
    repos = {"app": {"url": url, "path": str(directory / "app"), "keep_releases": 1000}}
    path.write_text(json.dumps({"state_dir": str(directory / "state"), "repos": repos}))
    return path


def _by_hand(directory: Path, mirror: Path, url: str, number: int) -> None:
    """Fetch, check out and switch a symlink with git and coreutils alone."""
    release, link = directory / f"release-{number}", directory / "link"
    index = {"GIT_INDEX_FILE": str(directory / "index")}
    git_dir = f"--git-dir={mirror}"
    release.mkdir()
    _run("git", git_dir, "fetch", "-q", "--no-tags", url, "+refs/heads/main:refs/heads/main")
    checkout = ("read-tree", "--reset", "-u", "refs/heads/main")
    _run("git", git_dir, f"--work-tree={release}", *checkout, **index)
    (directory / "index").unlink()
    _run("ln", "-sfn", str(release), f"{link}.new")
    _run("mv", "-T", f"{link}.new", str(link))


def _deployctl(config: Path, *words: str) -> str:
    return _run(sys.executable, "-m", "deployctl", "-c", str(config), *words)


def _run(*words: str, **env: str) -> str:
    done = subprocess.run(
        words,
        check=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env={**os.environ, **env},
    )
    return done.stdout


def _timed(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def _row(label: str, seconds: float, base: float) -> None:
    print(f"  {label:<48} {seconds * 1000:8.1f} ms  {seconds / base:6.2f}")


if __name__ == "__main__":
    main(*(int(word) for word in sys.argv[1:]))
