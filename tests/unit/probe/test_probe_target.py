# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Times as people write them, and where a connection goes."""

from __future__ import annotations

import datetime

import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import probe_connect
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_connect import Target
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.probe_time import (
    Clock,
    ProbeError,
    iso,
    one_line,
    parse_time,
)
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "text",
    [
        "2027-01-30T11:45:00.25+00:00",
        "2027-01-30 11:45:00.250000+00",
        "2027-01-30T11:45:00.250Z",
        "2027-01-30 11:45:00.25 UTC",
        "2027-01-30 17:15:00.25+05:30",
        "2027-01-30 03:45:00.25-0800",
        "1801309500.25",
    ],
)
def test_a_moment_in_many_forms(text: str) -> None:
    shown = datetime.datetime(2027, 1, 30, 11, 45, 0, 250_000, tzinfo=datetime.timezone.utc)
    assert parse_time(text) == round(shown.timestamp() * 1_000_000)


@pytest.mark.parametrize(
    "text", ["2027-01-30T11:45:00", "2027-01-30", "yesterday", "", "2027-13-30T11:45:00Z", "2027-01-30T11:45:99Z", "12"]
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ProbeError):
        parse_time(text)


@given(st.integers(10**15, 4 * 10**15))
def test_what_is_printed_is_parsed(us: int) -> None:
    assert parse_time(str(iso(us))) == us


def test_the_clock_is_the_wall_clock_and_never_goes_back() -> None:
    clock = Clock()
    stamps = [clock.now() for unused in range(1000)]
    assert stamps == sorted(stamps)
    now = datetime.datetime.now(datetime.timezone.utc).timestamp()
    assert abs(stamps[-1] / 1_000_000 - now) < 1


def test_a_message_is_one_line_without_tabs() -> None:
    assert one_line("\n  a\tb \nDETAIL: c") == "a b"
    assert one_line("") == ""


@pytest.fixture(autouse=True)
def no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGOPTIONS"):
        monkeypatch.delenv(name, raising=False)


def test_several_hosts_share_a_port_or_have_their_own() -> None:
    assert Target({"host": "a,b", "port": "5433"}).endpoints() == [
        {"host": "a", "port": "5433"},
        {"host": "b", "port": "5433"},
    ]
    assert [end["port"] for end in Target({"host": "a,b", "port": "1,2"}).endpoints()] == ["1", "2"]
    with pytest.raises(ProbeError, match="2 hosts but 3 values in port"):
        Target({"host": "a,b", "port": "1,2,3"}).endpoints()


def test_hosts_come_from_the_environment_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PGHOST", "a,b")
    assert [end["host"] for end in Target().endpoints()] == ["a", "b"]
    assert [end["host"] for end in Target({"host": "c"}).endpoints()] == ["c"]


def test_only_a_writer_with_several_hosts_insists_on_writing() -> None:
    several = Target({"host": "a,b"})
    end = several.endpoints()[0]
    assert several.arguments(end, writing=True)["target_session_attrs"] == "read-write"
    assert "target_session_attrs" not in several.arguments(end, writing=False)
    assert "target_session_attrs" not in Target({"host": "a"}).arguments(end, writing=True)
    own = Target({"host": "a,b", "target_session_attrs": "any"})
    assert own.arguments(end, writing=True)["target_session_attrs"] == "any"


def test_limits_travel_with_every_connection() -> None:
    arguments = Target({"host": "a", "options": "-c a=b"}, connect_timeout=7, timeout=1.5).arguments({}, writing=True)
    assert arguments["connect_timeout"] == "7"
    assert arguments["tcp_user_timeout"] == "1500"
    assert arguments["options"] == "-c a=b -c statement_timeout=1500"
    pooled = Target({"host": "a"}, pooled=True).arguments({}, writing=True)
    assert "options" not in pooled


def test_a_password_is_never_described() -> None:
    target = Target({"host": "a", "password": "hunter2", "dbname": "d"})
    assert target.describe() == "a:5432/d"


def test_a_missing_library_is_named_with_its_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(ProbeError, match="psycopg") as caught:
        probe_connect.require_psycopg()
    assert sys.executable in str(caught.value)
