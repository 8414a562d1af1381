"""The page's certificate: the configured one, or a self-signed one made at first start and kept in the state folder.

It names the addresses of that start and is kept when they change: what people have once accepted holds for this very
certificate, and a warning they know is better than one that comes back with every lease.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_LIFE = timedelta(days=820)
_RENEW = timedelta(days=14)
"""A self-signed certificate that ends sooner than this is made anew at start."""


def context(cert: Path | None, key: Path | None, state: Path, addresses: tuple[str, ...]) -> ssl.SSLContext:
    """The TLS context of the page. Raises OSError or ssl.SSLError when the configured files cannot be used."""
    if cert is None or key is None:
        cert, key = state / "page.crt", state / "page.key"
        if not _usable(cert, key):
            _make(cert, key, addresses)
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.load_cert_chain(cert, key)
    return made


def _usable(cert: Path, key: Path) -> bool:
    try:
        found = x509.load_pem_x509_certificate(cert.read_bytes())
        private = serialization.load_pem_private_key(key.read_bytes(), None)
    except (OSError, ValueError):
        return False
    return found.not_valid_after_utc > datetime.now(UTC) + _RENEW and found.public_key() == private.public_key()


def _make(cert: Path, key: Path, addresses: tuple[str, ...]) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    host = socket.gethostname()[:60] or "edge"
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    names: list[x509.GeneralName] = [x509.DNSName("localhost")]
    if host.isascii() and host != "localhost":
        names.append(x509.DNSName(host))
    names += [x509.IPAddress(ipaddress.ip_address(address.split("%")[0])) for address in addresses]
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + _LIFE)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(private, hashes.SHA256())
    )
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    with open(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(pem)
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
