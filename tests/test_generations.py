""".rpt/generations: the words that programs see when they map it."""

import os
import random
import signal
import threading
import time

import pytest
from generations import OVER, SIZE, Generations
from rptmount import HANGS_S, drop_pages, wait_for, xattr


def slot_of(m, name):
    return int(m.xattr(name, "slot"))


@pytest.fixture
def terms(origin):
    names = ["a", "b", "dir/c"]
    for name in names:
        origin.put("/" + name, b"first " + name.encode())
    return names


@pytest.fixture
def config(origin, terms):
    return "".join(origin.term(name) for name in terms)


def test_each_term_has_a_word(mount, config, terms):
    m = mount(config)
    stat = os.stat(m.at(".rpt/generations"))
    assert (stat.st_size, stat.st_mode & 0o777) == (SIZE, 0o444)
    assert "generations" in os.listdir(m.at(".rpt"))
    slots = {slot_of(m, name) for name in terms}
    assert len(slots) == len(terms) and 0 not in slots
    with Generations(m.path) as words:
        for name in terms:
            assert words[slot_of(m, name)] == os.stat(m.at(name)).st_ino
        assert words[0] == max(os.stat(m.at(name)).st_ino for name in terms)


def test_an_update_is_seen_without_a_request(mount, origin, config):
    m = mount(config)
    slot = slot_of(m, "b")
    others = [slot_of(m, name) for name in ("a", "dir/c")]
    with Generations(m.path) as words:
        before = [words[other] for other in others]
        for i in range(20):
            origin.put("/b", b"version %d" % i)
            m.refresh("b")
            with m.counting() as requests:
                word, largest = words[slot], words[0]
            assert requests == {}
            assert word == largest == os.stat(m.at("b")).st_ino
            assert m.read("b") == b"version %d" % i
        assert [words[other] for other in others] == before


def test_slots_stay_over_restarts_and_other_configurations(mount, origin, config, terms):
    m = mount(config)
    slots = {name: slot_of(m, name) for name in terms}
    m.stop()
    origin.put("/0", b"sorts before all others")
    m.configure(origin.term("0") + origin.term("b") + origin.term("dir/c"))
    m.start()
    assert {name: slot_of(m, name) for name in ("b", "dir/c")} == {
        name: slots[name] for name in ("b", "dir/c")
    }
    assert slot_of(m, "0") not in slots.values()
    m.stop()
    m.configure(config)
    m.start()
    assert {name: slot_of(m, name) for name in terms} == slots


def test_a_name_that_goes_away_raises_its_word(mount, origin, config):
    m = mount(config.replace("refresh_interval", "on_delete = remove refresh_interval"))
    slot = slot_of(m, "a")
    with Generations(m.path) as words:
        before = words[slot]
        origin.remove("/a")
        m.refresh("a", ok=False)
        assert not os.path.exists(m.at("a"))
        gone = words[slot]
        assert gone > before and words[0] >= gone
        origin.put("/a", b"back again")
        m.refresh("a")
        assert words[slot] == os.stat(m.at("a")).st_ino > gone


def test_words_are_right_after_a_crash_and_without_pages(mount, origin, config, terms):
    m = mount(config)
    with Generations(m.path) as words:
        for i in range(5):
            origin.put("/a", b"version %d" % i)
            m.refresh("a")
            word = words[slot_of(m, "a")]
            drop_pages(words.fd)
            assert words[slot_of(m, "a")] == word
            killed = m.kill_worker()
            drop_pages(words.fd)
            assert words[slot_of(m, "a")] == word == os.stat(m.at("a")).st_ino
            m.wait_worker(killed)
            for name in terms:
                assert words[slot_of(m, name)] == os.stat(m.at(name)).st_ino


def test_the_end_of_a_mount_is_shown(mount, config):
    m = mount(config)
    with Generations(m.path) as words:
        words[0]
        m.stop(signal.SIGTERM)
        assert words[0] == OVER
        m.start()
        assert words[0] == OVER
    with Generations(m.path) as words:
        assert words[0] < OVER


def test_an_upgrade_is_not_shown_as_an_end(mount, config):
    m = mount(config)
    with Generations(m.path) as words:
        before = words[0]
        seen = set()
        done = threading.Event()

        def look():
            while not done.is_set():
                seen.add(words[0])

        watching = threading.Thread(target=look)
        watching.start()
        m.rpt("upgrade")
        done.set()
        watching.join()
        assert seen == {before}
        drop_pages(words.fd)
        assert words[0] == before


class Watcher(threading.Thread):
    """Opens the term whenever its word changes: it must find that snapshot or a newer one."""

    def __init__(self, m, name):
        super().__init__()
        self.path = m.at(name)
        self.words = Generations(m.path)
        self.slot = slot_of(m, name)
        self.wrong, self.changes, self.ending = [], 0, False

    def run(self):
        last = 0
        while not self.ending:
            word = self.words[self.slot]
            if word == last:
                continue
            found = os.stat(self.path).st_ino
            if word < last or found < word:
                self.wrong.append((last, word, found))
            last = word
            self.changes += 1
            if random.random() < 0.1:
                drop_pages(self.words.fd)
        self.words.close()


@pytest.mark.long
def test_a_new_word_means_a_new_snapshot(mount, origin, config):
    """Updates without pause, with the worker killed now and then, and pages dropped."""
    m = mount(config)
    m.expect("event=worker_died", "event=update_failed", "event=http")
    watchers = [Watcher(m, "a") for _ in range(2)]
    for watcher in watchers:
        watcher.start()
    i = 0
    until = time.monotonic() + HANGS_S
    while i < 60 or min(watcher.changes for watcher in watchers) <= 20:
        assert time.monotonic() < until, "the watchers see no changes"
        i += 1
        origin.put("/a", b"version %d" % i)
        asked = m.run_rpt("refresh", "--wait", "a")
        if i % 10 == 0 or asked.returncode:
            m.kill_worker()
            m.run_rpt("refresh", "a")  # without waiting: the death comes in the middle
            m.kill_worker()
            wait_for(lambda: m.run_rpt("refresh", "--wait", "a").returncode == 0, "an update")
    for watcher in watchers:
        watcher.ending = True
        watcher.join()
        assert not watcher.wrong
    with Generations(m.path) as words:
        assert words[slot_of(m, "a")] == os.stat(m.at("a")).st_ino == int(m.status("a")["id"])
    assert xattr(m.at("a"), "slot")
