"""The whole chain, from what a user points at.

trace("adodn-68@champion", settings.get(), read=False).text()
"""

from adodn.data.store import S3Store
from adodn.lineage.beginning import begin
from adodn.lineage.data import Progress, dataset_links, start_links
from adodn.lineage.links import Chain, Link, broken, unverified
from adodn.lineage.model import Trained, model_links
from adodn.settings import Settings


def trace(
    what: str, places: Settings, *, read: bool = True, source: str = "", progress: Progress | None = None
) -> Chain:
    """Follow something back to the photos that its model was trained on.

    Args:
        what: A file of predictions, an exported folder, `models:/NAME/VERSION`, `NAME@ALIAS`, an MLflow run's id, or a
            run's name.
        places: Where stores and servers are.
        read: Read every shard to its last byte; otherwise only ask the store whether it is there.
        source: Key of a face, or sha256 of a photo, to be looked for in the datasets.
        progress: Told of shards checked.

    Raises:
        ConfigError: If `what` is nothing that a chain begins at.
        DataError: If it is a file that holds no predictions.
        TrackingError: If it names what MLflow does not have, or MLflow cannot be reached.
        CheckpointError: If it names a run that does not exist.
    """
    beginning = begin(what)
    links, trained = model_links(beginning, places)
    data = _data(trained, places, read=read, source=source, progress=progress)
    return Chain(what=what, links=(*beginning.links, *links, *data))


def _data(trained: Trained, places: Settings, *, read: bool, source: str, progress: Progress | None) -> list[Link]:
    config = trained.config
    if config is None:
        return [unverified("dataset", "unknown", "the config that names it is not at hand")]
    if not config.data.digests:
        return [unverified("dataset", "unknown", "the config names none: this model was not trained on a dataset")]
    store = S3Store.from_settings(places)
    refs = trained.run.datasets if trained.run else ()
    links = list(start_links(config, store, places))
    for digest in config.data.digests:
        links += dataset_links(digest, refs, store, read=read, source=source, progress=progress)
    return _once(links, source)


def _once(links: list[Link], source: str) -> list[Link]:
    """The face that is looked for is in one of several datasets: that it is in no other breaks nothing."""
    answers = [link for link in links if link.step == "source"]
    found = [link for link in answers if link.state != "broken"]
    if source and not answers:
        answers = [broken("source", source, "there is no dataset at hand to look in")]
    return [link for link in links if link.step != "source"] + (found or answers)
