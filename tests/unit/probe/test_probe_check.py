# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Which acknowledged rows must be there, which must not, and which may go either way."""

from __future__ import annotations

from collections.abc import Callable

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_check import Finding
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_journal import Journal, Layout, read_acks
from hypothesis import given
from hypothesis import strategies as st

START = 1_800_000_000_000_000
Write = Callable[..., None]


def expected(finding: Finding) -> int:
    return finding.count(2, 2)


def test_without_a_cut_off_every_acknowledged_row_must_be_there(layout: Layout, write: Write) -> None:
    write([(1, 1, 10), (2, 1, 20), (3, 1, 30)])
    finding = Finding(read_acks(layout.acks("r")), None)
    finding.see(1, START + 9_500)
    finding.see(3, START + 29_500)
    finding.see(4, START + 39_500)
    assert expected(finding) == 3
    assert finding.missing() == [2]
    assert finding.strangers == {4: START + 39_500}
    assert finding.beyond == []


def test_the_three_sides_of_a_cut_off(layout: Layout, write: Write) -> None:
    # at and its upper bound: 9.5 to 10.5, 19.5 to 20.5, 29.5 to 30.5 ms
    write([(1, 1, 10), (2, 1, 20), (3, 1, 30)])
    finding = Finding(read_acks(layout.acks("r")), START + 20_000)
    assert expected(finding) == 1
    assert finding.missing() == [1]
    assert finding.count(1 | 2 | 8, 1) == 1  # id 2 is grey
    finding.see(1, START + 9_500)
    finding.see(2, START + 19_500)
    assert (finding.missing(), finding.beyond) == ([], [])
    finding.see(3, START + 29_500)
    finding.see(9, START + 35_000)  # never acknowledged, and too late all the same
    assert finding.beyond == [3, 9]


@given(
    st.lists(
        st.tuples(st.integers(0, 10_000), st.integers(0, 500), st.integers(0, 500), st.integers(0, 500)),
        min_size=1,
        max_size=30,
    ),
    st.integers(-100_000, 100_000),
    st.integers(0, 12_000),
)
def test_a_right_restore_passes_whatever_the_clocks_say(
    rows: list[tuple[int, int, int, int]], skew: int, cut: int
) -> None:
    """Rows commit at known instants of the server's clock; a restore to T keeps those committed up to T."""
    journal = Journal()
    committed = []
    for ident, (sent, to_insert, to_commit, to_answer) in enumerate(rows, 1):
        at = sent + to_insert
        committed.append((ident, at, at + to_commit))
        journal.ids.append(ident)
        journal.clients.append(1)
        journal.sent.append(START + sent + skew)
        journal.acked.append(START + at + to_commit + to_answer + skew)
        journal.at.append(START + at)
    finding = Finding(journal, START + cut)
    for ident, at, commit in committed:
        if commit <= cut:
            finding.see(ident, START + at)
    assert finding.missing() == []
    assert finding.beyond == []
    grey = finding.count(1 | 2 | 8, 1)
    later = finding.count(8, 8)
    assert expected(finding) + grey + later == len(rows)
    # The grey zone is as narrow as a round trip: whoever is clear of T by that much is judged.
    for (ident, at, _commit), (sent, *_rest) in zip(committed, rows):
        trip = journal.acked[ident - 1] - journal.sent[ident - 1]
        if at + trip <= cut:
            assert finding.marks[ident] & 2
        if sent > cut:
            assert finding.marks[ident] & 8
