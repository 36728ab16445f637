# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a fleet keeps on the controller: a folder for each run, with a log and a result for each cluster.

    DIRECTORY/<operation>-<what was asked, as a digest>/.run.json, scorecard.md, scorecard.json
    and there of each cluster              <cluster>.log, <cluster>.said.json, <cluster>.result.json
    DIRECTORY/locks/<cluster>.lock        held by the run that works on the cluster, whoever started it

A run of a cluster outlives the fleet that started it: it holds the cluster's lock itself and says itself how it ended.
So a fleet that was killed is gone on with by what lies here.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core import say
from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._core.files import read_text, write_atomic

RUN = ".run.json"
#: What a cluster's run says of itself; the callback plugin of this name writes it there.
SAID_VARIABLE = "BORINGDB_FLEET_SAID"


@dataclass(frozen=True)
class Result:
    """How a cluster fared: ``ok``, ``failed``, or ``left`` where it was not begun."""

    cluster: str
    outcome: str
    message: str = ""
    seconds: float = 0.0
    changed: int = 0
    log: str = ""
    finished: float = 0.0  # seconds since 1970; 0 where nothing ran
    earlier: bool = False  # done by a run that this one goes on with
    artifacts: dict[str, Any] = field(default_factory=dict)


class Journal:
    """The folder of one run."""

    def __init__(self, directory: Path, name: str) -> None:
        self.folder = directory / name
        self._locks = directory / "locks"
        self._own = -1

    def open(self, wait_seconds: float = 0) -> None:
        """Make the folder and hold it. Raises OpsError while another fleet of the same name runs."""
        try:
            for place in (self.folder, self._locks):
                place.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._own = _lock(self.folder / ".lock")
        except OSError as error:
            raise OpsError(
                f"{error.filename}: {error.strerror}: give a folder that this account may write with fleet_directory"
            ) from error
        deadline = time.monotonic() + wait_seconds
        while self._own < 0:
            if time.monotonic() >= deadline:
                raise OpsError("refused: this fleet is under way (wait for its end, then the same command goes on)")
            time.sleep(0.1)
            self._own = _lock(self.folder / ".lock")

    def close(self) -> None:
        """Let go of the folder."""
        if self._own >= 0:
            os.close(self._own)
            self._own = -1

    def begin(self, about: Mapping[str, Any], fresh: bool) -> bool:
        """Go on with what lies here, or begin anew; returns whether it goes on.

        A run that ended with every cluster well is over, and so is one that is older than `about` allows.
        """
        before = self.about()
        young = time.time() - float(before.get("began", 0)) < float(about["resume_seconds"])
        if before and not before.get("complete") and young and not fresh:
            return True
        for path in [*self.folder.glob("*.json"), *self.folder.glob("*.log"), *self.folder.glob("*.md")]:
            if not self._at_work(path.name):
                path.unlink()
        self._write(RUN, {**about, "began": time.time(), "complete": False})
        return False

    def _at_work(self, name: str) -> bool:
        """Whether a file is of a cluster that a run works on, whose log and last words are still to come."""
        place = self._locks / f"{re.sub(r'[.](said[.]json|result[.]json|log)$', '', name)}.lock"
        held = _lock(place) if place.exists() else 0
        if held > 0:
            os.close(held)
        return held < 0

    def about(self) -> dict[str, Any]:
        """What was kept of the run as a whole; empty where there is none."""
        return self._read(RUN)

    def end(self, complete: bool) -> None:
        """Note whether anything is left to go on with."""
        self._write(RUN, {**self.about(), "complete": complete})

    def lock(self, cluster: str) -> int:
        """The cluster's lock as an open file, or -1 while a run works on it."""
        return _lock(self._locks / f"{cluster}.lock")

    def log(self, cluster: str) -> Path:
        """Where the cluster's output goes."""
        return self.folder / f"{cluster}.log"

    def said(self, cluster: str) -> Path:
        """Where the cluster's run says how it ended."""
        return self.folder / f"{cluster}.said.json"

    def forget(self, cluster: str) -> None:
        """Before a cluster is begun again, what its last run said goes."""
        for path in (self.said(cluster), self.folder / f"{cluster}.result.json"):
            path.unlink(missing_ok=True)

    def keep(self, result: Result) -> None:
        """Note how a cluster fared."""
        self._write(f"{result.cluster}.result.json", asdict(result))

    def done(self, cluster: str) -> Result | None:
        """How an earlier run of this fleet ended well here; None where it did not."""
        kept = self._read(f"{cluster}.result.json")
        if not kept and self._read(self.said(cluster).name).get("ok"):
            kept = asdict(self.heard(cluster, None, 0.0))
        if kept.get("outcome") != "ok":
            return None
        with contextlib.suppress(TypeError):
            return Result(**{**kept, "earlier": True})
        return None

    def heard(self, cluster: str, code: int | None, seconds: float) -> Result:
        """How a run ended, by what it said and its exit code; None where another fleet had started it."""
        said = self._read(self.said(cluster).name)
        well = bool(said.get("ok")) and code in (0, None)
        artifacts = said.get("artifacts") or {}
        message = outcome_words(artifacts) if well else str(said.get("message") or "")
        if not well and not message:
            message = last_words(self.log(cluster)) or "it said nothing"
        if not well and not said:
            how = "" if code is None else f" (killed by signal {-code})" if code < 0 else f" (exit code {code})"
            message = f"it ended before its end{how}: {message}"
        return Result(
            cluster, "ok" if well else "failed", message, seconds or float(said.get("seconds") or 0),
            int(said.get("changed") or 0), str(self.log(cluster)), time.time(), False, artifacts,
        )

    def write(self, name: str, content: str) -> Path:
        """A file beside the results; returns its path."""
        path = self.folder / name
        write_atomic(path, content)
        return path

    def _write(self, name: str, content: Mapping[str, Any]) -> None:
        self.write(name, json.dumps(content, indent=2, sort_keys=True) + "\n")

    def _read(self, name: str) -> dict[str, Any]:
        try:
            found = json.loads(read_text(self.folder / name) or "{}")
        except ValueError:
            return {}
        return found if isinstance(found, dict) else {}


def outcome_words(artifacts: Mapping[str, Any]) -> str:
    """What an operation handed out of itself, in a few words."""
    proven, taken = artifacts.get("evidence_outcome"), artifacts.get("backup_outcome")
    words = []
    if isinstance(proven, dict):
        words.append(str(proven.get("verdict") or ""))
        words += [f"{name[:3]} {say.span(proven[name])}" for name in ("rto_seconds", "rpo_seconds") if proven.get(name)]
    if isinstance(taken, dict):
        words += [f"{one.get('label')} {say.size(one.get('bytes'))}" for one in taken.get("backups") or []]
    return " ".join(word for word in words if word)


def last_words(log: Path, most: int = 300) -> str:
    """What a log says last of an error, else its last line; in one line."""
    try:
        with log.open("rb") as stream:
            stream.seek(max(0, log.stat().st_size - 20000))
            lines = [line.strip() for line in stream.read().decode(errors="replace").splitlines() if line.strip()]
    except OSError:
        return ""
    errors = [line for line in lines if line.startswith(("[ERROR]", "ERROR!", "fatal:"))]
    return " ".join((errors or lines or [""])[-1].split())[:most]


def _lock(path: Path) -> int:
    """The file, locked, or -1 where somebody else holds it."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return -1
    return handle
