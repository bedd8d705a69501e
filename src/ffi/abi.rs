// SPDX-License-Identifier: Apache-2.0
// The build script has this file, too, for the header.

/// Number of the interface, `OVS_NETMAP_ABI`. Another one is due when a struct or a function is not what
/// it was in a release; no number is used twice. CHANGELOG.md says what changed.
pub const ABI: u32 = 2;
