# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The embedded ground: one estate, kept once while it was stopped, and put back for a case that needs it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

from estate import Estate
from estate_runs import Running, await_

from tests.kills import victims
from tests.kills.trail import following
from tests.modules import OWNER, ROOT

ROWS = 60000
#: What only PostgreSQL writes to, and what Ansible itself leaves behind when it is killed.
_INSIDE = {"base", "global", ".ansible", "holds"}
_SEGMENT = r"[0-9A-F]{24}(\.[0-9A-F]{8}(?=\.backup))?|[0-9A-F]{8}(?=\.history)"
_MOMENT = re.compile(_SEGMENT + r"|\d{8}-?T?\d{6}[\d.]*[A-Z]?|(?<=/)\d{6,}")


class Ground(Estate):
    """The cluster `orders` with its repository, its drill host, and the folder that the next run's trail is left in."""

    def __init__(self) -> None:
        super().__init__()
        self.trail = Path(f"{self.home}.trail")
        self.kept = Path(f"{self.home}.kept")
        self.temporary = Path(f"{self.home}.tmp")
        self.temporary.mkdir()
        # The mode alone: the umask takes its part of mkdir's.
        self.temporary.chmod(0o1777)

    def environment(self, **more: str) -> dict[str, str]:
        """Every run leaves a trail."""
        return super().environment(TMPDIR=str(self.temporary), **following(self.trail), **more)

    def begin(self, playbook: str, *given: str, **variables: object) -> Running:
        """Start a playbook with an empty trail."""
        self.trail.unlink(missing_ok=True)
        return super().begin(playbook, *given, **variables)

    def client(self) -> dict[str, object]:
        """How a client connects to the primary."""
        where = self.server()
        return {"host": where["socket_dir"], "port": where["port"], "user": "postgres", "dbname": "postgres"}

    # --- up, down, and back ---------------------------------------------------------------------------------

    def up(self) -> None:
        """Provision, fill, back up, and keep all of it."""
        self._room()
        self.converge("provision")
        self.converge("evidence_key")
        self.sql(f"CREATE TABLE stock AS SELECT n AS id, md5(n::text) AS note FROM generate_series(1, {ROWS}) n")
        self.converge("backup")
        for host in self.members:
            self.module("instance", state="stopped", **self.server(host))
        self._copy(self.home, self.kept)
        self.start()

    def put_back(self) -> None:
        """As it was behind `up`."""
        self._end()
        self._copy(self.kept, self.home)
        self.start()
        await_(lambda: self.sql("SELECT count(*) FROM pg_stat_replication") == "1", "streaming")

    def wipe(self) -> None:
        """Nothing but the folder."""
        self._end()
        shutil.rmtree(self.home, ignore_errors=True)
        self.home.mkdir()
        self.home.chmod(0o755)
        if ROOT:
            shutil.chown(self.home, OWNER)
        self._room()

    def down(self) -> None:
        """Remove all of it."""
        super().down()
        for place in (self.kept, self.temporary):
            shutil.rmtree(place, ignore_errors=True)
        self.trail.unlink(missing_ok=True)

    def _room(self) -> None:
        self.holds.mkdir(exist_ok=True)

    def _end(self) -> None:
        await_(lambda: not victims.kill([*self.processes(), *victims.servers(self.home)]), "the end of all processes")

    def _copy(self, source: Path, target: Path) -> None:
        shutil.rmtree(target, ignore_errors=True)
        subprocess.run(["cp", "-a", "--reflink=auto", str(source), str(target)], check=True)

    # --- what must not be left ------------------------------------------------------------------------------

    def names(self) -> set[str]:
        """Every file's name, moments and numbers left out, so that those of two runs can be compared.

        The data that a restore sets aside is kept as it was: behind a crash, with the crashed server's postmaster.pid.
        """
        kept = re.compile(r"\.before-N/postmaster\.pid$")
        return {name for name in (_MOMENT.sub("N", name) for name in self._walk()) if not kept.search(name)}

    def _walk(self) -> Iterator[str]:
        for top in (self.home, self.evidence):
            for folder, folders, files in os.walk(top):
                place = Path(folder)
                inside = place.parent == self.backups
                folders[:] = (
                    [] if inside else [name for name in folders if name not in _INSIDE and not name.startswith("pg_")]
                )
                for name in [*folders, *([] if inside else files)]:
                    yield str((place / name).relative_to(self.home.parent)).removeprefix(self.home.name)
        yield from (f"tmp/{path.name}" for path in self.temporary.iterdir() if not path.name.startswith("ansible"))
