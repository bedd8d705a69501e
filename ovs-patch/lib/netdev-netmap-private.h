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

#ifndef NETDEV_NETMAP_PRIVATE_H
#define NETDEV_NETMAP_PRIVATE_H 1

/* Shared by netdev-netmap.c, netdev-netmap-link.c and netmap.c only. */

#include "dp-packet.h"
#include "netdev-netmap.h"
#include "netdev-provider.h"
#include "netmap.h"
#include "ovs-thread.h"
#include "util.h"

enum { NETMAP_MESSAGE_SIZE = 512 }; /* Room for a message of the library. */

/* Arguments of set_policing(). */
struct netmap_policing {
    uint32_t kbits_rate;
    uint32_t kbits_burst;
    uint32_t kpkts_rate;
    uint32_t kpkts_burst;
};

struct netdev_netmap {
    struct netdev up;

    /* The open port.  Changed only while the datapath does not use the netdev,
     * thus rxq_recv() and send() read it without 'mutex'.  While it is null,
     * the netdev has no queues, thus they are not called at all. */
    struct netmap_port *port;

    struct ovs_mutex mutex;     /* Protects all of the following. */

    /* Follows the interface of the port, also while that is not open. */
    struct netmap_follower *follower OVS_GUARDED;

    /* A port that was opened while the datapath had none of this netdev, which
     * takes it when it reconfigures the netdev. */
    struct netmap_port *ready OVS_GUARDED;

    /* Configuration. */
    char *port_name OVS_GUARDED;        /* Netmap port to open. */
    char *source OVS_GUARDED;           /* Option "null-source", or null. */
    bool trusted_peer OVS_GUARDED;      /* Option "trusted-peer". */
    char *rx_csum OVS_GUARDED;          /* Option "rx-csum", or null. */
    int busy_poll_budget OVS_GUARDED;   /* Option "busy-poll-budget". */
    int requested_n_rxq OVS_GUARDED;
    int requested_n_txq OVS_GUARDED;
    int good_n_rxq OVS_GUARDED;         /* Had when it was open, or 0. */
    int rxsync_intval OVS_GUARDED;      /* In us, -1 for the global value. */
    bool promisc OVS_GUARDED;           /* Promiscuous mode asked for? */
    bool reopen OVS_GUARDED;            /* Does 'port' differ from these? */

    struct netmap_policing policing OVS_GUARDED;
    uint64_t cir OVS_GUARDED;           /* Egress policer: bytes per second, */
    uint64_t cbs OVS_GUARDED;           /* and bytes in a burst. */

    /* State. */
    bool opened OVS_GUARDED;            /* Is the netdev to stay? */
    int qos_error OVS_GUARDED;          /* Of the last set_qos(). */
    char *error OVS_GUARDED;            /* For the database, or null. */
    int open_error OVS_GUARDED;         /* Of the last attempt to open. */
    char *mtu_error OVS_GUARDED;        /* Likewise, about "mtu_request". */
    struct netmap_stats old_stats OVS_GUARDED; /* Of ports closed before. */
    uint64_t old_resets OVS_GUARDED;    /* Likewise, carrier resets. */
};

/* Releases that know of packets whose checksums are partial get them as such,
 * and complete them where they leave by a port that does not.  For others the
 * library completes them when they are received. */
#if defined(HAVE_DP_PACKET_L4_CHECKSUM_SET_PARTIAL) \
    || defined(HAVE_DP_PACKET_OL_SET_L4_CSUM_PARTIAL)
#define NETMAP_CSUM 1

void netdev_netmap_set_partial(struct dp_packet_batch *,
                               const struct netmap_csum *, size_t n);
size_t netdev_netmap_find_partial(struct dp_packet_batch *,
                                  struct netmap_csum *, size_t max);
#endif

/* The library reads and writes a struct netmap_frame in each packet.  It is
 * the first members of struct dp_packet.  With DPDK, whose mbuf is another
 * thing, it is in the room of the metadata, which has no content when a packet
 * is received and is not needed any more when it is sent. */
#ifdef DPDK_NETDEV
enum { NETMAP_FRAME_OFS = offsetof(struct dp_packet, data) };
#else
enum { NETMAP_FRAME_OFS = offsetof(struct dp_packet, base_) };

#define ASSERT_FRAME_MEMBER(FRAME_MEMBER, PACKET_MEMBER)                  \
    BUILD_ASSERT_DECL(NETMAP_FRAME_OFS                                    \
                      + offsetof(struct netmap_frame, FRAME_MEMBER)       \
                      == offsetof(struct dp_packet, PACKET_MEMBER)        \
                      && MEMBER_SIZEOF(struct netmap_frame, FRAME_MEMBER) \
                         == MEMBER_SIZEOF(struct dp_packet, PACKET_MEMBER))
ASSERT_FRAME_MEMBER(base, base_);
ASSERT_FRAME_MEMBER(allocated, allocated_);
ASSERT_FRAME_MEMBER(data_ofs, data_ofs);
ASSERT_FRAME_MEMBER(size, size_);
#undef ASSERT_FRAME_MEMBER
#endif

static inline struct netmap_frame *
netdev_netmap_frame(struct dp_packet *packet)
{
    return ALIGNED_CAST(struct netmap_frame *,
                        (char *) packet + NETMAP_FRAME_OFS);
}

static inline struct netdev_netmap *
netdev_netmap_cast(const struct netdev *netdev)
{
    ovs_assert(netdev->netdev_class == &netdev_netmap_class);
    return CONTAINER_OF(netdev, struct netdev_netmap, up);
}

/* Functions of the class in netdev-netmap-link.c. */
int netdev_netmap_get_numa_id(const struct netdev *);
int netdev_netmap_get_carrier(const struct netdev *, bool *carrier);
long long int netdev_netmap_get_carrier_resets(const struct netdev *);
int netdev_netmap_get_ifindex(const struct netdev *);
int netdev_netmap_get_mtu(const struct netdev *, int *mtup);
int netdev_netmap_set_mtu(struct netdev *, int mtu);
int netdev_netmap_get_etheraddr(const struct netdev *, struct eth_addr *mac);
int netdev_netmap_set_etheraddr(struct netdev *, const struct eth_addr mac);
int netdev_netmap_update_flags(struct netdev *, enum netdev_flags off,
                               enum netdev_flags on,
                               enum netdev_flags *old_flags);
int netdev_netmap_get_features(const struct netdev *,
                               enum netdev_features *current,
                               enum netdev_features *advertised,
                               enum netdev_features *supported,
                               enum netdev_features *peer);
int netdev_netmap_get_speed(const struct netdev *, uint32_t *current,
                            uint32_t *max);
int netdev_netmap_get_duplex(const struct netdev *, bool *full_duplex);
int netdev_netmap_get_stats(const struct netdev *, struct netdev_stats *);
int netdev_netmap_get_custom_stats(const struct netdev *,
                                   struct netdev_custom_stats *);
int netdev_netmap_get_status(const struct netdev *, struct smap *status);
int netdev_netmap_get_qos_types(const struct netdev *, struct sset *types);
int netdev_netmap_get_qos(const struct netdev *, const char **typep,
                          struct smap *details);
int netdev_netmap_set_qos(struct netdev *, const char *type,
                          const struct smap *details);
int netdev_netmap_set_policing(struct netdev *,
                               uint32_t kbits_rate, uint32_t kbits_burst,
                               uint32_t kpkts_rate, uint32_t kpkts_burst);

void netdev_netmap_apply_limits(struct netdev_netmap *dev)
    OVS_REQUIRES(dev->mutex);
void netdev_netmap_heard(void);
void netdev_netmap_note_open(struct netdev_netmap *dev, int error,
                             const char *message)
    OVS_REQUIRES(dev->mutex);
void netdev_netmap_set_error(struct netdev_netmap *dev,
                             const char *format, ...)
    OVS_PRINTF_FORMAT(2, 3) OVS_REQUIRES(dev->mutex);
void netdev_netmap_clear_error(struct netdev_netmap *dev)
    OVS_REQUIRES(dev->mutex);
void netdev_netmap_add_stats(struct netmap_stats *sum,
                             const struct netmap_stats *);

#endif /* netdev-netmap-private.h */
