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

# Netmap ports.  Included by lib/automake.mk.

lib_libopenvswitch_la_SOURCES += lib/netmap.h
if NETMAP_NETDEV
lib_libopenvswitch_la_LIBADD += $(NETMAP_LIBS)
lib_libopenvswitch_la_SOURCES += \
	lib/netdev-netmap-csum.c \
	lib/netdev-netmap-link.c \
	lib/netdev-netmap-private.h \
	lib/netdev-netmap.c \
	lib/netdev-netmap.h \
	lib/netmap.c
else
lib_libopenvswitch_la_SOURCES += \
	lib/netmap-stub.c
endif

MAN_FRAGMENTS += lib/netmap-unixctl.man
EXTRA_DIST += lib/netmap.mk
