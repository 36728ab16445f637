# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`config` for PostgreSQL: settings and client authentication, validated before they are applied.

The declared settings live in one file below `conf.d`, which a person can read and a removed setting leaves;
`postgresql.conf` itself stays the distribution's or the DBA's, with one include line added.
"""

from __future__ import annotations

import ipaddress
import re
import shutil
import tempfile
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.config_report import (
    INCLUDE,
    difference,
    foresee,
    report,
    reset_shown,
)
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import settings_fit
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.setting_places import (
    AUTO,
    Places,
    in_auto,
    look,
)

_HEADING = "Managed by boringdb.ops: the next run overwrites what is changed here."
_FILE = re.compile(r"^[a-z0-9_-]+\Z")
_TOKEN = re.compile(r"^[^\s#]+\Z")
_HOST = re.compile(r"^\.?[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\Z")


def config(params: Params, check_mode: bool) -> Outcome:
    """Declare settings and pg_hba rules; reload where that is enough, and tell what awaits a restart."""
    server = Server.of(params)
    _preflight(server, params, check_mode)
    server_runs = server.exists() and server.running()
    known = _look(server) if server_runs else Places({}, [], {})
    files = _wanted_files(server, params)
    stale = {path: text for path, text in files.items() if not _same(path, text, known)}
    auto = in_auto(server, params["settings"]) if params["reset_auto"] else {}
    read = [*files, *([server.data_dir / AUTO] if params["reset_auto"] else [])]
    unread = not stale and not auto and server_runs and _unread(server, read)
    outcome = Outcome(bool(stale or unread or (auto and server_runs)), _facts())
    outcome.diffs = [difference(path, text, known) for path, text in stale.items()]
    if auto and server_runs:
        outcome.diffs.append(reset_shown(server, auto))
    elif auto:
        outcome.warnings.append(f"{AUTO} sets {', '.join(auto)}: only a running server resets that; run again")
    if stale:
        _validate(server, files, check_mode)
    if check_mode:
        foresee(known, params["settings"], stale, outcome)
    elif outcome.changed:
        with host_lock(str(server.data_dir), "config"):
            old = {path: _kept(path) for path in stale}
            for path, text in stale.items():
                path.parent.mkdir(exist_ok=True)
                write_atomic(path, text, 0o644 if path.name == "postgresql.conf" else 0o640)
            _apply(server, old, auto)
    if server_runs:
        # What was written meanwhile is where settings come from now.
        report(server, params, outcome, {} if check_mode else auto)
    return outcome


def _facts() -> dict[str, Any]:
    return {"restart_required": [], "pending": [], "overridden": [], "shadowed": [], "elsewhere": [], "reset": []}


def _look(server: Server) -> Places:
    with server.connect() as connection:
        return look(connection, server)


def _preflight(server: Server, params: Params, check_mode: bool) -> None:
    preflight = Preflight()
    preflight.require(bool(_FILE.match(params["file"])), f"file {params['file']!r}: only a-z, 0-9, _ and - are allowed")
    settings_fit(params["settings"], preflight)
    for index, rule in enumerate(params["hba"] or []):
        rule_fits(f"hba rule {index + 1}", rule, preflight)
    if not check_mode:
        preflight.require(
            (server.config_dir / "postgresql.conf").exists(),
            f"{server.config_dir} holds no postgresql.conf",
            "initialise the instance first, or set config_dir",
        )
    preflight.done()


def rule_fits(which: str, rule: Mapping[str, Any], preflight: Preflight) -> None:
    """Note what can't stand in pg_hba.conf."""
    for field in ("database", "user", "method"):
        preflight.require(bool(_TOKEN.match(rule[field])), f"{which}: {field} {rule[field]!r} is not one word")
    kind, address, method = rule["type"], rule["address"] or "", rule["method"]
    preflight.require((kind == "local") != bool(address), f"{which}: local rules, and only they, have no address")
    if address:
        preflight.require(
            _is_address(address), f"{which}: {address!r} is no address", "write 10.0.0.0/8, a host name, samenet or all"
        )
    fits = {"peer": kind == "local", "gss": kind != "local", "cert": kind == "hostssl"}.get(method, True)
    preflight.require(fits, f"{which}: the method {method} does not go with {kind}", "choose another")


def _is_address(text: str) -> bool:
    """Whether pg_hba.conf takes it: a network with its length, a host's or a domain's name, or a word for all."""
    if "/" in text:
        try:
            ipaddress.ip_network(text, strict=False)
        except ValueError:
            return False
        return True
    # An address without a length would be read as a name, and match nothing.
    return bool(_HOST.match(text)) and not re.fullmatch(r"[\d.]+", text)


def _wanted_files(server: Server, params: Params) -> dict[Path, str]:
    base = server.config_dir / "postgresql.conf"
    text = read_text(base)
    if not INCLUDE.search(text):
        text = text.rstrip("\n") + "\n\ninclude_dir = 'conf.d'\n"
    ours = server.config_dir / "conf.d" / f"{params['file']}.conf"
    wanted = {ours: conf.render(params["settings"], _HEADING), base: text}
    if params["hba"] is not None:
        wanted[server.config_dir / "pg_hba.conf"] = hba_text(params["hba"])
    return wanted


def hba_text(rules: list[Mapping[str, Any]]) -> str:
    """The whole of pg_hba.conf."""
    return "\n".join([f"# {_HEADING}", *hba_lines(rules), ""])


def hba_lines(rules: list[Mapping[str, Any]]) -> list[str]:
    """The rules, one a line."""
    fields = (
        [rule["type"], rule["database"], rule["user"], rule["address"] or "", rule["method"]] for rule in rules
    )
    return ["  ".join(field for field in line if field) for line in fields]


def _same(path: Path, text: str, known: Places) -> bool:
    current = read_text(path)
    if path.parent.name == "conf.d" and current:
        return conf.same(conf.parse(current), conf.parse(text), known.kinds)
    return current == text


def _validate(server: Server, files: Mapping[Path, str], check_mode: bool) -> None:
    """Have the server's own program read the candidate, before the real files are touched."""
    if not server.exists():
        return
    if check_mode:
        candidate = Path(tempfile.mkdtemp(prefix="boringdb-candidate-"))
    else:
        candidate = server.config_dir / ".boringdb-candidate"
        shutil.rmtree(candidate, ignore_errors=True)
    try:
        candidate.mkdir(mode=0o700, exist_ok=True)
        _mirror(server.config_dir, candidate, files)
        refusal = server.refusal_of(candidate / "postgresql.conf", server.data_dir)
    finally:
        shutil.rmtree(candidate, ignore_errors=True)
    if refusal:
        words = refusal.replace(str(candidate), str(server.config_dir))
        raise OpsError(f"the server refuses these settings, nothing was changed: {words}")


def _mirror(real: Path, candidate: Path, files: Mapping[Path, str]) -> None:
    """The configuration's directory as it would be: what postgresql.conf includes by a relative name is there, too."""
    for entry in real.iterdir():
        if entry.name not in (candidate.name, "conf.d") and entry not in files:
            (candidate / entry.name).symlink_to(entry)
    (candidate / "conf.d").mkdir()
    for entry in (real / "conf.d").glob("*"):
        if entry not in files:
            (candidate / "conf.d" / entry.name).symlink_to(entry)
    for path, text in files.items():
        (candidate / path.relative_to(real)).write_text(text, encoding="utf-8")


def _unread(server: Server, files: Iterable[Path]) -> bool:
    """Whether a running server has not read these files since they were written: a run was killed before its reload."""
    with server.connect() as connection:
        loaded = connection.execute("SELECT extract(epoch FROM pg_conf_load_time())::float").fetchone()[0]
    return any(loaded < path.stat().st_mtime < time.time() for path in files)


def _kept(path: Path) -> tuple[str, int] | None:
    """What a file holds and its mode, None where there is none."""
    return (read_text(path), path.stat().st_mode & 0o777) if path.exists() else None


def _apply(server: Server, old: Mapping[Path, tuple[str, int] | None], auto: Mapping[str, str]) -> None:
    """Reload a running server; put the old files back where it rejects the new authentication rules."""
    if not server.running():
        return
    rejected = _reloaded_errors(server, auto)
    if rejected:
        for path, was in old.items():
            if was is None:
                path.unlink()
            else:
                write_atomic(path, *was)
        if old:
            _reloaded_errors(server, {})
        back = ", the old ones are back" if old else ""
        raise OpsError(f"the server refuses these pg_hba rules{back}: {rejected}")


def _reloaded_errors(server: Server, auto: Mapping[str, str]) -> str:
    with server.connect() as connection:
        # Before anything is reset, because a reset can't be taken back.
        query = "SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL"
        rows = connection.execute(query).fetchall()
        if rows:
            return "; ".join(f"line {number}: {error}" for number, error in rows)
        for name in auto:
            # A name that passed the preflight holds no quote; every part of it is an identifier of its own.
            connection.execute("ALTER SYSTEM RESET " + ".".join(f'"{part}"' for part in name.split(".")))
        loaded = connection.execute("SELECT pg_conf_load_time()").fetchone()[0]
        connection.execute("SELECT pg_reload_conf()")
        later = "SELECT pg_conf_load_time() > %s"
        await_condition(lambda: bool(connection.execute(later, (loaded,)).fetchone()[0]), 10)
    return ""
