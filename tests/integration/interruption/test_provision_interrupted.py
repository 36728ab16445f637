# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`provision` and its modules, killed while they initialise, clone or configure: the next run finishes the job."""

from __future__ import annotations

import shutil

from estate import Estate
from estate_runs import await_, kill, parent
from holds import bin_dir, held, slowed

from tests.modules import OWNER


def test_a_killed_initdb_is_begun_again(estate: Estate) -> None:
    place = {**estate.server(), "data_dir": str(estate.home / "new/data"), "state": "initialized"}
    with held(estate, "initdb", before='mkdir -p "$2" && echo 16 > "$2/PG_VERSION"') as hold:
        running = estate.begin_module(
            "instance", **{**place, "bin_dir": bin_dir(estate)}, superuser_password="s3cret word"
        )
        tool = hold.reached()
        kill(parent(tool))
        running.popen.wait()
        await_(lambda: tool not in estate.processes(), "the end of initdb")
    assert (estate.home / "new/data.initializing/PG_VERSION").exists(), "nothing was begun: the test proves nothing"
    assert not (estate.home / "new/data").exists()
    assert b"s3cret word" not in b"".join(
        path.read_bytes() for path in (estate.home / "new").rglob("*") if path.is_file()
    )
    assert estate.module("instance", **place)["changed"] is True
    assert estate.module("instance", **place)["changed"] is False
    assert [path.name for path in (estate.home / "new").iterdir()] == ["data"]
    shutil.rmtree(estate.home / "new")


def test_a_killed_run_has_its_settings_read_by_the_next(estate: Estate) -> None:
    options = {**estate.server(), "file": "killed", "settings": {"log_min_duration_statement": "1234ms"}}
    file = estate.home / "db1/data/conf.d/killed.conf"
    # What a run that was killed between its write and its reload leaves: the file, which nobody has read.
    estate.module("config", **options)
    written = file.read_bytes()
    file.unlink()
    estate.sql("SELECT pg_reload_conf()")
    await_(lambda: estate.sql("SHOW log_min_duration_statement") == "-1", "the setting's end")
    file.write_bytes(written)
    shutil.chown(file, OWNER)
    assert estate.sql("SHOW log_min_duration_statement") == "-1", "it was read already: the test proves nothing"
    assert estate.module("config", **options)["changed"] is True
    await_(lambda: estate.sql("SHOW log_min_duration_statement") == "1234ms", "the setting in the server", 5)
    assert estate.module("config", **options)["changed"] is False
    estate.module("config", **{**options, "settings": {}})
    file.unlink()
    estate.assert_clean()


def test_a_killed_clone_is_begun_again_by_the_next_provision(estate: Estate) -> None:
    data = estate.home / "db2/data"
    estate.module("instance", state="stopped", **estate.server("db2"))
    shutil.rmtree(data)
    with slowed(estate, "pg_basebackup", "--max-rate=1M"):
        running = estate.begin("provision", db_bin_dir=bin_dir(estate))
        await_((data.with_name("data.cloning") / "base").exists, "a clone that copies files", 60)
        worker = parent(estate.process("pg_basebackup", "data.cloning"))
        running.kill()
        kill(worker)
        await_(lambda: not any("pg_basebackup" in line for line in estate.processes().values()), "the tool's end")
    assert not data.exists()
    assert data.with_name("data.cloning").exists(), "nothing was left: the test proves nothing"
    estate.converge("provision")
    await_(lambda: estate.sql("SELECT state FROM pg_stat_replication") == "streaming", "streaming", 5)
    assert estate.sql("SELECT count(*) FROM pg_replication_slots") == "1"
    estate.assert_clean()


def test_a_new_password_reaches_a_replica_that_is_there(estate: Estate) -> None:
    """Not used before the next connection, so a run that left it out would go unnoticed until then."""
    where = {"primary_address": "127.0.0.1", "primary_port": estate.server()["port"], "slot": "db2"}
    changed = {**where, "replication_password": "another-password"}
    first = (estate.secrets / "replication").read_text().split()[0]
    try:
        estate.module("replica", state="prepared", **estate.server(), replication_password="another-password")
        assert estate.module("replica", state="attached", **estate.server("db2"), **changed)["changed"] is True
        assert estate.module("replica", state="attached", **estate.server("db2"), **changed)["changed"] is False
        assert "another-password" in (estate.home / "db2/data.passfile").read_text()
    finally:
        estate.module("replica", state="prepared", **estate.server(), replication_password=first)
        estate.module("replica", state="attached", **estate.server("db2"), **{**where, "replication_password": first})
