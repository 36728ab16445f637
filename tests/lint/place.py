# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the gate's programs run: the checkout, a home of its own, and the collection as its tarball installs it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

from tests.lint.process import Failed, run

REPO = Path(__file__).resolve().parents[2]
#: Folders of caches that a program may have left in a working tree.
CACHES = ("__pycache__", ".mypy_cache", ".ruff_cache", ".pytest_cache", ".ansible", ".cache", ".hypothesis")


class Place:
    """`cache` is kept between runs, `work` is a new folder for this run."""

    def __init__(self, cache: Path, work: Path) -> None:
        self.bin = Path(sys.executable).parent
        self.cache = cache
        self.work = work
        self.home = work / "home"
        self.home.mkdir()
        self.installed = work / "collections" / "ansible_collections" / "boringdb" / "ops"

    def program(self, name: str) -> str:
        """The path of a program of the development environment."""
        return str(self.bin / name)

    def environment(self, **more: str) -> dict[str, str]:
        """An environment without the user's own settings of Ansible and without the user's home.

        What lies in a home could make a run pass here and fail elsewhere: roles, collections, an ansible.cfg.
        """
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ANSIBLE_", "MOLECULE_"))}
        kept.pop("PYTHONPATH", None)
        path = f"{self.bin}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
        return {
            **kept, "PATH": path, "HOME": str(self.home), "LC_ALL": "C.UTF-8", "NO_COLOR": "1", "TERM": "dumb",
            "PYTHONDONTWRITEBYTECODE": "1", "ANSIBLE_NOCOLOR": "1", **more,
        }

    def install(self) -> str:
        """Build the tarball of this tree and install it, as a user would. Returns what the programs printed.

        Raises Failed when either fails, or the tarball holds a cache of a program that ran in the tree.
        """
        galaxy = self.program("ansible-galaxy")
        environment = self.environment()
        built = run([galaxy, "collection", "build", "--output-path", self.work], REPO, environment)
        tarball = next(self.work.glob("boringdb-ops-*.tar.gz"))
        # --offline: the collection has no dependencies, and Galaxy may be out of reach.
        installed = run(
            [galaxy, "collection", "install", tarball, "-p", self.work / "collections", "--no-deps", "--offline"],
            self.work, environment,
        )
        left = [path for path in self.installed.rglob("*") if path.name in CACHES]
        if left:
            raise Failed(f"build_ignore in galaxy.yml lets through: {left}")
        return built + installed
