"""What it costs to ask fifty servers what they are: `instance_info` beside Ansible's own ping of as many hosts."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.bench.ground import HOME, PROGRAMS, REPO, in_turn, remove, run
from tests.modules import OWNER, ROOT
from tests.ports import free_ports

SERVERS = 50
_SMALL = "-c shared_buffers=1MB -c max_connections=10 -c autovacuum=off -c listen_addresses= -c fsync=off"


class Estate:
    """Fifty servers with their inventory, and the ways to ask all of them."""

    def __init__(self) -> None:
        remove()
        HOME.mkdir(mode=0o755)
        if ROOT:
            shutil.chown(HOME, OWNER)
        first = free_ports(SERVERS)
        model = HOME / "model"
        run(str(PROGRAMS / "initdb"), "-D", str(model), "-U", "postgres", "-A", "trust", "--no-sync")
        hosts = {}
        for number in range(SERVERS):
            place, port = HOME / f"pg{number}", first + number
            run("mkdir", "-p", str(place / "run"))
            run("cp", "-r", str(model), str(place / "data"))
            options = f"-p {port} -k {place}/run {_SMALL}"
            run(str(PROGRAMS / "pg_ctl"), "start", "-s", "-w", "-D", str(place / "data"), "-l", str(place / "log"),
                "-o", options)  # fmt: skip
            hosts[f"pg{number}"] = {"db_port": port}
        self.inventory = HOME / "hosts.json"
        variables = {
            "ansible_connection": "local", "ansible_python_interpreter": sys.executable, "ansible_become": ROOT,
            "ansible_become_method": "ansible.builtin.sudo", "ansible_become_flags": "", "ansible_become_user": OWNER,
            "ansible_become_exe": str(REPO / "inventories/local/hosts"),
        }  # fmt: skip
        run("tee", str(self.inventory), stdin=json.dumps({"all": {"hosts": hosts, "vars": variables}}))

    def ask(self, module: str, arguments: str) -> float:
        """One module on every host; returns the seconds."""
        words = [str(Path(sys.executable).with_name("ansible")), "-i", str(self.inventory), "all", "-m", module]
        begun = time.monotonic()
        done = subprocess.run(
            [*words, "-a", arguments], cwd=REPO, text=True, capture_output=True, check=False,
            env={**os.environ, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")},
        )  # fmt: skip
        answers = done.stdout.count(" | SUCCESS ")
        if done.returncode or answers != SERVERS:
            raise SystemExit(f"bench: {answers} of {SERVERS} answered {module}: {done.stdout[-2000:]}{done.stderr}")
        return time.monotonic() - begun

    def ours(self) -> float:
        """What they are."""
        place = f"{HOME}/{{{{ inventory_hostname }}}}"
        where = f"data_dir={place}/data socket_dir={place}/run port={{{{ db_port }}}} bin_dir={PROGRAMS}"
        return self.ask("boringdb.ops.instance_info", where)

    def ping(self) -> float:
        """Only whether they are there."""
        return self.ask("ansible.builtin.ping", "data=pong")


@contextmanager
def up() -> Iterator[Estate]:
    """Started, and removed at the end."""
    try:
        yield Estate()
    finally:
        remove()


def rounds(count: int) -> list[tuple[float, float]]:
    """Ours and Ansible's ping, in turn; the first pair is for warming up."""
    with up() as it:
        return [in_turn(number, it.ours, it.ping) for number in range(count + 1)]
