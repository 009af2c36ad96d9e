"""Every promise of SECURITY.md has tests, which this table names."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
MODELS, DATA, REPORTS = "tests/clipbench/models", "tests/clipbench/data", "tests/reports"

PROMISES: dict[str, tuple[str, ...]] = {
    "A model that asks for its own code is refused by name before it is loaded.": (
        f"{MODELS}/test_foreign_code.py::test_a_tokenizer_argument_that_runs_code_is_refused_by_name",
        f"{MODELS}/test_foreign_code.py::test_python_files_are_not_imported_while_a_library_loads_even_where_it_asks_for_them",
    ),
    "With `--trust-remote-code`, only Python files of the named commit run, and their hashes are printed first.": (
        f"{MODELS}/test_remote_code.py::test_trusted_code_of_a_commit_is_shown_and_run_and_recorded",
        f"{MODELS}/test_remote_code.py::test_code_does_not_run_otherwise",
        f"{MODELS}/test_remote_code.py::test_code_named_deep_in_a_file_is_shown_and_no_other_runs",
    ),
    "Checkpoints (`.pt`, `.pth`, `.bin`) are read as tensors, and TorchScript archives are refused.": (
        f"{MODELS}/test_checkpoint_file.py::test_a_checkpoint_that_would_run_code_is_refused_and_does_not",
        f"{MODELS}/test_checkpoint_file.py::test_a_torchscript_archive_is_not_run",
        f"{MODELS}/test_foreign_code.py::test_objects_are_not_unpickled_while_a_library_loads_even_where_it_asks_for_them",
    ),
    "Arrays and labels are read without pickled objects.": (
        "tests/clipbench/untrusted/test_readers.py::test_no_reader_makes_objects",
        f"{DATA}/test_webdataset.py::test_pickled_labels_are_never_loaded",
    ),
    "An image is opened only if its content has one of the known formats, so that no other program starts.": (
        f"{DATA}/test_decoding.py::test_postscript_that_is_called_jpg_starts_no_program",
        f"{DATA}/test_decoding.py::test_nothing_but_the_list_of_formats_is_opened_anywhere",
    ),
    "Columns of audio, video or documents are not decoded.": (
        f"{DATA}/test_huggingface.py::test_columns_that_would_be_decoded_by_other_libraries_are_not_opened",
    ),
    "Names and captions are shown as text in reports and on the pages of `clipbench view`, and never as a script.": (
        f"{REPORTS}/page/test_report_browser.py::test_nothing_that_data_say_is_run",
        f"{REPORTS}/page/test_compare.py::test_hostile_texts_are_escaped_in_every_field",
        f"{REPORTS}/view/test_site.py::test_words_of_others_stay_words",
        f"{REPORTS}/view/test_site.py::test_every_answer_has_a_strict_policy",
    ),
    "Names and captions cannot steer the terminal or a CI job, and no cell of a CSV file is a formula.": (
        "tests/cli/test_hostile_names.py::test_no_name_in_a_result_steers_what_shows_it",
        "tests/cli/test_hostile_names.py::test_annotations_are_the_only_commands_of_the_github_format",
        "tests/cli/test_export.py::test_no_cell_of_a_csv_is_a_formula",
    ),
    "Settings of a model that name files outside its folder are refused.": (
        f"{MODELS}/test_foreign_code.py::test_a_text_tower_of_another_folder_is_refused_by_name",
        f"{MODELS}/test_foreign_code.py::test_settings_of_open_clip_that_lead_elsewhere_are_refused_by_name",
    ),
    "A run reads files in its folder, and refuses links, absolute paths and `..` that lead out of it.": (
        "tests/clipbench/results/test_run_bounds.py::test_files_outside_the_folder_of_a_run_are_refused",
        "tests/clipbench/untrusted/test_reading.py::test_a_file_that_is_replaced_after_it_was_looked_at_is_not_read",
        f"{REPORTS}/page/test_run_bounds.py::test_a_thumbnail_that_is_a_link_out_of_the_run_is_not_shown",
    ),
    "A data set in Hugging Face form reads its own files, and refuses a card or a row that names others.": (
        f"{DATA}/test_huggingface.py::test_a_card_that_names_files_of_another_place_is_refused",
        f"{DATA}/test_huggingface.py::test_a_row_that_names_an_image_of_another_place_is_refused",
    ),
    "An archive cannot write outside its folder.": (
        f"{DATA}/test_download.py::test_an_archive_cannot_write_outside_its_folder",
        f"{DATA}/test_download.py::test_a_path_that_leads_out_of_the_folder_is_refused",
    ),
    "A table (`.csv`, `.jsonl`) may name images anywhere, and a note counts the images outside its folder.": (
        f"{DATA}/test_manifest.py::test_images_outside_of_the_tables_folder_are_counted",
    ),
    "A file that cannot be read to its end, such as a FIFO, is refused.": (
        "tests/clipbench/untrusted/test_reading.py::test_what_would_be_waited_for_is_never_opened",
        "tests/test_bad_input.py::test_what_would_be_waited_for_is_refused",
    ),
    "The key of an `api:` model is sent to its provider only, and is not printed or stored.": (
        f"{MODELS}/test_api.py::test_the_key_is_sent_and_written_nowhere",
        f"{MODELS}/test_api.py::test_the_key_of_a_provider_goes_to_no_other_address",
        f"{MODELS}/test_api.py::test_a_key_that_cannot_be_sent_is_not_shown",
    ),
    "`--offline` downloads nothing.": (
        "tests/cli/test_fetching.py::test_offline_asks_no_server_and_answers_in_one_screen",
    ),
    "A report loads nothing from a network.": (
        f"{REPORTS}/page/test_report.py::test_nothing_is_asked_of_any_network",
        f"{REPORTS}/page/test_compare.py::test_the_page_asks_for_nothing_from_outside_and_equal_runs_give_equal_bytes",
    ),
    "Only your browser, with the token, reads `clipbench view`.": (
        f"{REPORTS}/view/test_site.py::test_without_the_token_nothing_is_shown",
        f"{REPORTS}/view/test_site.py::test_another_host_is_refused_with_the_right_cookie",
    ),
    "`clipbench view` changes no file, and follows no link out of the folder of runs.": (
        f"{REPORTS}/view/test_site.py::test_nothing_can_be_changed",
        f"{REPORTS}/view/test_runs.py::test_hostile_folders_cost_a_row_each",
        f"{REPORTS}/view/test_runs.py::test_a_run_that_becomes_a_link_to_elsewhere_is_not_read",
    ),
    "Only your browser, with the token, writes judgements to `clipbench judge`.": (
        f"{REPORTS}/view/test_judge.py::test_nobody_else_writes_and_nothing_else_is_written",
    ),
    "An image of more than 100,000,000 pixels is refused before it is decoded, and `CLIPBENCH_MAX_PIXELS` sets another number.": (
        f"{DATA}/test_decoding.py::test_a_small_file_of_too_many_pixels_is_refused_before_it_is_decoded",
        f"{DATA}/test_decoding.py::test_the_default_limit_holds_for_thirteen_thousand_squared_and_may_be_raised",
    ),
    "A very long, thin image is resized only where the model looks at it, or is refused.": (
        f"{MODELS}/test_pipeline.py::test_a_long_image_is_not_enlarged_as_a_whole",
    ),
    "A model that preprocesses images itself gets batches of a limited number of pixels.": (
        f"{MODELS}/test_embedder.py::test_whole_images_come_in_batches_of_limited_pixels_and_are_let_go_of",
    ),
    "Damaged tables, arrays, archives, configurations and results are refused in one line.": (
        "tests/test_bad_input.py::test_json_that_python_cannot_read_is_refused",
        "tests/test_bad_input.py::test_a_damaged_shard_is_refused",
        "tests/clipbench/untrusted/test_archives.py::test_a_zip_that_cannot_be_unpacked_is_one_line",
        "tests/clipbench/untrusted/test_reading.py::test_an_array_that_is_not_whole_is_refused",
        f"{MODELS}/test_configurations.py::test_a_folder_of_other_sizes_is_refused",
    ),
}  # fmt: skip


def promises() -> list[str]:
    """Return the promises of the page: the items of its lists."""
    return re.findall(r"^- (.+)$", (ROOT / "SECURITY.md").read_text(encoding="utf-8"), re.MULTILINE)


def test_each_promise_names_its_tests() -> None:
    assert promises() == list(PROMISES)


@pytest.mark.parametrize("promise", PROMISES)
def test_the_tests_of_a_promise_exist(promise: str) -> None:
    for test in PROMISES[promise]:
        file, name = test.split("::")
        assert f"\ndef {name}(" in (ROOT / file).read_text(encoding="utf-8"), test
