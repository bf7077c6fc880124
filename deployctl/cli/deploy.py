"""``deployctl deploy``."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypedDict

import click

from deployctl.cli import text
from deployctl.cli.session import Session, current_origin, options, verbose_option
from deployctl.cli.streams import complain
from deployctl.deploy.request import DeployRequest, Unchanged, deploy_here, detach, plan, unchanged
from deployctl.errors import DeployctlError, RefusedError, UsageError
from deployctl.values.deployment import REFUSED

if TYPE_CHECKING:
    from typing_extensions import Unpack

# From best to worst: what a command over several repos ends with is the worst of theirs.
_SEVERITY = (0, 75, 5, 2, 1, 3, 4)


@dataclass(frozen=True)
class _Answer:
    """What became of one repo: the JSON document, text for people, the exit code."""

    document: Any
    text: str = ""
    code: int = 0


_Act = Callable[[Session, str, DeployRequest], _Answer]


class _Flags(TypedDict):
    """The options of the command, but for the repos, as click hands them over."""

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
@click.option("--all", "every", is_flag=True, help="Every repo of repos.yml.")
@click.option("--ref", metavar="REF", help="Another branch or tag than the configured one.")
@click.option("--revision", metavar="SHA", help="A commit of the branch instead of its tip.")
@click.option("--if-changed", is_flag=True, help="Do nothing where the tip is live already.")
@click.option("--force", is_flag=True, help="Even if held, or not on the branch.")
@click.option("--detach", is_flag=True, help="Queue, start the worker, print the number.")
@click.option("--no-wait", is_flag=True, help="Exit with 75 if another deployment is running.")
@click.option("-n", "--dry-run", is_flag=True, help="Print the plan and change nothing.")
@verbose_option
@options(writes=True)
def command(session: Session, repos: tuple[str, ...], every: bool, **flags: Unpack[_Flags]) -> int:
    """Deploy here and now, stage by stage.

    Waits while another deployment of the repo runs; a newer request takes its place.
    """
    names = _names(session, repos, every)
    revision = flags["revision"]
    request = DeployRequest(
        origin=current_origin(time.time()),
        ref=flags["ref"],
        revision=None if revision is None else revision.lower(),
        force=flags["force"],
        if_changed=flags["if_changed"],
        wait=not flags["no_wait"],
    )
    act = _act(flags)
    if len(names) > 1 or every:
        return _each(session, names, request, act)
    answer = act(session, names[0], request)
    session.answer(answer.document, answer.text)
    return answer.code


def _act(flags: _Flags) -> _Act:
    """Return what is done for each repo; UsageError where the flags contradict each other."""
    if flags["detach"] and flags["no_wait"]:
        raise UsageError("--detach never waits: leave out --no-wait")
    if flags["dry_run"]:
        return _plan
    run = partial(_deploy, verbose=flags["verbose"])
    return _unless_unchanged(_detach if flags["detach"] else run)


def _names(session: Session, repos: tuple[str, ...], every: bool) -> list[str]:
    if every and repos:
        raise UsageError("name repos or say --all, not both")
    if every:
        return list(session.config.repos)
    if not repos:
        known = ", ".join(session.config.repos) or "none"
        raise UsageError(f"name a repo, or say --all (there are: {known})")
    return list(dict.fromkeys(session.known(name) for name in repos))


def _each(session: Session, names: list[str], request: DeployRequest, act: _Act) -> int:
    """One after the other; one repo's trouble does not keep the next from its turn."""
    answers, codes, errors = [], [0], []
    for name in names:
        try:
            answers.append(act(session, name, request))
            codes.append(answers[-1].code)
        except DeployctlError as error:
            complain(f"{name}: {error}")
            codes.append(error.exit_code)
            errors.append({"repo": name, "code": error.exit_code, "message": str(error)})
    documents = [answer.document for answer in answers if answer.document]
    texts = [answer.text for answer in answers if answer.text]
    session.answer({"deployments": documents, "errors": errors}, "\n".join(texts))
    return max(codes, key=_SEVERITY.index)


def _unless_unchanged(act: _Act) -> _Act:
    """With ``--if-changed``: what is live already is the answer."""

    def act_or_not(session: Session, name: str, request: DeployRequest) -> _Answer:
        live = unchanged(session.site(name), request)
        if live is None:
            return act(session, name, request)
        document = live.deployment.to_json() if live.deployment else None
        return _Answer(document, _nothing_to_do(name, live))

    return act_or_not


def _nothing_to_do(name: str, live: Unchanged) -> str:
    return f"{name}: {live.revision[:12]} is live already, nothing to do"


def _deploy(session: Session, name: str, request: DeployRequest, *, verbose: bool) -> _Answer:
    site = session.site(name)
    ended = deploy_here(session.runtime(verbose=verbose), site, request)
    if ended.phase == REFUSED:
        raise RefusedError(ended.reason or ended.status)
    return _Answer(ended.to_json(), text.more_of(ended), ended.exit_code)


def _detach(session: Session, name: str, request: DeployRequest) -> _Answer:
    queued = detach(session.runtime(), session.site(name), request)
    return _Answer(queued.to_json(), str(queued.number))


def _plan(session: Session, name: str, request: DeployRequest) -> _Answer:
    site = session.site(name)
    live = unchanged(site, request)
    if live is not None:
        return _Answer({"repo": name, "plan": []}, _nothing_to_do(name, live))
    steps = plan(site, request)
    return _Answer({"repo": name, "plan": steps}, "\n".join(map(text.one_line, steps)))
