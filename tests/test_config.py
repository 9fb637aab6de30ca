"""Configurations: every bad one is refused with exactly the messages that it names.

A file in config/bad/ begins with lines "# expect: LINE: TEXT": for each of them, and for nothing
else, there is one problem in that line of that file, whose message has TEXT at its beginning.
"""

import glob
import os
import re
import shutil
import subprocess

import pytest
from builds import TOP
from rptmount import HANGS_S, user_line

HERE = os.path.join(os.path.dirname(os.path.abspath(__file__)), "config")
STRANGER = 1234
TERM = 'term "t" { static { data = "x" } }\n'


def files(directory):
    return sorted(os.path.relpath(path, HERE) for path in glob.glob(f"{HERE}/{directory}/*.conf"))


def name_of(path):
    return os.path.basename(path)[: -len(".conf")]


# The checks do not depend on the publish mode, and only one thread makes them.
pytestmark = pytest.mark.builds("plain", "asan")


@pytest.fixture(scope="session")
def configs(tmp_path_factory):
    """A copy that belongs to root, whoever owns the source tree."""
    path = str(tmp_path_factory.mktemp("configs") / "config")
    shutil.copytree(HERE, path)
    subprocess.run(["chmod", "-R", "go-w", path], check=True)
    return path


def run(build, directory, *arguments):
    environment = {
        name: value
        for name, value in os.environ.items()
        if name != "RPTFS_TEST_UNSET" and not name.startswith("AWS_")
    }
    return subprocess.run(
        [build.rptfs, *arguments],
        env={**environment, **build.environment(directory)},
        capture_output=True,
        timeout=HANGS_S,
    )


@pytest.mark.parametrize("path", files("bad"), ids=name_of)
def test_each_bad_configuration_is_refused_with_its_messages(build, directory, configs, path):
    path = os.path.join(configs, path)
    with open(path, encoding="utf-8") as file:
        expected = re.findall(r"^# expect: (\d+: .*)$", file.read(), re.MULTILINE)
    assert expected

    done = run(build, directory, "-c", path, "--check-config")

    problems = done.stderr.decode(errors="replace").splitlines()
    assert done.returncode == 1 and b"hunter2" not in done.stderr
    assert len(problems) == len(expected), problems
    for text in expected:
        assert any(line.startswith(f"{path}:{text}") for line in problems), (text, problems)


def test_there_are_many_bad_configurations():
    assert len(files("bad")) >= 40


@pytest.mark.parametrize("path", files("good"), ids=name_of)
def test_each_good_configuration_is_accepted(build, directory, configs, path):
    path = os.path.join(configs, path)
    checked = run(build, directory, "-c", path, "--check-config")
    assert checked.returncode == 0
    for line in checked.stderr.decode().splitlines():  # the files that it names are not there
        assert re.match(r"rptfs: warning: (mountpoint|term \".*\"): .*(No such file|Not a dir)", line)

    shown = run(build, directory, "-c", path, "--show-config")
    assert shown.returncode == 0
    again = os.path.join(directory, "again.conf")
    with open(again, "wb") as file:
        file.write(shown.stdout)
    # A secret is shown as "***", which is shown as that again.
    assert run(build, directory, "-c", again, "--show-config").stdout == shown.stdout


def test_show_config_masks_secrets(build, directory, configs):
    path = os.path.join(configs, "good", "sources.conf")
    shown = run(build, directory, "-c", path, "--show-config").stdout
    assert b"hunter2" not in shown
    assert b'password = "***"' in shown


def test_show_config_masks_the_query_of_a_url(build, directory):
    path = os.path.join(directory, "query.conf")
    with open(path, "w", encoding="utf-8") as file:
        file.write('mountpoint = "/m" term "t" { http { url = "https://h.example/x?token=hunter2" } }\n')
    shown = run(build, directory, "-c", path, "--show-config").stdout.decode()
    assert "hunter2" not in shown
    assert 'url = "https://h.example/x?…"' in shown
    shown = run(build, directory, "/m", "t=https://h.example/x?token=hunter2", "--show-config")
    assert shown.returncode == 0 and b"hunter2" not in shown.stdout


def test_messages_do_not_show_a_password_with_a_slash(build, directory):
    for url in ("http://u:hunter/2@h", "http://u:hunter?2@h", "http://u:hunter#2@h/x"):
        done = run(build, directory, "/m", f"t={url}", "--check-config")
        assert done.returncode == 1 and b"hunter" not in done.stderr, done.stderr


def test_include_reads_all_files_that_match(build, directory, configs):
    path = os.path.join(configs, "good", "include.conf")
    shown = run(build, directory, "-c", path, "--show-config").stdout.decode()
    assert re.findall(r'^term "(.*)" {$', shown, re.MULTILINE) == ["main", "one", "two"]


def test_a_missing_configuration_file_is_an_error(build, directory):
    done = run(build, directory, "-c", "/nonexistent/x.conf", "--check-config")
    assert done.returncode == 1
    assert done.stderr == b"rptfs: /nonexistent/x.conf: No such file or directory\n"


# Files and the user that a configuration names


def test_files_that_cannot_be_read_are_warnings(build, directory):
    path = write(
        f"{directory}/x.conf",
        f"""mountpoint = "{directory}/nowhere"
term "a" {{ http {{ url = "https://h/" ca_file = "/no/ca" bearer_token_file = "/no/token" }} }}
term "b" {{ file {{ path = "{directory}/x.conf" }} }}
""",
    )
    done = run(build, directory, "-c", path, "--check-config")
    assert done.returncode == 0 and b"valid: 2 terms" in done.stdout
    assert set(done.stderr.decode().splitlines()) == {
        f"rptfs: warning: mountpoint: {directory}/nowhere: No such file or directory",
        'rptfs: warning: term "a": http: ca_file: /no/ca: No such file or directory',
        'rptfs: warning: term "a": http: bearer_token_file: /no/token: No such file or directory',
    }


def test_a_user_who_does_not_exist_is_a_warning(build, directory):
    path = write(f"{directory}/x.conf", 'user = "nobody-of-that-name"\nterm "a" { static { data = "v" } }\n')
    done = run(build, directory, "-c", path, "--check-config")
    assert done.returncode == 0
    assert done.stderr == b'rptfs: warning: user: there is no user "nobody-of-that-name"\n'


def test_credentials_can_be_checked_before_systemd_loads_them(build, directory):
    path = write(
        f"{directory}/x.conf", 'term "a" { file { path = "${CREDENTIALS_DIRECTORY}/key" } }\n'
    )
    done = run(build, directory, "-c", path, "--check-config")
    assert done.returncode == 1 and b"--credentials-directory DIR" in done.stderr
    more = ("-c", path, "--check-config", "--credentials-directory", directory)
    done = run(build, directory, *more)
    assert done.returncode == 0 and f"{directory}/key: No such file".encode() in done.stderr
    write(f"{directory}/key", "secret")
    done = run(build, directory, *more)
    assert (done.returncode, done.stderr) == (0, b"")
    done = run(build, directory, "-c", path, "--credentials-directory", directory, "/mnt/x")
    assert done.returncode == 1 and b"is for --check-config" in done.stderr


@pytest.mark.parametrize("fetcher", ['http { url = "http://h/"', 's3 { bucket = "bucket" key = "k" region = "x"'])
@pytest.mark.parametrize(
    "proxy, good",
    [("foo://bar", False), ("http://", False), ("ftp://u:hunter2@h", False), ("", True),
     ("proxy:3128", True), ("HTTP://proxy:3128", True), ("socks5h://u:p@proxy", True)],
)  # fmt: skip
def test_a_proxy_must_have_a_known_scheme(build, directory, fetcher, proxy, good):
    path = write(f"{directory}/x.conf", f'term "a" {{ {fetcher} proxy = "{proxy}" }} }}\n')
    done = run(build, directory, "-c", path, "--check-config")
    assert (done.returncode == 0) == good and b"hunter2" not in done.stderr
    assert good or b": proxy: " in done.stderr


@pytest.mark.parametrize("url", ["http://h/x", "https://u:hunter2@h/x?a=b", "s3://b/k?region=x"])
def test_a_url_without_a_name_is_refused_as_such(build, directory, url):
    done = run(build, directory, f"{directory}/mnt", url)
    assert done.returncode == 1 and b"a URL needs a name: NAME=URL" in done.stderr
    assert b"hunter2" not in done.stderr


# Who may own a configuration


def write(path, text=TERM, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
    os.chmod(path, mode)
    return path


def check(build, directory, path, user=None, **how):
    """(exit code, standard error) of --check-config, as that user."""
    done = subprocess.run(
        [*(user_line(user) if user else []), build.rptfs, "-c", path, "--check-config"],
        env={**os.environ, **build.environment(directory)},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
        **how,
    )
    return done.returncode, done.stderr


def chowned(path):
    os.lchown(path, STRANGER, STRANGER)


def linked(path):
    """A stranger's link to a file of root's."""
    os.rename(path, path + ".real")
    os.symlink(path + ".real", path)
    chowned(path)


@pytest.mark.parametrize(
    "change, what",
    (
        (lambda path: os.chmod(path, 0o666), "may be written by everybody"),
        (lambda path: os.chmod(path, 0o664), "may be written by its group"),
        (chowned, f"belongs to uid {STRANGER}"),
        (linked, f"belongs to uid {STRANGER}"),
    ),
)
@pytest.mark.parametrize("place", ("dir/x.conf", "dir"))
def test_a_configuration_that_others_may_change_is_refused(build, directory, place, change, what):
    """It, or its directory: others must not say what root does."""
    conf = write(os.path.join(directory, "dir", "x.conf"))
    assert check(build, directory, conf) == (0, "")
    changed = os.path.join(directory, place)
    change(changed)
    code, said = check(build, directory, conf)
    assert code == 1 and said.startswith(f"rptfs: {conf}: {changed} {what}")
    assert "chmod go-w" in said or "chown root" in said
    done = run(build, directory, "-c", conf, os.path.join(directory, "mnt"))
    assert done.returncode == 1 and done.stderr.decode() == said, "nor is it mounted"


# Values of the top level that a start refuses


def assert_refused(build, directory, option, why):
    """In a file and on the command line, with the same words by a check and by a start."""
    conf = write(os.path.join(directory, "x.conf"), TERM + option + "\n")
    plain = write(os.path.join(directory, "plain.conf"))
    mnt = os.path.join(directory, "mnt")
    os.makedirs(mnt, exist_ok=True)
    by_command = option.replace('"', "").replace(" ", "")
    for arguments, place in (
        (("-c", conf), f"{conf}:2"),
        (("-c", plain, "-o", by_command), "rptfs"),
    ):
        for more in (["--check-config"], []):
            done = run(build, directory, *arguments, mnt, *more)
            assert (done.returncode, done.stderr.decode()) == (1, f"{place}: {why}\n")
    assert not os.path.ismount(mnt)


@pytest.mark.parametrize("name", ("root", "0"))
def test_the_worker_cannot_be_root(build, directory, name):
    assert_refused(
        build,
        directory,
        f'user = "{name}"',
        f'user: "{name}" is root, and the worker never runs as root: name an unprivileged user, '
        "or leave the option out",
    )


OWN_DIRECTORY = "a store needs a directory of its own, such as /var/lib/rptfs/store"


@pytest.mark.parametrize(
    "store, why",
    (
        ("/", "it is the root directory"),
        ("/tmp/..", "it is the root directory"),
        ("{}/shared", "all users share the directory"),
        ("{}/link", "all users share the directory"),
        ("{}/used", "the directory is neither a store nor empty"),
    ),
)
def test_a_directory_that_is_not_for_a_store_is_refused(build, directory, store, why):
    os.mkdir(os.path.join(directory, "shared"))
    os.chmod(os.path.join(directory, "shared"), 0o1777)
    os.symlink("shared", os.path.join(directory, "link"))
    write(os.path.join(directory, "used", "notes"))
    path = store.format(directory)
    why = f"store {os.path.normpath(path)}: {why}: {OWN_DIRECTORY}"
    assert_refused(build, directory, f'store = "{path}"', why)
    assert os.listdir(os.path.join(directory, "shared")) == []
    assert os.stat(os.path.join(directory, "shared")).st_uid == os.getuid()


def test_a_store_may_be_missing_or_empty(build, directory):
    os.mkdir(os.path.join(directory, "empty"))
    for name in ("missing", "empty"):
        conf = write(os.path.join(directory, "x.conf"), f'{TERM}store = "{directory}/{name}"\n')
        assert check(build, directory, conf) == (0, "")


@pytest.mark.parametrize("pattern", ("conf.d/*.conf", "conf.d/a.conf", "{directory}/conf.d/?.conf"))
@pytest.mark.parametrize("place", ("conf.d", "conf.d/a.conf"))
def test_an_included_file_that_others_may_change_is_refused(build, directory, place, pattern):
    include = pattern.format(directory=directory)
    conf = write(os.path.join(directory, "x.conf"), f'\n\ninclude("{include}")\n')
    write(os.path.join(directory, "conf.d", "a.conf"))
    assert check(build, directory, conf) == (0, "")
    os.chmod(os.path.join(directory, place), 0o777)
    code, said = check(build, directory, conf)
    assert code == 1 and said.startswith(f"{conf}:3: include ") and said.count("\n") == 1
    assert f"{directory}/{place} may be written by everybody" in said


@pytest.mark.parametrize("pattern", ["x.d/fifo", "x.d/*"])
def test_an_included_fifo_is_refused(build, directory, pattern):
    """Opening it would wait for a writer."""
    conf = write(os.path.join(directory, "x.conf"), f'include("{pattern}")\n')
    os.mkdir(os.path.join(directory, "x.d"))
    os.mkfifo(os.path.join(directory, "x.d", "fifo"))
    code, said = check(build, directory, conf)
    assert code == 1 and f"{directory}/x.d/fifo" in said and "not a regular file" in said


def test_a_directory_that_others_may_add_files_to_is_refused(build, directory):
    conf = write(os.path.join(directory, "x.conf"), f'{TERM}include("conf.d/*.conf")\n')
    assert check(build, directory, conf) == (0, ""), "there is no such directory"
    os.mkdir(os.path.join(directory, "conf.d"))
    assert check(build, directory, conf) == (0, "")
    os.chmod(os.path.join(directory, "conf.d"), 0o777)
    code, said = check(build, directory, conf)
    assert code == 1 and said.startswith(f"{conf}:2: include conf.d/*.conf: {directory}/conf.d may be")


def test_a_sticky_directory_is_accepted(build, directory):
    """Everybody may add files to it, but not replace those of others."""
    os.chmod(directory, 0o1777)
    conf = write(os.path.join(directory, "x.conf"))
    assert check(build, directory, conf) == (0, "")
    chowned(conf)
    assert check(build, directory, conf)[0] == 1


def test_an_ordinary_user_may_own_a_configuration(build, directory):
    """Has files of root's and of their own, which their own group may write."""
    conf = write(os.path.join(directory, "dir", "x.conf"))
    assert check(build, directory, conf, STRANGER) == (0, "")
    chowned(os.path.dirname(conf))
    chowned(conf)
    os.chmod(conf, 0o664)
    assert check(build, directory, conf, STRANGER) == (0, "")
    code, said = check(build, directory, conf, STRANGER + 1)
    assert code == 1 and f"chown {STRANGER + 1} " in said
    os.chmod(conf, 0o666)
    assert check(build, directory, conf, STRANGER)[0] == 1


def test_a_path_that_others_lead_elsewhere_is_a_warning(build, directory):
    """It would not be served either."""
    theirs = os.path.join(directory, "theirs")
    os.mkdir(theirs)
    os.symlink("/etc/passwd", os.path.join(theirs, "source"))
    chowned(theirs)
    chowned(os.path.join(theirs, "source"))
    conf = write(
        os.path.join(directory, "x.conf"),
        f'term "t" {{ file {{ path = "{theirs}/source" }} }}\n',
    )
    code, said = check(build, directory, conf)
    assert code == 0 and said.count("\n") == 1
    assert f"{theirs} belongs to uid {STRANGER} and leads to /, which belongs to root" in said


def test_a_path_behind_the_stores_link_is_refused(build, directory):
    os.mkdir(os.path.join(directory, "real"))
    os.symlink("real", os.path.join(directory, "store"))
    for name in ("real", "store"):
        conf = write(
            os.path.join(directory, "x.conf"),
            f'mountpoint = "{directory}/mnt" store = "{directory}/store"\n'
            f'term "t" {{ file {{ path = "{directory}/{name}/file" }} }}\n',
        )
        code, said = check(build, directory, conf)
        assert code == 1 and said.count("\n") == 1 and f"/{name}/file lies in the store" in said


def test_an_inherited_descriptor_is_accepted(build, directory):
    """Whoever starts rptfs has opened it."""
    path = write(os.path.join(directory, "x.conf"), mode=0o666)
    with open(path, "rb") as conf:
        assert check(build, directory, "/dev/stdin", stdin=conf) == (0, "")
    reader, writer = os.pipe()
    os.write(writer, TERM.encode())
    os.close(writer)
    assert check(build, directory, f"/dev/fd/{reader}", pass_fds=[reader]) == (0, "")
    os.close(reader)


def test_problems_of_the_command_line_are_reported(build, directory):
    done = run(
        build,
        directory,
        *["--check-config", "-o", "rw,foo,history=x,nosuid,bar=1", "/mnt/x"],
        *["a=ftp://user:hunter2@localhost/", "b//c=https://localhost/"],
    )
    assert done.returncode == 1
    lines = done.stderr.decode().splitlines()
    assert lines[:3] == [
        'rptfs: unknown option -o "foo"',
        'rptfs: -o history: "x" is not a whole number',
        'rptfs: unknown option -o "bar=1"',
    ]
    assert lines[3].startswith('rptfs: term "a": its URL does not begin with one of: ')
    assert lines[4] == 'rptfs: term "b//c": the name has "//" in it'
    assert len(lines) == 5
    assert b"hunter2" not in done.stderr


def rows(build):
    """Every option of every table: table, name, type, role, default."""
    listing = subprocess.run([build.rptfs, "--list-options"], check=True, capture_output=True)
    return [line.split("\t") for line in listing.stdout.decode().splitlines()]


def manual():
    """The entries of rptfs.conf(5): section, line with the names, text."""
    with open(os.path.join(TOP, "packaging/man/rptfs.conf.5"), encoding="utf-8") as file:
        sections = re.split(r"^\.Ss ", file.read(), flags=re.MULTILINE)[1:]
    for section in sections:
        title, _, body = section.partition("\n")
        for entry in re.split(r"^\.It ", body, flags=re.MULTILINE)[1:]:
            names, _, text = entry.partition("\n")
            yield title, names, re.split(r"^\.El", text, flags=re.MULTILINE)[0]


def test_the_manual_has_every_option_with_its_default(build):
    titles = {"root": "Top level", "term": "Terms"}
    entries, wrong = list(manual()), []
    for table, name, kind, _, default in rows(build):
        title = titles.get(table, f"The fetcher {table}")
        texts = [
            f"{names}\n{text}"
            for section, names, text in entries
            if section == title and re.search(rf"(?<!Ar )\b{name}\b", names)
        ]
        if len(texts) != 1:
            wrong.append(f"{title}: {name} has {len(texts)} entries")
        # The manual may describe the default of a boolean in words, and a version changes.
        elif default != "-" and "/" not in default and not re.search(rf"\b{default}\b", texts[0]):
            wrong.append(f"{title}: {name} does not say its default, {default}")
    assert not wrong, "\n".join(wrong)


def test_completion_knows_the_options_of_o(build):
    done = subprocess.run(
        ["bash", "-c", f". {TOP}/packaging/completions/rptfs; COMP_WORDS=(rptfs -o h) COMP_CWORD=2;"
         " compopt() { :; }; _rptfs; echo \"${COMPREPLY[@]}\""],
        env={**os.environ, "PATH": os.path.dirname(build.rptfs) + ":" + os.environ["PATH"]},
        capture_output=True,
        text=True,
        check=True,
    )  # fmt: skip
    assert done.stdout.split() == ["history="]


def test_help_has_the_options_of_o(build):
    shown = subprocess.run([build.rptfs, "--help"], check=True, capture_output=True).stdout.decode()
    for table, name, _, _, default in rows(build):
        if table in ("root", "term") and name not in ("mountpoint", "alias"):
            line = re.search(rf"^    {name} .*$", shown, re.MULTILINE)
            assert line and (default == "-" or default in line[0]), name
