"""From a finished training to a model that is measured, on record and, if the gate lets it through, champion.

    outcome = read_outcome(run_name, places)
    measured = measure(*load(run_name, places), dataset_uri, places)
    published = publish(measured, outcome.tracking_run_id, places)

Training is not here, nor how results are shown.
"""

import hashlib
import io
import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.errors import CheckpointError, ConfigError, PromotionRefusedError
from adodn.evaluate import ALL, Crop, EvaluationReport, FaceErrors, gather
from adodn.evaluate.running import Showing, evaluate_network
from adodn.model_files import build_network, read_files
from adodn.model_origin import ModelOrigin
from adodn.models import Network
from adodn.plots import ced_figure, error_sheet
from adodn.report import (
    PROVENANCE,
    Subject,
    face_maps,
    model_page,
    provenance_of,
    render,
    shown_faces,
    usual_subset,
)
from adodn.settings import Settings
from adodn.train import checkpoint

REPORT = "report.json"
PICTURES = {"ced.png": "png", "faces.jpg": "jpeg"}
"""File name → image type."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")
"""What a file name should not have."""
_ON_SHEET = 6
"""Best, median and worst faces of the sheet."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """What a finished training leaves behind: references, never tensors."""

    run_name: str
    checkpoint_uri: str
    """Folder of the best checkpoint."""
    val_nme: float
    """Of the best checkpoint, a fraction."""
    epochs: int
    """Epochs trained in all."""
    tracking_run_id: str
    sha256: str = ""
    """Of the best checkpoint's file; empty in outcomes of before it was kept, whose checkpoint is taken as it is."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Measured:
    """A model and what it did on one dataset's test split."""

    network: Network
    config: ExperimentConfig
    report: EvaluationReport
    ced: bytes
    """PNG."""
    sheet: bytes
    """JPEG: best, median and worst faces."""
    crops: Mapping[str, Crop]
    """The faces that pictures and pages show, by key."""

    def subject(self, label: str) -> Subject:
        """What a page shows of it, under the name that people have for it."""
        return Subject(
            label=label,
            report=self.report,
            provenance=provenance_of(self.network, self.config),
            crops=self.crops,
            maps=face_maps(self.network, self.crops),
        )

    def files(self) -> dict[str, bytes]:
        """File name → content, as they are kept and shown: report, error of each face, pictures, provenance."""
        ced, sheet = PICTURES
        return {
            **self.report.files(),
            ced: self.ced,
            sheet: self.sheet,
            PROVENANCE: provenance_of(self.network, self.config).to_json().encode(),
        }


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Known:
    """A model, verified, and where it came from."""

    network: Network
    """In evaluation mode."""
    config: ExperimentConfig
    origin: ModelOrigin


@dataclass(frozen=True, kw_only=True, slots=True)
class Published:
    """Where a model stands now."""

    model_uri: str
    is_champion: bool
    reason: str
    run_url: str
    """Of the MLflow run that trained it."""


def outcome_uri(run_name: str, places: Settings) -> str:
    """Where a run's outcome lies."""
    return f"{places.runs_uri}/{run_name}/outcome.json"


def write_outcome(outcome: Outcome, places: Settings) -> None:
    """Put the outcome beside the run's checkpoints."""
    text = json.dumps(asdict(outcome), sort_keys=True)
    S3Store.from_settings(places).put(outcome_uri(outcome.run_name, places), text.encode())


def claim_run(config: ExperimentConfig, run_name: str, places: Settings) -> Outcome | None:
    """Take a run's name for an experiment, before any work is done.

    Returns:
        The outcome, if the run is finished already; None if there is work to do.

    Raises:
        ConfigError: If the name belongs to another experiment.
    """
    store, uri = S3Store.from_settings(places), f"{places.runs_uri}/{run_name}/experiment.json"
    if not store.put(uri, config.to_json().encode(), if_absent=True):
        owner = ExperimentConfig.from_json(store.get(uri).decode()).fingerprint()
        if owner != config.fingerprint():
            raise ConfigError(
                f"run name {run_name!r} belongs to experiment {owner}, this is {config.fingerprint()}; "
                f"choose another run name"
            )
    return read_outcome(run_name, places) if store.exists(outcome_uri(run_name, places)) else None


def read_outcome(run_name: str, places: Settings) -> Outcome:
    """The outcome of a finished run.

    Raises:
        CheckpointError: If what lies there is no outcome, or there is none, as while the run is still training.
        StorageError: If the store does not answer.
    """
    store, uri = S3Store.from_settings(places), outcome_uri(run_name, places)
    if not store.exists(uri):
        raise CheckpointError(f"no finished run {run_name!r} in {places.runs_uri}; `adodn train` prints a run's name")
    try:
        return Outcome(**json.loads(store.get(uri)))
    except (ValueError, TypeError) as error:
        raise CheckpointError(f"{uri}: not the outcome of a run: {error}; train it again under another name") from error


def evaluation_uri(run_name: str, file_name: str, places: Settings) -> str:
    """Where a file of a run's latest evaluation lies: `REPORT`, or one of `PICTURES`."""
    return f"{places.runs_uri}/{run_name}/evaluation/{file_name}"


def write_evaluation(run_name: str, measured: Measured, answer: dict[str, object], places: Settings) -> None:
    """Put an evaluation beside the run's checkpoints, for those who wait for it; the report comes last."""
    store = S3Store.from_settings(places)
    for file_name, content in measured.files().items():
        store.put(evaluation_uri(run_name, file_name, places), content)
    store.put(evaluation_uri(run_name, REPORT, places), json.dumps(answer, sort_keys=True).encode())


def load_checkpoint(outcome: Outcome, places: Settings) -> tuple[Network, ExperimentConfig]:
    """The network of a run's best checkpoint, in evaluation mode, and its experiment.

    Raises:
        CheckpointError: If it is damaged, or not the one that the run ended with.
    """
    network, config, _ = _load_checkpoint(outcome, places)
    return network, config


def _load_checkpoint(outcome: Outcome, places: Settings) -> tuple[Network, ExperimentConfig, str]:
    uri = f"{outcome.checkpoint_uri}/{checkpoint.FILE_NAME}"
    content = S3Store.from_settings(places).get(uri)
    sha256 = hashlib.sha256(content).hexdigest()
    if outcome.sha256 and sha256 != outcome.sha256:
        raise CheckpointError(
            f"{uri}: sha256 must be {outcome.sha256}, which the run ended with, got {sha256}; train again under a new "
            "run name"
        )
    saved = checkpoint.read(io.BytesIO(content), uri)
    try:
        config, weights = ExperimentConfig.from_json(saved["config"]), saved["network"]
    except (LookupError, TypeError, ValueError) as error:  # tensors and text, but not those of a checkpoint
        raise CheckpointError(
            f"{uri}: not a checkpoint of ours: {error!r}; train again under a new run name"
        ) from error
    try:
        network = build_network(config, weights)
    except CheckpointError as error:
        raise CheckpointError(f"{uri}: {error}") from error
    return network, config, sha256


def load(model: str, places: Settings) -> tuple[Network, ExperimentConfig]:
    """A model by whatever name a user has for it, as `load_known` without its origin."""
    known = load_known(model, places)
    return known.network, known.config


def load_known(model: str, places: Settings) -> Known:
    """A model by whatever name a user has for it: a run's (its best checkpoint), `models:/…`, or a folder's.

    Raises:
        CheckpointError: If it is damaged, or there is no such run, or it is still training.
    """
    if model.startswith("models:/"):
        # MLflow takes seconds to import, and a folder does not need it.
        from adodn import registry

        with registry.fetched(model) as found:
            return Known(
                network=build_network(found.files.config, found.files.state),
                config=found.files.config,
                origin=found.origin,
            )
    if Path(model).is_dir():
        files = read_files(Path(model))
        own = ModelOrigin(source="folder", fingerprint=files.config.fingerprint(), sha256=files.sha256)
        network = build_network(files.config, files.state)
        return Known(network=network, config=files.config, origin=files.origin or own)
    outcome = read_outcome(model, places)
    network, config, sha256 = _load_checkpoint(outcome, places)
    origin = ModelOrigin(
        source="run",
        run_id=outcome.tracking_run_id,
        checkpoint=outcome.checkpoint_uri,
        fingerprint=config.fingerprint(),
        sha256={checkpoint.FILE_NAME: sha256},
    )
    return Known(network=network, config=config, origin=origin)


def is_on_record(model: str) -> bool:
    """Whether a name is of a registered model or a folder of model files, rather than of a run."""
    return model.startswith("models:/") or Path(model).is_dir()


def measure(
    network: Network,
    config: ExperimentConfig,
    dataset_uri: str,
    places: Settings,
    *,
    normaliser: str | None = None,
    showing: Showing | None = None,
) -> Measured:
    """Evaluate on the test split of a sharded dataset, without fine-tuning, in fp32.

    Args:
        network: The model.
        config: The model's experiment.
        dataset_uri: Manifest or folder of the dataset.
        places: Where stores and servers are.
        normaliser: What errors are divided by; None for the usual one of the protocol.
        showing: All else that is asked of it.

    Raises:
        ConfigError: If the dataset has no test split, no maps bring its protocol and the model's together, or where
            they meet there is no such normaliser; or if the model is of several protocols.
    """
    asked = showing or Showing()
    asked = replace(asked, normaliser=normaliser or asked.normaliser)
    found, batches = evaluate_network(network, config, dataset_uri, places, asked)
    on_sheet = {key for keys in found.errors.extremes(_ON_SHEET).values() for key in keys}
    crops = gather(batches, on_sheet | shown_faces(found, usual_subset(found)))
    return Measured(
        network=network,
        config=config,
        report=found,
        ced=ced_figure(_curves(found.errors), found.normaliser),
        sheet=error_sheet(found.errors, crops, count=_ON_SHEET),
        crops=crops,
    )


def publish(measured: Measured, tracking_run_id: str, places: Settings, *, why: str) -> Published:
    """Log an evaluation with the run that trained the model, register the model, and let it challenge the champion.

    The default gate decides, on this evaluation's dataset. A model that it refuses is on record all the same.
    """
    # MLflow takes seconds to import, and measuring alone does not need it.
    from adodn import registry
    from adodn.tracking import Tracker

    tracker = Tracker(places.mlflow_tracking_uri)
    tracker.attach(tracking_run_id)
    tracker.log_report(measured.report)
    for file_name, content in zip(PICTURES, (measured.ced, measured.sheet), strict=True):
        tracker.log_bytes(f"evaluation/{measured.report.dataset}-{file_name}", content)
    page = render(model_page(measured.subject(measured.config.run_name)))
    tracker.log_bytes(page_name(measured.report), page.encode())
    version = registry.register(measured.network, measured.config, [measured.report], tracking_run_id, why=why)
    found = measured.report
    gate = registry.Gate.default().on(found.dataset, found.normaliser, found.qualifier)
    try:
        comparison = registry.compare(version.name, gate, version=version.version)
        decision = registry.promote(comparison, why=why)
        promoted, reason = decision.outcome == "promoted", decision.reason
    except PromotionRefusedError as refused:
        promoted, reason = False, str(refused)
    return Published(model_uri=version.uri, is_champion=promoted, reason=reason, run_url=tracker.run_url)


def page_name(evaluation: EvaluationReport, subset: str = "", against: str = "") -> str:
    """Where the page of a model, or of a model against another, lies among the artifacts of its run."""
    words = [evaluation.dataset, subset or usual_subset(evaluation), *(["against", against] if against else [])]
    return f"report/{_UNSAFE.sub('_', '-'.join(words))}.html"


def tracking_run_of(model: str, places: Settings) -> str:
    """The id of the MLflow run that trained a model, by whatever name a user has for it.

    Raises:
        CheckpointError: If there is no such run.
        ConfigError: If the model is a folder, which belongs to no run.
        TrackingError: If the registry cannot be reached or has no such model.
    """
    if model.startswith("models:/"):
        from adodn.mlflow_server import reaching
        from adodn.registry.versions import connect, resolve

        uri, client = connect()
        with reaching(uri, f"find {model!r}"):
            return resolve(client, model).run_id
    if is_on_record(model):
        raise ConfigError(f"a folder belongs to no MLflow run, got {model!r}; name a run or a registered model")
    return read_outcome(model, places).tracking_run_id


def primary_metric(evaluation: EvaluationReport) -> str:
    """The figure that decides between two models: NME over all faces of the test split."""
    return evaluation.name(ALL, f"nme@{evaluation.normaliser}")


def _curves(errors: FaceErrors) -> dict[str, list[float]]:
    return {subset: values.tolist() for subset, values in errors.by_subset().items() if len(values)}
