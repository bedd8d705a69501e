# SPDX-License-Identifier: Apache-2.0
"""A virtual machine with the file system of this one, made by virtme-ng under QEMU, with KVM or
without."""

import os
import shlex
import subprocess
from pathlib import Path

from .cards import card_mac
from .process import CommandError, Failure, run, say
from .steps import LOGS, must
from .switch import BUILD

VENV = BUILD / "virtme"


def newest_kernel():
    """The newest kernel in /boot."""
    kernels = run("sort", "-V", input="\n".join(map(str, Path("/boot").glob("vmlinuz-*")))).split()
    if not kernels:
        raise Failure("there is no kernel in /boot: apt-get install linux-image-amd64, or KERNEL=")
    return Path(kernels[-1])


class Vm:
    """A kernel, and what the machine has: network cards as (wire, model, queues), where cards with the
    same number of a wire are on that.  With several queues it is a bridge in a network namespace that
    goes with the VM, since what QEMU has for it has one queue.  The card `number` has the MAC address
    card_mac(number), and QEMU calls its wire's end "nicNUMBER".  Programs in it are root and write to
    `results` only.

    `qemu` is its emulator, else the system's.  With `monitor`, the virtual machine can speak to it: QMP
    is on a serial port called "qmp".
    """

    def __init__(
        self,
        results,
        kernel=None,
        *,
        qemu=None,
        monitor=False,
        cards=(),
        cpus=3,
        memory="3G",
        options=(),
    ):
        self.results = Path(results)
        self.qemu = Path(qemu) if qemu else None
        self.kernel = Path(kernel) if kernel else newest_kernel()
        if not self.kernel.exists():
            raise Failure(f"KERNEL={self.kernel}: no such file")
        devices = []
        self.bridges = {}
        for number, (wire, model, queues) in enumerate(cards):
            place = ""
            if queues > 1:
                self.bridges.setdefault(f"wire{wire}", []).append(f"tap{number}")
                options_of_tap = "script=no,downscript=no"
                devices += [
                    "-netdev",
                    f"tap,id=nic{number},ifname=tap{number},queues={queues},{options_of_tap}",
                ]
                place = f",mq=on,vectors={2 * queues + 2}"
            else:
                devices += ["-netdev", f"hubport,id=nic{number},hubid={wire}"]
            if model == "igb":
                # Its virtual functions have the slots beside it.
                devices += ["-device", f"pcie-root-port,id=port{number},chassis={number}"]
                place += f",bus=port{number}"
            mac = card_mac(number)
            devices += ["-device", f"{model},netdev=nic{number},mac={mac},romfile={place}"]
        if monitor:
            devices += self.monitor()
        self.options = ["--cpus", cpus, "--memory", memory, "--force-9p", *options]
        if self.qemu:
            self.options += ["--qemu", self.qemu]
            # What it does not find among its own modules it takes from the system's.
            devices += ["-audio", "none"]
        self.options.append(f"--qemu-opts= {shlex.join(devices)}")
        self.emulated = False
        if not (VENV / "bin/vng").exists():
            must("venv", "virtme-ng: a venv for it", "/usr/bin/python3", "-m", "venv", VENV)
            must("virtme", "virtme-ng: pip install", VENV / "bin/pip", "install", "-q", "virtme-ng")
        self.find_kvm()

    @staticmethod
    def monitor():
        """QEMU as its own client: one end is a serial port of the machine, the other one a monitor."""
        socket = f"path=netmap-vm.{os.getpid()},abstract=on"
        return shlex.split(
            f"-chardev socket,id=qmp-port,{socket},server=on,wait=off"
            " -device virtio-serial-pci -device virtserialport,chardev=qmp-port,name=qmp"
            f" -chardev socket,id=qmp,{socket} -mon chardev=qmp,mode=control"
        )

    def find_kvm(self):
        """Where this machine is a VM itself, there may be a /dev/kvm that boots nothing."""
        if os.access("/dev/kvm", os.W_OK):
            try:
                run(*self.limited(40, "true"), env=self.environment(), errors="replace")
                return
            except CommandError as error:
                LOGS.mkdir(parents=True, exist_ok=True)
                (LOGS / "kvm.log").write_text(f"{error}\n")
        self.emulated = True
        say("no KVM that works here: the VM is emulated, which is slow")

    def environment(self):
        environment = {**os.environ, "PATH": f"{VENV}/bin:{os.environ['PATH']}"}
        if self.qemu:
            # Where it was unpacked, if it was: it looks for its modules in the system's place only.
            modules = next(self.qemu.parents[1].glob("lib/*/qemu"), None)
            if modules:
                environment["QEMU_MODULE_DIR"] = str(modules)
        return environment

    def on_bridges(self):
        """A command that runs another one where the wires are that are bridges: each as a hub, and with
        nobody who speaks on it."""
        lines = ["sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1"]
        for bridge, taps in self.bridges.items():
            lines.append(f"ip link add {bridge} up type bridge ageing_time 0 mcast_snooping 0")
            for tap in taps:
                lines.append(f"ip tuntap add {tap} mode tap multi_queue vnet_hdr")
                lines.append(f"ip link set {tap} master {bridge} up")
        script = "; ".join([*lines, 'exec "$@"'])
        return ["unshare", "--net", "sh", "-ec", script, "sh"] if self.bridges else []

    def command(self, *program):
        slow = ["--disable-kvm"] if self.emulated else []
        return [
            str(word)
            for word in (
                *self.on_bridges(),
                VENV / "bin/vng",
                "-r",
                self.kernel,
                *self.options,
                *slow,
                f"--rwdir={self.results}",
                "--",
                *program,
            )
        ]

    def limited(self, seconds, *program):
        """The command, which ends with this program, or when that many seconds are over."""
        limits = ["setpriv", "--pdeathsig", "TERM", "timeout", str(seconds)]
        return [*limits, *self.command(*program)]

    def run(self, script, log, seconds):
        """Runs a shell script, a text, with its output here and in build/log/LOG.log."""
        path = self.results / "guest.sh"
        path.write_text(script)
        LOGS.mkdir(parents=True, exist_ok=True)
        # Its console goes through a pipe: a terminal would be left in raw mode.
        with (
            (LOGS / f"{log}.log").open("wb") as file,
            subprocess.Popen(
                self.limited(seconds, "bash", path),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env=self.environment(),
            ) as process,
        ):
            try:
                for line in process.stdout:
                    file.write(line)
                    print(line.decode(errors="replace"), end="", flush=True)
            finally:
                # Not only after the last line: this program may be told to end.
                process.terminate()
