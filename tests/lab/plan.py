# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's fixed facts: addresses, names, suites, paths. Pure functions, no side effects."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tests.lab.run import LabError

BRIDGE = "boringdb0"
PREFIX = "10.213.77."
NETMASK = 24
CONTROLLER = "controller"  # this machine, as the hosts call it
CONTROLLER_ADDRESS = PREFIX + "1"
PROXY_PORT = 3128
MIRROR = "http://deb.debian.org"

DEFAULT_CACHE = "/var/cache/boringdb/lab"
DEFAULT_SUITE = "bookworm"
DEFAULT_HOSTS = ("pg1", "pg2", "backup", "drill")

# Suite -> every distribution its hosts install from, as (archive directory, distribution).
SUITES: Mapping[str, tuple[tuple[str, str], ...]] = {
    "bullseye": (("debian", "bullseye"), ("debian", "bullseye-updates"), ("debian-security", "bullseye-security")),
    "bookworm": (("debian", "bookworm"), ("debian", "bookworm-updates"), ("debian-security", "bookworm-security")),
    "trixie": (("debian", "trixie"), ("debian", "trixie-updates"), ("debian-security", "trixie-security")),
    "sid": (("debian", "sid"),),
}

# Names that inventories refer to keep their address for ever; any other name gets the next free one.
FIXED: Mapping[str, int] = {
    **{f"pg{n}": 10 + n for n in range(1, 10)},
    **{f"my{n}": 20 + n for n in range(1, 10)},
    "backup": 31,
    "drill": 41,
    **{f"pool{n}": 50 + n for n in range(1, 10)},
    **{f"etcd{n}": 60 + n for n in range(1, 10)},
    "control": 71,
}
FIRST_FREE, LAST_FREE = 100, 199

# A network interface name has at most 15 characters and the host's is "vb-" and its name.
NAME = re.compile(r"[a-z][a-z0-9-]{0,11}")


@dataclass(frozen=True)
class Paths:
    """Where things lie. `run` belongs to one lab and goes with it; `bases` and `squid` are caches and stay."""

    cache: Path

    @property
    def bases(self) -> Path:
        return self.cache / "bases"

    @property
    def squid(self) -> Path:
        return self.cache / "squid"

    @property
    def run(self) -> Path:
        return self.cache / "run"

    @property
    def hosts(self) -> Path:
        return self.run / "hosts"

    @property
    def key(self) -> Path:
        return self.run / "id_ed25519"

    @property
    def ssh_config(self) -> Path:
        return self.run / "ssh_config"

    @property
    def known_hosts(self) -> Path:
        return self.run / "known_hosts"

    @property
    def state(self) -> Path:
        return self.run / "state.json"


def paths(environ: Mapping[str, str] | None = None) -> Paths:
    """Return the lab's paths; BORINGDB_LAB_CACHE (absolute) moves all of them."""
    environ = os.environ if environ is None else environ
    cache = Path(environ.get("BORINGDB_LAB_CACHE") or DEFAULT_CACHE)
    if not cache.is_absolute() or re.search(r"[\s:,\\]", str(cache)):
        raise LabError(f"BORINGDB_LAB_CACHE={cache}: must be an absolute path without spaces, ':', ',' or '\\'")
    return Paths(cache)


def check_name(name: str) -> str:
    """Return name if it can be a host's name, else raise LabError."""
    if not NAME.fullmatch(name):
        raise LabError(f"{name!r} is not a host name: a-z, 0-9 and '-', at most 12 characters, a letter first")
    if name in {CONTROLLER, "localhost"}:
        raise LabError(f"{name!r} is this machine's name in the lab: choose another")
    return name


def check_suite(suite: str) -> str:
    """Return suite if the lab knows it, else raise LabError."""
    if suite not in SUITES:
        raise LabError(f"suite {suite!r} is not known: one of {', '.join(SUITES)}")
    return suite


def wanted(words: Iterable[str], suite: str | None = None) -> dict[str, str | None]:
    """Return the suite that each host of `up` is asked to be of: `pg1@sid` is sid, `pg1` is `suite`, None is any."""
    found: dict[str, str | None] = {}
    for word in words:
        name, at, own = word.partition("@")
        asked = check_suite(own) if at else suite
        if found.setdefault(check_name(name), asked) != asked:
            raise LabError(f"{name} is asked for as {found[name] or DEFAULT_SUITE} and as {asked or DEFAULT_SUITE}")
    return found


def address(name: str, taken: Iterable[str]) -> str:
    """Return the address of host `name`; `taken` holds the addresses given out so far."""
    if check_name(name) in FIXED:
        return f"{PREFIX}{FIXED[name]}"
    used = set(taken)
    for last in range(FIRST_FREE, LAST_FREE + 1):
        if f"{PREFIX}{last}" not in used:
            return f"{PREFIX}{last}"
    raise LabError(f"no address left for {name}: the lab holds {LAST_FREE - FIRST_FREE + 1} unplanned hosts")


def veth(name: str) -> str:
    """Return the bridge-side interface of host `name` (systemd-nspawn's naming)."""
    return f"vb-{name}"


def apt_sources(suite: str) -> str:
    """Return the deb822 sources of a host of `suite`."""
    return "\n".join(
        "\n".join(
            (
                "Types: deb",
                f"URIs: {MIRROR}/{archive}",
                f"Suites: {distribution}",
                "Components: main",
                "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg",
                "",
            )
        )
        for archive, distribution in SUITES[check_suite(suite)]
    )
