# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page `runbook`: its commands are run as they stand there, on a pair behind pgbouncer, in the page's order."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg
import pytest
from embedded_servers import Server, as_user, await_, free_port
from pool_ground import program

from tests.runbook import PAGE, definitions, follow, sections

SHELL = re.compile(r"^```sh\n", re.MULTILINE)


class Ground:
    """`one` is the primary, `two` its replica, and a pooler before them; both archive."""

    def __init__(self, make_server: Callable[..., Server], root: Path) -> None:
        self.root, self.servers = root, {"one": make_server("one", start=False)}
        self.archive = self.place("archive")
        one = self.servers["one"]
        with (one.data_dir / "postgresql.conf").open("a") as conf:
            conf.write(
                "fsync = off\nwal_log_hints = on\nwal_keep_size = 64MB\narchive_mode = on\n"
                f"archive_command = 'test -f {self.archive}/%f || cp %p {self.archive}/%f'\n"
            )
        one.start()
        one.psql("CREATE ROLE app LOGIN", "CREATE DATABASE shop", "SELECT pg_create_physical_replication_slot('two')")
        one.psql("CREATE TABLE written (id serial, note text)", "GRANT ALL ON written TO app",
                 "GRANT ALL ON SEQUENCE written_id_seq TO app", dbname="shop")  # fmt: skip
        two = self.servers["two"] = make_server("two", initdb=False)
        where = f"host=127.0.0.1 port={one.port} user=postgres"
        one.run("pg_basebackup", "-D", two.data_dir, "-d", where, "-c", "fast", "-R", "-S", "two")
        two._listen()
        two.start()
        self.pool_port = free_port()
        self.ini = self.place("pooler") / "pgbouncer.ini"
        self.begin_pooler()

    def place(self, name: str) -> Path:
        """A directory of the servers' owner."""
        found = self.root / name
        words = [*as_user(self.servers["one"].owner), "mkdir", str(found)]
        self.root.chmod(0o777)
        subprocess.run(words, check=True, cwd="/")
        return found

    def begin_pooler(self) -> None:
        """A pooler that lets everybody in."""
        users = self.ini.with_name("users")
        users.write_text('"app" ""\n"pool_admin" ""\n')
        self.ini.write_text(
            f"[databases]\nshop = host=127.0.0.1 port={self.servers['one'].port}\n"
            f"[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {self.pool_port}\nauth_type = trust\n"
            f"auth_file = {users}\nadmin_users = pool_admin\npool_mode = transaction\nserver_login_retry = 1\n"
            f"unix_socket_dir =\nlogfile = {self.ini.with_name('log')}\npidfile = {self.ini.with_name('pid')}\n"
        )
        for place in (users, self.ini):
            place.chmod(0o666)
        words = [*as_user(self.servers["one"].owner), program(), "-q", "-d", str(self.ini)]
        subprocess.run(words, check=True, cwd="/", timeout=60)

    def end(self) -> None:
        """Stop the pooler."""
        os.kill(int(self.ini.with_name("pid").read_text()), 9)

    def terminal(self, old: str, new: str) -> dict[str, dict[str, str]]:
        """The variables that the page names, by the host that it names."""
        found = {host: self.of(self.servers[name], self.servers[other]) for host, name, other in (
            ("old", old, new), ("new", new, old))}  # fmt: skip
        for variables in found.values():
            variables["SLOT"] = old
        primary = {"PRIMARY_HOST": "127.0.0.1", "PRIMARY_PORT": str(self.servers[new].port)}
        console = {"PGHOST": "127.0.0.1", "PGPORT": str(self.pool_port), "PGUSER": "pool_admin"}
        found["pooler"] = {
            **console, **primary, "PGDATABASE": "pgbouncer", "DATABASE": "shop", "POOL_INI": str(self.ini)
        }  # fmt: skip
        return found

    def of(self, server: Server, other: Server) -> dict[str, str]:
        """Those of a server's host."""
        return {
            "PGDATA": str(server.data_dir), "PGHOST": str(server.socket_dir), "PGPORT": str(server.port),
            "PGUSER": "postgres", "PGDATABASE": "postgres", "PGLOG": str(server.socket_dir / "by-hand.log"),
            "OTHER_HOST": "127.0.0.1", "OTHER_PORT": str(other.port), "OTHER_USER": "postgres",
            "KEEP": str(server.socket_dir / "keep"), "CONFIG": str(server.data_dir),
        }  # fmt: skip

    def shell(self, commands: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
        """What a person types there, each command's failure being the end."""
        one = self.servers["one"]
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        return subprocess.run(
            [*as_user(one.owner), "bash", "-euo", "pipefail", "-c", commands], env={
                **inherited, **variables, "PATH": f"{one.bin_dir}:{os.environ['PATH']}"
            }, cwd="/", text=True, capture_output=True, timeout=120, stdin=subprocess.DEVNULL, check=False,
        )  # fmt: skip

    def follow(self, part: str, hosts: dict[str, dict[str, str]], leave_out: str = "") -> None:
        """Do what a part of the page says."""

        def terminal(host: str, commands: str, known: dict[str, str]) -> str:
            done = self.shell(definitions()["plain"] + commands, {**hosts[host], **known})
            assert done.returncode == 0, f"{part}, on {host}:\n{commands}\n{done.stdout}{done.stderr}"
            return done.stdout

        follow(part, terminal, leave_out=leave_out)

    def write(self, note: str) -> None:
        """A row through the pooler."""
        where = {"host": "127.0.0.1", "port": self.pool_port, "user": "app", "dbname": "shop"}
        with psycopg.connect(**where, autocommit=True, prepare_threshold=None, connect_timeout=10) as connection:
            connection.execute("INSERT INTO written (note) VALUES (%s)", [note])

    def notes(self, name: str) -> list[str]:
        """What a server has."""
        return self.servers[name].psql("SELECT note FROM written ORDER BY id", dbname="shop").split()

    def follows(self, old: str, new: str) -> None:
        """One is the primary, and the other streams from it through its slot."""
        primary, replica = self.servers[new], self.servers[old]
        assert (primary.psql("SELECT pg_is_in_recovery()"), replica.psql("SELECT pg_is_in_recovery()")) == ("f", "t")
        active = f"SELECT active FROM pg_replication_slots WHERE slot_name = '{old}'"
        await_(lambda: primary.psql(active) == "t", what=f"the slot of {old}")
        await_(lambda: self.notes(old) == self.notes(new), what=f"what {old} has")


@pytest.fixture
def ground(make_server: Callable[..., Server], pg_root: Path) -> Iterator[Ground]:
    """The pair."""
    program()
    made = Ground(make_server, pg_root)
    try:
        yield made
    finally:
        made.end()


def test_every_command_is_run() -> None:
    tagged = sum(len(steps) for steps in sections().values())
    assert len(SHELL.findall(PAGE)) == tagged + len(definitions())
    commands = "".join(text for steps in sections().values() for _host, _sets, text in steps)
    named = set(re.findall(r"\$(\w+)", commands))
    own = {"CLOSED_AT", "HOME", "process", "WAL"}
    assert set(definitions()) == {"plain", "systemd"}
    assert {name for name in named - own if f"`{name}`" not in PAGE} == set()


def test_the_page_from_its_first_command_to_its_last(ground: Ground, make_server: Callable[..., Server]) -> None:
    ground.write("before")
    one, two = ground.servers["one"], ground.servers["two"]
    ground.follow("Switchover by hand", ground.terminal("one", "two"))
    ground.write("switched")
    ground.follows("one", "two")
    assert ground.notes("two") == ["before", "switched"]

    # What looks whether the primary is gone stops where it is not.
    hosts = ground.terminal("two", "one")
    look = sections()["Failover by hand"][0]
    assert look[0] == "new" and "stop here" in ground.shell(look[2], hosts["new"]).stdout
    # Rows that only the old primary has: its replica hears nothing of them.
    backup = ground.root / "backup"
    ground.root.chmod(0o777)
    two.run("pg_basebackup", "-D", backup, "-h", two.socket_dir, "-p", str(two.port), "-U", "postgres", "-c", "fast")
    ground.write("restored")
    target = two.psql("SELECT clock_timestamp()")
    ground.write("later")
    two.psql("SELECT pg_switch_wal()")
    ground.follows("one", "two")
    one.stop()
    ground.write("alone")
    two.kill()
    one.start()
    ground.follow("Failover by hand", hosts)
    ground.write("failed-over")
    assert ground.notes("one") == ["before", "switched", "restored", "later", "failed-over"]

    ground.follow("Rejoin by pg_rewind", hosts)
    ground.follows("two", "one")
    assert (two.socket_dir / "keep/pg_wal").is_dir()
    ground.follow("Reclone", hosts)
    ground.follows("two", "one")
    ground.write("at-last")
    ground.follows("two", "one")

    spare = make_server("spare", initdb=False)
    own = {"BACKUP": str(backup), "ARCHIVE": str(ground.archive), "TARGET": target}
    hosts = {"restored": {**ground.of(spare, one), **own}}
    ground.follow("Point-in-time restore by hand", hosts, "restored_by_pgbackrest")
    restored = spare.psql("SELECT note FROM written ORDER BY id", dbname="shop").split()
    assert restored == ["before", "switched", "restored"]
    assert spare.psql("SELECT pg_is_in_recovery()") == "f"
