"""Tests of calls of git: environment, error messages, timeout, ssh and trusted paths."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from deployctl.errors import GitError
from deployctl.git.command import git, local_environment
from deployctl.git.remote import local_path, protocol, remote_environment, ssh_command, trust
from deployctl.values.repo import Repo
from tests.support.cli import processes_called
from tests.support.upstream import git as plain_git


def message_for(tmp_path: Path, stderr: str) -> str:
    """Return the error message for a git command that fails and prints ``stderr``."""
    program = tmp_path / "git"
    (tmp_path / "stderr").write_text(stderr)
    program.write_text(f"#!/bin/sh\n/bin/cat {tmp_path}/stderr >&2\nexit 128\n")
    program.chmod(0o755)
    with pytest.raises(GitError) as caught:
        git(["fetch"], what="cannot fetch", env={"PATH": str(tmp_path)})
    return str(caught.value)


def test_the_output_is_returned_without_its_last_line_break() -> None:
    blob = git(["hash-object", "--stdin"], what="cannot hash", stdin=b"hi\n")
    assert blob == "45b983be36b73c0788dc9cbcb76cbb80fc7bb057"


def test_an_error_names_the_failed_action_and_keeps_the_output_of_git(tmp_path: Path) -> None:
    with pytest.raises(GitError) as caught:
        git([f"--git-dir={tmp_path}", "log"], what="cannot read the log")
    assert str(caught.value) == f"cannot read the log: not a git repository: '{tmp_path}'"
    assert caught.value.output == f"fatal: not a git repository: '{tmp_path}'"
    assert caught.value.git_exit_code == 128


def test_an_error_of_git_without_a_message_is_reported_as_such(tmp_path: Path) -> None:
    assert message_for(tmp_path, "\n") == "cannot fetch: it gave no reason"


def test_a_missing_git_is_reported_with_the_command_to_install_it(tmp_path: Path) -> None:
    with pytest.raises(GitError) as caught:
        git(["fetch"], what="cannot fetch", env={"PATH": str(tmp_path)})
    assert (
        str(caught.value) == "cannot fetch: git is not installed; install it: apt-get install git"
    )


def test_a_call_that_exceeds_its_timeout_is_ended_with_all_its_processes() -> None:
    with pytest.raises(GitError) as caught:
        git(
            ["-c", "alias.wait=!sleep 61.2837 & sleep 61.2837", "wait"],
            what="cannot wait",
            timeout=0.5,
            late="go on",
        )
    assert str(caught.value) == "cannot wait: not finished within 0.5s; go on"
    assert not processes_called("61.2837")


COULD_NOT_READ = """fatal: Could not read from remote repository.

Please make sure you have the correct access rights
and the repository exists.
"""
KNOWN_HOSTS = (
    "add the server's key to known_hosts: ssh-keyscan HOST >> ~/.ssh/known_hosts, "
    "then compare its fingerprint with the one the forge publishes"
)
DEPLOY_KEY = (
    "add this account's public key as a deploy key at the forge, or name another with ssh_key"
)


@pytest.mark.parametrize(
    ("stderr", "message"),
    [
        (
            (
                "No ED25519 host key is known for forge and you have requested strict checking.\r\n"
                f"Host key verification failed.\r\n{COULD_NOT_READ}"
            ),
            f"Host key verification failed; {KNOWN_HOSTS}",
        ),
        (
            (
                "@@@@@@\n@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @\n@@@@@@\n"
                f"Host key verification failed.\r\n{COULD_NOT_READ}"
            ),
            (
                "WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!; "
                "compare the new key's fingerprint with the one the forge publishes; "
                "if it is that one, replace the old key in known_hosts"
            ),
        ),
        (
            f"git@forge: Permission denied (publickey).\r\n{COULD_NOT_READ}",
            f"git@forge: Permission denied (publickey); {DEPLOY_KEY}",
        ),
        (
            f"ssh: connect to host forge port 22: Connection refused\r\n{COULD_NOT_READ}",
            (
                "ssh: connect to host forge port 22: Connection refused; "
                "check host and port in url, and this machine's network"
            ),
        ),
        (
            f"ssh: Could not resolve hostname forge: Name or service not known\r\n{COULD_NOT_READ}",
            (
                "ssh: Could not resolve hostname forge: Name or service not known; "
                "check the host's name in url and this machine's DNS"
            ),
        ),
        (
            f"ERROR: Repository not found.\n{COULD_NOT_READ}",
            (
                "ERROR: Repository not found; "
                "check url, and that the deploy key belongs to this repository"
            ),
        ),
        (
            f"Welcome to our forge\nremote: the project is gone\n{COULD_NOT_READ}",
            "remote: the project is gone",
        ),
        (
            "error: object 4b825dc: hasDotgit: contains '.git'\nfatal: fsck error in pack",
            "object 4b825dc: hasDotgit: contains '.git'",
        ),
        (
            "error: unable to write file x: No space left on device\n",
            "unable to write file x: No space left on device; free some disk space",
        ),
        (
            "fatal: detected dubious ownership in repository at '/srv/app'\nTo add …\n",
            (
                "detected dubious ownership in repository at '/srv/app'; "
                "run deployctl as the account that owns it, or give it to this one (chown -R)"
            ),
        ),
        ("warning: this\nthat is all", "that is all"),
    ],
)
def test_an_error_has_the_message_of_git_and_advice(
    tmp_path: Path, stderr: str, message: str
) -> None:
    assert message_for(tmp_path, stderr) == f"cannot fetch: {message}"


def test_the_callers_git_variables_have_no_effect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_CONFIG_COUNT", "1")
    monkeypatch.setenv("GIT_CONFIG_KEY_0", "core.bare")
    monkeypatch.setenv("GIT_CONFIG_VALUE_0", "nonsense")
    git(["init", "--quiet", "--", str(tmp_path / "new")], what="cannot create")
    assert (tmp_path / "new" / ".git" / "objects").is_dir()
    assert not (tmp_path / "elsewhere").exists()


def test_git_does_not_prompt_runs_no_hooks_and_checks_fetched_objects() -> None:
    repo = Repo("blog", "https://example.org/blog.git", "/srv")
    environment = {**local_environment(), **remote_environment(repo)}
    variables = {
        name: value for name, value in environment.items() if name.startswith(("GIT_", "SSH"))
    }
    assert variables.pop("GIT_SSH_COMMAND").startswith("ssh -F /dev/null -o BatchMode=yes ")
    assert variables == {
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_ASKPASS": "/bin/false",
        "SSH_ASKPASS": "/bin/false",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": "/dev/null",
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_ALLOW_PROTOCOL": "https",
        "GIT_HTTP_LOW_SPEED_LIMIT": "1000",
        "GIT_HTTP_LOW_SPEED_TIME": "60",
        "GIT_SSH_VARIANT": "ssh",
    }
    settings = git(["config", "--list"], what="cannot list").splitlines()
    assert {
        "core.hookspath=/dev/null",
        "fetch.fsckobjects=true",
        "protocol.ext.allow=never",
    } <= set(settings)


def test_the_configuration_of_a_repository_around_the_callers_directory_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain_git(tmp_path, "init", "-q")
    plain_git(tmp_path, "config", "foreign.value", "here")
    monkeypatch.chdir(tmp_path)
    origins = git(["config", "--list", "--show-origin"], what="cannot list").splitlines()
    assert {line.partition("\t")[0] for line in origins} == {"command line:"}


def test_ssh_never_prompts_and_offers_only_the_key_of_the_repo() -> None:
    repo = Repo("blog", "git@forge:blog", "/srv", ssh_key="/k/id", known_hosts="/k/hosts")
    assert ssh_command(repo) == [
        "ssh",
        "-F",
        "/dev/null",
        "-o",
        "BatchMode=yes",
        "-o",
        "StrictHostKeyChecking=yes",
        "-o",
        "ConnectTimeout=10",
        "-o",
        "ServerAliveInterval=15",
        "-o",
        "ServerAliveCountMax=3",
        "-o",
        'UserKnownHostsFile="/k/hosts"',
        "-o",
        'IdentityFile="/k/id"',
        "-o",
        "IdentitiesOnly=yes",
    ]


def test_ssh_gets_paths_with_spaces_and_percent_signs_unchanged() -> None:
    repo = Repo("blog", "git@forge:blog", "/srv", ssh_key="/my key", known_hosts="/a b/100%")
    words = [*ssh_command(repo), "-G", "forge"]
    settings = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    assert "identityfile /my key\n" in settings
    assert "userknownhostsfile /a b/100%" in settings.replace("%%", "%")


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("https://example.org/blog.git", "https"),
        ("ssh://git@example.org/blog.git", "ssh"),
        ("git@example.org:blog.git", "ssh"),
        ("/srv/git/blog.git", "file"),
        ("/srv/a:b/blog.bundle", "file"),
        ("file:///srv/git/blog.git", "file"),
        ("ext::sh -c true", "ssh"),
    ],
)
def test_only_the_transport_of_the_url_is_allowed(url: str, expected: str) -> None:
    assert protocol(url) == expected
    environment = remote_environment(Repo("blog", url, "/srv"))
    assert environment["GIT_ALLOW_PROTOCOL"] == expected


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("/srv/blog", "/srv/blog"),
        ("file:///srv/blog", "/srv/blog"),
        ("file:///srv/my%20blog", "/srv/my blog"),
        ("git@example.org:blog", None),
        ("https://example.org/blog", None),
    ],
)
def test_only_urls_on_this_machine_have_a_local_path(url: str, path: str | None) -> None:
    assert local_path(url) == path


def test_trust_in_one_repository_is_written_to_a_private_file(tmp_path: Path) -> None:
    config = tmp_path / "trust"
    before = os.umask(0)
    try:
        assert trust('/srv/a "b"', str(config)) == {"GIT_CONFIG_GLOBAL": str(config)}
    finally:
        os.umask(before)
    assert config.stat().st_mode & 0o777 == 0o600
    listed = plain_git(tmp_path, "config", "--file", str(config), "--get-all", "safe.directory")
    assert listed.splitlines() == ['/srv/a "b"', '/srv/a "b"/.git', '/srv/a "b".git']


def test_the_file_of_trust_is_written_only_when_it_changes(tmp_path: Path) -> None:
    config = tmp_path / "trust"
    trust("/srv/blog", str(config))
    first = config.stat().st_ino
    trust("/srv/blog", str(config))
    assert config.stat().st_ino == first
    trust("/srv/other", str(config))
    assert "/srv/other" in config.read_text()
