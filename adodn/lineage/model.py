"""The steps from a model to the experiment that trained it: registered version or checkpoint, run, config, code.

links, trained = model_links(begin("models:/adodn-68/3"), places)
trained.config, trained.run
"""

import hashlib
from dataclasses import asdict, dataclass, replace

from adodn import provenance, publish
from adodn.config import ExperimentConfig
from adodn.data.store import S3Store
from adodn.errors import AdodnError, CheckpointError, StorageError, TrackingAwayError, TrackingError
from adodn.lineage.beginning import Beginning, is_run_id
from adodn.lineage.links import Link, broken, unverified, verified
from adodn.model_origin import ModelOrigin
from adodn.registry import ModelVersion, RunRecord, fetched, find_run, find_version
from adodn.settings import Settings
from adodn.train import checkpoint


@dataclass(frozen=True, kw_only=True, slots=True)
class Trained:
    """What is known of a training, as far as the chain has come."""

    run_id: str = ""
    run: RunRecord | None = None
    config: ExperimentConfig | None = None
    config_from: str = ""
    """Where the config was read, in words."""
    fingerprint: str = ""
    """As the step before claims it."""


def model_links(beginning: Beginning, places: Settings) -> tuple[list[Link], Trained]:
    """Every step from the model to its code.

    Raises:
        TrackingError: If the chain begins on MLflow, and that has no such model or run, or cannot be reached.
        CheckpointError: If it begins at a run's name, and there is no such run.
    """
    origin = beginning.origin
    trained = Trained(config=beginning.config, config_from="config.json" if beginning.config else "")
    links: list[Link] = []
    if origin:
        trained = replace(trained, run_id=origin.run_id, fingerprint=origin.fingerprint)
    if name := beginning.model or (origin.model if origin else ""):
        link, trained = _registered(name, origin, trained)
        links.append(link)
    elif origin and origin.checkpoint:
        links.append(_checkpoint(origin, places))
    elif beginning.run:
        known = is_run_id(beginning.run)
        run_id = beginning.run if known else publish.read_outcome(beginning.run, places).tracking_run_id
        trained = replace(trained, run_id=run_id)
    link, trained = _run(trained, places, must_exist=origin is None)
    return [*links, link, _config(trained), _code(trained.run)], trained


def _registered(name: str, origin: ModelOrigin | None, trained: Trained) -> tuple[Link, Trained]:
    try:
        with fetched(name) as found:
            known = replace(
                trained,
                run_id=found.version.run_id,
                config=found.files.config,
                config_from="config.json of the registered model",
                fingerprint=found.version.tags.get("fingerprint", ""),
            )
            facts = {"uri": found.version.uri, "sha256": found.sha256, "tags": found.version.tags}
            if origin and (differs := _difference(origin, found.origin)):
                return broken("model", found.version.uri, differs, facts), known
            why = f"all {len(found.sha256)} files in the artifact store have the sha256 that was recorded"
            lines = tuple(f"{sha256}  {file}" for file, sha256 in found.sha256.items())
            return verified("model", found.version.uri, why, facts, lines=lines), known
    except CheckpointError as error:
        version = find_version(name)
        return broken("model", version.uri, str(error), {"uri": version.uri, "tags": version.tags}), _of_tags(
            version, trained
        )
    except TrackingError as error:
        if origin is None:
            raise
        kind = unverified if isinstance(error, TrackingAwayError) else broken
        return kind("model", name, str(error)), trained


def _of_tags(version: ModelVersion, trained: Trained) -> Trained:
    """Files that were changed say nothing; the registry's own database still does."""
    return replace(
        trained, run_id=version.run_id, config=None, config_from="", fingerprint=version.tags.get("fingerprint", "")
    )


def _difference(claimed: ModelOrigin, found: ModelOrigin) -> str:
    """What a file claims of a model that the registry does not say, in words; empty where they agree."""
    for file, sha256 in sorted(found.sha256.items()):
        if claimed.sha256.get(file) != sha256:
            return f"sha256 of {file} was {claimed.sha256.get(file, 'not said')}, the registry has {sha256}"
    for field in ("fingerprint", "run_id"):
        said, known = getattr(claimed, field), getattr(found, field)
        if said and said != known:
            return f"its {field} was {said}, the registry has {known}"
    return ""


def _checkpoint(origin: ModelOrigin, places: Settings) -> Link:
    uri = f"{origin.checkpoint}/{checkpoint.FILE_NAME}"
    expected = origin.sha256.get(checkpoint.FILE_NAME, "")
    try:
        actual = hashlib.sha256(S3Store.from_settings(places).get(uri)).hexdigest()
    except StorageError as error:
        return unverified("checkpoint", uri, str(error), {"sha256": expected})
    if actual != expected:
        return broken("checkpoint", uri, f"its sha256 was {expected}, now it is {actual}", {"sha256": expected})
    return verified("checkpoint", uri, f"it has sha256 {expected}", {"sha256": expected})


def _run(trained: Trained, places: Settings, *, must_exist: bool) -> tuple[Link, Trained]:
    if not trained.run_id:
        return unverified("run", "unknown", "nothing says which run trained it"), trained
    try:
        run = find_run(trained.run_id)
    except TrackingError as error:
        if must_exist and trained.config is None:
            raise
        kind = unverified if isinstance(error, TrackingAwayError) else broken
        return kind("run", trained.run_id, str(error), {"run_id": trained.run_id}), trained
    subject = f"{run.name} ({run.run_id}), {run.status}"
    facts = {key: value for key, value in asdict(run).items() if key != "datasets"}
    trained = replace(trained, run=run)
    if trained.config is None:
        trained = _experiment(trained, run, places)
    expected = trained.config.fingerprint() if trained.config else trained.fingerprint
    if not expected:
        return unverified("run", subject, "there is no config to compare its fingerprint with", facts), trained
    if run.fingerprint != expected:
        why = f"its fingerprint is {run.fingerprint or 'not on record'}, that of the config is {expected}"
        return broken("run", subject, why, facts), trained
    return verified("run", subject, f"its fingerprint {expected} is that of the config", facts), trained


def _experiment(trained: Trained, run: RunRecord, places: Settings) -> Trained:
    """The config that a run left beside its checkpoints, where it did."""
    uri = f"{places.runs_uri}/{run.name}/experiment.json"
    try:
        config = ExperimentConfig.from_json(S3Store.from_settings(places).get(uri).decode())
    except (AdodnError, ValueError):
        return trained
    return replace(trained, config=config, config_from=uri, fingerprint=trained.fingerprint or run.fingerprint)


def _config(trained: Trained) -> Link:
    config = trained.config
    if config is None:
        return unverified(
            "config", trained.fingerprint or "unknown", "neither model nor run has a config that is whole"
        )
    actual = config.fingerprint()
    subject = f"{config.name}, fingerprint {actual}"
    facts = {"fingerprint": actual, "config": asdict(config), "read_from": trained.config_from}
    if trained.fingerprint and actual != trained.fingerprint:
        return broken("config", subject, f"on record is fingerprint {trained.fingerprint}", facts)
    return verified("config", subject, f"computed anew from {trained.config_from}", facts)


def _code(run: RunRecord | None) -> Link:
    if run is None or run.commit in ("", "unknown"):
        return unverified(
            "code", "unknown", "the run does not say which code it was" if run else "the run is not known"
        )
    commit, dirty = run.commit.removesuffix("+"), run.commit.endswith("+")
    subject = f"commit {commit}, {'with changes that were not committed' if dirty else 'no file changed'}"
    facts = {"commit": commit, "dirty": dirty}
    try:
        found = provenance.has_commit(commit)
    except ValueError as error:
        return unverified("code", subject, str(error), facts)
    if not found:
        reason = "this code lies in no repository" if found is None else "the repository of this code does not have it"
        return unverified("code", subject, reason, facts)
    if dirty:
        why = "the repository has the commit, but nobody kept what had been changed beside it"
        return unverified("code", subject, why, facts)
    return verified("code", subject, "the repository of this code has it", facts)
