"""``deployctl delivery``: the inbox of webhooks."""

from __future__ import annotations

import json
import time

import click

from deployctl.cli import text
from deployctl.cli.groups import group_config_option
from deployctl.cli.session import Session, current_origin, limit_option, number_of, options
from deployctl.cli.streams import complain
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
    """The inbox: every webhook with the decision taken, and why.

    \b
    deployctl delivery list             what came, newest first
    deployctl delivery explain 12       why it was deployed, or not
    deployctl delivery replay 12        run it again
    deployctl delivery send blog        make one and send it to the real URL
    """


@command.command("list")
@click.argument("repo", required=False)
@limit_option
@options(writes=False)
def _list(session: Session, repo: str | None, limit: int) -> int:
    """Past deliveries, the newest first."""
    name = session.known(repo) if repo else None
    found = delivery_records.newest(session.db, name, limit)
    document = {"deliveries": [each.to_json() for each in found]}
    lines = text.table([_row(each) for each in found], text.width()) if found else []
    session.answer(document, "\n".join(lines) or "no deliveries yet")
    return 0


@command.command("show")
@click.argument("number", metavar="ID")
@options(writes=False)
def _show(session: Session, number: str) -> int:
    """One delivery whole: its headers and its body, without secrets."""
    found = _find(session, number)
    session.answer(found.whole_to_json(), "\n".join(_whole(found)))
    return 0


@command.command("explain")
@click.argument("number", metavar="ID")
@options(writes=False)
def _explain(session: Session, number: str) -> int:
    """Why a delivery was deployed, or why not, in a sentence."""
    found = _find(session, number)
    why, advice = explain.explain(session.db, found), explain.next_step(found)
    document = {"id": found.id, "result": found.result, "explanation": why, "next": advice}
    session.answer(document, "\n".join(filter(None, (why, advice))))
    return 0


@command.command("replay")
@click.argument("number", metavar="ID")
@options(writes=True)
def _replay(session: Session, number: str) -> int:
    """Run a delivery again, by the repos.yml of now.

    Also one that was refused: what is deployed is always fetched from the configured url.
    """
    found, request = _find(session, number), current_origin(time.time())
    config = load_webhook_config(session.config.path)
    done = replay.replay(session.db, config, found, request)
    if any(each.deployment is not None for each in done):
        start_worker(session.config.path, session.config.state_dir, session.config.env_names)
    lines = [_replayed(each) for each in done]
    documents = [each.to_json() for each in done]
    document = documents[0] if len(documents) == 1 else {"deliveries": documents}
    session.answer(document, "\n".join(lines))
    return 0 if any(each.result in {"queued", "pong"} for each in done) else 5


@command.command("send")
@click.argument("repo")
@click.option("--url", metavar="URL", help="Where to; unless given, webhook_url of repos.yml.")
@click.option("--action", type=click.Choice(ACTIONS), help="A control message, not a push.")
@click.option("--to", metavar="NUMBER-or-SHA", help="What the control message asks for.")
@options(writes=True)
def _send(session: Session, repo: str, url: str | None, action: str | None, to: str | None) -> int:
    """Make a signed delivery and send it to the real URL, as the forge would.

    It tells of a push of the configured branch, so what is at its tip and not live yet is deployed.
    """
    if to is not None and action is None:
        raise UsageError("--to goes with --action")
    known = find_repo(session.config, repo)
    target = _target(session, known.name, url, named=not (known.id or known.full_name))
    if action is None:
        headers, body = send.make_push(session.site(repo), time.time())
    else:
        headers, body = send.make_control_message(known, action, to, current_origin(time.time()))
    sent = send.send(target, headers, body)
    shown = json.dumps(sent.answer) if sent.answer else cut(text.one_line(sent.text), 300)
    session.answer(sent.to_json(), f"POST {sent.url}\n{sent.status} {shown}")
    if sent.answer is None:
        complain("that is no answer of deployctl: does the URL lead to deploy.cgi?")
    elif not sent.ok:
        complain("what was decided there, and why, tells: deployctl delivery list")
    return 0 if sent.ok else 1


def _target(session: Session, repo: str, url: str | None, *, named: bool) -> str:
    """Without an id or a full name in repos.yml only the URL can name the repo."""
    target = url or session.config.webhook_url
    if target is None:
        raise UsageError(
            "where to? say --url https://…/deploy.cgi, or set webhook_url in "
            f"{session.config.path}: it is the URL that the forge has"
        )
    if named and not target.rstrip("/").endswith(f"/{repo}"):
        return f"{target.rstrip('/')}/{repo}"
    return target


def _find(session: Session, text: str) -> DeliveryRecord:
    number = number_of(text)
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


def _whole(record: DeliveryRecord) -> list[str]:
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


def _replayed(done: replay.Replayed) -> str:
    became = f": deployment {done.deployment}" if done.deployment else ""
    return f"{done.repo}: {done.result} as delivery {done.delivery}{became} ({done.reason})"
