"""Names that are markup, as a reader of Markdown sees them: by a parser of CommonMark with GFM's tables."""

from __future__ import annotations

import pytest
from markdown_it import MarkdownIt
from markdown_it.token import Token

from airflow_subset_provider.core import report_page
from airflow_subset_provider.core.markdown import cell, code, plain
from airflow_subset_provider.core.report import Report, TableReport
from tests.core.build import made, plan

ODD = ("plain", "a`b", "``", "`a`", " a ", "a``b`c", "a|b", r"a\|b", "a\nb", "a\r\n# b", "*a*", "<b>", r"a\`b", "a\\")


def inline(text: str) -> list[Token]:
    return [
        child
        for token in MarkdownIt("commonmark").enable("table").parse(text)
        for child in token.children or ()
        if child.content
    ]


def shown(text: str) -> str:
    return " ".join(text.splitlines())


@pytest.mark.parametrize("text", ODD)
def test_a_code_span_shows_the_text(text: str) -> None:
    (span,) = inline(f"- x {code(text)}")[1:]
    assert (span.type, span.content) == ("code_inline", shown(text))


@pytest.mark.parametrize("text", ODD)
def test_words_show_the_text(text: str) -> None:
    found = inline(f"- x {plain(text)}.")
    assert {token.type for token in found} <= {"text", "text_special"}
    assert " ".join("".join(token.content for token in found).split()) == " ".join(f"x {text}.".split())


@pytest.mark.parametrize("text", [text for text in ODD if text != r"a\|b"])
def test_a_cell_is_one(text: str) -> None:
    found = inline(f"| a | b |\n|---|---|\n| {cell(code(text))} | {plain(text)} |")[2:]
    assert (found[0].type, found[0].content) == ("code_inline", shown(text))
    assert "".join(token.content for token in found[1:]).strip() == shown(text).strip()


def test_a_report_of_tables_with_such_names() -> None:
    name = "odd`na|me\nof **all**"
    request = plan(made({name: f"id, up` -> {name}"}), others="whole")
    table = TableReport(f"public.{name}", "whole", f"tables[{name!r}]", 1, 1, 1, 0, 0, 0, 0, 0.0)
    report = Report("run", "src", "dst", "abc", (table,), (), (f"{name}: no row",), 0, 0.1)
    found = inline(report_page.markdown(report, request))
    assert [token.content for token in found if token.type == "code_inline"] == [
        "public.odd`na|me of **all**",
        "public.odd`na|me of **all**",
        "public.odd`na|me of **all**(up`) -> public.odd`na|me of **all**",
    ]
    assert {token.type for token in found} <= {"code_inline", "text", "text_special"}
