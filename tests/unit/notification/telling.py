# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A ledger that is told of."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from ansible_collections.boringdb.ops.plugins.module_utils._core import ledger
from ansible_collections.boringdb.ops.plugins.module_utils._core.notification import notify
from ansible_collections.boringdb.ops.plugins.modules.notification import CHANNEL
from samples import Ground, record, stamp

FAILED = [{"name": "relations_exact", "required": True, "status": "failed", "message": "3 rows <fewer> & none"}]


class Estate(Ground):
    """A ledger that is told of."""

    def drill(self, cluster="orders", days_ago=0.1, **changes):
        """A drill that ended so many days ago."""
        finished = datetime.now(timezone.utc) - timedelta(days=days_ago)
        times = {"started": stamp(finished - timedelta(seconds=60)), "finished": stamp(finished)}
        ledger.append(self.ledger, record(cluster, **{**times, **changes}), self.key)

    def secret(self, name, text):
        """A file that only its owner may read."""
        path = self.folder / name
        path.write_text(f"{text}\n")
        path.chmod(0o600)
        return str(path)

    def tell(self, *channels, check=False, **options):
        """One run of the cell."""
        filled = [{**dict.fromkeys(CHANNEL), "tls": "starttls", "timeout": 20, **channel} for channel in channels]
        given = {
            "ledger": str(self.ledger),
            "public_key": [str(self.public)],
            "memory": str(self.folder / "memory/told.json"),
            "clusters": [],
            "forget": [],
            "overdue_days": 7,
            "overdue": {},
            "witnesses": None,
            "again": False,
            "remind_hours": 0,
            "textfile": None,
            "channels": filled,
            "lock_timeout": 5,
        }
        return notify({**given, **options}, check)
