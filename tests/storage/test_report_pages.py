"""`adodn evaluate --out` and `adodn report` on a real S3: faces and maps on the page are those of the dataset.

pytest tests/storage/test_report_pages.py
"""

import html
import json
import re
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from adodn import datasets, models, publish, settings
from adodn.cli import build
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import shard_dataset
from adodn.data.store import S3Store
from adodn.errors import DataError
from adodn.model_files import write_model
from adodn.publish import Outcome
from adodn.tracking import Tracker
from adodn.train import checkpoint
from adodn.train.state import build_state
from tests.report_subjects import CONFIG

pytestmark = pytest.mark.integration


def dataset_on(s3: S3Store, folder: str, seed: int) -> str:
    faces = datasets.open("synthetic", seed=seed, num_train=2, num_val=2, num_common=5, num_challenging=5, size_px=64)
    return shard_dataset(faces, s3, folder, ImagePolicy())[0]


def model_folder(folder: Path, seed: int, changes: dict[str, object]) -> Path:
    config = CONFIG.with_fields(changes)
    torch.manual_seed(seed)
    write_model(folder, models.build_for(config).state_dict(), config)
    return folder


def run(command: str, *words: object) -> str:
    done = CliRunner().invoke(build(command), [command, *map(str, words), "--json"])
    if done.exception:
        raise done.exception
    return done.stdout


def test_a_page_is_kept_with_the_run_that_trained_the_model(
    s3: S3Store, s3_folder: str, places: settings.Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`--register` puts the same bytes among the artifacts of the run; MLflow itself, on a database file."""
    monkeypatch.chdir(tmp_path)  # MLflow keeps artifacts below
    monkeypatch.setenv("ADODN_MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/mlflow.db")
    settings.get.cache_clear()
    uri, store = dataset_on(s3, s3_folder, 0), S3Store.from_settings(places)
    tracker = Tracker(settings.get().mlflow_tracking_uri)
    run_id = tracker.start("first", fingerprint=CONFIG.fingerprint(), params={})
    torch.manual_seed(0)
    network = models.build_for(CONFIG)
    content = checkpoint.to_bytes(build_state(CONFIG, network, network, 1).state_dict())
    address = f"{places.runs_uri}/first/best"
    store.put(f"{address}/{checkpoint.FILE_NAME}", content)
    outcome = Outcome(run_name="first", checkpoint_uri=address, val_nme=0.5, epochs=1, tracking_run_id=run_id)
    publish.write_outcome(outcome, places)

    told = json.loads(run("report", "first", "--dataset", uri, "--out", tmp_path / "page.html", "--register"))

    (kept,) = tmp_path.rglob("report/synthetic-full.html")
    assert kept.read_bytes() == (tmp_path / "page.html").read_bytes()
    assert run_id in told["run_url"]


def test_models_and_evaluations_become_pages(
    s3: S3Store, s3_folder: str, places: settings.Settings, tmp_path: Path
) -> None:
    """ADODN against ODN, both measured; then their evaluations: the same words, the faces too, and no maps."""
    uri, out = dataset_on(s3, s3_folder, 0), tmp_path / "page.html"
    ours = model_folder(tmp_path / "adodn", 0, {})
    theirs = model_folder(tmp_path / "odn", 1, {"name": "tiny_odn", "model.occlusion": "distillation"})

    told = json.loads(run("report", ours, "--against", theirs, "--dataset", uri, "--out", out))
    shown = [html.unescape(alt) for alt in re.findall(r'<img src="data:[^"]+" alt="([^"]*)">', out.read_text("utf-8"))]
    for model in (ours, theirs):
        run("evaluate", model, "--dataset", uri, "--out", tmp_path / f"{model.name}-evaluation")
    folders = [tmp_path / f"{model.name}-evaluation" for model in (ours, theirs)]
    again = json.loads(run("report", folders[0], "--against", folders[1], "--dataset", uri, "--out", out))

    assert sum("by A," in alt for alt in shown) == sum("by B," in alt for alt in shown) > 0
    for symbol in ("A: P′", "A: P″", "A: A", "B: P"):
        assert any(alt.startswith(f"Map {symbol} over") for alt in shown)
    assert again["lead"] == told["lead"] and again["title"] == told["title"]
    content = out.read_text(encoding="utf-8")
    assert "Face " in content and "Map A" not in content

    other = dataset_on(s3, f"{s3_folder}-other", 1)
    with pytest.raises(DataError, match="name that one"):
        run("report", folders[0], "--dataset", other, "--out", out)
    assert out.read_text(encoding="utf-8") == content
