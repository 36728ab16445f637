# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab end to end, on this machine: needs root, takes about a minute (more when the base tree is missing).

Marked `lab`. It skips, with the reason, where the machine cannot run a lab or one is already running.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
HOSTS = ("pg1", "pg2", "backup", "drill")
# Connects to argv[1]:22, says so, and then reports how the connection ends within argv[2] seconds.
LISTEN = """\
import socket, sys
s = socket.create_connection((sys.argv[1], 22), timeout=5)
s.recv(100)
print("connected", flush=True)
s.settimeout(float(sys.argv[2]))
try:
    print("closed" if not s.recv(1) else "data")
except TimeoutError:
    print("silence")
except OSError as exc:
    print("reset", exc)
"""

pytestmark = pytest.mark.lab


def lab(*argv: str, timeout: float = 600) -> subprocess.CompletedProcess[str]:
    """Run one verb."""
    command = [sys.executable, "-m", "tests.lab", *argv]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=timeout, check=False)


def done(*argv: str, timeout: float = 600) -> str:
    """Run one verb that must succeed; return its standard output."""
    result = lab(*argv, timeout=timeout)
    assert result.returncode == 0, f"{argv}: {result.stdout}{result.stderr}"
    return result.stdout


def status() -> dict[str, dict[str, Any]]:
    """Return the hosts by name."""
    return {row["name"]: row for row in json.loads(done("status", "--json"))["hosts"]}


def eventually(condition: Callable[[], bool], seconds: float) -> bool:
    """Return whether condition() comes true within seconds."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def reaches(source: str, target: str) -> bool:
    """Return whether host `source` gets an answer from `target`'s SSH port (asked from the inside)."""
    command = f"exec 3<>/dev/tcp/{target}/22 && read -r -t 1 -u 3 line"
    return lab("exec", source, "timeout", "2", "bash", "-c", command).returncode == 0


def leftovers() -> list[str]:
    """Return everything of the lab that is still on this machine, the caches apart."""
    found = [
        f"mount {line}" for line in Path("/proc/self/mountinfo").read_text().splitlines() if "boringdb/lab" in line
    ]
    found += [
        f"interface {path.name}" for path in Path("/sys/class/net").iterdir() if path.name.startswith(("vb-", "bor"))
    ]
    found += [str(path) for path in Path("/sys/fs/cgroup").glob("**/boringdb-lab")]
    found += [str(path) for path in Path("/run/systemd/nspawn/propagate").glob("*") if path.name in HOSTS]
    if "boringdb_lab" in subprocess.run(["nft", "list", "tables"], capture_output=True, text=True, check=True).stdout:
        found.append("nft table")
    if Path(json.loads(done("status", "--json"))["run"]).exists():
        found.append("run directory")
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if "boringdb/lab/" in command and ("systemd-nspawn" in command or "squid" in command):
            found.append(f"process {process.name} {command}")
    return found


@pytest.fixture(scope="module", autouse=True)
def _running() -> Iterator[None]:
    """Bring the four hosts up for this file, and everything down after it."""
    doctor = lab("doctor")
    if doctor.returncode != 0:
        pytest.skip("; ".join(line for line in doctor.stdout.splitlines() if line.startswith("FAIL")))
    if status():
        pytest.skip("a lab is running: take it down first")
    said = done("up", *HOSTS)
    assert said.startswith("changed: ")
    yield
    done("down")
    assert leftovers() == []
    assert done("down") == "unchanged: nothing to remove\n"


@pytest.fixture(autouse=True)
def _whole() -> Iterator[None]:
    """Leave every host up and healed for the next test."""
    yield
    done("up", *HOSTS)


def test_up_again_changes_nothing() -> None:
    assert done("up", *HOSTS) == "unchanged: all hosts are up\n"


def test_every_host_is_a_booted_debian_of_its_own() -> None:
    identities = set()
    for name in HOSTS:
        answer = done("ssh", name, "hostname; systemctl is-system-running; cat /etc/machine-id; ps -p 1 -o comm=")
        said, state, identity, init = answer.splitlines()
        assert (said, state, init) == (name, "running", "systemd")
        identities.add(identity)
    assert len(identities) == len(HOSTS)


def test_hosts_know_each_other_by_name_and_nothing_else() -> None:
    assert done("ssh", "pg1", "getent hosts backup").split() == ["10.213.77.31", "backup"]
    assert reaches("pg1", "backup")
    assert lab("ssh", "pg1", "getent hosts example.org").returncode != 0
    assert "default" not in done("ssh", "pg1", "ip route")


def test_services_of_one_host_are_not_those_of_another() -> None:
    # Without a control group each, stopping a service here would end its namesake there.
    units = {name: done("ssh", name, "systemctl show -p MainPID --value ssh").strip() for name in ("pg1", "pg2")}
    done("ssh", "pg1", "systemctl restart ssh")
    assert done("ssh", "pg2", "systemctl show -p MainPID --value ssh").strip() == units["pg2"]
    assert done("ssh", "pg1", "systemctl show -p MainPID --value ssh").strip() != units["pg1"]


def test_apt_installs_through_the_proxy_and_only_from_the_mirror() -> None:
    done("ssh", "pg1", "apt-get -qq update && apt-get -qq install -y less && less --version")
    script = (
        "import urllib.request, urllib.error\n"
        "opener = urllib.request.build_opener(urllib.request.ProxyHandler({'http': 'http://controller:3128'}))\n"
        "try:\n    print(opener.open('http://pypi.org/', timeout=10).status)\n"
        "except urllib.error.HTTPError as exc:\n    print(exc.code)\n"
    )
    asked = done("ssh", "pg1", f"python3 - <<'EOF'\n{script}EOF")
    assert asked == "403\n"


def test_a_host_that_is_cut_off_reaches_nobody_and_heals() -> None:
    assert done("cut", "pg1").startswith("changed: ")
    assert done("cut", "pg1").startswith("unchanged: ")
    assert status()["pg1"]["cut_from"] == ["*"]
    assert not reaches("pg1", "pg2")
    assert not reaches("pg2", "pg1")
    assert not reaches("pg1", "controller")
    assert lab("ssh", "pg1", "true").returncode == 255
    assert done("exec", "pg1", "hostname") == "pg1\n"
    assert reaches("pg2", "backup")
    assert done("heal", "pg1").startswith("changed: ")
    assert done("ssh", "pg1", "hostname") == "pg1\n"
    assert reaches("pg1", "pg2")


def test_two_hosts_are_cut_off_from_each_other_alone() -> None:
    done("cut", "pg1", "--from", "pg2")
    assert not reaches("pg1", "pg2")
    assert not reaches("pg2", "pg1")
    assert reaches("pg1", "backup")
    assert done("ssh", "pg1", "hostname") == "pg1\n"
    assert done("cut", "pg2", "--from", "pg1").startswith("unchanged: ")
    done("heal", "pg2", "--from", "pg1")
    assert reaches("pg1", "pg2")


def test_a_host_is_cut_off_from_the_controller_alone() -> None:
    done("cut", "pg1", "--from", "controller")
    assert lab("ssh", "pg1", "true").returncode == 255
    assert reaches("pg1", "pg2")
    assert done("up", "pg1").startswith("changed: healed pg1")
    assert done("ssh", "pg1", "hostname") == "pg1\n"


def listener(source: str, target: str, seconds: float) -> subprocess.Popen[str]:
    """Return a process inside `source` that is connected to `target` and waits for its end."""
    command = [sys.executable, "-m", "tests.lab", "exec", source, "python3", "-c", LISTEN, target, str(seconds)]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "connected\n"
    return process


def test_a_power_cut_keeps_the_disk_and_sends_no_farewell() -> None:
    done("ssh", "pg1", "echo kept >/var/lib/kept; sync; echo gone >/run/gone")
    with listener("pg2", "pg1", 3) as peer:
        assert done("kill", "pg1").startswith("changed: ")
        assert peer.communicate(timeout=20)[0] == "silence\n"
    assert status()["pg1"]["power"] == "off"
    assert done("kill", "pg1").startswith("unchanged: ")
    assert lab("exec", "pg1", "true").returncode == 1
    assert done("start", "pg1").startswith("changed: booted pg1")
    assert done("ssh", "pg1", "cat /var/lib/kept; test ! -e /run/gone && echo fresh") == "kept\nfresh\n"
    assert done("start", "pg1").startswith("unchanged: ")
    assert reaches("pg2", "pg1")


def test_a_service_that_is_killed_does_say_farewell() -> None:
    # Shows that the test above can fail.
    with listener("pg2", "pg1", 3) as peer:
        done("exec", "pg1", "sh", "-c", "pkill -9 -x sshd; systemctl restart ssh")
        assert peer.communicate(timeout=20)[0] != "silence\n"


def test_a_host_starts_behind_its_cut() -> None:
    done("cut", "drill")
    done("kill", "drill")
    done("start", "drill")
    assert lab("ssh", "drill", "true").returncode == 255
    assert done("exec", "drill", "systemctl", "is-system-running") == "running\n"


def test_a_host_reboots_and_powers_off_by_itself() -> None:
    boot_id = "cat /proc/sys/kernel/random/boot_id"
    before = done("ssh", "drill", boot_id)
    lab("ssh", "drill", "systemctl reboot")

    def rebooted() -> bool:
        answer = lab("ssh", "drill", boot_id)
        return answer.returncode == 0 and answer.stdout != before

    assert eventually(rebooted, 30)
    lab("ssh", "drill", "systemctl poweroff")
    assert eventually(lambda: status()["drill"]["power"] == "off", 30)
    assert done("start", "drill").startswith("changed: booted drill")


def test_a_new_host_is_known_to_the_running_ones_and_goes_alone() -> None:
    assert "created extra" in done("up", "extra")
    assert done("ssh", "pg1", "getent hosts extra").split() == ["10.213.77.100", "extra"]
    assert done("down", "extra").startswith("changed: removed extra")
    assert lab("ssh", "pg1", "getent hosts extra").returncode != 0
    assert set(status()) == set(HOSTS)


def test_an_interrupted_up_is_finished_by_the_next() -> None:
    done("down", "drill")
    process = subprocess.Popen([sys.executable, "-m", "tests.lab", "up", *HOSTS], cwd=ROOT, stderr=subprocess.DEVNULL)
    run = Path(json.loads(done("status", "--json"))["run"])
    assert eventually(lambda: (run / "hosts/drill.new").exists() or (run / "hosts/drill").exists(), 20)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert done("up", *HOSTS).startswith(("changed: ", "unchanged: "))
    assert done("ssh", "drill", "hostname") == "drill\n"
    assert not list((run / "hosts").glob("*.new"))


def test_two_invocations_take_turns() -> None:
    argv = [sys.executable, "-m", "tests.lab"]
    many = [
        subprocess.Popen([*argv, verb, "pg1"], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for verb in ("cut", "heal", "cut", "heal")
    ]
    for process in many:
        out, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert out.startswith(("changed: ", "unchanged: "))


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (("kill", "nosuch"), "no host 'nosuch'"),
        (("up", "Bad_Name"), "is not a host name"),
        (("up", "--suite", "trixie", "pg1"), "pg1 is bookworm, not trixie"),
        (("up", "pg1@trixie"), "pg1 is bookworm, not trixie"),
        (("cut", "pg1", "--from", "pg1"), "cannot be cut off from itself"),
    ],
)
def test_errors_are_one_line(argv: tuple[str, ...], message: str) -> None:
    result = lab(*argv)
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


def test_a_host_that_is_delayed_answers_late_and_loses_nothing() -> None:
    # By the host's own clock: what starts it takes longer than a packet.
    greeted = "TIMEFORMAT=%R; { time (exec 3<>/dev/tcp/pg1/22 && read -r -t 5 -u 3 line); } 2>&1"

    def quickest() -> float:
        return min(float(done("exec", "pg2", "bash", "-c", greeted)) for _try in range(5))

    assert done("delay", "pg1", "500").startswith("changed: ")
    # The connection, and the answer to it.
    assert quickest() > 1.0
    assert len(done("ssh", "pg1", "head", "-c", "3000000", "/dev/zero")) == 3000000
    done("delay", "pg1", "200")
    assert 0.4 < quickest() < 1.0, "another one ends the first"
    assert done("delay", "pg1", "0").startswith("changed: ")
    assert quickest() < 0.4


def test_a_lab_of_another_cache_is_left_alone(tmp_path: Path) -> None:
    result = subprocess.run(
        [sys.executable, "-m", "tests.lab", "down"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "BORINGDB_LAB_CACHE": str(tmp_path)},
    )
    assert result.returncode == 1
    assert "a lab runs from" in result.stderr
    assert all(row["power"] == "on" for row in status().values())
