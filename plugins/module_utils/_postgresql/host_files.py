# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What else of a host people forget to restore: cron entries, units, a pooler's configuration, kernel settings.

They travel with the backup as the configuration outside the data directory does. Only what the server's own account can
read is taken, and nothing is ever put back by itself: a restore names what this host lacks.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import run
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.manifest_files import CONFIG, ELSEWHERE, Copy

#: Larger files are no configuration; a backup must not grow by what a pattern happens to match.
_LARGEST = 1 << 20
#: Where the account's own crontab is stored: the file itself is root's, its content the account may ask for.
_CRONTAB = "var/spool/cron/crontabs"


def crontab() -> bytes:
    """The crontab of this account; empty where there is none, or no cron."""
    try:
        done = run(["crontab", "-l"], check=False)
    except OpsError:
        return b""
    return done.stdout.encode() if done.returncode == 0 else b""


def collected(patterns: Iterable[str], account: str) -> tuple[list[Copy], list[str]]:
    """The host's files that the patterns match, with the account's crontab, and warnings of what could not be read."""
    found: list[Copy] = []
    warnings: list[str] = []
    wanted = [pattern for pattern in patterns if pattern.strip("/")]
    # Links in these places lead to what a package brings.
    paths = sorted({path for pattern in wanted for path in Path("/").glob(pattern.lstrip("/"))})
    for path in (path for path in paths if path.is_file() and not path.is_symlink()):
        if not os.access(path, os.R_OK):
            warnings.append(f"{path} is not readable for {account}, and is missing from the backup")
        elif path.stat().st_size > _LARGEST:
            warnings.append(f"{path} is larger than {_LARGEST >> 20} MB, and is missing from the backup")
        else:
            found.append(Copy(str(path), str(Path(ELSEWHERE, *path.parts[1:])), path.read_bytes()))
    own = crontab() if wanted else b""
    if own:
        found.append(Copy(f"crontab of {account}", f"{ELSEWHERE}/{_CRONTAB}/{account}", own))
    return found, warnings


def wanting(data_dir: Path, account: str) -> list[str]:
    """What a restored backup holds of its host and this host does not have, or has otherwise: `missing: …`."""
    stored = data_dir / CONFIG / ELSEWHERE
    found = []
    for path in sorted(path for path in stored.rglob("*") if path.is_file()):
        name = path.relative_to(stored)
        if name.parent == Path(_CRONTAB):
            here: bytes | None = crontab() or None
            told = f"the crontab of {name.name}"
            if name.name != account:
                continue
        else:
            told = str(Path("/", name))
            try:
                here = Path(told).read_bytes()
            except (FileNotFoundError, NotADirectoryError):
                here = None
            except OSError:
                # What can't be read here can't be compared, and must not end a restore.
                continue
        if here is None:
            found.append(f"missing: {told}")
        elif here != path.read_bytes():
            found.append(f"different: {told}")
    return found
