# SPDX-License-Identifier: Apache-2.0
"""Commands that run on hosts again and again, all at the same time."""

import signal
import threading

from .process import stop


class Traffic:
    """What start() was told to run, until stop()."""

    def __init__(self):
        self.ending = threading.Event()
        self.lock = threading.Lock()
        self.running = {}
        self.threads = []

    def start(self, host, *command):
        """Runs a command on the host, and again whenever it ends."""
        thread = threading.Thread(target=self._repeat, args=(host, command), daemon=True)
        self.threads.append(thread)
        thread.start()

    def stop(self):
        """Ends all of it."""
        with self.lock:
            self.ending.set()
            running = list(self.running.values())
        for process in running:
            stop(process, signal.SIGTERM)
        for thread in self.threads:
            thread.join()
        self.threads = []

    def _repeat(self, host, command):
        this = threading.get_ident()
        while True:
            with self.lock:
                if self.ending.is_set():
                    return
                self.running[this] = process = host.spawn(*command)
            if process.wait() != 0:
                self.ending.wait(0.2)
