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

/* Partial checksums of packets on netmap ports: what of a packet Open vSwitch
 * knows to be partial, in this release and in the words of libovs_netmap. */

#include <config.h>
#include "netdev-netmap-private.h"

#include "csum.h"
#include "dp-packet.h"
#include "flow.h"
#include "packets.h"

#ifdef NETMAP_CSUM

/* A checksum that is partial, and the headers that it is for. */
struct partial {
    void *l3;
    void *l4;
    bool tcp;                   /* Else UDP. */
};

#ifdef HAVE_DP_PACKET_L4_CHECKSUM_SET_PARTIAL

/* Makes the checksum of 'packet', which is a TCP or else a UDP packet,
 * partial. */
static void
set_partial(struct dp_packet *packet, bool tcp)
{
    if (tcp) {
        dp_packet_l4_proto_set_tcp(packet);
    } else {
        dp_packet_l4_proto_set_udp(packet);
    }
    dp_packet_l4_checksum_set_partial(packet);
}

/* Returns true, and says what in '*p', if a checksum of 'packet' that
 * dp_packet_ol_send_prepare() leaves to a port which completes those of TCP
 * and UDP is partial. */
static bool
get_partial(struct dp_packet *packet, struct partial *p)
{
    if (OVS_UNLIKELY(dp_packet_inner_l4_checksum_partial(packet))) {
        p->l3 = dp_packet_inner_l3(packet);
        p->l4 = dp_packet_inner_l4(packet);
        p->tcp = dp_packet_inner_l4_proto_tcp(packet);
        return p->tcp || dp_packet_inner_l4_proto_udp(packet);
    }
    if (dp_packet_l4_checksum_partial(packet)) {
        p->l3 = dp_packet_l3(packet);
        p->l4 = dp_packet_l4(packet);
        p->tcp = dp_packet_l4_proto_tcp(packet);
        return p->tcp || dp_packet_l4_proto_udp(packet);
    }
    return false;
}

#else /* !HAVE_DP_PACKET_L4_CHECKSUM_SET_PARTIAL */

/* Returns the version of IP in 'packet', which has at most one VLAN tag. */
static int
ip_version(const struct dp_packet *packet)
{
    const struct eth_header *eth = dp_packet_data(packet);
    size_t l3_ofs = ETH_HEADER_LEN + (eth_type_vlan(eth->eth_type)
                                      ? VLAN_HEADER_LEN : 0);
    const uint8_t *ip = dp_packet_at(packet, l3_ofs, 1);

    return ip ? IP_VER(*ip) : 0;
}

/* Completes the checksum of 'packet', UDP over IPv6.  Taps of such releases do
 * it wrong: they look for the pseudo header in the UDP header. */
static void
complete_udp6(struct dp_packet *packet)
{
    parse_tcp_flags(packet, NULL, NULL, NULL);
    if (dp_packet_l4(packet)) {
        dp_packet_hwol_set_tx_ipv6(packet);
        packet_udp_complete_csum(packet, false);
        dp_packet_reset_offload(packet);
    }
}

static void
set_partial(struct dp_packet *packet, bool tcp)
{
    if (ip_version(packet) == 4) {
        dp_packet_hwol_set_tx_ipv4(packet);
    } else if (tcp) {
        dp_packet_hwol_set_tx_ipv6(packet);
    } else {
        complete_udp6(packet);
        return;
    }
    if (tcp) {
        dp_packet_hwol_set_csum_tcp(packet);
    } else {
        dp_packet_hwol_set_csum_udp(packet);
    }
    dp_packet_ol_set_l4_csum_partial(packet);
}

static bool
get_partial(struct dp_packet *packet, struct partial *p)
{
    if (OVS_LIKELY(!dp_packet_hwol_tx_l4_checksum(packet))) {
        return false;
    }
    if (dp_packet_hwol_is_tunnel(packet)) {
        p->l3 = dp_packet_inner_l3(packet);
        p->l4 = dp_packet_inner_l4(packet);
    } else {
        p->l3 = dp_packet_l3(packet);
        p->l4 = dp_packet_l4(packet);
    }
    p->tcp = dp_packet_hwol_l4_is_tcp(packet);
    return p->tcp || dp_packet_hwol_l4_is_udp(packet);
}

#endif /* !HAVE_DP_PACKET_L4_CHECKSUM_SET_PARTIAL */

/* Makes those of the packets just received, in 'batch', partial that the
 * library says are: the 'n' ones in 'csums'. */
void
netdev_netmap_set_partial(struct dp_packet_batch *batch,
                          const struct netmap_csum *csums, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        set_partial(batch->packets[csums[i].packet],
                    csums[i].offset == offsetof(struct tcp_header, tcp_csum));
    }
}

/* Puts the sum of its pseudo header into the checksum of 'p', as the library
 * and the kernel want it.  Open vSwitch does not look at what is there.
 * Returns false if the packet has no checksum. */
static bool
put_pseudo_header(const struct partial *p)
{
    const struct ip_header *ip = p->l3;
    uint32_t sum = IP_VER(ip->ip_ihl_ver) == 4
                   ? packet_csum_pseudoheader(ip)
                   : packet_csum_pseudoheader6(p->l3);
    ovs_be16 pseudo = (OVS_FORCE ovs_be16) ~csum_finish(sum);

    if (p->tcp) {
        struct tcp_header *tcp = p->l4;

        tcp->tcp_csum = pseudo;
    } else {
        struct udp_header *udp = p->l4;

        if (!udp->udp_csum) {
            return false;
        }
        udp->udp_csum = pseudo;
    }
    return true;
}

/* Looks for packets in 'batch', which are about to be sent, whose checksums
 * are partial.  Stores them in 'csums', which has room for 'max'; all others
 * are completed here.  Returns how many were stored. */
size_t
netdev_netmap_find_partial(struct dp_packet_batch *batch,
                           struct netmap_csum *csums, size_t max)
{
    struct dp_packet *packet;
    size_t n = 0;

    DP_PACKET_BATCH_FOR_EACH (i, packet, batch) {
        struct partial p;

        if (OVS_LIKELY(!get_partial(packet, &p))) {
            continue;
        }
        /* What follows behind the segment would be in its checksum. */
        if (n >= max || dp_packet_l2_pad_size(packet)) {
            dp_packet_ol_send_prepare(packet, 0);
            continue;
        }
        if (p.l3 && p.l4 && put_pseudo_header(&p)) {
            csums[n++] = (struct netmap_csum) {
                .packet = i,
                .start = (char *) p.l4 - (char *) dp_packet_data(packet),
                .offset = p.tcp ? offsetof(struct tcp_header, tcp_csum)
                                : offsetof(struct udp_header, udp_csum),
            };
        }
    }
    return n;
}

#endif /* NETMAP_CSUM */
