# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""SCRAM-SHA-256 verifiers (RFC 5802): whether a stored one is of a password, without asking the server to compare."""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
import stringprep
import unicodedata
from typing import Any


def verifier(connection: Any, name: str, password: str) -> str:
    """A new verifier of a role's password, made here by libpq: the password itself never reaches the server."""
    return str(connection.pgconn.encrypt_password(password.encode(), name.encode(), b"scram-sha-256").decode())


def matches(stored: str, password: str) -> bool:
    """Whether a stored SCRAM verifier is of this password.

    RFC 5802: StoredKey is H(HMAC(SaltedPassword, "Client Key")).
    """
    parts = re.match(r"^SCRAM-SHA-256\$(\d+):([^$]+)\$([^:]+):", stored)
    if not parts:
        return False
    salted = hashlib.pbkdf2_hmac(
        "sha256", _prepared(password).encode(), base64.b64decode(parts.group(2)), int(parts.group(1))
    )
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    return hmac.compare_digest(hashlib.sha256(client).digest(), base64.b64decode(parts.group(3)))


def _prepared(password: str) -> str:
    """A password as libpq hashes it, by SASLprep (RFC 4013); one that this forbids is taken as it is."""
    mapped = "".join(
        " " if stringprep.in_table_c12(char) else char for char in password if not stringprep.in_table_b1(char)
    )
    ready = unicodedata.normalize("NFKC", mapped)
    forbidden = (
        stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
        stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
        stringprep.in_table_c9, stringprep.in_table_a1,
    )  # fmt: skip
    mixed = any(map(stringprep.in_table_d1, ready)) and (
        any(map(stringprep.in_table_d2, ready))
        or not (stringprep.in_table_d1(ready[0]) and stringprep.in_table_d1(ready[-1]))
    )
    return password if not ready or mixed or any(test(char) for test in forbidden for char in ready) else ready


def made(password: str, iterations: int = 4096) -> str:
    """A new verifier, without any server."""
    salt = secrets.token_bytes(16)
    salted = hashlib.pbkdf2_hmac("sha256", _prepared(password).encode(), salt, iterations)
    client = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
    keys = [hashlib.sha256(client).digest(), hmac.new(salted, b"Server Key", hashlib.sha256).digest()]
    stored, own = (base64.b64encode(key).decode() for key in keys)
    return f"SCRAM-SHA-256${iterations}:{base64.b64encode(salt).decode()}${stored}:{own}"
