# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the engine takes for synchronous_standby_names, read and written; and delays."""

from __future__ import annotations

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.replica_settings import delay_ms
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.synchronous import Quorum, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", None),
        ("  ", None),
        ("s1", Quorum("first", 1, ("s1",))),
        ("s1, s2", Quorum("first", 1, ("s1", "s2"))),
        ("2 (s1, s2, s3)", Quorum("first", 2, ("s1", "s2", "s3"))),
        ("FIRST 1 (s1,s2)", Quorum("first", 1, ("s1", "s2"))),
        ("any 2(s1 , s2)", Quorum("any", 2, ("s1", "s2"))),
        ('ANY 1 ("a ""b"", c", any)', Quorum("any", 1, ('a "b", c', "any"))),
        ("ANY 1 (*)", Quorum("any", 1, ("*",))),
        ("*", Quorum("first", 1, ("*",))),
    ],
)
def test_every_spelling_of_the_engine_is_read(text: str, expected: Quorum | None) -> None:
    assert parse(text) == expected


@pytest.mark.parametrize(
    "quorum", [Quorum("any", 1, ("s1", "s2")), Quorum("first", 2, ('x "y"', "2", "any")), Quorum("any", 1, ("*",))]
)
def test_what_is_written_is_read(quorum: Quorum) -> None:
    assert parse(str(quorum)) == quorum


def test_nobody_to_wait_for_is_written_as_nothing() -> None:
    assert [str(Quorum("any", 0, ("s1",))), str(Quorum("any", 1, ()))] == ["", ""]
    assert str(Quorum("any", 1, ("s1", "s2")).without("s1")) == 'ANY 1 ("s2")'
    assert Quorum("any", 1, ("s1",)).without("s9") == Quorum("any", 1, ("s1",))


@pytest.mark.parametrize(
    ("text", "expected"),
    [("0", 0), ("5", 5), ("250ms", 250), ("4h", 14_400_000), (" 2 min ", 120_000), ("24d", 2_073_600_000)],
)
def test_a_delay(text: str, expected: int) -> None:
    assert delay_ms(text) == expected


@pytest.mark.parametrize("text", ["", "h", "-1", "1.5h", "25d", "4 hours", "0x10", "99999999999", "٤h", "4h\n4h"])
def test_no_delay(text: str) -> None:
    with pytest.raises(ValueError, match="is no time such as 4h"):
        delay_ms(text)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("ANY 1 (s2, s1)", "ANY 1 (s1, s2)", True),
        ("FIRST 1 (s2, s1)", "FIRST 1 (s1, s2)", False),
        ("FIRST 1 (s1)", "s1", True),
        ("ANY 1 (s1, s2)", "ANY 2 (s1, s2)", False),
        ("ANY 1 (s1, s2)", "FIRST 1 (s1, s2)", False),
        ("ANY 1 (s1, s2)", "", False),
    ],
)
def test_the_order_counts_only_where_the_engine_heeds_it(one: str, other: str, same: bool) -> None:
    quorum = parse(one)
    assert quorum and quorum.same_as(parse(other)) is same
