"""Put the values of variables such as ``$DEPLOYCTL_RELEASE`` into a health check."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace
from urllib.parse import quote

from deployctl.values.repo import HealthCheck

_VARIABLE = re.compile(r"\$(?:\{(DEPLOYCTL_[A-Z_]+)\}|(DEPLOYCTL_[A-Z_]+))")


def expand(healthcheck: HealthCheck, env: Mapping[str, str]) -> HealthCheck:
    """Return the health check with values in place of the variables in url, contains and headers.

    ``env`` is the environment of the steps; a command finds the variables there by itself. Only
    variables whose names begin with ``DEPLOYCTL_`` are replaced, and only those in ``env``. In a
    url the values are percent-encoded.
    """
    url, contains = healthcheck.url, healthcheck.contains
    return replace(
        healthcheck,
        url=url and _expand(url, env, lambda value: quote(value, safe="")),
        contains=contains and _expand(contains, env),
        headers={name: _expand(value, env) for name, value in healthcheck.headers.items()},
    )


def _expand(text: str, env: Mapping[str, str], encode: Callable[[str], str] = str) -> str:
    def value(match: re.Match[str]) -> str:
        found = env.get(match[1] or match[2])
        return match[0] if found is None else encode(found)

    return _VARIABLE.sub(value, text)
