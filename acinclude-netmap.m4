# -*- autoconf -*-

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

dnl OVS_NETDEV_CLASS_HAS(MEMBER, VARIABLE)
dnl
dnl Defines VARIABLE when struct netdev_class of this Open vSwitch has a
dnl function called MEMBER.  The classes of the supported releases differ in
dnl a few functions.
AC_DEFUN([OVS_NETDEV_CLASS_HAS], [
  AC_MSG_CHECKING([whether struct netdev_class has $1])
  if grep '([[*]]$1)' "$srcdir/lib/netdev-provider.h" >/dev/null 2>&1; then
    AC_MSG_RESULT([yes])
    AC_DEFINE([$2], [1], [Define to 1 if struct netdev_class has $1.])
  else
    AC_MSG_RESULT([no])
  fi
])

dnl OVS_DP_PACKET_HAS(FUNCTION, VARIABLE)
dnl
dnl Defines VARIABLE when this Open vSwitch has FUNCTION for packets.
AC_DEFUN([OVS_DP_PACKET_HAS], [
  AC_MSG_CHECKING([for $1])
  if grep '^$1(' "$srcdir/lib/dp-packet.h" >/dev/null 2>&1; then
    AC_MSG_RESULT([yes])
    AC_DEFINE([$2], [1], [Define to 1 if there is $1.])
  else
    AC_MSG_RESULT([no])
  fi
])

dnl OVS_UNIXCTL_REPLY_JSON
dnl
dnl Defines HAVE_UNIXCTL_REPLY_JSON when "ovs-appctl --format json" of this Open
dnl vSwitch asks commands for JSON.
AC_DEFUN([OVS_UNIXCTL_REPLY_JSON], [
  AC_MSG_CHECKING([whether ovs-appctl commands can reply in JSON])
  if grep unixctl_command_reply_json "$srcdir/lib/unixctl.h" >/dev/null 2>&1
  then
    AC_MSG_RESULT([yes])
    AC_DEFINE([HAVE_UNIXCTL_REPLY_JSON], [1],
              [Define to 1 if ovs-appctl commands can reply in JSON.])
  else
    AC_MSG_RESULT([no])
  fi
])

dnl OVS_CHECK_NETMAP
dnl
dnl Looks for libovs_netmap, which netmap ports need, when it is asked for:
dnl with pkg-config, or below PREFIX.
dnl
dnl Defines NETMAP_NETDEV, as macro and as automake conditional.
AC_DEFUN([OVS_CHECK_NETMAP], [
  AC_ARG_WITH([netmap],
              [AS_HELP_STRING([--with-netmap[[=PREFIX]]],
                              [Build with support for netmap ports.  Looks for
                               libovs_netmap with pkg-config, or below
                               PREFIX])],
              [], [with_netmap=no])

  AC_ARG_ENABLE([netmap-rpath],
                [AS_HELP_STRING([--disable-netmap-rpath],
                                [Do not write into the programs where
                                 libovs_netmap was found when they were built])],
                [], [enable_netmap_rpath=yes])

  NETMAP_CFLAGS=
  NETMAP_LIBS=
  ovs_netmap_rpath=

  AC_MSG_CHECKING([whether netmap is enabled])
  AC_MSG_RESULT([$with_netmap])
  case $with_netmap in
    no)
      ;;

    yes)
      if test -z "$PKG_CONFIG"; then
        AC_MSG_ERROR(m4_normalize([
          --with-netmap needs pkg-config to find libovs_netmap.  Install
          pkg-config, or give the directory that libovs_netmap was installed
          to: --with-netmap=PREFIX]))
      fi
      AC_MSG_CHECKING([for ovs_netmap.pc])
      if $PKG_CONFIG --exists ovs_netmap; then
        NETMAP_CFLAGS=`$PKG_CONFIG --cflags ovs_netmap`
        NETMAP_LIBS=`$PKG_CONFIG --libs ovs_netmap`
        ovs_netmap_version=`$PKG_CONFIG --modversion ovs_netmap`
        AC_MSG_RESULT([version $ovs_netmap_version])
      else
        AC_MSG_RESULT([not found])
        AC_MSG_ERROR(m4_normalize([
          --with-netmap was given, but pkg-config does not find ovs_netmap.
          Install libovs_netmap, add the directory of its ovs_netmap.pc to
          PKG_CONFIG_PATH, or give the directory that it was installed to:
          --with-netmap=PREFIX]))
      fi
      ;;

    /*)
      AC_MSG_CHECKING([for libovs_netmap below $with_netmap])
      if test ! -f "$with_netmap/include/ovs_netmap.h"; then
        AC_MSG_RESULT([not found])
        AC_MSG_ERROR(m4_normalize([
          --with-netmap=$with_netmap was given, but there is no
          $with_netmap/include/ovs_netmap.h.  Install libovs_netmap there or
          give the directory that it was installed to]))
      fi

      ovs_netmap_libdir=
      for ovs_netmap_dir in "$with_netmap"/lib "$with_netmap"/lib64 \
                            "$with_netmap"/lib/*-*; do
        for ovs_netmap_file in "$ovs_netmap_dir"/libovs_netmap.*; do
          if test -z "$ovs_netmap_libdir" && test -f "$ovs_netmap_file"; then
            ovs_netmap_libdir=$ovs_netmap_dir
          fi
        done
      done
      if test -z "$ovs_netmap_libdir"; then
        AC_MSG_RESULT([not found])
        AC_MSG_ERROR(m4_normalize([
          --with-netmap=$with_netmap was given, but there is no libovs_netmap
          in $with_netmap/lib.  Install it there or give the directory that it
          was installed to]))
      fi
      AC_MSG_RESULT([$ovs_netmap_libdir])
      NETMAP_CFLAGS="-I$with_netmap/include"
      NETMAP_LIBS="-L$ovs_netmap_libdir -lovs_netmap"
      ;;

    *)
      AC_MSG_ERROR(m4_normalize([
        --with-netmap=$with_netmap: not an absolute directory name.  Give the
        directory that libovs_netmap was installed to, or nothing to have it
        found by pkg-config]))
      ;;
  esac

  if test "$with_netmap" != no; then
    dnl A library outside of the directories that the dynamic linker searches
    dnl has to be found by the programs when they start, too.
    for ovs_netmap_flag in $NETMAP_LIBS; do
      case $ovs_netmap_flag in
        -L/lib* | -L/usr/lib* | -L/usr/local/lib*)
          ;;
        -L*)
          ovs_netmap_dir=`echo "$ovs_netmap_flag" | sed 's/^-L//'`
          ovs_netmap_rpath="$ovs_netmap_rpath -Wl,-rpath,$ovs_netmap_dir"
          ;;
      esac
    done

    ovs_netmap_save_CFLAGS=$CFLAGS
    ovs_netmap_save_LDFLAGS=$LDFLAGS
    ovs_netmap_save_LIBS=$LIBS
    CFLAGS="$CFLAGS $NETMAP_CFLAGS"
    LDFLAGS="$LDFLAGS $ovs_netmap_rpath"
    LIBS="$NETMAP_LIBS $LIBS"
    AC_MSG_CHECKING([whether linking with libovs_netmap works])
    AC_LINK_IFELSE(
      [AC_LANG_PROGRAM([#include <ovs_netmap.h>],
                       [netmap_flush_thread();])],
      [AC_MSG_RESULT([yes])],
      [AC_MSG_RESULT([no])
       AC_MSG_ERROR(m4_normalize([
         --with-netmap was given and libovs_netmap was found
         ($NETMAP_CFLAGS $NETMAP_LIBS), but a program that uses it does not
         link.  See config.log for the reason]))])
    CFLAGS=$ovs_netmap_save_CFLAGS
    LDFLAGS=$ovs_netmap_save_LDFLAGS
    LIBS=$ovs_netmap_save_LIBS

    OVS_CFLAGS="$OVS_CFLAGS $NETMAP_CFLAGS"
    if test "$enable_netmap_rpath" != no; then
      OVS_LDFLAGS="$OVS_LDFLAGS $ovs_netmap_rpath"
    fi
    AC_DEFINE([NETMAP_NETDEV], [1],
              [Define to 1 to build with support for netmap ports.])
    OVS_NETDEV_CLASS_HAS([get_speed], [HAVE_NETDEV_CLASS_GET_SPEED])
    OVS_NETDEV_CLASS_HAS([get_duplex], [HAVE_NETDEV_CLASS_GET_DUPLEX])
    OVS_DP_PACKET_HAS([dp_packet_l4_checksum_set_partial],
                      [HAVE_DP_PACKET_L4_CHECKSUM_SET_PARTIAL])
    OVS_DP_PACKET_HAS([dp_packet_ol_set_l4_csum_partial],
                      [HAVE_DP_PACKET_OL_SET_L4_CSUM_PARTIAL])
    OVS_UNIXCTL_REPLY_JSON
  fi

  AC_SUBST([NETMAP_LIBS])
  AM_CONDITIONAL([NETMAP_NETDEV], [test "$with_netmap" != no])
])
