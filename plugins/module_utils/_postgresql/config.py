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
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.lock import host_lock
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql import settings as conf
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.options import settings_fit
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

_HEADING = "Managed by boringdb.ops: the next run overwrites what is changed here."
_INCLUDE = re.compile(r"^\s*include_dir\s*=?\s*'conf\.d'", re.MULTILINE)
_FILE = re.compile(r"^[a-z0-9_-]+\Z")
_TOKEN = re.compile(r"^[^\s#]+\Z")
_HOST = re.compile(r"^\.?[A-Za-z0-9_]([A-Za-z0-9._-]*[A-Za-z0-9_])?\Z")


def config(params: Params, check_mode: bool) -> Outcome:
    """Declare settings and pg_hba rules; reload where that is enough, and tell what awaits a restart."""
    server = Server.of(params)
    _preflight(server, params, check_mode)
    base = server.config_dir / "postgresql.conf"
    files = _wanted_files(server, params)
    stale = {path: text for path, text in files.items() if not _same(path, text)}
    before = "".join(_shown(path, read_text(path)) for path in stale)
    after = "".join(_shown(path, text) for path, text in stale.items())
    unread = not stale and _unread(server, files)
    outcome = Outcome(bool(stale) or unread, {"restart_required": [], "overridden": []}, before, after)
    if stale and not check_mode:
        with host_lock(str(server.data_dir), "config"):
            _validate(server, files)
            old = {path: _kept(path) for path in stale}
            for path, text in stale.items():
                path.parent.mkdir(exist_ok=True)
                write_atomic(path, text, 0o644 if path == base else 0o640)
            _apply(server, old)
    elif unread and not check_mode:
        with host_lock(str(server.data_dir), "config"):
            _apply(server, {})
    if server.exists() and server.running():
        _report(server, params["settings"], f"conf.d/{params['file']}.conf", outcome)
    return outcome


def _preflight(server: Server, params: Params, check_mode: bool) -> None:
    preflight = Preflight()
    preflight.require(bool(_FILE.match(params["file"])), f"file {params['file']!r}: only a-z, 0-9, _ and - are allowed")
    settings_fit(params["settings"], preflight)
    for index, rule in enumerate(params["hba"] or []):
        _rule_fits(f"hba rule {index + 1}", rule, preflight)
    if not check_mode:
        preflight.require(
            (server.config_dir / "postgresql.conf").exists(),
            f"{server.config_dir} holds no postgresql.conf",
            "initialise the instance first, or set config_dir",
        )
    preflight.done()


def _rule_fits(which: str, rule: Mapping[str, Any], preflight: Preflight) -> None:
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
    if not _INCLUDE.search(text):
        text = text.rstrip("\n") + "\n\ninclude_dir = 'conf.d'\n"
    ours = server.config_dir / "conf.d" / f"{params['file']}.conf"
    wanted = {ours: conf.render(params["settings"], _HEADING), base: text}
    if params["hba"] is not None:
        wanted[server.config_dir / "pg_hba.conf"] = _render_hba(params["hba"])
    return wanted


def _render_hba(rules: list[Mapping[str, Any]]) -> str:
    lines = [f"# {_HEADING}"]
    for rule in rules:
        fields = [rule["type"], rule["database"], rule["user"], rule["address"] or "", rule["method"]]
        lines.append("  ".join(field for field in fields if field))
    return "\n".join([*lines, ""])


def _same(path: Path, text: str) -> bool:
    current = read_text(path)
    if path.parent.name == "conf.d" and current:
        return conf.same(conf.parse(current), conf.parse(text))
    return current == text


def _shown(path: Path, text: str) -> str:
    return f"# {path}\n{text}" if text else ""


def _validate(server: Server, files: Mapping[Path, str]) -> None:
    """Have the server's own program read the candidate, before the real files are touched."""
    if not server.exists():
        return
    candidate = server.config_dir / ".boringdb-candidate"
    shutil.rmtree(candidate, ignore_errors=True)
    try:
        candidate.mkdir(mode=0o700)
        real = server.config_dir / "conf.d"
        if real.is_dir():
            shutil.copytree(real, candidate / "conf.d")
        for path, text in files.items():
            place = candidate / path.relative_to(server.config_dir)
            place.parent.mkdir(exist_ok=True)
            place.write_text(text)
        refusal = server.refusal_of(candidate / "postgresql.conf", server.data_dir)
    finally:
        shutil.rmtree(candidate, ignore_errors=True)
    if refusal:
        words = refusal.replace(str(candidate), str(server.config_dir))
        raise OpsError(f"the server refuses these settings, nothing was changed: {words}")


def _unread(server: Server, files: Mapping[Path, str]) -> bool:
    """Whether a running server has not read these files since they were written: a run was killed before its reload."""
    if not (server.exists() and server.running()):
        return False
    with server.connect() as connection:
        loaded = connection.execute("SELECT extract(epoch FROM pg_conf_load_time())::float").fetchone()[0]
    return any(loaded < path.stat().st_mtime < time.time() for path in files)


def _kept(path: Path) -> tuple[str, int] | None:
    """What a file holds and its mode, None where there is none."""
    return (read_text(path), path.stat().st_mode & 0o777) if path.exists() else None


def _apply(server: Server, old: Mapping[Path, tuple[str, int] | None]) -> None:
    """Reload a running server; put the old files back where it rejects the new authentication rules."""
    if not server.running():
        return
    rejected = _reloaded_errors(server)
    if rejected:
        for path, was in old.items():
            if was is None:
                path.unlink()
            else:
                write_atomic(path, *was)
        if old:
            _reloaded_errors(server)
        back = ", the old ones are back" if old else ""
        raise OpsError(f"the server refuses these pg_hba rules{back}: {rejected}")


def _reloaded_errors(server: Server) -> str:
    with server.connect() as connection:
        loaded = connection.execute("SELECT pg_conf_load_time()").fetchone()[0]
        connection.execute("SELECT pg_reload_conf()")
        query = "SELECT pg_conf_load_time() > %s"
        await_condition(lambda: bool(connection.execute(query, (loaded,)).fetchone()[0]), 10)
        rows = connection.execute("SELECT line_number, error FROM pg_hba_file_rules WHERE error IS NOT NULL").fetchall()
    return "; ".join(f"line {number}: {error}" for number, error in rows)


def _report(server: Server, declared: Mapping[str, Any], ours: str, outcome: Outcome) -> None:
    """Tell what awaits a restart, and what another place (postgresql.auto.conf, the command line) overrides."""
    query = """SELECT name, pending_restart, source, coalesce(sourcefile, '') FROM pg_settings
               WHERE lower(name) = ANY(%s) OR pending_restart ORDER BY lower(name)"""
    # PostgreSQL writes some names in mixed case: TimeZone, DateStyle.
    own = [name.lower() for name in declared]
    with server.connect() as connection:
        rows = connection.execute(query, (own,)).fetchall()
    outcome.facts["restart_required"] = [name for name, pending, _source, _file in rows if pending]
    for name, pending, source, file in rows:
        if name.lower() in own and not pending and not file.endswith(ours):
            outcome.facts["overridden"].append(name)
            outcome.warnings.append(f"{name} is set elsewhere and that wins: {file or source}")
