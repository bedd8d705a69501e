// SPDX-License-Identifier: Apache-2.0
//! For integration tests, benchmarks, fuzz targets and models, with the feature `test-utils` only: the
//! modules of the crate, a stand-in for Open vSwitch, and a model of what it does with ports. No part of
//! the crate's interface.

#[allow(unsafe_code)]
pub mod fake_ovs;
#[allow(unsafe_code)]
pub mod op_model;

macro_rules! modules {
    ($($name:ident)*) => {
        $(
            #[allow(missing_docs)]
            pub mod $name {
                pub use crate::$name::*;
            }
        )*
    };
}

modules! {
    burst bytes clock config counters csum engine error index name offload policer pool port region ring
    rx show tx
}
