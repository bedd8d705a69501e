# SPDX-License-Identifier: Apache-2.0
"""A private Open vSwitch: ovsdb-server and ovs-vswitchd that read and write in one directory."""

import contextlib
import os
import re
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from .jsonrpc import Database, Peer, RpcError
from .process import CommandError, Failure, run, spawn, stop, wait_until
from .show import Show

ROOT = Path(__file__).resolve().parents[2]
BUILD = Path(os.environ.get("BUILD") or ROOT / "build")


def ovs_tree():
    """The built OVS tree that scripts/drive.sh chose."""
    return Path(os.environ.get("OVS_TREE") or BUILD / "ovs-3.1")


@dataclass
class PortCounters:
    """OpenFlow's counters of a port, straight from the port; what it does not count is missing."""

    rx: dict = field(default_factory=dict)  # pkts, bytes, drop, errs, ...
    tx: dict = field(default_factory=dict)


class Switch:
    """A switch whose daemons live as long as the `with` block, and no longer than this process.

    `run_dir` is made anew.  `tree` is a built OVS tree.  `vswitchd` is the command that runs
    ovs-vswitchd, when it is another one or something stands before it; `netns` the network
    namespace of the daemons.  `other_config` is that of the Open_vSwitch table; netmap ports are
    enabled unless it says otherwise.
    """

    def __init__(
        self,
        run_dir,
        tree=None,
        *,
        vswitchd=("ovs-vswitchd",),
        netns=None,
        environment=None,
        other_config=None,
    ):
        self.dir = Path(run_dir)
        self.tree = Path(tree or ovs_tree())
        self.netns = netns
        self.other_config = {"netmap-init": "true", **(other_config or {})}
        self.vswitchd_command = list(vswitchd)
        self.environment = {
            **os.environ,
            "PATH": ":".join(
                [
                    *(str(self.tree / part) for part in ("utilities", "ovsdb", "vswitchd")),
                    os.environ["PATH"],
                ]
            ),
            "OVS_PKGDATADIR": str(self.tree / "vswitchd"),
            **dict.fromkeys(
                ("OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"), str(self.dir)
            ),
            **(environment or {}),
        }
        self.vswitchd = self.ovsdb = self._database = self._ctl = None

    # ---- the daemons ----

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.stop()

    def start(self):
        """Starts both daemons on a new database."""
        shutil.rmtree(self.dir, ignore_errors=True)
        self.dir.mkdir(parents=True)
        try:
            self.tool(
                "ovsdb-tool",
                "create",
                self.dir / "conf.db",
                self.tree / "vswitchd/vswitch.ovsschema",
            )
            self.ovsdb = self._daemon(
                "ovsdb-server",
                ["ovsdb-server", self.dir / "conf.db", f"--remote=punix:{self.dir}/db.sock"],
            )
            wait_until(
                (self.dir / "db.sock").exists, 30, lambda: self._did_not_start("ovsdb-server")
            )
            settings = [f"other_config:{key}={value}" for key, value in self.other_config.items()]
            self.vsctl("--no-wait", "init", "--", "set", "Open_vSwitch", ".", *settings)
            self.start_vswitchd()
        except BaseException:
            self.stop()
            raise

    def start_vswitchd(self):
        """Starts ovs-vswitchd, again after kill_vswitchd()."""
        self._close_ctl()
        (self.dir / "ovs-vswitchd.ctl").unlink(missing_ok=True)
        # KILL, as it may be stopped just now.
        self.vswitchd = self._daemon(
            "ovs-vswitchd", [*self.vswitchd_command, f"unix:{self.dir}/db.sock"]
        )
        wait_until(self._is_up, 60, lambda: self._did_not_start("ovs-vswitchd"))

    def kill_vswitchd(self):
        """Ends ovs-vswitchd with SIGKILL."""
        self.vswitchd.kill()
        self.vswitchd.wait()

    def stop(self):
        """Ends both daemons; ovs-vswitchd takes its datapath away."""
        if self.alive:
            # If it does not answer, it has ended, or is killed below.
            with contextlib.suppress(OSError, RpcError):
                self.ctl("exit", "--cleanup")
            wait_until(lambda: not self.alive, 10)
        self._close_ctl()
        if self._database:
            self._database.close()
            self._database = None
        for daemon in (self.vswitchd, self.ovsdb):
            if daemon:
                stop(daemon)

    @property
    def alive(self):
        """Whether ovs-vswitchd runs."""
        return self.vswitchd is not None and self.vswitchd.poll() is None

    @property
    def pid(self):
        """ovs-vswitchd's process.  It writes the file itself: something may stand before it."""
        return int((self.dir / "ovs-vswitchd.pid").read_text())

    def _daemon(self, name, command):
        return spawn(
            *command,
            f"--unixctl={self.dir}/{name}.ctl",
            f"--pidfile={self.dir}/{name}.pid",
            f"--log-file={self.dir}/{name}.log",
            "-vconsole:off",
            netns=self.netns,
            log=self.dir / f"{name}.out",
            env=self.environment,
        )

    def _is_up(self):
        if not self.alive:
            raise Failure(self._did_not_start("ovs-vswitchd"))
        if not (self.dir / "ovs-vswitchd.ctl").exists():
            return False
        return self.database.rows("Open_vSwitch")[0]["datapath_types"] != []

    def _did_not_start(self, name):
        files = [self.dir / f"{name}.{kind}" for kind in ("log", "out")]
        lines = [line for file in files if file.exists() for line in file.read_text().splitlines()]
        return "\n".join([f"{name} did not start; the end of its log in {self.dir}:", *lines[-20:]])

    # ---- talking to it ----

    def tool(self, *command, **options):
        """Runs one of OVS's programs for this switch, and returns what it printed."""
        return run(*command, netns=self.netns, env=self.environment, **options)

    def spawn(self, *command, **options):
        """Starts one of OVS's programs for this switch, as process.spawn()."""
        return spawn(*command, netns=self.netns, env=self.environment, **options)

    def vsctl(self, *arguments):
        """ovs-vsctl, which waits until ovs-vswitchd has done it."""
        return self.tool("ovs-vsctl", "--timeout=60", *arguments)

    def ofctl(self, *arguments, **options):
        """ovs-ofctl, again if it was not connected: a connection that is not made within a second is
        given up, and a busy machine may take longer."""
        end = time.monotonic() + 60
        while True:
            try:
                return self.tool("ovs-ofctl", "--timeout=60", *arguments, **options)
            except CommandError as error:
                connected = "failed to connect" not in error.output
                if connected or not self.alive or time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def ctl(self, command, *arguments):
        """ovs-appctl to ovs-vswitchd."""
        if self._ctl is None:
            self._ctl = Peer(self.dir / "ovs-vswitchd.ctl")
        try:
            return self._ctl.ask(command, *map(str, arguments))
        except (OSError, RpcError):
            self._close_ctl()
            raise

    def _close_ctl(self):
        if self._ctl:
            self._ctl.close()
            self._ctl = None

    @property
    def database(self):
        """A connection to ovsdb-server."""
        if self._database is None:
            self._database = Database(self.dir / "db.sock")
        return self._database

    def row(self, table, name):
        """A row of the database, by its name."""
        rows = self.database.rows(table, [("name", "==", name)])
        if not rows:
            raise Failure(f"no row {name} in table {table}")
        return rows[0]

    # ---- configuration ----

    def config(self, **other_config):
        """Sets keys of the Open_vSwitch table's other_config; `_` stands for `-`, None removes."""
        settings = {key.replace("_", "-"): value for key, value in other_config.items()}
        gone = [key for key, value in settings.items() if value is None]
        kept = [f"other_config:{key}={value}" for key, value in settings.items() if key not in gone]
        command = ["--", "set", "Open_vSwitch", ".", *kept] if kept else []
        if gone:
            command += ["--", "remove", "Open_vSwitch", ".", "other_config", *gone]
        self.vsctl(*command)

    def add_bridge(self, name, **settings):
        """A bridge of the userspace datapath; columns as keywords.

        It forwards only what flows say, unless fail_mode="standalone".
        """
        columns = {"datapath_type": "netdev", "fail_mode": "secure", **settings}
        self.vsctl("add-br", name, "--", "set", "Bridge", name, *assignments(columns))

    def add_port(
        self, bridge, name, netmap_port=None, *settings, type="netmap", number=None, check=True
    ):
        """Adds a port, by default of type netmap; `settings` are more columns, "options:n_rxq=2".

        An error of the interface raises Failure, unless `check` is false.
        """
        columns = [f"type={type}", *settings]
        if netmap_port is not None:
            columns.append(f"options:netmap-port={quoted(netmap_port)}")
        if number is not None:
            columns.append(f"ofport_request={number}")
        try:
            self.vsctl("add-port", bridge, name, "--", "set", "Interface", name, *columns)
        except CommandError:
            # ovs-vsctl fails as well when the port does not open.
            if not self.database.rows("Interface", [("name", "==", name)]):
                raise
        if check and (error := self.error(name)):
            raise Failure(f"port {name} ({netmap_port or name}): {error}")

    def del_port(self, *names):
        """Deletes ports in one transaction."""
        self.vsctl(*(word for name in names for word in ("--", "del-port", name)))

    def flows(self, bridge, *flows):
        """Replaces all flows of a bridge."""
        self.ofctl(
            "-O", "OpenFlow15", "--bundle", "replace-flows", bridge, "-", input="\n".join(flows)
        )

    # ---- what it says ----

    def show(self):
        """netmap/show, as a Show."""
        return Show(self.ctl("netmap/show", "--json"))

    def error(self, interface):
        """The interface's error, None without one."""
        return self.row("Interface", interface)["error"] or None

    def status(self, interface):
        """The interface's status."""
        return self.row("Interface", interface)["status"]

    def counters(self, bridge):
        """PortCounters of each port by name."""
        text = self.ofctl("--names", "dump-ports", bridge)
        ports = re.findall(r'port +"?([^":]+)"?: rx (.*)\n +tx (.*)', text)
        return {name: PortCounters(counts(rx), counts(tx)) for name, rx, tx in ports}

    def log_lines(self, levels=("WARN", "ERR", "EMER")):
        """The lines of ovs-vswitchd's log that have one of these levels."""
        file = self.dir / "ovs-vswitchd.log"
        lines = file.read_text(errors="replace").splitlines() if file.exists() else []
        return [line for line in lines if any(f"|{level}|" in line for level in levels)]

    def resident_kb(self):
        """The memory of ovs-vswitchd."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(re.search(r"^VmRSS:\s*(\d+)", status, re.MULTILINE).group(1))


def quoted(text):
    """A string for ovs-vsctl, whatever is in it."""
    return '"' + str(text).replace("\\", "\\\\").replace('"', '\\"') + '"'


def counts(line):
    """The counters of a line of "ovs-ofctl dump-ports"; "?" is a counter that there is not."""
    return {name: int(count) for name, count in re.findall(r"(\w+)=(\d+)", line)}


def assignments(columns):
    return [f"{name}={value}" for name, value in columns.items()]
