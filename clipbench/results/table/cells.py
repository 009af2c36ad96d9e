"""The content of a table, whatever it is written as."""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass, replace


@dataclass(frozen=True)
class Column:
    """The cells below one header."""

    header: str
    _: KW_ONLY
    is_number: bool = True
    """Numbers are aligned to the right, words to the left."""
    is_name: bool = False
    """Markdown sets names as code, so that no sign in them is markup."""
    model: int | None = None
    """The place of the model, from 0, where all cells are of one model."""
    group: str = ""
    """The header above this column and its neighbours of the same group, such as the data of their metrics."""

    @property
    def full_header(self) -> str:
        """The header with its group, for a format with one line of headers."""
        return f"{self.group}: {self.header}" if self.group else self.header


@dataclass(frozen=True)
class Cell:
    """One cell."""

    text: str
    _: KW_ONLY
    aside: str = ""
    """An interval, which follows the text, or is below it if there is no room."""
    note: int = 0
    """The note of the table that explains the cell, counted from 1."""
    is_strong: bool = False
    """Markdown and LaTeX set it in bold."""
    title: str = ""
    """The name in words, which HTML shows above the text."""
    mark: str = ""
    """A sign before the text, in HTML."""
    sort_key: float | str | None = None
    """The key by which HTML sorts, where that is not the text."""
    html: str = ""
    """Markup that HTML shows instead of the text."""
    css: str = ""
    """HTML classes."""

    @property
    def plain(self) -> str:
        """The text with the aside and the number of the note."""
        note = f"({self.note})" if self.note else ""
        return " ".join(part for part in (self.text, self.aside, note) if part)


Row = Sequence[Cell | str]


def columns(*words: str, numbers: Sequence[str] = ()) -> list[Column]:
    """Return columns of words, then columns of numbers, by their headers."""
    return [*(Column(header, is_number=False) for header in words), *(Column(header) for header in numbers)]


def note_number(note: str, notes: list[str]) -> int:
    """Return the number of a note, which is added to the notes if it is new, or 0 if it is empty."""
    if note and note not in notes:
        notes.append(note)
    return notes.index(note) + 1 if note else 0


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows under headers, with the facts that a reader needs."""

    columns: Sequence[Column]
    rows: Sequence[Row | str]
    """A text instead of a row is a heading over the rows below it."""
    title: str = ""
    facts: str = ""
    """One line on the whole table: which data, which intervals."""
    caption: Sequence[str] = ()
    """Sentences without their full stops that follow the title in a paper: n, the method, the meaning of bold."""
    notes: Sequence[str] = ()
    """Numbered notes, to which cells refer."""
    warnings: Sequence[str] = ()
    """Facts without which the numbers would be misread."""
    comments: Sequence[str] = ()
    """Facts about how the numbers were made, which a paper rarely prints."""

    def cells(self, row: Row) -> list[Cell]:
        """Return the cells of a row."""
        assert len(row) == len(self.columns), (self.title, row)
        return [Cell(cell) if isinstance(cell, str) else cell for cell in row]

    def select(self, indices: Sequence[int]) -> "Table":
        """Return the table with some of its columns, by their indices."""
        rows: list[Row | str] = []
        for row in self.rows:
            rows.append(row if isinstance(row, str) else [row[index] for index in indices])
        return replace(self, columns=[self.columns[index] for index in indices], rows=rows)
