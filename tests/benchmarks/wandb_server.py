"""A loopback stand-in for the W&B server: it answers the real client, and keeps what it received."""

from __future__ import annotations

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

ENTITY = "someone"
KEY = "0123456789abcdef" * 3
UNKNOWN: dict[str, Any] = {"project": None}


class Server(ThreadingHTTPServer):
    """What a test asserts on: ``runs`` by id, ``artifacts`` by name, ``views`` by id, ``uploads`` by path.

    Args:
        refuse: answer every request with this status, as with a key that is not valid.
        accept: how many runs may begin; from the next one on, every connection is dropped.
    """

    daemon_threads = True

    def __init__(self, refuse: int | None = None, accept: int | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.refuse, self.accept, self.begun = refuse, accept, 0
        self.runs: dict[str, dict[str, Any]] = {}
        self.artifacts: dict[str, set[str]] = {}
        self.views: dict[str, dict[str, Any]] = {}
        self.uploads: dict[str, bytes] = {}
        self.unknown: list[str] = []
        self.lock = threading.Lock()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    @property
    def dead(self) -> bool:
        return self.accept is not None and self.begun > self.accept

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A client that goes away is none of the tests' business."""

    def answer(self, operation: str, v: dict[str, Any]) -> dict[str, Any]:
        known = getattr(self, f"answer_{operation}", None)
        if known is None:
            self.unknown.append(operation)
            return {}
        answer: dict[str, Any] = known(v.get("input", v))
        return answer

    def answer_Viewer(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"viewer": {"id": "u", "entity": ENTITY, "username": ENTITY, "flags": "{}"}}

    def answer_ServerFeaturesQuery(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"serverInfo": {"features": []}}

    def answer_UpsertBucket(self, v: dict[str, Any]) -> dict[str, Any]:
        run = self.runs.setdefault(v["name"], {"history": {}, "summary": {}, "begun": 0})
        if v["groupName"]:
            self.begun += 1
            run["begun"] += 1
            run |= {k: v[k] for k in ("project", "groupName", "jobType", "displayName", "tags")}
            run |= {"host": v["host"], "program": v["program"]}
        if v["config"]:
            run["config"] = {key: value["value"] for key, value in json.loads(v["config"]).items()}
        project = {"id": "p", "name": v["project"], "entity": {"id": "e", "name": v["entity"] or ENTITY}}
        bucket = {"id": v["name"], "name": v["name"], "displayName": v["displayName"], "project": project}
        bucket |= {"description": "", "config": v["config"], "sweepName": None, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": run["begun"] == 1}}

    def answer_CreateRunFiles(self, v: dict[str, Any]) -> dict[str, Any]:
        files = [self.file(v["run"], name) for name in v["files"]]
        return {"createRunFiles": {"runID": v["run"], "uploadHeaders": [], "files": files}}

    def answer_ArtifactType(self, v: dict[str, Any]) -> dict[str, Any]:
        return UNKNOWN

    def answer_CreateArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        name = v["artifactCollectionName"]
        self.artifacts.setdefault(name, set()).add(v["digest"])
        artifact = {"id": name, "state": "PENDING", "artifactSequence": {"latestArtifact": None}}
        return {"createArtifact": {"artifact": artifact}}

    def answer_CreateArtifactManifest(self, v: dict[str, Any]) -> dict[str, Any]:
        file = self.file(v["artifactID"], v["name"])
        return {"createArtifactManifest": {"artifactManifest": {"id": "m", "file": file}}}

    def answer_CreateArtifactFiles(self, v: dict[str, Any]) -> dict[str, Any]:
        files = [(each["artifactID"], each["name"]) for each in v["artifactFiles"]]
        nodes = [{"node": {**self.file(owner, name), "artifact": {"id": owner}}} for owner, name in files]
        return {"createArtifactFiles": {"files": {"edges": nodes}}}

    def answer_CommitArtifact(self, v: dict[str, Any]) -> dict[str, Any]:
        return {"commitArtifact": {"artifact": {"id": v["artifactID"], "digest": ""}}}

    def answer_View(self, v: dict[str, Any]) -> dict[str, Any]:
        found = [{"node": view} for view in self.views.values() if view["name"] == v["viewName"]]
        return {"project": {"allViews": {"edges": found}}}

    def answer_UpsertView2(self, v: dict[str, Any]) -> dict[str, Any]:
        key = v.get("id") or f"view-{len(self.views)}"
        self.views[key] = {"id": key, **{k: v[k] for k in ("name", "displayName", "spec", "projectName")}}
        return {"upsertView": {"view": {"id": key, "name": v["name"]}, "inserted": "id" not in v}}

    def file(self, owner: str, name: str) -> dict[str, Any]:
        return {"name": name, "uploadUrl": f"{self.url}/put/{owner}/{name}", "uploadHeaders": []}

    def stream(self, run: str, body: dict[str, Any]) -> None:
        """History by line number, as the server keeps it: what is sent again from line 0 replaces."""
        for name, chunk in body.get("files", {}).items():
            rows = [json.loads(line) for line in chunk["content"]]
            if name == "wandb-history.jsonl":
                self.runs[run]["history"] |= dict(enumerate(rows, chunk["offset"]))
            elif name == "wandb-summary.json":
                self.runs[run]["summary"] = rows[-1]
        if "exitcode" in body:
            self.runs[run]["exitcode"] = body["exitcode"]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def log_message(self, *arguments: Any) -> None:
        """Silent."""

    def do_GET(self) -> None:
        self.reply({})

    def do_PUT(self) -> None:
        self.server.uploads[self.path.removeprefix("/put/")] = self.body()
        self.reply({})

    def do_POST(self) -> None:
        body = json.loads(self.body() or "{}")
        with self.server.lock:
            answer: dict[str, Any] = {}
            if "query" not in body:
                self.server.stream(self.path.split("/")[4], body)
            else:
                named = re.search(r"(?:query|mutation)\s+(\w+)", body["query"])
                answer = self.server.answer(named[1] if named else "", body.get("variables") or {})
        self.reply({"data": answer})

    def body(self) -> bytes:
        return self.rfile.read(int(self.headers.get("Content-Length") or 0))

    def reply(self, answer: dict[str, Any]) -> None:
        if self.server.dead:
            self.close_connection = True
            return
        text = json.dumps({"errors": [{"message": "not allowed"}]} if self.server.refuse else answer).encode()
        self.send_response(self.server.refuse or 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)


@contextlib.contextmanager
def serve(**options: Any) -> Iterator[Server]:
    with Server(**options) as server:
        threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield server
        server.shutdown()
