"""Mutants: copies of deployctl with one mistake each, which the power cuts must reveal."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from tests.support.paths import ROOT


@dataclass(frozen=True)
class Mutant:
    """A mistake: ``old`` in a file of the package becomes ``new``.

    It must be caught in the scene of the name ``scene``, by a violation whose text begins with
    ``violation``.
    """

    name: str
    file: str
    old: str
    new: str
    scene: str
    violation: str


MUTANTS = (
    Mutant(
        "synchronous=FULL, SQLite's default",
        "store/database.py",
        '"synchronous", "extra")',
        '"synchronous", 2)',
        "answered",
        "LOST",
    ),
    Mutant(
        "no syncfs before the switch",
        "releases/layout/atomic.py",
        "        sync_file_system(directory)\n",
        "",
        "reported",
        "BROKEN",
    ),
    Mutant(
        "no fsync of the directory after the rename",
        "releases/layout/atomic.py",
        "        os.rename(self._beside, self.current)\n        sync(self.root)\n",
        "        os.rename(self._beside, self.current)\n",
        "reported",
        "NOT LIVE",
    ),
    Mutant(
        "no syncfs after a checkout in place",
        "releases/layout/in_place.py",
        "            sync_file_system(place)",
        "            str(place)",
        "reported in place",
        "BROKEN",
    ),
)


def make(mutant: Mutant, directory: Path) -> Path:
    """Write the mutant's package; return the directory to put first in Python's path."""
    root = directory / "mutant"
    shutil.rmtree(root, ignore_errors=True)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "deployctl", root / "deployctl", ignore=ignore)
    shutil.copy(ROOT / "deploy.cgi", root)  # Python looks for modules beside a script first
    path = root / "deployctl" / mutant.file
    text = path.read_text()
    assert mutant.old in text, f"{mutant.name}: {mutant.file} has changed"
    path.write_text(text.replace(mutant.old, mutant.new))
    return root
