# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The head of a chain in a bucket with Object Lock: written once, found behind a marker of deletion."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
for place in (ROOT / ".collections", ROOT / "tests/unit/evidence"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from ansible_collections.boringdb.ops.plugins.module_utils._core import evidence, ledger, witness  # noqa: E402
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError  # noqa: E402
from samples import Ground, record  # noqa: E402


@pytest.fixture
def ground(tmp_path: Path) -> Ground:
    """A ledger with a chain of two."""
    made = Ground.create(tmp_path)
    made.append(2)
    return made


def options(ground: Ground, store: dict[str, Any], bucket: str, **more: Any) -> dict[str, Any]:
    """The module's options, with a place in the bucket of this test's own."""
    one = {**store, "kind": "object_lock", "bucket": bucket, "prefix": ground.folder.name, "days": 30, **more}
    return {"ledger": str(ground.ledger), "public_key": [str(ground.public)], "cluster": None, "witnesses": None,
            "witness": [one]}  # fmt: skip


def findings(given: dict[str, Any]) -> tuple[list[str], dict[str, Any]]:
    """What verification says."""
    try:
        facts = evidence.verified(given, False).facts
    except evidence.NotVerified as error:
        facts = error.facts
    return [one["kind"] for one in facts["findings"]], facts


def test_a_head_is_written_once_and_outlives_its_deletion(ground: Ground, store: dict[str, Any], client: Any) -> None:
    given = options(ground, store, "compliance")
    assert witness.witnessed(given, True).changed
    assert findings(given)[1]["witnessed"]["orders"]["unwitnessed"] == 2
    assert witness.witnessed(given, False).changed and not witness.witnessed(given, False).changed
    found, facts = findings(given)
    one, = facts["witnessed"]["orders"]["witnesses"]
    assert found == [] and "(compliance)" in one["proves"]
    key = one["where"].partition("/")[2]
    head = ledger.record_files(ground.ledger / "orders")[-1].read_bytes()
    assert client.get_object(Bucket="compliance", Key=key)["Body"].read() == head
    # Whoever may delete can hide it from a plain list, and no further.
    client.delete_object(Bucket="compliance", Key=key)
    assert not client.list_objects_v2(Bucket="compliance", Prefix=ground.folder.name).get("Contents")
    assert not witness.witnessed(given, False).changed
    ledger.record_files(ground.ledger / "orders")[-1].unlink()
    assert ground.kinds() == []
    assert findings(given)[0] == ["witness"]
    ledger.append(ground.ledger, record("orders", 1, measurements={"rto_seconds": 1}), ground.key)
    assert ground.kinds() == [] and findings(given)[0] == ["witness"]


def test_a_bucket_that_does_not_lock_is_refused(ground: Ground, store: dict[str, Any]) -> None:
    with pytest.raises(OpsError, match="orders was not witnessed by object_lock"):
        witness.witnessed(options(ground, store, "plain"), False)


def test_a_store_that_can_not_be_asked_is_named(ground: Ground, store: dict[str, Any]) -> None:
    for bucket, more, said in (
        ("nowhere", {}, "NoSuchBucket"),
        ("compliance", {"port": 1}, "can't be asked"),
        ("compliance", {"key": "AKIANOBODY0000000001"}, "InvalidAccessKeyId"),
    ):
        with pytest.raises(OpsError, match=said):
            witness.witnessed(options(ground, store, bucket, **more), False)
