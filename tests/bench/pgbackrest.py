"""pgBackRest on the lab's hosts: our backup and restore against the same commands by hand, over the same SSH.

By hand means what a careful operator types: `pgbackrest check`, then `pgbackrest backup`; and `pgbackrest restore`, a
start, and waiting until the server takes writes.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ansible

from tests.modules import REPO, options

PLACE = "/opt/boringdb-bench"
COPY = "/var/lib/postgresql/bench"
PROGRAMS = "/usr/lib/postgresql/15/bin"
_CODE = (
    f"import sys; sys.path.insert(0, '{PLACE}'); import ansible.module_utils.basic as basic; "
    "basic._ANSIBLE_PROFILE = 'legacy'; "
    "from ansible_collections.boringdb.ops.plugins.modules.{word} import main; main()"
)
#: Waits for the end of recovery on the host itself, so that no SSH round trip is timed.
_BY_HAND = f"""
set -e
pgbackrest --stanza=orders --pg1-path={COPY}/data --type=default --tablespace-map-all={COPY}/ts restore \
  --log-level-console=warn
cat > {COPY}/data/postgresql.conf <<CONF
port = 5498
unix_socket_directories = '{COPY}'
listen_addresses = ''
archive_mode = off
CONF
echo 'local all all trust' > {COPY}/data/pg_hba.conf
{PROGRAMS}/pg_ctl start -s -w -D {COPY}/data -l {COPY}/log -o '-c config_file={COPY}/data/postgresql.conf'
until [ "$({PROGRAMS}/psql -XAtq -h {COPY} -p 5498 -U postgres -c 'SELECT pg_is_in_recovery()')" = f ]; do
  sleep 0.05
done
"""


def lab(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a verb of the lab."""
    return subprocess.run(
        [sys.executable, "-m", "tests.lab", *words], cwd=REPO, text=True, capture_output=True, check=False
    )


def on(host: str, script: str, stdin: str = "", user: str = "postgres") -> str:
    """Run a script on a host; returns its output."""
    become = f"setpriv --reuid={user} --regid={user} --init-groups env HOME=/var/lib/postgresql"
    command = f"cd / && exec {become} bash -c {shlex.quote(script)}"
    config = Path(os.environ.get("BORINGDB_LAB_CACHE") or "/var/cache/boringdb/lab") / "run/ssh_config"
    done = subprocess.run(
        ["ssh", "-F", str(config), host, command], input=stdin, text=True, capture_output=True, check=False
    )
    if done.returncode:
        raise SystemExit(f"bench: on {host}: {done.stderr[-1500:]}{done.stdout[-500:]}")
    return done.stdout


def ship(host: str) -> None:
    """Put the modules, and the part of Ansible that they run with, onto a host."""
    core = Path(ansible.__file__).parent
    pairs = [
        (
            core.parent,
            [
                "ansible/__init__.py",
                "ansible/_vendor",
                "ansible/release.py",
                "ansible/module_utils",
                "ansible/_internal",
            ],
        )
    ]
    pairs.append((REPO / ".collections", ["ansible_collections/boringdb/ops/plugins"]))
    for base, names in pairs:
        packed = subprocess.run(["tar", "-C", str(base), "-chf", "-", *names], capture_output=True, check=True).stdout
        config = Path(os.environ.get("BORINGDB_LAB_CACHE") or "/var/cache/boringdb/lab") / "run/ssh_config"
        unpack = f"mkdir -p {PLACE} && tar -C {PLACE} -xf -"
        subprocess.run(["ssh", "-F", str(config), host, unpack], input=packed, check=True)


def module(host: str, word: str, **given: Any) -> dict[str, Any]:
    """Run one of our modules on a host, without Ansible's own time."""
    result: dict[str, Any] = json.loads(
        on(host, f"python3 -B -c {shlex.quote(_CODE.format(word=word))}", options(given))
    )
    return result


def playbook(name: str, *words: str) -> None:
    """Run a playbook against the lab."""
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    argv = [
        program,
        "-i",
        str(REPO / "inventories/lab"),
        str(REPO / "playbooks" / name),
        "-e",
        "cluster=orders",
        *words,
    ]
    env = {**os.environ, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")}
    done = subprocess.run(argv, cwd=REPO, env=env, text=True, capture_output=True, check=False)
    if done.returncode:
        raise SystemExit(f"bench: {name} failed: {done.stdout[-2000:]}")


def timed(host: str, script: str) -> float:
    """How long a script takes on a host, told by that host."""
    begun = time.monotonic()
    on(host, script)
    return time.monotonic() - begun


def _backup() -> float:
    server = {"data_dir": "/var/lib/postgresql/15/main", "bin_dir": PROGRAMS}
    begun = time.monotonic()
    module("backup", "backup", tool="pgbackrest", stanza="orders", **server)
    return time.monotonic() - begun


def _restore() -> float:
    place = {"data_dir": f"{COPY}/data", "socket_dir": f"{COPY}/run", "tool": "pgbackrest", "stanza": "orders"}
    begun = time.monotonic()
    module("drill", "restore", **place)
    seconds = time.monotonic() - begun
    module("drill", "restore", state="absent", **place)
    return seconds


def _restore_by_hand() -> float:
    on("drill", f"rm -rf {COPY}; mkdir -p -m 700 {COPY}/data {COPY}/ts; chmod 700 {COPY}/data")
    seconds = timed("drill", _BY_HAND)
    on("drill", f"{PROGRAMS}/pg_ctl stop -s -m immediate -D {COPY}/data; rm -rf {COPY}")
    return seconds


def rounds(scale: int, count: int) -> Iterator[tuple[str, float, float]]:
    """Provision the lab, load, and yield a name with our seconds and the floor's, `count` + 1 times each."""
    done = lab("up")
    if done.returncode:
        raise SystemExit(f"bench: {done.stderr.strip()}")
    try:
        playbook("provision.yml")
        # A role that no provisioning made may be primary after an earlier run: the engine says which host it is.
        on("pg1", f"{PROGRAMS}/pgbench -i -q -s {scale} postgres 2>&1 && psql -qc 'VACUUM FREEZE' -c CHECKPOINT")
        for host in ("backup", "drill"):
            ship(host)
        for _round in range(count + 1):
            yield (
                "backup_pgbackrest",
                _backup(),
                timed(
                    "backup",
                    "pgbackrest --stanza=orders check && pgbackrest --stanza=orders backup --type=full --start-fast",
                ),
            )
            yield "restore_pgbackrest", _restore(), _restore_by_hand()
    finally:
        lab("down")
