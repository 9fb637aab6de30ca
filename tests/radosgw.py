"""Ceph radosgw: a real S3 service (with STS and IAM) for the tests, in memory, on loopback.

One monitor, one OSD that keeps everything in memory, one radosgw; ready in three seconds, without
systemd and without a block device. All processes of a test run share one:

    server = radosgw.share(directory)      # starts it, or joins the one that runs
    bucket = server.bucket(versioned=True)
    bucket.put("key", b"body")
    server.release()                       # the last user's release ends it

A separate process runs the daemons. Each user holds the writing end of a FIFO open, so that the
kernel counts the users, even those that crash: when the last one has gone, the process kills the
daemons and removes the directory.
"""

import contextlib
import fcntl
import glob
import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import time
import uuid
from urllib.request import urlopen

from botocore.config import Config
from botocore.session import Session
from origin import Port
from rptmount import HANGS_S
from s3config import ACCESS_KEY, SECRET_KEY
from servers import make_certificates

REGION = "us-east-1"
# Bucket names for virtual-host style over TLS have to stand in the certificate.
TLS_BUCKET = "in-the-certificate"

# The directory of the OSD's plug-ins: the default of Ceph 18 is relative to the current directory.
CLASSES = glob.glob("/usr/lib/*/rados-classes") or ["/usr/lib/rados-classes"]

# Without "ms mon client mode" radosgw hangs once authentication is off; without "paxos propose
# interval" the start takes 12 s. With the usual heartbeat grace (20 s) the OSD's lease on its only
# copy ends while the machine stalls, and afterwards requests may wait for ever.
CONF = """
[global]
fsid = {fsid}
mon host = v2:127.0.0.1:{mon_port}
public network = 127.0.0.0/8
ms bind ipv6 = false
ms bind msgr1 = false
ms mon client mode = crc secure
auth cluster required = none
auth service required = none
auth client required = none
paxos propose interval = 0.05
mon data = {dir}/mon
mon allow pool size one = true
osd data = {dir}/osd
osd objectstore = memstore
memstore device bytes = 17179869184
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 1
osd pool default pgp num = 1
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
osd heartbeat grace = 3600
osd client watch timeout = 3600
osd op thread suicide timeout = 0
osd class load list = *
osd class default list = *
osd class dir = {classes}
rgw data = {dir}/rgw
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1 ssl_endpoint=127.0.0.1:{tls_port} ssl_certificate={dir}/server.pem ssl_private_key={dir}/server.key
rgw dns name = localhost
rgw thread pool size = 32
rgw sts key = sixteencharacter
rgw s3 auth use sts = true
rgw crypt require ssl = false
run dir = {dir}
crash dir = {dir}
keyring = {dir}/none
admin socket =
pid file =
log file =
log to stderr = true
"""


# The process that runs the daemons


class Cluster:
    """The daemons, children of this process; they die with it, however it ends."""

    def __init__(self, place):
        self.dir, self.daemons = place, []
        os.makedirs(place)
        self.conf = os.path.join(place, "ceph.conf")
        self.ports = [Port() for _ in range(3)]
        self.port, self.tls_port, self.mon_port = (port.number for port in self.ports)

    def start(self):
        fsid, osd = str(uuid.uuid4()), str(uuid.uuid4())
        for name in ("mon", "osd", "rgw"):
            os.mkdir(os.path.join(self.dir, name))
        make_certificates(self.dir, ["localhost", f"{TLS_BUCKET}.localhost"])
        with open(self.conf, "w", encoding="ascii") as file:
            file.write(
                CONF.format(
                    dir=self.dir,
                    fsid=fsid,
                    classes=CLASSES[0],
                    mon_port=self.mon_port,
                    port=self.port,
                    tls_port=self.tls_port,
                )
            )
        monmap = os.path.join(self.dir, "monmap")
        self.run("monmaptool", "--create", "--enable-all-features", "--fsid", fsid,
                 "--addv", "a", f"[v2:127.0.0.1:{self.mon_port}]", monmap)  # fmt: skip
        self.run("ceph-mon", "--mkfs", "-i", "a", "--monmap", monmap)
        self.daemon("ceph-mon", "-i", "a")
        self.run("ceph", "osd", "new", osd)
        self.run("ceph-osd", "--mkfs", "-i", "0", "--osd-uuid", osd)
        self.daemon("ceph-osd", "-i", "0")
        self.daemon("radosgw", "-n", "client.rgw")
        self.wait()
        self.run("radosgw-admin", "user", "create", "--uid=owner", "--display-name=owner",
                 f"--access-key={ACCESS_KEY}", f"--secret-key={SECRET_KEY}",
                 "--caps=roles=*;user-policy=*")  # fmt: skip

    def run(self, program, *arguments):
        done = subprocess.run(
            [program, "-c", self.conf, *arguments] if program != "monmaptool" else [program, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=HANGS_S,
        )  # fmt: skip
        if done.returncode:
            raise RuntimeError(f"{program} {' '.join(arguments)}: {done.stdout}{done.stderr}")

    def daemon(self, program, *arguments):
        line = ["setpriv", "--pdeathsig", "KILL", program, "-f", "-c", self.conf, *arguments]
        self.daemons.append(subprocess.Popen(line, stdin=subprocess.DEVNULL, cwd=self.dir))

    def wait(self):
        until = time.monotonic() + HANGS_S
        while True:
            for daemon in self.daemons:
                if daemon.poll() is not None:
                    raise RuntimeError(f"{' '.join(daemon.args[3:])}: exit {daemon.returncode}")
            with contextlib.suppress(OSError):
                urlopen(f"http://127.0.0.1:{self.port}/", timeout=HANGS_S).close()
                return
            if time.monotonic() > until:
                raise RuntimeError("radosgw does not answer")
            time.sleep(0.02)

    def close(self):
        """Kills the daemons; they have nothing to save."""
        for daemon in reversed(self.daemons):
            daemon.kill()
            daemon.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


@contextlib.contextmanager
def locked(place):
    with open(os.path.join(place, "lock"), "w", encoding="ascii") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def watch(place, users):
    """Runs the daemons as long as a process holds the other end of `users`."""
    said = os.path.join(place, "said.json")
    cluster = Cluster(os.path.join(place, f"cluster.{os.getpid()}"))
    try:
        cluster.start()
        with open(said + ".new", "w", encoding="ascii") as file:
            json.dump({"dir": cluster.dir, "port": cluster.port, "tls_port": cluster.tls_port}, file)
        os.rename(said + ".new", said)
        poll = select.poll()
        poll.register(users, 0)  # POLLHUP is always reported
        while True:
            poll.poll()
            with locked(place):  # no other run can join now
                if poll.poll(0):
                    os.unlink(said)
                    os.close(users)
                    return
    finally:
        cluster.close()


# For the tests


def share(place):
    os.makedirs(place, exist_ok=True)
    with locked(place):
        fifo = os.path.join(place, "users")
        try:
            mine = os.open(fifo, os.O_WRONLY | os.O_NONBLOCK)
        except OSError:  # there is no FIFO, or no reader
            mine = _start(place, fifo)
        with open(os.path.join(place, "said.json"), encoding="ascii") as file:
            return Radosgw(mine, **json.load(file))


def _start(place, fifo):
    if not os.path.exists(fifo):
        os.mkfifo(fifo)
    theirs = os.open(fifo, os.O_RDONLY | os.O_NONBLOCK)
    mine = os.open(fifo, os.O_WRONLY)
    log_path = os.path.join(place, "log")
    with open(log_path, "ab") as log:
        watcher = subprocess.Popen(
            [sys.executable, os.path.abspath(__file__), place, str(theirs)],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log, pass_fds=[theirs],
            start_new_session=True,
        )  # fmt: skip
    os.close(theirs)
    while not os.path.exists(os.path.join(place, "said.json")):
        if watcher.poll() is not None:
            with open(log_path, encoding="utf-8", errors="replace") as log:
                raise RuntimeError(f"radosgw did not start:\n{log.read()[-4000:]}")
        time.sleep(0.02)
    return mine


class Radosgw:
    """The service, for one process of the tests."""

    numbers = itertools.count()

    def __init__(self, users, dir, port, tls_port):
        self.users, self.dir, self.port, self.tls_port = users, dir, port, tls_port
        self.ca_file = os.path.join(dir, "ca.pem")
        self.session = None
        self.clients = {}

    def release(self):
        os.close(self.users)

    def url(self, host="127.0.0.1", tls=False):
        return f"https://{host}:{self.tls_port}" if tls else f"http://{host}:{self.port}"

    def client(self, service="s3", keys=(ACCESS_KEY, SECRET_KEY)):
        """A botocore client; keys: access key, secret key and perhaps session token."""
        if (service, keys) not in self.clients:
            self.session = self.session or Session()
            access_key, secret_key, token = (*keys, None)[:3]
            self.clients[service, keys] = self.session.create_client(
                service,
                REGION,
                endpoint_url=self.url(),
                aws_access_key_id=access_key,
                aws_secret_access_key=secret_key,
                aws_session_token=token,
                config=Config(
                    s3={"addressing_style": "path", "payload_signing_enabled": False},
                    retries={"max_attempts": 0},
                    read_timeout=HANGS_S,
                ),
            )
        return self.clients[service, keys]

    def admin(self, *arguments):
        """radosgw-admin: users and keys."""
        return subprocess.run(
            ["radosgw-admin", "-c", os.path.join(self.dir, "ceph.conf"), *arguments],
            check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=HANGS_S,
        )  # fmt: skip

    def user(self):
        """Another user, without any right to the owner's buckets: name, access key, secret."""
        name = self.unique("user")
        access_key, secret_key = f"AKIA{name}", f"secret-{name}"
        self.admin("user", "create", f"--uid={name}", f"--display-name={name}",
                   f"--access-key={access_key}", f"--secret-key={secret_key}")  # fmt: skip
        return name, access_key, secret_key

    def unique(self, kind):
        return f"{kind}-{os.getpid()}-{next(self.numbers)}"

    def bucket(self, name=None, versioned=False):
        bucket = Bucket(self.client(), name or self.unique("bucket"))
        self.client().create_bucket(Bucket=bucket.name)
        if versioned:
            self.client().put_bucket_versioning(
                Bucket=bucket.name, VersioningConfiguration={"Status": "Enabled"}
            )
        return bucket


class Bucket:
    def __init__(self, client, name):
        self.client, self.name = client, name

    def put(self, key, body, **more):
        """Returns the ETag without its quotes."""
        return self.client.put_object(Bucket=self.name, Key=key, Body=body, **more)["ETag"].strip('"')

    def put_parts(self, key, *parts):
        """A multipart upload; each part but the last of 5 MiB at least. Returns the ETag."""
        which = {"Bucket": self.name, "Key": key}
        which["UploadId"] = self.client.create_multipart_upload(**which)["UploadId"]
        done = [
            {"PartNumber": n, "ETag": self.client.upload_part(PartNumber=n, Body=part, **which)["ETag"]}
            for n, part in enumerate(parts, 1)
        ]
        self.client.complete_multipart_upload(MultipartUpload={"Parts": done}, **which)
        return self.head(key)["ETag"].strip('"')  # the answer above does not hold it

    def copy(self, key, source):
        """Replaces key by the content of another key of the bucket, within the service."""
        where = {"Bucket": self.name, "Key": source}
        self.client.copy_object(Bucket=self.name, Key=key, CopySource=where)

    def delete(self, key):
        self.client.delete_object(Bucket=self.name, Key=key)

    def head(self, key, **more):
        return self.client.head_object(Bucket=self.name, Key=key, **more)


if __name__ == "__main__":
    watch(sys.argv[1], int(sys.argv[2]))
