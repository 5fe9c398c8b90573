"""Flow `shard-dataset`: a raw dataset to shards on S3. What a shard is, `adodn.data` says.

shard_dataset(dataset="300w", root=Path("300w"))      # answers the manifest's address
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import cv2
import numpy as np
from numpy.typing import NDArray
from prefect import flow, get_run_logger, task
from prefect.context import TaskRunContext
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import exponential_backoff
from pydantic import Field

from adodn import datasets, settings
from adodn.data import images
from adodn.data.crop import stored_face
from adodn.data.exclusions import read_exclusions
from adodn.data.manifest import ImagePolicy, Manifest, ShardEntry
from adodn.data.plan import PlannedShard, ShardPlan, plan
from adodn.data.preview import Preview, preview
from adodn.data.quarantine import BadBudget
from adodn.data.shards import find_shard, own_order, publish_manifest, publish_shard, version_uri
from adodn.data.store import S3Store
from adodn.errors import StorageError
from adodn.samples import Dataset, SampleRef
from flows.allowed import DatasetUri, allowed_destination, allowed_root
from flows.artifacts import (
    create_markdown_artifact,
    create_progress_artifact,
    create_table_artifact,
    update_progress_artifact,
)

DatasetName = StrEnum("DatasetName", sorted((name, name) for name in datasets.names()))  # type: ignore[misc]
_300W, RENDERED = DatasetName("300w"), DatasetName("synthetic")
SHEET_SIDE = 4
TILE_PX = 112


@dataclass(frozen=True, slots=True)
class _Target:
    store: S3Store
    folder: str


@flow(name="shard-dataset", task_runner=ThreadPoolTaskRunner(max_workers=4))  # type: ignore[arg-type]  # TaskRunner is invariant
def shard_dataset(
    dataset: DatasetName = _300W,
    root: Path | None = None,
    options: dict[str, int | str] | None = None,
    max_px: Annotated[int, Field(ge=32, le=2048)] = 384,
    margin: Annotated[float, Field(ge=1, le=8)] = 2.0,
    destination: DatasetUri | None = None,
    exclude: Path | None = None,
    max_bad: str = "0",
    dry_run: bool = False,
) -> str:
    """Write a raw dataset to S3; shards that are there already are not written again.

    Runs of the same dataset at the same time, on any workers, share the work.

    Args:
        dataset: Which raw dataset.
        root: The local folder that holds it; none for a rendered one.
        options: What the dataset takes, e.g. `{"num_train": 500}` or `{"protocol": "98"}`.
        max_px: Largest side of stored images.
        margin: Side of the stored square over that of the face box.
        destination: Folder below `s3://BUCKET/datasets` of the settings' bucket, which is the default.
        exclude: CSV of faces to leave out, key and reason, on the machine that runs the flow.
        max_bad: How many faces that cannot be stored may be left out: a number, or like `0.5%`.
        dry_run: Show what would be written, and write nothing to S3.

    Returns:
        The manifest's address.
    """
    base_uri, budget = allowed_destination(destination), BadBudget.parse(max_bad)
    excluded = read_exclusions(exclude) if exclude else {}
    raw, store = (
        datasets.open(dataset, allowed_root(root), **(options or {})),
        S3Store.from_settings(settings.get(), "shards"),
    )
    if not dry_run:
        store.check(base_uri)
    shard_plan = plan_shards(raw, ImagePolicy(max_px=max_px, margin=margin), excluded, budget)
    target = _Target(store, version_uri(base_uri, shard_plan))
    if dry_run:
        return show_preview(preview(store, base_uri, shard_plan))
    entries = write_shards(raw, target, shard_plan)
    uri, manifest = publish_manifest(target.store, target.folder, shard_plan, entries)
    show_counts(uri, manifest)
    show_faces(raw, shard_plan)
    return uri


@task(name="plan")
def plan_shards(raw: Dataset, policy: ImagePolicy, exclude: Mapping[str, str], max_bad: BadBudget) -> ShardPlan:
    """Read every face once and decide which shard it goes into."""
    shard_plan = plan(raw, policy, exclude=exclude, max_bad=max_bad)
    get_run_logger().info(
        "%s faces, %s shards; %s faces excluded, %s quarantined",
        shard_plan.num_samples,
        len(shard_plan.shards),
        len(shard_plan.excluded),
        len(shard_plan.quarantined),
    )
    return shard_plan


def write_shards(raw: Dataset, target: _Target, shard_plan: ShardPlan) -> dict[str, ShardEntry]:
    """Write all shards, a task each, and show how far it is."""
    artifact = create_progress_artifact(progress=0.0, key="shards-written", description=target.folder)
    futures = [_submit(raw, target, shard, shard_plan.policy) for shard in own_order(shard_plan)]
    entries: dict[str, ShardEntry] = {}
    for future in as_completed(futures):
        entry = ShardEntry(**future.result())
        entries[entry.name] = entry
        update_progress_artifact(artifact, progress=100 * len(entries) / len(futures))
    return entries


def _submit(raw: Dataset, target: _Target, shard: PlannedShard, policy: ImagePolicy) -> PrefectFuture[dict[str, Any]]:
    """A cached result counts only while the shard itself is in the store."""
    missing = find_shard(target.store, target.folder, shard) is None
    named = write_shard.with_options(task_run_name=f"write-{shard.name}", refresh_cache=missing)
    return named.submit(raw, target, shard, policy)


def _cache_key(context: TaskRunContext, parameters: dict[str, Any]) -> str:
    target, shard = parameters["target"], parameters["shard"]
    return f"{target.store.endpoint_url}/{target.folder}/{shard.name}/{shard.digest}".replace("/", "_")


def _is_storage_error(_task: Any, _run: Any, state: Any) -> bool:
    return isinstance(state.result(raise_on_failure=False), StorageError)


@task(
    name="write-shard",
    cache_key_fn=_cache_key,
    persist_result=True,
    result_serializer="json",
    retries=3,
    retry_delay_seconds=exponential_backoff(backoff_factor=2),
    retry_jitter_factor=0.5,
    retry_condition_fn=_is_storage_error,
)
def write_shard(raw: Dataset, target: _Target, shard: PlannedShard, policy: ImagePolicy) -> dict[str, Any]:
    """Write one shard; answers its entry of the manifest as plain JSON."""
    return asdict(publish_shard(raw, target.store, target.folder, shard, policy))


def show_counts(uri: str, manifest: Manifest) -> None:
    """Publish a table of splits, subsets, problems and faces left out."""
    rows: list[dict[str, Any]] = [
        {"what": f"split {split}", "faces": manifest.num_samples(split), "shards": len(shards)}
        for split, shards in manifest.splits.items()
    ]
    _publish_table(rows, manifest, f"{uri}\n\n{manifest.split_rule}")


def show_preview(shown: Preview) -> str:
    """Publish a table of what would be written.

    Returns:
        The address that the manifest would have.
    """
    rows: list[dict[str, Any]] = [
        {
            "what": f"split {split}, about {part.megabytes:.1f} MB, {len(part.in_store)} shards in the store",
            "faces": part.faces,
            "shards": part.shards,
        }
        for split, part in shown.splits.items()
    ]
    problem = f"\n\nThe store could not be asked: {shown.store_problem}" if shown.store_problem else ""
    _publish_table(rows, shown, f"Dry run, nothing was written: {shown.manifest}\n\n{shown.split_rule}{problem}")
    get_run_logger().info("dry run, nothing was written: %s", shown)
    return shown.manifest


def _publish_table(rows: list[dict[str, Any]], shown: Manifest | Preview, description: str) -> None:
    """Add to the splits what manifest and preview both have."""
    rows += [{"what": f"subset {name}", "faces": faces, "shards": ""} for name, faces in shown.subsets.items()]
    rows += [{"what": f"lacks: {problem}", "faces": "", "shards": ""} for problem in shown.problems]
    if shown.excluded:
        rows.append({"what": "excluded as asked", "faces": len(shown.excluded), "shards": ""})
    rows += [{"what": f"quarantined: {key}: {why}", "faces": 1, "shards": ""} for key, why in shown.quarantined.items()]
    create_table_artifact(table=rows, key="sharded-dataset", description=description)


def show_faces(raw: Dataset, shard_plan: ShardPlan) -> None:
    """Publish a sheet of stored faces with their landmarks."""
    refs = shard_plan.shards[0].refs
    count = min(SHEET_SIDE**2, len(refs))
    picked = [refs[i * len(refs) // count] for i in range(count)]
    jpeg = images.encode(_sheet(raw, picked, shard_plan.policy), quality=80)
    encoded = base64.b64encode(jpeg).decode()
    create_markdown_artifact(
        f"![{shard_plan.dataset}](data:image/jpeg;base64,{encoded})", key="sharded-faces", description="Stored faces"
    )


def _sheet(raw: Dataset, refs: Sequence[SampleRef], policy: ImagePolicy) -> NDArray[np.uint8]:
    sheet = np.zeros((SHEET_SIDE * TILE_PX, SHEET_SIDE * TILE_PX, 3), dtype=np.uint8)
    for place, ref in enumerate(refs):
        top, left = (TILE_PX * i for i in divmod(place, SHEET_SIDE))
        sheet[top : top + TILE_PX, left : left + TILE_PX] = _tile(raw, ref, policy)
    return sheet


def _tile(raw: Dataset, ref: SampleRef, policy: ImagePolicy) -> NDArray[np.uint8]:
    jpeg, record = stored_face(raw.read(ref), policy)
    pixels = images.decode(jpeg, ref.locator)
    scale = TILE_PX / max(pixels.shape[:2])
    warp = np.array([[scale, 0, 0.5 * scale - 0.5], [0, scale, 0.5 * scale - 0.5]])
    tile = cv2.warpAffine(pixels, warp, (TILE_PX, TILE_PX), flags=cv2.INTER_AREA)
    for point in np.array(record.landmarks) @ warp[:, :2].T + warp[:, 2]:
        cv2.circle(tile, (round(point[0]), round(point[1])), 1, (0, 255, 0), -1)
    return np.asarray(tile, dtype=np.uint8)
