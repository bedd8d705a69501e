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

#ifndef NETDEV_NETMAP_H
#define NETDEV_NETMAP_H 1

struct netdev_class;
struct netdev_rxq;
struct netmap_rxq;

extern const struct netdev_class netdev_netmap_class;

struct netmap_rxq *netdev_netmap_rxq_handle(const struct netdev_rxq *);

#endif /* netdev-netmap.h */
