//! The reference store on the testbed.

use super::Case;
use super::scenario::Body;

pub const CASES: &[Case] = &[];

pub const BODIES: &[Body] = &[];
