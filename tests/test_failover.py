"""Several sources: the next one is asked when one fails, and no fallback goes back to an older
version."""

import pytest
from origin import status
from rptmount import wait_for

# What a fetcher does is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

FAILS = ["term=t"]
OLD_DATE, NEW_DATE = 1_700_000_000, 1_700_000_100


def config(first, second, term=""):
    return (
        f'term "t" {{ refresh_interval = 1h {term} http {{ url = "{first.url("/t")}" }} '
        f'http {{ url = "{second.url("/t")}" }} }}\n'
    )


def test_the_second_source_is_asked_when_the_first_fails(mount, origin, origins):
    replica = origins()
    replica.put("/t", b"of the replica")
    origin.always("/t", status(503))
    m = mount(config(origin, replica), expect=FAILS)
    assert m.read("t") == b"of the replica"
    assert m.xattr("t", "source") == replica.url("/t")
    wait_for(lambda: replica.url("/t") in str(m.events(term="t")), "the line in the log")


def test_the_second_source_is_not_asked_while_the_first_answers(mount, origin, origins):
    replica = origins()
    origin.put("/t", b"one")
    m = mount(config(origin, replica))
    m.refresh("t")
    assert m.xattr("t", "source") == origin.url("/t") and replica.count() == 0


def test_the_second_source_is_not_asked_after_a_refused_body(mount, origin, origins):
    replica = origins()
    origin.put("/t", b"one", last_modified=OLD_DATE)
    replica.put("/t", b"two", last_modified=NEW_DATE)
    m = mount(config(origin, replica, "max_size = 1KiB"), expect=FAILS)
    origin.put("/t", bytes(2000), last_modified=NEW_DATE)
    m.refresh("t", ok=False)
    assert m.read("t") == b"one" and replica.count() == 0 and m.kind("t") == "bad_data"


def test_a_newer_body_of_the_replica_is_accepted(mount, origin, origins):
    replica = origins()
    origin.put("/t", b"one", last_modified=OLD_DATE)
    replica.put("/t", b"two", last_modified=NEW_DATE)
    m = mount(config(origin, replica), expect=FAILS)
    origin.always("/t", status(500))
    m.refresh("t")
    assert m.read("t") == b"two" and m.xattr("t", "source") == replica.url("/t")


def test_an_older_body_of_the_replica_is_refused(mount, origin, origins):
    replica = origins()
    origin.put("/t", b"two", last_modified=NEW_DATE)
    replica.put("/t", b"one", last_modified=OLD_DATE)
    m = mount(config(origin, replica), expect=FAILS)
    origin.always("/t", status(500))
    m.refresh("t", ok=False)
    now = m.status("t")
    assert m.read("t") == b"two" and now["state"] == "stale" and now["last_error"]
    assert now["source"] == origin.url("/t")


def test_a_body_of_the_replica_without_a_date_is_refused(mount, origin, origins):
    replica = origins()
    origin.put("/t", b"one", last_modified=OLD_DATE)
    replica.put("/t", b"two")
    m = mount(config(origin, replica), expect=FAILS)
    origin.always("/t", status(500))
    m.refresh("t", ok=False)
    assert m.read("t") == b"one" and m.status("t")["state"] == "stale"


def test_the_same_bytes_from_the_replica_are_no_failure(mount, origin, origins):
    replica = origins()
    origin.put("/t", b"one", last_modified=NEW_DATE)
    replica.put("/t", b"one", last_modified=OLD_DATE)
    m = mount(config(origin, replica), expect=FAILS)
    origin.always("/t", status(500))
    m.refresh("t")
    assert m.read("t") == b"one" and m.status("t")["updated_total"] == 1


def test_failover_any_accepts_older_bodies(mount, origin, origins):
    replica = origins()
    origin.put("/t", b"one", last_modified=NEW_DATE)
    replica.put("/t", b"other", last_modified=OLD_DATE)
    m = mount(config(origin, replica, "failover = any"), expect=FAILS)
    origin.always("/t", status(500))
    m.refresh("t")
    assert m.read("t") == b"other"


def test_the_first_source_is_the_authority(mount, origin, origins):
    """Its body is accepted when it is back, whatever its date."""
    replica = origins()
    replica.put("/t", b"of the replica", last_modified=NEW_DATE)
    origin.always("/t", status(503))
    m = mount(config(origin, replica), expect=FAILS)
    assert m.read("t") == b"of the replica"
    origin.always("/t")
    origin.put("/t", b"of the origin", last_modified=OLD_DATE)
    m.refresh("t")
    assert m.read("t") == b"of the origin" and m.xattr("t", "source") == origin.url("/t")


def test_backwards_refuse_keeps_the_newer_version(mount, origin, origins):
    replica = origins()
    origin.put("/t", b"two", last_modified=NEW_DATE)
    m = mount(config(origin, replica, "backwards = refuse"), expect=FAILS)
    origin.put("/t", b"one", last_modified=OLD_DATE)
    m.refresh("t", ok=False)
    assert m.read("t") == b"two" and m.status("t")["last_error"]
    origin.put("/t", b"three", last_modified=NEW_DATE + 1)
    m.refresh("t")
    assert m.read("t") == b"three"


def test_backwards_confirm_waits_for_agreement(mount, origin, origins):
    replica = origins()
    origin.put("/t", b"two", last_modified=NEW_DATE)
    m = mount(config(origin, replica, "backwards = confirm"), expect=FAILS)
    origin.put("/t", b"one", last_modified=OLD_DATE)
    m.refresh("t", ok=False)
    assert m.next_in("t") <= 10.5  # the next attempt confirms it
    origin.put("/t", b"two", last_modified=NEW_DATE)
    assert m.read("t") == b"two"


def test_a_token_of_one_source_is_not_sent_to_another(mount, origin, origins):
    """An ETag means something to its own server only."""
    replica = origins()
    origin.put("/t", b"one", etag='"same"', last_modified=OLD_DATE)
    replica.put("/t", b"two", etag='"same"', last_modified=NEW_DATE)
    m = mount(config(origin, replica), expect=FAILS)
    origin.always("/t", status(500))
    m.refresh("t")
    assert "if-none-match" not in replica.asked("/t")[0].headers
    assert m.read("t") == b"two"


def test_sources_of_a_term_may_be_of_different_kinds(mount, origin):
    """A fixed value is the last resort until the origin answers for the first time."""
    origin.always("/t", status(503))
    m = mount(
        f'term "t" {{ refresh_interval = 100ms http {{ url = "{origin.url("/t")}" }} '
        'static { data = "built in" } }\n',
        expect=FAILS,
    )
    assert m.read("t") == b"built in"
    origin.always("/t")
    origin.put("/t", b"real")
    m.wait_content("t", b"real")
    origin.always("/t", status(503))
    wait_for(lambda: m.status("t")["failures"] >= 2, "the origin to be away")
    assert m.read("t") == b"real"


def test_a_term_is_gone_only_if_all_sources_agree(mount, origin, origins):
    replica = origins()
    origin.put("/t", b"one")
    m = mount(config(origin, replica), expect=FAILS)
    origin.remove("/t")
    replica.always("/t", status(503))
    m.refresh("t", ok=False)
    assert m.read("t") == b"one" and m.status("t")["state"] in ("stale", "gone")


def test_on_delete_remove_removes_the_name(mount, origin, origins):
    origin.put("/t", b"one")
    m = mount(
        f'term "t" {{ on_delete = remove refresh_interval = 1h '
        f'http {{ url = "{origin.url("/t")}" }} }}\n',
        expect=FAILS,
    )
    with open(m.at("t"), "rb") as held:
        origin.remove("/t")
        m.refresh("t", ok=False)
        wait_for(lambda: m.ls() == [], "the name to go away")
        assert held.read() == b"one"
    assert m.status("t")["state"] in ("absent", "gone")
    origin.put("/t", b"again")
    m.refresh("t")
    assert m.read("t") == b"again"
