"""The guide of recipes runs as printed."""

import re
import subprocess
from pathlib import Path

from test_readme import ENVIRONMENT, ROOT, blocks, read

PAGE = "docs/guides/recipe.md"


def run(command: str, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, shell=True, cwd=folder, env=ENVIRONMENT, capture_output=True, text=True)


def test_the_guide_of_recipes_runs_as_printed(tmp_path):
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    (recipe,) = blocks(PAGE, "recipe", "toml")
    first, second = blocks(PAGE, "commands")
    for command in first.strip().splitlines():
        done = run(command, tmp_path)
        assert done.returncode == 0, done.stderr
    (tmp_path / "walk" / "recipe.toml").write_text(recipe)
    outputs = [run(command, tmp_path) for command in second.strip().splitlines()]
    assert [done.returncode for done in outputs] == [0, 0, 0], outputs[-1].stderr
    assert outputs[0].stdout.count("    curate ") == 4
    assert outputs[2].stdout.startswith("nothing to do: all 4 steps were done before")
    assert (tmp_path / "walk" / "made" / "train" / "index.json").is_file()
    (told,) = re.findall(r"curate: (walk/recipe.toml, line \d+: \[prune\] has no key 'capp'.*) Its keys", read(PAGE))
    (tmp_path / "walk" / "recipe.toml").write_text(recipe.replace("cap =", "capp ="))
    assert told in run("curate run walk/recipe.toml", tmp_path).stderr
