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

/* What a netdev of type "netmap" says about itself and its interface: link,
 * addresses, flags, statistics, errors. */

#include <config.h>
#include "netdev-netmap-private.h"

#include <errno.h>

#include "openvswitch/vlog.h"
#include "smap.h"
#include "sset.h"

VLOG_DEFINE_THIS_MODULE(netdev_netmap);

#define EGRESS_POLICER "egress-policer"     /* As DPDK ports have it. */

/* Returns the link of 'netdev' as last seen: all zeros if there is no port. */
static struct netmap_link
netdev_netmap_get_link(const struct netdev *netdev)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);
    struct netmap_link link = { .mtu = 0 };

    ovs_mutex_lock(&dev->mutex);
    if (dev->port) {
        netmap_port_get_link(dev->port, &link);
    }
    link.carrier_resets += dev->old_resets;
    ovs_mutex_unlock(&dev->mutex);

    return link;
}

/* A port without a NUMA node suits any thread.  To name the first node avoids
 * that the datapath warns about one that does not exist. */
int
netdev_netmap_get_numa_id(const struct netdev *netdev)
{
    return MAX(netdev_netmap_get_link(netdev).numa_node, 0);
}

int
netdev_netmap_get_carrier(const struct netdev *netdev, bool *carrier)
{
    *carrier = netdev_netmap_get_link(netdev).carrier;
    return 0;
}

long long int
netdev_netmap_get_carrier_resets(const struct netdev *netdev)
{
    return netdev_netmap_get_link(netdev).carrier_resets;
}

int
netdev_netmap_get_ifindex(const struct netdev *netdev)
{
    uint32_t ifindex = netdev_netmap_get_link(netdev).ifindex;

    return ifindex ? ifindex : -EOPNOTSUPP;
}

int
netdev_netmap_get_mtu(const struct netdev *netdev, int *mtup)
{
    *mtup = netdev_netmap_get_link(netdev).mtu;
    return *mtup ? 0 : EOPNOTSUPP;
}

int
netdev_netmap_get_etheraddr(const struct netdev *netdev, struct eth_addr *mac)
{
    struct netmap_link link = netdev_netmap_get_link(netdev);

    memcpy(mac->ea, link.mac, sizeof mac->ea);
    return 0;
}

int
netdev_netmap_get_features(const struct netdev *netdev,
                           enum netdev_features *current,
                           enum netdev_features *advertised,
                           enum netdev_features *supported,
                           enum netdev_features *peer)
{
    struct netmap_link link = netdev_netmap_get_link(netdev);
    bool full = link.full_duplex;

    *current = *advertised = *supported = *peer = 0;
    switch (link.speed_mbps) {
    case 0: break;
    case 10: *current = full ? NETDEV_F_10MB_FD : NETDEV_F_10MB_HD; break;
    case 100: *current = full ? NETDEV_F_100MB_FD : NETDEV_F_100MB_HD; break;
    case 1000: *current = full ? NETDEV_F_1GB_FD : NETDEV_F_1GB_HD; break;
    case 10000: *current = NETDEV_F_10GB_FD; break;
    case 40000: *current = NETDEV_F_40GB_FD; break;
    case 100000: *current = NETDEV_F_100GB_FD; break;
    case 1000000: *current = NETDEV_F_1TB_FD; break;
    default: *current = NETDEV_F_OTHER; break;
    }
    return 0;
}

/* The speeds are in Mb/s. */
int
netdev_netmap_get_speed(const struct netdev *netdev, uint32_t *current,
                        uint32_t *max)
{
    *current = MIN(netdev_netmap_get_link(netdev).speed_mbps, UINT32_MAX);
    *max = 0;
    return 0;
}

int
netdev_netmap_get_duplex(const struct netdev *netdev, bool *full_duplex)
{
    struct netmap_link link = netdev_netmap_get_link(netdev);

    *full_duplex = link.full_duplex;
    return link.carrier ? 0 : EOPNOTSUPP;
}

/* Ends a change of the link of 'dev', which had the result 'error'. */
static int
netdev_netmap_link_set(struct netdev_netmap *dev, int error)
    OVS_REQUIRES(dev->mutex)
{
    if (!error) {
        netmap_port_refresh(dev->port);
        netdev_netmap_heard();
        netdev_change_seq_changed(&dev->up);
    }
    return error;
}

int
netdev_netmap_set_mtu(struct netdev *netdev, int mtu)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);
    char message[NETMAP_MESSAGE_SIZE] = "";
    int error = ENETDOWN;

    ovs_mutex_lock(&dev->mutex);
    if (dev->port) {
        error = netmap_port_set_mtu(dev->port, mtu, message, sizeof message);
        error = netdev_netmap_link_set(dev, error);
        free(dev->mtu_error);
        dev->mtu_error = error ? xstrdup(message) : NULL;
        if (error) {
            VLOG_WARN("%s: %s", netdev_get_name(netdev), message);
        }
    }
    ovs_mutex_unlock(&dev->mutex);

    return error;
}

int
netdev_netmap_set_etheraddr(struct netdev *netdev, const struct eth_addr mac)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);
    int error = ENETDOWN;

    ovs_mutex_lock(&dev->mutex);
    if (dev->port) {
        error = netmap_port_set_mac(dev->port, mac.ea);
        error = netdev_netmap_link_set(dev, error);
    }
    ovs_mutex_unlock(&dev->mutex);

    return error;
}

int
netdev_netmap_update_flags(struct netdev *netdev, enum netdev_flags off,
                           enum netdev_flags on, enum netdev_flags *old_flags)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);
    struct netmap_link link = netdev_netmap_get_link(netdev);
    int error = 0;

    if ((off | on) & ~(NETDEV_UP | NETDEV_PROMISC)) {
        return EINVAL;
    }

    *old_flags = ((link.up ? NETDEV_UP : 0)
                  | (link.promisc ? NETDEV_PROMISC : 0));

    ovs_mutex_lock(&dev->mutex);
    if (dev->port && (off | on) & NETDEV_UP) {
        error = netmap_port_set_up(dev->port, on & NETDEV_UP);
    }
    if (!error && (off | on) & NETDEV_PROMISC) {
        dev->promisc = on & NETDEV_PROMISC;
        if (dev->port) {
            error = netmap_port_set_promisc(dev->port, dev->promisc);
        }
    }
    if (dev->port && off | on) {
        error = netdev_netmap_link_set(dev, error);
    }
    ovs_mutex_unlock(&dev->mutex);

    return error;
}

/* Adds 'stats' to 'sum'. */
void
netdev_netmap_add_stats(struct netmap_stats *sum,
                        const struct netmap_stats *stats)
{
    sum->rx_packets += stats->rx_packets;
    sum->rx_bytes += stats->rx_bytes;
    sum->tx_packets += stats->tx_packets;
    sum->tx_bytes += stats->tx_bytes;
    sum->rx_dropped += stats->rx_dropped;
    sum->tx_dropped += stats->tx_dropped;
    sum->rx_errors += stats->rx_errors;
    sum->tx_errors += stats->tx_errors;
    sum->rx_length_errors += stats->rx_length_errors;
    sum->rx_over_errors += stats->rx_over_errors;
    sum->rx_crc_errors += stats->rx_crc_errors;
    sum->rx_frame_errors += stats->rx_frame_errors;
    sum->rx_fifo_errors += stats->rx_fifo_errors;
    sum->rx_missed_errors += stats->rx_missed_errors;
    sum->collisions += stats->collisions;
}

int
netdev_netmap_get_stats(const struct netdev *netdev,
                        struct netdev_stats *stats)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);
    struct netmap_stats current, sum;

    ovs_mutex_lock(&dev->mutex);
    sum = dev->old_stats;
    if (dev->port && !netmap_port_get_stats(dev->port, &current)) {
        netdev_netmap_add_stats(&sum, &current);
    }
    ovs_mutex_unlock(&dev->mutex);

    memset(stats, 0xff, sizeof *stats);     /* Unsupported, except for... */
    stats->rx_packets = sum.rx_packets;
    stats->tx_packets = sum.tx_packets;
    stats->rx_bytes = sum.rx_bytes;
    stats->tx_bytes = sum.tx_bytes;
    stats->rx_errors = sum.rx_errors;
    stats->tx_errors = sum.tx_errors;
    stats->rx_dropped = sum.rx_dropped;
    stats->tx_dropped = sum.tx_dropped;
    stats->rx_length_errors = sum.rx_length_errors;
    stats->rx_over_errors = sum.rx_over_errors;
    stats->rx_crc_errors = sum.rx_crc_errors;
    stats->rx_frame_errors = sum.rx_frame_errors;
    stats->rx_fifo_errors = sum.rx_fifo_errors;
    stats->rx_missed_errors = sum.rx_missed_errors;
    stats->collisions = sum.collisions;
    return 0;
}

static void
add_counter(const char *name, uint64_t value, void *stats_)
{
    struct netdev_custom_stats *stats = stats_;
    struct netdev_custom_counter *counter;

    stats->counters = xrealloc(stats->counters,
                               (stats->size + 1) * sizeof *counter);
    counter = &stats->counters[stats->size++];
    counter->value = value;
    ovs_strlcpy(counter->name, name, sizeof counter->name);
}

int
netdev_netmap_get_custom_stats(const struct netdev *netdev,
                               struct netdev_custom_stats *stats)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    if (dev->port) {
        netmap_port_counters(dev->port, add_counter, stats);
    }
    ovs_mutex_unlock(&dev->mutex);

    return 0;
}

static void
add_status(const char *key, const char *value, void *status)
{
    smap_replace(status, key, value);
}

int
netdev_netmap_get_status(const struct netdev *netdev, struct smap *status)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    if (dev->port) {
        netmap_port_status(dev->port, add_status, status);
    }
    ovs_mutex_unlock(&dev->mutex);

    return 0;
}

/* Makes the limits of 'dev' those of its port. */
void
netdev_netmap_apply_limits(struct netdev_netmap *dev)
{
    const struct netmap_policing *p = &dev->policing;

    if (dev->port) {
        netmap_port_set_policing(dev->port, p->kbits_rate, p->kbits_burst,
                                 p->kpkts_rate, p->kpkts_burst);
        netmap_port_set_egress_policer(dev->port, dev->cir, dev->cbs);
    }
}

int
netdev_netmap_get_qos_types(const struct netdev *netdev OVS_UNUSED,
                            struct sset *types)
{
    sset_add(types, EGRESS_POLICER);
    return 0;
}

int
netdev_netmap_get_qos(const struct netdev *netdev, const char **typep,
                      struct smap *details)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    *typep = dev->cir ? EGRESS_POLICER : "";
    if (dev->cir) {
        smap_add_format(details, "cir", "%"PRIu64, dev->cir);
        smap_add_format(details, "cbs", "%"PRIu64, dev->cbs);
    }
    ovs_mutex_unlock(&dev->mutex);

    return 0;
}

/* Takes an "egress-policer".  All other types would need the kernel's traffic
 * control, which does not see the packets. */
int
netdev_netmap_set_qos(struct netdev *netdev, const char *type,
                      const struct smap *details)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);
    const char *name = netdev_get_name(netdev);
    uint64_t cir = 0, cbs = 0;
    int error = 0;
    bool told;

    if (!strcmp(type, EGRESS_POLICER)) {
        cir = smap_get_ullong(details, "cir", 0);
        cbs = smap_get_ullong(details, "cbs", 0);
        error = cir && cbs ? 0 : EINVAL;
    } else if (*type) {
        error = EOPNOTSUPP;
    }

    ovs_mutex_lock(&dev->mutex);
    told = dev->qos_error == error;
    dev->qos_error = error;
    dev->cir = error ? 0 : cir;
    dev->cbs = error ? 0 : cbs;
    netdev_netmap_apply_limits(dev);
    ovs_mutex_unlock(&dev->mutex);

    if (error == EINVAL && !told) {
        VLOG_WARN("%s: QoS of type "EGRESS_POLICER" has no effect: it needs "
                  "other_config:cir, in bytes per second, and "
                  "other_config:cbs, in bytes, both greater than 0", name);
    } else if (error && !told) {
        VLOG_WARN("%s: QoS of type %s has no effect on a netmap port, whose "
                  "packets pass by the kernel's traffic control: use type "
                  EGRESS_POLICER" or OpenFlow meters instead (see "
                  "\"add-meter\" in ovs-ofctl(8))", name, type);
    }
    return error;
}

int
netdev_netmap_set_policing(struct netdev *netdev,
                           uint32_t kbits_rate, uint32_t kbits_burst,
                           uint32_t kpkts_rate, uint32_t kpkts_burst)
{
    struct netdev_netmap *dev = netdev_netmap_cast(netdev);

    ovs_mutex_lock(&dev->mutex);
    dev->policing = (struct netmap_policing) {
        .kbits_rate = kbits_rate,
        .kbits_burst = kbits_burst,
        .kpkts_rate = kpkts_rate,
        .kpkts_burst = kpkts_burst,
    };
    netdev_netmap_apply_limits(dev);
    ovs_mutex_unlock(&dev->mutex);

    return 0;
}

/* Keeps a message about 'dev' for the database, and logs it if it is news. */
void
netdev_netmap_set_error(struct netdev_netmap *dev, const char *format, ...)
{
    char *old = dev->error;
    va_list args;

    va_start(args, format);
    dev->error = xvasprintf(format, args);
    va_end(args);

    if (!nullable_string_is_equal(old, dev->error)) {
        VLOG_WARN("%s: %s", netdev_get_name(&dev->up), dev->error);
    }
    free(old);
}

/* Notes that an attempt to open the port of 'dev' had the result 'error', and
 * logs 'message', which says why, if that is news. */
void
netdev_netmap_note_open(struct netdev_netmap *dev, int error,
                        const char *message)
{
    /* That the interface is gone is logged by the library. */
    if (error && error != EAGAIN && error != dev->open_error
        && (error != ENODEV || !dev->opened)) {
        VLOG_WARN("%s: %s", netdev_get_name(&dev->up), message);
    }
    dev->open_error = error;
}

void
netdev_netmap_clear_error(struct netdev_netmap *dev)
{
    free(dev->error);
    dev->error = NULL;
}

/* If 'netdev' is of type "netmap", stores in '*errorp' what keeps it from
 * working as it is configured, null if nothing does, and returns true.  The
 * caller must free '*errorp'.  Otherwise returns false. */
bool
netmap_get_error(const struct netdev *netdev, char **errorp)
{
    char message[NETMAP_MESSAGE_SIZE];
    struct netdev_netmap *dev;

    if (netdev->netdev_class != &netdev_netmap_class) {
        return false;
    }

    dev = netdev_netmap_cast(netdev);
    ovs_mutex_lock(&dev->mutex);
    *errorp = nullable_xstrdup(dev->error ? dev->error : dev->mtu_error);
    if (!*errorp
        && netmap_follower_error(dev->follower, dev->port, message,
                                 sizeof message)) {
        *errorp = xstrdup(message);
    }
    ovs_mutex_unlock(&dev->mutex);

    return true;
}
