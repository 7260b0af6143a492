"""The README's walk runs as printed."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_walk_runs_as_printed(tmp_path):
    (commands,) = re.findall(r"<!-- walk -->\n```sh\n(.*?)```", README, flags=re.S)
    (tmp_path / "fixtures").symlink_to(ROOT / "fixtures")
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "OMP_NUM_THREADS": "1"}
    for command in commands.strip().splitlines():
        done = subprocess.run(command, shell=True, cwd=tmp_path, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    page = (tmp_path / "walk" / "report.html").read_text(encoding="utf-8")
    assert page.count("vegaEmbed('#vis") >= 6
    assert "http://" not in re.sub(r"<script>.*?</script>", "", page, flags=re.S)
