# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One ledger for several controllers: its records in an S3 bucket, with a copy on each controller.

    PREFIX/<cluster>/00000001.dsse.json      the file of that place; its name on disk follows from its contents

A place is taken by a conditional write, which the store grants once: of two controllers that append at once, one reads
on and takes the next place. No lock is held, so none can be left behind.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import dsse, ledger, statement
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import EvidenceError
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._core.object_lock import LIBRARY, connect

if LIBRARY:
    import botocore.exceptions


class Bucket:
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
        """The clusters that have records there."""
        with self._said():
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=self.prefix, Delimiter="/")
            names = [item["Prefix"][len(self.prefix):-1] for page in pages for item in page.get("CommonPrefixes", ())]
        return [name for name in names if statement.CLUSTER.fullmatch(name) and name not in statement.RESERVED_CLUSTERS]

    def claim(self, cluster: str, sequence: int, data: bytes) -> bool:
        """Write a record at its place; false where the place is taken."""
        with self._said():
            try:
                self.client.put_object(Bucket=self.bucket, Key=self._key(cluster, sequence), Body=data, IfNoneMatch="*",
                                       ContentType="application/json", ChecksumAlgorithm="SHA256")
            except botocore.exceptions.ClientError as exc:
                # 409: another write of the same place is under way.
                if exc.response["ResponseMetadata"]["HTTPStatusCode"] in (409, 412):
                    return False
                raise
        return True

    def sync(self, root: Path, cluster: str, dry_run: bool = False) -> list[str]:
        """Bring to each side what only the other has, in order; says what that is. The caller holds the chain's lock.

        :raises EvidenceError: when both sides hold different records at the same place
        """
        folder = root / cluster
        there = self._places(cluster)
        here = {int(path.name[:8]): path for path in ledger.record_files(folder)
                if ledger.RECORD_NAME.fullmatch(path.name)}
        common = max(set(here) & set(there), default=0)
        if common and self._read(cluster, common) != here[common].read_bytes():
            raise EvidenceError(f"record {common} of {cluster} is another one here than in {self.where}: two ledgers "
                                "were written apart; keep both, and verify each by itself")
        moved = [f"{cluster}/{place:08d} from the store" for place in sorted(set(there) - set(here))]
        moved += [f"{cluster}/{place:08d} to the store" for place in sorted(set(here) - set(there))]
        if dry_run:
            return moved
        for place in sorted(set(there) - set(here)):
            data = self._read(cluster, place)
            write_atomic(folder / self._name(cluster, place, data), data.decode(), ledger.MODE)
        for place in sorted(set(here) - set(there)):
            data = here[place].read_bytes()
            if not self.claim(cluster, place, data) and self._read(cluster, place) != data:
                raise EvidenceError(f"record {place} of {cluster} was written to {self.where} by somebody else just "
                                    "now: run again, and keep what is here")
        return moved

    def _name(self, cluster: str, place: int, data: bytes) -> str:
        """The name on disk, by what the record says; it is not trusted further than that."""
        try:
            said = dsse.parse_json(dsse.parse_envelope(data).payload, "the payload")["predicate"]
            name = ledger.record_name(said)
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise EvidenceError(f"{self._key(cluster, place)} in {self.where} is no record: {exc}") from exc
        if not ledger.RECORD_NAME.fullmatch(name) or int(name[:8]) != place:
            where = f"{self._key(cluster, place)} in {self.where}"
            raise EvidenceError(f"{where} belongs elsewhere, by what it says: {name[:80]}")
        return name

    def _places(self, cluster: str) -> list[int]:
        pattern = re.compile(rf"{re.escape(f'{self.prefix}{cluster}/')}(\d{{8}}){re.escape(ledger.SUFFIX)}")
        with self._said():
            pages = self.client.get_paginator("list_objects_v2").paginate(
                Bucket=self.bucket, Prefix=f"{self.prefix}{cluster}/")
            found = [pattern.fullmatch(item["Key"]) for page in pages for item in page.get("Contents", ())]
        return [int(named[1]) for named in found if named]

    def _read(self, cluster: str, place: int) -> bytes:
        with self._said():
            data: bytes = self.client.get_object(Bucket=self.bucket, Key=self._key(cluster, place))["Body"].read()
        return data

    def _key(self, cluster: str, place: int) -> str:
        return f"{self.prefix}{cluster}/{place:08d}{ledger.SUFFIX}"

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


def store_of(params: Params) -> Bucket | None:
    """The store that the options name, if they name one."""
    return Bucket(params["store"]) if params.get("store") else None


def synced(params: Params, check_mode: bool) -> Outcome:
    """Brings to the ledger and to its store what only the other has."""
    root = Path(params["ledger"]).absolute()
    bucket = Bucket(params["store"])
    names = [params["cluster"]] if params["cluster"] else sorted({*ledger.clusters(root), *bucket.clusters()})
    moved = []
    for name in names:
        if check_mode:
            moved += bucket.sync(root, name, dry_run=True)
            continue
        (root / name).mkdir(parents=True, exist_ok=True)
        with ledger.locked(root / name, params["lock_timeout"]):
            moved += bucket.sync(root, name)
    return Outcome(changed=bool(moved), facts={"moved": moved}, before="", after="".join(f"{one}\n" for one in moved))
