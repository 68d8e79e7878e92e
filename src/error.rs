//! The program's only error type: what went wrong, what to do next, and why.

use std::fmt;
use std::sync::Arc;

/// A failure as a person reads it: `reason` says what is wrong, `hint` what to do next.
///
/// A failure is *transient* only if trying the same thing again can help (a timeout, a 503, a held lock);
/// the retry helper and the engine repeat nothing else.
#[derive(Clone, Debug)]
pub struct Error {
    reason: String,
    hint: String,
    cause: Option<Arc<anyhow::Error>>,
    transient: bool,
    throttled: bool,
    settling: bool,
}

/// `Result` with the program's own error.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A failure for `reason`; `hint` is one sentence that says what to do next.
    pub fn new(reason: impl Into<String>, hint: impl Into<String>) -> Self {
        Self {
            reason: reason.into(),
            hint: hint.into(),
            cause: None,
            transient: false,
            throttled: false,
            settling: false,
        }
    }

    /// Adds the failure underneath.
    pub fn because(mut self, cause: impl Into<anyhow::Error>) -> Self {
        self.cause = Some(Arc::new(cause.into()));
        self
    }

    /// Marks the failure as worth trying again.
    pub fn transient(mut self) -> Self {
        self.transient = true;
        self
    }

    /// Marks the failure as worth trying again if `passing`.
    pub fn transient_if(mut self, passing: bool) -> Self {
        self.transient |= passing;
        self
    }

    /// Marks the failure as throttling by AWS, if `busy`: the retry helper waits it out.
    pub fn throttled_if(mut self, busy: bool) -> Self {
        self.throttled |= busy;
        self.transient_if(busy)
    }

    /// Marks the failure as one that may pass within seconds, if something made moments ago `settles`: worth trying
    /// again, but final for a caller that asks about something old.
    pub fn settling_if(mut self, settles: bool) -> Self {
        self.settling |= settles;
        self.transient_if(settles)
    }

    /// What went wrong, in one line.
    pub fn reason(&self) -> &str {
        &self.reason
    }

    /// What to do next, in one sentence.
    pub fn hint(&self) -> &str {
        &self.hint
    }

    /// The failures underneath, outermost first.
    pub fn causes(&self) -> Vec<String> {
        self.cause
            .iter()
            .flat_map(|cause| cause.chain())
            .map(ToString::to_string)
            .collect()
    }

    /// Whether trying the same thing again can help.
    pub fn is_transient(&self) -> bool {
        self.transient
    }

    /// Whether trying again helps only if something was made moments ago.
    pub fn is_settling(&self) -> bool {
        self.settling
    }

    /// Whether AWS is only throttling the caller.
    pub fn is_throttled(&self) -> bool {
        self.throttled
    }
}

impl fmt::Display for Error {
    /// `reason: cause: cause`; the hint is for reports, which show it on a line of its own.
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(&self.reason)?;
        for cause in self.causes() {
            write!(out, ": {cause}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

/// Turns a library's error into ours: `fs::read(p).or_fail(|| format!("cannot read {p}"), "check …")?`.
pub trait OrFail<T> {
    /// Keeps the value, or fails for `reason` with `hint`, the original error underneath.
    fn or_fail<R: Into<String>>(
        self,
        reason: impl FnOnce() -> R,
        hint: impl Into<String>,
    ) -> Result<T>;
}

impl<T, E: Into<anyhow::Error>> OrFail<T> for std::result::Result<T, E> {
    fn or_fail<R: Into<String>>(
        self,
        reason: impl FnOnce() -> R,
        hint: impl Into<String>,
    ) -> Result<T> {
        self.map_err(|cause| Error::new(reason(), hint).because(cause))
    }
}
