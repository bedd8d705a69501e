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

/* Takes the place of netmap.c in a build without netmap support. */

#include <config.h>
#include "netmap.h"

#include "openvswitch/vlog.h"
#include "smap.h"
#include "util.h"

VLOG_DEFINE_THIS_MODULE(netmap);

/* Says, once, that 'other_config' asks for something that is missing. */
void
netmap_init(const struct smap *other_config)
{
    if (smap_get_bool(other_config, "netmap-init", false)) {
        VLOG_ERR_ONCE("other_config:netmap-init is true, but this build of "
                      "Open vSwitch has no netmap support.  Install one that "
                      "was configured with --with-netmap to use interfaces "
                      "of type netmap.");
    }
}

/* There is no library to attach to. */
void
netmap_attach(void)
{
}

/* Extends '*errp', the message about an interface of the given 'type' that
 * could not be opened, by the reason when that is the missing support. */
void
netmap_explain_open_error(const char *type, char **errp)
{
    if (*errp && !strcmp(type, "netmap")) {
        char *old = *errp;

        *errp = xasprintf("%s: this build of Open vSwitch has no netmap "
                          "support", old);
        free(old);
        VLOG_WARN("%s", *errp);
    }
}
