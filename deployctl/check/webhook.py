"""Whether a delivery of a repo's forge could be believed, and how far."""

from __future__ import annotations

from collections.abc import Iterator

from deployctl.check.finding import Finding, fail, ok, warn
from deployctl.errors import ConfigError
from deployctl.values.repo import Config, Repo
from deployctl.webhook import forges
from deployctl.webhook.forges.proof import from_base64

# 16 characters of hexadecimal are 64 bits: no longer guessed over a network.
SHORT = 16
_SIGNING = "whsec_"
_KEY_BYTES = 32
_MANUAL = "see: deployctl docs webhooks"


def webhook(config: Config, repo: Repo) -> Iterator[Finding]:
    """Only where webhooks are meant to come: an id, a full_name or a secret says so."""
    if not (repo.id or repo.full_name or repo.webhook_secrets):
        yield ok("webhook", "none is expected: neither id, full_name nor webhook_secret is set")
        return
    faults = [*_secret_faults(repo), *_weakness(repo), *_address(repo), *_rivals(config, repo)]
    yield from faults
    if repo.forge is None:
        yield ok("webhook", "no forge is set: each delivery's headers tell where it comes from")
    elif not faults:
        yield ok("webhook", f"deliveries of {repo.forge} are believed by their secret")


def _secret_faults(repo: Repo) -> Iterator[Finding]:
    if not repo.webhook_secrets:
        yield warn(
            "webhook",
            "there is no webhook_secret, so every webhook is refused",
            "set webhook_secret to file:PATH, the file made by: openssl rand -hex 32",
        )
    for value in _values(repo):
        if repo.forge == "sourcehut" and len(from_base64(value)) != _KEY_BYTES:
            what = "webhook_secret is not the public key of sr.ht, 32 bytes in base64"
            yield fail("webhook", what, _MANUAL)
        elif repo.forge == "standard-webhooks" and not _is_signing(value):
            what = f"webhook_secret is no signing secret ({_SIGNING} and base64)"
            yield fail("webhook", what, f"echo {_SIGNING}$(openssl rand -base64 32)")
        elif len(value) < SHORT:
            what = f"a webhook_secret of {len(value)} characters can be guessed"
            yield warn("webhook", what, "take a longer one: openssl rand -hex 32")


def _is_signing(value: str) -> bool:
    return value.startswith(_SIGNING) and from_base64(value.removeprefix(_SIGNING)) != b""


def _weakness(repo: Repo) -> Iterator[Finding]:
    """What the forge's proof does not prove; a signing token has not what GitLab's token lacks."""
    weakness = forges.load(repo.forge).WEAKNESS if repo.forge else None
    signs = repo.forge == "gitlab" and all(value.startswith(_SIGNING) for value in _values(repo))
    if weakness and repo.webhook_secrets and not signs:
        yield warn("webhook", f"{repo.forge}: {weakness}", _MANUAL)


def _address(repo: Repo) -> Iterator[Finding]:
    """Of two forges the body does not say by what a person would expect whose push it is."""
    if repo.forge == "codeup" and not repo.id:
        what = "Codeup sends no name of the repository, so full_name finds nothing"
        yield warn("webhook", what, f"set id, or let the URL end in /{repo.name}")


def _rivals(config: Config, repo: Repo) -> Iterator[Finding]:
    """An id is unique within one forge only, and so is a name."""
    for other in config.repos.values():
        if not (repo.forge and other.forge) or repo.forge == other.forge:
            continue
        for key in ("id", "full_name"):
            value = getattr(repo, key)
            if value is not None and _same(value, getattr(other, key)):
                what = f"{other.name} has the same {key} at another forge ({other.forge})"
                fix = f"make sure of both, or let each URL end in its name: /{repo.name}"
                yield warn("webhook", what, fix)


def _same(value: str, other: str | None) -> bool:
    return other is not None and value.strip("{}").casefold() == other.strip("{}").casefold()


def _values(repo: Repo) -> Iterator[str]:
    """The secrets that can be read; the others are complained about elsewhere."""
    for secret in repo.webhook_secrets:
        try:
            yield secret.reveal()
        except ConfigError:
            continue
