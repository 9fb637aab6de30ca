"""Options that an s3 block leaves out, from the environment and the files of the AWS tools."""

import os
import subprocess

import pytest
from origin import Origin, server_context
from rptmount import HANGS_S
from s3config import NOTHING, environment, profile, source, term

# What a fetcher does is the same in both publish modes.
pytestmark = pytest.mark.builds("plain", "asan", "tsan")

BODY = b"from the endpoint of the environment\n" * 100
REGION = "eu-west-1"
CONFIG = term(source("data", "t", region=REGION))


@pytest.fixture
def origins(servers):
    """Two services with the same object."""
    for _ in range(2):
        servers.append(Origin())
        servers[-1].put("/data/t", BODY)
    return servers[-2:]


def file(directory, name, text):
    path = os.path.join(directory, name)
    with open(path, "w", encoding="utf-8") as out:
        out.write(text)
    os.chmod(path, 0o644)
    return path


def answers(origin):
    return [request.answer for request in origin.asked("/data/t")]


def test_an_endpoint_of_the_environment_is_the_source(s3_mount, origins):
    """It is shown like the option, and is the same source as the option."""
    one, other = origins
    variable = {"AWS_ENDPOINT_URL_S3": one.url(""), "AWS_ENDPOINT_URL": other.url("")}
    m = s3_mount(CONFIG, env={**environment(), **variable})
    assert m.read("t") == BODY and answers(one) == [200] and answers(other) == []
    assert m.xattr("t", "source") == f"s3://data/t?endpoint={one.url('')}"

    del m.env["AWS_ENDPOINT_URL"], m.env["AWS_ENDPOINT_URL_S3"]
    m.configure(term(source("data", "t", one.url(""), region=REGION)))
    m.restart()
    m.refresh("t")
    assert answers(one) == [200] + [304] * (len(answers(one)) - 1) != [200]


def test_a_changed_endpoint_is_another_source(s3_mount, origins):
    """What one service called a version says nothing about another one."""
    one, other = origins
    m = s3_mount(CONFIG, env={**environment(), "AWS_ENDPOINT_URL": one.url("")})
    m.env["AWS_ENDPOINT_URL"] = other.url("")
    m.restart()
    m.refresh("t")
    assert answers(one) == [200] and answers(other)[0] == 200


def test_the_endpoint_survives_the_death_of_the_worker(s3_mount, origins):
    one, _ = origins
    m = s3_mount(CONFIG, env={**environment(), "AWS_ENDPOINT_URL": one.url("")})
    m.kill_worker()
    m.refresh("t")
    assert set(answers(one)) == {200, 304} and answers(one)[0] == 200


def test_services_of_a_profile_name_the_endpoint(s3_mount, origins, directory):
    one, other = origins
    text = (
        f"[profile local]\nservices = here\nendpoint_url = {other.url('')}\n"
        f"[services here]\ns3 =\n  endpoint_url = {one.url('')}\n"
    )
    env = {**environment(), "AWS_CONFIG_FILE": file(directory, "config", text)}
    m = s3_mount(CONFIG, env={**env, "AWS_PROFILE": "local"})
    assert m.read("t") == BODY and answers(one) == [200] and answers(other) == []


@pytest.mark.parametrize("place", ("variable", "profile"))
def test_the_ca_bundle_is_trusted(s3_mount, servers, certificates, directory, place):
    """Without it, the certificate is not. The helper opens the file for the worker."""
    servers.append(Origin(tls=server_context(certificates)))
    origin, ca = servers[-1], os.path.join(certificates, "ca.pem")
    origin.put("/data/t", BODY)
    config = term(source("data", "t", origin.url("", host="localhost"), region=REGION))
    m = s3_mount(config, expect=["term=t"])
    assert m.ls() == [] and m.kind("t") == "unreachable"
    if place == "variable":
        m.env["AWS_CA_BUNDLE"] = ca
    else:
        m.env["AWS_CONFIG_FILE"] = file(directory, "config", f"[default]\nca_bundle = {ca}\n")
    m.restart()
    m.refresh("t")
    assert m.read("t") == BODY


@pytest.mark.parametrize("setting, option", [("endpoint_url", "endpoint"), ("ca_bundle", "ca_file")])
def test_only_root_says_where_requests_go(build, directory, setting, option):
    """A file that others may change names neither hosts nor files for the helper to open."""
    value = "http://127.0.0.1:1" if option == "endpoint" else "/etc/ssl/certs/ca-certificates.crt"
    path = file(directory, "keys", profile() + f"{setting} = {value}\n")
    os.chown(path, 65534, 65534)
    given = {"region": REGION, "credentials_file": path}
    done = check(build, directory, source("data", "t", **given))
    assert done.returncode == 1
    assert f"{path}:4: {setting} (the option {option} would replace it)" in done.stderr
    assert "chown" in done.stderr
    assert check(build, directory, source("data", "t", **given, **{option: value})).returncode == 0
    os.chown(path, 0, 0)
    assert check(build, directory, source("data", "t", **given)).returncode == 0


def check(build, directory, block, *more, **env):
    path = file(directory, "rptfs.conf", term(block, options=""))
    return subprocess.run(
        [build.rptfs, "-c", path, *(more or ["--check-config"])],
        env={**os.environ, **NOTHING, **build.environment(directory), **env},
        capture_output=True,
        text=True,
        timeout=HANGS_S,
    )


def test_a_wrong_value_is_named_with_its_place(build, directory):
    block = source("data", "t", region=REGION)
    done = check(build, directory, block, AWS_ENDPOINT_URL="localhost:9000")
    line = os.path.join(directory, "rptfs.conf") + ":1: term \"t\": s3: "
    assert done.returncode == 1
    assert done.stderr == f"{line}AWS_ENDPOINT_URL: must begin with http:// or https://\n"
    config = file(directory, "config", "[default]\n\nuse_dualstack_endpoint = both\n")
    done = check(build, directory, block, AWS_CONFIG_FILE=config)
    assert done.returncode == 1 and f"{line}{config}:3: use_dualstack_endpoint: " in done.stderr


def test_what_counts_is_shown(build, directory):
    block = source("data", "t", region=REGION)
    shown = check(build, directory, block, "--show-config", AWS_ENDPOINT_URL="https://h.example/p")
    assert '\t\tendpoint = "https://h.example/p"\n' in shown.stdout
    shown = check(build, directory, block, "--show-config", AWS_USE_FIPS_ENDPOINT="true")
    assert "\t\tuse_fips_endpoint = true\n" in shown.stdout and "endpoint = \"" not in shown.stdout
