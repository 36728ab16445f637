"""The field of the lab: the repository as it was after the load, as a stanza of its own that may be damaged."""

from __future__ import annotations

import contextlib
import json
import shlex
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from tests.faults.lab_inventory import CLUSTER, CONNECTION, DRILL, PRIMARY, REPOSITORY
from tests.faults.supplies import Damage, Variables

if TYPE_CHECKING:
    from tests.faults.lab_ground import LabGround

FIELD, OTHER = "field", "other"
ROOT = "/var/lib/pgbackrest"
CONF = "/etc/pgbackrest/conf.d"
BACKUPS, ARCHIVE = f"{ROOT}/backup/{FIELD}", f"{ROOT}/archive/{FIELD}"
#: Where a thing is kept while it is damaged or away.
ASIDE = "/root/aside"
OTHER_DATA, OTHER_PORT = "/var/lib/postgresql/15/other", 5433
#: A catalogue without a backup, kept from before the first one: it has the repository's keys.
EMPTY = "/root/empty"
#: One byte of a stored file, turned over.
FLIP = """
import sys; path, at = sys.argv[1], int(sys.argv[2]); stream = open(path, 'r+b'); stream.seek(at); byte = stream.read(1)
stream.seek(at); stream.write(bytes([byte[0] ^ 255]))
"""


class LabField:
    """See tests.faults.supplies.Field. Stored files are compressed and encrypted: what is damaged is what is stored."""

    def __init__(self, ground: LabGround) -> None:
        self._ground = ground

    def _do(self, script: str) -> str:
        return self._ground.on(REPOSITORY, script)

    # --- made of the cluster's repository -------------------------------------------------------------------------

    def keep_empty(self) -> None:
        """Keep the catalogue as it is before the first backup."""
        self._do(f"mkdir -p {EMPTY} && cp -a {ROOT}/backup/{CLUSTER}/backup.info* {EMPTY}")

    def make(self) -> None:
        """Copy the first repository under another stanza's name, and tell every host of it."""
        for kind in ("backup", "archive"):
            self._do(f"cp -a {ROOT}/{kind}/{CLUSTER} {ROOT}/{kind}/{FIELD}")
        for host in (PRIMARY, REPOSITORY, DRILL):
            self.stanza(host, FIELD, "-e '/^repo2-/d'")

    def stanza(self, host: str, name: str, change: str) -> None:
        """A stanza that is configured on a host as the cluster's is, but for what sed changes."""
        path = f"{CONF}/{name}.conf"
        edit = f"sed -e 's/^.{CLUSTER}.$/[{name}]/' {change} {CONF}/{CLUSTER}.conf"
        self._ground.on(host, f"cp -a {CONF}/{CLUSTER}.conf {path} && {edit} >{path}")

    def _label(self) -> str:
        return self._do(f"readlink {BACKUPS}/latest").strip()

    def segments(self) -> list[str]:
        """The stored segments that lie wholly behind the backup, the oldest first."""
        info = self._do(f"su postgres -c 'pgbackrest --stanza={FIELD} --output=json info'")
        start = json.loads(info)[0]["backup"][0]["archive"]["start"]
        paths = self._do(f"find {ARCHIVE} -regextype egrep -regex '.*/[0-9A-F]{{24}}-[0-9a-f]{{40}}.*'").split()
        return sorted(path for path in paths if path.rpartition("/")[2][:24] > start)

    def _stored(self, relation: str) -> str:
        """A relation's first file in the backup."""
        place = self._ground.relation_file(relation)
        found = self._do(f"find {BACKUPS}/{self._label()} -path '*/{place}.*'").split()
        assert len(found) == 1, found
        return found[0]

    # --- damage ---------------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _damaged(self, path: str, script: str) -> Iterator[Variables]:
        """Do something to a stored file or folder that is put back afterwards."""
        self._do(f"rm -rf {ASIDE}; cp -a {path} {ASIDE}; {script}")
        yield {}
        self._do(f"rm -rf {path}; mv {ASIDE} {path}")

    def _flipped(self, path: str) -> Damage:
        # In the middle: the first bytes are the encryption's and would look like another key.
        return self._damaged(path, f'python3 -c "{FLIP}" {path} $(($(stat -c %s {path}) / 2))')

    def flipped(self, relation: str) -> Damage:
        return self._flipped(self._stored(relation))

    def without(self, relation: str) -> Damage:
        path = self._stored(relation)
        return self._damaged(path, f"rm {path}")

    def without_manifest(self) -> Damage:
        path = f"{BACKUPS}/{self._label()}"
        return self._damaged(path, f"rm {path}/backup.manifest {path}/backup.manifest.copy")

    def unfinished(self) -> Damage:
        label = self._label()
        script = f"cd {BACKUPS}; rm latest backup.info* {label}/backup.manifest; cp -a {EMPTY}/backup.info* ."
        return self._damaged(BACKUPS, script)

    @contextlib.contextmanager
    def unreachable(self) -> Iterator[Variables]:
        self._do(f"mv {ROOT} {ASIDE}")
        yield {}
        self._do(f"mv {ASIDE} {ROOT}")

    def without_archive(self) -> Damage:
        return self._damaged(ARCHIVE, f"rm -rf {ARCHIVE}")

    def without_segment(self, number: int) -> Damage:
        path = self.segments()[number]
        return self._damaged(path, f"rm {path}")

    def truncated_segment(self, number: int) -> Damage:
        path = self.segments()[number]
        return self._damaged(path, f"truncate -s $(($(stat -c %s {path}) / 2)) {path}")

    def flipped_segment(self, number: int) -> Damage:
        return self._flipped(self.segments()[number])

    def zeroed_segment(self, number: int) -> Damage:
        path = self.segments()[number]
        return self._damaged(path, f"dd if=/dev/zero of={path} conv=notrunc bs=$(stat -c %s {path}) count=1")

    @contextlib.contextmanager
    def foreign_segment(self, number: int) -> Iterator[Variables]:
        """Pushed by a host whose checks are off: pgBackRest itself refuses another cluster's."""
        self._another()
        path = self.segments()[number]
        push = f"pgbackrest --stanza={FIELD} --no-archive-header-check --no-archive-async archive-push"
        wal = f"{OTHER_DATA}/pg_wal/{path.rpartition('/')[2][:24]}"
        self._do(f"mv {path} {ASIDE}")
        self._ground.on(PRIMARY, f"su postgres -c '{push} {wal}'")
        yield {}
        self._do(f"rm {path.rpartition('-')[0]}-*; mv {ASIDE} {path}")

    @contextlib.contextmanager
    def foreign_backup(self) -> Iterator[Variables]:
        self._another()
        yield {"restore_drill_stanza": OTHER}

    # --- another cluster ------------------------------------------------------------------------------------------

    def _another(self) -> None:
        """A second cluster on the primary's host, backed up under its own stanza; stopped again. Made once."""
        on = self._ground.on
        if on(PRIMARY, f"test ! -e {OTHER_DATA}/made || echo made"):
            return
        change = (
            f"-e '/^repo2-/d' -e 's,{CONNECTION['data_dir']},{OTHER_DATA},' -e 's/^pg1-port=.*/pg1-port={OTHER_PORT}/'"
        )
        for host in (PRIMARY, REPOSITORY, DRILL):
            self.stanza(host, OTHER, change)
        settings = {
            "archive_mode": "on", "wal_keep_size": "1GB",
            "archive_command": f"pgbackrest --stanza={OTHER} --no-archive-async archive-push %p",
        }  # fmt: skip
        words = " ".join(f"-o {name}='\"'{value}'\"'" for name, value in settings.items())
        on(PRIMARY, f"su postgres -c 'pg_createcluster 15 other -p {OTHER_PORT} {words} -- -N' && "
                    "systemctl daemon-reload && systemctl start postgresql@15-other")  # fmt: skip
        self._do(f"su postgres -c 'pgbackrest --stanza={OTHER} stanza-create'")
        self._do(f"su postgres -c 'pgbackrest --stanza={OTHER} --type=full backup'")
        # As far as the first cluster's log, so that there is a segment of each name.
        newest = self.segments()[-1].rpartition("/")[2][:24]
        ask = "SELECT pg_create_restore_point('on'); SELECT pg_walfile_name(pg_switch_wal())"
        while on(PRIMARY, f"su postgres -c 'psql -XAtq -p {OTHER_PORT}'", stdin=ask).split()[-1] < newest:
            pass
        on(PRIMARY, f"systemctl stop postgresql@15-other && touch {OTHER_DATA}/made")

    # --- configuration --------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def configured(self, host: str, stanza: str, *change: str) -> Iterator[Variables]:
        """Have sed change a stanza's configuration on one host."""
        path, words = f"{CONF}/{stanza}.conf", " ".join(f"-e {shlex.quote(word)}" for word in change)
        on: Any = self._ground.on
        on(host, f"cp -a {path} /root/kept.conf && sed -i {words} {path} && ! cmp -s {path} /root/kept.conf")
        yield {}
        on(host, f"mv /root/kept.conf {path}")
