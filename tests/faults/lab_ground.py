"""The ground of the faults that need real hosts: a primary, an encrypted pgBackRest repository and a drill host."""

from __future__ import annotations

import contextlib
import json
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.ground import CANARY, CLUSTER, LOAD, ROLE, Ground, Variables
from tests.faults.leftovers import lock_path
from tests.faults.process import Broken, playbook
from tests.modules import REPO

PRIMARY, REPOSITORY, DRILL = HOSTS = ("faultpg", "faultrepo", "faultdrill")
KEY = "a key that only the repository's host knows"
CONNECTION: dict[str, Any] = {
    "data_dir": "/var/lib/postgresql/15/main",
    "config_dir": "/etc/postgresql/15/main",
    "bin_dir": "/usr/lib/postgresql/15/bin",
    "socket_dir": "/var/run/postgresql",
    "port": 5432,
    "service": "postgresql@15-main",
}


class LabGround(Ground):
    """The same words as on the embedded ground, said over SSH."""

    def __init__(self) -> None:
        super().__init__()
        self.home = self.home.with_name(self.home.name + ".lab")
        self.evidence = self.home / "evidence"
        self.ledger = self.evidence / "ledger"
        self.log = self.home.with_name(self.home.name + ".log")
        self.drill_root = Path("/var/lib/boringdb/drill")
        self.inventories = [self.home / "hosts.json"]
        self.ssh_config = ""
        self.address: dict[str, str] = {}

    def up(self) -> None:
        """Boot the hosts, provision them, load the same data and back it up."""
        self.down()
        self.home.mkdir(parents=True)
        self.log.write_text("")
        self.lab("up", *HOSTS)
        status = json.loads(self.lab("status", "--json"))
        self.ssh_config = status["ssh_config"]
        self.address = {host["name"]: host["address"] for host in status["hosts"]}
        self._describe()
        for host in HOSTS:
            # A tree that was built this hour has empty package lists that look fresh.
            self.on(host, "touch -d @0 /var/lib/apt/lists")
        self.play("playbooks/provision.yml")
        self.play("playbooks/evidence_key.yml")
        self.on(PRIMARY, f"su postgres -c '{CONNECTION['bin_dir']}/pgbench -i -q -s 1 postgres'")
        self.sql(LOAD + ROLE)
        self.backup()

    def down(self) -> None:
        """Remove the hosts."""
        self.lab("down", *HOSTS)
        shutil.rmtree(self.home, ignore_errors=True)

    def _describe(self) -> None:
        at = {name: {"ansible_host": self.address[name]} for name in HOSTS}
        everybody = {
            "ansible_user": "root",
            "ansible_ssh_common_args": f"-F {self.ssh_config}",
            "ansible_ssh_pipelining": True,
            "ansible_python_interpreter": "/usr/bin/python3",
            "backup_repository_host": REPOSITORY,
            "evidence_ledger": str(self.ledger),
            "evidence_key": str(self.evidence / "key.pem"),
            "evidence_public_key": str(self.evidence / "key.pub.pem"),
        }
        members = {
            "db_version": 15,
            "db_address": "{{ ansible_host }}",
            "db_backup_tool": "pgbackrest",
            "postgresql_replication_password": "for the lab only, 32 characters!",
            "postgresql_settings": {"wal_level": "logical"},
            **{f"db_{key}": value for key, value in CONNECTION.items()},
        }
        groups: dict[str, Any] = {
            CLUSTER: {"hosts": {PRIMARY: at[PRIMARY]}, "vars": members},
            "repository_hosts": {"hosts": {REPOSITORY: {**at[REPOSITORY], "backup_cipher_pass": KEY}}},
            "drill_hosts": {"hosts": {DRILL: at[DRILL]}},
        }
        self.inventories[0].write_text(json.dumps({"all": {"vars": everybody, "children": groups}}))

    def lab(self, *argv: str) -> str:
        """One verb of tests/lab."""
        command = [sys.executable, "-m", "tests.lab", *argv]
        done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=900, check=False)
        if done.returncode:
            raise Broken(f"lab {' '.join(argv)}: {done.stdout}{done.stderr}")
        return done.stdout

    def on(self, host: str, script: str, stdin: str = "") -> str:
        """Run a shell script on a host as root; returns its output."""
        argv = ["ssh", "-F", self.ssh_config, host, f"cd /; {script}"]
        done = subprocess.run(argv, input=stdin, capture_output=True, text=True, timeout=300, check=False)
        if done.returncode:
            raise Broken(f"{host}: {script}: {done.stdout[-500:]}{done.stderr[-500:]}")
        return done.stdout

    def try_play(self, path: str, **variables: Any) -> tuple[int, str]:
        """Run a playbook; returns its exit code and output."""
        return playbook(path, {"cluster": CLUSTER, **variables}, {}, self.log, self.inventories)

    def sql(self, text: str) -> str:
        """Run SQL on the source, each statement by itself; returns the bare answer."""
        return self.on(PRIMARY, "su postgres -c 'psql -XAtq -v ON_ERROR_STOP=1 -f -'", stdin=text).strip()

    def archive(self) -> str:
        """Have what was written so far archived now."""
        return self.on(REPOSITORY, f"su postgres -c 'pgbackrest --stanza={CLUSTER} check'")

    def backup(self) -> str:
        """Back the source up by the playbook; its output."""
        return self.play("playbooks/backup.yml", backup_canaries=[CANARY])

    def renew(self) -> None:
        """Back the source up; the drills of the lab take the latest."""
        self.backup()

    @contextlib.contextmanager
    def backup_around(self) -> Iterator[None]:
        """A backup with something happening after its manifest was written and before its files are copied."""
        argv = [str(Path(sys.executable).with_name("ansible")), "-i", str(self.inventories[0]), PRIMARY, "-b"]
        argv += ["--become-user", "postgres", "-m", "boringdb.ops.backup_manifest"]
        options = json.dumps({**CONNECTION, "canaries": [CANARY]})
        done = subprocess.run(
            [*argv, "-a", options], cwd=REPO, capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            raise Broken(done.stdout + done.stderr)
        yield
        self.on(REPOSITORY, f"su postgres -c 'pgbackrest --stanza={CLUSTER} --type=full backup'")

    def field_variables(self) -> Variables:
        """There is one repository only."""
        return {}

    def own_variables(self) -> Variables:
        """What every drill on this ground is given."""
        return {}

    def left_behind(self, place: Path) -> list[str]:
        """What is left of a copy on the drill host."""
        lock = lock_path(str(place / "data"))
        where = shlex.quote(str(place))
        script = (
            f"find {where} -mindepth 1 -maxdepth 1 ! -name run; find {where}/run -name '.s.PGSQL.*'; "
            f"ls -d /proc/[0-9]*/cwd 2>/dev/null | xargs -r readlink | grep -F {where} | sed 's/^/process in /'; "
            f"test ! -e {lock} || flock -n {lock} true || echo 'lock {lock} is held'"
        )
        return self.on(DRILL, f"test -d {where} || exit 0; {{ {script}; }} 2>/dev/null || true").split("\n")[:-1]
