"""What a change of an option means for the content of the store.

For each option of each fetcher: start with one value, restart with another one, ask the source, and
compare the requests that the origin saw with the claim of the option's row.
"""

import hashlib
import os
import sqlite3
import subprocess

import pytest
from origin import Origin
from s3config import profile

BODY = b"what the source has\n" * 100

IDENTITY, JUDGE, MANNER = "identity", "judge", "manner"


def tables(build):
    """The rows, as (table, option): role."""
    listing = subprocess.run(
        [build.rptfs, "--list-options"], check=True, capture_output=True, text=True
    ).stdout
    rows = [line.split("\t") for line in listing.splitlines()]
    return {(table, name): role for table, name, _, role, _ in rows if table not in ("root", "term")}


class World:
    """Origins with the same pages, and files, for the values below."""

    def __init__(self, directory, origins):
        self.dir, self.origins = directory, origins
        self.origin, self.other = origins[0], origins[-1]

    def file(self, name, text):
        path = os.path.join(self.dir, name)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)
        os.chmod(path, 0o644)
        return path

    def put(self, path):
        for origin in self.origins:
            origin.put(path, BODY, headers={"Content-Type": "text/plain"})

    def forget(self):
        for origin in self.origins:
            origin.forget()

    def seen(self, name):
        """How many answers for the pages of this option had a body, and how many were a 304."""
        answers = [
            request.answer
            for origin in self.origins
            for request in origin.requests
            if request.path.split("?")[0].split("/")[-1] in (name, f"{name}-other")
        ]
        return answers.count(200), answers.count(304)


# These choose among AWS's own hosts; test_s3_aws.py changes them.
NOT_WITH_AN_ENDPOINT = {"use_fips_endpoint", "use_dualstack_endpoint"}

# For each option: the values before and after the change (None: left out), and what else the source
# needs. "@" stands for the name of the option, so that each has pages of its own.
def http_cases(world):
    url, secret = world.origin.url("/@"), world.file("secret", "hunter2\n")
    pem = "/etc/ssl/certs/ca-certificates.crt"
    base = {"url": url}
    user = {**base, "user": "joe"}
    unix = [os.path.join(world.dir, name) for name in ("one.sock", "two.sock")]
    return {
        "url": (url, world.origin.url("/@-other"), {}),
        "http_cache": ("false", "true", base),
        "min_refresh_interval": ("30s", "40s", base),
        "headers": ('{ "X-Kind: a" }', '{ "X-Kind: b" }', base),
        "content_type": (None, '{ "text/*" }', base),
        "user_agent": (None, "test/1", base),
        "user": ("joe", "jim", base),
        "password": ("one", "two", user),
        "password_file": (None, secret, user),
        "bearer_token_file": (None, secret, base),
        "client_cert": (None, pem, base),
        "client_key": (None, pem, {**base, "client_cert": pem}),
        "ca_file": (None, pem, base),
        "proxy": (None, "", base),
        "unix_socket": (unix[0], unix[1], {"url": "http://localhost/@"}),
        "connect_timeout": ("10s", "11s", base),
        "stall_timeout": ("30s", "31s", base),
        "max_redirects": (None, "7", base),
        "redirects": ("public", "any", base),
        "content_coding": ("decode", "as-sent", base),
        "accept_unframed": ("false", "true", base),
    }


def s3_cases(world):
    endpoint, other = world.origin.url(""), world.other.url("")
    files = [world.file(f"keys{i}", profile() + profile(name="other")) for i in (1, 2)]
    keys = [world.file(f"sse{i}", str(i) * 32) for i in (1, 2)]
    where = {"bucket": "bucket", "key": "@", "endpoint": endpoint, "region": "eu-west-1"}
    base, signed = {**where, "anonymous": "true"}, {**where, "credentials_file": files[0]}
    return {
        "bucket": ("bucket", "bucket2", base),
        "key": ("@", "@-other", base),
        "region": ("eu-west-1", "eu-north-1", base),
        "endpoint": (endpoint, other, base),
        "use_fips_endpoint": ("false", "true", where),
        "use_dualstack_endpoint": ("false", "true", where),
        "addressing": ("auto", "path", base),
        "version_id": (None, "v2", base),
        "version_header": (None, "x-amz-meta-version", base),
        "content_type": (None, '{ "text/*" }', base),
        "profile": ("default", "other", signed),
        "credentials_file": (files[0], files[1], where),
        "anonymous": ("false", "true", {**where, "credentials_file": files[0]}),
        "requester_pays": ("false", "true", signed),
        "sse_c_key_file": (keys[0], keys[1], base),
        "checksum": ("auto", "off", base),
        "content_coding": ("auto", "decode", base),
        "part_size": ("16MiB", "32MiB", base),
        "parallel_parts": (None, "2", base),
        "ca_file": (None, "/etc/ssl/certs/ca-certificates.crt", base),
        "proxy": (None, "", base),
        "connect_timeout": ("10s", "11s", base),
        "stall_timeout": ("30s", "31s", base),
    }


def static_cases(world):
    return {
        "data": ("one", "two", {}),
        "base64": ("b25l", "dHdv", {}),
        "version": ("1", "2", {"data": "one"}),
    }


def file_cases(world):
    return {"path": (world.file("one", "one"), world.file("two", "two"), {})}


def block(kind, name, options):
    def write(option, value):
        value = value.replace("@", name)
        return f"{option} = {value}" if value.startswith("{") else f'{option} = "{value}"'

    given = (write(option, value) for option, value in options.items() if value is not None)
    return f'term "{name}" {{ refresh_interval = never {kind} {{ {" ".join(given)} }} }}\n'


def configs(kind, cases):
    """Two configurations with a term for each option: before and after all the changes."""
    pair = [], []
    for name, (before, after, others) in cases.items():
        for config, value in zip(pair, (before, after)):
            options = {**others, name: value}
            if options.get("anonymous") == "true":
                options["credentials_file"] = None  # they exclude each other
            config.append(block(kind, name, options))
    return ["".join(config) for config in pair]


@pytest.fixture
def world(directory, origin, servers):
    unix = [Origin(unix=os.path.join(directory, name)) for name in ("one.sock", "two.sock")]
    origins = [origin, *unix, Origin()]
    for other in origins[1:]:
        servers.append(other)
    os.chmod(directory, 0o755)
    for path in (os.path.join(directory, name) for name in ("one.sock", "two.sock")):
        os.chmod(path, 0o666)
    return World(directory, origins)


def test_every_option_is_in_a_table(build, world):
    """A new option needs values here."""
    named = {
        (kind, name)
        for kind, cases in (
            ("http", http_cases(world)),
            ("s3", s3_cases(world)),
            ("file", file_cases(world)),
            ("static", static_cases(world)),
        )
        for name in cases
    }
    rows = tables(build)
    assert named == set(rows)
    assert set(rows.values()) <= {IDENTITY, JUDGE, MANNER}, "each option of a source has a role"


@pytest.mark.parametrize("kind, make", [("http", http_cases), ("s3", s3_cases)])
def test_only_a_changed_identity_is_fetched_again(build, mount, world, kind, make):
    rows = tables(build)
    cases = {name: case for name, case in make(world).items() if name not in NOT_WITH_AN_ENDPOINT}
    for name in cases:
        for suffix in ("", "-other"):
            for path in (f"/{name}{suffix}", f"/bucket/{name}{suffix}", f"/bucket2/{name}"):
                world.put(path)
                world.put(f"{path}?versionId=v2")
    before, after = configs(kind, cases)
    mounted = mount(before)
    for name in cases:
        assert mounted.read(name) == BODY, name
    world.forget()

    mounted.configure(after)
    mounted.restart()
    mounted.refresh()

    wrong = []
    for name in cases:
        bodies, unchanged = world.seen(name)
        role = rows[kind, name]
        if role == IDENTITY and not bodies:
            wrong.append(f"{name} says what is fetched, but nothing was fetched")
        if role != IDENTITY and (bodies or not unchanged):
            wrong.append(f"{name} is {role}, but there were {bodies} bodies, {unchanged} times 304")
        assert mounted.read(name) == BODY, name
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("kind, make", [("file", file_cases), ("static", static_cases)])
def test_local_sources_show_the_new_content(build, mount, world, kind, make):
    """There is no origin that counts requests, so content and version are compared."""
    cases, rows = make(world), tables(build)
    before, after = configs(kind, cases)
    mounted = mount(before)
    had = {name: (mounted.read(name), mounted.xattr(name, "source_version")) for name in cases}
    mounted.configure(after)
    mounted.restart()
    mounted.refresh()
    for name in cases:
        assert rows[kind, name] == IDENTITY
        has = mounted.read(name), mounted.xattr(name, "source_version")
        assert has != had[name], name


def test_a_store_of_version_0_1_keeps_what_it_has(mount, origin):
    """Its fingerprints hashed the options as they were written. They are replaced once."""
    text = hashlib.sha256(b"http\0url\0%b\0\nstall_timeout\0" b"60s\0\n" % origin.url("/t").encode())
    before = int.from_bytes(text.digest()[:8], "little", signed=True)
    origin.put("/t", BODY)
    config = f'term "t" {{ refresh_interval = never http {{ url = "{origin.url("/t")}" %s }} }}\n'
    mounted = mount(config % "stall_timeout = 60s")
    mounted.stop()
    with sqlite3.connect(os.path.join(mounted.store, "catalog.db")) as catalog:
        catalog.execute("UPDATE snapshot SET fingerprint = ?", (before,))
    catalog.close()
    origin.forget()

    mounted.start()
    mounted.refresh()
    assert [r.answer for r in origin.asked("/t")] == [304] * origin.count("/t") != []
    # From now on the new fingerprint counts.
    mounted.configure(config % "stall_timeout = 1m connect_timeout = 5s")
    mounted.restart()
    mounted.refresh()
    assert origin.count("/t", answer=200) == 0
