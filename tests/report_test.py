"""The command `python -m anp_tf.report`, as processes, and its page in a browser."""

import contextlib
import html.parser
import json
import pathlib
import re
import shlex
import shutil
import subprocess
from types import SimpleNamespace

import keras
import numpy as np
import pytest

from anp_tf.data import Examples
from anp_tf.files import atomic_file
from anp_tf.methods import METHODS
from anp_tf.report import catalogue, facts, figures, tables
from anp_tf.report.page import holds_report
from anp_tf.report.runs import ReportedRun
from anp_tf.reproduce.paper import paper_rows
from anp_tf.robustness import digest
from anp_tf.settings import Settings
from anp_tf.workdir import Workdir

SHIPPED = pathlib.Path(__file__).parents[1] / "saved_models"
ODD = '<b>$x$ & "y\'s"'  # in the name of a folder
FIGURES = {
    "accuracy_by_epsilon",
    "accuracy_by_restarts",
    "accuracy_by_steps",
    "adversarial_examples",
    "feature_vulnerability",
    "layer_vulnerability",
    "loss_surface",
    "pixel_vulnerability",
    "sparsity",
}
SUITE = {
    **{"attack": "standard", "norm": "Linf", "epsilon": 0.3, "dataset": "mnist", "seed": 0},
    **{"test_examples": 1000, "clean_accuracy": 98.1, "robust_accuracy": 90.2},
    "attacks": [
        {"name": "apgd-ce", "fooled": 71, "robust_accuracy": 91.0, "seconds": 12.3},
        {"name": "square", "fooled": 8, "robust_accuracy": 90.2, "seconds": 1234.5},
    ],
    "recheck": {
        **{"images": 79, "outside_ball": 0, "outside_pixels": 0},
        **{"classified_correctly": 0, "largest_distance": 0.3},
    },
}
CHECKS = {
    **{"dataset": "mnist", "norm": "Linf", "epsilon": 0.3, "test_examples": 500, "seed": 0},
    "checks": [
        {
            "name": "fgsm",
            "title": "PGD is not weaker than FGSM",
            "status": "pass",
            "figure": "PGD-40 90.1 %, FGSM 93.0 %",
            "values": {},
        },
        {
            "name": "odd",
            "title": "</td><script>console.error('escaped')</script>",
            "status": "not run",
            "figure": "<img src=http://example.invalid/a.png>",
            "values": {},
        },
    ],
}
CERTIFICATE = {
    **{"dataset": "mnist", "norm": "linf", "epsilon": 0.3, "settings": {"tried": ["interval"]}},
    "outcomes": ["proved"] * 80 + ["broken"] * 15 + ["open"] * 5,
    "counts": {"proved": 80, "broken": 15, "open": 5, "proved_by": {"interval": 80}},
}
POINTS = [
    {"method": method, "sparsity_percent": sparsity, "white_box_accuracy": accuracy}
    for method, sparsity, accuracy in (("anp_vs", 60, 94.5), ("anp_vs", 84, 93.5), ("bp", 80, 0))
]


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and the text of its figures' cells."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.cells, self.text, self.cell = [], [], "", None
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.tags.append((tag, attributes))
        if "data-key" in attributes:
            self.cell = {**attributes, "text": ""}
            self.cells.append(self.cell)
        elif tag == "span":
            self.cell = None

    def handle_endtag(self, tag):
        if tag in ("span", "td"):
            self.cell = None
        if tag in ("th", "td"):
            self.text += " "

    def handle_data(self, data):
        self.text += data
        if self.cell is not None:
            self.cell["text"] += data


@pytest.fixture(scope="module")
def folder(finished, tmp_path_factory):
    """Two workdirs, one with an odd name, one with the records of attacks, checks and proofs."""
    folder = tmp_path_factory.mktemp("report")
    for name, copy in (("standard", ODD), ("anp_vs", "anp_vs")):
        (folder / copy).mkdir()
        for file in ("config.cfg", "metrics.jsonl", "network.keras", "results.json"):
            shutil.copy(finished.path / name / file, folder / copy)
        edited("results.json", '"PGD-2"', '"PGD-40"')(folder / copy)  # the paper's attack
    network = {"network": digest(folder / "anp_vs" / "network.keras")}
    other = {**SUITE, "network": "of another network"}
    suites = {"the <standard>": {**SUITE, **network}, "outdated": other}
    (folder / "anp_vs" / "robustness.json").write_text(json.dumps(suites))
    (folder / "anp_vs" / "checks.json").write_text(json.dumps({**CHECKS, **network}))
    certificate = {**CERTIFICATE, "file": network["network"]}
    (folder / "anp_vs" / "certificate.json").write_text(json.dumps(certificate))
    (folder / "sparsity.json").write_text(json.dumps(POINTS))
    return folder


@pytest.fixture(scope="module", autouse=True)
def loaded(commands):
    commands.load("report.command")


@pytest.fixture(scope="module")
def flags(small_data_dir):
    return [
        f"--workdir={ODD},anp_vs",
        "--output=a report",
        "--examples=20",
        "--sparsity=sparsity.json",
        f"--data_dir={small_data_dir}",
        "--imports=fractions",  # any module
    ]


@pytest.fixture(scope="module")
def report(commands, folder, flags):
    """The folder of a report that the command made."""
    outcome = commands.run("report", *flags, cwd=folder)
    assert (outcome.code, outcome.err) == (0, "")
    *lines, last = outcome.out.splitlines()
    assert last == "a report/report.html"
    for label in ("standard", "anp_vs"):
        assert any(re.match(rf"{label}  PGD-2  20 in 0:", line) for line in lines)
    return folder / "a report"


@pytest.fixture(scope="module")
def page(report):
    return Page((report / "report.html").read_text())


def results(folder):
    """The results rows by the workdir, as the command line names it."""
    return {
        name: json.loads((folder / name / "results.json").read_text()) for name in (ODD, "anp_vs")
    }


def figure_of(results, cell):
    value = results[cell["data-workdir"]]
    for key in cell["data-key"].split("."):
        value = value[key]
    return value


def test_figures_and_their_data(report):
    assert {path.name for path in report.iterdir()} == {"report.html", "figures"}
    names = {path.name for path in (report / "figures").iterdir()}
    assert names == {f"{name}.{end}" for name in FIGURES for end in ("svg", "json")}
    for name in FIGURES - {"sparsity"}:
        data = json.loads((report / "figures" / f"{name}.json").read_text())
        assert list(data["networks"]) == ["standard", "anp_vs"]
        for entry in data["networks"].values():
            assert entry["made_from"]["test_examples"] == 20
            assert entry["made_from"]["attack"] == "PGD-2"
    assert json.loads((report / "figures" / "sparsity.json").read_text()) == POINTS


@pytest.mark.slow
def test_first_point_of_the_restarts_is_the_evaluation(commands, folder, report):
    """The figures attack as `evaluate` does, on as many images."""
    outcome = commands.run(
        "evaluate", "--workdir=anp_vs", "--limit_test_examples=20", "--output=20.json", cwd=folder
    )
    assert outcome.code == 0, outcome.err
    row = json.loads((folder / "20.json").read_text())

    def entry(name):
        data = json.loads((report / "figures" / f"{name}.json").read_text())
        return data["networks"]["anp_vs"]["data"]

    assert entry("accuracy_by_restarts")["accuracy"][0] == pytest.approx(row["white_box_accuracy"])
    assert entry("accuracy_by_epsilon")["accuracy"][0] == pytest.approx(row["clean_accuracy"])
    vulnerability = entry("layer_vulnerability")["vulnerability"]
    mean = sum(vulnerability) / len(vulnerability)
    assert mean == pytest.approx(row["white_box_vulnerability"], rel=1e-4)


def test_cells_are_the_results(folder, page):
    expected = results(folder)
    keys = {(cell["data-workdir"], cell["data-key"]) for cell in page.cells}
    assert len(keys) == len(page.cells)
    for key in ("clean_accuracy", "white_box_accuracy", "white_box_vulnerability", "slim_flops"):
        assert {workdir for workdir, name in keys if name == key} == set(expected)
    paper = paper_rows("mnist")
    for cell in page.cells:
        value = figure_of(expected, cell)
        assert cell["data-method"] == expected[cell["data-workdir"]]["method"]
        if value is None:
            assert "data-value" not in cell
            continue
        assert float(cell["data-value"]) == value
        shown = cell["text"].split()[0].replace(",", "")
        digits = len(shown.partition(".")[2])
        assert float(shown) == round(value, digits)
    for method in ("standard", "anp_vs"):
        assert f"paper: {paper[method]['clean_accuracy']:.2f}" in page.text
    text = " ".join(page.text.split())
    assert "and of networks at width 1; those here are at width 0.1." in text


def test_records_of_attacks_checks_and_proofs(page):
    text = " ".join(page.text.split())
    assert "anp_vs: the <standard>" in text
    assert (
        "1,000 test images: 98.10 (97.05-98.85) % clean, 90.20 (88.19-91.97) % under all attacks"
        in text
    )
    assert "square 8 90.20 (88.19-91.97) 1,234.5" in text
    assert "of 79 adversarial images, 0 are outside the ball (the farthest is 0.3 away)" in text
    assert "PGD is not weaker than FGSM ✓ pass PGD-40 90.1 %, FGSM 93.0 %" in text
    assert "- not run" in text
    assert "between 80.00 % (proved) and 85.00 % (attacked) of these images" in text
    assert "proved by interval 80 80.00 broken 15 15.00 open 5 5.00" in text
    assert "--prove --proofs=interval --norm=Linf --epsilon=0.3 --limit_test_examples=100" in text


def test_what_else_is_told(flags, page):
    text = " ".join(page.text.split())
    assert "conv1_mask" in text
    assert "CPU cores" in text
    for name in ("--method", "--init_from", "--epochs", "--seed"):
        assert name in text
    assert shlex.join(["python", "-m", "anp_tf.report", *flags]) in page.text
    assert "python -m anp_tf.train --flagfile=anp_vs/config.cfg --workdir=anp_vs_again" in text


def test_nothing_is_loaded_and_all_is_escaped(report, page):
    names = {tag for tag, _ in page.tags}
    assert not names & {"script", "b", "iframe", "object"}
    for tag, attributes in page.tags:
        for name in ("src", "href", "srcset", "data", "action", "style"):
            value = attributes.get(name)
            assert value is None or value.startswith(("data:", "#")), (tag, name, value)
    images = [attributes for tag, attributes in page.tags if tag == "img"]
    assert len(images) == len(FIGURES)
    for image in images:
        assert image["src"].startswith("data:image/svg+xml;base64,")
        assert len(image["alt"]) > 20
    text = (report / "report.html").read_text()
    assert "url(" not in text
    assert "@import" not in text
    (policy,) = [a["content"] for tag, a in page.tags if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; img-src data:;")
    assert ODD.partition("'")[0] in page.text  # in a command, where the quote is escaped


@pytest.mark.slow
def test_the_second_time_nothing_is_computed_again(commands, folder, report, flags):
    figures = report / "figures"
    curve = figures / "accuracy_by_epsilon.json"
    before = curve.read_text(), (figures / "loss_surface.json").read_text()
    data = json.loads(before[0])
    data["networks"]["standard"]["data"]["accuracy"][0] = 12.5
    curve.write_text(json.dumps(data))
    (figures / "loss_surface.json").write_text('{"networks": {"standa')  # damaged
    outcome = commands.run("report", *flags, cwd=folder)
    assert (outcome.code, outcome.err) == (0, "")
    data = json.loads(curve.read_text())
    assert data["networks"]["standard"]["data"]["accuracy"][0] == 12.5
    assert json.loads((figures / "loss_surface.json").read_text()) == json.loads(before[1])
    assert "12.5 % at ε = 0" in (report / "report.html").read_text()
    data["networks"]["standard"]["made_from"]["network"] = "another"
    curve.write_text(json.dumps(data))
    outcome = commands.run("report", *flags, cwd=folder)
    assert (outcome.code, outcome.err) == (0, "")
    assert json.loads(curve.read_text()) == json.loads(before[0])


def another_network(workdir):
    network = keras.Sequential(
        [keras.Input((9, 9, 1)), keras.layers.Flatten(), keras.layers.Dense(10)]
    )
    with atomic_file(workdir / "network.keras") as temporary:
        network.save(temporary)


def edited(name, old, new):
    def change(workdir):
        text = (workdir / name).read_text()
        assert old in text
        (workdir / name).write_text(text.replace(old, new))

    return change


def result(key, value):
    def change(workdir):
        row = json.loads((workdir / "results.json").read_text())
        (workdir / "results.json").write_text(json.dumps({**row, key: value}))

    return change


def removed(name):
    return lambda workdir: (workdir / name).unlink()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (shutil.rmtree, r"changed is not the workdir of a run: cannot read config\.cfg"),
        (removed("network.keras"), r"changed has no network\.keras: train it first"),
        (
            removed("results.json"),
            r"changed has no results\.json: run .*evaluate --workdir=changed",
        ),
        (edited("results.json", '"epsilon"', '"e"'), r"results\.json is damaged; .* no epsilon"),
        (edited("results.json", "{", "["), r"results\.json is damaged"),
        (result("latency_milliseconds", {"1": {}}), r"results\.json is damaged; .* no 'dense'"),
        (result("latency_milliseconds", None), r"changed/results\.json is damaged; run .* again: "),
        (result("date", 5), r"changed/results\.json is damaged; run .* again: "),
        (result("clean_accuracy", None), r"changed/results\.json is damaged; run .* again: "),
        (result("clean_accuracy", float("inf")), r"results\.json is damaged; run .* again: "),
        (result("test_examples", "x"), r"changed/results\.json is damaged; run .* again: "),
        (edited("config.cfg", "=mnist", "=cifar10"), r"one data set, received mnist .* cifar10"),
        (edited("config.cfg", "share=0.2", "share=0.3"), r"one way to read the data, .*: 0.3"),
        (another_network, r"one image shape, received \(28, 28, 1\) .* \(9, 9, 1\) \(changed\)"),
        (edited("robustness.json", "norm", "n"), r"robustness\.json is damaged; .* no 'norm'"),
        (edited("checks.json", "{", "}"), r"checks\.json is damaged; remove it"),
        (edited("certificate.json", "counts", "c"), r"certificate\.json is damaged; .* 'counts'"),
    ],
)
def test_bad_workdir(commands, folder, tmp_path, change, message):
    shutil.copytree(folder / "anp_vs", folder / "changed")
    try:
        change(folder / "changed")
        flags = ["--workdir=anp_vs,changed", f"--output={tmp_path / 'out'}"]
        expect_error(commands.run("report", *flags, cwd=folder), message)
    finally:
        shutil.rmtree(folder / "changed", ignore_errors=True)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        ([], "--workdir: expected the folder of a run, received none"),
        (["--workdir=anp_vs,./anp_vs/"], "expected each workdir once, received .*anp_vs twice"),
        (["--workdir=anp_vs", "--examples=0"], "--examples: expected .* at least 1, received 0"),
        (["--workdir=anp_vs", "--sparsity=none.json"], "none.json"),
        (["--workdir=anp_vs", "--sparsity=anp_vs/results.json"], "--sparsity: expected a file of"),
        (["--workdir=anp_vs", "--sparsity=anp_vs/network.keras"], r"received .*network\.keras: "),
        (["--workdir=anp_vs", "--output=anp_vs/config.cfg"], "anp_vs/config.cfg"),
    ],
)
def test_bad_flags(commands, folder, tmp_path, flags, message):
    outcome = commands.run("report", f"--output={tmp_path / 'out'}", *flags, cwd=folder)
    expect_error(outcome, message)


def test_pages_of_others_are_not_replaced(commands, folder, report, tmp_path):
    page = tmp_path / "mine.html"
    page.write_text("<p>mine")
    outcome = commands.run("report", "--workdir=anp_vs", f"--output={page}", cwd=folder)
    expect_error(outcome, r"--output: expected .* that this command wrote, .*mine\.html")
    assert page.read_text() == "<p>mine"
    assert list(tmp_path.iterdir()) == [page]
    assert holds_report(report / "report.html")


@pytest.mark.slow
def test_networks_without_activations_have_no_figures_of_latent_features(tmp_path, monkeypatch):
    kinds = [kind for kind in catalogue.FIGURES if kind.passes is None]
    monkeypatch.setattr(figures, "FIGURES", kinds)
    images = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 1), np.uint8)
    examples = Examples(images, np.arange(6, dtype=np.int32) % 3, 3)
    (tmp_path / "network").touch()
    workdir = SimpleNamespace(network=tmp_path / "network")

    def drawn(*activations):
        runs = []
        for label, activation in zip("ab", activations, strict=False):
            hidden = keras.layers.Dense(4, activation)
            network = keras.Sequential(
                [keras.Input((4, 4, 1)), keras.layers.Flatten(), hidden, keras.layers.Dense(3)]
            )
            settings = Settings(eval_attack_steps=1)
            runs.append(ReportedRun(label, workdir, settings, {}, network, [], None, None))
        folder = tmp_path / str(activations)
        made = figures.make_figures(runs, examples, folder, lambda *_: contextlib.nullcontext())
        return {figure.name: figure.alt for figure in made}

    assert set(drawn(None)) == {"loss_surface", "adversarial_examples"}
    of_both = drawn(None, "relu")
    assert set(of_both) == {kind.name for kind in kinds}
    of_latents = [kind.name for kind in kinds if kind.of_latents]
    assert len(of_latents) == 3
    assert [name for name, alt in of_both.items() if "a: " not in alt] == of_latents


def expect_error(outcome, message):
    assert outcome.code == 2
    assert len(outcome.err.splitlines()) == 1
    assert outcome.err.startswith("anp_tf.report: ")
    assert re.search(message, outcome.err)


BROWSER = shutil.which("chromium")
browser = pytest.mark.skipif(
    BROWSER is None, reason="needs the browser Chromium (Debian: chromium)"
)
CHECK = """
<script>
for (const details of document.querySelectorAll("details")) details.open = true;
addEventListener("load", () => parent.postMessage(JSON.stringify({
  width: innerWidth,
  content: document.documentElement.scrollWidth,
  images: [...document.images].map(image => [image.complete, image.naturalWidth]),
  dark: [...document.images].map(image => image.currentSrc != image.src),
  cut: [...document.querySelectorAll("h1,h2,h3,p,li,dt,dd,th,td,figcaption,summary")]
    .filter(element => element.innerText && element.scrollWidth > element.clientWidth + 1)
    .map(element => element.innerText),
  heads: [...document.querySelectorAll("#results thead th")].map(head => [
    head.innerText, head.getBoundingClientRect().right,
  ]),
  stuck: [...document.querySelectorAll("#results tbody th")].map(head => {
    const box = head.closest(".scroll");
    box.scrollLeft = 10000;
    return head.getBoundingClientRect().left - box.getBoundingClientRect().left;
  }),
  tops: [...document.querySelectorAll("figure")].map(figure => figure.offsetTop),
  background: getComputedStyle(document.body).backgroundColor,
  cells: [...document.querySelectorAll("[data-key]")].map(cell => ({
    ...cell.dataset, shown: cell.innerText, seen: cell.getBoundingClientRect().height > 0
  })),
}), "*"))
</script></body>"""
FRAME = """<!DOCTYPE html><meta charset="utf-8"><pre id="found"></pre>
<script>onmessage = event => document.getElementById("found").textContent = event.data</script>
<iframe src="checked.html" width="%d" height="800" style="border: 0"></iframe>"""


def open_page(path, profile, *flags):
    """Opens a page; the document as it is then, and what its console said."""
    quiet = ["quic", "background-networking", "component-update", "sync", "gpu"]
    process = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--no-first-run",
            *(f"--disable-{name}" for name in quiet),
            f"--user-data-dir={profile}",
            "--enable-logging=stderr",
            "--virtual-time-budget=10000",
            "--window-size=1400,900",
            "--dump-dom",
            *flags,
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=300,
        check=True,
    )
    lines = process.stderr.splitlines()
    return process.stdout, [line for line in lines if "CONSOLE" in line]


@pytest.mark.slow
@browser
def test_console_is_silent(report, tmp_path):
    document, console = open_page(report / "report.html", tmp_path / "profile")
    assert "<h1>" in document
    assert console == []
    (tmp_path / "bad.html").write_text("<script>console.error('heard')</script>")
    _, console = open_page(tmp_path / "bad.html", tmp_path / "profile")
    assert "heard" in console[0]  # else the silence would say nothing


@pytest.mark.slow
@browser
@pytest.mark.parametrize("width", [380, 1280])
@pytest.mark.parametrize("scheme", ["dark", "light"])
def test_as_shown(folder, report, tmp_path, width, scheme):
    text = (report / "report.html").read_text()
    allowed = text.replace("style-src", "script-src 'unsafe-inline'; style-src", 1)
    (tmp_path / "checked.html").write_text(allowed.replace("</body>", CHECK))
    (tmp_path / "frame.html").write_text(FRAME % width)
    flag = f"--blink-settings=preferredColorScheme={('dark', 'light').index(scheme)}"
    document, console = open_page(tmp_path / "frame.html", tmp_path / "profile", flag)
    assert console == []
    found = json.loads(Pre(document).text)
    assert found["width"] == width
    assert found["content"] <= width
    assert len(found["images"]) == len(FIGURES)
    assert all(complete and natural > 0 for complete, natural in found["images"])
    assert found["dark"] == [scheme == "dark"] * len(FIGURES)
    assert found["cut"] == []
    names, edges = zip(*found["heads"], strict=True)
    assert names[1:5] == tuple(tables.COLUMNS.values())[:4]
    assert edges[4] <= width  # the columns that matter are seen without scrolling
    assert found["stuck"] == [0, 0]
    assert len(set(found["tops"])) == (len(FIGURES) if width == 380 else (len(FIGURES) + 1) // 2)
    red = int(re.search(r"\d+", found["background"])[0])
    assert red < 60 if scheme == "dark" else red > 200
    rows = results(folder)
    assert len(found["cells"]) == len(Page(text).cells)
    for cell in found["cells"]:
        assert cell["seen"]
        if "value" in cell:
            named = {"data-workdir": cell["workdir"], "data-key": cell["key"]}
            value = figure_of(rows, named)
            shown = cell["shown"].split()[0].replace(",", "")
            assert float(shown) == round(value, len(shown.partition(".")[2]))


class Pre(html.parser.HTMLParser):
    """The text of the one `pre` of a page."""

    def __init__(self, document):
        super().__init__()
        self.inside, self.text = False, ""
        self.feed(document)

    def handle_starttag(self, tag, attributes):
        self.inside = tag == "pre"

    def handle_endtag(self, tag):
        self.inside = False

    def handle_data(self, data):
        self.text += data if self.inside else ""


def test_labels_tell_runs_apart(finished, tmp_path):
    from anp_tf.report.runs import load_runs

    source = Workdir(finished.path / "anp_vs").path
    for place in ("one/a", "two/a"):
        shutil.copytree(source, tmp_path / place)
    runs = load_runs([finished.path / "standard", tmp_path / "one/a", tmp_path / "two/a"])
    assert [run.label for run in runs] == ["standard", "anp_vs (one/a)", "anp_vs (two/a)"]


def run_of(label, epochs, settings=None, **results):
    settings = settings or Settings(epochs=epochs)
    row = {"attack": "PGD-40", "epsilon": 0.3, "step_size": 0.01, "test_examples": 500}
    row |= {"architecture": "lenet5_caffe", **results}
    epochs = [{"epoch": 1, "seconds": 60.0}]
    return ReportedRun(
        label, SimpleNamespace(epochs=lambda: epochs), settings, row, None, [], None, None
    )


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, "91.31"),
        ({"attack": "PGD-2"}, None),
        ({"epsilon": 0.2}, None),
        ({"step_size": 0.03}, None),
        ({"dataset": "kmnist"}, None),
        ({"network": "wide_cnn"}, None),
    ],
)
def test_the_papers_values_are_shown_beside_the_papers_attack(changes, shown):
    settings = {"dataset": "mnist", "network": "lenet5_caffe"}
    options = {name: changes.get(name, value) for name, value in settings.items()}
    run = run_of("a", 1, Settings(**options), **{"white_box_accuracy": 90.0, **changes})
    found = tables.results_table([run])
    cells = {cell["key"]: cell["paper"] for cell in found["rows"][0]["cells"]}
    assert cells["white_box_accuracy"] == shown
    assert found["paper"] == (shown and "of their full training budget")


def test_the_width_of_networks_beside_the_papers_is_told():
    settings = Settings(network="lenet5_caffe")
    narrow = Settings(network="lenet5_caffe", width_multiplier=0.5)
    runs = [run_of("a", 1, settings), run_of("b", 1, narrow), run_of("c", 1, epsilon=0.1)]
    told = tables.results_table(runs)["paper"]
    assert told.endswith("and of networks at width 1; those here are at width 1 (a); 0.5 (b)")


POINT = {"method": "anp", "sparsity_percent": 50.0, "white_box_accuracy": 80.0}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([{**POINT, "dataset": "cifar10"}], "points of the runs' dataset, mnist, received cifar10"),
        ([POINT, {**POINT, "epsilon": 8 / 255}], "the runs' epsilon, 0.3, received 8/255"),
        ([{**POINT, "method": "anq"}], "method: expected one of anp_vs, .*, received 'anq'"),
        ([{**POINT, "sparsity_percent": float("nan")}], "sparsity_percent: .* received nan"),
        ([{**POINT, "white_box_accuracy": float("inf")}], "white_box_accuracy: .* received inf"),
        ([{**POINT, "white_box_accuracy": "80"}], "white_box_accuracy: .* received '80'"),
        ([{"method": "anp", "sparsity_percent": 50}], "a point has no white_box_accuracy"),
        ([], "it has no list of points"),
        ({}, "it has no list of points"),
        ([[]], "a point has no method, sparsity_percent, white_box_accuracy"),
        ([3], "expected a file of .*: 'int' object"),
    ],
)
def test_points_of_a_sparsity_curve_that_are_refused(tmp_path, content, message):
    path = tmp_path / "points.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^sparsity: .*{message}") as raised:
        figures.sparsity_points(path, [run_of("a", 1)])
    assert str(path) in str(raised.value)


def test_points_of_a_sparsity_curve_that_are_shown(tmp_path):
    """Those of earlier versions do not say their data set and attack; of these some are shipped."""
    new = {**POINT, "dataset": "mnist", "epsilon": 0.3, "attack": "PGD-40"}
    (tmp_path / "new.json").write_text(json.dumps([new, POINT]))
    runs = [run_of("a", 1, epsilon=0.2), run_of("b", 1)]
    assert figures.sparsity_points(tmp_path / "new.json", runs) == [new, POINT]
    assert len(figures.sparsity_points(SHIPPED / "sparsity" / "sparsity.json", runs)) == 19


def test_what_was_run():
    date = "2026-11-26T05:11:37+00:00"
    runs = [run_of("a", 3, training_examples=49000, date=date), run_of("b", 20, date=date)]
    found = dict(facts.facts(runs))
    assert found["Epochs"] == "3 (a); 20 (b)"
    assert found["Trained on"] == (
        "49,000 images of mnist, lenet5_caffe (a); mnist, lenet5_caffe (b)"
    )
    assert found["Begun"] == "26 November 2026"
    assert found["Training time"] == "0:01:00"
    assert found["Tested on"] == "500 images"
    assert "Black-box images of" not in found


@pytest.mark.parametrize(
    ("epochs", "examples", "share"),
    [(3, 49000, "1.2 %"), (20, 59000, "9.8 %"), (20, None, None), (200, 1000, "1.7 %")],
)
def test_a_small_run_says_so(epochs, examples, share):
    """By the images that were seen, beside 200 epochs of MNIST's 60,000."""
    results = {"training_examples": examples} if examples else {}
    text = facts.small_run([run_of("a", epochs, **results)])
    assert text is None if share is None else text.startswith(f"A small run: {share} of")


def test_every_method_has_words():
    assert all(method.in_words for method in METHODS.values())
