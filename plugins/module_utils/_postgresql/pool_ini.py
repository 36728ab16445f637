# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""pgbouncer.ini and its file of users: read with what they include, written, and one route changed in place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text

#: The first line of a file that is ours, with the cluster that it is of.
MARK = "; managed by boringdb.ops pool for"
_SECTION = re.compile(r"\s*\[([^\]]*)\]\s*$")
_INCLUDE = re.compile(r"\s*%include\s+(.+?)\s*$")
_KEY = re.compile(r"(\s*(?:\"(?:[^\"]|\"\")*\"|[^\s=;#%\[\"][^\s=]*)\s*=\s*)(.*?)\s*$")
_WORD = re.compile(r"\s*([a-z_]+)\s*=\s*('(?:[^']|'')*'|[^\s']*)")
#: What every version reads as a name without quotes; version 1.18 reads none with them.
BARE = re.compile(r"[0-9A-Za-z_.-]{1,63}\Z")
_DEEPEST = 10


@dataclass(frozen=True)
class Line:
    """One `key = value`: the file it stands in, and where there."""

    file: Path
    number: int
    value: str


@dataclass
class Ini:
    """What a configuration says. The last of several lines with one key counts, as it does for pgbouncer."""

    settings: dict[str, str] = field(default_factory=dict)
    databases: dict[str, Line] = field(default_factory=dict)


def read(path: Path) -> Ini:
    """A configuration with all that it includes. Raises OpsError where it can't be read."""
    found = Ini()
    _read(path, "", found, 0)
    return found


def _read(path: Path, section: str, found: Ini, depth: int) -> str:
    if depth > _DEEPEST:
        raise OpsError(f"{path} is included in a circle; take it out of the files that include it")
    try:
        lines = path.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    except OSError as exc:
        raise OpsError(f"cannot read {path}: {exc.strerror}; name the configuration in config_file") from exc
    for number, line in enumerate(lines):
        header, include, pair = _SECTION.match(line), _INCLUDE.match(line), _KEY.match(line)
        if header:
            section = header.group(1)
        elif include:
            # It is relative to where pgbouncer was started, which nothing tells.
            place = Path(include.group(1))
            if not place.is_absolute():
                raise OpsError(f"{path} includes {place}, a relative path; write the whole one")
            section = _read(place, section, found, depth + 1)
        elif pair:
            key = pair.group(1).strip().removesuffix("=").strip()
            if section == "databases":
                found.databases[_unquoted(key)] = Line(path, number, pair.group(2))
            elif section == "pgbouncer":
                found.settings[key] = pair.group(2)
    return section


def _unquoted(name: str) -> str:
    return name[1:-1].replace('""', '"') if name.startswith('"') else name


def words(value: str) -> dict[str, str]:
    """A connection string as a mapping. Raises OpsError for one that pgbouncer would not read."""
    found: dict[str, str] = {}
    rest = value.strip()
    while rest:
        match = _WORD.match(rest)
        if not match:
            raise OpsError(f"not a connection string: what follows {' '.join(found) or 'its beginning'}")
        text = match.group(2)
        found[match.group(1)] = text[1:-1].replace("''", "'") if text.startswith("'") else text
        rest = rest[match.end() :].strip()
    return found


def connection_string(given: Mapping[str, str]) -> str:
    """The words of a connection string, in their order."""
    return " ".join(f"{name}={_value(text)}" for name, text in given.items())


def _value(text: str) -> str:
    return text if text and not re.search(r"[\s']", text) else "'" + text.replace("'", "''") + "'"


def key(name: str) -> str:
    """A database's name as a key."""
    return name if BARE.match(name) else '"' + name.replace('"', '""') + '"'


def route_of(line: Line) -> tuple[str, int]:
    """Host and port of a database's line; no host means a local socket."""
    given = words(line.value)
    return given.get("host", ""), int(given.get("port") or 5432)


def routed(text: str, number: int, host: str, port: int) -> str:
    """A file's text with the host and port of one line replaced, and all else as it was."""
    lines = text.splitlines(keepends=True)
    match = _KEY.match(lines[number].rstrip("\r\n"))
    if not match:
        raise OpsError("the configuration was changed meanwhile; run it again")
    changed = connection_string({**words(match.group(2)), "host": host, "port": str(port)})
    lines[number] = f"{match.group(1)}{changed}\n"
    return "".join(lines)


def rendered(owner: str, databases: Mapping[str, Mapping[str, str]], settings: Mapping[str, str]) -> str:
    """A whole configuration."""
    lines = [f"{MARK} {owner}: the next run overwrites what is changed here", "[databases]"]
    lines += [f"{key(name)} = {connection_string(given)}" for name, given in databases.items()]
    lines += ["", "[pgbouncer]", *(f"{name} = {value}" for name, value in sorted(settings.items())), ""]
    return "\n".join(lines)


def owner_of(path: Path) -> str | None:
    """The cluster that a file of ours is of; empty for somebody else's file, None where there is none."""
    if not path.exists():
        return None
    first = read_text(path).split("\n", 1)[0]
    return first.removeprefix(MARK).partition(":")[0].strip() if first.startswith(MARK) else ""


def users_of(path: Path) -> dict[str, str]:
    """The accounts of a file of users, with what it holds of their passwords."""
    found = {}
    for name, secret in re.findall(r'^\s*"((?:[^"]|"")*)"\s+"((?:[^"]|"")*)"', read_text(path), re.MULTILINE):
        found[name.replace('""', '"')] = secret.replace('""', '"')
    return found


def users_text(users: Mapping[str, str]) -> str:
    """A file of users."""
    lines = ('"{}" "{}"'.format(*(part.replace('"', '""') for part in pair)) for pair in users.items())
    return "\n".join([*lines, ""])
