# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a restore in production's own place has done so far: a note beside the data directory, written before each step.

The engine can't tell it: while directories are exchanged no server runs. A step's note says what is about to be done;
the step itself looks at what is there, so that doing it again after a kill is right.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, sync_directory, write_atomic

#: What makes two runs the same restore.
_REQUEST = ("backup", "target_type", "target", "target_timeline")
#: In this order: begun, recovered beside production, exchanged, and all done. `aside` is a replica's only step.
PHASES = ("none", "begun", "recovered", "replacing", "replaced", "finished")


@dataclass(frozen=True)
class Places:
    """What lies beside a data directory while it is restored."""

    data_dir: Path

    def beside(self, ending: str) -> Path:
        """`data` with an ending."""
        return self.data_dir.with_name(f"{self.data_dir.name}.{ending}")

    @property
    def restoring(self) -> Path:
        """The new data directory, until it is exchanged with the old one."""
        return self.beside("restoring")

    @property
    def socket_dir(self) -> Path:
        """Where the new server listens until then."""
        return self.beside("restoring.run")

    @property
    def wal(self) -> Path:
        """Links to the WAL that only the old data directory holds."""
        return self.beside("restoring.wal")

    @property
    def scratch(self) -> Path:
        """Where single WAL segments are fetched to be read."""
        return self.beside("restoring.scratch")

    @property
    def tablespaces(self) -> Path:
        """Where tablespaces go of which nobody knows where they were."""
        return self.beside("tablespaces")

    @property
    def note(self) -> Path:
        """The journal's file."""
        return self.beside("in_place.json")


@dataclass
class Journal:
    """The note. `stamp` names what is moved aside; `facts` are what the module has returned so far."""

    places: Places
    stamp: str
    member: str
    request: dict[str, Any]
    phase: str = "begun"
    facts: dict[str, Any] = field(default_factory=dict)
    more: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def begin(cls, places: Places, params: Mapping[str, Any], stamp: str = "") -> Journal:
        """A new one, not written yet."""
        stamp = stamp or time.strftime("%Y%m%dT%H%M%SZ", time.gmtime())
        return cls(places, stamp, params["member"], {name: params[name] for name in _REQUEST})

    @classmethod
    def read(cls, places: Places) -> Journal | None:
        """The one that is there. Raises OpsError where it can't be read."""
        text = read_text(places.note)
        try:
            return cls(places, **json.loads(text)) if text else None
        except (ValueError, TypeError) as exc:
            raise OpsError(f"{places.note} can't be read ({exc}); look at what it says, and move it away") from exc

    def same_as(self, params: Mapping[str, Any]) -> bool:
        """Whether another run asks for the same."""
        return all(self.request.get(name) == params[name] for name in _REQUEST)

    def unfinished(self) -> bool:
        """Whether something was begun and not brought to its end."""
        return self.phase not in ("finished", "undone")

    def asked(self) -> str:
        """The request in a few words."""
        return f"{self.request['target_type']} {self.request['target'] or ''}".strip()

    def save(self, phase: str = "", **more: Any) -> None:
        """Write it, durably."""
        self.phase = phase or self.phase
        self.more.update(more)
        content = {name: getattr(self, name) for name in ("stamp", "member", "request", "phase", "facts", "more")}
        write_atomic(self.places.note, json.dumps(content, indent=1))

    def put_away(self, ending: str) -> None:
        """Keep it under another name, for a person to read."""
        self.places.note.rename(self.places.beside(f"{ending}.json"))
        sync_directory(self.places.note.parent)

    @property
    def aside(self) -> Path:
        """Where the old data directory goes."""
        return self.places.beside(f"before-{self.stamp}")
