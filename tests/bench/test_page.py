"""The page's table and the plots are what the kept figures give."""

import page


def test_readme_and_plots_are_of_the_figures():
    for file, text in page.files(page.kept()).items():
        assert file.read_text() == text, f"{file} is not as the figures have it; write it with: scripts/bench --page"


def test_every_row_of_the_figures_is_measured():
    import main

    assert list(page.kept()) == main.ROWS
