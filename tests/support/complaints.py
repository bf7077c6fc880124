"""The complaints about a repos.yml."""

from __future__ import annotations

import textwrap
from pathlib import Path

import pytest

from deployctl.config.load import load
from deployctl.errors import ConfigError

# Parts of messages.
KINDS = "https://, ssh://, git@host:path, file:/// or a path"
TOP_KEYS_KNOWN = (
    "known: channels, defaults, deployers, keep_deliveries, keep_logs, max_body, max_running, "
    "repos, state_dir, status_page, webhook_url"
)


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
