# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The file of the head in a bucket with Object Lock, with a retention of its own."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.ledger import SUFFIX
from ansible_collections.boringdb.ops.plugins.module_utils._core.object_lock import LIBRARY, connect
from ansible_collections.boringdb.ops.plugins.module_utils._core.witness_kind import Head, Witness

if LIBRARY:
    import botocore.exceptions

PROVES = "a chain that held this record was there when the store took it; nobody can remove it before {until}"


class LockedObject:
    """Writes once, and lists every version, so that a marker of deletion hides nothing."""

    def __init__(self, options: Mapping[str, Any], root: Path) -> None:
        del root
        preflight = Preflight()
        preflight.require(LIBRARY, "boto3 is missing", "install it for the interpreter of Ansible")
        for name in ("bucket", "endpoint", "region"):
            preflight.require(bool(options.get(name)), f"{name} of the locked objects is empty", "name it")
        preflight.require((options.get("days") or 0) >= 1, f"days is {options.get('days')}", "give 1 or more")
        preflight.done()
        self.options, self.bucket = options, options["bucket"]
        self.prefix = f"{(options.get('prefix') or '').strip('/')}/".lstrip("/")
        self.client = connect(options)

    def leave(self, head: Head, check_mode: bool) -> bool:
        """Write the head's file, unless it is there."""
        name = f"{self.prefix}{head.cluster}/{head.name}{SUFFIX}"
        data = head.path.read_bytes()
        if hashlib.sha256(data).hexdigest() != head.sha256:
            raise OpsError(f"{head.path} has changed just now: verify the ledger")
        with self._said():
            there = self.client.list_object_versions(Bucket=self.bucket, Prefix=name).get("Versions")
            if there or check_mode:
                return not there
            until = datetime.now(timezone.utc) + timedelta(days=self.options["days"])
            mode = (self.options.get("mode") or "compliance").upper()
            try:
                self.client.put_object(
                    Bucket=self.bucket, Key=name, Body=data, ContentType="application/json", IfNoneMatch="*",
                    ChecksumAlgorithm="SHA256", ObjectLockMode=mode, ObjectLockRetainUntilDate=until,
                )
            except botocore.exceptions.ClientError as exc:
                if exc.response["ResponseMetadata"]["HTTPStatusCode"] == 412:
                    return False
                raise
            kept = self.client.head_object(Bucket=self.bucket, Key=name)
        if kept.get("ObjectLockMode") != mode:
            raise OpsError(f"bucket {self.bucket} took {name} without its retention: the store does not lock")
        return True

    def found(self) -> list[Witness]:
        """Every head in the bucket, by its name; bytes and retention are read of the newest of each cluster."""
        pattern = re.compile(rf"{re.escape(self.prefix)}([^/]+)/(\d{{8}})-([0-9a-f]{{64}}){re.escape(SUFFIX)}")
        first: dict[str, tuple[re.Match[str], dict[str, Any]]] = {}
        with self._said():
            for page in self.client.get_paginator("list_object_versions").paginate(
                    Bucket=self.bucket, Prefix=self.prefix):
                for item in page.get("Versions", ()):
                    named = pattern.fullmatch(item["Key"])
                    known = first.get(item["Key"])
                    # Of several versions the oldest was the witness: a later one can be anybody's.
                    if named and (known is None or item["LastModified"] < known[1]["LastModified"]):
                        first[item["Key"]] = named, item
            newest = {named[1]: key for key, (named, _item) in sorted(first.items())}
            return [self._witness(named, item, newest[named[1]] == key)
                    for key, (named, item) in sorted(first.items())]

    def _witness(self, named: re.Match[str], item: dict[str, Any], thorough: bool) -> Witness:
        at = item["LastModified"].strftime("%Y-%m-%dT%H:%M:%SZ")
        until, problem = "its retention ends", ""
        if thorough:
            got = self.client.get_object(Bucket=self.bucket, Key=item["Key"], VersionId=item["VersionId"])
            if hashlib.sha256(got["Body"].read()).hexdigest() != named[3]:
                problem = "its bytes do not have the digest in its name"
            elif not got.get("ObjectLockMode"):
                problem = "it carries no retention, so that it could have been replaced"
            else:
                until = f"{got['ObjectLockRetainUntilDate']:%Y-%m-%d} ({got['ObjectLockMode'].lower()})"
        return Witness("object_lock", named[1], int(named[2]), named[3], at, f"{self.bucket}/{item['Key']}",
                       PROVES.format(until=until), problem)

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        where = f"bucket {self.bucket} of {self.options['endpoint']}:{self.options.get('port') or 443}"
        try:
            yield
        except botocore.exceptions.ClientError as exc:
            error = exc.response.get("Error", {})
            said = f"{exc.operation_name} answers {error.get('Code')}: {error.get('Message')}"
            raise OpsError(f"{where}: {said}; its key needs s3:ListBucketVersions, s3:GetObjectVersion, "
                           "s3:PutObject and s3:PutObjectRetention") from exc
        except botocore.exceptions.BotoCoreError as exc:
            raise OpsError(f"{where} can't be asked: {exc}") from exc
