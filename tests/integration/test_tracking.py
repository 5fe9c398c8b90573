"""Tracking on a real MLflow server, through a relay that can be cut like a network."""

import contextlib
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import mlflow
import pytest

from adodn import recipes, settings
from adodn.errors import TrackingError
from adodn.tracking import DatasetRef, Tracker, params_of
from tests.integration.test_registry import a_report

pytestmark = pytest.mark.integration

CONFIG = recipes.get("adodn_300w")
DATASET = DatasetRef(name="300w", digest="ab" * 32, uri="s3://bucket/datasets/300w/v1")


class Relay:
    """Passes bytes between a port of its own and the server, until it is cut."""

    def __init__(self, uri: str) -> None:
        address = urlsplit(uri)
        self._server = (address.hostname or "", address.port or 80)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._open: list[socket.socket] = []
        self.mend()

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def mend(self) -> None:
        if self._listener.fileno() < 0:
            self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._accept, args=(self._listener,), daemon=True).start()

    def hang(self) -> None:
        """Connections are made, and nothing is ever answered."""
        self.cut()
        self._listener = socket.create_server(("127.0.0.1", self.port))

    def cut(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for end in self._open:
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()
        self._open.clear()

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = listener.accept()
                server = socket.create_connection(self._server)
                self._open += [client, server]
                for source, target in ((client, server), (server, client)):
                    threading.Thread(target=_pass_on, args=(source, target), daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


@pytest.fixture
def relay(stack: object) -> Iterator[Relay]:
    relay = Relay(settings.get().mlflow_tracking_uri)
    yield relay
    relay.cut()


def start(uri: str, run_name: str, **changed: object) -> Tracker:
    tracker = Tracker(uri)
    params = params_of(CONFIG) | changed
    tracker.start(run_name, fingerprint=CONFIG.fingerprint(), params=params, tags={"workers": "2"}, datasets=[DATASET])
    return tracker


@pytest.fixture
def run_name(stack: object) -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


def stored(tracker: Tracker) -> mlflow.entities.Run:
    return mlflow.MlflowClient(settings.get().mlflow_tracking_uri).get_run(tracker.run_id)


def epochs(tracker: Tracker, metric: str) -> list[tuple[int, float]]:
    client = mlflow.MlflowClient(settings.get().mlflow_tracking_uri)
    return sorted((m.step, m.value) for m in client.get_metric_history(tracker.run_id, metric))


def test_history_is_what_the_epochs_were(run_name: str) -> None:
    """Metrics of training and validation come back by epoch, in order; others are not taken for them."""
    tracker = start(settings.get().mlflow_tracking_uri, run_name)
    tracker.log_epoch(2, {"train/loss": 0.5})
    tracker.log_epoch(1, {"train/loss": 1.0, "val/nme@outer_eye_corners": 0.25, "else": 9.0})

    assert tracker.history() == [{"train/loss": 1.0, "val/nme:outer_eye_corners": 0.25}, {"train/loss": 0.5}]


def test_a_restarted_training_continues_its_run(run_name: str) -> None:
    """The same fingerprint and name is one run, its parameters once and its epochs in line; another name is another."""
    uri = settings.get().mlflow_tracking_uri
    first = start(uri, run_name)
    first.log_epoch(0, {"val/nme@outer_eye_corners": 0.5})
    first.finish("FAILED")

    again = start(uri, run_name)
    again.log_epoch(1, {"val/nme@outer_eye_corners": 0.25})
    again.finish()

    assert first.run_id == again.run_id != start(uri, run_name + "-other").run_id
    assert epochs(again, "val/nme:outer_eye_corners") == [(0, 0.5), (1, 0.25)]
    assert stored(again).info.status == "FINISHED"


def test_an_epoch_that_is_trained_again_is_logged_once(run_name: str) -> None:
    """A training that died before its checkpoint comes to an epoch again; the run has it once, and those after it."""
    uri = settings.get().mlflow_tracking_uri
    first = start(uri, run_name)
    for epoch in (1, 2):
        first.log_epoch(epoch, {"train/loss": 1 / epoch})
    first.flush()

    again = start(uri, run_name)
    attached = Tracker(uri)
    attached.attach(again.run_id)
    for tracker in (again, attached):
        tracker.log_epoch(2, {"train/loss": 0.4})
    attached.log_epoch(3, {"train/loss": 0.3})
    attached.flush()

    assert epochs(again, "train/loss") == [(1, 1.0), (2, 0.5), (3, 0.3)]


def test_a_run_says_what_was_computed_on_what(run_name: str) -> None:
    """Every field of the config is a parameter, and the dataset an input, its full digest a tag."""
    run = stored(start(settings.get().mlflow_tracking_uri, run_name))

    assert run.data.params == {name: str(value) for name, value in params_of(CONFIG).items()}
    assert run.data.params["data.augment.rotation_deg"] == "30.0"
    assert run.data.tags["dataset_digest.300w"] == DATASET.digest
    assert run.inputs.dataset_inputs[0].dataset.digest == DATASET.digest[:36]


def test_trainings_that_begin_at_once_on_a_new_dataset_all_begin(stack: object) -> None:
    """The server looks whether it knows a dataset and then writes it down: between the two, another may have."""
    uri = settings.get().mlflow_tracking_uri
    for _ in range(5):
        new = DatasetRef(name="new", digest=uuid.uuid4().hex * 2, uri="s3://bucket/datasets/new/1")
        trackers = [Tracker(uri) for _ in range(6)]
        together = threading.Barrier(len(trackers))

        def begin(tracker: Tracker, dataset: DatasetRef = new, meet: threading.Barrier = together) -> None:
            meet.wait()
            tracker.start(f"at-once-{uuid.uuid4().hex[:8]}", fingerprint="f" * 12, params={}, datasets=[dataset])

        with ThreadPoolExecutor(len(trackers)) as pool:
            list(pool.map(begin, trackers))

        for tracker in trackers:
            (known,) = stored(tracker).inputs.dataset_inputs
            assert known.dataset.name == "new"


def test_parameters_never_change_in_a_run(run_name: str) -> None:
    """The same name with another seed is an error that names the seed, both values and the way out."""
    uri = settings.get().mlflow_tracking_uri
    start(uri, run_name)

    with pytest.raises(TrackingError, match=r"train\.seed = '0', now it is '9'.*another name"):
        start(uri, run_name, **{"train.seed": 9})


def test_an_outage_loses_no_epoch(run_name: str, relay: Relay) -> None:
    """Epochs logged while the server is away arrive when it is back, each once; training does not wait."""
    tracker = start(relay.uri, run_name)
    tracker.log_epoch(0, {"loss": 4.0})
    relay.cut()
    began = time.monotonic()
    tracker.log_epoch(1, {"loss": 3.0})
    assert time.monotonic() - began < 5
    relay.mend()
    tracker.log_epoch(2, {"loss": 2.0})
    tracker.finish()

    assert epochs(tracker, "loss") == [(0, 4.0), (1, 3.0), (2, 2.0)]


def test_a_server_that_hangs_holds_up_no_epoch(run_name: str, relay: Relay, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it takes to find out that nothing is answered, training goes on; when it is, all epochs arrive."""
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "2")  # four times, where 30 s would be too long for a test
    tracker = start(relay.uri, run_name)
    relay.hang()
    for epoch in (0, 1, 2):
        began = time.monotonic()
        tracker.log_epoch(epoch, {"loss": 1.0 + epoch})
        assert time.monotonic() - began < 10
    relay.mend()
    tracker.finish()

    assert epochs(tracker, "loss") == [(0, 1.0), (1, 2.0), (2, 3.0)]


def test_the_end_of_a_run_waits_for_the_server(run_name: str, relay: Relay) -> None:
    """A server that comes back within the tracker's patience gets what is left."""
    tracker = start(relay.uri, run_name)
    relay.cut()
    tracker.log_epoch(0, {"loss": 1.0})
    threading.Timer(5, relay.mend).start()
    tracker.finish()

    assert epochs(tracker, "loss") == [(0, 1.0)]
    assert stored(tracker).info.status == "FINISHED"


def test_a_worker_that_starts_while_the_server_is_away_waits_for_it(run_name: str, relay: Relay) -> None:
    """Ray starts it again but a few times within a minute; so it connects and attaches when the server is back."""
    run_id = start(relay.uri, run_name).run_id
    relay.cut()
    threading.Timer(3, relay.mend).start()
    began = time.monotonic()

    attached = Tracker.attached(relay.uri, run_id)

    assert attached.run_id == run_id
    assert 2 < time.monotonic() - began < 60


def test_no_server_is_one_error_within_seconds(relay: Relay) -> None:
    """Nothing listens: the error names the address and the way out, at once."""
    relay.cut()
    began = time.monotonic()

    with pytest.raises(
        TrackingError, match=rf"'{relay.uri}' could not be reached.*adodn up.*ADODN_MLFLOW_TRACKING_URI"
    ):
        Tracker(relay.uri)
    assert time.monotonic() - began < 20


def test_a_refusal_is_not_taken_for_an_outage(run_name: str) -> None:
    """A name that MLflow does not allow is an error, and stands in no later epoch's way."""
    tracker = start(settings.get().mlflow_tracking_uri, run_name)

    with pytest.raises(TrackingError, match="refused to log epoch 0"):
        tracker.log_epoch(0, {"los$": 1.0})
        tracker.flush()  # on a machine that is slow to refuse
    tracker.log_epoch(1, {"loss": 1.0})
    tracker.flush()
    assert epochs(tracker, "loss") == [(1, 1.0)]


def test_a_report_is_kept_with_its_faces(run_name: str) -> None:
    """Figures are metrics; JSON, per-face CSV and npz are artifacts that read back byte for byte."""
    uri = settings.get().mlflow_tracking_uri
    tracker, report = start(uri, run_name), a_report(0.25)
    tracker.log_report(report)

    def artifact(path: str) -> bytes:
        return Path(mlflow.artifacts.download_artifacts(f"runs:/{tracker.run_id}/{path}")).read_bytes()

    mlflow.set_tracking_uri(uri)
    kept = report.files()
    assert artifact("evaluation/rendered.json") == kept["figures.json"]
    assert artifact("evaluation/rendered.csv") == kept["errors.csv"]
    assert artifact("evaluation/rendered.npz") == kept["errors.npz"]
    assert stored(tracker).data.metrics["rendered/easy nme:outer_eye_corners"] == 0.25
    assert stored(tracker).data.tags["dataset_digest.rendered"] == "a" * 64


def test_attaching_adds_to_a_run_and_leaves_its_status(run_name: str) -> None:
    """What is found out after training goes to the finished run, which stays finished; its page can be opened."""
    uri = settings.get().mlflow_tracking_uri
    trained = start(uri, run_name)
    trained.finish()
    after = Tracker(uri)
    after.attach(trained.run_id)
    after.log_report(a_report(0.5))

    assert stored(trained).info.status == "FINISHED"
    assert stored(trained).data.metrics["rendered/hard nme:outer_eye_corners"] == 0.5
    assert after.run_url == f"{uri}/#/experiments/{stored(trained).info.experiment_id}/runs/{trained.run_id}"
    with pytest.raises(TrackingError, match="find run 'nowhere'"):
        Tracker(uri).attach("nowhere")


def test_a_tracker_without_a_run_says_so(stack: object) -> None:
    """Logging before start is a mistake in the program, and named."""
    with pytest.raises(ValueError, match="call start or attach first"):
        Tracker(settings.get().mlflow_tracking_uri).log_bytes("a.txt", b"")
