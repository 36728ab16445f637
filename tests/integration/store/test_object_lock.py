# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Buckets with and without Object Lock in moto's store over TLS: those that keep less than expected are refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from buckets import LOCKED, SELF

from tests.lab.s3.store import SECRETS, WRITER
from tests.modules import REPO, module


@pytest.mark.parametrize(("bucket", "mode", "days"), [
    ("compliance", "compliance", 35), ("compliance", "governance", 1), ("governance", "governance", 30),
    ("years", "compliance", 365),
])  # fmt: skip
def test_one_that_keeps_enough_is_taken(store: dict[str, Any], bucket: str, mode: str, days: int) -> None:
    for check in (False, True):
        found = module("object_lock", owner=SELF, check=check, bucket=bucket, mode=mode, days=days, **store)
        assert found["changed"] is False
        assert (found["versioning"], found["mode"]) == ("enabled", LOCKED[bucket][0].lower())
        assert found["days"] == LOCKED[bucket][1]


@pytest.mark.parametrize(("bucket", "days", "pieces"), [
    ("compliance", 36, ["keeps an object for 35 days, not for 36"]),
    ("governance", 36, ["refused for 2 reasons: ", "in governance mode, which whoever", "35 days, not for 36"]),
    ("ruleless", 1, ["bucket ruleless has no Object Lock with a default retention"]),
    ("plain", 1, ["refused for 2 reasons: ", "bucket plain has versioning disabled", "has no Object Lock"]),
    ("missing", 1, ["bucket missing of localhost:", "NoSuchBucket"]),
])  # fmt: skip
def test_one_that_keeps_less_is_refused_with_every_reason(
    store: dict[str, Any], bucket: str, days: int, pieces: list[str]
) -> None:
    said = module("object_lock", owner=SELF, fails=True, bucket=bucket, days=days, **store)["msg"]
    for piece in pieces:
        assert piece in said, said


@pytest.mark.parametrize(("wrong", "piece"), [
    ({"key": "AKIANOBODY0000000001"}, "InvalidAccessKeyId"),
    ({"port": 1}, "can't be asked at localhost:1: "),
    ({"ca_file": "/etc/ssl/certs/ca-certificates.crt"}, "can't be asked at localhost:"),
    ({"ca_file": "/nowhere.pem"}, "there is no file /nowhere.pem (correct ca_file)"),
    ({"days": 0}, "days is 0 (give 1 or more)"),
])  # fmt: skip
def test_a_store_that_can_not_be_asked_is_told_in_one_line(
    store: dict[str, Any], wrong: dict[str, Any], piece: str
) -> None:
    answer = module("object_lock", owner=SELF, fails=True, bucket="plain", **{"days": 1, **store, **wrong})
    assert piece in answer["msg"] and "\n" not in answer["msg"], answer["msg"]
    assert "exception" not in answer and SECRETS[WRITER] not in str(answer)


def test_the_role_asks_from_the_controller(store: dict[str, Any], tmp_path: Path) -> None:
    """The part of the role that does it, for a bucket that keeps enough and one that does not."""
    part = {"name": "boringdb.ops.backup", "tasks_from": "pgbackrest_object_lock"}
    play = [{"hosts": "db1", "gather_facts": False, "tasks": [{"ansible.builtin.include_role": part}]}]
    (tmp_path / "play.yml").write_text(json.dumps(play))
    for bucket, code in (("compliance", 0), ("governance", 2)):
        entry = {"type": "s3", "bucket": bucket, "object_lock": {"days": 35}, **store}
        argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", "db1,", str(tmp_path / "play.yml")]
        given = json.dumps({"__backup_store": {"number": 1, "repository": entry}})
        done = subprocess.run([*argv, "-e", given], cwd=REPO, text=True, capture_output=True, check=False,
                              env={**os.environ, "ANSIBLE_CONFIG": str(REPO / "ansible.cfg")})  # fmt: skip
        assert done.returncode == code, done.stdout + done.stderr
        assert ("bucket governance has Object Lock in governance mode" in done.stdout) == (code == 2), done.stdout
        assert SECRETS[WRITER] not in done.stdout
