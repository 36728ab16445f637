# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A fleet over two real clusters: their backups, then their drills on one host, then nothing because all is proven."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core import chain, keys
from estate import Estate

BOOKS = str(Path(__file__).with_name("books.yml"))


@pytest.fixture(scope="module")
def both(estate: Estate) -> Iterator[Estate]:
    """The clusters `orders` and `books`."""
    estate.converge("provision", "-i", BOOKS, cluster="books")
    try:
        yield estate
    finally:
        estate.kill_server(estate.home / "b1")


def ledger(estate: Estate) -> Path:
    """One of its own: in the estate's, tests of other files may have proven `orders` before."""
    return estate.evidence / "fleet"


def fleet(estate: Estate, operation: str, *words: str, **more: Any) -> tuple[str, dict[str, Any]]:
    """Run one that has to end well; its output and its scorecard."""
    place = estate.logs / "fleet"
    given = {"cluster": "orders,books", "fleet_operation": operation, "fleet_directory": str(place),
             "evidence_ledger": str(ledger(estate)), **more}  # fmt: skip
    output = estate.converge("fleet", "-i", BOOKS, *words, **given)
    newest = max(place.glob(f"{operation}-*/scorecard.json"), key=lambda path: path.stat().st_mtime_ns)
    return output, json.loads(newest.read_text())


def records(estate: Estate, cluster: str) -> list[str]:
    """The operations on record, with their verdicts."""
    read = chain.read_chain(ledger(estate), cluster, keys.load_trusted([estate.evidence / "key.pub.pem"]))
    assert not read.findings
    return [f"{one.predicate['operation']} {one.predicate['verdict']}" for one in read.records]


def test_backups_and_drills_of_both(both: Estate) -> None:
    output, card = fleet(both, "backup")
    assert card["ok"] == 2 and card["never_proven"] == ["books", "orders"]
    assert all(card["clusters"][name]["artifacts"]["backup_outcome"]["backups"] for name in ("orders", "books"))
    # A dry run is dry, and plans.
    output, card = fleet(both, "restore_drill", "--check")
    assert card["check"] and card["ok"] == 2 and not list(ledger(both).glob("*/*.json"))
    output, card = fleet(both, "restore_drill", fleet_budget_seconds=86000)
    assert re.search(r"books +ok .*verified rto", output) and "orders: begun on drill" in output
    assert [card["clusters"][name]["proof"]["state"] for name in ("orders", "books")] == ["verified", "verified"]
    assert records(both, "orders") == records(both, "books") == ["restore_drill verified"]
    assert not list((both.home / "drill").glob("*/data"))
    # Proven a moment ago, so nothing is left.
    output, card = fleet(both, "restore_drill")
    assert (card["ok"], card["failed"], card["left"], sorted(card["postponed"])) == (0, 0, 0, ["books", "orders"])
    assert card["complete"] and re.search(r"localhost .*changed=0 ", output)
    assert records(both, "orders") == ["restore_drill verified"]
