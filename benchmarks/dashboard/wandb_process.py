"""The process that talks to Weights & Biases, apart from training: a JSON line in, a JSON line out.

It is run as a file and imports nothing of the suite, so that it starts fast; beside training it yields the
processor. Its first line says that W&B can be used; then there is one for each run that arrived, or the error
that kept it away.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Lock
from typing import Any

DATA = os.environ.get("WANDB_DATA_DIR", "")
CHART = "wandb/lineseries/v0"
"""W&B's own chart: `lineVal` against `step`, a colour per `lineKey`."""
PROJECT_FILE = ".project"
"""In a run's folder: which project it is of, since W&B's own name of the folder does not say."""
INIT_SECONDS, FINISH_SECONDS = 20.0, 30.0
THREADS = FAILURES = 4
SETTINGS: dict[str, Any] = {
    "console": "off",
    "silent": True,
    "disable_code": True,
    "disable_git": True,
    "save_code": False,
    "host": "scalpel",
    "program": "scalpel",
    "use_dot_wandb": False,
    "finish_timeout_raises": True,
    "x_disable_machine_info": True,
    "x_disable_meta": True,
    "x_disable_stats": True,
    "x_save_requirements": False,
}
"""Records hold what is known of the machine; W&B's own collection costs time, and tells host and paths."""


def send(job: dict[str, Any], place: dict[str, Any], kept: list[Path]) -> dict[str, Any]:
    """Write one run, in place of an earlier one of the same id, here and on the server.

    Without ``resume``, W&B overwrites the run from its first line on; with it, the history would be appended
    once more.

    Args:
        job: see `dashboard.runs.WandbRun`.
        place: keyword arguments of ``wandb.init``: project, entity, mode and folder.
        kept: folders that earlier commands wrote for this id.
    """
    import wandb

    start, project = job["start"], f"{place['entity'] or ''}/{place['project']}"
    data = Path(DATA, project.strip("/").replace("/", "-"), start["id"])
    earlier = [path for path in kept if _project_of(path) == project]
    if place["mode"] == "offline":
        earlier += data.glob("artifacts/staging/*")
        os.environ["WANDB_DATA_DIR"] = str(data)
    tags = [*start["tags"], *filter(None, os.environ.get("WANDB_TAGS", "").split(","))]
    with wandb.init(
        **{**start, "tags": tags},
        **place,
        reinit="create_new",
        settings=wandb.Settings(
            init_timeout=float(os.environ.get("WANDB_INIT_TIMEOUT", INIT_SECONDS)),
            finish_timeout=float(os.environ.get("WANDB_FINISH_TIMEOUT", FINISH_SECONDS)),
            **SETTINGS,
        ),
    ) as run:
        if job["step"]:
            run.define_metric(job["step"], summary="none")
            run.define_metric("*", step_metric=job["step"], summary="none")
        for row in job["history"]:
            run.log(row)
        if media := _media(job):
            run.log(media)
        run.summary.update(job["summary"])
        Path(run.dir).with_name(PROJECT_FILE).write_text(project, encoding="utf-8")
    for path in earlier:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return {"sent": run.id, "entity": run.entity, "project": run.project, "url": run.url}


def _kept(folder: Path) -> dict[str, list[Path]]:
    """The folders of runs that are there, by the ids of the runs: looked for once, not once a run."""
    found: dict[str, list[Path]] = {}
    for path in folder.glob("wandb/*run-*-*"):
        if named := re.fullmatch(r"(?:offline-)?run-[^-]*-(.+)", path.name):
            found.setdefault(named[1], []).append(path)
    return found


def _project_of(folder: Path) -> str:
    """The project that a run's folder was written for."""
    file = folder / PROJECT_FILE
    return file.read_text(encoding="utf-8") if file.exists() else ""


def _media(job: dict[str, Any]) -> dict[str, Any]:
    import wandb

    def table(content: dict[str, Any]) -> wandb.Table:
        return wandb.Table(columns=content["columns"], data=content["data"], allow_mixed_types=True)

    media: dict[str, Any] = {key: table(content) for key, content in job["tables"].items()}
    media |= {key: wandb.Image(path) for key, path in job["images"].items()}
    for key, chart in job["charts"].items():
        media[key] = wandb.plot_table(CHART, table(chart), chart["fields"], {"title": chart["title"]})
    return media


def main() -> None:
    """Send the jobs on standard input to the place that the first line names.

    A run that fails is left out; after some in a row, none sent between them, nothing more is tried.
    """
    first = json.loads(sys.stdin.readline())
    if first["yields"] and hasattr(os, "nice"):
        os.nice(10)
    place = first["place"]
    online = place["mode"] == "online"
    kept = _kept(Path(place["dir"]))
    lock = Lock()
    failures = 0

    def say(**line: Any) -> None:
        print(json.dumps(line), flush=True)

    def first_line(error: Exception) -> str:
        return (str(error).strip() or type(error).__name__).splitlines()[0]

    def work(line: str) -> None:
        nonlocal failures
        try:
            job = json.loads(line)
            sent = send(job, place, kept.get(job["start"]["id"], []))
        except Exception as error:
            with lock:
                failures += 1
                say(error=first_line(error))
                if failures == FAILURES:
                    os._exit(1)
        else:
            with lock:
                failures = 0
                say(**sent)

    try:
        import wandb

        if online:
            wandb.login(verify=False)
    except Exception as error:
        say(error=first_line(error), login=type(error).__name__ == "UsageError")
        os._exit(1)
    say(ready=True)
    with ThreadPoolExecutor(THREADS if online else 1) as pool:
        for line in sys.stdin:
            pool.submit(work, line)
    wandb.teardown()


if __name__ == "__main__":
    main()
