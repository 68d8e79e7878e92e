//! Compares what is assumed about the real image with the image itself: nobody in this project has run it.
//!
//! The assumptions come from what a dozen users have published (scripts, start9's package, AWS's first blueprint).

use std::fmt::Write;
use std::path::Path;

use super::container::{self, Container};
use super::image::{self, ImageFacts};
use super::look::{Found, Seen};
use super::processes::{self, Process};
use super::rpc::{Client, Fault};
use super::run_as::{self, RunAs};
use super::spec::Spec;
use crate::config::Config;
use crate::error::{Error, Result};
use crate::host::Host;
use crate::log::printable;

/// One assumption.
pub struct Row {
    about: &'static str,
    found: String,
    /// Empty if nothing is assumed.
    believed: &'static str,
}

impl Row {
    fn agrees(&self) -> bool {
        self.believed.is_empty() || self.found == self.believed
    }
}

const ANSWERS: &str = "answers";
const ALL: &str = "can use all";

/// Checks everything: the image, both ways to run it, and the node if it runs.
pub async fn compare(host: &Host, config: &Config) -> Result<Vec<Row>> {
    let spec = Spec::require(host, config)?;
    let image = image::facts(host, &config.edge).await?.ok_or_else(|| {
        Error::new(
            format!("{} is not pulled", image::reference(&config.edge)),
            "run: bootstrap --phase image",
        )
    })?;
    let user = run_as::look(host, config, &spec, &image, RunAs::User).await?;
    let own = run_as::look(host, config, &spec, &image, RunAs::Image).await?;
    let mut rows = of_image(&image, &user, &own);
    rows.push(logs(host, &spec.data_folder(config))?);
    let container = container::find(host, &spec.name).await?;
    rows.push(running(host, container.as_ref()));
    let core = Client::at(config.edge.rpc_bind, spec.rpc.core);
    let answers = processes::ask(config, &spec).await;
    // A single question that is not understood is worth reporting.
    let of = |process| {
        let mut faults = answers.iter().filter(|a| a.question.process == process);
        let fault = faults.find_map(|answer| answer.said.as_ref().err());
        fault.map_or_else(|| ANSWERS.into(), Fault::to_string)
    };
    for (about, found) in [
        ("RPC of the core", answer(&core.status().await)),
        ("RPC of the launcher", of(Process::Launcher)),
        ("RPC of the encoder", of(Process::Encoder)),
    ] {
        rows.push(Row {
            about,
            found,
            believed: ANSWERS,
        });
    }
    Ok(rows)
}

fn of_image(image: &ImageFacts, user: &Seen, own: &Seen) -> Vec<Row> {
    let row = |about, found: &str, believed| Row {
        about,
        found: printable(found),
        believed,
    };
    let jobs = own.uses.iter().find(|at| at.path.contains("fedml"));
    let jobs = match jobs.map(|at| at.found) {
        Some(Found::Usable) => "there",
        Some(Found::Denied) => "closed to its own user",
        Some(Found::Absent) | None => "not there",
    };
    vec![
        row("image", image.digest.as_ref().unwrap_or(&image.id), ""),
        row("user", &image.user, "root"),
        row("entrypoint", &image.argv.join(" "), "/bin/start.sh"),
        row("working directory", &image.working_dir, ""),
        row("home", own.home.as_deref().unwrap_or("none"), "/root"),
        row("jobs", jobs, "there"),
        row(
            "as the config's user",
            &usable(user),
            "cannot use /root/fedml-miniconda, /root",
        ),
        row("as its own user", &usable(own), ALL),
    ]
}

fn usable(seen: &Seen) -> String {
    let denied: Vec<&str> = seen.denied().collect();
    if denied.is_empty() {
        ALL.into()
    } else {
        format!("cannot use {}", denied.join(", "))
    }
}

/// The logs in the data folder.
fn logs(host: &Host, folder: &str) -> Result<Row> {
    let mut names = host.names_in(folder)?;
    names.retain(|name| Path::new(name).extension() == Some("log".as_ref()));
    names.sort();
    if names.is_empty() {
        names.push("none".into());
    }
    Ok(Row {
        about: "logs",
        found: printable(&names.join(", ")),
        believed: "anycast.log, edgecore.log, edgeencoder.log",
    })
}

/// The kernel's names of the processes in the container: `verify` can recognize one of them only by its name.
fn running(host: &Host, container: Option<&Container>) -> Row {
    const BELIEVED: [&str; 3] = ["anycast", "edgecore", "edgeencoder"];
    let process = container.and_then(Container::process);
    let names = process.and_then(|process| host.descendants(process));
    let found = match &names {
        None => "not to be seen".into(),
        Some(names) if BELIEVED.iter().all(|name| names.contains(*name)) => BELIEVED.join(", "),
        Some(names) => names.iter().cloned().collect::<Vec<_>>().join(", "),
    };
    Row {
        about: "processes",
        found: printable(&found),
        believed: "anycast, edgecore, edgeencoder",
    }
}

fn answer<T>(answer: &Result<T, Fault>) -> String {
    match answer {
        Ok(_) => ANSWERS.into(),
        Err(fault) => fault.to_string(),
    }
}

/// Whether everything is as assumed, and the report.
pub fn told(rows: &[Row]) -> (bool, String) {
    let different = rows.iter().filter(|row| !row.agrees()).count();
    let mut text = match different {
        0 => "The image is what it is believed to be.\n".to_owned(),
        1 => "The image differs from what it is believed to be in 1 point.\n".to_owned(),
        some => format!("The image differs from what it is believed to be in {some} points.\n"),
    };
    for row in rows {
        let mark = if row.agrees() { " " } else { "!" };
        let _ = writeln!(text, "{mark} {:<21} {}", row.about, row.found);
        if !row.agrees() {
            let _ = writeln!(text, "  {:<21} {}", "  believed", row.believed);
        }
    }
    (different == 0, text)
}
