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

/* Network devices of type "netmap".
 *
 * This file translates between struct netdev_class and libovs_netmap, which
 * owns the rings and the packet buffers and decides everything about them.
 * The functions of the class that tell about the interface and its link are in
 * netdev-netmap-link.c, what partial checksums need in netdev-netmap-csum.c,
 * the hooks outside of the class in netmap.c. */

#include <config.h>
#include "netdev-netmap.h"

#include <errno.h>

#include "coverage.h"
#include "dirs.h"
#include "dp-packet.h"
#include "if-notifier.h"
#include "netdev-netmap-private.h"
#include "netdev-provider.h"
#include "netmap.h"
#include "openvswitch/poll-loop.h"
#include "ovs-numa.h"
#include "ovs-thread.h"
#include "seq.h"
#include "smap.h"
#include "timeval.h"
#include "util.h"

COVERAGE_DEFINE(netmap_link_change);
COVERAGE_DEFINE(netmap_reopen);
COVERAGE_DEFINE(netmap_reopen_failed);
COVERAGE_DEFINE(netmap_tx_copied);
COVERAGE_DEFINE(netmap_tx_dropped);

enum { MAX_QUEUES = UINT16_MAX };   /* Netmap numbers them with 16 bits. */
enum { MAX_INTERVAL = 1000000 };    /* Most "rxsync-intval", in us. */
enum { MAX_BUSY_POLL_BUDGET = 64 }; /* What drivers expect at most. */

struct netdev_rxq_netmap {
    struct netdev_rxq up;
    struct netmap_rxq *handle;
};

static struct seq *link_seq;            /* Changed by each link event. */

/* For the "run" and "wait" functions of the class only. */
static uint64_t last_link_seq;
static long long int next_run = LLONG_MIN;

static struct netdev_rxq_netmap *
netdev_rxq_netmap_cast(const struct netdev_rxq *rxq)
{
    ovs_assert(rxq->netdev->netdev_class == &netdev_netmap_class);
    return CONTAINER_OF(rxq, struct netdev_rxq_netmap, up);
}

/* Returns the library's queue for 'rxq', null if 'rxq' is no netmap queue. */
struct netmap_rxq *
netdev_netmap_rxq_handle(const struct netdev_rxq *rxq)
{
    return rxq->netdev->netdev_class == &netdev_netmap_class
           ? netdev_rxq_netmap_cast(rxq)->handle : NULL;
}

/* Has run() look at all ports: what was done to one may concern others, as the
 * other end of a pipe. */
void
netdev_netmap_heard(void)
{
    seq_change(link_seq);
}

/* Replaces '*s' by a copy of 'new'.  Returns true if they differ. */
static bool
replace_string(char **s, const char *new)
{
    bool differ = !nullable_string_is_equal(*s, new);

    if (differ) {
        free(*s);
        *s = nullable_xstrdup(new);
    }
    return differ;
}

/* Opening and closing the port. */

/* Opens the port of 'dev' with 'n_rxq' receive queues, and stores it in
 * '*portp'.  Returns 0 or, with null in '*portp' and a message in 'message', a
 * positive errno value. */
static int
netdev_netmap_open__(struct netdev_netmap *dev, int n_rxq,
                     struct netmap_port **portp,
                     char message[NETMAP_MESSAGE_SIZE])
    OVS_REQUIRES(dev->mutex)
{
    const struct netmap_port_config config = {
        .name = dev->port_name,
        .ovs_name = netdev_get_name(&dev->up),
        .n_rxq = n_rxq,
        .n_txq = dev->requested_n_txq,
        .rxsync_intval_us = dev->rxsync_intval,
        .null_source = dev->source,
        .trusted_peer = dev->trusted_peer,
        .busy_poll_budget = dev->busy_poll_budget,
        .rx_csum = dev->rx_csum,
        .run_dir = ovs_rundir(),
    };
    int error;

    *message = '\0';
    *portp = NULL;
    error = netmap_follower_open(dev->follower, &config, portp, message,
                                 NETMAP_MESSAGE_SIZE);
    netdev_netmap_note_open(dev, error, message);
    return error;
}

/* Likewise, with as many receive queues as are wanted.  If that cannot be, as
 * many as there were may still do, with a message in 'dev->error'. */
static int
netdev_netmap_open(struct netdev_netmap *dev, struct netmap_port **portp,
                   char message[NETMAP_MESSAGE_SIZE])
    OVS_REQUIRES(dev->mutex)
{
    int error = netdev_netmap_open__(dev, dev->requested_n_rxq, portp,
                                     message);

    if (error == EINVAL && dev->good_n_rxq
        && dev->good_n_rxq != dev->requested_n_rxq) {
        replace_string(&dev->error, message);
        error = netdev_netmap_open__(dev, dev->good_n_rxq, portp, message);
    }
    if (!error && dev->promisc) {
        netmap_port_set_promisc(*portp, true);
    }
    return error;
}

/* Makes 'port', which may be null, the port of 'dev', whose queues are not in
 * use. */
static void
netdev_netmap_use(struct netdev_netmap *dev, struct netmap_port *port)
    OVS_REQUIRES(dev->mutex)
{
    dev->port = port;
#ifdef NETMAP_CSUM
    dev->up.ol_flags = netmap_port_offers_csum(port)
                       ? (NETDEV_TX_OFFLOAD_TCP_CKSUM
                          | NETDEV_TX_OFFLOAD_UDP_CKSUM)
                       : 0;
#endif
    dev->up.n_rxq = netmap_port_n_rxq(port);
    dev->up.n_txq = netmap_port_n_txq(port);
    /* From now on it is looked after, or is tried again. */
    netdev_netmap_heard();
    if (port) {
        netdev_netmap_apply_limits(dev);
        dev->opened = true;
        dev->good_n_rxq = dev->up.n_rxq;
        if (dev->up.n_rxq == dev->requested_n_rxq) {
            netdev_netmap_clear_error(dev);
        }
    }
}

/* Closes '*portp', a port of 'dev', if there is one, but keeps what it
 * counted. */
static void
netdev_netmap_close(struct netdev_netmap *dev, struct netmap_port **portp)
    OVS_REQUIRES(dev->mutex)
{
    struct netmap_stats stats;
    struct netmap_link link;

    if (*portp) {
        if (!netmap_port_get_stats(*portp, &stats)) {
            netdev_netmap_add_stats(&dev->old_stats, &stats);
        }
        if (!netmap_port_get_link(*portp, &link)) {
            dev->old_resets += link.carrier_resets + 1;
        }
        netmap_follower_close(dev->follower, *portp);
        *portp = NULL;
        netdev_netmap_heard();
    }
}

/* Life cycle. */

static void
netdev_netmap_link_cb(void *aux OVS_UNUSED)
{
    seq_change(link_seq);
}

static int
netdev_netmap_init(void)
{
    link_seq = seq_create();
    last_link_seq = seq_read(link_seq);

    /* Never destroyed, because the class is never unregistered. */
    if_notifier_create(netdev_netmap_link_cb, NULL);
    return 0;
}

static struct netdev *
netdev_netmap_alloc(void)
{
    struct netdev_netmap *dev = xzalloc(sizeof *dev);

    return &dev->up;
}

static int
netdev_netmap_construct(struct netdev *netdev)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);
    int n_cores = ovs_numa_get_n_cores();

    netdev->n_rxq = netdev->n_txq = 0;
    ovs_mutex_init(&dev->mutex);

    ovs_mutex_lock(&dev->mutex);
    dev->follower = netmap_follower_create(netdev_get_name(netdev));
    dev->port_name = xstrdup(netdev_get_name(netdev));
    dev->requested_n_rxq = 1;
    dev->rxsync_intval = -1;

    /* One for each thread that there can be, as far as the port has them: it
     * is opened before the datapath says how many it wants. */
    dev->requested_n_txq = n_cores > 0 && n_cores < MAX_QUEUES ? n_cores + 1
                                                               : 1;
    ovs_mutex_unlock(&dev->mutex);

    return 0;
}

static void
netdev_netmap_destruct(struct netdev *netdev)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    netdev_netmap_close(dev, &dev->ready);
    netdev_netmap_close(dev, &dev->port);
    netmap_follower_destroy(dev->follower);
    free(dev->port_name);
    free(dev->source);
    free(dev->rx_csum);
    free(dev->mtu_error);
    free(dev->error);
    ovs_mutex_unlock(&dev->mutex);
    ovs_mutex_destroy(&dev->mutex);
}

static void
netdev_netmap_dealloc(struct netdev *netdev)
{
    free(netdev_netmap_cast(netdev));
}

/* Opens the port of 'dev' again.  If 'dev' has none, the datapath does not use
 * it, and is disturbed only when there is something for it. */
static void
netdev_netmap_reopen(struct netdev_netmap *dev)
    OVS_REQUIRES(dev->mutex)
{
    char message[NETMAP_MESSAGE_SIZE];

    if (dev->port) {
        dev->reopen = true;
        netdev_request_reconfigure(&dev->up);
    } else if (!dev->ready && dev->opened) {
        COVERAGE_INC(netmap_reopen);
        if (!netdev_netmap_open(dev, &dev->ready, message)) {
            dev->reopen = false;
            netdev_request_reconfigure(&dev->up);
        } else {
            COVERAGE_INC(netmap_reopen_failed);
        }
    }
}

/* After a link event, and from time to time, has the library look at the
 * interfaces behind the ports, and does what it says. */
static void
netdev_netmap_run(const struct netdev_class *class)
{
    uint64_t seq = seq_read(link_seq);
    bool heard = seq != last_link_seq;
    struct shash_node *node;
    struct shash devices;
    long long int wait;

    if (!heard && time_msec() < next_run) {
        return;
    }
    last_link_seq = seq;

    wait = netmap_run();
    next_run = wait < 0 ? LLONG_MAX : time_msec() + wait;

    shash_init(&devices);
    netdev_get_devices(class, &devices);
    SHASH_FOR_EACH (node, &devices) {
        struct netdev_netmap *dev = netdev_netmap_cast(node->data);
        struct netmap_port *port;
        uint32_t actions;

        ovs_mutex_lock(&dev->mutex);
        port = dev->port ? dev->port : dev->ready;
        actions = netmap_follower_run(dev->follower, port, heard);
        if (actions & NETMAP_FOLLOWER_ACTION_CHANGED) {
            COVERAGE_INC(netmap_link_change);
            netdev_change_seq_changed(&dev->up);
        }
        if (actions & NETMAP_FOLLOWER_ACTION_REOPEN) {
            netdev_netmap_close(dev, &dev->ready);
            netdev_netmap_reopen(dev);
            netdev_change_seq_changed(&dev->up);
        }
        wait = netmap_follower_wait(dev->follower);
        if (wait >= 0) {
            next_run = MIN(next_run, time_msec() + wait);
        }
        ovs_mutex_unlock(&dev->mutex);
        netdev_close(&dev->up);
    }
    shash_destroy(&devices);
}

static void
netdev_netmap_wait(const struct netdev_class *class OVS_UNUSED)
{
    seq_wait(link_seq, last_link_seq);
    if (next_run != LLONG_MAX) {
        poll_timer_wait_until(next_run);
    }
}

/* Configuration. */

/* Sets '*value' to the integer 'key' of 'args', or 'default_' without it.
 * Returns 0 or, with a message in 'dev->error', EINVAL. */
static int
parse_integer(struct netdev_netmap *dev, const struct smap *args,
              const char *key, int max, int default_, int *value)
    OVS_REQUIRES(dev->mutex)
{
    const char *s = smap_get(args, key);

    *value = default_;
    if (s && (!str_to_int(s, 10, value) || *value < 0 || *value > max)) {
        netdev_netmap_set_error(dev, "options:%s is \"%s\", expected an "
                                "integer from 0 to %d: correct it, or remove "
                                "it to have the default", key, s, max);
        return EINVAL;
    }
    return 0;
}

/* Checks option "rx-csum" in 'args'.  Returns 0 or, with a message in
 * 'dev->error', EINVAL. */
static int
check_rx_csum(struct netdev_netmap *dev, const struct smap *args)
    OVS_REQUIRES(dev->mutex)
{
    const char *s = smap_get_def(args, "rx-csum", "auto");

    if (strcmp(s, "auto") && strcmp(s, "on") && strcmp(s, "off")) {
        netdev_netmap_set_error(dev, "options:rx-csum is \"%s\", expected "
                                "\"auto\", \"on\" or \"off\": correct it, or "
                                "remove it to have the default, \"auto\"", s);
        return EINVAL;
    }
    return 0;
}

/* Opens the port of 'dev' for the first time.  The datapath does not use the
 * netdev yet, and a failure reaches the database.  Returns 0 if the netdev is
 * to stay, with its port or to be tried again by and by; else, with a message
 * in 'dev->error', a positive errno value. */
static int
netdev_netmap_first_open(struct netdev_netmap *dev)
    OVS_REQUIRES(dev->mutex)
{
    char message[NETMAP_MESSAGE_SIZE];
    struct netmap_port *port;
    int error;

    dev->reopen = false;
    error = netdev_netmap_open(dev, &port, message);
    switch (error) {
    case 0:
    case EACCES:
    case EAGAIN:
    case EBUSY:
    case EMFILE:
    case ENFILE:
    case ENOBUFS:
    case ENOENT:                /* Netmap's kernel module. */
    case ENOMEM:
    case ENOSPC:
        /* What is missing may be there soon. */
        dev->opened = true;
        netdev_netmap_use(dev, port);
        return 0;

    default:
        /* The bridge tries again after link events and configuration. */
        replace_string(&dev->error, message);
        return error;
    }
}

/* Takes over the options in 'args'.  Returns 0 or, with a message in
 * 'dev->error', a positive errno value. */
static int
netdev_netmap_apply_config(struct netdev_netmap *dev, const struct smap *args)
    OVS_REQUIRES(dev->mutex)
{
    bool trusted_peer = smap_get_bool(args, "trusted-peer", false);
    int rxsync_intval, n_rxq, busy_poll_budget;
    int error;

    error = parse_integer(dev, args, "rxsync-intval", MAX_INTERVAL, -1,
                          &rxsync_intval);
    if (!error) {
        error = parse_integer(dev, args, "n_rxq", MAX_QUEUES, 1, &n_rxq);
    }
    if (!error) {
        error = parse_integer(dev, args, "busy-poll-budget",
                              MAX_BUSY_POLL_BUDGET, 0, &busy_poll_budget);
    }
    if (!error) {
        error = check_rx_csum(dev, args);
    }
    if (error) {
        return error;
    }

    if (replace_string(&dev->port_name,
                       smap_get_def(args, "netmap-port",
                                    netdev_get_name(&dev->up)))) {
        dev->good_n_rxq = 0;
        dev->reopen = true;
    }
    dev->reopen |= replace_string(&dev->source, smap_get(args, "null-source"));
    if (trusted_peer != dev->trusted_peer) {
        dev->trusted_peer = trusted_peer;
        dev->reopen = true;
    }
    if (busy_poll_budget != dev->busy_poll_budget) {
        dev->busy_poll_budget = busy_poll_budget;
        dev->reopen = true;
    }
    dev->reopen |= replace_string(&dev->rx_csum, smap_get(args, "rx-csum"));
    if (MAX(n_rxq, 1) != dev->requested_n_rxq) {
        dev->requested_n_rxq = MAX(n_rxq, 1);
        dev->reopen = true;
    }
    if (rxsync_intval != dev->rxsync_intval) {
        dev->rxsync_intval = rxsync_intval;
        if (dev->port) {
            netmap_port_set_rxsync_intval(dev->port, rxsync_intval);
        }
    }

    if (!dev->opened) {
        return netdev_netmap_first_open(dev);
    } else if (dev->reopen) {
        dev->open_error = 0;            /* What fails now is news. */
        netdev_netmap_close(dev, &dev->ready);
        netdev_netmap_reopen(dev);
    }
    if (dev->up.n_rxq == dev->requested_n_rxq || !dev->port) {
        netdev_netmap_clear_error(dev);
    }
    return 0;
}

static int
netdev_netmap_set_config(struct netdev *netdev, const struct smap *args,
                         char **errp)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);
    int error;

    ovs_mutex_lock(&dev->mutex);
    replace_string(&dev->mtu_error, NULL);      /* set_mtu() comes after. */
    error = netdev_netmap_apply_config(dev, args);
    if (error && !dev->opened) {
        *errp = xstrdup(dev->error);
    } else {
        /* An error would delete an interface that works as it was configured
         * before.  netmap_get_error() has the message for the database. */
        error = 0;
    }
    ovs_mutex_unlock(&dev->mutex);

    return error;
}

static int
netdev_netmap_get_config(const struct netdev *netdev, struct smap *args)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    smap_add(args, "netmap-port", dev->port_name);
    smap_add_format(args, "n_rxq", "%d", netdev->n_rxq);
    if (dev->source) {
        smap_add(args, "null-source", dev->source);
    }
    if (dev->trusted_peer) {
        smap_add(args, "trusted-peer", "true");
    }
    if (dev->busy_poll_budget) {
        smap_add_format(args, "busy-poll-budget", "%d", dev->busy_poll_budget);
    }
    if (dev->rx_csum) {
        smap_add(args, "rx-csum", dev->rx_csum);
    }
    if (dev->port) {
        smap_add_format(args, "rxsync-intval", "%"PRId64,
                        netmap_port_get_rxsync_intval(dev->port));
    }
    ovs_mutex_unlock(&dev->mutex);

    return 0;
}

static int
netdev_netmap_set_tx_multiq(struct netdev *netdev, unsigned int n_txq)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    if (n_txq > dev->requested_n_txq) {
        /* A port that has fewer than it was asked for has no more. */
        if (netdev->n_txq >= dev->requested_n_txq) {
            dev->reopen = true;
            netdev_request_reconfigure(netdev);
        }
        dev->requested_n_txq = n_txq;
    }
    ovs_mutex_unlock(&dev->mutex);

    return 0;
}

/* Makes the port what the configuration says.  If that fails for a port that
 * was open before, the number of queues that it had may still do.  Otherwise
 * the netdev stays, without queues and with its carrier down, and is tried
 * again.  With an error, it would go. */
static int
netdev_netmap_reconfigure(struct netdev *netdev)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);
    char message[NETMAP_MESSAGE_SIZE];
    struct netmap_port *port;
    int error = 0;

    ovs_mutex_lock(&dev->mutex);
    if (dev->ready) {
        netdev_netmap_close(dev, &dev->port);
        port = dev->ready;
        dev->ready = NULL;
        netdev_netmap_use(dev, port);
    } else if (dev->reopen) {
        COVERAGE_INC(netmap_reopen);
        dev->reopen = false;
        netdev_netmap_close(dev, &dev->port);
        error = netdev_netmap_open(dev, &port, message);
        netdev_netmap_use(dev, port);
        if (error) {
            COVERAGE_INC(netmap_reopen_failed);
        }
    }
    netdev_change_seq_changed(netdev);
    ovs_mutex_unlock(&dev->mutex);

    return dev->opened ? 0 : error;
}

/* Data path. */

static struct netdev_rxq *
netdev_netmap_rxq_alloc(void)
{
    struct netdev_rxq_netmap *rx = xzalloc(sizeof *rx);

    return &rx->up;
}

static int
netdev_netmap_rxq_construct(struct netdev_rxq *rxq)
{
    struct netdev_netmap *dev = netdev_netmap_cast(rxq->netdev);
    struct netdev_rxq_netmap *rx = netdev_rxq_netmap_cast(rxq);

    rx->handle = netmap_port_rxq(dev->port, rxq->queue_id);
    return rx->handle ? 0 : EINVAL;
}

static void
netdev_netmap_rxq_destruct(struct netdev_rxq *rxq OVS_UNUSED)
{
    /* The queue belongs to the port. */
}

static void
netdev_netmap_rxq_dealloc(struct netdev_rxq *rxq)
{
    free(netdev_rxq_netmap_cast(rxq));
}

/* Makes 'b', which dp_packet_init_netmap() has initialized some time ago and
 * whose frame the library has written, a packet just received.
 *
 * Runs for every received packet, thus sets only what the last user of 'b' may
 * have left behind and what the datapath does not set anyway: it initializes
 * the metadata and the layer offsets itself, and no offload is valid without
 * its flag. */
static void
netdev_netmap_init_packet(struct dp_packet *b)
{
#ifdef DPDK_NETDEV
    const struct netmap_frame *frame = netdev_netmap_frame(b);

    dp_packet_set_base(b, frame->base);
    dp_packet_set_allocated(b, frame->allocated);
    dp_packet_set_size(b, frame->size);
    dp_packet_set_data(b, frame->base + frame->data_ofs);
#endif
    dp_packet_reset_offload(b);
    dp_packet_reset_cutlen(b);
    b->packet_type = htonl(PT_ETH);
}

static int
netdev_netmap_rxq_recv(struct netdev_rxq *rxq, struct dp_packet_batch *batch,
                       int *qfill)
{
    struct netdev_rxq_netmap *rx = netdev_rxq_netmap_cast(rxq);
#ifdef NETMAP_CSUM
    struct netmap_csum csums[NETDEV_MAX_BURST];
    size_t n_csums = 0;
    size_t n = netmap_rxq_recv_csums(rx->handle, batch->packets,
                                     NETDEV_MAX_BURST, csums, &n_csums);
#else
    size_t n = netmap_rxq_recv(rx->handle, batch->packets, NETDEV_MAX_BURST);
#endif

    if (!n) {
        return EAGAIN;
    }

    for (size_t i = 0; i < n; i++) {
        netdev_netmap_init_packet(batch->packets[i]);
    }
    batch->count = n;
#ifdef NETMAP_CSUM
    if (n_csums) {
        netdev_netmap_set_partial(batch, csums, n_csums);
    }
#endif

    if (OVS_UNLIKELY(qfill)) {
        *qfill = -ENOTSUP;
    }
    return 0;
}

static int
netdev_netmap_send(struct netdev *netdev, int qid,
                   struct dp_packet_batch *batch, bool concurrent_txq)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);
    size_t n = dp_packet_batch_size(batch);
    size_t n_returned, n_sent;
#ifdef NETMAP_CSUM
    struct netmap_csum csums[NETDEV_MAX_BURST];
    size_t n_csums;
#endif

    if (OVS_UNLIKELY(!n)) {
        return 0;
    }

#ifdef NETMAP_CSUM
    /* A port without the offload gets no packet with a partial checksum. */
    n_csums = netdev->ol_flags
              ? netdev_netmap_find_partial(batch, csums, NETDEV_MAX_BURST)
              : 0;
#endif

#ifdef DPDK_NETDEV
    struct dp_packet *packet;

    DP_PACKET_BATCH_FOR_EACH (i, packet, batch) {
        struct netmap_frame *frame = netdev_netmap_frame(packet);

        frame->base = dp_packet_base(packet);
        frame->data_ofs = dp_packet_headroom(packet);
        frame->size = dp_packet_size(packet);
    }
#endif

    /* The library takes its own packets.  All others, which it has copied, are
     * at the front of the batch then. */
#ifdef NETMAP_CSUM
    n_sent = netmap_port_send_csums(dev->port, qid, concurrent_txq,
                                    batch->packets, n, csums, n_csums,
                                    &n_returned);
#else
    n_sent = netmap_port_send(dev->port, qid, concurrent_txq, batch->packets,
                              n, &n_returned);
#endif
    if (OVS_UNLIKELY(n_returned)) {
        COVERAGE_ADD(netmap_tx_copied, n_returned);
    }
    batch->count = n_returned;
    dp_packet_delete_batch(batch, true);

    if (OVS_UNLIKELY(n_sent < n)) {
        COVERAGE_ADD(netmap_tx_dropped, n - n_sent);
        return EAGAIN;
    }
    return 0;
}

const struct netdev_class netdev_netmap_class = {
    .type = "netmap",
    .is_pmd = true,
    .init = netdev_netmap_init,
    .run = netdev_netmap_run,
    .wait = netdev_netmap_wait,
    .alloc = netdev_netmap_alloc,
    .construct = netdev_netmap_construct,
    .destruct = netdev_netmap_destruct,
    .dealloc = netdev_netmap_dealloc,
    .get_config = netdev_netmap_get_config,
    .set_config = netdev_netmap_set_config,
    .get_numa_id = netdev_netmap_get_numa_id,
    .set_tx_multiq = netdev_netmap_set_tx_multiq,
    .send = netdev_netmap_send,
    .set_etheraddr = netdev_netmap_set_etheraddr,
    .get_etheraddr = netdev_netmap_get_etheraddr,
    .get_mtu = netdev_netmap_get_mtu,
    .set_mtu = netdev_netmap_set_mtu,
    .get_ifindex = netdev_netmap_get_ifindex,
    .get_carrier = netdev_netmap_get_carrier,
    .get_carrier_resets = netdev_netmap_get_carrier_resets,
    .get_stats = netdev_netmap_get_stats,
    .get_custom_stats = netdev_netmap_get_custom_stats,
    .get_features = netdev_netmap_get_features,
#ifdef HAVE_NETDEV_CLASS_GET_SPEED
    .get_speed = netdev_netmap_get_speed,
#endif
#ifdef HAVE_NETDEV_CLASS_GET_DUPLEX
    .get_duplex = netdev_netmap_get_duplex,
#endif
    .set_policing = netdev_netmap_set_policing,
    .get_qos_types = netdev_netmap_get_qos_types,
    .get_qos = netdev_netmap_get_qos,
    .set_qos = netdev_netmap_set_qos,
    .get_status = netdev_netmap_get_status,
    .update_flags = netdev_netmap_update_flags,
    .reconfigure = netdev_netmap_reconfigure,
    .rxq_alloc = netdev_netmap_rxq_alloc,
    .rxq_construct = netdev_netmap_rxq_construct,
    .rxq_destruct = netdev_netmap_rxq_destruct,
    .rxq_dealloc = netdev_netmap_rxq_dealloc,
    .rxq_recv = netdev_netmap_rxq_recv,
};
