# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`pool` and `pool_server` with a real pgbouncer: who comes in, what is written, what is reloaded, what is refused."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest
from embedded_servers import Server, alive, await_
from pool_ground import ADMIN, APP, AUTH, Pooler, prepare, with_users

from tests.modules import command, environment, module, options


@pytest.fixture
def shop(make_server: Callable[..., Server]) -> Server:
    """A primary with users."""
    return with_users(make_server(copied=True))


@pytest.fixture
def pooler(pg_root: Path) -> Iterator[Pooler]:
    """The place of a pooler."""
    made = Pooler(pg_root)
    yield made
    made.end()


@pytest.fixture
def running(pooler: Pooler, shop: Server) -> Pooler:
    """A pooler that lets the users of the primary in."""
    prepare(shop)
    return pooler.begin(shop)


def test_users_come_in_by_their_own_passwords(running: Pooler, shop: Server) -> None:
    assert running.sql("SELECT current_user || ' in ' || current_database()") == "app in shop"
    with pytest.raises(psycopg.OperationalError, match="authentication failed"):
        running.connect(password="another")
    with pytest.raises(psycopg.OperationalError):
        running.connect(user="nobody_there")
    # A superuser has a password on the server, and a pooler is not told of it.
    with pytest.raises(psycopg.OperationalError):
        running.connect(user="postgres")
    # A new password counts at once.
    shop.psql("ALTER ROLE app PASSWORD 'a new one'")
    assert running.sql("SELECT 1", password="a new one") == 1


def test_no_password_of_a_user_lies_in_a_file(running: Pooler) -> None:
    running.sql("SELECT 1")
    held = {path.name: path.read_text() for path in running.home.iterdir() if path.is_file()}
    assert all(APP not in text and ADMIN not in text for text in held.values())
    assert [name for name, text in held.items() if AUTH in text] == ["userlist.txt"]
    modes = {path.name: path.stat().st_mode & 0o777 for path in (running.config, running.home / "userlist.txt")}
    assert modes == {"pgbouncer.ini": 0o600, "userlist.txt": 0o600}


def test_only_the_poolers_account_reads_secrets(running: Pooler, shop: Server) -> None:
    """Nor does a function that somebody has changed stay so."""
    ask = "SELECT secret FROM boringdb_pool.secret_of('app')"
    with pytest.raises(psycopg.errors.InsufficientPrivilege):
        running.sql(ask)
    assert running.sql(ask, user="pool_auth", password=AUTH).startswith("SCRAM-SHA-256$")
    assert running.sql("SELECT count(*) FROM boringdb_pool.secret_of('postgres')", user="pool_auth", password=AUTH) == 0
    assert prepare(shop)["changed"] is False
    shop.psql("GRANT EXECUTE ON FUNCTION boringdb_pool.secret_of(text) TO PUBLIC", dbname="shop")
    shop.psql("ALTER FUNCTION boringdb_pool.secret_of(text) RESET search_path", dbname="stock")
    assert sorted(prepare(shop, check=True)["databases"]) == ["shop", "stock"]
    assert prepare(shop)["changed"] is True
    assert prepare(shop)["changed"] is False
    assert shop.psql("SELECT has_function_privilege('public', 'boringdb_pool.secret_of(text)', 'EXECUTE')",
                     dbname="shop") == "f"  # fmt: skip


def test_a_second_run_changes_nothing_and_a_dry_run_neither(pooler: Pooler, shop: Server) -> None:
    assert prepare(shop, check=True)["changed"] is True
    assert shop.psql("SELECT count(*) FROM pg_roles WHERE rolname = 'pool_auth'") == "0"
    prepare(shop)
    declared = pooler.declared(shop)
    dry = pooler.module("present", check=True, **declared)
    assert (dry["changed"], sorted(path.name for path in pooler.home.iterdir())) == (True, [])
    assert "shop = host=127.0.0.1" in json.dumps(dry["diff"])
    assert pooler.module("present", **declared)["changed"] is True
    assert pooler.module("started", check=True)["changed"] is True
    for state in ("started", "present"):
        given = declared if state == "present" else {}
        pooler.module(state, **given)
        for check in (False, True):
            again = pooler.module(state, check=check, **given)
            assert (again["changed"], again.get("diff")) == (False, None), (state, check)
    assert pooler.module("stopped")["changed"] is True
    assert pooler.module("stopped")["changed"] is False
    # A host without the program can tell in a dry run what would be.
    other = {**declared, "program": "no-such-pgbouncer"}
    assert pooler.module("present", check=True, **{**other, "settings": {"listen_port": 7000}})["changed"] is True
    assert "no such program" in pooler.module("present", fails=True, **other)["msg"]


def test_what_is_reloaded_and_what_waits_for_a_restart(running: Pooler, shop: Server) -> None:
    client = running.connect()
    for check in (True, False):
        done = running.module("present", check=check, **running.declared(shop, max_client_conn=321))
        assert (done["changed"], done["reloaded"], done["restart_required"]) == (True, True, []), check
    assert running.shown()["config"]["max_client_conn"] == "321"
    done = running.module("present", **running.declared(shop, max_client_conn=321, listen_addr="127.0.0.1,127.0.0.2"))
    assert (done["changed"], done["restart_required"]) == (True, ["listen_addr"])
    # It goes on to be told, and the client goes on.
    again = running.module("present", **running.declared(shop, max_client_conn=321, listen_addr="127.0.0.1,127.0.0.2"))
    assert (again["changed"], again["restart_required"]) == (False, ["listen_addr"])
    assert client.execute("SELECT 1").fetchone() == (1,)
    running.module("restarted")
    after = running.module("present", **running.declared(shop, max_client_conn=321, listen_addr="127.0.0.1,127.0.0.2"))
    assert (after["changed"], after["restart_required"]) == (False, [])
    assert running.sql("SELECT 1") == 1


def test_a_file_that_was_written_and_never_reloaded_is(running: Pooler, shop: Server) -> None:
    """As a run leaves it that is killed between the two."""
    text = running.config.read_text()
    changed = running.declared(shop, server_idle_timeout=77)
    running.module("present", **changed)
    new = running.config.read_text()
    running.config.write_text(text)
    running.module("reloaded")
    running.config.write_text(new)
    done = running.module("present", **changed)
    assert (done["changed"], done["reloaded"], running.shown()["config"]["server_idle_timeout"]) == (True, True, "77")


def test_a_database_comes_and_goes(running: Pooler, shop: Server) -> None:
    declared = running.declared(shop)
    declared["databases"]["by_another-name"] = {"host": "127.0.0.1", "port": shop.port, "dbname": "shop"}
    declared["databases"].pop("stock")
    assert running.module("present", **declared)["changed"] is True
    assert running.sql("SELECT current_database()", database="by_another-name") == "shop"
    assert set(running.shown()["databases"]) == {"shop", "by_another-name"}
    with pytest.raises(psycopg.OperationalError):
        running.connect(database="stock")


@pytest.mark.parametrize(("settings", "says"), [
    ({"pool_mod": "transaction"}, "pool_mod"),
    ({"pool_mode": "sometimes"}, "pool_mode"),
    ({"client_tls_sslmode": "require", "client_tls_key_file": "/nowhere/key"}, "client_tls_cert_file must"),
], ids=["unknown", "value", "tls"])  # fmt: skip
def test_what_the_program_does_not_take_is_never_in_place(
    running: Pooler, shop: Server, settings: dict[str, Any], says: str
) -> None:
    before = running.config.read_text()
    told = running.module("present", fails=True, **running.declared(shop, **settings))["msg"]
    assert told.startswith("pgbouncer does not take the configuration: ")
    assert says in told
    assert running.config.read_text() == before
    assert running.sql("SELECT 1") == 1


def test_a_sum_beyond_the_server_is_refused(pooler: Pooler, shop: Server) -> None:
    told = pooler.module("present", fails=True, hosts=3, **pooler.declared(shop, max_db_connections=20))["msg"]
    assert told == (
        "refused: (shop 20 + stock 20) * 3 hosts * 1 processes = 120 server connections are more than max_connections "
        "100 - superuser_reserved_connections 3 - 10 kept free = 87 (lower max_db_connections, or raise the server's "
        "max_connections)"
    )
    assert not pooler.config.exists()
    done = pooler.module("present", hosts=3, **pooler.declared(shop))
    assert {one["name"]: one["value"] for one in done["figures"]} == {
        "max_db_connections": "14", "default_pool_size": "4", "reserve_pool_size": "2", "LimitNOFILE": "1092",
    }  # fmt: skip


def test_the_server_never_sees_more_connections_than_computed(pooler: Pooler, shop: Server) -> None:
    """Ten clients in transactions; the others wait, and come in when one ends."""
    prepare(shop)
    shared = {"server": {"max_connections": 17, "superuser_reserved": 3, "cores": 2}}
    pooler.module("present", **{**pooler.declared(shop, query_wait_timeout=1), **shared})
    pooler.module("started")
    held = [pooler.connect() for _number in range(4)]
    for client in held[:2]:
        client.execute("BEGIN")
        client.execute("SELECT 1")
    count = "SELECT count(*) FROM pg_stat_activity WHERE datname = 'shop' AND usename IN ('app', 'pool_auth')"
    assert int(shop.psql(count)) <= 2
    with pytest.raises(psycopg.Error, match="query_wait_timeout"):
        held[2].execute("SELECT 1")
    held[0].execute("COMMIT")
    assert held[3].execute("SELECT 1").fetchone() == (1,)
    assert int(shop.psql(count)) <= 2


def test_somebody_elses_pooler_is_not_overwritten(running: Pooler, shop: Server) -> None:
    told = running.module("present", fails=True, **{**running.declared(shop), "cluster": "books"})["msg"]
    assert f"{running.config} is of the cluster orders" in told


def test_what_was_written_by_hand_is_kept_beside(pooler: Pooler, shop: Server) -> None:
    old = "[databases]\nshop = host=127.0.0.1 password=hush\n[pgbouncer]\nlisten_port = 1\n"
    pooler.config.write_text(old)
    done = pooler.module("present", **pooler.declared(shop))
    assert "hush" not in json.dumps(done)
    assert pooler.config.with_name("pgbouncer.ini.before-boringdb").read_text() == old


def test_no_secret_is_told_or_in_a_command_line(pooler: Pooler, shop: Server) -> None:
    prepare(shop)
    said = json.dumps([pooler.module("present", **pooler.declared(shop)), prepare(shop)])
    pooler.module("started")
    verifier = next(line for line in (pooler.home / "userlist.txt").read_text().split('"') if line.startswith("SCRAM"))
    given = {"program": pooler.program, "config_file": str(pooler.config), **pooler.declared(shop, max_client_conn=5)}
    seen: set[bytes] = set()
    with subprocess.Popen(
        command("pool"), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env=environment(), cwd="/",
    ) as running:  # fmt: skip
        assert running.stdin and running.stdout
        running.stdin.write(options({"state": "present", **given}))
        running.stdin.close()
        while running.poll() is None:
            for place in Path("/proc").glob("[0-9]*"):
                with contextlib.suppress(OSError):
                    seen.add((place / "cmdline").read_bytes())
        told = running.stdout.read()
    assert any(b"pgbouncer" in line for line in seen)
    for text in (said, told, str(seen), (pooler.home / "log").read_text()):
        assert all(secret not in text for secret in (AUTH, ADMIN, APP, verifier))


def test_options_that_mean_nothing_are_refused_all_at_once(pooler: Pooler, shop: Server) -> None:
    declared = pooler.declared(shop, **{"a b": 1, "logfile": "x\ny"})
    declared["databases"] = {"*": {"host": "a"}, "pgbouncer": {}, "shop": {"host": "a", "port": 0, "password": "hush"}}
    declared["databases"]["a b"] = {"host": "a", "dbname": ""}
    told = pooler.module("present", fails=True, **declared)["msg"]
    for words in ("refused for 9 reasons", "database '*' can't", "database 'pgbouncer' can't", "'a b' can't",
                  "dbname is empty", "pgbouncer has no host",
                  "port 0 is none", "password is not known", "'a b' is no setting's name",
                  "value is one line"):  # fmt: skip
        assert words in told, told
    assert "hush" not in told
    told = module("pool", state="routed", config_file="relative", server_host="", server_port=0, fails=True)["msg"]
    assert "refused for 3 reasons" in told


def test_a_replica_and_a_strong_account_are_refused(shop: Server) -> None:
    shop.psql("CREATE ROLE strong SUPERUSER LOGIN")
    assert "rights that a pooler must not have" in prepare(shop, auth_user="strong", fails=True)["msg"]
    assert "there is no database nowhere" in prepare(shop, databases=["nowhere"], fails=True)["msg"]
    shop.stop()
    (shop.data_dir / "standby.signal").touch()
    shop.start()
    assert "is a replica; ask the primary" in prepare(shop, fails=True)["msg"]


def test_a_second_run_at_the_same_time_is_refused(pooler: Pooler, shop: Server) -> None:
    """It holds a lock of the file while it works."""
    from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock

    with host_lock(str(pooler.config), "a test"):
        assert "is in use by a test" in pooler.module("present", fails=True, **pooler.declared(shop))["msg"]
    pooler.module("present", **pooler.declared(shop))


def test_a_killed_run_leaves_no_process_and_no_secret_of_its_own(pooler: Pooler, shop: Server) -> None:
    """In the middle of having the program judge the configuration."""
    # It stands still before it begins, so that the moment is met; then it is pgbouncer.
    slow = pooler.home / "slow"
    slow.write_text(f'#!/bin/sh\necho $$ > {pooler.home}/held\nwhile [ ! -e {pooler.home}/go ]; do sleep 0.05; done\n'
                    f'exec {pooler.program} "$@"\n')  # fmt: skip
    slow.chmod(0o755)
    given = {**pooler.declared(shop), "config_file": str(pooler.config), "program": str(slow), "state": "present"}
    held = pooler.home / "held"
    with subprocess.Popen(
        command("pool"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True, cwd="/",
        env=environment(TMPDIR=str(pooler.home)),
    ) as running:  # fmt: skip
        assert running.stdin
        running.stdin.write(options({**given, "_ansible_remote_tmp": str(pooler.home)}))
        running.stdin.close()
        await_(lambda: held.exists() and held.read_text().strip(), what="the second pgbouncer")
        running.kill()
    pid = int(held.read_text())
    await_(lambda: not alive(pid), what="the end of the second pgbouncer")
    left = [path for path in pooler.home.rglob("*") if path.is_file() and path != slow]
    assert any(path.name == "ini" for path in left)
    assert [path for path in left if AUTH in path.read_text() or ADMIN in path.read_text()] == []
    assert not pooler.config.exists()
    # The same again finishes the job.
    (pooler.home / "go").touch()
    assert pooler.module("present", **pooler.declared(shop))["changed"] is True
