#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# deb.sh: builds the packages for the Debian that SUITE= names, in a chroot of
# it without network, into build/deb/SUITE.  The crates are vendored beforehand.
# lintian must find no error.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-chroot.sh"

SUITE=${SUITE:-trixie}
work=$BUILD/deb/$SUITE
root=$work/root
version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -n 1)
# The part of it that is in the soname.
soversion=$(sed -E 's/^(0\.[0-9]+|[1-9][0-9]*)\..*/\1/' <<<"$version")
author=$(git -C "$ROOT" log -1 --format='%an <%ae>' 2>/dev/null || echo 'ovs-netmap <root@localhost>')
source=$work/ovs-netmap-$version

need_root
grep -q " $SUITE\$" "$ROOT/ovs-patch/releases" ||
    die "SUITE=$SUITE: no suite in ovs-patch/releases has this name"
need_packages mmdebstrap debian-archive-keyring
need_rust
mkdir -p "$work"

# make_source: the sources with debian/ completed, and the crates beside them.
make_source() {
    rm -rf "$source" "$work/cargo"
    mkdir -p "$source" "$work/cargo"
    tar -C "$ROOT" --exclude=./.git --exclude=./target --exclude=./fuzz/target \
        --exclude="./${BUILD#"$ROOT"/}" -cf - . | tar -C "$source" -xf -
    sed "s/@SOVERSION@/$soversion/; s/@MAINTAINER@/$author/" "$source/debian/control.in" >"$source/debian/control"
    cat >"$source/debian/changelog" <<END
ovs-netmap ($version~$SUITE) $SUITE; urgency=medium

  * CHANGELOG.md tells what is new.

 -- $author  $(date -R)
END
    cd "$ROOT"
    cargo vendor --locked "$work/cargo/vendor" >/dev/null
    printf '[source.crates-io]\nreplace-with = "vendored"\n[source.vendored]\ndirectory = "/build/cargo/vendor"\n' \
        >"$work/cargo/config.toml"
}
long "deb-source-$SUITE" "packages for $SUITE: sources and crates" make_source

depends=$(sed -n '/^Build-Depends:/,/^[A-Z]/p' "$source/debian/control" | sha256sum)
if [ "$(cat "$root/.made-for" 2>/dev/null)" != "$depends" ]; then
    chroot_removed "$root"
    long "deb-chroot-$SUITE" "packages for $SUITE: a chroot with what they need" \
        make_chroot "$SUITE" "$root" --variant=buildd --include=lintian \
        --customize-hook="mkdir -p \"\$1/build\" && cp -a '$source' \"\$1/build/\"" \
        --customize-hook="chroot \"\$1\" apt-get -y --no-install-recommends build-dep '/build/${source##*/}'"
    echo "$depends" >"$root/.made-for"
fi

rm -rf "$root/build"
mkdir "$root/build"
cp -a "$source" "$work/cargo" "$root/build/"
long "deb-build-$SUITE" "packages for $SUITE: dpkg-buildpackage" in_chroot "$root" \
    CARGO_HOME=/build/cargo CARGO_NET_OFFLINE=true "DEB_BUILD_OPTIONS=parallel=$JOBS" \
    sh -c "cd '/build/${source##*/}' && dpkg-buildpackage -b -us -uc"
long "deb-lintian-$SUITE" "packages for $SUITE: lintian" in_chroot "$root" \
    sh -c 'lintian --allow-root --no-cfg --fail-on error /build/*.changes'

rm -f "$work"/*.deb
cp "$root"/build/*.deb "$work/"
ls -l "$work"/*.deb
