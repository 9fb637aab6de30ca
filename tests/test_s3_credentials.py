"""Where the s3 fetcher finds keys, in AWS's order; keys are shared, renewed, read again, and never
shown."""

import contextlib
import json
import os
import re
import time

import pytest
from awsiam import ROLE_ARN, Container, Imds, Sts
from awssign import Key
from rptmount import comm, session_processes, wait_for
from s3config import ACCESS_KEY, NOTHING, SECRET_KEY, environment, profile, source, term

# What a fetcher does is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

REGION = "eu-west-1"
FAILS = ["term=t"]
BODY = b"for those who have the key\n" * 100


@pytest.fixture
def bucket(aws):
    bucket = aws.bucket("data", REGION)
    bucket.put("t", BODY)
    return bucket


@pytest.fixture
def service(servers, aws):
    """A factory: service(Imds) starts a service whose keys aws accepts."""

    def make(kind, *also):
        servers.append(kind(aws, *also))
        return servers[-1]

    return make


@pytest.fixture
def home(directory):
    """A home directory; write(name, text) makes ~/.aws/NAME."""
    place = os.path.join(directory, "home", ".aws")
    os.makedirs(place)

    class Home:
        env = {**NOTHING, "HOME": os.path.dirname(place)}

        def at(self, name):
            return os.path.join(place, name)

        def write(self, name, text, mode=0o600):
            with open(self.at(name) + ".new", "w", encoding="utf-8") as file:
                file.write(text)
            os.chmod(self.at(name) + ".new", mode)
            os.rename(self.at(name) + ".new", self.at(name))
            return self.at(name)

    return Home()


def where(aws, **options):
    return term(source("data", "t", aws.url(""), region=REGION, **options))


def used_key(aws):
    """The access key of the last request."""
    return re.search(r"Credential=([^/]+)/", aws.requests[-1].headers["authorization"])[1]


def imds_env(imds):
    return {"AWS_EC2_METADATA_SERVICE_ENDPOINT": imds.url("/"), "AWS_EC2_METADATA_DISABLED": "false"}


# The order


def test_providers_are_asked_in_the_order_of_aws(s3_mount, aws, bucket, home, service):
    """Each place has keys; the first remaining one is used."""
    sts, container, imds = service(Sts), service(Container), service(Imds)
    aws.keys["AKIAINTHEFILES"] = Key("of-the-files")
    places = [
        environment(),
        {
            "AWS_WEB_IDENTITY_TOKEN_FILE": home.write("token", sts.identity_token),
            "AWS_ROLE_ARN": ROLE_ARN,
            "AWS_ENDPOINT_URL_STS": sts.url(""),
        },
        {"AWS_SHARED_CREDENTIALS_FILE": home.write("keys", profile("AKIAINTHEFILES", "of-the-files"))},
        {"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url("/v2/credentials")},
        {},
    ]
    for first in range(len(places)):
        env = {}
        for place in places[first:]:
            env.update(place)
        m = s3_mount(where(aws), env={**env, "HOME": "/nonexistent", **imds_env(imds)})
        assert m.read("t") == BODY
        expected = (
            lambda: ACCESS_KEY,
            lambda: sts.made[-1],
            lambda: "AKIAINTHEFILES",
            lambda: container.made[-1],
            lambda: imds.made[-1],
        )
        assert used_key(aws) == expected[first]()
        m.stop()
    assert [len(made.made) for made in (sts, container, imds)] == [1, 1, 1]


def test_a_named_profile_is_the_only_source_of_keys(s3_mount, aws, bucket, home):
    """A configured profile or file is used, or no keys at all: never those of another place."""
    home.write("credentials", profile())
    for options in ({"profile": "other"}, {"credentials_file": home.at("none")}):
        m = s3_mount(where(aws, **options), env={**home.env, **environment()}, expect=FAILS)
        assert m.ls() == [] and m.kind("t") == "denied" and not aws.requests


# Files


def test_files_of_the_home_directory_are_read(s3_mount, aws, bucket, home):
    home.write("credentials", f"# comment\n\n{profile(name='work')}[default]\n")
    home.write("config", f"[default]\nregion = us-east-1\n[profile work]\nregion={REGION}\n")
    m = s3_mount(
        term(source("data", "t", aws.url(""), profile="work")),
        env=home.env,
    )
    assert m.read("t") == BODY
    assert s3_mount(where(aws), env={**home.env, "AWS_PROFILE": "work"}).read("t") == BODY


def test_keys_in_the_config_file_are_used(s3_mount, aws, bucket, home):
    home.write("config", profile(name="profile work").replace(" = ", "   =  "))
    assert s3_mount(where(aws, profile="work"), env=home.env).read("t") == BODY


def test_the_credentials_directory_of_systemd_is_readable(s3_mount, aws, bucket, home):
    home.write("aws", profile())
    config = where(aws, credentials_file="FILE").replace("'FILE'", '"${CREDENTIALS_DIRECTORY}/aws"')
    m = s3_mount(config, env={**NOTHING, "CREDENTIALS_DIRECTORY": os.path.dirname(home.at("aws"))})
    assert m.read("t") == BODY


BROKEN = {
    "missing": None,
    "empty": "",
    "no such profile": "[other]\naws_access_key_id = A\n",
    "half a key": f"[default]\naws_access_key_id = {ACCESS_KEY}\n",
    "no section": profile().partition("\n")[2],
    "an unfinished section": "[default\naws_access_key_id = A\n",
    "not text": "\x01\x02\xff" * 100,
    "a secret with spaces": profile(secret_key="white space"),
    "a role without a source": f"[default]\nrole_arn = {ROLE_ARN}\n",
    "a circle": f"[default]\nrole_arn = {ROLE_ARN}\nsource_profile = b\n"
    f"[b]\nrole_arn = {ROLE_ARN}\nsource_profile = default\n",
    "an interactive login": "[default]\nsso_start_url = https://example.com\n",
}


@pytest.mark.parametrize("row", BROKEN)
def test_a_broken_file_is_denied_until_it_is_fixed(s3_mount, aws, bucket, home, row):
    if BROKEN[row] is not None:
        home.write("keys", BROKEN[row])
    m = s3_mount(where(aws, credentials_file=home.at("keys")), env=NOTHING, expect=FAILS)
    assert m.kind("t") == "denied" and not aws.requests and SECRET_KEY not in m.log()
    assert "white space" not in m.log()
    home.write("keys", profile())
    m.refresh("t")
    assert m.read("t") == BODY


def test_a_file_is_read_again_when_it_changes(s3_mount, aws, bucket, home):
    """No attempt fails, and the old key is not used again."""
    file = home.write("keys", profile())
    m = s3_mount(where(aws, credentials_file=file), env=NOTHING)
    aws.keys["AKIATHENEXT"] = Key("secret2")
    home.write("keys", profile("AKIATHENEXT", "secret2"))
    m.refresh("t")
    assert used_key(aws) == "AKIATHENEXT" and len(aws.requests) == 2


# Roles


def role(sts, **more):
    lines = {"role_arn": ROLE_ARN, "source_profile": "base", **more}
    return profile(name="base") + "[reader]\n" + "".join(f"{k} = {v}\n" for k, v in lines.items())


def test_a_role_uses_the_keys_of_its_source(s3_mount, aws, bucket, home, service):
    sts = service(Sts)
    sts.external_id = "of the trust policy"
    file = home.write(
        "keys", role(sts, external_id=sts.external_id, role_session_name="me@here", duration_seconds=900)
    )
    m = s3_mount(
        where(aws, credentials_file=file, profile="reader"),
        env={**NOTHING, "AWS_ENDPOINT_URL_STS": sts.url(""), "AWS_REGION": REGION},
    )
    assert m.read("t") == BODY and used_key(aws) == sts.made[0]
    assert b"RoleSessionName=me%40here" in sts.requests[0].body
    m.refresh("t")
    assert sts.count() == 1


def test_a_role_can_be_the_source_of_a_role(s3_mount, aws, bucket, home, service):
    sts = service(Sts)
    sts.services += (sts,)  # it accepts its own keys
    text = role(sts) + f"[second]\nrole_arn = {ROLE_ARN}\nsource_profile = reader\n"
    m = s3_mount(
        where(aws, credentials_file=home.write("keys", text), profile="second"),
        env={**NOTHING, "AWS_ENDPOINT_URL_STS": sts.url(""), "AWS_REGION": REGION},
    )
    assert m.read("t") == BODY and used_key(aws) == sts.made[1] and sts.count() == 2
    assert sts.requests[1].headers["x-amz-security-token"].startswith("token")


REFUSALS = {
    "not allowed": ({"external_id": "other"}, {}, "denied", "AccessDenied"),
    "a wrong region": ({}, {"AWS_REGION": "us-east-1"}, "denied", "SignatureDoesNotMatch"),
    "a bad duration": ({"duration_seconds": 1}, {}, "denied", "ValidationError"),
    "no server": ({}, {"AWS_ENDPOINT_URL_STS": "http://127.0.0.1:1"}, "unreachable", "AssumeRole"),
}


@pytest.mark.parametrize("row", REFUSALS)
def test_a_refused_role_is_an_error(s3_mount, aws, bucket, home, service, row):
    more, env, kind, word = REFUSALS[row]
    sts = service(Sts)
    m = s3_mount(
        where(aws, credentials_file=home.write("keys", role(sts, **more)), profile="reader"),
        env={**NOTHING, "AWS_ENDPOINT_URL_STS": sts.url(""), "AWS_REGION": REGION, **env},
        expect=FAILS,
    )
    assert m.kind("t") == kind and word in m.message() and not aws.requests


def test_a_wrong_clock_of_sts_is_corrected(s3_mount, aws, bucket, home, service):
    sts = service(Sts)
    sts.clock_ahead_s = 3600
    m = s3_mount(
        where(aws, credentials_file=home.write("keys", role(sts)), profile="reader"),
        env={**NOTHING, "AWS_ENDPOINT_URL_STS": sts.url(""), "AWS_REGION": REGION},
    )
    assert m.read("t") == BODY and sts.count() == 2


def test_a_profile_can_use_a_web_identity(s3_mount, aws, bucket, home, service):
    """The token is read anew for each request: it is short-lived."""
    sts = service(Sts)
    sts.lifetime_s = 2
    token = home.write("token", sts.identity_token + "\n")
    file = home.write("keys", f"[default]\nrole_arn={ROLE_ARN}\nweb_identity_token_file = {token}\n")
    m = s3_mount(
        where(aws, credentials_file=file), env={**NOTHING, "AWS_ENDPOINT_URL_STS": sts.url("")}
    )
    assert m.read("t") == BODY and "authorization" not in sts.requests[0].headers
    sts.identity_token = "the.next.token"
    home.write("token", sts.identity_token)
    before = refresh_with_expired_keys(m, aws, sts)
    assert used_key(aws) not in before and m.status("t")["failed_total"] == 0


def refresh_with_expired_keys(m, aws, service):
    """Refreshes when all keys have expired that the service has handed out; returns those."""
    before = list(service.made)
    wait_for(lambda: all(aws.keys[key].expires < time.time() for key in before), "the keys to expire")
    m.refresh("t")
    return before


# Containers and machines


def test_a_container_endpoint_has_keys(s3_mount, aws, bucket, home, service):
    container = service(Container)
    container.token, container.lifetime_s = "Bearer one", 2
    env = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url("/v2/credentials"),
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE": home.write("token", "Bearer one"),
    }
    m = s3_mount(where(aws), env={**home.env, **env})
    assert m.read("t") == BODY and used_key(aws) in container.made
    container.token = "Bearer two"
    home.write("token", "Bearer two")
    before = refresh_with_expired_keys(m, aws, container)
    assert used_key(aws) not in before and m.status("t")["failed_total"] == 0


def test_a_container_token_is_sent_to_this_machine_only(s3_mount, aws, bucket, home, origin):
    env = {
        "AWS_CONTAINER_CREDENTIALS_FULL_URI": "http://192.0.2.1/v2/credentials",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN": "s3cret",
    }
    m = s3_mount(where(aws), env={**home.env, **env}, expect=FAILS)
    assert m.kind("t") == "denied" and "AWS_CONTAINER_CREDENTIALS_FULL_URI" in m.message()


def test_the_metadata_service_has_keys(s3_mount, aws, bucket, home, service):
    """IMDSv2: token, role, keys; requested once for all terms."""
    imds = service(Imds)
    config = "".join(
        term(source("data", "t", aws.url(""), region=REGION), name=f"t{i}") for i in range(50)
    )
    m = s3_mount(config, env={**home.env, **imds_env(imds)})
    assert all(m.read(f"t{i}") == BODY for i in range(50))
    assert [request.method for request in imds.requests] == ["PUT", "GET", "GET"]
    m.refresh()
    assert len(imds.requests) == 3


def test_keys_are_renewed_before_they_expire(s3_mount, aws, bucket, home, service):
    """No request is refused because they have expired."""
    imds = service(Imds)
    imds.lifetime_s = 10
    m = s3_mount(where(aws).replace("10m", "100ms"), env={**home.env, **imds_env(imds)})
    wait_for(lambda: len(imds.made) >= 3, "the keys to be renewed twice")
    assert m.status("t")["failed_total"] == 0 and aws.count(code="ExpiredToken") == 0


def test_a_machine_without_a_role_has_no_keys(s3_mount, aws, bucket, home, service):
    imds = service(Imds)
    imds.role = None
    m = s3_mount(where(aws), env={**home.env, **imds_env(imds)}, expect=FAILS)
    assert m.kind("t") == "denied" and not aws.requests
    assert "no credentials" in m.message()
    imds.role = "now-there-is-one"
    wait_for(lambda: m.run_rpt("refresh", "--wait", "t").returncode == 0, "the role", pause=0.5)
    assert m.read("t") == BODY


def test_a_failing_metadata_service_is_an_error(s3_mount, aws, bucket, home, service):
    imds = service(Imds)
    imds.always("/latest/api/token", lambda x: x.answer(500))
    m = s3_mount(where(aws), env={**home.env, **imds_env(imds)}, expect=FAILS)
    assert m.kind("t") in ("busy", "unreachable") and not aws.requests


def test_invalid_answers_of_the_metadata_service_are_errors(s3_mount, aws, bucket, home, service):
    imds = service(Imds)
    said = iter([b"", b"{", b"[]", b"{}", b'{"Code":"Failed","Message":"no"}', b'{"AccessKeyId":1}',
                 b'{"AccessKeyId":"A\\nX-Evil: 1","SecretAccessKey":"s","Token":"t","Expiration":"never"}',
                 b"x" * 1_000_000])  # fmt: skip
    imds.always(imds.prefix + imds.role, lambda x: x.answer(200, {}, next(said, b"{}")))
    for _ in range(8):
        m = s3_mount(where(aws), env={**home.env, **imds_env(imds)}, expect=FAILS)
        assert m.ls() == [] and m.status("t")["last_error"] and not aws.requests
        m.stop()


def test_keys_that_the_service_calls_expired_are_renewed(s3_mount, aws, bucket, home, service):
    """They were to last an hour, but the service says that they have expired: others are fetched at
    once."""
    container = service(Container)
    env = {"AWS_CONTAINER_CREDENTIALS_FULL_URI": container.url("/v2/credentials")}
    m = s3_mount(where(aws), env={**home.env, **env})
    aws.keys[container.made[0]].expires = 0
    m.refresh("t")
    assert [request.code for request in aws.requests] == [None, "ExpiredToken", None]
    assert m.status("t")["failed_total"] == 0 and used_key(aws) == container.made[1]
    del aws.keys[container.made[1]]
    container.always("/v2/credentials", lambda x: x.answer(500))
    m.expect("term=t")
    m.refresh("t", ok=False)
    assert m.read("t") == BODY


# Programs


def program(home, text):
    return home.write("program", f"#!/bin/sh\n{text}\n", mode=0o700)


def answer(access_key=ACCESS_KEY, **more):
    keys = {"Version": 1, "AccessKeyId": access_key, "SecretAccessKey": SECRET_KEY, **more}
    return f"cat <<'END'\n{json.dumps(keys)}\nEND"


def test_a_credential_process_returns_keys(s3_mount, aws, bucket, home):
    """It has the rights of the user who started rptfs, and its arguments as they are written."""
    log = home.at("calls")
    path = program(home, f'echo "$(id -u) $#:$*" >>{log}\n{answer()}')
    file = home.write("keys", f'[default]\ncredential_process = {path} one "two words" three\n')
    m = s3_mount(where(aws, credentials_file=file), env=NOTHING)
    assert m.read("t") == BODY
    m.refresh("t")
    with open(log, encoding="utf-8") as calls:
        assert calls.read().splitlines() == [f"{os.getuid()} 3:one two words three"]
    assert SECRET_KEY not in m.log()


def test_a_credential_process_runs_again_in_time(s3_mount, aws, bucket, home):
    log = home.at("calls")
    soon = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 2))
    path = program(home, f"echo >>{log}\n{answer(Expiration=soon)}")
    file = home.write("keys", f"[default]\ncredential_process = {path}\n")
    m = s3_mount(where(aws, credentials_file=file).replace("10m", "200ms"), env=NOTHING)
    wait_for(lambda: os.path.getsize(log) >= 2, "the second call")
    assert m.status("t")["failed_total"] == 0


PROGRAMS = {
    "fails": "echo the reason >&2; exit 3",
    "prints nothing": "true",
    "prints no JSON": "echo s3cret",
    "prints another version": answer(Version=2),
    "prints no key": 'echo \'{"Version": 1}\'',
    "prints too much": "head -c 1000000 /dev/zero",
}


@pytest.mark.parametrize("row", [*PROGRAMS, "is missing"])
def test_a_failing_credential_process_is_an_error(s3_mount, aws, bucket, home, row):
    path = program(home, PROGRAMS[row]) if row in PROGRAMS else home.at("none")
    file = home.write("keys", f"[default]\ncredential_process = {path}\n")
    m = s3_mount(where(aws, credentials_file=file), env=NOTHING, expect=[*FAILS, "^the reason$"])
    assert m.kind("t") == "denied" and "credential_process" in m.message() and not aws.requests
    assert "s3cret" not in m.log() + m.rpt("status", "--json")
    assert row != "fails" or "the reason\n" in m.log(), "its standard error is in the log"
    program(home, answer())
    home.write("keys", f"[default]\ncredential_process = {home.at('program')}\n")
    m.refresh("t")
    assert m.read("t") == BODY


def test_sigterm_ends_a_credential_process(s3_mount, aws, bucket, home):
    """Its children end as well."""
    log = home.at("calls")
    path = program(home, f"echo >>{log}\nsleep 1000 & sleep 1000")
    file = home.write("keys", f"[default]\ncredential_process = {path}\n")
    m = s3_mount(where(aws, credentials_file=file), env=NOTHING, wait=False)
    wait_for(lambda: os.path.exists(log), "the program to run")
    m.stop()  # asserts that it ends by itself and leaves nothing


def names(m):
    return {comm(pid) for pid in session_processes(m.process.pid)}


def test_the_helper_runs_only_when_needed(s3_mount, aws, bucket, home):
    m = s3_mount('term "t" { static { data = "x" } }\n', env=NOTHING)
    assert "rptfs-helper" not in names(m)
    path = program(home, answer())
    file = home.write("keys", f"[default]\ncredential_process = {path}\n")
    m = s3_mount(where(aws, credentials_file=file), env=NOTHING)
    assert m.read("t") == BODY and "rptfs-helper" in names(m)


# Secrets in memory


def regions(pid):
    """The regions of a process's memory: begin, end, rights and VmFlags."""
    with open(f"/proc/{pid}/smaps", encoding="utf-8") as file:
        for line in file:
            if match := re.match(r"([0-9a-f]+)-([0-9a-f]+) (\S+)", line):
                begin, end, rights = int(match[1], 16), int(match[2], 16), match[3]
            elif line.startswith("VmFlags:"):
                yield begin, end, rights, line.split()[1:]


def places_of(pid, secret):
    """The VmFlags of the regions that hold the secret."""
    found = []
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as memory:
        for begin, end, rights, flags in regions(pid):
            if rights.startswith("rw") and "io" not in flags:
                memory.seek(begin)
                try:
                    if secret in memory.read(end - begin):
                        found.append(flags)
                except OSError:
                    pass
    return found


def test_secrets_are_neither_swapped_nor_dumped(build, s3_mount, aws, bucket, home):
    """After some use the secret key is only in locked memory that is left out of core dumps."""
    if build.sanitized:
        pytest.skip("sanitizers keep copies of memory")
    file = home.write("keys", profile())
    m = s3_mount(where(aws, credentials_file=file), env=NOTHING)
    for _ in range(3):
        m.refresh("t")
    held = []
    for pid in session_processes(m.process.pid):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # it may have ended
            held += places_of(pid, SECRET_KEY.encode())
    assert held, "the secret is in memory"
    assert all("dd" in flags and "lo" in flags for flags in held)
