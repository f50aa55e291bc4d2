"""What the backend of MySQL and MariaDB knows without asking a server: mostly what only MySQL says."""

from __future__ import annotations

import datetime as dt
import ssl
from pathlib import Path
from typing import Any

import asyncmy.errors
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from sqlalchemy.engine import make_url

from migration.backends import mysql_connection, mysql_errors, mysql_schema, mysql_types
from migration.backends.mysql_server import RECIPE
from migration.errors import SourceUnusable, TargetUnusable
from migration.model import Kind, Uncarried

URL = make_url("mysql://me@127.0.0.1/db")


@pytest.mark.parametrize(("is_source", "failure"), [(True, SourceUnusable), (False, TargetUnusable)])
@pytest.mark.parametrize(
    "said",
    [
        "Error writing file './db/t.ibd' (Errcode: 28 \"No space left on device\")",
        "Disk full (/tmp/#sql); waiting for someone to free some space... (errno: 28)",
    ],
)
def test_a_full_disk_of_the_server_is_told(said: str, is_source: bool, failure: type[Exception]) -> None:
    told = mysql_errors.translate(asyncmy.errors.OperationalError(3, said), URL, is_source=is_source)
    assert isinstance(told, failure)
    assert "The server's disk is full" in str(told)
    assert "Make room on it and try again" in str(told)


@pytest.fixture
def certificate(tmp_path: Path) -> tuple[Path, Path]:
    """A certificate that signs itself, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "me")])
    begins = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    built = x509.CertificateBuilder(
        name, name, key.public_key(), x509.random_serial_number(), begins, begins + dt.timedelta(days=1)
    )
    paths = tmp_path / "certificate.pem", tmp_path / "key.pem"
    paths[0].write_bytes(built.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
    paths[1].write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
    )
    return paths


def context_of(**query: str) -> ssl.SSLContext | None:
    return mysql_connection._tls(URL, mysql_connection._options(URL.set(query=query)))


def test_a_certificate_of_ones_own_is_shown(
    certificate: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    shown = []
    load = ssl.SSLContext.load_cert_chain

    def watched(context: ssl.SSLContext, certfile: str, keyfile: str | None) -> None:
        load(context, certfile, keyfile)
        shown.append((certfile, keyfile))

    monkeypatch.setattr(ssl.SSLContext, "load_cert_chain", watched)
    path, key = map(str, certificate)
    context = context_of(ssl_cert=path, ssl_key=key)
    assert shown == [(path, key)]
    # Who shows a certificate has not said by what the server's is to be judged.
    assert context is not None
    assert context.verify_mode is ssl.CERT_NONE


def test_a_key_that_is_not_the_certificates_is_refused(certificate: tuple[Path, Path]) -> None:
    with pytest.raises(ssl.SSLError):
        context_of(ssl_cert=str(certificate[0]), ssl_key=str(certificate[0]))


def test_only_the_ciphers_that_were_asked_for_are_offered() -> None:
    context = context_of(ssl_cipher="ECDHE-RSA-AES256-GCM-SHA384")
    assert context is not None
    # Those of TLS 1.3 are named apart, and stay.
    older = [found["name"] for found in context.get_ciphers() if found["protocol"] != "TLSv1.3"]
    assert older == ["ECDHE-RSA-AES256-GCM-SHA384"]
    with pytest.raises(ssl.SSLError):
        context_of(ssl_cipher="none of these")


@pytest.mark.parametrize(
    ("kind", "default", "extra", "written"),
    [
        # Bare words of a text are a text; a number needs no quotes; what is computed says so.
        (Kind.TEXT, "it's", "", "'it''s'"),
        (Kind.TEXT, "", "", "''"),
        (Kind.DATE, "2024-02-29", "", "'2024-02-29'"),
        (Kind.TEXT, "12", "", "'12'"),
        (Kind.INTEGER, "12", "", "12"),
        (Kind.DECIMAL, "-0.50", "", "-0.50"),
        (Kind.INTEGER, "b'101'", "", "5"),
        (Kind.INSTANT, "CURRENT_TIMESTAMP(6)", "DEFAULT_GENERATED", "CURRENT_TIMESTAMP(6)"),
        (Kind.INSTANT, "CURRENT_TIMESTAMP", "", "CURRENT_TIMESTAMP"),
        (Kind.TEXT, None, "", None),
        # Only MariaDB means no default by it.
        (Kind.TEXT, "NULL", "", "'NULL'"),
    ],
)
def test_a_default_of_mysql_becomes_an_expression(
    kind: Kind, default: str | None, extra: str, written: str | None
) -> None:
    row = {"column_default": default, "extra": extra}
    assert mysql_types.default_of(row, kind, is_mariadb=False) == written


def test_an_index_that_nobody_uses_is_named() -> None:
    row = {"prefix": None, "method": "BTREE", "column_name": "a", "is_hidden": 1}
    assert mysql_schema._key_oddities("t.by_a", [row]) == [Uncarried("index option", "t.by_a", "INVISIBLE")]
    assert mysql_schema._key_oddities("t.by_a", [row | {"is_hidden": 0}]) == []


def test_a_rule_that_is_not_kept_is_named() -> None:
    found: Any = mysql_schema._Found(
        **{field: {"t": []} for field in mysql_schema._Found.__dataclass_fields__}
    )
    found.checks["t"] = [{"name": "small", "is_enforced": 0}, {"name": "large", "is_enforced": 1}]
    assert mysql_schema._oddities_within("t", found) == [
        Uncarried("constraint option", "t.small", "NOT ENFORCED")
    ]


def test_no_wheel_brings_its_programs() -> None:
    assert (RECIPE.wheel_folders(), RECIPE.wheel_programs) == ([], "")
