"""Processor, memory, GPU, disk and network of a node, as metrics `system/NODE/…` of an MLflow run.

    with watched("http://127.0.0.1:5500", run_id, "node_0", every_s=10):
        ...

MLflow's own monitor; importing this module takes seconds, because MLflow does.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from mlflow.system_metrics.system_metrics_monitor import SystemMetricsMonitor


@contextmanager
def watched(tracking_uri: str, run_id: str, node: str, *, every_s: float) -> Iterator[None]:
    """Watch this machine. A server that stays away ends the watching with a warning, never what is watched.

    Args:
        tracking_uri: Of the MLflow server.
        run_id: An interrupted run goes on where its figures ended.
        node: Names this machine among those of the run.
        every_s: Between two looks; each is sent.
    """
    logging.getLogger("mlflow.system_metrics").setLevel(logging.WARNING)  # it tells of its beginning and end
    monitor = SystemMetricsMonitor(
        run_id, sampling_interval=every_s, resume_logging=True, node_id=node, tracking_uri=tracking_uri
    )
    monitor.start()
    try:
        yield
    finally:
        monitor.finish()
