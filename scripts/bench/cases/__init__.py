# SPDX-License-Identifier: Apache-2.0
"""One module a case.  Its figures(settings) measures, and yields each Figure when it is done."""
