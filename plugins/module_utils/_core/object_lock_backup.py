# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a bucket's default retention came to: the retention that the objects of pgBackRest's newest backup carry."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Params

try:
    import botocore.exceptions
except ImportError:
    botocore = None

#: What an object without retention answers. HeadObject would be silent, also where the key may not ask.
_NONE = "NoSuchObjectLockConfiguration"
_LABEL = re.compile(r"\d{8}-\d{6}F(_\d{8}-\d{6}[DI])?")
#: An object of several parts is as old as their first or as their last, as the store likes.
_UPLOAD = timedelta(hours=1)
#: Written last, and removed first: a backup without it is none.
_MANIFEST = "backup.manifest"
_WRITE_ANEW = "raise the bucket's default retention where it is less, and take a full backup"


@dataclass(frozen=True)
class _Object:
    """One object of a backup: its name within the backup, when it was written, how and until when it is kept."""

    name: str
    written: datetime
    mode: str = ""
    until: datetime | None = None


def read_back(client: Any, params: Params) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    """Ask a sample of the newest backup's objects. Returns facts, and what is wrong with its remedy."""
    base = "/".join(part for part in (params["path"].strip("/"), "backup", params["stanza"], "") if part) + "/"
    label, objects = _newest(client, params["bucket"], base)
    manifests = [one for one in objects if one.name.startswith(_MANIFEST)]
    others = [one for one in objects if not one.name.startswith(_MANIFEST)]
    # Not the same ones each time: nobody who asks again and again is told of the same ones only.
    chosen = random.SystemRandom().sample(others, min(params["sample"], len(others)))
    asked = [_asked(client, params["bucket"], f"{base}{label}/", one) for one in manifests + chosen]
    until = min((one.until for one in asked if one.until), default=None)
    facts = {"backup": label, "objects": len(asked), "kept_until": until.isoformat() if until else ""}
    return facts, list(_reasons(label, asked, params))


def _newest(client: Any, bucket: str, base: str) -> tuple[str, list[_Object]]:
    """The newest whole backup and its objects; nothing where there is none."""
    labels = [
        name
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=base, Delimiter="/")
        for found in page.get("CommonPrefixes", [])
        if _LABEL.fullmatch(name := found["Prefix"][len(base) : -1])
    ]
    for label in sorted(labels, key=lambda name: name[-16:-1], reverse=True):
        start = f"{base}{label}/"
        objects = [
            _Object(found["Key"][len(start) :], found["LastModified"])
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=bucket, Prefix=start)
            for found in page.get("Contents", [])
        ]
        if any(one.name == _MANIFEST for one in objects):
            return label, objects
    return "", []


def _asked(client: Any, bucket: str, start: str, one: _Object) -> _Object:
    try:
        found = client.get_object_retention(Bucket=bucket, Key=start + one.name).get("Retention", {})
    except botocore.exceptions.ClientError as exc:
        if exc.response.get("Error", {}).get("Code") != _NONE:
            raise
        found = {}
    return _Object(one.name, one.written, found.get("Mode", "").lower(), found.get("RetainUntilDate"))


def _reasons(label: str, asked: list[_Object], wanted: Params) -> Iterator[tuple[str, str]]:
    """One for each thing that is wrong, with the objects that it holds for."""
    now, least = datetime.now(timezone.utc), timedelta(days=wanted["days"]) - _UPLOAD
    free, loose, past, short = [], [], [], []
    for one in asked:
        if not one.until:
            free.append(one.name)
            continue
        if wanted["mode"] == "compliance" and one.mode != "compliance":
            loose.append(one.name)
        if one.until <= now:
            past.append(one.name)
        elif one.until - one.written < least:
            short.append(one.name)
    for names, what, remedy in (
        (free, "carry no retention", _WRITE_ANEW),
        (loose, "whoever holds s3:BypassGovernanceRetention can remove", "set compliance, or expect governance"),
        (past, "have outlived their retention", "take backups more often than that, or keep them longer"),
        (short, f"are kept for less than {wanted['days']} days from when they were written", _WRITE_ANEW),
    ):
        if names:
            more = f" and {len(names) - 3} more" if len(names) > 3 else ""
            of = f"{', '.join(names[:3])}{more}, {len(names)} of {len(asked)} that were asked"
            yield f"holds objects of backup {label} that {what}: {of}", remedy
