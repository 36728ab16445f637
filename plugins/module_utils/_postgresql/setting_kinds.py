# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a setting's text means, read as PostgreSQL reads it: `1GB`, `1024MB` and 131072 pages of 8kB are one value.

What a setting is (`Kind`) is asked of the engine, never listed here. The rules of reading are those of PostgreSQL's
parse_int, parse_real, parse_bool and its lists; a test holds them to every row of pg_settings.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any

#: A family's units from the largest to the smallest, in its smallest named one.
MEMORY_UNITS = {"TB": 1024**4, "GB": 1024**3, "MB": 1024**2, "kB": 1024, "B": 1}
TIME_UNITS = {"d": 86_400_000_000, "h": 3_600_000_000, "min": 60_000_000, "s": 1_000_000, "ms": 1000, "us": 1}
_BASE = re.compile(r"(\d*)(B|kB|MB|ms|s|min)\Z")
#: C's strtol with base 0: a leading 0 makes a number octal.
_INTEGER = re.compile(r"[ \t-\r]*[+-]?(?:0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)")
_HEX_REAL = r"0[xX](?:[0-9a-fA-F]+\.?[0-9a-fA-F]*|\.[0-9a-fA-F]+)(?:[pP][+-]?\d+)?"
_REAL = re.compile(rf"[ \t-\r]*[+-]?(?:{_HEX_REAL}|(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)")
_BLANKS = " \t\n\v\f\r"
_INT_MAX, _LONG_MAX = 2**31 - 1, 2**63 - 1

#: Lists, which the engine keeps as they were written. In these, a word without quotes means its lower case.
_WORDS = {
    "datestyle", "createrole_self_grant", "debug_io_direct", "log_connections", "log_destination", "search_path",
    "restrict_nonsystem_relation_kind", "synchronized_standby_slots", "temp_tablespaces", "wal_consistency_checking",
}  # fmt: skip
#: … and in these it means itself: file names, host names.
_NAMES = {
    "listen_addresses", "local_preload_libraries", "session_preload_libraries", "shared_preload_libraries",
    "unix_socket_directories",
}  # fmt: skip
#: Older names of enumerated values that the engine still takes. It does not list them.
_OLDER = {"wal_level": {"archive": "replica", "hot_standby": "replica"}, "wal_compression": {"on": "pglz"}}

Meaning = tuple[str, Any]


@dataclass(frozen=True)
class Kind:
    """What pg_settings says that a setting is; `unit` is its base unit, such as 8kB or ms."""

    name: str
    vartype: str
    unit: str | None = None
    enumvals: tuple[str, ...] = ()
    context: str = ""

    @property
    def needs_restart(self) -> bool:
        """Whether only a restart gives it a new value."""
        return self.context == "postmaster"


def meaning(text: str, kind: Kind | None) -> Meaning:
    """A value that equals another's exactly when both texts mean the same. Unknown settings mean their text."""
    if kind is None:
        return "text", text
    read = {"bool": _truth, "integer": _integer, "real": _real, "enum": _choice}.get(kind.vartype, _text)
    found = read(text, kind)
    return ("text", text) if found is None else (kind.vartype, found)


def _truth(text: str, _kind: Kind) -> bool | None:
    word = text.lower()
    if word in ("on", "1") or (word and ("true".startswith(word) or "yes".startswith(word))):
        return True
    if word in ("of", "off", "0") or (word and ("false".startswith(word) or "no".startswith(word))):
        return False
    return None


def _integer(text: str, kind: Kind) -> int | None:
    found = _INTEGER.match(text)
    rest = text[found.end() :] if found else text
    number: float | None = None
    if found and not rest.startswith((".", "e", "E")):
        number = _whole(found.group().strip(_BLANKS))
        if abs(number) > _LONG_MAX:
            number = None
    if number is None:
        # As PostgreSQL does: a number that goes on as a fraction, or is too large, is read once more as a real one.
        if not found and not text.startswith((".", "e", "E")):
            return None
        return _rounded(_real(text, kind))
    return _rounded(_in_base(number, rest, kind))


def _whole(text: str) -> int:
    sign, digits = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
    base = 16 if digits[:2] in ("0x", "0X") else 8 if digits[0] == "0" else 10
    return sign * int(digits, base)


def _rounded(number: float | None) -> int | None:
    if number is None or not math.isfinite(number):
        return None
    whole = round(number)
    return whole if -_INT_MAX - 1 <= whole <= _INT_MAX else None


def _real(text: str, kind: Kind) -> float | None:
    found = _REAL.match(text)
    if not found:
        return None
    digits = found.group().strip(_BLANKS)
    number = float.fromhex(digits) if "x" in digits.lower() else float(digits)
    return _in_base(number, text[found.end() :], kind)


def _in_base(number: float, rest: str, kind: Kind) -> float | None:
    """A number and what stands behind it, in the setting's base unit; None where that is no unit of it."""
    unit = rest.strip(_BLANKS)
    if not unit:
        return float(number)
    base = _BASE.match(kind.unit or "")
    if not base:
        return None
    family = MEMORY_UNITS if base.group(2) in MEMORY_UNITS else TIME_UNITS
    if unit not in family:
        return None
    one = int(base.group(1) or 1) * family[base.group(2)]
    value = number * (family[unit] / one)
    # A fraction is rounded to the next smaller unit: 30.1GB is 30822MB.
    units = list(family)
    smaller = units[units.index(unit) + 1 :][:1]
    if smaller:
        step = family[smaller[0]] / one
        value = round(value / step) * step
    return value


def _choice(text: str, kind: Kind) -> str:
    word = text.lower()
    known = {value.lower() for value in kind.enumvals}
    if word not in known:
        if word in ("true", "yes", "1") and "on" in known:
            word = "on"
        elif word in ("false", "no", "0") and "off" in known:
            word = "off"
        elif word == "debug":
            word = "debug2"
    return _OLDER.get(kind.name.lower(), {}).get(word, word)


def _text(text: str, kind: Kind) -> tuple[str, ...] | None:
    name = kind.name.lower()
    if name not in _WORDS and name not in _NAMES:
        return None
    return _items(text, fold=name in _WORDS)


def _items(text: str, fold: bool) -> tuple[str, ...] | None:
    """The words of a list, None where it is none: commas between them, quotes around what holds commas or blanks."""
    items: list[str] = []
    place = 0
    while place < len(text) or items:
        found = re.compile(r'\s*(?:"((?:[^"]|"")*)"|([^",]*?))\s*(,|\Z)').match(text, place)
        if not found:
            return None
        quoted, plain = found.group(1), found.group(2)
        items.append(quoted.replace('""', '"') if quoted is not None else plain.lower() if fold else plain)
        place = found.end()
        if found.group(3) != ",":
            break
    return tuple(items)
