# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files: what we write is what PostgreSQL reads, and what we read is what PostgreSQL would."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_kinds import Kind, meaning
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from postgresql_ground import Running

#: A value is one line of what a UTF-8 file can hold; PostgreSQL reads files up to a NUL.
VALUES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\n\0"))
NAMES = st.from_regex(r"[a-z_][a-z0-9_]{0,20}(\.[a-z_][a-z0-9_]{0,10})?", fullmatch=True).filter(
    lambda name: not name.startswith("include")
)
TRICKY = ["", "'", "''", "a'b", "\\", "\\'", "C:\\dir\\n", "# no comment", "a # b", " padded ", "a=b", "'quoted'",
          "x\x0cy", "x\x85y",
          "x\u2028y", "\r", "\t", "ü", "\\101", "it''s", "%p \"%f\""]  # fmt: skip


@given(st.dictionaries(NAMES, VALUES, max_size=5))
def test_what_is_rendered_is_parsed_back(values: dict[str, str]) -> None:
    assert conf.parse(conf.render(values, "heading")) == values


@pytest.mark.parametrize("value", TRICKY)
def test_tricky_values_round_trip(value: str) -> None:
    assert conf.parse(conf.render({"app.name": value}, "it's a heading # here")) == {"app.name": value}


def test_postgresql_reads_what_is_rendered(running: Running) -> None:
    """The same, with PostgreSQL as the reader and whatever values Hypothesis thinks of."""

    @given(st.lists(VALUES.filter(lambda value: "\r" not in value), max_size=20))
    @settings(max_examples=25, deadline=None, suppress_health_check=list(HealthCheck))
    def check(values: list[str]) -> None:
        named = {f"app.value_{number}": value for number, value in enumerate([*TRICKY, *values])}
        assert running.read_settings(conf.render(named, "heading"), named) == named

    check()


FILE = r"""
# a comment
port = 5433
  WORK_mem=4MB   # trailing
shared_buffers 128MB
log_line_prefix = '%m [%p] # '   # a hash inside is no comment
listen_addresses = 'a''b'
archive_command = 'a\\b \'c\' \101'
include 'other.conf'
include_if_exists = 'another.conf'
include_dir 'conf.d'
port = '5434'
empty = ''
app.name=x
"""


def test_a_file_as_people_write_it(running: Running) -> None:
    expected = {
        "port": "5434", "work_mem": "4MB", "shared_buffers": "128MB", "log_line_prefix": "%m [%p] # ",
        "listen_addresses": "a'b", "archive_command": r"a\b 'c' A", "empty": "", "app.name": "x",
    }  # fmt: skip
    assert conf.parse(FILE) == expected
    # PostgreSQL's own reader says the same about the lines that are no include.
    plain = "\n".join(line for line in FILE.splitlines() if not line.startswith("include"))
    assert running.read_file(plain) == expected


@pytest.mark.parametrize(
    ("value", "text"), [(True, "on"), (False, "off"), (5432, "5432"), (0.5, "0.5"), ("a b", "a b")]
)
def test_options_as_text(value: Any, text: str) -> None:
    assert conf.as_text(value) == text


def test_rendering_is_stable() -> None:
    text = conf.render({"b": True, "a": 1}, "Managed.")
    assert text == "# Managed.\na = '1'\nb = 'on'\n"
    kinds = {"a": Kind("a", "integer", "8kB"), "b": Kind("b", "bool")}
    assert conf.same({"a": "1GB", "B": True}, {"B": "yes", "a": "131072"}, kinds)
    assert not conf.same({"a": "1"}, {"a": "1", "b": "2"}, kinds)
    # What nobody has said anything about means its text.
    assert not conf.same({"a": "1GB"}, {"a": "1024MB"}, {})


@pytest.mark.parametrize(("left", "right"), [("1GB", "1024MB"), ("60s", "1min"), ("yes", "TRUE"), ("off", "0")])
def test_spellings_of_what_nobody_knows(left: str, right: str) -> None:
    assert conf.normalised(left) == conf.normalised(right)
    assert conf.normalised("1MB") != conf.normalised("1min")


INTEGER, TIME, REAL = Kind("work_mem", "integer", "kB"), Kind("t", "integer", "ms"), Kind("r", "real")
LIST, NAMES_LIST = Kind("search_path", "string"), Kind("shared_preload_libraries", "string")


@pytest.mark.parametrize(
    ("kind", "left", "right"),
    [
        (Kind("shared_buffers", "integer", "8kB"), "1GB", "131072"), (INTEGER, "1.5GB", "1536 MB"),
        (INTEGER, "0x400", "1MB"), (INTEGER, "02000", "1MB"), (TIME, "1d", "24h"), (TIME, "1500us", "2"),
        (INTEGER, "30.1GB", "30822MB"), (REAL, "1e-1", "0.1"),
        (LIST, '"$user", public', '"$user",PUBLIC'), (LIST, 'a,"b"', "a, B"),
        (NAMES_LIST, "a, b", 'a,"b"'), (Kind("wal_level", "enum", None, ("replica",)), "archive", "Replica"),
    ],
)  # fmt: skip
def test_one_value_in_two_spellings(kind: Kind, left: str, right: str) -> None:
    assert meaning(left, kind) == meaning(right, kind)


@pytest.mark.parametrize(
    ("kind", "left", "right"),
    [
        (INTEGER, "1GB", "1GiB"), (INTEGER, "1mb", "1MB"), (INTEGER, "010", "10"),
        (Kind("n", "integer"), "1MB", "1024"), (Kind("cluster_name", "string"), "yes", "on"), (LIST, '"B"', "b"),
        (NAMES_LIST, "A", "a"), (LIST, "a,b", "b,a"),
        (LIST, '"a, b"', "a, b"), (LIST, "", "a"), (LIST, 'a"', "a"),
    ],
)  # fmt: skip
def test_two_values(kind: Kind, left: str, right: str) -> None:
    assert meaning(left, kind) != meaning(right, kind)


@given(st.text(), st.sampled_from([INTEGER, TIME, REAL, LIST, NAMES_LIST, Kind("b", "bool"), Kind("e", "enum")]))
def test_whatever_the_text_it_has_a_meaning(text: str, kind: Kind) -> None:
    assert meaning(text, kind) == meaning(text, kind)


@pytest.mark.parametrize("name", ["work_mem", "auto_explain.log_min_duration", "a.B_c", "_x"])
def test_names(name: str) -> None:
    assert conf.NAME.match(name)


@pytest.mark.parametrize("name", ["", "Work_mem", "a b", "a=b", "a.b.c", "1a", "a.", "a\nb", "a-b", "work_mem\n"])
def test_no_names(name: str) -> None:
    assert not conf.NAME.match(name)
