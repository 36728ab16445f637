# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One ledger on a host for two controllers, over SSH: written at once, cut off in between, and read by a playbook."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[3]
for place in (ROOT / ".collections", ROOT / "tests/unit/evidence"):
    if str(place) not in sys.path:
        sys.path.insert(0, str(place))

from ansible_collections.boringdb.ops.plugins.module_utils._core import ledger, ledger_shared  # noqa: E402
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError  # noqa: E402
from samples import Ground, record  # type: ignore[import-not-found] # noqa: E402 - beside the unit tests

from tests.lab.estate import lab_hosts  # noqa: E402

pytestmark = pytest.mark.lab


def write(controller: Ground, options: dict[str, Any], day: float) -> ledger.Appended:
    """Append one record."""
    return ledger.append(controller.ledger, record("orders", day), controller.key, store=ledger_shared.shared(options))


def test_two_controllers_and_a_host(tmp_path: Path) -> None:
    with lab_hosts(tmp_path, "ledger1") as estate:
        options = {"host": "ledger1", "path": "/srv/evidence", "ssh_config": estate.ssh_config}
        first = Ground.create(tmp_path)
        two = (first, Ground(tmp_path, tmp_path / "second", first.private, first.public))
        done = [write(two[number], options, number) for number in (0, 1)]
        with ThreadPoolExecutor(4) as pool:
            done += pool.map(lambda number: write(two[number % 2], options, number), range(2, 8))
        assert sorted(one.sequence for one in done) == list(range(1, 9))
        assert estate.on("ledger1", "ls -A /srv/evidence/orders").split() == [f"{n:08d}.dsse.json" for n in range(1, 9)]
        estate.lab("cut", "ledger1")
        with pytest.raises(OpsError, match=r"/srv/evidence on ledger1 can't be asked: .*nothing was recorded"):
            write(first, options, 8)
        estate.lab("heal", "ledger1")
        assert write(first, options, 9).sequence == 9
        # A third controller has nothing yet; the playbook reads the host first.
        estate.describe({}, evidence_store=options)
        words = ["-e", f"evidence_ledger={tmp_path / 'third'}", "-e", f"evidence_public_key={first.public}"]
        verified = estate.attempt("verify_evidence", *words)
        assert verified.returncode == 0, verified.stdout
        assert "orders: 9 records, all signatures good" in verified.stdout, verified.stdout
