"""A repo together with what a deployment of it needs: its record, mirror and layout."""

from __future__ import annotations

from dataclasses import dataclass

from deployctl.config.refs import matches_tag_pattern
from deployctl.errors import UsageError
from deployctl.git.mirror import Mirror
from deployctl.releases.layout import Layout, layout_of
from deployctl.store.database import Database
from deployctl.values.masking import Masker
from deployctl.values.repo import Config, Repo


@dataclass(frozen=True)
class Site:
    """One repo of repos.yml with the whole config, the record, its mirror and its layout."""

    config: Config
    repo: Repo
    db: Database
    mirror: Mirror
    layout: Layout


@dataclass(frozen=True)
class RemoteTip:
    """The newest commit on the remote of the branch or tags that a repo follows.

    ``ref`` is the full name of the branch or tag (``refs/heads/main``), ``revision`` the commit.
    """

    ref: str
    revision: str


def find_repo(config: Config, name: str) -> Repo:
    """Return the repo of that name.

    UsageError where repos.yml has none: it suggests a similar name and lists all of them.
    """
    repo = config.repos.get(name)
    if repo is None:
        import difflib

        close = difflib.get_close_matches(name, config.repos, 1)
        guess = f", did you mean {close[0]}?" if close else ""
        known = ", ".join(sorted(config.repos)) or "none"
        raise UsageError(f"no repo {name} in {config.path}{guess} (there are: {known})")
    return repo


def masker_of(repo: Repo) -> Masker:
    """Return a masker for the values of the repo's secrets; ConfigError where one is missing."""
    return Masker(secret.reveal() for secret in repo.secrets.values())


def remote_tip(site: Site) -> RemoteTip:
    """Ask the remote for the tip of the repo's branch, or for the newest tag that fits ``tags``.

    The newest tag is the one with the highest version in its name. UsageError where the remote has
    no such branch or tag; GitError where it cannot be asked.
    """
    repo, mirror = site.repo, site.mirror
    if repo.tags is not None:
        pattern = repo.tags
        tags = (
            RemoteTip(ref, sha)
            for ref, sha in mirror.remote_tags()
            if matches_tag_pattern(ref, pattern)
        )
        newest = next(tags, None)
        if newest is None:
            raise UsageError(f"{repo.url} has no tag that fits {pattern}: push one, or set tags")
        return newest
    ref = f"refs/heads/{repo.branch}"
    revision = mirror.remote_tip(ref)
    if revision is None:
        raise UsageError(f"{repo.url} has no branch {repo.branch}: push it, or set branch")
    return RemoteTip(ref, revision)


def open_site(config: Config, db: Database, name: str) -> Site:
    """Return the site of the repo of that name; UsageError where repos.yml has none.

    ``db`` is the open record of ``config.state_dir``. Nothing is made on disk and nothing fetched.
    """
    repo = find_repo(config, name)
    mirror = Mirror(repo, config.state_dir)
    return Site(config, repo, db, mirror, layout_of(repo, mirror))
