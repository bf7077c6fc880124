"""The keys of repos.yml: for each section, a table of how each key is read and what it means.

The defaults are in :mod:`deployctl.values.repo`. A key that is not in the table of its section is
an unknown key.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Any

from deployctl.config import json_schema_types
from deployctl.config.commands import commands_or_none
from deployctl.config.complaints import ComplaintError, Reading, printable
from deployctl.config.deployers import BUILT_IN, Deployer
from deployctl.config.json_schema_keys import keys_shape
from deployctl.config.json_schema_types import Shape, shaped
from deployctl.config.pipeline import PIPELINE_KEYS
from deployctl.config.readers import (
    Key,
    KeyTable,
    boolean,
    choice,
    defined_name,
    duration,
    line,
    list_of,
    mapping,
    mapping_of,
    name_fault,
    one_or_more,
    path,
    read_keys,
    relative_path,
    secret,
    size,
    variable_fault,
    whole_number,
)
from deployctl.config.release_paths import path_in_release
from deployctl.config.selection import branch, tags, watch_pattern
from deployctl.config.stages import environment, stages, timeout
from deployctl.config.urls import channel_url, git_url, health_url
from deployctl.config.yaml_tree import Map, Node, Scalar
from deployctl.values.forge_names import FORGE_ALIASES, FORGES
from deployctl.values.repo import Channel, Repo, Subscription
from deployctl.values.secret import Secret
from deployctl.values.text import GB, MB

# Keys that exclude each other: if a repo has the one, it does not inherit the other from defaults.
ALTERNATIVES = {"branch": "tags", "tags": "branch"}
EVENTS = ("started", "succeeded", "failed", "rolled_back", "degraded", "recovered")
ON_VALUES = ("push", "ci_success")
# Their webhooks report the results of a commit's checks, which on: ci_success waits for.
FORGES_WITH_CHECKS = ("github", "gitlab", "gitea", "forgejo")
MAX_BODY = 25 * MB
MAX_FREE = 1024 * GB


@dataclass(frozen=True)
class RepoEntry:
    """A repo, or the section ``defaults``: its node, and by key the values that could be read."""

    node: Map
    values: dict[str, Any]

    def with_defaults(self, defaults: RepoEntry) -> RepoEntry:
        """Return this entry with the defaults of the keys that it does not have.

        Values are not merged: a key of the entry replaces the whole value of the default.
        """
        given = self.node.entries
        hidden = {*given, *(ALTERNATIVES.get(key, key) for key in given)}
        inherited = {key: value for key, value in defaults.values.items() if key not in hidden}
        nodes = {key: node for key, node in defaults.node.entries.items() if key not in hidden}
        node = Map(self.node.line, self.node.path, {**nodes, **given})
        return RepoEntry(node, {**inherited, **self.values})


@shaped(lambda: json_schema_types.choice((*FORGES, *FORGE_ALIASES)))
def forge(node: Node, reading: Reading) -> str:
    """Read the name of a forge; an alias becomes the name that it stands for."""
    if isinstance(node, Scalar) and node.text in FORGE_ALIASES:
        return FORGE_ALIASES[node.text]
    return choice(*FORGES)(node, reading)


@shaped({**json_schema_types.LINE, "pattern": r"^[^\s/]+(/[^\s/]+)+$"})
def full_name(node: Node, reading: Reading) -> str:
    """Read ``owner/name``; GitLab's subgroups add more parts."""
    name = line(node, reading)
    if not re.fullmatch(r"[^\s/]+(/[^\s/]+)+", name):
        raise ComplaintError(node, "wanted owner/name, as the forge shows it")
    return name


@shaped(json_schema_types.excluding(json_schema_types.PATH, {"const": "/"}))
def deploy_path(node: Node, reading: Reading) -> str:
    """Read the directory that a repo is deployed to."""
    directory = path(node, reading)
    if directory == "/":
        raise ComplaintError(node, "must not be /: name a directory of its own")
    return directory


@shaped({"type": "string", "pattern": "^(idle|best-effort( [0-7])?)$"})
def ionice(node: Node, reading: Reading) -> str:
    """Read ``idle``, or ``best-effort`` with or without a level; see ionice(1)."""
    value = line(node, reading)
    if not re.fullmatch(r"idle|best-effort( [0-7])?", value):
        raise ComplaintError(node, "wanted idle, or best-effort 0 (first) to best-effort 7 (last)")
    return value


@shaped(json_schema_types.RELATIVE_PATH)
def deployed_dir(node: Node, reading: Reading) -> str:
    """Read the directory of the repository that is deployed."""
    value = relative_path(node, reading)
    if ".git" in value.split("/"):
        raise ComplaintError(node, "no commit has a .git: name another directory")
    return value


@shaped(json_schema_types.RELATIVE_PATH)
def pipeline_file(node: Node, reading: Reading) -> str:
    """Read a path in the repository; return "" for ``off``."""
    return "" if line(node, reading) == "off" else relative_path(node, reading)


@shaped(lambda: keys_shape(DEPLOYER_KEYS))
def deployer(node: Node, reading: Reading) -> Deployer:
    """Read a deployer that the operator defines."""
    return Deployer(**read_keys(node, DEPLOYER_KEYS, reading))


@shaped(lambda: {"anyOf": [channel_url.shape(), keys_shape(CHANNEL_KEYS, Channel, ("url",))]})
def channel(node: Node, reading: Reading) -> Channel:
    """Read ``URL`` or ``{url, timeout}``; the name is empty, the caller knows it from the key."""
    if not isinstance(node, Map):
        return Channel("", channel_url(node, reading))
    values = read_keys(node, CHANNEL_KEYS, reading, required=("url",))
    return Channel(**{"name": "", "url": Secret(""), **values})


def _subscription_shape() -> Shape:
    value = keys_shape({"on": NOTIFY_KEYS["on"]})
    return {
        "anyOf": [
            json_schema_types.LINE,
            keys_shape(NOTIFY_KEYS, required=("channel",)),
            {
                **json_schema_types.mapping(value, json_schema_types.NAME),
                "minProperties": 1,
                "maxProperties": 1,
            },
        ]
    }


@shaped(_subscription_shape)
def subscription(node: Node, reading: Reading) -> Subscription:
    """Read ``NAME``, ``{channel: NAME, on: […]}`` or ``{NAME: {on: […]}}``."""
    if not isinstance(node, Map):
        return Subscription(defined_name("channels")(node, reading), EVENTS[1:])
    if "channel" not in node.entries and len(node.entries) == 1:
        return _named_subscription(node, reading)
    values = read_keys(node, NOTIFY_KEYS, reading, required=("channel",))
    return Subscription(values.get("channel", ""), values.get("on", EVENTS[1:]))


def _named_subscription(node: Map, reading: Reading) -> Subscription:
    ((name, value),) = node.entries.items()
    defined_name("channels")(Scalar(value.line, value.path, name, "text"), reading)
    values = read_keys(value, {"on": NOTIFY_KEYS["on"]}, reading)
    return Subscription(name, values.get("on", EVENTS[1:]))


@shaped(lambda: json_schema_types.list_of(subscription.shape()))
def notify(node: Node, reading: Reading) -> tuple[Subscription, ...]:
    """Read the subscriptions of a repo, at most one for each channel."""
    subscriptions = list_of(subscription)(node, reading)
    # The channel of an entry with a fault may be empty.
    channels = Counter(entry.channel for entry in subscriptions if entry.channel)
    for name, count in channels.items():
        if count > 1:
            reading.complain(node, f"{printable(name)} is listed twice: join the two")
    return subscriptions


@shaped(lambda: keys_shape(REPO_KEYS, Repo, **{"not": {"required": ["branch", "tags"]}}))
def repo_entry(node: Node, reading: Reading) -> RepoEntry:
    """Read a repo, or the section ``defaults``, which has the same keys."""
    keys = mapping(node)
    if {"branch", "tags"} <= keys.entries.keys():
        reading.complain(keys.entries["tags"], "stands beside branch: keep one of the two")
    return RepoEntry(keys, read_keys(node, REPO_KEYS, reading))


DEPLOYER_KEYS: KeyTable = {
    "stages": Key(stages, "stages to run before the switch"),
    "restart": Key(commands_or_none, "commands to run after the switch"),
}

CHANNEL_KEYS: KeyTable = {
    "url": Key(channel_url, "an Apprise URL, or the secret that holds it"),
    "timeout": Key(timeout, "how long sending one notice may take"),
}

NOTIFY_KEYS: KeyTable = {
    "channel": Key(defined_name("channels"), "the name of a channel"),
    "on": Key(one_or_more(choice(*EVENTS)), "the events that it gets notices of"),
}

REPO_KEYS: KeyTable = {
    "url": Key(git_url, "where git fetches from"),
    "path": Key(deploy_path, "where it is deployed"),
    "branch": Key(branch, "the branch that is deployed"),
    "tags": Key(tags, "a pattern of tags that are deployed, in place of a branch"),
    "on": Key(
        choice(*ON_VALUES), "deploy on every push, or once its checks have passed (ci_success)"
    ),
    "watch": Key(
        list_of(watch_pattern),
        "patterns of paths, as in gitignore: deploy only if one of them changed",
    ),
    "dir": Key(deployed_dir, "the directory of the repository that is deployed"),
    "forge": Key(forge, "the forge that sends the webhooks"),
    "id": Key(line, "the forge's id of the repository"),
    "full_name": Key(full_name, "the repository as the forge calls it, owner/name"),
    "webhook_secret": Key(
        one_or_more(secret), "one secret, or several while you change it", "webhook_secrets"
    ),
    "strategy": Key(
        choice("releases", "in_place"), "a directory for each release, or one checkout"
    ),
    "deployer": Key(defined_name("deployers", *BUILT_IN), "a named set of stages and restart"),
    **PIPELINE_KEYS,
    "pipeline_file": Key(
        pipeline_file, "the file in the repository that sets stages and the like, or off"
    ),
    "auto_rollback": Key(boolean, "whether to go back when restart or health check fails"),
    "probation": Key(duration(zero=True), "how long run and sync keep checking what went live"),
    "keep_releases": Key(whole_number(1, 1000), "how many releases stay on disk"),
    "min_free": Key(
        size(MAX_FREE, zero=True), "how much disk space must be free to build; 0: do not check"
    ),
    "shared_dirs": Key(list_of(path_in_release), "directories that all releases share"),
    "shared_files": Key(list_of(path_in_release), "files that all releases share"),
    "env": Key(environment, "environment variables of all commands"),
    "env_file": Key(one_or_more(path), "dotenv files with more environment variables", "env_files"),
    "secrets": Key(
        mapping_of(secret, variable_fault), "environment variables that are hidden in all output"
    ),
    "ssh_key": Key(path, "the private key that git uses"),
    "known_hosts": Key(path, "the host keys that git accepts"),
    "submodules": Key(boolean, "whether to fetch the submodules too"),
    "lfs": Key(boolean, "whether to fetch the files that git-lfs stores"),
    "fetch_timeout": Key(timeout, "how long git may fetch"),
    "timeout": Key(timeout, "how long a command may take, unless its stage says otherwise"),
    "nice": Key(whole_number(0, 19), "processor priority of the stages: 0 (normal) to 19 (lowest)"),
    "ionice": Key(ionice, "disk priority of the stages: idle, or best-effort 0 to 7"),
    "memory": Key(size(MAX_FREE), "how much memory a command of a stage may take"),
    "notify": Key(notify, "which channels get notices, and of which events"),
}

TOP_KEYS: KeyTable = {
    "state_dir": Key(path, "where the database, logs and mirrors are kept"),
    "max_running": Key(whole_number(1, 1000), "how many deployments run at a time"),
    "max_body": Key(size(MAX_BODY), "how large a webhook's body may be"),
    "keep_deliveries": Key(duration(days=3650), "how long the inbox keeps deliveries"),
    "keep_logs": Key(duration(days=3650), "how long the output of deployments is kept"),
    "webhook_url": Key(health_url, "where the forges send their deliveries to"),
    "status_page": Key(path, "a directory for the status page, written after every deployment"),
    "defaults": Key(repo_entry, "values of repo keys for all repos"),
    "deployers": Key(mapping_of(deployer, name_fault), "deployers of your own"),
    "channels": Key(mapping_of(channel, name_fault), "where notices can go"),
    "repos": Key(mapping_of(repo_entry, name_fault), "what is deployed, by name"),
}
