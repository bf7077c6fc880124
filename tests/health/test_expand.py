"""Variables in a health check."""

from __future__ import annotations

from deployctl.health.expand import expand
from deployctl.values.repo import HealthCheck


def test_variables_of_deployctl_are_put_into_url_contains_and_headers() -> None:
    healthcheck = HealthCheck(
        url="http://h/$DEPLOYCTL_REPO/${DEPLOYCTL_ACTOR}x/$HOME",
        contains="is $DEPLOYCTL_REVISION, $DEPLOYCTL_UNKNOWN",
        headers={"X-Release": "${DEPLOYCTL_RELEASE}"},
    )
    env = {
        "DEPLOYCTL_REPO": "blog",
        "DEPLOYCTL_ACTOR": "Ada & co/1",
        "DEPLOYCTL_REVISION": "3f2a",
        "DEPLOYCTL_RELEASE": "7-3f2a",
        "HOME": "/root",
    }
    expanded = expand(healthcheck, env)
    assert expanded.url == "http://h/blog/Ada%20%26%20co%2F1x/$HOME"
    assert expanded.contains == "is 3f2a, $DEPLOYCTL_UNKNOWN"
    assert expanded.headers == {"X-Release": "7-3f2a"}
