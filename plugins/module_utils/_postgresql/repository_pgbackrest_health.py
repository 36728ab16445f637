# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `pgbackrest info` says of each repository: whether it can be read, what it holds, how far its WAL goes."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from typing import Any, Callable

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository import stamp

#: `info`'s status codes of a repository that was read. Any other one was not, or holds nothing of this stanza.
_SAYS = {0: "", 2: "it holds no backup yet", 1: "it holds nothing of this stanza", 3: "it holds nothing of this stanza"}


def health(stanza: Mapping[str, Any], told: Callable[[str], str]) -> list[dict[str, Any]]:
    """One dictionary a repository, in the order of their numbers. `told` makes one line of pgBackRest's messages.

    `problem` is empty for one that can be restored from; `wal` is the newest archived segment, empty without one.
    """
    found = []
    for entry in sorted(stanza["repo"], key=lambda repo: int(repo["key"])):
        key, code = int(entry["key"]), int(entry["status"]["code"])
        backups = [one for one in stanza["backup"] if one["database"]["repo-key"] == key]
        latest = max(backups, key=lambda one: int(one["timestamp"]["stop"]), default=None)
        newest = max((one["max"] or "" for one in stanza["archive"] if one["database"]["repo-key"] == key), default="")
        found.append({
            "repository": key,
            "reachable": code in _SAYS,
            "problem": _SAYS.get(code) if code in _SAYS else told(entry["status"]["message"]),
            "encrypted": entry["cipher"] not in ("none", "mixed"),
            "backups": len(backups),
            "latest": latest["label"] if latest else "",
            "latest_finished": _time(latest["timestamp"]["stop"]) if latest else "",
            "wal": newest or "",
        })  # fmt: skip
    return found


def what_is_gone(stanza: str, listing: Callable[..., Any]) -> str:
    """What is lost of a repository that was there; empty where there may never have been such a stanza.

    To pgBackRest it is all the same, and its advice to create the stanza would bury what is left.
    """
    # Of a place that is not there, too, it lists the place itself.
    anything, wal = (set(listing(*place)) - {"."} for place in ([], [f"archive/{stanza}"]))
    if not anything:
        return "the repository can't be reached: there is nothing where it should be; is it mounted?"
    return f"the backups can't be reached: backup/{stanza} is gone from the repository" if wal else ""


def _time(seconds: int) -> str:
    return stamp(datetime.fromtimestamp(seconds, timezone.utc))
