"""The marker in a commit's first line that keeps the commit from being deployed."""

SKIP = "[skip deploy]"


def asks_to_skip(subject: str) -> bool:
    """Tell whether a commit's first line contains :data:`SKIP`, in lower or upper case."""
    return SKIP in subject.lower()
