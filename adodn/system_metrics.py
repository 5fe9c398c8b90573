"""Processor, memory, GPU, disk and network of a node, as metrics `system/NODE/…` of an MLflow run.

    with watched("http://127.0.0.1:5500", run_id, "node_0", every_s=10):
        ...

MLflow's own monitor; importing this module takes seconds, because MLflow does.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from threading import Event, Thread

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor

from adodn import mlflow_server

_LAST_S = 10.0
"""How long the end waits for the last figures to be sent."""
_log = logging.getLogger(__name__)


@contextmanager
def watched(tracking_uri: str, run_id: str, node: str, *, every_s: float) -> Iterator[None]:
    """Watch this machine. A server that stays away ends the watching with a warning, never what is watched.

    Nor does one that hangs hold it up: the server is asked by a thread alone.

    Args:
        tracking_uri: Of the MLflow server.
        run_id: An interrupted run goes on where its figures ended.
        node: Names this machine among those of the run.
        every_s: Between two looks; each is sent.
    """
    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # it tells of its beginning and end
    mlflow_server.prepare()
    over = Event()
    watcher = Thread(target=_watch, args=(tracking_uri, run_id, node, every_s, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join(_LAST_S)


def _watch(tracking_uri: str, run_id: str, node: str, every_s: float, over: Event) -> None:
    try:
        monitor = SystemMetricsMonitor(
            run_id, sampling_interval=every_s, resume_logging=True, node_id=node, tracking_uri=tracking_uri
        )  # it asks how far the run is
        monitor.start()
    except Exception as error:
        _log.warning("no metrics of this machine: %s", error)
        return
    over.wait()
    monitor.finish()
