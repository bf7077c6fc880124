"""Each wrong value of a key of a repo is explained."""

from __future__ import annotations

from pathlib import Path

import pytest

from deployctl.config.project import parse_pipeline_file
from deployctl.errors import ConfigError
from deployctl.values.forge_names import FORGES
from tests.support.complaints import KINDS, complaints, repo

IONICE = "wanted idle, or best-effort 0 (first) to best-effort 7 (last)"
SOCKET_URL = "wanted the socket's whole path in place of the host: http+unix://%2Frun%2Fapp.sock/"
URL = "not a URL: look at its host and port"
NOT_RELATIVE = "must be relative, without ..: it is inside the release"
RELEASE_ITSELF = "must not be the release itself, REVISION or .complete"
RESERVED = (
    "reserved (fetch, prepare, switch, on_rollback, restart, healthcheck, post, probation, "
    "rollback…): call it something else"
)
DURATION = "wanted a duration: seconds, or like 90s, 10m, 1h30m"
STAGE_KEYS = "allow_failure, dir, env, name, parallel, retry, run, timeout, when"
LINK_LOCAL = "a link-local address (169.254.0.0/16, fe80::/10): name the service itself"
RESERVED_VARIABLE = "reserved: deployctl sets the variables that start with DEPLOYCTL_"
VARIABLE = "bad name of a variable: wanted letters, digits and _, and no digit first"
COMMAND = "wanted a command (a line of shell, or a list of words), found"


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("branch: a..b", "branch: not the name of a branch (see man git-check-ref-format)"),
        ("branch: refs/tags/v1", "branch: not the name of a branch (see man git-check-ref-format)"),
        ("branch:", "branch: wanted text, found nothing: write a value, or remove the key"),
        ("branch: [main]", "branch: wanted text, found a list"),
        ("forge: svn", f"forge: wanted one of {', '.join(FORGES)}"),
        ("tags: v..1", "tags: not a pattern of tags: wanted one like v*, quoted"),
        ("id: {}", "id: wanted text, found a mapping"),
        ("full_name: site", "full_name: wanted owner/name, as the forge shows it"),
        ("full_name: you/site/", "full_name: wanted owner/name, as the forge shows it"),
        ("full_name: you/the site", "full_name: wanted owner/name, as the forge shows it"),
        ("dir: ../other", "dir: must be relative, without ..: it is inside the release"),
        ("dir: /srv", "dir: must be relative, without ..: it is inside the release"),
        ("dir: web/.git", "dir: no commit has a .git: name another directory"),
        ("submodules: recursive", "submodules: wanted true or false, found text"),
        ("lfs: [media]", "lfs: wanted true or false, found a list"),
        ("strategy: release", "strategy: wanted one of releases, in_place"),
        ("auto_rollback: 'yes'", "auto_rollback: wanted true or false, found text"),
        ("probation: soon", f"probation: {DURATION}"),
        ("probation: -1", f"probation: {DURATION}"),
        ("auto_rollback: 1", "auto_rollback: wanted true or false, found a whole number"),
        ("keep_releases: 0", "keep_releases: out of range: wanted 1 to 1000"),
        ("timeout: 0", "timeout: must be more than 0"),
        ("timeout: soon", f"timeout: {DURATION}"),
        ("timeout: -1", f"timeout: {DURATION}"),
        ("timeout: 1:30", f"timeout: {DURATION}"),
        ("timeout: 8d", "timeout: too long: at most 7d"),
        (f"timeout: {'9' * 400}", "timeout: too long: at most 7d"),
        ("fetch_timeout: 0s", "fetch_timeout: must be more than 0"),
        ("ssh_key: ~other/key", "ssh_key: only ~/ stands for a home: write the whole path"),
        (f"known_hosts: {'a' * 4097}", "known_hosts: longer than 4096 characters: make it shorter"),
        ("brnach: x", "brnach: unknown key, did you mean branch?"),
        # secrets
        (
            "webhook_secret: ''",
            "webhook_secret: an empty secret: write env:NAME, file:PATH or the value",
        ),
        ("webhook_secret:", 'webhook_secret: wanted text, found nothing: write "" for empty text'),
        (
            "webhook_secret: []",
            "webhook_secret: an empty list: write at least one, or leave the key out",
        ),
        ("webhook_secret: {env: A}", "webhook_secret: wanted text, found a mapping"),
        (
            "webhook_secret: [env:A, 'env:B C']",
            "webhook_secret[1]: wanted the name of a variable after env:",
        ),
        (
            "webhook_secret: env:HTTP_X",
            "webhook_secret: web servers set that variable from the request: use another name",
        ),
        ("webhook_secret: 'file:'", "webhook_secret: wanted the path of a file after file:"),
        # environment
        ("env: {1A: x}", f"env.1A: {VARIABLE}"),
        ("env: {A-B: x}", f"env.A-B: {VARIABLE}"),
        ("env: {A: }", 'env.A: wanted text, found nothing: write "" for empty text'),
        ("env: {A: [x]}", "env.A: wanted text, found a list"),
        ("env: [A=x]", "env: wanted a mapping, found a list"),
        (
            "env: {DEPLOYCTL_REPO: x}",
            f"env.DEPLOYCTL_REPO: {RESERVED_VARIABLE}",
        ),
        (
            "secrets: {DEPLOYCTL_X: x}",
            f"secrets.DEPLOYCTL_X: {RESERVED_VARIABLE}",
        ),
        ("secrets: hunter2", "secrets: wanted a mapping, found text"),
        ("secrets: {A: ' '}", "secrets.A: an empty secret: write env:NAME, file:PATH or the value"),
        # shared paths
        ("shared_dirs: media", "shared_dirs: wanted a list, found text"),
        ("shared_dirs:", "shared_dirs: wanted a list, found nothing: write [] for an empty one"),
        ("shared_dirs: [/media]", f"shared_dirs[0]: {NOT_RELATIVE}"),
        ("shared_dirs: [a/../b]", f"shared_dirs[0]: {NOT_RELATIVE}"),
        ("shared_dirs: [.]", f"shared_dirs[0]: {RELEASE_ITSELF}"),
        ("shared_files: [./REVISION]", f"shared_files[0]: {RELEASE_ITSELF}"),
        ("shared_files: [.complete]", f"shared_files[0]: {RELEASE_ITSELF}"),
        ("shared_dirs: [a, a/]", "shared_dirs[1]: shared twice, first on line 5: keep one"),
        # caches and limits
        ("cache: node_modules", "cache: wanted a list, found text"),
        ("cache: [/var/cache]", f"cache[0]: {NOT_RELATIVE}"),
        ("cache: [.]", f"cache[0]: {RELEASE_ITSELF}"),
        ("cache: [REVISION]", f"cache[0]: {RELEASE_ITSELF}"),
        ("cache: ['*.pyc']", "cache[0]: no patterns here: name each directory"),
        ("cache: [a, a/]", "cache[1]: cached twice, first on line 5: keep one"),
        ("cache: [a/b/c, a]", "cache[0]: inside a, which is a cache too: keep one"),
        ("nice: 20", "nice: out of range: wanted 0 to 19"),
        ("nice: -5", "nice: wanted a whole number in plain decimal digits"),
        ("ionice: realtime", f"ionice: {IONICE}"),
        ("ionice: best-effort 8", f"ionice: {IONICE}"),
        ("memory: lots", "memory: wanted a size: bytes, or like 512K, 200M or 2G"),
        ("memory: 0", "memory: out of range: wanted 1 byte to 1048576M"),
        ("shared_dirs: [a/b/c, a]", "shared_dirs[0]: inside a, which is shared: keep one"),
        # commands and stages
        ("restart: ' '", "restart: a blank command: write one, or remove the key"),
        ("restart:", "restart: a blank command: write one, or remove the key"),
        ("restart: {a: b}", f"restart: {COMMAND} a mapping"),
        ("restart: [a b, {}]", f"restart[1]: {COMMAND} a mapping"),
        ("restart: [a, {}]", "restart[1]: wanted text, found a mapping"),
        ("restart: [a, ~]", 'restart[1]: wanted text, found nothing: write "" for empty text'),
        ("restart: ['', a]", "restart: the first word is empty: write the program's name"),
        ("restart: [[a], []]", "restart[1]: an empty list: write a command, or remove the key"),
        ("stages: make", "stages: wanted a list, found text"),
        ("stages: [make]", "stages[0]: wanted a mapping, found text"),
        (
            "stages: [{name: a, run: []}]",
            "stages[0].run: an empty list: write a command, or remove the key",
        ),
        ("stages: [{name: a}]", "stages[0]: missing key run: the command or commands to run"),
        ("stages: [{name: switch, run: a}]", f"stages[0].name: {RESERVED}"),
        ("stages: [{name: rollback-db, run: a}]", f"stages[0].name: {RESERVED}"),
        (
            "stages: [{name: a, run: a}, {name: a, run: b}, {name: c, run: d}]",
            "stages[1].name: a second stage with this name, first on line 5",
        ),
        ("stages: [{name: a, run: a, dir: /tmp}]", f"stages[0].dir: {NOT_RELATIVE}"),
        ("stages: [{name: a, run: a, timeout: 0}]", "stages[0].timeout: must be more than 0"),
        ("stages: [{name: a, run: a, env: {A B: x}}]", f"stages[0].env.A B: {VARIABLE}"),
        ("stages: [{name: a, run: a, cwd: x}]", f"stages[0].cwd: unknown key, known: {STAGE_KEYS}"),
        (
            "deployer: supervisord",
            "deployer: no such name under deployers, did you mean supervisor?",
        ),
        # health check
        ("healthcheck: /health", "healthcheck: wanted a mapping, found text"),
        ("healthcheck: {}", "healthcheck: wanted either url or command, one of the two"),
        (
            "healthcheck: {url: 'http://a', command: b}",
            "healthcheck: wanted either url or command, one of the two",
        ),
        (
            "healthcheck: {command: a, contains: b}",
            "healthcheck.contains: goes with url only: remove it, or use url",
        ),
        ("healthcheck: {command: [a, [b]]}", "healthcheck.command[1]: wanted text, found a list"),
        ("healthcheck: {url: 'http://'}", f"healthcheck.url: {URL}"),
        ("healthcheck: {url: 'http+unix://run/app.sock'}", f"healthcheck.url: {SOCKET_URL}"),
        ("healthcheck: {url: 'http://a:b'}", f"healthcheck.url: {URL}"),
        ("healthcheck: {url: 'http://[::1'}", f"healthcheck.url: {URL}"),
        (
            "healthcheck: {url: 'http://a:p4ss@b'}",
            "healthcheck.url: a password in a URL gets shown: send it with headers",
        ),
        ("healthcheck: {url: 'http://169.254.169.254/'}", f"healthcheck.url: {LINK_LOCAL}"),
        ("healthcheck: {url: 'http://2852039166/'}", f"healthcheck.url: {LINK_LOCAL}"),
        ("healthcheck: {url: 'http://0xa9.254.1.1/'}", f"healthcheck.url: {LINK_LOCAL}"),
        ("healthcheck: {url: 'http://[fe80::1]/'}", f"healthcheck.url: {LINK_LOCAL}"),
        ("healthcheck: {url: 'http://[::ffff:169.254.1.1]/'}", f"healthcheck.url: {LINK_LOCAL}"),
        (
            "healthcheck: {url: 'http://a', status: 99}",
            "healthcheck.status: out of range: wanted 100 to 599",
        ),
        (
            "healthcheck: {url: 'http://a', status: [200, ok]}",
            "healthcheck.status[1]: wanted a whole number, found text",
        ),
        (
            "healthcheck: {url: 'http://a', headers: {A B: c}}",
            "healthcheck.headers.A B: not the name of a header",
        ),
        (
            'healthcheck: {url: "http://a", headers: {A: "b\\r\\nC: d"}}',
            "healthcheck.headers.A: a line break or control character: write it on one line",
        ),
        (
            "healthcheck: {url: 'http://a', interval: 0}",
            "healthcheck.interval: must be more than 0",
        ),
        ("healthcheck: {url: 'http://a', stable_for: -1}", f"healthcheck.stable_for: {DURATION}"),
        (
            "healthcheck: {command: a, evidence: {}}",
            "healthcheck.evidence: nothing to look at: write file or command",
        ),
        (
            "healthcheck: {command: a, evidence: a.log}",
            "healthcheck.evidence: wanted a mapping, found text",
        ),
        (
            "healthcheck: {command: a, evidence: [{file: a.log}, {log: b}]}",
            "healthcheck.evidence[1].log: unknown key, known: command, file",
        ),
        (
            "healthcheck: {command: a, evidence: {file: ../a.log}}",
            (
                "healthcheck.evidence.file: "
                "relative to what is live, so without ..: write the whole path"
            ),
        ),
        (
            "healthcheck: {command: a, evidence: {file: ~you/a.log}}",
            "healthcheck.evidence.file: only ~/ stands for a home: write the whole path",
        ),
        # notify
        ("notify: phone", "notify: wanted a list, found text"),
        ("notify: [phone]", "notify[0]: no such name under channels, none is defined"),
        (
            "notify: [{channel: phone}]",
            "notify[0].channel: no such name under channels, none is defined",
        ),
        (
            "notify: [{phone: {on: failed}}]",
            "notify[0].phone: no such name under channels, none is defined",
        ),
        ("notify: [{on: failed, x-a: b}]", "notify[0]: missing key channel: the name of a channel"),
    ],
)
def test_a_wrong_value_in_a_repo_is_explained(line: str, expected: str, tmp_path: Path) -> None:
    assert complaints(repo(line), tmp_path) == [f"5: repos.site.{expected}"]


@pytest.mark.parametrize(
    ("file", "expected"),
    [
        ("/etc/passwd", NOT_RELATIVE),
        ("log/../../a.log", NOT_RELATIVE),
        ("~/.netrc", NOT_RELATIVE.replace("..:", "~:")),
    ],
)
def test_a_project_may_name_only_files_of_its_release_as_evidence(file: str, expected: str) -> None:
    text = f"healthcheck: {{command: a, evidence: {{file: {file}}}}}"
    with pytest.raises(ConfigError) as error:
        parse_pipeline_file(text.encode(), ".deployctl.yml")
    assert str(error.value) == f".deployctl.yml:1: healthcheck.evidence.file: {expected}"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("-oProxyCommand=x", f"git would take it for an option: wanted {KINDS}"),
        ("ext::sh -c id", f"transport helpers (xx::) can run commands: wanted {KINDS}"),
        ("fd::17", f"transport helpers (xx::) can run commands: wanted {KINDS}"),
        (
            "http://github.com/you/site",
            "http:// is neither encrypted nor verified: use https:// or ssh://",
        ),
        (
            "git://github.com/you/site",
            "git:// is neither encrypted nor verified: use https:// or ssh://",
        ),
        ("ftp://example.org/site", f"unknown kind of URL: wanted {KINDS}"),
        ("HTTPS://example.org/site", f"unknown kind of URL: wanted {KINDS}"),
        (
            "https://you:t0ken@github.com/you/site",
            "a password in a URL gets shown: use an ssh url with a deploy key (ssh_key)",
        ),
        ("https:///you/site", URL),
        ("https://a b/site", URL),
        ("ssh://-oProxyCommand=x/site", URL),
        ("ssh://a:99999/site", URL),
        ("file://site", "wanted an absolute path after file://"),
        ("git@-host:site", "wanted git@host:path, with a host and a path"),
        ("git@host:", "wanted git@host:path, with a host and a path"),
        (":site", "wanted git@host:path, with a host and a path"),
        ("~you/site", "only ~/ stands for a home: write the whole path"),
        ("a\\tb", "a line break or control character: write it on one line"),
        ("", "wanted text, found nothing: write a value, or remove the key"),
    ],
)
def test_a_url_that_git_must_not_be_given_is_refused(
    url: str, expected: str, tmp_path: Path
) -> None:
    text = f'repos:\n  site:\n    url: "{url}"\n    path: /srv/site\n'
    found = complaints(text, tmp_path)
    assert found == [f"3: repos.site.url: {expected}"]
    assert "t0ken" not in found[0]
