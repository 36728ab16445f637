"""The demo: provision, write, back up, drill to a random moment, switch over, kill and fail over, sign, report, check.

One line at the end.

usage: demo.py up|down      Its own folder is BORINGDB_HOME, by default /var/tmp/boringdb-demo-UID.
"""

from __future__ import annotations

import base64
import fcntl
import json
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, TextIO

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO))

from tests.ports import free_ports  # noqa: E402 - this file also runs as a script

HOME = Path(os.environ.get("BORINGDB_HOME") or f"/var/tmp/boringdb-demo-{os.getuid()}")
EVIDENCE = HOME.with_name(HOME.name + ".evidence")
SECRETS = HOME.with_name(HOME.name + ".secrets")
LOG = HOME.with_name(HOME.name + ".log")
LOCK = HOME.with_name(HOME.name + ".lock")
PLAY = re.compile(r"^PLAY \[(.*)\] \*")
FAILED = re.compile(r"^(fatal: .*|\[ERROR\].*)$")


def stop_servers() -> None:
    """Stop whatever still runs below our folder, the demo's own processes only."""
    for pid_file in [*HOME.glob("*/data/postmaster.pid"), *HOME.glob("drill/*/data/postmaster.pid")]:
        pid = int(pid_file.read_text().split()[0])
        try:
            os.kill(pid, 3)
        except ProcessLookupError:
            continue
        while Path(f"/proc/{pid}").exists():
            time.sleep(0.05)


def clear() -> None:
    """Remove everything the demo made."""
    probe = next(iter(HOME.glob("probe/*.pid")), None)
    if probe and probe.read_text().split():
        words = re.findall(r"\d+", probe.read_text())
        if words and Path(f"/proc/{words[0]}").exists():
            os.kill(int(words[0]), 15)
    stop_servers()
    for place in (HOME, EVIDENCE, SECRETS):
        shutil.rmtree(place, ignore_errors=True)
    LOG.unlink(missing_ok=True)


def alone() -> TextIO:
    """Hold the demo's folder until this process ends, which ends at once where another one holds it."""
    lock = LOCK.open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        sys.exit(f"demo: another one runs in {HOME}; wait for its end, or name another folder with BORINGDB_HOME")
    return lock


def down() -> int:
    """Remove everything the demo made and say so; returns the exit code."""
    clear()
    LOCK.unlink(missing_ok=True)
    print("demo: nothing is left")
    return 0


def run_playbook() -> int:
    """Run the demo's playbook, print its phases with their seconds, keep everything in the log."""
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), "-i", str(REPO / "inventories/local")]
    argv += [str(REPO / "tests/demo/demo.yml"), "-e", f"@{REPO / 'tests/demo/vars.yml'}"]
    env = {
        **os.environ,
        "BORINGDB_HOME": str(HOME),
        "ANSIBLE_CONFIG": str(REPO / "ansible.cfg"),
        "ANSIBLE_NOCOLOR": "1",
    }
    env.setdefault("BORINGDB_PORT", str(free_ports()))
    begun = time.monotonic()
    phase, phase_begun = "", begun
    LOG.parent.mkdir(parents=True, exist_ok=True)
    with LOG.open("w") as log, subprocess.Popen(argv, env=env, cwd=REPO, text=True, stdout=-1, stderr=-2) as running:
        for line in running.stdout or ():
            log.write(line)
            play = PLAY.match(line)
            if play:
                if phase:
                    print(f"  {phase:<48} {time.monotonic() - phase_begun:5.1f} s", flush=True)
                phase, phase_begun = play.group(1), time.monotonic()
            elif FAILED.match(line):
                print(f"  {line.strip()}", flush=True)
    print(f"  {phase:<48} {time.monotonic() - phase_begun:5.1f} s   all {time.monotonic() - begun:.1f} s", flush=True)
    return running.returncode


def last_record(operation: str) -> dict[str, Any]:
    """The predicate of the newest record of an operation in the ledger."""
    paths = sorted((EVIDENCE / "ledger" / "orders").glob("*.dsse.json"))
    found = [json.loads(base64.b64decode(json.loads(path.read_text())["payload"]))["predicate"] for path in paths]
    last: dict[str, Any] = [one for one in found if one["operation"] == operation][-1]
    return last


def longest_gap() -> float:
    """How long no client of the write probe got an answer, in seconds: the kill, the longest gap of all."""
    probe = REPO / "plugins/module_utils/_postgresql/probe.py"
    argv = [sys.executable, str(probe), "summary", "--directory", str(HOME / "probe")]
    told = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    return float(json.loads(told)["largest_gap_ms"]) / 1000


def up() -> int:
    """Run the demo from nothing; returns the exit code."""
    _held = alone()
    clear()
    print("demo: a primary, a replica and a drill host, as plain processes", flush=True)
    code = run_playbook()
    if code:
        print(f"demo: failed, see {LOG}", file=sys.stderr)
        return code
    record, moved, failed = (last_record(word) for word in ("restore_drill", "switchover", "failover"))
    measured = record["measurements"]
    report = EVIDENCE / "report.html"
    print(
        f"demo: {record['verdict']} rto={measured['rto_seconds']}s rpo={measured['rpo_seconds']}s "
        f"rows={measured['rows_checked']} lost={measured['lost_rows']} "
        f"switchover_stall={round(moved['measurements']['stall_ms'])}ms failover={longest_gap():.1f}s report={report}"
    )
    verified = record["verdict"] == moved["verdict"] == failed["verdict"] == "verified"
    proven = verified and measured["lost_rows"] == 0 and measured["probe_rows"] > 0
    return 0 if proven and report.exists() else 1


if __name__ == "__main__":
    sys.exit(down() if sys.argv[1:] == ["down"] else up())
