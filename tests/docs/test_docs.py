import re
import subprocess
import sys
import tomllib

import pytest

from hnmine.config.file import check_config
from hnmine.config.tables import Config
from hnmine.errors import HnmineError
from tests.support import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_generated_pages_are_up_to_date():
    done = subprocess.run(
        [sys.executable, ROOT / "docs" / "generate.py", "--check"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#\s]+)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def anchors(text):
    """Return the anchors of a page's headings, as GitHub makes them of headings that are all different."""
    headings = re.findall(r"^#+ (.+)$", re.sub(r"```.*?```", "", text, flags=re.DOTALL), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_links_to_sections_lead_somewhere(page):
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text()):
        if "://" not in target:
            other = page.parent / target if target else page
            assert anchor in anchors(other.read_text()), f"{page.name}: {target}#{anchor}"


def test_every_row_of_the_table_of_cases_is_a_config():
    page = (ROOT / "docs" / "mining.md").read_text()
    table = page.split("\n## Which settings\n")[1].split("\n\n| your case |")[1].split("\n\n")[0]
    rows = [line.split(" | ") for line in table.splitlines()[2:]]
    assert len(rows) > 10
    for case, settings, _ in rows:
        raw = tomllib.loads("\n".join(re.findall(r"`([\w.]+ = [^`]+)`", settings.split(" or ")[-1])))
        raw["out"] = "runs/second"
        raw.setdefault("input", {}).update({name: f"{name}.jsonl" for name in ("corpus", "queries", "qrels")})
        assert isinstance(check_config(raw, case, ROOT), Config)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_toml_example_is_a_config(page):
    for block in re.findall(r"```toml\n(.*?)```", page.read_text(), re.DOTALL):
        raw = tomllib.loads(block)
        raw.setdefault("input", {"pairs": "pairs.parquet"})
        assert isinstance(check_config(raw, page.name, ROOT), Config)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_shown_exists(page):
    from hnmine.cli.app import app

    known = {info.name or info.callback.__name__ for info in app.registered_commands}
    words = {"import", "is", "mines", "reads", "writes", "says", "has", "does", "did", "keeps", "itself"}
    for name in re.findall(r"(?:^|\s|`|/)hnmine ([a-z]+)(?=[\s`])", page.read_text(), re.MULTILINE):
        assert name in known | words, name


def test_the_ci_script_runs_the_readmes_test_command():
    script = (ROOT / ".ci" / "run").read_text()
    readme = (ROOT / "README.md").read_text()
    assert 'torch==2.13.0 -e ".[dev]"' in script
    assert 'torch==2.13.0 -e ".[dev]"' in readme
    assert "pytest -q -n 2" in readme.replace(".venv/bin/", "")
    assert '"$work/venv/bin/pytest" -q -n 2' in script


def test_every_error_class_is_in_the_tree_drawn_in_its_module():
    from hnmine import errors

    def leaves(cls: type[HnmineError]) -> list[type[HnmineError]]:
        return [cls, *(below for sub in cls.__subclasses__() for below in leaves(sub))]

    for cls in leaves(HnmineError):
        if cls.__module__ == "hnmine.errors":
            assert re.search(rf"{cls.__name__}\s+{cls.exit_code}\b", errors.__doc__ or ""), cls


def test_the_page_on_input_gives_the_names_of_columns_in_the_order_of_the_code():
    from hnmine.config.tables import Columns
    from hnmine.readers.columns import COLUMNS

    page = (ROOT / "docs" / "input.md").read_text()
    rows = dict(re.findall(r"^\| `(\w+)`(?: \(optional\))? \| ([\w, -]+) \|$", page, re.MULTILINE))
    assert rows == {
        name: ", ".join(COLUMNS[name].names)
        for name in Columns.model_fields
        if name not in ("split", "image", "query_image")
    }


def test_public_names_are_what_the_package_gives():
    import hnmine

    assert hnmine.__all__ == sorted(hnmine.__all__)
    for name in hnmine.__all__:
        assert getattr(hnmine, name) is not None


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_file_of_the_code_that_a_page_names_exists(page):
    for path in re.findall(r"`((?:hnmine|tests|docs|sample_data)/[\w./-]+)`", page.read_text()):
        assert (ROOT / path.replace("NAME", "filter")).exists(), f"{page.name}: {path}"
