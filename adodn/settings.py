"""Where things are: endpoints, buckets, credentials, caches. Nothing here changes what an experiment computes.

Read from the environment (`ADODN_…`), else from `$ADODN_HOME/stack.env`, which `adodn up` writes.
"""

import os
from functools import cache
from pathlib import Path
from typing import Literal, TypeAlias
from urllib.parse import urlsplit

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

S3Role: TypeAlias = Literal["own", "shards", "registry"]
"""For which work S3 is asked: shards and the registry's record may each have a writer of their own."""


def home() -> Path:
    """The folder that holds all local state: `$ADODN_HOME`, else `~/.adodn`."""
    return Path(os.environ.get("ADODN_HOME") or Path.home() / ".adodn").expanduser().resolve()


class Settings(BaseSettings):
    """Endpoints and credentials. Secrets never show in a repr or a log."""

    model_config = SettingsConfigDict(env_prefix="ADODN_", extra="ignore")

    s3_endpoint_url: str = "http://127.0.0.1:8333"
    s3_access_key: str = ""
    """Empty: the keys are those that boto3 and pyarrow find by themselves: AWS's own variables and files, a role of the
    machine or pod."""
    s3_secret_key: SecretStr = SecretStr("")
    s3_session_token: SecretStr = SecretStr("")
    """Of temporary keys, beside the two above."""
    s3_shards_access_key: str = ""
    s3_shards_secret_key: SecretStr = SecretStr("")
    """Who writes shards, where that is another than this process's own identity; likewise the next."""
    s3_registry_access_key: str = ""
    s3_registry_secret_key: SecretStr = SecretStr("")
    s3_region: str = "us-east-1"
    s3_attempts: int = 5
    """Tries of one operation."""
    s3_connect_timeout_s: float = 5
    s3_read_timeout_s: float = 30
    """Longest silence of the store before a try counts as failed."""
    s3_deadline_s: float = 300
    """Of one operation, all its tries and pauses together."""
    bucket: str = "adodn"
    """Holds `datasets/`, `runs/`, `searches/`, `registry/`, `evaluations/`, `weights/` and `patterns/`."""
    mlflow_tracking_uri: str = "http://127.0.0.1:5500"
    mlflow_public_url: str = ""
    """Where browsers reach MLflow, for links alone; empty: as it is reached from here. Likewise Ray's, below."""
    mlflow_username: str = ""
    """Empty: MLflow is asked without a name, or with that of `MLFLOW_TRACKING_USERNAME`."""
    mlflow_password: SecretStr = SecretStr("")
    prefect_api_url: str = "http://127.0.0.1:4200/api"
    prefect_auth_string: SecretStr = SecretStr("")
    """`user:password` of the Prefect server."""
    ray_address: str = ""
    """Of the cluster's head, host:port; empty: the cluster whose job this is, or a local one."""
    ray_dashboard_url: str = "http://127.0.0.1:8265"
    """Also the address of Ray's job server."""
    ray_dashboard_public_url: str = ""
    ray_auth_token: SecretStr = SecretStr("")
    cache_dir: Path = Field(default_factory=lambda: home() / "cache")
    """Verified copies of shards."""
    cache_max_bytes: int = 50_000_000_000
    study_url: str = Field(default_factory=lambda: f"sqlite:///{home()}/studies.db", repr=False)
    """Database of the studies of `adodn search`, as SQLAlchemy writes it, e.g. postgresql+psycopg://user@host/studies;
    it may hold a password, so it is not shown either."""
    study_patience_s: float = 120
    """How long a search waits for that database when it went away."""

    log_format: Literal["text", "json"] = "text"
    """Of the lines that say how far a training is: for people, or an object a line."""
    system_metrics_every_s: float = Field(default=10, ge=0)
    """Between two looks at processor, memory, GPU, disk and network of each node that trains; 0: none."""

    def s3_keys(self, role: S3Role = "own") -> tuple[str, SecretStr]:
        """Access and secret key for a kind of work; this process's own where it was given none for that."""
        if role == "shards" and self.s3_shards_access_key:
            return self.s3_shards_access_key, self.s3_shards_secret_key
        if role == "registry" and self.s3_registry_access_key:
            return self.s3_registry_access_key, self.s3_registry_secret_key
        return self.s3_access_key, self.s3_secret_key

    def as_link(self, url: str) -> str:
        """An address on MLflow or Ray's dashboard as browsers reach it; any other as it is."""
        pairs = (
            (self.mlflow_tracking_uri, self.mlflow_public_url),
            (self.ray_dashboard_url, self.ray_dashboard_public_url),
        )
        for reached, public in pairs:
            within = url.removeprefix(reached.rstrip("/"))
            if public and within != url and within[:1] in ("", "/"):
                return public.rstrip("/") + within
        return url

    @property
    def shared(self) -> dict[str, str]:
        """What processes that work together must agree on. No keys: each process has its own.

        MLflow's address is left out where it may hold a password, or is a file of this machine.
        """
        mlflow = urlsplit(self.mlflow_tracking_uri)
        told = {"mlflow_tracking_uri"} if mlflow.scheme in ("http", "https") and "@" not in mlflow.netloc else set()
        return self.model_dump(include={"s3_endpoint_url", "s3_region", "bucket", "log_format"} | told)

    @property
    def datasets_uri(self) -> str:
        """Where sharded datasets live."""
        return f"s3://{self.bucket}/datasets"

    @property
    def runs_uri(self) -> str:
        """Where checkpoints live."""
        return f"s3://{self.bucket}/runs"

    @property
    def searches_uri(self) -> str:
        """Where searches leave their pictures and best configs."""
        return f"s3://{self.bucket}/searches"

    @property
    def registry_uri(self) -> str:
        """Where it is written who was challenger and champion, and what each registered model was measured to do."""
        return f"s3://{self.bucket}/registry"

    @property
    def evaluations_uri(self) -> str:
        """Where the cells of matrices live, each under the digests of its model, its dataset and what was asked."""
        return f"s3://{self.bucket}/evaluations"

    @property
    def weights_uri(self) -> str:
        """Where weights to start from live, each under its sha256."""
        return f"s3://{self.bucket}/weights"

    @property
    def patterns_uri(self) -> str:
        """Where patterns of occlusion live, each file under its sha256."""
        return f"s3://{self.bucket}/patterns"


def stack_env_path() -> Path:
    """The 0600 file with endpoints and credentials of the local stack."""
    return home() / "stack.env"


@cache
def get() -> Settings:
    """The settings of this process, read once."""
    return Settings(_env_file=stack_env_path())  # type: ignore[call-arg]
