"""The command ``deployctl logs``."""

from __future__ import annotations

import time

import click

from deployctl.cli.session import Session, options, parse_number
from deployctl.cli.streams import print_message
from deployctl.errors import UsageError
from deployctl.output.follow import Follower
from deployctl.output.log import failed_stage, log_of
from deployctl.output.status import get_deployment, newest_deployment
from deployctl.values.deployment import Deployment
from deployctl.values.times import duration


@click.command("logs")
@click.argument("which", metavar="[NUMBER-or-REPO]", required=False)
@click.option("-f", "--follow", is_flag=True, help="Keep showing a deployment until it ends.")
@click.option("-n", "lines", type=click.IntRange(0), help="Show only this many last lines.")
@click.option("--failed", is_flag=True, help="Show only the step that failed.")
@options(writes=False)
def command(
    session: Session, which: str | None, follow: bool, lines: int | None, failed: bool
) -> int:
    """Show the output of a deployment, running or finished.

    With a repo: of its newest deployment. Without an argument: of the newest
    deployment of all repos.
    """
    if follow and (failed or session.as_json):
        raise UsageError("-f shows a log as it grows: not with --json, not with --failed")
    deployment = _find_deployment(session, which)
    log = b"".join(log_of(session.db, deployment, failed=failed))
    shown = log if lines is None else _last_lines(log, lines)
    if follow:
        _follow(session, deployment, len(log) - len(shown))
    elif session.as_json:
        output = shown.decode("utf-8", "backslashreplace")
        document = {"number": deployment.number, "repo": deployment.repo, "output": output}
        session.answer(document, "")
    else:
        session.plain_output().raw(shown)
        if not log:
            _explain_empty_log(session, deployment, failed)
    return 0


def _find_deployment(session: Session, which: str | None) -> Deployment:
    number = parse_number(which) if which else None
    if which in session.config.repos or number is None:
        return newest_deployment(session.db, session.repo_name(which) if which else None)
    return get_deployment(session.db, number)


def _follow(session: Session, deployment: Deployment, offset: int) -> None:
    if deployment.status == "queued":
        print_message(f"#{deployment.number} is queued; its output follows when it runs")
    ended = Follower(session.db, session.plain_output()).until_finished(deployment.number, offset)
    if ended is not None and ended.started_at is None:
        print_message(_never_ran(ended))


def _explain_empty_log(session: Session, deployment: Deployment, failed: bool) -> None:
    """Print on stderr why there is no output to show."""
    if deployment.started_at is None:
        print_message(_never_ran(deployment))
    elif failed and failed_stage(deployment) is None:
        print_message(f"#{deployment.number} has no failed stage: it {_state(deployment)}")
    else:
        ended = deployment.finished_at
        expired = ended is not None and time.time() - ended > session.config.keep_logs
        kept_for = duration(session.config.keep_logs)
        why = f": logs are kept for {kept_for} (keep_logs)" if expired else ""
        number = deployment.number
        print_message(f"the log of #{number} is gone{why}; see: deployctl show {number}")


def _state(deployment: Deployment) -> str:
    return "is running" if deployment.status == "running" else f"ended {deployment.status}"


def _never_ran(deployment: Deployment) -> str:
    if deployment.status == "queued":
        return f"#{deployment.number} is queued and has not begun"
    reason = f": {deployment.reason}" if deployment.reason else ""
    return f"#{deployment.number} never ran, it was {deployment.status}{reason}"


def _last_lines(log: bytes, count: int) -> bytes:
    lines = log.splitlines(keepends=True)
    return b"".join(lines[len(lines) - min(count, len(lines)) :])
