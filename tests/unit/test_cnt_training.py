"""Both stages of cross-protocol training, from shards in folders to the ordinary network of one protocol.

pytest tests/unit/test_cnt_training.py
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor

from adodn import datasets, models, protocols, publish, settings
from adodn.config import ExperimentConfig
from adodn.data.cache import ShardCache
from adodn.data.loader import ShardLoader
from adodn.data.manifest import Manifest
from adodn.data.mixture import MixtureLoader
from adodn.data.store import S3Store
from adodn.errors import ConfigError
from adodn.evaluate import face_errors
from adodn.model_files import write_model
from adodn.models import Network, SingleBranchNet
from adodn.models.cnt import single_branch_state
from adodn.models.weights import parse_weights
from adodn.protocols.maps import get_map
from adodn.recipes import cnt_smoke, cnt_smoke_stage1
from adodn.train import checkpoint, step
from adodn.train.initial import load_whole_model
from adodn.train.loaders import Supply, on_data, open_loaders
from adodn.train.loop import fit, val_metric
from adodn.train.model_source import read_whole_model
from adodn.train.optimiser import parameter_groups
from adodn.train.state import TrainState, build_state
from adodn.train.step import train_step
from tests.memory_training import Hooked, SmallTrunk
from tests.mixed_folders import write_mapped
from tests.shard_folder import write_dataset

SMALL: dict[str, object] = {"train.global_batch": 8, "train.precision": "fp64", "train.epochs": 2}
WIDE, NARROW = "folder://wide", "folder://narrow/manifest.json"


class Folders:
    """Folders of datasets as a store."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(self, uri: str) -> bytes:
        return (self.root / uri.removeprefix("folder://")).read_bytes()

    def exists(self, uri: str) -> bool:
        return (self.root / uri.removeprefix("folder://")).is_file()


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of 68 landmarks and one of 29, each with training and validation faces."""
    root = tmp_path_factory.mktemp("datasets")
    for name in ("wide", "narrow"):
        (root / name).mkdir()
    wide, narrow = root / "wide", root / "narrow"
    publish_both(wide, write_dataset(wide, (9, 10)), write_dataset(wide, (5,), "val"))
    publish_both(narrow, write_mapped(narrow, (6, 7), "29"), write_mapped(narrow, (3,), "29", first=900, split="val"))
    return root


def publish_both(folder: Path, train: Manifest, val: Manifest) -> None:
    manifest = replace(train, splits={**train.splits, **val.splits})
    (folder / "manifest.json").write_text(manifest.to_json())


def manifests(root: Path) -> list[Manifest]:
    return [Manifest.from_json((root / name / "manifest.json").read_text(), name) for name in ("wide", "narrow")]


def supply(root: Path) -> Supply:
    store = cast(S3Store, Folders(root))
    return Supply(store=store, cache=ShardCache(root / "cache", 10**9), patterns=None, threads=1)


def stage1(root: Path, changes: dict[str, object] | None = None) -> ExperimentConfig:
    return on_data(cnt_smoke_stage1().with_fields(SMALL | (changes or {})), manifests(root))


def small_trunk(network: Network, config: ExperimentConfig) -> Network:
    """In double precision, with a trunk that takes a thousandth of the work; the same weights each time."""
    torch.manual_seed(0)
    network.trunk = SmallTrunk(config.model.batch_norm_faces)  # type: ignore[assignment]
    return network.double()


def state_of(config: ExperimentConfig, steps: int = 4) -> TrainState:
    torch.manual_seed(0)
    network = small_trunk(models.build_for(config), config)
    return build_state(config, network, network, steps)


def trained(
    root: Path, config: ExperimentConfig, after_step: Callable[[TrainState], None]
) -> tuple[TrainState, Hooked]:
    state, hooks = state_of(config), Hooked(after_step)
    train, val = open_loaders(config, [NARROW, WIDE], supply(root))
    return fit(state, train, val, hooks), hooks


@pytest.fixture(scope="module")
def calm(root: Path) -> tuple[TrainState, Hooked]:
    """What an undisturbed first stage comes to."""
    return trained(root, stage1(root), lambda state: None)


def test_several_datasets_are_opened_as_one(root: Path) -> None:
    """Training faces come mixed, validation faces dataset by dataset, in the order of the experiment's sources."""
    config = stage1(root)
    train, val = open_loaders(config, [WIDE, NARROW], supply(root))
    assert isinstance(train, MixtureLoader) and len(train) == 32 // 8
    assert [source.protocol for source in config.data.sources] == ["29", "68"]
    assert isinstance(val, list)
    counts = [[batch.landmarks.shape[1] for batch in faces] for faces in val]
    assert counts == [[29], [68]]
    assert {number for batch in train for number in batch.branches.tolist()} == {0, 1}


def test_the_first_stage_learns_and_names_what_it_validates(calm: tuple[TrainState, Hooked]) -> None:
    """Each dataset has its NME by its own name and normaliser; their mean chooses the best epoch."""
    state, hooks = calm
    assert len(hooks.metrics) == 2 and state.step == 8
    for metrics in hooks.metrics:
        parts = [metrics["val/narrow-29/nme@outer_eye_corners"], metrics["val/toy-68/nme@outer_eye_corners"]]
        assert metrics["val/nme@mean_of_datasets"] == pytest.approx(np.mean(parts))
        assert {name for name in metrics if name.startswith("val/")} == {
            "val/narrow-29/nme@outer_eye_corners",
            "val/toy-68/nme@outer_eye_corners",
            val_metric(state.config),
        }
    assert state.best_nme == min(metrics["val/nme@mean_of_datasets"] for metrics in hooks.metrics)
    assert all(np.isfinite(metrics["train/loss"]) for metrics in hooks.metrics)


def test_validation_is_that_of_the_ordinary_network(root: Path, calm: tuple[TrainState, Hooked]) -> None:
    """A dataset's NME is what evaluation says of trunk and branch as a network of one protocol."""
    state, hooks = calm
    _, val = open_loaders(state.config, [WIDE, NARROW], supply(root))
    for number, (source, faces) in enumerate(zip(state.config.data.sources, cast(list[ShardLoader], val), strict=True)):
        network = small_trunk(models.build(replace(state.config.model, protocol=source.protocol)), state.config)
        network.load_state_dict(single_branch_state(state.network.state_dict(), number))
        network.eval()
        errors = face_errors(
            lambda images, network=network: network(images).landmarks,
            faces,
            source.landmark_protocol,
            "outer_eye_corners",
        )
        told = hooks.metrics[-1][f"val/{source.name}-{source.protocol}/nme@outer_eye_corners"]
        assert told == pytest.approx(float(errors.nme.mean()), rel=1e-9)


@pytest.mark.parametrize("stop", [2, 5])
def test_a_first_stage_that_died_goes_on_as_if_it_had_not(
    root: Path, calm: tuple[TrainState, Hooked], stop: int, tmp_path: Path
) -> None:
    """Resumed in mid-epoch from what was saved, it ends with the same weights and metrics."""

    class Died(Exception):
        pass

    def die(state: TrainState) -> None:
        if state.step == stop:
            (tmp_path / checkpoint.FILE_NAME).write_bytes(checkpoint.to_bytes(state.state_dict()))
            raise Died

    with pytest.raises(Died):
        trained(root, stage1(root), die)
    state, hooks = state_of(stage1(root)), Hooked()
    state.load_state_dict(checkpoint.read(tmp_path / checkpoint.FILE_NAME, "here"))
    train, val = open_loaders(state.config, [WIDE, NARROW], supply(root))
    fit(state, train, val, hooks)
    expected, calm_hooks = calm
    for name, value in expected.network.state_dict().items():
        assert torch.equal(state.network.state_dict()[name], value), name
    for metric in ("train/loss", "val/nme@mean_of_datasets"):
        assert hooks.metrics[-1][metric] == calm_hooks.metrics[-1][metric]


def test_micro_batches_compute_what_one_pass_computes(root: Path) -> None:
    """Four faces at a time, of which some hold one protocol only, give the weights of one pass over eight."""
    config = stage1(root)
    whole, parted = state_of(config), state_of(config)
    train, _ = open_loaders(config, [WIDE, NARROW], supply(root))
    for batch in train:
        told = train_step(parted, batch, micro_batch=4)
        torch.testing.assert_close(told, train_step(whole, batch), rtol=1e-9, atol=1e-9)
    for name, value in whole.network.state_dict().items():
        torch.testing.assert_close(parted.network.state_dict()[name], value, rtol=1e-9, atol=1e-9, msg=name)


def test_a_step_looks_at_no_value_on_its_device(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which branch a face takes is known on the host: to look on a GPU would be to wait. On `meta` is no value."""
    state = state_of(stage1(root).with_fields({"train.precision": "fp32"}))
    train, _ = open_loaders(state.config, [WIDE, NARROW], supply(root))
    state.network.to("meta")
    monkeypatch.setattr(torch, "autocast", lambda *_, **__: nullcontext())  # which `meta` has not

    assert step._backward(state, next(iter(train)), 1.0).is_meta


def stage2(root: Path, calm: tuple[TrainState, Hooked]) -> tuple[TrainState, dict[str, Tensor]]:
    config = on_data(cnt_smoke().with_fields(SMALL | {"train.epochs": 1}), manifests(root)[1:])
    state = state_of(config)
    start = single_branch_state(calm[0].network.state_dict(), 0)
    assert load_whole_model(state.network, start, "stage 1") == []
    return state, {name: value.detach().clone() for name, value in state.network.named_parameters()}


def test_the_second_stage_moves_the_branch_and_hardly_the_trunk(root: Path, calm: tuple[TrainState, Hooked]) -> None:
    """Fine-tuned on one dataset from stage 1's weights, the trunk moves at 1e-7, the branch at 1e-3."""
    state, before = stage2(root, calm)
    assert isinstance(state.network, SingleBranchNet)
    train, val = open_loaders(state.config, [NARROW], supply(root))
    hooks = Hooked()
    fit(state, train, val, hooks)
    moved = {
        name: float((value.detach() - before[name]).abs().max()) for name, value in state.network.named_parameters()
    }
    trunk = max(size for name, size in moved.items() if name.startswith("trunk."))
    branch = max(size for name, size in moved.items() if name.startswith("branch."))
    assert 0 < trunk < 1e-3 * branch
    assert "val/nme@outer_eye_corners" in hooks.metrics[-1]


def test_the_second_stage_has_two_rates(root: Path, calm: tuple[TrainState, Hooked]) -> None:
    """All parameters of the trunk, and no others, have 1e-7."""
    state, _ = stage2(root, calm)
    rates = {
        id(parameter): group["initial_lr"]
        for group in parameter_groups(state.network, state.config)
        for parameter in group["params"]
    }
    for name, parameter in state.network.named_parameters():
        assert rates[id(parameter)] == (1e-7 if name.startswith("trunk.") else 1e-3), name


def test_a_model_of_several_protocols_is_started_from_by_one(root: Path, tmp_path: Path) -> None:
    """From the files of a first stage come trunk and branch of the protocol asked for; another is refused by name."""
    network = models.build_for(stage1(root))
    write_model(tmp_path / "model", network.state_dict(), stage1(root))
    places = settings.Settings()
    content = read_whole_model(str(tmp_path / "model"), protocols.get("68"), places)
    found, expected = parse_weights(content, "here"), single_branch_state(network.state_dict(), 1)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in found)
    with pytest.raises(ConfigError, match="no branch for protocol '98'; it has 29, 68"):
        read_whole_model(str(tmp_path / "model"), protocols.get("98"), places)


def test_the_first_stage_itself_is_not_evaluated(calm: tuple[TrainState, Hooked]) -> None:
    """Asked for, it says that one branch is to be fine-tuned, and how."""
    with pytest.raises(ConfigError, match="--from-model"):
        publish.measure(calm[0].network, calm[0].config, "s3://nowhere", settings.Settings())


def test_other_datasets_than_the_experiments_are_refused(root: Path) -> None:
    """A dataset too few, or one for two, is one clear error."""
    with pytest.raises(ConfigError, match="the experiment is on"):
        open_loaders(stage1(root), [WIDE], supply(root))
    with pytest.raises(ConfigError, match="the experiment is on"):
        open_loaders(on_data(cnt_smoke(), manifests(root)[:1]), [WIDE, NARROW], supply(root))


def test_a_mapped_dataset_has_the_landmarks_of_the_map() -> None:
    """Faces, splits and images are the source's; landmarks are those of the map, and its name is told."""
    counts = {"num_train": 2, "num_val": 1, "num_common": 1, "num_challenging": 1, "size_px": 64}
    plain, mapped = datasets.open("synthetic", **counts), datasets.open("mapped", protocol="29", **counts)
    assert (mapped.name, mapped.protocol, len(mapped)) == ("synthetic-as-29", protocols.get("29"), len(plain))
    assert any("68→29" in problem for problem in mapped.problems)
    to = get_map("68", "29")
    for one, other in zip(plain, mapped, strict=True):
        assert (one.ref, one.image, one.box) == (other.ref, other.image, other.box)
        for point, row in enumerate(to.rows):
            assert other.landmarks[point] == pytest.approx(one.landmarks[list(row)].mean(axis=0))
            assert other.visible[point] == one.visible[list(row)].all()


@pytest.mark.parametrize("options", [{}, {"source": "mapped", "protocol": "29"}, {"protocol": "98"}])
def test_a_map_that_is_not_there_is_refused(options: dict[str, object]) -> None:
    """Without a protocol, on itself, or where no map leads, it is a `ConfigError`."""
    with pytest.raises(ConfigError):
        datasets.open("mapped", **options)
