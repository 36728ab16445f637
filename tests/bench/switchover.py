"""The write stall of a switchover, seen by clients of pgbouncer: ours against the same steps by hand.

On an embedded pair that archives.
"""

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
from typing import Any

import psycopg

from tests.bench.ground import HOME, PROGRAMS, REPO, in_turn, module, remove, run
from tests.ports import free_ports

_SECRET = "for the writers of the bench"
_OTHER = {"db1": "db2", "db2": "db1"}


class Pair:
    """db1 and db2 behind a pooler, and who is primary."""

    def __init__(self, port: int, program: str) -> None:
        self.port, self.program, self.primary = port, program, "db1"
        self.directory = HOME / "probe"
        self.runs = 0

    def play(self, playbook: str, **variables: Any) -> None:
        """A playbook, to its end."""
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(REPO / "inventories/local")]
        pooler = {"pool_hosts": "process_poolers", "pool_program": self.program} if playbook != "provision" else {}
        given = {"cluster": "orders", **pooler, **variables}
        env = {**os.environ, "BORINGDB_HOME": str(HOME), "BORINGDB_PORT": str(self.port)}
        done = subprocess.run(
            [*argv, str(REPO / f"playbooks/{playbook}.yml"), "-e", json.dumps(given)], cwd=REPO, text=True,
            capture_output=True, check=False, env={**env, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")},
        )  # fmt: skip
        if done.returncode:
            raise SystemExit(f"bench: {playbook} failed: {done.stdout[-2000:]}")

    def sql(self, text: str, host: str = "") -> str:
        """Run SQL on a member."""
        name = host or self.primary
        at = ["-h", str(HOME / name / "run"), "-p", str(self.port + int(name[2:])), "-U", "postgres", "-d", "postgres"]
        return run(str(PROGRAMS / "psql"), "-XAtq", *at, "-c", text).strip()

    @contextmanager
    def writing(self) -> Iterator[dict[str, Any]]:
        """Eight clients that write through the pooler, and what they saw. A lost row or an error ends the bench."""
        self.runs += 1
        account = {"login_user": "probe", "login_password": _SECRET, "login_db": "postgres"}
        place = {"directory": str(self.directory), "run": f"bench{self.runs}"}
        module("probe", state="started", clients=8, rate=50, timeout=30, login_host="127.0.0.1",
               login_port=str(self.port + 7), **place, **account)  # fmt: skip
        saw: dict[str, Any] = {}
        try:
            yield saw
            now = module("probe", state="measured", **place)["acknowledged"]
            until = time.monotonic() + 60
            while module("probe", state="measured", **place)["acknowledged"] <= now + 50:
                if time.monotonic() > until:
                    raise SystemExit("bench: clients do not go on after a switchover")
        finally:
            saw.update(module("probe", state="stopped", **place))
        found = module(
            "probe", state="checked", login_host="127.0.0.1", login_port=str(self.port + 7), **place, **account
        )
        if saw["errors"] or found["missing"]:
            raise SystemExit(f"bench: {saw['errors']} errors and {found['missing']} lost rows in a switchover")

    def ours(self) -> float:
        """The playbook. Milliseconds without an acknowledged row."""
        candidate = _OTHER[self.primary]
        with self.writing() as saw:
            self.play("switchover", switchover_candidate=candidate)
            self.primary = candidate
        return float(saw["largest_gap_ms"])

    def by_hand(self) -> float:
        """PAUSE, a clean shutdown, promote, route, RESUME. What else there is to do, the playbook does behind it."""
        old, candidate = self.primary, _OTHER[self.primary]
        data = HOME / old / "data"
        ini = HOME / "pool1/pgbouncer.ini"
        secret = Path(f"{HOME}.secrets/pool_admin").read_text(encoding="utf-8").strip()
        stop = [str(PROGRAMS / "pg_ctl"), "stop", "-s", "-w", "-m", "fast", "-D", str(data)]
        with self.writing() as saw, psycopg.connect(
            host="127.0.0.1", port=self.port + 7, user="pool_admin", password=secret, dbname="pgbouncer",
            autocommit=True, prepare_threshold=None,
        ) as console:  # fmt: skip
            self.sql("CHECKPOINT", old)
            self.sql("CHECKPOINT", candidate)
            console.execute("PAUSE")
            run(*stop)
            run("touch", str(data / "standby.signal"))
            self.sql("SELECT pg_promote()", candidate)
            ports = {name: self.port + int(name[2:]) for name in _OTHER}
            text = ini.read_text(encoding="utf-8").replace(f"port={ports[old]}", f"port={ports[candidate]}")
            ini.write_text(text, encoding="utf-8")
            console.execute("RELOAD")
            console.execute("RESUME")
            self.primary = candidate
        self.play("switchover", switchover_candidate=candidate)
        return float(saw["largest_gap_ms"])


@contextmanager
def pair() -> Iterator[Pair | None]:
    """Provisioned, and removed at the end. None where pgbouncer is not installed."""
    program = shutil.which(
        "pgbouncer", path=f"{os.environ['PATH']}:/usr/sbin:{os.environ.get('CACHE', '')}/pgbouncer/usr/sbin"
    )
    if program is None:
        yield None
        return
    it = Pair(free_ports(), program)
    try:
        it.play("provision")
        it.play("evidence_key")
        it.sql("SET password_encryption = 'scram-sha-256'; CREATE ROLE probe LOGIN PASSWORD '" + _SECRET + "'")
        it.sql("GRANT CREATE ON DATABASE postgres TO probe")
        it.play("pool")
        yield it
    finally:
        for pid_file in HOME.glob("pool1/*.pid"):
            subprocess.run(["kill", "-INT", pid_file.read_text(encoding="utf-8").strip()], check=False)
        remove()
        for place in ("secrets", "evidence"):
            shutil.rmtree(f"{HOME}.{place}", ignore_errors=True)


def stalls(count: int) -> list[tuple[float, float]]:
    """The pairs after the first, ours and by hand, in turn."""
    with pair() as it:
        if it is None:
            print("bench: switchover is not measured, pgbouncer is not installed", file=sys.stderr)
            return []
        return [in_turn(number, it.ours, it.by_hand) for number in range(count + 1)][1:]
