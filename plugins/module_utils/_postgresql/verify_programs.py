# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The engine's own programs: pg_verifybackup, pg_amcheck, pg_checksums."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.process import failure, run, tail
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import lsn
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.repository_native_chain import chain
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.verify_report import Report, Subject, few

_AVAILABLE = "SELECT count(*) FROM pg_catalog.pg_available_extensions WHERE name = 'amcheck'"
_INSTALLED = "SELECT count(*) FROM pg_catalog.pg_extension WHERE extname = 'amcheck'"
# A program that could not do its work has found nothing.
_CANNOT = re.compile(r"must be shut down|is not compatible|is needed by|cannot be executed|Permission denied")


def report_backup_bytes(subject: Subject, report: Report) -> None:
    """Every file of the backup in the repository, and of what it builds on, has the digest its manifest names."""
    name = "backup_bytes"
    given = subject.params["backup_dir"]
    report.begin()
    if not given:
        report.skip(name, "backup_dir was not given")
        return
    folder = Path(given)
    if not (folder / "backup_manifest").is_file():
        report.skip(name, f"{folder} holds no backup_manifest", required=True)
        return
    tar = any(folder.glob("base.tar*"))
    if tar and subject.major < 18:
        report.skip(name, "pg_verifybackup reads tar files from version 18 on", required=True)
        return
    try:
        members = chain(folder)
    except OpsError as exc:
        report.judge(name, False, expected="a whole chain of backups", actual="a broken one", message=str(exc))
        return
    words, note = [], ""
    for member in members:
        argv = [subject.server.program("pg_verifybackup"), "--quiet"]
        if tar or not _has_wal(member):
            argv.append("--no-parse-wal")
            note = "its WAL was not looked at: it carries none (wal_continuity did)"
        words.append([*argv, str(member)])
    expected = "every file as in backup_manifest"
    if len(members) > 1:
        expected += f", in {len(members)} backups that build on each other"
    _Program(subject, report, name, expected).run(*words, note=note)


def _has_wal(folder: Path) -> bool:
    """Whether the backup carries the log that makes it consistent."""
    try:
        ranges = json.loads((folder / "backup_manifest").read_text())["WAL-Ranges"]
        sizes = [path.stat().st_size for path in (folder / "pg_wal").iterdir() if lsn.SEGMENT.match(path.name)]
        names = [
            lsn.segment_name(part["Timeline"], lsn.parse(part[end]), sizes[0])
            for part in ranges
            for end in ("Start-LSN", "End-LSN")
        ]
    except (OSError, ValueError, KeyError, IndexError, TypeError):
        return False
    return all((folder / "pg_wal" / name).is_file() for name in names)


def report_structure(subject: Subject, report: Report) -> bool:
    """Heaps and indexes are in themselves consistent. Returns whether an extension was installed for that."""
    name = "structure"
    report.begin()
    if subject.major < 14:
        report.skip(name, "pg_amcheck exists from version 14 on")
        return False
    if not subject.params["structure"]:
        report.skip(name, "switched off")
        return False
    with subject.server.connect() as connection:
        if not connection.execute(_AVAILABLE).fetchone()[0]:
            report.skip(name, "the extension amcheck is not there; install the server's contrib package")
            return False
    missing = []
    for database in subject.databases:
        with subject.server.connect(database) as connection:
            if not connection.execute(_INSTALLED).fetchone()[0]:
                missing.append(database)
    server = subject.server
    argv = [server.program("pg_amcheck"), "-h", server.socket_dir, "-p", str(server.port), "-U", server.login_user]
    argv += ["--no-password", "--maintenance-db", server.login_db, "--jobs", str(subject.params["jobs"])]
    if missing and (subject.standby or subject.params["_check_mode"]):
        report.skip(name, f"amcheck is not installed in {few(missing)}, and nothing is to be installed here")
        return False
    if missing:
        argv.append("--install-missing")
    if subject.params["heapallindexed"]:
        argv.append("--heapallindexed")
    argv.append("--all")
    # Where it cannot run nothing is lost that was promised; what it finds is a defect all the same.
    _Program(subject, report, name, "heaps and indexes consistent", needed=False).run(argv)
    return bool(missing)


def report_page_checksums(subject: Subject, report: Report) -> bool:
    """Stops the server and checks every page. Returns whether the server was stopped."""
    name = "page_checksums"
    report.begin()
    if not subject.checksums:
        report.skip(name, "data checksums are off in this cluster")
        return False
    if not subject.params["page_checksums"] or subject.params["_check_mode"]:
        report.skip(name, "not asked for")
        return False
    try:
        subject.server.stop(subject.params["timeout"])
    except OpsError as exc:
        report.skip(name, f"the server could not be stopped: {exc}", required=True)
        return not subject.server.running()
    argv = [subject.server.program("pg_checksums"), "--check", "-D", str(subject.server.data_dir)]
    _Program(subject, report, name, "no bad page").run(argv)
    return True


@dataclass
class _Program:
    """A checking program and the check that it decides."""

    subject: Subject
    report: Report
    name: str
    expected: str
    needed: bool = True

    def run(self, *words: list[str], note: str = "") -> None:
        """Run it, once or more; what it found wrong first becomes one line. `needed`: not to run is an error."""
        for argv in words:
            place = f"{Path(argv[-1]).name}: " if len(words) > 1 else ""
            try:
                done = run(argv, check=False, timeout=self.subject.params["timeout"])
            except OpsError as exc:
                self.report.skip(self.name, place + str(exc), required=self.needed)
                return
            program = Path(argv[0]).name
            if done.returncode < 0:
                why = f"{place}{program} was killed by signal {-done.returncode}"
                self.report.skip(self.name, why, required=self.needed)
                return
            # pg_amcheck tells damage (2) from trouble of its own (1); the others do not.
            if _CANNOT.search(done.stderr) or (program == "pg_amcheck" and done.returncode == 1):
                self.report.skip(self.name, place + failure(done), required=self.needed)
                return
            if done.returncode != 0:
                found = _problems(done.stdout, done.stderr)
                message = place + (few(found, 3) or tail(done.stderr) or tail(done.stdout))
                actual = f"{len(found) or 'some'} problems"
                self.report.judge(self.name, False, expected=self.expected, actual=actual, message=message)
                return
        self.report.judge(self.name, True, expected=self.expected, actual=self.expected, message=note)


def _problems(stdout: str, stderr: str) -> list[str]:
    """The lines that name what is wrong; pg_amcheck puts the place on one line and the trouble, indented, below."""
    found: list[str] = []
    for line in stdout.splitlines() + stderr.splitlines():
        if line[:1].isspace() and found:
            found[-1] += f" {line.strip()}"
        elif re.match(r"(heap|btree|toast|index|gin)\b.*:$", line) or re.search(r"\b(error|FATAL|PANIC):", line):
            found.append(re.sub(r"^pg_\w+: (error: )?", "", line))
    return found
