"""deploy/ansible sets up machines, and a file goes from a hook there to a worker there."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml  # type: ignore[import-untyped]
from cryptography.fernet import Fernet

from tasks.config.hook_key import derive_hook_key, hook_key_text
from tests.ansible.machines import (
    INTO_CHROOT,
    Machines,
    NoMachines,
    machines,
    pip_environment,
)
from tests.farm import Farm, wait_until
from tests.farm_hooks.stand import wait_stored
from tests.helpers.pyz import built_pyz
from tests.helpers.skipping import skip_loudly
from tests.sandbox import Sandbox
from tests.sandbox.process import CHECKOUT, Child

# The time of the first test includes a Debian, Ansible, and what a worker needs.
pytestmark = [pytest.mark.docker, pytest.mark.timeout(1200)]

WORKER, NODE = "worker001", "node001"
ROLES = CHECKOUT / "deploy/ansible/roles"


class Site(NamedTuple):
    """The machines, the inventory that describes them, and the secrets that they get."""

    machines: Machines
    inventory: Path
    secrets: dict[str, str]

    def play(self, **variables: object) -> dict[str, int]:
        """Run the playbook, and return how much it has changed on each machine.

        A chroot starts nothing, so a restart counts for nothing; it has to be asked for.
        """
        said = self.machines.play(self.inventory, **variables)
        assert not any(secret in said for secret in self.secrets.values())
        is_changed = "changed: [worker" in said
        assert ("RUNNING HANDLER [farmhaul_worker : Restart the workers]" in said) == is_changed
        return {name: int(count) for name, count in re.findall(r"(\w+) +: .*changed=(\d+)", said)}


@pytest.fixture(scope="module")
def site(running_sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Site:
    folder = tmp_path_factory.mktemp("site")
    try:
        made = machines(folder, WORKER, NODE)
    except NoMachines as error:
        skip_loudly("NO ROLE OF ANSIBLE WAS RUN", error)
    # As in many studios, the user of renders has a group of another name.
    made.run(NODE, "groupadd wranglers && useradd --create-home --gid wranglers render")
    dist = folder / "dist"
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", f"--outdir={dist}"]
    subprocess.run([*build, CHECKOUT], check=True, capture_output=True, timeout=120)
    shutil.copy(built_pyz(), dist)
    shutil.copy(CHECKOUT / "deploy/requirements.lock", dist)
    key = Fernet.generate_key().decode()
    secrets = {
        "redis_url_worker": running_sandbox.redis.url,
        "redis_url_hook": running_sandbox.redis.url,
        "secret_key": key,
        "hook_key": hook_key_text(derive_hook_key(key)),
        "ftrack_api_key": running_sandbox.env["FTRACK_API_KEY"],
    }
    (folder / "secrets").mkdir()
    for name, value in secrets.items():
        (folder / "secrets" / name).write_text(f"{value}\n")
    hosts: dict[str, Any] = {
        "farmhaul_workers": {"hosts": {WORKER: {}}},
        "farmhaul_hooks": {"hosts": {NODE: {}}},
    }
    variables = {
        "ansible_ssh_executable": str(INTO_CHROOT),
        "ansible_python_interpreter": "/usr/bin/python3",
        "ansible_become": False,  # it is root there already
        "farmhaul_dist": str(dist),
        "farmhaul_secrets": str(folder / "secrets"),
        "farmhaul_storage_roots": "/mnt/prod",
        "farmhaul_ftrack_server": running_sandbox.env["FTRACK_SERVER"],
        "farmhaul_ftrack_api_user": running_sandbox.env["FTRACK_API_USER"],
        "farmhaul_concurrency": 2,
        "farmhaul_pip_environment": pip_environment(),
        "farmhaul_render_group": "wranglers",
    }
    inventory = folder / "inventory.json"
    inventory.write_text(json.dumps({"all": {"vars": variables, "children": hosts}}))
    one = Site(made, inventory, secrets)
    changed = one.play()
    assert changed[WORKER] > 5
    assert changed[NODE] > 2
    return one


def test_a_second_run_changes_nothing_but_what_has_changed(site: Site) -> None:
    assert site.play() == {WORKER: 0, NODE: 0}
    assert site.play(farmhaul_concurrency=1) == {WORKER: 1, NODE: 0}
    modes = "stat --format='%n %a %U:%G'"
    worker = site.machines.run(WORKER, f"{modes} /etc/farmhaul/*").stdout.splitlines()
    assert worker == [
        "/etc/farmhaul/farmhaul.env 644 root:root",
        *(
            f"/etc/farmhaul/{name} 600 root:root"
            for name in ("ftrack_api_key", "redis_url_worker", "secret_key")
        ),
    ]
    hook = site.machines.run(NODE, f"{modes} /etc/farmhaul/hook.env /var/spool/farmhaul")
    assert hook.stdout.splitlines() == [
        "/etc/farmhaul/hook.env 640 root:wranglers",
        "/var/spool/farmhaul 700 render:wranglers",
    ]
    assert site.machines.run(WORKER, "systemctl is-enabled farmhaul-worker@1").stdout == "enabled\n"
    verified = site.machines.run(WORKER, "systemd-analyze verify farmhaul-worker@1.service")
    assert (verified.returncode, verified.stderr) == (0, "")


def test_a_secret_in_the_clear_is_refused_and_written_nowhere(site: Site) -> None:
    text = "a-secret-in-the-clear"
    said = json.loads(site.inventory.read_text())
    secrets = {
        "FTRACK_API_KEY": text,
        "FARMHAUL_NOTIFY_URL": f"https://chat.example/{text}",
        "FLOWER_OAUTH2_SECRET": text,
        "HTTPS_PROXY": f"http://farm:{text}@proxy.example:3128",
    }
    for name, value in secrets.items():
        said["all"]["vars"]["farmhaul_settings"] = {name: value}
        inventory = site.inventory.with_name(f"{name}.json")
        inventory.write_text(json.dumps(said))
        done = site.machines.try_to_play(inventory)
        assert done.returncode == 2
        assert "write NAME_FILE in farmhaul_settings" in done.stdout
        assert text not in done.stdout + done.stderr
    found = site.machines.run(WORKER, f"grep -rl {text} /etc /opt/farmhaul/share /var/lib")
    assert found.stdout == ""


def health_check() -> str:
    """Return the command by which the role sees that a worker takes tasks, for a shell.

    The role itself skips it in a chroot, in which nothing is started.
    """
    tasks = yaml.safe_load((ROLES / "farmhaul_worker/tasks/main.yml").read_text())
    [task] = [task for task in tasks if task["name"] == "The workers take tasks"]
    command = task["ansible.builtin.command"]
    for name, value in {"item": "1", "ansible_facts.nodename": WORKER}.items():
        command = command.replace(f"{{{{ {name} }}}}", value)
    names = " ".join(f"{name}={value}" for name, value in task["environment"].items())
    return f"{names} {command}"


def test_a_file_goes_from_a_machine_with_the_hook_to_ftrack(
    site: Site, running_sandbox: Sandbox, tmp_path: Path
) -> None:
    running_sandbox.reset()
    (site.machines.storage / "main.exr").write_bytes(b"pixels of the farm")
    # What systemd does: it gives the unit's user copies of the secrets that it may read.
    folder = "/etc/systemd/system"
    paths = f"{folder}/farmhaul-worker@.service {folder}/farmhaul-worker@.service.d/farm.conf"
    unit = site.machines.run(WORKER, f"cat {paths}").stdout
    env = site.machines.run(WORKER, "cat /etc/farmhaul/farmhaul.env").stdout
    [root] = re.findall(r"(?m)^FARMHAUL_STORAGE_ROOTS='(.+)'$", env)
    assert f"\nRequiresMountsFor={root}\n" in unit
    credentials = re.findall(r"(?m)^LoadCredential=(\w+):(\S+)$", unit)
    files = re.findall(r"(?m)^Environment=(\w+)=%d/(\w+)$", unit)
    start = re.findall(r"(?m)^ExecStart=(.+)$", unit)[-1]
    start = start.replace("%i", "1").replace("%%", "%")
    line = "; ".join(
        [
            "set -e",
            "install -d -o farmhaul /run/credentials",
            *(f"install -m 400 -o farmhaul {path} /run/credentials/{n}" for n, path in credentials),
            *(f"export {name}=/run/credentials/{file}" for name, file in files),
            "set -a",
            ". /etc/farmhaul/farmhaul.env",
            f"exec setpriv --reuid=farmhaul --regid=farmhaul --clear-groups {start}",
        ]
    )
    health = health_check()
    assert site.machines.run(WORKER, health).returncode == 1, "no worker runs yet"
    log = tmp_path / "worker.log"
    worker = Child(
        "worker", site.machines.command(WORKER, line), log, env=site.machines.environment
    )
    worker.wait_ready(lambda: " ready." in log.read_text(), 60)
    version = running_sandbox.ftrack.version_id
    hook = "python3 -I -S -X utf8 /opt/farmhaul-hook/farmhaul-hook.pyz enqueue"
    try:
        # The role asks several times, too.
        wait_until(lambda: site.machines.run(WORKER, health).returncode == 0)
        done = site.machines.run(
            NODE,
            f"setpriv --reuid=render --regid=wranglers --init-groups {hook} /mnt/prod/main.exr"
            f" --version-id {version}",
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["state"] == "queued"
        farm = Farm(running_sandbox, tmp_path / "farm", 0)
        wait_stored(farm, [b"pixels of the farm"])
    finally:
        worker.stop(60)
    assert "1@worker001" in log.read_text()
