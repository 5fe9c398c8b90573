"""What the driver of a training does before and after, whoever trains: check, record on MLflow, leave the outcome.

check(config, num_workers=2, micro_batch=None)
tracker = start_tracking(config, dataset_uris, run_name, tags, places)
with told_if_it_fails(tracker):
    outcome = conclude(tracker, run_name, places)
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from adodn import models
from adodn.config import ExperimentConfig, check_micro_batch, local_batch
from adodn.data.shards import read_manifest
from adodn.data.store import S3Store
from adodn.interrupts import undisturbed
from adodn.plots import history_figure, spectrum_figure
from adodn.provenance import git_commit
from adodn.publish import Outcome, load_checkpoint, write_outcome
from adodn.settings import Settings
from adodn.tracking import DatasetRef, Tracker, params_of
from adodn.train.checkpoints import read_best
from adodn.train.frozen import freeze
from adodn.train.loaders import check_datasets
from adodn.train.optimiser import parameter_groups
from adodn.train.spectrum import spectra_of_training


def check(config: ExperimentConfig, num_workers: int, micro_batch: int | None) -> None:
    """Refuse what cannot train, before anything is asked for.

    Raises:
        ConfigError: If the workers cannot share the global batch, or a setting does not fit the network.
    """
    local_batch(config, num_workers)
    check_micro_batch(config, micro_batch)
    network = models.build_for(config)  # for real: drawing weights on the meta device imports torch's compiler
    freeze(network, config.train.freeze)
    parameter_groups(network, config)


def start_tracking(
    config: ExperimentConfig, dataset_uris: Sequence[str], run_name: str, tags: Mapping[str, str], places: Settings
) -> Tracker:
    """Begin the training's run on MLflow, or go on with it.

    Raises:
        ConfigError: If the datasets are not those of the experiment.
        TrackingError: If MLflow cannot be reached.
    """
    store = S3Store.from_settings(places)
    manifests = {uri: read_manifest(store, uri) for uri in dataset_uris}
    check_datasets(config, manifests)
    tracker = Tracker(places.mlflow_tracking_uri)
    tracker.start(
        run_name,
        fingerprint=config.fingerprint(),
        params=params_of(config),
        tags={"mlflow.source.git.commit": git_commit(), **tags},
        datasets=[
            DatasetRef(name=manifest.dataset, digest=manifest.digest, uri=uri) for uri, manifest in manifests.items()
        ],
    )
    return tracker


@contextmanager
def told_if_it_fails(tracker: Tracker) -> Iterator[None]:
    """Within, MLflow is told what ended the training early: FAILED by an error, KILLED by a person.

    Not at SystemExit, by which Ray Tune ends a trial early: it says itself what became of it.
    """
    try:
        yield
    except Exception:
        tracker.abandon("FAILED")
        raise
    except KeyboardInterrupt:
        with undisturbed():
            tracker.abandon("KILLED")
        raise


def conclude(tracker: Tracker, run_name: str, places: Settings) -> Outcome:
    """Leave pictures and the checkpoint's address with the run, then the outcome on storage; answers the outcome.

    In this order: a run with an outcome is only looked up, so one of which MLflow has not heard all has none yet.

    Raises:
        CheckpointError: If the best checkpoint is not there as it was saved.
    """
    base_uri = f"{places.runs_uri}/{run_name}"
    kept, epochs = read_best(S3Store.from_settings(places), base_uri)
    assert kept.val_nme is not None
    outcome = Outcome(
        run_name=run_name,
        checkpoint_uri=f"{base_uri}/{kept.folder}",
        val_nme=kept.val_nme,
        epochs=epochs,
        tracking_run_id=tracker.run_id,
        sha256=kept.sha256,
    )
    # Its address, not its bytes: the checkpoint lies on the same S3 as MLflow's files.
    tracker.tag("checkpoint", outcome.checkpoint_uri)
    tracker.log_bytes("training/history.png", history_figure(tracker.history()))
    best, config = load_checkpoint(outcome, places)
    spectra = spectra_of_training(config, best, S3Store.from_settings(places), places.weights_uri)
    if spectra:
        tracker.log_bytes("training/spectrum.png", spectrum_figure(spectra))
    tracker.finish("FINISHED")
    write_outcome(outcome, places)
    return outcome
