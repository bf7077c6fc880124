"""The README is correct: its two commands, its setup and its tables, with the real programs."""

from __future__ import annotations

import configparser
import json
import os
import pwd
import re
import shlex
import shutil
import socket
import subprocess
import sys
import sysconfig
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pytest

from deployctl import errors
from deployctl.config.load import load
from deployctl.values.deployment import EXIT_CODES
from deployctl.values.repo import Repo
from tests.conftest import WriteConfig
from tests.support import deliveries, nginx
from tests.support.cli import Cli
from tests.support.nginx import WebServer
from tests.support.paths import ROOT
from tests.support.servers import Response
from tests.support.service import Service
from tests.support.upstream import Upstream, git
from tests.support.workers import StubWorker

README = (ROOT / "README.md").read_text()
TRY, TEST, SETUP, DEPLOY, FROM_ELSEWHERE = re.findall(r"(?ms)^```sh\n(.*?)^```$", README)
GROUPS = ("delivery",)
TABLE = README.partition("### Commands")[2].partition("Every command takes")[0]
PROGRAMS = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
# The environment before a fixture removes variables from it: pip needs some of them.
ENVIRONMENT = dict(os.environ)
HOME = Path.home()


# ---- The first command ----------------------------------------------------------------------


@pytest.fixture
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with the files of this tree that git does not ignore.

    Its path is short, so that it fits into the #! line of a script.
    """
    directory = tmp_path_factory.mktemp("clone")
    safe = ("-c", "safe.directory=*")
    listed = git(ROOT, *safe, "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():
            (directory / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, directory / name)
    git(directory, "init", "-q", "--initial-branch=main")
    git(directory, "add", "--all")
    git(directory, "commit", "-q", "-m", "As it stands")
    return directory


def run_in_clone(command: str, clone: Path) -> str:
    """Run a shell command in the clone and return its output.

    Assert that it succeeds and leaves no file of deployctl in the home directory.
    """
    foreign = ("DEPLOYCTL_", "GIT_", "PYTHON", "SSH_")
    kept = {name: value for name, value in ENVIRONMENT.items() if not name.startswith(foreign)}
    # pip uses the settings and the cache of the machine.
    pip = {"XDG_CONFIG_HOME": str(HOME / ".config"), "XDG_CACHE_HOME": str(HOME / ".cache")}
    home = clone.with_name(f"{clone.name}-home")
    home.mkdir(exist_ok=True)
    done = subprocess.run(
        ["/bin/sh", "-c", command],
        check=False,
        capture_output=True,
        text=True,
        cwd=clone,
        env={**pip, **kept, "HOME": str(home)},
        stdin=subprocess.DEVNULL,
        timeout=300,
    )
    assert done.returncode == 0, f"{command}: {done.stderr}"
    assert not [*home.rglob("*deployctl*")]
    return done.stdout


def test_the_first_command_deploys_its_own_clone_twice_and_touches_nothing_else(
    clone: Path,
) -> None:
    revision = git(clone, "rev-parse", "--short=12", "HEAD")
    deployed = run_in_clone(TRY, clone).splitlines()
    assert [line for line in deployed if line.startswith("demo #") and "is live" in line] == [
        f"demo #1: {revision} is live",
        f"demo #2: {revision} is live",
    ]
    status, rollback = re.findall(r"`(\.venv/bin/deployctl \w[^`]*)`", README)
    assert f"  live      {revision} As it stands (#2, " in run_in_clone(status, clone)
    assert run_in_clone(rollback, clone).splitlines()[-1] == f"demo #3: {revision} is live"
    run_in_clone(".venv/bin/deployctl deploy demo", clone)
    assert run_in_clone(".venv/bin/deployctl docs webhooks", clone).startswith("# Webhooks: ")
    assert git(clone, "status", "--porcelain") == ""
    assert_answers_a_request(clone / ".venv" / "bin" / "deploy.cgi", clone / "repos.yml")


def assert_answers_a_request(script: Path, config: Path) -> None:
    done = subprocess.run(
        [str(script)],
        check=True,
        capture_output=True,
        env={"REQUEST_METHOD": "GET", "DEPLOYCTL_CONFIG": str(config)},
        stdin=subprocess.DEVNULL,
    )
    assert done.stdout.startswith(b"Status: 405 ")


def test_every_installation_from_one_clone_runs_deploy_cgi_by_its_own_interpreter(
    clone: Path,
) -> None:
    for place in (".venv", "other"):
        run_in_clone(f"python3 -m venv {place} && {place}/bin/pip install -q --no-deps .", clone)
        first = (clone / place / "bin" / "deploy.cgi").read_text().splitlines()[0]
        assert first.startswith(f"#!{clone}/{place}/bin/python")


# ---- The second command ---------------------------------------------------------------------


def test_continuous_integration_runs_the_second_command() -> None:
    script = ROOT / ".ci" / "run"
    assert TEST == "bash tests/run\n"
    assert script.read_text().splitlines()[-1] == f"exec {TEST.strip()}"
    assert os.access(script, os.X_OK)


def test_the_test_script_installs_the_programs_in_the_readme_and_starts_none() -> None:
    script = (ROOT / "tests" / "run").read_text()
    assert "missing (nginx, fcgiwrap and sshd, with apt" in README
    assert {"nginx", "fcgiwrap", "sshd"} <= set(re.findall(r"\[(\w+)\]=", script))
    assert "policy-rc.d" in script


# ---- The setup ------------------------------------------------------------------------------

# Runs commands for other accounts as this account. Commands that would change the machine are only
# logged.
SUDO = """#!/bin/sh
case $1 in -u | -iu) shift 2 ;; esac
# The output of deployctl has paths below /etc and /run: move them below the directory.
moved() {{ sed -E 's#(^|[^A-Za-z0-9_.])/(etc|run)/#\\1{root}/\\2/#g'; }}
case $1 in
apt-get | adduser | systemctl | python3 | */pip) echo "$*" >>{root}/sudo.log ;;
sh) [ $# = 1 ] || exec "$@"; moved | sh ;;
tee) moved | "$@" ;;
install) shift; exec install $(echo "$@" | sed 's/-[og] deploy//g') ;;
*) exec "$@" ;;
esac
"""
# Starts the deployctl of this tree as if it were installed in the directory.
DEPLOYCTL = """#!/bin/sh
export PYTHONPATH={project}:{packages} DEPLOYCTL_CONFIG={root}/etc/deployctl/repos.yml
grep -q ^state_dir: "$DEPLOYCTL_CONFIG" || sed -i "1i state_dir: {root}/state" "$DEPLOYCTL_CONFIG"
exec {root}/opt/deployctl/bin/python3 -m deployctl "$@"
"""
# Stubs for programs that the script of "setup systemd" calls.
SYSTEMCTL = """#!/bin/sh
echo "systemctl $*" >>{root}/sudo.log
"""
RUNUSER = """#!/bin/sh
[ "$1 $2 $3" = "-u {me} --" ] && shift 3 && exec "$@"
"""
ME = pwd.getpwuid(os.geteuid()).pw_name
DIRECTORIES = (
    "bin",
    "etc/nginx/snippets",
    "etc/sudoers.d",
    "etc/systemd/system",
    "opt/deployctl/bin",
    "run",
    "usr/local/bin",
    "var/lib/deploy/.ssh",
)


class Unit(configparser.ConfigParser):
    """A parser for a unit of systemd that keeps the case of the keys."""

    def optionxform(self, optionstr: str) -> str:
        return optionstr


class Machine:
    """A directory that stands for ``/``, in which the setup block of the README was run."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in DIRECTORIES:
            (root / name).mkdir(parents=True)
        for name, text in (("sudo", SUDO), ("systemctl", SYSTEMCTL), ("runuser", RUNUSER)):
            self._write(f"bin/{name}", text.format(root=root, me=ME))
        self._write(
            "opt/deployctl/bin/deployctl",
            DEPLOYCTL.format(root=root, project=ROOT, packages=sysconfig.get_path("purelib")),
        )
        (root / "opt/deployctl/bin/python3").symlink_to(sys.executable)
        (root / "bin/deployctl").symlink_to(root / "opt/deployctl/bin/deployctl")
        subprocess.run(
            ["/bin/sh", "-euc", self.moved(SETUP)],
            check=True,
            env={"PATH": f"{root}/bin:{PROGRAMS}", "HOME": str(root / "var/lib/deploy")},
            stdin=subprocess.DEVNULL,
            cwd=ROOT,
        )
        self.config = root / "etc/deployctl/repos.yml"

    def moved(self, text: str) -> str:
        """Return the text with this directory in front of the paths that the setup writes to."""
        tops = "etc|opt|run|srv|usr/local|var/lib"
        return re.sub(rf"(?<![\w.])/(?=({tops})/)", f"{self.root}/", text)

    def read(self, path: str) -> str:
        return (self.root / path).read_text()

    def unit(self, name: str) -> configparser.ConfigParser:
        unit = Unit(interpolation=None)
        unit.read_string(self.read(f"etc/systemd/system/{name}"))
        return unit

    @property
    def blog(self) -> Repo:
        return load(str(self.config)).repos["blog"]

    def serve(self, upstream: Upstream) -> None:
        """Change the blog in repos.yml to one that can be built here."""
        replacements = {
            "git@github.com:you/blog.git": upstream.url,
            "npm ci": "test -f README",
            "npm run build": "true",
            "sudo -n systemctl restart blog": "true",
            "url: http://127.0.0.1:8000/ping": "command: test -f REVISION",
        }
        text = self.config.read_text()
        for example, replacement in replacements.items():
            assert example in text
            text = text.replace(example, replacement)
        self.config.write_text(text)

    def _write(self, path: str, script: str) -> None:
        (self.root / path).write_text(script)
        (self.root / path).chmod(0o755)


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


# ---- The setup: nginx and fcgiwrap ----------------------------------------------------------


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
    assert f"`{include}`" in README
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


# ---- The setup: timers and ssh --------------------------------------------------------------


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


# ---- The reference --------------------------------------------------------------------------


def test_the_status_at_the_top_is_what_the_command_prints(
    tmp_path: Path, upstream: Upstream, write_config: WriteConfig
) -> None:
    service = Service(tmp_path / "blog" / "shared" / "run")
    config = write_config(
        {
            "blog": {
                "shared_dirs": ["run"],
                "restart": "./app.sh",
                "env": {"PORT": service.port},
                "healthcheck": {"url": service.ping, "deadline": 0.5, "interval": 0.1},
            }
        }
    )
    cli = Cli(tmp_path, config)
    codes = []
    try:
        for version in ("1", "2", "bad"):
            upstream.commit(Service.files(version), "Fix the header")
            codes.append(cli("deploy", "blog").code)
    finally:
        service.stop()
    assert codes == [0, 0, 3]
    sample = README.partition("$ deployctl status\n")[2].partition("```")[0]
    assert shape(sample) == shape(cli("status").stdout)


def shape(text: str) -> str:
    """Replace what differs between deployments (shas, numbers, times) and collapse white space."""
    patterns = {
        r"\s+": " ",
        r"\b[0-9a-f]{12}\b": "SHA",
        r"#\d+": "#N",
        r"just now|\b\d[\dhms. ]* ago": "AGO",
        r"127\.0\.0\.1:\d+": "SERVER",
        r"\d+ tries in [\d.]+s": "TRIES",
    }
    for pattern, name in patterns.items():
        text = re.sub(pattern, name, text)
    return text


def test_steps_get_the_variables_that_the_readme_names(
    tmp_path: Path, upstream: Upstream, write_config: WriteConfig
) -> None:
    named = README.partition("- Steps see ")[2].partition(", and what")[0]
    first, *names = re.findall(r"`([A-Z_]+)(?:=true)?`", named)
    assert names.pop() == "CI"
    stages = [{"name": "look", "run": f"env >{tmp_path}/env"}]
    Cli(tmp_path, write_config({"app": {"stages": stages}}))("deploy", "app")
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert seen["CI"] == "true"
    assert {first, *(f"DEPLOYCTL{name}" for name in names)} <= set(seen)


def test_the_table_has_every_command_and_no_other(helps: Mapping[str, str]) -> None:
    assert sorted(re.findall(r"`deployctl (\w+)", TABLE)) == sorted(helps)


def test_the_options_in_the_table_exist(helps: Mapping[str, str]) -> None:
    for row in TABLE.splitlines():
        commands = re.findall(r"`deployctl (\w+)", row)
        for option in re.findall(r"(?<![\w-])--?[a-z][\w-]*", row):
            assert any(has(helps[command], option) for command in commands), (row, option)


def test_every_command_takes_the_options_that_the_readme_names_for_all(
    helps: Mapping[str, str],
) -> None:
    for command, text in helps.items():
        assert has(text, "-c")
        assert has(text, "-h")
        assert has(text, "--json") == (command not in {"receive", *GROUPS})


@pytest.mark.parametrize("command", GROUPS)
def test_every_command_of_a_group_takes_json(command: str) -> None:
    text = help_of(command)
    names = re.findall(r"(?m)^  ([a-z]+) ", text.partition("Commands:\n")[2])
    assert len(names) > 2
    for name in names:
        assert has(help_of(command, name), "--json")


def test_every_command_that_is_shown_exists(helps: Mapping[str, str]) -> None:
    shown = re.findall(r"(?m)(?:[`/ ]deployctl|^deployctl) ([a-z]+)", "\n".join(code_of(README)))
    assert set(shown) <= set(helps)
    assert len(shown) > 20


def code_of(text: str) -> list[str]:
    """Return the text in code fences and between backticks."""
    fenced = re.findall(r"(?ms)^```\w*\n(.*?)^```$", text)
    plain = re.sub(r"(?ms)^```.*?^```$", "", text)
    return [*fenced, *(f"`{code}`" for code in re.findall(r"`([^`]+)`", plain))]


def has(text: str, option: str) -> bool:
    return re.search(rf"(?m)^  .*(?<![\w-]){re.escape(option)}(?![\w-])", text) is not None


@pytest.fixture(scope="module")
def helps() -> dict[str, str]:
    """The output of ``--help`` of each command."""
    overview = help_of()
    commands = overview.partition("Commands:\n")[2]
    return {name: help_of(name) for name in re.findall(r"(?m)^  (\w+)", commands)}


def help_of(*words: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "deployctl", *words, "--help"],
        check=True,
        capture_output=True,
        text=True,
        cwd=ROOT,
    )
    return done.stdout


def test_the_exit_codes_in_the_readme_are_those_of_the_code() -> None:
    listed = README.partition("Exit codes: ")[2].partition(". With several")[0]
    meanings = {
        int(code): meaning
        for code, meaning in (entry.split(maxsplit=1) for entry in listed.split("·"))
    }
    words = {
        EXIT_CODES["succeeded"]: "done",
        EXIT_CODES["failed"]: "failed",
        EXIT_CODES["rolled_back"]: "rolled back",
        EXIT_CODES["degraded"]: "degraded",
        errors.UsageError.exit_code: "wrong usage",
        errors.ConfigError.exit_code: "config",
        errors.RefusedError.exit_code: "refused",
        errors.BusyError.exit_code: "busy",
        70: "bug",
        130: "interrupted",
    }
    assert set(meanings) == set(words)
    assert errors.ConfigError.exit_code == errors.UsageError.exit_code
    assert all(word in meanings[code] for code, word in words.items())


def test_the_help_lists_the_same_exit_codes() -> None:
    listed = README.partition("Exit codes: ")[2].partition(". With several")[0]
    shown = help_of().partition("Exit codes:\n")[2].partition("\n\n")[0]
    assert re.findall(r"(?m)^ +(\d+) ", shown) == re.findall(r"(?:^|· ?\n?)(\d+) ", listed)
