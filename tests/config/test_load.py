"""What a correct repos.yml means: every key, every default."""

from __future__ import annotations

import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deployctl.config.deployers import BUILT_IN
from deployctl.config.load import load
from deployctl.config.refs import is_branch_name
from deployctl.errors import ConfigError
from deployctl.values.forge_names import FORGES
from deployctl.values.repo import (
    Channel,
    Config,
    Evidence,
    HealthCheck,
    Repo,
    Stage,
    Subscription,
)
from deployctl.values.secret import Secret

ALL_BUT_STARTED = ("succeeded", "failed", "rolled_back", "degraded", "recovered")


def load_text(text: str, tmp_path: Path) -> Config:
    path = tmp_path / "repos.yml"
    path.write_text(text)
    return load(str(path))


def load_repo(tmp_path: Path, top: dict[str, Any] | None = None, **keys: Any) -> Repo:
    """The repo ``site`` with these keys and nothing else to say."""
    repo = {"url": "/srv/git/site", "path": "/srv/site", **keys}
    document = {**(top or {}), "repos": {"site": repo}}
    return load_text(yaml.safe_dump(document), tmp_path).repos["site"]


def test_what_is_not_said_has_its_default(tmp_path: Path) -> None:
    config = load_text("repos: {site: {url: /srv/git/site, path: /srv/site}}\n", tmp_path)
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert config == Config(
        path=str(tmp_path / "repos.yml"),
        state_dir=f"{home}/.local/state/deployctl",
        repos={"site": Repo(name="site", url="/srv/git/site", path="/srv/site")},
    )


def test_no_repos_yet_is_fine_when_it_is_said(tmp_path: Path) -> None:
    assert load_text("repos: {}\n", tmp_path).repos == {}


def test_top_level_keys_are_read(tmp_path: Path) -> None:
    config = load_text(
        "state_dir: state\nmax_running: 3\nmax_body: 512K\nrepos: {}\nx-note: [mine]\n", tmp_path
    )
    assert config.state_dir == str(tmp_path / "state")
    assert config.max_running == 3
    assert config.max_body == 512 * 1024


@pytest.mark.parametrize(
    ("written", "meant"), [("1", 1), ("2000", 2000), ("1K", 1024), ("25M", 25 * 1024 * 1024)]
)
def test_sizes_are_bytes_or_have_a_unit(written: str, meant: int, tmp_path: Path) -> None:
    assert load_text(f"max_body: {written}\nrepos: {{}}\n", tmp_path).max_body == meant


@pytest.mark.parametrize(
    ("written", "meant"),
    [("90", 90), ("0.5", 0.5), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("'60'", 60)],
)
def test_durations_are_seconds_or_have_units(written: str, meant: float, tmp_path: Path) -> None:
    text = f"repos: {{site: {{url: a, path: b, timeout: {written}}}}}\n"
    assert load_text(text, tmp_path).repos["site"].timeout == meant


def test_relative_paths_start_at_the_directory_of_the_config(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir("/")
    repo = load_repo(
        tmp_path, url="../git/site", path="./site/", ssh_key="keys/site", known_hosts="hosts"
    )
    assert repo.url == str(tmp_path.parent / "git/site")
    assert repo.path == str(tmp_path / "site")
    assert repo.ssh_key == str(tmp_path / "keys/site")
    assert repo.known_hosts == str(tmp_path / "hosts")


def test_a_tilde_is_the_home_of_the_passwd_entry(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", "/elsewhere")
    home = pwd.getpwuid(os.geteuid()).pw_dir.rstrip("/")
    repo = load_repo(tmp_path, url="~/git/site", path="~/site", webhook_secret="file:~/hook")
    assert repo.url == f"{home}/git/site"
    assert repo.path == f"{home}/site"
    assert repo.webhook_secrets == (Secret(f"file:{home}/hook"),)


@pytest.mark.parametrize(
    "url",
    [
        "https://github.com/you/site.git",
        "https://you@github.com/you/site",
        "https://git.example.org:8443/site",
        "ssh://git@github.com/you/site.git",
        "ssh://git@[2001:db8::1]:2222/site",
        "git@github.com:you/site.git",
        "github.com:you/site",
        "[::1]:site",
        "file:///srv/git/site",
        "/srv/git/site.bundle",
        "/srv/git/with:colon",
    ],
)
def test_a_url_that_git_can_trust_stays_as_it_is(url: str, tmp_path: Path) -> None:
    assert load_repo(tmp_path, url=url).url == url


@pytest.mark.parametrize("name", ["main", "refs/heads/main"])
def test_a_branch_may_be_written_in_full(name: str, tmp_path: Path) -> None:
    assert load_repo(tmp_path, branch=name).branch == "main"


@pytest.mark.parametrize("pattern", ["v*", "refs/tags/v*", "v[0-9]*", "*", "release/?.?"])
def test_tags_take_the_place_of_a_branch(pattern: str, tmp_path: Path) -> None:
    assert load_repo(tmp_path, tags=pattern).tags == pattern.removeprefix("refs/tags/")


def test_a_branch_of_ones_own_hides_the_tags_of_the_defaults_and_the_reverse(
    tmp_path: Path,
) -> None:
    own = load_repo(tmp_path, {"defaults": {"tags": "v*"}}, branch="live")
    assert (own.branch, own.tags) == ("live", None)
    own = load_repo(tmp_path, {"defaults": {"branch": "live"}}, tags="v*")
    assert (own.branch, own.tags) == ("main", "v*")


@pytest.mark.parametrize("forge", FORGES)
def test_every_forge_is_called_by_its_name(forge: str, tmp_path: Path) -> None:
    assert load_repo(tmp_path, forge=forge).forge == forge


def test_codeberg_is_a_forgejo(tmp_path: Path) -> None:
    assert load_repo(tmp_path, forge="codeberg").forge == "forgejo"


def test_text_stays_as_it_is_written(tmp_path: Path) -> None:
    text = """
repos:
  site:
    url: a
    path: b
    branch: 1.0
    id: 0o17
    env: {A: on, B: 010, C: 1e3, D: "", E: True, F: 2024-01-01, G: "two\\nlines"}
"""
    repo = load_text(text, tmp_path).repos["site"]
    assert repo.branch == "1.0"
    assert repo.id == "0o17"
    assert repo.env == {
        "A": "on",
        "B": "010",
        "C": "1e3",
        "D": "",
        "E": "True",
        "F": "2024-01-01",
        "G": "two\nlines",
    }
    assert load_text(text.replace("1.0", "on"), tmp_path).repos["site"].branch == "on"


@pytest.mark.parametrize(
    ("written", "meant"), [("no", False), ("off", False), ("False", False), ("yes", True)]
)
def test_a_boolean_may_be_any_of_yaml(written: str, meant: bool, tmp_path: Path) -> None:
    text = f"repos: {{site: {{url: a, path: b, auto_rollback: {written}}}}}\n"
    assert load_text(text, tmp_path).repos["site"].auto_rollback is meant


def test_keys_that_say_which_deliveries_are_meant(tmp_path: Path) -> None:
    repo = load_repo(tmp_path, forge="github", id=1296269, full_name="you/site")
    assert (repo.forge, repo.id, repo.full_name) == ("github", "1296269", "you/site")


def test_secrets_are_references_with_absolute_files(tmp_path: Path) -> None:
    repo = load_repo(
        tmp_path,
        webhook_secret=["env:HOOK", "file:hook", "file:/etc/hook", "the:value itself", 12345],
        secrets={"TOKEN": "file:token"},
    )
    assert repo.webhook_secrets == (
        Secret("env:HOOK"),
        Secret(f"file:{tmp_path}/hook"),
        Secret("file:/etc/hook"),
        Secret("the:value itself"),
        Secret("12345"),
    )
    assert repo.secrets == {"TOKEN": Secret(f"file:{tmp_path}/token")}
    assert load_repo(tmp_path, webhook_secret="one").webhook_secrets == (Secret("one"),)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("npm ci && make", ("npm ci && make",)),
        ("make", ("make",)),
        ("a\nb\n", ("a\nb\n",)),
        (["npm", "ci"], (("npm", "ci"),)),
        (["make"], (("make",),)),
        (["sleep", 1, True, ""], (("sleep", "1", "true", ""),)),
        (["sh", "-c", "echo a b"], (("sh", "-c", "echo a b"),)),
        (["npm ci", "make"], ("npm ci", "make")),
        (["npm ci"], ("npm ci",)),
        ([["npm", "ci"], "make", ["a b"]], (("npm", "ci"), "make", ("a b",))),
        (["make", ["npm", "ci"]], ("make", ("npm", "ci"))),
    ],
)
def test_a_command_is_a_script_or_words_and_a_list_may_hold_several(
    written: Any, meant: tuple[Any, ...], tmp_path: Path
) -> None:
    repo = load_repo(tmp_path, restart=written, stages=[{"name": "build", "run": written}])
    assert repo.pipeline.restart == meant
    assert repo.pipeline.stages == (Stage("build", meant),)


def test_every_key_of_a_stage(tmp_path: Path) -> None:
    repo = load_repo(
        tmp_path,
        stages=[
            {"name": "build it", "run": "make", "timeout": "10m", "env": {"A": 1}, "dir": "./a/b/"},
            {"name": "test", "run": "make test", "dir": "."},
        ],
    )
    assert repo.pipeline.stages == (
        Stage("build it", ("make",), timeout=600, env={"A": "1"}, dir="a/b"),
        Stage("test", ("make test",)),
    )


def test_every_key_of_a_healthcheck(tmp_path: Path) -> None:
    repo = load_repo(
        tmp_path,
        healthcheck={
            "url": "http://localhost:8000/health",
            "status": 204,
            "contains": "two words",
            "headers": {"Host": "site.example.org"},
            "timeout": 2,
            "interval": "3s",
            "deadline": "1m",
            "stable_for": "5s",
            "evidence": {"file": "log/app.log", "command": "dmesg"},
        },
    )
    assert repo.pipeline.healthcheck == HealthCheck(
        url="http://localhost:8000/health",
        status=(204,),
        contains="two words",
        headers={"Host": "site.example.org"},
        timeout=2,
        interval=3,
        deadline=60,
        stable_for=5,
        evidence=(Evidence("log/app.log", "dmesg"),),
    )


def test_evidence_may_be_several_files_and_commands(tmp_path: Path) -> None:
    pieces = [{"file": "~/a.log"}, {"file": "/var/log/b.log"}, {"command": ["tail", "c d"]}]
    repo = load_repo(tmp_path, healthcheck={"command": "x", "evidence": pieces})
    check = repo.pipeline.healthcheck
    assert check is not None
    assert check.evidence == (
        Evidence(file=f"{pwd.getpwuid(os.geteuid()).pw_dir}/a.log"),
        Evidence(file="/var/log/b.log"),
        Evidence(command=("tail", "c d")),
    )


def test_a_healthcheck_may_be_a_command(tmp_path: Path) -> None:
    repo = load_repo(tmp_path, healthcheck={"command": ["curl", "-f", "a b"], "stable_for": 0})
    assert repo.pipeline.healthcheck == HealthCheck(command=("curl", "-f", "a b"))
    repo = load_repo(tmp_path, healthcheck={"command": "test -s REVISION"})
    assert repo.pipeline.healthcheck == HealthCheck(command="test -s REVISION")


def test_a_directory_of_the_repository_is_inside_it(tmp_path: Path) -> None:
    repo = load_repo(tmp_path, dir="./web//site/", submodules=True, lfs=True)
    assert (repo.dir, repo.below, repo.submodules, repo.lfs) == ("web/site", "web/site", True, True)
    repo = load_repo(tmp_path)
    assert (repo.dir, repo.below, repo.submodules, repo.lfs) == (".", "", False, False)


def test_shared_paths_are_normalised(tmp_path: Path) -> None:
    repo = load_repo(tmp_path, shared_dirs=["media/", "./var//log"], shared_files=[".env"])
    assert repo.shared_dirs == ("media", "var/log")
    assert repo.shared_files == (".env",)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_deployer_brings_stages_and_restart(name: str, tmp_path: Path) -> None:
    repo = load_repo(tmp_path, deployer=name)
    assert (repo.deployer, repo.pipeline.stages, repo.pipeline.restart) == (
        name,
        BUILT_IN[name].stages,
        BUILT_IN[name].restart,
    )


def test_a_deployer_of_ones_own_may_take_the_place_of_a_built_in(tmp_path: Path) -> None:
    top = {"deployers": {"npm": {"stages": [{"name": "a", "run": "b"}], "restart": "c"}}}
    repo = load_repo(tmp_path, top, deployer="npm")
    assert (repo.pipeline.stages, repo.pipeline.restart) == ((Stage("a", ("b",)),), ("c",))


def test_a_repos_own_stages_and_restart_come_before_those_of_its_deployer(tmp_path: Path) -> None:
    repo = load_repo(tmp_path, deployer="docker-compose", restart="mine")
    assert (repo.pipeline.stages, repo.pipeline.restart) == (
        BUILT_IN["docker-compose"].stages,
        ("mine",),
    )
    repo = load_repo(tmp_path, deployer="docker-compose", stages=[], restart=[])
    assert (repo.pipeline.stages, repo.pipeline.restart) == ((), ())


def test_channels_are_a_url_or_a_mapping(tmp_path: Path) -> None:
    text = """
channels:
  phone: bark://host/key
  mail: {url: "file:mail.url", timeout: 5s}
  chat: env:CHAT_URL
repos: {}
"""
    assert load_text(text, tmp_path).channels == {
        "phone": Channel("phone", Secret("bark://host/key")),
        "mail": Channel("mail", Secret(f"file:{tmp_path}/mail.url"), timeout=5),
        "chat": Channel("chat", Secret("env:CHAT_URL")),
    }


def test_notify_is_written_in_three_ways(tmp_path: Path) -> None:
    text = """
channels: {phone: "bark://h/k", mail: "mailto://h", chat: "slack://h", log: "json://h"}
repos:
  site:
    url: a
    path: b
    notify:
      - phone
      - {channel: mail, on: [failed, started]}
      - chat: {on: degraded}
      - channel: log
"""
    assert load_text(text, tmp_path).repos["site"].notify == (
        Subscription("phone", ALL_BUT_STARTED),
        Subscription("mail", ("failed", "started")),
        Subscription("chat", ("degraded",)),
        Subscription("log", ALL_BUT_STARTED),
    )


def test_a_repos_own_key_replaces_the_whole_value_of_the_default(tmp_path: Path) -> None:
    text = """
defaults: {branch: live, env: {A: 1, B: 2}, deployer: npm, keep_releases: 2}
repos:
  one: {url: a, path: b}
  two: {url: a, path: c, branch: main, env: {C: 3}, deployer: none}
"""
    one, two = load_text(text, tmp_path).repos.values()
    assert (one.branch, one.env, one.deployer) == ("live", {"A": "1", "B": "2"}, "npm")
    assert (two.branch, two.env, two.deployer) == ("main", {"C": "3"}, "none")
    assert one.keep_releases == two.keep_releases == 2
    assert len(one.pipeline.stages) == 2
    assert two.pipeline.stages == ()


def test_aliases_stand_for_whole_values(tmp_path: Path) -> None:
    text = """
x-env: &env {A: 1}
repos:
  one: {url: a, path: b, env: *env, x-mine: {any: thing}}
  two: {url: a, path: c, env: *env}
"""
    one, two = load_text(text, tmp_path).repos.values()
    assert one.env == two.env == {"A": "1"}


def test_a_releases_repo_may_lie_inside_a_checkout(tmp_path: Path) -> None:
    text = """
repos:
  outer: {url: a, path: /srv/a, strategy: in_place}
  inner: {url: a, path: /srv/a/b}
  near: {url: a, path: /srv/ab}
"""
    assert len(load_text(text, tmp_path).repos) == 3


def test_a_byte_order_mark_is_not_part_of_the_first_key(tmp_path: Path) -> None:
    assert load_text("\ufeffrepos: {}\n", tmp_path).repos == {}


@pytest.mark.parametrize(
    "name",
    [
        *("main", "feature/x", "1.0", "a.b", "ü", "a@b", "a{b", "@x", "x@", "a--b", "a-", "-a"),
        *(".a", "a.", "a..b", "a/.b", "a/", "/a", "a//b", "a.lock", "a.lock/b", "a.lockb", ""),
        *("a~b", "a^b", "a:b", "a?b", "a*b", "a[b", "a]b", "a@{b", "a\\b", "a b", "a\tb", "a\x7f"),
    ],
)
def test_branch_names_are_those_that_git_takes(name: str) -> None:
    command = ["git", "check-ref-format", "--branch", name]
    done = subprocess.run(command, check=False, capture_output=True)
    assert is_branch_name(name) == (done.returncode == 0)


@pytest.mark.parametrize("name", ["HEAD", "@", "refs/tags/v1"])
def test_a_name_that_means_something_else_to_git_is_no_branch(name: str) -> None:
    assert not is_branch_name(name)


def test_load_takes_a_path_and_says_when_it_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(str(tmp_path / "none.yml"))
    assert str(error.value) == (
        f"{tmp_path}/none.yml: cannot read: No such file or directory: "
        "name a file that this account may read"
    )


def test_caches_and_what_builds_may_take(tmp_path: Path) -> None:
    made = load_repo(tmp_path, cache=["a/b/", ".venv"], nice=10, ionice="idle", memory="1G")
    assert (made.pipeline.cache, made.nice, made.ionice) == (("a/b", ".venv"), 10, "idle")
    assert made.memory == 1024**3
    plain = load_repo(tmp_path, ionice="best-effort 7")
    assert (plain.pipeline.cache, plain.nice, plain.memory) == ((), 0, None)
    assert plain.ionice == "best-effort 7"
