# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Keeps secrets out of records, which are signed, copied and shown to auditors for years.

Facts that look like a secret are refused (the caller must not have put them there); prose, such as an engine's
error message, is redacted, so that the record of a failure is not lost over it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

_WORDS = r"(?:passw(?:or)?d|passphrase|secret|token|private_?key|api_?key|access_?key|credential)"
_KEY = re.compile(_WORDS, re.IGNORECASE)
_VALUES = (
    # password=x and password: x, not "password authentication failed"
    re.compile(rf"({_WORDS}\w*[\"']?\s*[=:]\s*)([^\s,;&]+)", re.IGNORECASE),
    # postgresql://user:password@host
    re.compile(r"(://[^/\s:@]*:)([^/\s@]+)(?=@)"),
    re.compile(r"()(-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*)"),
    # AWS access key ids
    re.compile(r"()\b((?:AKIA|ASIA)[0-9A-Z]{16})\b"),
)


def redact(text: str) -> str:
    """Prose with everything that looks like a secret replaced."""
    for pattern in _VALUES:
        text = pattern.sub(r"\1[redacted]", text)
    return text


def secret_places(value: Any, place: str) -> Iterator[str]:
    """Where, below ``place``, a key is named like a secret or a text looks like one."""
    if isinstance(value, Mapping):
        for key, item in value.items():
            here = f"{place}.{key}"
            if _KEY.search(str(key)):
                yield here
            else:
                yield from secret_places(item, here)
    elif isinstance(value, (list, tuple)):
        for index, item in enumerate(value):
            yield from secret_places(item, f"{place}[{index}]")
    elif isinstance(value, str) and redact(value) != value:
        yield place
