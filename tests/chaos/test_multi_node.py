"""Training over several machines with addresses of their own, and what becomes of it when machines and cables fail.

One cluster for all tests: S3 and MLflow on one host, Ray's head on another, three hosts that train, token
authentication, gloo between hosts. `hosts.py` makes the machines; where that is not permitted, all is skipped.

pytest tests/chaos/test_multi_node.py
"""

import http.client
import json
import os
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import ray
from prefect.logging import disable_run_logger

from adodn import datasets, settings
from adodn.data.manifest import ImagePolicy
from adodn.data.shards import shard_dataset
from adodn.errors import StackError
from adodn.mlflow_server import sign_in
from flows import jobs
from infra.config import StackPorts
from tests.chaos.cluster import cluster, wait_until
from tests.chaos.hosts import Host, network, not_permitted
from tests.chaos.submitted import EPOCHS, STEPS, Line, Site

DASHBOARD = StackPorts.model_validate({}).ray_dashboard
FACES = {"num_train": 48, "num_val": 8, "num_common": 8, "num_challenging": 8, "size_px": 80}
CPUS = {"a": 2, "b": 1, "c": 1}


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The cluster, and a small rendered dataset on its S3."""
    if reason := not_permitted():
        pytest.skip(f"needs network namespaces: {reason}")
    folder = Path(tempfile.mkdtemp(prefix="adodn-"))  # a short path: Ray's sockets lie in it
    try:
        with pytest.MonkeyPatch.context() as patch, network(folder) as net, cluster(net, CPUS) as made:
            for name, value in sign_in(made.settings()).items():
                patch.setenv(name, value)
            raw = datasets.open("synthetic", None, **FACES)
            uri, _ = shard_dataset(raw, made.store(), made.settings().datasets_uri, ImagePolicy())
            yield Site(made, uri)
    finally:
        shutil.rmtree(folder)


@pytest.fixture(scope="module")
def trainings(site: Site) -> dict[int, str]:
    """Workers → name of an undisturbed training on a machine, on two, on three."""
    for name, workers, placement in (("one", 1, "PACK"), ("two", 2, "STRICT_SPREAD")):
        site.submit(name, workers, placement)
    for name in ("one", "two"):
        site.outcome(name)
    site.submit("four", 4, "SPREAD")
    site.outcome("four")
    return {1: "one", 2: "two", 4: "four"}


def test_workers_are_on_machines_of_their_own(site: Site, trainings: dict[int, str]) -> None:
    """Two workers on two machines, four on three, each machine with the address that it has."""
    addresses = {host.address for host in site.made.nodes.values()}
    machines = {workers: {line.rank: line.node for line in site.lines(trainings[workers])} for workers in trainings}

    assert {workers: len(ranks) for workers, ranks in machines.items()} == {1: 1, 2: 2, 4: 4}
    assert {workers: len(set(ranks.values())) for workers, ranks in machines.items()} == {1: 1, 2: 2, 4: 3}
    assert set(machines[4].values()) == addresses


def test_any_number_of_workers_sees_the_same_global_batches_in_the_same_order(
    site: Site, trainings: dict[int, str]
) -> None:
    """Face by face: 1, 2 and 4 workers are handed the same batches."""
    alone = site.batches(trainings[1])

    assert len(alone) == EPOCHS * STEPS
    assert all(len(keys) == 16 for keys in alone.values())
    assert site.batches(trainings[2]) == alone
    assert site.batches(trainings[4]) == alone


def test_losses_of_1_2_and_4_workers_agree_within_1e_5_in_fp32_with_frozen_batch_norm(
    site: Site, trainings: dict[int, str]
) -> None:
    """Over four epochs of three steps, on one, two and three machines."""
    alone = site.losses(trainings[1])

    assert len(alone) == EPOCHS
    assert len(set(alone)) == EPOCHS
    assert site.losses(trainings[2]) == pytest.approx(alone, rel=1e-5)
    assert site.losses(trainings[4]) == pytest.approx(alone, rel=1e-5)


def begin(site: Site, name: str, *words: str) -> dict[int, Line]:
    """Begin a training of two workers on two machines; once it has a checkpoint, answers rank → a line of it."""
    site.submit(name, 2, "STRICT_SPREAD", "--checkpoint-steps", "2", *words)

    def has_checkpoint() -> bool:
        assert not site.made.jobs().get_job_status(name).is_terminal(), site.log(name)[-6000:]
        return site.checkpoints(name) > 0

    wait_until(has_checkpoint, f"a checkpoint of {name}")
    return {line.rank: line for line in site.lines(name)}


def assert_undisturbed(site: Site, name: str, trainings: dict[int, str]) -> None:
    """Other workers went on, with the same losses to the last bit, the same batches, and in the one run on MLflow."""
    assert len({line.pid for line in site.lines(name)}) > 2
    assert site.losses(name) == site.losses(trainings[2])
    assert site.batches(name) == site.batches(trainings[2])


def host_of(site: Site, address: str) -> str:
    """The name of the host with an address."""
    return next(name for name, host in site.made.nodes.items() if host.address == address)


def bring_back(site: Site, name: str) -> None:
    """Start a machine's Ray again, after all that is left on it has been killed."""
    site.made.nodes[name].power_off()
    site.made.add_node(name, CPUS[name])
    site.made.wait_for_nodes()


def test_fault_24_a_machine_dies(site: Site, trainings: dict[int, str]) -> None:
    """All on it is killed in mid-epoch: the training goes on on the machines that are left, with the same losses."""
    lost = host_of(site, begin(site, "machine-dies")[1].node)
    site.made.nodes[lost].power_off()

    site.outcome("machine-dies")

    assert_undisturbed(site, "machine-dies", trainings)
    assert site.made.nodes[lost].pids() == []
    bring_back(site, lost)


def test_fault_61_a_machine_is_cut_off(site: Site, trainings: dict[int, str]) -> None:
    """Its cable is pulled in mid-epoch: taken for lost, and replaced. Plugged in again, it ends what it still ran."""
    workers = begin(site, "cut-off")
    lost = host_of(site, workers[1].node)
    site.made.nodes[lost].cut()
    try:
        site.outcome("cut-off")
    finally:
        site.made.nodes[lost].mend()

    assert_undisturbed(site, "cut-off", trainings)
    wait_until(lambda: workers[1].pid not in site.made.nodes[lost].pids(), "the end of the worker that was cut off")
    bring_back(site, lost)


def test_fault_61_two_machines_lose_each_other(site: Site, trainings: dict[int, str]) -> None:
    """Both still reach the head, so only the exchange of gradients can tell: it fails, and is begun again."""
    workers = begin(site, "lose-each-other", "--hang-timeout", "20")
    one, other = (site.made.nodes[host_of(site, workers[rank].node)] for rank in (0, 1))
    one.lose(other)
    try:
        wait_until(
            lambda: not {worker.pid for worker in workers.values()} & {*one.pids(), *other.pids()}, "a new start"
        )
    finally:
        one.find(other)

    site.outcome("lose-each-other")

    assert_undisturbed(site, "lose-each-other", trainings)


def drive(site: Site, program: list[str], **env: str) -> subprocess.CompletedProcess[str]:
    """Run a program on a machine that is not the head, with some variables changed, to its end."""
    host = site.made.nodes["b"]
    return host.run(program, site.made.environment(host) | env)


def train_words(site: Site, name: str) -> list[str]:
    return ["train", "--recipe", "adodn_smoke", "--dataset", site.dataset_uri, "--run-name", name, "--workers", "1"]


def assert_refused(done: subprocess.CompletedProcess[str], *words: str) -> None:
    """One clear error, and nothing else that looks like one."""
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert done.returncode == 1
    assert "Traceback" not in done.stdout + done.stderr
    for word in words:
        assert word in line


def test_fault_34_a_cluster_refuses_whoever_has_not_its_token(site: Site) -> None:
    """Drivers without the token and with a wrong one: the error names the setting. Nothing is tracked."""

    def driven(token: str) -> subprocess.CompletedProcess[str]:
        env = {
            "ADODN_RAY_AUTH_TOKEN": token,
            "RAY_AUTH_TOKEN": token,
            "RAY_AUTH_MODE": "token" if token else "disabled",
        }
        return drive(site, [sys.executable, "-m", "adodn.cli", *train_words(site, "no-token")], **env)

    with ThreadPoolExecutor(2) as pool:  # Ray tries for half a minute
        for done in pool.map(driven, ("", "0" * 64)):
            assert_refused(done, f"{site.made.head.address}:", "ADODN_RAY_AUTH_TOKEN")
    assert site.checkpoints("no-token") == 0
    assert site.runs("no-token") == []


def test_ray_alone_listens_beyond_loopback_and_answers_nobody_without_its_token(site: Site) -> None:
    """All ports of a machine that trains, and of the head's, asked from another one: 401, or no HTTP; no more is told
    than that Ray is well, and its own counters.
    """
    for host in (site.made.head, site.made.nodes["a"]):
        heard = listening(host)
        assert {name for name in heard.values() if "ray" not in name and name != "gcs_server"} <= {"python3"}, heard
        answers = {
            (port, path): asked(host.address, port, path) for port in heard for path in ("", "logs/", "api/jobs/")
        }
        told = {place: text for place, text in answers.items() if text}

        assert any(text.startswith("401") for text in told.values())
        for place, text in told.items():
            known = text.startswith(("401", "403", "404", "# HELP")) or place == (DASHBOARD, "")  # its page of sign-in
            assert known, (place, text)


def listening(host: Host) -> dict[int, str]:
    """Ports on which a machine's processes listen beyond loopback, and the names of those."""
    lines = host.run(["ss", "--listening", "--tcp", "--numeric", "--processes", "--no-header"], os.environ).stdout
    found = [
        (line.split()[3].rpartition(":"), line.partition('users:(("')[2].partition('"')[0])
        for line in lines.splitlines()
    ]
    return {int(port): name for (address, _, port), name in found if not address.startswith(("127.", "[::1]"))}


def asked(address: str, port: int, path: str) -> str:
    """The beginning of an answer to somebody without a token; empty: no HTTP is spoken there."""
    try:
        with urllib.request.urlopen(f"http://{address}:{port}/{path}", timeout=5) as answer:
            return str(answer.read(200).decode(errors="replace"))
    except urllib.error.HTTPError as error:
        return f"{error.code}"
    except (OSError, http.client.HTTPException):
        return ""


def test_fault_35_another_release_of_ray_is_one_clear_error(site: Site) -> None:
    """A driver whose Ray says that it is another release than the cluster's: the error names both."""
    pretend = "import sys, ray; ray.__version__ = '2.59.0'; from adodn import cli; sys.argv = ['adodn', *sys.argv[1:]]"

    done = drive(site, [sys.executable, "-c", f"{pretend}; cli.main()", *train_words(site, "other-release")])

    assert_refused(done, "Version mismatch", "Ray: 2.59.0", f"Ray: {ray.__version__}")
    assert site.runs("other-release") == []


def test_fault_24_a_machine_dies_in_a_search(site: Site) -> None:
    """The trial that ran on it goes on elsewhere at its last checkpoint; all trials come to their end, each once."""
    words = ["search", "--name", "lost-machine", "--recipe", "adodn_smoke", "--dataset", site.dataset_uri, "--json"]
    words += ["--set", "train.epochs=12", "--trials", "4", "--concurrent", "3"]
    words += ["--set", "model.drop_warmup_epochs=12"]  # longer than the training, so that no trial is stopped early
    site.submit_module("lost-machine", ["adodn.cli", *words])
    found: list[tuple[str, str]] = []

    def has_begun() -> bool:
        assert not site.made.jobs().get_job_status("lost-machine").is_terminal(), site.log("lost-machine")[-6000:]
        found[:] = [(name, run) for name in ("b", "c") for run in trials_on(site, name) if 0 < epochs(site, run) < 6]
        return bool(found)

    wait_until(has_begun, "a trial with a checkpoint on a machine of its own")
    lost, trial = found[0]
    site.made.nodes[lost].power_off()
    before = site.listed(trial)

    assert site.ended("lost-machine") == "SUCCEEDED", site.log("lost-machine")[-6000:]
    answer = next(json.loads(line) for line in reversed(site.log("lost-machine").splitlines()) if line[:1] == "{")
    assert [row["state"] for row in answer["trials"]] == ["COMPLETE"] * 4
    assert [len(site.runs(f"lost-machine-{number:04d}")) for number in range(4)] == [1] * 4
    assert_went_on(site, trial, before)
    bring_back(site, lost)


def assert_went_on(site: Site, trial: str, before: dict[str, Any]) -> None:
    """Another process took the trial over, and none of the epochs that had a checkpoint was trained again.

    The list of checkpoints counts its writes: one for who takes over, one for each epoch since.
    """
    after, had = site.listed(trial), before["latest"][0]["epoch"]
    assert 0 < had < 12 and after["writer"] != before["writer"]
    assert after["generation"] - before["generation"] == 1 + after["latest"][0]["epoch"] - had
    assert len(site.losses(trial)) == after["latest"][0]["epoch"]


def epochs(site: Site, run_name: str) -> int:
    """How many a run has finished, by its last checkpoint."""
    return max((kept["epoch"] for kept in site.listed(run_name).get("latest", [])), default=0)


def trials_on(site: Site, name: str) -> list[str]:
    """Runs of Tune's trials on a machine: the process of each works in a folder that is called so."""
    folders = [folder(pid) for pid in site.made.nodes[name].pids() if "ImplicitFunc" in title(pid)]
    return [run for run in folders if run.startswith("lost-machine-")]


def folder(pid: int) -> str:
    """The name of the folder in which a process works."""
    try:
        return Path(psutil.Process(pid).cwd()).name
    except psutil.Error:
        return ""


def title(pid: int) -> str:
    """What a process calls itself."""
    try:
        return " ".join(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:
        return ""


def test_fault_26_the_head_dies(site: Site, trainings: dict[int, str], monkeypatch: pytest.MonkeyPatch) -> None:
    """With it the job: whoever follows it is told once. On a new head the same name goes on to the same end."""
    monkeypatch.setattr(jobs, "_PATIENCE_S", 3.0)
    monkeypatch.setattr(settings, "get", site.made.settings)
    begin(site, "head-dies")
    first = {line.pid for line in site.lines("head-dies")}
    client = site.made.jobs()
    site.made.head.power_off()

    with (
        disable_run_logger(),
        pytest.raises(StackError, match=r"went away with job head-dies: .*at its last checkpoint"),
    ):
        jobs.follow(client, "head-dies")

    for host in site.made.nodes.values():
        wait_until(lambda host=host: not first & set(host.pids()), "the end of the first workers")  # type: ignore[misc]
        host.power_off()
    site.made.restart()
    site.submit("head-dies", 2, "STRICT_SPREAD", "--checkpoint-steps", "2")
    site.outcome("head-dies")
    assert_undisturbed(site, "head-dies", trainings)
