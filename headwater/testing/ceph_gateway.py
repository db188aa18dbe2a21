"""Ceph's object gateway, an S3 server that checks signatures and conditions for real, over a cluster of one in memory.

Debian's packages `radosgw ceph-mon ceph-osd ceph-common` are installed on first use, which needs root. One monitor, one
OSD on a memory store, and the gateway: about 12 s to start and 200 MB.
"""

from __future__ import annotations

import http.client
import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import obstore
import obstore.store

from headwater.errors import MissingExtra
from headwater.testing.processes import free_port, server_process
from headwater.testing.s3_server import S3Server

__all__ = ["ceph_gateway"]

_PACKAGES = ("radosgw", "ceph-mon", "ceph-osd", "ceph-common")
_PROGRAMS = ("radosgw", "ceph-mon", "ceph-osd", "ceph", "monmaptool", "ceph-authtool", "radosgw-admin")
_KEY, _SECRET = "headwater", "headwater-secret"
_START_S = 120.0

_CONFIGURATION = """
[global]
fsid = {fsid}
mon host = v1:127.0.0.1:{mon_port}/0
mon initial members = a
public network = 127.0.0.0/8
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = true
keyring = {folder}/keyring
run dir = {folder}
pid file = {folder}/$type.$id.pid
admin socket = {folder}/$type.$id.asok
log file = {folder}/$type.$id.log
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon warn on pool no redundancy = false
ms bind msgr2 = false
setuser = root
setgroup = root
[mon.a]
mon data = {folder}/mon
public addr = v1:127.0.0.1:{mon_port}/0
[osd.0]
osd data = {folder}/osd
osd objectstore = memstore
memstore device bytes = 2147483648
[client.admin]
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw enable usage log = false
rgw thread pool size = 16
"""


def _install() -> None:
    if all(shutil.which(program) for program in _PROGRAMS):
        return
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise MissingExtra("Ceph is not installed", hint=f"apt-get install {' '.join(_PACKAGES)}")
    quiet = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for arguments in (["update"], ["install", "-y", "--no-install-recommends", *_PACKAGES]):
        subprocess.run(["apt-get", "-qq", *arguments], check=True, capture_output=True, env=quiet)  # noqa: S603, S607


@contextmanager
def ceph_gateway(bucket: str = "headwater") -> Iterator[S3Server]:
    """Run a cluster of one and its gateway with one empty bucket, until the block ends.

    Raises:
        MissingExtra: Ceph is not installed and cannot be, or does not start.
        Timeout: it does not answer in time.
    """
    _install()
    with tempfile.TemporaryDirectory(prefix="headwater-ceph-") as name, ExitStack() as running:
        folder = Path(name)
        configuration = folder / "ceph.conf"
        port, mon_port = running.enter_context(free_port()), running.enter_context(free_port())
        fsid = str(uuid.uuid4())
        configuration.write_text(
            _CONFIGURATION.format(fsid=fsid, folder=folder, mon_port=mon_port, port=port)
        )

        def start(program: str, *arguments: str, ready: Path | None = None) -> None:
            command = [program, "-f", *arguments, "-c", str(configuration)]
            running.enter_context(
                server_process(
                    command,
                    lambda: ready is None or ready.exists(),
                    start_s=_START_S,
                    log=folder / f"{program}.out",
                )
            )

        _prepare(folder, configuration, fsid)
        start("ceph-mon", "-i", "a", ready=folder / "mon.a.asok")
        osd = str(uuid.uuid4())
        _ceph(configuration, "osd", "new", osd, "0")
        _run("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", osd, "-c", str(configuration))
        start("ceph-osd", "-i", "0", ready=folder / "osd.0.asok")
        user = ["user", "create", "--uid=headwater", "--display-name=headwater"]
        _run(
            "radosgw-admin",
            *user,
            f"--access-key={_KEY}",
            f"--secret-key={_SECRET}",
            "-c",
            str(configuration),
        )
        command = ["radosgw", "-f", "-n", "client.admin", "-c", str(configuration)]
        options: dict[str, str | int] = {
            "endpoint": f"http://127.0.0.1:{port}",
            "region": "us-east-1",
            "access_key_id": _KEY,
            "secret_access_key": _SECRET,
        }
        running.enter_context(
            server_process(command, lambda: _answers(port), start_s=_START_S, log=folder / "radosgw.out")
        )
        _make_bucket(bucket, options)
        yield S3Server(f"s3://{bucket}", port, options)


def _prepare(folder: Path, configuration: Path, fsid: str) -> None:
    """Keys, the monitor's map and its store."""
    keyring = str(folder / "keyring")
    every = ("--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *")
    _run("ceph-authtool", "--create-keyring", keyring, "--gen-key", "-n", "mon.", "--cap", "mon", "allow *")
    for name in ("client.admin", "osd.0"):
        _run("ceph-authtool", keyring, "--gen-key", "-n", name, *every)
    (folder / "mon").mkdir()
    (folder / "osd").mkdir()
    address = configuration.read_text().split("mon host = ")[1].splitlines()[0]
    _run("monmaptool", "--create", "--addv", "a", f"[{address}]", "--fsid", fsid, str(folder / "monmap"))
    _run(
        *("ceph-mon", "--mkfs", "-i", "a", "--monmap", str(folder / "monmap"), "--keyring", keyring),
        *("-c", str(configuration)),
    )


def _make_bucket(bucket: str, options: dict[str, str | int]) -> None:
    """A PUT of the bucket, signed by the client for an object's name, which in path style is the same request."""
    store = obstore.store.S3Store(
        bucket,
        config=cast("Any", options),
        client_options={"allow_http": True},
        retry_config={"max_retries": 0},
    )
    url = obstore.sign(store, "PUT", "", expires_in=timedelta(minutes=5))
    connection = http.client.HTTPConnection(
        "127.0.0.1", int(str(options["endpoint"]).rsplit(":", 1)[1]), timeout=30
    )
    connection.request("PUT", url.split("127.0.0.1", 1)[1].split("/", 1)[1].join(["/", ""]))
    answer = connection.getresponse()
    if answer.status != http.client.OK:
        raise MissingExtra(f"the gateway made no bucket: {answer.status} {answer.read()[:500]!r}")
    connection.close()


def _answers(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/")
        return connection.getresponse().status == http.client.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def _ceph(configuration: Path, *arguments: str) -> None:
    _run("ceph", "-c", str(configuration), "--connect-timeout", "30", *arguments)


def _run(*command: str) -> None:
    ran = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)  # noqa: S603
    if ran.returncode:
        raise MissingExtra(f"{' '.join(command[:3])} ended with {ran.returncode}: {ran.stderr[-2000:]}")
