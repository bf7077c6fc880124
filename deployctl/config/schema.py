"""The keys of repos.yml, one table a section: how each is read and what it means.

The defaults stand in :mod:`deployctl.values.repo`; what a table does not list is an unknown key.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from deployctl.config import shapes
from deployctl.config.commands import commands_or_none
from deployctl.config.complaints import ComplaintError, Reading, shown
from deployctl.config.deployers import BUILT_IN, Deployer
from deployctl.config.key_shapes import keys_shape
from deployctl.config.pipeline import PIPELINE_KEYS
from deployctl.config.readers import (
    Key,
    Table,
    boolean,
    choice,
    defined,
    duration,
    inside,
    line,
    list_of,
    mapping,
    mapping_of,
    name_fault,
    one_or_more,
    path,
    read_keys,
    secret,
    size,
    variable_fault,
    whole_number,
)
from deployctl.config.release_paths import place
from deployctl.config.selection import branch, tags, watch_pattern
from deployctl.config.shapes import Shape, shaped
from deployctl.config.stages import environment, stages, timeout
from deployctl.config.urls import channel_url, git_url, health_url
from deployctl.config.yaml_tree import Map, Node, Scalar
from deployctl.values.forge_names import FORGE_ALIASES, FORGES
from deployctl.values.repo import Channel, Repo, Subscription
from deployctl.values.secret import Secret
from deployctl.values.text import GB, MB

# Of two keys that stand for each other, the one that a repo has hides the default of the other.
ALTERNATIVES = {"branch": "tags", "tags": "branch"}
EVENTS = ("started", "succeeded", "failed", "rolled_back", "degraded", "recovered")
ON = ("push", "ci_success")
TELLING_OF_CHECKS = ("github", "gitlab", "gitea", "forgejo")
MAX_BODY = 25 * MB
MAX_FREE = 1024 * GB


@dataclass(frozen=True)
class Entry:
    """A repo, or the defaults, as far as it could be read: values by key, and their nodes."""

    node: Map
    values: dict[str, Any]

    def over(self, defaults: Entry) -> Entry:
        """A key that is given replaces the whole value of the default."""
        given = self.node.entries
        hidden = {*given, *(ALTERNATIVES.get(key, key) for key in given)}
        inherited = {key: value for key, value in defaults.values.items() if key not in hidden}
        nodes = {key: node for key, node in defaults.node.entries.items() if key not in hidden}
        node = Map(self.node.line, self.node.path, {**nodes, **given})
        return Entry(node, {**inherited, **self.values})


@shaped(lambda: shapes.choice((*FORGES, *FORGE_ALIASES)))
def forge(node: Node, reading: Reading) -> str:
    if isinstance(node, Scalar) and node.text in FORGE_ALIASES:
        return FORGE_ALIASES[node.text]
    return choice(*FORGES)(node, reading)


@shaped({**shapes.LINE, "pattern": r"^[^\s/]+(/[^\s/]+)+$"})
def full_name(node: Node, reading: Reading) -> str:
    name = line(node, reading)
    if not re.fullmatch(r"[^\s/]+(/[^\s/]+)+", name):
        raise ComplaintError(node, "wanted owner/name, as the forge shows it")
    return name


@shaped(shapes.but(shapes.PATH, {"const": "/"}))
def deploy_path(node: Node, reading: Reading) -> str:
    directory = path(node, reading)
    if directory == "/":
        raise ComplaintError(node, "must not be /: name a directory of its own")
    return directory


@shaped({"type": "string", "pattern": "^(idle|best-effort( [0-7])?)$"})
def ionice(node: Node, reading: Reading) -> str:
    """``idle``, or ``best-effort`` with a level of its own: ionice(1)."""
    wanted = line(node, reading)
    if not re.fullmatch(r"idle|best-effort( [0-7])?", wanted):
        raise ComplaintError(node, "wanted idle, or best-effort 0 (first) to best-effort 7 (last)")
    return wanted


@shaped(shapes.INSIDE)
def directory(node: Node, reading: Reading) -> str:
    place = inside(node, reading)
    if ".git" in place.split("/"):
        raise ComplaintError(node, "no commit has a .git: name another directory")
    return place


@shaped(shapes.INSIDE)
def pipeline_file(node: Node, reading: Reading) -> str:
    """A path in the repository; empty for off."""
    return "" if line(node, reading) == "off" else inside(node, reading)


@shaped(lambda: keys_shape(DEPLOYER_KEYS))
def deployer(node: Node, reading: Reading) -> Deployer:
    return Deployer(**read_keys(node, DEPLOYER_KEYS, reading))


@shaped(lambda: {"anyOf": [channel_url.shape(), keys_shape(CHANNEL_KEYS, Channel, ("url",))]})
def channel(node: Node, reading: Reading) -> Channel:
    """``URL`` or ``{url, timeout}``; the name comes from the key above."""
    if not isinstance(node, Map):
        return Channel("", channel_url(node, reading))
    values = read_keys(node, CHANNEL_KEYS, reading, required=("url",))
    return Channel(**{"name": "", "url": Secret(""), **values})


def _subscription_shape() -> Shape:
    named = keys_shape({"on": NOTIFY_KEYS["on"]})
    return {
        "anyOf": [
            shapes.LINE,
            keys_shape(NOTIFY_KEYS, required=("channel",)),
            {**shapes.mapping(named, shapes.NAME), "minProperties": 1, "maxProperties": 1},
        ]
    }


@shaped(_subscription_shape)
def subscription(node: Node, reading: Reading) -> Subscription:
    """``NAME``, ``{channel: NAME, on: […]}`` or ``{NAME: {on: […]}}``."""
    if not isinstance(node, Map):
        return Subscription(defined("channels")(node, reading), EVENTS[1:])
    if "channel" not in node.entries and len(node.entries) == 1:
        return _named_subscription(node, reading)
    values = read_keys(node, NOTIFY_KEYS, reading, required=("channel",))
    return Subscription(values.get("channel", ""), values.get("on", EVENTS[1:]))


def _named_subscription(node: Map, reading: Reading) -> Subscription:
    ((name, value),) = node.entries.items()
    defined("channels")(Scalar(value.line, value.path, name, "text"), reading)
    values = read_keys(value, {"on": NOTIFY_KEYS["on"]}, reading)
    return Subscription(name, values.get("on", EVENTS[1:]))


@shaped(lambda: shapes.list_of(subscription.shape()))
def notify(node: Node, reading: Reading) -> tuple[Subscription, ...]:
    found = list_of(subscription)(node, reading)
    for name, times in Counter(one.channel for one in found if one.channel).items():
        if times > 1:
            reading.complain(node, f"{shown(name)} is listed twice: join the two")
    return found


@shaped(lambda: keys_shape(REPO_KEYS, Repo, **{"not": {"required": ["branch", "tags"]}}))
def entry(node: Node, reading: Reading) -> Entry:
    keys = mapping(node)
    if {"branch", "tags"} <= keys.entries.keys():
        reading.complain(keys.entries["tags"], "stands beside branch: keep one of the two")
    return Entry(keys, read_keys(node, REPO_KEYS, reading))


DEPLOYER_KEYS: Table = {
    "stages": Key(stages, "stages to run before the switch"),
    "restart": Key(commands_or_none, "commands to run after the switch"),
}

CHANNEL_KEYS: Table = {
    "url": Key(channel_url, "an Apprise URL, or the secret that holds it"),
    "timeout": Key(timeout, "how long one sending may take"),
}

NOTIFY_KEYS: Table = {
    "channel": Key(defined("channels"), "the name of a channel"),
    "on": Key(one_or_more(choice(*EVENTS)), "the events to tell it about"),
}

REPO_KEYS: Table = {
    "url": Key(git_url, "where git fetches from"),
    "path": Key(deploy_path, "where it is deployed"),
    "branch": Key(branch, "the branch that is deployed"),
    "tags": Key(tags, "the tags that are deployed instead, a pattern"),
    "on": Key(choice(*ON), "whether a push is enough, or its checks must have passed"),
    "watch": Key(list_of(watch_pattern), "the paths that matter, as in gitignore"),
    "dir": Key(directory, "the directory of the repository that is deployed"),
    "forge": Key(forge, "the forge that sends the webhooks"),
    "id": Key(line, "the forge's id of the repository"),
    "full_name": Key(full_name, "the repository as the forge calls it, owner/name"),
    "webhook_secret": Key(
        one_or_more(secret), "one secret, or several while you change it", "webhook_secrets"
    ),
    "strategy": Key(
        choice("releases", "in_place"), "a directory for each release, or one checkout"
    ),
    "deployer": Key(defined("deployers", *BUILT_IN), "a named set of stages and restart"),
    **PIPELINE_KEYS,
    "pipeline_file": Key(pipeline_file, "the project's own file that says these, or off"),
    "auto_rollback": Key(boolean, "whether to go back when restart or health check fails"),
    "probation": Key(duration(zero=True), "how long run and sync keep checking what went live"),
    "keep_releases": Key(whole_number(1, 1000), "how many releases stay on disk"),
    "min_free": Key(size(MAX_FREE, zero=True), "how much must be free to build; 0: no matter"),
    "shared_dirs": Key(list_of(place), "directories that all releases share"),
    "shared_files": Key(list_of(place), "files that all releases share"),
    "env": Key(environment, "environment variables of all commands"),
    "env_file": Key(one_or_more(path), "a dotenv file with more of them", "env_files"),
    "secrets": Key(mapping_of(secret, variable_fault), "the same, but hidden in all output"),
    "ssh_key": Key(path, "the private key that git uses"),
    "known_hosts": Key(path, "the host keys that git accepts"),
    "submodules": Key(boolean, "whether to fetch the submodules too"),
    "lfs": Key(boolean, "whether to fetch what git-lfs keeps"),
    "fetch_timeout": Key(timeout, "how long git may fetch"),
    "timeout": Key(timeout, "how long a command may take, unless its stage says otherwise"),
    "nice": Key(whole_number(0, 19), "how much the stages give way to all else, for the processor"),
    "ionice": Key(ionice, "the same for the disk: idle, or best-effort 0 to 7"),
    "memory": Key(size(MAX_FREE), "how much memory a command of a stage may take"),
    "notify": Key(notify, "which channels hear of what"),
}

TOP_KEYS: Table = {
    "state_dir": Key(path, "where the database, logs and mirrors are kept"),
    "max_running": Key(whole_number(1, 1000), "how many deployments run at a time"),
    "max_body": Key(size(MAX_BODY), "how large a webhook's body may be"),
    "keep_deliveries": Key(duration(days=3650), "how long the inbox keeps deliveries"),
    "keep_logs": Key(duration(days=3650), "how long the output of deployments is kept"),
    "webhook_url": Key(health_url, "where the forges send their deliveries to"),
    "status_page": Key(path, "a directory for the status page, written after every deployment"),
    "defaults": Key(entry, "values of repo keys for all repos"),
    "deployers": Key(mapping_of(deployer, name_fault), "deployers of your own"),
    "channels": Key(mapping_of(channel, name_fault), "where notices can go"),
    "repos": Key(mapping_of(entry, name_fault), "what is deployed, by name"),
}
