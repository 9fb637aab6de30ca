"""rpt, the control socket, .rpt/status.json and .rpt/metrics."""

import json
import os
import re
import socket
import stat
import subprocess
import time

import pytest
from origin import stall, status
from rptmount import HANGS_S, NOBODY, as_user, user_line, wait_for


def ask(m, request, user):
    """One request over the socket; returns the lines of the answer."""
    code = (
        "import socket,sys; s=socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(sys.argv[2].encode()+b'\\n'); sys.stdout.write(s.makefile().read())"
    )
    done = as_user(user, "/usr/bin/python3", "-c", code, m.control, request)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_status_is_a_readable_table(mount, origin):
    origin.put("/good", b"12345", etag='"v7"')
    origin.always("/bad", status(500))
    m = mount(origin.term("good") + origin.term("bad"), expect=["term=bad"])
    out = m.rpt("status")
    good = next(line for line in out.splitlines() if line.startswith("good"))
    bad = next(line for line in out.splitlines() if line.startswith("bad"))
    assert "fresh" in good and "v7" in good
    assert "500" in out and "absent" in bad
    assert "bad" not in m.rpt("status", "good")


def test_status_escapes_control_characters(mount):
    m = mount('term "t" { static { data = "x" version = "v\\x1b[31m" } }')
    out = m.rpt("status")
    assert "v" in out and "\x1b" not in out


# A C1 control sequence, characters that change the direction of text, and DEL.
ODD = "v\u009b31m\u202e\u2066\u200f\x7f"


def test_no_output_has_characters_that_a_terminal_obeys(mount):
    m = mount(f'term "t" {{ static {{ data = "x" version = "{ODD}" }} }}\n')
    table, document = m.rpt("status"), m.rpt("status", "--json")
    for text in (table, document, m.log()):
        assert not any(character in text for character in ODD[1] + ODD[5:]), text
    assert {term["version"] for term in json.loads(document)["terms"]} == {ODD}
    assert "v??31m??????????" in table


def test_messages_have_no_characters_that_a_terminal_obeys(build, directory):
    conf = os.path.join(directory, "odd.conf")
    with open(conf, "w", encoding="utf-8") as file:
        file.write(f'mountpoint = "/nowhere"\nterm "t" {{ "{ODD}" = 1 }}\n{ODD} = 1\n')
    done = subprocess.run(
        [build.rptfs, "--check-config", "-c", conf], capture_output=True, text=True, timeout=HANGS_S
    )
    assert done.returncode == 1 and "??31m??" in done.stderr
    assert not any(character in done.stderr for character in ODD[1] + ODD[5:])


STRANGER = """
import os, socket, sys
path, begin, piece = sys.argv[1], sys.argv[2], sys.argv[3] * 20000
os.umask(0)
listener = socket.socket(socket.AF_UNIX)
listener.bind(path)
listener.listen()
print("listens", flush=True)
client = listener.accept()[0]
try:
    client.sendall(begin.encode())
    while True:
        client.sendall(piece.encode())
except OSError:
    pass
"""


@pytest.mark.parametrize("piece", ["x", "[],", "{},", "1,"])
def test_the_answer_of_a_strangers_mount_is_limited(build, directory, piece):
    """Any directory with the right xattr looks like a mount."""
    os.chmod(directory, 0o777)
    path = os.path.join(directory, "socket")
    os.setxattr(directory, "user.rpt.control", path.encode())
    command = ["/usr/bin/python3", "-c", STRANGER, path, '{"terms":[', piece]
    stranger = subprocess.Popen([*user_line(NOBODY), *command], stdout=subprocess.PIPE)
    assert stranger.stdout.readline()
    limit = [] if build.sanitized else ["prlimit", f"--as={192 << 20}"]
    rpt = subprocess.run(
        [*limit, build.rpt, "-m", directory, "status"], capture_output=True, text=True, timeout=HANGS_S
    )
    stranger.wait(HANGS_S)
    assert rpt.returncode == 2 and "too long for a mount of another user" in rpt.stderr


def test_status_on_a_terminal_has_errors_below_their_rows(mount, origin):
    origin.always("/bad", status(500))
    m = mount(origin.term("bad"), expect=["term=bad"])
    reader, terminal = os.openpty()
    with open(reader, "rb", closefd=True):
        done = subprocess.run(
            [m.build.rpt, "status"],
            env={**m.env, "RPT_MOUNT": m.path}, stdout=terminal, timeout=10,
        )  # fmt: skip
        lines = os.read(reader, 65536).decode().splitlines()
        os.close(terminal)
    assert done.returncode == 0
    assert "ERROR" not in lines[0]
    assert lines[1].startswith("bad ") and "500" not in lines[1]
    assert lines[2].startswith("    ") and "500" in lines[2]


@pytest.mark.parametrize("locale", ("C", "C.UTF-8"))
def test_status_shows_a_version_as_json_and_the_attribute_do(mount, origin, locale):
    r"""Bytes of an ETag become \xNN; the table escapes neither them nor the name again."""
    origin.put("/t", b"12345", etag='"caf\xe9\\x"')
    m = mount(origin.term("t").replace('term "t"', 'term "é-\\\\x"'))
    table = subprocess.run(
        [m.build.rpt, "-m", m.path, "status"],
        env={**m.env, "LC_ALL": locale}, stdout=subprocess.PIPE, timeout=HANGS_S, check=True,
    ).stdout.decode()  # fmt: skip
    (term,) = json.loads(m.rpt("status", "--json"))["terms"]
    assert term["version"] == m.xattr(r"é-\x", "version") == r"caf\xe9\x"
    head, row = table.splitlines()
    assert row.split()[:4] == [r"é-\x", "fresh", r"caf\xe9\x", "5B"]
    assert locale == "C" or row.index("fresh") == head.index("STATE")


def test_status_of_unknown_terms_names_them(mount):
    m = mount('term "t" { static { data = "x" } }')
    done = m.run_rpt("status", "nix")
    assert done.returncode != 0 and "nix" in done.stderr
    done = m.run_rpt("refresh", "nix")
    assert done.returncode != 0 and "nix" in done.stderr


def test_status_json_equals_the_file(mount, origin):
    origin.put("/t", b"12345", etag='"v7"', last_modified=1_700_000_000)
    m = mount(origin.term())
    (term,) = json.loads(m.rpt("status", "--json"))["terms"]
    assert term == json.loads(m.read(".rpt/status.json"))["terms"][0]
    assert term["name"] == "t" and term["version"] == "v7" and term["size"] == 5
    assert term["id"] == os.stat(m.at("t")).st_ino
    assert term["mtime"] == "2023-11-14T22:13:20.000Z"
    assert term["sha256"] == m.xattr("t", "sha256")


def test_refresh_wait_prints_the_outcome(mount, origin):
    origin.put("/a", b"one")
    origin.put("/b", b"one")
    m = mount(origin.term("a") + origin.term("b"), expect=["term=b"])
    assert "unchanged" in m.refresh("a").stdout
    origin.put("/a", b"two")
    assert "updated" in m.refresh("a").stdout
    origin.always("/b", status(403))
    done = m.refresh(ok=False)
    assert "failed" in done.stdout and "403" in done.stdout + done.stderr


def test_refresh_wait_prints_the_error_of_a_term_without_a_version(mount, origin):
    m = mount(origin.term("nothing"), expect=["term=nothing"])
    assert "nothing: failed: GET " in m.refresh(ok=False).stdout


def test_refresh_without_wait_returns_before_the_attempt_ends(mount, origin):
    origin.put("/t", b"one")
    m = mount(origin.term().replace("url", "stall_timeout = 1h url"))
    before = m.status("t")["checked_at"]
    origin.always("/t", stall())
    assert m.run_rpt("refresh", "t").returncode == 0
    wait_for(lambda: origin.count("/t") == 2, "the request")
    assert m.status("t")["checked_at"] == before
    origin.always("/t")
    origin.drop_connections()
    m.expect("term=t")


def test_a_term_can_be_named_by_its_alias(mount):
    m = mount('term "dir/t.json" { alias = "short" static { data = "x" version = "1" } }')
    m.refresh("short")
    assert m.status("dir/t.json")["alias"] == "short"
    assert 'rptfs_term_failures{term="short"}' in m.metrics()


def test_rpt_without_a_mount_says_so(build, directory):
    done = subprocess.run(
        [build.rpt, "-m", directory, "status"], capture_output=True, text=True, timeout=HANGS_S
    )
    assert done.returncode != 0 and directory in done.stderr and len(done.stderr.splitlines()) == 1


def test_rpt_prints_its_usage(build):
    for arguments in (["--help"], ["status", "--help"]):
        done = subprocess.run([build.rpt, *arguments], capture_output=True, text=True, timeout=HANGS_S)
        assert done.returncode == 0 and "usage" in done.stdout.lower()
    for arguments in ([], ["frobnicate"], ["status", "--frobnicate"]):
        done = subprocess.run([build.rpt, *arguments], capture_output=True, text=True, timeout=HANGS_S)
        assert done.returncode == 1 and done.stderr


@pytest.mark.parametrize(
    "word, says",
    [
        ("staus", 'unknown command "staus"; did you mean "status"?'),
        ("refesh", 'did you mean "refresh"?'),
        ("reload", '"rpt upgrade" reads the configuration again'),
        ("stop", '"umount DIR" ends a mount'),
        ("dance", 'unknown command "dance"\nTry "rpt --help"'),
    ],
)
def test_an_unknown_command_gets_advice(build, word, says):
    done = subprocess.run([build.rpt, word], capture_output=True, text=True)
    assert done.returncode == 1 and says in done.stderr


def test_rpt_lists_the_mounts_that_exist(mount, directory):
    m = mount('term "a" { static { data = "x" } }\n')
    for place in (directory, f"{directory}/nowhere"):
        done = subprocess.run([m.build.rpt, "-m", place, "status"], capture_output=True, text=True)
        assert done.returncode == 2 and "; rptfs is mounted at " in done.stderr
        assert "use -m DIR" in done.stderr


def test_the_mount_can_come_from_the_environment(mount):
    m = mount('term "t" { static { data = "x" } }')
    done = subprocess.run(
        [m.build.rpt, "status"],
        env={**m.env, "RPT_MOUNT": m.path}, capture_output=True, text=True, timeout=HANGS_S,
    )  # fmt: skip
    assert done.returncode == 0 and "t" in done.stdout


def test_only_the_owner_may_refresh(mount, origin):
    origin.put("/t", b"one")
    m = mount(origin.term())
    answer = ask(m, '{"command": "status"}', user=NOBODY)
    assert answer[0]["terms"][0]["name"] == "t"
    answer = ask(m, '{"command": "refresh"}', user=NOBODY)
    assert answer[-1]["error"]["kind"] == "denied"
    assert origin.count("/t") == 1


def test_bad_requests_are_answered_and_harmless(mount):
    m = mount('term "t" { static { data = "x" } }')
    for request in (
        "", "{", "[]", "null", "{}", '{"command": 7}', '{"command": "explode"}',
        '{"command": "status", "terms": "t"}', '{"command": "status", "more": 1}',
        '{"command": "refresh", "terms": ["nix"]}', "\x00\xff", "[" * 10_000, "x" * 3_000_000,
    ):  # fmt: skip
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(HANGS_S)
            client.connect(m.control)
            try:
                client.sendall(request.encode("latin-1") + b"\n")
                answer = client.makefile().read()
            except (BrokenPipeError, ConnectionResetError):
                continue
            if answer:
                assert "error" in json.loads(answer.splitlines()[-1]), request
    m.refresh("t")


def test_silent_clients_do_not_delay_others(mount):
    m = mount('term "t" { static { data = "x" } }')
    silent = [socket.socket(socket.AF_UNIX) for _ in range(50)]
    for client in silent:
        client.connect(m.control)
    m.refresh("t")
    for client in silent:
        client.close()


def test_the_socket_is_found_through_the_root(mount):
    m = mount('term "t" { static { data = "x" } }')
    assert stat.S_ISSOCK(os.stat(m.control).st_mode)
    assert os.path.isabs(m.control)


def test_metrics_count_what_happens(mount, origin):
    origin.put("/t", b"12345", etag='"v7"')
    origin.always("/bad", status(500))
    began = time.monotonic()
    m = mount(origin.term() + origin.term("bad"), expect=["term=bad"])
    m.refresh("t")
    metrics = m.metrics()
    took_s = time.monotonic() - began
    info = [name for name in metrics if name.startswith("rptfs_term_info")]
    assert any(
        all(part in name for part in ('term="t"', 'version="v7"', 'state="fresh"', origin.url("/t")))
        for name in info
    )
    assert metrics['rptfs_updates_total{term="t",result="updated"}'] == 1
    assert metrics['rptfs_updates_total{term="t",result="unchanged"}'] == 1
    assert metrics['rptfs_updates_total{term="bad",result="failed"}'] >= 1
    assert metrics['rptfs_term_failures{term="bad"}'] >= 1
    assert 0 <= metrics['rptfs_term_age_seconds{term="t"}'] <= took_s + 1
    assert metrics["rptfs_snapshots"] == 1
    assert metrics['rptfs_fuse_requests_total{op="lookup"}'] > 0


def test_metrics_are_well_formed(mount):
    m = mount('term "we\\"ird\\\\name" { static { data = "x" version = "a\\"b\\\\c" } }')
    text = m.read(".rpt/metrics").decode()
    sample = re.compile(
        r'[a-z_]+(\{[a-z0-9_]+="(?:[^"\\\n]|\\["\\n])*"(,[a-z0-9_]+="(?:[^"\\\n]|\\["\\n])*")*\})?'
        r" [0-9.e+-]+"
    )
    types = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            family, type_ = line.split()[2:]
            assert family not in types, "one TYPE for each family"
            types[family] = type_
        elif not line.startswith("#"):
            assert sample.fullmatch(line), line
            family = re.match("[a-z_]+", line).group()
            assert family in types or types[re.sub("_(sum|count)$", "", family)] == "summary"


def test_the_rpt_directory_has_its_files(mount):
    m = mount('term "t" { static { data = "x" } }')
    assert os.listdir(m.path) == ["t"] and os.stat(m.path).st_nlink == 2
    assert sorted(os.listdir(m.at(".rpt"))) == ["generations", "metrics", "status.json"]
    done = subprocess.run(
        f"cp -r {m.path}/.rpt {m.dir}/copy && tar -C {m.path} -cf {m.dir}/copy.tar .rpt",
        shell=True, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    json.loads(open(f"{m.dir}/copy/status.json", encoding="utf-8").read())


def test_inode_numbers_fit_into_32_bits(mount):
    """A 32-bit program without large files gets EOVERFLOW for others."""
    m = mount('term "d/t" { static { data = "x" } }')
    paths = ["", "d", "d/t", ".rpt", ".rpt/generations", ".rpt/metrics", ".rpt/status.json"]
    numbers = [os.stat(m.at(path)).st_ino for path in paths]
    numbers += [entry.inode() for entry in os.scandir(m.at(".rpt"))]
    assert max(numbers) < 2**32 and len(set(numbers[:7])) == 7
    wait_for(lambda: os.stat(m.at(".rpt/metrics")).st_ino not in numbers, "another rendering")


@pytest.mark.parametrize(
    "tool", ["cp -a {0}/. {1}", "rclone copy {0} {1}", "tar -C {0} -c . | tar -C {1} -x"]
)
def test_the_whole_mount_can_be_copied(mount, directory, tool):
    m = mount('term "d/t" { static { data = "hello" } } term "u" { static { data = "world" } }')
    copy = os.path.join(directory, "copy")
    os.mkdir(copy)
    command = tool.format(m.path, copy)
    done = subprocess.run(
        ["bash", "-c", f"set -o pipefail; {command}"], capture_output=True, text=True,
        env={**os.environ, "RCLONE_CONFIG": "/dev/null"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(os.listdir(copy)) == ["d", "u"]
    assert open(os.path.join(copy, "d/t"), encoding="utf-8").read() == "hello"
    size = subprocess.run(["du", "-sk", m.path], check=True, capture_output=True).stdout.split()[0]
    assert int(size) <= 2, "a block for each file"


def test_a_descriptor_shows_one_complete_rendering(mount, origin):
    origin.put("/t", b"one")
    m = mount(origin.term())
    with open(m.at(".rpt/status.json"), "rb") as held:
        size = os.fstat(held.fileno()).st_size
        origin.put("/t", b"two", etag='"a much longer version than before"')
        m.refresh("t")
        wait_for(lambda: b"a much longer" in m.read(".rpt/status.json"), "the new rendering")
        text = held.read()
        assert len(text) == size and b"a much longer" not in text
        json.loads(text)
