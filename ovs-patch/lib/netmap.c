/*
 * SPDX-License-Identifier: Apache-2.0
 *
 * Licensed under the Apache License, Version 2.0 (the "License");
 * you may not use this file except in compliance with the License.
 * You may obtain a copy of the License at:
 *
 *     http://www.apache.org/licenses/LICENSE-2.0
 *
 * Unless required by applicable law or agreed to in writing, software
 * distributed under the License is distributed on an "AS IS" BASIS,
 * WITHOUT WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied.
 * See the License for the specific language governing permissions and
 * limitations under the License.
 */

/* Connects Open vSwitch with libovs_netmap, which knows none of its types:
 * what the library needs goes through the callbacks in this file.  The ports
 * themselves are in netdev-netmap.c. */

#include <config.h>
#include "netmap.h"

#include "dp-packet.h"
#include "fatal-signal.h"
#include "netdev-netmap-private.h"
#include "netdev-provider.h"
#include "openvswitch/json.h"
#include "openvswitch/vlog.h"
#include "smap.h"
#include "unixctl.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(netmap);

/* Why the library does not work with this program; empty when it does. */
static char netmap_attach_error[256];

static const char *
netmap_config_get(const struct smap *config, const char *key)
{
    return smap_get(config, key);
}

static void
netmap_register_class(void)
{
    netdev_register_provider(&netdev_netmap_class);
}

/* Called by any thread, PMD threads included.  The library limits the rate of
 * what it has to say about packets. */
static void
netmap_log(enum netmap_log_level level, const char *message)
{
    switch (level) {
    case NETMAP_LOG_LEVEL_ERR:
        VLOG_ERR("%s", message);
        break;

    case NETMAP_LOG_LEVEL_WARN:
        VLOG_WARN("%s", message);
        break;

    case NETMAP_LOG_LEVEL_INFO:
        VLOG_INFO("%s", message);
        break;

    case NETMAP_LOG_LEVEL_DBG:
    default:
        VLOG_DBG("%s", message);
        break;
    }
}

/* A signal is about to end the process, which closes no port. */
static void
netmap_fatal_signal(void *aux OVS_UNUSED)
{
    netmap_surrender();
}

/* "netmap/show [--json]". */
static void
netmap_unixctl_show(struct unixctl_conn *conn, int argc, const char *argv[],
                    void *aux OVS_UNUSED)
{
    char *reply;

    if (netmap_attach_error[0]) {
        unixctl_command_reply_error(conn, netmap_attach_error);
        return;
    }
    if (argc > 1 && strcmp(argv[1], "--json")) {
        unixctl_command_reply_error(conn, "the only option is --json");
        return;
    }
#ifdef HAVE_UNIXCTL_REPLY_JSON
    if (unixctl_command_get_output_format(conn) == UNIXCTL_OUTPUT_FMT_JSON) {
        reply = netmap_show_json();
        unixctl_command_reply_json(conn, json_from_string(reply ? reply : ""));
        netmap_string_free(reply);
        return;
    }
#endif
    reply = argc > 1 ? netmap_show_json() : netmap_show();
    unixctl_command_reply(conn, reply ? reply : "");
    netmap_string_free(reply);
}

/* Tells the library how to talk to Open vSwitch.  To be called once, before
 * netmap_init(). */
void
netmap_attach(void)
{
    static const struct netmap_host host = {
        .size = sizeof host,
        .abi = OVS_NETMAP_ABI,
        .dp_packet_size = sizeof(struct dp_packet),
        .frame_ofs = NETMAP_FRAME_OFS,
        .source_ofs = offsetof(struct dp_packet, source),
        .source = DPBUF_NETMAP,
        .packet_init = dp_packet_init_netmap,
        .config_get = netmap_config_get,
        .register_class = netmap_register_class,
        .rxq_handle = netdev_netmap_rxq_handle,
        .log = netmap_log,
    };

    BUILD_ASSERT(MEMBER_SIZEOF(struct dp_packet, source) == 1);
    if (netmap_host_attach(&host, netmap_attach_error,
                           sizeof netmap_attach_error)) {
        VLOG_ERR("interfaces of type netmap do not work: %s",
                 netmap_attach_error);
    }

    fatal_signal_add_hook(netmap_fatal_signal, NULL, NULL, false);
    unixctl_command_register("netmap/show", "[--json]", 0, 1,
                             netmap_unixctl_show, NULL);
}

/* Extends '*errp', the message about an interface of the given 'type' that
 * could not be opened, by the reason when that is the configuration or the
 * library. */
void
netmap_explain_open_error(const char *type, char **errp)
{
    if (*errp && !strcmp(type, "netmap") && !netmap_initialized()) {
        const char *reason = netmap_attach_error[0]
            ? netmap_attach_error
            : ("netmap ports need other_config:netmap-init=true in the "
               "Open_vSwitch table");
        char *old = *errp;

        *errp = xasprintf("%s: %s", old, reason);
        free(old);
        VLOG_WARN("%s", *errp);
    }
}
