"""The command ``deployctl deploy``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

import click

from deployctl.cli import text
from deployctl.cli.session import Session, current_origin, options, verbose_option
from deployctl.cli.streams import print_message
from deployctl.deploy.request import (
    DeployRequest,
    Unchanged,
    deploy_here,
    deployment_plan,
    find_unchanged,
    queue_and_start_worker,
)
from deployctl.errors import DeployctlError, RefusedError, UsageError, in_words
from deployctl.values.deployment import REFUSED

if TYPE_CHECKING:
    from typing_extensions import Unpack

# Exit codes from best to worst: with several repos, the command exits with the worst of them.
_SEVERITY = (0, 75, 5, 2, 1, 3, 4)


@dataclass(frozen=True)
class _Answer:
    """The result for one repo: a JSON document, text for a person, the exit code."""

    document: Any
    text: str = ""
    code: int = 0


_Action = Callable[[Session, str, DeployRequest], _Answer]


class _Flags(TypedDict):
    """The options of the command as click passes them, but for the repos and ``--all``."""

    ref: str | None
    revision: str | None
    if_changed: bool
    force: bool
    detach: bool
    no_wait: bool
    dry_run: bool
    verbose: bool


@click.command("deploy")
@click.argument("repos", metavar="[REPO...]", nargs=-1)
@click.option("--all", "every", is_flag=True, help="Deploy every repo of repos.yml.")
@click.option("--ref", metavar="REF", help="Deploy this branch or tag.")
@click.option("--revision", metavar="SHA", help="Deploy this commit of the branch, not its tip.")
@click.option("--if-changed", is_flag=True, help="Do nothing if the tip is live already.")
@click.option("--force", is_flag=True, help="Deploy even if held, or not on the branch.")
@click.option("--detach", is_flag=True, help="Queue it, start a worker, print its number.")
@click.option("--no-wait", is_flag=True, help="Exit with 75 if another deployment is running.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and change nothing.")
@verbose_option
@options(writes=True)
def command(session: Session, repos: tuple[str, ...], every: bool, **flags: Unpack[_Flags]) -> int:
    """Deploy now, and show it stage by stage.

    Waits while another deployment of the repo runs. If a newer deployment is requested meanwhile,
    that one runs in its place; the command then waits for it and exits with its code.
    """
    names = _repo_names(session, repos, every)
    revision = flags["revision"]
    request = DeployRequest(
        origin=current_origin(time.time()),
        ref=flags["ref"],
        revision=None if revision is None else revision.lower(),
        force=flags["force"],
        if_changed=flags["if_changed"],
        wait=not flags["no_wait"],
    )
    action = _action(flags)
    if len(names) > 1 or every:
        return _act_on_all(session, names, request, action)
    answer = action(session, names[0], request)
    session.answer(answer.document, answer.text)
    return answer.code


def _action(flags: _Flags) -> _Action:
    """Return the function to call for each repo; UsageError if the flags contradict each other."""
    if flags["detach"] and flags["no_wait"]:
        raise UsageError("--detach never waits: leave out --no-wait")
    if flags["dry_run"]:
        return _print_plan
    run = partial(_deploy, verbose=flags["verbose"])
    return _unless_unchanged(_queue if flags["detach"] else run)


def _repo_names(session: Session, repos: tuple[str, ...], every: bool) -> list[str]:
    if every and repos:
        raise UsageError("name repos or say --all, not both")
    if every:
        return list(session.config.repos)
    if not repos:
        known = ", ".join(session.config.repos) or "none"
        raise UsageError(f"name a repo, or say --all (there are: {known})")
    return list(dict.fromkeys(session.repo_name(name) for name in repos))


def _act_on_all(session: Session, names: list[str], request: DeployRequest, action: _Action) -> int:
    """Act on one repo after the other, also after one failed; return the worst exit code."""
    answers, codes, errors = [], [0], []
    for name in names:
        try:
            answers.append(action(session, name, request))
            codes.append(answers[-1].code)
        except (DeployctlError, OSError) as error:
            message, code = in_words(error), getattr(error, "exit_code", 1)
            print_message(f"{name}: {message}")
            codes.append(code)
            errors.append({"repo": name, "code": code, "message": message})
    documents = [answer.document for answer in answers if answer.document]
    texts = [answer.text for answer in answers if answer.text]
    session.answer({"deployments": documents, "errors": errors}, "\n".join(texts))
    return max(codes, key=_SEVERITY.index)


def _unless_unchanged(action: _Action) -> _Action:
    """Return an action that does nothing if ``--if-changed`` is given and nothing has changed."""

    def act_if_changed(session: Session, name: str, request: DeployRequest) -> _Answer:
        live = find_unchanged(session.site(name), request)
        if live is None:
            return action(session, name, request)
        document = live.deployment.to_json() if live.deployment else None
        return _Answer(document, _nothing_to_do(name, live))

    return act_if_changed


def _nothing_to_do(name: str, live: Unchanged) -> str:
    return f"{name}: {live.revision[:12]} is live already, nothing to do"


def _deploy(session: Session, name: str, request: DeployRequest, *, verbose: bool) -> _Answer:
    site = session.site(name)
    ended = deploy_here(session.runtime(verbose=verbose), site, request)
    if ended.phase == REFUSED:
        raise RefusedError(ended.reason or ended.status)
    return _Answer(ended.to_json(), text.failure_summary(ended), ended.exit_code)


def _queue(session: Session, name: str, request: DeployRequest) -> _Answer:
    queued = queue_and_start_worker(session.runtime(), session.site(name), request)
    return _Answer(queued.to_json(), str(queued.number))


def _print_plan(session: Session, name: str, request: DeployRequest) -> _Answer:
    site = session.site(name)
    live = find_unchanged(site, request)
    if live is not None:
        return _Answer({"repo": name, "plan": []}, _nothing_to_do(name, live))
    steps = deployment_plan(site, request)
    return _Answer({"repo": name, "plan": steps}, "\n".join(map(text.one_line, steps)))
