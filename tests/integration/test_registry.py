"""The registry on a real MLflow server: what is registered comes back whole, and aliases move only through the gate."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace

import mlflow
import mlflow.pyfunc
import numpy as np
import pytest
import torch
from mlflow.exceptions import RestException
from typer.testing import CliRunner

from adodn import models, protocols, recipes, registry, settings
from adodn.cli import build
from adodn.config import ExperimentConfig, ModelConfig
from adodn.errors import CheckpointError, ConfigError, PromotionRefusedError, TrackingError
from adodn.evaluate import EvaluationReport, FaceErrors, report
from adodn.predict import Predictor
from adodn.tracking import Tracker, params_of

pytestmark = pytest.mark.integration

NAME = "adodn-68"
METRIC = "rendered/all nme@outer_eye_corners"
CONFIG = ExperimentConfig(name="tiny", model=ModelConfig(input_px=64, geometry="none", occlusion="none"))
SEPBN_BRANCH = recipes.cnt_smoke().with_fields({"name": "cnt_smoke_sepbn", "model.sepbn.placement": "block_ends"})


@dataclass
class Answer:
    landmarks: torch.Tensor


class MeanColour(torch.nn.Module):
    """A model small enough to register many times: landmarks from the mean colour."""

    def __init__(self) -> None:
        super().__init__()
        self.linear = torch.nn.Linear(3, 136)

    def forward(self, images: torch.Tensor) -> Answer:
        return Answer(self.linear(images.float().mean(dim=(2, 3)) / 255).view(-1, 68, 2))


def a_report(error: float, digest: str = "a" * 64, dataset: str = "rendered") -> EvaluationReport:
    target = np.zeros((2, 68, 2))
    target[:, 45, 0] = 1  # eyes one pixel apart, so that an error is an NME
    faces = FaceErrors(
        protocol=protocols.get("68"),
        normaliser="outer_eye_corners",
        keys=("one", "two"),
        subsets=(("easy",), ("hard",)),
        predicted=target + np.array([0, error]),
        target=target,
        visible=np.ones((2, 68), dtype=np.bool_),
        boxes=np.array([[0.0, 0, 2, 2]] * 2),
    )
    return report(faces, dataset, digest, "outer_eye_corners")


@pytest.fixture
def run_id(stack: object) -> Iterator[str]:
    """A training run, and a registry that holds no model yet."""
    tracker = Tracker(settings.get().mlflow_tracking_uri)
    client = mlflow.MlflowClient(settings.get().mlflow_tracking_uri)

    def empty() -> None:
        for model in client.search_registered_models(f"name = '{NAME}'"):
            client.delete_registered_model(model.name)

    empty()
    yield tracker.start(CONFIG.run_name, fingerprint=CONFIG.fingerprint(), params=params_of(CONFIG))
    tracker.finish()
    empty()


def register(run_id: str, error: float, digest: str = "a" * 64) -> registry.ModelVersion:
    return registry.register(MeanColour(), CONFIG, [a_report(error, digest)], run_id, who="ann", why="test")


def champion() -> int:
    client = mlflow.MlflowClient(settings.get().mlflow_tracking_uri)
    return int(client.get_model_version_by_alias(NAME, "champion").version)


@pytest.mark.parametrize("config", [CONFIG, recipes.cnt_smoke(), SEPBN_BRANCH], ids=lambda config: config.name)
def test_a_registered_model_predicts_as_the_one_that_was_trained(run_id: str, config: ExperimentConfig) -> None:
    """Predictor and the exported graph, from the registry, answer as the model in memory, for any batch size."""
    torch.manual_seed(0)
    model = models.build(config.model).eval()
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (5, 3, 64, 64), dtype=np.uint8)
    faces = [rng.integers(0, 256, (90, 120, 3), dtype=np.uint8) for _ in range(3)]
    boxes = [(10.0, 20.0, 70.0, 80.0)] * 3
    version = registry.register(model, config, [a_report(0.1)], run_id)

    exported = mlflow.pyfunc.load_model(version.uri)
    loaded = Predictor.load(f"models:/{NAME}@challenger")

    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).landmarks.numpy()
    for count in (1, 2, 5):
        assert exported.predict(images[:count]) == pytest.approx(expected[:count], abs=1e-5)
    for ours, theirs in zip(loaded(faces, boxes), Predictor(model, config)(faces, boxes), strict=True):
        assert np.array_equal(ours.landmarks, theirs.landmarks)
    assert loaded.config == config


def test_a_version_carries_what_it_was_made_of(run_id: str) -> None:
    """Hashes, fingerprint and results are tags; weights and config come back to the last bit, by each form of name."""
    model = MeanColour()
    version = registry.register(model, CONFIG, [a_report(0.1)], run_id, who="ann", why="test")
    promoted = registry.promote_if_better(NAME, METRIC, why="first", who="ann")

    assert promoted.moved
    assert version.tags["fingerprint"] == CONFIG.fingerprint()
    for uri in (NAME, version.uri, f"{NAME}@challenger", f"models:/{NAME}@champion"):
        state, config = registry.load_state(uri)
        assert config == CONFIG
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_weights_that_were_changed_are_refused(run_id: str) -> None:
    """A file whose hash is not the registered one is named, with both hashes, and is not loaded."""
    version = register(run_id, 0.1)
    client = mlflow.MlflowClient(settings.get().mlflow_tracking_uri)
    client.set_model_version_tag(NAME, str(version.version), "weights_sha256", "0" * 64)

    with pytest.raises(CheckpointError, match=rf"sha256 of weights\.safetensors must be {'0' * 64}, got"):
        registry.load_state(version.uri)


def test_the_gate_compares_on_the_same_data_only(run_id: str) -> None:
    """First, better, worse, equal, elsewhere measured: the champion moves for the first two alone."""
    first = register(run_id, 0.10)
    assert registry.promote_if_better(NAME, METRIC, why="w").moved
    assert not registry.promote_if_better(NAME, METRIC, why="again").moved

    worse = register(run_id, 0.11)
    decision = registry.promote_if_better(NAME, METRIC, why="w")
    assert (decision.moved, champion()) == (False, first.version)
    assert "not better" in decision.reason

    register(run_id, 0.10)
    assert not registry.promote_if_better(NAME, METRIC, why="equal is not better").moved

    register(run_id, 0.01, digest="b" * 64)
    decision = registry.promote_if_better(NAME, METRIC, why="other data")
    assert (decision.moved, champion()) == (False, first.version)
    assert "b" * 64 in decision.reason

    registry.add_reports(f"models:/{NAME}@champion", [a_report(0.02, digest="b" * 64)])
    assert registry.promote_if_better(NAME, METRIC, why="now on the same").moved
    assert champion() > worse.version


def test_every_move_is_on_record_and_can_be_undone(run_id: str) -> None:
    """Who, when, from, to, why of each move; rollback walks back through champions and stops at the first."""
    first = register(run_id, 0.10)
    registry.promote_if_better(NAME, METRIC, why="start", who="ann")
    second = register(run_id, 0.05)
    registry.promote_if_better(NAME, METRIC, why="gain", who="bob")

    back = registry.rollback(NAME, why="fails at night", who="eve")

    assert (back.version, champion()) == (first.version, first.version)
    moves = [m for m in registry.audit(NAME) if m.alias == "champion"]
    assert [(m.action, m.from_version, m.to_version, m.who) for m in moves] == [
        ("promote", None, first.version, "ann"),
        ("promote", first.version, second.version, "bob"),
        ("rollback", second.version, first.version, "eve"),
    ]
    assert moves[1].why.startswith("gain (better: ")
    assert [m.when for m in moves] == sorted(m.when for m in moves)
    assert all(m.when.endswith("+00:00") for m in moves)
    with pytest.raises(PromotionRefusedError, match="first champion"):
        registry.rollback(NAME, why="further")


def test_a_gate_without_figures_refuses(run_id: str) -> None:
    """No model, no challenger's figure, or a figure where more is better: an error that says which."""
    with pytest.raises(TrackingError, match="adodn-68"):
        registry.promote_if_better(NAME, METRIC, why="w")
    register(run_id, 0.1)

    with pytest.raises(PromotionRefusedError, match=r"never measured by '300w/all nme'.*rendered/all nme"):
        registry.promote_if_better(NAME, "300w/all nme", why="w")
    with pytest.raises(ConfigError, match="lower is better"):
        registry.promote_if_better(NAME, "rendered/all auc@0.10", why="w")
    with pytest.raises(PromotionRefusedError, match="no champion"):
        registry.rollback(NAME, why="w")


def test_a_model_that_cannot_be_exported_leaves_no_version(run_id: str) -> None:
    """Registration that fails half-way leaves nothing that an alias or a reader could find."""
    broken = MeanColour()
    broken.linear = torch.nn.Linear(5, 136)

    with pytest.raises(Exception, match="same reduction dim"):
        registry.register(broken, CONFIG, [a_report(0.1)], run_id)

    client = mlflow.MlflowClient(settings.get().mlflow_tracking_uri)
    with pytest.raises(RestException, match="not found"):
        client.get_registered_model(NAME)


def test_an_unknown_version_is_a_clear_error(run_id: str) -> None:
    """Loading what was never registered names it and the server."""
    register(run_id, 0.1)

    with pytest.raises(TrackingError, match="models:/adodn-68/77"):
        registry.load_state("models:/adodn-68/77")


def test_reports_of_several_datasets_stand_side_by_side(run_id: str) -> None:
    """Each figure keeps the digest of its own dataset."""
    reports = [a_report(0.1), a_report(0.2, digest="c" * 64, dataset="300w")]
    version = registry.register(MeanColour(), replace(CONFIG, name="two"), reports, run_id)

    assert '"dataset_digest": "' + "c" * 64 in version.tags["result.300w/easy nme:outer_eye_corners"]
    assert '"dataset_digest": "' + "a" * 64 in version.tags["result.rendered/easy nme:outer_eye_corners"]


def test_two_values_of_one_figure_are_refused(run_id: str) -> None:
    """Reports of two versions of a dataset would overwrite each other; the figure is named, and nothing registered."""
    reports = [a_report(0.1), a_report(0.2, digest="c" * 64)]

    with pytest.raises(ConfigError, match=r"'rendered/all auc@0\.08' comes from several of 2 reports"):
        registry.register(MeanColour(), CONFIG, reports, run_id)


def test_figures_of_other_numbers_of_faces_are_not_compared(run_id: str) -> None:
    """A challenger that was measured on fewer faces does not take the place, however good its figure."""
    first = register(run_id, 0.10)
    registry.promote_if_better(NAME, METRIC, why="w")
    version = register(run_id, 0.01)
    client = mlflow.MlflowClient(settings.get().mlflow_tracking_uri)
    tag = "result." + METRIC.replace("@", ":")
    fewer = json.loads(version.tags[tag]) | {"num_faces": 1}
    client.set_model_version_tag(NAME, str(version.version), tag, json.dumps(fewer))

    decision = registry.promote_if_better(NAME, METRIC, why="w")

    assert (decision.moved, champion()) == (False, first.version)
    assert "on 2 faces" in decision.reason


def test_promotion_and_rollback_are_commands(run_id: str) -> None:
    """`adodn promote` moves champion to a better challenger and says why not otherwise; `adodn rollback` undoes it."""
    decide = ["promote", "--metric", METRIC, "--why", "test", "--json"]
    first = register(run_id, 0.05)
    said = [CliRunner().invoke(build("registry"), decide)]
    register(run_id, 0.06)
    said.append(CliRunner().invoke(build("registry"), decide))
    better = register(run_id, 0.04)
    said.append(CliRunner().invoke(build("registry"), decide))
    assert champion() == better.version
    back = CliRunner().invoke(build("registry"), ["rollback", "--why", "test"])

    assert [json.loads(answer.stdout)["moved"] for answer in said] == [True, False, True]
    assert back.stdout == f"{first.uri} is champion again\n"
    assert champion() == first.version
