# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster whose primary dies while clients write, and what they lost by it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

from estate_runs import Played, await_
from pool_ground import program
from switchover_ground import POOLER, SECRET, Pair
from test_replica_cluster import Four

#: A host that does not answer: nobody listens there.
GONE = {"ansible_connection": "ssh", "ansible_host": "127.0.0.1", "ansible_port": 1}


class Doomed(Pair, Four):
    """Members whose primary dies, and comes back."""

    @classmethod
    @contextlib.contextmanager
    def provisioned(cls) -> Iterator[Self]:
        """All of its members, until the end."""
        made = cls()
        try:
            made.declare(**{name: {} for name in made.members})
            made.up()
            yield made
        finally:
            made.down()

    def run_to_end(self, playbook: str, *words: str, **variables: Any) -> Played:
        """A playbook, to its end."""
        pooler = {"pool_program": program(), **POOLER} if self.pooled else {}
        return self.play(playbook, *words, **{**pooler, **self.given(), **variables})

    def done(self, playbook: str, *words: str, **variables: Any) -> str:
        """The same, which has to end well; returns what it said in one line."""
        played = self.run_to_end(playbook, *words, **variables)
        assert played.code == 0, played.output[-6000:]
        return played.output

    def refuses(self, playbook: str, *words: str, **variables: Any) -> str:
        """The same, which has to fail; returns what it said in one line."""
        played = self.run_to_end(playbook, *words, **variables)
        assert played.code != 0, played.output[-3000:]
        assert "Traceback" not in played.output
        return played.told().replace("''", "'")

    def kill_primary(self) -> str:
        """SIGKILL for every process of the primary; returns its name."""
        old = self.primary()
        self.kill_server(self.server(old)["data_dir"])
        return old

    def note(self, host: str) -> Path:
        """Where a failover that is not finished has noted what it knew."""
        return self.home / host / "data.failover.json"

    @contextlib.contextmanager
    def doomed_writers(self, name: str, **target: Any) -> Iterator[dict[str, Any]]:
        """Clients that write before and after; at the end what they saw, and what of theirs is missing."""
        ports = ",".join(str(self.server(host)["port"]) for host in self.members)
        direct = {"login_host": ",".join("127.0.0.1" for _host in self.members), "login_port": ports}
        given = {**(target or direct), "login_user": "probe", "login_password": SECRET, "login_db": "postgres"}
        place = {"directory": str(self.home / "probe" / name)}
        self.module("probe", state="started", clients=2, rate=100, **place, **given)

        def acknowledged() -> int:
            return int(self.module("probe", state="measured", **place)["acknowledged"])

        saw: dict[str, Any] = {}
        try:
            await_(lambda: acknowledged() > 50, "rows before it")
            yield saw
            now = acknowledged()
            await_(lambda: acknowledged() > now + 20, "rows after it", 60)
        finally:
            saw.update(self.module("probe", state="stopped", **place))
        primary = self.server(self.primary())
        where = {"login_unix_socket": primary["socket_dir"], "login_port": str(primary["port"])}
        account = {"login_user": "postgres", "login_db": "postgres"}
        saw["found"] = self.module("probe", state="checked", **place, **where, **account)

    def orphaned(self, primary: str, away: str) -> None:
        """One primary, which all that are there follow; the one that is away can't start as a primary."""
        assert self.primary() == primary
        others = sorted(host for host in self.members if host not in {primary, away})
        streaming = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1"
        await_(lambda: self.sql(streaming, primary).split() == others, f"the replicas of {primary}")
        assert self.slots(primary) == others
        assert self.sql("SHOW wal_retrieve_retry_interval", primary) == "5s"
        assert not self.note(primary).exists()


def told_loss(record: dict[str, Any]) -> dict[str, Any]:
    """What a record says of what was lost."""
    return {key: value for key, value in record["measurements"].items() if key.startswith("loss_")}
