# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`instance` and `instance_info`: every state, in check mode, for the first time, and again."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from embedded_servers import Server, alive, as_user, await_
from verify_ground import module

from tests.modules import ROOT

TRUST = [{"type": "local", "database": "all", "user": "all", "method": "trust"}]
CREATED = """SELECT pg_encoding_to_char(encoding), datcollate, datctype, current_setting('data_checksums')
             FROM pg_database WHERE datname = 'postgres'"""
HOST = {"type": "host", "database": "all", "user": "all", "address": "127.0.0.1/32", "method": "scram-sha-256"}


@pytest.fixture
def server(quick: Server) -> Server:
    """No test here minds whose copy its server is."""
    return quick


@pytest.fixture
def place(make_server: Callable[..., Server]) -> Server:
    """A place for a server, where nothing is yet."""
    return make_server(initdb=False)


def configure(server: Server, **settings: Any) -> dict[str, Any]:
    """What a fresh server needs to be reached."""
    own = {"port": server.port, "unix_socket_directories": str(server.socket_dir), "fsync": False}
    return module(server, "config", settings={**own, **settings}, hba=[*TRUST, HOST])


def state_of(server: Server) -> str:
    """What `instance_info` says."""
    return str(module(server, "instance_info")["instance"]["state"])


def test_the_life_of_a_server(place: Server) -> None:
    instance = partial(module, place, "instance")
    assert state_of(place) == "absent"

    # initialised
    planned = instance(state="initialized", check=True)
    assert (planned["changed"], planned["state"]) == (True, "stopped")
    assert planned["diff"] == {"before": "state: absent\n", "after": "state: stopped\n"}
    assert list(place.socket_dir.iterdir()) == []
    done = instance(state="initialized")
    assert (done["changed"], done["state"], done["diff"]) == (True, "stopped", planned["diff"])
    assert [path.name for path in place.socket_dir.iterdir()] == ["data"]
    for check in (True, False):
        again = instance(state="initialized", check=check)
        assert (again["changed"], again["state"], "diff" in again) == (False, "stopped", False)
    info = module(place, "instance_info")["instance"]
    assert (info["state"], info["role"], info["major"], info["timeline"]) == ("stopped", "primary", 16, 1)
    assert info["cluster_state"] == "shut down"
    assert info["data_checksums"] is True
    configure(place)

    # started
    assert instance(state="stopped")["changed"] is False
    planned = instance(state="started", check=True)
    assert planned["diff"] == {"before": "state: stopped\n", "after": "state: started\n"}
    assert place.pid is None
    assert instance(state="started")["changed"] is True
    assert place.psql(CREATED) == "UTF8|C.UTF-8|C.UTF-8|on"
    pid = place.pid
    for check in (True, False):
        again = instance(state="started", check=check)
        assert (again["changed"], again["state"]) == (False, "started")
        assert instance(state="initialized", check=check)["state"] == "started"

    # reloaded
    (place.data_dir / "conf.d/zz.conf").write_text("work_mem = '7MB'\n")
    assert instance(state="reloaded", check=True)["changed"] is True
    assert place.psql("SHOW work_mem") == "4MB"
    assert instance(state="reloaded")["changed"] is True
    await_(lambda: place.psql("SHOW work_mem") == "7MB", what="the reload")
    assert place.pid == pid

    # restarted
    assert instance(state="restarted", check=True)["diff"]["after"] == "state: restarted\n"
    assert place.pid == pid
    assert instance(state="restarted")["state"] == "started"
    assert place.pid not in (pid, None)

    # stopped
    planned = instance(state="stopped", check=True)
    assert (planned["changed"], place.pid is not None) == (True, True)
    assert instance(state="stopped")["diff"] == {"before": "state: started\n", "after": "state: stopped\n"}
    assert place.pid is None
    assert instance(state="stopped")["changed"] is False
    assert instance(state="stopped", check=True)["changed"] is False
    # restarted starts what is stopped
    assert instance(state="restarted", check=True)["changed"] is True
    assert place.pid is None
    assert instance(state="restarted")["changed"] is True
    assert instance(state="stopped", stop_mode="immediate")["state"] == "stopped"


def test_what_is_asked_of_a_server_that_is_not_there(place: Server) -> None:
    instance = partial(module, place, "instance")
    assert instance(state="started", check=True)["diff"]["after"] == "state: started\n"
    for state in ("started", "restarted"):
        told = instance(state=state, fails=True)["msg"]
        assert told == f"{place.data_dir} holds no PostgreSQL data; initialise or restore it first"
    assert (instance(state="stopped")["changed"], instance(state="stopped")["state"]) == (False, "absent")
    assert "is not running; there is nothing to reload" in instance(state="reloaded", fails=True)["msg"]
    assert list(place.socket_dir.iterdir()) == []


def test_version_18_with_its_own_options(make_server: Callable[..., Server]) -> None:
    server = make_server(version=18, initdb=False)
    instance = partial(module, server, "instance", data_checksums=False, encoding="LATIN1", locale="C")
    # What a killed initialisation left is begun again.
    beside = server.socket_dir / "data.initializing"
    subprocess.run([*as_user(server.owner), "mkdir", str(beside)], check=True)
    (beside / "PG_VERSION").write_text("18\n")
    assert state_of(server) == "absent"
    assert instance(state="initialized", version=18)["changed"] is True
    assert not beside.exists()
    configure(server)
    assert instance(state="started")["changed"] is True
    assert server.psql(CREATED) == "LATIN1|C|C|off"
    info = module(server, "instance_info")["instance"]
    assert (info["state"], info["role"], info["major"], info["data_checksums"]) == ("running", "primary", 18, False)
    assert info["version"].startswith("18.")
    assert instance(state="stopped")["changed"] is True


def test_programs_of_another_version_are_refused(place: Server) -> None:
    told = module(place, "instance", state="initialized", version=18, fails=True)
    assert told["msg"] == f"refused: the programs in {place.bin_dir} are of version 16, not 18 (set bin_dir)"
    assert told["refused"] is True
    assert list(place.socket_dir.iterdir()) == []


def test_every_reason_is_told_at_once(place: Server) -> None:
    place.data_dir.mkdir()
    (place.data_dir / "precious").write_text("mine")
    told = module(place, "instance", state="initialized", bin_dir="/nowhere", fails=True)
    assert [reason["what"] for reason in told["reasons"]] == [
        f"{place.data_dir} is not empty and holds no PostgreSQL data", "no initdb in /nowhere",
    ]  # fmt: skip
    assert told["msg"].startswith("refused for 2 reasons: ")
    assert "is not empty" in module(place, "instance", state="initialized", check=True, fails=True)["msg"]
    info = module(place, "instance_info")["instance"]
    assert (info["state"], info["role"], info["manager"]) == ("foreign", "none", None)
    assert (place.data_dir / "precious").read_text() == "mine"
    assert [path.name for path in place.socket_dir.iterdir()] == ["data"]


if ROOT:  # nobody else can be refused as root

    def test_root_initialises_nothing(place: Server) -> None:
        told = module(Server(place.port, place.socket_dir, place.data_dir, place.bin_dir, "root"), "instance",
                      state="initialized", fails=True)  # fmt: skip
        assert told["msg"] == "refused: PostgreSQL refuses to be initialised by root (set become_user to the owner)"


def test_a_password_for_the_superuser(place: Server) -> None:
    secret = "a:\\'b c\""
    done = module(place, "instance", state="initialized", superuser_password=secret)
    assert secret not in str(done)
    configure(place, listen_addresses="127.0.0.1")
    module(place, "instance", state="started")
    words = [
        str(place.bin_dir / "psql"),
        "-XAtc",
        "SELECT 1",
        f"host=127.0.0.1 port={place.port} user=postgres dbname=postgres",
    ]
    for password, code in ((secret, 0), ("wrong", 2)):
        done_ = subprocess.run(words, env={**os.environ, "PGPASSWORD": password}, capture_output=True, check=False)
        assert done_.returncode == code
    assert [path.name for path in place.socket_dir.iterdir() if path.name.startswith("boringdb-")] == []
    module(place, "instance", state="stopped")


def test_a_crashed_server_is_stopped_and_starts_again(server: Server) -> None:
    (server.data_dir / "conf.d").mkdir(exist_ok=True)
    server.kill()
    info = module(server, "instance_info")["instance"]
    assert (info["state"], info["cluster_state"]) == ("stopped", "in production")
    assert module(server, "instance", state="stopped")["changed"] is False
    assert module(server, "instance", state="started")["changed"] is True
    assert server.psql("SELECT 1") == "1"


def test_a_strangers_process_with_the_servers_number_is_not_the_server(server: Server) -> None:
    server.stop()
    with subprocess.Popen(["sleep", "60"]) as sleeper:
        try:
            (server.data_dir / "postmaster.pid").write_text(f"{sleeper.pid}\n{server.data_dir}\n")
            assert state_of(server) == "stopped"
            assert module(server, "instance", state="stopped")["changed"] is False
            assert sleeper.poll() is None
        finally:
            sleeper.kill()


def test_a_server_that_can_not_start_says_why(make_server: Callable[..., Server]) -> None:
    server = make_server(start=False, copied=True)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", server.port))
        taken.listen()
        told = module(server, "instance", state="started", fails=True)["msg"]
    assert told.startswith(f"the server on port {server.port} ended while starting: ")
    assert "Is another postmaster already running on port" in told
    assert "could not bind IPv4 address" in told or "could not create any TCP/IP sockets" in told
    with (server.data_dir / "postgresql.conf").open("a") as conf:
        conf.write("no_such_setting = 1\n")
    told = module(server, "instance", state="started", fails=True)["msg"]
    assert 'unrecognized configuration parameter "no_such_setting"' in told
    assert "\n" not in told
    assert server.pid is None


def test_the_server_outlives_the_module_that_started_it(make_server: Callable[..., Server]) -> None:
    server = make_server(start=False, copied=True)
    module(server, "instance", state="started")
    pid = server.pid
    assert pid is not None
    assert alive(pid)
    assert os.getsid(pid) != os.getsid(0)


def test_configuration_outside_the_data_directory(place: Server) -> None:
    """As Debian has it: the files a server starts from are made where there are none."""
    config_dir = place.socket_dir / "etc"
    split = partial(module, place, config_dir=str(config_dir))
    told = split("instance", state="initialized", fails=True)["msg"]
    assert told == f"{config_dir} is missing; create it for the account that owns the server"
    # The data is there by now; the run that was refused is completed by the next one.
    subprocess.run([*as_user(place.owner), "mkdir", str(config_dir)], check=True)
    assert split("instance", state="initialized", check=True)["changed"] is True
    assert list(config_dir.iterdir()) == []
    assert split("instance", state="initialized")["changed"] is True
    assert {path.name for path in config_dir.iterdir()} == {"conf.d", "pg_hba.conf", "pg_ident.conf", "postgresql.conf"}
    assert split("instance", state="initialized")["changed"] is False
    split("config", settings={"work_mem": "5MB", "fsync": False}, hba=TRUST)
    assert split("instance", state="started")["changed"] is True
    assert place.psql("SHOW work_mem", "SHOW config_file").split() == ["5MB", str(config_dir / "postgresql.conf")]
    assert split("instance", state="stopped")["changed"] is True


def test_a_running_primary_is_described(server: Server) -> None:
    server.psql("SELECT pg_create_physical_replication_slot('standby1', true)", "ALTER SYSTEM SET max_connections = 50")
    server.psql("SELECT pg_reload_conf()")
    described = module(server, "instance_info", check=True)
    info = described["instance"]
    assert described["changed"] is False
    assert (info["state"], info["role"], info["timeline"], info["manager"]) == ("running", "primary", 1, None)
    assert info["system_identifier"] == server.psql("SELECT system_identifier FROM pg_control_system()")
    assert len(info["system_digest"]) == 64
    assert [(slot["name"], slot["type"], slot["active"]) for slot in info["slots"]] == [("standby1", "physical", False)]
    assert (info["replicas"], info["upstream"], info["archiver"]["mode"]) == ([], None, "off")
    await_(lambda: module(server, "instance_info")["instance"]["pending_restart"] == ["max_connections"])
    identity = info["system_identifier"]
    server.stop()
    assert module(server, "instance_info")["instance"]["system_identifier"] == identity


def test_a_server_that_does_not_answer_is_one_clear_error(server: Server) -> None:
    pid = server.pid
    assert pid is not None
    told = module(server, "instance_info", port=server.port + 1, fails=True)["msg"]
    assert told.startswith(f"cannot connect to port {server.port + 1} in {server.socket_dir}: ")
    assert "\n" not in told
