"""Errors cross processes and say what, where and what to do."""

from __future__ import annotations

import copy
import pickle

import psycopg
import pytest

from airflow_subset_provider.core import errors
from airflow_subset_provider.core.engines.postgresql.session import translated
from airflow_subset_provider.core.errors import Fault, RequestError, RetryableError, SubsetError

CLASSES = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, SubsetError)]


def test_there_is_one_root() -> None:
    assert len(CLASSES) >= 8
    assert {c.__name__ for c in CLASSES if c.retryable} == {"RetryableError", "LockedError"}


@pytest.mark.parametrize("error", CLASSES)
def test_every_error_survives_pickling(error: type[SubsetError]) -> None:
    raised = error([Fault("what", "where", "Do."), Fault("more")])
    for again in (pickle.loads(pickle.dumps(raised)), copy.copy(raised), copy.deepcopy(raised)):
        assert type(again) is error
        assert again.faults == raised.faults
        assert str(again) == str(raised)


def test_one_fault_is_one_sentence() -> None:
    assert str(SubsetError(Fault("it is wrong", "filters", "Mend it."))) == "filters: it is wrong. Mend it."
    assert str(SubsetError(Fault("it is wrong.", "filters", "Mend it."))) == "filters: it is wrong. Mend it."
    assert str(SubsetError("bare")) == "bare"
    assert str(SubsetError(Fault("no place", do="Look."))) == "no place. Look."


def test_several_faults_are_a_list() -> None:
    text = str(RequestError([Fault("a", "x", "Do."), Fault("b")]))
    assert text == "2 faults:\n  1. x: a. Do.\n  2. b"


def test_raise_for() -> None:
    RequestError.raise_for([])
    with pytest.raises(RequestError) as caught:
        RequestError.raise_for(Fault(str(n)) for n in range(3))
    assert len(caught.value.faults) == 3
    assert isinstance(RetryableError("x"), SubsetError)


def test_a_connection_that_breaks_during_copy_is_worth_another_try() -> None:
    """What psycopg raised when the target's server was killed (one run in ten of tests/chaos): libpq's own result."""
    with pytest.raises(RetryableError, match="server closed the connection"), translated("target"):
        raise psycopg.DatabaseError("server closed the connection unexpectedly")
