"""Prints what the random examples covered; reports carry it, so it arrives from pytest-xdist's workers too."""

from __future__ import annotations

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    lines = {
        str(value)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        for name, value in report.user_properties
        if name == "coverage"
    }
    if lines:
        terminalreporter.section("What the random examples covered")
        for line in sorted(lines):
            terminalreporter.line(line)
