"""What a delivery leads to, once it is believed: an order for the queue, or a reason why not.

This module is on the webhook's way and imports nothing heavy.
"""

from __future__ import annotations

from deployctl.store import deliveries, freezes
from deployctl.store.queue import Order
from deployctl.webhook.payload import printable

TYPE_CHECKING = False
if TYPE_CHECKING:
    import sqlite3
    from typing import Literal

    from deployctl.config.compiled import WebhookRepo
    from deployctl.store.database import Database
    from deployctl.webhook.forges.event import Check, Control, Event, Push

    Result = Literal["queued", "pong", "ignored", "duplicate", "refused", "malformed", "error"]

# Deployments that the same delivery does not ask for again.
UNDER_WAY = ("queued", "running")
SETTLED = (*UNDER_WAY, "succeeded", "superseded")


class Decision:
    """``deployment``: the one there is already; ``order``: one that is still to be queued."""

    __slots__ = ("deployment", "order", "reason", "result")

    def __init__(
        self,
        result: Result,
        reason: str,
        *,
        order: Order | None = None,
        deployment: int | None = None,
    ) -> None:
        self.result = result
        self.reason = reason
        self.order = order
        self.deployment = deployment


class Case:
    """What is decided upon: one event for one repo, inside one transaction.

    ``key`` is what the same delivery has again; ``again``: a person wants it to be run once more.
    """

    __slots__ = ("again", "connection", "db", "event", "key", "now", "repo")

    def __init__(
        self,
        db: Database,
        connection: sqlite3.Connection,
        repo: WebhookRepo,
        event: Event,
        *,
        key: str,
        now: float,
        again: bool = False,
    ) -> None:
        self.db = db
        self.connection = connection
        self.repo = repo
        self.event = event
        self.key = key
        self.now = now
        self.again = again


def decide(case: Case) -> Decision:
    """What becomes of it; for a check, what becomes of the deployment that waits for it."""
    event = case.event
    if event.kind == "ping":
        return Decision("pong", "the webhook works")
    if event.control is not None:
        return _decide_control(event.control)
    if event.check is not None:
        return _decide_check(case, event.check)
    push = _wanted(event, case.repo)
    if push is None:
        return Decision("ignored", _why_unwanted(event))
    return _known_already(case) or _decide_push(case, push)


def _known_already(case: Case) -> Decision | None:
    """The same delivery, as long as nothing went wrong with what it became.

    Where the forge gives no id, the same body tells: then another push must not have come between.
    """
    known = deliveries.deployment_for_key(case.db, case.repo.name, case.key)
    if known is None or known.status not in (UNDER_WAY if case.again else SETTLED):
        return None
    if case.event.key is None and not known.is_newest:
        return None
    reason = f"this delivery is deployment {known.number} already"
    return Decision("duplicate", reason, deployment=known.number)


def _decide_push(case: Case, push: Push) -> Decision:
    repo = case.repo
    if push.revision and freezes.hold_on(case.db, repo.name, push.revision):
        held = f"{push.revision} is held: deployctl resume {repo.name} lets it through"
        return Decision("ignored", held)
    if push.skips:
        return Decision("ignored", f"the commit says [skip deploy]: {push.subject}")
    order = Order(ref=push.ref, subject=push.subject)
    reason = f"{printable(push.ref)} {_where(push)}"
    if repo.on == "push":
        return Decision("queued", reason, order=order)
    if push.revision is None:
        return Decision("ignored", "it does not say which commit was pushed, so no check of it can")
    return _when_checked(case, order, push.revision, reason)


def _when_checked(case: Case, order: Order, revision: str, reason: str) -> Decision:
    """A push to a repo that waits for the forge's word: it may have been said already."""
    from deployctl.store import checks

    verdict = checks.verdict(case.db, case.repo.name, revision)
    order.revision = revision
    if verdict.failed:
        return Decision("ignored", f"the check {verdict.failed} of {revision} failed")
    if not verdict.passed:
        order.awaits = revision
        reason += "; it waits until the forge says that its checks passed"
    return Decision("queued", reason, order=order)


def _decide_check(case: Case, check: Check) -> Decision:
    """Note what the forge says, and let go or drop the deployment that waits for it."""
    if case.repo.on == "push":
        return Decision("ignored", f"the event {case.event.name} is not a push")
    return _known_already(case) or _decide_word(case, check)


def _decide_word(case: Case, check: Check) -> Decision:
    from deployctl.store import checks

    repo, revision = case.repo.name, check.revision
    checks.note(case.connection, repo, revision, check.context, check.state, check.mark, case.now)
    verdict = checks.verdict(case.db, repo, revision)
    waiting = checks.waiting_for(case.db, repo, revision)
    if verdict.failed:
        reason = f"the check {verdict.failed} of {revision} failed"
        if waiting is not None:
            checks.drop(case.connection, waiting, reason, case.now)
            reason += f": deployment {waiting} is dropped"
        return Decision("ignored", reason, deployment=waiting)
    if not verdict.passed:
        return Decision("ignored", f"{revision} waits for its check {verdict.pending}")
    return _decide_passed(case, check, waiting)


def _decide_passed(case: Case, check: Check, waiting: int | None) -> Decision:
    from deployctl.store import checks

    passed = f"the checks of {check.revision} passed"
    if waiting is not None:
        checks.let_run(case.connection, waiting, passed)
        return Decision("queued", passed, deployment=waiting)
    order = _unannounced(case, check)
    if order is None:
        return Decision("ignored", f"{passed}; no deployment waits for them")
    return Decision("queued", passed, order=order)


def _unannounced(case: Case, check: Check) -> Order | None:
    """A commit of the branch that passed without a push that told of it, or that now passed.

    Not where anything newer is known: checks may end in another order than the pushes came in.
    """
    from deployctl.store import checks

    db, name, revision = case.db, case.repo.name, check.revision
    ref = checks.dropped_ref(db, name, revision)
    branch = f"refs/heads/{case.repo.branch}"
    if ref is None and case.repo.tags is None and branch in check.refs:
        ran_before = deliveries.deployment_for_key(db, name, case.key) is not None
        if case.again or ran_before or checks.may_begin(db, name, revision):
            ref = branch
    return Order(ref=ref, revision=revision) if ref else None


def _decide_control(control: Control) -> Decision:
    if control.action == "rollback":
        order = Order.rollback(control.to, by_hand=True)
    else:
        order = Order(revision=control.to, by_hand=True)
    to = f" to {control.to}" if control.to else ""
    return Decision("queued", f"{control.action} of {control.repo}{to}", order=order)


def _where(push: Push) -> str:
    return f"is at {push.revision} now" if push.revision else "was pushed"


def _wanted(event: Event, repo: WebhookRepo) -> Push | None:
    """The last of the refs that are deployed here; what is deployed is its tip, once fetched."""
    found = [push for push in event.pushes if not push.deleted and _is_followed(push.ref, repo)]
    return found[-1] if found else None


def _is_followed(ref: str, repo: WebhookRepo) -> bool:
    if repo.tags is None:
        return ref == f"refs/heads/{repo.branch}"
    from deployctl.config.refs import tag_fits

    return tag_fits(ref, repo.tags)


def _why_unwanted(event: Event) -> str:
    if event.kind != "push":
        return f"the event {event.name} is not a push"
    if not event.pushes:
        return "the push moved no ref"
    first, *others = event.pushes
    fate = "was deleted" if first.deleted else "is not deployed here"
    more = f", nor is any of {len(others)} more" if others else ""
    return f"{printable(first.ref)} {fate}{more}"
