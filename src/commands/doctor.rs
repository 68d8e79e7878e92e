//! `bootstrap doctor`: one archive for a bug report, with whatever a person would be asked for, and no secret.

use std::fmt::Write as _;
use std::fs::OpenOptions;
use std::io::{IsTerminal, Write as _};
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use serde_json::Value;

use super::{Exit, Output, block_on, config, engine, fail, host, json, need_root, say};
use crate::VERSION;
use crate::aws::imds::Imds;
use crate::edge::trouble::{password, redact};
use crate::error::{Error, OrFail, Result};
use crate::health::verify;
use crate::host::Host;
use crate::host::directories::STATE;
use crate::host::files::Access;
use crate::node::Node;
use crate::notify::wait_handle_in;
use crate::paths::{JOURNAL, LOG};
use crate::phases;
use crate::rights::only_look;

/// What user-data has printed.
const CLOUD_INIT: &str = "/var/log/cloud-init-output.log";

/// Lines of a log that are taken: its end.
const LINES: usize = 2_000;

/// What a unit is asked for.
const PROPERTIES: &str = "--property=Id,LoadState,ActiveState,SubState,Result,ExecMainStatus,NRestarts,UnitFileState,\
                          ActiveEnterTimestamp";

/// The units that a node consists of, whatever the operating system calls them; those that it lacks say so.
const UNITS: &[&str] = &[
    "bootstrap.service",
    "bootstrap-metrics.timer",
    "docker.service",
    "containerd.service",
    "amazon-cloudwatch-agent.service",
    "amazon-ssm-agent.service",
    "snap.amazon-ssm-agent.amazon-ssm-agent.service",
    "nvidia-persistenced.service",
    "cron.service",
    "crond.service",
];

/// One file of the archive: its name, what is in it, its text.
type Part = (&'static str, &'static str, String);

/// Writes the archive to `output`, or where nobody names a place, into the state folder; `-` is standard output.
pub fn doctor(config: &Path, output: Option<&Path>, how: Output) -> Exit {
    only_look();
    let host = host();
    how.log_beside_answer(&host);
    if let Err(exit) = need_root(&host) {
        return exit;
    }
    match written(config, output, &host) {
        Ok(()) => Exit::Done,
        Err(error) => fail(&error),
    }
}

fn written(config: &Path, output: Option<&Path>, host: &Host) -> Result<()> {
    let to_pipe = output == Some(Path::new("-"));
    if to_pipe && std::io::stdout().is_terminal() {
        return Err(Error::new(
            "the archive is not for a terminal",
            "redirect it: bootstrap doctor --output - > doctor.tar.gz",
        ));
    }
    let now = Timestamp::now().strftime("%Y%m%dT%H%M%SZ").to_string();
    let parts = block_on(gather(config, host))?;
    let archive = archive(&format!("doctor-{now}"), &parts).or_fail(
        || "cannot make the archive",
        "see whether the machine is out of memory",
    )?;
    if to_pipe {
        return std::io::stdout()
            .write_all(&archive)
            .or_fail(|| "cannot write the archive", "see what reads it");
    }
    let place = if let Some(file) = output {
        let mut options = OpenOptions::new();
        let open = options.write(true).create_new(true).mode(0o600).open(file);
        open.and_then(|mut open| open.write_all(&archive)).or_fail(
            || format!("cannot write {}", file.display()),
            "name a new file in a directory that you can write to: --output FILE",
        )?;
        file.display().to_string()
    } else {
        let file = format!("{}/doctor-{now}.tar.gz", STATE.path);
        STATE.make(host)?;
        host.write(&file, &archive, Access::mode(0o600))?;
        file
    };
    let mut text = format!("{place} ({} KiB) holds:\n", archive.len().div_ceil(1024));
    for (name, what, _) in &parts {
        let _ = writeln!(text, "  {name:23}  {what}");
    }
    text += "Neither the wallet password, the wallet key nor the stack's wait handle is in it. It\n\
             names the account, the instance and the wallet's address: look through it before\n\
             you publish it (tar -xzOf FILE | less).";
    say(&text);
    Ok(())
}

/// Whatever can be had; what cannot says why.
async fn gather(file: &Path, host: &Host) -> Vec<Part> {
    let node = config::load(file)
        .map(|config| Arc::new(Node::new(config, host.clone(), Imds::from_env())));
    let (plan, verified) = match &node {
        Ok(node) => (plan(node).await, verified(node).await),
        Err(mistakes) => (mistakes.clone(), mistakes.clone()),
    };
    let mut parts: Vec<Part> = vec![
        (
            "versions.txt",
            "bootstrap, operating system, kernel, Docker, instance",
            versions(host, node.as_deref().ok()).await,
        ),
        (
            "config.json",
            "the config, without the wait handle",
            shown_config(file),
        ),
        (
            "journal.json",
            "what the last ten runs did",
            text(host, JOURNAL),
        ),
        ("verify.json", "the health check", verified),
        ("plan.json", "what a run would do", plan),
        (
            "units.txt",
            "the states of the units",
            said(host, "systemctl", units()).await,
        ),
        (
            "units.log",
            "what the units last said",
            said(host, "journalctl", units_log()).await,
        ),
        ("bootstrap.log", "the end of the log", end(&text(host, LOG))),
        (
            "cloud-init-output.log",
            "the end of what user-data printed",
            end(&text(host, CLOUD_INIT)),
        ),
    ];
    let password = password(host);
    // By which anybody can speak for the node.
    let handle = wait_handle_in(file);
    for (_, _, text) in &mut parts {
        *text = redact(text, password.as_ref());
        if let Some(handle) = &handle {
            *text = text.replace(handle.as_str(), "[redacted]");
        }
    }
    parts
}

fn units() -> Vec<String> {
    let options = ["show", PROPERTIES];
    options
        .iter()
        .chain(UNITS)
        .map(|word| (*word).to_owned())
        .collect()
}

/// bootstrap's own is the log.
fn units_log() -> Vec<String> {
    let options = ["--no-pager", "--output=short-iso", "--lines=500"].map(String::from);
    let others = UNITS.iter().skip(1).map(|unit| format!("--unit={unit}"));
    options.into_iter().chain(others).collect()
}

async fn plan(node: &Arc<Node>) -> String {
    let plan = async { json(&engine(node)?.plan().await) };
    plan.await.unwrap_or_else(|error| told(&error))
}

async fn verified(node: &Arc<Node>) -> String {
    phases::leave_size();
    node.host.look_again();
    match phases::verified(node) {
        Ok(phases) => Box::pin(verify(node, &phases)).await.json(),
        Err(error) => told(&error),
    }
}

async fn versions(host: &Host, node: Option<&Node>) -> String {
    let or = |text: Result<String>| text.unwrap_or_else(|error| told(&error));
    let instance = match node {
        Some(node) => or(node
            .identity()
            .await
            .map(|id| format!("{} ({}, {})", id.instance_id, id.instance_type, id.zone))),
        None => "not asked".into(),
    };
    let docker = host.docker().server_version().await;
    let docker = or(docker.map(|version| version.unwrap_or_else(|| "does not answer".into())));
    let os = or(host.os().map(|os| os.name.to_owned()));
    let kernel = or(host.kernel_release());
    format!(
        "bootstrap: {VERSION}\noperating system: {os}\nkernel: {kernel}\ndocker: {docker}\ninstance: {instance}\nmade: {}\n",
        Timestamp::now()
    )
}

/// The config, written anew: no escape hides what is to be redacted.
fn shown_config(file: &Path) -> String {
    let config = std::fs::read(file).map(|text| serde_json::from_slice::<Value>(&text));
    match config {
        Ok(Ok(config)) => json(&config).unwrap_or_else(|error| told(&error)),
        Ok(Err(error)) => format!("it is not JSON: {error}"),
        Err(error) => error.to_string(),
    }
}

fn text(host: &Host, path: &str) -> String {
    match host.read(path) {
        Ok(Some(bytes)) => String::from_utf8_lossy(&bytes).into_owned(),
        Ok(None) => format!("there is no {path}"),
        Err(error) => told(&error),
    }
}

fn end(text: &str) -> String {
    let count = text.lines().count();
    let lines = text.lines().skip(count.saturating_sub(LINES));
    lines.collect::<Vec<_>>().join("\n")
}

async fn said(host: &Host, program: &str, arguments: Vec<String>) -> String {
    let asked = host.command(program).args(arguments).looks().output().await;
    match asked {
        Ok(output) => format!("{}{}", output.stdout, output.stderr),
        Err(error) => told(&error),
    }
}

fn told(error: &Error) -> String {
    format!("{error}\nhelp: {}\n", error.hint())
}

fn archive(folder: &str, parts: &[Part]) -> std::io::Result<Vec<u8>> {
    let now = u64::try_from(Timestamp::now().as_second()).unwrap_or_default();
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::best()));
    for (name, _, text) in parts {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o600);
        header.set_mtime(now);
        header.set_size(text.len() as u64);
        archive.append_data(&mut header, format!("{folder}/{name}"), text.as_bytes())?;
    }
    archive.into_inner()?.finish()
}
