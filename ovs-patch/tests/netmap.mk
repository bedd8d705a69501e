# SPDX-License-Identifier: Apache-2.0
#
# Licensed under the Apache License, Version 2.0 (the "License");
# you may not use this file except in compliance with the License.
# You may obtain a copy of the License at:
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS,
# WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
# See the License for the specific language governing permissions and
# limitations under the License.

# Tests of netmap ports.  Included by tests/automake.mk.

# The tests of netmap ports themselves.
NETMAP_TESTS_AT = \
	tests/system-netmap-tests.at \
	tests/system-netmap.at \
	tests/system-netmap-features.at \
	tests/system-netmap-link.at \
	tests/system-netmap-frames.at

SYSTEM_USERSPACE_TESTSUITE_AT += $(NETMAP_TESTS_AT)

# The datapath tests on netmap ports.
SYSTEM_NETMAP_TESTSUITE_AT = \
	$(NETMAP_TESTS_AT) \
	tests/system-userspace-macros.at \
	tests/system-userspace-packet-type-aware.at \
	tests/system-route.at \
	tests/system-netmap-testsuite.at \
	tests/system-netmap-macros.at

# The same with segmentation left to Open vSwitch, as in check-system-tso.
SYSTEM_NETMAP_TSO_TESTSUITE_AT = \
	tests/system-userspace-macros.at \
	tests/system-netmap-macros.at \
	tests/system-netmap-tso-testsuite.at

SYSTEM_NETMAP_TESTSUITE = $(srcdir)/tests/system-netmap-testsuite
SYSTEM_NETMAP_TSO_TESTSUITE = $(srcdir)/tests/system-netmap-tso-testsuite

EXTRA_DIST += \
	$(SYSTEM_NETMAP_TESTSUITE_AT) \
	$(SYSTEM_NETMAP_TESTSUITE) \
	$(SYSTEM_NETMAP_TSO_TESTSUITE_AT) \
	$(SYSTEM_NETMAP_TSO_TESTSUITE) \
	tests/netmap.mk

$(SYSTEM_NETMAP_TESTSUITE): package.m4 $(SYSTEM_TESTSUITE_AT) $(SYSTEM_NETMAP_TESTSUITE_AT) $(COMMON_MACROS_AT)
	$(AM_V_GEN)$(AUTOTEST) -I '$(srcdir)' -o $@.tmp $@.at
	$(AM_V_at)mv $@.tmp $@

$(SYSTEM_NETMAP_TSO_TESTSUITE): package.m4 $(SYSTEM_TSO_TESTSUITE_AT) $(SYSTEM_TESTSUITE_AT) $(SYSTEM_NETMAP_TSO_TESTSUITE_AT) $(COMMON_MACROS_AT)
	$(AM_V_GEN)$(AUTOTEST) -I '$(srcdir)' -o $@.tmp $@.at
	$(AM_V_at)mv $@.tmp $@

check-netmap: all
	set $(SHELL) '$(SYSTEM_NETMAP_TESTSUITE)' -C tests  AUTOTEST_PATH='$(AUTOTEST_PATH)'; \
	"$$@" $(TESTSUITEFLAGS) -j1 || (test X'$(RECHECK)' = Xyes && "$$@" --recheck)

check-netmap-tso: all
	set $(SHELL) '$(SYSTEM_NETMAP_TSO_TESTSUITE)' -C tests  AUTOTEST_PATH='$(AUTOTEST_PATH)'; \
	"$$@" $(TESTSUITEFLAGS) -j1 || (test X'$(RECHECK)' = Xyes && "$$@" --recheck)

check-netmap-valgrind: all $(valgrind_wrappers) $(check_DATA)
	$(SHELL) '$(SYSTEM_NETMAP_TESTSUITE)' -C tests VALGRIND='$(VALGRIND)' AUTOTEST_PATH='tests/valgrind:$(AUTOTEST_PATH)' -d $(TESTSUITEFLAGS) -j1
	@echo
	@echo '----------------------------------------------------------------------'
	@echo 'Valgrind output can be found in tests/system-netmap-testsuite.dir/*/valgrind.*'
	@echo '----------------------------------------------------------------------'
