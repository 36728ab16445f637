# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What is killed: how each playbook is prepared, where its servers are, and what must be true when it is through."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from estate_runs import await_

from tests.kills.ground import ROWS, Ground
from tests.kills.writer import Acknowledged, Writer
from tests.modules import REPO

_NOW = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00')"
_AUDIT = REPO / "tools/audit_evidence.py"


class Operation:
    """One playbook. A case calls `begin`, plays it, kills it, plays it again, and asks for `misses`."""

    def __init__(self, ground: Ground) -> None:
        self.ground = ground
        self.variables: dict[str, Any] = {}
        self.writer: Writer | None = None
        #: Below it work the servers that are the victim `server`.
        self.servers: Path = ground.home / "db1"

    def prepare(self) -> None:
        """Once before all cases."""
        if not self.ground.kept.exists():
            self.ground.up()

    def begin(self) -> None:
        """Bring about what the playbook finds."""
        self.ground.start()
        self.write()

    def write(self) -> None:
        """Have a client write from now on."""
        self.writer = Writer(self.ground.client()).start()

    def misses(self) -> list[str]:
        """What is not as it must be; empty when it converged."""
        acknowledged = self.writer.stop() if self.writer else []
        return self.pair() + self.lost(acknowledged) + self.own_misses()

    def lost(self, acknowledged: list[Acknowledged]) -> list[str]:
        """Rows that were promised and are not there, on either member."""
        ground, newest = self.ground, max((one.number for one in acknowledged), default=0)
        if not newest:
            return []
        await_(lambda: int(ground.sql("SELECT coalesce(max(id), 0) FROM kept", "db2")) >= newest, "the replica's rows")
        found = []
        for host in ground.members:
            there = set(ground.sql("SELECT id FROM kept", host).split())
            gone = [one.number for one in acknowledged if str(one.number) not in there]
            found += [f"lost: {len(gone)} acknowledged rows are not on {host}, the first {gone[0]}"] if gone else []
        return found

    def own_misses(self) -> list[str]:
        """What only this playbook has to bring about."""
        raise NotImplementedError

    def pair(self) -> list[str]:
        """Whether both members are up, and one follows the other."""
        ask = "SELECT string_agg(application_name || ' ' || state, ', ') FROM pg_stat_replication"
        try:
            await_(lambda: self.ground.sql(ask) == "db2 streaming", "streaming", 15)
        except BaseException as exc:  # pytest's own failures are no exceptions of the common kind
            return [f"the members are no pair: {exc}"]
        slots = self.ground.sql("SELECT string_agg(slot_name, ',' ORDER BY slot_name) FROM pg_replication_slots")
        return [] if slots == "db2" else [f"the slots are {slots}"]

    def ledger(self) -> list[str]:
        """Whether the ledger is whole, as a program judges that shares nothing with the collection."""
        place, key = str(self.ground.evidence / "ledger"), str(self.ground.evidence / "key.pub.pem")
        done = subprocess.run(
            [sys.executable, str(_AUDIT), place, "--key", key], capture_output=True, text=True, check=False
        )
        verdict = self.ground.verdicts()[-1:]
        found = [] if verdict == ["verified"] else [f"the last verdict is {verdict}"]
        return found + ([f"the ledger: {done.stdout}{done.stderr}"] if done.returncode else [])

    def reset(self, spoilt: bool) -> None:
        """Leave the ground to the next case."""
        if spoilt:
            self.ground.put_back()


class Provision(Operation):
    """A fresh cluster; a client writes as soon as there is a primary."""

    def prepare(self) -> None:
        """Each case makes its own."""

    def begin(self) -> None:
        """Nothing is there."""
        self.ground.wipe()
        self.write()

    def reset(self, spoilt: bool) -> None:
        """The next one begins with nothing."""

    def own_misses(self) -> list[str]:
        """A further run finds nothing to do."""
        found = []
        done = self.ground.begin("provision").end(400)
        changed = re.findall(r"^(\w+) +: ok=\d+ +changed=([1-9]\d*)", done.output, re.MULTILINE)
        if done.code or changed:
            found.append(f"a further run exited {done.code} and changed {dict(changed)}")
        return found


class Backup(Operation):
    """Older backups stay as they are; the newest can be restored and holds what was acknowledged before."""

    def begin(self) -> None:
        """Remember what is in the repository, and what must be in the next backup."""
        super().begin()
        assert self.writer
        await_(lambda: self.writer and self.writer.acknowledged, "the first row")
        self.before = {label: self.ground.tree(self.ground.backups / label) for label in self.ground.labels()}
        self.must = [one.number for one in self.writer.acknowledged]

    def own_misses(self) -> list[str]:
        """Restore it."""
        ground = self.ground
        found = [
            f"{label} was touched" for label, tree in self.before.items() if ground.tree(ground.backups / label) != tree
        ]
        new = set(ground.labels()) - set(self.before)
        if not 1 <= len(new) <= 2:
            found.append(f"there are {len(new)} new backups")
        ground.module("restore", **ground.repository(), **ground.place())
        where = ground.place()
        rows = ground.run(
            f"{where['bin_dir']}/psql", "-XAtq", "-h", where["socket_dir"], "-p", str(where["port"]), "-U", "postgres",
            "-d", "postgres", "-c", "SELECT count(*) FROM stock UNION ALL SELECT id FROM kept",
        ).split()  # fmt: skip
        ground.module("restore", state="absent", tool="native", **where)
        if rows[0] != str(ROWS) or not {str(number) for number in self.must} <= set(rows[1:]):
            found.append(f"the newest backup, restored, holds {rows[0]} and {len(rows) - 1} rows")
        return found

    def reset(self, spoilt: bool) -> None:
        """The first backup is enough."""
        super().reset(spoilt)
        for label in self.ground.labels()[1:]:
            subprocess.run(["rm", "-r", str(self.ground.backups / label)], check=True)


class RestoreDrill(Operation):
    """Production and its repository stay as they are, and the verdict is good."""

    def begin(self) -> None:
        """The copy's servers are the victims, never production's."""
        super().begin()
        self.servers = self.ground.home / "drill"
        self.before = self.ground.tree(self.ground.backups)

    def own_misses(self) -> list[str]:
        """The record and the repository."""
        touched = self.ground.tree(self.ground.backups) != self.before
        return self.ledger() + (["the repository was touched"] if touched else [])


class Restore(Operation):
    """Back to a moment between two rows of a client that goes on writing."""

    def begin(self) -> None:
        """Find the moment."""
        self.ground.put_back()
        self.write()
        writer = self.writer
        assert writer
        await_(lambda: len(writer.acknowledged) > 5, "the first rows")
        with writer.paused():
            self.split = writer.acknowledged[-1].number
            self.line = writer.acknowledged[-1].timeline
            moment = self.ground.sql(_NOW)
        self.variables = {"restore_target_type": "time", "restore_target": moment, "confirm": "orders"}
        await_(lambda: writer.acknowledged[-1].number > self.split + 5, "rows after the target")

    def lost(self, acknowledged: list[Acknowledged]) -> list[str]:
        """Rows from before the target, and those that the restored cluster acknowledged; none from between."""
        kept = [one for one in acknowledged if one.number <= self.split or one.timeline > self.line]
        there = set(self.ground.sql("SELECT id FROM kept").split())
        gone = [one.number for one in acknowledged if one not in kept and str(one.number) in there]
        found = [f"rows from after the target are there, the first {gone[0]}"] if gone else []
        return found + super().lost(kept)

    def own_misses(self) -> list[str]:
        """The record, and a newer timeline."""
        line = int(self.ground.sql("SELECT timeline_id FROM pg_control_checkpoint()"))
        return self.ledger() + ([] if line > self.line else [f"the timeline is {line}"])


#: The last one wipes what the others share.
OPERATIONS: dict[str, type[Operation]] = {
    "backup": Backup, "restore_drill": RestoreDrill, "restore": Restore, "provision": Provision,
}  # fmt: skip
