"""Send messages to channels with Apprise, each in a process of its own.

A process is needed because it can be ended at its deadline: Apprise limits each wait for a socket,
but not the whole sending, and Python waits at its exit for the threads in which Apprise sends. The
environment of the process has neither the caller's proxies nor ~/.netrc, which the library requests
would use, and everything that a library prints is discarded.
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

_UNKNOWN_URL = "its url is not one Apprise knows: write it as on https://appriseit.com/services/"
_REASON_LENGTH = 500  # characters; some services answer with a whole page

# The parameter, for each scheme, that makes a phone show a message at once although it delays other
# messages (https://appriseit.com/services/bark/).
_URGENT_PARAMETERS = {"bark": "level=timeSensitive", "barks": "level=timeSensitive"}


@dataclass(frozen=True)
class Message:
    """A plain text message to one channel; ``urgent``: a person has to look at it now."""

    channel: Channel
    title: str
    body: str
    urgent: bool = False


def send(channel: Channel, title: str, body: str, *, urgent: bool) -> str | None:
    """Send one message; return None, or one line that says why it was not sent."""
    return send_all([Message(channel, title, body, urgent)])[0]


def send_all(messages: Sequence[Message]) -> list[str | None]:
    """Send messages at the same time, each within its channel's timeout.

    Return for each message, in order, None or one line that says why it was not sent.
    """
    with contextlib.ExitStack() as stack:
        started = [_start(message, stack) for message in messages]
        errors = [result if isinstance(result, str) else result.error() for result in started]
    return [
        error and f"channel {message.channel.name}: {error}"
        for message, error in zip(messages, errors, strict=True)
    ]


def url_error(channel: Channel) -> str | None:
    """Return why the url of a channel cannot be used, or None, without sending a message.

    Raise ConfigError if the secret that holds the url cannot be read.
    """
    url = channel.url.reveal()
    import apprise

    # Apprise logs a url that it does not know, and the url is a secret.
    logging.getLogger("apprise").addHandler(logging.NullHandler())
    return None if apprise.Apprise.instantiate(url) else _UNKNOWN_URL


def _start(message: Message, stack: contextlib.ExitStack) -> _Messenger | str:
    """Start the process that sends a message; return it, or why it could not be started."""
    try:
        url = message.channel.url.reveal()
        return stack.enter_context(contextlib.closing(_Messenger(message, url)))
    except ConfigError as error:
        return str(error)
    except OSError as error:
        return f"cannot start a process: {error.strerror}"


class _Messenger:
    """The process that sends one message, seen from the process that started it."""

    def __init__(self, message: Message, url: str) -> None:
        self._timeout = message.channel.timeout
        self._deadline = time.monotonic() + self._timeout
        request = {
            "url": url,
            "title": message.title,
            "body": message.body,
            "urgent": message.urgent,
            "timeout": self._timeout,
        }
        with os.fdopen(os.memfd_create("notice"), "w+b") as stdin:
            stdin.write(json.dumps(request).encode())
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
        """End the process, whether it has finished or not."""
        with self._process:
            self._process.kill()

    def error(self) -> str | None:
        """Wait until the process ends or is late; return None, or why the message was not sent."""
        try:
            left = max(0.0, self._deadline - time.monotonic())
            answer, _ = self._process.communicate(timeout=left)
        except subprocess.TimeoutExpired:
            return self._timeout_message()
        if self._process.returncode == -signal.SIGALRM:
            return self._timeout_message()
        if self._process.returncode != 0:
            return f"the process that sends ended with status {self._process.returncode}"
        reason: str | None = json.loads(answer)
        return reason

    def _timeout_message(self) -> str:
        return f"not sent within {self._timeout:g} s"


def _environment() -> dict[str, str]:
    """Return an environment with nothing but the directories in which Python finds modules."""
    return {"PYTHONPATH": module_path(), "NETRC": os.devnull}


def module_path() -> str:
    """Return a PYTHONPATH with which a process in any directory finds the modules of this one."""
    return os.pathsep.join(map(os.path.abspath, sys.path))


def main() -> None:
    """Send one message; this is the program of the process.

    stdin is a JSON object with url, title, body, urgent and timeout (seconds). stdout is a JSON
    string that says why the message was not sent, or null.
    """
    request = json.load(sys.stdin)
    # The kernel ends this process at the deadline, even if the process that started it has ended.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, request["timeout"])
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # what a library prints must not get into the answer
        reason = _send(
            request["url"],
            request["title"],
            request["body"],
            request["urgent"],
            request["timeout"],
        )
        json.dump(reason and _without_secrets(reason, request["url"]), answer)


def _send(url: str, title: str, body: str, urgent: bool, timeout: float) -> str | None:
    import apprise

    asset = apprise.AppriseAsset(async_mode=False, app_id="deployctl", app_desc="deployctl")
    asset.http_redirects = False  # a message is sent only to the url of the operator
    # By default Apprise waits 4 s for an answer. A later answer would count as an error, and a
    # message that had arrived would be sent a second time.
    apprise.URLBase.socket_read_timeout = timeout
    service = apprise.Apprise.instantiate(_with_urgency(url) if urgent else url, asset=asset)
    if service is None:
        return _UNKNOWN_URL
    reasons = _Reasons()
    kind = apprise.NotifyType.FAILURE if urgent else apprise.NotifyType.INFO
    sender = apprise.Apprise(asset=asset)
    sender.add(service)
    if sender.notify(body, title, notify_type=kind, body_format=apprise.NotifyFormat.TEXT):
        return None
    return reasons.text or "the service refused it"


def _with_urgency(url: str) -> str:
    """Add the parameter for urgent messages to a url, unless the operator set its level there."""
    parameter = _URGENT_PARAMETERS.get(url.partition(":")[0].lower())
    if parameter is None or re.search(r"[?&]level=", url, re.IGNORECASE):
        return url
    return f"{url}{'&' if '?' in url else '?'}{parameter}"


class _Reasons(logging.Handler):
    """A log handler that keeps why Apprise failed: its warnings, and the causes that it logs."""

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


def _without_secrets(reason: str, url: str) -> str:
    """Return a reason on one line, without any part of the url after its scheme.

    Each of these parts may be a key.
    """
    rest = url.partition("://")[2]
    password = rest.partition("?")[0].rpartition("@")[0].partition(":")[2]
    parts = [rest, password, *re.split(r"[/?&=:@#,;\s]+", rest)]
    masked = Masker([*parts, *map(unquote, parts)]).mask_text(" ".join(reason.split()))
    return escape_controls(masked[:_REASON_LENGTH])


if __name__ == "__main__":
    main()
