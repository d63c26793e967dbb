//! What this version cannot do on Unix: nothing is left.

use super::unsupported::Gap;

pub(super) const GAPS: &[Gap] = &[];
