# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which check is required, what a line says, and how answers are compared."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Refused
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.catalogue import readable_acl
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.manifest_capture import Capture
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.query_answer import query_digest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.relation_hash import Types
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_programs import _problems
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_queries import expected_text
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_report import Report, few
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_tally import Tally, report_relations


def test_the_options_outweigh_the_defaults() -> None:
    report = Report(required=["roles"], optional=["grants"])
    report.skip("roles", "no manifest")
    report.judge("grants", False)
    report.judge("schemas", True)
    report.skip("heartbeat", "not configured")
    assert [check.required for check in report.checks] == [True, False, True, False]
    assert report.verdict == "error"


def test_names_are_checked() -> None:
    Report(["invariant:a"], ["structure"]).preflight(["invariant:a"])
    with pytest.raises(Refused) as said:
        Report(["invariant:b", "roles"], ["roles"]).preflight(["invariant:a"])
    assert len(said.value.reasons) == 2


def test_a_message_is_one_line() -> None:
    report = Report([], [])
    report.judge("roles", False, message="a\n  b\tc")
    assert report.checks[0].message == "a b c"
    assert few("abcdefg") == "a, b, c, d, e and 2 more"


@pytest.mark.parametrize(
    ("expected", "text"),
    [
        (True, "t"), (0, "0"), ("x", "x"), (None, "\\N"), ([1, 2], "1\n2"), ([[1, None], [2, False]], "1\t\\N\n2\tf"),
        ([], ""),
    ],
)  # fmt: skip
def test_answers_are_text(expected: Any, text: str) -> None:
    assert expected_text(expected) == text


def test_a_query_is_named_by_its_text() -> None:
    assert query_digest(" SELECT 1 ; ") == query_digest("SELECT 1")
    assert query_digest("SELECT 1") != query_digest("SELECT 2")


def test_who_is_busy() -> None:
    taken = Capture("0/1", True, False, "1:1:", "", frozenset({"5/16384", "0/1262"}))
    assert taken.is_busy(5, 16384)
    assert taken.is_busy(7, 1262)
    assert not taken.is_busy(6, 16384)


#: oid, kind, element, base, subtype, whether it has its own hash operators
TYPES = Types([
    (23, "b", 0, 0, 0, True), (114, "b", 0, 0, 0, False), (1043, "b", 0, 0, 0, False), (1007, "b", 23, 0, 0, False),
    (199, "b", 114, 0, 0, False), (3904, "r", 0, 0, 23, False), (20000, "e", 0, 0, 0, False),
    (20001, "b", 20000, 0, 0, False), (20002, "d", 0, 20001, 0, False), (20003, "b", 0, 0, 0, True),
    (20004, "r", 0, 0, 23, False), (20005, "d", 0, 114, 0, False),
])  # fmt: skip


@pytest.mark.parametrize(
    ("oid", "direct"),
    [
        (23, True), (114, False), (1043, True), (1007, True), (199, False), (3904, True), (20000, True), (20001, True),
        (20002, True), (20003, False), (20004, False), (20005, False), (99999, False),
    ],
)  # fmt: skip
def test_what_hashes_as_it_lies(oid: int, direct: bool) -> None:
    assert TYPES.direct(oid) is direct


def test_privileges_for_a_person() -> None:
    roles = {"10": ["postgres"], "16390": ["app"]}
    assert readable_acl("16390=SELECT/10,0=USAGE*/10", roles) == "app=SELECT PUBLIC=USAGE*"
    assert readable_acl(None, roles) == "nothing"


def test_what_the_programs_found() -> None:
    amcheck = 'heap table "a.public.t", block 0, offset 3:\n    xmin 5 precedes\n'
    amcheck += 'btree index "a.public.i":\n    ERROR:  bad\n'
    assert _problems(amcheck, "") == [
        'heap table "a.public.t", block 0, offset 3: xmin 5 precedes', 'btree index "a.public.i": ERROR:  bad',
    ]  # fmt: skip
    assert _problems("", 'pg_checksums: error: checksum verification failed in file "f", block 2: x\n') == [
        'checksum verification failed in file "f", block 2: x'
    ]


class Stand:
    """What `report_relations` reads of a subject."""

    def __init__(self, wal_changes: Any = None, manifest: Any = None, **_: Any) -> None:
        self.params = {"min_coverage": 1.0, "wal_changes": wal_changes}
        self.manifest = {"exact": True} if manifest is None else manifest or None
        self.no_manifest, self.lost = "none", False


def statuses(tally: Tally, **stand: Any) -> dict[str, tuple[str, bool]]:
    report = Report([], [])
    report_relations(Stand(**stand), tally, report)  # type: ignore[arg-type]
    return {check.name: (check.status, check.required) for check in report.checks}


def test_half_of_the_bytes_is_not_all() -> None:
    half = Tally(total=2, read=1, bytes_total=100, bytes_read=50, exact=1, unread=["a.b (late)"])
    assert statuses(half)["relations_readable"] == ("skipped", True)
    empty_unread = Tally(total=2, read=1, bytes_total=50, bytes_read=50, exact=1, unread=["a.empty (locked)"])
    assert statuses(empty_unread)["relations_readable"] == ("skipped", True)
    assert statuses(Tally(total=0))["relations_readable"] == ("passed", True)


def test_nothing_to_compare_is_neither_proof_nor_defect() -> None:
    active = Tally(total=1, read=1, changed=1)
    assert statuses(active)["relations_exact"] == ("skipped", False)
    assert statuses(active)["relations_bounded"] == ("skipped", False)
    assert statuses(Tally(total=1, read=1, untold=["a"]))["relations_exact"] == ("skipped", True)
    bounded = statuses(Tally(total=1, read=1, changed=1, bounded=1), wal_changes={})
    assert bounded["relations_bounded"] == ("passed", True)
    assert statuses(Tally(total=1, read=1, exact=1), manifest={})["relations_exact"] == ("skipped", False)
