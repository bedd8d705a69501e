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

#ifndef NETMAP_H
#define NETMAP_H 1

/* What the rest of Open vSwitch calls for netmap ports.
 *
 * In a build with netmap support most of it comes from libovs_netmap, whose
 * header documents it.  In any other build it costs nothing, see
 * netmap-stub.c. */

#ifdef NETMAP_NETDEV

#include <ovs_netmap.h>

struct netdev;

bool netmap_get_error(const struct netdev *, char **errorp);

#else /* !NETMAP_NETDEV */

#include <stdbool.h>

#include "compiler.h"

struct netdev;
struct netdev_rxq;
struct smap;

void netmap_init(const struct smap *other_config);

static inline void
netmap_init_port(struct netdev_rxq *rxq OVS_UNUSED)
{
    /* There are no netmap ports, thus no packet caches to create. */
}

static inline void
netmap_flush_thread(void)
{
    /* There are no packet caches. */
}

static inline bool
netmap_get_error(const struct netdev *netdev OVS_UNUSED,
                 char **errorp OVS_UNUSED)
{
    return false;       /* There are no netmap ports. */
}

#endif /* !NETMAP_NETDEV */

void netmap_attach(void);
void netmap_explain_open_error(const char *type, char **errp);

#endif /* netmap.h */
