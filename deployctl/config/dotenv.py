"""Reading of dotenv files: environment variables as lines of ``NAME=value``."""

from __future__ import annotations

import io
import os

from deployctl.config.readers import variable_fault
from deployctl.errors import ConfigError
from deployctl.system.trust import require_unchangeable_by_others
from deployctl.values.text import MB


def read_env_file(path: str) -> dict[str, str]:
    """Return the variables of a dotenv file, in its order; nothing in a value is expanded.

    Raises :class:`ConfigError` if the file cannot be read, if other accounts can change it, or if a
    line does not set a variable.
    """
    text = _read(path)
    from dotenv.parser import parse_stream

    values = {}
    for binding in parse_stream(io.StringIO(text)):
        line = binding.original.line
        if binding.error:
            raise ConfigError(f"{path}:{line}: not a line of a dotenv file: wanted NAME=value")
        if binding.key is None:  # blank, or a comment
            continue
        fault = variable_fault(binding.key)
        if fault:
            raise ConfigError(f"{path}:{line}: {fault}")
        values[binding.key] = binding.value or ""
    return values


def _read(path: str) -> str:
    try:
        with open(path, "rb") as file:
            require_unchangeable_by_others(f"the env_file {path}", path, os.fstat(file.fileno()))
            data = file.read(MB + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the env_file {path}: {error.strerror}; create it, readable by this "
            "account"
        ) from None
    if len(data) > MB:
        raise ConfigError(f"the env_file {path} is larger than 1 MiB: is it the right file?")
    if b"\0" in data:
        raise ConfigError(f"the env_file {path} is not text: is it the right file?")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigError(f"the env_file {path} is not UTF-8: save it as UTF-8") from None
