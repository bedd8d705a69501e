/* SPDX-License-Identifier: Apache-2.0
 *
 * C interface of libovs_netmap: netmap ports for Open vSwitch.
 *
 * Generated from src/ffi/ when the library is built.  Do not edit.
 *
 * Conventions
 * -----------
 *
 * Results: what can fail returns 0 or a positive errno.  Outputs are written
 * on success only; messages on failure only, cut at the size given and ended
 * by a NUL.
 *
 * Arguments: the object, then inputs, then outputs; an array and its length
 * stand together.  A struct of Open vSwitch is opaque here.
 *
 * Ownership: what is the caller's is to be given back by the function named.
 * Nothing else is to be freed.
 *
 * Threads: "main" is the thread that runs Open vSwitch's main loop; "any" is
 * any thread, at any time while the object exists; "queue" is any thread, but
 * one at a time for one queue. */

#ifndef OVS_NETMAP_H
#define OVS_NETMAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** Version of the library that this header came with. */
#define OVS_NETMAP_VERSION "0.2.0"
#define OVS_NETMAP_VERSION_MAJOR 0
#define OVS_NETMAP_VERSION_MINOR 2
#define OVS_NETMAP_VERSION_PATCH 0

/** Number of the interface: what netmap_host's abi is to be. */
#define OVS_NETMAP_ABI 2

/** Severity of a log message, most severe first. */
enum netmap_log_level {
    /** Something is wrong. */
    NETMAP_LOG_LEVEL_ERR = 0,
    /** Something is odd. */
    NETMAP_LOG_LEVEL_WARN = 1,
    /** Something happened. */
    NETMAP_LOG_LEVEL_INFO = 2,
    /** Details. */
    NETMAP_LOG_LEVEL_DBG = 3,
};

/** What netmap_follower_run says that is to be done. */
enum netmap_follower_action {
    /** To tell that the link has changed. */
    NETMAP_FOLLOWER_ACTION_CHANGED = 1,
    /** To close the port, if it is open, and to open it. */
    NETMAP_FOLLOWER_ACTION_REOPEN = 2,
};

/** Open vSwitch's packet; opaque. */
struct dp_packet;

/** Follows the interface of one port. */
struct netmap_follower;

/** Open vSwitch's receive queue; opaque. */
struct netdev_rxq;

/** An open port. */
struct netmap_port;

/** A receive queue: the rings that one thread polls. */
struct netmap_rxq;

/** Open vSwitch's string map; opaque. */
struct smap;

/** What the library needs of Open vSwitch. All callbacks must be set. */
struct netmap_host {
    /** sizeof(struct netmap_host). This and the next member never change. */
    uint32_t size;
    /** OVS_NETMAP_ABI. */
    uint32_t abi;
    /** sizeof(struct dp_packet). */
    size_t dp_packet_size;
    /** Offset in it of what has the layout of struct netmap_frame. */
    size_t frame_ofs;
    /**
     * Offset in it of the byte that is source in packets of this library and
     * no others.
     */
    size_t source_ofs;
    /** DPBUF_NETMAP. */
    uint8_t source;
    /** Sets up a new packet, once, on zeroed memory. */
    void (*packet_init)(struct dp_packet *packet);
    /**
     * Returns the value of key in config, or NULL. It must stay valid until
     * the next call.
     */
    const char *(*config_get)(const struct smap *config, const char *key);
    /** Registers the netdev class. */
    void (*register_class)(void);
    /** Returns the library's queue behind rxq; NULL for other port types. */
    struct netmap_rxq *(*rxq_handle)(const struct netdev_rxq *rxq);
    /** Logs message. Called by any thread. */
    void (*log)(enum netmap_log_level level, const char *message);
};

/** What a port is opened with. */
struct netmap_port_config {
    /** Name of the netmap port, such as "netmap:eth0" or "vale0:1". */
    const char *name;
    /** Name of the interface in Open vSwitch, for messages. */
    const char *ovs_name;
    /** Receive queues to poll; 0 for the default of one. */
    uint32_t n_rxq;
    /**
     * Transmit queues wanted; 0 for one. The port has at most as many as
     * rings.
     */
    uint32_t n_txq;
    /** Microseconds between syncs of an idle ring; -1 for the global value. */
    int64_t rxsync_intval_us;
    /**
     * What a null port delivers: "zero" or "udp:K" (K flows); NULL for "zero".
     */
    const char *null_source;
    /**
     * Whether frames stay where another process may write them while Open
     * vSwitch works on them (VALE, pipes and the global region of netmap's
     * module): else they are copied on receipt.
     */
    bool trusted_peer;
    /**
     * Engine xdp: packets that the driver handles at most in each call when
     * the thread that receives polls it (SO_BUSY_POLL_BUDGET); 0 to leave the
     * driver to its interrupts.
     */
    uint32_t busy_poll_budget;
    /**
     * Whether checksums that a sender left out are completed: "auto", "on" or
     * "off"; NULL for "auto".
     */
    const char *rx_csum;
    /**
     * Directory for what must survive a crash of the process; NULL for none.
     */
    const char *run_dir;
};

/**
 * A packet of a burst whose checksum is partial: the field has the sum of the
 * pseudo header, neither more nor inverted.
 */
struct netmap_csum {
    /** Its place in the burst, from 0. */
    uint16_t packet;
    /**
     * Where the bytes start that the checksum is for, in the frame; they end
     * with it.
     */
    uint16_t start;
    /** Where the checksum is, from there. */
    uint16_t offset;
};

/** State of a port's link. */
struct netmap_link {
    /** MAC address. */
    uint8_t mac[6];
    /** Whether the interface is up (IFF_UP). */
    bool up;
    /** Whether it is promiscuous. */
    bool promisc;
    /** Whether there is a carrier. */
    bool carrier;
    /** Whether the link is full duplex. */
    bool full_duplex;
    /** Longest payload of a frame, now. */
    uint32_t mtu;
    /** Largest MTU that the port takes. */
    uint32_t max_mtu;
    /** Index of the host interface; 0 when there is none. */
    uint32_t ifindex;
    /** NUMA node of the device; -1 when unknown. */
    int32_t numa_node;
    /** Mbit/s; 0 when unknown. */
    uint64_t speed_mbps;
    /** How often the carrier changed since the port was opened. */
    uint64_t carrier_resets;
};

/** Counters of a port. */
struct netmap_stats {
    /** Frames received. */
    uint64_t rx_packets;
    /** Their bytes. */
    uint64_t rx_bytes;
    /** Frames put into a ring to be sent. */
    uint64_t tx_packets;
    /** Their bytes. */
    uint64_t tx_bytes;
    /** Frames that came and were dropped, for whatever reason. */
    uint64_t rx_dropped;
    /** Frames that were to be sent and were dropped, for whatever reason. */
    uint64_t tx_dropped;
    /** Bad slots, bad rings and failed syncs on receive. */
    uint64_t rx_errors;
    /** Bad slots, bad rings and failed syncs on send. */
    uint64_t tx_errors;
    /** Frames received with a length that is too long or cannot be. */
    uint64_t rx_length_errors;
    /**
     * Times that received frames had to wait for a free packet, and overruns
     * of the interface.
     */
    uint64_t rx_over_errors;
    /**
     * Frames with a bad checksum: the host interface's, since the port was
     * opened.
     */
    uint64_t rx_crc_errors;
    /** Frames with bad alignment: the same. */
    uint64_t rx_frame_errors;
    /** Overruns of its queue: the same. */
    uint64_t rx_fifo_errors;
    /** Frames that it had no room for: the same. */
    uint64_t rx_missed_errors;
    /** Collisions: the same. */
    uint64_t collisions;
};

/** Takes a key and a value, which are valid during the call, and aux. */
typedef void (*netmap_kv_cb)(const char *key, const char *value, void *aux);

/**
 * Takes a counter's name, which is valid during the call, its value, and aux.
 */
typedef void (*netmap_counter_cb)(const char *name, uint64_t value, void *aux);

/**
 * Where the bytes of a packet's frame are: a part of OVS's struct dp_packet,
 * in the same order.
 */
struct netmap_frame {
    /** First byte of the memory that the frame is in. */
    uint8_t *base;
    /** Bytes at base. */
    uint16_t allocated;
    /** Where in them the frame starts. */
    uint16_t data_ofs;
    /** Bytes of the frame. */
    uint32_t size;
};

#ifdef __cplusplus
extern "C" {
#endif /* __cplusplus */

/**
 * Tells the library what it needs of Open vSwitch. To be called once, before
 * any other function.
 *
 * A program that was built for another ABI of the library is refused; so the
 * library never touches a struct that it does not know. After a failure netmap
 * ports cannot be opened, and all else does nothing.
 *
 * @param[in] host copied; its size and abi are read first, and the rest only
 *     when both are what the library expects.
 * @param[out] err why it failed; cut at err_size bytes.
 * @param[in] err_size bytes of room at err; 0 for no message.
 * @return 0; EPROTO for another ABI; EINVAL when something is missing in host;
 *     EEXIST when there is a host already.
 * @note Ownership: host and what it points to stay the caller's; the callbacks
 *     must work as long as the process lives.
 * @note Threads: main.
 * @pre host is NULL or has as many bytes as its size says, at least 8. Its
 *     callbacks are what their documentation says. err has room for err_size
 *     bytes.
 */
int netmap_host_attach(const struct netmap_host *host,
                       char *err,
                       size_t err_size);

/**
 * Reads the configuration and, once netmap-init is true in it, calibrates the
 * clock, registers the port type and logs that netmap ports are enabled. To be
 * called in every pass of the main loop: what may change at run time is
 * followed.
 *
 * @param[in] other_config the column of that name in table Open_vSwitch; NULL
 *     does nothing.
 * @note Threads: main.
 * @pre other_config is NULL or a map that the host's config_get can read.
 */
void netmap_init(const struct smap *other_config);

/**
 * Reads the configuration. A bad value is logged, once, and the default kept.
 *
 * @param[in] other_config the column of that name in table Open_vSwitch; NULL
 *     does nothing.
 * @note Threads: main.
 * @pre other_config is NULL or a map that the host's config_get can read.
 */
void netmap_init_config(const struct smap *other_config);

/**
 * Gives the extra buffers of all ports back to netmap's module. To be called
 * when the process is about to end without closing its ports, by a signal:
 * otherwise a memory region that other processes have is without them from
 * then on. Nothing is received any more after that.
 *
 * @note Threads: main. The others may go on.
 */
void netmap_surrender(void);

/**
 * Has the host register the port type. Further calls do nothing.
 *
 * @note Threads: main.
 */
void netdev_netmap_register(void);

/**
 * Tells whether netmap-init was ever true, so that the port type exists.
 *
 * @return Whether it was.
 * @note Threads: any.
 */
bool netmap_initialized(void);

/**
 * Makes a follower: it follows the interface of one port, open or not, and
 * says what is to be done.
 *
 * @param[in] ovs_name name of the interface in Open vSwitch, for messages.
 * @return The follower.
 * @note Ownership: It is the caller's, to be given back by
 *     netmap_follower_destroy.
 * @note Threads: main.
 * @pre ovs_name is NULL or a string.
 */
struct netmap_follower *netmap_follower_create(const char *ovs_name);

/**
 * Frees a follower. Its interface is nobody's then.
 *
 * @param[in] follower the follower; NULL does nothing.
 * @note Ownership: It is gone. Its port must be closed.
 * @note Threads: main.
 * @pre follower is NULL or came from netmap_follower_create and was not freed.
 */
void netmap_follower_destroy(struct netmap_follower *follower);

/**
 * Opens the port of a follower, as netmap_port_open does it. What cannot be
 * opened is tried again when netmap_follower_run says so.
 *
 * @param[in] follower the follower.
 * @param[in] config what to open, and how.
 * @param[out] portp the port.
 * @param[out] err why it failed; cut at err_size bytes.
 * @param[in] err_size bytes of room at err; 0 for no message.
 * @return 0 or an errno. EAGAIN: the kernel is about to let go of what is
 *     needed.
 * @note Ownership: The port is the caller's, to be closed by
 *     netmap_follower_close.
 * @note Threads: main.
 * @pre follower is NULL or valid; the rest as for netmap_port_open.
 */
int netmap_follower_open(struct netmap_follower *follower,
                         const struct netmap_port_config *config,
                         struct netmap_port **portp,
                         char *err,
                         size_t err_size);

/**
 * Closes the port of a follower, to be opened again: until then, nothing of a
 * port that is a whole interface reaches the host's network stack.
 *
 * @param[in] follower the follower.
 * @param[in] port the port; NULL does nothing.
 * @note Ownership: The port is gone, and its queues with it: no thread may be
 *     using them.
 * @note Threads: main.
 * @pre follower is NULL or valid. port is NULL or came from
 *     netmap_follower_open and was not closed.
 */
void netmap_follower_close(struct netmap_follower *follower,
                           struct netmap_port *port);

/**
 * Looks at the interface, if it is time, and tells what is to be done.
 *
 * @param[in] follower the follower; NULL has nothing to do.
 * @param[in] port its port; NULL while that is closed.
 * @param[in] heard whether some interface has changed, as far as is known: it
 *     is time to look then.
 * @return A sum of values of enum netmap_follower_action.
 * @note Threads: main.
 * @pre follower is NULL or valid. port is NULL or open.
 */
uint32_t netmap_follower_run(struct netmap_follower *follower,
                             const struct netmap_port *port,
                             bool heard);

/**
 * Tells when netmap_follower_run is to be called next, at the latest.
 *
 * @param[in] follower the follower; NULL needs no call.
 * @return In how many milliseconds; -1 for never.
 * @note Threads: main.
 * @pre follower is NULL or valid.
 */
int64_t netmap_follower_wait(const struct netmap_follower *follower);

/**
 * Tells what keeps a port from working as it is configured.
 *
 * @param[in] follower the follower; NULL has nothing to say.
 * @param[in] port its port; NULL while that is closed.
 * @param[out] err what it is; cut at err_size bytes.
 * @param[in] err_size bytes of room at err; 0 for no message.
 * @return Whether there is something.
 * @note Threads: any.
 * @pre follower is NULL or valid. port is NULL or open. err has room for
 *     err_size bytes.
 */
bool netmap_follower_error(const struct netmap_follower *follower,
                           const struct netmap_port *port,
                           char *err,
                           size_t err_size);

/**
 * Does what is left to do of ports that were closed: buffers that the kernel
 * had are free when it has let go of them. To be called in the main loop.
 *
 * @return In how many milliseconds to call it again; -1 if nothing is left.
 * @note Threads: main.
 */
int64_t netmap_run(void);

/**
 * Frees a packet whose source is the host's source: it goes back to its pool,
 * with its buffer.
 *
 * @param[in] packet the packet; NULL does nothing.
 * @note Ownership: The packet is the library's again.
 * @note Threads: any.
 * @pre packet is NULL or came from netmap_rxq_recv, is the caller's, and is
 *     not used any more.
 */
void netmap_free_packet(struct dp_packet *packet);

/**
 * Notes that the data of a packet was moved to other memory, because its
 * buffer had too little room.
 *
 * @param[in] packet the packet.
 * @param[in] memory where its data is now.
 * @note Ownership: memory is the library's, which frees it with free() when
 *     the packet is freed.
 * @note Threads: any.
 * @pre packet came from netmap_rxq_recv and is the caller's. memory came from
 *     malloc().
 */
void netmap_packet_moved(struct dp_packet *packet,
                         void *memory);

/**
 * Opens a port.
 *
 * @param[in] config what to open, and how.
 * @param[out] portp the port.
 * @param[out] err why it failed; cut at err_size bytes.
 * @param[in] err_size bytes of room at err; 0 for no message.
 * @return 0 or an errno.
 * @note Ownership: The port is the caller's, to be closed by
 *     netmap_port_close. config and its strings stay the caller's.
 * @note Threads: main.
 * @pre config and its strings are valid. portp is writable. err has room for
 *     err_size bytes.
 */
int netmap_port_open(const struct netmap_port_config *config,
                     struct netmap_port **portp,
                     char *err,
                     size_t err_size);

/**
 * Closes a port. Packets that were received from it stay valid until they are
 * freed.
 *
 * @param[in] port the port; NULL does nothing.
 * @note Ownership: The port is gone, and its queues with it: no thread may be
 *     using them.
 * @note Threads: main.
 * @pre port is NULL or came from netmap_port_open and was not closed.
 */
void netmap_port_close(struct netmap_port *port);

/**
 * Tells how many receive queues a port has.
 *
 * @param[in] port the port; NULL has none.
 * @return How many.
 * @note Threads: any.
 * @pre port is NULL or open.
 */
uint32_t netmap_port_n_rxq(const struct netmap_port *port);

/**
 * Tells how many transmit queues a port has.
 *
 * @param[in] port the port; NULL has none.
 * @return How many.
 * @note Threads: any.
 * @pre port is NULL or open.
 */
uint32_t netmap_port_n_txq(const struct netmap_port *port);

/**
 * Changes the time between two syncs of an idle receive ring, while traffic
 * runs, too.
 *
 * @param[in] port the port; NULL fails.
 * @param[in] us microseconds; -1 follows the global value.
 * @return 0 or an errno; the reason is logged.
 * @note Threads: main.
 * @pre port is NULL or open.
 */
int netmap_port_set_rxsync_intval(struct netmap_port *port,
                                  int64_t us);

/**
 * Tells the time between two syncs of an idle receive ring.
 *
 * @param[in] port the port.
 * @return Microseconds; -1 when port is NULL.
 * @note Threads: any.
 * @pre port is NULL or open.
 */
int64_t netmap_port_get_rxsync_intval(const struct netmap_port *port);

/**
 * Makes the calling thread ready to poll a queue: it gets packet caches of its
 * own.
 *
 * @param[in] rxq the queue; NULL and queues of other port types do nothing.
 * @note Threads: queue.
 * @pre rxq is NULL or a queue that the host's rxq_handle can look at.
 */
void netmap_init_port(struct netdev_rxq *rxq);

/**
 * Gives the packet caches of the calling thread back. To be called when the
 * queues that it polls are about to change; a thread that ends does it by
 * itself.
 *
 * @note Threads: any.
 */
void netmap_flush_thread(void);

/**
 * Finds a receive queue.
 *
 * @param[in] port the port; NULL has none.
 * @param[in] i number of the queue, from 0.
 * @return The queue, or NULL when there is none of that number.
 * @note Ownership: The queue is the port's, and goes with it.
 * @note Threads: any.
 * @pre port is NULL or open.
 */
struct netmap_rxq *netmap_port_rxq(struct netmap_port *port, uint32_t i);

/**
 * Receives frames. A thread that called netmap_init_port for the queue does so
 * without a lock.
 *
 * @param[in] rxq the queue; NULL has no frames.
 * @param[out] packets packets with their frames in them.
 * @param[in] max room at packets, and most frames to receive.
 * @return How many packets were received.
 * @note Ownership: The packets are the caller's, to be sent or freed.
 * @note Threads: queue.
 * @pre rxq is NULL or came from netmap_port_rxq, and its port is open. packets
 *     has room for max pointers.
 */
size_t netmap_rxq_recv(struct netmap_rxq *rxq,
                       struct dp_packet **packets,
                       size_t max);

/**
 * As netmap_rxq_recv, but partial checksums of plain TCP and UDP packets are
 * not completed: they are listed. A packet is plain when it has one VLAN tag
 * at most, no IP options or extension headers, is no fragment, and ends where
 * its frame does.
 *
 * @param[in] rxq the queue; NULL has no frames.
 * @param[out] packets packets with their frames in them.
 * @param[in] max room at packets and at csums, and most frames to receive.
 * @param[out] csums those of the packets whose checksums are partial, in the
 *     order of the packets.
 * @param[out] n_csums how many.
 * @return How many packets were received.
 * @note Ownership: The packets are the caller's, to be sent or freed.
 * @note Threads: queue.
 * @pre As for netmap_rxq_recv. csums has room for max structs, n_csums is
 *     writable.
 */
size_t netmap_rxq_recv_csums(struct netmap_rxq *rxq,
                             struct dp_packet **packets,
                             size_t max,
                             struct netmap_csum *csums,
                             size_t *n_csums);

/**
 * Whether checksums of what a port sends may be left partial at no cost:
 * netmap_port_send_csums leaves them to the kernel or the card.
 *
 * @param[in] port the port; NULL does not.
 * @return Whether it does. It is the same as long as the port is open.
 * @note Threads: any.
 * @pre port is NULL or open.
 */
bool netmap_port_offers_csum(struct netmap_port *port);

/**
 * Sends packets. What finds no room is dropped and counted.
 *
 * @param[in] port the port; NULL drops all.
 * @param[in] qid number of the transmit queue, modulo how many there are.
 * @param[in] concurrent whether other threads may be sending on the same
 *     queue, all with true.
 * @param[in,out] packets the packets; those that stay the caller's come first
 *     afterwards.
 * @param[in] n how many.
 * @param[out] n_returned how many stay the caller's; NULL is fine.
 * @return How many frames were sent.
 * @note Ownership: Packets of the library are the library's again, sent or
 *     not. All others stay the caller's.
 * @note Threads: any.
 * @pre port is NULL or open. packets has n pointers to packets of the caller,
 *     each once, with readable frames. n_returned is NULL or writable. Without
 *     concurrent no other thread is sending on the same queue.
 */
size_t netmap_port_send(struct netmap_port *port,
                        uint32_t qid,
                        bool concurrent,
                        struct dp_packet **packets,
                        size_t n,
                        size_t *n_returned);

/**
 * As netmap_port_send, with packets whose checksums are partial: each is
 * completed before the frame leaves, or when, as netmap_port_offers_csum says.
 *
 * @param[in] port the port; NULL drops all.
 * @param[in] qid number of the transmit queue, modulo how many there are.
 * @param[in] concurrent whether other threads may be sending on the same
 *     queue, all with true.
 * @param[in,out] packets the packets; those that stay the caller's come first
 *     afterwards.
 * @param[in] n how many.
 * @param[in] csums those of the packets whose checksums are partial, each at
 *     most once.
 * @param[in] n_csums how many.
 * @param[out] n_returned how many packets stay the caller's; NULL is fine.
 * @return How many frames were sent.
 * @note Ownership: Packets of the library are the library's again, sent or
 *     not. All others stay the caller's.
 * @note Threads: any.
 * @pre As for netmap_port_send. csums has n_csums structs, whose packets'
 *     frames, and the memory in front of these from the base on, are writable
 *     and the packets' own.
 */
size_t netmap_port_send_csums(struct netmap_port *port,
                              uint32_t qid,
                              bool concurrent,
                              struct dp_packet **packets,
                              size_t n,
                              const struct netmap_csum *csums,
                              size_t n_csums,
                              size_t *n_returned);

/**
 * Reads the time stamp counter.
 *
 * @return Ticks.
 * @note Threads: any.
 */
uint64_t netmap_rdtsc(void);

/**
 * Tells how fast the time stamp counter is. The first call measures it, for
 * some 20 ms.
 *
 * @return Ticks a second.
 * @note Threads: any.
 */
uint64_t netmap_ticks_per_second(void);

/**
 * Converts microseconds to ticks of the time stamp counter.
 *
 * @param[in] us microseconds.
 * @return Ticks, rounded up; UINT64_MAX when there are more.
 * @note Threads: any.
 */
uint64_t netmap_us_to_ticks(uint64_t us);

/**
 * Converts ticks of the time stamp counter to microseconds.
 *
 * @param[in] ticks ticks.
 * @return Microseconds, rounded down.
 * @note Threads: any.
 */
uint64_t netmap_ticks_to_us(uint64_t ticks);

/**
 * Limits what a port receives; the rest is dropped. While traffic runs, too.
 *
 * @param[in] port the port; NULL does nothing.
 * @param[in] kbits_rate kilobits in a second, without Ethernet headers; 0 for
 *     no limit.
 * @param[in] kbits_burst kilobits at once; 0 for 8000.
 * @param[in] kpkts_rate thousands of packets in a second; 0 for no limit.
 * @param[in] kpkts_burst thousands of packets at once; 0 for 16.
 * @note Threads: main.
 * @pre port is NULL or open.
 */
void netmap_port_set_policing(struct netmap_port *port,
                              uint32_t kbits_rate,
                              uint32_t kbits_burst,
                              uint32_t kpkts_rate,
                              uint32_t kpkts_burst);

/**
 * Limits what a port sends; the rest is dropped. While traffic runs, too.
 *
 * @param[in] port the port; NULL does nothing.
 * @param[in] cir bytes in a second, without Ethernet headers; 0 for no limit.
 * @param[in] cbs bytes at once, likewise.
 * @note Threads: main.
 * @pre port is NULL or open.
 */
void netmap_port_set_egress_policer(struct netmap_port *port,
                                    uint64_t cir,
                                    uint64_t cbs);

/**
 * Reads the state of a port's link, as of the last netmap_port_refresh.
 *
 * @param[in] port the port; NULL fails.
 * @param[out] link the state.
 * @return 0 or EINVAL.
 * @note Threads: any.
 * @pre port is NULL or open. link is NULL or writable.
 */
int netmap_port_get_link(const struct netmap_port *port,
                         struct netmap_link *link);

/**
 * Reads the state of the host interface anew.
 *
 * @param[in] port the port; NULL does nothing.
 * @return Whether anything changed.
 * @note Threads: main.
 * @pre port is NULL or open.
 */
bool netmap_port_refresh(struct netmap_port *port);

/**
 * Tells what keeps an open port from working as its host interface is, as of
 * the last netmap_port_refresh: its frames are too long.
 *
 * @param[in] port the port; NULL has no fault.
 * @param[out] err the fault; cut at err_size bytes.
 * @param[in] err_size bytes of room at err; 0 for no message.
 * @return Whether there is a fault.
 * @note Threads: any.
 * @pre port is NULL or open. err has room for err_size bytes.
 */
bool netmap_port_fault(const struct netmap_port *port,
                       char *err,
                       size_t err_size);

/**
 * Sets the MTU, of the host interface, too.
 *
 * @param[in] port the port; NULL fails.
 * @param[in] mtu longest payload of a frame, in bytes.
 * @param[out] err why it failed; cut at err_size bytes.
 * @param[in] err_size bytes of room at err; 0 for no message.
 * @return 0 or an errno.
 * @note Threads: main.
 * @pre port is NULL or open. err has room for err_size bytes.
 */
int netmap_port_set_mtu(struct netmap_port *port,
                        uint32_t mtu,
                        char *err,
                        size_t err_size);

/**
 * Sets the MAC address, of the host interface, too.
 *
 * @param[in] port the port; NULL fails.
 * @param[in] mac 6 bytes.
 * @return 0 or an errno; the reason is logged.
 * @note Threads: main.
 * @pre port is NULL or open. mac is NULL or has 6 bytes.
 */
int netmap_port_set_mac(struct netmap_port *port, const uint8_t *mac);

/**
 * Brings a port up or down, the host interface, too, and changes nothing else
 * of it.
 *
 * @param[in] port the port; NULL fails.
 * @param[in] up whether it is to be up.
 * @return 0 or an errno; the reason is logged.
 * @note Threads: main.
 * @pre port is NULL or open.
 */
int netmap_port_set_up(struct netmap_port *port,
                       bool up);

/**
 * Makes a port promiscuous or not, the host interface, too, and changes
 * nothing else of it.
 *
 * @param[in] port the port; NULL fails.
 * @param[in] promisc whether it is to be promiscuous.
 * @return 0 or an errno; the reason is logged.
 * @note Threads: main.
 * @pre port is NULL or open.
 */
int netmap_port_set_promisc(struct netmap_port *port,
                            bool promisc);

/**
 * Reads a port's counters.
 *
 * @param[in] port the port; NULL fails.
 * @param[out] stats the counters.
 * @return 0 or EINVAL.
 * @note Threads: any.
 * @pre port is NULL or open. stats is NULL or writable.
 */
int netmap_port_get_stats(const struct netmap_port *port,
                          struct netmap_stats *stats);

/**
 * Calls a function with each key and value of a port's status: how it was
 * opened.
 *
 * @param[in] port the port; NULL has no status.
 * @param[in] callback called with aux; NULL does nothing.
 * @param[in] aux passed to callback.
 * @note Threads: any.
 * @pre port is NULL or open. callback takes aux.
 */
void netmap_port_status(const struct netmap_port *port,
                        netmap_kv_cb callback,
                        void *aux);

/**
 * Calls a function with each counter of each queue of a port.
 *
 * @param[in] port the port; NULL has no counters.
 * @param[in] callback called with aux; NULL does nothing.
 * @param[in] aux passed to callback.
 * @note Threads: any.
 * @pre port is NULL or open. callback takes aux.
 */
void netmap_port_counters(const struct netmap_port *port,
                          netmap_counter_cb callback,
                          void *aux);

/**
 * Describes all regions and ports: where each buffer is, and what each queue
 * counted.
 *
 * @return The text of "ovs-appctl netmap/show"; NULL when memory is short.
 * @note Ownership: The text is the caller's, to be freed by
 *     netmap_string_free.
 * @note Threads: any.
 */
char *netmap_show(void);

/**
 * Describes all regions and ports, as JSON on one line.
 *
 * @return The text of "ovs-appctl netmap/show --json"; NULL when memory is
 *     short.
 * @note Ownership: The text is the caller's, to be freed by
 *     netmap_string_free.
 * @note Threads: any.
 */
char *netmap_show_json(void);

/**
 * Frees a string of this library.
 *
 * @param[in] string the string; NULL does nothing.
 * @note Ownership: The string is gone.
 * @note Threads: any.
 * @pre string is NULL or came from netmap_show or netmap_show_json, and is not
 *     used any more.
 */
void netmap_string_free(char *string);

#ifdef __cplusplus
}  /* extern "C" */
#endif  /* __cplusplus */

#endif  /* OVS_NETMAP_H */
