"""bibtex: an entry for clipbench and one per publication that the data of the runs cite."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml  # type: ignore[import-untyped]

from clipbench.data.catalogue.entries import catalogue
from clipbench.results.export.bibtex import SOFTWARE, publications, works
from clipbench.results.export.formats import format_of
from clipbench.results.record import Metric
from clipbench.results.run import Run
from clipbench_reports.plots.plots import _all_plots as all_plots
from tests.clipbench.results.export.conftest import MakeRun, Record

ROOT = Path(__file__).parents[4]
CITATION_FILE = ROOT / "CITATION.cff"
FLICKR = (
    "Young, Lai, Hodosh and Hockenmaier, From Image Descriptions to Visual Denotations, TACL 2 (2014); split of Karpathy"
    " and Fei-Fei, Deep Visual-Semantic Alignments, CVPR 2015"
)


@pytest.fixture
def cited(make_run: MakeRun, record: Record) -> Callable[..., Run]:
    """Return a function that makes a run on data sets with these citations."""

    def cited(**citations: str | None) -> Run:
        records = [record("zero-shot", name, {"own": Metric(value=0.5)}) for name in citations]
        run = make_run(evaluations=records)
        run.result.evaluations[:] = [
            replace(one, dataset=replace(one.dataset, cite=citations[one.dataset.id])) for one in records
        ]
        return run

    return cited


def keys(text: str) -> list[str]:
    return re.findall(r"^@misc\{([\w-]+),$", text, re.MULTILINE)


def test_an_export_has_clipbench_and_the_publications_of_the_data(cited: Callable[..., Run]) -> None:
    birds = "Van Gool et al., Birds & 100 % more, 2020, arXiv:2012.05107"
    run = cited(flickr=FLICKR, birds_2=birds, mine=None, scenes="scenes 1")
    rendered = format_of("bibtex").render([run, run])
    text = rendered.content.decode()
    flickr = [
        "young-2014-from-image-descriptions-to-visual-denotations",
        "karpathy-2015-deep-visual-semantic-alignments",
    ]
    birds = "van-gool-2020-birds-100-more"
    assert keys(text) == ["clipbench", *flickr, birds]
    assert f"% flickr: {', '.join(flickr)}\n% birds_2: {birds}\n" in text
    assert "  author = {Young and Lai and Hodosh and Hockenmaier},\n" in text
    assert "  howpublished = {TACL 2 (2014)},\n  year = {2014}\n" in text
    assert "  author = {{Van Gool} and others},\n  title = {{Birds \\& 100 \\% more}},\n" in text
    assert "  howpublished = {arXiv:2012.05107},\n  year = {2020}\n" in text
    assert f"note = {{version {run.result.clipbench_version}}}" in text
    assert rendered.notes == ["mine: no citation is recorded, cite its source"]  # scenes are of clipbench
    assert text.count("{") == text.count("}")


def test_a_citation_of_another_form_is_the_title_of_its_entry(cited: Callable[..., Run]) -> None:
    text = format_of("bibtex").render([cited(web="https://birds.example")]).content.decode()
    assert len(keys(text)) == 2 and "title = {{https://birds.example}}" in text


def test_publications_of_one_author_and_year_have_distinct_entries(cited: Callable[..., Run]) -> None:
    run = cited(a="Li et al., Birds of Asia, ICCV 2011", b="Li et al., Birds of Europe, CVPR 2011")
    assert len(set(keys(format_of("bibtex").render([run]).content.decode()))) == 3


def test_every_citation_of_the_catalogue_has_authors_a_title_and_a_year() -> None:
    for name, entry in catalogue().items():
        for publication in publications(entry.cite):
            assert list(publication) == ["author", "title", "howpublished", "year"], name
            assert all(publication[field] in entry.cite for field in ("title", "howpublished", "year")), name
            assert 1990 < int(publication["year"]) < 2030 and len(publication["title"].split()) > 1, name
            assert not re.search(r"\b(?:et al|arXiv|\d{4})\b", publication["author"]), name


def test_titles_with_commas_and_names_of_two_words_are_separated_from_authors() -> None:
    (publication,) = publications("Peng, Xie and Wu, Synthesize, Diagnose, and Optimize: Towards Detail, CVPR 2024")
    assert publication["author"] == "Peng and Xie and Wu"
    assert publication["title"] == "Synthesize, Diagnose, and Optimize: Towards Detail"


@pytest.mark.skipif(not CITATION_FILE.is_file(), reason="CITATION.cff is not part of the source distribution")
def test_clipbench_is_cited_as_its_citation_file_says() -> None:
    facts = yaml.safe_load(CITATION_FILE.read_text(encoding="utf-8"))
    (author,) = facts["authors"]
    assert {"author": f"{{{author['name']}}}", "title": facts["title"]} == SOFTWARE


def test_the_gap_cites_its_paper(make_run: MakeRun, record: Record) -> None:
    metrics = {"gap": Metric(value=0.5, unit="distance"), "own": Metric(value=0.5)}
    text = (
        format_of("bibtex").render([make_run(evaluations=[record("modality-gap", "scenes", metrics)])]).content.decode()
    )
    key = "liang-2022-mind-the-gap-understanding-the-modality"
    assert keys(text) == ["clipbench", key]
    assert f"% modality-gap/gap, figure gap, cones, spectrum, shift, track, modalities, modality-map: {key}\n" in text
    assert "author = {Liang and Zhang and Kwon and Yeung and Zou}" in text


def test_robustness_is_cited_only_for_shifted_data(make_run: MakeRun, record: Record) -> None:
    for data, is_cited in (("imagenet-a", True), ("pets", False)):
        run = make_run(data, evaluations=[record("zero-shot", data, {"acc1": Metric(value=0.5)})])
        text = format_of("bibtex").render([run]).content.decode()
        assert ("taori-2020" in text) is is_cited and "radford-2021" in text


def test_each_work_has_authors_and_is_of_metrics_that_exist() -> None:
    page = (ROOT / "docs/metrics.md").read_text(encoding="utf-8")
    for work in works():
        (fields,) = publications(work.cite)
        assert list(fields) == ["author", "title", "howpublished", "year"], work.cite
        for pattern in work.metrics:
            task, _, metric = pattern.rpartition("/")
            section = page.split(f"## {task.removesuffix('/*')}\n")[1].split("\n## ")[0]
            assert re.search(rf"`[A-Z_]*{re.escape(metric.strip('*')).replace('image_|text_', '')}", section) or (
                metric.split("_")[0] in ("image", "text") and f"`M_{metric.partition('_')[2]}`" in section
            ), pattern


def test_every_figure_cites_works_that_are_listed() -> None:
    """A caption names authors and year: the entry has them, and the name of the figure."""
    n_citations = 0
    for name, plot in all_plots().items():
        for author, year in re.findall(r"([A-ZÀ-Ž][\w-]+)(?: et al\.)?, ((?:19|20)\d\d)", plot.definition):
            n_citations += 1
            entries = [(fields, work) for work in works() for fields in publications(work.cite)]
            keyed = [work for fields, work in entries if fields["author"].startswith(author) and fields["year"] == year]
            assert any(name in work.figures for work in keyed), (name, author, year)
    assert n_citations > 5


def test_every_figure_of_a_work_exists() -> None:
    assert {figure for work in works() for figure in work.figures} <= {*all_plots()}
