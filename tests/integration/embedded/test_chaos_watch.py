# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The watch of `make chaos`: it sees who takes writes, and two that do at once; one that is away is none."""

from __future__ import annotations

from collections.abc import Callable

from embedded_servers import Server, await_

from tests.chaos.case import CASES
from tests.chaos.watch import Watch


def where(server: Server) -> dict[str, object]:
    """How a server is reached."""
    return {"host": str(server.socket_dir), "port": server.port, "user": "postgres", "dbname": "postgres"}


def test_two_that_take_writes_are_seen(make_server: Callable[..., Server]) -> None:
    one, two = make_server("one", copied=True), make_server("two", copied=True, start=False)
    (two.data_dir / "standby.signal").touch()
    (two.data_dir / "standby.signal").chmod(0o666)
    two.start()
    with Watch({"one": where(one), "two": where(two)}) as watch:
        await_(lambda: watch.rounds > 30, what="looks at both")
        assert (watch.primaries, watch.split) == ({"one"}, [])
        two.stop()
        rounds = watch.rounds
        await_(lambda: watch.rounds > rounds + 10, what="looks at one that is away")
        two.start()
        two.psql("SELECT pg_promote()")
        await_(lambda: watch.split, what="two primaries")
    assert watch.split[0].startswith("one and two take writes at ")


def test_each_case_is_named_once() -> None:
    assert len({case.name for case in CASES}) == len(CASES) > 20
