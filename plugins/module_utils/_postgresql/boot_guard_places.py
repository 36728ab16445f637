# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the boot guard of a unit has its files, for those who start servers."""

from __future__ import annotations

from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text

DIRECTORY = "/etc/boringdb/boot_guard"


def config_file(service: str, directory: str = DIRECTORY) -> Path:
    """What the guard goes by. Where it is missing, there is no guard."""
    return Path(directory) / f"{service}.json"


def once_file(service: str) -> Path:
    """Lets the guard pass once. Gone with a reboot, and root's alone."""
    return Path("/run") / f"boringdb-boot-guard.{service}.once"


def said_file(service: str) -> Path:
    """Why the guard did not let the server start last time."""
    return Path("/run") / f"boringdb-boot-guard.{service}.said"


def pass_once(service: str, data_dir: Path) -> None:
    """Have the guard let the next start pass: whoever starts it has made sure that nobody else is the primary."""
    if config_file(service).exists() and not (data_dir / "standby.signal").exists():
        once_file(service).touch(0o600)


def words(service: str, data_dir: Path) -> str:
    """What the guard has against the server's start; empty for nothing, and where it is not asked."""
    asked = config_file(service).exists() and not (data_dir / "standby.signal").exists()
    return read_text(said_file(service)).strip() if asked else ""
