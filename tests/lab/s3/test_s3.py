# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Two repositories, one on a host and one in S3: configured, filled, restored from when the other is gone."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

from tests.lab.estate import changed
from tests.lab.s3.conftest import CLUSTER, CONFIGURE, DRILL, HOSTS, PRIMARY, REPLICA, REPOSITORY, SECRET_TEXTS, Ground

pytestmark = pytest.mark.lab


def _labels(output: str) -> list[str]:
    return re.findall(r"backup: (\S+) (?:full|incr) of bkp in repository \d", " ".join(output.split()))


def test_a_converged_estate_is_left_alone_and_shows_no_secret(ground: Ground) -> None:
    output = ground.play("provision", "-vvv", "--diff")
    assert changed(output) == dict.fromkeys(HOSTS, 0)
    assert not [text for text in SECRET_TEXTS if text in output]
    assert changed(ground.play(CONFIGURE, "--check")) == dict.fromkeys(HOSTS, 0)


def test_backups_go_into_each_and_no_secret_into_a_process_list_or_log(ground: Ground) -> None:
    watch = "while :; do cat /proc/[0-9]*/cmdline | tr '\\0' ' ' >>/run/seen; sleep 0.02; done 2>/dev/null"
    for host in (PRIMARY, REPOSITORY):
        ground.estate.on(host, f"setsid sh -c \"{watch}\" >/dev/null 2>&1 & echo $! >/run/watch.pid")
    ground.estate.sql(PRIMARY, "CREATE TABLE goods AS SELECT generate_series(1, 5000) AS id")
    output = ground.play("backup", "-vvv")
    assert len(set(_labels(output))) == 2, output[-3000:]
    assert not [text for text in SECRET_TEXTS if text in output]
    for host in (PRIMARY, REPOSITORY):
        ground.estate.on(host, "kill $(cat /run/watch.pid)")
        seen = ground.estate.on(host, "cat /run/seen")
        assert "archive-push" in seen or "pgbackrest" in seen
        assert not [text for text in SECRET_TEXTS if text in seen]
        for text in SECRET_TEXTS:
            found = ground.estate.on(host, f'grep -rlF "{text}" /etc /var/log /var/lib/postgresql /var/spool || true')
            assert found.split() in ([], [f"/etc/pgbackrest/conf.d/{CLUSTER}.conf"])
    mode = "stat -c '%a %U %G' /etc/pgbackrest/conf.d/bkp.conf"
    assert {ground.estate.on(host, mode).strip() for host in HOSTS} == {"640 root postgres"}


def test_the_health_of_each_is_told(ground: Ground) -> None:
    first, second = _health(ground)
    assert (first["repository"], second["repository"]) == (1, 2)
    for one in (first, second):
        assert one["reachable"] and one["encrypted"] and not one["problem"] and one["backups"] >= 1
    assert first["wal"] == second["wal"] != ""


def _health(ground: Ground) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ground.module(DRILL, "backup_info", tool="pgbackrest", stanza=CLUSTER)["repositories"]
    return found


def test_a_drill_passes_from_the_second_with_everything_else_gone_and_retention_knows_it(ground: Ground) -> None:
    ground.estate.sql(PRIMARY, "INSERT INTO goods SELECT generate_series(5001, 6000)")
    ground.pgbackrest(PRIMARY, "check")
    ground.estate.lab("kill", PRIMARY, REPLICA, REPOSITORY)
    try:
        said = ground.play("restore_drill", "-e", "restore_drill_repository=2")
        first, second = _health(ground)
    finally:
        ground.estate.lab("start", PRIMARY, REPLICA, REPOSITORY)
    assert re.search(r"bkp verified .*rows=6000", " ".join(said.split())), said[-2000:]
    assert not first["reachable"] and first["problem"].startswith("the repository can't be reached")
    assert second["reachable"] and not second["problem"]
    measured = ground.estate.record(CLUSTER)["measurements"]
    assert measured["backup_repository"] == 2

    # It keeps one full backup by number: the verified one is now the older of two.
    output = ground.play("backup", "-e", '{"backup_to": [2]}')
    assert len(_labels(output)) == 1, output[-3000:]
    kept = measured["backup_label"]
    assert re.search(rf"kept beyond its number {kept} \({kept} is the last verified backup", " ".join(output.split()))
    labels = [one["label"] for one in _backups(ground, 2)]
    assert labels == [kept, *_labels(output)]


def _backups(ground: Ground, repository: int) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ground.module(
        DRILL, "backup_info", tool="pgbackrest", stanza=CLUSTER, repository=repository
    )["backups"]
    return found


def test_the_second_goes_on_while_the_first_is_gone(ground: Ground) -> None:
    """Archiving goes on beyond one segment, a backup is taken, and the first one catches up."""
    ground.estate.lab("cut", REPOSITORY)
    try:
        for _turn in range(3):
            last = ground.estate.sql(PRIMARY, "INSERT INTO goods VALUES (0); SELECT pg_walfile_name(pg_switch_wal())")
        _await(lambda: _wal(ground, 2) >= last.split()[-1], 90)
    finally:
        ground.estate.lab("heal", REPOSITORY)
    _await(lambda: _wal(ground, 1) >= last.split()[-1], 90)


def _wal(ground: Ground, repository: int) -> str:
    said = ground.pgbackrest(DRILL, f"--repo={repository} --output=json info", check=False)
    archive = json.loads(said, strict=False)[0]["archive"]
    return str(max((one["max"] or "" for one in archive), default=""))


def _await(done: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < deadline, "it did not come"


def test_a_backup_is_copied_from_a_replica(ground: Ground) -> None:
    output = ground.play("backup", "-e", '{"backup_to": [1], "backup_from_standby": true, "backup_type": "incr"}')
    assert len(_labels(output)) == 1
    log = ground.estate.on(REPOSITORY, f"cat /var/log/pgbackrest/{CLUSTER}-backup.log")
    assert "wait for replay on the standby to reach" in log[log.rindex("backup command begin"):]


def test_a_drill_host_s_key_writes_nothing(ground: Ground) -> None:
    said = ground.pgbackrest(DRILL, "--repo=2 repo-put archive/bkp/x </etc/hostname", check=False)
    assert "403" in said and "AccessDenied" in said, said


@pytest.mark.parametrize(("other", "says"), [
    ({"ca_file": "OTHER"}, r"repository 2, controller:\d+: its certificate is refused: .*(unable to|self-signed)"),
    ({"port": 1}, r"repository 2, controller:1: it can't be reached: Connection refused"),
], ids=["another CA", "no store"])  # fmt: skip
def test_a_store_that_can_not_be_trusted_or_reached_is_refused_by_name(
    ground: Ground, other: dict[str, Any], says: str
) -> None:
    given = {key: str(ground.home / "other.pem") if value == "OTHER" else value for key, value in other.items()}
    before = ground.estate.on(PRIMARY, "cat /etc/pgbackrest/bkp-ca-repo2.pem")
    output = ground.refused(CONFIGURE, "-e", ground.with_store(**given))
    assert re.search(says, output), output[-3000:]
    assert ground.estate.on(PRIMARY, "cat /etc/pgbackrest/bkp-ca-repo2.pem") == before


def test_what_pgbackrest_says_of_a_store_becomes_one_line(ground: Ground) -> None:
    settings = ground.estate.on(DRILL, "cat /etc/pgbackrest/conf.d/bkp.conf")
    for change, says in {
        "repo2-storage-ca-file=/etc/pgbackrest/bkp-ca-repo2.pem|repo2-storage-ca-file=/etc/ssl/certs/ca-certificates.crt":
            "the certificate of controller:[0-9]+ is refused: unable to get local issuer certificate",
        "repo2-s3-bucket=far-backups|repo2-s3-bucket=no-such-bucket":
            "the object store answers 404 .NOT FOUND.: NoSuchBucket: The specified bucket does not exist",
        "repo2-s3-key=AKIA|repo2-s3-key=BKIA": "the object store answers 403 .Forbidden.: InvalidAccessKeyId",
        "repo2-cipher-pass=the|repo2-cipher-pass=a": "it is encrypted with another key than this host has",
    }.items():  # fmt: skip
        before, _bar, after = change.partition("|")
        assert before in settings
        wrong = settings.replace(before, after) + "io-timeout=3\n"
        ground.estate.on(DRILL, f"cat >/run/wrong.conf <<'END'\n{wrong}END\nchown postgres /run/wrong.conf")
        answer = ground.module(DRILL, "backup_info", failing=True, tool="pgbackrest", stanza=CLUSTER, repository=2,
                               pgbackrest_config="/run/wrong.conf")  # fmt: skip
        assert re.search(says, answer["msg"]) and "\n" not in answer["msg"], answer["msg"]
        assert not [text for text in SECRET_TEXTS if text in json.dumps(answer)]


def test_what_can_not_work_is_refused_at_once(ground: Ground) -> None:
    wrong = {
        "backup_repositories": [{"type": "host"}, {"type": "host"}, {"type": "s3", "bucket": "b", "endpoint": "https://x"}],
        "backup_to": [7],
        "backup_archive_async": False,
        "backup_archive_queue_max": "much",
    }
    output = ground.refused(CONFIGURE, "--check", **wrong)
    for says in ("repository of type host or path at /var/lib/pgbackrest", "repository 3 has no region",
                 "repository 3 has no key", "endpoint https://x", "backup_to names a repository",
                 "means nothing without backup_archive_async",
                 "much is no size"):  # fmt: skip
        assert says in output, (says, output[-3000:])


def test_block_incremental_backups_need_a_version_that_is_ready(ground: Ground) -> None:
    output = ground.refused(CONFIGURE, "-e", "backup_block_incremental=true")
    assert "backup_block_incremental needs pgBackRest 2.46, this is 2.45" in output, output[-3000:]
