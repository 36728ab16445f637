# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A drill whose copy is left for a person leaves it masked, says so, and the host wipes it in the end."""

from __future__ import annotations

import base64
import json
from typing import Any

from estate import Estate
from estate_runs import await_
from expiry import expire

from tests.modules import programs

WRONG = [{"name": "never", "database": "postgres", "query": "SELECT count(*) FROM stock", "expected": -1}]
MASKING = [{"database": "postgres", "statements": ["UPDATE stock SET note = 'masked'"]}]


def teardown(estate: Estate) -> dict[str, Any]:
    """What the newest record says of what is left."""
    newest = max((estate.evidence / "ledger/orders").glob("*.dsse.json"))
    record = json.loads(base64.b64decode(json.loads(newest.read_text())["payload"]))["predicate"]
    found: dict[str, Any] = next(check for check in record["checks"] if check["name"] == "teardown")
    return found


def test_a_copy_that_is_left_is_masked_and_wiped_in_the_end(estate: Estate) -> None:
    given = {"restore_drill_invariants": WRONG, "restore_drill_keep_failed": True, "restore_drill_wipe": True,
             "restore_drill_port": estate.place()["port"]}  # fmt: skip
    done = estate.play("restore_drill", restore_drill_masking=MASKING, **given)
    assert done.code == 2 and "invariant:never" in done.told(), done.told()
    told = teardown(estate)
    assert (told["status"], told["actual"].startswith("kept until ")) == ("passed", True)
    assert told["actual"].endswith(", masked")
    where = estate.place()
    words = [str(programs() / "psql"), "-XAtq", "-h", where["socket_dir"], "-p", str(where["port"]), "-U", "postgres"]
    asked = [*words, "-d", "postgres", "-c", "SELECT DISTINCT note FROM stock"]
    assert estate.run(*asked).strip() == "masked"
    assert estate.sql("SELECT count(*) FROM stock WHERE note = 'masked'") == "0", "the source is as it was"
    with next(estate.copy.glob("base/*/PG_VERSION")).open("rb") as file:
        expire(estate)
        await_(lambda: not estate.copy.exists(), "the end of the copy")
        assert file.read() == bytes(3)
    estate.assert_clean()


def test_a_disk_that_is_not_encrypted_is_a_verdict(estate: Estate) -> None:
    """Where this machine's own disk is, the drill verifies and says so."""
    done = estate.play("restore_drill", restore_drill_require_encrypted=True)
    if done.code == 0:
        assert estate.verdicts()[-1] == "verified"
    else:
        assert "cause: place_encrypted: " in done.told() and "put the copy on a dm-crypt device" in done.told()
        assert estate.verdicts()[-1] == "failed"
    estate.assert_clean()
