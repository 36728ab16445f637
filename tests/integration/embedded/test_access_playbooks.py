# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The role `access` within `provision` and alone, and a rotation of passwords that nobody notices."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from estate import Estate
from estate_runs import await_
from test_provision import changed

ONE, TWO, OTHER = "the first: password", "the second\\ password", "what replicas come in with"
WATCH = "SELECT pid || ' ' || status FROM pg_stat_wal_receiver"
Probe = Callable[..., dict[str, Any]]


def declared(a: bool, b: bool, **more: Any) -> dict[str, Any]:
    """Two logins for one owner, of which each may be open or closed."""
    logins = [
        {"name": name, "login": is_open, "member_of": ["shop"], "settings": {"role": "shop"}, "password": password}
        for name, is_open, password in (("shop_a", a, ONE), ("shop_b", b, TWO))
    ]
    databases = [{"name": "shop", "owner": "shop"}]
    return {"access_roles": [{"name": "shop"}, *logins], "access_databases": databases, **more}


@pytest.fixture(scope="module")
def cluster() -> Iterator[Estate]:
    """A cluster that was provisioned with its accounts. The tests below follow each other."""
    made = Estate()
    try:
        planned = made.converge("provision", "--check", "--diff", **declared(True, False))
        assert "+role shop_a: member of shop" in planned
        assert not (made.home / "db1/data").exists()
        made.converge("provision", "-vvv", **declared(True, False))
        yield made
    finally:
        made.down()


@pytest.fixture
def probe(cluster: Estate) -> Iterator[Probe]:
    """The write probe as an application: through the network, with a password."""
    places = []

    def run(user: str, password: str, state: str, of: str = "", **options: Any) -> dict[str, Any]:
        directory = cluster.home / f"probe_{of or user}"
        places.append(directory)
        login = {"login_host": "127.0.0.1", "login_port": str(cluster.server()["port"]), "login_db": "shop"}
        return cluster.module("probe", state=state, directory=str(directory), run=of or user, login_user=user,
                              login_password=password, **login, **options)  # fmt: skip

    yield run
    for directory in {place for place in places if (place / "probe.pid").exists()}:
        cluster.module("probe", state="stopped", directory=str(directory))


def test_the_second_run_changes_nothing(cluster: Estate) -> None:
    counts = changed(cluster.converge("provision", **declared(True, False)))
    assert set(counts.values()) == {0}
    assert cluster.sql("SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = 'shop'", "db2") == "shop"


def test_passwords_rotate_while_the_application_writes(cluster: Estate, probe: Probe) -> None:
    receiver = cluster.sql(WATCH, "db2")
    assert receiver.endswith(" streaming")
    probe("shop_a", ONE, "started", clients=2)
    # The second login is opened, and replication gets another password.
    rotated = {**declared(True, True), "postgresql_replication_password": OTHER}
    counts = changed(cluster.converge("rotate_password", "-vvv", **rotated))
    assert counts["db1"] > 0
    assert cluster.sql(WATCH, "db2") == receiver
    # The application moves over: for a while both write.
    probe("shop_b", TWO, "started", clients=2)
    closed = {**declared(False, True), "postgresql_replication_password": OTHER}
    before = cluster.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'shop_a'")
    done = cluster.play("access", **closed)
    assert done.code != 0
    assert "role shop_a has 2 sessions (" in done.told()
    assert "let them move to another role, or end them" in done.told()
    assert cluster.sql("SELECT rolcanlogin FROM pg_roles WHERE rolname = 'shop_a'") == before
    first = probe("shop_a", ONE, "stopped")
    cluster.converge("access", **closed)
    seen = probe("shop_b", TWO, "measured")["acknowledged"]
    await_(lambda: probe("shop_b", TWO, "measured")["acknowledged"] > seen, "more rows")
    second = probe("shop_b", TWO, "stopped")
    assert (first["errors"], second["errors"]) == (0, 0)
    for user in ("shop_a", "shop_b"):
        found = probe("shop_b", TWO, "checked", of=user)
        assert (found["status"], found["missing"]) == ("passed", 0)
    assert cluster.sql(WATCH, "db2") == receiver
    refused = cluster.module("probe", fails=True, state="started", directory=str(cluster.home / "probe_none"),
                             login_host="127.0.0.1", login_port=str(cluster.server()["port"]), login_db="shop",
                             login_user="shop_a", login_password=ONE)  # fmt: skip
    assert "not permitted to log in" in refused["msg"]


def test_a_replica_comes_back_with_the_rotated_password(cluster: Estate) -> None:
    receiver = cluster.sql(WATCH, "db2")
    cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    await_(lambda: cluster.sql(WATCH, "db2") not in ("", receiver), "another receiver")
    await_(lambda: cluster.sql(WATCH, "db2").endswith(" streaming"), "streaming")


def test_a_killed_rotation_is_finished_by_the_next(cluster: Estate) -> None:
    """The worst moment: the primary has the new password, the replica reconnects, and has the old one."""
    third = "a third one"
    options = {**cluster.server(), "state": "prepared", "replication_password": third}
    cluster.module("replica", **options)
    cluster.sql("SELECT pg_terminate_backend(pid) FROM pg_stat_replication")
    await_(lambda: not cluster.sql(WATCH, "db2").endswith("streaming"), "the end of the stream")
    done = cluster.play("rotate_password", postgresql_replication_password=third)
    assert "refused: db2 does not stream from its primary; run provision first; nothing was changed" in done.told()
    cluster.converge("provision", postgresql_replication_password=third)
    await_(lambda: cluster.sql(WATCH, "db2").endswith(" streaming"), "streaming")


def test_no_password_was_shown(cluster: Estate) -> None:
    logs = [path.read_text() for path in cluster.logs.iterdir() if path.is_file()]
    logs.append(Path(f"{cluster.server()['data_dir']}.log").read_text())
    assert any("module_args" in log for log in logs)
    for secret in (ONE, TWO, OTHER):
        assert not [log for log in logs if secret in log or secret.replace("\\", "\\\\") in log]
