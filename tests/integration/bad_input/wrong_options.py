# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Wrong options made from what the modules' own documentation says of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.modules import REPO

FRAGMENTS = REPO / "plugins/doc_fragments"
#: Its action does it all; the module itself only says so.
_BY_ACTION = ("fleet",)
MODULES = sorted(
    path.stem for path in (REPO / "plugins/modules").glob("*.py") if path.stem not in ("__init__", *_BY_ACTION)
)


@dataclass(frozen=True)
class Case:
    """A module with one wrong thing in its options; `pieces` are what the answer must name."""

    word: str
    name: str
    options: dict[str, Any]
    pieces: tuple[str, ...]


def documented(word: str) -> dict[str, dict[str, Any]]:
    """A module's options as its documentation has them, its fragments' included."""
    doc = yaml.safe_load(_documentation(REPO / "plugins/modules" / f"{word}.py"))
    found: dict[str, dict[str, Any]] = {}
    for fragment in doc.get("extends_documentation_fragment", []):
        text = _documentation(FRAGMENTS / f"{fragment.rsplit('.', 1)[-1]}.py")
        found.update(yaml.safe_load(text).get("options") or {})
    found.update(doc.get("options") or {})
    return found


def _documentation(path: Path) -> str:
    text = path.read_text()
    return text.split('DOCUMENTATION = r"""', 1)[1].split('"""', 1)[0]


#: By the type of an option: texts and shapes that can't be one.
SHAPES: dict[str, list[Any]] = {
    "int": ["x", "1.5", "", [1], {"a": 1}, "0x10", "5432\n-"],
    "float": ["x", "", [1.5], {"a": 1}, "1,5"],
    "bool": ["maybe", "2", "", [True], {"a": 1}],
    "dict": ["text", [1], 7, "[]"],
    "list": [{"a": 1}],
    "path": ["relative/path", "/a\nb", '/a"b', "/a'b", "/a$b", "/a`b", "/a\\b", "/a\u0000b", {"a": 1}, ["/a", "/b"]],
}


def wrong_shapes(word: str, right: dict[str, Any]) -> Iterator[Case]:
    """Every option left out that is needed, misspelled, of another type, or none of its choices."""
    fillers = {"int": 1, "bool": True, "dict": {}, "list": [], "path": "/nowhere"}
    needed = {name: option for name, option in documented(word).items() if option.get("required")}
    right = {**{name: fillers.get(option.get("type"), "x") for name, option in needed.items()}, **right}
    for name, option in sorted(documented(word).items()):
        kind = option.get("type", "str")
        if option.get("required"):
            yield Case(word, f"no {name}", {key: value for key, value in right.items() if key != name}, (name,))
            yield Case(word, f"{name} null", {**right, name: None}, (name,))
        yield Case(word, f"{name} misspelled", {**right, f"{name}x": right.get(name, "x")}, (f"{name}x",))
        shapes = list(SHAPES.get(kind, []))
        if option.get("choices"):
            shapes += [f"no_{kind}", ""]
        if option.get("elements") == "dict":
            shapes += ["text", [1], [[1]], 7]
            if option.get("suboptions"):
                shapes += [[{"nobody": "knows"}], [{}]]
        elif option.get("suboptions"):
            # What is no dictionary at all, Ansible itself stumbles over.
            shapes = [{"nobody": "knows"}, {}]
        for number, shape in enumerate(shapes):
            # Of what lies in a list or a dictionary, Ansible says only what it is not.
            pieces = () if kind in ("list", "dict") else (name,)
            yield Case(word, f"{name} as {kind} {number} {shape!r}", {**right, name: shape}, pieces)
