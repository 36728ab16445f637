# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which store the options name, and what is only in it or only here brought to both."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import ledger
from ansible_collections.boringdb.ops.plugins.module_utils._core.ledger_bucket import Bucket
from ansible_collections.boringdb.ops.plugins.module_utils._core.ledger_host import Host
from ansible_collections.boringdb.ops.plugins.module_utils._core.ledger_store import Shared
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params


def shared(options: Mapping[str, Any]) -> Shared:
    """A bucket, or a folder on a host."""
    return Host(options) if options.get("host") else Bucket(options)


def store_of(params: Params) -> Shared | None:
    """The store that the options name, if they name one."""
    return shared(params["store"]) if params.get("store") else None


def synced(params: Params, check_mode: bool) -> Outcome:
    """Brings to the ledger and to its store what only the other has."""
    root = Path(params["ledger"]).absolute()
    store = shared(params["store"])
    names = [params["cluster"]] if params["cluster"] else sorted({*ledger.clusters(root), *store.clusters()})
    moved = []
    for name in names:
        if check_mode:
            moved += store.sync(root, name, dry_run=True)
            continue
        (root / name).mkdir(parents=True, exist_ok=True)
        with ledger.locked(root / name, params["lock_timeout"]):
            moved += store.sync(root, name)
    return Outcome(changed=bool(moved), facts={"moved": moved}, before="", after="".join(f"{one}\n" for one in moved))
