"""Paths of the project's own files."""

from __future__ import annotations

from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
DEPLOY_CGI = ROOT / "deploy.cgi"
README = ROOT / "README.md"
