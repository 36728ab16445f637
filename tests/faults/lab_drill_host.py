"""What can be done to the lab's drill host."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from tests.faults.lab_inventory import DRILL
from tests.faults.supplies import Damage, Variables

if TYPE_CHECKING:
    from tests.faults.lab_ground import LabGround

_LISTEN = 'import socket, time; s = socket.socket(); s.bind((\\"127.0.0.1\\", 5499)); s.listen(); time.sleep(600)'
_AMCHECK = "/usr/share/postgresql/15/extension/amcheck.control"


class LabDrillHost:
    """See tests.faults.supplies.DrillHost."""

    def __init__(self, ground: LabGround) -> None:
        self._ground = ground
        self.down = False

    def _do(self, script: str) -> str:
        return self._ground.on(DRILL, script)

    @contextlib.contextmanager
    def _meanwhile(self, script: str) -> Iterator[Variables]:
        """A script that runs beside the drill."""
        self._do(f"systemd-run --quiet --collect --unit=meanwhile sh -c '{script}'")
        yield {}
        self._do("systemctl stop meanwhile 2>/dev/null || true")

    def port_taken(self) -> Damage:
        return self._meanwhile(f'exec python3 -c "{_LISTEN}"')

    @contextlib.contextmanager
    def small_disk(self, options: str) -> Iterator[Variables]:
        place = "/srv/small"
        mount = f"mount -t tmpfs -o {options},mode=0700,uid=$(id -u postgres) faults {place}"
        self._do(f"mkdir -p {place} && {mount}")
        yield {"restore_drill_root": place}
        self._do(f"umount {place}")

    @contextlib.contextmanager
    def hindered(self) -> Iterator[Variables]:
        copy = self._ground.copy
        wait = f"until test -e {copy}/postmaster.pid; do sleep 0.01; done"
        script = f"{wait}; mkdir {copy}/boringdb/foreign; touch {copy}/boringdb/foreign/file"
        with self._meanwhile(script):
            yield {}
        # What else is left of the copy is for the next drill to clean up.
        self._do(f"rm -rf {copy}/boringdb/foreign")

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[Variables]:
        self._ground.lab("kill", DRILL)
        self.down = True
        yield {}
        self._ground.lab("start", DRILL)
        self.down = False

    @contextlib.contextmanager
    def without_amcheck(self) -> Iterator[Variables]:
        self._do(f"mv {_AMCHECK} /root")
        yield {}
        self._do(f"mv /root/{_AMCHECK.rpartition('/')[2]} {_AMCHECK}")
