"""The registry on a real MLflow server: what is registered comes back whole, or not at all.

How aliases move is in `test_promotion.py`.
"""

from dataclasses import replace

import mlflow.pyfunc
import numpy as np
import pytest
import torch
from mlflow.exceptions import RestException

from adodn import models, recipes, registry
from adodn.config import ExperimentConfig
from adodn.errors import CheckpointError, ConfigError, TrackingError
from adodn.predict import Predictor
from tests.registered import CONFIG, NAME, MeanColour, a_report, client, promote, register

pytestmark = pytest.mark.integration

SEPBN_BRANCH = recipes.cnt_smoke().with_fields({"name": "cnt_smoke_sepbn", "model.sepbn.placement": "block_ends"})


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
    assert promote().outcome == "promoted"
    assert version.tags["fingerprint"] == CONFIG.fingerprint()
    for uri in (NAME, version.uri, f"{NAME}@challenger", f"models:/{NAME}@champion"):
        state, config = registry.load_state(uri)
        assert config == CONFIG
        assert all(torch.equal(state[name], value) for name, value in model.state_dict().items())


def test_weights_that_were_changed_are_refused(run_id: str) -> None:
    """A file whose hash is not the registered one is named, with both hashes, and is not loaded."""
    version = register(run_id, 0.1)
    client().set_model_version_tag(NAME, str(version.version), "weights_sha256", "0" * 64)

    with pytest.raises(CheckpointError, match=rf"sha256 of weights\.safetensors must be {'0' * 64}, got"):
        registry.load_state(version.uri)


def test_a_model_that_cannot_be_exported_leaves_no_version(run_id: str) -> None:
    """Registration that fails half-way leaves nothing that an alias or a reader could find."""
    broken = MeanColour()
    broken.linear = torch.nn.Linear(5, 136)

    with pytest.raises(Exception, match="same reduction dim"):
        registry.register(broken, CONFIG, [a_report(0.1)], run_id)

    with pytest.raises(RestException, match="not found"):
        client().get_registered_model(NAME)


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
