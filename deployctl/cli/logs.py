"""``deployctl logs``."""

from __future__ import annotations

import time

import click

from deployctl.cli.session import Session, number_of, options
from deployctl.cli.streams import complain
from deployctl.errors import UsageError
from deployctl.output.follow import Follower
from deployctl.output.log import failed_stage, log_of
from deployctl.output.status import get_deployment, newest_deployment
from deployctl.values.deployment import Deployment
from deployctl.values.times import duration


@click.command("logs")
@click.argument("which", metavar="[NUMBER-or-REPO]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep showing a deployment until it ends.")
@click.option("-n", "lines", type=click.IntRange(0), help="Only the last so many lines.")
@click.option("--failed", is_flag=True, help="Only the step that failed.")
@options(writes=False)
def command(
    session: Session, which: str | None, follow: bool, lines: int | None, failed: bool
) -> int:
    """The output of a deployment, live or afterwards.

    Without a number: the newest deployment of the repo, or of all of them.
    """
    if follow and (failed or session.as_json):
        raise UsageError("-f shows a log as it grows: not with --json, not with --failed")
    deployment = _chosen(session, which)
    kept = b"".join(log_of(session.db, deployment, failed=failed))
    shown = kept if lines is None else _last(kept, lines)
    if follow:
        _follow(session, deployment, len(kept) - len(shown))
    elif session.as_json:
        output = shown.decode("utf-8", "backslashreplace")
        document = {"number": deployment.number, "repo": deployment.repo, "output": output}
        session.answer(document, "")
    else:
        session.plain().raw(shown)
        _explain_silence(session, deployment, kept, failed)
    return 0


def _chosen(session: Session, which: str | None) -> Deployment:
    number = number_of(which) if which else None
    if which in session.config.repos or number is None:
        return newest_deployment(session.db, session.known(which) if which else None)
    return get_deployment(session.db, number)


def _follow(session: Session, deployment: Deployment, offset: int) -> None:
    if deployment.status == "queued":
        complain(f"#{deployment.number} is queued; its output follows when it runs")
    ended = Follower(session.db, session.plain()).until_finished(deployment.number, offset)
    if ended is not None and ended.started_at is None:
        complain(_never_ran(ended))


def _explain_silence(session: Session, deployment: Deployment, kept: bytes, failed: bool) -> None:
    """Why there is nothing to see, on stderr."""
    if kept:
        return
    if deployment.started_at is None:
        complain(_never_ran(deployment))
    elif failed and failed_stage(deployment) is None:
        complain(f"#{deployment.number} has no failed stage: it {_became(deployment)}")
    else:
        ended = deployment.finished_at
        old = ended is not None and time.time() - ended > session.config.keep_logs
        why = f": logs are kept for {duration(session.config.keep_logs)} (keep_logs)" if old else ""
        number = deployment.number
        complain(f"the log of #{number} is gone{why}; see: deployctl show {number}")


def _became(deployment: Deployment) -> str:
    return "is running" if deployment.status == "running" else f"ended {deployment.status}"


def _never_ran(deployment: Deployment) -> str:
    if deployment.status == "queued":
        return f"#{deployment.number} is queued and has not begun"
    reason = f": {deployment.reason}" if deployment.reason else ""
    return f"#{deployment.number} never ran, it was {deployment.status}{reason}"


def _last(text: bytes, lines: int) -> bytes:
    kept = text.splitlines(keepends=True)
    return b"".join(kept[len(kept) - min(lines, len(kept)) :])
