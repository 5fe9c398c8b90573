"""How the stack's S3 server is guarded: who may do what in it, and that nobody goes round it.

argv += [f"-s3.config={identities(config)}"]; env = locks(config)      # private files in the run folder

SeaweedFS stores objects through servers of its own, which listen on ports beside S3's and let in whoever comes. Keys
and a certificate, new at each start and known to nobody, close them; the master's port has no lock (infra/SECURITY.md).
"""

import json
import secrets
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from infra.config import BUCKETS, StackConfig
from infra.credentials import OWNER, KeyPair

_DATA, _MLFLOW = BUCKETS
WRITES = {
    "trainer": ("runs", "searches", "weights", "patterns", "evaluations"),
    "shards": ("datasets",),
    "registry": ("registry",),
}
"""Folders of the data's bucket that a role may write and delete in. Each reads the whole bucket."""
_LOCKS = ("JWT_SIGNING", "JWT_SIGNING_READ", "JWT_FILER_SIGNING", "JWT_FILER_SIGNING_READ")
_PARTS = ("MASTER", "VOLUME", "FILER", "S3", "CLIENT", "ADMIN", "WORKER")


def actions(role: str) -> list[str]:
    """What a role may do, in SeaweedFS's words."""
    if role == OWNER:
        return ["Admin"]
    if role == "mlflow":
        return [f"{action}:{_MLFLOW}" for action in ("Read", "List", "Write")]
    return [f"Read:{_DATA}", f"List:{_DATA}", *(f"Write:{_DATA}/{folder}/*" for folder in WRITES[role])]


def known(pairs: Mapping[str, KeyPair]) -> dict[str, Any]:
    """Each role with its keys and what it may do, as `weed s3 -config` reads it."""
    listed = [
        {
            "name": role,
            "credentials": [{"accessKey": pair.access_key, "secretKey": pair.secret_key}],
            "actions": actions(role),
        }
        for role, pair in pairs.items()
    ]
    return {"identities": listed}


def identities(config: StackConfig) -> Path:
    """Write who may do what where the server reads it."""
    path = config.folder.run / "s3-identities.json"
    config.folder.write_private(path, json.dumps(known(config.credentials.s3)))
    return path


def locks(config: StackConfig) -> dict[str, str]:
    """Variables that close the ports beside S3's: keys for HTTP, a certificate for gRPC."""
    key, certificate = _write_certificate(config)
    files = {f"WEED_GRPC_{part}_CERT": str(certificate) for part in _PARTS}
    files |= {f"WEED_GRPC_{part}_KEY": str(key) for part in _PARTS}
    return {f"WEED_{name}_KEY": secrets.token_hex(32) for name in _LOCKS} | files | {"WEED_GRPC_CA": str(certificate)}


def _write_certificate(config: StackConfig) -> tuple[Path, Path]:
    """A key and the certificate that vouches for itself: who has not both is no part of this server."""
    key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "adodn")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder(subject_name=name, issuer_name=name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=3650))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding, plain = serialization.Encoding.PEM, serialization.NoEncryption()
    texts = {
        "s3-key.pem": key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, plain),
        "s3-certificate.pem": certificate.public_bytes(encoding),
    }
    for file, text in texts.items():
        config.folder.write_private(config.folder.run / file, text.decode())
    key_path, certificate_path = (config.folder.run / file for file in texts)
    return key_path, certificate_path
