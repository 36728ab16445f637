# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""PostgreSQL's configuration files as text: read, rendered, compared by meaning."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_kinds import (
    MEMORY_UNITS,
    TIME_UNITS,
    Kind,
    Meaning,
    meaning,
)

_QUANTITY = re.compile(r"^(-?\d+(?:\.\d+)?)\s*(B|kB|MB|GB|TB|us|ms|s|min|h|d)$")
_TRUE, _FALSE = ("on", "true", "yes", "1"), ("off", "false", "no", "0")
_LINE = re.compile(r"^\s*([A-Za-z_][\w.]*)\s*=?\s*(.*?)\s*$")
NAME = re.compile(r"^[a-z_][a-z0-9_]*(\.[a-zA-Z_][\w]*)?\Z", re.ASCII)
_ESCAPE = re.compile(r"''|\\([0-7]{1,3}|.)")
_MEANS = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}


def as_text(value: Any) -> str:
    """An option's value as a configuration file has it: booleans as on and off."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return str(value)


def normalised(value: str) -> str:
    """A value in one spelling where nobody has said what kind of setting it is: units and truths, nothing else.

    Where the server can be asked, `setting_kinds.meaning` reads as the server does.
    """
    quantity = _QUANTITY.match(value.strip())
    if quantity:
        amount, unit = Fraction(quantity.group(1)), quantity.group(2)
        family = "us" if unit in TIME_UNITS else "B"
        return f"{amount * {**MEMORY_UNITS, **TIME_UNITS}[unit]}{family}"
    lowered = value.strip().lower()
    if lowered in _TRUE:
        return "on"
    return "off" if lowered in _FALSE else value.strip()


def quoted(value: str) -> str:
    """A value between single quotes, as every setting may be written."""
    return "'" + value.replace("\\", "\\\\").replace("'", "''") + "'"


def parse(text: str) -> dict[str, str]:
    """The settings of a configuration file, the last one of a name winning, without its includes."""
    found: dict[str, str] = {}
    # Not splitlines: of the ends of lines that it knows, PostgreSQL knows one.
    for raw in text.split("\n"):
        line = _LINE.match(_without_comment(raw))
        if line and not line.group(1).startswith("include"):
            found[line.group(1).lower()] = _unquoted(line.group(2))
    return found


def render(settings: Mapping[str, Any], heading: str) -> str:
    """A configuration file with these settings, sorted, one a line."""
    lines = [f"{name} = {quoted(as_text(settings[name]))}" for name in sorted(settings)]
    return "\n".join([f"# {heading}", *lines, ""])


def same(left: Mapping[str, Any], right: Mapping[str, Any], kinds: Mapping[str, Kind]) -> bool:
    """Whether two sets of settings mean the same, as the engine reads them. Others must be spelled alike."""
    return _meanings(left, kinds) == _meanings(right, kinds)


def _meanings(settings: Mapping[str, Any], kinds: Mapping[str, Kind]) -> dict[str, Meaning]:
    return {name: meaning(as_text(value), kinds.get(name.lower())) for name, value in settings.items()}


def _without_comment(line: str) -> str:
    inside = escaped = False
    for index, char in enumerate(line):
        if escaped or (inside and char == "\\"):
            escaped = not escaped
        elif char == "'":
            inside = not inside
        elif char == "#" and not inside:
            return line[:index]
    return line


def _unquoted(value: str) -> str:
    if len(value) > 1 and value[0] == value[-1] == "'":
        return _ESCAPE.sub(_meant, value[1:-1])
    return value


def _meant(found: re.Match[str]) -> str:
    escaped = found.group(1)
    if escaped is None:
        return "'"
    return chr(int(escaped, 8)) if escaped.isdigit() else _MEANS.get(escaped, escaped)
