"""The field of the embedded ground: a copy of the native tool's repository, to be damaged."""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from tests.faults.process import PROGRAMS, Broken, await_, module, run
from tests.faults.supplies import Damage, Variables

if TYPE_CHECKING:
    from tests.faults.ground import Ground


def flip(path: Path, offset: int) -> None:
    """Turn all bits of one byte over."""
    with path.open("r+b") as stream:
        stream.seek(offset)
        byte = stream.read(1)
        stream.seek(offset)
        stream.write(bytes([byte[0] ^ 0xFF]))


def record_offset(segment: Path) -> int:
    """Where, in a WAL segment, the data of a row that was inserted in it stands."""
    shown = run(PROGRAMS / "pg_waldump", "-p", segment.parent, "-r", "Heap", segment.name, check=False).stdout
    rows = re.findall(r"rmgr: Heap .*lsn: [0-9A-F]+/([0-9A-F]+), .*desc: INSERT", shown)
    if not rows:
        raise Broken(f"{segment} holds no inserted row")
    # Past the record's header, whose damage would look like the end of the log.
    return int(rows[len(rows) // 2], 16) % (16 << 20) + 30


class EmbeddedField:
    """See tests.faults.supplies.Field."""

    def __init__(self, ground: Ground) -> None:
        self._ground = ground
        self.path, self.pristine = (ground.home / name for name in ("field", "pristine"))

    def make(self) -> None:
        """Copy the repository as it is now, twice over."""
        for copy in (self.path, self.pristine):
            shutil.rmtree(copy, ignore_errors=True)
            run("cp", "-a", "--reflink=auto", self._ground.live, copy)

    @property
    def backup(self) -> Path:
        """The one backup in it."""
        return next(path for path in (self.path / "backup").iterdir() if not path.name.startswith("."))

    def segments(self) -> list[Path]:
        """The WAL segments that lie wholly behind the backup, the oldest first."""
        control = run(PROGRAMS / "pg_controldata", "-D", self.backup).stdout
        start = re.search(r"REDO WAL file:\s+(\w+)", control)
        assert start
        names = (path for path in (self.path / "wal").iterdir() if re.fullmatch(r"[0-9A-F]{24}", path.name))
        return sorted(path for path in names if path.name > start.group(1))

    # --- damage -----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _away(self, path: Path) -> Iterator[Variables]:
        aside = self._ground.home / "aside"
        path.rename(aside)
        yield {}
        aside.rename(path)

    @contextlib.contextmanager
    def _flipped(self, path: Path, offset: int) -> Iterator[Variables]:
        flip(path, offset)
        yield {}
        flip(path, offset)

    def _file(self, relation: str) -> Path:
        return self.backup / self._ground.relation_file(relation)

    def flipped(self, relation: str) -> Damage:
        return self._flipped(self._file(relation), 8192 * 3 + 5000)

    def without(self, relation: str) -> Damage:
        return self._away(self._file(relation))

    def without_manifest(self) -> Damage:
        return self._away(self.backup / "backup_manifest")

    @contextlib.contextmanager
    def unfinished(self) -> Iterator[Variables]:
        whole = self.backup
        partial = whole.with_name(f"{whole.name}.partial")
        whole.rename(partial)
        yield {}
        partial.rename(whole)

    def unreachable(self) -> Damage:
        return self._away(self.path)

    def without_archive(self) -> Damage:
        return self._away(self.path / "wal")

    def without_segment(self, number: int) -> Damage:
        return self._away(self.segments()[number])

    def flipped_segment(self, number: int) -> Damage:
        segment = self.segments()[number]
        return self._flipped(segment, record_offset(segment))

    @contextlib.contextmanager
    def truncated_segment(self, number: int) -> Iterator[Variables]:
        segment = self.segments()[number]
        with segment.open("r+b") as stream:
            stream.truncate(8 << 20)
        yield {}
        self._mended(segment)

    @contextlib.contextmanager
    def zeroed_segment(self, number: int) -> Iterator[Variables]:
        segment = self.segments()[number]
        with segment.open("r+b") as stream:
            stream.write(bytes(16 << 20))
        yield {}
        self._mended(segment)

    @contextlib.contextmanager
    def foreign_segment(self, number: int) -> Iterator[Variables]:
        """As when two clusters archive to one place."""
        segment = self.segments()[number]
        with self._another() as repository:
            shutil.copyfile(repository / "wal" / segment.name, segment)
            yield {}
            self._mended(segment)

    @contextlib.contextmanager
    def foreign_backup(self) -> Iterator[Variables]:
        with self._another() as repository:
            yield {"db_backup_path": str(repository / "backup"), "db_wal_path": str(repository / "wal")}

    def _mended(self, segment: Path) -> None:
        shutil.copyfile(self.pristine / "wal" / segment.name, segment)

    # --- another cluster --------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _another(self) -> Iterator[Path]:
        """A second cluster with a repository of its own; yields that, with the cluster stopped again."""
        ground = self._ground
        place = ground.home / "other"
        repository = place / "repository"
        server = {
            **ground.server,
            "data_dir": str(place / "data"),
            "socket_dir": str(place / "run"),
            "port": ground.first_port + 7,
        }
        run("mkdir", "-p", place / "run", repository / "backup", repository / "wal")
        module("instance", state="initialized", **server)
        settings = {
            "port": server["port"], "unix_socket_directories": str(place / "run"), "archive_mode": "on",
            "archive_command": f'{ground.home}/bin/boringdb-archive-wal {repository}/wal "%p" "%f"',
        }  # fmt: skip
        hba = [{"type": "local", "database": name, "user": "all", "method": "trust"} for name in ("all", "replication")]
        module("config", settings=settings, hba=hba, **server)
        module("instance", state="started", **server)
        try:
            places = {"backup_path": str(repository / "backup"), "wal_path": str(repository / "wal")}
            module("backup", tool="native", **places, **server)
            # As far as the first cluster's log, so that there is a segment of each name.
            newest = self.segments()[-1].name
            where = ["-h", str(place / "run"), "-p", str(server["port"]), "-U", "postgres", "-d", "postgres", "-XAtq"]
            ask = "SELECT pg_create_restore_point('on'); SELECT pg_walfile_name(pg_switch_wal())"
            while run(PROGRAMS / "psql", *where, "-c", ask).stdout.split()[-1] < newest:
                pass
            await_((repository / "wal" / newest).exists, f"the archiving of the other {newest}")
        finally:
            module("instance", state="stopped", stop_mode="fast", **server)
        try:
            yield repository
        finally:
            shutil.rmtree(place)
