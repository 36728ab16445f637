# Copyright (c) 2026, boringdb.ops contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""As much of AWX's API as awx.awx needs: a server that keeps objects, and refuses references that lead nowhere."""

from __future__ import annotations

import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

TOKEN = "stub-token"
#: Fields that name another object, and where it is.
REFERENCES = {
    "organization": "organizations", "inventory": "inventories", "project": "projects", "source_project": "projects",
    "credential_type": "credential_types", "default_environment": "execution_environments",
    "unified_job_template": "unified_job_templates", "workflow_job_template": "workflow_job_templates",
}  # fmt: skip
NODES, TOLD = "workflow_job_template_nodes", "notification_templates"
ASSOCIATED = {
    "credentials": "credentials",
    **dict.fromkeys(["success_nodes", "failure_nodes", "always_nodes"], NODES),
    **dict.fromkeys([f"{TOLD}_{when}" for when in ("started", "success", "error", "approvals")], TOLD),
}
UNIFIED = ("job_templates", "workflow_job_templates", "projects", "inventory_sources", "workflow_approval_templates")
KINDS = (
    "organizations",
    "credential_types",
    "credentials",
    "execution_environments",
    "inventories",
    "notification_templates",
    "workflow_job_template_nodes",
    "schedules",
    *UNIFIED,
)
#: What is there before anybody declares anything.
BUILT_IN = [("organizations", "Default"), ("credential_types", "Machine")]
TYPES = {"inventories": "inventory"}


class Bad(Exception):
    """An answer that is none of the good ones."""


@dataclass
class Awx:
    """The objects, by kind and number, and what was asked."""

    objects: dict[str, dict[int, dict[str, Any]]] = field(default_factory=lambda: {kind: {} for kind in KINDS})
    surveys: dict[str, Any] = field(default_factory=dict)
    linked: dict[str, list[int]] = field(default_factory=dict)
    writes: list[tuple[str, str]] = field(default_factory=list)
    headers: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.lock, self.last, awx = threading.Lock(), 0, self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def answer(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = json.loads(self.rfile.read(length) or b"null")
                with awx.lock:
                    awx.headers.add(self.headers.get("Authorization") or "")
                    try:
                        if self.headers.get("Authorization") != f"Bearer {TOKEN}":
                            raise Bad(401, "who are you")
                        status, said = awx.handle(self.command, urlsplit(self.path), body)
                    except Bad as bad:
                        status, said = bad.args[0], {"detail": bad.args[1]}
                data = b"" if status == 204 else json.dumps(said).encode()
                self.send_response(status)
                self.send_header("X-API-Product-Name", "AWX")
                self.send_header("X-API-Product-Version", "24.6.1")
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            do_GET = do_POST = do_PATCH = do_DELETE = answer

            def log_message(self, *_words: Any) -> None:
                pass

        for kind, name in BUILT_IN:
            self.create(kind, {"name": name})
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def stop(self) -> None:
        self.server.shutdown()
        self.server.server_close()

    # --- what tests ask -------------------------------------------------------------------------------------

    def names(self, kind: str) -> list[str]:
        return sorted(one["name"] for one in self.objects[kind].values())

    def named(self, kind: str, name: str) -> dict[str, Any]:
        [found] = [one for one in self.objects[kind].values() if one["name"] == name]
        return found

    def survey(self, kind: str, name: str) -> dict[str, Any]:
        return self.surveys[f"{kind}/{self.named(kind, name)['id']}"]

    def links(self, kind: str, number: int, word: str, label: str = "name") -> list[str]:
        return sorted(
            self.objects[ASSOCIATED[word]][one][label] for one in self.linked.get(f"{kind}/{number}/{word}", [])
        )

    # --- the API --------------------------------------------------------------------------------------------

    def create(self, kind: str, data: dict[str, Any]) -> dict[str, Any]:
        self.check(kind, data)
        self.last += 1
        url = f"/api/v2/{kind}/{self.last}/"
        related = {"survey_spec": f"{url}survey_spec/"}
        made = {
            "id": self.last,
            "type": TYPES.get(kind, kind.removesuffix("s")),
            "url": url,
            "related": related,
            "kind": "",
            **data,
        }
        self.objects[kind][self.last] = made
        return made

    def check(self, kind: str, data: dict[str, Any]) -> None:
        """As AWX would: what a field names must be there, and what it must have it has."""
        for name, value in data.items():
            if name in REFERENCES and value is not None and self.find(REFERENCES[name], int(value)) is None:
                raise Bad(400, f"{kind}: {name} {value} is not there")
        if (
            kind == "schedules"
            and "rrule" in data
            and not re.match(r"DTSTART:\d{8}T\d{6}Z RRULE:.*INTERVAL=", data["rrule"])
        ):
            raise Bad(400, f"rrule {data['rrule']}")
        if kind == "schedules" and "extra_data" in data:
            self.accept(data)
        if kind == "job_templates" and "playbook" in data and not data["playbook"].startswith("playbooks/"):
            raise Bad(400, "playbooks are listed by path")

    def accept(self, data: dict[str, Any]) -> None:
        """Extra variables must be answers of the survey, and answer what it requires."""
        number = int(data["unified_job_template"])
        spec = next(self.surveys[key]["spec"] for key in self.surveys if key.endswith(f"/{number}"))
        asked = {one["variable"]: one for one in spec}
        for name, value in data["extra_data"].items():
            if name not in asked or (asked[name]["choices"] and value not in asked[name]["choices"]):
                raise Bad(400, f"{name}: {value} is no answer")
        if not {name for name, one in asked.items() if one["required"] and not one["default"]} <= set(
            data["extra_data"]
        ):
            raise Bad(400, "an answer is missing")

    def find(self, kind: str, number: int) -> dict[str, Any] | None:
        kinds = UNIFIED if kind == "unified_job_templates" else (kind,)
        return next((self.objects[one][number] for one in kinds if number in self.objects[one]), None)

    def handle(self, method: str, url: Any, body: Any) -> tuple[int, Any]:
        words = url.path.removeprefix("/api/v2/").strip("/").split("/")
        if method != "GET":
            self.writes.append((method, url.path))
        kind = words[0]
        if len(words) == 1:
            return (
                (200, self.listed(kind, dict(parse_qsl(url.query))))
                if method == "GET"
                else (201, self.create(kind, body))
            )
        found = self.find(kind, int(words[1]))
        if found is None:
            raise Bad(404, "not here")
        if len(words) == 2:
            if method == "PATCH":
                if kind == "workflow_approval_templates":
                    body = {name: value for name, value in body.items() if name in ("name", "description", "timeout")}
                self.check(kind, {**found, **body} if kind == "schedules" else body)
                found.update(body)
            return 200, found
        place = "/".join(words)
        if words[2] == "survey_spec":
            return self.surveyed("/".join(words[:2]), method, body)
        if words[2] == "create_approval_template":
            made = self.create("workflow_approval_templates", {"name": body["name"], "timeout": body.get("timeout", 0)})
            found["unified_job_template"] = made["id"]
            found["related"] = {**found["related"], "unified_job_template": made["url"]}
            return 201, made
        if words[2] not in ASSOCIATED or kind == "workflow_approval_templates":
            raise Bad(404, f"{kind} has no {words[2]}")
        kept = self.linked.setdefault(place, [])
        if method == "GET":
            return 200, {
                "count": len(kept),
                "next": None,
                "results": [self.find(ASSOCIATED[words[2]], one) for one in kept],
            }
        if self.find(ASSOCIATED[words[2]], int(body["id"])) is None:
            raise Bad(400, f"{body['id']} is not there")
        kept.remove(body["id"]) if body.get("disassociate") else kept.append(body["id"])
        return 204, None

    def surveyed(self, key: str, method: str, body: Any) -> tuple[int, Any]:
        if method == "POST":
            for one in body["spec"]:
                good = (
                    one["variable"]
                    and one["question_name"]
                    and one["type"] in ("text", "integer", "float", "multiplechoice")
                )
                choices = one["choices"]
                if not good or (one["type"] == "multiplechoice") != bool(choices) or not isinstance(choices, list):
                    raise Bad(400, f"survey: {one}")
                if one["default"] != "" and (choices and one["default"] not in choices):
                    raise Bad(400, f"survey: default of {one}")
                if one["type"] == "integer" and not isinstance(one["default"], int):
                    raise Bad(400, f"survey: {one} is no number")
            self.surveys[key] = body
        return 200, self.surveys.get(key, {})

    def listed(self, kind: str, query: dict[str, str]) -> dict[str, Any]:
        kinds = UNIFIED if kind == "unified_job_templates" else (kind,)
        objects = [one for each in kinds for one in self.objects[each].values()]
        for name, value in query.items():
            objects = [one for one in objects if str(one.get(name)) == value]
        return {"count": len(objects), "next": None, "results": objects}
