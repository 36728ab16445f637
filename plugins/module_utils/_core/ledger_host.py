# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The ledger of several controllers on a host, over SSH: ``PATH/<cluster>/00000001.dsse.json``.

A place is taken by link(2), which fails where the name is there. The host needs a POSIX shell and nothing of ours.
"""

from __future__ import annotations

import shlex
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.keys import EvidenceError
from ansible_collections.boringdb.ops.plugins.module_utils._core.ledger_store import (
    PLACE,
    Shared,
    file_of,
    sound,
)
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import environment, tail

#: How ssh itself says that it has not come through, and our script that the place is taken, or that not all arrived.
_LOST, _TAKEN, _SHORT = 255, 75, 65
_CLUSTERS = 'cd "$1" 2>/dev/null || exit 0; for one in */; do [ -d "$one" ] && echo "${one%/}"; done; exit 0'
_PLACES = 'cd "$1/$2" 2>/dev/null || exit 0; ls -1'
#: Each with its size before it.
_READ = 'cd "$1/$2" || exit 1; shift 2; for one; do wc -c < "$one" && cat -- "$one" || exit 1; done'
_CLAIM = f"""
set -e; umask 022; mkdir -p -- "$1/$2"; cd "$1/$2"; new=".$3.$$.tmp"; trap 'rm -f -- "$new"' EXIT
cat > "$new"; [ "$(wc -c < "$new")" -eq "$4" ] || exit {_SHORT}
sync -- "$new" 2>/dev/null || sync
if ln -- "$new" "$3" 2>/dev/null; then sync . 2>/dev/null || sync; exit 0; fi
[ ! -e "$3" ] || exit {_TAKEN}
ln -- "$new" "$3"
"""


class Host(Shared):
    """Where the records are."""

    def __init__(self, options: Mapping[str, Any]) -> None:
        self.host, self.path = str(options.get("host") or ""), str(options.get("path") or "")
        preflight = Preflight()
        preflight.require(
            bool(self.host) and not self.host.startswith("-"), f"host of the ledger's store is {self.host!r}", "name it"
        )
        preflight.require(
            self.path.startswith("/"), f"path of the ledger's store is {self.path!r}", "give the whole path on the host"
        )
        preflight.done()
        self.where = f"{self.path} on {self.host}"
        # Nobody is there to be asked for a password, or whether a host's key is right.
        self.ssh = ["ssh", "-o", "BatchMode=yes", "-o", "ConnectTimeout=20", "-o", "ServerAliveInterval=15"]
        for flag, name in (("-F", "ssh_config"), ("-p", "port"), ("-l", "user")):
            if options.get(name):
                self.ssh += [flag, str(options[name])]

    def clusters(self) -> list[str]:
        return sound(self._run(_CLUSTERS, self.path).decode(errors="replace").splitlines())

    def claim(self, cluster: str, sequence: int, data: bytes) -> bool:
        done = self._start(_CLAIM, self.path, cluster, file_of(sequence), str(len(data)), stdin=data)
        if done.returncode == _TAKEN:
            return False
        # What was linked before the line broke stands there, and is found by the next run.
        lost = done.returncode == _LOST
        self._judge(done, "whether it was recorded is not known" if lost else "nothing was recorded")
        return True

    def places(self, cluster: str) -> list[int]:
        found = map(PLACE.fullmatch, self._run(_PLACES, self.path, cluster).decode(errors="replace").splitlines())
        return [int(named[1]) for named in found if named]

    def read(self, cluster: str, places: Iterable[int]) -> Iterator[bytes]:
        names = [file_of(place) for place in places]
        # Far below the longest command line that there is.
        for first in range(0, len(names), 500):
            some = names[first : first + 500]
            rest = self._run(_READ, self.path, cluster, *some)
            for name in some:
                size, _newline, rest = rest.partition(b"\n")
                if not size.strip().isdigit() or len(rest) < int(size):
                    raise EvidenceError(f"{cluster}/{name} of {self.where} did not come whole: run it again")
                yield rest[: int(size)]
                rest = rest[int(size) :]

    def label(self, cluster: str, place: int) -> str:
        return f"{cluster}/{file_of(place)}"

    def _run(self, script: str, *words: str) -> bytes:
        done = self._start(script, *words)
        self._judge(done)
        return done.stdout

    def _start(self, script: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        remote = shlex.join(["sh", "-c", script, "sh", *words])
        try:
            return subprocess.run(
                [*self.ssh, "--", self.host, remote], input=stdin, capture_output=True, check=False, env=environment()
            )
        except OSError as exc:
            raise EvidenceError(f"{self.where} can't be asked: ssh: {exc.strerror}; install it") from exc

    def _judge(self, done: subprocess.CompletedProcess[bytes], so: str = "nothing was recorded") -> None:
        if done.returncode == 0:
            return
        said = tail(done.stderr.decode(errors="replace")) or "it said nothing"
        if done.returncode == _LOST:
            raise EvidenceError(f"{self.where} can't be asked: {said}; {so}")
        said = "the connection broke off" if done.returncode == _SHORT else said
        raise EvidenceError(f"{self.where}: {said}; {so}")
