"""The built-in deployers: the usual stages and restart commands of one kind of project each.

A string is a script for /bin/sh, used where a variable must expand; a tuple is argv. Each is tested
with the real program in tests/stories/test_deployers.py, except for systemd and docker-compose:
these need a machine of their own, so the test has a fake program that records its arguments.
"""

from __future__ import annotations

from dataclasses import dataclass

from deployctl.system.command import Command
from deployctl.values.repo import Stage


@dataclass(frozen=True)
class Deployer:
    """A named set of stages to run before the switch, and of restart commands to run after it."""

    stages: tuple[Stage, ...] = ()
    restart: tuple[Command, ...] = ()


# The tools of a build are in devDependencies, which npm leaves out if NODE_ENV=production is set.
_NPM_CI = Stage("install", (("npm", "ci", "--include=dev"),))
# Projects that use yarn, or that have their packages in the repository, have no package-lock.json.
_NPM_CI_IF_LOCKED = Stage("install", ("[ ! -e package-lock.json ] || npm ci --include=dev",))
_NPM_BUILD = Stage("build", (("npm", "run", "build", "--if-present"),))

# After this, "$@" is empty for root, and sudo for other accounts. -n: fail instead of asking for a
# password, because a deployment has no terminal.
_AS_ROOT = '[ "$(id -u)" -eq 0 ] || set -- sudo -n'

# `nginx -s reload` exits 0 even if the config parses but cannot be used; only -t reports that.
_NGINX = f"""
{_AS_ROOT}
"$@" nginx -t -q
"$@" nginx -s reload
"""

_SYSTEMD = f"""
{_AS_ROOT}
"$@" systemctl restart "$DEPLOYCTL_REPO"
"""

# Processes are restarted one after the other, so that the others can serve requests meanwhile. If
# one does not start, the script stops, and the rest still run the old version. `name:*` works for a
# program and for a group. Exit code 3 of status (supervisor 4): some processes do not run, which is
# no failure here, as a restart starts them.
_SUPERVISOR = """
supervisorctl status "$DEPLOYCTL_REPO:*" || [ $? -eq 3 ]
for process in $(supervisorctl status "$DEPLOYCTL_REPO:*" | cut -d' ' -f1); do
    supervisorctl restart "$process" || { supervisorctl tail "$process" stderr; exit 1; }
done
"""

# pm2 exits 0 even if no process started, or while it still starts again and again one that crashes.
# And if an app's cwd is not `current`, pm2 keeps running the release that it started first. So the
# script waits until each process has been up for two seconds or pm2 has given it up, and checks
# both. --update-env gives the apps the step's environment, without DEPLOYCTL_RUN: if the step
# fails, deployctl ends all processes that have this variable, and the apps that still serve
# requests must not be ended.
_PM2 = """
pm2 ping --silent
env -u DEPLOYCTL_RUN pm2 startOrReload ecosystem.config.* --update-env --no-color
node -e '
    const fs = require("fs"), path = require("path"), {execFileSync} = require("child_process");
    const name = process.env.DEPLOYCTL_REPO, until = Date.now() + 30000;
    const real = (place) => fs.existsSync(place) ? fs.realpathSync(place) : place;
    const fail = (why) => { console.error(why); process.exitCode = 1; };
    const list = () => JSON.parse(execFileSync("pm2", ["jlist"], {maxBuffer: 1 << 26})
        .toString().trim().split("\\n").pop()).filter((app) => app.name === name);
    const isUp = ({status, pm_uptime}) => status === "stopped" ||
        status === "online" && Date.now() - pm_uptime >= 2000;
    const isSettled = (app) => app.pm2_env.status === "errored" || isUp(app.pm2_env);
    let apps = list();
    while (!apps.every(isSettled) && Date.now() < until) {
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 300);
        apps = list();
    }
    for (const {pm_id, pm2_env} of apps) {
        const {pm_cwd} = pm2_env;
        if (!isUp(pm2_env)) fail(`pm2: process ${pm_id} of ${name} does not stay up`);
        if (real(pm_cwd) !== process.cwd()) fail(`pm2 runs ${name} in ${pm_cwd}, for ever: set ` +
            `its cwd to ${path.resolve("../../current")}, then once: pm2 delete ${name}`);
    }' || { pm2 logs "$DEPLOYCTL_REPO" --err --lines 20 --nostream --no-color; exit 1; }
"""

# Compose names a project after its directory, which differs from release to release: hence -p. Dots
# are replaced, because Compose refuses them in the name. --build makes sure that the image is that
# of this release, also after a rollback.
_COMPOSE = 'docker compose -p "$(echo "$DEPLOYCTL_REPO" | tr . -)"'

BUILT_IN = {
    "none": Deployer(),
    "static": Deployer(),
    "nginx": Deployer(restart=(_NGINX,)),
    # The virtualenv is in the release: a rollback finds the old packages, and pruning removes them.
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
