"""The editor of scripts in a real browser: colours, the line that is to blame, the keyboard, long scripts."""

from __future__ import annotations

import io
import json
import re

import numpy as np
import pytest
import shapely
from driving import forget_answer
from PIL import Image
from pyproj import Transformer
from season import SCRIPT

pytestmark = pytest.mark.xdist_group("console-pages")

# One of each: colours, quotes in quotes, slashes that divide and slashes that do not, letters that are wide or far off.
PIECES = """//VERSION=3
/* of two
   lines */ const ratio = (a, b) => a / b / 2, word = /[/'"]+/g.test("it's /* no comment */")
function setup() { return {input: ["B04"], output: {bands: 1.5e3, default: null}} }
const text = `outer ${ratio({x: `inner ${1 + 2} "`}.x, 3)} ' // no comment
  still text` // \u00e9\u4e2d\U0001f600
\tlet \u00e9t\u00e9 = 0x1F / 4; // behind a tab
"""
KINDS = {"comment", "keyword", "string", "number", "name"}
PIECES_SHOWN = """() => [...document.querySelectorAll('.colours .line')].map(line => [...line.children].map(
    one => [one.className, getComputedStyle(one, '::before').content.length && one.dataset.text]))"""
COLOURS = """kinds => {
    const area = document.querySelector('#script');
    const probe = document.querySelector('.colours .rows').appendChild(document.createElement('span'));
    probe.className = 'line';
    const rgb = (property, value) => {
        const canvas = new OffscreenCanvas(1, 1).getContext('2d');
        canvas.fillStyle = getComputedStyle(probe)[property];
        canvas.fillRect(0, 0, 1, 1);
        return [...canvas.getImageData(0, 0, 1, 1).data];
    };
    const letters = kinds.map(kind => (probe.className = kind ? `js-${kind}` : '', rgb('color')));
    const backgrounds = ['paper', 'card', 'bad-soft', 'selected'].map(name => {
        probe.style.backgroundColor = `var(--${name})`;
        return rgb('backgroundColor');
    });
    probe.remove();
    return {letters, backgrounds};
}"""


def light_of(rgb) -> float:
    """Relative luminance (WCAG 2)."""
    share = np.asarray(rgb[:3]) / 255
    return float(np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4) @ [0.2126, 0.7152, 0.0722])


def contrast(one, other) -> float:
    low, high = sorted((light_of(one), light_of(other)))
    return (high + 0.05) / (low + 0.05)


def over(background, rgba) -> np.ndarray:
    share = rgba[3] / 255
    return np.asarray(background[:3]) * (1 - share) + np.asarray(rgba[:3]) * share


def open_form(console, expect, script: str):
    page = console.open("#/try")
    expect(page.get_by_label("Collection")).to_have_value("sentinel-2-l2a")
    area = page.get_by_label("Evalscript")
    area.fill(script)
    return page, area


def fill_field(page, server) -> None:
    to_degrees = Transformer.from_crs(32633, 4326, always_xy=True).transform
    field = shapely.transform(server.fields[9], to_degrees, interleaved=False)
    page.get_by_label("or GeoJSON").fill(json.dumps(shapely.geometry.mapping(field)))
    page.get_by_label("From (UTC)").fill("2023-05-01")
    page.get_by_label("To, not included").fill("2023-06-01")


def pixels_of(locator) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(locator.screenshot())).convert("L")).astype(int)


def differing(one: np.ndarray, other: np.ndarray) -> float:
    """The share of pixels that are ink in one and paper in the other."""
    return float((np.abs(one - other) > 100).mean())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_scripts_have_colours_that_can_be_read(make_console, server, expect, scheme):
    page, _ = open_form(make_console(color_scheme=scheme), expect, PIECES)
    expect(page.locator(".colours .line")).to_have_count(8)
    lines = page.evaluate(PIECES_SHOWN)
    assert "\n".join("".join(text for _, text in line) for line in lines) == PIECES
    kinds = [{text.strip(): kind.removeprefix("js-") for kind, text in line} for line in lines]
    assert {kind for line in kinds for kind in line.values()} == {"", *KINDS}
    assert kinds[0] == {"//VERSION=3": "comment"}
    assert kinds[1] == {"/* of two": "comment"}
    assert kinds[2]["lines */"] == "comment"
    assert kinds[2][r"""/[/'"]+/g"""] == kinds[2]['"it\'s /* no comment */"'] == "string"
    assert kinds[2]["2"] == "number"
    assert kinds[3] | {"function": "keyword", "setup": "name", "1.5e3": "number", "null": "number"} == kinds[3]
    assert kinds[4] | {"`outer ${": "string", "ratio": "name", "} ' // no comment": "string"} == kinds[4]
    assert kinds[5]["still text`"] == "string"
    assert kinds[6] | {"let": "keyword", "0x1F": "number", "// behind a tab": "comment"} == kinds[6]

    seen = page.evaluate(COLOURS, ["", *sorted(KINDS)])
    assert len({tuple(letters) for letters in seen["letters"]}) == 1 + len(KINDS)
    paper, card, blamed, selected = seen["backgrounds"]
    assert (light_of(paper) > 0.5) == (scheme == "light")
    for letters in seen["letters"]:
        for background in (paper, card, blamed, over(paper, selected), over(blamed, selected)):
            assert contrast(letters, background) >= 4.5, (letters, background)


def test_coloured_letters_lie_where_the_browser_writes(console, server, expect):
    page, area = open_form(console, expect, PIECES * 20)
    editor = page.locator(".written")
    area.evaluate("one => { one.blur(); one.scrollTop = 777; one.scrollLeft = 40; }")
    ink = "getComputedStyle(document.body).color"
    page.evaluate(f"document.querySelectorAll('.colours span').forEach(one => (one.style.color = {ink}))")
    beneath = pixels_of(editor)
    page.evaluate(f"document.querySelector('#script').style.color = {ink}")
    page.evaluate("document.querySelector('.colours').hidden = true")
    above = pixels_of(editor)
    assert (above < 128).mean() > 0.01
    # Single glyphs are put on whole pixels, so some are half a pixel off; a row or two columns off is another picture.
    off = [np.roll(beneath, shift, axis) for shift, axis in ((1, 0), (-1, 0), (2, 1), (-2, 1))]
    assert differing(above, beneath) < 0.5 * min(differing(above, one) for one in off)


def test_the_line_that_fails_is_marked_told_and_gone_to(console, server, expect):
    script = SCRIPT.replace("s.B08 - s.B04", "s.B08 - nothing")
    line = script[: script.index("nothing")].count("\n") + 1
    page, area = open_form(console, expect, script)
    fill_field(page, server)
    page.get_by_role("button", name="Try it").click()
    told = page.locator(".results [role=alert]").first
    expect(told).to_contain_text(f"(line {line} of the evalscript): ReferenceError: nothing is not defined.")
    expect(page.locator(".results [role=alert]").nth(1)).to_contain_text("No picture")
    marked = page.locator(".numbers .marked")
    expect(marked).to_have_text(str(line))
    expect(page.locator(".colours .marked")).to_have_count(1)
    expect(area).to_have_attribute("aria-invalid", "true")
    expect(area).to_have_accessible_description(re.compile(f"Line {line}: ReferenceError: nothing is not defined."))
    assert console.violations() == []

    told.get_by_role("button", name=f"line {line} of the evalscript").press("Enter")
    expect(area).to_be_focused()
    start = area.evaluate("one => one.selectionStart")
    assert script[start:].startswith("return {ndvi")
    page.keyboard.press("Control+Home")
    page.keyboard.press("Enter")
    expect(marked).to_have_text(str(line + 1))
    page.keyboard.press("Control+z")
    expect(marked).to_have_text(str(line))
    told.get_by_role("button", name="of the evalscript").click()
    page.keyboard.type(" ")
    expect(marked).to_have_count(0)
    expect(area).not_to_have_attribute("aria-invalid", "true")
    expect(area).to_have_accessible_description("Tab indents; Esc, then Tab, leaves the editor.")

    area.fill(SCRIPT.replace("dataMask: [s.dataMask]", "dataMask: [s.dataMask"))
    page.get_by_role("button", name="Try it").click()
    expect(told).to_contain_text("of the evalscript): SyntaxError")
    expect(marked).to_have_text(str(line))
    forget_answer(console, 400)


def test_the_keyboard_indents_and_gets_out(console, server, expect):
    page, area = open_form(console, expect, "function f() {\n  a;\n  b;\n}")
    area.press("Control+Home")
    page.keyboard.press("End")
    page.keyboard.press("Enter")
    page.keyboard.type("if (x) {")
    page.keyboard.press("Enter")
    page.keyboard.type("y")
    assert area.input_value() == "function f() {\n  if (x) {\n    y\n  a;\n  b;\n}"
    page.keyboard.press("Control+a")
    page.keyboard.press("Tab")
    assert area.input_value() == "  function f() {\n    if (x) {\n      y\n    a;\n    b;\n  }"
    page.keyboard.press("Shift+Tab")
    page.keyboard.press("Shift+Tab")
    assert area.input_value() == "function f() {\nif (x) {\n  y\na;\nb;\n}"
    for _ in range(3):
        page.keyboard.press("Control+z")
    assert area.input_value() == "function f() {\n  if (x) {\n    y\n  a;\n  b;\n}"
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Try it")).to_be_focused()
    page.keyboard.press("Shift+Tab")
    expect(area).to_be_focused()
    page.keyboard.press("Escape")
    page.keyboard.press("Shift+Tab")
    expect(area).not_to_be_focused()
    expect(page.get_by_label("Percentiles")).to_be_focused()


def test_of_a_long_script_what_is_in_sight_is_drawn(console, server, expect):
    long = "".join(f"const value{number} = {number}; // as long as the server lets it be\n" for number in range(8_300))
    assert 480_000 < len(long) < 500_000
    page, area = open_form(console, expect, "")
    # As a paste does; `fill` writes it letter by letter.
    area.evaluate("(one, text) => { one.value = text; one.dispatchEvent(new Event('input', {bubbles: true})); }", long)
    rows, numbers = page.locator(".colours .line"), page.locator(".numbers .line")
    area.press("Control+Home")
    expect(page.locator(".numbers")).to_contain_text("12345678910")
    area.press("Control+End")
    expect(numbers.last).to_have_text("8301")
    assert 18 < rows.count() == numbers.count() < 120
    page.keyboard.type("/")
    page.keyboard.type("* end")
    last = rows.last.locator("span")
    expect(last).to_have_count(1)
    expect(last).to_have_attribute("data-text", "/* end")
    expect(last).to_have_class("js-comment")
    area.press("Control+Home")
    expect(numbers.first).to_have_text("1")
    page.keyboard.type("/*")
    # Counted first: that a locator finds several is not waited out.
    expect(rows.nth(5).locator("span")).to_have_count(1)
    expect(rows.nth(5).locator("span")).to_have_class("js-comment")

    area.fill(f"const wide = [{'1,' * 10_000}]")
    expect(page.locator("#script-hint")).to_contain_text("have no colours")
    expect(area).to_have_css("color", "rgb(24, 33, 37)")
    area.fill("const narrow = [1]")
    expect(page.locator("#script-hint")).not_to_contain_text("have no colours")
    expect(area).to_have_css("color", "rgba(0, 0, 0, 0)")
