# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What loses its hosts: how each playbook is prepared, and what must be true when it is through."""

from __future__ import annotations

import json
import re
import time
from typing import Any

from tests.kills.hosts.ground import CLUSTER, DRILL, PRIMARY, REPLICA, REPOSITORY, ROWS, Hosts
from tests.kills.writer import Writer

_NOW = "SELECT to_char(clock_timestamp() AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00')"


class Operation:
    """One playbook. `begin` comes before the chain, `misses` asks after its last run, `end` in any case."""

    playbook = ""

    def __init__(self, ground: Hosts) -> None:
        self.ground = ground
        self.variables: dict[str, Any] = {}
        self.writer: Writer | None = None

    def begin(self) -> None:
        """Have a client write."""
        self.writer = self.ground.writer().start()
        self._await_rows(1)

    def end(self) -> None:
        """Nobody writes any more."""
        if self.writer:
            self.writer.stop()

    def misses(self) -> list[str]:
        """What is not as it must be; empty when the job is done."""
        rows = self.writer.stop() if self.writer else []
        found = self.ground.await_pair()
        return found or self.lost([one.number for one in rows if self.kept(one)]) + self.own_misses()

    def kept(self, one: Any) -> bool:
        """Whether a row that was acknowledged must still be there."""
        del one
        return True

    def lost(self, numbers: list[int]) -> list[str]:
        """Rows that were promised and are not there, on either member."""
        found = []
        for host in (PRIMARY, REPLICA) if numbers else ():
            until = time.monotonic() + 30
            while (gone := self._gone(host, numbers)) and time.monotonic() < until:
                time.sleep(0.2)
            found += [f"lost: {len(gone)} acknowledged rows are not on {host}, the first {gone[0]}"] if gone else []
        return found

    def _gone(self, host: str, numbers: list[int]) -> list[int]:
        there = set(map(int, self.ground.sql(host, "SELECT id FROM kept").split()))
        return [number for number in numbers if number not in there]

    def _await_rows(self, count: int) -> None:
        writer, until = self.writer, time.monotonic() + 60
        assert writer
        while len(writer.acknowledged) < count:
            if time.monotonic() > until:
                raise SystemExit("kills: the client can't write to the primary")
            time.sleep(0.05)

    def usual(self) -> set[str]:
        """The names of files that a second run makes, beside those that the first one has made."""
        return set()

    def own_misses(self) -> list[str]:
        """What only this playbook has to bring about."""
        raise NotImplementedError

    def play(self, playbook: str, **variables: Any) -> tuple[int, str]:
        """Another playbook, or this one once more, without any loss."""
        done = self.ground.begin(playbook, **variables).end(900)
        return done.code, done.output


class Provision(Operation):
    """Everything, from hosts without anything."""

    playbook = "provision"

    def begin(self) -> None:
        """Nobody can write yet."""
        self.ground.fresh()

    def own_misses(self) -> list[str]:
        """A further run finds nothing to do, and a backup can be taken."""
        code, output = self.play("provision")
        changed = re.findall(r"^(\w+) +: ok=\d+ +changed=([1-9]\d*)", output, re.MULTILINE)
        found = [f"a further run exited {code} and changed {dict(changed)}"] if code or changed else []
        self.ground.on(REPOSITORY, f"su postgres -c 'pgbackrest --stanza={CLUSTER} check'")
        return found


class Backup(Operation):
    """The newest backup is whole, and a drill of it is verified."""

    playbook = "backup"

    def begin(self) -> None:
        """Older backups stay as they are."""
        super().begin()
        self.before = self._labels()

    def own_misses(self) -> list[str]:
        """The repository by its own tool, and a drill."""
        labels = self._labels()
        found = [f"{label} is gone" for label in self.before if label not in labels]
        if len(labels) <= len(self.before):
            found.append("there is no new backup")
        said = self.ground.on(REPOSITORY, f"su postgres -c 'pgbackrest --stanza={CLUSTER} verify --output=text'", False)
        bad = "ERROR" in said or "invalid" in said.replace("invalid: 0", "")
        found += [f"pgbackrest verify: {said}"] if bad else []
        code, output = self.play("restore_drill")
        return found + ([f"a drill of it exited {code}: {output[-1500:]}"] if code else self.ground.ledger())

    def _labels(self) -> list[str]:
        said = self.ground.on(REPOSITORY, f"su postgres -c 'pgbackrest --stanza={CLUSTER} info --output=json'")
        return [backup["label"] for backup in json.loads(said)[0]["backup"]]


class RestoreDrill(Operation):
    """The verdict is good, and nothing is on the drill host."""

    playbook = "restore_drill"

    def own_misses(self) -> list[str]:
        """The record."""
        copies = self.ground.on(DRILL, "find /var/lib/boringdb/drill -name PG_VERSION 2>/dev/null", False).split()
        return self.ground.ledger() + [f"left: a copy, {copy}" for copy in copies[:1]]


class Restore(Operation):
    """Back to a moment between two rows of a client that goes on writing whenever it can."""

    playbook = "restore"

    def begin(self) -> None:
        """Find the moment."""
        super().begin()
        writer = self.writer
        assert writer
        self._await_rows(6)
        with writer.paused():
            self.split, self.line = writer.acknowledged[-1].number, writer.acknowledged[-1].timeline
            moment = self.ground.sql(PRIMARY, _NOW)
        self.variables = {"restore_target_type": "time", "restore_target": moment, "confirm": CLUSTER}
        self._await_rows(len(writer.acknowledged) + 5)

    def usual(self) -> set[str]:
        """The note of the restore that was played without a loss, which this one puts away."""
        return {f"{host}:/var/lib/postgresql/15/main.before-N.json" for host in (PRIMARY, REPLICA)}

    def kept(self, one: Any) -> bool:
        """From before the moment, or acknowledged by the restored cluster."""
        return bool(one.number <= self.split or one.timeline > self.line)

    def own_misses(self) -> list[str]:
        """The record, a newer timeline, and no row from after the moment."""
        assert self.writer
        there = set(map(int, self.ground.sql(PRIMARY, "SELECT id FROM kept").split()))
        gone = [one.number for one in self.writer.acknowledged if not self.kept(one) and one.number in there]
        found = [f"rows from after the target are there, the first {gone[0]}"] if gone else []
        line = int(self.ground.sql(PRIMARY, "SELECT timeline_id FROM pg_control_checkpoint()"))
        rows = self.ground.sql(PRIMARY, "SELECT count(*) FROM stock")
        found += [] if rows == str(ROWS) else [f"stock has {rows} rows"]
        return found + self.ground.ledger() + ([] if line > self.line else [f"the timeline is {line}"])


#: In the order of a cluster's life: each finds what those before it have left.
OPERATIONS = {one.playbook: one for one in (Provision, Backup, RestoreDrill, Restore)}
