//! The journal as a file on the machine.

use super::journal::Store;
use crate::error::Result;
use crate::host::Host;
use crate::host::directories;
use crate::host::files::Access;
use crate::paths::JOURNAL;

/// See the module.
#[derive(Debug)]
pub struct JournalFile(pub Host);

impl Store for JournalFile {
    fn load(&self) -> Result<Option<Vec<u8>>> {
        self.0.read(JOURNAL)
    }

    fn save(&self, bytes: &[u8]) -> Result<()> {
        directories::STATE.make(&self.0)?;
        self.0.write(JOURNAL, bytes, Access::mode(0o600))
    }

    fn set_aside(&self, _why: &str) -> Result<()> {
        let now = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
        let aside = format!("{JOURNAL}.unreadable-{now}");
        self.0.rename(JOURNAL, &aside)
    }
}
