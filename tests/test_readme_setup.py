"""The README's setup works, with the real programs."""

from __future__ import annotations

import json
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import deliveries, nginx
from tests.support.cli import Cli
from tests.support.nginx import WebServer
from tests.support.readme import FROM_ELSEWHERE, SETUP, TEXT
from tests.support.readme_setup import ME, PROGRAMS, Machine
from tests.support.servers import Response
from tests.support.upstream import Upstream
from tests.support.workers import StubWorker


@pytest.fixture
def machine(tmp_path_factory: pytest.TempPathFactory) -> Machine:
    """A machine in a directory with a short path: that of a socket has at most 107 bytes."""
    return Machine(tmp_path_factory.mktemp("machine"))


def test_the_setup_is_short() -> None:
    assert len(SETUP.splitlines()) < 32


def test_the_setup_changes_the_machine_by_these_programs_only(machine: Machine) -> None:
    enabled = "deployctl.path deployctl-run.timer deployctl-sync.timer"
    assert machine.read("sudo.log").splitlines() == [
        "apt-get install -y git python3-venv nginx fcgiwrap openssl",
        f"adduser --system --group --shell /bin/bash --home {machine.root}/var/lib/deploy deploy",
        f"python3 -m venv {machine.root}/opt/deployctl",
        "{0}/bin/pip install --use-pep517 {0}/source".format(f"{machine.root}/opt/deployctl"),
        "systemctl daemon-reload",
        f"systemctl enable {enabled}",
        f"systemctl restart {enabled}",
        "systemctl enable --now deployctl-cgi.socket",
        "systemctl try-restart deployctl-cgi.service",
    ]


def test_the_setup_writes_a_repos_yml_that_loads(machine: Machine) -> None:
    blog = machine.blog
    assert (blog.url, blog.path) == ("git@github.com:you/blog.git", f"{machine.root}/srv/blog")
    assert [stage.name for stage in blog.pipeline.stages] == ["install", "build"]
    assert Path(blog.path).is_dir()
    (secret,) = blog.webhook_secrets
    assert re.fullmatch("[0-9a-f]{64}", secret.reveal())


def test_only_the_account_can_read_the_config_and_the_secret(machine: Machine) -> None:
    for path in ("etc/deployctl/repos.yml", "etc/deployctl/webhook.secret"):
        assert (machine.root / path).stat().st_mode & 0o777 == 0o600


def test_sudo_allows_the_restart_command_and_nothing_else(machine: Machine) -> None:
    assert machine.blog.pipeline.restart == ("sudo -n systemctl restart blog",)
    rule = machine.root / "etc/sudoers.d/deployctl"
    assert rule.read_text() == "deploy ALL=(root) NOPASSWD: /usr/bin/systemctl restart blog\n"
    assert rule.stat().st_mode & 0o777 == 0o440


def test_the_units_have_the_settings_that_systemd_needs(machine: Machine) -> None:
    sockets, service = machine.unit("deployctl-cgi.socket"), machine.unit("deployctl-cgi.service")
    assert {name: dict(section) for name, section in sockets.items() if section} == {
        "Socket": {
            "ListenStream": f"{machine.root}/run/deployctl-cgi.sock",
            "SocketUser": "www-data",
            "SocketMode": "0600",
        },
        "Install": {"WantedBy": "sockets.target"},
    }
    assert {name: dict(section) for name, section in service.items() if section} == {
        "Service": {
            "User": ME,
            "Environment": f"DEPLOYCTL_CONFIG={machine.config}",
            "ExecStart": "/usr/sbin/fcgiwrap -c 4",
            "KillMode": "process",
        },
    }
    if shutil.which("systemd-analyze"):
        assert systemd_errors(machine) == []


def systemd_errors(machine: Machine) -> list[str]:
    """Return the lines of ``systemd-analyze verify`` about the units of deployctl.

    It also verifies units of the machine that these need.
    """
    directory = machine.root / "etc/systemd/system"
    done = subprocess.run(
        ["systemd-analyze", "verify", *map(str, sorted(directory.iterdir()))],
        check=False,
        capture_output=True,
        text=True,
    )
    return [line for line in done.stderr.splitlines() if "deployctl" in line]


class Site(WebServer):
    """nginx with the snippet of the setup, and fcgiwrap started as the two units say."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        super().__init__(machine.root / "etc/nginx", machine.config)

    def _start_fcgiwrap(self) -> subprocess.Popen[bytes]:
        """Start fcgiwrap with the listening socket as descriptor 3: sd_listen_fds(3)."""
        service = self.machine.unit("deployctl-cgi.service")["Service"]
        name, _, value = service["Environment"].partition("=")
        pass_socket = 'LISTEN_PID=$$ LISTEN_FDS=1 exec "$@" 3<&0 </dev/null'
        with socket.socket(socket.AF_UNIX) as listening:
            path = self.machine.unit("deployctl-cgi.socket")["Socket"]["ListenStream"]
            listening.bind(path)
            listening.listen()
            return subprocess.Popen(
                ["/bin/sh", "-c", pass_socket, "sh", *shlex.split(service["ExecStart"])],
                env={"PATH": os.defpath, name: value},
                stdin=listening.fileno(),
                start_new_session=True,
            )


@pytest.fixture
def site(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], WebServer]]:
    """Return a function that starts the web server; call it once ``deploy.cgi`` exists."""
    include = "include snippets/deployctl.conf;"
    assert f"`{include}`" in TEXT
    conf = re.sub(r"(?s)location /deploy\.cgi \{\{.*?\n        \}\}", include, nginx.NGINX_CONF)
    assert include in conf
    monkeypatch.setattr(nginx, "NGINX_CONF", conf)
    shutil.copy("/etc/nginx/fastcgi_params", machine.root / "etc/nginx")
    started: list[WebServer] = []

    def start() -> WebServer:
        started.append(Site(machine))
        return started[-1]

    yield start
    for server in started:
        server.stop()


def test_a_signed_push_is_queued_whether_or_not_the_url_names_the_repo(
    machine: Machine, site: Callable[[], WebServer]
) -> None:
    StubWorker(machine.root).write_deploy_cgi(machine.root / "opt/deployctl/bin")
    server = site()
    secret = machine.read("etc/deployctl/webhook.secret").strip()

    def post(path: str, number: str, secret: str) -> Response:
        body = json.dumps(deliveries.push(repository={"id": 7, "full_name": "you/blog"})).encode()
        return server.request(
            "POST", path, body, deliveries.headers(body, secret=secret, number=number)
        )

    answers = [post("/deploy.cgi", "d-1", secret), post("/deploy.cgi/blog", "d-2", secret)]
    assert [(answer.status, json.loads(answer.body)["result"]) for answer in answers] == [
        (202, "queued"),
        (202, "queued"),
    ]
    assert post("/deploy.cgi/blog", "d-3", "wrong").status == 401
    assert [path.name for path in (machine.root / "state" / "wake").iterdir()] == ["now"]


def test_the_header_proxy_does_not_become_a_variable(
    machine: Machine, site: Callable[[], WebServer]
) -> None:
    script = machine.root / "opt/deployctl/bin/deploy.cgi"
    script.write_text("#!/bin/sh\necho Content-Type: text/plain\necho\nenv\n")
    script.chmod(0o755)
    headers = {"proxy": "http://192.0.2.1:3128", "x-github-event": "push"}
    shown = site().request("POST", "/deploy.cgi/blog", b"{}", headers).body.decode()
    seen = dict(line.split("=", 1) for line in shown.splitlines())
    assert (seen["HTTP_X_GITHUB_EVENT"], seen["PATH_INFO"]) == ("push", "/blog")
    assert seen["DEPLOYCTL_CONFIG"] == str(machine.config)
    assert seen.get("HTTP_PROXY", "") == ""


def test_the_commands_of_the_timers_work_silently_in_the_environment_of_systemd(
    machine: Machine, upstream: Upstream
) -> None:
    machine.serve(upstream)
    for command in ("run", "sync"):
        service = machine.unit(f"deployctl-{command}.service")["Service"]
        words = shlex.split(service["ExecStart"])
        assert f"--uid={ME}" in words
        program, *arguments = words[words.index("--") + 1 :]
        assert arguments == ["-c", str(machine.config), command, "--quiet"]
        done = subprocess.run(
            [program, *arguments], check=False, capture_output=True, cwd="/", env={}
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert f"live      {upstream.head[:12]}" in Cli(machine.root, machine.config)("status").stdout


def test_status_answers_over_ssh(machine: Machine, upstream: Upstream) -> None:
    machine.serve(upstream)
    Cli(machine.root, machine.config)("deploy", "blog")
    program, address, *command = shlex.split(FROM_ELSEWHERE)
    account, _, host = address.partition("@")
    assert (program, account, host) == ("ssh", "deploy", "example.org")
    done = over_ssh(machine, command)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith(f"blog\n  live      {upstream.head[:12]} first (#1, ")


def over_ssh(machine: Machine, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """Run a command over ssh as this account: sshd without root can log in no other.

    sshd talks over the pipe of a ProxyCommand (``-i``, as inetd would start it), so it needs no
    port. ``SetEnv`` keeps the shell from reading files in the account's real home.
    """
    directory = machine.root / "var/lib/deploy/.ssh"
    for name in ("host", "key"):
        subprocess.run(
            ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)], check=True
        )
    home, programs = directory.parent, machine.root / "usr/local/bin"
    (directory / "sshd_config").write_text(
        f"HostKey {directory}/host\nAuthorizedKeysFile {directory}/key.pub\nStrictModes no\n"
        f"UsePAM no\nSetEnv HOME={home} PATH={programs}:/usr/bin:/bin\n"
    )
    sshd = [str(installed("sshd")), "-i", "-e", "-f", str(directory / "sshd_config")]
    options = {
        "IdentityFile": directory / "key",
        "IdentitiesOnly": "yes",
        "BatchMode": "yes",
        "LogLevel": "ERROR",
        "StrictHostKeyChecking": "no",
        "UserKnownHostsFile": "/dev/null",
        "ProxyCommand": f"{shlex.join(unprivileged(sshd))} 2>{directory}/log",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    me = pwd.getpwuid(os.getuid()).pw_name
    return subprocess.run(
        ["ssh", "-F", "none", *words, f"{me}@localhost", *command],
        check=False,
        capture_output=True,
        text=True,
        timeout=60,
    )


def unprivileged(sshd: list[str]) -> list[str]:
    """Return the command that starts sshd.

    As root, sshd needs the directory /run/sshd. If it does not exist, it is made in a private
    mount of /run.
    """
    if os.getuid() != 0 or os.path.isdir("/run/sshd"):
        return sshd
    prepare = 'mount -t tmpfs tmpfs /run && mkdir -m 755 /run/sshd && exec "$@"'
    return ["unshare", "--mount", "/bin/sh", "-c", prepare, "sh", *sshd]


def installed(program: str) -> str:
    found = shutil.which(program, path=PROGRAMS)
    assert found, f"{program} is missing: bash tests/run installs it"
    return found
