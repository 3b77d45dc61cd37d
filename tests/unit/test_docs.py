"""Pages that are made from the code are up to date, and those written by hand run."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def test_the_settings_page_is_up_to_date() -> None:
    """`make docs` would change nothing."""
    made = runpy.run_path(str(ROOT / "docs" / "generate.py"))["settings_page"]()
    assert (ROOT / "docs" / "settings.md").read_text() == made


def test_links_between_pages_lead_somewhere() -> None:
    """Every relative link names a file."""
    for page in [ROOT / "README.md", *ROOT.glob("docs/*.md"), *ROOT.glob("benchmarks/**/*.md")]:
        for link in re.findall(r"\]\((?!http)([^)#]+)", page.read_text()):
            assert (page.parent / link).exists(), f"{page.name}: {link}"


OPERATIONS = ["stopping", "reloading", "upgrading", "scaling", "systemd", "containers", "tls"]
HEADINGS = ["How to", "What clients see", "When it does not work", "What it costs"]


@pytest.mark.parametrize("page", OPERATIONS)
def test_operations_pages_answer_the_same_questions_in_the_same_order(page: str) -> None:
    """Who looks something up at night finds it at the same place of each page."""
    text = (ROOT / "docs" / f"{page}.md").read_text()
    assert re.findall(r"^## (.*)$", text, re.MULTILINE) == HEADINGS


def test_the_readme_s_program_prints_what_it_says() -> None:
    """The Python example runs as it stands."""
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    done = subprocess.run(
        [sys.executable, "-c", programs[1]], capture_output=True, text=True, check=True, timeout=20
    )
    assert done.stdout == "b'hello'\n1\n"
