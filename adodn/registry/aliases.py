"""MLflow's aliases show what the ledger says; they are set here and nowhere else.

if publish(client, ledger, name): ...       # something had been left undone, by a crash or by hand
"""

import logging

from mlflow import MlflowClient
from mlflow.exceptions import RestException

from adodn import settings
from adodn.data.store import S3Store
from adodn.registry.ledger import Holder, Ledger, Standing
from adodn.registry.versions import CHALLENGER, CHAMPION, ModelVersion, version_of

_log = logging.getLogger(__name__)


def ledger_of(name: str) -> Ledger:
    """The ledger of a registered model."""
    places = settings.get()
    return Ledger(store=S3Store.from_settings(places, "registry"), folder=f"{places.registry_uri}/{name}")


def holder_of(version: ModelVersion) -> Holder:
    """A version as the ledger knows it."""
    return Holder(version=version.version, source=version.source)


def version_at(client: MlflowClient, name: str, holder: Holder | None) -> ModelVersion | None:
    """The version that the ledger means; None if it was deleted, even if another has its number now."""
    if holder is None:
        return None
    try:
        found = client.get_model_version(name, str(holder.version))
    except RestException as cause:
        if cause.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return None
    version = version_of(found, dict(found.tags))
    return version if version.source == holder.source else None


def publish(client: MlflowClient, ledger: Ledger, name: str) -> bool:
    """Make the aliases what the ledger's last entry says, until no newer one has come meanwhile.

    A writer that was slow may so set what is old already, but it looks again before it leaves.

    Returns:
        Whether there was anything to do.
    """
    changed, last = False, ledger.last()
    while last is not None:
        changed |= _publish(client, name, last.standing)
        seen, last = last, ledger.last()
        if last == seen:
            break
    return changed


def _publish(client: MlflowClient, name: str, standing: Standing) -> bool:
    shown = {alias: int(version) for alias, version in _aliases(client, name).items()}
    changed = False
    for alias, holder in ((CHALLENGER, standing.challenger), (CHAMPION, standing.champion)):
        wanted = version_at(client, name, holder)
        if shown.get(alias) == (wanted.version if wanted else None):
            continue
        _log.info("%s of %s: %s → %s, as the ledger says", alias, name, shown.get(alias), wanted and wanted.version)
        changed = True
        if wanted:
            client.set_registered_model_alias(name, alias, str(wanted.version))
        else:
            client.delete_registered_model_alias(name, alias)
    return changed


def _aliases(client: MlflowClient, name: str) -> dict[str, str]:
    try:
        return dict(client.get_registered_model(name).aliases)
    except RestException as cause:
        if cause.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return {}
