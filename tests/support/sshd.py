"""Run a real ssh server on loopback, and clients of it."""

from __future__ import annotations

import contextlib
import getpass
import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.support.servers import free_port, installed_program
from tests.support.workers import wait_until


class Sshd:
    """A running ssh server, which accepts the key in the file ``key``.

    ``known_host`` is its line for a known_hosts file, ``authorized`` the file of accepted keys.
    """

    def __init__(self, directory: Path, port: int) -> None:
        self.port = port
        self.key = directory / "key"
        self.authorized = directory / "authorized"
        host_key = " ".join((directory / "host.pub").read_text().split()[:2])
        self.known_host = f"[127.0.0.1]:{port} {host_key}\n"
        self._known_hosts = directory / "known"
        self._known_hosts.write_text(self.known_host)

    def url(self, path: Path) -> str:
        """Return the URL with which git reaches a repository at this path."""
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}{path}"

    def start(self, words: Sequence[str], *options: str) -> subprocess.Popen[bytes]:
        """Start an ssh client that runs a command there; ``options`` are those of ssh(1)."""
        settings = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "UserKnownHostsFile": f'"{self._known_hosts}"',
            "IdentityFile": f'"{self.key}"',
        }
        fixed = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        account, command = f"{getpass.getuser()}@127.0.0.1", shlex.join(words)
        return subprocess.Popen(
            ["ssh", "-F", "/dev/null", *fixed, "-p", str(self.port), *options, account, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )


@contextlib.contextmanager
def sshd(directory: Path) -> Iterator[Sshd]:
    """Run an ssh server on a free port of loopback, for the account that runs the tests."""
    directory.mkdir()
    for name in ("host", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True
        )
    (directory / "authorized").write_text((directory / "key.pub").read_text())
    port = free_port()
    (directory / "config").write_text(
        f'ListenAddress 127.0.0.1:{port}\nHostKey "{directory}/host"\nPidFile none\n'
        f'AuthorizedKeysFile "{directory}/authorized"\nStrictModes no\nUsePAM no\n'
        "PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\n"
    )
    command = [installed_program("sshd"), "-D", "-e", "-f", str(directory / "config")]
    if os.geteuid() == 0 and not os.path.isdir("/run/sshd"):
        # sshd started by root needs that directory: make it in a mount namespace of its own.
        script = 'mount -t tmpfs tmpfs /run && mkdir /run/sshd && exec "$@"'
        command = ["unshare", "--mount", "sh", "-c", script, "sh", *command]
    log = directory / "log"
    with log.open("wb") as stderr:
        server = subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=stderr)
    try:
        wait_until(lambda: server.poll() is not None or "listening on" in log.read_text())
        assert server.poll() is None, log.read_text()
        yield Sshd(directory, port)
    finally:
        server.terminate()
        server.wait(timeout=10)
