# SPDX-License-Identifier: Apache-2.0
"""Processes that die with this one, and waiting for what they do."""

import fcntl
import os
import signal
import subprocess
import sys
import time


class Failure(Exception):
    """What a program tells its user as the reason why it ends."""


class CommandError(Failure):
    """A command that failed, with what it said."""

    def __init__(self, command, status, output):
        super().__init__(f"{' '.join(map(str, command))}: status {status}: {output.strip()}")
        self.command = command
        self.status = status
        self.output = output


def say(text):
    """Tells what happens now."""
    print(f"==> {text}", flush=True)


def in_netns(netns, command):
    """The command, as it runs in a network namespace; None is that of the caller."""
    command = [str(word) for word in command]
    return ["ip", "netns", "exec", netns, *command] if netns else command


def run(*command, netns=None, check=True, **options):
    """Runs a command to its end and returns what it printed.

    With check=False a failure is no error, and what it said on stderr is returned as well.  The
    other options are those of subprocess.run().
    """
    command = in_netns(netns, command)
    if "input" not in options:
        options.setdefault("stdin", subprocess.DEVNULL)
    errors = subprocess.PIPE if check else subprocess.STDOUT
    done = subprocess.run(
        command, check=False, stdout=subprocess.PIPE, stderr=errors, text=True, **options
    )
    if check and done.returncode != 0:
        raise CommandError(command, done.returncode, done.stderr + done.stdout)
    return done.stdout


def spawn(*command, netns=None, log=None, death_signal="KILL", **options):
    """Starts a command that gets `death_signal` when this process ends, and returns its Popen.

    The kernel sends the signal when the starting *thread* ends, so threads that call this must
    outlive the command.  `log` is the file for its output; without it there is none.
    """
    command = ["setpriv", "--pdeathsig", death_signal, "--", *in_netns(netns, command)]
    with open(log or os.devnull, "ab") as output:
        return subprocess.Popen(
            command,
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": output,
                "stderr": subprocess.STDOUT,
                **options,
            },
        )


def stop(process, signal_number=signal.SIGTERM, seconds=5):
    """Asks a process to end, and kills it when it does not in time.  Returns its status."""
    if process.poll() is None:
        process.send_signal(signal_number)
    try:
        return process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        return process.wait()


def wait_until(condition, seconds, what=None, interval=0.05):
    """Waits until condition() is true, and returns what it returned.

    When it does not become so in time, raises Failure with `what`, a text or a function that makes
    one; without `what` it returns the last value, which is false.
    """
    end = time.monotonic() + seconds
    while not (value := condition()):
        if time.monotonic() > end:
            if what is None:
                return value
            text = what() if callable(what) else f"waited {seconds} s in vain for {what}"
            raise Failure(text)
        time.sleep(interval)
    return value


def finish_on_signals():
    """Lets SIGTERM and SIGHUP end the program as an exception does, so that it cleans up."""

    def end(number, _frame):
        signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + number)

    signal.signal(signal.SIGTERM, end)
    signal.signal(signal.SIGHUP, end)


def run_program(name, body, run_dir=None):
    """Runs the program `name`, which is `body`, and returns its exit status.

    A Failure is told as the reason why it ended; body() may also return false.  `run_dir`, with its
    logs, is its own for that time.
    """
    finish_on_signals()
    try:
        if run_dir:
            lock_directory(run_dir)
        return 1 if body() is False else 0
    except Failure as failure:
        print(f"{name}: {failure}", file=sys.stderr)
        if run_dir:
            print(f"{name}: FAILED; logs are in {run_dir}", file=sys.stderr)
        return 1


def lock_directory(path):
    """Keeps others out of a run directory for the life of this process."""
    os.makedirs(os.path.dirname(path), exist_ok=True)
    # Children must not keep the lock; Python closes it in them.
    descriptor = os.open(f"{path}.lock", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise Failure(f"another one is running in {path}") from None
