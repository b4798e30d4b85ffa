"""The page in a browser: fast, silent, on a phone and on paper, with keys and without scripts."""

import json
import pathlib

import numpy as np
import pandas as pd
import pytest

from gidd_jax import cli
from tests import sweeps
from tests.chromium import EXECUTABLE, chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not EXECUTABLE.exists(), reason=f"no browser at {EXECUTABLE}: apt-get install chromium"),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with chromium(tmp_path_factory.mktemp("profile")) as page:
        yield page


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    """Two sweeps side by side, one with a dead replica."""
    root = tmp_path_factory.mktemp("pages")
    a = sweeps.write(root / "a", sweeps.killed(sweeps.table(), 5, 200))
    b = sweeps.write(root / "b", sweeps.table(learning_rate=3e-3))
    assert cli.main(["report", str(a), str(b), "--out", str(root / "both.html")]) == 0
    return root / "both.html"


@pytest.fixture(autouse=True)
def silent(request, browser):
    """No test here passes over a console error, an exception, a refused load or a request."""
    browser.problems.clear(), browser.requests.clear()
    yield
    if "noisy" not in request.keywords:
        assert browser.problems == []
        assert all(url.startswith(("file:", "data:")) for url in browser.requests), browser.requests


def click(browser, selector):
    x, y = browser.value(
        f"""(() => {{ const e = document.querySelector({json.dumps(selector)});
        e.scrollIntoView({{block: "center", behavior: "instant"}});
        const b = e.getBoundingClientRect(); return [b.x + b.width / 2, b.y + b.height / 2]; }})()"""
    )
    for kind in ("mousePressed", "mouseReleased"):
        browser.ask("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)


def press(browser, key):
    typed = {"text": "\r", "windowsVirtualKeyCode": 13} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        browser.ask("Input.dispatchKeyEvent", type=kind, key=key, code=key, **typed)


@pytest.mark.parametrize("noise", ["console.error('x')", "null.x", "new Image().src = 'https://example.invalid/x.png'"])
def test_a_noisy_page_is_heard(browser, tmp_path, request, noise):
    request.keywords["noisy"] = True
    (tmp_path / "noisy.html").write_text(f"<!doctype html><p>x<script>{noise}</script>")
    browser.open(tmp_path / "noisy.html")
    browser.value("new Promise((done) => setTimeout(done, 300))")
    assert browser.problems or any(url.startswith("https:") for url in browser.requests)


def test_256_replicas_open_in_less_than_two_seconds(browser, tmp_path):
    scalars = sweeps.SCALARS | {f"metric_{i}": float(i) for i in range(20)}
    one = sweeps.table(dials=(0.0,), seeds=1, evaluations=60, scalars=scalars)
    noise = np.random.default_rng(1)
    parts = [
        one.assign(row=f"{r:012x}", seed=r % 8, attention=r // 8, value=one["value"] + noise.normal(size=len(one)))
        for r in range(256)
    ]
    directory = sweeps.write(tmp_path / "many", pd.concat(parts, ignore_index=True))
    assert cli.main(["report", str(directory)]) == 0
    page = directory / "report.html"
    took = min(browser.open(page) for _ in range(3))
    told = browser.value("JSON.stringify(performance.getEntriesByType('navigation')[0])")
    size, load = page.stat().st_size / 1e6, json.loads(told)["duration"]
    print(f"\n{size:.2f} MB, open and painted in {took:.2f} s, load event after {load:.0f} ms")
    assert page.stat().st_size < 3e6 and took < 2
    assert browser.value("document.querySelectorAll('#replicas tbody tr').length") == 256
    assert browser.value("document.querySelectorAll('#way g[data-s]').length") == 32


def test_columns_sort_by_pointer_and_by_key(browser, small):
    browser.open(small)
    column = "[...document.querySelectorAll('#replicas tbody tr')].map((r) => r.cells[5].textContent)"
    assert browser.value("document.querySelectorAll('#replicas thead th')[5].textContent").startswith("jump loss")
    unsorted = browser.value(column)
    click(browser, "#replicas thead th:nth-child(6) button")
    rising = browser.value(column)
    numbers = [float(text) for text in rising[:-1]]
    assert sorted(rising) == sorted(unsorted) and numbers == sorted(numbers) and rising[-1] == "–"
    browser.value("document.querySelector('#replicas thead th:nth-child(6) button').focus()")
    press(browser, "Enter")
    sorts = browser.value("[...document.querySelectorAll('#replicas th[aria-sort]')].map((h) => h.ariaSort)")
    assert sorts[5] == "descending" and set(sorts[:5] + sorts[6:]) == {"none"}
    assert browser.value(column) == [*rising[-2::-1], "–"]


def test_a_filter_keeps_the_rows_that_hold_every_word(browser, small):
    browser.open(small)
    browser.value(
        """(() => { const i = document.querySelector('input[data-table=replicas]'); i.value = 'died step';
        i.dispatchEvent(new Event('input')); })()"""
    )
    rows = "[...document.querySelectorAll('#replicas tbody tr')].filter((r) => !r.hidden)"
    assert browser.value(f"{rows}.map((r) => r.cells[0].textContent)") == [f"{5:012x}"]
    assert browser.value("document.querySelector('input[data-table=replicas] + output').textContent") == "1 of 24"


def test_pointer_and_arrow_keys_tell_values(browser, small):
    browser.open(small)
    x, y = browser.value(
        """(() => { const h = document.querySelector('#way'); h.scrollIntoView({block: 'center', behavior: 'instant'});
        const b = h.querySelector('svg').getBoundingClientRect(), p = h.told.points.find((p) => p.s === 2 && p.k === 3);
        return [b.x + p.x + 2, b.y + p.y - 2]; })()"""
    )
    browser.ask("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)
    told = browser.value("document.querySelector('#way .tip').innerText").splitlines()
    data = json.loads(browser.value("document.querySelector('#data').textContent"))
    way = data["metrics"][0]["way"]
    assert told[:2] == ["a, attention 1", "step 300"]
    assert told[2] == f"{way['mean'][2][3]} ± {way['half'][2][3]} (95 %), n 4"
    browser.value("document.querySelector('#end .box').focus()")
    press(browser, "ArrowRight")
    press(browser, "ArrowRight")
    assert browser.value("document.querySelector('#end .tip').innerText").splitlines()[:2] == ["a", "attention 0.5"]
    press(browser, "Escape")
    assert browser.value("document.querySelector('#end .tip').hidden")


def test_the_selector_draws_another_metric(browser, small):
    browser.open(small)
    click(browser, ".overview figure:nth-child(2) button")
    name = browser.value("document.querySelector('.overview figure:nth-child(2) h3 button').textContent")
    assert browser.value("document.querySelector('#metric').selectedOptions[0].text") == name
    assert browser.value("[...document.querySelectorAll('#end .axis')].at(-1).textContent").startswith(name)
    click(browser, "#key button")
    assert browser.value("document.querySelectorAll('#way g.hot').length") == 2
    assert browser.value("document.querySelector('#end svg').classList.contains('dim')") is False


@pytest.mark.parametrize("dark", [False, True])
def test_a_phone_scrolls_no_page_sideways(browser, small, tmp_path, dark):
    browser.open(small, width=390, height=844, dark=dark)
    assert browser.value("document.documentElement.scrollWidth") == 390
    wide = """[...document.querySelectorAll('body *')].filter((e) => !e.closest('.scroll, pre, svg')
        && e.getBoundingClientRect().right > 391).map((e) => e.tagName + e.className)"""
    assert browser.value(wide) == []
    back = browser.value("getComputedStyle(document.body).backgroundColor")
    assert (sum(map(int, back[4:-1].split(","))) < 150) == dark
    browser.picture(tmp_path / "phone.png")
    assert (tmp_path / "phone.png").stat().st_size > 50_000


def test_paper_shows_all_sections_and_no_controls(browser, small, tmp_path):
    browser.open(small)
    assert browser.value("document.querySelectorAll('details:not([open])').length") > 0
    browser.print(tmp_path / "page.pdf")
    assert (tmp_path / "page.pdf").read_bytes().startswith(b"%PDF")
    assert browser.value("document.querySelectorAll('details:not([open])').length") == 0
    browser.ask("Emulation.setEmulatedMedia", media="print")
    for gone in ("nav", "input", ".controls-row"):
        assert browser.value(f"getComputedStyle(document.querySelector('{gone}')).display") == "none"
    cut = "[...document.querySelectorAll('.scroll')].filter((e) => getComputedStyle(e).overflow !== 'visible').length"
    assert browser.value(cut) == 0


def test_without_scripts_tables_and_figures_stand(browser, small):
    browser.open(small, scripts=False)
    document = browser.ask("DOM.getDocument")["root"]["nodeId"]

    def boxes(selector):
        found = browser.ask("DOM.querySelectorAll", nodeId=document, selector=selector)["nodeIds"]
        return [box for node in found if (box := shown(node))]

    def shown(node):
        try:
            return browser.ask("DOM.getBoxModel", nodeId=node)["model"]["height"] > 20
        except AssertionError:  # not rendered
            return False

    assert len(boxes(".overview svg.panel")) >= 8 and len(boxes("#replicas tbody tr")) == 24
    assert len(boxes("#printed pre")) == 2 and not boxes("#explore") and not boxes("input")


def test_hostile_values_run_nothing(browser, tmp_path):
    bad = "</script><script>window.hurt=1</script><img src=x onerror=window.hurt=2><svg onload=window.hurt=3>"
    table = sweeps.table(evaluations=2)
    table["metric"] = table["metric"].replace({"gradient_cosine": bad, "jump_loss/t": f"jump_loss/{bad}"})
    table["row"] += bad
    record = {"command": [bad], "versions": {bad: bad}}
    directory = sweeps.write(tmp_path / "a", table, bad, [{**sweeps.CONFIG, bad: bad}], **record)
    assert cli.main(["report", str(directory), "--out", str(tmp_path / "x.html")]) == 0
    browser.open(pathlib.Path(tmp_path / "x.html"))
    for index in range(browser.value("document.querySelector('#metric').options.length")):
        browser.value(
            f"""(() => {{ const m = document.querySelector('#metric'); m.value = {index};
            m.dispatchEvent(new Event('change')); }})()"""
        )
    assert browser.value("[window.hurt, document.images.length, document.scripts.length].join()") == ",0,2"
