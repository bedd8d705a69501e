# SPDX-License-Identifier: Apache-2.0
"""A virtual machine with the file system of this one, made by virtme-ng under QEMU, with KVM or
without."""

import os
import shlex
import subprocess
from pathlib import Path

from .process import Failure, run, say
from .steps import LOGS, long_step, must
from .switch import BUILD

VENV = BUILD / "virtme"


def newest_kernel():
    """The newest kernel in /boot."""
    kernels = run("sort", "-V", input="\n".join(map(str, Path("/boot").glob("vmlinuz-*")))).split()
    if not kernels:
        raise Failure("there is no kernel in /boot: apt-get install linux-image-amd64, or KERNEL=")
    return Path(kernels[-1])


class Vm:
    """A kernel, and what the machine has: network cards as pairs (hub, model), where cards with the
    same hub are on one wire.  Programs in it are root and write to `results` only."""

    def __init__(self, results, kernel=None, *, cards=(), cpus=3, memory="3G", options=()):
        self.results = Path(results)
        self.kernel = Path(kernel) if kernel else newest_kernel()
        if not self.kernel.exists():
            raise Failure(f"KERNEL={self.kernel}: no such file")
        qemu = []
        for number, (hub, model) in enumerate(cards):
            qemu += ["-netdev", f"hubport,id=nic{number},hubid={hub}"]
            qemu += ["-device", f"{model},netdev=nic{number},romfile="]
        self.options = ["--cpus", cpus, "--memory", memory, "--force-9p", *options]
        self.options.append(f"--qemu-opts= {shlex.join(qemu)}")
        self.emulated = False
        if not (VENV / "bin/vng").exists():
            must("venv", "virtme-ng: a venv for it", "/usr/bin/python3", "-m", "venv", VENV)
            must("virtme", "virtme-ng: pip install", VENV / "bin/pip", "install", "-q", "virtme-ng")
        self.find_kvm()

    def find_kvm(self):
        """Where this machine is a VM itself, there may be a /dev/kvm that boots nothing."""
        if os.access("/dev/kvm", os.W_OK):
            command = ["timeout", 40, *self.command("true")]
            if (
                long_step(
                    "kvm",
                    "a VM with KVM, to see whether it boots",
                    *command,
                    env=self.environment(),
                )
                == 0
            ):
                return
        self.emulated = True
        say("no KVM: the VM is emulated, which is slow")

    def environment(self):
        return {**os.environ, "PATH": f"{VENV}/bin:{os.environ['PATH']}"}

    def command(self, *program):
        slow = ["--disable-kvm"] if self.emulated else []
        return [
            str(word)
            for word in (
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

    def run(self, script, log, seconds):
        """Runs a shell script, a text, with its output here and in build/log/LOG.log."""
        path = self.results / "guest.sh"
        path.write_text(script)
        LOGS.mkdir(parents=True, exist_ok=True)
        # Its console goes through a pipe: a terminal would be left in raw mode.
        command = [
            "setpriv",
            "--pdeathsig",
            "TERM",
            "timeout",
            str(seconds),
            *self.command("bash", path),
        ]
        with (
            (LOGS / f"{log}.log").open("wb") as file,
            subprocess.Popen(
                command,
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
