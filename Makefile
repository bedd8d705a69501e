# SPDX-License-Identifier: Apache-2.0
#
# Every target is one script in scripts/; what the scripts build and log goes
# to build/ (override with BUILD=).  `make help` lists the targets.

OVS     ?=
OVS_DIR ?=
PREFIX  ?= /usr/local
LIBDIR  ?=
DESTDIR ?=
TESTS   ?=
NETMAP_KO ?=
PKT_GEN ?=
KERNEL  ?=
QEMU    ?=
SUITE   ?= trixie
NATIVE  ?=
NETMAP_DRIVERS ?=
TRAFFIC ?=
STEPS ?=
JOBS    ?= $(shell nproc)
export OVS OVS_DIR PREFIX LIBDIR DESTDIR TESTS JOBS NETMAP_KO PKT_GEN KERNEL QEMU NATIVE \
       NETMAP_DRIVERS TRAFFIC STEPS SUITE

.DEFAULT_GOAL := help
.PHONY: help demo demo-ovn check check-events check-netmap check-kernel check-nic check-series soak ovs lib bench deb check-deb install clean

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /  make \1\t/p' $(MAKEFILE_LIST) | expand -t 20
	@echo
	@echo '  OVS=3.1       the OVS release, one of ovs-patch/releases (Debian openvswitch-source);'
	@echo '                check and check-series take all of them without it, the others 3.1'
	@echo '  OVS_DIR=PATH  an OVS source tree to use instead; it is copied, not touched'
	@echo "  TESTS=...     for check-netmap and check-series, only these: '1-20' or '-k conntrack';"
	@echo '                for check-kernel and check-nic, those whose names match: vale'
	@echo "  STEPS=...     for check, only the steps whose names match: 'clippy|pytest'"
	@echo '  NETMAP_KO=PATH  PKT_GEN=PATH  KERNEL=VMLINUZ   for check-kernel: what the VM runs'
	@echo '  KERNEL=VMLINUZ|SUITE  QEMU=PATH   for check-nic, which fetches what is missing (KERNEL=forky)'
	@echo "  NETMAP_DRIVERS=PATH  netmap's own e1000.ko, built together with NETMAP_KO"
	@echo "  TRAFFIC=1     for check-kernel: OVS's own datapath tests as well; or TRAFFIC='1-20'"
	@echo '  SUITE=trixie  for deb and check-deb: the Debian that they are for, also bookworm or forky'
	@echo '  JOBS=N        parallel compile jobs (default: one a CPU)'

demo: ## builds all that is missing, then sends real traffic through two netmap ports
	@scripts/drive.sh demo.py

demo-ovn: ## OVN on two chassis, all ports of type netmap (DEMO_TYPE=system to compare)
	@scripts/demo-ovn.sh

check: ## the whole test suite; the last line says how many passed, failed, were skipped
	@scripts/check.sh

check-netmap: ## OVS's own datapath tests on system and on netmap ports, in one table (TESTS=)
	@scripts/check-netmap.sh

check-kernel: ## the kernel engine on the real netmap module, in a VM (NETMAP_KO=) or here (NATIVE=1)
	@scripts/check-kernel.sh

check-nic: ## engine xdp on emulated network cards with zero copy, in a VM (KERNEL= QEMU= TESTS=)
	@scripts/check-nic.sh

check-series: ## each step of the patch series builds and passes unit tests of Open vSwitch (OVS= TESTS=)
	@scripts/check-series.sh

soak: ## traffic of all kinds while everything is changed all the time (SOAK_MINUTES=10)
	@scripts/drive.sh soak.py

ovs: lib ## a patched and built OVS tree under build/ (OVS=3.1 or OVS_DIR=PATH)
	@scripts/build-ovs.sh

lib: ## the library alone, installed into build/prefix
	@scripts/build-lib.sh

check-events: ## 500 random events for each of 20 seeds, against a running switch (SEEDS=1-20 EVENTS=)
	@EVENTS=$(or $(EVENTS),500) SEEDS=$(or $(SEEDS),1-20) scripts/drive.sh pytest -x -s tests/system/test_events.py

bench: ## what a packet costs, beside other ports and OVS-DPDK (ONLY=veth,tcp BENCH_QUICK=1)
	@scripts/drive.sh bench

deb: ## Debian packages, built in a chroot of SUITE=trixie|forky|bookworm, into build/deb/SUITE
	@scripts/deb.sh

check-deb: ## installs these packages over Debian's Open vSwitch in another chroot, and uses them
	@scripts/check-deb.sh

install: ## library, header and pkg-config file (PREFIX=/usr/local LIBDIR= DESTDIR=)
	@scripts/install.sh

clean: ## removes build/ and what cargo built
	@scripts/clean.sh
