"""The page in a real browser: headless Chromium on a server in this process."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
import pytest_asyncio
from browser import Tab, browsing, chromium
from page_fleet import ShownFleet, trouble

from webhook.page.server import serving_page
from webhook.page.settings import PageSettings

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(chromium() is None, reason="no Chromium here: install the package chromium, or set CHROMIUM"),
    pytest.mark.xdist_group("page"),
]
EVIL = "<img src=x onerror=document.title='pwned'>"


@dataclass
class Open:
    """The page, open."""

    tab: Tab
    shown: ShownFleet
    url: str

    async def fresh(self) -> Tab:
        """Reload, and wait until it lives."""
        await self.tab.open("about:blank")
        await self.tab.open(self.url)
        await self.tab.until("document.getElementById('state').textContent === 'Live'")
        await self.tab.until("document.querySelectorAll('.gpu').length === 6 && !!document.querySelector('.space')")
        return self.tab


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def opened(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Open]:
    """Three nodes of two GPUs each, with troubles and with hostile names."""
    shown = ShownFleet(Random(1))
    for name in ("n1", "n2", "n10"):
        shown.add_node(name, gpus=2)
    shown.hold("n2", gpu=0, gib=4, cores=25, space="team-a", pod="first")
    shown.hold("n2", gpu=0, gib=2, space=EVIL, pod=EVIL)
    shown.hold("n10", gpu=1, gib=12, space="team-b", pod="third")
    shown.wait("late", reason=EVIL)
    trouble(shown)
    profile = tmp_path_factory.mktemp("profile")
    async with serving_page(shown, PageSettings(port=0)) as port, browsing(profile) as tab:
        await tab.look(width=1200, height=800)
        yield Open(tab=tab, shown=shown, url=f"http://127.0.0.1:{port}/")


async def texts(tab: Tab, selector: str) -> list[str]:
    """The texts of some elements."""
    return await tab.ask(f"[...document.querySelectorAll({selector!r})].map((one) => one.textContent)")


async def test_draws_the_fleet_and_the_queue(opened: Open) -> None:
    """Nodes in the order of their numbers, slices with their namespaces' numbers, troubles in words."""
    tab = await opened.fresh()
    assert await texts(tab, ".node h3") == ["n1", "n2! has an agent that has gone silent", "n10"]
    assert "of 93 GiB granted" in (await texts(tab, "#sum"))[0]
    assert await texts(tab, "#queue tbody th") == ["lab/late"]
    assert await tab.ask("document.querySelector('.gpu').getAttribute('aria-label')") == (
        "GPU 0, Tesla T4; 0 MiB of 15.5 GiB granted; 0 % of its time granted; 0 slices; "
        "takes nothing new: Xid 79: fallen off the bus"
    )
    tags = await tab.ask("[...document.querySelectorAll('[data-node=n2] .slice')].map((one) => one.textContent)")
    legend = await texts(tab, ".space .tag")
    assert sorted(tags) == ["1", "2"]
    assert set(tags) <= set(legend)


async def test_names_are_never_markup(opened: Open) -> None:
    """A user may call a namespace, a pod or a reason what they like; the browser has nothing to complain of."""
    tab = await opened.fresh()
    await tab.ask("document.querySelectorAll('[data-node=n2] .gpu')[0].click()")
    assert EVIL in (await texts(tab, "body"))[0]
    assert await tab.ask("document.querySelectorAll('main img').length") == 0
    assert await tab.ask("document.title") == "vramshare"
    assert tab.complaints == []


async def test_follows_changes_without_a_reload(opened: Open) -> None:
    """A grant, and its end; what is open stays open, and the focus stays where it is."""
    tab = await opened.fresh()
    await tab.ask("document.querySelectorAll('[data-node=n1] .gpu')[1].focus()")
    await tab.ask("document.activeElement.click()")
    grant = opened.shown.hold("n1", gpu=1, gib=3, space="team-c", pod="new")
    await tab.until("document.querySelector('[data-node=n1]').textContent.includes('team-c/new')")
    assert "n1-1" in await tab.ask("document.activeElement.dataset.uuid")
    assert "team-c" in "".join(await texts(tab, ".space"))
    opened.shown.fleet.forget("n1", grant.allocation.id)
    await tab.until("!document.querySelector('[data-node=n1]').textContent.includes('team-c/new')")


async def test_every_gpu_is_reached_by_keyboard_from_one_stop(opened: Open) -> None:
    """Tab stops at one GPU; arrows, Home and End move on; Enter opens and closes."""
    tab = await opened.fresh()
    assert await tab.ask("document.querySelectorAll('.gpu[tabindex=\"0\"]').length") == 1
    await tab.ask("document.querySelector('.gpu[tabindex=\"0\"]').focus()")
    for key, uuid in (("ArrowDown", "GPU-n1-1"), ("End", "GPU-n10-1"), ("ArrowUp", "GPU-n10-0"), ("Home", "GPU-n1-0")):
        await tab.press(key)
        assert await tab.ask("document.activeElement.dataset.uuid") == uuid
    await tab.press("Enter")
    assert await tab.ask("document.activeElement.getAttribute('aria-expanded')") == "true"
    await tab.press("Enter")
    assert await tab.ask("document.activeElement.getAttribute('aria-expanded')") == "false"


async def test_filter_order_and_legend(opened: Open) -> None:
    """Words narrow the nodes, the order changes, a namespace stands out."""
    tab = await opened.fresh()
    visible = "[...document.querySelectorAll('.node:not([hidden]) h3')].map((one) => one.firstChild.textContent)"
    enter = (
        "(text) => { const f = document.getElementById('filter'); f.value = text; f.dispatchEvent(new Event('input')) }"
    )
    await tab.ask(f"({enter})('tesla TEAM-B')")
    assert await tab.ask(visible) == ["n10"]
    assert await texts(tab, "#shown") == ["2 GPUs shown"]
    await tab.ask(f"({enter})('nothing at all')")
    assert await tab.ask("document.getElementById('none').hidden") is False
    await tab.ask(f"({enter})('')")
    await tab.ask("(o => { o.value = 'full'; o.dispatchEvent(new Event('change')) })(document.getElementById('order'))")
    assert await tab.ask(visible) == ["n10", "n2", "n1"]
    await tab.ask("document.querySelector('[data-space=team-a]').click()")
    assert await tab.ask("document.querySelectorAll('.slice.dim').length") == 2


CONTRAST = """
(() => {
  const part = (value) => { const c = value / 255; return c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4; };
  const light = ([r, g, b]) => 0.2126 * part(r) + 0.7152 * part(g) + 0.0722 * part(b);
  const ratio = (a, b) => (Math.max(light(a), light(b)) + 0.05) / (Math.min(light(a), light(b)) + 0.05);
  const colours = (text) => [...text.matchAll(/rgba?\\(([^)]+)\\)/g)].map((one) => one[1].split(',').map(Number))
    .filter((one) => one.length === 3 || one[3] > 0);
  const grounds = (at) => {
    for (; at; at = at.parentElement) {
      const style = getComputedStyle(at);
      const found = colours(style.backgroundImage + ' ' + style.backgroundColor);
      if (found.length) { return found; }
    }
    return [[255, 255, 255]];
  };
  return [...document.querySelectorAll('body *')]
    .filter((at) => [...at.childNodes].some((one) => one.nodeType === 3 && one.textContent.trim()))
    .filter((at) => at.checkVisibility() && !at.classList.contains('dim'))
    .map((at) => [Math.min(...grounds(at).map((ground) => ratio(colours(getComputedStyle(at).color)[0], ground))),
      at.className || at.tagName, at.textContent.slice(0, 40)])
    .filter(([least]) => least < 4.5);
})()
"""
LOOKS = "(() => { for (let at = 0; at < 10; at++) { const one = document.createElement('span'); one.className = "
LOOKS += "`tag look${at}`; one.textContent = 'x'; document.querySelector('header').append(one); } })()"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("phone", [False, True])
async def test_every_text_stands_out_and_fits(opened: Open, tmp_path: Path, *, dark: bool, phone: bool) -> None:
    """Contrast of at least 4.5 to 1 on each ground, all ten looks included; nothing to scroll sideways to."""
    width, height = (360, 740) if phone else (1200, 800)
    await opened.tab.look(width=width, height=height, dark=dark, phone=phone)
    tab = await opened.fresh()
    assert await tab.ask("document.documentElement.scrollWidth") <= width
    await tab.ask(LOOKS)
    assert await tab.ask(CONTRAST) == []
    await tab.picture(tmp_path / "page.png")
    assert (tmp_path / "page.png").stat().st_size > 5000
    await opened.tab.look(width=1200, height=800)


async def test_says_that_it_is_old_when_the_server_is_gone(opened: Open) -> None:
    """And is live again by itself when the server is back at the same address."""
    tab = opened.tab
    async with serving_page(opened.shown, PageSettings(port=0)) as port:
        await tab.open(f"http://127.0.0.1:{port}/")
        await tab.until("document.getElementById('state').textContent === 'Live'")
    await tab.until("document.getElementById('state').textContent.startsWith('Not connected')")
    async with serving_page(opened.shown, PageSettings(port=port)):
        await tab.until("document.getElementById('state').textContent === 'Live'")
