# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether a stored verifier is of a password: against verifiers that libpq makes."""

from __future__ import annotations

import psycopg
import pytest
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.scram import made, matches
from hypothesis import given, settings
from hypothesis import strategies as st


def _verifier(password: str) -> str:
    """What libpq makes of a password; it needs no server for it."""
    unconnected = psycopg.pq.PGconn.connect_start(b"host=/nonexistent")
    return unconnected.encrypt_password(password.encode(), b"replicator", b"scram-sha-256").decode()


PASSWORDS = [
    "secret",
    "a b",
    "$:\\'\"",
    "ünïcödé",
    "\u00a0space",
    "\ufb01ligature",
    "soft\u00adhyphen",
    "\u2168",
    "x" * 500,
    "٣",
    "\x07bell",
]


@pytest.mark.parametrize("password", PASSWORDS)
def test_a_verifier_of_libpq_is_recognised(password: str) -> None:
    verifier = _verifier(password)
    assert verifier.startswith("SCRAM-SHA-256$4096:")
    assert matches(verifier, password)
    assert not matches(verifier, password + "x")
    assert not matches(_verifier(password), "")


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=20))
@settings(max_examples=60, deadline=None)
def test_any_password_is_recognised(password: str) -> None:
    assert matches(_verifier(password), password)


@pytest.mark.parametrize(
    "stored",
    [
        "",
        "md5a4ab5ae6d1e3f3a0d1b4b5d9d0d5f0b1",
        "secret",
        "SCRAM-SHA-256$",
        "SCRAM-SHA-256$4096:salt",
        "SCRAM-SHA-1$4096:YQ==$YQ==:YQ==",
    ],
)
def test_other_kinds_of_stored_passwords_do_not_match(stored: str) -> None:
    assert not matches(stored, "secret")


@pytest.mark.parametrize("password", ["a", "pa ss\u00a0word", "\u2168", "x" * 300])
def test_a_verifier_that_is_made_without_a_server_is_of_its_password(password: str) -> None:
    stored = made(password)
    assert matches(stored, password)
    assert not matches(stored, password + "x")
    assert stored != made(password)
