# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`rejoin` of an old primary with rows that nobody else has: refused, killed, rewound."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from estate_runs import await_, kill, parent
from failover_ground import Doomed
from holds import bin_dir, held
from switchover_ground import changed


class Split(Doomed):
    """A primary with its replica, that come to differ."""

    members = ("db1", "db2")

    def differ(self, old: str, new: str) -> None:
        """The primary takes rows that its replica never sees, and dies."""
        conninfo = self.sql("SHOW primary_conninfo", new)
        self.follow(new, "")
        await_(lambda: self.sql("SELECT count(*) FROM pg_stat_wal_receiver", new) == "0", "the receiver's end")
        self.sql("INSERT INTO kept SELECT 2, 'only there' FROM generate_series(1, 500)", old)
        self.sql("CHECKPOINT", old)
        self.sql("INSERT INTO kept VALUES (3, 'only there')", old)
        self.kill_server(self.server(old)["data_dir"])
        self.follow(new, conninfo)

    def follow(self, host: str, conninfo: str) -> None:
        """Have a replica follow somebody, or nobody."""
        self.sql("ALTER SYSTEM SET primary_conninfo = $$" + conninfo + "$$", host)
        self.sql("SELECT pg_reload_conf()", host)

    def pair(self) -> tuple[str, str]:
        """The primary and the other one."""
        old = self.primary()
        return old, {"db1": "db2", "db2": "db1"}[old]

    def rows(self, host: str) -> str:
        """What both must have in the end."""
        return self.sql("SELECT string_agg(DISTINCT note, ', ' ORDER BY note) FROM kept", host)

    def leftovers_of(self, host: str) -> list[str]:
        """What lies beside a member's data directory."""
        return sorted(path.name for path in (self.home / host).glob("data.*") if path.is_dir())


@pytest.fixture(scope="module")
def split() -> Iterator[Split]:
    """Provisioned."""
    with Split.provisioned() as made:
        made.sql("CREATE TABLE kept (a int, note text); INSERT INTO kept VALUES (1, 'everywhere')")
        yield made


def test_wrong_names_are_refused(split: Split) -> None:
    assert "refused: rejoin_host is missing (they are db1, db2)" in split.refuses("rejoin")
    told = split.refuses("rejoin", rejoin_host="db1")
    assert "orders has no primary beside db1 (promote one: failover)" in told
    assert set(changed(split.done("rejoin", rejoin_host="db2")).values()) == {0}
    split.converged("db1")


def test_what_only_the_old_primary_has_is_told_kept_and_rewound(split: Split) -> None:
    """Killed while pg_rewind works, it can't be started, and the same command goes on."""
    split.differ("db1", "db2")
    told = " ".join(split.done("failover", failover_accept_loss="unknown").split())
    loss = split.records("failover")[-1]["measurements"]
    count = loss["loss_transactions"]
    assert count >= 2, loss
    assert f"primary=db2 fenced=ssh lost: {count} transactions" in told, told
    assert loss["loss_bytes"] > 0
    split.sql("INSERT INTO kept VALUES (4, 'afterwards')", "db2")
    own = (split.home / "db1/data/postgresql.conf").read_text()
    dry = split.done("rejoin", "--check", rejoin_host="db1")
    assert f"db1 is rewound to follow db2; {count} transactions in" in " ".join(dry.split())
    assert set(changed(dry).values()) == {0}
    with held(split, "pg_rewind", matching="--no-ensure-shutdown") as hold:
        running = split.begin("rejoin", rejoin_host="db1", db_bin_dir=bin_dir(split))
        await_(hold.at.exists, "pg_rewind", 180)
        kill(parent(hold.reached()))
    assert running.end().code != 0
    assert not (split.home / "db1/data").exists()
    refused = split.module("instance", fails=True, state="started", **split.server("db1"))
    assert "holds no PostgreSQL data" in refused["msg"]
    output = " ".join(split.done("rejoin", rejoin_host="db1").split())
    assert "the rewind of db1 that an earlier run has begun goes on" in output
    split.converged("db2")
    await_(lambda: split.rows("db1") == "afterwards, everywhere", "the same rows")
    assert (split.home / "db1/data/postgresql.conf").read_text() == own
    assert split.sql("SHOW port", "db1") == str(split.server("db1")["port"])
    [kept] = split.leftovers_of("db1")
    assert kept.startswith("data.diverged-00000001-")
    lost = json.loads((split.home / "db1" / kept / "diverged.json").read_text())
    assert (lost["transactions"], lost["bytes"]) == (count, loss["loss_bytes"])
    assert len(list((split.home / "db1" / kept).glob("00000001*"))) >= 1
    assert split.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'boringdb_rewind'", "db2") == "0"
    first, record = split.records("rejoin")
    assert (first["verdict"], record["verdict"]) == ("failed", "verified")
    assert set(changed(split.done("rejoin", rejoin_host="db1")).values()) == {0}
