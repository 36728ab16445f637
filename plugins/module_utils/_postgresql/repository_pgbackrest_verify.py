# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What `pgbackrest verify --output=text --verbose` says of one backup and of the archive."""

from __future__ import annotations

import re

_ROW = re.compile(r"^  (backup|archiveId): ([^,]+), (.*)$")


def problems_of(text: str, label: str) -> list[str]:
    """What is wrong with the backup of that label, or with the archive."""
    seen = False
    lines = text.splitlines()
    problems = [line.strip() for line in lines if line.startswith("  No usable")]
    for line, following in zip(lines, [*lines[1:], ""]):
        row = _ROW.match(line)
        if not row or (row.group(1) == "backup" and row.group(2) != label):
            continue
        seen = seen or row.group(1) == "backup"
        counts = [word.strip() for word in following.split(",") if not word.strip().endswith(": 0")]
        state = re.match(r"status: ([^,]+)", row.group(3))
        if (state and state.group(1) != "valid") or (not state and following.startswith("    ") and counts):
            kind = "backup" if row.group(1) == "backup" else "archive"
            problems.append(f"{kind} {row.group(2)}: {row.group(3)}{': ' if counts else ''}{', '.join(counts)}")
    if not seen and not problems:
        problems.append(f"backup {label}: pgbackrest verify did not find it")
    return problems
