# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""ansible-test sanity without a container, and without any host but the package index.

It works only in a real folder …/ansible_collections/boringdb/ops, not in a link: it runs in the installed collection.
It keeps its environments in ~/.ansible/test: it gets a home of its own, which lies in the cache. And it fetches a
script that installs pip from its project's own host: one that installs the same pip from the index lies there before.
"""

from __future__ import annotations

import ast
import fcntl
import hashlib
import os
import sys
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

from tests.lint.place import Place
from tests.lint.process import Failed, Skipped, run

BOOTSTRAP = '''\
"""Installs pip from a wheel that lies beside this file; ansible-test runs it with pip's own options."""
import sys

sys.path.insert(0, {wheel!r})
from pip._internal.cli.main import main

options = [word for word in sys.argv[1:] if word not in ("--no-setuptools", "--no-wheel")]
sys.exit(main(["install", "--no-index", "--find-links", {folder!r}, *options]))
'''


def sanity(place: Place) -> str:
    """Run all sanity tests with this environment's Python. Raises Failed with the findings."""
    # Private names, but of the one ansible-core release that requirements.txt pins.
    from ansible_test._internal.constants import CONTROLLER_PYTHON_VERSIONS
    from ansible_test._internal.python_requirements import get_venv_packages

    python = f"{sys.version_info.major}.{sys.version_info.minor}"
    if python not in CONTROLLER_PYTHON_VERSIONS:
        raise Skipped(f"ansible-test knows Python {', '.join(CONTROLLER_PYTHON_VERSIONS)}, and this is {python}")
    # Its environments link to this interpreter: another one, or another release, starts anew.
    which = hashlib.sha256(f"{sys.executable} {sys.version} {version('ansible-core')}".encode()).hexdigest()[:12]
    home = place.cache / "lint" / f"ansible-test-{which}"
    home.mkdir(parents=True, exist_ok=True)
    with (home / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _configure_pip(place, home)
        _place_bootstrap(place, home, get_venv_packages(SimpleNamespace(version=python))["pip"])
        return run(
            [place.program("ansible-test"), "sanity", "--local", "--python", python, "--color", "no"],
            place.installed, place.environment(HOME=str(home)),
        )


def _configure_pip(place: Place, home: Path) -> None:
    """Write what pip is told by the user's files and variables, of which ansible-test passes nothing on."""
    listing = run(
        [place.program("python"), "-m", "pip", "config", "list"], place.work, {**place.environment(), **_user_home()}
    )
    values: dict[str, str] = {}
    # Variables override files, as in pip itself.
    for line in sorted(listing.splitlines(), key=lambda line: line.startswith(":env:")):
        name, separator, value = line.partition("=")
        scope, _dot, key = name.rpartition(".")
        if separator and scope in {"global", "install", "download", ":env:"}:
            values[key] = str(ast.literal_eval(value)).replace("\n", "\n  ")
    target = home / ".config" / "pip" / "pip.conf"
    target.parent.mkdir(parents=True, exist_ok=True)
    # An index's address may hold a password.
    target.touch(mode=0o600)
    # Quiet, so that a failure shows findings only.
    values["quiet"] = "2"
    target.write_text("[global]\n" + "".join(f"{key} = {value}\n" for key, value in values.items()))


def _place_bootstrap(place: Place, home: Path, pip: str) -> None:
    """Download pip's wheel once, by pip, and put the script where ansible-test looks for its own."""
    wheels = home / "wheels"
    if not list(wheels.glob(f"pip-{pip}-*.whl")):
        run(
            [place.program("python"), "-m", "pip", "download", "--quiet", "--no-deps", "--dest", wheels, f"pip=={pip}"],
            place.work, {**place.environment(), **_user_home()},
        )
    wheel = next(wheels.glob(f"pip-{pip}-*.whl"), None)
    if wheel is None:
        raise Failed(f"pip {pip} did not come as a wheel")
    script = home / ".ansible" / "test" / "cache" / f"get_pip_{pip.replace('.', '_')}.py"
    script.parent.mkdir(parents=True, exist_ok=True)
    script.write_text(BOOTSTRAP.format(wheel=str(wheel), folder=str(wheels)))


def _user_home() -> dict[str, str]:
    """The real home: pip's configuration lies there."""
    return {"HOME": os.environ["HOME"]} if "HOME" in os.environ else {}
