# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The page `runbook` on real hosts: systemd, configuration in /etc, pgBackRest. Then a playbook takes over."""

from __future__ import annotations

import base64
import shlex
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest

from tests.integration.estate_runs import await_
from tests.lab import cluster
from tests.lab.estate import Estate, lab_hosts
from tests.runbook import definitions, follow, sections

ONE, TWO, POOLER = "rb1", "rb2", "rbp"
UNIT, DATA = cluster.MEMBERS["db_service"], cluster.MEMBERS["db_data_dir"]
BIN = f"/usr/lib/postgresql/{cluster.MEMBERS['db_version']}/bin"
SECRET = "for people of the lab"
POOL: dict[str, Any] = {
    "pool_databases": {"shop": {}},
    "pool_auth_password": "for pgbouncer of the lab",
    "pool_admin_password": SECRET,
}
RULE = {"type": "host", "user": "byhand", "address": "samenet", "method": "scram-sha-256"}
pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A pair with a backup and a pooler, and a person's account: with its password on each host, and leave to stop."""
    with lab_hosts(tmp_path_factory.mktemp("runbook"), ONE, TWO, POOLER) as it:
        at = {name: {"ansible_host": it.addresses[name]} for name in (ONE, TWO, POOLER)}
        rules = [{**RULE, "database": name} for name in ("all", "replication")]
        it.describe({
            "goods": {"hosts": {name: at[name] for name in (ONE, TWO)},
                      "vars": {**cluster.MEMBERS, "postgresql_hba": rules}},
            "pooler_hosts": {"hosts": {POOLER: at[POOLER]}, "vars": POOL},
            "repository_hosts": {"hosts": {POOLER: at[POOLER]}},
        }, backup_repository_host=POOLER)  # fmt: skip
        it.play("provision", cluster="goods")
        it.play("evidence_key", cluster="goods")
        it.sql(ONE, f"CREATE ROLE byhand SUPERUSER LOGIN PASSWORD '{SECRET}'")
        it.sql(ONE, f"CREATE ROLE app LOGIN PASSWORD '{SECRET}'")
        it.sql(ONE, "CREATE DATABASE shop OWNER app")
        it.play("pool", cluster="goods")
        it.on(POOLER, "apt-get install -qy postgresql-client >/dev/null 2>&1")
        for host in (ONE, TWO, POOLER):
            it.on(host, f"echo '*:*:*:*:{SECRET}' | install -o postgres -m 600 /dev/stdin ~postgres/.pgpass")
        for host in (ONE, TWO):
            words = ", ".join(f"/usr/bin/systemctl {verb} {UNIT}" for verb in ("stop", "start", "kill -s KILL"))
            it.on(host, f"echo 'postgres ALL = NOPASSWD: {words}' > /etc/sudoers.d/by-hand")
        yield it


def variables(estate: Estate, old: str, new: str) -> dict[str, dict[str, str]]:
    """The variables that the page names, by the host that it names."""

    def of(other: str) -> dict[str, str]:
        return {
            "PGDATA": DATA, "PGHOST": "/var/run/postgresql", "PGPORT": "5432", "PGUSER": "postgres",
            "PGDATABASE": "postgres", "PGLOG": "/var/log/postgresql/by-hand.log", "UNIT": UNIT,
            "CONFIG": cluster.MEMBERS["db_config_dir"], "KEEP": "/var/lib/postgresql/keep", "SLOT": old,
            "OTHER_HOST": estate.addresses[other], "OTHER_PORT": "5432", "OTHER_USER": "byhand",
        }  # fmt: skip

    console = {"PGHOST": "127.0.0.1", "PGPORT": "6432", "PGUSER": "pool_admin", "PGDATABASE": "pgbouncer"}
    primary = {"PRIMARY_HOST": estate.addresses[new], "PRIMARY_PORT": "5432"}
    own = {"DATABASE": "shop", "POOL_INI": "/etc/pgbouncer/pgbouncer.ini"}
    return {"old": of(new), "new": of(old), "pooler": {**console, **primary, **own}}


def type_there(estate: Estate, host: str, commands: str, given: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What a person types in a terminal of the servers' owner, each command's failure being the end."""
    exports = "".join(f"export {name}={shlex.quote(value)}\n" for name, value in given.items())
    script = f"export PATH={BIN}:$PATH\n{exports}{definitions()['systemd']}{commands}"
    encoded = base64.b64encode(script.encode()).decode()
    words = f'su - postgres -s /bin/bash -c \'bash -euo pipefail -c "$(echo {encoded} | base64 -d)"\''
    argv = ["ssh", "-F", estate.ssh_config, host, words]
    return subprocess.run(argv, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=300, check=False)


def do(estate: Estate, part: str, old: str, new: str) -> None:
    """What a part of the page says."""
    at, given = {"old": old, "new": new, "pooler": POOLER}, variables(estate, old, new)

    def terminal(host: str, commands: str, known: dict[str, str]) -> str:
        done = type_there(estate, at[host], commands, {**given[host], **known})
        assert done.returncode == 0, f"{part}, on {at[host]}:\n{commands}\n{done.stdout}{done.stderr}"
        return done.stdout

    follow(part, terminal)


def write(estate: Estate, note: str) -> None:
    """A row through the pooler."""
    where = "host=127.0.0.1 port=6432 user=app dbname=shop connect_timeout=10"
    text = f"CREATE TABLE IF NOT EXISTS written (id serial, note text); INSERT INTO written (note) VALUES ('{note}')"
    estate.on(POOLER, f"PGPASSWORD='{SECRET}' psql -XAtq -v ON_ERROR_STOP=1 '{where}' -c \"{text}\"")


def notes(estate: Estate, host: str, port: int = 5432, place: str = "/var/run/postgresql") -> list[str]:
    """What a server has."""
    query = "SELECT note FROM written ORDER BY id"
    return estate.on(host, f"su postgres -c \"psql -XAtq -h {place} -p {port} -d shop -c '{query}'\"").split()


def follows(estate: Estate, old: str, new: str) -> None:
    """One is the primary, and the other streams from it through its slot, as its unit's server."""
    assert [estate.sql(host, "SELECT pg_is_in_recovery()") for host in (new, old)] == ["f", "t"]
    active = f"SELECT active FROM pg_replication_slots WHERE slot_name = '{old}'"
    await_(lambda: estate.sql(new, active) == "t", f"the slot of {old}", 60)
    await_(lambda: notes(estate, old) == notes(estate, new), f"what {old} has", 60)
    for host in (old, new):
        assert estate.on(host, f"systemctl is-active {UNIT}").strip() == "active"


def test_the_page_from_its_first_command_to_its_last(estate: Estate) -> None:
    write(estate, "before")
    estate.play("backup", cluster="goods")
    do(estate, "Switchover by hand", ONE, TWO)
    write(estate, "switched")
    follows(estate, ONE, TWO)
    assert notes(estate, TWO) == ["before", "switched"]

    # What looks whether the primary is gone stops where it is not.
    look = sections()["Failover by hand"][0]
    assert "stop here" in type_there(estate, ONE, look[2], variables(estate, TWO, ONE)["new"]).stdout
    write(estate, "restored")
    target = estate.sql(TWO, "SELECT clock_timestamp()")
    write(estate, "later")
    follows(estate, ONE, TWO)
    # Rows that only the old primary has: its replica hears nothing of them.
    estate.on(ONE, f"systemctl stop {UNIT}")
    write(estate, "alone")
    estate.on(TWO, f"systemctl kill -s KILL {UNIT}")
    estate.on(ONE, f"systemctl start {UNIT}")
    do(estate, "Failover by hand", TWO, ONE)
    write(estate, "failed-over")
    assert notes(estate, ONE) == ["before", "switched", "restored", "later", "failed-over"]

    do(estate, "Rejoin by pg_rewind", TWO, ONE)
    follows(estate, TWO, ONE)
    assert estate.on(TWO, "ls -d /var/lib/postgresql/keep/pg_wal")
    do(estate, "Reclone", TWO, ONE)
    follows(estate, TWO, ONE)
    write(estate, "at-last")
    estate.sql(ONE, "SELECT pg_switch_wal()")

    # Beside the replica, on a port of its own.
    place = {"PGDATA": "/var/lib/postgresql/restored", "PGHOST": "/var/lib/postgresql", "PGPORT": "5499"}
    given = {**variables(estate, TWO, ONE)["old"], **place, "STANZA": "goods", "TARGET": target}
    blocks = [step for step in sections()["Point-in-time restore by hand"] if step[0] != "restored"]
    blocks += [step for step in sections()["Point-in-time restore by hand"] if step[0] == "restored"][1:]
    for _host, _sets, commands in blocks:
        done = type_there(estate, TWO, commands, given)
        assert done.returncode == 0, f"{commands}\n{done.stdout}{done.stderr}"
    assert notes(estate, TWO, 5499, place["PGHOST"]) == ["before", "switched", "restored"]
    done = type_there(estate, TWO, 'pg_ctl stop -D "$PGDATA" -m fast', given)
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_playbook_takes_over(estate: Estate) -> None:
    """It reads what the servers are, whoever made them so."""
    estate.play("switchover", "-e", f"switchover_candidate={TWO}", cluster="goods")
    assert estate.record("goods")["verdict"] == "verified"
    write(estate, "by-playbook")
    follows(estate, ONE, TWO)
