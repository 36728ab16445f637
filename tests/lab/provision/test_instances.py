# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two clusters whose primaries share one host, as Debian's postgresql@15-NAME; one has a tablespace and a replica.

The host `provi1` runs both primaries, `provi2` the replica, `proviv` holds both repositories and is their drill host.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.lab.estate import Estate, changed, lab_hosts

HOSTS = ("provi1", "provi2", "proviv")
SPACE = "/srv/fast/books"
PORTS = {"books": 5433, "cellar": 5434}

#: 60 MB that don't compress, so that a clone takes a moment.
BIG = """
CREATE TABLE shelf TABLESPACE fast AS
SELECT n AS id, string_agg(md5((n * 40 + m)::text), '') AS what
FROM generate_series(1, 40000) n, generate_series(1, 40) m GROUP BY n
"""

pytestmark = pytest.mark.lab


class Shared(Estate):
    """The two clusters. A member is an inventory host of its own: `books1` and `cellar1` are one machine."""

    def inventory_of(self, **other: dict[str, Any]) -> None:
        """Write the inventory; `other` are variables of a cluster that differ from the usual ones."""
        at = {name: {"ansible_host": self.addresses[name]} for name in HOSTS}
        own = {"books": {"postgresql_tablespaces": [{"name": "fast", "location": SPACE}]}, "cellar": {}}
        members = {
            "books": {"books1": at["provi1"], "books2": at["provi2"]},
            "cellar": {"cellar1": at["provi1"]},
        }
        groups: dict[str, Any] = {
            name: {
                "hosts": members[name],
                "vars": {
                    "db_version": 15,
                    "db_port": PORTS[name],
                    "db_service": f"postgresql@15-{name}",
                    "db_data_dir": f"/var/lib/postgresql/15/{name}",
                    "db_config_dir": f"/etc/postgresql/15/{name}",
                    "db_address": "{{ ansible_host }}",
                    "db_backup_tool": "pgbackrest",
                    "postgresql_replication_password": "for the lab only, 32 characters!",
                    "postgresql_settings": {"shared_buffers": "64MB"},
                    **own[name],
                    **other.get(name, {}),
                },
            }
            for name in members
        }
        vault = {"hosts": {"proviv": at["proviv"]}}
        self.describe({**groups, "repository_hosts": vault, "drill_hosts": vault}, backup_repository_host="proviv")

    def both(self, playbook: str, *words: str) -> dict[str, str]:
        """Run a playbook for both clusters at the same time."""
        with ThreadPoolExecutor() as pool:
            said = pool.map(lambda name: self.play(playbook, *words, cluster=name), PORTS)
            return dict(zip(PORTS, said))


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Both clusters, provisioned one after the other, with something in them and one backup each."""
    with lab_hosts(tmp_path_factory.mktemp("hosts"), *HOSTS) as it:
        made = Shared(tmp_path_factory.mktemp("instances"))
        made.addresses, made.ssh_config = it.addresses, it.ssh_config
        made.inventory_of()
        made.play("evidence_key", cluster="books")
        # Without its replica, which comes later.
        written = made.inventory.read_text()
        alone = json.loads(written)
        del alone["all"]["children"]["books"]["hosts"]["books2"]
        made.inventory.write_text(json.dumps(alone))
        for name in PORTS:
            made.play("provision", cluster=name)
        made.inventory.write_text(written)
        made.sql("provi1", BIG, PORTS["books"])
        made.sql("provi1", "CREATE TABLE wine AS SELECT n AS id FROM generate_series(1, 3000) n", PORTS["cellar"])
        yield made


def running(shared: Shared) -> dict[str, str]:
    """The process number of each server on the shared host."""
    ask = "systemctl show -p MainPID --value postgresql@15-"
    return {name: shared.on("provi1", ask + name).strip() for name in PORTS}


def test_a_clone_whose_host_loses_power_is_begun_again(shared: Shared) -> None:
    """Its tablespace lies outside of the data directory, and is half full."""
    freeze = (
        f"until ls {SPACE}/PG_15_*/*/* >/dev/null 2>&1; do sleep 0.02; done; pkill -STOP -x pg_basebackup; ls {SPACE}"
    )
    with ThreadPoolExecutor() as pool:
        watcher = pool.submit(shared.on, "provi2", freeze)
        run = pool.submit(shared.attempt, "provision", "-e", "cluster=books")
        assert "PG_15_" in watcher.result()
        shared.lab("kill", "provi2")
        ended = run.result()
    assert ended.returncode != 0
    shared.lab("start", "provi2")
    assert "PG_15_" in shared.on("provi2", f"ls {SPACE}")
    assert "PG_VERSION" not in shared.on("provi2", "ls /var/lib/postgresql/15/books", check=False)
    shared.play("provision", cluster="books")
    streams = "SELECT application_name, state FROM pg_stat_replication"
    assert shared.sql("provi1", streams, PORTS["books"]) == "books2|streaming"
    assert shared.sql("provi2", "SELECT count(*) FROM shelf", PORTS["books"]) == "40000"
    assert shared.on("provi2", "ls /var/lib/postgresql/15").split() == ["books", "books.passfile"]


def test_nothing_is_shared_that_both_need(shared: Shared) -> None:
    files = shared.on("provi1", "ls -A /var/run/postgresql")
    for name, port in PORTS.items():
        assert re.search(rf"^15-{name}\.pid$", files, re.MULTILINE)
        assert f".s.PGSQL.{port}\n" in files
        assert shared.sql("provi1", "SHOW data_directory", port) == f"/var/lib/postgresql/15/{name}"
        assert f"stanza={name} " in shared.sql("provi1", "SHOW archive_command", port)
        assert f"pg1-port={port}" in shared.on("provi1", f"cat /etc/pgbackrest/conf.d/{name}.conf")
    assert shared.on("proviv", "ls /etc/pgbackrest/conf.d").split() == ["books.conf", "cellar.conf"]
    assert shared.on("proviv", "ls /var/lib/pgbackrest/archive").split() == ["books", "cellar"]


def test_both_are_backed_up_and_drilled_at_the_same_time(shared: Shared) -> None:
    shared.both("backup")
    lent = "CREATE TABLE lent TABLESPACE fast AS SELECT n AS id FROM generate_series(1, 500) n"
    shared.sql("provi1", lent, PORTS["books"])
    shared.sql("provi1", "INSERT INTO wine SELECT generate_series(3001, 3100)", PORTS["cellar"])
    for name in PORTS:
        shared.on("proviv", f"su postgres -c 'pgbackrest --stanza={name} check'")
    where = "SELECT coalesce(min(pg_tablespace_location(oid)), 'none') FROM pg_tablespace WHERE spcname = 'fast'"
    places = {"books": "/var/lib/boringdb/drill/books/data.tablespaces/fast", "cellar": "none"}
    asked = [{"name": "place", "database": "postgres", "query": where, "expected": "{{ places[cluster] }}"}]
    words = json.dumps({"places": places, "restore_drill_invariants": asked})
    before = running(shared)
    said = shared.both("restore_drill", "-e", words)
    rows = {"books": 40500, "cellar": 3100}
    for name in PORTS:
        assert re.search(rf"{name} verified .*rows={rows[name]}", said[name]), said[name][-2000:]
        checks = {check["name"]: check["status"] for check in shared.record(name)["checks"]}
        assert checks["invariant:place"] == "passed"
    assert running(shared) == before
    assert shared.on("proviv", "find /var/lib/boringdb/drill /srv -type f -o -name 'PG_*'").split() == []


@pytest.mark.parametrize("words", [(), ("--check",)], ids=["again", "check"])
def test_both_are_left_alone_when_converged(shared: Shared, words: tuple[str, ...]) -> None:
    both = {name: changed(said) for name, said in shared.both("provision", *words).items()}
    assert both == {"books": {"books1": 0, "books2": 0, "proviv": 0}, "cellar": {"cellar1": 0, "proviv": 0}}


def test_one_is_restarted_and_the_other_does_not_notice(shared: Shared) -> None:
    before = running(shared)
    other = {"cellar": {"postgresql_settings": {"shared_buffers": "80MB"}, "postgresql_restart": True}}
    shared.inventory_of(**other)
    try:
        shared.play("provision", cluster="cellar")
    finally:
        shared.inventory_of()
    after = running(shared)
    assert after["books"] == before["books"]
    assert after["cellar"] not in ("0", before["cellar"])
    assert shared.sql("provi1", "SHOW shared_buffers", PORTS["cellar"]) == "80MB"


@pytest.mark.parametrize(
    ("name", "value"),
    [("db_port", 5433), ("db_data_dir", "/var/lib/postgresql/15/books"), ("db_service", "postgresql@15-books")],
)
def test_what_two_servers_would_share_is_refused(shared: Shared, name: str, value: Any) -> None:
    shared.inventory_of(cellar={name: value})
    try:
        done = shared.attempt("provision", "-e", "cluster=cellar")
    finally:
        shared.inventory_of()
    assert done.returncode != 0
    told = " ".join(done.stdout.split())
    assert f"{name} {value} is also that of books1 on the same machine (give each server its own)" in told
    assert "nothing was changed" in told
    assert changed(done.stdout) == {"cellar1": 0}


def test_both_come_back_with_the_host(shared: Shared) -> None:
    shared.lab("kill", "provi1")
    shared.lab("start", "provi1")
    for name, port in PORTS.items():
        shared.on("provi1", f"timeout 60 sh -c 'until pg_isready -q -p {port}; do sleep 0.1; done'")
        assert shared.on("provi1", f"systemctl is-active postgresql@15-{name}").strip() == "active"
    assert shared.sql("provi1", "SELECT count(*) FROM shelf", PORTS["books"]) == "40000"
