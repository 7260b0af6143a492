"""What the README, the guides and CONTRIBUTING print runs as printed, and their links lead somewhere."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
GUIDES = ("prune", "plan", "pilot", "select", "continual", "train")  # those that go on from the walk
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
ENVIRONMENT = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}


def read(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, label: str, language: str = "sh") -> list[str]:
    """The code blocks of a page that stand under the comment ``<!-- label -->``."""
    return re.findall(rf"<!-- {label} -->\n```{language}\n(.*?)```", read(page), flags=re.S)


def run(command: str, folder: Path) -> None:
    done = subprocess.run(command, shell=True, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder where commands find what they find at the root of the repository."""
    for name in ("fixtures", "examples"):
        (tmp_path / name).symlink_to(ROOT / name)
    return tmp_path


def test_the_walk_and_the_guides_run_as_printed(folder):
    (walk,) = blocks("docs/guides/walk.md", "walk")
    for command in walk.strip().splitlines():
        run(command, folder)
    page = (folder / "walk" / "report.html").read_text(encoding="utf-8")
    assert page.count("vegaEmbed('#vis") >= 6
    assert "http://" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S)
    for guide in GUIDES:
        later = blocks(f"docs/guides/{guide}.md", "after the walk")
        assert later, f"docs/guides/{guide}.md has no command that is tested"
        for command in "".join(later).strip().splitlines():
            run(command, folder)


@pytest.mark.parametrize("page", ["README.md", "docs/guides/prune.md"])
def test_the_python_runs_as_printed(page, folder):
    run(f"{sys.executable} fixtures/make.py walk", folder)
    for block in re.findall(r"```python\n(.*?)```", read(page), flags=re.S):
        (folder / "block.py").write_text(block, encoding="utf-8")
        run(f"{sys.executable} block.py", folder)


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_links_lead_somewhere(page):
    for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
        assert (page.parent / link).exists(), f"{page.name} links to {link}"


def test_the_readme_is_short():
    assert len(read("README.md").splitlines()) < 200


def test_every_page_of_the_docs_is_on_the_map_and_in_the_navigation():
    navigation = set(re.findall(r": (\S+\.md)$", read("mkdocs.yml"), flags=re.M))
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in (ROOT / "docs").rglob("*.md")}
    linked = set(re.findall(r"\]\(([^)#]+\.md)\)", read("docs/README.md")))
    assert navigation == pages
    assert pages - {"README.md"} <= linked
