# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A cluster whose primary changes while clients write, directly and through a pooler, and what they saw of it."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from estate import Estate
from estate_runs import Played, await_
from pool_ground import program

SECRET = "for the writers only"
#: The embedded pooler is asked for by its group.
POOLER = {"pool_hosts": "process_poolers"}


class Pair(Estate):
    """Members whose primary changes, and a client's account."""

    #: Whether there is a pooler before it.
    pooled = False

    def up(self) -> None:
        """Provisioned, with a key for the record and an account that may write."""
        self.holds.mkdir()
        self.holds.chmod(0o777)
        self.converge("provision", **self.given())
        self.converge("evidence_key")
        self.sql("SET password_encryption = 'scram-sha-256'; CREATE ROLE probe LOGIN PASSWORD '" + SECRET + "'")
        self.sql("GRANT CREATE ON DATABASE postgres TO probe")

    def given(self) -> dict[str, Any]:
        """What the estate is declared with."""
        return {}

    def switch(self, candidate: str, *words: str, **variables: Any) -> Played:
        """The playbook, to its end."""
        pooler = {"pool_program": program(), **POOLER} if self.pooled else {}
        given = {"switchover_candidate": candidate, **pooler, **self.given(), **variables}
        return self.play("switchover", *words, **given)

    def switched(self, candidate: str, *words: str, **variables: Any) -> str:
        """The same, which has to end well; returns what it said."""
        done = self.switch(candidate, *words, **variables)
        assert done.code == 0, done.output[-6000:]
        return done.output

    def refused(self, candidate: str, *words: str, **variables: Any) -> str:
        """The same, which has to fail; returns the last error, which is the run's."""
        done = self.switch(candidate, *words, **variables)
        assert done.code != 0, done.output[-3000:]
        assert "Traceback" not in done.output
        return done.errors()[-1].strip("'").replace("''", "'")

    def facts(self, host: str) -> dict[str, Any]:
        """What `instance_info` says of a member."""
        found: dict[str, Any] = self.module("instance_info", **self.server(host))["instance"]
        return found

    def primary(self) -> str:
        """The only member that takes writes; a test with two of them, or none, fails here."""
        running = [host for host in self.members if self.postmaster(self.server(host)["data_dir"])]
        [found] = [host for host in running if self.sql("SELECT pg_is_in_recovery()", host) == "f"]
        return found

    def slots(self, host: str) -> list[str]:
        """The slots on a member."""
        return self.sql("SELECT slot_name FROM pg_replication_slots ORDER BY 1", host).split()

    def converged(self, primary: str) -> None:
        """One primary that all others follow through slots of their own, and nothing is left of the switchover."""
        assert self.primary() == primary
        others = sorted(host for host in self.members if host != primary)
        streaming = "SELECT application_name FROM pg_stat_replication WHERE state = 'streaming' ORDER BY 1"
        await_(lambda: self.sql(streaming, primary).split() == others, f"the replicas of {primary}")
        assert self.slots(primary) == others
        assert [self.slots(host) for host in others] == [[] for _host in others]
        assert self.sql("SELECT count(*) FROM pg_roles WHERE rolname = 'boringdb_switchover'", primary) == "0"
        assert not (Path(self.server(primary)["data_dir"]) / "standby.signal").exists()
        self.assert_clean()

    def leftovers(self) -> list[str]:
        """What an interrupted run leaves; a pooler that runs is none of it."""
        return [one for one in super().leftovers() if "pgbouncer" not in one]

    def records(self, operation: str = "switchover") -> list[dict[str, Any]]:
        """What the ledger holds of an operation, the oldest first."""
        paths = sorted((self.evidence / "ledger/orders").glob("*.dsse.json"))
        told = [json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))["predicate"] for path in paths]
        return [one for one in told if one["operation"] == operation]

    @contextlib.contextmanager
    def writers(self, name: str, **target: Any) -> Iterator[dict[str, Any]]:
        """Clients that write meanwhile; at the end what they saw, and what of theirs is lost."""
        ports = ",".join(str(self.server(host)["port"]) for host in self.members)
        direct = {"login_host": ",".join("127.0.0.1" for _host in self.members), "login_port": ports}
        given = {**(target or direct), "login_user": "probe", "login_password": SECRET, "login_db": "postgres"}
        place = {"directory": str(self.home / "probe" / name)}
        self.module("probe", state="started", clients=2, rate=100, **place, **given)
        saw: dict[str, Any] = {}
        try:
            yield saw
            now = self.module("probe", state="measured", **place)["acknowledged"]
            await_(
                lambda: self.module("probe", state="measured", **place)["acknowledged"] > now + 20, "rows after it"
            )
        finally:
            saw.update(self.module("probe", state="stopped", **place))
        primary = self.server(self.primary())
        where = {"login_unix_socket": primary["socket_dir"], "login_port": str(primary["port"])}
        account = {"login_user": "postgres", "login_db": "postgres"}
        saw["found"] = self.module("probe", state="checked", **place, **where, **account)
        assert saw["found"]["status"] == "passed", saw
        assert saw["found"]["missing"] == 0


def changed(output: str) -> dict[str, int]:
    """How many tasks changed something, of each host."""
    recap = output[output.index("PLAY RECAP") :]
    return {host: int(count) for host, count in re.findall(r"^(\w+) +: ok=\d+ +changed=(\d+)", recap, re.MULTILINE)}


@contextlib.contextmanager
def frozen(pid: int) -> Iterator[None]:
    """A process that is there and does nothing."""
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
