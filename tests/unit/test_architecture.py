"""Imports point one way, and each heavy library has one home.

pytest tests/unit/test_architecture.py
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HOMES = {
    "prefect": ("flows/", "infra/", "adodn/prefect_plugin.py"),
    "ray": (
        *(f"adodn/train/{name}.py" for name in ("distributed", "process_group", "scaling", "worker")),
        *("flows/", "tune/", "infra/"),
        "adodn/matrix/cluster.py",  # cells of a matrix are tasks; `adodn/evaluate` itself needs no cluster
    ),
    "mlflow": ("adodn/mlflow_server.py", "adodn/tracking.py", "adodn/system_metrics.py", "adodn/registry/"),
    "optuna": ("tune/",),
    "boto3": ("adodn/data/store.py", "infra/"),
    "botocore": ("adodn/data/store.py", "infra/"),
    "matplotlib": (
        "adodn/plots.py",
        "adodn/report/drawings.py",
        "adodn/matrix/picture.py",
        "tune/pictures.py",
        "tune/study_pictures.py",
    ),
    "numba": ("adodn/datasets/rendering/compiled.py",),
    "sqlalchemy": ("tune/storage.py",),
    "typer": ("adodn/cli.py", "adodn/commands/"),
    "infra": ("infra/", "adodn/commands/"),
    "flows": ("flows/",),
    "tune": ("tune/", "adodn/commands/", "flows/"),
}


def imported_packages(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module.partition(".")[0]


def sources() -> Iterator[Path]:
    for top in ("adodn", "flows", "tune", "infra"):
        yield from (ROOT / top).rglob("*.py")


def test_every_import_is_at_home() -> None:
    """`flows → adodn ← tune`, commands alone reach into infra, and no heavy library leaks."""
    away = [
        f"{path.relative_to(ROOT)} imports {package}"
        for path in sources()
        for package in imported_packages(path)
        if package in HOMES and not path.relative_to(ROOT).as_posix().startswith(HOMES[package])
    ]

    assert away == []


def test_the_rule_sees_imports_wherever_they_stand(tmp_path: Path) -> None:
    """An import inside a function counts as well."""
    file = tmp_path / "late.py"
    file.write_text("def f():\n    import ray.train\n    from mlflow import client\n")

    assert set(imported_packages(file)) == {"ray", "mlflow"}


RUNS_CODE = (
    *(
        "pickle.load",
        "pickle.loads",
        "pickle.Unpickler",
        "marshal.load",
        "marshal.loads",
        "shelve.open",
        "eval",
        "exec",
    ),
    *("torch.jit.load", "torch.export.load", "mlflow.pytorch.load_model", "pandas.read_pickle", "pd.read_pickle"),
    *("yaml.load", "yaml.unsafe_load", "yaml.full_load", "os.system", "os.popen", "shutil.unpack_archive"),
)
"""Reading with these can run what a file says, or write out of a folder."""


def unsafe_readers(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            options = {keyword.arg: ast.unparse(keyword.value) for keyword in node.keywords}
            if called == "torch.load" and options.get("weights_only") != "True":
                yield "torch.load without weights_only=True"
            if called in RUNS_CODE or called.startswith(("joblib.", "cloudpickle.", "mlflow.pyfunc.load")):
                yield called
            if called.endswith((".extract", ".extractall")):
                yield f"{called}, which writes where the archive says"
            if options.get("shell", "False") != "False":
                yield f"{called} through a shell"
            if options.get("allow_pickle", "False") != "False":
                yield f"{called} with allow_pickle"


def test_nothing_is_unpickled() -> None:
    """No file is read in a way that runs code: models, checkpoints and arrays come from others' hands."""
    assert [f"{path.relative_to(ROOT)}: {found}" for path in sources() for found in unsafe_readers(path)] == []


def test_the_rule_sees_what_runs_code(tmp_path: Path) -> None:
    """Each way, and not the safe ones."""
    file = tmp_path / "reads.py"
    file.write_text(
        "torch.load(f)\ntorch.load(f, weights_only=False)\npickle.loads(b)\nnp.load(f, allow_pickle=True)\n"
        "tar.extractall(d)\nyaml.load(t)\nsubprocess.run(c, shell=True)\nmarshal.loads(b)\n"
        "torch.load(f, weights_only=True)\nnp.load(f, allow_pickle=False)\njson.loads(t)\n"
    )

    assert len(list(unsafe_readers(file))) == 8
