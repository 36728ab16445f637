# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""`tls` for PostgreSQL: the server's certificate and key, judged before they are in place, then seen in use."""

from __future__ import annotations

import os
import socket
import ssl
import stat
import struct
import time
from pathlib import Path

from ansible_collections.boringdb.ops.plugins.module_utils._core import certificate as pem
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic
from ansible_collections.boringdb.ops.plugins.module_utils._core.module import Outcome, Params
from ansible_collections.boringdb.ops.plugins.module_utils._postgresql.server import Server, await_condition

_SSL_REQUEST = struct.pack("!ii", 8, 80877103)
_SOON = 30 * 86400
_RELOAD_SECONDS = 10


def tls(params: Params, check_mode: bool) -> Outcome:
    """Have the files in place, or see that the running server serves the certificate that they hold."""
    server = Server.of(params)
    does = _served if params["state"] == "served" else _installed
    return does(server, params, check_mode)


# --- the files --------------------------------------------------------------------------------------------------


def _installed(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Judge everything first. One file holds both key and chain, because one rename must change both."""
    preflight = Preflight()
    brought = params["certificate"] is not None
    if brought:
        chain, key, authorities = params["certificate"], params["key"] or "", params["ca"] or ""
    else:
        chain, key, authorities = (
            _read(params[name], name, preflight) for name in ("certificate_file", "key_file", "ca_file")
        )
        _owner_fits(server, Path(params["key_file"]), preflight)
    if not preflight.reasons:
        for what, remedy in pem.reasons_against(chain, key, authorities):
            preflight.refuse(what, remedy)
    preflight.done()
    now = pem.read(chain)
    outcome = Outcome(False, _facts(now), warnings=_warnings(now))
    if brought:
        wanted = {params["certificate_file"]: [*pem.keys_in(key), *pem.certificates_in(chain)]}
        if authorities:
            wanted[params["ca_file"]] = pem.certificates_in(authorities)
        _put({path: "\n".join([*parts, ""]) for path, parts in wanted.items()}, outcome, check_mode)
    return outcome


def _put(wanted: dict[str, str], outcome: Outcome, check_mode: bool) -> None:
    stale = {Path(path): text for path, text in wanted.items() if read_text(path) != text}
    loose = [Path(path) for path in wanted if Path(path).exists() and Path(path).stat().st_mode & 0o077]
    outcome.changed = bool(stale or loose)
    before = {path: read_text(path) for path in stale}
    outcome.before = "".join(_shown(path, text) for path, text in before.items() if text)
    outcome.after = "".join(_shown(path, text) for path, text in stale.items())
    if check_mode:
        return
    for path in loose:
        path.chmod(0o600)
    for path, text in stale.items():
        path.parent.mkdir(mode=0o700, exist_ok=True)
        write_atomic(path, text, 0o600)


def _shown(path: Path, text: str) -> str:
    told = [f"  {pem.read(one).told()}\n" for one in pem.certificates_in(text)]
    return f"{path}\n{''.join(told)}"


def _read(path: str | None, name: str, preflight: Preflight) -> str:
    if not path:
        return ""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError as exc:
        preflight.refuse(f"{name} {path}: {exc.strerror}", "put it there, readable for the server's account")
        return ""


def _owner_fits(server: Server, key: Path, preflight: Preflight) -> None:
    """PostgreSQL's own rule: the account's own and nobody else's, or root's and open to the group at most."""
    if not key.exists():
        return
    status = key.stat()
    account = server.data_dir.stat().st_uid if server.data_dir.exists() else os.geteuid()
    mode = stat.S_IMODE(status.st_mode)
    preflight.require(
        status.st_uid in {account, 0},
        f"the key {key} belongs to uid {status.st_uid}, not to the server's account (uid {account}) or root",
        "chown it",
    )
    open_to = mode & (0o077 if status.st_uid == account else 0o027)
    preflight.require(
        not open_to,
        f"the key {key} has mode {mode:04o}, open to others",
        "chmod 0600 it, or 0640 where it is root's",
    )


def _facts(now: pem.Certificate) -> dict[str, object]:
    until = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(now.not_after))
    return {"fingerprint": now.fingerprint, "subject": now.subject, "not_after": until}


def _warnings(now: pem.Certificate) -> list[str]:
    left = now.not_after - time.time()
    return [f"the certificate expires in {left / 86400:.1f} days: {now.told()}"] if left < _SOON else []


# --- the server -------------------------------------------------------------------------------------------------


def _served(server: Server, params: Params, check_mode: bool) -> Outcome:
    """Ask the server as a client does; reload it where it serves another certificate than the file holds."""
    if not (server.exists() and server.running()):
        if check_mode:
            return Outcome(False, {"served": False})
        raise OpsError(f"no server runs on {server.data_dir}; start it first")
    text = read_text(params["certificate_file"])
    if check_mode and not text:
        return Outcome(False, {"served": False})
    wanted = pem.read(text)
    seen, version = _handshake(server, params)
    facts = {**_facts(wanted), "served": True, "tls_version": version}
    if seen == wanted.fingerprint:
        return Outcome(False, facts)
    change = Outcome(True, facts, f"served: {seen or 'nothing'}\n", f"served: {wanted.fingerprint}\n")
    if check_mode:
        return change
    with server.connect() as connection:
        connection.execute("SELECT pg_reload_conf()")
    if not await_condition(lambda: _handshake(server, params)[0] == wanted.fingerprint, _RELOAD_SECONDS, every=0.05):
        seen = _handshake(server, params)[0]
        raise OpsError(
            f"the server on port {server.port} does not serve {wanted.told()} after a reload, but "
            f"{seen or 'no certificate at all'}; its log tells why: {server.last_words()}"
        )
    change.facts["tls_version"] = _handshake(server, params)[1]
    return change


def _handshake(server: Server, params: Params) -> tuple[str, str]:
    """The fingerprint of the certificate that a new connection gets, and the protocol; empty where there is no TLS."""
    where = (params["address"], server.port)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    # Who issued it was judged before; here it only matters which one it is.
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with socket.create_connection(where, timeout=10) as plain:
            plain.sendall(_SSL_REQUEST)
            if plain.recv(1) != b"S":
                return "", ""
            with context.wrap_socket(plain) as secured:
                return pem.fingerprint_of(secured.getpeercert(binary_form=True) or b""), secured.version() or ""
    except ssl.SSLError as exc:
        raise OpsError(f"no TLS with {where[0]}:{where[1]}: {exc.reason or exc}") from exc
    except OSError as exc:
        raise OpsError(f"cannot reach {where[0]}:{where[1]}: {exc}; set address to where the server listens") from exc
