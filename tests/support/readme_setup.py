"""The setup of the README, run in a directory that stands for the whole machine."""

from __future__ import annotations

import configparser
import os
import pwd
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

from deployctl.config.load import load
from deployctl.values.repo import Repo
from tests.support.paths import ROOT
from tests.support.readme import SETUP
from tests.support.upstream import Upstream

PROGRAMS = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
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
