import pytest

from rackmoe.errors import TraceError
from rackmoe.serving.csv_traces import read_csv_trace
from rackmoe.serving.workload import RequestTable

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens"
PLAIN = "arrival_s,input_tokens,output_tokens"


def read(*lines: str) -> RequestTable:
    return read_csv_trace("a.csv", lines=list(lines))


def test_azure_times_are_counted_from_the_first_to_a_hundred_nanoseconds() -> None:
    requests = read(
        AZURE,
        "2023-11-16 23:59:59.9999999,374,44",
        "2023-11-17 00:00:00.0000001,396,109",
        "2023-11-17 00:01:00,5,6",
    )
    assert requests.arrival_s == pytest.approx([0, 2e-7, 60.0000001], rel=1e-12)
    assert requests.input_tokens.tolist() == [374, 396, 5]
    assert requests.output_tokens.tolist() == [44, 109, 6]
    assert requests.trace_row.tolist() == [0, 1, 2]


def test_times_with_a_utc_offset_are_read() -> None:
    requests = read(AZURE, "2024-05-10 00:00:00.5+00:00,1,2", "2024-05-10 00:00:02+00:00,1,2")
    assert requests.arrival_s.tolist() == [0, 1.5]


def test_burstgpt_and_plain_columns_are_read_in_any_order() -> None:
    requests = read(
        "Timestamp,Model,Request tokens,Response tokens,Total tokens", "5,x,7,8,15", "45,x,9,1,10"
    )
    assert requests.arrival_s.tolist() == [0, 40]
    assert requests.input_tokens.tolist() == [7, 9]
    plain = read("output_tokens, arrival_s, input_tokens", "3,0.25,4")
    assert (plain.output_tokens[0], plain.input_tokens[0]) == (3, 4)


BURSTGPT = (
    "Timestamp,Session ID,Elapsed time,Model,Request tokens,Response tokens,Total tokens,Log Type"
)


def test_all_columns_of_burstgpt_are_read_and_time_starts_with_the_first_request() -> None:
    requests = read(
        BURSTGPT,
        "5,1,2.5,ChatGPT,472,18,490,Conversation log",
        "5,,,GPT-4,1087,230,1317,API log",
        "118.0,1,3.1,GPT-4,417,276,693,Conversation log",
    )
    assert requests.arrival_s.tolist() == [0, 0, 113]
    assert requests.input_tokens.tolist() == [472, 1087, 417]
    assert requests.output_tokens.tolist() == [18, 230, 276]


def test_failed_requests_of_burstgpt_are_skipped_and_counted() -> None:
    """They have no response tokens; its authors ship files with and without them."""
    requests = read(
        BURSTGPT,
        "5,1,0,ChatGPT,472,0,472,Conversation log",
        "6,1,2,ChatGPT,472,9,481,Conversation log",
        "7,1,0,ChatGPT,99,0.0,99,API log",
        "9,1,0,ChatGPT,98,3,99,API log",
    )
    assert requests.n_skipped == 2
    assert requests.trace_row.tolist() == [1, 3]
    assert requests.arrival_s.tolist() == [0, 3]
    assert requests.output_tokens.tolist() == [9, 3]


def test_bad_rows_behind_failed_requests_keep_their_line() -> None:
    with pytest.raises(TraceError, match=r"a.csv:3: Response tokens: '-1'; expected a whole"):
        read(BURSTGPT, "5,1,0,ChatGPT,472,0,472,x", "6,1,2,ChatGPT,472,-1,481,x")


def test_a_trace_of_failed_requests_only_is_refused() -> None:
    with pytest.raises(TraceError, match=r"a.csv: Response tokens: 0 in all 1 rows; expected"):
        read(BURSTGPT, "5,1,0,ChatGPT,472,0,472,Conversation log")


@pytest.mark.parametrize("header", [AZURE, PLAIN])
def test_other_traces_hold_no_failed_requests(header: str) -> None:
    time = "2023-11-16 23:59:59.9" if header is AZURE else "0"
    with pytest.raises(TraceError, match=r"a.csv:2: \w+: '0'; expected a whole number of tokens"):
        read(header, f"{time},5,0")


def test_a_missing_column_is_named() -> None:
    with pytest.raises(
        TraceError, match=r"a.csv:1: columns TIMESTAMP, ContextTokens; missing GeneratedTokens;"
    ):
        read("TIMESTAMP,ContextTokens", "2023-11-16 18:15:46,1")


def test_a_header_without_rows_is_refused() -> None:
    with pytest.raises(TraceError, match=r"a.csv:1: no row; expected one for each request"):
        read(AZURE)


@pytest.mark.parametrize("row", ["1,2", "1,2,3,4", ""])
def test_a_row_with_another_number_of_fields_is_named(row: str) -> None:
    with pytest.raises(TraceError, match=r"a.csv:3: \d fields; expected 3"):
        read(PLAIN, "0,1,1", row)


@pytest.mark.parametrize(
    "time",
    ["NaN", "NaT", "", "12.5", "2023", "2023-11-16", "18:15:46", "2023-11-16 18:15:46+02:00"],
)
def test_a_time_of_another_form_is_named(time: str) -> None:
    with pytest.raises(TraceError, match=r"a.csv:2: TIMESTAMP: .*; expected a time in UTC such"):
        read(AZURE, f"{time},1,1")


def test_a_thirteenth_month_is_refused() -> None:
    with pytest.raises(TraceError, match=r"a.csv: TIMESTAMP: .*; expected a date of the calendar"):
        read(AZURE, "2023-13-16 18:15:46,1,1")


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ("nan,1,1", "a.csv:3: arrival_s: 'nan'; expected a finite time of 0 or more"),
        ("-1,1,1", "a.csv:3: arrival_s: '-1'; expected a finite time of 0 or more"),
        ("0.1,1,1", "a.csv:3: arrival_s: '0.1'; expected at least '0.5', the time of the row"),
        ("1,0,1", "a.csv:3: input_tokens: '0'; expected a whole number of tokens, at least 1"),
        ("1,1,NaN", "a.csv:3: output_tokens: 'NaN'; expected a whole number of tokens"),
        ("1,x,1", "a.csv:3: input_tokens: 'x'; expected a number; repair or remove this row"),
    ],
)
def test_a_bad_cell_is_named(row: str, message: str) -> None:
    with pytest.raises(TraceError) as error:
        read(PLAIN, "0.5,1,1", row)
    assert str(error.value).startswith(message)


def test_all_problems_of_a_column_come_at_once() -> None:
    with pytest.raises(TraceError) as error:
        read(PLAIN, "0,0,1", "1,1,1", "2,-1,1")
    assert [line.split(":")[1] for line in str(error.value).splitlines()] == ["2", "4"]
