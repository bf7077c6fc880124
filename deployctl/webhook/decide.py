"""Decide about a verified delivery: an order for the queue, or a reason why nothing is queued.

Every delivery loads this module, so it imports nothing that is slow to load.
"""

from __future__ import annotations

from deployctl.store import deliveries, locks_and_holds, queue
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

# A deployment in one of these states is not repeated when its delivery comes a second time.
UNFINISHED = ("queued", "running")
NOT_REPEATED = (*UNFINISHED, "succeeded", "superseded")


class Decision:
    """The decision about one event for one repo, with its reason.

    ``order`` is an order that has yet to be queued; ``deployment`` is the number of a deployment
    that exists already. Both are None where nothing is to be deployed.
    """

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
    """One event for one repo, about which a decision is made inside one transaction.

    ``key`` is equal for a delivery and its redelivery. ``now`` is in seconds. ``is_replay``: a
    person asked to run the recorded delivery again.
    """

    __slots__ = ("connection", "db", "event", "is_replay", "key", "now", "repo")

    def __init__(
        self,
        db: Database,
        connection: sqlite3.Connection,
        repo: WebhookRepo,
        event: Event,
        *,
        key: str,
        now: float,
        is_replay: bool = False,
    ) -> None:
        self.db = db
        self.connection = connection
        self.repo = repo
        self.event = event
        self.key = key
        self.now = now
        self.is_replay = is_replay


def decide(case: Case) -> Decision:
    """Return the decision about an event.

    The report of a check is stored; the deployment that waits for it is released or cancelled.
    """
    event = case.event
    if event.kind == "ping":
        return Decision("pong", "the webhook works")
    if event.control is not None:
        return _decide_control(case, event.control)
    if event.check is not None:
        return _decide_check(case, event.check)
    push = _last_followed_push(event, case.repo)
    if push is None:
        return Decision("ignored", _reason_to_ignore(event))
    return _duplicate(case) or _decide_push(case, push)


def _duplicate(case: Case) -> Decision | None:
    """Return the decision "duplicate" if this delivery has a deployment already, else None.

    A deployment that failed does not count, nor, for a replay, any that is finished. Where the
    forge sends no delivery id, two deliveries with the same body count as one, unless the repo has
    a newer deployment: a branch may be forced to another commit and back.
    """
    known = deliveries.deployment_for_key(case.db, case.repo.name, case.key)
    if known is None or known.status not in (UNFINISHED if case.is_replay else NOT_REPEATED):
        return None
    if case.event.key is None and not known.is_newest:
        return None
    reason = f"this delivery is deployment {known.number} already"
    return Decision("duplicate", reason, deployment=known.number)


def _decide_push(case: Case, push: Push) -> Decision:
    repo = case.repo
    if push.revision and locks_and_holds.hold_on(case.db, repo.name, push.revision):
        reason = f"{push.revision} is held: deployctl resume {repo.name} lets it through"
        return Decision("ignored", reason)
    if push.skips:
        return Decision("ignored", f"the commit says [skip deploy]: {push.subject}")
    order = Order(ref=push.ref, subject=push.subject)
    reason = f"{printable(push.ref)} {_state_of_ref(push)}"
    if repo.on == "push":
        return Decision("queued", reason, order=order)
    if push.revision is None:
        return Decision(
            "ignored", "the push does not name its commit, so its checks cannot be waited for"
        )
    return _decide_push_with_checks(case, order, push.revision, reason)


def _decide_push_with_checks(case: Case, order: Order, revision: str, reason: str) -> Decision:
    """Decide about a push to a repo that deploys only what passed its checks.

    A forge may report the checks of a commit before it reports the push.
    """
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
    """Decide about the report of a check; ignore it where the repo does not wait for checks."""
    if case.repo.on == "push":
        return Decision("ignored", f"the event {case.event.name} is not a push")
    return _duplicate(case) or _decide_report(case, check)


def _decide_report(case: Case, check: Check) -> Decision:
    """Store the report of a check; release or cancel the deployment that waits for it."""
    from deployctl.store import checks

    repo, revision = case.repo.name, check.revision
    checks.record_report(
        case.connection, repo, revision, check.context, check.state, check.mark, case.now
    )
    verdict = checks.verdict(case.db, repo, revision)
    waiting = checks.waiting_for(case.db, repo, revision)
    if verdict.failed:
        reason = f"the check {verdict.failed} of {revision} failed"
        if waiting is not None:
            checks.cancel_waiting(case.connection, waiting, reason, case.now)
            reason += f": deployment {waiting} is dropped"
        return Decision("ignored", reason, deployment=waiting)
    if not verdict.passed:
        return Decision("ignored", f"{revision} waits for its check {verdict.pending}")
    return _decide_passed(case, check, waiting)


def _decide_passed(case: Case, check: Check, waiting: int | None) -> Decision:
    passed = f"the checks of {check.revision} passed"
    if waiting is not None:
        queue.make_able_to_run(case.connection, waiting, passed, case.now)
        return Decision("queued", passed, deployment=waiting)
    order = _order_without_push(case, check)
    if order is None:
        return Decision("ignored", f"{passed}; no deployment waits for them")
    return Decision("queued", passed, order=order)


def _order_without_push(case: Case, check: Check) -> Order | None:
    """Return an order for a commit whose checks passed though no deployment waits for it, or None.

    Its deployment was cancelled when a check failed that has passed now, or the commit is on the
    deployed branch and no delivery reported its push. None where something newer is known: checks
    may end in another order than the pushes came in.
    """
    from deployctl.store import checks

    db, name, revision = case.db, case.repo.name, check.revision
    ref = checks.dropped_ref(db, name, revision)
    branch = f"refs/heads/{case.repo.branch}"
    if ref is None and case.repo.tags is None and branch in check.refs:
        ran_before = deliveries.deployment_for_key(db, name, case.key) is not None
        if case.is_replay or ran_before or checks.may_queue_unannounced(db, name, revision):
            ref = branch
    return Order(ref=ref, revision=revision) if ref else None


def _decide_control(case: Case, control: Control) -> Decision:
    if control.action == "rollback":
        undoes = queue.undone_by_a_rollback(case.db, case.repo.name)
        order = Order.rollback(control.to, undoes=undoes, by_hand=True)
    else:
        order = Order(revision=control.to, by_hand=True, by_name=control.to is not None)
    to = f" to {control.to}" if control.to else ""
    return Decision("queued", f"{control.action} of {control.repo}{to}", order=order)


def _state_of_ref(push: Push) -> str:
    return f"is at {push.revision} now" if push.revision else "was pushed"


def _last_followed_push(event: Event, repo: WebhookRepo) -> Push | None:
    """Return the last push of a ref that this repo deploys, or None.

    The deployment takes the tip that the ref has when it is fetched.
    """
    pushes = [push for push in event.pushes if not push.deleted and _is_followed(push.ref, repo)]
    return pushes[-1] if pushes else None


def _is_followed(ref: str, repo: WebhookRepo) -> bool:
    if repo.tags is None:
        return ref == f"refs/heads/{repo.branch}"
    from deployctl.config.refs import matches_tag_pattern

    return matches_tag_pattern(ref, repo.tags)


def _reason_to_ignore(event: Event) -> str:
    if event.kind != "push":
        return f"the event {event.name} is not a push"
    if not event.pushes:
        return "the push moved no ref"
    first, *others = event.pushes
    state = "was deleted" if first.deleted else "is not deployed here"
    more = f", nor is any of {len(others)} more" if others else ""
    return f"{printable(first.ref)} {state}{more}"
