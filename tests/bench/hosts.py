"""The lab's hosts for the bench: provisioned, filled, and ways to run a script, a module or a playbook there."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import ansible

from tests.lab import plan
from tests.modules import REPO, options

PLACE = "/opt/boringdb-bench"
PROGRAMS = "/usr/lib/postgresql/15/bin"
DATA = "/var/lib/postgresql/15/main"
#: As inventories/lab has them. A role that no provisioning made may be primary after an earlier run.
PRIMARY, REPLICA, REPOSITORY, DRILL = HOSTS = plan.DEFAULT_HOSTS
_CODE = (
    f"import sys; sys.path.insert(0, '{PLACE}'); import ansible.module_utils.basic as basic; "
    "basic._ANSIBLE_PROFILE = 'legacy'; "
    "from ansible_collections.boringdb.ops.plugins.modules.{word} import main; main()"
)


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the lab."""
    return subprocess.run(
        [sys.executable, "-m", "tests.lab", *words], cwd=REPO, text=True, capture_output=True, check=False
    )


@contextmanager
def provisioned() -> Iterator[None]:
    """A provisioned cluster with our modules on every host that takes or restores a backup; gone at the end."""
    try:
        done = lab("up", *HOSTS)
        if done.returncode:
            raise SystemExit(f"bench: {done.stderr.strip()}")
        playbook("provision.yml")
        for host in (PRIMARY, REPOSITORY, DRILL):
            ship(host)
        yield
    finally:
        lab("down", *HOSTS)


def load(scale: int) -> float:
    """Fill the database with `scale` times pgbench's 15 MB, instead of what was in it; returns its size in GB."""
    freeze = "psql -qc 'VACUUM FREEZE' -c CHECKPOINT"
    on(PRIMARY, f"{PROGRAMS}/pgbench -i -q -s {scale} postgres 2>&1 && {freeze}")
    return int(on(PRIMARY, "psql -XAtqc 'SELECT sum(pg_database_size(oid)) FROM pg_database'")) / 1e9


def on(host: str, script: str, stdin: str = "", user: str = "postgres") -> str:
    """Run a script on a host; returns its output."""
    become = f"setpriv --reuid={user} --regid={user} --init-groups env HOME=/var/lib/postgresql"
    command = f"cd / && exec {become} bash -c {shlex.quote(script)}"
    done = subprocess.run(
        ["ssh", "-F", str(plan.paths().ssh_config), host, command],
        input=stdin, text=True, capture_output=True, check=False,
    )  # fmt: skip
    if done.returncode:
        raise SystemExit(f"bench: on {host}: {done.stderr[-1500:]}{done.stdout[-500:]}")
    return done.stdout


def ship(host: str) -> None:
    """Put the modules, and the part of Ansible that they run with, onto a host."""
    core = ["__init__.py", "_vendor", "release.py", "module_utils", "_internal"]
    pairs = [
        (Path(ansible.__file__).parents[1], [f"ansible/{name}" for name in core]),
        (REPO / ".collections", ["ansible_collections/boringdb/ops/plugins"]),
    ]
    for base, names in pairs:
        packed = subprocess.run(["tar", "-C", str(base), "-chf", "-", *names], capture_output=True, check=True).stdout
        unpack = f"mkdir -p {PLACE} && tar -C {PLACE} -xf -"
        subprocess.run(["ssh", "-F", str(plan.paths().ssh_config), host, unpack], input=packed, check=True)


def module(host: str, word: str, **given: Any) -> dict[str, Any]:
    """Run one of our modules on a host, without Ansible's own time."""
    result: dict[str, Any] = json.loads(
        on(host, f"python3 -B -c {shlex.quote(_CODE.format(word=word))}", options(given))
    )
    return result


def playbook(name: str, *words: str) -> None:
    """Run a playbook of ours, or of the tests, against the lab."""
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    place = str(REPO / "playbooks" / name)
    argv = [program, "-i", str(REPO / "inventories/lab"), place, "-e", "cluster=orders", *words]
    env = {**os.environ, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")}
    done = subprocess.run(argv, cwd=REPO, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: {name} failed: {done.stdout[-2000:]}")


def timed(host: str, script: str) -> float:
    """How long a script takes on a host, with the connection, as a module's time has it; the disk's queue is empty."""
    os.sync()
    begun = time.monotonic()
    on(host, script)
    return time.monotonic() - begun
