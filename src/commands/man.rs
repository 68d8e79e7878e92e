//! `bootstrap man` and `bootstrap completions`: what the program says of itself, made from the same definitions as `--help`.

use clap::Command;
use clap::builder::PossibleValuesParser;
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use super::{Exit, fail, say};
use crate::error::{Error, OrFail, Result};
use crate::log::printable;
use crate::node::Document;
use crate::{explain, paths, phases};

const MANUAL: &str = "/usr/local/share/man/man1";

/// Where each shell looks for what completes the commands of this machine.
const COMPLETIONS: [(Shell, &str); 3] = [
    (Shell::Bash, paths::BASH_COMPLETION),
    (Shell::Zsh, paths::ZSH_COMPLETION),
    (Shell::Fish, paths::FISH_COMPLETION),
];

/// The exit codes of [`Exit`], for people.
const CODES: [(&str, &str); 6] = [
    ("0", "Done, or healthy."),
    ("1", "A phase failed, or the node is not healthy."),
    ("2", "Wrong usage (not as root, say), or a wrong config."),
    ("3", "Another run holds the lock."),
    ("4", "A reboot is under way, and the run resumes after it."),
    (
        "5",
        "verify only: syncing; nothing fails, but height or peers are still coming.",
    ),
];

const FILES: [(&str, &str); 7] = [
    (paths::CONFIG, "The config. It holds no secret."),
    (paths::JOURNAL, "What the last ten runs did."),
    (paths::LOG, "The log, as JSON lines."),
    (
        paths::RUN,
        "The lock, and the wallet password; in memory only.",
    ),
    (
        paths::ASSETS,
        "The unpacked assets; edge.json describes the container.",
    ),
    (paths::UNIT, "Runs bootstrap at every boot."),
    ("/data", "The data volume, which holds the wallet key."),
];

const ENVIRONMENT: [(&str, &str); 7] = [
    (
        "BOOTSTRAP_CONFIG",
        "The config file, where --config names none.",
    ),
    (
        "AWS_REGION",
        "The region, if the config names none; without it, the instance's own.",
    ),
    (
        "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_SESSION_TOKEN",
        "Credentials to use instead of those of the instance's role.",
    ),
    (
        "AWS_ENDPOINT_URL",
        "The endpoint of AWS; AWS_ENDPOINT_URL_S3 and the like set it for one service.",
    ),
    (
        "AWS_EC2_METADATA_SERVICE_ENDPOINT",
        "Where the instance metadata service is.",
    ),
    (
        "https_proxy, no_proxy",
        "The proxy for downloads and AWS, and the hosts that are reached without it.",
    ),
    ("NO_COLOR", "If set, the output is not coloured."),
];

/// Commands as they are typed, and what they are for.
const EXAMPLES: &[(&str, &[(&str, &str)])] = &[
    (
        "bootstrap",
        &[
            (
                "sudo bootstrap",
                "Repair the node; changes nothing if it is healthy.",
            ),
            (
                "sudo bootstrap --phase container --force",
                "Restart the edge node.",
            ),
        ],
    ),
    (
        "bootstrap-plan",
        &[("sudo bootstrap plan", "What would a run do?")],
    ),
    (
        "bootstrap-verify",
        &[
            (
                "sudo bootstrap verify",
                "The verdict, its cause, and what mends it.",
            ),
            (
                "sudo bootstrap verify --wait 15m",
                "Wait until the node is healthy.",
            ),
            (
                "sudo bootstrap verify --only gpu -v",
                "Every check of one group.",
            ),
            (
                "sudo bootstrap verify --watch",
                "Look again and again, until Ctrl-C.",
            ),
        ],
    ),
    (
        "bootstrap-status",
        &[
            ("sudo bootstrap status", "The last run."),
            ("sudo bootstrap status --list", "The last ten runs."),
            (
                "sudo bootstrap status 2 --svg run.svg",
                "Draw the run before the last.",
            ),
        ],
    ),
    (
        "bootstrap-explain",
        &[
            (
                "bootstrap explain volume",
                "What the check volume means, and what to do.",
            ),
            (
                "bootstrap explain S3 throttles permanently",
                "A fault, by its words.",
            ),
        ],
    ),
    (
        "bootstrap-doctor",
        &[(
            "sudo bootstrap doctor",
            "One archive for a bug report, without any secret.",
        )],
    ),
    (
        "bootstrap-prepare",
        &[(
            "sudo bootstrap prepare --gpu --tag v1.3.1",
            "Ready for an image, whose nodes install and pull nothing.",
        )],
    ),
    (
        "bootstrap-probe-image",
        &[(
            "sudo bootstrap probe-image",
            "Is the real image what this project assumes?",
        )],
    ),
    (
        "bootstrap-metrics",
        &[(
            "sudo bootstrap metrics --dry-run",
            "What would the tick publish?",
        )],
    ),
    (
        "bootstrap-repair",
        &[
            (
                "sudo bootstrap repair",
                "Put right what is down, where its timer would.",
            ),
            (
                "sudo systemctl stop bootstrap-repair.timer",
                "Keep the node down until the next boot.",
            ),
        ],
    ),
    (
        "bootstrap-config",
        &[(
            "sudo bootstrap config check",
            "Every mistake of the config at once.",
        )],
    ),
    (
        "bootstrap-config-check",
        &[(
            "bootstrap config check --config new.json",
            "Before it is put in place.",
        )],
    ),
    (
        "bootstrap-config-schema",
        &[(
            "bootstrap config schema > schema.json",
            "For an editor that knows JSON Schema.",
        )],
    ),
    (
        "bootstrap-completions",
        &[(
            "source <(bootstrap completions bash)",
            "In this shell, until it ends.",
        )],
    ),
    (
        "bootstrap-man",
        &[(
            "bootstrap man config check | man -l -",
            "Read the page of a command.",
        )],
    ),
];

/// Prints the page of the command that these words name.
pub fn page(command: Command, words: &[String]) -> Exit {
    match rendered(command, words) {
        Ok(page) => print(&page),
        Err(error) => {
            fail(&error);
            Exit::Usage
        }
    }
}

fn rendered(command: Command, words: &[String]) -> Result<Vec<u8>> {
    let mut command = told(command);
    for word in words {
        let Some(inner) = command
            .find_subcommand(word)
            .filter(|inner| !inner.is_hide_set())
        else {
            return Err(Error::new(
                format!("there is no command '{}'", printable(&words.join(" "))),
                "the commands are: bootstrap --help",
            ));
        };
        command = inner.clone();
    }
    render(command)
}

/// Prints the completion script for `shell`.
pub fn completions(shell: Shell, command: Command) -> Exit {
    print(&script(shell, command))
}

/// The pages and the scripts as files of a machine.
pub fn documents(command: &Command) -> Vec<Document> {
    let mut open = vec![told(command.clone())];
    let mut documents = Vec::new();
    while let Some(next) = open.pop() {
        let inner = next.get_subcommands().filter(|inner| !inner.is_hide_set());
        open.extend(inner.cloned());
        let name = next.get_display_name().unwrap_or_else(|| next.get_name());
        let path = format!("{MANUAL}/{name}.1");
        // Writing to memory does not fail.
        documents.extend(render(next).map(|text| Document { path, text }));
    }
    documents.extend(COMPLETIONS.map(|(shell, path)| Document {
        path: path.to_owned(),
        text: script(shell, command.clone()),
    }));
    documents
}

fn script(shell: Shell, command: Command) -> Vec<u8> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut named(command), "bootstrap", &mut script);
    script
}

/// With the names that the program refuses in its own words, so that shells know them.
fn named(command: Command) -> Command {
    let phases = PossibleValuesParser::new(phases::NAMES);
    let topics = PossibleValuesParser::new(explain::names());
    command
        .mut_arg("phases", |phase| phase.value_parser(phases))
        .mut_subcommand("explain", |explain| {
            explain.mut_arg("name", |name| name.value_parser(topics))
        })
}

/// As the pages need it: every command with its whole name.
fn told(command: Command) -> Command {
    let mut command = command.disable_help_subcommand(true);
    command.build();
    command
}

fn render(command: Command) -> Result<Vec<u8>> {
    let name = command
        .get_display_name()
        .unwrap_or_else(|| command.get_name())
        .to_owned();
    let examples = EXAMPLES.iter().find(|(of, _)| *of == name);
    let mut roff = Roff::default();
    section(&mut roff, "EXIT STATUS", &CODES);
    section(&mut roff, "FILES", &FILES);
    section(&mut roff, "ENVIRONMENT", &ENVIRONMENT);
    section(
        &mut roff,
        "EXAMPLES",
        examples.map_or(&[], |(_, examples)| examples),
    );
    if name != "bootstrap" {
        roff.control("SH", ["SEE ALSO"]);
        roff.text([bold("bootstrap"), roman("(1)")]);
    }
    let has_commands = command.has_subcommands();
    let man = Man::new(command)
        .manual("Theta edge node")
        .source(format!("bootstrap {}", env!("CARGO_PKG_VERSION")));
    let mut page = Vec::new();
    let written = (|| {
        man.render_title(&mut page)?;
        man.render_name_section(&mut page)?;
        man.render_synopsis_section(&mut page)?;
        man.render_description_section(&mut page)?;
        man.render_options_section(&mut page)?;
        if has_commands {
            man.render_subcommands_section(&mut page)?;
        }
        roff.to_writer(&mut page)
    })();
    written.or_fail(
        || "cannot make the manual page",
        "report this as a bug in bootstrap",
    )?;
    Ok(page)
}

fn section(roff: &mut Roff, title: &str, entries: &[(&str, &str)]) {
    if entries.is_empty() {
        return;
    }
    roff.control("SH", [title]);
    for (term, meaning) in entries {
        roff.control("TP", []);
        roff.text([bold(*term)]);
        roff.text([roman(*meaning)]);
    }
}

/// By way of memory, since the generators take a reader that has gone away (`| head`) for a failure, or panic.
fn print(text: &[u8]) -> Exit {
    say(&String::from_utf8_lossy(text));
    Exit::Done
}
