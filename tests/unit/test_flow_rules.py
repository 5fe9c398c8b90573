"""What holds for every flow and every deployment.

pytest tests/unit/test_flow_rules.py
"""

from pathlib import Path
from typing import Any

import pytest
import yaml
from prefect.exceptions import ParameterTypeError
from prefect.utilities.importtools import import_object

from adodn.errors import ConfigError
from flows.jobs import stop_jobs
from flows.search import tune_adodn
from flows.shard import allowed_destination, allowed_root, shard_dataset
from flows.study import study_adodn
from flows.train import allowed_dataset, experiment, train_adodn
from flows.train_cnt import train_cnt

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = {one["name"]: one for one in yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]}
HOSTILE = ("x; rm -rf /", "$(reboot)", "../../etc", "a b", "-rf", "x\nSECOND=1", "ünicode", "x" * 200, "")


@pytest.mark.parametrize("name", [name for name in DEPLOYMENTS if name not in ("shard-dataset", "promote-adodn")])
def test_no_job_outlives_its_flow_run(name: str) -> None:
    """A flow that runs Ray jobs stops them when it is cancelled, has crashed, or failed while they went on."""
    flow: Any = import_object(str(ROOT / DEPLOYMENTS[name]["entrypoint"]))

    assert stop_jobs.__name__ in [hook.__name__ for hook in flow.on_cancellation_hooks]
    assert stop_jobs.__name__ in [hook.__name__ for hook in flow.on_crashed_hooks]
    assert stop_jobs.__name__ in [hook.__name__ for hook in flow.on_failure_hooks]


@pytest.mark.parametrize("name", list(DEPLOYMENTS))
def test_a_second_run_waits_for_the_first(name: str) -> None:
    """But where runs share the work, as those that write the same shards do."""
    limit = DEPLOYMENTS[name].get("concurrency_limit")

    assert limit == (None if name == "shard-dataset" else {"limit": 1, "collision_strategy": "ENQUEUE"})


@pytest.mark.parametrize("name", list(DEPLOYMENTS))
def test_a_run_does_not_die_with_its_worker(name: str) -> None:
    """It would at the first line that it prints, if that went through the worker's pipe."""
    assert DEPLOYMENTS[name]["work_pool"]["job_variables"] == {"stream_output": False}


@pytest.mark.parametrize("value", HOSTILE)
@pytest.mark.parametrize(
    ("flow", "parameter"),
    [
        *[(train_adodn, "run_name"), (train_cnt, "run_name"), (tune_adodn, "name")],
        *[(flow, "recipe") for flow in (train_adodn, train_cnt, tune_adodn, study_adodn)],
        *[(flow, "dataset") for flow in (train_adodn, tune_adodn, study_adodn, shard_dataset)],
        *[(tune_adodn, "space"), (study_adodn, "study")],
    ],
)
def test_hostile_names_are_refused_before_any_work(flow: Any, parameter: str, value: str) -> None:
    """By the parameters' schema, which the server has as well."""
    with pytest.raises(ParameterTypeError):
        flow.validate_parameters({parameter: value})


@pytest.mark.parametrize("changed", [{"workers": 0}, {"workers": "two"}, {"epochs": -1}, {"no_such": 1}])
def test_parameters_of_another_kind_are_refused(changed: dict[str, Any]) -> None:
    """Unknown, out of range, or of another type."""
    with pytest.raises((ParameterTypeError, TypeError)):
        train_adodn.validate_parameters(changed)


@pytest.mark.parametrize(
    "uri",
    [
        *["pipe:cat /etc/passwd", "file:///etc/passwd", "/etc/passwd", "http://169.254.169.254/latest/meta-data"],
        *["s3://another/datasets", "s3://adodn", "s3://adodn/../another/x", "s3://adodnx/y", "S3://adodn/x", ""],
    ],
)
def test_addresses_out_of_the_bucket_are_refused(uri: str) -> None:
    """For datasets to read and for places to write to: nothing is asked for over there."""
    with pytest.raises(ConfigError, match="must lie in s3://adodn/"):
        allowed_dataset(uri)
    with pytest.raises(ConfigError, match="must lie in s3://adodn/"):
        allowed_destination(uri)


def test_a_root_that_is_no_folder_is_refused() -> None:
    """A file is not read for being named."""
    with pytest.raises(ConfigError, match="must be a folder"):
        allowed_root(Path("/etc/passwd"))


@pytest.mark.parametrize("field", ["__class__.x", "train.__init__", "train.epochs; rm", "model", "no.such"])
def test_changes_reach_fields_alone(field: str) -> None:
    """A recipe's change names a field of the config, or is an error."""
    with pytest.raises(ConfigError):
        experiment("adodn_smoke", None, {field: 1})
