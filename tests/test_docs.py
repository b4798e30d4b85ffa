"""What the documents say runs, and ends where they say it does."""

import pathlib
import re

ROOT = pathlib.Path(__file__).parent.parent


def test_the_study_of_the_documents_runs_and_learns(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = re.search(r"```python\n(.*?)```", (ROOT / "docs" / "own_study.md").read_text(), re.S).group(1)
    space = {"__name__": "own_study"}
    # A sixth of the steps is enough to see it fall.
    exec(compile(code.replace("steps=300", "steps=50"), "own_study.md", "exec"), space)
    told = space["table"].query("metric == 'told'").groupby("step")["value"]
    first, last = told.mean().iloc[[0, -1]]
    assert 2.0 < first < 2.7 and last < first / 2
    assert told.size().iloc[-1] == 8
