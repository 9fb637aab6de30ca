"""Certificates made by openssl, and nginx for what needs a real server (HTTP/2, static files at full
speed). Everything is on loopback, in the test's own directory."""

import os
import subprocess

from origin import Port
from rptmount import HANGS_S, wait_for


def make_certificates(directory, names=("localhost",)):
    """ca.pem, and server.pem, client.pem with their .key, for 127.0.0.1 and these names."""

    def openssl(*arguments):
        subprocess.run(["openssl", *arguments], cwd=directory, check=True, capture_output=True)

    key = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
    openssl("req", "-x509", *key, "-keyout", "ca.key", "-out", "ca.pem", "-subj", "/CN=test CA")
    with open(os.path.join(directory, "names"), "w", encoding="ascii") as file:
        file.write(f"subjectAltName=IP:127.0.0.1,{','.join('DNS:' + name for name in names)}\n")
    for name in ("server", "client"):
        openssl("req", *key[:-2], "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}")
        openssl(
            "x509", "-req", "-in", f"{name}.csr", "-CA", "ca.pem", "-CAkey", "ca.key",
            "-CAcreateserial", "-days", "2", "-extfile", "names", "-out", f"{name}.pem",
        )  # fmt: skip
    return directory


NGINX_CONF = """
daemon off;
master_process off;
user root;
worker_processes 1;
pid {dir}/nginx.pid;
error_log {dir}/error.log warn;
events {{ worker_connections 4096; }}
http {{
    access_log {dir}/access.log combined;
    client_body_temp_path {dir}/t1; proxy_temp_path {dir}/t2; fastcgi_temp_path {dir}/t3;
    uwsgi_temp_path {dir}/t4; scgi_temp_path {dir}/t5;
    sendfile on; tcp_nopush on; keepalive_requests 1000000;
    types {{ }} default_type application/octet-stream;
    log_format protocol '$server_protocol $status $uri $http_if_none_match';
    server {{
        listen 127.0.0.1:{port};
        {tls}
        access_log {log};
        root {root};
        {more}
    }}
}}
"""


class Nginx:
    """Serves the files of .root. tls: a directory of make_certificates(); log: record each request;
    more: more directives for its server block."""

    def __init__(self, directory, tls=None, log=True, more=""):
        self.root = os.path.join(directory, "root")
        self.log_file = os.path.join(directory, "requests.log")
        self.held_port = Port()
        self.port = self.held_port.number
        self.scheme = "https" if tls else "http"
        os.makedirs(self.root, exist_ok=True)
        conf = os.path.join(directory, "nginx.conf")
        with open(conf, "w", encoding="ascii") as file:
            file.write(
                NGINX_CONF.format(
                    dir=directory,
                    root=self.root,
                    port=f"{self.port} ssl http2" if tls else self.port,
                    tls=f"ssl_certificate {tls}/server.pem; ssl_certificate_key {tls}/server.key;"
                    if tls
                    else "",
                    log=f"{self.log_file} protocol" if log else "off",
                    more=more,
                )
            )
        self.process = subprocess.Popen(
            ["/usr/sbin/nginx", "-p", directory, "-c", conf, "-e", f"{directory}/error.log"],
            stdin=subprocess.DEVNULL,
        )

        def is_up():
            if self.process.poll() is not None:
                with open(f"{directory}/error.log", encoding="utf-8") as log_file:
                    raise RuntimeError(f"nginx did not start: {log_file.read()}")
            return os.path.exists(f"{directory}/nginx.pid")

        wait_for(is_up, "nginx")

    def url(self, path):
        return f"{self.scheme}://127.0.0.1:{self.port}{path}"

    def put(self, path, body):
        """Replaces the file by rename."""
        target = self.root + path
        with open(target + ".new", "wb") as file:
            file.write(body)
        os.rename(target + ".new", target)

    def requests(self):
        """The lines of its log. nginx writes a line after it has answered: wait for it."""
        with open(self.log_file, encoding="utf-8") as file:
            return file.read().splitlines()

    def close(self):
        self.process.terminate()
        self.process.wait(HANGS_S)

    def release(self):
        self.held_port.close()
