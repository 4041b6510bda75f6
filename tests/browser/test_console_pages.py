"""The console driven in a real browser: every action, on a real server with a season of statistics."""

from __future__ import annotations

import io
import json
import re
import time

import numpy as np
import pytest
from driving import forget_answer, place_on_map
from PIL import Image
from pyproj import Transformer
from season import HOSTILE, season_request

import swathe
from serving import BATCH, wait_for

pytestmark = pytest.mark.xdist_group("console-pages")

FIELD = 10  # its neighbours grow at other times
FAILED = 64
DONE_RGB, FAILED_RGB = (11, 125, 131), (200, 52, 28)


def create(server, **request) -> str:
    answer = server.http.post(BATCH, json=season_request(**request))
    assert answer.status_code == 201, answer.text
    job_id: str = answer.json()["id"]
    return job_id


@pytest.fixture(scope="module")
def job(server):
    """A job that is done: 63 fields, 36 intervals; one field failed."""
    job_id = create(server)
    assert server.http.post(f"{BATCH}/{job_id}/start").status_code == 204
    ended = wait_for(server.http, job_id)
    assert ended["status"] == "DONE", ended
    return job_id


def middle_of(server, number: int) -> tuple[float, float]:
    point = server.fields[number - 1].representative_point()
    return Transformer.from_crs(32633, 4326, always_xy=True).transform(point.x, point.y)


def point_on_map(server, page, job, number: int) -> tuple[float, float]:
    bounds = server.http.get(f"/console/v1/jobs/{job}").json()["bounds"]
    page.locator(".map").scroll_into_view_if_needed()
    return place_on_map(page.locator(".map canvas").bounding_box(), bounds, middle_of(server, number))


def pixels_of(page) -> np.ndarray:
    """The map as it is seen, (h, w, 3)."""
    return np.asarray(Image.open(io.BytesIO(page.locator(".map").screenshot())).convert("RGB")).astype(int)


def share_like(pixels: np.ndarray, rgb: tuple[int, int, int]) -> float:
    return float((np.abs(pixels - rgb).max(axis=2) < 24).mean())


def rows_of(page, selector: str) -> list[list[str]]:
    return page.locator(f"{selector} tbody tr").evaluate_all(
        "rows => rows.map(row => [...row.children].map(cell => cell.textContent))"
    )


def test_a_wrong_secret_is_refused_and_the_token_is_kept_nowhere(console, server, job, expect):
    page = console.page
    page.goto(server.url)
    console.sign_in("wrong")
    expect(page.locator("#sign-in [role=alert]")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.locator("#sign-in")).to_be_visible()
    forget_answer(console, 401, 400)
    console.sign_in()
    expect(page.get_by_role("link", name="A season of NDVI").first).to_be_visible()
    (token,) = console.tokens
    kept = page.evaluate("JSON.stringify([{...localStorage}, {...sessionStorage}, document.cookie, location.href])")
    assert token not in kept
    assert server.credentials["client_secret"] not in kept + page.content()
    assert console.context.cookies() == []
    page.reload()
    expect(page.locator("#sign-in")).to_be_visible()


def test_signing_out_has_the_token_refused(console, server, job, expect):
    page = console.open()
    expect(page.get_by_role("link", name="A season of NDVI").first).to_be_visible()
    (token,) = console.tokens
    page.get_by_role("button", name="Sign out").click()
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("main")).to_have_text("")
    server_says = server.http.get("/console/v1/jobs", headers={"Authorization": f"Bearer {token}"})
    assert server_says.status_code == 401


def test_a_session_that_ends_is_renewed_where_one_was(console, server, job, expect):
    page = console.open(f"#/jobs/{job}/features/{FIELD}")
    expect(page.get_by_role("heading", name=f"field {FIELD:03}")).to_be_visible()
    page.locator("#feature-search").fill("field 02")
    expect(page.get_by_role("link", name="field 020")).to_be_visible()
    (token,) = console.tokens
    assert server.http.post("/oauth/revoke", data={"token": token, **server.credentials}).status_code == 200
    page.locator("#feature-search").fill("field 03")
    expect(page.locator("#sign-in")).to_be_visible()
    expect(page.locator("#sign-in-why")).to_contain_text("has ended")
    console.sign_in()
    expect(page.get_by_role("link", name="field 030")).to_be_visible()
    assert page.url.endswith(f"#/jobs/{job}/features/{FIELD}")
    forget_answer(console, 401)


def test_jobs_are_listed_searched_and_filtered(console, server, job, expect):
    create(server, description="never to start")
    page = console.open()
    line = page.get_by_role("row").filter(has_text=job)
    expect(line).to_contain_text("Done")
    expect(line).to_contain_text("63 / 64")
    expect(line).to_contain_text("15.12 PU")
    page.get_by_label("Search").fill("never")
    expect(page.locator(".jobs tbody tr")).to_have_count(1)
    expect(page.locator(".jobs tbody tr")).to_contain_text("never to start")
    page.get_by_label("State").select_option("DONE")
    expect(page.get_by_text("No job is like that.")).to_be_visible()
    page.get_by_label("Search").fill("")
    expect(line).to_be_visible()
    page.get_by_label("Kind").select_option("process")
    expect(page.get_by_text("No job is like that.")).to_be_visible()


def test_the_page_of_a_job_tells_all_and_takes_text_for_text(console, server, job, expect):
    page = console.open(f"#/jobs/{job}")
    expect(page.get_by_role("heading", name="A season of NDVI")).to_be_visible()
    expect(page.locator(".life li b")).to_have_text(["Created", "Analysing", "Running", "Done"])
    plan = page.locator("section").filter(has=page.get_by_role("heading", name="Plan and cost"))
    expect(plan).to_contain_text("Scenes36")
    errors = page.locator("section").filter(has=page.get_by_role("heading", name="Errors"))
    expect(errors).to_contain_text("1 The polygon is not valid: Self-intersection")
    errors.get_by_text("Features").click()
    expect(errors.get_by_role("link", name=str(FAILED))).to_be_visible()
    expect(page.locator(".log tbody tr").first).to_contain_text("UNITS_DONE: PROCESSING -> DONE")
    page.get_by_label("Warnings and errors only").check()
    expect(page.locator(".log tbody")).not_to_contain_text("UNITS_DONE")
    expect(page.get_by_label("Evalscript")).to_contain_text('// <script>document.title = "owned"</script>')
    expect(page.get_by_role("link", name=HOSTILE)).to_be_visible()
    with page.expect_download() as saved:
        page.get_by_role("button", name="Download").first.click()
    assert json.loads(saved.value.path().read_text())["description"] == "A season of NDVI"
    assert page.locator("main img, main script").count() == 0
    assert page.title() == "A season of NDVI – Swathe"


def test_a_job_is_analysed_stopped_and_started_live(console, server, expect):
    job_id = create(server, of="P60D", description="step by step")
    page = console.open(f"#/jobs/{job_id}")
    state = page.locator(".title .state")
    analyse, start, stop = (page.get_by_role("button", name=name, exact=True) for name in ("Analyse", "Start", "Stop"))
    expect(state).to_have_text("Created")
    expect(stop).to_be_disabled()
    analyse.click()
    expect(state).to_have_text("Analysed")
    expect(analyse).to_be_disabled()
    expect(page.locator(".legend")).to_contain_text("Waiting 64")
    expect(page.locator("section").filter(has=page.get_by_role("heading", name="Plan"))).to_contain_text(
        "Units of work"
    )
    stop.click()
    expect(state).to_have_text("Stopped: by a user")
    start.click()
    expect(state).to_have_text("Done")
    expect(page.locator("#said")).to_have_text("The job is now: Done")
    expect(page.locator(".legend")).to_contain_text("Done 63Failed 1")
    for button in (analyse, start, stop):
        expect(button).to_be_disabled()


def test_what_the_server_refuses_is_told(console, server, expect):
    job_id = create(server, description="raced")
    page = console.open(f"#/jobs/{job_id}")
    expect(page.locator(".title .state")).to_have_text("Created")
    page.route("**/analyse", lambda route: route.continue_(url=route.request.url.replace("analyse", "analysis")))
    page.get_by_role("button", name="Analyse", exact=True).click()
    expect(page.locator("main [role=alert]")).to_contain_text("There is no action")
    forget_answer(console, 404)


def test_the_map_shows_states_and_values_where_the_fields_lie(console, server, job, expect):
    page = console.open(f"#/jobs/{job}")
    console.drawn()
    pixels = pixels_of(page)
    assert share_like(pixels, DONE_RGB) > 0.2
    assert 0 < share_like(pixels, FAILED_RGB) < 0.02
    page.mouse.move(*point_on_map(server, page, job, FIELD))
    expect(page.locator(".readout").first).to_have_text(f"field {FIELD:03} · {FIELD} · done")
    page.mouse.move(*point_on_map(server, page, job, FAILED))
    expect(page.locator(".readout").first).to_have_text(f"field {FAILED:03} · {FAILED} · failed")

    page.get_by_label("Colour by").select_option("value")
    slider = page.get_by_role("slider", name="Interval")
    expect(slider).to_be_visible()
    expect(page.locator(".legend")).to_contain_text("≥ 0.7")
    seen = []
    for interval in (0, 13, 20):
        slider.fill(str(interval))
        console.drawn()
        page.mouse.move(5, 5)
        page.mouse.move(*point_on_map(server, page, job, FIELD))
        document = server.http.get(f"/console/v1/jobs/{job}/features/{FIELD}").json()
        mean = document["series"]["ndvi"]["value"]["mean"][interval]
        expect(page.locator(".readout").first).to_contain_text(f"mean {float(f'{mean:.4g}'):g}"[:9])
        seen.append(pixels_of(page))
    assert share_like(seen[0], DONE_RGB) < 0.001
    assert np.abs(seen[0] - seen[1]).mean() > 5
    assert np.abs(seen[1] - seen[2]).mean() > 5
    page.get_by_label("Statistic").select_option("p90.0")
    expect(page.locator(".legend")).to_contain_text("≥ 0.79")
    page.get_by_label("To", exact=True).fill("0.5")
    page.get_by_label("To", exact=True).press("Enter")
    expect(page.locator(".legend")).to_contain_text("≥ 0.5")


def test_time_plays_and_pauses_and_steps(console, server, job, expect):
    page = console.open(f"#/jobs/{job}")
    console.drawn()
    page.get_by_label("Colour by").select_option("value")
    slider = page.get_by_role("slider", name="Interval")
    expect(slider).to_have_attribute("aria-valuetext", "2023-01-01 to 2023-01-10")
    page.get_by_role("button", name="Play").click()
    expect(slider).to_have_attribute("aria-valuetext", "2023-01-21 to 2023-01-30")
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("button", name="Play")).to_be_visible()
    slider.fill("30")
    page.get_by_role("button", name="Interval before").click()
    expect(slider).to_have_attribute("aria-valuetext", "2023-10-18 to 2023-10-27")
    slider.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "2023-10-28 to 2023-11-06")


def test_time_steps_over_intervals_without_any_value(console, server):
    page = console.open("#/jobs")
    walked = page.evaluate(
        """() => import('/console/files/js/slider.js').then(({ TimeSlider }) => {
            const day = (number) => ({ from: `2024-05-0${number}T00:00:00Z`, to: `2024-05-0${number + 1}T00:00:00Z` });
            const slider = new TimeSlider(() => {}, () => Promise.resolve());
            const [before, , after] = slider.element.children;
            const places = [];
            const press = (button) => (button?.click(), places.push(slider.at));
            slider.show([1, 2, 3, 4, 5, 6].map(day));
            places.push(slider.weigh([0, 1, 0, 4, 4, 0]), slider.at);
            press(before), press(before), press(after), press(after), press(after);
            places.push(slider.weigh([0, 1, 0, 4, 0, 0]), slider.at);
            return places;
        })"""
    )
    assert walked == [True, 3, 1, 1, 3, 4, 4, False, 4]


def test_a_click_opens_series_table_and_document(console, server, job, expect):
    page = console.open(f"#/jobs/{job}")
    console.drawn()
    page.mouse.click(*point_on_map(server, page, job, FIELD))
    expect(page.get_by_role("heading", name=f"field {FIELD:03}")).to_be_visible()
    assert page.url.endswith(f"/features/{FIELD}")
    chart = page.locator(".panel [role=img]")
    assert "mean of 3" in chart.get_attribute("aria-label")
    page.get_by_text("Values as a table").click()
    document = server.http.get(f"/console/v1/jobs/{job}/features/{FIELD}/document").json()
    rows = rows_of(page, ".panel .series .scroll")
    assert len(rows) == len(document["response"]["data"]) == 36
    for row, entry in zip(rows, document["response"]["data"], strict=True):
        stats = entry["outputs"]["ndvi"]["bands"]["value"]["stats"]
        assert row[0].startswith(entry["interval"]["from"][:10])
        if isinstance(stats["mean"], float):
            assert float(row[1]) == pytest.approx(stats["mean"], rel=1e-3)
            assert float(row[6]) == pytest.approx(stats["percentiles"]["50.0"], rel=1e-3)
        else:
            assert row[1] == "–"
    page.locator(".panel").get_by_text("Document", exact=True).click()
    expect(page.locator(".panel pre")).to_contain_text('"interval"')
    assert json.loads(page.locator(".panel pre").inner_text()) == document

    page.get_by_label("Colour by").select_option("value")
    over = page.locator(".panel .u-over").bounding_box()
    page.mouse.click(over["x"] + over["width"] * 0.5, over["y"] + 20)
    expect(page.get_by_role("slider", name="Interval")).not_to_have_attribute(
        "aria-valuetext", "2023-01-01 to 2023-01-10"
    )
    page.mouse.click(*point_on_map(server, page, job, FAILED))
    expect(page.locator(".panel [role=alert]")).to_contain_text("The polygon is not valid")
    page.get_by_role("button", name="Close the feature").click()
    expect(page.locator(".panel")).to_be_hidden()
    page.locator("#feature-search").fill("<img")
    page.get_by_role("link", name=HOSTILE).click()
    expect(page.locator("#feature-title")).to_have_text(HOSTILE)


def test_a_script_is_tried_on_a_field_and_becomes_a_batch_request(console, server, job, expect):
    page = console.open(f"#/jobs/{job}/features/{FIELD}")
    page.get_by_role("link", name="Try a script here").click()
    expect(page.get_by_label("From (UTC)")).to_have_value("2023-01-01")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".picture canvas").first).to_be_visible()
    expect(page.get_by_text("36 intervals in")).to_be_visible()
    page.get_by_text("Values as a table").click()
    told = server.http.get(f"/console/v1/jobs/{job}/features/{FIELD}").json()["series"]["ndvi"]["value"]["mean"]
    rows = rows_of(page, ".results .series .scroll")
    assert [row[1] == "–" for row in rows] == [mean is None for mean in told]
    assert [float(row[1]) for row in rows if row[1] != "–"] == pytest.approx(
        [one for one in told if one is not None], rel=1e-3
    )
    label = page.locator(".picture canvas").first.get_attribute("aria-label")
    greenest = max(range(36), key=lambda place: told[place] or 0)
    assert label.startswith(f"ndvi, {rows[greenest][0]}: ")
    middle = page.locator(".frame canvas").first.evaluate(
        "one => [...one.getContext('2d').getImageData(one.width / 2, one.height / 2, 1, 1).data]"
    )
    assert middle[3] == 255
    assert middle[1] > 180  # near the green and yellow end of the ramp
    page.get_by_label("Picture of").select_option("dataMask")
    expect(page.locator(".picture canvas").first).to_have_attribute(
        "aria-label", f"dataMask, {rows[greenest][0]}: 21 by 22 pixels, values mostly 255 to 255"
    )

    script = page.get_by_label("Evalscript")
    good = script.input_value()
    script.fill(good.replace("s.B08 - s.B04", "s.B08 - nothing"))
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".results [role=alert]").first).to_contain_text("nothing is not defined")
    expect(page.locator(".results [role=alert]").nth(1)).to_contain_text("No picture")
    forget_answer(console, 400)

    script.fill(good)
    page.get_by_label("Interval", exact=True).fill("P90D")
    page.get_by_label("Description").fill("from the form")
    page.get_by_text("The request", exact=True).click()
    expect(page.locator("form pre.code")).to_contain_text('"P90D"')
    page.get_by_role("button", name="Create the batch request").click()
    expect(page.get_by_role("heading", name="from the form")).to_be_visible()
    page.get_by_role("button", name="Start", exact=True).click()
    expect(page.locator(".title .state")).to_have_text("Done")
    expect(page.locator(".legend")).to_contain_text("Done 63Failed 1")


def test_an_operator_sees_the_jobs_of_all_projects(make_console, server, job, expect):
    console = make_console(client=server.operator)
    page = console.open()
    expect(page.get_by_text("No jobs yet.")).to_be_visible()
    page.get_by_label("Jobs of all projects").check()
    line = page.locator(".jobs tbody tr").filter(has=page.locator(f'a[href="#/jobs/{job}"]'))
    expect(line).to_contain_text(re.compile("project [0-9a-f-]{36}"))
    expect(line.locator("td").nth(4)).to_have_text("1")
    assert console.violations() == []
    line.get_by_role("link").click()
    console.drawn()
    assert share_like(pixels_of(page), DONE_RGB) > 0.2
    page.get_by_role("link", name="field 001").click()
    expect(page.locator(".panel [role=img]")).to_be_visible()
    page.get_by_role("navigation", name="Where you are").get_by_role("link", name="Jobs").click()
    expect(page.get_by_label("Jobs of all projects")).to_be_checked()


def test_the_form_begins_with_a_script_for_the_bands_there_are(console, server, expect):
    page = console.open("#/try")
    expect(page.get_by_label("Evalscript")).to_have_value(re.compile(r"\(sample\.B08 - sample\.B04\)"))
    example = "bands => import('/console/files/js/tryrequest.js').then(made => made.exampleFor(bands))"
    for bands, said in (
        (["green", "red", "nir"], "ndvi: [(sample.nir - sample.red) / (sample.nir + sample.red)]"),
        (["moisture-10"], 'value: [sample["moisture-10"]]'),
    ):
        script = page.evaluate(example, [{"name": band} for band in bands])
        assert said in script
        scene = swathe.SceneArrays("2024-05-01", {band: np.full((2, 3), 3.0) for band in bands})
        made = swathe.evaluate(script, [swathe.SourceArrays("own", [scene])])
        assert made.outputs["dataMask"].shape == (2, 3, 1)


def test_what_is_missing_in_the_form_is_told_where_it_is_missing(console, server, expect):
    page = console.open("#/try")
    expect(page.get_by_label("Collection")).to_have_value("sentinel-2-l2a")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".results [role=alert]")).to_contain_text("must be GeoJSON")
    expect(page.get_by_label("or GeoJSON")).to_be_focused()
    page.get_by_label("or GeoJSON").fill('{"type": "Point", "coordinates": [15, 46]}')
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".results [role=alert]")).to_contain_text("Polygon")
    page.get_by_role("button", name="Create the batch request").click()
    expect(page.locator("main form [role=alert]")).to_contain_text("From must be a day")
    expect(page.get_by_label("From (UTC)")).to_be_focused()


def test_everything_is_reached_by_keyboard_alone(console, server, job, expect):
    page = console.page
    page.goto(server.url)
    page.keyboard.type(server.credentials["client_id"])
    page.keyboard.press("Tab")
    page.keyboard.type(server.credentials["client_secret"])
    page.keyboard.press("Enter")
    expect(page.locator(".jobs tbody tr").first).to_be_visible()

    def tab_to(locator, most: int = 80, key: str = "Tab") -> None:
        for _ in range(most):
            if locator.evaluate("one => one === document.activeElement"):
                return
            page.keyboard.press(key)
        raise AssertionError(f"{locator} is not reached")

    tab_to(page.locator(f'a[href="#/jobs/{job}"]'))
    page.keyboard.press("Enter")
    expect(page.get_by_role("link", name="field 001")).to_be_visible()
    tab_to(page.get_by_label("Colour by"))
    page.keyboard.press("v")
    slider = page.get_by_role("slider", name="Interval")
    expect(slider).to_be_visible()
    tab_to(slider)
    page.keyboard.press("ArrowRight")
    expect(slider).to_have_attribute("aria-valuetext", "2023-01-11 to 2023-01-20")
    tab_to(page.locator("#feature-search"))
    page.keyboard.type("field 010")
    expect(page.locator(".tight tbody tr")).to_have_count(1)
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    expect(page.locator("#feature-title")).to_be_focused()
    expect(page.locator(".panel [role=img]")).to_be_visible()
    tab_to(page.get_by_role("link", name="Try a script here"))
    page.keyboard.press("Enter")
    expect(page.get_by_label("From (UTC)")).to_have_value("2023-01-01")
    script = page.get_by_label("Evalscript")
    tab_to(script)
    page.keyboard.press("Control+Home")
    page.keyboard.press("Tab")
    assert script.input_value().startswith("  //VERSION=3")
    page.keyboard.press("Control+z")
    assert script.input_value().startswith("//VERSION=3")
    page.keyboard.press("Escape")
    page.keyboard.press("Tab")
    expect(page.get_by_role("button", name="Try it")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.get_by_text("36 intervals in")).to_be_visible()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_pages_are_usable_with_a_screen_reader(make_console, server, job, expect, scheme):
    console = make_console(color_scheme=scheme, reduced_motion="reduce")
    page = console.page
    page.goto(server.url)
    expect(page.locator("#sign-in")).to_be_visible()
    assert console.violations() == []
    console.sign_in()
    expect(page.locator(".jobs tbody tr").first).to_be_visible()
    assert console.violations() == []
    page.goto(f"{server.url}/#/jobs/{job}/features/{FIELD}")
    expect(page.locator(".panel [role=img]")).to_be_visible()
    page.get_by_label("Colour by").select_option("value")
    page.get_by_text("Values as a table").click()
    console.drawn()
    assert console.violations() == []
    page.get_by_role("link", name="Try a script here").click()
    expect(page.get_by_label("From (UTC)")).to_have_value("2023-01-01")
    page.get_by_role("button", name="Try it").click()
    expect(page.locator(".picture canvas").first).to_be_visible()
    assert console.violations() == []


def test_colours_follow_the_switch_which_is_remembered(console, server, job, expect):
    page = console.open(f"#/jobs/{job}")
    console.drawn()
    before = pixels_of(page)[5, 5]
    assert before.min() > 200
    page.get_by_label("Colours").select_option("dark")
    expect(page.locator("body")).to_have_css("background-color", "rgb(21, 25, 28)")
    end = time.monotonic() + 180
    while pixels_of(page)[5, 5].max() > 60:
        assert time.monotonic() < end
    page.reload()
    expect(page.locator("body")).to_have_css("background-color", "rgb(21, 25, 28)")
    assert page.evaluate("Object.keys(localStorage)") == ["swathe-colours"]


def test_narrow_windows_scroll_in_one_direction(make_console, server, job, expect):
    console = make_console(viewport={"width": 390, "height": 800})
    page = console.open(f"#/jobs/{job}/features/{FIELD}")
    expect(page.locator(".panel [role=img]")).to_be_visible()
    page.get_by_text("Values as a table").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    for path in ("#/jobs", f"#/try?job={job}&feature={FIELD}"):
        page.goto(f"{server.url}/{path}")
        expect(page.get_by_role("heading", level=1)).to_be_visible()
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
