"""Tables on the console: whatever its width, every text is there in full, once or as the name of a row."""

import random

import pytest

from mirage_pl.engine.console import Grid, fits_console, lay_out_grid, measure_grid, print_grid

LINES = "│┃"


def read_tables(printed):
    """Rows of each printed table, each row a list of the texts of its cells, with their lines."""
    tables = []
    for line in printed.splitlines():
        if line.startswith("┏"):
            tables.append([])
        elif line[:1] in ("┡", "│", "┃"):
            cells = [cell.strip() for cell in line.translate(str.maketrans(LINES, "││")).split("│")[1:-1]]
            tables[-1].append(cells)
    return [[row for row in table if row] for table in tables]


def grid(rows, columns, width=8):
    heads = ["run", *(f"measure_{number:0{width}d}" for number in range(columns))]
    return Grid(
        heads,
        [
            [f"row-{row}", *(f"{row}.{column:04d}\n[{column}, {row}]" for column in range(columns))]
            for row in range(rows)
        ],
    )


def test_a_grid_that_fits_is_one_table_on_one_line_a_row(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    print_grid(grid(2, 2))
    (table,) = read_tables(capsys.readouterr().out)
    assert table[0] == ["run", "measure_00000000", "measure_00000001"]
    assert [row for row in table if row[0] == "row-1"] == [["row-1", "1.0000 [0, 1]", "1.0001 [1, 1]"]]


def test_an_interval_goes_below_its_value_before_a_grid_is_split():
    wide = grid(3, 3)
    line = Grid(wide.heads, [[cell.replace("\n", " ") for cell in row] for row in wide.rows])
    assert lay_out_grid(line, measure_grid(line)) == [line]
    tall = Grid(["run", "a"], [["x", "a value\n[an interval]"]])
    assert lay_out_grid(tall, measure_grid(tall)) == [tall]


def test_few_rows_of_many_columns_are_turned_and_many_rows_are_split():
    (turned,) = lay_out_grid(grid(2, 20), 80)
    assert turned.heads == ["run", "row-0", "row-1"]
    assert turned.rows[1] == ["measure_00000001", "0.0001\n[1, 0]", "1.0001\n[1, 1]"]
    split = lay_out_grid(grid(20, 6), 80)
    assert len(split) == 2
    assert all(
        part.heads[0] == "run" and [row[0] for row in part.rows] == [f"row-{row}" for row in range(20)]
        for part in split
    )


@pytest.mark.parametrize("seed", range(20))
def test_every_text_of_a_grid_is_printed_in_full_and_no_line_is_too_wide(seed, capsys, monkeypatch):
    draw = random.Random(seed)
    width = draw.choice([80, 100, 140])
    monkeypatch.setenv("COLUMNS", str(width))
    shown = grid(draw.randint(1, 12), draw.randint(1, 18), draw.randint(1, 30))
    print_grid(shown)
    printed = capsys.readouterr().out
    assert max(map(len, printed.splitlines())) <= width
    cells = {cell for table in read_tables(printed) for row in table for cell in row}
    for text in [*shown.heads, *(cell for row in shown.rows for cell in row)]:
        assert text.replace("\n", " ") in cells or set(text.split("\n")) <= cells
    assert "…" not in printed


def test_what_is_wider_than_the_console_goes_on_in_the_next_line(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    print_grid(Grid(["run", "loss"], [["x" * 100, "0.25"]]))
    assert capsys.readouterr().out.count("x") == 100


def test_names_in_brackets_are_no_markup_and_wide_letters_count_twice(capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "20")
    print_grid(Grid(["[bold]", ":smile:"], [["[red]", "1"]]), "[title]")
    printed = capsys.readouterr().out
    assert all(text in printed for text in ("[bold]", ":smile:", "[red]", "[title]\n"))
    assert measure_grid(Grid(["迷路"], [])) == measure_grid(Grid(["maze"], []))
    assert fits_console(Grid(["x", "y"], [["z" * 12, "1"]])), "20 columns with their frames"
    assert not fits_console(Grid(["x", "y", "z"], [["x", "1" * 6, "2" * 9], ["y", "1" * 7, "2" * 8]]))


def test_a_grid_without_rows_or_with_names_alone_is_printed(capsys):
    print_grid(Grid(["run", "loss"], []))
    print_grid(Grid(["run"], [["one"]]))
    assert "one" in capsys.readouterr().out
