"""Complaints about a wrong repos.yml: the whole text of each, with its line, all together."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deployctl.config import yaml_tree
from deployctl.config.load import load
from deployctl.config.locate import MAX_SIZE
from deployctl.config.project import parse_pipeline_file
from deployctl.config.schema import REPO_KEYS, TOP_KEYS
from deployctl.errors import ConfigError
from deployctl.values.forge_names import FORGES

IONICE = "wanted idle, or best-effort 0 (first) to best-effort 7 (last)"
KINDS = "https://, ssh://, git@host:path, file:/// or a path"


def complaints(data: str | bytes, tmp_path: Path) -> list[str]:
    """Return the lines of the ConfigError, without the name of the file."""
    path = tmp_path / "repos.yml"
    path.write_bytes(data if isinstance(data, bytes) else data.encode())
    with pytest.raises(ConfigError) as error:
        load(str(path))
    lines = str(error.value).splitlines()
    assert all(line.startswith(f"{path}:") for line in lines)
    return [line.removeprefix(f"{path}:") for line in lines]


def repo(keys: str) -> str:
    """Return the text of a file whose repo ``site`` has these keys from line 5 on."""
    indented = textwrap.indent(textwrap.dedent(keys).strip("\n"), "    ")
    return f"repos:\n  site:\n    url: /srv/git/site\n    path: /srv/site\n{indented}\n"


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
        "17: repos.shop.healthcheck.url: wanted a URL that starts with http:// or https://",
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


# ---- the file -------------------------------------------------------------------------------

EMPTY = "1: empty: write at least repos, see the README"
TOO_DEEP = "1: nested deeper than 30 levels: does an alias contain itself?"
TOP_KEYS_KNOWN = (
    "known: channels, defaults, deployers, keep_deliveries, keep_logs, max_body, max_running, "
    "repos, state_dir, status_page, webhook_url"
)
NO_TAG = "tags are not supported: remove it, or put quotes around text that starts with !"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", [EMPTY]),
        ("# nothing yet\n", [EMPTY]),
        ("---\n", [EMPTY]),
        ("[a]", ["1: wanted a mapping with the key repos at the top, found a list"]),
        ("\ntext", ["1: wanted a mapping with the key repos at the top, found text"]),
        ("max_running: 1", ["1: missing key repos: what is deployed, by name"]),
        ("\nrepos:\n", ["2: repos: wanted a mapping, found nothing: write {} for an empty one"]),
        ("repos: []", ["1: repos: wanted a mapping, found a list"]),
        (
            "repos: {site: }",
            ["1: repos.site: wanted a mapping, found nothing: write {} for an empty one"],
        ),
        ("repos: {}\n\nrepos: {}", ["3: repos: duplicate key, first on line 1: keep one"]),
        (
            "repos:\n  a: {url: a, path: a,\n      url: b}",
            ["3: repos.a.url: duplicate key, first on line 2: keep one"],
        ),
        ("? [a]\n: b\nrepos: {}", ["1: a key must be text"]),
        (
            "repos: {<<: {a: b}}",
            [
                (
                    "1: repos.<<: merge keys are not supported: "
                    "use defaults, or an alias for a whole value"
                )
            ],
        ),
        ("repos: {}\nx-a: !foo b", [f"2: x-a: {NO_TAG}"]),
        ("repos: {}\nx-a: !!python/object/apply:os.getcwd []", [f"2: x-a: {NO_TAG}"]),
        ("repos: {}\nx-a: !!set {a}", [f"2: x-a: {NO_TAG}"]),
        ('repos: {}\nx-a: "\\0"', ["2: x-a: a NUL or an unpaired surrogate: remove it"]),
        (b"repos: {}\n# \xff", ["2: not UTF-8: save the file as UTF-8"]),
        ("repos: {}\n# \x1b[31m", ["2: the control character U+001B: remove it"]),
        ("repos: &a {x: *a}", [TOO_DEEP]),
        ("&a [*a]", [TOO_DEEP]),
    ],
)
def test_a_file_that_is_no_config_is_explained(
    text: str | bytes, expected: list[str], tmp_path: Path
) -> None:
    assert complaints(text, tmp_path) == expected


@pytest.fixture(params=["libyaml", "pure"])
def parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Run the test with the C parser of PyYAML (libyaml), and with the one in Python."""
    if request.param == "pure":
        pure = type("Pure", (yaml_tree._DepthLimit, yaml.SafeLoader), {})
        monkeypatch.setattr(yaml_tree, "_Loader", pure)
    elif not yaml.__with_libyaml__:
        pytest.skip("this PyYAML has no C parser")
    return str(request.param)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("repos: {\n", 2),
        ("repos: {}\na: b: c\n", 2),
        ("repos: 'x\n\n", 3),
        ("repos: {}\n---\nrepos: {}\n", 2),
        ("x-a: 1\nrepos: *nosuch\n", 2),
        ("repos:\n  a: 1\n b: 2\n", 3),
        ('repos: "\\Uffffffff"', 1),
        ("%YAML 9.9\n---\nrepos: {}\n", 1),
    ],
)
def test_a_file_that_is_not_yaml_gets_one_complaint_with_its_line(
    text: str, line: int, parser: str, tmp_path: Path
) -> None:
    (found,) = complaints(text, tmp_path)
    # For an incomplete file, libyaml reports a line number one higher than the Python parser does.
    assert found.startswith((f"{line}: not YAML: ", f"{line - 1}: not YAML: "))
    if text != 'repos: "\\Uffffffff"':
        assert found.endswith(" (look at the indentation, quotes and brackets)")


def test_a_complaint_about_yaml_names_the_line_where_the_value_begins(
    parser: str, tmp_path: Path
) -> None:
    assert complaints("repos: 'x\n\n", tmp_path) == [
        (
            "3: not YAML: while scanning a quoted scalar (from line 1): found unexpected end of "
            "stream (look at the indentation, quotes and brackets)"
        )
    ]


@pytest.mark.parametrize(
    "line", ["*Hunter2secret", "!Hunter2secret x", "&a *Hunter2secret", "|Hunter2secret"]
)
def test_a_secret_that_is_parsed_as_yaml_syntax_is_not_repeated(
    line: str, parser: str, tmp_path: Path
) -> None:
    found = complaints(repo(f"webhook_secret: {line}"), tmp_path)
    assert "unter2" not in "\n".join(found)


@pytest.mark.parametrize("text", ["[" * 100_000, "{a: " * 100_000, "- " * 50_000])
def test_deep_nesting_is_refused_by_both_parsers(text: str, parser: str, tmp_path: Path) -> None:
    assert complaints(text, tmp_path) == [TOO_DEEP]


def test_the_number_of_values_of_aliases_to_aliases_is_limited(parser: str, tmp_path: Path) -> None:
    lines = [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    text = "\n".join(["x-0: &a0 [x]", *lines, "repos: {}"])
    (found,) = complaints(text, tmp_path)
    assert found.endswith(": more than 200000 values once all aliases are spelled out: use fewer")


def test_random_bytes_are_an_invalid_config_and_no_other_error(parser: str, tmp_path: Path) -> None:
    generator = random.Random(17)
    for _ in range(200):
        complaints(generator.randbytes(generator.randrange(200)), tmp_path)


def test_a_damaged_config_is_valid_or_invalid_and_no_other_error(
    parser: str, tmp_path: Path
) -> None:
    good = (Path(yaml_tree.__file__).parents[2] / "repos.yml").read_text()
    good = good.replace("\n#", "\n").replace("    #", "    ")
    generator = random.Random(17)
    path = tmp_path / "repos.yml"
    for _ in range(60):
        position = generator.randrange(len(good))
        junk = "".join(generator.choices("[]{}:-&*!|>'\"%@`#,? \n\tx0~<", k=3))
        path.write_text(good[:position] + junk + good[position + generator.randrange(40) :])
        try:
            load(str(path))
        except ConfigError as error:
            assert str(error).startswith(f"{path}:")


@pytest.mark.parametrize(
    "value",
    [
        "~",
        "1",
        "1.5",
        "yes",
        "text",
        "[]",
        "{}",
        "[[]]",
        "[{}]",
        "[~]",
        "{a: ~}",
        "{a: {b: {}}}",
        "[[[a]]]",
        '""',
        "-1",
        "...",
    ],
)
def test_any_value_of_any_key_is_accepted_or_gets_a_complaint(value: str, tmp_path: Path) -> None:
    texts = [f"repos: {{s: {{url: a, path: b, {key}: {value}}}}}" for key in REPO_KEYS]
    texts += [f"{key}: {value}\nrepos: {{}}" for key in TOP_KEYS]
    path = tmp_path / "repos.yml"
    for text in texts:
        path.write_text(text)
        try:
            load(str(path))
        except ConfigError as error:
            assert str(error).startswith(f"{path}:")


def test_at_most_a_hundred_complaints_are_reported(tmp_path: Path) -> None:
    found = complaints("".join(f"key{n}: 1\n" for n in range(1000)), tmp_path)
    assert len(found) == 101
    assert found[-1] == " more may follow: mend these first"


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    assert complaints("#" * (MAX_SIZE + 1), tmp_path) == [
        " larger than 1 MiB: split it, one repos.yml for each part"
    ]


@contextlib.contextmanager
def without_root() -> Iterator[None]:
    """Run the block as ``nobody`` if the tests run as root, which may read every file."""
    before = os.geteuid()
    if before == 0:
        os.seteuid(pwd.getpwnam("nobody").pw_uid)
    try:
        yield
    finally:
        os.seteuid(before)


def test_a_file_without_read_permission_is_a_config_error(tmp_path: Path) -> None:
    path = tmp_path / "repos.yml"
    path.write_text("repos: {}")
    path.chmod(0)
    with without_root(), pytest.raises(ConfigError, match="cannot read: Permission denied"):
        load(str(path))


def test_a_key_is_shown_short_and_without_control_characters(tmp_path: Path) -> None:
    text = f'"a\\e[31m": 1\n? {"k" * 100}\n: 1\nrepos: {{}}\n'
    assert complaints(text, tmp_path) == [
        f"1: a\\x1b[31m: unknown key, {TOP_KEYS_KNOWN}",
        f"2: {'k' * 64}…: unknown key, {TOP_KEYS_KNOWN}",
    ]


# ---- the top level --------------------------------------------------------------------------

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


# ---- one key of a repo ----------------------------------------------------------------------

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


# ---- several keys together ------------------------------------------------------------------


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


def test_the_complaint_about_a_tab_says_so(parser: str, tmp_path: Path) -> None:
    (found,) = complaints("repos:\n\tsite: 1\n", tmp_path)
    assert found == "2: not YAML: a tab: indent with spaces only"
