"""The ground: one embedded cluster in a folder of its own, its repository, and copies of that to damage."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.faults.drill_host import EmbeddedDrillHost
from tests.faults.field import EmbeddedField
from tests.faults.leftovers import left_behind
from tests.faults.process import PROGRAMS, Broken, await_, module, playbook, run
from tests.faults.supplies import DrillHost, Field, Variables
from tests.modules import REPO
from tests.ports import free_ports

HOME = Path(os.environ.get("BORINGDB_HOME") or f"/var/tmp/boringdb-faults-{os.getuid()}")
CLUSTER = "orders"
CANARY = {"name": "prices", "database": "postgres", "query": "SELECT id, cents FROM shop.price ORDER BY id"}
LOAD = """
CREATE SCHEMA shop;
CREATE TABLE shop.customer (id serial PRIMARY KEY, name text NOT NULL);
INSERT INTO shop.customer (name) SELECT 'customer ' || n FROM generate_series(1, 2000) n;
CREATE TABLE shop.price (id int PRIMARY KEY, cents int NOT NULL);
INSERT INTO shop.price SELECT n, n * 100 + 99 FROM generate_series(1, 50) n;
CREATE TABLE shop.note (id int, body text);
INSERT INTO shop.note SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 1000) n;
CREATE FUNCTION shop.gross(net int) RETURNS int LANGUAGE sql IMMUTABLE AS 'SELECT net * 119 / 100';
CREATE TABLE shop.beat (at timestamptz NOT NULL);
"""
ROLE = """
CREATE ROLE reporting;
GRANT USAGE ON SCHEMA shop TO reporting;
GRANT SELECT ON shop.customer TO reporting;
"""


class Ground:
    """`live` is the cluster's own repository, `field` a copy of it as it was after the load, to be damaged."""

    name = "embedded"
    #: Whether one drill proves that several faults were undone, because a drill takes long here.
    shares_the_proof = False

    def __init__(self, home: Path = HOME) -> None:
        self.home = home
        self.log = home.with_name(home.name + ".log")
        self.evidence = home.with_name(home.name + ".evidence")
        self.secrets = home.with_name(home.name + ".secrets")
        self.ledger = self.evidence / "ledger"
        self.live = home / "repository"
        self.field: Field = EmbeddedField(self)
        self.drill_host: DrillHost = EmbeddedDrillHost(self)
        self.drill_root = home / "drill"
        self.data, self.socket = home / "db1/data", home / "db1/run"
        self.first_port = 0
        self.inventories = [REPO / "inventories/local"]

    # --- up and down ----------------------------------------------------------------------------------------

    def up(self) -> None:
        """Provision the cluster, load it, back it up, and keep a pristine copy of the repository."""
        self.down()
        self.first_port = free_ports()
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.log.write_text("")
        self.play("playbooks/provision.yml")
        self.play("playbooks/evidence_key.yml")
        self.program("pgbench", "-i", "-q", "-s", "1", "postgres")
        self.sql(LOAD + ROLE)
        self.backup()
        for _segment in range(5):
            self.write(3)
            self.archive()
        assert isinstance(self.field, EmbeddedField)
        self.field.make()

    def down(self) -> None:
        """Stop what runs below our folder, and remove all of it."""
        probe = next(iter(self.home.glob("probe/*.pid")), None)
        words = re.findall(r"\d+", probe.read_text()) if probe else []
        if words:
            _stop(int(words[0]), signal.SIGTERM)
        for pid_file in [*self.home.glob("*/data/postmaster.pid"), *self.home.glob("drill/*/data/postmaster.pid")]:
            _stop(int(pid_file.read_text().split()[0]), signal.SIGQUIT)
        for place in (self.home, self.evidence, self.secrets):
            shutil.rmtree(place, ignore_errors=True)

    def play(self, path: str, **variables: Any) -> str:
        """Run a playbook that has to succeed; returns its output."""
        code, output = self.try_play(path, **variables)
        if code:
            raise Broken(f"{path} exited {code}, see {self.log}")
        return output

    def try_play(self, path: str, **variables: Any) -> tuple[int, str]:
        """Run a playbook; returns its exit code and output."""
        env = {"BORINGDB_HOME": str(self.home), "BORINGDB_PORT": str(self.first_port)}
        return playbook(path, {"cluster": CLUSTER, **variables}, env, self.log, self.inventories)

    # --- the source -----------------------------------------------------------------------------------------

    @property
    def server(self) -> dict[str, Any]:
        """The options that name the source's server to a module."""
        return {
            "data_dir": str(self.data), "bin_dir": str(PROGRAMS), "port": self.first_port + 1,
            "socket_dir": str(self.socket), "service": "process",
        }  # fmt: skip

    def program(self, name: str, *words: str, stdin: str = "") -> str:
        """Run a client program against the source; returns its output."""
        where = ["-h", str(self.socket), "-p", str(self.first_port + 1), "-U", "postgres"]
        return run(PROGRAMS / name, *where, *words, stdin=stdin).stdout

    def sql(self, text: str) -> str:
        """Run SQL on the source, each statement by itself; returns the bare answer."""
        return self.program("psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-d", "postgres", "-f", "-", stdin=text).strip()

    def write(self, commits: int) -> None:
        """Commit something on the source."""
        self.sql("INSERT INTO shop.beat SELECT clock_timestamp();\n" * commits)

    def archive(self) -> str:
        """Have what was written so far archived now instead of within archive_timeout; returns the segment's name."""
        # On an idle server there is nothing to switch away from, unless something is written.
        self.sql("SELECT pg_create_restore_point('flush')")
        name = self.sql("SELECT pg_walfile_name(pg_switch_wal())")
        await_((self.live / "wal" / name).exists, f"the archiving of {name}")
        return name

    def backup(self) -> str:
        """Back the source up by the playbook; returns the backup's label."""
        self.play("playbooks/backup.yml", backup_canaries=[CANARY])
        return self.labels()[-1]

    def renew(self) -> None:
        """Back the source up, and keep no older backup: those that a fault has spoilt are not for other drills."""
        newest = self.backup()
        for label in self.labels():
            if label != newest:
                shutil.rmtree(self.live / "backup" / label)

    def labels(self) -> list[str]:
        """The backups in the live repository, the oldest first."""
        return sorted(path.name for path in (self.live / "backup").iterdir() if not path.name.startswith("."))

    @contextlib.contextmanager
    def backup_around(self) -> Iterator[None]:
        """A backup with something happening after its manifest was written and before its files are copied."""
        module("backup_manifest", canaries=[CANARY], **self.server)
        yield
        places = {"backup_path": str(self.live / "backup"), "wal_path": str(self.live / "wal")}
        module("backup", tool="native", **places, **self.server)

    def stop_source(self) -> None:
        """Stop the primary, cleanly."""
        run(PROGRAMS / "pg_ctl", "stop", "-D", self.data, "-m", "fast", "-w", "-s")

    def start_source(self) -> None:
        """Start it again."""
        module("instance", state="started", **self.server)

    def manifest(self) -> str:
        """What the newest manifest says."""
        return (self.data / "boringdb/manifest.json").read_text()

    def put_manifest(self, text: str) -> None:
        """Have it say something else; in place, so that its owner and mode stay."""
        (self.data / "boringdb/manifest.json").write_text(text)

    # --- the drill ------------------------------------------------------------------------------------------

    def spoil(self) -> None:
        """From here on something is damaged, which `sound` ends."""

    def sound(self) -> None:
        """Nothing is damaged."""

    def ready(self, variables: Variables) -> None:
        """Do what is due before a drill with these variables."""

    @property
    def copy(self) -> Path:
        """Where the drill restores to."""
        return self.drill_root / CLUSTER / "data"

    def relation_file(self, relation: str) -> str:
        """A relation's first file, below any data directory."""
        return self.sql(f"SELECT pg_relation_filepath('{relation}')")

    def field_variables(self) -> Variables:
        """Have a drill restore from the field."""
        return {"db_backup_path": f"{self.home}/field/backup", "db_wal_path": f"{self.home}/field/wal"}

    def live_variables(self) -> Variables:
        """Have a drill restore from what the source writes to."""
        return {}

    def own_variables(self) -> Variables:
        """What every drill on this ground is given."""
        return {"restore_drill_port": self.first_port + 8}

    def left_behind(self, place: Path) -> list[str]:
        """What is left of a copy that was in `place`."""
        return left_behind(place)


def _stop(pid: int, how: signal.Signals) -> None:
    """End one process of ours and wait for it."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, how)
        await_(lambda: not _alive(pid), f"the end of process {pid}")


def _alive(pid: int) -> bool:
    """Whether a process runs; a dead one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False
