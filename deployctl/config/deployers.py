"""The deployers that are built in: what usually runs for one kind of project.

A string is a script for /bin/sh, used where a variable must expand; a tuple is argv.
"""

from __future__ import annotations

from dataclasses import dataclass

from deployctl.repo import Command, Stage


@dataclass(frozen=True)
class Deployer:
    """Stages to run before the switch and commands to restart with after it."""

    stages: tuple[Stage, ...] = ()
    restart: tuple[Command, ...] = ()


BUILT_IN = {
    "none": Deployer(),
    "static": Deployer(),
    "nginx": Deployer(restart=(("nginx", "-s", "reload"),)),
    "pipenv": Deployer(restart=(("pipenv", "run", "restart", "prod"),)),
    "gulp": Deployer(stages=(Stage("update", (("./node_modules/.bin/gulp", "update"),)),)),
    "npm": Deployer(
        stages=(
            Stage("install", (("npm", "ci"),)),
            Stage("build", (("npm", "run", "build", "--if-present"),)),
        )
    ),
    # `name:*` is right for a single program and for a group of several (numprocs) alike.
    "supervisor": Deployer(restart=('supervisorctl restart "$DEPLOYCTL_REPO:*"',)),
    "systemd": Deployer(restart=('systemctl restart "$DEPLOYCTL_REPO"',)),
    "pm2": Deployer(restart=('pm2 reload "$DEPLOYCTL_REPO" --update-env',)),
    # Compose names a project after its directory, and every release has another one: hence -p.
    "docker-compose": Deployer(
        stages=(Stage("build", ('docker compose -p "$DEPLOYCTL_REPO" build',)),),
        restart=('docker compose -p "$DEPLOYCTL_REPO" up -d --remove-orphans',),
    ),
}
