# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`restore` over a slow link that fails half way: the same command again fetches what is missing, and only that."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.integration.estate_runs import await_
from tests.lab.cluster import BOOKWORM
from tests.lab.estate import Estate, lab_hosts

pytestmark = pytest.mark.lab

HOSTS = ("slow1", "slowrepo")
HOME = "/var/lib/postgresql"
DATA = BOOKWORM.members["db_data_dir"]
#: Of a table, which is a file of its own and does not compress; there are so many.
MEGABYTES, TABLES = 12, 12
#: When the link fails; and less than that is to spare on the disk, which what recovery writes before also needs.
FETCHED, SPARE_MB = 110_000_000, 90


@pytest.fixture(scope="module")
def estate(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """A primary with a backup on another host, between which no more than 4 MB a second pass."""
    with lab_hosts(tmp_path_factory.mktemp("slow"), *BOOKWORM.hosts(*HOSTS)) as it:
        at = {name: {"ansible_host": it.addresses[name]} for name in HOSTS}
        it.describe({
            "slow": {"hosts": {"slow1": at["slow1"]}, "vars": BOOKWORM.members},
            "repository_hosts": {"hosts": {"slowrepo": at["slowrepo"]}},
            "drill_hosts": {"hosts": {"slowrepo": at["slowrepo"]}},
        }, backup_repository_host="slowrepo")  # fmt: skip
        it.on("slow1", f"mkdir -p {HOME} && mount -t tmpfs -o size=1400m,mode=0755 tmpfs {HOME}")
        it.play("provision", cluster="slow")
        # pgBackRest then tells what it found and what it fetched.
        it.on("slow1", "printf '[global:restore]\\nlog-level-file=detail\\n' > /etc/pgbackrest/conf.d/detail.conf")
        it.play("evidence_key", cluster="slow")
        it.sql("slow1", "CREATE EXTENSION pgcrypto")
        it.on("slow1", f"install -d -o postgres {HOME}/spaces && install -d -m 700 -o postgres {HOME}/spaces/fast")
        it.sql("slow1", f"CREATE TABLESPACE fast LOCATION '{HOME}/spaces/fast'")
        for number in range(TABLES):
            place = "TABLESPACE fast" if number % 2 else ""
            it.sql("slow1", f"CREATE TABLE noise{number} {place} AS SELECT gen_random_bytes(1000) AS bytes"
                            f" FROM generate_series(1, {MEGABYTES * 1000})")  # fmt: skip
        it.play("backup", cluster="slow")
        it.lab("throttle", "slowrepo", "4000")
        yield it


def restore(estate: Estate) -> subprocess.CompletedProcess[str]:
    """The playbook, confirmed."""
    return estate.attempt("restore", "-e", json.dumps({"cluster": "slow", "confirm": "slow"}))


def leave(estate: Estate, megabytes: int) -> None:
    """Fill the disk up to that."""
    estate.on("slow1", f"rm -f {HOME}/filler")
    free = int(estate.on("slow1", f"df -BM --output=avail {HOME} | tail -1").strip().rstrip("M"))
    estate.on("slow1", f"fallocate -l {free - megabytes}M {HOME}/filler")


def fetched(estate: Estate) -> int:
    """How many bytes of the new data there are."""
    places = f"{DATA}.restoring {HOME}/spaces/fast.restoring"
    return sum(map(int, estate.on("slow1", f"du -sb {places} 2>/dev/null | cut -f1", False).split()))


def test_what_a_failed_run_has_fetched_is_not_fetched_again(estate: Estate) -> None:
    wanted = estate.sql("slow1", "SELECT count(*), sum(length(bytes)) FROM noise7")
    leave(estate, 50)
    # First for the data, then with the WAL, which is looked at where there is room for the data.
    for _look in range(2):
        told = " ".join(restore(estate).stdout.split())
        asked = re.search(r"has \d+ MB free, the restore needs (\d+) MB; nothing was changed", told)
        assert asked, told[-3000:]
        leave(estate, int(asked.group(1)) + SPARE_MB)
    with ThreadPoolExecutor() as pool:
        running = pool.submit(restore, estate)
        await_(lambda: running.done() or fetched(estate) > FETCHED, "most of the data", 600)
        assert not running.done(), f"it ended before the link failed: {running.result().stdout[-3000:]}"
        estate.on("slowrepo", "pkill -f 'restore:remot[e]'")
        done = running.result()
    assert done.returncode != 0
    told = " ".join(done.stdout.split())
    assert "the repository can't be reached" in told and "mend the cause and run the same again" in told, told[-3000:]
    there = fetched(estate)
    assert there > FETCHED

    done = restore(estate)
    assert done.returncode == 0, done.stdout[-5000:]
    assert estate.sql("slow1", "SELECT count(*), sum(length(bytes)) FROM noise7") == wanted
    measured = estate.record("slow")["measurements"]
    assert there * 0.9 < measured["resumed_bytes"] <= there * 1.1
    told = estate.on("slow1", "cat /var/log/pgbackrest/slow-restore.log").rpartition("PROCESS START")[2]
    large = [line for line in told.splitlines() if re.search(r"restore file \S+ .*\(1\d(\.\d)?MB", line)]
    kept = [line for line in large if "exists and matches backup" in line]
    # A file that was half there when the link failed begins anew, one for each of its two processes.
    assert len(large) == TABLES and 4 <= len(kept) < TABLES, told
