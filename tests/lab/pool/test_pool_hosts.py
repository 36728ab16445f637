# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""On real hosts: Debian's pgbouncer by systemd, with TLS, as one process and as several; all hosts paused or none."""

from __future__ import annotations

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from tests.lab import cluster
from tests.lab.estate import ROOT, TOOLS, Estate, changed, lab_hosts

MEMBERS, POOLERS = ("pol1", "pol2"), ("pola", "polb")
APP, ADMIN = "for the app of the lab", "for the console of the lab"
POOL: dict[str, Any] = {
    "pool_databases": {"shop": {}},
    "pool_auth_password": "for pgbouncer of the lab",
    "pool_admin_password": ADMIN,
}
TLS = {"pool_tls_certificate": "/etc/pgbouncer/tls.crt", "pool_tls_key": "/etc/pgbouncer/tls.key"}
pytestmark = pytest.mark.lab


def describe(it: Estate, **pool: Any) -> None:
    """Say which members and poolers there are."""
    at = {name: {"ansible_host": it.addresses[name]} for name in (*MEMBERS, *POOLERS)}
    members = {name: value for name, value in cluster.MEMBERS.items() if name != "db_backup_tool"}
    it.describe({
        "goods": {"hosts": {name: at[name] for name in MEMBERS}, "vars": members},
        "pooler_hosts": {"hosts": {name: at[name] for name in POOLERS}, "vars": {**POOL, **pool}},
    })  # fmt: skip


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A provisioned pair with a database, and two hosts for poolers."""
    with lab_hosts(tmp_path_factory.mktemp("pool"), *MEMBERS, *POOLERS) as it:
        describe(it)
        it.play("provision", cluster="goods")
        it.sql("pol1", f"CREATE ROLE app LOGIN PASSWORD '{APP}'")
        it.sql("pol1", "CREATE DATABASE shop OWNER app")
        yield it


def client(estate: Estate, host: str, pooler: str, text: str, **more: Any) -> subprocess.CompletedProcess[str]:
    """A client on one host that goes through the pooler of another."""
    given = {"user": "app", "dbname": "shop", "port": 6432, "sslmode": "prefer", "connect_timeout": 5, **more}
    words = " ".join(f"{name}={value}" for name, value in given.items())
    secret = ADMIN if given["user"] == "pool_admin" else APP
    script = f"PGPASSWORD='{secret}' psql -XAtq -v ON_ERROR_STOP=1 'host={estate.addresses[pooler]} {words}' -f -"
    argv = ["ssh", "-F", estate.ssh_config, host, script]
    return subprocess.run(argv, input=text, capture_output=True, text=True, timeout=60, check=False)


def through(estate: Estate, pooler: str, text: str = "SELECT current_user", **more: Any) -> str:
    """The bare answer."""
    done = client(estate, "pol2", pooler, text, **more)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.strip()


def await_(condition: Callable[[], bool], what: str, seconds: float = 60) -> None:
    """Wait until the condition holds."""
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, what
        time.sleep(0.1)


def paused(estate: Estate, pooler: str, *ports: int) -> list[str]:
    """Whether the database is paused, as each console tells."""
    told = [through(estate, pooler, "SHOW DATABASES", user="pool_admin", dbname="pgbouncer", port=port)
            for port in ports or (6432,)]  # fmt: skip
    return [line.split("|")[-2] for text in told for line in text.splitlines() if line.startswith("shop|")]


def resumed(estate: Estate, pooler: str) -> bool:
    """Whether it lets clients go on."""
    return paused(estate, pooler) == ["0"]


def module(estate: Estate, host: str, fails: bool = False, **options: Any) -> str:
    """`pool` on a host by itself, without the playbook."""
    argv = [str(TOOLS / "ansible"), host, "-i", str(estate.inventory), "-b", "--become-user", "postgres"]
    done = subprocess.run(
        [*argv, "-m", "boringdb.ops.pool", "-a", json.dumps(options)], cwd=ROOT, capture_output=True, text=True,
        timeout=300, check=False, env={**os.environ, "ANSIBLE_NOCOLOR": "1"},
    )  # fmt: skip
    assert (done.returncode != 0) is fails, done.stdout + done.stderr
    return " ".join(done.stdout.split())


def test_a_dry_run_on_fresh_hosts_changes_nothing(estate: Estate) -> None:
    counts = changed(estate.play("pool", "--check", "--diff", cluster="goods"))
    assert all(counts[host] > 0 for host in POOLERS)
    for host in POOLERS:
        assert estate.on(host, "ls /etc/pgbouncer /usr/sbin/pgbouncer 2>/dev/null || true") == ""
    assert estate.sql("pol1", "SELECT count(*) FROM pg_roles WHERE rolname = 'pool_auth'") == "0"


def test_clients_come_in_and_a_second_run_changes_nothing(estate: Estate) -> None:
    told = " ".join(estate.play("pool", cluster="goods").split())
    assert "/ (2 hosts * 1 processes * 1 databases)" in told
    for host in POOLERS:
        assert through(estate, host, "SELECT current_user || pg_is_in_recovery()") == "appfalse"
        assert client(estate, "pol2", host, "SELECT 1", user="nobody_there").returncode != 0
        assert estate.on(host, "ps -o user= -C pgbouncer").split() == ["postgres"]
        assert estate.on(host, "systemctl is-enabled pgbouncer").strip() == "enabled"
        pid = estate.on(host, "systemctl show -p MainPID --value pgbouncer").strip()
        assert int(estate.on(host, f"grep 'open files' /proc/{pid}/limits").split()[3]) > 1000
    assert set(changed(estate.play("pool", cluster="goods")).values()) == {0}
    assert set(changed(estate.play("pool", "--check", "--diff", cluster="goods")).values()) == {0}


def test_with_a_certificate_clients_must_encrypt(estate: Estate) -> None:
    """The running process takes it over; nobody's connection ends."""
    for host in POOLERS:
        at = estate.home / host
        at.mkdir()
        words = f"openssl req -x509 -newkey rsa:2048 -nodes -keyout key -out crt -days 2 -subj /CN={host}"
        subprocess.run(words.split(), cwd=at, check=True, capture_output=True)
        for name in ("key", "crt"):
            place = f"/etc/pgbouncer/tls.{name}"
            estate.on(host, f"install -o postgres -m 600 /dev/stdin {place} <<'PEM'\n{(at / name).read_text()}PEM")
    describe(estate, **TLS)
    before = [estate.on(host, "pgrep -x pgbouncer") for host in POOLERS]
    assert "awaits a restart" not in estate.play("pool", cluster="goods")
    assert [estate.on(host, "pgrep -x pgbouncer") for host in POOLERS] == before
    for host in POOLERS:
        assert through(estate, host, sslmode="require") == "app"
        assert "SSL required" in client(estate, "pol2", host, "SELECT 1", sslmode="disable").stderr
        log = estate.on(host, "cat /var/log/postgresql/pgbouncer.log; journalctl -u pgbouncer")
        assert "login attempt" in log
        assert all(secret not in log for secret in (APP, ADMIN, POOL["pool_auth_password"], "SCRAM-SHA-256$"))
    assert set(changed(estate.play("pool", cluster="goods")).values()) == {0}


def test_all_hosts_are_paused_or_none_is(estate: Estate) -> None:
    estate.play("pool", "-e", "pool_state=paused", cluster="goods")
    assert [paused(estate, host) for host in POOLERS] == [["1"], ["1"]]
    estate.play("pool", "-e", "pool_state=resumed", cluster="goods")
    # On one of them a client stays in its transaction.
    words = f"PGPASSWORD='{APP}' psql -Xq 'host={estate.addresses['polb']} port=6432 user=app dbname=shop'"
    held = subprocess.Popen(["ssh", "-F", estate.ssh_config, "pol2", words], stdin=subprocess.PIPE, text=True)
    assert held.stdin
    held.stdin.write("BEGIN; SELECT 1;\n")
    held.stdin.flush()
    try:
        states = "SELECT string_agg(state, ' ') FROM pg_stat_activity WHERE usename = 'app'"
        await_(lambda: "idle in transaction" in estate.sql("pol1", states), "the transaction")
        done = estate.attempt("pool", "-e", "cluster=goods", "-e", "pool_state=paused", "-e", "pool_timeout=2")
        assert done.returncode != 0
        told = " ".join(done.stdout.split())
        assert "not paused, and all others were resumed: polb: pooler" in told, told[-2000:]
        assert [paused(estate, host) for host in POOLERS] == [["0"], ["0"]]
    finally:
        held.stdin.close()
        held.wait(30)


def test_a_client_with_the_pages_connection_string_gives_up_what_vanished(estate: Estate) -> None:
    """One that is connected would wait for a quarter of an hour."""
    [words] = re.findall(r"^```text\n(.*?)\n```", (ROOT / "docs/pool.md").read_text(), re.MULTILINE | re.DOTALL)
    hosts = ",".join(estate.addresses[host] for host in POOLERS)
    words = words.replace("pool1.example.com,pool2.example.com", hosts)
    words = f"PGPASSWORD='{APP}' psql -XAtq '{words} user=app dbname=shop'"
    argv = ["ssh", "-F", estate.ssh_config, "pol2", words]
    pipe = subprocess.PIPE
    with subprocess.Popen(argv, text=True, stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT) as running:
        assert running.stdin and running.stdout
        running.stdin.write("SELECT 'in';\n")
        running.stdin.flush()
        assert running.stdout.readline().strip() == "in"
        estate.lab("cut", "pola")
        try:
            begun = time.monotonic()
            running.stdin.write("SELECT 'never';\n")
            running.stdin.flush()
            told, _none = running.communicate(timeout=60)
            assert "never" not in told
            assert time.monotonic() - begun < 30
            assert "through the other" in estate.on("pol2", f"{words} -c \"SELECT 'through the other'\"")
            assert time.monotonic() - begun < 60
        finally:
            estate.lab("heal", "pola")


def test_a_host_that_vanished_leaves_no_other_paused(estate: Estate) -> None:
    estate.lab("cut", "polb")
    try:
        done = estate.attempt("pool", "-e", "cluster=goods", "-e", "pool_state=paused", "-e", "pool_timeout=2")
        assert done.returncode != 0
        assert re.search(r"polb +: .*unreachable=1", done.stdout), done.stdout[-2000:]
        assert paused(estate, "pola") == ["0"]
    finally:
        estate.lab("heal", "polb")


def test_several_processes_share_the_port_and_have_a_console_each(estate: Estate) -> None:
    describe(estate, **TLS, pool_processes=2)
    told = " ".join(estate.play("pool", cluster="goods").split())
    assert "/ (2 hosts * 2 processes * 1 databases)" in told
    assert set(changed(estate.play("pool", cluster="goods")).values()) == {0}
    assert set(changed(estate.play("pool", "--check", "--diff", cluster="goods")).values()) == {0}
    for host in POOLERS:
        assert len(estate.on(host, "pgrep -x pgbouncer").split()) == 2
        served: set[str] = set()
        words = f"host={estate.addresses[host]} port=6432 user=app dbname=shop sslmode=require"
        once = f"PGPASSWORD='{APP}' psql -XAtq '{words}' -c 'SELECT current_user'"
        assert estate.on("pol2", f"for number in $(seq 40); do {once}; done").split() == ["app"] * 40
        for port in (6433, 6434):
            stats = through(estate, host, "SHOW STATS", user="pool_admin", dbname="pgbouncer", port=port)
            served |= {str(port) for line in stats.splitlines() if line.startswith("shop|")}
        assert served == {"6433", "6434"}, "the kernel gives clients to both"


def test_one_process_of_another_host_pauses_all_consoles(estate: Estate) -> None:
    """As a switchover does it, from the old primary's host."""
    consoles = [{"host": estate.addresses[host], "port": port} for host in POOLERS for port in (6433, 6434)]
    network: dict[str, Any] = {"consoles": consoles, "login_user": "pool_admin", "login_password": ADMIN}
    network["login_sslmode"] = "require"
    estate.on("pol1", "test -e /usr/lib/python3/dist-packages/psycopg")
    try:
        module(estate, "pol1", state="paused", database=["shop"], **network)
        assert [paused(estate, host, 6433, 6434) for host in POOLERS] == [["1", "1"], ["1", "1"]]
        module(estate, "pol1", state="reloaded", **network)
    finally:
        module(estate, "pol1", state="resumed", **network)
    assert [paused(estate, host, 6433, 6434) for host in POOLERS] == [["0", "0"], ["0", "0"]]


def test_after_a_boot_all_processes_are_there_again(estate: Estate) -> None:
    estate.lab("kill", "pola")
    estate.lab("start", "pola")
    await_(lambda: client(estate, "pol2", "pola", "SELECT 1").returncode == 0, "a client after the boot")
    assert len(estate.on("pola", "pgrep -x pgbouncer").split()) == 2
    assert "failed" not in estate.on("pola", "systemctl list-units --failed --plain --no-legend '*pgbouncer*'")


def test_back_to_one_process_nothing_is_left_of_the_others(estate: Estate) -> None:
    describe(estate, **TLS)
    estate.play("pool", cluster="goods")
    for host in POOLERS:
        assert len(estate.on(host, "pgrep -x pgbouncer").split()) == 1
        units = "systemctl list-units --plain --no-legend 'boringdb-pgbouncer*'; ls /etc/systemd/system/*.wants"
        assert "boringdb-pgbouncer" not in estate.on(host, units)
        assert through(estate, host, sslmode="require") == "app"
    assert set(changed(estate.play("pool", cluster="goods")).values()) == {0}


def test_the_timer_lets_clients_go_on_after_a_failover(estate: Estate) -> None:
    """Whoever paused is gone; the old primary is off; the new one is promoted by hand."""
    # Long enough for the next two steps on a slow machine: a timer that acts before them lets clients in again.
    armed = ("-e", "pool_state=armed", "-e", "pool_timeout=90")
    estate.play("pool", *armed, cluster="goods")
    estate.play("pool", "-e", "pool_state=paused", cluster="goods")
    estate.on("pol1", "systemctl stop postgresql@15-main")
    estate.sql("pol2", "SELECT pg_promote()")
    for host in POOLERS:
        await_(partial(resumed, estate, host), f"the end of the pause on {host}", 200)
        address = through(estate, host, "SELECT host(inet_server_addr())")
        assert address == estate.addresses["pol2"]
    done = estate.attempt("pool", "-e", "cluster=goods", "-e", "pool_state=disarmed")
    told = " ".join((done.stdout + done.stderr).split())
    assert f"the timer had acted: it routed to {estate.addresses['pol2']}:5432 and resumed" in told
