//! Files that are read whole.

use std::io;
use std::path::Path;

/// The text of a file. What is no plain file is not opened: a pipe would be waited for, without an end.
pub(super) fn text(path: &Path) -> io::Result<String> {
    if !std::fs::metadata(path)?.is_file() {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "this is no plain file",
        ));
    }
    std::fs::read_to_string(path)
}
