# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`dump`: all is in it and comes back, what does not is named, what is killed leaves nothing that looks whole."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from estate import AS_OWNER, Estate
from estate_runs import await_, kill, parent
from holds import bin_dir, held

sys.path.insert(0, str(Path(__file__).parent))

from dump_ground import DATABASE, empty, fill, manifest, place, prove, psql, scratch, statuses, take

from tests.modules import programs


@pytest.fixture(scope="module")
def ground(estate: Estate) -> Iterator[Estate]:
    """The cluster, filled with what a dump may lose."""
    estate.start()
    fill(estate)
    caught_up(estate)
    yield estate
    empty(estate)
    caught_up(estate)
    estate.assert_clean()


def caught_up(estate: Estate) -> None:
    """Wait until the replica has replayed what the primary has now."""
    lsn = estate.sql("SELECT pg_current_wal_lsn()")
    query = f"SELECT pg_last_wal_replay_lsn() >= '{lsn}'::pg_lsn"
    await_(lambda: estate.sql(query, host="db2") == "t", "the replica's replay")


@pytest.fixture(scope="module")
def taken(ground: Estate) -> dict[str, Any]:
    """One dump of the primary, that tests may read."""
    done = take(ground, place(ground, "read"))
    return {**done["dump"], "path": ground.home / "read"}


def test_everything_is_in_it_and_comes_back(ground: Estate, taken: dict[str, Any]) -> None:
    assert taken["databases"] == [DATABASE, "postgres", "shop", "template1"]
    said = manifest(taken["path"], taken["label"])
    tables = said["databases"]["shop"]["tables"]
    rows = {name: table["rows"] for name, table in tables.items()}
    assert rows == {
        'public."Odd Name"': 500, "public.parts": None, "public.parts_1": 180, "public.parts_2": 120,
        "ledger.entry": 40, "ledger.line": 40, "public.empty_of_columns": 1,
    }  # fmt: skip
    assert said["databases"][DATABASE]["tables"]['public."t""1"']["rows"] == 7
    for file in (taken["path"] / taken["label"]).rglob("*"):
        assert file.stat().st_mode & 0o077 == 0, file
    proved = prove(ground, taken["path"])
    assert set(statuses(proved).values()) == {"passed"}, proved["checks"]
    assert (proved["label"], proved["manifest_sha256"]) == (taken["label"], taken["manifest_sha256"])
    assert proved["rows_checked"] == taken["rows"] >= 60000 + 888
    assert nothing_left(ground)


def test_programs_of_a_newer_version_prove_what_can_be_compared(ground: Estate, taken: dict[str, Any]) -> None:
    proved = prove(ground, taken["path"], bin_dir=str(programs(18)))
    unlike = {name: status for name, status in statuses(proved).items() if status != "passed"}
    assert unlike == {"values": "skipped", "privileges": "skipped"}, proved["checks"]
    assert not [check for check in proved["checks"] if check["required"] and check["status"] == "skipped"]
    assert nothing_left(ground)


def nothing_left(estate: Estate) -> bool:
    """Whether the proof has left no more than its empty directories."""
    home = Path(scratch(estate)["data_dir"]).parent
    return [path for path in home.rglob("*") if path != home / "run"] == []


def _rows(said: dict[str, Any]) -> None:
    said["databases"]["shop"]["tables"]["ledger.line"]["rows"] += 1


def _values(said: dict[str, Any]) -> None:
    said["databases"]["shop"]["tables"]["ledger.line"]["hash"] += "1"


def _table(said: dict[str, Any]) -> None:
    said["databases"]["shop"]["tables"]["ledger.gone"] = said["databases"]["shop"]["tables"]["ledger.line"]


def _owners(said: dict[str, Any]) -> None:
    said["databases"]["shop"]["objects"]["table ledger.line"]["owner"] = "reader"


def _privileges(said: dict[str, Any]) -> None:
    said["databases"]["shop"]["objects"]['table public."Odd Name"']["acl"].pop(0)


def _large_objects(said: dict[str, Any]) -> None:
    said["databases"]["shop"]["large_objects"]["hash"] += "1"


def _sequences(said: dict[str, Any]) -> None:
    said["databases"]["shop"]["sequences"]["ledger.down"]["last"] -= 5


def _roles(said: dict[str, Any]) -> None:
    said["roles"]["clerk"]["attributes"]["login"] = False


def _memberships(said: dict[str, Any]) -> None:
    said["members"] = [[member, role, not admin, *rest] for member, role, admin, *rest in said["members"]]


def _properties(said: dict[str, Any]) -> None:
    said["databases"]["shop"]["settings"].append(["of clerk work_mem", "0"])


@pytest.mark.parametrize(
    ("change", "check", "told"),
    [
        (_rows, "rows", "shop: ledger.line has 40 rows, not 41"),
        (_table, "rows", "shop: ledger.gone is missing"),
        (_values, "values", "shop: ledger.line has other values in its 40 rows"),
        (_owners, "owners", "shop: table ledger.line: its owner is clerk, was reader"),
        (_privileges, "privileges", 'shop: table public."Odd Name": its privileges are PUBLIC=SELECT Shop'),
        (_large_objects, "large_objects", "shop: the large objects hold other bytes"),
        (_sequences, "sequences", "shop: ledger.down is at 95, behind 90"),
        (_roles, "roles", "clerk: it differs in login"),
        (_memberships, "roles", "clerk is no member of reader as it was"),
        (_properties, "properties", "shop: it differs in the setting of clerk work_mem"),
    ],
)
def test_what_did_not_come_back_fails_its_own_check(
    ground: Estate, taken: dict[str, Any], change: Callable[[dict[str, Any]], None], check: str, told: str
) -> None:
    """As if it had been so when the dump was taken."""
    file = taken["path"] / taken["label"] / "manifest.json"
    was = file.read_text()
    said = json.loads(was)
    change(said)
    try:
        file.write_text(json.dumps(said))
        proved = prove(ground, taken["path"], label=taken["label"])
    finally:
        file.write_text(was)
    assert [name for name, status in statuses(proved).items() if status != "passed"] == [check]
    assert told in next(one["message"] for one in proved["checks"] if one["name"] == check)


def test_a_damaged_file_is_named_and_nothing_is_loaded(ground: Estate, taken: dict[str, Any]) -> None:
    file = next((taken["path"] / taken["label"]).glob("databases/*shop/toc.dat"))
    was = file.read_bytes()
    try:
        file.write_bytes(was[:-1] + bytes([was[-1] ^ 1]))
        proved = prove(ground, taken["path"])
        file.unlink()
        missing = prove(ground, taken["path"])
    finally:
        file.write_bytes(was)
    for done, word in ((proved, "is not what was written"), (missing, "is missing")):
        assert statuses(done)["files"] == "failed"
        assert {statuses(done)[name] for name in ("rows", "owners", "databases")} == {"skipped"}
        assert f"toc.dat {word}" in done["checks"][0]["message"]
    assert nothing_left(ground)


def test_a_replica_is_dumped_without_its_unlogged_rows(ground: Estate) -> None:
    psql(ground, "BEGIN READ WRITE; CREATE UNLOGGED TABLE fleeting AS SELECT 1 AS n; COMMIT")
    caught_up(ground)
    path = place(ground, "replica")
    done = take(ground, path, host="db2", databases=["shop"])
    assert (done["dump"]["standby"], done["databases"]) == (True, ["shop"])
    assert "the replica may cancel" in json.dumps(done["warnings"])
    tables = manifest(path, done["dump"]["label"])["databases"]["shop"]["tables"]
    assert tables["public.fleeting"]["rows"] is None
    proved = prove(ground, path)
    assert set(statuses(proved).values()) == {"passed"}, proved["checks"]
    psql(ground, "BEGIN READ WRITE; DROP TABLE fleeting; COMMIT")


def test_replay_that_can_not_wait_cancels_it_in_one_line_with_the_remedy(ground: Estate) -> None:
    path = place(ground, "cancelled")
    psql(ground, "BEGIN READ WRITE; CREATE TABLE busy AS SELECT generate_series(1, 9) AS n; COMMIT")
    caught_up(ground)
    try:
        for text in ("ALTER SYSTEM SET max_standby_streaming_delay = 0", "SELECT pg_reload_conf()"):
            ground.sql(text, host="db2")
        with held(ground, "pg_dump", matching="-Fd") as hold:
            given = {**ground.server("db2"), "bin_dir": bin_dir(ground), "path": str(path), "databases": ["shop"]}
            running = ground.begin_module("dump", **given)
            hold.reached()
            psql(ground, "BEGIN READ WRITE; DROP TABLE busy; COMMIT")
            caught_up(ground)
            await_(lambda: hold.release() or running.popen.poll() is not None, "the end of the dump")
            told = running.result(fails=True)["msg"]
    finally:
        for text in ("ALTER SYSTEM RESET max_standby_streaming_delay", "SELECT pg_reload_conf()"):
            ground.sql(text, host="db2")
    assert "raise max_standby_streaming_delay there, set hot_standby_feedback = on, or take the dump with" in told
    assert "\n" not in told
    assert [file.name for file in path.iterdir()] == [".dump.lock"]


def test_passwords_are_in_it_unless_they_are_left_out(ground: Estate, taken: dict[str, Any]) -> None:
    assert "SCRAM-SHA-256$" in (taken["path"] / taken["label"] / "globals.sql").read_text()
    path = place(ground, "without")
    done = take(ground, path, databases=["shop"], passwords=False)
    script = (path / done["dump"]["label"] / "globals.sql").read_text()
    assert "CREATE ROLE clerk" in script
    assert "SCRAM" not in script
    assert "SCRAM" not in json.dumps(manifest(taken["path"], taken["label"]))
    assert set(statuses(prove(ground, path)).values()) == {"passed"}


def test_a_broken_globals_file_shows_no_password(ground: Estate, taken: dict[str, Any]) -> None:
    folder = taken["path"] / taken["label"]
    file, listed = folder / "globals.sql", folder / "manifest.json"
    was, said = file.read_text(), listed.read_text()
    try:
        broken = was.replace("ALTER ROLE clerk WITH", "ALTER ROLE clerk WITHOUT", 1)
        assert broken != was
        file.write_text(broken)
        changed = json.loads(said)
        changed["files"].pop("globals.sql")
        listed.write_text(json.dumps(changed))
        proved = prove(ground, taken["path"])
    finally:
        file.write_text(was)
        listed.write_text(said)
    assert statuses(proved)["globals"] == "failed"
    assert "syntax error" in json.dumps(proved)
    assert "SCRAM" not in json.dumps(proved)


def test_a_table_that_is_locked_is_named(ground: Estate) -> None:
    path = place(ground, "locked")
    where = ground.server()
    words = [*AS_OWNER, str(programs() / "psql"), "-XAtq", "-h", where["socket_dir"], "-p", str(where["port"])]
    words += ["-U", "postgres", "-d", "shop"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, text=True, cwd="/") as session:
        assert session.stdin
        session.stdin.write('BEGIN; LOCK TABLE "Odd Name";\n')
        session.stdin.flush()
        query = "SELECT count(*) FROM pg_locks WHERE mode = 'AccessExclusiveLock' AND granted AND relation > 16384"
        await_(lambda: psql(ground, query) != "0", "the lock")
        told = take(ground, path, fails=True, lock_seconds=1)["msg"]
        session.stdin.close()
    assert told.startswith('table public."Odd Name" of database shop was locked by pid ')
    assert 'LOCK TABLE "Odd Name"; for longer than 1 s; wait for that to end, or raise dump_lock_seconds' in told
    assert [file.name for file in path.iterdir()] == [".dump.lock"]


def test_a_killed_dump_leaves_nothing_that_looks_whole_and_the_next_removes_it(ground: Estate) -> None:
    path = place(ground, "killed")
    with held(ground, "pg_dump", matching="-Fd") as hold:
        given = {**ground.server(), "bin_dir": bin_dir(ground), "path": str(path)}
        running = ground.begin_module("dump", **given)
        held_pid = hold.reached()
        refused = take(ground, path, fails=True)["msg"]
        assert f"{path} is in use by dump (pid " in refused
        kill(parent(held_pid))
        running.popen.wait()
    assert [file.suffix for file in path.glob("[!.]*")] == [".partial"]
    # Somebody else's folder is no dump either.
    (path / "strange").mkdir()
    (path / "strange/manifest.json").write_text("{}")
    # Nor is it a leftover, though it is not finished: a physical backup, a copy.
    others = ["20200101-000000F.partial", "copy.dump.partial"]
    for name in others:
        (path / name).mkdir()
    assert "holds no whole dump" in prove(ground, path, fails=True)["msg"]
    done = take(ground, path, lock_timeout=10)
    assert "removed what a killed dump left: " in json.dumps(done["warnings"])
    assert {file.name for file in path.glob("[!.]*")} == {done["dump"]["label"], "strange", *others}


def test_a_full_disk_leaves_nothing(ground: Estate) -> None:
    path = place(ground, "full")
    with held(ground, "pg_dump", matching="-Fd", before="trap '' XFSZ; ulimit -f 1") as hold:
        given = {**ground.server(), "bin_dir": bin_dir(ground), "path": str(path), "databases": ["postgres"]}
        running = ground.begin_module("dump", **given)
        hold.reached()
        # It may not be reading yet.
        await_(lambda: hold.release() or running.popen.poll() is not None, "the end of the dump")
        told = running.result(fails=True)["msg"]
    assert told.startswith("database postgres: pg_dump exited 1: pg_dump: error: could not ")
    assert "File too large" in told
    assert [file.name for file in path.iterdir()] == [".dump.lock"]


def test_a_killed_proof_is_cleared_away_by_the_next(ground: Estate, taken: dict[str, Any]) -> None:
    with held(ground, "pg_restore") as hold:
        given = {**scratch(ground), "bin_dir": bin_dir(ground), "state": "proven", "path": str(taken["path"])}
        running = ground.begin_module("dump", **given)
        kill(parent(hold.reached()))
        running.popen.wait()
    assert Path(scratch(ground)["data_dir"], "PG_VERSION").exists()
    assert set(statuses(prove(ground, taken["path"], lock_timeout=10)).values()) == {"passed"}
    assert nothing_left(ground)


def test_retention_keeps_the_newest_and_the_last_that_was_proven(ground: Estate) -> None:
    path = place(ground, "kept")
    given = {"databases": ["shop"], "keep": 2}
    labels = [take(ground, path, **given, expire=False)["dump"]["label"] for _number in range(3)]
    done = take(ground, path, **given, verified=[labels[0]])
    labels.append(done["dump"]["label"])
    assert (done["removed"], done["spared"]) == ([labels[1]], labels[0])
    assert f"{labels[1]}: present" in done["diff"]["before"]
    done = take(ground, path, **given, verified=[labels[0], labels[3]])
    assert (done["removed"], done["spared"]) == ([labels[0], labels[2]], "")
    assert sorted(file.name for file in path.glob("[!.]*")) == sorted([labels[3], done["dump"]["label"]])


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"databases": ["shop", "none"]}, "there is no database none that takes connections (correct dump_databases)"),
        ({"databases": ["template0"]}, "there is no database template0 that takes connections"),
        ({"path": "<home>/nowhere"}, "/nowhere (mount it, or create it for this account)"),
        ({"path": "/proc"}, "/proc is not writable for "),
        ({"path": "<home>/db1/data/base"}, "lies in the server's own data directory"),
        ({"path": "dumps"}, "path 'dumps' is relative (give the whole path)"),
        ({"jobs": 0, "keep": 0}, "jobs is 0 (give 1 or more); keep is 0 (give 1 or more)"),
        ({"bin_dir": "<home>/nowhere"}, "no such program"),
        ({"data_dir": "<home>/nowhere"}, "no server runs on "),
        ({"state": "proven", "label": "20200101-000000"}, "holds no whole dump"),
        ({"state": "proven", "path": "<home>/nowhere"}, "there is no directory "),
    ],
)
def test_what_can_not_be_is_one_line_and_leaves_nothing(ground: Estate, options: dict[str, Any], said: str) -> None:
    path = place(ground, "refused")
    given = {name: str(value).replace("<home>", str(ground.home)) if name in ("path", "bin_dir", "data_dir") else value
             for name, value in options.items()}  # fmt: skip
    done = ground.module("dump", True, **{**ground.server(), "path": str(path), **given})
    assert said in done["msg"], done["msg"]
    assert done["msg"].startswith("refused")
    assert "\n" not in done["msg"]
    assert list(path.iterdir()) == []


def test_what_another_number_of_the_account_has_written_is_named(ground: Estate) -> None:
    """As on hosts that mount one directory, where the account has another number on each."""
    path = place(ground, "foreign")
    label = take(ground, path, databases=["postgres"])["dump"]["label"]
    for shut, named in ((label, label), (f"{label}/manifest.json", label), (".dump.lock", ".dump.lock")):
        mode = (path / shut).stat().st_mode & 0o777
        (path / shut).chmod(0)
        try:
            refused = take(ground, path, fails=True)["msg"]
            assert f"{path}/{named} can't be read by " in refused
            assert "(give the account the same number on every host that mounts it)" in refused
            if named == label:
                assert f"{path}/{label} can't be read by " in prove(ground, path, fails=True)["msg"]
        finally:
            (path / shut).chmod(mode)
    assert [file.name for file in path.glob("[!.]*")] == [label]


def test_dumps_of_another_cluster_are_left_alone(ground: Estate, taken: dict[str, Any]) -> None:
    file = taken["path"] / taken["label"] / "manifest.json"
    was = file.read_text()
    try:
        file.write_text(json.dumps({**json.loads(was), "system_digest": "0" * 64}))
        refused = take(ground, taken["path"], fails=True)
    finally:
        file.write_text(was)
    assert "holds dumps of another cluster" in refused["msg"]


def test_a_dry_run_says_what_it_would_do_and_does_nothing(ground: Estate, taken: dict[str, Any]) -> None:
    path = place(ground, "dry")
    done = take(ground, path, _ansible_check_mode=True)
    assert (done["changed"], done["dump"], done["databases"]) == (True, None, taken["databases"])
    assert done["diff"]["after"].endswith(f"{', '.join(taken['databases'])}\n")
    assert list(path.iterdir()) == []
    proved = prove(ground, taken["path"], _ansible_check_mode=True)
    assert (proved["label"], proved["checks"], proved["changed"]) == (taken["label"], [], False)
