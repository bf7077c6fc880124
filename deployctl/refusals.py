"""What deployctl will not do by itself, and the way out that each refusal names."""

from __future__ import annotations

from deployctl.store.freezes import Hold, Lock


def held(repo: str, hold: Hold) -> str:
    return (
        f"{hold.revision[:12]} is held: {hold.why}; push a fix, or lift the hold "
        f"(deployctl resume {repo}), or insist (deployctl deploy {repo} --force)"
    )


def locked(repo: str, lock: Lock) -> str:
    return f"{repo} is locked by {lock.actor}: {lock.why}; lift it with: deployctl unlock {repo}"
