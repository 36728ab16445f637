# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Patroni's node of one server: which configuration runs it, and where its REST API answers.

Nothing is declared. A server is Patroni's where a configuration of Patroni names its data directory: one that a running
process was started with, or one in the usual places.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ansible_collections.boringdb.ops.plugins.module_utils._core.errors import OpsError
from ansible_collections.boringdb.ops.plugins.module_utils._patroni.rest import Api

try:
    import yaml
except ImportError:
    yaml = None  # type: ignore[assignment]

MANAGER = "patroni"
_PLACES = ("/etc/patroni.yml", "/etc/patroni/*.yml", "/etc/patroni/*.yaml")
#: As a mapping's line or, in one line with others, as JSON has it.
_DATA_DIR = re.compile(r"""(?<![\w.])["']?data_dir["']?\s*:\s*(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"',}#][^\n,}#]*))""")


def manager_of(params: Mapping[str, Any]) -> str | None:
    """The manager of the server that a module's options name; None where nothing but the engine runs it."""
    data_dir = params.get("data_dir")
    return MANAGER if data_dir and configuration_of(Path(data_dir)) else None


def manager_of_plan(params: Mapping[str, Any]) -> str | None:
    """The manager of the members that a plan is of, whichever of them makes it: also one whose own Patroni is gone."""
    members = params["members"] if params["state"] == "planned" else {}
    if any(isinstance(facts, Mapping) and facts.get("manager") == MANAGER for facts in members.values()):
        return MANAGER
    return manager_of(params)


def configuration_of(data_dir: Path) -> Path | None:
    """The configuration of Patroni that names this data directory."""
    unread = []
    for place in [*_of_processes(), *_usual()]:
        try:
            text = place.read_text(encoding="utf-8", errors="replace")
        except PermissionError:
            unread.append(str(place))
            continue
        except OSError:
            continue
        if any(_same("".join(found).strip(), data_dir) for found in _DATA_DIR.findall(text)):
            return place
    if unread and (data_dir / "patroni.dynamic.json").exists():
        raise OpsError(
            f"Patroni runs {data_dir}, and its configuration can't be read: {', '.join(unread)}; run as its owner"
        )
    return None


def _same(found: str, data_dir: Path) -> bool:
    return os.path.realpath(found) == os.path.realpath(data_dir)


def _usual() -> Iterator[Path]:
    for pattern in _PLACES:
        yield from sorted(Path("/").glob(pattern.lstrip("/")))


def _of_processes() -> Iterator[Path]:
    """The files that running processes of Patroni were given."""
    # Never a pattern with "/cmdline": pathlib fails where a process ends while it looks.
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().decode(errors="replace").split("\0")
            if not any(Path(word).name == "patroni" for word in words[:3]):
                continue
            for word in words[1:]:
                if word.endswith((".yml", ".yaml")):
                    yield Path(word) if Path(word).is_absolute() else (process / "cwd").resolve() / word
        except OSError:
            continue


@dataclass(frozen=True)
class Node:
    """One member as its configuration names it."""

    config_file: Path
    scope: str
    name: str
    api: Api = field(repr=False)

    @classmethod
    def of(cls, params: Mapping[str, Any]) -> Node:
        """The node that runs the server of a module's options. Raises OpsError where none does."""
        place = configuration_of(Path(params["data_dir"]))
        if place is None:
            raise OpsError(
                f"no configuration of Patroni names data_dir {params['data_dir']}; is it Patroni that runs this server?"
            )
        if yaml is None:
            raise OpsError(
                f"the Python library yaml is missing for {sys.executable}; install the package python3-yaml, "
                "which Patroni needs, too"
            )
        try:
            content = yaml.safe_load(place.read_text(encoding="utf-8"))
        except yaml.YAMLError as exc:
            # What is wrong there may stand beside a password.
            at = getattr(exc, "problem_mark", None)
            raise OpsError(f"{place} is no YAML{f' (line {at.line + 1})' if at else ''}; correct it") from None
        return cls.read(place, content)

    @classmethod
    def read(cls, place: Path, content: Any) -> Node:
        """The node of a configuration that was read. Raises OpsError where it lacks what is needed."""
        top = content if isinstance(content, dict) else {}
        rest, ctl = _part(top, "restapi"), _part(top, "ctl")
        login = _part(rest, "authentication")
        lacking = [word for word in ("scope", "name") if not top.get(word)]
        address = rest.get("connect_address") or rest.get("listen")
        if not address:
            lacking.append("restapi.connect_address")
        if lacking:
            raise OpsError(
                f"{place} names no {', '.join(lacking)}; what comes by the environment can't be seen: write it there"
            )
        verified = rest.get("certfile")
        return cls(
            config_file=place,
            scope=str(top["scope"]),
            name=str(top["name"]),
            api=Api(
                url=f"{'https' if verified else 'http'}://{address}",
                user=str(login.get("username") or ""),
                password=str(login.get("password") or ""),
                cafile=str(ctl.get("cacert") or rest.get("cafile") or ""),
                certfile=str(ctl.get("certfile") or ""),
                keyfile=str(ctl.get("keyfile") or ""),
                insecure=bool(ctl.get("insecure")),
            ),
        )


def _part(of: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    """A part of a configuration, empty where it is none."""
    found = of.get(name)
    return found if isinstance(found, Mapping) else {}
