# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""A time stamp of a third party (RFC 3161) over a head, kept beside the chain. Uses the program openssl."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
import urllib.error
from collections.abc import Mapping
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from ansible.module_utils.urls import open_url
from ansible_collections.boringdb.ops.plugins.module_utils._core import ledger
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError, Preflight
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import sync_directory
from ansible_collections.boringdb.ops.plugins.module_utils._core.witness_kind import FOLDER, Head, Witness

SUFFIX = ".tsr"
NAME = re.compile(r"(\d{8})-([0-9a-f]{64})\.tsr")
SIZE_LIMIT = 1 << 20  # bytes; a reply is a few kilobytes
PROVES = "the chain up to this record existed at that time, in these bytes"


class TimeStamp:
    """Asks an authority for stamps, and checks them against its certificate."""

    def __init__(self, options: Mapping[str, Any], root: Path) -> None:
        preflight = Preflight()
        for name in ("ca_file", "untrusted_file"):
            path = str(options.get(name) or "")
            if path or name == "ca_file":
                preflight.require(Path(path).is_file(), f"{name} of the time stamps is no file: {path}",
                                  "name the certificate of the authority's root, in PEM")
        url = str(options.get("url") or "")
        preflight.require(not url or url.startswith(("http://", "https://")), f"url is {url!r}", "give http(s)://…")
        preflight.done()
        self.options, self.root, self.url = options, root, url

    def leave(self, head: Head, check_mode: bool) -> bool:
        """Have the head stamped, unless it is."""
        if not self.url:
            raise OpsError("url is empty: name the authority's address")
        place = self.root / head.cluster / FOLDER / f"{head.name}{SUFFIX}"
        if place.is_file():
            return False
        if check_mode:
            return True
        with tempfile.TemporaryDirectory() as home:
            query = Path(home, "query")
            _openssl("ts", "-query", "-digest", head.sha256, "-sha256", "-cert", "-out", str(query))
            reply = Path(home, "reply")
            reply.write_bytes(self._asked(query.read_bytes()))
            problem = self._problem(reply, head.sha256)
            if problem:
                raise OpsError(f"the answer of {self.url} is no stamp of this head: {problem}")
            place.parent.mkdir(exist_ok=True)
            _put(place, reply.read_bytes())
        return True

    def found(self) -> list[Witness]:
        """The stamps beside the chains, checked."""
        result = []
        for cluster in ledger.clusters(self.root):
            folder = self.root / cluster / FOLDER
            for path in sorted(folder.glob(f"*{SUFFIX}")) if folder.is_dir() else ():
                named = NAME.fullmatch(path.name)
                where = f"{cluster}/{FOLDER}/{path.name}"
                if not named or path.is_symlink() or path.stat().st_size > SIZE_LIMIT:
                    result.append(Witness("timestamp", cluster, 0, "", "", where, "", "it is no stamp of ours"))
                    continue
                problem = self._problem(path, named[2])
                at = "" if problem else _time(path)
                result.append(Witness("timestamp", cluster, int(named[1]), named[2], at, where, PROVES, problem))
        return result

    def _asked(self, query: bytes) -> bytes:
        kind = {"Content-Type": "application/timestamp-query"}
        try:
            wait = self.options.get("timeout") or 30
            with open_url(self.url, data=query, headers=kind, method="POST", timeout=wait) as answer:
                said: bytes = answer.read(SIZE_LIMIT)
        except (urllib.error.URLError, OSError, ValueError) as exc:
            raise OpsError(f"the time stamp authority at {self.url} can't be asked: {exc}") from exc
        return said

    def _problem(self, reply: Path, sha256: str) -> str:
        """Why a reply is no stamp of the digest, or nothing."""
        at = _time(reply)
        if not at:
            return "it can't be read as a granted time stamp"
        # A stamp outlives the certificate that signed it: what counts is that it held at the time it names.
        moment = datetime.strptime(at, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=timezone.utc)
        argv = ["ts", "-verify", "-digest", sha256, "-in", str(reply), "-CAfile", self.options["ca_file"],
                "-attime", str(int(moment.timestamp()))]
        if self.options.get("untrusted_file"):
            argv += ["-untrusted", self.options["untrusted_file"]]
        done = _run(*argv)
        if done.returncode == 0:
            return ""
        said = [line for line in done.stderr.decode(errors="replace").splitlines() if ":error:" in line]
        return f"openssl does not verify it: {said[-1].split(':')[-3] if said else 'no reason given'}"


def _time(reply: Path) -> str:
    """The time in a reply, RFC 3339; empty where it is none. Says nothing about its signature."""
    done = _run("ts", "-reply", "-in", str(reply), "-text")
    text = done.stdout.decode(errors="replace")
    named = re.search(r"^Time stamp: (.+?)(?:\.\d+)? (\d{4}) GMT$", text, re.MULTILINE)
    if done.returncode or not named:
        return ""
    moment = datetime.strptime(f"{' '.join(named[1].split())} {named[2]}", "%b %d %H:%M:%S %Y")
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _openssl(*arguments: str) -> None:
    done = _run(*arguments)
    if done.returncode:
        raise OpsError(f"openssl {arguments[0]} {arguments[1]} failed: {done.stderr.decode(errors='replace')[-300:]}")


def _run(*arguments: str) -> subprocess.CompletedProcess[bytes]:
    try:
        environment = {**os.environ, "LC_ALL": "C"}
        return subprocess.run(["openssl", *arguments], capture_output=True, check=False, env=environment)
    except FileNotFoundError as exc:
        raise OpsError("the program openssl is not here: install it on the controller") from exc


def _put(place: Path, data: bytes) -> None:
    """The whole file or none."""
    beside = place.with_name(f".{place.name}.tmp")
    with beside.open("wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())
    beside.chmod(ledger.MODE)
    beside.replace(place)
    sync_directory(place.parent)
