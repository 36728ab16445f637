# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The privacy of a copy: who reaches it, where it may lie, what a person sees of it, and what is left on the disk."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from archive_ground import Copy, Source, checks, only_owner
from embedded_servers import as_user, await_

from tests.modules import ROOT

SECRET = "4000-1234-5678-9010"
#: Kept compressed, so that its bytes tell nothing.
EXTENDED = "SELECT most_common_vals::text FROM pg_stats_ext"
MASKING = [{"database": "postgres", "statements": [
    "UPDATE cards SET number = 'masked ' || id", "DELETE FROM visitors",
]}]  # fmt: skip


@pytest.fixture(scope="module")
def source(template: Callable[[int], Path]) -> Iterator[Source]:
    """A server with secrets, and its backup."""
    home = Path(tempfile.mkdtemp(prefix="bdb-", dir="/tmp"))
    home.chmod(0o755)
    made = Source(home, template(16))
    try:
        made.sql(
            f"CREATE TABLE cards AS SELECT id, '{SECRET}'::text AS number FROM generate_series(1, 100) AS id",
            "CREATE INDEX ON cards (number)", f"CREATE TABLE visitors AS SELECT '{SECRET}'::text AS name",
            "CREATE STATISTICS pair (mcv) ON id, number FROM cards", "CREATE INDEX ON cards ((number || 'x'))",
            "ANALYZE",
            "CREATE TABLE kept AS SELECT 'nothing of anybody'::text AS note",
        )  # fmt: skip
        made.backup()
        yield made
    finally:
        made.stop()
        shutil.rmtree(home)


@pytest.fixture
def copy(source: Source) -> Iterator[Copy]:
    """The place of a copy, which is gone in the end."""
    made = Copy(source, "copy")
    yield made
    made.remove()


def relation(copy: Copy, table: str) -> Path:
    """The file of a table."""
    return copy.server.data_dir / copy.server.psql(f"SELECT pg_relation_filepath('{table}')")


def secrets_in(copy: Copy) -> set[str]:
    """The relations' files that hold the secret."""
    files = (file for file in (copy.server.data_dir / "base").rglob("*") if file.is_file())
    return {file.name for file in files if SECRET.encode() in file.read_bytes()}


def test_nobody_but_its_account_reaches_a_copy(copy: Copy) -> None:
    copy.restore()
    place = copy.server.socket_dir
    assert only_owner(place) and only_owner(copy.server.data_dir)
    assert copy.server.psql("SHOW listen_addresses") == ""
    listening = {line.split()[1].rpartition(":")[2] for line in Path("/proc/net/tcp").read_text().splitlines()[1:]}
    assert f"{copy.server.port:04X}" not in listening
    if ROOT:
        words = [str(copy.server.bin_dir / "psql"), "-h", str(place), "-p", str(copy.server.port), "-U", "postgres"]
        done = subprocess.run(
            [*as_user("daemon"), *words, "-c", "TABLE cards"], capture_output=True, text=True, check=False, cwd="/"
        )
        assert done.returncode == 2 and "Permission denied" in done.stderr


@pytest.mark.parametrize("stopped", [False, True])
def test_what_a_person_sees_is_masked(copy: Copy, stopped: bool) -> None:
    copy.restore()
    if stopped:
        copy.server.stop()
    else:
        copy.server.psql("CHECKPOINT")
        assert len(secrets_in(copy)) >= 5 and "2619" in secrets_in(copy), "two tables, two indexes, pg_statistic"
        assert SECRET in copy.server.psql(EXTENDED)
    assert copy.remove(keep=True, masking=MASKING, check=True)["changed"]
    kept = copy.remove(keep=True, masking=MASKING)
    assert kept["masked"] == ["postgres.public.cards", "postgres.public.visitors"] and kept["kept_until"]
    assert copy.server.psql("SELECT count(*), min(number), max(number) FROM cards") == "100|masked 1|masked 99"
    assert copy.server.psql("SELECT (SELECT count(*) FROM visitors), note FROM kept") == "0|nothing of anybody"
    assert secrets_in(copy) == set()
    assert "masked" in copy.server.psql(EXTENDED) and SECRET not in copy.server.psql(EXTENDED)
    assert copy.remove(keep=True, masking=MASKING)["changed"] is False


def test_a_copy_that_can_not_be_masked_is_not_left(copy: Copy) -> None:
    copy.restore()
    wrong = [*MASKING, {"database": "postgres", "statements": ["UPDATE no_such_table SET a = 1"]}]
    told = copy.remove(keep=True, masking=wrong)
    assert told["changed"] and "kept_until" not in told
    words = "the copy was removed instead of kept, because it could not be masked: relation \"no_such_table\" does not"
    assert told["not_kept"].startswith(words) and len(told["warnings"]) == 1
    assert not copy.server.data_dir.exists() and not copy.server.pid


@pytest.mark.parametrize("by", ["the module", "its time to live"])
def test_a_wiped_copy_leaves_nothing_on_the_disk(copy: Copy, by: str) -> None:
    copy.restore(wipe=True)
    copy.server.psql("CHECKPOINT")
    marker = copy.home / "data.restore.json"
    # What is still open is there after its name is gone: so the test sees what became of the bytes.
    with relation(copy, "cards").open("rb") as table:
        before = table.read()
        assert SECRET.encode() in before
        if by == "the module":
            assert copy.remove()["changed"]
        else:
            marker.write_text(json.dumps({**json.loads(marker.read_text()), "until": time.time() - 1}))
            await_(lambda: not marker.exists(), seconds=30, what="the end of its time")
        assert not copy.server.data_dir.exists()
        assert os.pread(table.fileno(), 2 * len(before), 0) == bytes(len(before))


@pytest.mark.parametrize("by", ["the module", "its time to live"])
def test_servers_made_from_a_copy_go_with_it(source: Source, copy: Copy, by: str) -> None:
    """What works in their directory is ended, what was noted beside the copy goes, and the files are overwritten."""
    made = copy.home / "replicas"
    words = "does not lie beside"
    for wrong in (copy.home.parent, copy.server.data_dir / "replicas", copy.home / "data.more"):
        assert words in copy.restore(fails=True, replicas_dir=str(wrong))["msg"]
    source.as_owner("mkdir", "-p", str(made / "taken"))
    assert "would be removed with the copy" in copy.restore(fails=True, replicas_dir=str(made))["msg"]
    source.as_owner("rmdir", str(made / "taken"))
    source.as_owner("touch", str(copy.home / "data.mine"))
    assert "data.mine in" in copy.restore(fails=True, replicas_dir=str(made))["msg"]
    source.as_owner("rm", str(copy.home / "data.mine"))
    copy.restore(wipe=True, replicas_dir=str(made))
    source.as_owner("cp", "-r", str(copy.server.data_dir / "base"), str(made / "base"))
    source.as_owner("touch", str(copy.home / "data.passfile"))
    marker = copy.home / "data.restore.json"
    works = subprocess.Popen([*as_user(copy.server.owner), "sleep", "600"], cwd=made / "base")
    try:
        with next(one for one in (made / "base").rglob("*") if one.name == "2619").open("rb") as table:
            size = len(table.read())
            if by == "the module":
                assert copy.remove()["changed"]
            else:
                marker.write_text(json.dumps({**json.loads(marker.read_text()), "until": time.time() - 1}))
                await_(lambda: not marker.exists(), seconds=30, what="the end of its time")
            assert os.pread(table.fileno(), 2 * size, 0) == bytes(size) != b""
        assert works.wait(30) == -9
    finally:
        works.kill()
    assert [one.name for one in copy.home.iterdir() if one.name != "run"] == []


def test_without_it_the_bytes_stay(copy: Copy) -> None:
    copy.restore()
    copy.server.psql("CHECKPOINT")
    with relation(copy, "cards").open("rb") as table:
        assert copy.remove()["changed"]
        assert SECRET.encode() in table.read()


def test_a_place_that_is_not_encrypted_is_refused(source: Source) -> None:
    """What `lsblk` says of the disk decides what is expected; a file system in memory is always good enough."""
    device, kind = subprocess.run(
        ["findmnt", "-nvo", "SOURCE,FSTYPE", "-T", str(source.home)], capture_output=True, text=True, check=True
    ).stdout.split()
    layers = subprocess.run(["lsblk", "-nso", "TYPE", device], capture_output=True, text=True, check=False).stdout
    copy = Copy(source, "plain")
    if "crypt" in layers or kind == "tmpfs":
        assert checks(copy.restore(require_encrypted=True))["place_encrypted"] == "passed"
        copy.remove()
    else:
        for check in (True, False):
            told = copy.restore(require_encrypted=True, fails=True, check=check)
            assert told["msg"].startswith(f"{copy.home} is on {kind} on {device}, not encrypted (put the copy on a dm-")
            assert checks(told)["place_encrypted"] == "failed"
        assert not copy.home.exists()
    place = Path(tempfile.mkdtemp(prefix="bdb-", dir="/dev/shm"))
    try:
        if ROOT:
            shutil.chown(place, "nobody")
        inside = Copy(source, "inside")
        inside.server.data_dir, inside.server.socket_dir = place / "data", place / "run"
        done = inside.restore(require_encrypted=True)
        assert checks(done)["place_encrypted"] == "passed"
        assert inside.server.psql("SELECT count(*) FROM cards") == "100"
        inside.remove()
    finally:
        shutil.rmtree(place)
