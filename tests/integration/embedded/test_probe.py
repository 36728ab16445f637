# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The write probe against real servers: what it measures, what it finds, what it survives."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded_servers import REPOSITORY, Server, alive, as_user, await_, children, free_port

PROGRAM = REPOSITORY / "plugins/module_utils/_postgresql/probe.py"
# Another interpreter with another psycopg, such as a host has.
PYTHON = os.environ.get("BORINGDB_PROBE_PYTHON", sys.executable)


class Probe:
    """The program, run by path, on one directory and one server."""

    def __init__(self, directory: Path, server: Server) -> None:
        self.directory = directory
        self.environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
        self.environment.update(PGUSER="postgres", PGDATABASE="postgres")
        self.aim(server)

    def aim(self, server: Server) -> None:
        """Connect to another server from now on."""
        self.environment.update(PGHOST="127.0.0.1", PGPORT=str(server.port))

    def call(self, command: str, *arguments: str, status: int = 0) -> dict[str, Any]:
        """One command's JSON. Any other exit status than the expected one fails the test."""
        words = [PYTHON, str(PROGRAM), command, "--directory", str(self.directory), *arguments]
        done = subprocess.run(words, env=self.environment, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == status, done.stderr
        return dict(json.loads(done.stdout)) if done.stdout else {"error": done.stderr}

    def start(self, *arguments: str) -> int:
        """In the background. Returns its process id."""
        return int(self.call("run", "--detach", *arguments)["pid"])

    def summary(self) -> dict[str, Any]:
        return self.call("summary")

    def await_rows(self, more: int = 20) -> None:
        """Waits until so many further rows were acknowledged."""
        paths = list(self.directory.glob("acks.*.tsv"))

        def rows() -> int:
            return sum(path.read_bytes().count(b"\n") for path in paths)

        wanted = rows() + more
        await_(lambda: rows() >= wanted, what=f"{more} more rows")


@pytest.fixture
def probe(server: Server, tmp_path: Path) -> Iterator[Probe]:
    made = Probe(tmp_path / "probe", server)
    yield made
    if (made.directory / "run.json").exists():
        made.call("stop")


def test_a_quiet_run_loses_nothing(probe: Probe) -> None:
    summary = probe.call("run", "--duration", "1", "--clients", "3", "--rate", "100")
    assert summary["errors"] == 0
    assert summary["sessions"] == 1
    assert summary["synchronous_commit"] == "on"
    # The rate is an upper bound; what a busy machine manages of it is no matter here.
    assert 1 <= summary["acknowledged"] <= 350
    found = probe.call("check")
    assert (found["status"], found["missing"], found["present"]) == ("passed", 0, summary["acknowledged"])
    assert found["unacknowledged_present"] == 0


def test_a_killed_server_is_a_gap_and_errors_and_no_loss(probe: Probe, server: Server) -> None:
    probe.start()
    probe.await_rows()
    down = time.time()
    server.stop("kill")
    server.start()
    up = time.time()
    probe.await_rows()
    summary = probe.call("stop")
    assert summary["errors"] > 0
    assert summary["errors_by_kind"]["write"] >= 1
    assert summary["first_error"]["class"] in ("OperationalError", "AdminShutdown")
    assert summary["read_only_errors"] == 0
    outage = (up - down) * 1000
    # The last commit may precede the kill by one interval; reconnecting adds its pause of at most 100 ms.
    assert outage * 0.5 < summary["largest_gap_ms"] < outage + 1000
    assert summary["largest_gap_open"] is False
    found = probe.call("check")
    assert (found["status"], found["missing"]) == ("passed", 0)
    assert found["present"] == summary["acknowledged"]


def test_a_server_that_stays_away_is_an_open_gap(probe: Probe, server: Server) -> None:
    probe.start()
    probe.await_rows()
    server.stop("fast")
    begun = time.monotonic()
    await_(lambda: probe.summary()["largest_gap_open"] and time.monotonic() - begun > 0.5)
    summary = probe.call("stop")
    assert summary["largest_gap_open"] is True
    assert summary["largest_gap_ms"] > 500
    assert "cannot connect" in probe.call("check", status=2)["error"]  # no answer is never "nothing is missing"
    server.start()
    assert probe.call("check")["status"] == "passed"


def test_a_lost_row_is_found(probe: Probe, server: Server) -> None:
    probe.call("run", "--duration", "0.5")
    server.psql("DELETE FROM boringdb_probe.writes WHERE id = 7")
    found = probe.call("check", status=1)
    assert (found["status"], found["missing"], found["missing_ids"]) == ("failed", 1, [7])
    assert found["missing_first_ack"] is not None
    assert found["missing_first_ack"] == found["missing_last_ack"]
    server.psql("DROP TABLE boringdb_probe.writes")
    found = probe.call("check", status=1)
    assert (found["table_present"], found["present"]) == (False, 0)
    assert found["missing"] == found["acknowledged"] > 7


def test_an_answer_that_was_lost_is_no_loss(probe: Probe, server: Server) -> None:
    probe.call("run", "--duration", "0.3")
    run = probe.summary()["run"]
    server.psql(f"INSERT INTO boringdb_probe.writes VALUES ('{run}', 100000, 1)")
    found = probe.call("check")
    assert (found["status"], found["unacknowledged_ids"]) == ("passed", [100000])


def test_another_run_in_the_same_table_does_not_count(probe: Probe, server: Server) -> None:
    probe.call("run", "--duration", "0.3", "--run", "first")
    probe.call("run", "--duration", "0.3", "--run", "second")
    server.psql("DELETE FROM boringdb_probe.writes WHERE run = 'first'")
    assert probe.call("check")["run"] == "second"
    assert probe.call("check", "--run", "first", status=1)["present"] == 0


def test_a_killed_probe_keeps_what_was_acknowledged_and_goes_on(probe: Probe) -> None:
    pid = probe.start("--rate", "0")
    probe.await_rows(200)
    os.kill(pid, signal.SIGKILL)
    await_(lambda: not alive(pid))
    summary = probe.summary()
    assert (summary["running"], summary["interrupted_sessions"], summary["damaged_lines"]) == (False, 1, 0)
    found = probe.call("check")
    assert found["status"] == "passed"
    assert found["unacknowledged_present"] <= 4  # at most one in flight a client
    # Its process id is still in the file: the next start is not misled, and uses no id again.
    assert int((probe.directory / "probe.pid").read_text()) == pid
    probe.start()
    probe.await_rows()
    again = probe.call("stop")
    assert (again["run"], again["sessions"], again["errors"]) == (summary["run"], 2, 0)
    assert probe.call("check")["status"] == "passed"


def test_one_worker_a_directory(probe: Probe) -> None:
    pid = probe.start()
    again = probe.call("run", "--detach")
    assert (again["running"], again["pid"]) == (True, pid)
    assert "running in" in probe.call("run", "--duration", "1", status=2)["error"]
    assert probe.call("stop")["running"] is False
    assert not alive(pid)


def test_a_read_only_server_is_told_apart(probe: Probe, server: Server) -> None:
    probe.start()
    server.psql("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    await_(lambda: probe.summary()["read_only_errors"] >= 10)
    server.psql("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
    probe.await_rows()
    summary = probe.call("stop")
    assert summary["errors"] == summary["read_only_errors"] == summary["errors_by_kind"]["read_only"]
    assert summary["last_error"]["sqlstate"] == "25006"
    assert probe.call("check")["status"] == "passed"


def test_a_hung_server_is_given_up_on(probe: Probe, server: Server) -> None:
    """A stopped server answers nothing, but its host answers TCP: no time-out of libpq's or the server's applies."""
    probe.start("--timeout", "0.3")
    probe.await_rows()
    assert server.pid
    family = [server.pid, *children(server.pid)]
    try:
        for pid in family:
            os.kill(pid, signal.SIGSTOP)
        await_(lambda: probe.summary()["errors_by_kind"]["timeout"] >= 4, what="four time-outs")
    finally:
        for pid in family:
            os.kill(pid, signal.SIGCONT)
    probe.await_rows()
    summary = probe.call("stop")
    assert summary["largest_gap_ms"] >= 300
    assert probe.call("check")["missing"] == 0


def test_a_hung_server_does_not_keep_the_probe_from_stopping(probe: Probe, server: Server) -> None:
    pid = probe.start("--timeout", "60")
    probe.await_rows()
    assert server.pid
    family = [server.pid, *children(server.pid)]
    try:
        for one in family:
            os.kill(one, signal.SIGSTOP)
        begun = time.monotonic()
        summary = probe.call("stop")
        assert time.monotonic() - begun < 10
    finally:
        for one in family:
            os.kill(one, signal.SIGCONT)
    assert not alive(pid)
    assert (summary["interrupted_sessions"], summary["errors"]) == (0, 0)


def test_a_cancelled_wait_for_a_standby_is_no_acknowledgement(probe: Probe, server: Server) -> None:
    """The server answers with success and a warning then, and the row can be lost with this one server."""
    probe.start("--timeout", "30")
    probe.await_rows()
    server.psql("ALTER SYSTEM SET synchronous_standby_names = 'ghost'", "SELECT pg_reload_conf()")
    waiting = (
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'boringdb_probe'"
    )
    await_(lambda: server.psql(waiting) == "4")
    server.psql("SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    await_(lambda: probe.summary()["errors_by_kind"]["warning"] == 4)
    server.psql("ALTER SYSTEM RESET synchronous_standby_names", "SELECT pg_reload_conf()")
    probe.await_rows()
    summary = probe.call("stop")
    found = probe.call("check")
    assert summary["errors_by_kind"]["warning"] == summary["errors"] >= 4
    assert (found["missing"], found["unacknowledged_present"]) == (0, summary["errors"])


def test_of_several_hosts_the_writable_one_is_found(
    probe: Probe, server: Server, make_server: Callable[..., Server]
) -> None:
    other = make_server("standby")
    other.psql("ALTER SYSTEM SET default_transaction_read_only = on", "SELECT pg_reload_conf()")
    gone = make_server("gone", start=False)
    probe.environment["PGHOST"] = "127.0.0.1,127.0.0.1,127.0.0.1"
    probe.environment["PGPORT"] = f"{gone.port},{other.port},{server.port}"
    probe.start()
    probe.await_rows()
    # The roles change: the writable one goes away, the other opens.
    server.stop("fast")
    other.psql(
        "SET default_transaction_read_only = off",
        "CREATE SCHEMA boringdb_probe",
        "CREATE TABLE boringdb_probe.writes"
        " (run text, id bigint, client int, at timestamptz DEFAULT clock_timestamp())",
        "ALTER SYSTEM RESET ALL",
        "SELECT pg_reload_conf()",
    )
    probe.await_rows()
    summary = probe.call("stop")
    assert summary["errors"] > 0
    # A second server that is no copy: what only the first one has is lost, exactly.
    probe.aim(other)
    moved = int(other.psql("SELECT count(*) FROM boringdb_probe.writes"))
    found = probe.call("check", status=1)
    assert found["present"] == moved
    assert found["missing"] == summary["acknowledged"] - moved > 0


def test_a_host_that_does_not_answer_is_passed_over(probe: Probe, server: Server) -> None:
    """A full backlog drops what comes, as a host does that vanished behind a router."""
    with contextlib.ExitStack() as stack:
        silent = stack.enter_context(socket.socket())
        silent.bind(("127.0.0.1", 0))
        silent.listen(0)
        for _number in range(4):
            filler = stack.enter_context(socket.socket())
            filler.setblocking(False)
            filler.connect_ex(silent.getsockname())
        probe.environment["PGHOST"] = "127.0.0.1,127.0.0.1"
        probe.environment["PGPORT"] = f"{silent.getsockname()[1]},{server.port}"
        begun = time.monotonic()
        probe.start("--connect-timeout", "2")
        # The table is made through one connection, then each client finds its own way.
        assert 2 < time.monotonic() - begun < 10
        assert probe.call("stop")["errors"] == 0


def test_a_restore_to_a_moment_is_proven(
    probe: Probe, server: Server, make_server: Callable[..., Server], pg_root: Path
) -> None:
    archive = pg_root / "archive"
    archive.mkdir()
    archive.chmod(0o777)
    server.psql("ALTER SYSTEM SET archive_mode = on")
    server.psql(f"ALTER SYSTEM SET archive_command = 'cp %p {archive}/%f'")
    server.stop()
    server.start()
    restored = make_server("restored", start=False)
    shutil.rmtree(restored.data_dir)
    probe.start("--rate", "200")
    server.run("pg_basebackup", "-D", restored.data_dir, "-h", server.socket_dir, "-p", str(server.port),
               "-U", "postgres", "-c", "fast", "-X", "none")  # fmt: skip
    probe.await_rows(200)
    target = server.psql("SELECT clock_timestamp()")
    probe.await_rows(200)
    later = server.psql("SELECT clock_timestamp()")
    probe.call("stop")
    server.psql("SELECT pg_switch_wal()")
    server.stop()  # archives what is left
    with (restored.data_dir / "postgresql.auto.conf").open("a") as conf:
        conf.write(
            f"port = {restored.port}\nunix_socket_directories = '{restored.socket_dir}'\narchive_mode = off\n"
            f"restore_command = 'cp {archive}/%f %p'\nrecovery_target_time = '{target}'\n"
            "recovery_target_action = 'promote'\n"
        )
    (restored.data_dir / "recovery.signal").touch()
    restored.start()
    await_(lambda: restored.psql("SELECT pg_is_in_recovery()") == "f", what="the end of recovery")
    probe.aim(restored)
    found = probe.call("check", "--until", target)
    assert found["status"] == "passed"
    assert found["present"] == found["expected"] >= 200
    assert found["beyond"] == 0
    assert found["grey"] <= 8  # of each of four clients the row in flight, and one whose answer came late
    assert found["acknowledged"] >= found["expected"] + 200
    # The same restore is no proof of any other moment.
    assert probe.call("check", "--until", later, status=1)["missing"] >= 200
    early = probe.summary()["first_ack"]
    assert probe.call("check", "--until", early, status=1)["beyond"] >= 200
    assert probe.call("check", status=1)["missing"] >= 200


def test_nothing_to_find_is_no_proof(probe: Probe, server: Server) -> None:
    probe.call("run", "--duration", "0.3")
    server.psql("DELETE FROM boringdb_probe.writes")
    assert probe.call("check", "--until", "2020-01-01T00:00:00Z", status=3)["status"] == "skipped"


def test_a_role_with_few_rights_is_enough(probe: Probe, server: Server) -> None:
    probe.call("run", "--duration", "0.1")
    server.psql("CREATE ROLE few LOGIN")
    server.psql("GRANT USAGE ON SCHEMA boringdb_probe TO few")
    server.psql("GRANT SELECT, INSERT ON boringdb_probe.writes TO few")
    probe.environment["PGUSER"] = "few"
    assert probe.call("run", "--duration", "0.3")["errors"] == 0
    assert probe.call("check")["status"] == "passed"
    server.psql("REVOKE INSERT ON boringdb_probe.writes FROM few")
    refused = probe.call("run", "--detach", "--wait", "0.5", status=2)["error"]
    assert "permission denied" in refused
    assert len(refused.splitlines()) == 1


def test_the_rate_is_kept(probe: Probe) -> None:
    for rate in (20, 100):
        summary = probe.call("run", "--duration", "2", "--clients", "2", "--rate", str(rate), "--run", f"at{rate}")
        # A busy machine may fall behind, but never beyond; the two can't be taken for each other.
        assert rate < summary["rows_per_second"] <= 2.2 * rate


def test_the_program_refuses_in_one_line(probe: Probe, tmp_path: Path) -> None:
    assert "no probe has run" in probe.call("summary", status=2)["error"]
    assert "clients must be" in probe.call("run", "--clients", "0", status=2)["error"]
    probe.environment["PGPORT"] = "1"
    refused = probe.call("run", "--detach", status=2)["error"]
    assert "cannot connect to 127.0.0.1:1/postgres" in refused
    assert len(refused.splitlines()) == 1
    probe.directory = tmp_path / "file"
    probe.directory.touch()
    assert "cannot read the probe's directory" in probe.call("run", status=2)["error"]


@pytest.fixture
def pooler(server: Server) -> Iterator[int]:
    """A pgbouncer in transaction mode with a single server connection. Gives its port."""
    program = shutil.which("pgbouncer", path=os.environ["PATH"] + ":/usr/sbin")
    if program is None:
        pytest.skip("pgbouncer is not installed")
    port = free_port()
    config, users = server.socket_dir / "pgbouncer.ini", server.socket_dir / "users.txt"
    users.write_text('"postgres" ""\n')
    config.write_text(
        f"[databases]\npostgres = host=127.0.0.1 port={server.port} user=postgres\n[pgbouncer]\n"
        f"listen_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n"
        f"auth_type = trust\nauth_file = {users}\nadmin_users = postgres\n"
        "pool_mode = transaction\ndefault_pool_size = 1\n"
    )
    with subprocess.Popen([*as_user(server.owner), program, "-q", str(config)], stderr=subprocess.DEVNULL) as process:

        def answers() -> bool:
            with socket.socket() as client:
                return client.connect_ex(("127.0.0.1", port)) == 0

        try:
            await_(answers, what="pgbouncer")
            yield port
        finally:
            process.terminate()


def test_through_a_pooler_a_pause_is_a_gap_without_errors(probe: Probe, server: Server, pooler: int) -> None:
    def console(command: str) -> None:
        server.run(
            "psql", "-Xq", "-h", "127.0.0.1", "-p", str(pooler), "-U", "postgres", "-d", "pgbouncer", "-c", command
        )

    probe.environment["PGPORT"] = str(pooler)
    probe.start("--rate", "100")
    probe.await_rows()
    console("PAUSE postgres")
    paused = time.monotonic()
    await_(lambda: time.monotonic() - paused > 0.5)
    console("RESUME postgres")
    held = (time.monotonic() - paused) * 1000
    probe.await_rows()
    summary = probe.call("stop")
    assert summary["errors"] == 0
    assert 500 <= summary["largest_gap_ms"] <= held + 500
    # Nothing of ours stays behind in the pooler's server connection.
    shown = server.run("psql", "-XAtq", "-h", "127.0.0.1", "-p", str(pooler), "-U", "postgres", "-d", "postgres",
                       "-c", "SHOW statement_timeout", "-c", "SELECT count(*) FROM pg_prepared_statements")  # fmt: skip
    assert shown.split() == ["0", "0"]
    assert probe.call("check")["status"] == "passed"
