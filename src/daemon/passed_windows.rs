//! Windows passes no listening pipe to a service: a daemon makes its own.

use std::path::Path;

use crate::outlet::DirError;

/// What would have been passed. It has no value.
pub enum Passed {}

/// Nothing.
///
/// # Errors
/// None.
pub fn passed_socket(_run_dir: &Path) -> Result<Option<Passed>, DirError> {
    Ok(None)
}
