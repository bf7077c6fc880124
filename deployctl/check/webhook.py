"""Check whether deliveries of a repo's forge can be verified, and how much that proves."""

from __future__ import annotations

from collections.abc import Iterator

from deployctl.check.finding import Finding, fail, ok, warn
from deployctl.errors import ConfigError
from deployctl.values.repo import Config, Repo
from deployctl.webhook import forges
from deployctl.webhook.forges.proof import decode_base64

# 16 hexadecimal characters are 64 bits, which cannot be guessed over a network.
_MIN_CHARACTERS = 16
_SIGNING_PREFIX = "whsec_"
_PUBLIC_KEY_BYTES = 32
_SEE_MANUAL = "see: deployctl docs webhooks"


def webhook(config: Config, repo: Repo) -> Iterator[Finding]:
    """Check the webhook of a repo, if one is expected: it has an id, a full_name or a secret."""
    if not (repo.id or repo.full_name or repo.webhook_secrets):
        yield ok("webhook", "none is expected: neither id, full_name nor webhook_secret is set")
        return
    faults = [
        *_secret_faults(repo),
        *_weakness(repo),
        *_missing_id(repo),
        *_same_at_other_forges(config, repo),
    ]
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
    for value in _secret_values(repo):
        if repo.forge == "sourcehut" and len(decode_base64(value)) != _PUBLIC_KEY_BYTES:
            what = "webhook_secret is not the public key of sr.ht, 32 bytes in base64"
            yield fail("webhook", what, _SEE_MANUAL)
        elif repo.forge == "standard-webhooks" and not _is_signing_secret(value):
            what = f"webhook_secret is no signing secret ({_SIGNING_PREFIX} and base64)"
            yield fail("webhook", what, f"echo {_SIGNING_PREFIX}$(openssl rand -base64 32)")
        elif len(value) < _MIN_CHARACTERS:
            what = f"a webhook_secret of {len(value)} characters can be guessed"
            yield warn("webhook", what, "take a longer one: openssl rand -hex 32")


def _is_signing_secret(value: str) -> bool:
    encoded = value.removeprefix(_SIGNING_PREFIX)
    return value.startswith(_SIGNING_PREFIX) and decode_base64(encoded) != b""


def _weakness(repo: Repo) -> Iterator[Finding]:
    """Warn of what the forge's proof does not prove.

    A signing token of GitLab (``whsec_``) has not the weakness of a secret token.
    """
    weakness = forges.load_forge(repo.forge).WEAKNESS if repo.forge else None
    signs = repo.forge == "gitlab" and all(
        value.startswith(_SIGNING_PREFIX) for value in _secret_values(repo)
    )
    if weakness and repo.webhook_secrets and not signs:
        yield warn("webhook", f"{repo.forge}: {weakness}", _SEE_MANUAL)


def _missing_id(repo: Repo) -> Iterator[Finding]:
    """Warn of a repo at Codeup without an id: no delivery of it has the repository's name."""
    if repo.forge == "codeup" and not repo.id:
        what = "Codeup sends no name of the repository, so full_name finds nothing"
        yield warn("webhook", what, f"set id, or let the URL end in /{repo.name}")


def _same_at_other_forges(config: Config, repo: Repo) -> Iterator[Finding]:
    """Warn of repos at other forges with the same id or full_name.

    Both are unique within one forge only.
    """
    for other in config.repos.values():
        if not (repo.forge and other.forge) or repo.forge == other.forge:
            continue
        for key in ("id", "full_name"):
            value = getattr(repo, key)
            if value is not None and _is_same(value, getattr(other, key)):
                what = f"{other.name} has the same {key} at another forge ({other.forge})"
                fix = (
                    f"check both, or let each webhook URL end in the name of its repo: /{repo.name}"
                )
                yield warn("webhook", what, fix)


def _is_same(value: str, other: str | None) -> bool:
    return other is not None and value.strip("{}").casefold() == other.strip("{}").casefold()


def _secret_values(repo: Repo) -> Iterator[str]:
    """Yield the secrets that can be read; :mod:`deployctl.check.config` reports the others."""
    for secret in repo.webhook_secrets:
        try:
            yield secret.reveal()
        except ConfigError:
            continue
