"""Programs, playbooks and single modules, run as the account that owns the embedded servers."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.modules import REPO, Unexpected, as_owner, programs
from tests.modules import module as run_module
from tests.packed import packed

AS_OWNER = as_owner()
PROGRAMS = programs()


class Broken(Exception):
    """The ground itself does not work; nothing can be said about the drill."""


def run(*argv: str | Path, stdin: str = "", check: bool = True) -> subprocess.CompletedProcess[str]:
    """Run a program as the owner. Raises Broken with its last words where it fails and `check` is set."""
    words = [*AS_OWNER, *map(str, argv)]
    env = {**os.environ, "LC_ALL": "C", "TZ": "UTC", "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        words, input=stdin, text=True, capture_output=True, check=False, cwd="/", env=env, timeout=300
    )  # fmt: skip
    if check and done.returncode:
        raise Broken(f"{Path(argv[0]).name} exited {done.returncode}: {(done.stderr or done.stdout)[-2000:]}")
    return done


def module(name: str, **options: Any) -> dict[str, Any]:
    """Run one of our modules as Ansible would on the host; returns its result. Raises Broken where it fails."""
    try:
        return run_module(name, **options)
    except Unexpected as exc:
        raise Broken(str(exc)) from None


def playbook(
    path: str, variables: Mapping[str, Any], env: Mapping[str, str], log: Path, inventories: Sequence[Path]
) -> tuple[int, str]:
    """Run one playbook; returns its exit code and its output, which the log keeps too."""
    argv = [str(Path(sys.executable).with_name("ansible-playbook")), str(REPO / path), "-e", json.dumps(variables)]
    argv += [word for inventory in inventories for word in ("-i", str(inventory))]
    config = {"ANSIBLE_CONFIG": str(REPO / "ansible.cfg"), "ANSIBLE_NOCOLOR": "1", "ANSIBLE_FORCE_COLOR": "0"}
    with subprocess.Popen(
        argv, env={**os.environ, **packed(), **config, **env}, cwd=REPO, text=True, start_new_session=True,
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as running:  # fmt: skip
        try:
            output, _nothing = running.communicate(timeout=900)
        except BaseException:
            # With its workers, which would go on with what they are at.
            os.killpg(running.pid, signal.SIGKILL)
            raise
    with log.open("a") as stream:
        stream.write(f"\n##### {path} -e {json.dumps(variables)}\n{output}")
    return running.returncode, output


def await_(condition: Callable[[], object], what: str, seconds: float = 30.0) -> None:
    """Wait until the condition holds. Raises Broken when it does not in time."""
    until = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > until:
            raise Broken(f"{what} did not come true within {seconds:g} s")
        time.sleep(0.02)
