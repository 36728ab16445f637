# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The module boringdb.ops.probe: alone, and where it matters who starts it by ansible, as a user runs it."""

from __future__ import annotations

import fcntl
import json
import os
import pwd
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from embedded_servers import REPOSITORY, Server, alive, await_

from tests.modules import module

Call = Callable[..., dict[str, Any]]
SECRET = "correct-horse-battery"


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "probe"


@pytest.fixture
def given(server: Server, directory: Path) -> dict[str, Any]:
    """The options of every call."""
    return {
        "directory": str(directory),
        "login_unix_socket": str(server.socket_dir),
        "login_port": server.port,
        "login_user": "postgres",
        "login_db": "postgres",
    }


@pytest.fixture
def call(given: dict[str, Any], directory: Path) -> Iterator[Call]:
    """``call(state, check=False, fails=False, **options)`` gives the module's result."""
    own = pwd.getpwuid(os.geteuid()).pw_name

    def run(state: str, check: bool = False, fails: bool = False, **options: Any) -> dict[str, Any]:
        words = {name: value for name, value in {**given, **options}.items() if value is not None}
        return module("probe", check=check, fails=fails, owner=own, state=state, **words)

    yield run
    if (directory / "run.json").exists():
        run("stopped", login_password=None)


def by_ansible(state: str, given: dict[str, Any]) -> dict[str, Any]:
    """The same as a user has it."""
    argv = [
        str(Path(sys.executable).with_name("ansible")), "localhost", "-m", "boringdb.ops.probe",
        "-a", json.dumps({**given, "state": state}), "-i", "localhost,", "-c", "local",
        "-e", f"ansible_python_interpreter={sys.executable}", "--diff",
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    environment |= {"ANSIBLE_CONFIG": str(REPOSITORY / "ansible.cfg"), "ANSIBLE_CALLBACK_RESULT_FORMAT": "json"}
    done = subprocess.run(argv, cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = json.loads(done.stdout[done.stdout.index("=> ") + 3 : done.stdout.rindex("}") + 1])
    return found


def test_a_whole_life(call: Call, directory: Path, server: Server) -> None:
    assert call("started", check=True)["changed"] is True
    assert not directory.exists()
    assert call("checked", check=True)["status"] == "skipped"
    started = call("started", clients=2, rate=100)
    assert started["changed"] is True
    assert alive(started["pid"])
    assert oct(directory.stat().st_mode)[-3:] == "700"
    # The module and its archive are gone: the worker writes on.
    seen = call("measured")
    assert (seen["running"], seen["changed"], seen["pid"]) == (True, False, started["pid"])
    await_(lambda: call("measured")["acknowledged"] > seen["acknowledged"])
    assert call("started", check=True, clients=2, rate=100)["changed"] is False
    again = call("started", clients=2, rate=100)
    assert (again["changed"], again["pid"], again["run"]) == (False, started["pid"], started["run"])
    assert call("checked")["status"] == "passed"  # also while it writes
    assert call("stopped", check=True)["changed"] is True
    assert alive(started["pid"])
    stopped = call("stopped")
    assert stopped["changed"] is True
    assert not alive(started["pid"])
    assert stopped["acknowledged"] > seen["acknowledged"]
    assert stopped["errors"] == 0
    again = call("stopped")
    assert (again["changed"], again["acknowledged"]) == (False, stopped["acknowledged"])
    found = call("checked")
    assert (found["status"], found["missing"], found["changed"]) == ("passed", 0, False)
    assert found["present"] == stopped["acknowledged"]
    server.psql("DELETE FROM boringdb_probe.writes WHERE id = 3")
    assert call("checked")["missing_ids"] == [3]
    assert call("absent", check=True)["changed"] is True
    assert call("absent")["changed"] is True
    assert not directory.exists()
    assert server.psql("SELECT count(*) FROM pg_namespace WHERE nspname = 'boringdb_probe'") == "0"
    assert call("absent")["changed"] is False
    assert call("absent", check=True)["changed"] is False
    assert "no probe has run" in call("checked", fails=True)["msg"]
    assert call("measured")["running"] is False


def test_a_password_is_shown_nowhere(call: Call, directory: Path, server: Server) -> None:
    server.psql(f"CREATE ROLE writer SUPERUSER LOGIN PASSWORD '{SECRET}'")
    rules = server.data_dir / "pg_hba.conf"
    rules.write_text("host all writer 127.0.0.1/32 scram-sha-256\n" + rules.read_text())
    server.psql("SELECT pg_reload_conf()")
    login = {"login_unix_socket": None, "login_host": "127.0.0.1", "login_user": "writer"}
    refused = call("started", fails=True, login_password="wrong", **login)
    assert "password authentication failed" in refused["msg"]
    started = call("started", login_password=SECRET, **login)
    for name in ("cmdline", "environ"):
        assert SECRET.encode() not in Path(f"/proc/{started['pid']}/{name}").read_bytes()
    for path in directory.rglob("*"):
        assert path.is_dir() or SECRET.encode() not in path.read_bytes()
    assert SECRET not in json.dumps(started)
    # The worker still has it: it reconnects.
    server.stop("immediate")
    server.start()
    seen = call("measured")["acknowledged"]
    await_(lambda: call("measured")["acknowledged"] > seen)
    refused = call("started", fails=True, conninfo={"password": "x"}, **login)
    assert "conninfo must not hold password" in refused["msg"]


def test_what_is_running_is_not_passed_off_as_something_else(call: Call, server: Server) -> None:
    started = call("started", run="one")
    assert "the run one is being probed" in call("started", fails=True, run="two")["msg"]
    assert "it was not stopped" in call("stopped", fails=True, run="two")["msg"]
    elsewhere = call("started", fails=True, login_unix_socket=None, login_host="127.0.0.1")
    assert "writes to" in elsewhere["msg"]
    other = call("started", clients=9)
    assert other["changed"] is False
    assert "keeps its 4 clients" in json.dumps(other["warnings"])
    assert alive(started["pid"])


def test_a_number_left_behind_is_not_believed(call: Call, directory: Path) -> None:
    """Another process has the killed probe's number, and must not be harmed."""
    directory.mkdir()
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            (directory / "probe.pid").write_text(f"{sleeper.pid}\n")
            assert call("stopped")["changed"] is False
            assert call("started")["changed"] is True
            assert call("stopped")["changed"] is True
            assert sleeper.poll() is None
        finally:
            sleeper.kill()


def test_a_foreign_lock_is_refused(call: Call, directory: Path) -> None:
    directory.mkdir()
    with (directory / "probe.pid").open("w") as handle, subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            handle.write(f"{sleeper.pid}\n")
            handle.flush()
            fcntl.flock(handle, fcntl.LOCK_EX)
            for state in ("started", "stopped", "absent"):
                assert "locked by a process that is not a probe" in call(state, fails=True)["msg"]
            assert sleeper.poll() is None
        finally:
            sleeper.kill()


def test_evidence_is_kept_while_the_server_is_away(call: Call, directory: Path, server: Server) -> None:
    call("started")
    call("stopped")
    server.stop("fast")
    assert "cannot connect" in call("absent", fails=True)["msg"]
    assert list(directory.glob("acks.*.tsv"))
    assert "cannot connect" in call("checked", fails=True)["msg"]
    assert call("started", check=True)["changed"] is True
    refused = call("started", fails=True)["msg"]
    assert "cannot connect" in refused
    assert "\n" not in refused
    server.start()
    assert call("absent")["changed"] is True


def test_a_strangers_table_in_the_schema_is_not_dropped(call: Call, directory: Path, server: Server) -> None:
    call("started")
    call("stopped")
    server.psql("CREATE TABLE boringdb_probe.precious (n int)")
    assert "cannot drop the schema" in call("absent", fails=True)["msg"]
    assert server.psql("SELECT count(*) FROM boringdb_probe.writes") != "0"
    assert list(directory.glob("acks.*.tsv"))


def test_the_worker_survives_the_session_that_started_it(call: Call, given: dict[str, Any]) -> None:
    """It has a session of its own and no terminal, so that the end of an SSH connection does not reach it."""
    pid = by_ansible("started", given)["pid"]
    assert by_ansible("measured", given)["pid"] == pid
    assert call("measured")["running"] is True
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    session, terminal = int(fields[3]), int(fields[4])
    assert session not in (os.getsid(0), 0)
    assert terminal == 0
    assert str(Path(f"/proc/{pid}/fd/0").readlink()) == os.devnull
