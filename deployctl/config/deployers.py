"""The deployers that are built in: what usually runs for one kind of project.

A string is a script for /bin/sh, used where a variable must expand; a tuple is argv. Each is tried
with the real program in tests/stories/test_deployers.py, but for systemd and docker-compose: they
want a machine of their own, so a stand-in writes down the exact words that it was called with.
"""

from __future__ import annotations

from dataclasses import dataclass

from deployctl.system.command import Command
from deployctl.values.repo import Stage


@dataclass(frozen=True)
class Deployer:
    """Stages to run before the switch and commands to restart with after it."""

    stages: tuple[Stage, ...] = ()
    restart: tuple[Command, ...] = ()


# What a build needs are devDependencies, which npm leaves out where env says NODE_ENV=production.
_NPM_CI = Stage("install", (("npm", "ci", "--include=dev"),))
# Packages that come by another way, yarn or the repository itself, have no package-lock.json.
_NPM_CI_IF_LOCKED = Stage("install", ("[ ! -e package-lock.json ] || npm ci --include=dev",))
_NPM_BUILD = Stage("build", (("npm", "run", "build", "--if-present"),))

# "$@" is the sudo that all but root need; -n: there is nobody to type a password.
_AS_ROOT = '[ "$(id -u)" -eq 0 ] || set -- sudo -n'

# `nginx -s reload` answers 0 for a config that parses and cannot be used; only -t tells.
_NGINX = f"""
{_AS_ROOT}
"$@" nginx -t -q
"$@" nginx -s reload
"""

_SYSTEMD = f"""
{_AS_ROOT}
"$@" systemctl restart "$DEPLOYCTL_REPO"
"""

# One process after the other, so that the others answer meanwhile; the first that does not come up
# ends it while they still run the old version. `name:*` is right for a program and a group alike.
# Exit code 3 of status: some do not run, which a restart mends (supervisor 4).
_SUPERVISOR = """
supervisorctl status "$DEPLOYCTL_REPO:*" || [ $? -eq 3 ]
for process in $(supervisorctl status "$DEPLOYCTL_REPO:*" | cut -d' ' -f1); do
    supervisorctl restart "$process" || { supervisorctl tail "$process" stderr; exit 1; }
done
"""

# pm2 answers 0 where no process came up, and runs for ever the release that it started first where
# the app's cwd is not current: so both are looked at. Its apps are not part of the step (their
# environment is the step's, by --update-env): a failure must not end those that still answer.
_PM2 = """
pm2 ping --silent
env -u DEPLOYCTL_RUN pm2 startOrReload ecosystem.config.* --update-env --no-color
pm2 jlist | tail -n 1 | node -e '
    const fs = require("fs"), path = require("path"), name = process.env.DEPLOYCTL_REPO;
    const real = (place) => fs.existsSync(place) ? fs.realpathSync(place) : place;
    const fail = (why) => { console.error(why); process.exitCode = 1; };
    for (const app of JSON.parse(fs.readFileSync(0)).filter((app) => app.name === name)) {
        const {status, pm_cwd} = app.pm2_env;
        if (status === "errored") fail(`pm2: process ${app.pm_id} of ${name} does not stay up`);
        if (real(pm_cwd) !== process.cwd()) fail(`pm2 runs ${name} in ${pm_cwd}, for ever: set ` +
            `its cwd to ${path.resolve("../../current")}, then once: pm2 delete ${name}`);
    }' || { pm2 logs "$DEPLOYCTL_REPO" --err --lines 20 --nostream --no-color; exit 1; }
"""

# Compose names a project after its directory, and every release has another one: hence -p, without
# the dots that it refuses. --build: the image is that of this release, also after a rollback.
_COMPOSE = 'docker compose -p "$(echo "$DEPLOYCTL_REPO" | tr . -)"'

BUILT_IN = {
    "none": Deployer(),
    "static": Deployer(),
    "nginx": Deployer(restart=(_NGINX,)),
    # In the release, so that a rollback finds the old packages and pruning takes them away.
    "pipenv": Deployer(
        stages=(
            Stage(
                "install",
                ("[ ! -e Pipfile.lock ] || pipenv install --deploy",),
                env={"PIPENV_VENV_IN_PROJECT": "1"},
            ),
        ),
        restart=(("pipenv", "run", "restart", "prod"),),
    ),
    "gulp": Deployer(
        stages=(_NPM_CI_IF_LOCKED, Stage("update", (("./node_modules/.bin/gulp", "update"),)))
    ),
    "npm": Deployer(stages=(_NPM_CI, _NPM_BUILD)),
    "supervisor": Deployer(restart=(_SUPERVISOR,)),
    "systemd": Deployer(restart=(_SYSTEMD,)),
    "pm2": Deployer(stages=(_NPM_CI_IF_LOCKED, _NPM_BUILD), restart=(_PM2,)),
    "docker-compose": Deployer(
        stages=(Stage("build", (f"{_COMPOSE} build",)),),
        restart=(f"{_COMPOSE} up -d --build --remove-orphans",),
    ),
}
