"""The words in a commit's first line that keep it from being deployed."""

SKIP = "[skip deploy]"


def asks_to_skip(subject: str) -> bool:
    """Tell whether a commit's first line holds :data:`SKIP`, in small or capital letters."""
    return SKIP in subject.lower()
