"""The driver's errors as this package's own: which are worth a retry, and without the values that the server quotes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

import MySQLdb

from airflow_subset_provider.core.errors import EndpointError, Fault, RetryableError, SubsetError

DENIED = frozenset({1044, 1142, 1143, 1227, 1370, 1410})
# Loading local data is off: on MySQL 8+, on MariaDB and older servers, in the client's library.
LOCAL_INFILE_OFF = frozenset({3948, 4166, 1148, 2068})
UNUSABLE = (
    DENIED
    | LOCAL_INFILE_OFF
    | frozenset(
        {
            1045,  # access denied for user
            1046,  # no database selected
            1049,  # unknown database
            1251,  # authentication protocol not supported
            1290,  # the server runs with an option that forbids it, such as --read-only
            1419,  # no right to make triggers under binary logging
            1698,  # access denied, socket authentication
            1792,  # read-only transaction
            1836,  # the server is in read-only mode
            2005,  # unknown host
            2026,  # TLS
            2059,  # authentication plugin
        }
    )
)
RETRYABLE = frozenset(
    {
        1020,  # record has changed since last read (MariaDB's snapshot isolation)
        1040,  # too many connections
        1053,  # server shutdown in progress
        1158,  # network errors 1158 to 1161
        1159,
        1160,
        1161,
        1203,  # too many connections of this user
        1205,  # lock wait timeout
        1213,  # deadlock
        1317,  # query interrupted
        1412,  # table definition has changed
        1927,  # connection was killed
        1969,  # max_statement_time (MariaDB)
        2002,  # cannot connect
        2003,
        2006,  # server has gone away
        2013,  # lost connection
        2055,
        3024,  # max_execution_time (MySQL)
        3168,  # server is not available
        4031,  # disconnected for inactivity
    }
)
# The servers answer so whatever it was that was wrong.
ADVICE = {1045: "Check user and password, from which hosts the account may come, and whether it asks for TLS (`ssl`)."}
# MySQL puts values into its messages: "Duplicate entry 'x' for key", "Incorrect date value: 'x' for column".
_VALUE = re.compile(r"\b(entry|value|string)\b(:?) ?(?:'.*'|\".*\")(?= for | at |\Z)", re.DOTALL | re.IGNORECASE)


def code_of(error: BaseException) -> int:
    """The server's or the client library's error number; 0 where there is none."""
    return error.args[0] if error.args and isinstance(error.args[0], int) else 0


def words_of(error: BaseException) -> str:
    """The server's words, values cut out."""
    return without_values(str(error.args[1]) if len(error.args) > 1 else str(error))


def without_values(message: str) -> str:
    """The message without the row values in it."""
    return _VALUE.sub(r"\1", message)


@contextmanager
def translated(label: str) -> Iterator[None]:
    """The driver's errors as this package's own."""
    try:
        yield
    except MySQLdb.MySQLError as error:
        raise as_subset_error(error, label) from None


def _grant(words: str) -> str:
    """What a refusal asks for, where it says which right is missing: "REFERENCES command denied to user …"."""
    denied = re.match(r"([A-Z, ]+) command denied to user", words)
    return f"GRANT {denied[1]} on it to this user." if denied else ""


def as_subset_error(error: BaseException, label: str) -> SubsetError:
    """The same error as one of this package's."""
    code = code_of(error)
    words = words_of(error)
    fault = Fault(f"{words} (error {code})" if code else words, label, ADVICE.get(code) or _grant(words))
    if code in UNUSABLE:
        return EndpointError(fault)
    # (0, '') is what mysqlclient raises on a connection that was closed under it.
    if code in RETRYABLE or isinstance(error, MySQLdb.InterfaceError):
        return RetryableError(fault)
    return SubsetError(fault)
