"""Passwords in URLs, in messages and in details: none is ever left."""

from __future__ import annotations

import enum
import json
from pathlib import PurePosixPath
from urllib.parse import quote, quote_plus, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.engine import URL, make_url

from migration import redaction
from migration.clock import monotonic
from migration.redaction import MARK, redact, redact_url, redact_value, scrub, secrets_of

# Characters that mean something to URLs, shells, SQL, JSON and patterns come up more often than by chance.
AWKWARD = "@:/%-?#&=+ '\"\\*{}[]()$\n\tä€😀"
passwords = st.text(st.one_of(st.sampled_from(AWKWARD), st.characters(exclude_categories=["Cs"])), min_size=1)
BEST_KNOWN = [
    "p@ss",
    "a:b",
    "a/b",
    "50%",
    "a-b",
    "p%40ss",
    "@:/%-",
    "?x=1",
    "#1",
    "'",
    '"',
    "\\",
    "a b",
    "***",
    "*a*",
]


def url_with(password: str) -> URL:
    return URL.create(
        "postgresql+asyncpg", "user", password, "db.example", 5433, "shop", {"application_name": "x"}
    )


# --- redact_url ---------------------------------------------------------------------------------------------


@given(passwords)
def test_a_url_without_its_password_does_not_depend_on_the_password(password: str) -> None:
    expected = "postgresql+asyncpg://user:***@db.example:5433/shop?application_name=x"
    assert redact_url(url_with(password)) == expected
    assert redact_url(url_with(password).render_as_string(hide_password=False)) == expected


@given(passwords)
def test_a_password_that_was_not_encoded_is_hidden_up_to_the_last_at_sign(password: str) -> None:
    assert redact_url(f"postgresql://user:{password}@host/db") == "postgresql://user:***@host/db"


@given(passwords)
def test_a_url_parsed_from_such_a_text_hides_what_the_parser_took_for_a_host(password: str) -> None:
    parsed = URL.create("postgresql", "user", "p", host=f"{password}@host", database="db")
    assert redact_url(parsed) == "postgresql://user:***@host/db"


@pytest.mark.parametrize("password", BEST_KNOWN)
def test_well_known_troublemakers_are_hidden(password: str) -> None:
    assert redact_url(f"postgresql://user:{password}@host:1/db") == "postgresql://user:***@host:1/db"


@pytest.mark.parametrize(
    "name", ["password", "PASSWORD", "passwd", "client_secret", "auth-token", "sslkey", "sslpassword", "pwd"]
)
@given(value=passwords)
def test_query_parameters_that_hold_secrets_are_hidden(name: str, value: str) -> None:
    for url in (
        URL.create("postgresql", "user", host="host", query={name: value, "ssl": "on"}),
        f"postgresql://user@host?{name}={quote_plus(value)}&ssl=on",
    ):
        assert make_url(redact_url(url)).query == {name: MARK, "ssl": "on"}
        assert MARK in redact_url(url)


def test_a_parameter_given_twice_is_hidden_as_one() -> None:
    assert redact_url("postgresql://h/d?token=one&token=two") == "postgresql://h/d?token=***"


@pytest.mark.parametrize(
    "url",
    [
        "sqlite:////tmp/a:b@c.db",
        "sqlite:///shop.db",
        "postgresql://host:5432/db",
        "postgresql://user@host/db",
        "/tmp/shop.db",
        "",
    ],
)
def test_a_url_without_secrets_is_left_as_it_is(url: str) -> None:
    assert unquote(redact_url(url)) == url


def test_a_url_that_cannot_be_taken_apart_is_hidden_all_the_same() -> None:
    redacted = redact_url("postgresql://user:hunter2@host:port/db?token=t0ken")
    assert redacted == "postgresql://user:***@host:port/db?token=***"


def test_a_text_that_is_no_url_keeps_no_secret_either() -> None:
    assert redact_url("host=h user=u password=hunter2 dbname=d") == "host=h user=u password=*** dbname=d"


# --- secrets_of and scrub -----------------------------------------------------------------------------------


@given(passwords, st.text(max_size=20), st.text(max_size=20))
def test_no_spelling_of_a_password_survives(password: str, before: str, after: str) -> None:
    secrets = secrets_of(url_with(password))
    spellings = [
        password,
        quote(password, safe=""),
        quote(password),
        quote_plus(password),
        json.dumps(password)[1:-1],
        repr(password)[1:-1],
        repr(password.encode())[2:-1],
        password.replace("'", "''"),
    ]
    for spelling in spellings:
        left = scrub(f"{before}{spelling}{after}", secrets)
        for secret in secrets:
            assert secret in MARK or secret not in left


@given(passwords)
def test_a_typed_url_gives_the_spelling_that_was_typed(password: str) -> None:
    typed = "".join(f"%{byte:02x}" for byte in password.encode())
    secrets = secrets_of(f"postgresql://user:{typed}@host/db")
    assert typed in secrets
    assert password in secrets


@given(passwords)
def test_a_typed_password_that_was_not_encoded_is_known_whole(password: str) -> None:
    assert password in secrets_of(f"postgresql://user:{password}@host/db")


def test_the_pieces_of_a_password_that_a_parser_cut_are_known() -> None:
    secrets = secrets_of("postgresql://user:one@two-three@host/db")
    assert {"one@two-three", "one", "two-three"} <= set(secrets)
    assert "host" not in secrets
    parsed = secrets_of(URL.create("postgresql", "user", "one", "two-three@host"))
    assert {"one"} <= set(parsed)


def test_a_url_object_that_was_cut_wrong_gives_the_piece_in_its_host() -> None:
    secrets = secrets_of(make_url("postgresql://user:one@two@three@host/db"))
    assert {"one", "two", "three"} <= set(secrets)


def test_secrets_in_the_query_are_known() -> None:
    url = "postgresql://user@host/db?sslpassword=k%26y&token=one&token=two&ssl=on"
    assert {"k%26y", "k&y", "one", "two"} <= set(secrets_of(url))
    assert {"k&y", "one", "two"} <= set(secrets_of(make_url(url)))
    assert "on" not in secrets_of(url)


def test_the_secrets_of_a_url_that_cannot_be_parsed_are_known() -> None:
    assert {"hunter2", "t0ken"} <= set(secrets_of("postgresql://user:hunter2@host:port/db?token=t0ken"))


@pytest.mark.parametrize(
    "url", ["sqlite:///a.db", "postgresql://user@host/db", "postgresql://user:@host", "/tmp/a.db"]
)
def test_a_url_without_a_password_has_no_secrets(url: str) -> None:
    assert secrets_of(url) == ()


def test_the_longest_spelling_comes_first() -> None:
    lengths = [len(secret) for secret in secrets_of(url_with("p@ss w/rd"))]
    assert lengths == sorted(lengths, reverse=True)


@given(st.text(AWKWARD + "ab"), st.lists(st.text(AWKWARD + "ab", max_size=5), max_size=4))
def test_whatever_the_secrets_are_none_is_left(text: str, secrets: list[str]) -> None:
    left = scrub(text, secrets)
    for secret in secrets:
        assert secret in MARK or secret not in left


@given(st.text(), st.lists(st.text(), max_size=3))
def test_scrubbing_twice_changes_nothing(text: str, secrets: list[str]) -> None:
    once = scrub(text, secrets)
    assert scrub(once, secrets) == once


def test_overlapping_occurrences_leave_no_end_standing() -> None:
    assert scrub("xababay", ["aba"]) == "x***y"
    assert scrub("the secretary", ["secret", "retar"]) == "the ***y"


def test_a_secret_that_grows_together_from_what_is_left_is_hidden_too() -> None:
    assert "*x" not in scrub("a*xxb", ["*x"])


def test_a_text_without_secrets_is_left_as_it_is() -> None:
    assert scrub("nothing here", ["", "***", "absent"]) == "nothing here"


def test_canary_a_spelling_that_is_not_looked_for_survives() -> None:
    assert "p%40ss" in scrub("p%40ss", ["p@ss"])


# --- redact -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cannot reach postgresql://u:p@ss@h/db now", "cannot reach postgresql://u:***@h/db now"),
        ("dsn: host=h password=hunter2 user=u", "dsn: host=h password=*** user=u"),
        (r"password='it\'s' user=u", "password=*** user=u"),
        ("PASSWORD = x'y", "PASSWORD = ***"),
        ("sslpassword=k&ssl=on", "sslpassword=***&ssl=on"),
        ("see http://h/?auth_token=t0ken#top", "see http://h/?auth_token=***#top"),
        ("secure_tokens: 64 rows", "secure_tokens: 64 rows"),
        ("key=5 differs", "key=5 differs"),
        ("http://host:80/path", "http://host:80/path"),
        ("sqlite:///a:b@c.db", "sqlite:///a:b@c.db"),
        ("me@h,sqlite:///a.db,mysql://u:p@h", "me@h,sqlite:///a.db,mysql://u:***@h"),
        ("http://user@host http://h:1", "http://user@host http://h:1"),
    ],
)
def test_what_looks_like_a_secret_is_hidden_without_being_known(text: str, expected: str) -> None:
    assert redact(text) == expected


@given(passwords.filter(lambda password: not any(character.isspace() for character in password)))
def test_a_url_in_a_sentence_loses_its_password(password: str) -> None:
    assert redact(f"at postgresql://user:{password}@host/db .") == "at postgresql://user:***@host/db ."


@pytest.mark.parametrize(
    "piece",
    [
        "x://",
        "x://a:",
        "x://a@",
        "x:///@",
        "?token",
        "&",
        "?a=",
        "password=",
        "password='",
        "password ",
        "@",
        ":",
    ],
)
def test_a_long_text_takes_no_longer_than_its_length(piece: str) -> None:
    for length in (100, 200_000):
        text = piece * (length // len(piece))
        before = monotonic()
        redact(text, ("secret", "xx"))
        redact_url(text)
        # A second is a hundred times what it takes; a pattern that tries every start takes a minute.
        assert monotonic() - before < 1


def test_known_secrets_are_hidden_in_a_text_of_any_shape() -> None:
    assert redact("role u: hunter2 was refused", ["hunter2"]) == "role u: *** was refused"


# --- redact_value -------------------------------------------------------------------------------------------


class Colour(enum.Enum):
    RED = "hunter2-red"


def test_every_text_in_a_value_is_redacted_and_every_value_fits_json() -> None:
    value = {
        "z": None,
        "texts": ["hunter2", ("a hunter2",), {"b", "a"}],
        "hunter2": 1,
        "path": PurePosixPath("/tmp/hunter2"),
        "url": URL.create("postgresql", "u", "other", "h"),
        "colour": Colour.RED,
        "numbers": [True, 1, 1.5, float("nan"), float("-inf"), 2**64 - 1, -(2**64)],
        "bytes": b"\x00\xff",
    }
    plain = redact_value(value, ("hunter2",))
    assert plain == {
        "***": 1,
        "bytes": "00ff",
        "colour": "***-red",
        "numbers": [True, 1, 1.5, "nan", "-inf", 2**64 - 1, "-0x10000000000000000"],
        "path": "/tmp/***",
        "texts": ["***", ["a ***"], ["a", "b"]],
        "url": "postgresql://u:***@h",
        "z": None,
    }
    assert list(plain) == sorted(plain)
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


def test_names_that_look_the_same_without_their_secrets_lose_no_entry() -> None:
    assert redact_value({"one": 1, "two": 2, "***": 3}, ("one", "two")) == {"***": 1, "***'": 2, "***''": 3}


def test_a_text_without_end_is_cut_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(redaction, "TEXT_CHARACTERS", 5)
    assert redact_value("1234567") == "12345 [cut: 7 characters]"
    assert redact_value("12345") == "12345"


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=10,
)


@given(json_values, passwords.filter(lambda password: password not in MARK and not password.isalnum()))
def test_no_password_survives_in_any_value(value: object, password: str) -> None:
    plain = redact_value({"value": value, "text": f"a{password}b", password: password}, (password,))
    assert password not in list(texts_of(plain))
    assert all(password not in text for text in texts_of(plain))


def texts_of(value: object) -> list[str]:
    if isinstance(value, dict):
        return [text for entry in value.items() for part in entry for text in texts_of(part)]
    if isinstance(value, list):
        return [text for entry in value for text in texts_of(entry)]
    return [value] if isinstance(value, str) else []
