# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`config` on a running server: what is declared takes effect, what is refused changes nothing."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from embedded_servers import Server, await_
from verify_ground import module

TRUST = [{"type": "local", "database": "all", "user": "all", "method": "trust"}]
PEER = [*TRUST, {"type": "host", "database": "all", "user": "all", "address": "10.0.0.0/8", "method": "scram-sha-256"}]
Config = Callable[..., dict[str, Any]]


@pytest.fixture
def server(quick: Server) -> Server:
    """No test here minds whose copy its server is."""
    return quick


@pytest.fixture
def config(server: Server) -> Iterator[Config]:
    """`config` on the running server."""
    yield partial(module, server, "config")
    assert not (server.data_dir / ".boringdb-candidate").exists()


def files(server: Server) -> dict[str, tuple[str, int, int]]:
    """Content, mode and time of every configuration file."""
    paths = [*server.data_dir.glob("*.conf"), *server.data_dir.glob("conf.d/*")]
    stats = {path: path.stat() for path in paths}
    return {path.name: (path.read_text(), stat.st_mode & 0o777, stat.st_mtime_ns) for path, stat in stats.items()}


def shown(server: Server, *names: str) -> list[str]:
    """Settings of a new session."""
    return [server.psql(f"SHOW {name}") for name in names]


def test_settings_take_effect_and_the_second_run_changes_nothing(server: Server, config: Config) -> None:
    wanted = {"work_mem": "5MB", "log_min_duration_statement": "250ms", "cluster_name": "it's # 50\\50"}
    wanted["log_line_prefix"] = "%m [%p] "
    before = files(server)
    planned = config(settings=wanted, check=True)
    assert planned["changed"] is True
    ours, base = planned["diff"]
    assert ours["before"] == ""
    assert "work_mem = '5MB'\n" in ours["after"]
    # What only a restart applies is marked for whoever reads the difference.
    assert "cluster_name = 'it''s # 50\\\\50'  # awaits a restart\n" in ours["after"]
    assert "include_dir = 'conf.d'" in base["after"]
    assert [one["after_header"] for one in (ours, base)] == [
        str(server.data_dir / name) for name in ("conf.d/boringdb.conf", "postgresql.conf")
    ]
    assert (planned["restart_required"], planned["pending"][0]["current"]) == (["cluster_name"], "")
    assert files(server) == before
    done = config(settings=wanted)
    assert (done["changed"], done["diff"]) == (True, planned["diff"])
    assert done["pending"] == planned["pending"]
    # cluster_name is only read at the start.
    assert (done["restart_required"], done["overridden"]) == (["cluster_name"], [])
    assert shown(server, "work_mem", "log_min_duration_statement", "log_line_prefix") == ["5MB", "250ms", "%m [%p]"]
    after = files(server)
    for check in (False, True):
        again = config(settings=wanted, check=check)
        assert (again["changed"], again["restart_required"], "diff" in again) == (False, ["cluster_name"], False)
    assert files(server) == after
    module(server, "instance", state="restarted")
    assert shown(server, "cluster_name") == [wanted["cluster_name"]]
    assert config(settings=wanted)["restart_required"] == []


def test_values_are_compared_by_meaning(server: Server, config: Config) -> None:
    config(settings={"work_mem": "1GB", "autovacuum": True, "checkpoint_timeout": "1h"})
    after = files(server)
    same = config(settings={"work_mem": "1048576kB", "autovacuum": "yes", "checkpoint_timeout": "60min"})
    assert (same["changed"], files(server)) == (False, after)
    # Without a unit it is the setting's own: kB, and seconds.
    same = config(settings={"work_mem": 1048576, "autovacuum": "t", "checkpoint_timeout": 3600})
    assert (same["changed"], files(server)) == (False, after)
    assert config(settings={"work_mem": "1048577kB", "autovacuum": True, "checkpoint_timeout": "1h"})["changed"] is True
    assert shown(server, "work_mem") == ["1048577kB"]


def test_a_setting_that_is_no_longer_declared_returns_to_its_default(server: Server, config: Config) -> None:
    config(settings={"work_mem": "5MB", "maintenance_work_mem": "99MB"})
    config(file="other", settings={"temp_buffers": "9MB"})
    [diff] = config(settings={"work_mem": "5MB"})["diff"]
    assert "maintenance_work_mem" in diff["before"]
    assert "maintenance_work_mem" not in diff["after"]
    assert shown(server, "work_mem", "maintenance_work_mem", "temp_buffers") == ["5MB", "64MB", "9MB"]
    assert config(settings={})["changed"] is True
    assert shown(server, "work_mem") == ["4MB"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"work_mem": "lots"}, 'invalid value for parameter "work_mem": "lots"'),
        ({"work_mem": "5XB"}, 'invalid value for parameter "work_mem": "5XB"'),
        ({"max_connections": 0}, '0 is outside the valid range for parameter "max_connections"'),
        ({"no_such_setting": "1"}, 'unrecognized configuration parameter "no_such_setting"'),
    ],
)
def test_what_the_server_refuses_changes_nothing(
    server: Server, config: Config, settings: dict[str, Any], words: str
) -> None:
    config(settings={"work_mem": "5MB"})
    before = files(server)
    told = config(settings={"maintenance_work_mem": "99MB", **settings}, hba=PEER, fails=True)["msg"]
    assert told.startswith("the server refuses these settings, nothing was changed: ")
    assert words in told
    assert "candidate" not in told
    assert files(server) == before
    assert shown(server, "work_mem", "maintenance_work_mem") == ["5MB", "64MB"]


def test_what_can_not_be_right_is_told_all_at_once(server: Server, config: Config) -> None:
    before = files(server)
    rules = [
        {"type": "local", "database": "all", "user": "all", "method": "trust", "address": "10.0.0.0/8"},
        {"type": "host", "database": "all", "user": "a b", "method": "trust"},
    ]
    settings = {"Bad Name": 1, "work_mem": None, "log_line_prefix": "a\nb"}
    for check in (True, False):
        told = config(file="../x", settings=settings, hba=rules, check=check, fails=True)
        assert [reason["what"] for reason in told["reasons"]] == [
            "file '../x': only a-z, 0-9, _ and - are allowed",
            "'Bad Name' is no setting's name",
            "work_mem has no value",
            "log_line_prefix: a value is one line",
            "hba rule 1: local rules, and only they, have no address",
            "hba rule 2: user 'a b' is not one word",
            "hba rule 2: local rules, and only they, have no address",
        ]
    assert files(server) == before


def test_a_server_that_is_not_there(make_server: Callable[..., Server]) -> None:
    place = make_server(initdb=False)
    assert module(place, "config", settings={"work_mem": "5MB"}, check=True)["changed"] is True
    told = module(place, "config", settings={"work_mem": "5MB"}, fails=True)["msg"]
    assert "holds no postgresql.conf (initialise the instance first, or set config_dir)" in told
    assert list(place.socket_dir.iterdir()) == []


def test_what_another_place_overrides_is_told(server: Server, config: Config) -> None:
    server.psql("ALTER SYSTEM SET work_mem = '7MB'", "ALTER SYSTEM SET timezone = 'Asia/Tokyo'")
    done = config(settings={"work_mem": "5MB", "timezone": "UTC", "temp_buffers": "9MB"})
    assert (done["changed"], done["overridden"]) == (True, ["TimeZone", "work_mem"])
    warned = " ".join(str(one) for one in done["warnings"])
    auto = f"{server.data_dir}/postgresql.auto.conf"
    assert f"work_mem is set elsewhere and that wins: {auto}:3 says 7MB, 5MB is declared (ALTER SYSTEM RESET" in warned
    shadow = {"name": "work_mem", "declared": "5MB", "value": "7MB", "place": f"{auto}:3", "same": False}
    assert done["shadowed"][1] == shadow
    assert shown(server, "work_mem") == ["7MB"]
    again = config(settings={"work_mem": "5MB", "timezone": "UTC", "temp_buffers": "9MB"})
    assert (again["changed"], again["overridden"]) == (False, ["TimeZone", "work_mem"])
    # A file that is read later wins, too; the one that is read earlier does not.
    config(file="aaa", settings={"temp_buffers": "11MB"})
    assert config(file="zzz", settings={"temp_buffers": "12MB"})["overridden"] == []
    done = config(settings={"work_mem": "5MB", "timezone": "UTC", "temp_buffers": "9MB"})
    assert done["overridden"] == ["temp_buffers", "TimeZone", "work_mem"]
    server.psql("ALTER SYSTEM RESET ALL", "SELECT pg_reload_conf()")
    await_(lambda: shown(server, "work_mem") == ["5MB"], what="the reload")
    assert config(settings={"work_mem": "5MB", "timezone": "UTC"})["overridden"] == []


def test_a_restart_is_required_until_it_has_happened(server: Server, config: Config) -> None:
    done = config(settings={"max_connections": 50, "work_mem": "5MB"})
    assert done["restart_required"] == ["max_connections"]
    assert shown(server, "max_connections", "work_mem") == ["100", "5MB"]
    # Also told by a call that declares something else, and no longer when it is taken back.
    assert config(file="other", settings={"work_mem": "6MB"})["restart_required"] == ["max_connections"]
    assert config(settings={"work_mem": "5MB"})["restart_required"] == []


def test_authentication_rules(server: Server, config: Config) -> None:
    planned = config(settings={}, hba=PEER, check=True)
    assert "local  all  all  trust\nhost  all  all  10.0.0.0/8  scram-sha-256\n" in planned["diff"][-1]["after"]
    done = config(settings={}, hba=PEER)
    assert done["changed"] is True
    assert server.psql(
        "SELECT string_agg(type || ' ' || auth_method, ', ' ORDER BY line_number) FROM pg_hba_file_rules"
    ) == ("local trust, host scram-sha-256")
    assert config(settings={}, hba=PEER)["changed"] is False
    assert config(settings={"work_mem": "5MB"})["changed"] is True  # rules that are left out are left alone
    assert "10.0.0.0/8" in (server.data_dir / "pg_hba.conf").read_text()
    assert config(settings={"work_mem": "5MB"}, hba=TRUST)["changed"] is True
    assert "10.0.0.0/8" not in (server.data_dir / "pg_hba.conf").read_text()


def test_rules_that_the_server_refuses_are_taken_back(server: Server, config: Config) -> None:
    """It is built without LDAP, which only it can know."""
    config(settings={"work_mem": "5MB"}, hba=PEER)
    before = files(server)
    wrong = {"type": "host", "database": "all", "user": "all", "address": "10.0.0.0/8", "method": "ldap"}
    told = config(settings={"work_mem": "6MB"}, hba=[*TRUST, wrong], fails=True)["msg"]
    assert told.startswith("the server refuses these pg_hba rules, the old ones are back: line 3: ")
    content = {name: (text, mode) for name, (text, mode, _time) in files(server).items()}
    assert content == {name: (text, mode) for name, (text, mode, _time) in before.items()}
    assert shown(server, "work_mem") == ["5MB"]
    assert server.psql("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL") == "0"


def test_rules_that_are_refused_on_the_first_run_leave_nothing(server: Server, config: Config) -> None:
    before = files(server)
    wrong = {"type": "host", "database": "all", "user": "all", "address": "10.0.0.0/8", "method": "ldap"}
    config(settings={"work_mem": "6MB"}, hba=[*TRUST, wrong], fails=True)
    content = {name: (text, mode) for name, (text, mode, _time) in files(server).items()}
    assert content == {name: (text, mode) for name, (text, mode, _time) in before.items()}
    assert shown(server, "work_mem") == ["4MB"]


def test_a_stopped_server_is_configured_for_its_next_start(server: Server, config: Config) -> None:
    server.stop()
    told = config(settings={"work_mem": "lots"}, fails=True)["msg"]
    assert 'invalid value for parameter "work_mem"' in told
    done = config(settings={"max_connections": 50})
    assert (done["changed"], done["restart_required"]) == (True, [])
    module(server, "instance", state="started")
    assert shown(server, "max_connections") == ["50"]


def test_files_belong_to_whom_they_should(server: Server, config: Config) -> None:
    config(settings={"work_mem": "5MB"}, hba=TRUST)
    owner = server.data_dir.stat().st_uid
    for path, mode in (("postgresql.conf", 0o644), ("conf.d/boringdb.conf", 0o640), ("pg_hba.conf", 0o640)):
        stat = (server.data_dir / path).stat()
        assert (stat.st_uid, stat.st_mode & 0o777) == (owner, mode)
    assert (server.data_dir / "postgresql.conf").read_text().count("include_dir = 'conf.d'") == 1


def test_an_existing_include_is_not_repeated(server: Server, config: Config) -> None:
    base = server.data_dir / "postgresql.conf"
    with base.open("a") as stream:
        stream.write("include_dir 'conf.d'   # as Debian does\n")
    config(settings={"work_mem": "5MB"})
    assert base.read_text().count("include_dir 'conf.d'") == 1
    assert shown(server, "work_mem") == ["5MB"]


def test_hand_made_files_beside_ours_stay(server: Server, config: Config) -> None:
    mine = server.data_dir / "conf.d/mine.conf"
    config(settings={"work_mem": "5MB"})
    shutil.copyfile(server.data_dir / "conf.d/boringdb.conf", mine)
    Path(mine).write_text("temp_buffers = 9MB\n")
    config(settings={"work_mem": "6MB"})
    assert mine.read_text() == "temp_buffers = 9MB\n"
    assert shown(server, "work_mem", "temp_buffers") == ["6MB", "9MB"]


def test_what_alter_system_has_set_is_reset_on_request(server: Server, config: Config) -> None:
    """Only what is declared, and only when asked; a dry run shows it."""
    server.psql("ALTER SYSTEM SET work_mem = '7MB'", "ALTER SYSTEM SET temp_buffers = '9MB'", "SELECT pg_reload_conf()")
    config(settings={"work_mem": "5MB"})
    before = files(server)
    planned = config(settings={"work_mem": "5MB"}, reset_auto=True, check=True)
    assert (planned["changed"], files(server), planned["overridden"]) == (True, before, ["work_mem"])
    assert (planned["diff"][0]["before"], planned["diff"][0]["after"]) == ("work_mem = '7MB'\n", "")
    done = config(settings={"work_mem": "5MB"}, reset_auto=True)
    assert (done["reset"], done["overridden"], done["diff"]) == (["work_mem"], [], planned["diff"])
    assert shown(server, "work_mem", "temp_buffers") == ["5MB", "9MB"]
    assert config(settings={"work_mem": "5MB"}, reset_auto=True)["changed"] is False


def test_a_reset_that_was_killed_before_the_reload_is_finished(server: Server, config: Config) -> None:
    config(settings={"work_mem": "5MB"})
    server.psql("ALTER SYSTEM SET work_mem = '7MB'", "SELECT pg_reload_conf()")
    await_(lambda: shown(server, "work_mem") == ["7MB"], what="the reload")
    server.psql("ALTER SYSTEM RESET work_mem")
    assert config(settings={"work_mem": "5MB"}, reset_auto=True)["changed"] is True
    assert shown(server, "work_mem") == ["5MB"]
    assert config(settings={"work_mem": "5MB"}, reset_auto=True)["changed"] is False


def test_rules_that_are_refused_reset_nothing(server: Server, config: Config) -> None:
    """A reset can't be taken back, so it comes last."""
    config(settings={"work_mem": "5MB"})
    server.psql("ALTER SYSTEM SET work_mem = '7MB'", "SELECT pg_reload_conf()")
    wrong = {"type": "host", "database": "all", "user": "all", "address": "10.0.0.0/8", "method": "ldap"}
    config(settings={"work_mem": "5MB"}, hba=[*TRUST, wrong], reset_auto=True, fails=True)
    assert shown(server, "work_mem") == ["7MB"]
    assert "7MB" in (server.data_dir / "postgresql.auto.conf").read_text()


def test_places_are_told_apart(make_server: Callable[..., Server]) -> None:
    """The command line, a file read later, the main file behind its include, and what accounts have of their own."""
    server = make_server(copied=True, start=False)
    config = partial(module, server, "config")
    declared = {"work_mem": "5MB", "temp_buffers": "9MB", "maintenance_work_mem": "99MB", "max_connections": 50}
    config(settings=declared)
    base = server.data_dir / "postgresql.conf"
    with base.open("a") as stream:
        stream.write("maintenance_work_mem = 101376\n")
    (server.data_dir / "conf.d/mine.conf").write_text("temp_buffers = 11MB\n")
    log = server.data_dir / "server.log"
    server.run("pg_ctl", "start", "-w", "-s", "-D", server.data_dir, "-l", log, "-o", "-c max_connections=40")
    server.psql("CREATE ROLE app", "ALTER ROLE app SET work_mem = '64MB'", "ALTER DATABASE postgres SET jit = off")
    # Our own session has it from its account: that says nothing about the files.
    server.psql("ALTER ROLE postgres SET work_mem = '6MB'")
    done = config(settings=declared)
    last = len(base.read_text().splitlines())
    assert [(one["name"], one["place"], one["value"], one["same"]) for one in done["shadowed"]] == [
        ("maintenance_work_mem", f"{base}:{last}", "101376", True),
        ("max_connections", "the command line", "40", False),
        ("temp_buffers", f"{server.data_dir}/conf.d/mine.conf:1", "11MB", False),
    ]
    assert len(done["warnings"]) == 2  # the same value elsewhere harms nobody
    assert done["elsewhere"] == [
        {"role": "app", "database": "", "name": "work_mem", "value": "64MB"},
        {"role": "postgres", "database": "", "name": "work_mem", "value": "6MB"},
    ]
    # A dry run says the same of what is not written yet.
    planned = config(file="aaa", settings={"temp_buffers": "12MB"}, check=True)
    assert planned["shadowed"][0]["place"] == f"{server.data_dir}/conf.d/mine.conf:1"
    assert config(file="zzz", settings={"temp_buffers": "12MB"}, check=True)["shadowed"] == []


def test_a_dry_run_foresees_refusals_and_restarts(server: Server, config: Config) -> None:
    config(settings={"work_mem": "5MB", "max_wal_senders": 7})
    module(server, "instance", state="restarted")
    before = files(server)
    told = config(settings={"work_mem": "lots"}, check=True, fails=True)["msg"]
    assert 'invalid value for parameter "work_mem": "lots"' in told
    planned = config(settings={"work_mem": "5MB", "max_connections": 50}, check=True)
    assert planned["pending"] == [
        {"name": "max_connections", "current": "100", "new": "50"},
        {"name": "max_wal_senders", "current": "7", "new": "10"},  # no longer declared
    ]
    assert files(server) == before
    assert config(settings={"work_mem": "5MB", "max_connections": 50})["pending"] == planned["pending"]
    assert not list(Path("/tmp").glob("boringdb-candidate-*"))


def test_what_the_main_file_includes_is_read_with_the_candidate(server: Server, config: Config) -> None:
    """A file that lies beside it and is included by a relative name."""
    (server.data_dir / "mine.conf").write_text("temp_buffers = 11MB\n")
    with (server.data_dir / "postgresql.conf").open("a") as stream:
        stream.write("include 'mine.conf'\n")
    config(settings={"work_mem": "5MB"})
    assert shown(server, "work_mem", "temp_buffers") == ["5MB", "11MB"]


def test_a_difference_shows_no_password(server: Server, config: Config) -> None:
    done = config(settings={"primary_conninfo": "host=db1 user=replicator password=tell-nobody"})
    assert "tell-nobody" not in str(done["diff"])
    assert "tell-nobody" in (server.data_dir / "conf.d/boringdb.conf").read_text()
