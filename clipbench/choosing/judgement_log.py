"""The log of judgements: a line each, appended and on the disk before anything else is shown, never changed.

The last line of a judge on a photograph of a query is that judge's judgement. The grade of several judges is the
median, the lower one of two in the middle, as grades are integers. A judge who skips a query does not count in it.
"""

import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from clipbench.choosing.pool import LOG, MOST_GRADE, QRELS, Pool
from clipbench.errors import DataError, MachineError
from clipbench.files import file_lock, write_atomic
from clipbench.stats.agreement import ordinal_alpha
from clipbench.untrusted.reading import decode_json, is_there, read_bytes, reading, shown
from clipbench.untrusted.schema import SchemaError, parse_record

LONGEST_LINE = 1 << 16
"""Bytes at the end of the log in which its last line is looked for."""


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line of the log: a grade of a photograph, or whether the query is skipped."""

    query: str
    judge: str
    time: str
    """Lines of one moment are undone together."""
    image: str | None = None
    grade: int | None = None
    """None takes the judgement back."""
    skip: bool | None = None


class Disagreement(NamedTuple):
    """A photograph with different grades of its judges."""

    query: str
    image: str
    grades: dict[str, int]
    """By judge."""


class PoolJudgements:
    """The judgements that hold after all lines of a log.

    Args:
        lines: those that hold, in the order in which they were written.
    """

    def __init__(self, pool: Pool, lines: Sequence[LogLine], notes: tuple[str, ...] = ()) -> None:
        self.pool, self.lines, self.notes = pool, lines, notes
        self._own: dict[tuple[str, str], dict[str | None, LogLine]] = {}
        for line in lines:
            self._own.setdefault((line.query, line.judge), {})[line.image] = line
        self._grades: dict[str, dict[str, dict[str, int]]] = {}
        for (query, judge), judge_lines in self._own.items():
            for image, line in judge_lines.items() if None not in judge_lines else ():
                if image is not None and line.grade is not None:
                    self._grades.setdefault(query, {}).setdefault(image, {})[judge] = line.grade

    @property
    def judges(self) -> list[str]:
        """Their names, in the order in which they began."""
        return list(dict.fromkeys(line.judge for line in self.lines))

    def by_judge(self, query: str) -> dict[str, dict[str, int]]:
        """Return the grades of each photograph of a query, by judge."""
        return self._grades.get(query, {})

    def grades(self, query: str) -> dict[str, int] | None:
        """Return the grade of each candidate of a query, None as long as one has none."""
        grades_by_image = self.by_judge(query)
        if len(grades_by_image) < len(self.pool.candidates[query]):
            return None
        return {image: sorted(grades.values())[(len(grades) - 1) // 2] for image, grades in grades_by_image.items()}

    def begun(self) -> list[str]:
        """Return the queries that were judged, in part or whole, or skipped, in the order of the pool."""
        begun = {line.query for line in self.lines}
        return [query for query in self.pool.queries if query in begun]

    def is_done(self, query: str, judge: str) -> bool:
        """Return whether a judge has graded all candidates of a query, or skipped it."""
        judge_lines = self.lines_by_image(query, judge)
        return None in judge_lines or len(judge_lines) == len(self.pool.candidates[query])

    def skipped(self, judge: str | None = None) -> list[str]:
        """Return the queries that a judge has skipped, in the order of the pool.

        Without a judge, they are the queries that someone has skipped and nobody has graded to the end.
        """
        if judge is not None:
            return [query for query in self.pool.queries if None in self.lines_by_image(query, judge)]
        skipped_by_any = {query for (query, _), judge_lines in self._own.items() if None in judge_lines}
        return [query for query in self.pool.queries if query in skipped_by_any and self.grades(query) is None]

    def lines_by_image(self, query: str, judge: str) -> Mapping[str | None, LogLine]:
        """Return a judge's lines on the photographs of a query, with a skip under None."""
        return self._own.get((query, judge), {})

    @property
    def n(self) -> int:
        """Number of judgements."""
        n = 0
        for by_image in self._grades.values():
            n += sum(len(grades) for grades in by_image.values())
        return n

    def agreement(self) -> float | None:
        """Return Krippendorff's alpha of the grades, or None if no photograph has two, or all are equal."""
        grades_of_photographs: list[list[int]] = []
        for by_image in self._grades.values():
            grades_of_photographs += [list(grades.values()) for grades in by_image.values()]
        return ordinal_alpha(grades_of_photographs)

    def disagreements(self) -> list[Disagreement]:
        """Return the photographs with different grades, the largest difference first."""
        disputes = []
        for query in self.pool.queries:
            for image, grades in self.by_judge(query).items():
                is_disputed = len(set(grades.values())) > 1
                if is_disputed:
                    disputes.append(Disagreement(query, image, grades))
        return sorted(disputes, key=lambda dispute: min(dispute.grades.values()) - max(dispute.grades.values()))


def read_log(pool: Pool) -> PoolJudgements:
    """Return the judgements of a pool.

    The rest of a line that a killed process never finished is passed over, with a note.

    Raises:
        DataError: the log cannot be read, or a line is not a judgement of this pool. The message names the line.
    """
    file = pool.folder / LOG
    if not is_there(file):
        return PoolJudgements(pool, [])
    with reading(file, DataError):
        *texts, rest = read_bytes(file).split(b"\n")
    notes: tuple[str, ...] = ()
    if rest and not _is_json(rest):
        unfinished = shown(rest.decode(errors="replace"))
        notes = (f"{file}, line {len(texts) + 1} was never finished and is ignored: {unfinished}",)
    elif rest:
        texts.append(rest)
    current: dict[tuple[str, str, str | None], LogLine] = {}
    for number, text in enumerate(texts, 1):
        if not text.strip():
            continue
        line = _line(text, f"{file}, line {number}", pool)
        key = (line.query, line.judge, line.image)
        current.pop(key, None)  # the order is that of the last lines
        if line.grade is not None or line.skip:
            current[key] = line
    return PoolJudgements(pool, [*current.values()], notes)


def append(pool: Pool, log_lines: Iterable[LogLine]) -> None:
    """Append lines to the log of a pool, and return once they are on the disk.

    Several processes may do so at once: each writes whole lines at the end, one after the other.

    Raises:
        MachineError: they cannot be written.
    """
    file = pool.folder / LOG
    text = ""
    for line in log_lines:
        fields = {name: getattr(line, name) for name in _FIELDS[line.image is None]}
        text += json.dumps(fields, ensure_ascii=False) + "\n"
    try:
        handle = os.open(file, os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0), 0o644)
        try:
            with file_lock(handle):
                _write(handle, text.encode())
                os.fsync(handle)
        finally:
            os.close(handle)
    except OSError as error:
        raise MachineError(f"cannot write {file}: {error.strerror or error}. The judgement was not kept") from error


_FIELDS = {False: ("query", "image", "grade", "judge", "time"), True: ("query", "skip", "judge", "time")}
"""Fields of a line on a photograph, and of one on a skip."""


def _write(handle: int, data: bytes) -> None:
    """Write lines behind the last whole one. An incomplete line of a killed process is cut off: it was unanswered."""
    size = os.fstat(handle).st_size
    os.lseek(handle, max(0, size - LONGEST_LINE), os.SEEK_SET)
    tail = os.read(handle, LONGEST_LINE)
    last_line = tail[tail.rfind(b"\n") + 1 :]  # empty if the file ends with a line break, as it should
    if last_line and _is_json(last_line):  # only its line break is missing
        data = b"\n" + data
    elif last_line:
        os.ftruncate(handle, size - len(last_line))
        size -= len(last_line)
    n_written = os.write(handle, data)
    if n_written < len(data):  # a full disk
        os.ftruncate(handle, size)
        raise OSError(None, "the disk is full")


def grade_lines(query: str, grades: Mapping[str, int | None], judge: str) -> list[LogLine]:
    """Return lines with grades of photographs, all of one moment."""
    now = _now()
    return [LogLine(query=query, image=image, grade=grade, judge=judge, time=now) for image, grade in grades.items()]


def skip_lines(query: str, judge: str) -> list[LogLine]:
    """Return the line with which a judge skips a query."""
    return [LogLine(query=query, skip=True, judge=judge, time=_now())]


def unskip_lines(judgements: PoolJudgements, query: str, judge: str) -> list[LogLine]:
    """Return the line that takes back a judge's skip of a query, or none if the judge has not skipped it."""
    if None not in judgements.lines_by_image(query, judge):
        return []
    return [LogLine(query=query, skip=False, judge=judge, time=_now())]


def undo_lines(judgements: PoolJudgements, judge: str) -> list[LogLine]:
    """Return lines that take back a judge's last judgements that still hold, or none if there are none."""
    judge_lines = [line for line in judgements.lines if line.judge == judge]
    if not judge_lines:
        return []
    last, now = judge_lines[-1], _now()
    undoing = []
    for line in judge_lines:
        if (line.time, line.query) == (last.time, last.query):
            skip = None if line.image else False
            undoing.append(LogLine(query=line.query, image=line.image, judge=judge, time=now, skip=skip))
    return undoing


def write_qrels(judgements: PoolJudgements) -> None:
    """Write the grades of all queries that are judged to their end in TREC's columns: query, 0, photograph, grade."""
    rows = []
    for query in judgements.pool.queries:
        for image, grade in (judgements.grades(query) or {}).items():
            rows.append(f"{query} 0 {image} {grade}\n")
    write_atomic({judgements.pool.folder / QRELS: "".join(rows).encode()})


def _line(text: bytes, source: str, pool: Pool) -> LogLine:
    """Return a line of the log, or raise DataError if it is not a judgement of this pool."""
    try:
        line = parse_record(LogLine, decode_json(text.decode()))
    except (ValueError, SchemaError) as error:
        raise DataError(f"{source} is not a judgement: {error}. {_ADVICE}") from error
    if line.query not in pool.candidates:
        fault = f"query is {shown(line.query)}, which the pool lacks"
    elif line.image is not None and line.image not in pool.candidates[line.query]:
        fault = f"image is {shown(line.image)}, which is not a candidate of query {line.query}"
    elif line.grade is not None and not 0 <= line.grade <= MOST_GRADE:
        fault = f"grade is {line.grade}, expected 0 to {MOST_GRADE}, or null"
    elif not line.judge or (line.image is None) == (line.skip is None):
        fault = "expected a judge, and either an image or skip"
    else:
        return line
    raise DataError(f"{source} is not a judgement: {fault}. {_ADVICE}")


_ADVICE = "Fix or remove the line"


def _is_json(text: bytes) -> bool:
    try:
        decode_json(text.decode())
    except ValueError:
        return False
    return True


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="microseconds")
