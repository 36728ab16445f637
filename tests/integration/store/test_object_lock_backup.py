# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The newest backup of a stanza is read back: what its objects carry, whatever the bucket's default says."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import subprocess
import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError
from buckets import SELF

from tests.lab.s3 import start
from tests.lab.s3.store import READER, SECRETS
from tests.modules import REPO, module

FULL, LATER = "20260131-020003F", "20260131-020003F_20260207-020002I"
#: As pgBackRest 2.45 names them, with small files bundled.
FILES = ("backup.manifest", "backup.manifest.copy", "bundle/1", "pg_data/base/5/2619.lz4", "pg_data/base/5/16384.lz4")
DAY = timedelta(days=1)


def _write(client: Any, bucket: str, label: str, *names: str, stanza: str = "shop", **lock: Any) -> None:
    """Write a backup's objects, the larger ones in parts."""
    for name in names or FILES:
        key = f"orders/backup/{stanza}/{label}/{name}"
        if name.startswith("bundle"):
            upload = client.create_multipart_upload(Bucket=bucket, Key=key)["UploadId"]
            place = {"Bucket": bucket, "Key": key, "UploadId": upload}
            tag = client.upload_part(PartNumber=1, Body=b"x" * 9000, **place)["ETag"]
            client.complete_multipart_upload(MultipartUpload={"Parts": [{"PartNumber": 1, "ETag": tag}]}, **place)
        else:
            # With the digest that a locked bucket insists on, as pgBackRest sends it.
            digest = base64.b64encode(hashlib.md5(b"x").digest()).decode()
            client.put_object(Bucket=bucket, Key=key, Body=b"x", ContentMD5=digest, **lock)


@pytest.fixture
def bucket(client: Any, request: pytest.FixtureRequest) -> str:
    """A bucket of the test's own that can be locked and is not yet."""
    name = request.node.name.replace("_", "-").partition("[")[0][:60].strip("-")
    start.make_bucket(client, name, lock=True)
    return str(name)


def _asked(
    store: dict[str, Any], bucket: str, fails: bool = False, check: bool = False, **other: Any
) -> dict[str, Any]:
    given = {"days": 35, "stanza": "shop", "path": "/orders", **store, **other}
    answer = module("object_lock", owner=SELF, fails=fails, check=check, bucket=bucket, **given)
    assert "\n" not in answer.get("msg", "")
    return answer


def test_the_newest_whole_backup_is_asked(store: dict[str, Any], client: Any, bucket: str) -> None:
    start.keep(client, bucket, "COMPLIANCE", Days=35)
    assert _asked(store, bucket)["backup"] == ""
    _write(client, bucket, FULL)
    # What another one left when it was killed, and another stanza's.
    _write(client, bucket, LATER, "backup.manifest.copy", "bundle/1")
    _write(client, bucket, "20260301-020003F", stanza="other")
    before = datetime.now(timezone.utc)
    for check in (False, True):
        found = _asked(store, bucket, check=check, path="orders/")
        assert (found["backup"], found["objects"]) == (FULL, len(FILES))
        assert abs(datetime.fromisoformat(found["kept_until"]) - before - 35 * DAY) < timedelta(minutes=5)
    assert _asked(store, bucket, sample=1)["objects"] == 3
    _write(client, bucket, LATER)
    assert _asked(store, bucket)["backup"] == LATER
    assert "backup" not in _asked(store, bucket, stanza=None)


def test_what_was_written_before_the_lock_is_refused(store: dict[str, Any], client: Any, bucket: str) -> None:
    _write(client, bucket, FULL)
    start.keep(client, bucket, "COMPLIANCE", Days=35)
    said = _asked(store, bucket, fails=True)["msg"]
    assert f"objects of backup {FULL} that carry no retention: backup.manifest, backup.manifest.copy, " in said
    assert " and 2 more, 5 of 5 that were asked (raise the bucket's default" in said
    _write(client, bucket, "20260207-020003F")
    _asked(store, bucket)


def test_each_thing_that_is_wrong_is_told_with_its_objects(store: dict[str, Any], client: Any, bucket: str) -> None:
    start.keep(client, bucket, "COMPLIANCE", Days=35)
    _write(client, bucket, FULL)
    now = datetime.now(timezone.utc)
    for name, mode, until in (
        ("pg_data/a", "GOVERNANCE", now + 36 * DAY),
        ("pg_data/b", "COMPLIANCE", now + 7 * DAY),
        ("pg_data/c", "COMPLIANCE", now - DAY),
        ("pg_data/d", "COMPLIANCE", now + 36 * DAY),
    ):
        _write(client, bucket, FULL, name, ObjectLockMode=mode, ObjectLockRetainUntilDate=until)
    said = _asked(store, bucket, fails=True)["msg"]
    assert said.startswith("refused for 3 reasons: ")
    for piece in (
        "that whoever holds s3:BypassGovernanceRetention can remove: pg_data/a, 1 of 9",
        "that have outlived their retention: pg_data/c, 1 of 9",
        "that are kept for less than 35 days from when they were written: pg_data/b, 1 of 9",
    ):
        assert piece in said, said
    assert "s3:BypassGovernanceRetention" not in _asked(store, bucket, fails=True, mode="governance")["msg"]


def test_a_manifest_without_retention_is_always_found(store: dict[str, Any], client: Any, bucket: str) -> None:
    _write(client, bucket, FULL, "backup.manifest")
    start.keep(client, bucket, "COMPLIANCE", Days=35)
    _write(client, bucket, FULL, *(f"pg_data/{number}" for number in range(8)))
    said = _asked(store, bucket, fails=True, sample=2)["msg"]
    assert "carry no retention: backup.manifest, 1 of 3 that were asked" in said


def test_the_bucket_s_own_reasons_come_with_the_objects(store: dict[str, Any], client: Any, bucket: str) -> None:
    start.keep(client, bucket, "COMPLIANCE", Days=7)
    _write(client, bucket, FULL)
    said = _asked(store, bucket, fails=True)["msg"]
    assert "refused for 2 reasons: " in said and "keeps an object for 7 days, not for 35" in said
    assert "are kept for less than 35 days from when they were written: backup.manifest" in said


def test_a_version_that_is_kept_can_not_be_removed(store: dict[str, Any], client: Any, bucket: str) -> None:
    """Not by whoever wrote it. A removal without a version puts a marker, and behind it the backup is as it was."""
    start.keep(client, bucket, "COMPLIANCE", Days=35)
    _write(client, bucket, FULL)
    place = {"Bucket": bucket, "Key": f"orders/backup/shop/{FULL}/backup.manifest"}
    versions = client.list_object_versions(Bucket=bucket)["Versions"]
    assert len(versions) == len(FILES)
    for one in versions:
        for bypass in (False, True):
            with pytest.raises(ClientError, match="AccessDenied"):
                client.delete_object(
                    Bucket=bucket, Key=one["Key"], VersionId=one["VersionId"], BypassGovernanceRetention=bypass
                )
    marker = client.delete_object(**place)["VersionId"]
    assert _asked(store, bucket)["backup"] == ""
    client.delete_object(**place, VersionId=marker)
    assert _asked(store, bucket)["backup"] == FULL


def test_a_key_that_may_only_read_is_enough(store: dict[str, Any], client: Any, bucket: str) -> None:
    start.keep(client, bucket, "COMPLIANCE", Days=35)
    _write(client, bucket, FULL)
    assert _asked(store, bucket, key=READER, key_secret=SECRETS[READER])["backup"] == FULL
    said = _asked(store, bucket, fails=True, key="AKIANOBODY0000000001")["msg"]
    assert "InvalidAccessKeyId" in said and "s3:ListBucket and s3:GetObjectRetention" in said


@pytest.mark.parametrize(("wrong", "piece"), [
    ({"stanza": ""}, "stanza is empty (name it, or leave it out)"), ({"sample": -1}, "sample is -1 (give 0 or more)"),
])  # fmt: skip
def test_an_option_that_means_nothing_is_refused(store: dict[str, Any], wrong: dict[str, Any], piece: str) -> None:
    assert piece in _asked(store, "compliance", fails=True, **wrong)["msg"]


def test_the_role_asks_after_a_backup_alone(store: dict[str, Any], client: Any, bucket: str, tmp_path: Path) -> None:
    """A backup that carries no retention must not keep a host from being configured, which may be its remedy."""
    _write(client, bucket, FULL)
    start.keep(client, bucket, "COMPLIANCE", Days=35)
    part = {"name": "boringdb.ops.backup", "tasks_from": "pgbackrest_object_lock"}
    play = [{"hosts": "db1", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": part}]}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    entry = {"type": "s3", "bucket": bucket, "path": "/orders", "object_lock": {"days": 35}, **store}
    for state, code in (("configured", 0), ("taken", 2)):
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "db1,", str(tmp_path / "play.yml")]
        given = {"__backup_store": {"number": 1, "repository": entry}, "backup_state": state, "cluster": "shop"}
        done = subprocess.run([*argv, "-e", json.dumps(given)], cwd=REPO, text=True, capture_output=True, check=False,
                              env={**os.environ, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")})  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert (f"objects of backup {FULL} that carry no retention" in done.stdout) == (code == 2), done.stdout
