"""Complaints about a wrong repos.yml come all together; the top level, and keys that conflict."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployctl.config.load import load
from deployctl.errors import ConfigError
from deployctl.values.forge_names import FORGES
from tests.support.complaints import KINDS, TOP_KEYS_KNOWN, complaints, repo


def test_all_complaints_are_reported_together_with_their_lines(tmp_path: Path) -> None:
    text = """\
max_runing: 2
channels:
  phone: {token: x}
defaults:
  branch: -x
repos:
  blog:
    url: git@github.com:you/blog.git
    brnach: main
    stages:
      - name: build
        run: ''
      - run: make
  shop:
    path: /srv/shop
    keep_releases: many
    healthcheck: {url: "ftp://x", statsu: 200}
"""
    assert complaints(text, tmp_path) == [
        "1: max_runing: unknown key, did you mean max_running?",
        "3: channels.phone: missing key url: an Apprise URL, or the secret that holds it",
        "3: channels.phone.token: unknown key, known: timeout, url",
        "5: defaults.branch: not the name of a branch (see man git-check-ref-format)",
        "7: repos.blog: missing key path: where it is deployed",
        "9: repos.blog.brnach: unknown key, did you mean branch?",
        "12: repos.blog.stages[0].run: a blank command: write one, or remove the key",
        (
            "13: repos.blog.stages[1]: missing key name: "
            "what the stage is called in status, history and logs"
        ),
        "14: repos.shop: missing key url: where git fetches from",
        "16: repos.shop.keep_releases: wanted a whole number, found text",
        "17: repos.shop.healthcheck.statsu: unknown key, did you mean status?",
        "17: repos.shop.healthcheck.url: wanted a URL that starts with http://, https:// or http+unix://",
    ]


def test_the_message_has_one_line_for_each_complaint_which_begins_with_the_file(
    tmp_path: Path,
) -> None:
    path = tmp_path / "repos.yml"
    path.write_text(repo("brnach: main\nforge: gitlub"))
    with pytest.raises(ConfigError) as error:
        load(str(path))
    assert str(error.value) == (
        f"{path}:5: repos.site.brnach: unknown key, did you mean branch?\n"
        f"{path}:6: repos.site.forge: wanted one of {', '.join(FORGES)}"
    )


def test_dir_is_refused_with_in_place(tmp_path: Path) -> None:
    assert complaints(repo("strategy: in_place\ndir: web"), tmp_path) == [
        (
            "6: repos.site.dir: in_place checks the whole repository out: remove dir, or use "
            "strategy: releases"
        )
    ]


def test_a_branch_and_tags_exclude_each_other(tmp_path: Path) -> None:
    assert complaints(repo("branch: a\ntags: v*"), tmp_path) == [
        "6: repos.site.tags: stands beside branch: keep one of the two"
    ]


NAME = "bad name: wanted a-z, 0-9, . _ - (first a letter or digit, no .., at most 64)"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("max_running: 0", "max_running: out of range: wanted 1 to 1000"),
        ("max_running: 1.5", "max_running: wanted a whole number, found a number"),
        ("max_running: '2'", "max_running: wanted a whole number, found text"),
        ("max_running: yes", "max_running: wanted a whole number, found true or false"),
        ("max_running: [2]", "max_running: wanted a whole number, found a list"),
        ("max_running: 0x10", "max_running: wanted a whole number in plain decimal digits"),
        ("max_running: 010", "max_running: wanted a whole number in plain decimal digits"),
        ("max_running:", "max_running: wanted a whole number, found nothing"),
        ("max_body: 1T", "max_body: wanted a size: bytes, or like 512K, 200M or 2G"),
        ("max_body: 1B", "max_body: wanted a size: bytes, or like 512K, 200M or 2G"),
        ("max_body: 1G", "max_body: out of range: wanted 1 byte to 25M"),
        ("max_body: 26M", "max_body: out of range: wanted 1 byte to 25M"),
        ("max_body: 0", "max_body: out of range: wanted 1 byte to 25M"),
        ("max_body: {}", "max_body: wanted text, found a mapping"),
        ("state_dir:", "state_dir: wanted text, found nothing: write a value, or remove the key"),
        ("state_dir: ~x/y", "state_dir: only ~/ stands for a home: write the whole path"),
        (
            'state_dir: "a\\nb"',
            "state_dir: a line break or control character: write it on one line",
        ),
        ("state_dir: []", "state_dir: wanted text, found a list"),
        ("defaults: []", "defaults: wanted a mapping, found a list"),
        ("deployers: {Npm: {}}", f"deployers.Npm: {NAME}"),
        (
            "deployers: {own: {env: {}}}",
            "deployers.own.env: unknown key, known: restart, stages",
        ),
        ("channels: {Phone: env:A}", f"channels.Phone: {NAME}"),
        (
            "channels: {phone: barkk}",
            (
                "channels.phone: wanted an Apprise URL such as mailto://… or bark://…, "
                "env:NAME or file:PATH"
            ),
        ),
        (
            "channels: {phone: ''}",
            "channels.phone: an empty secret: write env:NAME, file:PATH or the value",
        ),
        ("channels: {phone: [x]}", "channels.phone: wanted text, found a list"),
        (
            "channels: {phone: {url: env:A, timeout: 0}}",
            "channels.phone.timeout: must be more than 0",
        ),
        (
            "tags: v*",
            f"tags: unknown key, {TOP_KEYS_KNOWN}",
        ),
    ],
)
def test_a_wrong_value_at_the_top_is_explained(line: str, expected: str, tmp_path: Path) -> None:
    assert complaints(f"repos: {{}}\n{line}\n", tmp_path) == [f"2: {expected}"]


@pytest.mark.parametrize("name", ["Blog", "-blog", "a b", "a..b", "a/b", "a\\n", "ä", "a" * 65, ""])
def test_a_bad_name_of_a_repo_gets_a_complaint(name: str, tmp_path: Path) -> None:
    (found,) = complaints(f'repos:\n  "{name}": {{url: a, path: b}}\n', tmp_path)
    assert found.startswith("2: repos")
    assert found.endswith(NAME)


def test_a_bad_default_is_reported_once_at_its_line_in_defaults(tmp_path: Path) -> None:
    text = """\
channels: {phone: env:PHONE}
defaults:
  url: ext::id
  notify: [fone]
  env: {A: 1}
  secrets: {A: b}
repos:
  one: {path: a}
  two: {path: b}
"""
    assert complaints(text, tmp_path) == [
        f"3: defaults.url: transport helpers (xx::) can run commands: wanted {KINDS}",
        "4: defaults.notify[0]: no such name under channels, did you mean phone?",
        "6: defaults.secrets.A: stands under env too: keep one of the two",
    ]


def test_a_variable_must_not_be_in_both_env_and_secrets(tmp_path: Path) -> None:
    text = repo("env: {A: 1}\nsecrets:\n  A: hunter2\n  B: x")
    assert complaints(text, tmp_path) == [
        "7: repos.site.secrets.A: stands under env too: keep one of the two"
    ]


def test_caches_must_not_be_shared(tmp_path: Path) -> None:
    text = repo("shared_dirs: [var]\nshared_files: [www/x]\ncache:\n  - var\n  - var/a\n  - www")
    assert complaints(text, tmp_path) == [
        "8: repos.site.cache[0]: shared too (shared_dirs, shared_files): keep one of the two",
        "9: repos.site.cache[1]: inside var, which is a cache too: keep one",
        "9: repos.site.cache[1]: inside var, which is shared: keep one",
        "10: repos.site.cache[2]: www/x in it is shared: keep one of the two",
    ]


def test_shared_files_must_not_be_in_shared_dirs(tmp_path: Path) -> None:
    text = repo("shared_dirs: [conf]\nshared_files:\n  - conf/site.ini\n  - conf")
    assert complaints(text, tmp_path) == [
        "7: repos.site.shared_files[0]: inside conf, which is shared: keep one",
        "8: repos.site.shared_files[1]: shared twice, first on line 5: keep one",
    ]


def test_two_repos_must_not_have_the_same_path(tmp_path: Path) -> None:
    text = """\
repos:
  one: {url: a, path: /srv/a}
  two: {url: a, path: //srv/./a/}
"""
    assert complaints(text, tmp_path) == [
        "3: repos.two.path: repos.one and repos.two both deploy here: give each its own path"
    ]


@pytest.mark.parametrize("inner_first", [True, False])
def test_a_repo_must_not_be_inside_the_path_of_one_with_releases(
    inner_first: bool, tmp_path: Path
) -> None:
    lines = ["  inner: {url: a, path: /srv/a/b/c}\n", "  outer: {url: a, path: /srv/a}\n"]
    text = "repos:\n" + "".join(lines if inner_first else lines[::-1])
    line = 2 if inner_first else 3
    assert complaints(text, tmp_path) == [
        f"{line}: repos.inner.path: repos.inner is inside the path of repos.outer: keep them apart"
    ]


def test_the_path_must_not_be_the_root_directory(tmp_path: Path) -> None:
    assert complaints("repos: {a: {url: a, path: /}}", tmp_path) == [
        "1: repos.a.path: must not be /: name a directory of its own"
    ]


def test_a_channel_may_be_listed_once(tmp_path: Path) -> None:
    text = "channels: {phone: env:A}\n" + repo("notify: [phone, {phone: {on: failed}}]")
    assert complaints(text, tmp_path) == [
        "6: repos.site.notify: phone is listed twice: join the two"
    ]


def test_two_entries_without_a_channel_are_not_reported_as_listed_twice(tmp_path: Path) -> None:
    found = complaints(repo("notify: [{on: failed, x-a: 1}, {on: failed, x-a: 1}]"), tmp_path)
    assert found == [
        f"5: repos.site.notify[{n}]: missing key channel: the name of a channel" for n in (0, 1)
    ]


def test_the_complaint_about_an_unknown_event_lists_all_events(tmp_path: Path) -> None:
    text = "channels: {phone: env:A}\n" + repo("notify: [{channel: phone, on: [failure]}]")
    assert complaints(text, tmp_path) == [
        (
            "6: repos.site.notify[0].on[0]: wanted one of "
            "started, succeeded, failed, rolled_back, degraded, recovered"
        )
    ]


def test_names_are_not_checked_against_a_section_that_cannot_be_read(tmp_path: Path) -> None:
    text = "channels: []\ndeployers: x\n" + repo("notify: [phone]\ndeployer: mine")
    assert complaints(text, tmp_path) == [
        "1: channels: wanted a mapping, found a list",
        "2: deployers: wanted a mapping, found text",
    ]


def test_a_channel_with_a_wrong_value_counts_as_defined(tmp_path: Path) -> None:
    text = "channels: {phone: nothing}\n" + repo("notify: [phone]")
    (found,) = complaints(text, tmp_path)
    assert found.startswith("1: channels.phone: wanted an Apprise URL")


def test_ci_success_is_refused_for_a_forge_that_reports_no_checks(tmp_path: Path) -> None:
    found = complaints(
        "repos:\n  site: {url: /a, path: /b, forge: gitee, on: ci_success}\n", tmp_path
    )
    assert found == [
        (
            "2: repos.site.on: gitee reports no checks: only github, gitlab, gitea, forgejo do; "
            "use push"
        )
    ]
