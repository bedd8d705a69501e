/* SPDX-License-Identifier: Apache-2.0
 *
 * The C interface, used as Open vSwitch uses it, on null ports and a pipe.  Built against the installed
 * header and library; prints a line for each check and exits with 1 if any failed. */

#include <errno.h>
#include <ovs_netmap.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Stand-ins for structs of Open vSwitch. */
struct dp_packet {
    uint64_t fields[20];
    struct netmap_frame frame;
    uint32_t flow_mark;
    uint8_t source;
};

struct smap {
    const char *key[4];
    const char *value[4];
};

struct netdev_rxq {
    struct netmap_rxq *handle;
};

enum { BURST = 32, NETMAP_SOURCE = 7 };

/* Layouts that C code relies on. */
_Static_assert(sizeof(struct netmap_frame) == 16, "frame");
_Static_assert(offsetof(struct netmap_frame, allocated) == 8, "frame allocated");
_Static_assert(offsetof(struct netmap_frame, data_ofs) == 10, "frame data_ofs");
_Static_assert(offsetof(struct netmap_frame, size) == 12, "frame size");
_Static_assert(sizeof(struct netmap_csum) == 6, "csum");

static int n_failed;
static int n_packets;
static int n_registered;
static int n_logged;
static char last_log[512];

static void
check(int ok, const char *what)
{
    printf("%s: %s\n", ok ? "ok" : "FAILED", what);
    n_failed += !ok;
}

static void
packet_init(struct dp_packet *packet)
{
    packet->source = NETMAP_SOURCE;
    n_packets++;
}

static const char *
config_get(const struct smap *smap, const char *key)
{
    for (size_t i = 0; i < 4; i++) {
        if (smap->key[i] && !strcmp(smap->key[i], key)) {
            return smap->value[i];
        }
    }
    return NULL;
}

static void
register_class(void)
{
    n_registered++;
}

static struct netmap_rxq *
rxq_handle(const struct netdev_rxq *rxq)
{
    return rxq->handle;
}

static void
log_message(enum netmap_log_level level, const char *message)
{
    n_logged += level <= NETMAP_LOG_LEVEL_DBG;
    snprintf(last_log, sizeof last_log, "%s", message);
}

static struct netmap_port *
open_port(const char *name, const char *source, int expected)
{
    struct netmap_port_config config = {
        .name = name,
        .ovs_name = "c-abi",
        .n_rxq = 1,
        .n_txq = 1,
        .rxsync_intval_us = 0,
        .null_source = source,
    };
    struct netmap_port *port = NULL;
    char err[256] = "";
    int error = netmap_port_open(&config, &port, err, sizeof err);

    printf("open %s: %d %s\n", name, error, err);
    check(error == expected, "open returns what was expected");
    check(!error == !err[0], "a message if and only if it failed");
    check(!error == !!port, "a port if and only if it worked");
    return port;
}

static size_t
forward(struct netmap_port *from, struct netmap_port *to, size_t max)
{
    uint8_t bytes[60] = "\xff\xff\xff\xff\xff\xff";
    struct dp_packet foreign = { .frame = { .base = bytes, .size = sizeof bytes } };
    struct dp_packet *packets[BURST + 1];
    size_t n = netmap_rxq_recv(netmap_port_rxq(from, 0), packets, max);
    size_t n_returned = 99;

    for (size_t i = 0; i < n; i++) {
        check(packets[i]->source == NETMAP_SOURCE, "packets are initialised");
    }
    packets[n] = &foreign;
    check(netmap_port_send(to, 0, false, packets, n + 1, &n_returned) == n + 1,
          "all frames are sent");
    check(n_returned == 1 && packets[0] == &foreign, "what is not the library's is returned");
    return n;
}

struct search {
    const char *name;
    uint64_t value;
    int found;
};

static void
find_counter(const char *name, uint64_t value, void *search_)
{
    struct search *search = search_;

    if (!strcmp(name, search->name)) {
        search->value = value;
        search->found++;
    }
}

static void
find_key(const char *key, const char *value, void *search_)
{
    struct search *search = search_;

    search->found += !strcmp(key, search->name) && value[0];
}

/* A host whose memory ends with 'size' bytes: one byte more read is an error under valgrind. */
static int
attach_part(const struct netmap_host *host, uint32_t size, uint32_t abi, char *err, size_t err_size)
{
    struct netmap_host *part = malloc(size);
    int error;

    memcpy(part, host, size);
    memcpy(part, &size, sizeof size);
    memcpy((char *) part + sizeof size, &abi, sizeof abi);
    error = netmap_host_attach(part, err, err_size);
    free(part);
    return error;
}

/* A program that was built for another version of the library. */
static void
test_other_abi(const struct netmap_host *host)
{
    struct smap on = { .key = { "netmap-init" }, .value = { "true" } };
    const uint32_t sizes[] = { 8, 12, sizeof *host - 1, sizeof *host };
    char err[256], numbers[32];

    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        for (uint32_t abi = OVS_NETMAP_ABI - 1; abi <= OVS_NETMAP_ABI + 1; abi += 2) {
            err[0] = '\0';
            check(attach_part(host, sizes[i], abi, err, sizeof err) == EPROTO, "another ABI");
            printf("%s\n", err);
            snprintf(numbers, sizeof numbers, "for ABI %u ", (unsigned int) abi);
            check(strstr(err, numbers) != NULL, "its number is named");
            snprintf(numbers, sizeof numbers, "has ABI %u:", (unsigned int) OVS_NETMAP_ABI);
            check(strstr(err, numbers) && strstr(err, OVS_NETMAP_VERSION), "so is the library's");
        }
    }
    for (size_t i = 0; i < 3; i++) {
        check(attach_part(host, sizes[i], OVS_NETMAP_ABI, err, sizeof err) == EPROTO
              && strstr(err, "bytes"), "another size");
        printf("%s\n", err);
    }
    check(attach_part(host, sizeof *host, 0, NULL, 0) == EPROTO, "no room for a message");

    netmap_init(&on);
    check(!netmap_initialized() && !n_registered, "the port type stays off");
    open_port("null:0", NULL, EINVAL);
    check(netmap_rxq_recv(NULL, NULL, 0) == 0, "and the rest does nothing");
}

static void
test_setup(void)
{
    struct netmap_host host = {
        .size = sizeof host,
        .abi = OVS_NETMAP_ABI,
        .dp_packet_size = sizeof(struct dp_packet),
        .frame_ofs = offsetof(struct dp_packet, frame),
        .source_ofs = offsetof(struct dp_packet, source),
        .source = NETMAP_SOURCE,
    };
    struct smap off = { .key = { "netmap-init" }, .value = { "false" } };
    struct smap on = {
        .key = { "netmap-init", "netmap-nextrabufs", "rxsync-intval" },
        .value = { "true", "100", "many" },
    };
    char err[256] = "";

    open_port("null:0", NULL, EINVAL);
    check(netmap_host_attach(NULL, NULL, 0) == EINVAL, "no host");
    check(netmap_host_attach(&host, err, sizeof err) == EINVAL && strstr(err, "packet_init"),
          "an incomplete host");
    host.packet_init = packet_init;
    host.config_get = config_get;
    host.register_class = register_class;
    host.rxq_handle = rxq_handle;
    host.log = log_message;
    test_other_abi(&host);
    host.frame_ofs = sizeof(struct dp_packet) - sizeof(struct netmap_frame) + 8;
    check(netmap_host_attach(&host, NULL, 0) == EINVAL, "a frame that is not inside a packet");
    host.frame_ofs = offsetof(struct dp_packet, frame);
    check(netmap_host_attach(&host, NULL, 0) == 0, "a complete host");
    check(netmap_host_attach(&host, NULL, 0) == EEXIST, "a second host");

    netmap_init(NULL);
    netmap_init(&off);
    check(!netmap_initialized() && !n_registered, "off stays off");
    netmap_init(&on);
    netmap_init(&on);
    check(netmap_initialized() && n_registered == 1, "registered once");
    check(strstr(last_log, "enabled") != NULL, "the log says so");
}

static void
test_clock(void)
{
    uint64_t rate = netmap_ticks_per_second();
    uint64_t start = netmap_rdtsc();

    check(rate > 1000000, "the clock ticks");
    check(netmap_rdtsc() >= start, "forwards");
    check(netmap_ticks_to_us(netmap_us_to_ticks(1234)) == 1234, "there and back");
    check(netmap_us_to_ticks(UINT64_MAX) == UINT64_MAX, "saturates");
}

static void
test_forward(void)
{
    struct netmap_port *source = open_port("null:0", "udp:3", 0);
    struct netmap_port *a = open_port("netmap:x{1", NULL, 0);
    struct netmap_port *b = open_port("netmap:x}1", NULL, 0);
    struct netdev_rxq rxq = { netmap_port_rxq(source, 0) };
    struct netdev_rxq other_type = { NULL };
    struct dp_packet *rx[BURST + 1], *sent[2];
    struct dp_packet foreign = { .source = !NETMAP_SOURCE };
    size_t n_returned = 99;
    struct netmap_stats stats;
    struct search counter = { "txq0_zero_copy", 0, 0 };
    struct search key = { "engine", 0, 0 };
    char *text;

    netmap_init_port(&rxq);
    netmap_init_port(&other_type);
    netmap_init_port(NULL);
    check(forward(source, a, BURST) == BURST, "a burst into the pipe");
    check(netmap_rxq_recv(netmap_port_rxq(b, 0), rx, BURST) == BURST, "a burst out of it");
    check(rx[0]->frame.size == 64 && rx[0]->frame.data_ofs >= 128, "frames with headroom");
    check(rx[0]->frame.base[rx[0]->frame.data_ofs + 12] == 0x08, "an IPv4 frame");
    check(netmap_rxq_recv(netmap_port_rxq(b, 0), rx + BURST, 1) == 1, "one more");
    check(rx[BURST]->frame.size == 60, "which was copied");
    netmap_free_packet(rx[BURST]);

    /* The fate of packets in flight: one resized, one freed twice, the rest after the close. */
    netmap_packet_moved(rx[0], malloc(100));
    netmap_free_packet(rx[0]);
    netmap_free_packet(rx[1]);
    netmap_free_packet(rx[1]);
    check(strstr(last_log, "twice") != NULL, "a double free is noticed");
    netmap_free_packet(NULL);

    /* Without a port, all is dropped. */
    sent[0] = rx[2];
    sent[1] = &foreign;
    check(netmap_port_send(NULL, 0, false, sent, 2, &n_returned) == 0, "nothing is sent");
    check(n_returned == 1 && sent[0] == &foreign, "and what is not the library's is returned");

    check(!netmap_port_get_stats(b, &stats), "stats");
    check(stats.rx_packets == BURST + 1 && stats.rx_bytes == 64 * BURST + 60, "received is counted");
    check(!netmap_port_get_stats(a, &stats), "stats");
    check(stats.tx_packets == BURST + 1 && !stats.tx_dropped, "sent is counted");
    netmap_port_counters(a, find_counter, &counter);
    check(counter.found == 1 && counter.value == BURST, "no other was copied");
    netmap_port_status(a, find_key, &key);
    check(key.found == 1, "the status names the engine");

    check(!netmap_port_set_rxsync_intval(a, 250)
          && netmap_port_get_rxsync_intval(a) == 250, "interval set");
    check(netmap_port_set_rxsync_intval(a, -7) == EINVAL
          && netmap_port_get_rxsync_intval(a) == 250, "bad interval refused");

    netmap_port_close(source);
    netmap_port_close(a);
    netmap_port_close(b);
    netmap_port_close(NULL);
    text = netmap_show();
    printf("%s", text);
    check(strstr(text, "in_flight=29 ") && strstr(text, "balanced")
          && !strstr(text, "UNBALANCED"), "packets outlive their ports");
    netmap_string_free(text);
    for (int i = 3; i < BURST; i++) {
        netmap_free_packet(rx[i]);
    }
    netmap_flush_thread();
    text = netmap_show();
    check(!strstr(text, "region"), "the region goes with the last packet");
    netmap_string_free(text);
    netmap_string_free(NULL);
}

/* A datagram with a partial checksum, from one pipe to the other. */
static void
test_csums(void)
{
    struct netmap_port *ends[] = {
        open_port("netmap:y{1", NULL, 0), open_port("netmap:y}1", NULL, 0),
        open_port("netmap:y{2", NULL, 0), open_port("netmap:y}2", NULL, 0),
    };
    /* From 10.0.0.1 to 10.0.0.2; the sum of the pseudo header is 0x1420. */
    uint8_t bytes[46] = {
        2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0, 0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x66, 0xc6,
        10, 0, 0, 1, 10, 0, 0, 2, 0, 9, 0, 9, 0, 12, 0x14, 0x20, 'a', 'b', 'c', 'd',
    };
    struct dp_packet foreign = { .frame = { .base = bytes, .size = sizeof bytes } };
    struct dp_packet *packets[BURST] = { &foreign };
    struct netmap_csum csum = { 0, 34, 6 };
    struct netmap_csum csums[BURST];
    size_t n_csums = 99, n_returned = 99;
    const uint8_t *udp;

    check(netmap_port_send(ends[0], 0, false, packets, 1, &n_returned) == 1 && n_returned == 1,
          "sent as it is");
    check(netmap_rxq_recv_csums(netmap_port_rxq(ends[1], 0), packets, BURST, csums, &n_csums) == 1,
          "and received");
    check(!n_csums, "no port without an interface looks for partial checksums");
    udp = packets[0]->frame.base + packets[0]->frame.data_ofs + 34;
    check(udp[6] == 0x14 && udp[7] == 0x20, "it is partial still");

    check(!netmap_port_offers_csum(ends[2]) && !netmap_port_offers_csum(NULL),
          "a pipe leaves nothing to its other end");
    check(netmap_port_send_csums(ends[2], 0, false, packets, 1, &csum, 1, &n_returned) == 1
          && n_returned == 0, "sent with its checksum");
    check(netmap_rxq_recv(netmap_port_rxq(ends[3], 0), packets, BURST) == 1, "and received");
    udp = packets[0]->frame.base + packets[0]->frame.data_ofs + 34;
    check(udp[6] == 0x26 && udp[7] == 0xfb, "it is complete");
    netmap_free_packet(packets[0]);

    check(!netmap_rxq_recv_csums(NULL, packets, BURST, csums, &n_csums), "no queue");
    check(!netmap_port_send_csums(NULL, 0, false, packets, 0, NULL, 0, NULL), "no port");
    for (size_t i = 0; i < 4; i++) {
        netmap_port_close(ends[i]);
    }
    netmap_flush_thread();
}

static void
test_link(void)
{
    struct netmap_port *port = open_port("null:1", NULL, 0);
    const uint8_t mac[6] = { 2, 1, 2, 3, 4, 5 };
    struct netmap_link link;
    char message[200] = "";

    check(!netmap_port_get_link(port, &link) && link.mtu == 1500 && link.carrier
          && link.numa_node == -1, "a link of its own");
    check(netmap_port_set_mtu(port, 100000, message, sizeof message) == EINVAL
          && strstr(message, "100000") && netmap_port_set_mtu(port, 1, NULL, 0) == EINVAL,
          "no room for that MTU");
    check(!netmap_port_fault(port, message, sizeof message) && strstr(message, "100000"),
          "all is well with it");
    check(!netmap_port_set_mtu(port, 1400, NULL, 0) && !netmap_port_set_mac(port, mac), "set");
    check(!netmap_port_refresh(port), "nothing changed");
    check(!netmap_port_get_link(port, &link) && link.mtu == 1400
          && !memcmp(link.mac, mac, 6), "and kept");
    check(netmap_port_rxq(port, 1) == NULL && netmap_port_n_rxq(port) == 1
          && netmap_port_n_txq(port) == 1, "one queue");
    netmap_port_close(port);
}

static void
test_errors(void)
{
    struct netmap_port *none = NULL;
    char small[8] = "";
    struct netmap_port_config config = { .name = "netmap:eth0^^", .rxsync_intval_us = -1 };

    open_port("null:0", "nonsense", EINVAL);
    open_port("netmap:nonesuch0", NULL, ENODEV);
    open_port("netmap:x{1{2", NULL, EINVAL);
    check(netmap_port_open(&config, &none, small, sizeof small) == EINVAL && !none
          && small[7] == 0 && small[0], "a message is cut, not overrun");
    check(netmap_port_open(&config, &none, NULL, 0) == EINVAL, "no room for a message");
    check(netmap_port_open(NULL, &none, small, sizeof small) == EINVAL, "no config");
    check(netmap_rxq_recv(NULL, NULL, 1) == 0, "no queue");
    check(netmap_port_send(NULL, 0, true, NULL, 0, NULL) == 0, "no port");
    check(netmap_port_get_stats(NULL, NULL) == EINVAL, "no port, no stats");
}

int
main(void)
{
    test_setup();
    test_clock();
    test_forward();
    test_csums();
    test_link();
    test_errors();
    check(n_packets > 0 && n_logged > 0, "callbacks were called");
    return n_failed != 0;
}
