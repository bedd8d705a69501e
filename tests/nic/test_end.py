# SPDX-License-Identifier: Apache-2.0
"""After all other tests: what they left in the kernel."""


def test_kernel_log(kernel_log):
    """No warning of the kernel in the whole run."""
    kernel_log.check()
