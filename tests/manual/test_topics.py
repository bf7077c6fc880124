"""``deployctl docs``: it works without a config, and the manual agrees with the code."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import time
from pathlib import Path

import pytest

from deployctl.cli import _COMMANDS
from deployctl.config.load import parse
from deployctl.config.project import parse_pipeline_file
from deployctl.manual import topics
from deployctl.values.forge_names import FORGE_ALIASES, FORGES
from deployctl.webhook.forges import load_forge, standard_webhooks
from deployctl.webhook.forges.event import Delivery
from tests.support.app import App
from tests.support.cli import Done, run_forked
from tests.support.paths import ROOT

WEBHOOKS = (ROOT / "deployctl" / "manual" / "webhooks.md").read_text()
FILES = sorted(path.stem for path in (ROOT / "deployctl" / "manual").glob("*.md"))
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def docs(directory: Path, *words: str) -> Done:
    """Run ``deployctl docs`` in an environment where no repos.yml is found."""
    return run_forked(["docs", *words], directory)


def section(forge: str) -> str:
    """Return the section of webhooks.md about this forge."""
    (found,) = re.findall(rf"(?ms)^## [^\n]*`{re.escape(forge)}`$.*?(?=^## )", WEBHOOKS)
    return str(found)


# ---- The command ----------------------------------------------------------------------------


def test_without_a_topic_the_topics_are_listed(tmp_path: Path) -> None:
    done = docs(tmp_path)
    assert (done.code, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert lines[-1] == "read one with: deployctl docs TOPIC"
    assert [line.split("  ")[0] for line in lines[:-1]] == sorted([*FILES, *topics.SCHEMAS])
    title = "Webhooks: from a push to a deployment, forge by forge"
    assert {"topic": "webhooks", "title": title} in json.loads(docs(tmp_path, "--json").stdout)[
        "topics"
    ]
    assert any(re.fullmatch(rf"webhooks +{title}", line) for line in lines)


@pytest.mark.parametrize("topic", FILES)
def test_a_topic_is_printed_unchanged_without_a_config(tmp_path: Path, topic: str) -> None:
    text = (ROOT / "deployctl" / "manual" / f"{topic}.md").read_text()
    done = docs(tmp_path, topic)
    assert (done.code, done.stderr, done.stdout) == (0, "", text)
    assert json.loads(docs(tmp_path, topic, "--json").stdout) == {"topic": topic, "text": text}


def test_a_config_that_is_named_is_not_read(app: App) -> None:
    app.cli.config.write_text("rubbish")
    assert app.cli("docs", "webhooks").code == 0


def test_an_unknown_topic_is_refused_with_a_similar_name(tmp_path: Path) -> None:
    known = ", ".join(topics.topics())
    done = docs(tmp_path, "webhook")
    assert (done.code, done.stdout) == (2, "")
    assert done.stderr == (
        f"deployctl: the manual has no topic webhook, did you mean webhooks? (there are: {known})\n"
    )
    assert json.loads(docs(tmp_path, "../webhooks", "--json").stdout)["error"]["code"] == 2


# ---- The manual -----------------------------------------------------------------------------


@pytest.mark.parametrize("topic", FILES)
def test_a_topic_has_a_title_and_fits_a_terminal(topic: str) -> None:
    lines = topics.read(topic).splitlines()
    assert re.fullmatch(r"# \S.*", lines[0])
    assert max(len(line) for line in lines if not line.startswith("|")) <= 100


@pytest.mark.parametrize("topic", FILES)
def test_every_command_that_the_manual_names_exists(topic: str) -> None:
    named = re.findall(r"`deployctl ([a-z-]+)", topics.read(topic))
    assert set(named) <= set(_COMMANDS)


@pytest.mark.parametrize("topic", FILES)
def test_every_yaml_in_the_manual_is_a_config_that_loads(topic: str) -> None:
    for block in re.findall(r"(?ms)^ *```yaml\n(.*?)^ *```$", topics.read(topic)):
        if re.search(r"(?m)^repos:", block):
            parse(block.encode(), "/etc/deployctl/repos.yml")
        else:
            parse_pipeline_file(block.encode(), ".deployctl.yml")


def test_every_forge_has_its_section_and_no_other_has() -> None:
    titled = re.findall(r"(?m)^## .*`([a-z-]+)`$", WEBHOOKS)
    assert sorted(titled) == sorted(FORGES)
    assert sorted(titled) == sorted(FORGES)


@pytest.mark.parametrize("forge", FORGES)
def test_a_section_has_a_config_and_says_how_to_try_it_and_what_the_signature_proves(
    forge: str,
) -> None:
    text = section(forge)
    (block,) = re.findall(r"(?ms)^```yaml\n(.*?)^```$", text)
    repo = parse(block.encode(), "/etc/deployctl/repos.yml").repos["blog"]
    assert repo.forge == forge
    assert repo.webhook_secrets
    assert repo.id or repo.full_name or "the URL has to" in text
    for part in ("Try it", "Proof", "Time"):
        assert text.count(f"\n- {part}: ") == 1, part


@pytest.mark.parametrize(
    ("forge", "words"),
    [
        ("gitlab", "signs nothing"),
        ("gitee", "not the body"),
        ("codeup", "signs nothing"),
        ("coding", "SHA-1"),
        ("azure-devops", "nothing is signed"),
        ("sourcehut", "every user of sr.ht can point a webhook at you"),
    ],
)
def test_a_weakness_that_the_code_names_is_in_the_manual(forge: str, words: str) -> None:
    assert load_forge(forge).WEAKNESS
    assert words in " ".join(section(forge).split())


def test_the_forges_with_a_weakness_are_those_tested_above() -> None:
    weak = {name for name in FORGES if load_forge(name).WEAKNESS}
    assert weak == {"gitlab", "gitee", "codeup", "coding", "azure-devops", "sourcehut"}


def test_a_second_name_of_a_forge_is_in_its_section() -> None:
    for alias, forge in FORGE_ALIASES.items():
        assert f"`{alias}`" in section(forge)


def test_the_shell_lines_make_a_signature_that_standard_webhooks_accept(tmp_path: Path) -> None:
    (lines,) = re.findall(r"(?ms)^```sh\n(.*?)^```$", section("standard-webhooks"))
    curl = 'curl() { printf "%s\\n" "$@" >curl.txt; }'
    body = '{"type": "ping", "text": "a % b é"}'
    setup = f"{curl}; secret={shlex.quote(SECRET)} body={shlex.quote(body)} url=https://x/"
    subprocess.run(["/bin/sh", "-euc", f"{setup}\n{lines}"], check=True, cwd=tmp_path)
    words = (tmp_path / "curl.txt").read_text().splitlines()
    assert words[-3:] == ["-d", body, "https://x/"]
    header_lines = [words[index + 1] for index, word in enumerate(words) if word == "-H"]
    headers = {
        name.lower(): value for name, value in (line.split(": ", 1) for line in header_lines)
    }
    delivery = Delivery(headers, body.encode(), {}, received_at=time.time())
    assert standard_webhooks.verify(delivery, SECRET.encode())
