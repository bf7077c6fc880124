"""A repo together with all that deploying it takes on this machine."""

from __future__ import annotations

from dataclasses import dataclass

from deployctl.config.refs import tag_fits
from deployctl.errors import UsageError
from deployctl.git.mirror import Mirror
from deployctl.releases.layout import Layout, layout_of
from deployctl.store.database import Database
from deployctl.values.masking import Masker
from deployctl.values.repo import Config, Repo


@dataclass(frozen=True)
class Site:
    """One repo of repos.yml, its record, its mirror and its place on disk."""

    config: Config
    repo: Repo
    db: Database
    mirror: Mirror
    layout: Layout


@dataclass(frozen=True)
class Tip:
    """What a repo follows, as its remote has it: a ref by its full name, and the commit."""

    ref: str
    revision: str


def find_repo(config: Config, name: str) -> Repo:
    """The repo of that name; UsageError with a guess and the names there are."""
    repo = config.repos.get(name)
    if repo is None:
        import difflib

        close = difflib.get_close_matches(name, config.repos, 1)
        guess = f", did you mean {close[0]}?" if close else ""
        known = ", ".join(sorted(config.repos)) or "none"
        raise UsageError(f"no repo {name} in {config.path}{guess} (there are: {known})")
    return repo


def masker_of(repo: Repo) -> Masker:
    """Hides the repo's secrets in what is shown; ConfigError where one of them is missing."""
    return Masker(secret.reveal() for secret in repo.secrets.values())


def remote_tip(site: Site) -> Tip:
    """Ask the remote for the branch or, by the version in its name, the newest tag.

    UsageError where it has none; GitError where it cannot be asked.
    """
    repo, mirror = site.repo, site.mirror
    if repo.tags is not None:
        pattern = repo.tags
        tags = (Tip(ref, sha) for ref, sha in mirror.remote_tags() if tag_fits(ref, pattern))
        newest = next(tags, None)
        if newest is None:
            raise UsageError(f"{repo.url} has no tag that fits {pattern}: push one, or set tags")
        return newest
    ref = f"refs/heads/{repo.branch}"
    revision = mirror.remote_tip(ref)
    if revision is None:
        raise UsageError(f"{repo.url} has no branch {repo.branch}: push it, or set branch")
    return Tip(ref, revision)


def open_site(config: Config, db: Database, name: str) -> Site:
    repo = find_repo(config, name)
    mirror = Mirror(repo, config.state_dir)
    return Site(config, repo, db, mirror, layout_of(repo, mirror))
