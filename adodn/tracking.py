"""What happened in a run, told to MLflow: parameters once, metrics once an epoch, reports and files. Never once a step.

    tracker = Tracker(settings.get().mlflow_tracking_uri)
    tracker.start(config.run_name, fingerprint=config.fingerprint(), params=params_of(config), datasets=[dataset])
    tracker.log_epoch(0, {"train/loss": 0.31})
    tracker.finish()

Importing this module takes seconds, because MLflow does; import it where it is used. Models are `registry`'s.
"""

import hashlib
import json
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Literal, TypeVar

from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, Run, RunTag
from mlflow.exceptions import MlflowException, RestException
from tenacity import Retrying, retry_if_exception, stop_after_attempt

from adodn.config import ExperimentConfig
from adodn.errors import TrackingAwayError, TrackingError
from adodn.evaluate import EvaluationReport
from adodn.mlflow_server import client_of, explained, patiently, reaching
from adodn.outbox import Outbox

_log = logging.getLogger(__name__)
_T = TypeVar("_T")

PARENT = "mlflow.parentRunId"
"""Tag of a run inside another: the other's id."""
_DIGEST_LENGTH = 36
"""MLflow stores no longer digest of a dataset."""
_LONGEST_PARAM, _CUT_AT = 500, 6000
"""Of a parameter: the most that is stored as it is; where MLflow would cut it off without a word."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DatasetRef:
    """The data of a run."""

    name: str
    digest: str
    """sha256 of the manifest."""
    uri: str


EXPERIMENT = "adodn"
"""MLflow's word for a folder of runs: ours."""
PATIENCE_S = 30.0
"""How long a run waits for a server that went away."""


class Tracker:
    """One run on an MLflow server.

    A short outage loses nothing while the process lives: epochs that could not be sent are kept in memory, and go with
    the next, or at `flush` and `finish`. If it dies meanwhile, the run goes on after the checkpoint, without them.

    Args:
        uri: The server's address.
        experiment: MLflow's word for a folder of runs; made where it is missing.
        patience_s: How long calls wait for a server that went away; to make a tracker, `start`, `attach` and `abandon`
            do not wait.
    """

    def __init__(self, uri: str, *, experiment: str = EXPERIMENT, patience_s: float = PATIENCE_S) -> None:
        self._uri = uri
        self._experiment = experiment
        self._patience_s = patience_s
        self._outbox = Outbox()
        self._run: Run | None = None
        self._logged: set[int] = set()
        self._client = client_of(uri)

    @classmethod
    def attached(cls, uri: str, run_id: str, *, patience_s: float = PATIENCE_S) -> "Tracker":
        """A tracker of a run that is there, made with patience: for workers, which Ray starts again but a few times.

        Raises:
            TrackingError: If the server refuses or stays away, or there is no such run.
        """

        def attach() -> Tracker:
            tracker = cls(uri, patience_s=patience_s)
            tracker.attach(run_id)
            return tracker

        return patiently(uri, f"find run {run_id!r}", attach, patience_s)

    @property
    def run_id(self) -> str:
        """The run that was started or attached to."""
        return str(self._known_run().info.run_id)

    @property
    def run_url(self) -> str:
        """Where a browser shows the run."""
        info = self._known_run().info
        return f"{self._uri.rstrip('/')}/#/experiments/{info.experiment_id}/runs/{info.run_id}"

    def attach(self, run_id: str) -> None:
        """Write to a run that is there, and leave its status as it is: for what is found out after training.

        Raises:
            TrackingError: If the server refuses or cannot be reached, or there is no such run.
        """
        with reaching(self._uri, f"find run {run_id!r}"):
            self._run = self._client.get_run(run_id)
            self._logged = self._logged_epochs(self._run)

    def start(
        self,
        run_name: str,
        *,
        fingerprint: str,
        params: Mapping[str, object],
        tags: Mapping[str, str] | None = None,
        datasets: Sequence[DatasetRef] = (),
    ) -> str:
        """Begin a run, or go on with the one that an interrupted training left.

        Args:
            run_name: `config.run_name`.
            fingerprint: A run of this fingerprint and name is continued.
            params: What is computed, flat. Where it runs belongs into `tags`, which may change on a restart.
            tags: Anything else worth finding runs by.
            datasets: What it is trained on.

        Returns:
            The run's id.

        Raises:
            TrackingError: If the server refuses or cannot be reached, or the run to continue has other parameters.
        """
        with reaching(self._uri, f"start run {run_name!r}"):
            experiment = self._experiment_id()
            run = self._find(experiment, run_name, fingerprint)
            if run is None:
                run = self._client.create_run(experiment, run_name=run_name, tags={"fingerprint": fingerprint})
            self._run = run
            self._logged = self._logged_epochs(run)
            self._client.update_run(self.run_id, status="RUNNING")
            self._describe(
                run,
                params,
                {**(tags or {}), **{f"dataset_digest.{dataset.name}": dataset.digest for dataset in datasets}},
            )
            if datasets:
                self._log_inputs([_dataset_input(dataset) for dataset in datasets])
        return self.run_id

    def log_epoch(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Record an epoch, within two seconds: what a server that is away or hangs does not take is sent later.

        An epoch that the run had when it was started or attached to stays as it is: a training that died between
        this and its checkpoint comes to it again.

        Raises:
            TrackingError: If the server is there and refuses this epoch, or one before.
        """
        if epoch not in self._logged:
            now = int(time.time() * 1000)
            sent = [Metric(metric_key(name), value, now, epoch) for name, value in metrics.items()]
            self._outbox.add(partial(self._send_epoch, epoch, sent))

    def log_bytes(self, name: str, data: bytes) -> None:
        """Keep a file with the run.

        Args:
            name: Path in the run's artifacts, e.g. `evaluation/ced.png`.
            data: Its content.

        Raises:
            TrackingError: If the server refuses or stays away, or the temporary folder is full.
        """
        target = PurePosixPath(name)
        folder = None if target.parent == PurePosixPath() else str(target.parent)
        try:
            with tempfile.TemporaryDirectory() as aside:
                path = Path(aside) / target.name
                path.write_bytes(data)
                self._patiently(f"keep {name!r}", lambda: self._client.log_artifact(self.run_id, str(path), folder))
        except OSError as error:
            raise TrackingAwayError(
                f"{name!r} cannot be written to {tempfile.gettempdir()} on its way to MLflow ({error.strerror}); make "
                "room there, or set TMPDIR to a folder that has some, then give the same command again"
            ) from error

    def tag(self, name: str, value: str) -> None:
        """Set a tag of the run.

        Raises:
            TrackingError: If the server refuses or stays away.
        """
        self._set_tag(self.run_id, name, value)

    def history(self) -> list[dict[str, float]]:
        """Metrics of each epoch, in order, once all are sent; those of evaluations are not among them.

        Raises:
            TrackingError: If the server refuses or cannot be reached.
        """
        self.flush()
        epochs: dict[int, dict[str, float]] = defaultdict(dict)
        with reaching(self._uri, "read the epochs"):
            names = self._client.get_run(self.run_id).data.metrics
            for name in sorted(name for name in names if name.startswith(("train/", "val/"))):
                for metric in self._client.get_metric_history(self.run_id, name):
                    epochs[metric.step][name] = metric.value
        return [epochs[epoch] for epoch in sorted(epochs)]

    def log_report(self, report: EvaluationReport) -> None:
        """Record an evaluation: headline figures as metrics, all as JSON, the errors of each face as CSV and npz.

        Raises:
            TrackingError: If the server refuses or stays away.
        """
        now = int(time.time() * 1000)
        metrics = [Metric(metric_key(result.name), result.value, now, 0) for result in report.results]
        tags = [RunTag(f"dataset_digest.{report.dataset}", report.dataset_digest)]
        self._patiently("log a report", lambda: self._client.log_batch(self.run_id, metrics=metrics, tags=tags))
        for file_name, content in report.files().items():
            self.log_bytes(f"evaluation/{report.dataset}{PurePosixPath(file_name).suffix}", content)

    def flush(self) -> None:
        """Send what is left, and leave the run's status as it is.

        Raises:
            TrackingError: If the server refuses or stays away, or refused an epoch before.
        """
        self._patiently("send the epochs", self._outbox.flush)

    def finish(self, status: Literal["FINISHED", "FAILED", "KILLED"] = "FINISHED") -> None:
        """Send what is left, and close the run.

        Raises:
            TrackingError: As `flush`.
        """
        self.flush()
        self._patiently("close the run", lambda: self._client.set_terminated(self.run_id, status))

    def abandon(self, status: Literal["FAILED", "KILLED"]) -> None:
        """Close the run of a training that ended early, if the server can be told: what ended it matters more."""
        try:
            self._client.set_terminated(self.run_id, status)
        except (MlflowException, OSError) as error:
            _log.warning("run %s stays as RUNNING: %s", self.run_id, explained(error, self._uri, "close the run"))

    def finish_nested(
        self, run_name: str, status: Literal["FINISHED", "FAILED", "KILLED"], tags: Mapping[str, str]
    ) -> None:
        """Tag a run inside this one, and close it, if the process that began it could not.

        Raises:
            TrackingError: If the server refuses or stays away.
        """
        mine = f"tags.`{PARENT}` = '{self.run_id}' and attributes.run_name = '{run_name}'"
        experiment = self._known_run().info.experiment_id
        runs = self._patiently("find a run", lambda: self._client.search_runs([experiment], mine))
        for run in runs:
            for name, value in tags.items():
                self._set_tag(run.info.run_id, name, value)
            if run.info.status == "RUNNING":
                self._patiently("close a run", partial(self._client.set_terminated, run.info.run_id, status))

    def nested_without(self, tag: str) -> set[str]:
        """Names of the runs inside this one that lack a tag.

        Raises:
            TrackingError: If the server refuses or stays away.
        """
        mine = f"tags.`{PARENT}` = '{self.run_id}'"
        experiment, found, page = self._known_run().info.experiment_id, set[str](), None
        while page != "":
            query = partial(self._client.search_runs, [experiment], mine, page_token=page)
            runs = self._patiently("list runs", query)
            found |= {str(run.info.run_name) for run in runs if tag not in run.data.tags}
            page = runs.token or ""
        return found

    def _logged_epochs(self, run: Run) -> set[int]:
        """Epochs of training that the server has; those are sent whole, so that one of their metrics tells."""
        names = [name for name in run.data.metrics if name.startswith("train/")]
        return {metric.step for name in names[:1] for metric in self._client.get_metric_history(run.info.run_id, name)}

    def _set_tag(self, run_id: str, name: str, value: str) -> None:
        self._patiently(f"tag {name!r}", lambda: self._client.set_tag(run_id, name, value))

    def _known_run(self) -> Run:
        if self._run is None:
            raise ValueError("the tracker has no run; call start or attach first")
        return self._run

    def _send_epoch(self, epoch: int, metrics: list[Metric]) -> None:
        # Sent twice (the answer got lost), a metric of the same time and step is stored once.
        with reaching(self._uri, f"log epoch {epoch}"):
            self._client.log_batch(self.run_id, metrics=metrics)

    def _patiently(self, doing: str, call: Callable[[], _T]) -> _T:
        return patiently(self._uri, doing, call, self._patience_s)

    def _experiment_id(self) -> str:
        found = self._client.get_experiment_by_name(self._experiment)
        if found is not None:
            return str(found.experiment_id)
        try:
            return str(self._client.create_experiment(self._experiment))
        except RestException as cause:
            if cause.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
            return str(self._client.get_experiment_by_name(self._experiment).experiment_id)

    def _find(self, experiment: str, run_name: str, fingerprint: str) -> Run | None:
        runs = self._client.search_runs([experiment], f"tags.fingerprint = '{fingerprint}'", max_results=1000)
        return next((run for run in runs if run.info.run_name == run_name), None)

    def _log_inputs(self, inputs: list[DatasetInput]) -> None:
        """Say what the run reads.

        Trainings that begin at once on a new dataset all try to write it down, and MLflow answers all but the first
        with what its database said: that it is there already. Asked again, it looks first.
        """
        attempts = Retrying(stop=stop_after_attempt(3), retry=retry_if_exception(_is_bad_request), reraise=True)
        attempts(self._client.log_inputs, self.run_id, datasets=inputs)

    def _describe(self, run: Run, params: Mapping[str, object], tags: Mapping[str, str]) -> None:
        known = run.data.params
        texts = {name: _shortened(str(value)) for name, value in params.items()}
        # Runs of before have long ones as MLflow cut them.
        changed = sorted(
            name for name, text in texts.items() if known.get(name, text) not in (text, str(params[name])[:_CUT_AT])
        )
        if changed:
            name = changed[0]
            raise TrackingError(
                f"run {run.info.run_id} on {self._uri} was started with {name} = {known[name]!r}, now it is "
                f"{texts[name]!r}; parameters never change in a run, so give this training another name"
            )
        fresh = [Param(name, text) for name, text in texts.items() if name not in known]
        self._client.log_batch(self.run_id, params=fresh, tags=[RunTag(*tag) for tag in tags.items()])


def close_left_running(uri: str, run_name: str) -> None:
    """Mark as FAILED the run of a training whose processes were killed before they could; others stay as they are.

    Raises:
        TrackingError: If the server refuses or cannot be reached.
    """
    client = client_of(uri)
    with reaching(uri, f"close run {run_name!r}"):
        experiment = client.get_experiment_by_name(EXPERIMENT)
        mine = f"attributes.run_name = '{run_name}' and attributes.status = 'RUNNING'"
        for run in client.search_runs([experiment.experiment_id], mine) if experiment else ():
            client.set_terminated(run.info.run_id, "FAILED")


def params_of(config: ExperimentConfig) -> dict[str, object]:
    """Dotted field → value, e.g. `train.seed`, of all that decides the result."""
    return dict(_leaves(asdict(config), ""))


def metric_key(name: str) -> str:
    """A result's name as MLflow allows it: `:` stands for `@`."""
    return name.replace("@", ":")


def _shortened(text: str) -> str:
    """A parameter as it is, or one that is long by its beginning, length and sha256; storage has the whole config."""
    if len(text) <= _LONGEST_PARAM:
        return text
    return f"{text[:200]}… ({len(text)} characters, sha256 {hashlib.sha256(text.encode()).hexdigest()})"


def _is_bad_request(cause: BaseException) -> bool:
    return isinstance(cause, RestException) and bool(cause.error_code == "BAD_REQUEST")


def _dataset_input(dataset: DatasetRef) -> DatasetInput:
    entity = Dataset(
        name=dataset.name,
        digest=dataset.digest[:_DIGEST_LENGTH],
        source_type="s3",
        source=json.dumps({"uri": dataset.uri}),
    )
    return DatasetInput(entity, [InputTag("mlflow.data.context", "training")])


def _leaves(tree: Mapping[str, object], prefix: str) -> Iterator[tuple[str, object]]:
    for name, value in tree.items():
        if isinstance(value, dict):
            yield from _leaves(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value
