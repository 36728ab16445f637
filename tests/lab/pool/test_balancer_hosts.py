# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On real hosts: Debian's HAProxy by systemd, its check without rights, a reload, a host that vanishes, a boot."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.lab import cluster
from tests.lab.estate import Estate, changed, lab_hosts

MEMBERS, BALANCER = ("hp1", "hp2"), "hpb"
APP, CHECK = "for the app of the lab", "for the check of the lab"
PORTS = {"rw": 6432, "ro": 6433}
POOL: dict[str, Any] = {"pool_tool": "haproxy", "pool_check_password": CHECK, "pool_max_lag": 5}
pytestmark = pytest.mark.lab


def describe(it: Estate, **pool: Any) -> None:
    """Say which members there are, and the balancer."""
    at = {name: {"ansible_host": it.addresses[name]} for name in (*MEMBERS, BALANCER)}
    members = {name: value for name, value in cluster.MEMBERS.items() if name != "db_backup_tool"}
    it.describe({
        "wares": {"hosts": {name: at[name] for name in MEMBERS}, "vars": members},
        "balancer_hosts": {"hosts": {BALANCER: at[BALANCER]}, "vars": {**POOL, **pool}},
    })  # fmt: skip


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A provisioned pair, and a host for HAProxy."""
    with lab_hosts(tmp_path_factory.mktemp("balancer"), *MEMBERS, BALANCER) as it:
        describe(it)
        it.play("provision", cluster="wares")
        it.sql("hp1", f"CREATE ROLE app LOGIN PASSWORD '{APP}'")
        yield it


def converge(estate: Estate, *words: str) -> str:
    """The playbook."""
    return estate.play("pool", "-e", "pool_hosts=balancer_hosts", *words, cluster="wares")


def words_of(estate: Estate, port: str) -> str:
    """How a client comes in."""
    given = f"host={estate.addresses[BALANCER]} port={PORTS[port]} user=app dbname=postgres connect_timeout=5"
    return f"PGPASSWORD='{APP}' psql -XAtq -v ON_ERROR_STOP=1 '{given}'"


def reached(estate: Estate, port: str = "rw") -> str:
    """The member that a client of another host comes to, or nothing."""
    said = estate.on("hp2", f"{words_of(estate, port)} -c 'SELECT host(inet_server_addr())'", check=False).strip()
    return next((name for name in MEMBERS if estate.addresses[name] == said), "")


def await_(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until the condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.2)


def test_it_is_installed_and_a_second_run_changes_nothing(estate: Estate) -> None:
    assert changed(converge(estate, "--check", "--diff"))[BALANCER] > 0
    assert estate.on(BALANCER, "ls /etc/haproxy /usr/sbin/haproxy 2>/dev/null || true") == ""
    output = converge(estate)
    assert CHECK not in output
    assert f"hp1 at {estate.addresses['hp1']}:5432: writes: yes; reads: is no replica" in " ".join(output.split())
    await_(lambda: (reached(estate, "rw"), reached(estate, "ro")) == ("hp1", "hp2"), "each port's member")
    assert set(changed(converge(estate)).values()) == {0}
    assert set(changed(converge(estate, "--check", "--diff")).values()) == {0}
    pid = estate.on(BALANCER, "systemctl show -p MainPID --value boringdb-pool-check.service").strip()
    assert estate.on(BALANCER, f"ps -o user= -p {pid}").strip() not in ("root", "postgres")
    assert "0000000000000000" in estate.on(BALANCER, f"grep CapEff /proc/{pid}/status")
    assert estate.on(BALANCER, "stat -c '%a %U' /etc/haproxy/boringdb-check.pass").split() == ["600", "root"]
    assert CHECK not in estate.on(BALANCER, "journalctl --no-pager; ps aux; cat /etc/haproxy/*.cfg /etc/haproxy/*.json")
    listening = estate.on(BALANCER, "ss -Hltn 'sport = :6434'").split()
    assert listening[3] == "127.0.0.1:6434"


def test_a_reload_and_a_restart_of_the_check_end_no_session(estate: Estate) -> None:
    argv = ["ssh", "-F", estate.ssh_config, "hp2", words_of(estate, "rw")]
    with subprocess.Popen(argv, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as client:
        assert client.stdin and client.stdout

        def answers(word: str) -> bool:
            assert client.stdin and client.stdout
            client.stdin.write(f"SELECT '{word}';\n")
            client.stdin.flush()
            return client.stdout.readline().strip() == word

        assert answers("before")
        describe(estate, pool_max_clients=700, pool_max_lag=4)
        counts = changed(converge(estate))
        assert counts[BALANCER] > 0
        assert "maxconn 700" in estate.on(BALANCER, "cat /etc/haproxy/haproxy.cfg")
        assert answers("after the reload")
        for command in (
            "reload haproxy",
            "restart boringdb-pool-check.service",
            "kill -s KILL boringdb-pool-check.service",
        ):
            estate.on(BALANCER, f"systemctl {command}")
            assert reached(estate) == "hp1", command
        # Longer than HAProxy waits for the check.
        until = time.monotonic() + 5
        await_(lambda: time.monotonic() > until or not answers("held"), "the wait")
        assert answers("after the restart")
        client.stdin.close()
    assert set(changed(converge(estate)).values()) == {0}


def test_a_host_that_vanishes_is_left_and_a_boot_starts_closed(estate: Estate) -> None:
    estate.lab("kill", "hp1")
    await_(lambda: reached(estate) == "", "the end of writes to a host that is gone", 30)
    estate.sql("hp2", "SELECT pg_promote()")
    await_(lambda: reached(estate) == "hp2", "writes to the new primary", 30)
    assert reached(estate, "ro") == "", "nobody is left to read of"
    estate.lab("kill", BALANCER)
    estate.lab("start", BALANCER)
    await_(lambda: reached(estate) == "hp2", "writes after the boot")
    assert "failed" not in estate.on(BALANCER, "systemctl list-units --failed --plain --no-legend")
    journal = estate.on(BALANCER, "journalctl -b --no-pager -u haproxy -u boringdb-pool-check")
    assert "Server writes/hp1 is DOWN, changed from server-state" in journal
    assert "hp2: writes: yes" in journal
