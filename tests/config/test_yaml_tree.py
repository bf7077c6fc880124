"""A file that is no repos.yml at all: not YAML, too large, too deep, not readable."""

from __future__ import annotations

import contextlib
import os
import pwd
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from deployctl.config import yaml_tree
from deployctl.config.load import load
from deployctl.config.locate import MAX_SIZE
from deployctl.config.schema import REPO_KEYS, TOP_KEYS
from deployctl.errors import ConfigError
from tests.support.complaints import TOP_KEYS_KNOWN, complaints, repo

EMPTY = "1: empty: write at least repos, see the README"
TOO_DEEP = "1: nested deeper than 30 levels: does an alias contain itself?"
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


def test_the_complaint_about_a_tab_says_so(parser: str, tmp_path: Path) -> None:
    (found,) = complaints("repos:\n\tsite: 1\n", tmp_path)
    assert found == "2: not YAML: a tab: indent with spaces only"
