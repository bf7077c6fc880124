"""The checks of one repo: remote, ssh key, known hosts, path, what is live, webhook."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from pathlib import Path
from typing import Any

import pytest

from deployctl.check import live, remote, webhook
from deployctl.check.finding import Finding, findings_of
from deployctl.config.load import load
from deployctl.values.forge_names import FORGES
from deployctl.values.repo import Config, Repo
from deployctl.webhook import forges
from tests.conftest import WriteConfig
from tests.support.app import App
from tests.support.checks import about, levels, only
from tests.support.upstream import Upstream

LONG = "0123456789abcdef" * 2
SIGNING = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


class Checked:
    """A config with one repo called app, and the findings of a check of it."""

    def __init__(self, write_config: WriteConfig, **keys: Any) -> None:
        self.config: Config = load(str(write_config({"app": keys})))
        self.repo: Repo = self.config.repos["app"]

    def findings(self, check: Any) -> list[Finding]:
        return list(check(self.config, self.repo))


# ---- the remote -----------------------------------------------------------------------------


def test_the_tip_of_the_branch_on_the_remote_is_reported(
    write_config: WriteConfig, upstream: Upstream
) -> None:
    checked = Checked(write_config, url=upstream.url)
    tip = upstream.head[:12]
    assert only(checked.findings(remote.remote)) == (
        "ok",
        f"{upstream.url}: main is at {tip}",
        None,
    )
    checked = Checked(write_config, url=upstream.url, tags="v*")
    assert only(checked.findings(remote.remote))[:2] == (
        "ok",
        f"{upstream.url} answers; tags like v* are deployed",
    )
    checked = Checked(write_config, url=upstream.url, branch="mian")
    assert only(checked.findings(remote.remote)) == (
        "fail",
        f"{upstream.url} has no branch mian",
        "push it, or set branch of app in repos.yml",
    )


def test_a_missing_remote_is_reported_with_the_words_of_git_and_advice(
    tmp_path: Path, write_config: WriteConfig
) -> None:
    checked = Checked(write_config, url=str(tmp_path / "nothing"))
    found = findings_of("remote", "app", lambda: checked.findings(remote.remote))
    level, message, fix = only(found)
    assert (level, fix) == ("fail", "check url and what this account may read")
    assert message == (
        f"cannot ask {tmp_path}/nothing for refs/heads/main: '{tmp_path}/nothing' does not "
        "appear to be a git repository"
    )


def test_a_refused_connection_is_reported_in_the_words_of_ssh(
    tmp_path: Path, write_config: WriteConfig
) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        checked = Checked(
            write_config, url=f"ssh://git@127.0.0.1:{probe.getsockname()[1]}/blog.git"
        )
        found = findings_of("remote", "app", lambda: checked.findings(remote.remote))
    level, message, fix = only(found)
    assert (level, fix) == ("fail", "check host and port in url, and this machine's network")
    assert "Connection refused" in message


# ---- key and known hosts --------------------------------------------------------------------


def make_key(path: Path, passphrase: str = "") -> Path:
    subprocess.run(
        ["ssh-keygen", "-q", "-t", "ed25519", "-N", passphrase, "-f", str(path)], check=True
    )
    return path


def test_an_ssh_key_must_exist_and_be_closed_to_others(
    tmp_path: Path, write_config: WriteConfig
) -> None:
    assert Checked(write_config).findings(remote.ssh_key) == []
    key = make_key(tmp_path / "key")
    checked = Checked(write_config, ssh_key=str(key))
    assert only(checked.findings(remote.ssh_key)) == ("ok", str(key), None)
    key.chmod(0o640)
    assert only(checked.findings(remote.ssh_key)) == (
        "fail",
        f"ssh refuses {key}: others can read it",
        f"chmod 600 {key}",
    )
    key.unlink()
    level, message, fix = only(checked.findings(remote.ssh_key))
    assert (level, message) == ("fail", f"{key} does not exist")
    assert (fix or "").startswith(f"ssh-keygen -t ed25519 -N '' -f {key}, then add {key}.pub as ")


@pytest.mark.parametrize("what", ["passphrase", "public key"])
def test_a_public_key_or_one_with_a_passphrase_is_a_failure(
    tmp_path: Path, write_config: WriteConfig, what: str
) -> None:
    key = make_key(tmp_path / "key", "a passphrase" if what == "passphrase" else "")
    key = key.with_suffix(".pub") if what == "public key" else key
    key.chmod(0o600)
    level, message, _ = only(Checked(write_config, ssh_key=str(key)).findings(remote.ssh_key))
    assert (level, message) == (
        "fail",
        f"{key} is no private key, or it has a passphrase that nobody can type",
    )


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("git@github.com:you/blog.git", "github.com"),
        ("ssh://git@example.org/blog.git", "example.org"),
        ("ssh://git@example.org:22/blog.git", "example.org"),
        ("ssh://git@example.org:2222/blog.git", "[example.org]:2222"),
        ("git@[2001:db8::1]:blog.git", "2001:db8::1"),
        ("ssh://git@[2001:db8::1]:2222/blog.git", "[2001:db8::1]:2222"),
        ("https://github.com/you/blog.git", None),
        ("/srv/git/blog.git", None),
    ],
)
def test_a_host_has_the_name_that_known_hosts_uses(url: str, host: str | None) -> None:
    assert remote.ssh_host(url) == host


def test_the_key_of_the_host_must_be_in_known_hosts(
    tmp_path: Path, write_config: WriteConfig
) -> None:
    assert Checked(write_config).findings(remote.known_hosts) == []
    known = tmp_path / "known_hosts"
    url = "ssh://git@example.org:2222/blog.git"
    checked = Checked(write_config, url=url, known_hosts=str(known))
    scan = f"ssh-keyscan -p 2222 example.org >>{known}"
    fix = f"{scan}, then compare its fingerprint: ssh-keygen -lf {known}"
    missing = ("fail", f"the key of [example.org]:2222 is not in {known}", fix)
    assert only(checked.findings(remote.known_hosts)) == missing
    public = make_key(tmp_path / "key").with_suffix(".pub").read_text()
    known.write_text(f"example.org {public}")
    known.chmod(0o600)
    assert only(checked.findings(remote.known_hosts)) == missing
    known.write_text(f"[example.org]:2222 {public}")
    known_key = ("ok", "the key of [example.org]:2222 is known", None)
    assert only(checked.findings(remote.known_hosts)) == known_key
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(known)], check=True, capture_output=True)
    assert "example.org" not in known.read_text(), "hashed"
    assert only(checked.findings(remote.known_hosts)) == known_key
    known.chmod(0o666)
    assert only(checked.findings(remote.known_hosts))[::2] == ("fail", f"chmod go-w {known}")


# ---- the path and what is live --------------------------------------------------------------


def test_each_obstacle_at_the_path_is_a_finding(tmp_path: Path, write_config: WriteConfig) -> None:
    checked = Checked(write_config, shared_files=[".env"])
    app = tmp_path / "app"
    (app / "current").mkdir(parents=True)
    assert [
        (finding.level, finding.message, finding.fix) for finding in checked.findings(live.path)
    ] == [
        (
            "fail",
            f"{app}/current is not a symlink, so it cannot be switched",
            f"move it away (mv {app}/current {app}/current.old), then deploy again",
        ),
        (
            "fail",
            f"the shared file {app}/shared/.env does not exist",
            "create it (it is linked into every release as .env), then deploy again",
        ),
    ]
    assert os.listdir(app) == ["current"]


def test_the_path_of_a_checkout_in_place_is_checked(
    tmp_path: Path, write_config: WriteConfig
) -> None:
    checked = Checked(write_config, strategy="in_place")
    assert only(checked.findings(live.path))[:2] == ("ok", f"{tmp_path}/app can be deployed to")
    (tmp_path / "app").touch()
    assert only(checked.findings(live.path)) == (
        "fail",
        f"{tmp_path}/app is not a directory",
        "move it away, or set path of app",
    )


@pytest.mark.parametrize("strategy", ["releases", "in_place"])
def test_a_complete_live_release_is_reported(app: App, strategy: str) -> None:
    app.configure(strategy=strategy)
    revision = app.release("1")["revision"]
    document = app.cli.json("check")
    assert about(document, "live", "app")[0]["message"] == f"{revision[:12]} is live"


def live_finding(app: App, code: int) -> dict[str, Any]:
    (finding,) = about(app.cli.json("check", code=code), "live", "app")
    return finding


def test_a_live_release_that_is_incomplete_foreign_or_gone_is_reported(app: App) -> None:
    name = app.release("1")["release"]
    release = app.path / "releases" / name
    (release / ".complete").unlink()
    assert live_finding(app, code=1) == {
        "level": "fail",
        "message": f"the release {name} is live and not complete",
        "fix": f"deployctl -c {app.cli.config} deploy app",
    }
    (app.directory / "mine").mkdir()
    (app.path / "current").unlink()
    (app.path / "current").symlink_to("../mine")
    assert live_finding(app, code=0) == {
        "level": "warn",
        "message": f"{app.path}/current points to ../mine, which deployctl did not build",
        "fix": f"deployctl -c {app.cli.config} deploy app",
    }
    (app.path / "current").unlink()
    (app.path / "current").symlink_to(f"releases/{name}")
    shutil.rmtree(release)
    assert live_finding(app, code=1) == {
        "level": "fail",
        "message": f"{app.path}/current points to releases/{name}, which is gone",
        "fix": f"deployctl -c {app.cli.config} rollback app",
    }


def test_a_health_check_url_that_refuses_the_connection_is_a_warning(app: App) -> None:
    app.release("1")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}/ping?a&b"
        app.configure(healthcheck={"url": url})
        (finding,) = about(app.cli.json("check"), "health", "app")
    assert (finding["level"], finding["fix"]) == ("warn", f"see what answers: curl -i '{url}'")
    assert finding["message"].startswith(f"GET {url} refused the connection (1 try in ")


# ---- the webhook ----------------------------------------------------------------------------


def webhook_findings(write_config: WriteConfig, **keys: Any) -> list[tuple[str, str]]:
    found = Checked(write_config, **keys).findings(webhook.webhook)
    return [(finding.level, finding.message) for finding in found]


def test_a_repo_without_webhook_keys_expects_no_webhook(write_config: WriteConfig) -> None:
    assert webhook_findings(write_config, forge="gitee") == [
        ("ok", "none is expected: neither id, full_name nor webhook_secret is set")
    ]


@pytest.mark.parametrize("key", [{"id": 7}, {"full_name": "you/app"}])
def test_without_a_secret_every_webhook_is_refused(
    write_config: WriteConfig, key: dict[str, Any]
) -> None:
    assert webhook_findings(write_config, forge="github", **key) == [
        ("warn", "there is no webhook_secret, so every webhook is refused")
    ]


def test_a_secret_of_less_than_16_characters_is_a_warning(write_config: WriteConfig) -> None:
    assert webhook_findings(write_config, forge="github", webhook_secret=["a" * 15, LONG]) == [
        ("warn", "a webhook_secret of 15 characters can be guessed")
    ]
    assert webhook_findings(write_config, forge="github", webhook_secret="a" * 16) == [
        ("ok", "deliveries of github are believed by their secret")
    ]
    assert "a" * 15 not in str(webhook_findings(write_config, webhook_secret="a" * 15))


def test_without_a_forge_the_headers_of_a_delivery_decide(write_config: WriteConfig) -> None:
    assert webhook_findings(write_config, webhook_secret=LONG) == [
        ("ok", "no forge is set: each delivery's headers tell where it comes from")
    ]


@pytest.mark.parametrize("name", FORGES)
def test_the_weakness_of_the_proof_of_a_forge_is_a_warning(
    write_config: WriteConfig, name: str
) -> None:
    valid_secrets = {
        "standard-webhooks": SIGNING,
        "sourcehut": "uX7KWyyDNMaBma4aVbJ/cbUQpdjqczuCyK/HxzV/u+4=",
    }
    found = webhook_findings(
        write_config, forge=name, id=7, webhook_secret=valid_secrets.get(name, LONG)
    )
    weakness = forges.load_forge(name).WEAKNESS
    assert found == [
        ("warn", f"{name}: {weakness}")
        if weakness
        else ("ok", f"deliveries of {name} are believed by their secret")
    ]


def test_a_signing_token_of_gitlab_has_no_weakness(write_config: WriteConfig) -> None:
    assert webhook_findings(write_config, forge="gitlab", webhook_secret=SIGNING) == [
        ("ok", "deliveries of gitlab are believed by their secret")
    ]
    (found,) = webhook_findings(write_config, forge="gitlab", webhook_secret=[SIGNING, LONG])
    assert found[0] == "warn"


@pytest.mark.parametrize(
    ("forge", "secret", "message"),
    [
        (
            "sourcehut",
            "uX7KWyyDNMaBma4aVbJ",
            "webhook_secret is not the public key of sr.ht, 32 bytes in base64",
        ),
        (
            "standard-webhooks",
            LONG,
            "webhook_secret is no signing secret (whsec_ and base64)",
        ),
        (
            "standard-webhooks",
            "whsec_",
            "webhook_secret is no signing secret (whsec_ and base64)",
        ),
    ],
)
def test_a_secret_in_the_wrong_format_is_a_failure(
    write_config: WriteConfig, forge: str, secret: str, message: str
) -> None:
    assert ("fail", message) in webhook_findings(write_config, forge=forge, webhook_secret=secret)


def test_a_repo_at_codeup_needs_an_id(write_config: WriteConfig) -> None:
    warning = ("warn", "Codeup sends no name of the repository, so full_name finds nothing")
    keys = {"forge": "codeup", "webhook_secret": LONG, "full_name": "you/app"}
    assert warning in webhook_findings(write_config, **keys)
    assert warning not in webhook_findings(write_config, **keys, id=7)


def test_the_same_id_or_name_at_two_forges_is_a_warning(write_config: WriteConfig) -> None:
    def warnings_with(**other: Any) -> list[str]:
        one = {"forge": "github", "id": "{7A}", "full_name": "you/app", "webhook_secret": LONG}
        config = load(str(write_config({"app": one, "other": other})))
        found = list(webhook.webhook(config, config.repos["app"]))
        return [finding.message for finding in found if finding.level == "warn"]

    assert warnings_with(forge="gitea", id="7a", full_name="You/App") == [
        f"other has the same {key} at another forge (gitea)" for key in ("id", "full_name")
    ]
    assert warnings_with(forge="gitea", id="8", full_name="you/other") == []
    assert warnings_with(forge="github", id="7a", full_name="you/app") == [], (
        "one push, two deployments"
    )
    assert warnings_with(id="7a") == []


def test_a_secret_that_cannot_be_read_is_not_reported_twice(
    write_config: WriteConfig,
) -> None:
    found = Checked(write_config, forge="github", webhook_secret="file:gone").findings(
        webhook.webhook
    )
    assert levels(found) == ["ok"]
