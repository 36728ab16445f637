# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The boot guard: before a server starts as a primary, the other members are asked whether another one took its place.

It stands alone: the module `boot_guard` puts it on the host, where it needs Python and the server's own programs, and
nothing of the collection. systemd runs it before the server. It changes nothing; it ends with 0, with REFUSED, or with
another number where it fails itself.

- A server with a standby.signal starts as a replica, and one with a recovery.signal is being restored: nobody is asked.
- A member on a newer timeline, or one that takes writes on the same, ends it at once.
- Everybody is asked again until all have answered, or the time is over. Then one answer is enough to start. Where there
  is none, the rule decides: open starts, closed does not.
- A person, or a playbook that knows better, lets it pass once by a file, for ten minutes.

    boot_guard.py CONFIG            the verdict, one line on standard error
    boot_guard.py CONFIG --look     what every member answers, as JSON; nothing is judged
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any, NamedTuple

REFUSED = 3
SIGNALS = ("standby.signal", "recovery.signal")
_ONCE_SECONDS = 600
_CONNECT_SECONDS = 3
_ANSWER_SECONDS = 8
_PLACES = ("/usr/lib/postgresql/{}/bin", "/usr/pgsql-{}/bin")
_TIMELINES = ("Latest checkpoint's TimeLineID", "Min recovery ending loc's timeline")


class Unknown(Exception):
    """What could not be found out, in one line."""


class Answer(NamedTuple):
    """What a member said, or why it said nothing."""

    timeline: int = 0
    writes: bool = False
    problem: str = ""


class Guard:
    """What the configuration says, and what is asked."""

    def __init__(self, config_file: Path) -> None:
        given = json.loads(config_file.read_text(encoding="utf-8"))
        self.data_dir, self.bin_dir = Path(given["data_dir"]), str(given["bin_dir"] or "")
        self.peers: dict[str, tuple[str, int]] = {
            str(name): (str(place["host"]), int(place["port"])) for name, place in given["peers"].items()
        }
        self.account, self.passfile = str(given["user"]), str(given["passfile"])
        self.closed, self.seconds = given["rule"] == "closed", float(given["wait_seconds"])
        self.once_file, self.said_file = Path(given["once_file"]), Path(given["said_file"])
        self.system, self.timeline = "", 0

    # --- this server ------------------------------------------------------------------------------------------------

    def program(self, name: str) -> str:
        """A program of the server's version."""
        major = (self.data_dir / "PG_VERSION").read_text().strip()
        for place in [self.bin_dir] if self.bin_dir else [one.format(major) for one in _PLACES]:
            if Path(place, name).exists():
                return str(Path(place, name))
        found = shutil.which(name)
        if not found:
            raise Unknown(f"there is no {name} of version {major}")
        return found

    def run(self, argv: list[str], seconds: float) -> subprocess.CompletedProcess[str]:
        """A program, as the account that owns the data: peer authentication and the passfile want that one."""
        owner = self.data_dir.stat()
        who: dict[str, Any] = {}
        if Path("/proc/self").stat().st_uid == 0 and owner.st_uid != 0:
            who = {"user": owner.st_uid, "group": owner.st_gid, "extra_groups": []}
        # Nothing of the environment counts, least of all another server's name.
        env = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C"}
        try:
            return subprocess.run(argv, capture_output=True, text=True, timeout=seconds, check=False, cwd="/", env=env,
                                  stdin=subprocess.DEVNULL, errors="replace", **who)  # fmt: skip
        except subprocess.TimeoutExpired as exc:
            raise Unknown(f"{Path(argv[0]).name} did not end within {seconds:g} s") from exc

    def read_own(self) -> None:
        """The timeline of this server, by its files: one promoted a moment ago may be ahead of its checkpoint."""
        done = self.run([self.program("pg_controldata"), "-D", str(self.data_dir)], _ANSWER_SECONDS)
        pairs = (line.split(":", 1) for line in done.stdout.splitlines() if ":" in line)
        control = {key.strip(): value.strip() for key, value in pairs}
        if done.returncode or _TIMELINES[0] not in control:
            raise Unknown(f"pg_controldata can't read {self.data_dir}: {' '.join(done.stderr.split())}")
        self.system = control["Database system identifier"]
        self.timeline = max(int(control[name]) for name in _TIMELINES if name in control)

    # --- the others -------------------------------------------------------------------------------------------------

    def ask(self, host: str, port: int) -> Answer:
        """One member, over the replication protocol: its cluster, its timeline, and whether it takes writes."""
        words = {"host": host, "port": str(port), "user": self.account, "dbname": "replication", "replication": "1",
                 "passfile": self.passfile, "connect_timeout": str(_CONNECT_SECONDS),
                 "application_name": "boot_guard"}  # fmt: skip
        where = " ".join(f"{name}='{_quoted(value)}'" for name, value in words.items())
        argv = [self.program("psql"), "-wXAtq", "-d", where]
        argv += ["-c", "IDENTIFY_SYSTEM", "-c", "SHOW transaction_read_only"]
        try:
            done = self.run(argv, _ANSWER_SECONDS)
        except (OSError, Unknown) as exc:
            return Answer(problem=str(exc))
        lines = done.stdout.splitlines()
        columns = lines[0].split("|") if lines else []
        if len(columns) < 2 or not columns[1].isdigit():
            return Answer(problem=_why(done.stderr))
        if self.system and columns[0] != self.system:
            return Answer(problem=f"it is of another cluster (system identifier {columns[0]})")
        return Answer(int(columns[1]), lines[1:2] == ["off"])

    def ask_all(self, names: list[str]) -> dict[str, Answer]:
        """Several at once."""
        found: dict[str, Answer] = {}

        def one(name: str) -> None:
            try:
                found[name] = self.ask(*self.peers[name])
            except (OSError, Unknown) as exc:
                found[name] = Answer(problem=str(exc))

        asking = [threading.Thread(target=one, args=(name,), daemon=True) for name in names]
        for thread in asking:
            thread.start()
        for thread in asking:
            thread.join()
        return {name: found.get(name, Answer(problem="it was not asked")) for name in names}

    def against(self, name: str, answer: Answer) -> str:
        """What a member's answer has against a primary here; empty for nothing."""
        place = "{} ({}:{})".format(name, *self.peers[name])
        if answer.timeline > self.timeline:
            return f"{place} is on timeline {answer.timeline}, and this server was left behind on {self.timeline}"
        if answer.timeline == self.timeline and answer.writes:
            return f"{place} takes writes on timeline {answer.timeline}, which is this server's, too"
        return ""

    def note(self, words: str) -> None:
        """Keep why not, for whoever has asked to start it. The verdict does not hang on that."""
        with contextlib.suppress(OSError):
            if words:
                self.said_file.write_text(words + "\n", encoding="utf-8")
            else:
                self.said_file.unlink()

    # --- the verdict ------------------------------------------------------------------------------------------------

    def passed_once(self) -> bool:
        """Whether somebody lets it pass. The file goes, whatever its age."""
        try:
            age = time.time() - self.once_file.stat().st_mtime
            self.once_file.unlink()
        except FileNotFoundError:
            return False
        return age < _ONCE_SECONDS

    def verdict(self) -> tuple[bool, str]:
        """Whether the server may start, and the line that says why."""
        found = [name for name in SIGNALS if (self.data_dir / name).exists()]
        if found or not (self.data_dir / "PG_VERSION").exists():
            return True, f"nobody is asked: {found[0]} is there" if found else f"{self.data_dir} holds no data"
        if self.passed_once():
            return True, f"nobody is asked: {self.once_file} was there"
        if not self.peers:
            return True, "nobody is asked: it has no peers"
        try:
            self.read_own()
            return self._decided()
        except (OSError, ValueError, Unknown) as exc:
            return self._by_rule(f"the other members could not be asked: {exc}")

    def _decided(self) -> tuple[bool, str]:
        deadline = time.monotonic() + self.seconds
        answers: dict[str, Answer] = {}
        while True:
            silent = [name for name in self.peers if not answers.get(name, Answer()).timeline]
            answers.update(self.ask_all(silent))
            against = [words for name in self.peers if (words := self.against(name, answers[name]))]
            if against:
                return False, (
                    f"NOT started as a primary: {'; '.join(against)}. Bring this one back as a replica (playbook "
                    f"rejoin). {self._to_pass()}"
                )
            silent = [name for name in self.peers if not answers[name].timeline]
            if not silent or time.monotonic() >= deadline:
                break
            time.sleep(0.5)
        told = [f"{name}: {answers[name].problem}" for name in silent]
        answered = [name for name in self.peers if name not in silent]
        if not answered:
            return self._by_rule(f"no other member answered within {self.seconds:g} s ({'; '.join(told)})")
        # An old primary that takes writes still is somebody's to stop, and no reason to stay away.
        late = [f"{name} takes writes on the older timeline {answers[name].timeline}: stop it" for name in answered
                if answers[name].writes]  # fmt: skip
        more = [*late, *(["no answer from " + "; ".join(told)] if told else [])]
        words = f"started as a primary: {', '.join(answered)} know of no newer timeline than {self.timeline}"
        return True, "; ".join([words, *more])

    def _by_rule(self, why: str) -> tuple[bool, str]:
        if self.closed:
            words = f"NOT started as a primary: {why}, and the rule is closed. Start one of them"
            return False, f"{words}. {self._to_pass()}"
        return True, f"started as a primary, unconfirmed: {why}, and the rule is open"

    def _to_pass(self) -> str:
        return f"Where no other one takes writes and this one is right: touch {self.once_file}, and start it again"


def _quoted(value: str) -> str:
    return value.replace("\\", "\\\\").replace("'", "\\'")


def _why(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.strip()]
    return lines[0].rpartition("failed: ")[2] if lines else "it said nothing"


def main(argv: list[str]) -> int:
    """Look, or judge and end with 0 or REFUSED."""
    try:
        guard = Guard(Path(argv[0]))
        if "--look" in argv:
            guard.read_own()
            answers = guard.ask_all(list(guard.peers))
            sys.stdout.write(json.dumps({name: answer._asdict() for name, answer in answers.items()}) + "\n")
            return 0
        may, words = guard.verdict()
        guard.note("" if may else words)
    except Exception as exc:  # whatever it is: it says so, and leaves the rest to the rule
        sys.stderr.write(f"boot guard: it failed itself: {type(exc).__name__}: {exc}\n")
        # Which rule there is knows the unit, too, and goes by it where this ends with anything else.
        return 1
    sys.stderr.write(f"boot guard: {words}\n")
    return 0 if may else REFUSED


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
