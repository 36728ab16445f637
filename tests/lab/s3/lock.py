# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What moto 5.2 leaves out of Object Lock: GetObjectRetention, retention of what came in parts, a change of default."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import parse_qs

_FOUND = "<Retention><Mode>{}</Mode><RetainUntilDate>{}</RetainUntilDate></Retention>"
_NONE = "<Error><Code>{}</Code><Message>{}</Message></Error>"


def as_s3_does() -> None:
    """Give an object of several parts the bucket's default retention; let a bucket with objects have a new default."""
    from moto.s3.models import S3Backend

    put, configure = S3Backend.put_object, S3Backend.put_object_lock_configuration

    def put_object(self: Any, bucket_name: str, *given: Any, **named: Any) -> Any:
        bucket = self.get_bucket(bucket_name)
        if named.get("multipart") is not None and bucket.has_default_lock:
            named = {**named, "lock_mode": bucket.default_lock_mode, "lock_until": bucket.default_retention()}
        return put(self, bucket_name, *given, **named)

    def put_object_lock_configuration(self: Any, bucket_name: str, *given: Any, **named: Any) -> None:
        bucket = self.get_bucket(bucket_name)
        objects, bucket.keys = bucket.keys, type(bucket.keys)()
        try:
            configure(self, bucket_name, *given, **named)
        finally:
            bucket.keys = objects

    S3Backend.put_object, S3Backend.put_object_lock_configuration = put_object, put_object_lock_configuration


def asked(environ: dict[str, Any]) -> bool:
    """Whether a request is GetObjectRetention, which moto takes for GetObject."""
    query = parse_qs(environ.get("QUERY_STRING", ""), keep_blank_values=True)
    return environ["REQUEST_METHOD"] == "GET" and "retention" in query


def answer(environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
    """GetObjectRetention of the newest version, or of the one that is named."""
    from moto.core import DEFAULT_ACCOUNT_ID
    from moto.s3.models import FakeKey, s3_backends

    bucket, _slash, name = environ["PATH_INFO"].lstrip("/").partition("/")
    version = parse_qs(environ.get("QUERY_STRING", "")).get("versionId", [None])[0]
    found = s3_backends[DEFAULT_ACCOUNT_ID]["aws"].get_object(bucket, name, version_id=version)
    if not isinstance(found, FakeKey):
        status, text = "404 Not Found", _NONE.format("NoSuchKey", "The specified key does not exist.")
    elif not found.lock_mode:
        said = "The specified object does not have a ObjectLock configuration"
        status, text = "404 Not Found", _NONE.format("NoSuchObjectLockConfiguration", said)
    else:
        status, text = "200 OK", _FOUND.format(found.lock_mode, found.lock_until)
    start(status, [("Content-Type", "application/xml"), ("Content-Length", str(len(text)))])
    return [text.encode()]
