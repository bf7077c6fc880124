"""A message to a channel, through Apprise, in a process of its own.

Why a process: Apprise bounds each wait for a socket but not a whole sending, and Python waits at
its exit for the threads Apprise sends from; a process can be ended at its deadline. It also gets an
environment without the caller's proxies and ~/.netrc, which requests would obey, and whatever a
library prints or warns goes nowhere.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import unquote

from deployctl.errors import ConfigError
from deployctl.values.masking import Masker, escape_controls
from deployctl.values.repo import Channel

_UNKNOWN = "its url is not one Apprise knows: write it as on https://appriseit.com/services/"
_LONGEST = 500  # characters of a reason; some services answer with a whole page

# What wakes a phone that keeps other notices for later (https://appriseit.com/services/bark/).
_URGENT = {"bark": "level=timeSensitive", "barks": "level=timeSensitive"}


@dataclass(frozen=True)
class Message:
    """Plain text for one channel; ``urgent`` for what a person has to look at."""

    channel: Channel
    title: str
    body: str
    urgent: bool = False


def send(channel: Channel, title: str, body: str, *, urgent: bool) -> str | None:
    """Send one message -> None, or one line that says why it was not sent."""
    return send_all([Message(channel, title, body, urgent)])[0]


def send_all(messages: Sequence[Message]) -> list[str | None]:
    """Send all at once, each within its channel's timeout -> in order, what :func:`send` says."""
    with contextlib.ExitStack() as stack:
        begun = [_begin(message, stack) for message in messages]
        errors = [each if isinstance(each, str) else each.error() for each in begun]
    return [
        error and f"channel {message.channel.name}: {error}"
        for message, error in zip(messages, errors, strict=True)
    ]


def why_unusable(channel: Channel) -> str | None:
    """Why nothing could be sent to a channel, found out without sending -> None where it could."""
    url = channel.url.reveal()
    import apprise

    # Apprise logs what it does not know, and there is no secret like a url.
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    return None if apprise.Apprise.instantiate(url) else _UNKNOWN


def _begin(message: Message, stack: contextlib.ExitStack) -> _Messenger | str:
    try:
        url = message.channel.url.reveal()
        return stack.enter_context(contextlib.closing(_Messenger(message, url)))
    except ConfigError as error:
        return str(error)
    except OSError as error:
        return f"cannot start a process: {error.strerror}"


class _Messenger:
    """The process that sends one message; :meth:`close` ends it."""

    def __init__(self, message: Message, url: str) -> None:
        self._timeout = message.channel.timeout
        self._deadline = time.monotonic() + self._timeout
        order = {
            "url": url,
            "title": message.title,
            "body": message.body,
            "urgent": message.urgent,
            "timeout": self._timeout,
        }
        with os.fdopen(os.memfd_create("notice"), "w+b") as stdin:
            stdin.write(json.dumps(order).encode())
            stdin.seek(0)
            self._process = subprocess.Popen(
                [sys.executable, "-m", "deployctl.notices.messenger"],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd="/",
                env=_environment(),
            )

    def close(self) -> None:
        """End the process, whether it is done or not."""
        with self._process:
            self._process.kill()

    def error(self) -> str | None:
        """Wait until it is done or out of time -> None where it sent the message."""
        try:
            left = max(0.0, self._deadline - time.monotonic())
            answer, _ = self._process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            return self._too_late()
        if self._process.returncode == -signal.SIGALRM:
            return self._too_late()
        if self._process.returncode != 0:
            return f"the process that sends ended with status {self._process.returncode}"
        reason: str | None = json.loads(answer)
        return reason

    def _too_late(self) -> str:
        return f"not sent within {self._timeout:g} s"


def _environment() -> dict[str, str]:
    """Nothing of the caller's but where Python finds its modules."""
    modules = os.pathsep.join(map(os.path.abspath, sys.path))
    return {"PYTHONPATH": modules, "NETRC": os.devnull}


def main() -> None:
    """The process: a message as JSON on stdin, as JSON on stdout why it was not sent, or null."""
    order = json.load(sys.stdin)
    # The kernel keeps the deadline, even where the process that asked is no longer there.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, order["timeout"])
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # whatever a library prints is no part of the answer
        reason = _send(
            order["url"], order["title"], order["body"], order["urgent"], order["timeout"]
        )
        json.dump(reason and _presentable(reason, order["url"]), answer)


def _send(url: str, title: str, body: str, urgent: bool, timeout: float) -> str | None:
    import apprise

    asset = apprise.AppriseAsset(async_mode=False, app_id="deployctl", app_desc="deployctl")
    asset.http_redirects = False  # a message goes where the operator said and nowhere else
    # Apprise gives up on an answer after 4 s, and what arrived all the same would be sent again.
    apprise.URLBase.socket_read_timeout = timeout
    service = apprise.Apprise.instantiate(_urgent(url) if urgent else url, asset=asset)
    if service is None:
        return _UNKNOWN
    reasons = _Reasons()
    kind = apprise.NotifyType.FAILURE if urgent else apprise.NotifyType.INFO
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    if sender.notify(body, title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT):
        return None
    return reasons.text or "the service refused it"


def _urgent(url: str) -> str:
    """What the operator wrote about urgency counts more than what we think of it."""
    wish = _URGENT.get(url.partition(":")[0].lower())
    if wish is None or re.search(r"[?&]level=", url, re.IGNORECASE):
        return url
    return f"{url}{'&' if '?' in url else '?'}{wish}"


class _Reasons(logging.Handler):
    """What Apprise says while it fails: its warnings, and the causes it logs for debugging."""

    _CAUSES = ("Socket Exception", "Response Details")

    def __init__(self) -> None:
        super().__init__(logging.DEBUG)
        self._lines: list[str] = []
        logger = logging.getLogger("apprise")
        logger.setLevel(logging.DEBUG)
        logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        line = record.getMessage()
        if record.levelno >= logging.WARNING or line.startswith(self._CAUSES):
            self._lines.append(line)

    @property
    def text(self) -> str:
        return " ".join(self._lines)


def _presentable(reason: str, url: str) -> str:
    """One line; nothing that stands in the url behind its scheme: any of it can be a key."""
    rest = url.partition("://")[2]
    password = rest.partition("?")[0].rpartition("@")[0].partition(":")[2]
    parts = [rest, password, *re.split(r"[/?&=:@#,;\s]+", rest)]
    masked = Masker([*parts, *map(unquote, parts)]).mask_text(" ".join(reason.split()))
    return escape_controls(masked[:_LONGEST])


if __name__ == "__main__":
    main()
