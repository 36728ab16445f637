# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of several controllers in an S3 bucket: ``PREFIX/<cluster>/00000001.dsse.json``.

A place is taken by a conditional write, which the store grants once.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import EvidenceError
from ansible_collections.boringdb.ops.plugins.module_utils._core.ledger_store import (
    PLACE,
    Shared,
    file_of,
    sound,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.object_lock import LIBRARY, connect

if LIBRARY:
    import botocore.exceptions


class Bucket(Shared):
    """Where the records are."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        preflight = Preflight()
        preflight.require(LIBRARY, "boto3 is missing", "install it for the interpreter of Ansible")
        for name in ("bucket", "endpoint", "region"):
            preflight.require(bool(options.get(name)), f"{name} of the ledger's store is empty", "name it")
        preflight.done()
        self.bucket = options["bucket"]
        self.where = f"bucket {self.bucket} of {options['endpoint']}:{options.get('port') or 443}"
        self.prefix = f"{(options.get('prefix') or '').strip('/')}/".lstrip("/")
        self.client = connect(options)

    def clusters(self) -> list[str]:
        with self._said():
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix, Delimiter="/")
            names = [item["Prefix"][len(self.prefix):-1] for page in pages for item in page.get("CommonPrefixes", ())]
        return sound(names)

    def claim(self, cluster: str, sequence: int, data: bytes) -> bool:
        with self._said():
            try:
                self.client.put_object(
                    Bucket=self.bucket, Key=self.label(cluster, sequence), Body=data, IfNoneMatch="*",
                    ContentType="application/json", ChecksumAlgorithm="SHA256",
                )  # fmt: skip
            except botocore.exceptions.ClientError as exc:
                # 409: another write of the same place is under way.
                if exc.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                    return False
                raise
        return True

    def places(self, cluster: str) -> list[int]:
        start = f"{self.prefix}{cluster}/"
        with self._said():
            pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket, Prefix=start)
            found = [PLACE.fullmatch(item["Key"][len(start):]) for page in pages for item in page.get("Contents", ())]
        return [int(named[1]) for named in found if named]

    def read(self, cluster: str, places: Iterable[int]) -> Iterator[bytes]:
        for place in places:
            with self._said():
                data: bytes = self.client.get_object(Bucket=self.bucket, Key=self.label(cluster, place))["Body"].read()
            yield data

    def label(self, cluster: str, place: int) -> str:
        return f"{self.prefix}{cluster}/{file_of(place)}"

    @contextlib.contextmanager
    def _said(self) -> Iterator[None]:
        try:
            yield
        except botocore.exceptions.ClientError as exc:
            error = exc.response.get("Error", {})
            said = f"{exc.operation_name} answers {error.get('Code')}: {error.get('Message')}"
            rights = "s3:ListBucket, s3:GetObject and s3:PutObject"
            raise EvidenceError(f"{self.where}: {said}; its key needs {rights}") from exc
        except botocore.exceptions.BotoCoreError as exc:
            raise EvidenceError(f"{self.where} can't be asked: {exc}; nothing was recorded") from exc
