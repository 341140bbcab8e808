"""Certificates made at test time, good and bad, and a key server that shows them."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tests.unit.verify.mint import Host

DAY = timedelta(days=1)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _private(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


@dataclass
class Authority:
    """A certificate authority of our own; `file` is what those who trust it are given."""

    file: Path
    key: ec.EllipticCurvePrivateKey
    name: x509.Name

    @classmethod
    def new(cls, file: Path) -> Authority:
        """One that nobody knows yet."""
        key, name = ec.generate_private_key(ec.SECP256R1()), _named(f"authority {file.stem}")
        made = _builder(name, name, key, datetime.now(UTC) - DAY, DAY * 30)
        made = made.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False,
            key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
            decipher_only=False,
        )  # fmt: skip
        made = made.add_extension(usage, critical=True)
        file.write_bytes(made.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        return cls(file, key, name)

    def issue(self, file: Path, host: str, *, begins: timedelta = -DAY, lasts: timedelta = DAY * 2) -> Path:
        """A certificate for this host, with its key, in one file."""
        key = ec.generate_private_key(ec.SECP256R1())
        return self._write(file, key, _builder(_named(host), self.name, key, datetime.now(UTC) + begins, lasts), host)

    def _write(self, file: Path, key: ec.EllipticCurvePrivateKey, made: x509.CertificateBuilder, host: str) -> Path:
        made = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        made = made.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        made = made.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        own = x509.AuthorityKeyIdentifier.from_issuer_public_key(self.key.public_key())  # type: ignore[arg-type]  # an EC key.
        signed = made.add_extension(own, critical=False).sign(self.key, hashes.SHA256())
        file.write_bytes(_private(key) + signed.public_bytes(serialization.Encoding.PEM))
        return file


def self_signed(file: Path, host: str) -> Path:
    """A certificate for this host that nobody vouches for but itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    made = _builder(_named(host), _named(host), key, datetime.now(UTC) - DAY, DAY * 2)
    signed = made.add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
    file.write_bytes(_private(key) + signed.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    return file


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey, begins: datetime, lasts: timedelta
) -> x509.CertificateBuilder:  # fmt: skip
    made = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
    made = made.serial_number(x509.random_serial_number()).not_valid_before(begins).not_valid_after(begins + lasts)
    return made.add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)


@contextlib.contextmanager
def key_server(host: Host, certificate: Path) -> Iterator[int]:
    """A real TLS server that answers as this host is told to; its port."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            host.calls += 1
            host.answer(self)

        def log_message(self, *args: Any) -> None:
            return

    class Server(ThreadingHTTPServer):
        daemon_threads = True

        def finish_request(self, request: Any, client_address: Any) -> None:
            # In the connection's own thread: a client that breaks the handshake off stops nobody else.
            with context.wrap_socket(request, server_side=True) as wrapped:
                super().finish_request(wrapped, client_address)

        def handle_error(self, *args: Any) -> None:
            return

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    try:
        yield server.server_port
    finally:
        host.release.set()
        server.shutdown()
        server.server_close()
