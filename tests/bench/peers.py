"""The programs that rptfs is compared with. Each mounts remote data, with the best caching that it
offers ("warm") and, to measure updates, with the most frequent checks that it offers ("fresh").
Everything runs on loopback. Each peer is stopped by its unmount, or else by its pid.
"""

import json
import os
import shutil
import subprocess
from base64 import b64encode
from urllib.parse import quote

import s3config
from rptmount import mounts, wait_for

HOUR_S = 3600
FOREVER = f"attr_timeout={HOUR_S},entry_timeout={HOUR_S}"
NEVER = "attr_timeout=0,entry_timeout=0"


# Where the peers find their data; each replaces a file as a whole


class LocalOrigin:
    def __init__(self, directory):
        self.directory = directory
        os.makedirs(directory, exist_ok=True)

    def at(self, name):
        return os.path.join(self.directory, name)

    def put(self, name, body):
        path = self.at(name)
        with open(path + ".new", "wb") as file:
            file.write(body)
            file.flush()
            os.fsync(file.fileno())
        os.rename(path + ".new", path)


class HttpOrigin:
    def __init__(self, nginx):
        self.nginx = nginx
        self.second = 1_000_000_000

    def put(self, name, body):
        """Sets a different mtime: nginx tells versions apart by size and second."""
        path = f"{self.nginx.root}/{name}"
        with open(path + ".new", "wb") as file:
            file.write(body)
        self.second += 10
        os.utime(path + ".new", (self.second, self.second))
        os.rename(path + ".new", path)

    def url(self, name=""):
        return self.nginx.url("/" + name)


class S3Origin:
    def __init__(self, service):
        self.service, self.bucket = service, service.bucket()

    def put(self, name, body):
        """With an xattr in the form that s3fs stores."""
        xattr = quote(json.dumps({"user.rpt.version": b64encode(b"0123456789abcdef").decode()}))
        self.bucket.put(name, body, Metadata={"xattr": xattr})


# The peers


class Peer:
    """label: the name in tables; program: the executable; origin: the kind of its data; modes: the
    ways to mount it. One object is one mount."""

    label = program = origin = None
    modes = ("warm", "fresh")

    @classmethod
    def missing(cls):
        """Returns why it cannot be measured here, or None."""
        return None if shutil.which(cls.program) else f"no program {cls.program}"

    @classmethod
    def version(cls):
        done = subprocess.run(
            ["dpkg-query", "-W", "-f", "${Version}", cls.program], capture_output=True, text=True
        )
        return done.stdout.strip()

    def __init__(self, place, origin, mode):
        self.source, self.mode = origin, mode
        self.dir = os.path.join(place, f"{self.label.replace(' ', '-')}.{mode}")
        self.path = os.path.join(self.dir, "mnt")
        self.process = None

    def options(self):
        """The options on the command line that control caching."""
        raise NotImplementedError

    def command(self):
        """The command line of a process that stays in the foreground."""
        raise NotImplementedError

    def environment(self):
        return {"PATH": os.environ["PATH"], "HOME": self.dir, "LC_ALL": "C.UTF-8"}

    def at(self, name):
        return os.path.join(self.path, name)

    def start(self):
        os.makedirs(self.path)
        with open(os.path.join(self.dir, "log"), "wb") as log:
            self.process = subprocess.Popen(
                self.command(), stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=self.dir,
                env=self.environment(), start_new_session=True,
            )  # fmt: skip
        try:
            wait_for(self._is_up, f"{self.label} to mount", 20)
        except AssertionError as error:
            self.stop()
            raise RuntimeError(f"{error}\n{self.log_end()}") from None
        return self

    def _is_up(self):
        if self.process.poll() is not None:
            raise AssertionError(f"{self.label} ended with {self.process.returncode}")
        return self.path in mounts()

    def log_end(self):
        with open(os.path.join(self.dir, "log"), encoding="utf-8", errors="replace") as log:
            return log.read()[-2000:]

    def kill(self):
        """Aborts the connection: pending requests fail with an error."""
        if self.process and self.process.poll() is None:
            self.process.kill()

    def stop(self):
        if self.process is None:
            return
        if self.path in mounts():
            subprocess.run(["fusermount3", "-u", "-z", self.path], capture_output=True)
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(5)
        while self.path in mounts():
            if subprocess.run(["umount", "-l", self.path], capture_output=True).returncode:
                break
        self.process = None


class Bindfs(Peer):
    """The cost of a FUSE file system that only passes requests on."""

    label, program, origin = "bindfs", "bindfs", "local"

    def options(self):
        fuse = f"kernel_cache,{FOREVER}" if self.mode == "warm" else NEVER
        return ["--multithreaded", "-o", fuse]

    def command(self):
        return ["bindfs", "-f", *self.options(), self.source.directory, self.path]


class Rclone(Peer):
    program = "rclone"

    def options(self):
        if self.mode == "warm":
            hour = f"{HOUR_S}s"
            times = ["--attr-timeout", hour, "--dir-cache-time", hour, "--vfs-cache-max-age", hour]
            return ["--vfs-cache-mode", "full", *times]
        return ["--vfs-cache-mode", "off", "--attr-timeout", "1ns", "--dir-cache-time", "1ns"]

    def command(self):
        line = ["rclone", "--config", "", "mount", "--read-only", "--poll-interval", "0"]
        line += ["--cache-dir", os.path.join(self.dir, "cache")]
        return [*line, *self.options(), self.remote(), self.path]

    def remote(self):
        raise NotImplementedError


class RcloneHttp(Rclone):
    label, origin = "rclone HTTP", "http"

    def remote(self):
        return f":http,url='{self.source.url()}':"


class RcloneS3(Rclone):
    label, origin = "rclone S3", "s3"

    def remote(self):
        return f"rpt:{self.source.bucket.name}"

    def environment(self):
        settings = {
            "type": "s3",
            "provider": "Ceph",
            "endpoint": self.source.service.url(),
            "access_key_id": s3config.ACCESS_KEY,
            "secret_access_key": s3config.SECRET_KEY,
        }
        own = {f"RCLONE_CONFIG_RPT_{name.upper()}": value for name, value in settings.items()}
        return super().environment() | own


class S3fs(Peer):
    label, program, origin = "s3fs", "s3fs", "s3"

    def options(self):
        if self.mode == "warm":
            cache = f"use_cache={os.path.join(self.dir, 'cache')},stat_cache_expire={HOUR_S}"
            return ["-o", f"{cache},kernel_cache,{FOREVER},use_xattr"]
        return ["-o", f"max_stat_cache_size=0,{NEVER}"]

    def command(self):
        where = f"url={self.source.service.url()},use_path_request_style"
        return ["s3fs", self.source.bucket.name, self.path, "-f", "-o", f"ro,{where}", *self.options()]

    def environment(self):
        return super().environment() | {
            "AWSACCESSKEYID": s3config.ACCESS_KEY,
            "AWSSECRETACCESSKEY": s3config.SECRET_KEY,
        }


class Httpdirfs(Peer):
    """Lists a directory once, and takes sizes from that listing. Closing a file of more than
    one segment, while the next one is being fetched, ends it with a fatal error: hence the size."""

    label, program, origin = "httpdirfs", "httpdirfs", "http"
    modes = ("warm",)

    def options(self):
        cache = ["--cache", "--cache-location", os.path.join(self.dir, "cache")]
        return [*cache, "--dl-seg-size", "256", "-o", f"kernel_cache,{FOREVER}"]

    def command(self):
        os.makedirs(os.path.join(self.dir, "cache"), exist_ok=True)
        return ["httpdirfs", "-f", "--no-range-check", *self.options(), self.source.url(), self.path]


PEERS = (Bindfs, RcloneHttp, RcloneS3, S3fs, Httpdirfs)


def shown(peer):
    """Its options without the paths of this run."""
    return " ".join(peer.options()).replace(peer.dir + "/", "")
