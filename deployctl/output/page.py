"""Write the static status page: one HTML file without scripts, for any web server to serve."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from html import escape

from deployctl.errors import DeployctlError, in_words
from deployctl.output.status import OnProbation, RepoStatus, status
from deployctl.releases.layout.files import make_directory
from deployctl.releases.site import Site, open_site
from deployctl.store import deployments
from deployctl.store.database import Database
from deployctl.values.deployment import Deployment
from deployctl.values.masking import escape_controls
from deployctl.values.text import Lines
from deployctl.values.times import duration, iso

# The number of past deployments of each repo that the page shows.
_RECENT = 10

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="refresh" content="60">
<meta name="robots" content="noindex">
<title>{title}</title>
<style>
:root {{
  color-scheme: light dark;
  --line: #8884; --good: #1a7f37; --bad: #cf222e; --busy: #9a6700;
}}
@media (prefers-color-scheme: dark) {{
  :root {{ --good: #3fb950; --bad: #ff7b72; --busy: #d29922 }}
}}
body {{
  font: 16px/1.5 system-ui, sans-serif;
  max-width: 56rem; margin: 2rem auto; padding: 0 1rem;
}}
h1 {{ font-size: 1.4rem }}
h2 {{ font-size: 1.1rem; margin: 0 }}
section {{ border: 1px solid var(--line); border-radius: .5rem; padding: 1rem; margin: 1rem 0 }}
p {{ margin: .25rem 0; overflow-wrap: anywhere }}
table {{ border-collapse: collapse; width: 100%; font-size: .875rem; margin-top: .75rem }}
th, td {{ text-align: left; padding: .25rem .5rem .25rem 0; border-top: 1px solid var(--line) }}
td:last-child {{ overflow-wrap: anywhere }}
code {{ font-family: ui-monospace, monospace }}
.good {{ color: var(--good) }} .bad {{ color: var(--bad) }} .busy {{ color: var(--busy) }}
footer {{ font-size: .875rem; opacity: .7 }}
</style>
</head>
<body>
<h1>{title}</h1>
{repos}
<footer>Written <time datetime="{now}">{now}</time> by deployctl. Times are UTC.</footer>
</body>
</html>
"""
_CLASSES = {"succeeded": "good", "queued": "busy", "running": "busy", "superseded": "busy"}


def refresh_page(site: Site, lines: Lines) -> None:
    """Write the page into ``status_page``, if that is set.

    A failure is a warning in ``lines`` and does not change how a deployment ends.
    """
    config, db = site.config, site.db
    if config.status_page is None:
        return
    try:
        found = [status(open_site(config, db, name)) for name in config.repos]
        write_page(config.status_page, with_recent_deployments(db, found), time.time())
    except (DeployctlError, OSError) as error:
        lines.line(f"warning: cannot write the status page: {in_words(error)}")


def with_recent_deployments(
    db: Database, found: Sequence[RepoStatus]
) -> list[tuple[RepoStatus, Sequence[Deployment]]]:
    """Return each status with the newest deployments of its repo, newest first."""
    return [(repo, deployments.history(db, repo.site.repo.name, _RECENT)) for repo in found]


def write_page(
    directory: str, repos: Sequence[tuple[RepoStatus, Sequence[Deployment]]], now: float
) -> str:
    """Write ``index.html`` into a directory, which is made if needed; return the file's path.

    ``repos`` are as :func:`with_recent_deployments` returns them, ``now`` is in seconds since the
    epoch. The file is replaced atomically and readable for a web server. Paths and configuration
    are not on the page. Raises OSError if it cannot be written.
    """
    make_directory(directory)
    path = os.path.join(directory, "index.html")
    fd, temporary = tempfile.mkstemp(prefix=".index.", dir=directory)
    try:
        with os.fdopen(fd, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(render(repos, now))
            os.fchmod(file.fileno(), 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
    return path


def render(repos: Sequence[tuple[RepoStatus, Sequence[Deployment]]], now: float) -> str:
    """Return the page's HTML; texts of commits and people are escaped."""
    sections = [_section(repo, recent) for repo, recent in repos]
    return _PAGE.format(
        title=_escaped(f"Deployments on {os.uname().nodename}"),
        repos="\n".join(sections) or "<p>No repos yet.</p>",
        now=iso(now),
    )


def _section(repo: RepoStatus, recent: Sequence[Deployment]) -> str:
    lines = [f"<h2>{_escaped(repo.site.repo.name)}</h2>", f"<p>{_live(repo)}</p>"]
    if repo.probation:
        lines.append(_on_probation(repo.probation))
    if repo.running:
        number = repo.running.number
        lines.append(f'<p class="busy">Deployment #{number} is running.</p>')
    if repo.queued:
        lines.append(f'<p class="busy">{len(repo.queued)} waiting.</p>')
    if repo.hold:
        revision = repo.hold.revision[:12]
        lines.append(
            f'<p class="bad">Held: <code>{revision}</code>, {_escaped(repo.hold.why)}.</p>'
        )
    if repo.lock:
        why = _escaped(f"{repo.lock.actor}: {repo.lock.why}")
        lines.append(f'<p class="busy">Locked by {why}</p>')
    if recent:
        lines.append(_table(recent))
    return "<section>\n" + "\n".join(lines) + "\n</section>"


def _on_probation(probation: OnProbation) -> str:
    failure = probation.record.failure
    if failure is None:
        return f'<p class="busy">On probation until {_time(probation.until)}.</p>'
    return f'<p class="bad">Failed on probation: {_escaped(failure.message)}</p>'


def _live(repo: RepoStatus) -> str:
    if repo.live is None:
        return "Nothing is live yet."
    revision = f"<code>{_escaped((repo.live.revision or 'unknown')[:12])}</code>"
    deployment = repo.made_live_by
    if deployment is None:
        return f"Live: {revision}"
    subject = _escaped(deployment.subject or "")
    since = "being checked" if repo.checking else f"since {_time(deployment.finished_at)}"
    unwell = "" if repo.well else ', <span class="bad">not well: its check failed</span>'
    return f"Live: {revision} {subject} ({since}{unwell})"


def _table(recent: Sequence[Deployment]) -> str:
    rows = [
        f"<tr><td>#{past.number}</td>"
        f'<td class="{_CLASSES.get(past.status, "bad")}">{_escaped(past.status)}</td>'
        f"<td>{_time(past.started_at or past.queued_at)}</td>"
        f"<td>{duration(past.duration)}</td>"
        f"<td><code>{_escaped((past.revision or '-')[:7])}</code></td>"
        f"<td>{_escaped(past.subject or past.reason or '')} ({_escaped(past.actor)})</td></tr>"
        for past in recent
    ]
    head = "<tr><th>#<th>status<th>started<th>took<th>revision<th>subject</tr>"
    return f"<table>\n{head}\n" + "\n".join(rows) + "\n</table>"


def _time(instant: float | None) -> str:
    if instant is None:
        return "-"
    shown = time.strftime("%Y-%m-%d %H:%M", time.gmtime(instant))
    return f'<time datetime="{iso(instant)}">{shown}</time>'


def _escaped(text: str) -> str:
    return escape(escape_controls(text))
