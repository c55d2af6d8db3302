"""Whether what is written to YAML is what was fitted."""

from dataclasses import replace

import pytest

from rackmoe.backend.collective_files import CollectivesDocument, load_collectives
from rackmoe.backend.collectives import CollectiveBook
from rackmoe.schema.documents import parse_document
from rackmoe.study.calibration.collective_yaml import collectives_text


def own_book():
    book = load_collectives("h200")
    return CollectiveBook(
        gpu="h200",
        exchanges=tuple(one for one in book.exchanges if one.report.kind != "assumed"),
        collectives=tuple(one for one in book.collectives if one.report.kind != "assumed"),
    )


def text_of(book):
    reports = [one.report for one in (*book.exchanges, *book.collectives)]
    sources = {report.file: f"source of {report.file}" for report in reports}
    return collectives_text(
        book, title="Title.", date="2026-01-02", lends_to=("h100",), sources=sources
    )


def read(text):
    return parse_document(text, model=CollectivesDocument, place="h200.yaml")


def test_written_constants_are_read_back():
    book = own_book()
    document = read(text_of(book))
    assert tuple(one.constants() for one in document.exchanges) == book.exchanges
    assert tuple(one.constants() for one in document.collectives) == book.collectives


def test_file_says_who_borrows_and_when_it_was_fitted():
    document = read(text_of(own_book()))
    assert (document.lends_to, document.date, document.name) == (["h100"], "2026-01-02", "h200")
    assert all(text.startswith("source of") for text in document.sources.values())


def test_caveats_are_written_only_where_there_are_any():
    book = own_book()
    plain = CollectiveBook(gpu="h200", exchanges=book.exchanges[:1], collectives=())
    assert "caveat" not in text_of(plain)
    report = replace(plain.exchanges[0].report, caveat="odd")
    odd = replace(plain, exchanges=(replace(plain.exchanges[0], report=report),))
    assert read(text_of(odd)).exchanges[0].caveat == "odd"


def test_four_digits_are_kept():
    book = own_book()
    first = replace(book.exchanges[0], token_time_s=1.23456e-8)
    document = read(text_of(replace(book, exchanges=(first,), collectives=())))
    assert document.exchanges[0].token_time_s == pytest.approx(1.235e-8)
