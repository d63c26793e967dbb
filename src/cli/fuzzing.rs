//! What a fuzzer does with the lines that a serial line sends.

pub(crate) use super::log::fuzz as log;
pub(crate) use super::plot::fuzz as plot;
