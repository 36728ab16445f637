# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How many server connections each pgbouncer may have, from what the server takes, with the arithmetic shown.

A pool is one of a database and a user, and nobody knows how many users will come. What holds is `max_db_connections`:
it counts all pools of a database in one process, so its sum over databases, processes and hosts is what the server must
take.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.sizing import Figure

#: Fewer server connections than this make a queue of every transaction that waits for its client.
_LEAST_POOL = 4
#: Those of pgbouncer itself: its log, its sockets, what it waits with.
_OWN_DESCRIPTORS = 64


@dataclass(frozen=True)
class Ground:
    """What is shared: the server's connections, and among how many processes of how many hosts."""

    max_connections: int
    superuser_reserved: int
    kept_free: int
    cores: int
    hosts: int
    processes: int

    @property
    def poolers(self) -> int:
        """All processes of all hosts."""
        return self.hosts * self.processes

    @property
    def budget(self) -> int:
        """What all poolers may have together."""
        return self.max_connections - self.superuser_reserved - self.kept_free

    def told(self) -> str:
        """The budget's arithmetic."""
        return (
            f"max_connections {self.max_connections} - superuser_reserved_connections {self.superuser_reserved} - "
            f"{self.kept_free} kept free = {self.budget}"
        )


def sizes(
    ground: Ground, databases: Mapping[str, Mapping[str, str]], declared: Mapping[str, str], preflight: Preflight
) -> list[Figure]:
    """The settings with their arithmetic. What is declared is taken as it is; notes in `preflight` what can't be."""
    if not _countable(ground, databases, declared, preflight):
        return []
    among = f"{ground.hosts} hosts * {ground.processes} processes * {len(databases)} databases"
    parts = ground.poolers * len(databases)
    share = ground.budget // parts
    most = int(declared.get("max_db_connections") or share)
    wanted = -(-(2 * ground.cores + 1) // parts)
    size = int(declared.get("default_pool_size") or max(1, min(most, max(_LEAST_POOL, wanted))))
    reserve = int(declared.get("reserve_pool_size") or max(0, min(most - size, size // 2)))
    if not share:
        preflight.refuse(
            f"{ground.told()} server connections are fewer than {among}",
            "raise max_connections, or have fewer processes or databases",
        )
        return []
    figures = [
        Figure("max_db_connections", str(most), f"({ground.told()}) / ({among})"),
        Figure(
            "default_pool_size", str(size),
            f"min(max_db_connections {most}, max({_LEAST_POOL}, (2 * {ground.cores} cores + 1) / ({among})))",
        ),
        Figure(
            "reserve_pool_size", str(reserve),
            f"min(max_db_connections {most} - default_pool_size {size}, default_pool_size {size} / 2)",
        ),
    ]  # fmt: skip
    _fits(ground, databases, most, preflight)
    return [
        figure if figure.name not in declared else Figure(figure.name, declared[figure.name], "declared")
        for figure in figures
    ]


def _countable(
    ground: Ground, databases: Mapping[str, Mapping[str, str]], declared: Mapping[str, str], preflight: Preflight
) -> bool:
    known = len(preflight.reasons)
    places = [("settings", declared), *((f"database {name}", given) for name, given in databases.items())]
    for where, given in places:
        for name in ("max_db_connections", "default_pool_size", "reserve_pool_size", "pool_size"):
            text = given.get(name)
            if text is not None:
                least = 0 if name == "reserve_pool_size" else 1
                sound = text.isdigit() and int(text) >= least
                preflight.require(sound, f"{where}: {name} is {text}", f"give a number of {least} or more")
    for name in ("max_connections", "cores", "hosts", "processes"):
        value = getattr(ground, name)
        preflight.require(value >= 1, f"{name} is {value}", "give 1 or more")
    preflight.require(ground.kept_free >= 0, f"kept_free is {ground.kept_free}", "give 0 or more")
    preflight.require(bool(databases), "there is no database to pool", "name one in databases")
    return len(preflight.reasons) == known


def _fits(ground: Ground, databases: Mapping[str, Mapping[str, str]], most: int, preflight: Preflight) -> None:
    """Refuse a sum beyond what the server takes."""
    each = {name: int(given.get("max_db_connections") or most) for name, given in databases.items()}
    total = sum(each.values()) * ground.poolers
    told = " + ".join(f"{name} {count}" for name, count in each.items())
    preflight.require(
        total <= ground.budget,
        f"({told}) * {ground.hosts} hosts * {ground.processes} processes = {total} server connections are more than "
        f"{ground.told()}",
        "lower max_db_connections, or raise the server's max_connections",
    )


def descriptors(figures: list[Figure], clients: int, databases: int) -> Figure:
    """How many files a process must be allowed to have open: a client and a server connection are one each."""
    most = next((int(figure.value) for figure in figures if figure.name == "max_db_connections"), 0)
    each = f"{databases} databases * max_db_connections {most}"
    formula = f"max_client_conn {clients} + {each} + {_OWN_DESCRIPTORS} of its own"
    return Figure("LimitNOFILE", str(clients + databases * most + _OWN_DESCRIPTORS), formula)
