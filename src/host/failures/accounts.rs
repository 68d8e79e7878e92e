//! useradd, usermod and groupadd (shadow 4.8 to 4.17).

use super::{BY_HAND, Fact, Meaning, QUOTED_LINES, Tool};

pub(super) const ACCOUNTS: Tool = Tool {
    programs: &["useradd", "usermod", "groupadd"],
    chatter: &[],
    marks: &[],
    lines: QUOTED_LINES,
    otherwise: Meaning::Lasts,
    hint: BY_HAND,
    facts: &[Fact {
        words: &["try again later", "existing lock file"],
        meaning: Meaning::Passes,
        hint: "see who holds the account files (`ls -l /etc/*.lock`, `ps`), wait for it to end, then run `bootstrap` again",
        source: "shadow-maint/shadow",
    }],
};
