"""The pages in headless Chromium: figures are drawn, nothing fails, no name of a scenario runs."""

import re
import shutil
import subprocess
from copy import deepcopy

import pytest

from cosparse.flow.report import write_reports
from cosparse.flow.store import read_results

CHROMIUM = next(
    (found for name in ("chromium", "chromium-browser", "google-chrome") if (found := shutil.which(name))),
    None,
)  # fmt: skip
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed")

OWNED = "document.title='owned'"
HOSTILE = f'</title></script><script>{OWNED}</script><img src=x onerror="{OWNED}">\'"`{{{{7*7}}}}'


def visit(page, *options, profile):
    """(console messages, the page as it stands once its scripts have run)."""
    done = subprocess.run(
        [CHROMIUM, "--headless=new", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr",
         f"--user-data-dir={profile}", "--virtual-time-budget=5000", *options, "--dump-dom", f"file://{page}"],
        capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    return re.findall(r"CONSOLE.*", done.stderr), done.stdout


def test_the_report_opens_offline_without_a_console_message(finished, tmp_path):
    figures = finished.report_path.read_text().count('class="plot"')
    console, dom = visit(
        finished.report_path, "--host-resolver-rules=MAP * ~NOTFOUND", profile=tmp_path
    )
    assert console == []
    assert figures >= 4 and len(re.findall(r'class="plot[^"]*js-plotly-plot"', dom)) == figures


def test_hostile_names_are_inert(finished, tmp_path):
    document = deepcopy(read_results(finished.folder))
    document["model"] = document["source"] = document["scenario"]["name"] = HOSTILE
    document["scenario"]["description"] = HOSTILE * (10_000 // len(HOSTILE) + 1)
    document["timeline"]["product"] = document["simulated"]["methods"]["bdwp"]["layers"][0][
        "name"
    ] = HOSTILE
    for run in document["training"]["runs"]:
        run["method"] += HOSTILE
    page, _ = write_reports(document, tmp_path)
    console, dom = visit(page, profile=tmp_path / "profile")
    assert console == []
    title = re.search(r"<title>(.*?)</title>", dom, re.S)[1]
    assert title.startswith("&lt;/title") and "owned" in title
    assert "<img src" not in dom


def test_the_report_is_small(finished):
    assert finished.report_path.stat().st_size < 8e6
