# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Configuration files: what we write is what PostgreSQL reads, and what we read is what PostgreSQL would."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
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
    ("left", "right"),
    [
        ("1GB", "1024MB"), ("1024MB", "1048576kB"), ("1.5GB", "1536 MB"), ("1TB", "1024GB"), ("8192B", "8kB"),
        ("60s", "1min"), ("1d", "24h"), ("0.5s", "500ms"), ("1500us", "1.5ms"), ("on", "TRUE"), ("yes", "1"),
        ("off", "False"), ("no", "0"), (" 10 ", "10"), ("00010MB", "10MB"), ("-1MB", "-1024kB"),
    ],
)  # fmt: skip
def test_spellings_of_one_value(left: str, right: str) -> None:
    assert conf.normalised(left) == conf.normalised(right)


@pytest.mark.parametrize(
    ("left", "right"),
    [
        ("1GB", "1GiB"), ("1mb", "1MB"), ("1MB", "1min"), ("1MB", "1"), ("on", "off"), ("1", "2"), ("a", "A"),
        ("1048576kB", "1048577kB"), ("1000000001ms", "1000000002ms"), ("0.1ms", "0.1s"), ("", "off"),
    ],
)  # fmt: skip
def test_values_that_differ(left: str, right: str) -> None:
    assert conf.normalised(left) != conf.normalised(right)


@given(st.integers(0, 10**15), st.integers(0, 10**15), st.sampled_from(["kB", "MB", "ms", "us", "s"]))
def test_different_amounts_are_different(left: int, right: int, unit: str) -> None:
    assert (conf.normalised(f"{left}{unit}") == conf.normalised(f"{right}{unit}")) is (left == right)


@given(st.text())
def test_a_normalised_value_stays_as_it_is(value: str) -> None:
    assert conf.normalised(conf.normalised(value)) == conf.normalised(value)


@pytest.mark.parametrize("left", ["64MB", "65536kB", "0.0625GB", "67108864B"])
def test_postgresql_agrees_on_units(running: Running, left: str) -> None:
    assert running.server.psql(f"SET work_mem = '{left}'", "SHOW work_mem") == "64MB"
    assert conf.normalised(left) == conf.normalised("64MB")


@pytest.mark.parametrize(
    ("value", "text"), [(True, "on"), (False, "off"), (5432, "5432"), (0.5, "0.5"), ("a b", "a b")]
)
def test_options_as_text(value: Any, text: str) -> None:
    assert conf.as_text(value) == text


def test_rendering_is_stable() -> None:
    text = conf.render({"b": True, "a": 1}, "Managed.")
    assert text == "# Managed.\na = '1'\nb = 'on'\n"
    assert conf.same({"a": "1GB", "b": True}, {"b": "yes", "a": "1024MB"})
    assert not conf.same({"a": "1"}, {"a": "1", "b": "2"})


@pytest.mark.parametrize("name", ["work_mem", "auto_explain.log_min_duration", "a.B_c", "_x"])
def test_names(name: str) -> None:
    assert conf.NAME.match(name)


@pytest.mark.parametrize("name", ["", "Work_mem", "a b", "a=b", "a.b.c", "1a", "a.", "a\nb", "a-b", "work_mem\n"])
def test_no_names(name: str) -> None:
    assert not conf.NAME.match(name)
