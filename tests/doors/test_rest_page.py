"""The commands of the page about REST run against a real server, and answer what the page says."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import urllib.request
from pathlib import Path

import pytest
from rest_serving import both

PAGE = Path(__file__).parents[2] / "docs/rest.md"
PAIRS = re.findall(r"```sh\n(.*?)```\n\n```json\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_commands_answer_what_the_page_says(tmp_path: Path) -> None:
    assert len(PAIRS) == PAGE.read_text().count("curl -s") == 6
    with both(tmp_path) as rest:
        for command, told in PAIRS:
            line = command.replace("localhost:19530", rest.url)
            ran = subprocess.run(line, shell=True, capture_output=True, text=True, check=True)
            assert json.loads(ran.stdout) == json.loads(told), command
        page = urllib.request.urlopen(f"{rest.url}/docs").read().decode()
        assert "/v2/vectordb/entities/hybrid_search" in page
