"""A certificate authority for an afternoon, with a server's and a client's certificate, and one that signed neither."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

Signer = tuple[x509.Certificate, rsa.RSAPrivateKey]


class Certificates:
    """PEM files in a directory."""

    def __init__(self, directory: Path) -> None:
        """Make them."""
        self._directory = directory
        authority = self._authority("ca")
        self._authority("other")
        self._signed("server", authority)
        self._signed("client", authority)

    @property
    def ca(self) -> Path:
        """Who signed the others."""
        return self._directory / "ca.pem"

    @property
    def other_ca(self) -> Path:
        """Who signed nothing but itself."""
        return self._directory / "other.pem"

    @property
    def server_options(self) -> list[str]:
        """For mysqld and mariadbd."""
        files = {"ca": "ca.pem", "cert": "server.pem", "key": "server.key"}
        return [f"--ssl-{option}={self._directory / name}" for option, name in files.items()]

    @property
    def client(self) -> dict[str, str]:
        """What a client shows of itself."""
        return {"cert": str(self._directory / "client.pem"), "key": str(self._directory / "client.key")}

    def _authority(self, name: str) -> Signer:
        return self._make(name, None)

    def _signed(self, name: str, by: Signer) -> Signer:
        return self._make(name, by)

    def _make(self, name: str, by: Signer | None) -> Signer:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"subset {name}")])
        issuer, signing = (subject, key) if by is None else (by[0].subject, by[1])
        now = datetime.now(UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(days=1))
            .not_valid_after(now + timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=by is None, path_length=None), critical=True)
            .add_extension(
                x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]),
                critical=False,
            )
            .sign(signing, hashes.SHA256())
        )
        (self._directory / f"{name}.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
        private = self._directory / f"{name}.key"
        private.touch(mode=0o600)
        private.write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.TraditionalOpenSSL,
                serialization.NoEncryption(),
            )
        )
        return certificate, key
