"""Loading of a correct repos.yml: every key and every default."""

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
    """Load a repos.yml with one repo, ``site``, that has these keys; return the repo."""
    repo = {"url": "/srv/git/site", "path": "/srv/site", **keys}
    document = {**(top or {}), "repos": {"site": repo}}
    return load_text(yaml.safe_dump(document), tmp_path).repos["site"]


def test_missing_keys_have_their_defaults(tmp_path: Path) -> None:
    config = load_text("repos: {site: {url: /srv/git/site, path: /srv/site}}\n", tmp_path)
    home = pwd.getpwuid(os.geteuid()).pw_dir
    assert config == Config(
        path=str(tmp_path / "repos.yml"),
        state_dir=f"{home}/.local/state/deployctl",
        repos={"site": Repo(name="site", url="/srv/git/site", path="/srv/site")},
    )


def test_an_empty_mapping_of_repos_is_valid(tmp_path: Path) -> None:
    assert load_text("repos: {}\n", tmp_path).repos == {}


def test_top_level_keys_are_read(tmp_path: Path) -> None:
    config = load_text(
        "state_dir: state\nmax_running: 3\nmax_body: 512K\nrepos: {}\nx-note: [mine]\n", tmp_path
    )
    assert config.state_dir == str(tmp_path / "state")
    assert config.max_running == 3
    assert config.max_body == 512 * 1024


@pytest.mark.parametrize(
    ("written", "expected"), [("1", 1), ("2000", 2000), ("1K", 1024), ("25M", 25 * 1024 * 1024)]
)
def test_sizes_are_bytes_or_have_a_unit(written: str, expected: int, tmp_path: Path) -> None:
    assert load_text(f"max_body: {written}\nrepos: {{}}\n", tmp_path).max_body == expected


@pytest.mark.parametrize(
    ("written", "expected"),
    [("90", 90), ("0.5", 0.5), ("90s", 90), ("10m", 600), ("1h30m", 5400), ("'60'", 60)],
)
def test_durations_are_seconds_or_have_units(written: str, expected: float, tmp_path: Path) -> None:
    text = f"repos: {{site: {{url: a, path: b, timeout: {written}}}}}\n"
    assert load_text(text, tmp_path).repos["site"].timeout == expected


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
def test_a_url_with_an_allowed_transport_is_not_changed(url: str, tmp_path: Path) -> None:
    assert load_repo(tmp_path, url=url).url == url


@pytest.mark.parametrize("name", ["main", "refs/heads/main"])
def test_a_branch_may_be_written_with_refs_heads(name: str, tmp_path: Path) -> None:
    assert load_repo(tmp_path, branch=name).branch == "main"


@pytest.mark.parametrize("pattern", ["v*", "refs/tags/v*", "v[0-9]*", "*", "release/?.?"])
def test_tags_take_the_place_of_a_branch(pattern: str, tmp_path: Path) -> None:
    assert load_repo(tmp_path, tags=pattern).tags == pattern.removeprefix("refs/tags/")


def test_a_branch_of_a_repo_replaces_the_tags_of_the_defaults_and_the_reverse(
    tmp_path: Path,
) -> None:
    repo = load_repo(tmp_path, {"defaults": {"tags": "v*"}}, branch="live")
    assert (repo.branch, repo.tags) == ("live", None)
    repo = load_repo(tmp_path, {"defaults": {"branch": "live"}}, tags="v*")
    assert (repo.branch, repo.tags) == ("main", "v*")


@pytest.mark.parametrize("forge", FORGES)
def test_every_name_of_a_forge_is_valid(forge: str, tmp_path: Path) -> None:
    assert load_repo(tmp_path, forge=forge).forge == forge


def test_codeberg_is_an_alias_of_forgejo(tmp_path: Path) -> None:
    assert load_repo(tmp_path, forge="codeberg").forge == "forgejo"


def test_text_is_kept_as_it_is_written(tmp_path: Path) -> None:
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
    ("written", "expected"), [("no", False), ("off", False), ("False", False), ("yes", True)]
)
def test_a_boolean_may_have_any_spelling_of_yaml(
    written: str, expected: bool, tmp_path: Path
) -> None:
    text = f"repos: {{site: {{url: a, path: b, auto_rollback: {written}}}}}\n"
    assert load_text(text, tmp_path).repos["site"].auto_rollback is expected


def test_forge_id_and_full_name_are_read(tmp_path: Path) -> None:
    repo = load_repo(tmp_path, forge="github", id=1296269, full_name="you/site")
    assert (repo.forge, repo.id, repo.full_name) == ("github", "1296269", "you/site")


def test_secrets_are_references_and_their_files_become_absolute(tmp_path: Path) -> None:
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
    ("written", "expected"),
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
def test_a_command_is_a_script_or_words_and_a_list_may_have_several(
    written: Any, expected: tuple[Any, ...], tmp_path: Path
) -> None:
    repo = load_repo(tmp_path, restart=written, stages=[{"name": "build", "run": written}])
    assert repo.pipeline.restart == expected
    assert repo.pipeline.stages == (Stage("build", expected),)


def test_every_key_of_a_stage_is_read(tmp_path: Path) -> None:
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


def test_every_key_of_a_healthcheck_is_read(tmp_path: Path) -> None:
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
    assert repo.pipeline.healthcheck == HealthCheck(command=("curl", "-f", "a b"), stable_for=0.0)
    repo = load_repo(tmp_path, healthcheck={"command": "test -s REVISION"})
    assert repo.pipeline.healthcheck == HealthCheck(command="test -s REVISION")


def test_dir_is_normalised_and_below_is_empty_for_the_whole_repository(tmp_path: Path) -> None:
    repo = load_repo(tmp_path, dir="./web//site/", submodules=True, lfs=True)
    assert (repo.dir, repo.subdirectory, repo.submodules, repo.lfs) == (
        "web/site",
        "web/site",
        True,
        True,
    )
    repo = load_repo(tmp_path)
    assert (repo.dir, repo.subdirectory, repo.submodules, repo.lfs) == (".", "", False, False)


def test_shared_paths_are_normalised(tmp_path: Path) -> None:
    repo = load_repo(tmp_path, shared_dirs=["media/", "./var//log"], shared_files=[".env"])
    assert repo.shared_dirs == ("media", "var/log")
    assert repo.shared_files == (".env",)


@pytest.mark.parametrize("name", BUILT_IN)
def test_a_built_in_deployer_sets_stages_and_restart(name: str, tmp_path: Path) -> None:
    repo = load_repo(tmp_path, deployer=name)
    assert (repo.deployer, repo.pipeline.stages, repo.pipeline.restart) == (
        name,
        BUILT_IN[name].stages,
        BUILT_IN[name].restart,
    )


def test_an_operators_deployer_may_replace_a_built_in_one(tmp_path: Path) -> None:
    top = {"deployers": {"npm": {"stages": [{"name": "a", "run": "b"}], "restart": "c"}}}
    repo = load_repo(tmp_path, top, deployer="npm")
    assert (repo.pipeline.stages, repo.pipeline.restart) == ((Stage("a", ("b",)),), ("c",))


def test_stages_and_restart_of_a_repo_replace_those_of_its_deployer(tmp_path: Path) -> None:
    repo = load_repo(tmp_path, deployer="docker-compose", restart="mine")
    assert (repo.pipeline.stages, repo.pipeline.restart) == (
        BUILT_IN["docker-compose"].stages,
        ("mine",),
    )
    repo = load_repo(tmp_path, deployer="docker-compose", stages=[], restart=[])
    assert (repo.pipeline.stages, repo.pipeline.restart) == ((), ())


def test_a_channel_is_a_url_or_a_mapping(tmp_path: Path) -> None:
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


def test_an_entry_of_notify_may_be_written_in_three_ways(tmp_path: Path) -> None:
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


def test_a_key_of_a_repo_replaces_the_whole_value_of_the_default(tmp_path: Path) -> None:
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


def test_a_repo_with_releases_may_be_inside_an_in_place_checkout(tmp_path: Path) -> None:
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
def test_branch_names_are_those_that_git_accepts(name: str) -> None:
    command = ["git", "check-ref-format", "--branch", name]
    result = subprocess.run(command, check=False, capture_output=True)
    assert is_branch_name(name) == (result.returncode == 0)


@pytest.mark.parametrize("name", ["HEAD", "@", "refs/tags/v1"])
def test_head_and_full_ref_names_are_not_branch_names(name: str) -> None:
    assert not is_branch_name(name)


def test_loading_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError) as error:
        load(str(tmp_path / "none.yml"))
    assert str(error.value) == (
        f"{tmp_path}/none.yml: cannot read: No such file or directory: "
        "name a file that this account may read"
    )


def test_caches_and_limits_of_builds_are_read(tmp_path: Path) -> None:
    limited = load_repo(tmp_path, cache=["a/b/", ".venv"], nice=10, ionice="idle", memory="1G")
    assert (limited.pipeline.cache, limited.nice, limited.ionice) == (("a/b", ".venv"), 10, "idle")
    assert limited.memory == 1024**3
    repo = load_repo(tmp_path, ionice="best-effort 7")
    assert (repo.pipeline.cache, repo.nice, repo.memory) == ((), 0, None)
    assert repo.ionice == "best-effort 7"
