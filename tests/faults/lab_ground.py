"""The ground of real hosts: a primary with a tablespace, pgBackRest on a host of its own and in S3, a drill host."""

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

from tests.faults.ground import CANARY, CLUSTER, LOAD, ROLE, Ground
from tests.faults.lab_drill_host import LabDrillHost
from tests.faults.lab_field import FIELD, LabField
from tests.faults.lab_inventory import CONNECTION, DRILL, HOSTS, PORT, PRIMARY, REPOSITORY, STORE, inventory
from tests.faults.leftovers import lock_path
from tests.faults.process import Broken, playbook
from tests.faults.supplies import Variables
from tests.lab.plan import CONTROLLER_ADDRESS
from tests.lab.s3 import start, store
from tests.modules import REPO

#: In the tablespace: some of it, and enough for a byte to be flipped in its fourth page.
PARCELS = """
CREATE TABLE shop.parcel (id int, body text) TABLESPACE far;
INSERT INTO shop.parcel SELECT n, repeat(md5(n::text), 20) FROM generate_series(1, 1000) n;
"""


class LabGround(Ground):
    """The same words as on the embedded ground, said over SSH."""

    name = "lab"
    shares_the_proof = True

    def __init__(self) -> None:
        super().__init__()
        self.home = self.home.with_name(self.home.name + ".lab")
        self.evidence = self.home / "evidence"
        self.ledger = self.evidence / "ledger"
        self.log = self.home.with_name(self.home.name + ".log")
        self.drill_root = Path("/var/lib/boringdb/drill")
        self.inventories = [self.home / "hosts.json"]
        self.field: LabField = LabField(self)
        self.drill_host: LabDrillHost = LabDrillHost(self)
        self.ssh_config = ""
        self.address: dict[str, str] = {}
        self._spoilt = False

    # --- up and down ----------------------------------------------------------------------------------------

    @property
    def _kept(self) -> Path:
        """What a later run goes on with; not there while a fault is on."""
        return self.home / "kept.json"

    def up(self) -> None:
        """Go on with the hosts that were kept; else boot, provision and load them, and back the cluster up."""
        running = {host["name"] for host in json.loads(self.lab("status", "--json"))["hosts"]}
        if self._kept.exists() and running >= {*HOSTS}:
            vars(self).update(json.loads(self._kept.read_text()))
            return
        self.down()
        self.home.mkdir(parents=True)
        self.log.write_text("")
        self.lab("up", *HOSTS)
        status = json.loads(self.lab("status", "--json"))
        self.ssh_config = status["ssh_config"]
        self.address = {host["name"]: host["address"] for host in status["hosts"] if host["name"] in HOSTS}
        for name in ("ca", "other"):
            start.authority(self.home, name)
        start.certificate(self.home, store.ENDPOINT)
        (self.home / "store.pid").write_text(str(start.started(self.home, CONTROLLER_ADDRESS, PORT)))
        start.make_bucket(start.client(CONTROLLER_ADDRESS, PORT), STORE)
        self.inventories[0].write_text(
            json.dumps(inventory(self.address, self.ssh_config, self.evidence, self.home / "ca.pem"))
        )
        for host in HOSTS:
            # A tree that was built this hour has empty package lists that look fresh.
            self.on(host, "touch -d @0 /var/lib/apt/lists")
        self.play("playbooks/provision.yml")
        self.play("playbooks/evidence_key.yml")
        self.field.keep_empty()
        self.on(PRIMARY, f"su postgres -c '{CONNECTION['bin_dir']}/pgbench -i -q -s 1 postgres'")
        self.sql(LOAD + ROLE + PARCELS)
        self.play("playbooks/backup.yml", backup_canaries=[CANARY])
        for _segment in range(5):
            self.write(3)
            self.archive()
        self.field.make()
        self.sound()

    def down(self) -> None:
        """Remove the hosts and the store."""
        self._kept.unlink(missing_ok=True)
        with contextlib.suppress(FileNotFoundError):
            start.stop(int((self.home / "store.pid").read_text()))
        self.lab("down", *HOSTS)
        shutil.rmtree(self.home, ignore_errors=True)

    def spoil(self) -> None:
        """From here on a run that ends leaves a ground that can't be gone on with."""
        self._kept.unlink(missing_ok=True)

    def sound(self) -> None:
        """Nothing is damaged: a later run may go on with it."""
        self._kept.write_text(json.dumps({name: vars(self)[name] for name in ("ssh_config", "address", "_spoilt")}))

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

    # --- the source -----------------------------------------------------------------------------------------

    def sql(self, text: str) -> str:
        """Run SQL on the source, each statement by itself; returns the bare answer."""
        return self.on(PRIMARY, "su postgres -c 'psql -XAtq -v ON_ERROR_STOP=1 -f -'", stdin=text).strip()

    def archive(self) -> str:
        """Have what was written so far archived now, in both repositories; returns the segment's name."""
        self.sql("SELECT pg_create_restore_point('flush')")
        name = self.sql("SELECT pg_walfile_name(pg_switch_wal())")
        done = f"{CONNECTION['data_dir']}/pg_wal/archive_status/{name}.done"
        self.on(PRIMARY, f"for i in $(seq 600); do test -e {done} && exit 0; sleep 0.1; done; exit 1")
        return name

    def backup(self) -> str:
        """Back the source up into the first repository; returns the backup's label."""
        with self.backup_around():
            pass
        return self.on(REPOSITORY, f"readlink /var/lib/pgbackrest/backup/{CLUSTER}/latest").strip()

    def renew(self) -> None:
        """Have a new backup before the next drill, unless a fault takes one itself."""
        self._spoilt = True

    def ready(self, variables: Variables) -> None:
        """Do what `renew` has put off, unless the drill is of another stanza."""
        if self._spoilt and "restore_drill_stanza" not in variables:
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
        self.take(1)
        self._spoilt = False

    def take(self, repository: int) -> None:
        """A full backup into one repository, with the manifest that is there."""
        self.on(REPOSITORY, f"su postgres -c 'pgbackrest --stanza={CLUSTER} --repo={repository} --type=full backup'")

    def manifest(self) -> str:
        """What the newest manifest says."""
        return self.on(PRIMARY, f"cat {CONNECTION['data_dir']}/boringdb/manifest.json")

    def put_manifest(self, text: str) -> None:
        """Have it say something else; its owner and mode stay."""
        self.on(PRIMARY, f"cat >{CONNECTION['data_dir']}/boringdb/manifest.json", stdin=text)

    def stop_source(self) -> None:
        """Stop the primary, cleanly."""
        self.on(PRIMARY, f"systemctl stop {CONNECTION['service']}")

    def start_source(self) -> None:
        """Start it again."""
        self.on(PRIMARY, f"systemctl start {CONNECTION['service']}")

    # --- the drill ------------------------------------------------------------------------------------------

    def field_variables(self) -> Variables:
        """Have a drill restore from the field, which is a stanza of its own."""
        return {"restore_drill_stanza": FIELD}

    def live_variables(self) -> Variables:
        """Have a drill restore from the first of the cluster's repositories."""
        return {"restore_drill_repository": 1}

    def own_variables(self) -> Variables:
        """What every drill on this ground is given."""
        return {}

    def left_behind(self, place: Path) -> list[str]:
        """What is left of a copy on the drill host; nothing can be asked of one that is down."""
        if self.drill_host.down:
            return []
        lock = lock_path(str(place / "data"))
        where = shlex.quote(str(place))
        script = (
            f"find {where} -mindepth 1 -maxdepth 1 ! -name run; find {where}/run -name '.s.PGSQL.*'; "
            f"ls -d /proc/[0-9]*/cwd 2>/dev/null | xargs -r readlink | grep -F {where} | sed 's/^/process in /'; "
            f"test ! -e {lock} || flock -n {lock} true || echo 'lock {lock} is held'"
        )
        return self.on(DRILL, f"test -d {where} || exit 0; {{ {script}; }} 2>/dev/null || true").split("\n")[:-1]


def lab(ground: Ground) -> LabGround:
    """The ground as what it is."""
    assert isinstance(ground, LabGround)
    return ground
