"""Tests of the servers that imitate AWS, with botocore as the client: they accept and refuse the same
requests as AWS. The tests of rptfs rely on this."""

import time
from urllib.request import Request, urlopen

import pytest
from awsiam import ROLE_ARN, Container, Imds, Sts
from awslike import AwsLike, slow_down
from awssign import Key
from botocore.config import Config
from botocore.exceptions import ClientError
from botocore.session import Session
from botocore.utils import ContainerMetadataFetcher, InstanceMetadataFetcher
from s3config import ACCESS_KEY, SECRET_KEY


@pytest.fixture(scope="module")
def session():
    return Session()


@pytest.fixture
def aws(servers):
    servers.append(AwsLike())
    servers[-1].bucket("data").put("key", b"body")
    return servers[-1]


@pytest.fixture
def client(session):
    def make(service, server, access_key=ACCESS_KEY, secret=SECRET_KEY, token=None, region="eu-west-1", **s3):
        return session.create_client(
            service,
            region,
            endpoint_url=server.url(""),
            aws_access_key_id=access_key,
            aws_secret_access_key=secret,
            aws_session_token=token,
            config=Config(retries={"max_attempts": 0}, s3={"addressing_style": "path", **s3}),
        )

    return make


def refused(call, **arguments):
    with pytest.raises(ClientError) as caught:
        call(**arguments)
    response = caught.value.response
    return response["ResponseMetadata"]["HTTPStatusCode"], response["Error"]["Code"]


def test_objects_and_conditions_work(aws, client):
    s3 = client("s3", aws)
    got = s3.get_object(Bucket="data", Key="key")
    assert got["Body"].read() == b"body"
    which = {"Bucket": "data", "Key": "key"}
    assert refused(s3.get_object, **which, IfNoneMatch=got["ETag"]) == (304, "304")
    assert aws.requests[-1].answer == 304
    assert refused(s3.get_object, **which, IfMatch='"other"') == (412, "PreconditionFailed")
    assert s3.get_object(**which, Range="bytes=1-2")["Body"].read() == b"od"
    assert refused(s3.get_object, **which, Range="bytes=4-") == (416, "InvalidRange")
    assert refused(s3.get_object, Bucket="data", Key="other") == (404, "NoSuchKey")
    assert refused(s3.get_object, Bucket="other", Key="key") == (404, "NoSuchBucket")
    aws.then("/data/key", slow_down())
    assert refused(s3.get_object, **which) == (503, "SlowDown")


def test_versions_and_delete_markers_work(aws, client):
    s3, bucket = client("s3", aws), aws.buckets["data"]
    first = bucket.objects["key"][0].version_id
    marker = bucket.delete("key").version_id
    which = {"Bucket": "data", "Key": "key"}
    assert refused(s3.get_object, **which) == (404, "NoSuchKey")
    assert refused(s3.get_object, **which, VersionId=marker) == (405, "MethodNotAllowed")
    assert refused(s3.get_object, **which, VersionId="v9") == (404, "NoSuchVersion")
    assert s3.get_object(**which, VersionId=first)["Body"].read() == b"body"


@pytest.mark.parametrize("name", ["crc32", "crc32c", "sha1", "sha256"])
def test_checksums_are_sent(aws, client, name):
    """botocore checks checksums of whole objects; Debian's does not support CRC-64."""
    aws.buckets["data"].put("key", b"123456789" * 100, checksum=name)
    got = client("s3", aws).get_object(Bucket="data", Key="key", ChecksumMode="ENABLED")
    if name != "crc32c":  # botocore needs another library for it
        assert got["Body"].read() == b"123456789" * 100
    assert got[f"Checksum{name.upper()}"]


def test_parts_can_be_requested(aws, client):
    aws.buckets["data"].put("key", b"", parts=[b"a" * 10, b"b" * 10, b"c"], checksum="crc32", composite=True)
    s3 = client("s3", aws)
    head = s3.head_object(Bucket="data", Key="key", PartNumber=2)
    assert head["ContentLength"] == 10 and head["PartsCount"] == 3
    whole = s3.head_object(Bucket="data", Key="key", ChecksumMode="ENABLED")
    assert whole["ChecksumCRC32"].endswith("-3") and whole["ETag"].endswith('-3"')


def test_wrong_signatures_are_refused(aws, client):
    which = {"Bucket": "data", "Key": "key"}
    get = {
        "secret": client("s3", aws, secret="wrong").get_object,
        "key": client("s3", aws, access_key="AKIAOTHER").get_object,
        "region": client("s3", aws, region="eu-north-1").get_object,
        "token": client("s3", aws, token="none").get_object,
    }
    assert refused(get["secret"], **which) == (403, "SignatureDoesNotMatch")
    assert refused(get["key"], **which) == (403, "InvalidAccessKeyId")
    assert refused(get["token"], **which) == (400, "InvalidToken")
    aws.buckets["data"].elsewhere = (400, "Region")
    assert get["region"](**which)["ETag"]  # botocore retries with the right one
    assert aws.count("/data/key", code="AuthorizationHeaderMalformed") == 1
    aws.clock_ahead_s = 1000
    assert refused(client("s3", aws).get_object, **which) == (403, "RequestTimeTooSkewed")
    aws.clock_ahead_s = 0
    aws.keys["ASIA"] = Key("secret", "token", time.time() + 100)
    assert client("s3", aws, "ASIA", "secret", "token").get_object(**which)["ETag"]
    assert refused(client("s3", aws, "ASIA", "secret").get_object, **which) == (403, "InvalidAccessKeyId")
    aws.keys["ASIA"].expires = time.time()
    assert refused(client("s3", aws, "ASIA", "secret", "token").get_object, **which) == (400, "ExpiredToken")


@pytest.mark.parametrize("key", ["a b+c", "%41//x/../y", "~ü?#&=", "x" * 1024], ids=repr)
def test_odd_keys_are_signed_correctly(aws, client, key):
    aws.buckets["data"].put(key, b"odd")
    assert client("s3", aws).get_object(Bucket="data", Key=key)["Body"].read() == b"odd"


def test_sse_c_keys_are_checked(aws, client):
    aws.buckets["data"].put("secret", b"body", sse_key=b"k" * 32)
    s3, which = client("s3", aws), {"Bucket": "data", "Key": "secret"}
    assert refused(s3.get_object, **which) == (400, "InvalidRequest")
    given = {"SSECustomerAlgorithm": "AES256", "SSECustomerKey": b"k" * 32}
    assert s3.get_object(**which, **given)["Body"].read() == b"body"
    given["SSECustomerKey"] = b"x" * 32
    assert refused(s3.get_object, **which, **given) == (403, "AccessDenied")


def test_sts_returns_keys_of_a_role(aws, client, servers):
    servers.append(sts := Sts(aws))
    asked = client("sts", sts)
    made = asked.assume_role(RoleArn=ROLE_ARN, RoleSessionName="me")["Credentials"]
    s3 = client("s3", aws, made["AccessKeyId"], made["SecretAccessKey"], made["SessionToken"])
    assert s3.get_object(Bucket="data", Key="key")["ETag"]
    web = asked.assume_role_with_web_identity
    who = {"RoleArn": ROLE_ARN, "RoleSessionName": "me"}
    assert web(**who, WebIdentityToken=sts.identity_token)["Credentials"]["SessionToken"]
    assert refused(web, **who, WebIdentityToken="other") == (400, "InvalidIdentityToken")
    wrong = client("sts", sts, secret="wrong")
    assert refused(wrong.assume_role, **who) == (403, "SignatureDoesNotMatch")
    who["RoleArn"] = "arn:aws:iam::1:role/other"
    assert refused(asked.assume_role, **who) == (403, "AccessDenied")


def test_imds_returns_keys(aws, servers):
    """The client is that of botocore."""
    servers.append(imds := Imds(aws))
    config = {"ec2_metadata_service_endpoint": imds.url("/")}
    found = InstanceMetadataFetcher(config=config).retrieve_iam_role_credentials()
    assert found["access_key"] == imds.made[0] and found["token"]
    with pytest.raises(OSError, match="401"):
        urlopen(imds.url(imds.prefix))
    with pytest.raises(OSError, match="400"):
        urlopen(Request(imds.url("/latest/api/token"), method="PUT"))


def test_the_container_endpoint_returns_keys(aws, servers):
    servers.append(container := Container(aws))
    container.token = "Basic abc"
    url = container.url("/v2/credentials")
    found = ContainerMetadataFetcher().retrieve_full_uri(url, {"Authorization": "Basic abc"})
    assert found["AccessKeyId"] == container.made[0]
    with pytest.raises(OSError, match="403"):
        urlopen(url)
