"""The commands ``deployctl delivery``: the stored deliveries of webhooks."""

from __future__ import annotations

import json
import time

import click

from deployctl.cli import text
from deployctl.cli.groups import group_config_option
from deployctl.cli.session import Session, current_origin, limit_option, options, parse_number
from deployctl.cli.streams import print_message
from deployctl.config.compiled import load_webhook_config
from deployctl.errors import UsageError
from deployctl.releases.site import find_repo
from deployctl.store import delivery_records
from deployctl.store.delivery_records import DeliveryRecord
from deployctl.system.wake import start_worker
from deployctl.values.text import cut
from deployctl.values.times import local
from deployctl.webhook import explain, replay, send
from deployctl.webhook.forges.control import ACTIONS


@click.group("delivery")
@group_config_option
def command() -> None:
    """List, explain and replay deliveries: what webhooks sent.

    Every delivery is stored with the decision and its reason.

    \b
    deployctl delivery list             past deliveries, newest first
    deployctl delivery explain 12       why it was deployed, or not
    deployctl delivery replay 12        process it again
    deployctl delivery send blog        send a test delivery to the real URL
    """


@command.command("list")
@click.argument("repo", required=False)
@limit_option
@options(writes=False)
def _list(session: Session, repo: str | None, limit: int) -> int:
    """List past deliveries, the newest first."""
    name = session.repo_name(repo) if repo else None
    records = delivery_records.newest(session.db, name, limit)
    document = {"deliveries": [record.to_json() for record in records]}
    rows = [_row(record) for record in records]
    lines = text.table(rows, text.terminal_columns()) if rows else []
    session.answer(document, "\n".join(lines) or "no deliveries yet")
    return 0


@command.command("show")
@click.argument("number", metavar="ID")
@options(writes=False)
def _show(session: Session, number: str) -> int:
    """Show one delivery with its headers and body, without secrets."""
    record = _find(session, number)
    session.answer(record.whole_to_json(), "\n".join(_record_lines(record)))
    return 0


@command.command("explain")
@click.argument("number", metavar="ID")
@options(writes=False)
def _explain(session: Session, number: str) -> int:
    """Explain in a sentence why a delivery was deployed, or why not."""
    record = _find(session, number)
    why, advice = explain.explain_delivery(session.db, record), explain.suggested_action(record)
    document = {"id": record.id, "result": record.result, "explanation": why, "next": advice}
    session.answer(document, "\n".join(filter(None, (why, advice))))
    return 0


@command.command("replay")
@click.argument("number", metavar="ID")
@options(writes=True)
def _replay(session: Session, number: str) -> int:
    """Process a delivery again, with the current repos.yml.

    A delivery that was refused may be replayed too: deployctl always fetches from the url in
    repos.yml, so a forged delivery cannot bring in other code.
    """
    record, origin = _find(session, number), current_origin(time.time())
    config = load_webhook_config(session.config.path)
    replayed = replay.replay_delivery(session.db, config, record, origin)
    if any(delivery.deployment is not None for delivery in replayed):
        start_worker(session.config.path, session.config.state_dir, session.config.env_names)
    lines = [_replayed_line(delivery) for delivery in replayed]
    documents = [delivery.to_json() for delivery in replayed]
    document = documents[0] if len(documents) == 1 else {"deliveries": documents}
    session.answer(document, "\n".join(lines))
    return 0 if any(delivery.result in {"queued", "pong"} for delivery in replayed) else 5


@command.command("send")
@click.argument("repo")
@click.option("--url", metavar="URL", help="Send it here, not to webhook_url of repos.yml.")
@click.option("--action", type=click.Choice(ACTIONS), help="Send a signed order, not a push.")
@click.option("--to", metavar="NUMBER-or-SHA", help="The target of the order.")
@options(writes=True)
def _send(session: Session, repo: str, url: str | None, action: str | None, to: str | None) -> int:
    """Send a signed test delivery to the real URL, as the forge would.

    It reports a push to the configured branch. If the tip of that branch is not live yet, it is
    deployed.
    """
    if to is not None and action is None:
        raise UsageError("--to goes with --action")
    known_repo = find_repo(session.config, repo)
    needs_name = not (known_repo.id or known_repo.full_name)
    target = _target_url(session, known_repo.name, url, needs_name=needs_name)
    if action is None:
        headers, body = send.make_push(session.site(repo), time.time())
    else:
        headers, body = send.make_control_message(
            known_repo, action, to, current_origin(time.time())
        )
    sent = send.post_delivery(target, headers, body)
    shown = json.dumps(sent.answer) if sent.answer else cut(text.one_line(sent.text), 300)
    session.answer(sent.to_json(), f"POST {sent.url}\n{sent.status} {shown}")
    if sent.answer is None:
        print_message("that answer is not from deployctl: does the URL lead to deploy.cgi?")
    elif not sent.ok:
        print_message("see there what was decided, and why: deployctl delivery list")
    return 0 if sent.ok else 1


def _target_url(session: Session, repo: str, url: str | None, *, needs_name: bool) -> str:
    """Return the URL to send to.

    ``needs_name``: repos.yml has neither ``id`` nor ``full_name`` for the repo, so the URL must end
    in the repo's name.
    """
    target = url or session.config.webhook_url
    if target is None:
        raise UsageError(
            "where to? say --url https://…/deploy.cgi, or set webhook_url in "
            f"{session.config.path}: it is the URL that the forge has"
        )
    if needs_name and not target.rstrip("/").endswith(f"/{repo}"):
        return f"{target.rstrip('/')}/{repo}"
    return target


def _find(session: Session, text: str) -> DeliveryRecord:
    number = parse_number(text)
    if number is None:
        raise UsageError(f"{text} is not a delivery's id; see: deployctl delivery list")
    return explain.find_delivery(session.db, number)


def _row(record: DeliveryRecord) -> list[str]:
    became = f" (#{record.deployment})" if record.deployment else ""
    return [
        str(record.id),
        local(record.received_at)[5:16],
        record.result,
        record.repo or "-",
        text.one_line(f"{record.forge or '-'} {record.event or ''}".strip()),
        text.one_line(record.reason + became),
    ]


def _record_lines(record: DeliveryRecord) -> list[str]:
    event = text.one_line(f"{record.forge or 'unknown'} {record.event or ''}".strip())
    replay = f", replay of {record.replay_of}" if record.replay_of else ""
    lines = [
        f"{record.id} {record.repo or '-'}: {event}, {record.result}{replay}",
        f"received  {local(record.received_at)}",
        f"reason    {text.one_line(record.reason)}",
        *([f"became    #{record.deployment}"] if record.deployment else []),
        "",
        *(f"{name}: {text.one_line(value)}" for name, value in record.headers.items()),
        "",
        record.text,
    ]
    if len(record.body) < record.body_size:
        lines.append(f"[of {record.body_size} bytes, {len(record.body)} are kept]")
    return lines


def _replayed_line(replayed: replay.ReplayResult) -> str:
    became = f": deployment {replayed.deployment}" if replayed.deployment else ""
    result = f"{replayed.result} as delivery {replayed.delivery}"
    return f"{replayed.repo}: {result}{became} ({replayed.reason})"
