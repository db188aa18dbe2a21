"""Encrypted connections, with certificates made here."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from process import serving
from pymilvus import MilvusClient
from pymilvus.exceptions import MilvusException


class Authority:
    """Issues certificates into a folder."""

    def __init__(self, folder: Path, name: str) -> None:
        self.folder = folder
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        self.key = ec.generate_private_key(ec.SECP256R1())
        self.cert = self._signed(self.name, self.key.public_key(), authority=True)
        self.path = self._write(f"{name}.pem", self.cert.public_bytes(serialization.Encoding.PEM))

    def issue(self, name: str) -> tuple[str, str]:
        """Files of a certificate and its key."""
        key = ec.generate_private_key(ec.SECP256R1())
        cert = self._signed(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]), key.public_key())
        pem = key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        return (
            self._write(f"{name}.pem", cert.public_bytes(serialization.Encoding.PEM)),
            self._write(f"{name}.key", pem),
        )

    def _signed(self, subject: x509.Name, key: ec.EllipticCurvePublicKey, *, authority: bool = False):
        now = datetime.datetime.now(datetime.UTC)
        names = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self.name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(minutes=5))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
            .add_extension(x509.SubjectAlternativeName(names), critical=False)
            .sign(self.key, hashes.SHA256())
        )

    def _write(self, name: str, content: bytes) -> str:
        (self.folder / name).write_bytes(content)
        return str(self.folder / name)


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"), "authority")


def tls(certificates: tuple[str, str]) -> list[str]:
    cert, key = certificates
    return ["--set", f"server.tls_cert={cert}", "--set", f"server.tls_key={key}"]


@pytest.fixture(scope="module")
def port(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with serving(tmp_path_factory.mktemp("lake"), *tls(authority.issue("server"))) as (_, found):
        yield found


@pytest.fixture(scope="module")
def mutual(authority: Authority, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    options = [*tls(authority.issue("both")), "--set", f"server.tls_client_ca={authority.path}"]
    with serving(tmp_path_factory.mktemp("lake"), *options) as (_, found):
        yield found


def test_grpc_and_https_share_a_port(authority: Authority, port: int) -> None:
    client = MilvusClient(
        f"https://localhost:{port}", secure=True, server_pem_path=authority.path, server_name="localhost"
    )
    assert client.list_collections() == []
    client.close()
    context = ssl.create_default_context(cafile=authority.path)
    for offered in ([], ["http/1.1"], ["h2", "http/1.1"]):
        if offered:
            context.set_alpn_protocols(offered)
        address = f"https://localhost:{port}/healthz"
        with urllib.request.urlopen(address, context=context, timeout=10) as answer:
            assert answer.status == 200


def test_an_unknown_authority_and_a_plain_connection_are_refused(tmp_path: Path, port: int) -> None:
    stranger = Authority(tmp_path, "stranger")
    for options in ({"server_pem_path": stranger.path, "secure": True}, {}):
        with pytest.raises(MilvusException):
            MilvusClient(f"http://127.0.0.1:{port}", timeout=0.5, **options)
    with pytest.raises((urllib.error.URLError, ConnectionError)):
        urllib.request.urlopen(f"http://localhost:{port}/healthz", timeout=5)


def test_clients_must_show_a_certificate_when_authorities_of_clients_are_named(
    authority: Authority, mutual: int, tmp_path: Path
) -> None:
    cert, key = authority.issue("client")
    client = MilvusClient(
        f"https://localhost:{mutual}",
        secure=True,
        client_pem_path=cert,
        client_key_path=key,
        ca_pem_path=authority.path,
        server_name="localhost",
    )
    assert client.list_collections() == []
    client.close()
    context = ssl.create_default_context(cafile=authority.path)
    context.load_cert_chain(cert, key)
    with urllib.request.urlopen(f"https://localhost:{mutual}/healthz", context=context, timeout=10) as answer:
        assert answer.status == 200
    with pytest.raises(MilvusException):
        MilvusClient(f"https://127.0.0.1:{mutual}", secure=True, server_pem_path=authority.path, timeout=0.5)
    stranger = Authority(tmp_path, "stranger")
    cert, key = stranger.issue("client")
    with pytest.raises(MilvusException):
        MilvusClient(
            f"https://127.0.0.1:{mutual}",
            secure=True,
            client_pem_path=cert,
            client_key_path=key,
            ca_pem_path=authority.path,
            timeout=0.5,
        )
    with pytest.raises((urllib.error.URLError, ConnectionError, ssl.SSLError)):
        urllib.request.urlopen(
            f"https://localhost:{mutual}/healthz",
            context=ssl.create_default_context(cafile=authority.path),
            timeout=5,
        )
