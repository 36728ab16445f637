"""The native tool against the same commands by hand."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

from tests.bench.ground import HOME, PROGRAMS, Source, module, run, timed

COPY, HAND = HOME / "copy", HOME / "hand"


def _clear(place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)


def newest(source: Source) -> Path:
    """The newest backup."""
    return max(place for place in source.backups.iterdir() if not place.name.startswith("."))


def module_start(source: Source) -> float:
    """What a module costs that only looks: most of it is the start of Python, and every figure of ours holds it."""
    return min(timed(lambda: module("instance_info", **source.server)) for _run in range(5))


def backup(source: Source) -> float:
    """Our backup, from the module's start to its end."""
    seconds = timed(lambda: module("backup", **source.server, **source.repository))
    for place in sorted(source.backups.iterdir())[:-1]:
        _clear(place)
    return seconds


def backup_by_hand(source: Source) -> float:
    """pg_basebackup with the same options."""
    _clear(HAND)
    return timed(
        lambda: source.program("pg_basebackup", "-D", str(HAND), "-X", "stream", "--checkpoint=fast", "--no-password")
    )


def place(source: Source) -> dict[str, Any]:
    """The options that name the copy."""
    return {
        "data_dir": str(COPY / "data"),
        "socket_dir": str(COPY / "run"),
        "bin_dir": str(PROGRAMS),
        "port": source.port + 1,
    }


def _options(source: Source) -> dict[str, Any]:
    return {**source.repository, **place(source)}


def restore(source: Source) -> float:
    """Our restore to the newest commit, until the copy answers and its proofs are made."""
    seconds = timed(lambda: module("restore", **_options(source)))
    module("restore", state="absent", **_options(source))
    return seconds


def _restore_by_hand(source: Source) -> None:
    data = HAND / "data"
    run("mkdir", "-p", "-m", "700", str(data), str(HAND / "run"))
    run("cp", "-a", "--reflink=auto", f"{newest(source)}/.", str(data))
    run("touch", str(data / "recovery.signal"))
    settings = (
        f"-c archive_mode=off -c listen_addresses= -c unix_socket_directories={HAND / 'run'} -c port={source.port + 1}"
    )
    command = f"restore_command = 'cp {source.wal}/%f \"%p\"'\n"
    run("sh", "-c", 'cat >> "$1"', "sh", str(data / "postgresql.auto.conf"), stdin=command)
    log = str(HAND / "log")
    run(str(PROGRAMS / "pg_ctl"), "start", "-s", "-w", "-D", str(data), "-l", log, "-o", settings)
    while _sql(source, "SELECT pg_is_in_recovery()") != "f":
        time.sleep(0.02)


def _sql(source: Source, text: str) -> str:
    return run(
        str(PROGRAMS / "psql"),
        "-XAtq",
        "-h",
        str(HAND / "run"),
        "-p",
        str(source.port + 1),
        "-U",
        "postgres",
        "-c",
        text,
    ).strip()


def restore_by_hand(source: Source) -> float:
    """cp, recovery settings, pg_ctl, and waiting for the end of recovery."""
    _clear(HAND)
    seconds = timed(lambda: _restore_by_hand(source))
    run(str(PROGRAMS / "pg_ctl"), "stop", "-s", "-m", "immediate", "-D", str(HAND / "data"))
    _clear(HAND)
    return seconds


def drill(source: Source) -> float:
    """Restore and every default check, page checksums included, as the drill runs them."""

    def act() -> None:
        module("restore", **_options(source))
        module("verify", backup_dir=str(newest(source)), page_checksums=True, **place(source))

    seconds = timed(act)
    module("restore", state="absent", **_options(source))
    return seconds


def drill_by_hand(source: Source) -> float:
    """The same proofs by hand: verify the backup's bytes, read and hash every table, check every page."""
    _clear(HAND)
    tables = source.sql(
        "SELECT oid::regclass FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"
    ).split()

    def act() -> None:
        _restore_by_hand(source)
        run(str(PROGRAMS / "pg_verifybackup"), "-q", "-n", str(newest(source)))
        for table in tables:
            _sql(source, f"SELECT count(*), sum(hash_record_extended(t, 0)) FROM {table} t")
        run(str(PROGRAMS / "pg_ctl"), "stop", "-s", "-m", "fast", "-D", str(HAND / "data"))
        run(str(PROGRAMS / "pg_checksums"), "--check", "-D", str(HAND / "data"))

    seconds = timed(act)
    _clear(HAND)
    return seconds
