# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`access` on a real server: it converges, says so, keeps passwords to itself, and refuses before it touches."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

import psycopg
import pytest
from embedded_servers import Server, await_
from verify_ground import module

from tests.modules import command, environment
from tests.modules import options as module_options

PASSWORD = "correct horse: battery\\staple"
Access = Callable[..., dict[str, Any]]

SHOP: dict[str, Any] = {
    "roles": [
        {"name": "shop"},
        {"name": "Shop a", "login": True, "password": PASSWORD, "member_of": ["shop"], "connection_limit": 7,
         "valid_until": "2099-01-31 12:00+00", "settings": {"role": "shop", "search_path": ["app", "public"],
                                                            "work_mem": "8MB"}},
        {"name": "report", "login": True, "password": "another"},
    ],
    "databases": [{"name": "shop", "owner": "shop", "encoding": "UTF8", "locale": "C"}],
    "schemas": [{"name": "app", "database": "shop", "owner": "shop"}],
    "extensions": [{"name": "vector", "database": "shop", "schema": "app"}],
    "grants": [
        {"role": "PUBLIC", "state": "absent", "database": "shop", "type": "database",
         "privileges": ["CONNECT", "TEMP"]},
        {"role": "report", "database": "shop", "type": "database", "privileges": ["CONNECT"]},
        {"role": "report", "database": "shop", "type": "schema", "objects": ["app"], "privileges": ["USAGE"]},
        {"role": "shop", "database": "shop", "type": "database", "privileges": ["CONNECT"]},
        {"role": "report", "database": "shop", "type": "function", "schema": "app",
         "objects": ["vector_dims(app.vector)"], "privileges": ["EXECUTE"]},
        {"role": "report", "database": "shop", "type": "table", "schema": "app", "privileges": ["SELECT"]},
    ],
    "default_privileges": [
        {"owner": "shop", "role": "report", "database": "shop", "type": "table", "schema": "app",
         "privileges": ["SELECT"]},
        {"owner": "shop", "role": "PUBLIC", "state": "absent", "database": "shop", "type": "function",
         "privileges": ["EXECUTE"]},
    ],
}  # fmt: skip


@pytest.fixture
def server(quick: Server) -> Server:
    """Passwords are asked for over the network, and everything that is sent is logged."""
    rules = quick.data_dir / "pg_hba.conf"
    rules.write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\nlocal replication all trust\n")
    with (quick.data_dir / "postgresql.conf").open("a") as conf:
        conf.write("log_statement = all\nlog_min_duration_statement = 0\n")
    quick.psql("SELECT pg_reload_conf()")
    return quick


@pytest.fixture
def access(server: Server) -> Access:
    """`access` on the server."""
    return partial(module, server, "access")


def login(server: Server, user: str, password: str, dbname: str = "postgres") -> psycopg.Connection[Any]:
    """A session that had to prove who it is."""
    return psycopg.connect(
        host="127.0.0.1", port=server.port, user=user, password=password, dbname=dbname, autocommit=True
    )


def everything(server: Server) -> str:
    """All that `access` could have changed."""
    words = ["pg_dumpall", "-h", server.socket_dir, "-p", str(server.port), "-U", "postgres", "--schema-only"]
    return "\n".join(line for line in server.run(*words).splitlines() if not line.startswith("\\"))


def test_everything_at_once_and_the_second_run_changes_nothing(server: Server, access: Access) -> None:
    before = everything(server)
    planned = access(**SHOP, check=True)
    assert (planned["changed"], everything(server)) == (True, before)
    assert planned["diff"]["before"].splitlines() == [
        "shop: PUBLIC: EXECUTE on every new function of shop",
        "shop: PUBLIC: CONNECT, TEMPORARY on database shop",
    ]
    assert "database shop: owner shop, template template0, encoding UTF8, locale C\n" in planned["diff"]["after"]
    done = access(**SHOP)
    assert done["changed"] is True
    created = "CREATE DATABASE \"shop\" OWNER \"shop\" TEMPLATE \"template0\" ENCODING 'UTF8' LOCALE 'C'"
    assert created in done["statements"]
    after = everything(server)
    for check in (False, True):
        again = access(**SHOP, check=check)
        assert (again["changed"], again["statements"], "diff" in again) == (False, [], False)
    assert everything(server) == after
    with login(server, "Shop a", PASSWORD, "shop") as session:
        session.execute("CREATE TABLE goods AS SELECT 1 AS id")
        session.execute("CREATE FUNCTION secret() RETURNS int LANGUAGE sql RETURN 1")
        row = session.execute("SELECT current_user, tableowner, schemaname, current_setting('work_mem') FROM pg_tables"
                              " WHERE tablename = 'goods'").fetchone()  # fmt: skip
        assert row == ("shop", "shop", "app", "8MB")
    with login(server, "report", "another", "shop") as session:
        assert session.execute("SELECT id FROM app.goods").fetchall() == [(1,)]
        for refused in ("DELETE FROM app.goods", "SELECT app.secret()"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                session.execute(refused)
    server.psql("CREATE ROLE stranger LOGIN PASSWORD 'x'")
    with pytest.raises(psycopg.OperationalError, match="permission denied for database"):
        login(server, "stranger", "x", "shop")


def test_no_password_reaches_the_server_s_log_or_the_answer(server: Server, access: Access) -> None:
    results = [access(**SHOP, check=True), access(**SHOP)]
    changed = {**SHOP, "roles": [{**SHOP["roles"][1], "password": "yet another one"}], "grants": []}
    results.append(access(**{**changed, "default_privileges": [], "schemas": [], "databases": [], "extensions": []}))
    assert results[-1]["statements"] == ["ALTER ROLE \"Shop a\" PASSWORD '…'"]
    told = json.dumps([{**result, "invocation": None} for result in results], ensure_ascii=False)
    log = (server.data_dir / "server.log").read_text()
    assert "ALTER ROLE" in log
    for secret in (PASSWORD, PASSWORD.replace("\\", "\\\\"), "yet another one"):
        assert secret not in log
        assert secret not in told
    assert "SCRAM-SHA-256" not in told
    with login(server, "Shop a", "yet another one"):
        pass


def test_a_role_is_exactly_what_is_declared(server: Server, access: Access) -> None:
    access(roles=SHOP["roles"])
    stored = server.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'Shop a'")
    server.psql("CREATE ROLE other", 'GRANT other TO "Shop a"', 'ALTER ROLE "Shop a" SUPERUSER CONNECTION LIMIT 3',
                "ALTER ROLE \"Shop a\" SET statement_timeout = '1s'",
                "ALTER ROLE \"Shop a\" SET work_mem = '9MB'")  # fmt: skip
    planned = access(roles=SHOP["roles"], check=True)
    attributes, *lines = planned["diff"]["before"].splitlines()
    told = "superuser, nocreatedb, nocreaterole, inherit, login, noreplication, nobypassrls, connection limit 3, valid"
    assert attributes.startswith(f"role Shop a: {told} until 2099-01-31 ")
    assert lines == [
        "role Shop a: member of other",
        "role Shop a: work_mem = 9MB",
        "role Shop a: statement_timeout = 1s",
    ]
    assert len(access(roles=SHOP["roles"])["statements"]) == 4
    assert access(roles=SHOP["roles"])["changed"] is False
    assert server.psql("SELECT rolpassword FROM pg_authid WHERE rolname = 'Shop a'") == stored
    without = [{key: value for key, value in role.items() if key != "password"} for role in SHOP["roles"]]
    assert access(roles=without)["changed"] is False


def test_a_role_that_owns_something_is_not_dropped(server: Server, access: Access) -> None:
    access(**SHOP)
    server.psql("CREATE TABLE app.goods AS SELECT 1 AS id", "ALTER TABLE app.goods OWNER TO report",
                "GRANT UPDATE (id) ON app.goods TO \"Shop a\"", dbname="shop")  # fmt: skip
    gone = {"roles": [{"name": "report", "state": "absent"}, {"name": "Shop a", "state": "absent"},
                      {"name": "never was", "state": "absent"}]}  # fmt: skip
    before = everything(server)
    refused = access(**gone, fails=True)
    assert refused["refused"] is True
    assert "role report owns, or is named by, table app.goods in the database shop" in refused["msg"]
    assert "REASSIGN OWNED BY report TO another role" in refused["msg"]
    assert "default privileges" in refused["msg"]
    assert everything(server) == before
    server.psql("REASSIGN OWNED BY report TO shop", "ALTER DEFAULT PRIVILEGES FOR ROLE shop IN SCHEMA app REVOKE ALL ON"
                " TABLES FROM report", dbname="shop")  # fmt: skip
    with login(server, "report", "another", "shop"):
        refused = access(**gone, fails=True)
        assert "role report has 1 session (unnamed at 127.0.0.1) (let them move to another role" in refused["msg"]
    assert access(**gone, check=True)["changed"] is True
    done = access(**gone)
    assert done["statements"][-2:] == ['DROP ROLE "report"', 'DROP ROLE "Shop a"']
    assert server.psql("SELECT count(*) FROM pg_roles WHERE rolname IN ('report', 'Shop a')") == "0"
    assert server.psql("SELECT count(*) FROM app.goods", dbname="shop") == "1"
    assert access(**gone)["changed"] is False


def test_every_reason_at_once_and_nothing_touched(server: Server, access: Access) -> None:
    server.psql("CREATE DATABASE old ENCODING 'SQL_ASCII' LOCALE 'C' TEMPLATE template0")
    before = everything(server)
    refused = access(
        roles=[{"name": "postgres", "login": True}, {"name": "a", "valid_until": "soon", "member_of": ["nobody_here"]}],
        databases=[{"name": "old", "encoding": "UTF8", "owner": "b"}, {"name": "new", "template": "none"}],
        extensions=[{"name": "pg_stat_statements"}, {"name": "vector", "version": "99", "schema": "ext"}],
        grants=[
            {"role": "a", "type": "table", "schema": "public", "objects": ["t"], "privileges": ["SELECT"],
             "database": "old"},
            {"role": "a", "type": "table", "schema": "gone", "privileges": ["SELECT"], "database": "old"},
            {"role": "a", "type": "database", "privileges": ["CONNECT"], "database": "away"},
        ],
        fails=True,
    )  # fmt: skip
    pieces = [
        "refused for 12 reasons: ",
        "role postgres is the account this connects as",
        "role a: valid_until 'soon' is no time",
        "role a: member_of nobody_here: there is no such role (declare it in roles)",
        "database old: owner b: there is no such role",
        "database old has the encoding SQL_ASCII, not UTF8",
        "database new: there is no template none",
        "there is no database away",
        "extension pg_stat_statements is not installed on this host (install its package)",
        "extension vector has no version 99 here (0.",
        "postgres: extension vector: there is no schema ext",
        "old: a: there is no table t in the schema public",
        "there is no schema gone",
    ]
    assert [piece for piece in pieces if piece not in refused["msg"]] == []
    assert "\n" not in refused["msg"]
    assert everything(server) == before


MISFITS: dict[str, tuple[dict[str, Any], str]] = {
    "reserved": ({"roles": [{"name": "pg_mine"}]}, "role pg_mine: the name is the engine's own"),
    "too long": ({"roles": [{"name": "x" * 64}]}, "is no name (give 1 to 63 bytes"),
    "line break": ({"databases": [{"name": "a\nb"}]}, "database 'a\\nb' is no name"),
    "twice": ({"roles": [{"name": "a"}, {"name": "a"}]}, "role a is declared twice"),
    "of itself": ({"roles": [{"name": "a", "member_of": ["a"]}]}, "role a: a member of itself"),
    "empty password": ({"roles": [{"name": "a", "password": ""}]}, "role a: the password is empty"),
    "limit": ({"roles": [{"name": "a", "connection_limit": -2}]}, "connection_limit is below -1"),
    "setting": ({"roles": [{"name": "a", "settings": {"a b": 1}}]}, "role a: setting 'a b' is none"),
    "absent but needed": (
        {"roles": [{"name": "a", "state": "absent"}, {"name": "b", "member_of": ["a"]}]},
        "member_of a: this role is declared absent",
    ),
    "privilege": (
        {"grants": [{"role": "a", "type": "schema", "objects": ["public"], "privileges": ["READ"]}]},
        "privileges of a on schema: there is no READ (choose of ALL, CREATE, TEMP, USAGE)",
    ),
    "no privilege": ({"grants": [{"role": "a", "type": "database", "privileges": []}]}, "none is named"),
    "no schema": ({"grants": [{"role": "a", "type": "table", "privileges": ["ALL"]}]}, "no schema (name the schema"),
    "a database's objects": (
        {"grants": [{"role": "a", "type": "database", "objects": ["x"], "privileges": ["ALL"]}]},
        "objects and schema mean nothing",
    ),
    "unknown job": ({"accounts": [{"name": "a", "job": "boss"}]}, "value of job must be one of"),
}  # fmt: skip


@pytest.mark.parametrize("name", MISFITS)
def test_what_can_not_be_is_refused_without_a_server_too(make_server: Callable[..., Server], name: str) -> None:
    options, piece = MISFITS[name]
    nothing = make_server("none", initdb=False)
    refused = module(nothing, "access", check=True, fails=True, **options)
    assert piece in refused["msg"]
    assert "\n" not in refused["msg"]


def test_check_mode_tells_all_before_the_server_exists(make_server: Callable[..., Server]) -> None:
    nothing = make_server("none", initdb=False)
    planned = module(nothing, "access", check=True, **SHOP)
    assert planned["changed"] is True
    assert planned["statements"][:2] == [
        'CREATE ROLE "shop" NOSUPERUSER NOCREATEDB NOCREATEROLE INHERIT NOLOGIN NOREPLICATION NOBYPASSRLS',
        'CREATE ROLE "Shop a" NOSUPERUSER NOCREATEDB NOCREATEROLE INHERIT LOGIN NOREPLICATION NOBYPASSRLS '
        "CONNECTION LIMIT 7 VALID UNTIL '2099-01-31 12:00+00'",
    ]
    assert 'REVOKE CONNECT, TEMPORARY ON DATABASE "shop" FROM PUBLIC' in planned["statements"]
    assert "no server runs on" in module(nothing, "access", fails=True, **SHOP)["msg"]


def test_an_error_of_the_server_undoes_the_whole_step(server: Server, access: Access) -> None:
    server.psql("CREATE TYPE vector AS ENUM ()")  # the extension's own type can't be made beside it
    options = {"roles": [{"name": "shop"}], "schemas": [{"name": "app", "owner": "shop"}],
               "extensions": [{"name": "vector", "schema": "public"}]}  # fmt: skip
    failed = access(**options, fails=True)
    assert failed["msg"].startswith("postgres: extension vector: ")
    assert 'type "vector" already exists' in failed["msg"]
    assert server.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'app'") == "0"
    server.psql("DROP TYPE vector")
    access(**options)
    assert access(**options)["changed"] is False


def test_a_killed_run_leaves_nothing_half_done(server: Server, access: Access) -> None:
    server.psql("CREATE DATABASE shop ENCODING 'UTF8' LOCALE 'C' TEMPLATE template0")
    where = {"data_dir": server.data_dir, "bin_dir": server.bin_dir, "socket_dir": server.socket_dir}
    given = {**{name: str(path) for name, path in where.items()}, "port": server.port, **SHOP}
    holder = psycopg.connect(host=str(server.socket_dir), port=server.port, user="postgres", dbname="shop")
    with holder, subprocess.Popen(command("access"), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True,
                                  cwd="/", env=environment()) as run:  # fmt: skip
        holder.execute("CREATE SCHEMA app")
        assert run.stdin
        run.stdin.write(module_options(given))
        run.stdin.close()
        waits = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND query LIKE 'CREATE SCHEMA%'"
        await_(lambda: server.psql(waits) == "1", what="the run's wait for another session")
        run.kill()
        run.wait()
        holder.rollback()
    await_(
        lambda: server.psql("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'boringdb.ops'") == "0",
        what="the end of the killed run's sessions",
    )
    assert server.psql("SELECT count(*) FROM pg_roles WHERE rolname IN ('shop', 'Shop a', 'report')") == "3"
    inside = "SELECT count(*) FROM pg_namespace WHERE nspname = 'app' UNION ALL SELECT count(*) FROM pg_default_acl"
    assert server.psql(inside, dbname="shop").split() == ["0", "0"]
    assert access(**SHOP)["changed"] is True
    assert access(**SHOP)["changed"] is False


def test_the_newest_version_converges_too(make_server: Callable[..., Server]) -> None:
    new = make_server("new", version=18, copied=True)
    accounts = [{"name": f"b_{job}", "job": job} for job in ("replication", "backup", "monitoring", "drill")]
    declared = {**SHOP, "extensions": [], "grants": SHOP["grants"][:4], "accounts": accounts}
    assert module(new, "access", **declared)["changed"] is True
    assert module(new, "access", **declared)["changed"] is False


def test_on_a_replica_it_refuses(server: Server, access: Access) -> None:
    server.stop()
    (server.data_dir / "standby.signal").touch()
    server.start()
    assert access(**SHOP, fails=True)["msg"].startswith("refused: this server is a replica (run it on the primary")


class TestAsAnAccountThatIsNoSuperuser:
    """CREATEROLE and CREATEDB, as documented."""

    @pytest.fixture
    def admin(self, server: Server, access: Access) -> Access:
        access(roles=[{"name": "admin", "login": True, "createrole": True, "createdb": True}])
        return partial(access, login_user="admin")

    def test_it_makes_roles_and_databases(self, server: Server, admin: Access) -> None:
        options = {
            "roles": [{"name": "shop"}, {"name": "shop_a", "login": True, "member_of": ["shop"], "password": "one"}],
            "databases": [{"name": "shop", "owner": "admin"}],
            "grants": [{"role": "PUBLIC", "state": "absent", "database": "shop", "type": "database",
                        "privileges": ["CONNECT"]}],
        }  # fmt: skip
        assert admin(**options)["changed"] is True
        with login(server, "shop_a", "one"):
            pass
        assert "admin may not read pg_authid, so that nobody can tell" in admin(**options, fails=True)["msg"]
        server.psql("GRANT SELECT (rolname, rolpassword) ON pg_authid TO admin")
        assert admin(**options)["changed"] is False

    def test_it_refuses_what_it_may_not(self, server: Server, admin: Access) -> None:
        refused = admin(roles=[{"name": "boss", "superuser": True, "replication": True}], fails=True)["msg"]
        assert "admin may not give or take superuser without having it (connect as a superuser)" in refused
        assert "replication" in refused
        server.psql("CREATE ROLE foreigner")
        failed = admin(roles=[{"name": "foreigner", "login": True}], fails=True)["msg"]
        assert failed.startswith("role foreigner: permission denied")
        server.psql("ALTER ROLE admin NOCREATEROLE NOCREATEDB")
        refused = admin(roles=[{"name": "x"}], databases=[{"name": "y"}], fails=True)["msg"]
        assert "role x: admin has no CREATEROLE (connect as one who has)" in refused
        assert "admin has no CREATEDB" in refused
        assert admin(grants=[{"role": "PUBLIC", "type": "schema", "objects": ["public"],
                              "privileges": ["USAGE"]}])["changed"] is False  # fmt: skip
