"""The page, driven as people drive it."""

import re

import pytest
from playwright.sync_api import expect

from coloured import drawn, encoded
from fakes import COLOURS

PICTURES = "#results a.picture"


def captions(page, n):
    expect(page.locator(PICTURES).first).to_be_visible()
    return page.locator("#results .caption").all_inner_texts()[:n]


def expect_colour(page, colour, n=4):
    for i in range(n):
        expect(page.locator("#results .caption").nth(i)).to_contain_text(colour)


def search(page, text):
    page.locator("#q").fill(text)
    page.keyboard.press("Enter")
    expect(page.locator("#status")).to_contain_text("first")


def test_welcome_shows_a_glance_examples_and_the_notice(page, site):
    page.goto(site.url)
    expect(page.get_by_role("heading", level=1)).to_have_text("Find a picture by what it shows")
    expect(page.locator("#status")).to_have_text("A glance at colours")
    expect(page.locator(PICTURES)).to_have_count(40)
    expect(page.locator("#notice")).to_have_text("It only knows colours.")
    expect(page.locator("#model")).to_contain_text("40 pictures · colours · ")
    # the model was trained on English only: no example in another language
    assert page.locator("#examples li:visible a").all_inner_texts() == ["red fruit"]
    page.get_by_role("link", name="red fruit").click()
    expect(page).to_have_url(site.url + "/?q=red+fruit")
    expect_colour(page, "red")


def test_results_come_while_typing_and_the_address_follows(page, site):
    page.goto(site.url)
    page.locator("#q").press_sequentially("blue", delay=20)
    expect(page).to_have_url(site.url + "/?q=blue")
    expect(page.locator("#status")).to_contain_text("best first")
    expect_colour(page, "blue")
    page.locator("#q").press_sequentially(" gradient", delay=20)
    expect(page).to_have_url(site.url + "/?q=blue+gradient")
    expect(page.locator("#results .caption").first).to_have_text("blue gradient")
    page.go_back()  # all that was typed is one step
    expect(page).to_have_url(site.url + "/")
    expect(page.locator("#q")).to_have_value("")
    assert page.title() == "Diptych"


def test_what_is_typed_before_the_page_is_ready_counts(page, site):
    page.route("**/api/collections", lambda route: (page.wait_for_timeout(300), route.continue_()))
    page.goto(site.url)
    page.locator("#q").fill("yellow")
    expect_colour(page, "yellow")
    expect(page.locator("#q")).to_have_value("yellow")
    expect(page).to_have_url(site.url + "/?q=yellow")


def test_every_hit_shows_its_caption_probability_and_score(page, site):
    page.goto(site.url + "/?q=red")
    first = page.locator("#results .hit").first
    expect(first.locator("img")).to_have_attribute("alt", re.compile("^red "))
    expect(first.locator(".numbers")).to_have_text(re.compile(r"^\d+%\d\.\d{3}$|^> 99%\d\.\d{3}$"))
    expect(page.locator(".divider")).to_have_text("Less likely from here on")
    assert page.locator("#results .hit.weak").count() > 0


def test_more_like_this_and_back(page, site):
    page.goto(site.url + "/?q=green+wide")
    expect(page.locator("#results .caption").first).to_have_text("green wide")
    page.locator(PICTURES).first.click()
    expect(page).to_have_url(re.compile(r"/\?like=[0-9a-f]{64}$"))
    expect(page.locator("#seed")).to_contain_text("like green wide")
    expect(page.locator("#q")).to_have_value("")
    expect(page.locator(PICTURES)).to_have_count(39)
    expect_colour(page, "green")
    assert "green wide" not in captions(page, 40)
    page.locator("#q").fill("blue")  # text can be added to it
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=blue&like="))
    page.go_back()
    expect(page.locator("#q")).to_have_value("")
    page.go_back()
    expect(page.locator("#q")).to_have_value("green wide")
    expect(page.locator("#results .caption").first).to_have_text("green wide")
    page.go_forward()
    page.get_by_role("button", name="Remove the picture").click()
    expect(page).to_have_url(site.url + "/")


def test_a_picture_is_a_link_that_opens_in_a_new_tab(page, site):
    page.goto(site.url + "/?q=red")
    with page.context.expect_page() as opened:
        page.locator(PICTURES).first.click(modifiers=["Control"])
    expect(opened.value.locator("#seed")).to_contain_text("like red")
    expect(page).to_have_url(site.url + "/?q=red")


def test_the_address_alone_brings_the_same_search(new_page, site):
    one, two = new_page(), new_page()
    one.goto(site.url + "/?q=blue&not=square&filter=shape:wide&filter=shape:square")
    found = captions(one, 10)
    assert len(found) == 10
    expect(one.locator("#terms .chip")).to_have_text(["without square", "shape wide", "shape square"])
    two.goto(one.url)
    assert captions(two, 10) == found


def test_a_picture_can_be_uploaded(page, site):
    page.goto(site.url)
    green = encoded(drawn(COLOURS["green"], "noisy"), "JPEG")
    picture = {"name": "meadow.jpg", "mimeType": "image/jpeg", "buffer": green}
    with page.expect_file_chooser() as chooser:
        page.get_by_role("button", name="Search with a picture").click()
    chooser.value.set_files(picture)
    expect(page.locator("#seed")).to_contain_text("meadow.jpg")
    expect_colour(page, "green")
    assert page.locator("#seed img").evaluate("image => image.decode().then(() => image.naturalWidth)") == 160
    page.locator("#results a.picture").nth(2).click()
    expect(page.locator("#seed")).to_contain_text("like green")
    page.go_back()
    expect(page.locator("#seed")).to_contain_text("meadow.jpg")
    expect_colour(page, "green")
    page.reload()  # the picture was this page's only; what is left is the start
    expect(page.locator("#status")).to_have_text("A glance at colours")


TRANSFER = """([bytes, name, type]) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], name, {type}));
    return transfer;
}"""


def transfer(page, data, name="p.png", type_="image/png"):
    return page.evaluate_handle(TRANSFER, [list(data), name, type_])


def test_a_picture_can_be_dropped(page, site):
    page.goto(site.url + "/?q=red")
    files = {"dataTransfer": transfer(page, encoded(drawn(COLOURS["yellow"], "square")), "sun.png")}
    page.dispatch_event("#results", "dragenter", files)
    expect(page.locator("#drop")).to_be_visible()
    page.dispatch_event("#results", "drop", files)
    expect(page.locator("#drop")).to_be_hidden()
    expect(page.locator("#seed")).to_contain_text("sun.png")
    expect_colour(page, "yellow")


def test_a_picture_can_be_pasted(page, site):
    page.goto(site.url)
    expect(page.locator(PICTURES).first).to_be_visible()
    page.evaluate("""(transfer) => document.getElementById("q").dispatchEvent(
        new ClipboardEvent("paste", {clipboardData: transfer, bubbles: true, cancelable: true}))""",
                  transfer(page, encoded(drawn(COLOURS["blue"], "tall"))))
    expect(page.locator("#seed")).to_contain_text("p.png")
    expect_colour(page, "blue")


@pytest.mark.parametrize(("name", "type_", "data", "says"), [
    ("notes.txt", "text/plain", b"hello", "notes.txt is not a picture."),
    ("fake.png", "image/png", b"hello", "This is not a picture that can be read; send a JPEG"),
    ("big.png", "image/png", b"\0" * 6_000_000, "Pictures of up to 1.91 MB can be searched with"),
])
def test_a_bad_picture_is_refused_in_a_sentence(page, site, name, type_, data, says):
    page.expected.append("Failed to load resource: the server responded with a status of 4")  # the browser's own words
    page.goto(site.url)
    expect(page.locator(PICTURES).first).to_be_visible()
    page.locator("#file").set_input_files({"name": name, "mimeType": type_, "buffer": data})
    expect(page.get_by_role("alert")).to_contain_text(says)
    search(page, "red")
    expect(page.locator("#message")).to_be_hidden()


def test_what_is_not_wanted_becomes_a_chip(page, site):
    page.goto(site.url)
    page.locator("#q").press_sequentially("red + white -gradient ", delay=5)
    expect(page.locator("#terms .chip")).to_have_text("without gradient")
    expect(page.locator("#q")).to_have_value("red + white ")
    page.locator("#q").press_sequentially('-"noisy wide"', delay=5)
    page.keyboard.press("Enter")
    expect(page.locator("#terms .chip")).to_have_text(["without gradient", "without noisy wide"])
    expect(page.locator("#q")).to_have_value("red + white")
    page.get_by_label("Leave out pictures that show").fill("cyan")
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"q=red\+%2B\+white&not=gradient&not=noisy\+wide&not=cyan$"))
    page.get_by_role("button", name="Do not leave out gradient").click()
    expect(page.locator("#terms .chip")).to_have_text(["without noisy wide", "without cyan"])
    page.go_back()
    expect(page.locator("#terms .chip")).to_have_count(3)


def test_an_unfinished_operator_is_not_searched_for(page, site):
    asked = []
    page.expected.append("status of 422")
    page.on("request", lambda request: asked.append(request.url) if "/api/search" in request.url else None)
    page.goto(site.url)
    page.locator("#q").press_sequentially("red", delay=20)
    expect_colour(page, "red")
    page.locator("#q").press_sequentially(" -", delay=20)
    page.wait_for_timeout(500)
    expect(page.locator("#q")).to_have_value("red -")
    page.locator("#q").fill("-")
    page.wait_for_timeout(500)
    assert not [url for url in asked if url.endswith("q=-") or "q=red+-" in url]
    page.keyboard.press("Enter")
    expect(page.get_by_text("there is nothing to look for in '-'; write a word")).to_be_visible()


def test_what_stands_in_the_without_box_counts_on_submit(page, site):
    page.goto(site.url)
    page.locator("#q").fill("red")
    page.get_by_label("Leave out pictures that show").fill("noisy")
    page.get_by_role("button", name="Search", exact=True).click()
    expect(page.locator("#terms .chip")).to_have_text("without noisy")
    expect(page).to_have_url(re.compile(r"q=red&not=noisy$"))


def test_filters_are_toggled_and_removed(page, site):
    page.goto(site.url + "/?q=red")
    page.get_by_role("button", name="Filters").click()
    expect(page.locator("#facets legend")).to_have_text(["colour", "shape", "bright", "group"])
    page.get_by_role("button", name="wide 8").click()
    expect(page.get_by_role("button", name="wide 8")).to_have_attribute("aria-pressed", "true")
    expect(page.get_by_role("button", name="wide 8")).to_be_focused()
    expect(page.locator("#status")).to_contain_text("8 pictures")
    page.get_by_role("button", name="it's cold 20").click()
    expect(page.locator("#status")).to_contain_text("4 pictures")
    expect(page).to_have_url(re.compile(r"filter=shape%3Awide&filter=group%3Ait%27s\+cold$"))
    page.get_by_role("button", name="Remove the filter shape wide").click()
    expect(page.locator("#status")).to_contain_text("20 pictures")
    page.get_by_role("button", name="it's cold 20").click()
    expect(page.locator("#status")).to_contain_text("40 pictures")


def test_browsing_by_filter_alone_shows_no_numbers(page, site):
    page.goto(site.url + "/?filter=colour:red")
    expect(page.locator("#status")).to_have_text("5 pictures")
    expect(page.locator(".numbers")).to_have_count(0)
    page.goto(site.url + "/?filter=colour:beige")
    expect(page.locator("#status")).to_have_text("No picture passes these filters")


def expect_focus(page, what):
    """On the search box, or on the picture of that number; a dialog that closes gives it back a little later."""
    expect(page.locator(":focus")).to_have_attribute("id" if what == "q" else "data-index", what)


def test_the_keyboard_does_everything(page, site):
    page.goto(site.url + "/?q=red")
    expect(page.locator(PICTURES)).to_have_count(40)
    page.keyboard.press("/")
    expect_focus(page, "q")
    page.keyboard.press("ArrowDown")
    expect_focus(page, "0")
    for key, then in (("ArrowRight", "1"), ("ArrowRight", "2"), ("ArrowLeft", "1")):
        page.keyboard.press(key)
        expect_focus(page, then)
    page.keyboard.press("ArrowUp")
    expect_focus(page, "q")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("ArrowLeft")  # there is nothing before the first
    expect_focus(page, "0")
    page.keyboard.press("Space")
    expect(page.get_by_role("dialog")).to_be_visible()
    first = page.get_by_role("dialog").get_by_role("heading").inner_text()
    page.keyboard.press("ArrowRight")
    assert page.get_by_role("dialog").get_by_role("heading").inner_text() != first
    page.keyboard.press("ArrowRight")
    expect(page.get_by_role("dialog").get_by_role("heading")).to_have_text(captions(page, 3)[2])
    page.keyboard.press("ArrowLeft")
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_be_hidden()
    expect_focus(page, "1")
    caption = captions(page, 2)[1]
    page.keyboard.press("Enter")
    expect(page.locator("#seed")).to_contain_text(f"like {caption}")
    expect(page.locator(PICTURES)).to_have_count(39)
    expect_focus(page, "0")  # still among the pictures
    page.keyboard.press("Escape")
    expect(page).to_have_url(site.url + "/")
    expect_focus(page, "q")


def test_arrows_keep_their_column(page, site):
    page.goto(site.url + "/?filter=bright:true&filter=bright:false")  # no divider between the rows
    expect(page.locator(PICTURES)).to_have_count(40)
    place = "(() => { const r = document.activeElement.getBoundingClientRect(); return [r.left, r.top + scrollY] })()"
    page.locator(PICTURES).nth(1).focus()
    left, top = page.evaluate(place)
    page.keyboard.press("ArrowDown")
    below = page.evaluate(place)
    assert below[0] == pytest.approx(left, abs=1) and below[1] > top + 50
    page.keyboard.press("ArrowUp")
    assert page.evaluate(place) == pytest.approx([left, top], abs=3)


def test_looking_closer(page, site, filled_home):
    page.goto(site.url + "/?q=green+wide")
    page.get_by_role("button", name="Look closer at green wide").click()
    dialog = page.get_by_role("dialog", name="green wide")
    expect(dialog).to_contain_text("place by meaning")
    expect(dialog).to_contain_text(str(filled_home / "pictures" / "green-wide.png"))
    image = dialog.get_by_role("img", name="green wide")
    expect(image).to_have_js_property("naturalWidth", 300)
    dialog.get_by_role("button", name="More like this").click()
    expect(dialog).to_be_hidden()
    expect(page.locator("#seed")).to_contain_text("like green wide")


def test_nothing_matches_is_an_answer(page, site):
    page.goto(site.url)
    search(page, "grey")
    expect(page.locator("#message")).to_have_text("Nothing here matches. The nearest pictures are below.")
    expect(page.locator("#message")).to_have_attribute("role", "status")
    expect(page.locator("#status")).to_contain_text("nearest first")
    expect(page.locator(".hit.weak")).to_have_count(40)
    search(page, "red")
    expect(page.locator("#message")).to_be_hidden()


def test_a_link_to_a_picture_that_is_gone(page, site):
    page.expected.append("status of 404")
    page.goto(site.url + "/?like=" + "0" * 64)
    expect(page.get_by_role("alert")).to_contain_text("No picture '000")
    expect(page.locator("#q")).to_be_visible()


def test_the_server_goes_away_and_comes_back(page, site):
    page.expected.append("net::ERR_FAILED")
    page.goto(site.url + "/?q=red")
    expect(page.locator(PICTURES).first).to_be_visible()
    page.route("**/api/search?*", lambda route: route.abort())
    page.locator("#q").fill("blue")
    page.keyboard.press("Enter")
    expect(page.get_by_role("alert")).to_contain_text("The server does not answer. Is diptych still running?")
    page.unroute("**/api/search?*")
    page.get_by_role("button", name="Try again").click()
    expect_colour(page, "blue")


def test_light_and_dark(new_page, site):
    def paper(page):
        colour = page.evaluate("getComputedStyle(document.body).backgroundColor")
        return "light" if sum(map(int, re.findall(r"\d+", colour))) > 384 else "dark"

    page = new_page(color_scheme="dark")
    page.goto(site.url)
    assert paper(page) == "dark"
    toggle = page.get_by_role("button", name="Dark appearance")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    toggle.click()
    assert paper(page) == "light"
    expect(toggle).to_have_attribute("aria-pressed", "false")
    page.reload()
    assert paper(page) == "light"  # it was kept
    other = new_page(color_scheme="light")
    other.goto(site.url)
    assert paper(other) == "light"


@pytest.mark.parametrize(
    "path", ["/", "/?q=red+white&not=green&not=blue&filter=shape:wide&filter=shape:square", "/docs"])
def test_a_telephone_is_wide_enough(new_page, site, path):
    page = new_page(viewport={"width": 360, "height": 740}, is_mobile=True, has_touch=True, device_scale_factor=2)
    page.goto(site.url + path)
    expect(page.locator("#results .hit, .operation").first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") == 360
    for name in ("#q", "#upload", ".go"):
        for box in (b.bounding_box() for b in page.locator(name).all()):
            assert box["x"] >= 0 and box["x"] + box["width"] <= 360 and box["height"] >= 40
    if path != "/docs":
        first, second = (page.locator("#results .hit").nth(i).bounding_box() for i in (0, 1))
        assert first["y"] == second["y"]  # two in a row at least
        page.locator("#results .look").first.tap()
        expect(page.get_by_role("dialog")).to_be_visible()
        expect(page.get_by_role("dialog").get_by_role("img")).to_be_in_viewport()


def test_still_for_people_who_want_less_motion(new_page, site):
    page = new_page(reduced_motion="reduce")
    page.goto(site.url + "/?q=red")
    expect(page.locator(PICTURES).first).to_be_visible()
    assert page.locator(PICTURES).first.evaluate("link => getComputedStyle(link).transitionDuration") == "0s"


def test_names_and_roles(page, site):
    page.goto(site.url + "/?q=red+square&not=blue&filter=colour:red")
    expect(page.locator(PICTURES)).to_have_count(5)
    expect(page.locator("body")).to_match_aria_snapshot("""
      - link "Skip to the pictures"
      - banner:
        - link "Diptych"
        - navigation "Site":
          - link "API"
          - button "Dark appearance"
      - main:
        - search "Pictures":
          - searchbox "What the picture shows": red square
          - button "Search with a picture"
          - button "Search"
          - list "Left out, and filters":
            - listitem:
              - text: without blue
              - button "Do not leave out blue"
            - listitem:
              - text: colour red
              - button "Remove the filter colour red"
          - textbox "Leave out pictures that show"
          - button /Filters/
        - region /5 pictures, best first/:
          - status: /5 pictures, best first/
          - list "Pictures found":
            - listitem:
              - link "red square More like this":
                - img "red square"
              - button "Look closer at red square"
              - paragraph: red square
      - contentinfo
    """)
    assert page.locator("img:not([alt])").count() == 0
    page.locator("#q").focus()
    page.keyboard.press("Shift+Tab")
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"


def test_text_from_right_to_left(page, site):
    page.goto(site.url)
    page.locator("#q").fill("تفاحة حمراء")
    assert page.locator("#q").evaluate("input => getComputedStyle(input).direction") == "rtl"


def test_the_documentation_is_readable(page, site):
    page.goto(site.url + "/docs")
    expect(page.get_by_role("heading", level=1)).to_have_text("Diptych 0.1.0")
    operation = page.get_by_role("region", name="Search by text, or like a picture of the collection")
    expect(operation).to_contain_text("GET /api/search")
    expect(operation.get_by_role("row").filter(has_text="offset")).to_contain_text("How many hits to leave out first.")
    operation.get_by_text("Answer", exact=True).click()
    expect(operation).to_contain_text('"probability": 0.87')


def test_a_script_cannot_come_from_a_caption(page, site):
    page.goto(site.url + "/?q=red+" + "%3Cimg%20src%3Dx%20onerror%3Dalert(1)%3E&not=%3Cscript%3Ealert(2)%3C/script%3E")
    expect(page.locator("#terms .chip")).to_have_text("without <script>alert(2)</script>")
    assert page.locator("#search script, #search img").count() == 0


def test_thumbnails_are_kept_by_the_browser(page, site):
    page.goto(site.url + "/?q=red")
    image = page.locator("#results img").first
    expect(image).to_have_js_property("complete", True)
    kept = "src => fetch(src, {cache: 'only-if-cached', mode: 'same-origin'}).then(answer => answer.status)"
    assert page.evaluate(kept, image.get_attribute("src")) == 200
