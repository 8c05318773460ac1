"""No text in a CSV file is a formula in a spreadsheet, and every text is read back exactly."""

import csv
import io

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lmm_classifier.core.csv_cells import escape_cell, read_rows, unescape_cell, write_row
from lmm_classifier.core.errors import DatasetError

SIGNS = "=+-@\t\r\n\uff1d\uff0b\uff0d\uff20"
TEXTS = st.text(st.sampled_from([*SIGNS, *" ;,'\"ab\u00a0"])) | st.text()


@pytest.mark.parametrize("sign", list(SIGNS))
def test_a_text_that_begins_like_a_formula_gets_an_apostrophe(sign):
    """Hidden behind spaces, quotes or apostrophes, or after a character that may separate cells, it does too."""
    for before in ("", " ", '"', "'", " ' ", "\u00a0"):
        assert escape_cell(f"{before}{sign}1+1").startswith(f"'{before}{sign}")
    for separator in ";\t\r\n":
        assert f"{separator}'{sign}1" in escape_cell(f"a{separator}{sign}1")


@pytest.mark.parametrize("text", ["", "a", "cat-dog", "a=b", "mail@home", "it's", "'quoted'", "photos, -5/a.jpg", "-"])
def test_ordinary_texts_stay(text):
    """A sign inside a text is no formula; a lone minus is escaped."""
    assert escape_cell(text) == (text if text != "-" else "'-")


@given(text=TEXTS)
def test_every_text_is_read_back_exactly(text):
    """Through the escape alone, and through a file."""
    assert unescape_cell(escape_cell(text)) == text
    out = io.StringIO(newline="")
    write_row(out, ["head", "second"])
    write_row(out, [text, "end"])
    out.seek(0)
    assert list(read_rows(out, "x.csv")) == [{"head": text, "second": "end"}]


@given(text=TEXTS)
def test_no_spreadsheet_sees_a_formula(text):
    """Whatever character separates the cells of a line, none begins like a formula."""
    out = io.StringIO(newline="")
    write_row(out, [text, "end"])
    for separator in ",;\t":
        for row in csv.reader(io.StringIO(out.getvalue(), newline=""), delimiter=separator):
            for cell in row:
                assert not cell or cell[0] not in SIGNS


def test_numbers_stay_numbers():
    """A negative number is no text; truth values and missing values have one form."""
    out = io.StringIO()
    write_row(out, [-0.5, 3, True, None, "-0.5"])
    assert out.getvalue() == "-0.500000,3,true,,'-0.5\n"


@pytest.mark.parametrize("text", ["a,b\n1\n", 'a,b\n"1,2\n'])
def test_a_damaged_file_is_named_with_its_line(text):
    """A row of another length and a quote without an end are errors."""
    with pytest.raises(DatasetError, match=r"x\.csv, line \d"):
        list(read_rows(io.StringIO(text), "x.csv"))
