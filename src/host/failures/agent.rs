//! amazon-cloudwatch-agent-ctl (agent 1.2476 to 1.300069).

use super::{BY_HAND, Fact, Meaning, QUOTED_LINES, Tool};

/// It reports every step, with the reason in the middle, and ends with advice.
pub(super) const AGENT: Tool = Tool {
    programs: &["amazon-cloudwatch-agent-ctl"],
    chatter: &[
        "****** processing *",
        "*I! *",
        "*D! *",
        "Successfully fetched the config *",
        "Start configuration validation...",
        "*Reading json config file path: *",
        "Configuration validation * phase *",
        "/opt/aws/amazon-cloudwatch-agent/bin/*",
        "======== *",
    ],
    marks: &["*E! *", "Under path : *"],
    lines: QUOTED_LINES,
    otherwise: Meaning::Lasts,
    hint: BY_HAND,
    facts: &[
        Fact {
            words: &["under path : "],
            meaning: Meaning::Lasts,
            hint: "correct amazon-cloudwatch-agent.json in the assets where it says, build the archive anew, and put its SHA-256 into \
                   the config",
            source: "aws/amazon-cloudwatch-agent, translator",
        },
        Fact {
            words: &[
                "unable to determine aws-region",
                "failed to get region",
                "cannot determine the region",
                "unable to get instance metadata",
            ],
            meaning: Meaning::Passes,
            hint: "check that the metadata service answers (169.254.169.254), then run: bootstrap --phase cloudwatch-agent",
            source: "aws/amazon-cloudwatch-agent, tool/util",
        },
    ],
};
