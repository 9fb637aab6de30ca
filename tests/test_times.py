"""st_mtime: programs compare it to find out whether a file has changed."""

import datetime
import os

import pytest
from rptmount import replace

NS = 10**9
EPOCH = datetime.datetime(1970, 1, 1)


def publish(m, origin, body, last_modified):
    origin.put("/t", body, last_modified=last_modified)
    m.refresh("t")
    assert m.read("t") == body
    return os.stat(m.at("t"))


@pytest.mark.parametrize("year", [1, 1815, 1969, 1970, 2262, 2263, 2446, 9999])
def test_every_year_that_http_can_write(mount, origin, year):
    at = datetime.datetime(year, 12, 31, 23, 59, 58)
    origin.put("/t", b"dated", last_modified=at.strftime(f"%a, %d %b {year:04} %H:%M:%S GMT"))
    m = mount(origin.term())
    seconds = (at - EPOCH) // datetime.timedelta(seconds=1)
    assert os.stat(m.at("t")).st_mtime_ns == seconds * NS
    assert m.status("t")["mtime"] == f"{year:04}-12-31T23:59:58.000Z"
    m.restart()
    assert os.stat(m.at("t")).st_mtime_ns == seconds * NS


@pytest.mark.parametrize("ns", [-(2**31 - 2) * NS + 1, -1, 1, (2**34 - 2**31 - 2) * NS + 999_999_999])
def test_a_files_time_to_the_nanosecond(mount, directory, ns):
    """From 1901 to 2446, as ext4 keeps it."""
    source = os.path.join(directory, "source")
    replace(source, b"dated")
    os.utime(source, ns=(ns, ns))
    assert os.stat(source).st_mtime_ns == ns
    m = mount(f'term "t" {{ file {{ path = "{source}" }} }}\n')
    assert os.stat(m.at("t")).st_mtime_ns == ns


def test_a_constant_last_modified(mount, origin):
    """Programs that compare whole seconds see each version too."""
    origin.put("/t", b"version 0", last_modified=1)
    m = mount(origin.term(term="refresh_interval = 1h history = 1"))
    seen = [int(os.stat(m.at("t")).st_mtime)]
    for i in range(1, 8):
        seen.append(int(publish(m, origin, b"version %d" % i, 1).st_mtime))
        if i == 4:
            m.restart()
    assert seen == list(range(1, 9))


def test_back_to_an_older_time(mount, origin):
    origin.put("/t", b"of 2020", last_modified=1_600_000_000)
    m = mount(origin.term(term="refresh_interval = 1h history = 0"))
    assert publish(m, origin, b"of 2001", 1_000_000_000).st_mtime_ns == 1_000_000_000 * NS
    back = publish(m, origin, b"of 2020, but other bytes", 1_600_000_000).st_mtime_ns
    assert back // NS == 1_600_000_000 and back % NS != 0, "nearly what the first version had"


def test_published_never_goes_back(mount, origin):
    origin.put("/t", b"version 0", last_modified=5_000_000_000)
    m = mount(origin.term(term="refresh_interval = 1h mtime = published"))
    seen = [os.stat(m.at("t"))]
    for i in range(1, 8):
        seen.append(publish(m, origin, b"version %d" % i, 5_000_000_000 - i))
        if i == 4:
            m.restart()
    assert [st.st_mtime_ns for st in seen] == [st.st_ctime_ns for st in seen]
    assert all(a.st_mtime_ns < b.st_mtime_ns for a, b in zip(seen, seen[1:]))


def test_mtime_of_a_change_of_the_option(mount, origin):
    """It is of the version: the next one has the other kind."""
    origin.put("/t", b"version 0", last_modified=1_600_000_000)
    m = mount(origin.term())
    m.configure(origin.term(term="refresh_interval = 1h mtime = published"))
    m.rpt("upgrade")
    assert os.stat(m.at("t")).st_mtime == 1_600_000_000
    after = publish(m, origin, b"version 1", 1_600_000_001)
    assert after.st_mtime_ns == after.st_ctime_ns


def test_without_a_time_of_the_source(mount, origin):
    origin.put("/t", b"version 0")
    m = mount(origin.term())
    st = os.stat(m.at("t"))
    assert st.st_mtime_ns == st.st_ctime_ns
