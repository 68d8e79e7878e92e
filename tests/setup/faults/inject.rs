//! The injectors: how each kind of fault comes over a machine, and how it is taken away again.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown, symlink};
use std::time::Duration;

use flate2::Compression;
use flate2::write::GzEncoder;
use rustix::process::Signal;
use serde::Deserialize;
use serde_json::Value;
use standins::aws;
use standins::http::Response;

use super::data;
use crate::disk::RootDisk;
use crate::machine::{INSTANCE, Machine, SECRET, Started, sha256};

const ARCHIVE: &str = "theta-assets/assets.tar.gz";

/// One fault, told apart by its first key.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Fault {
    /// Calls of this kind ([`aws::kind`]) are not answered as they should be; see [`aws::State::fail`].
    Aws {
        aws: String,
        /// With this.
        answers: Option<Answer>,
        /// With the end of the connection in the middle of the body, at so many percent.
        cut: Option<u8>,
        /// With what the metadata service says once its tokens have expired.
        #[serde(default)]
        expired: bool,
        /// With the real answer, but only so many seconds late, whatever the pace.
        late: Option<u32>,
        /// How many calls; all where neither this nor `seconds` is named.
        times: Option<u32>,
        /// For how long, at the row's pace.
        seconds: Option<u32>,
    },
    /// The metadata service tells this, or nothing.
    Metadata { metadata: String, becomes: Value },
    /// The secret's value, or no secret.
    Secret { secret: Option<String> },
    /// The archive in S3; the config names its hash, unless it is `unexpected`.
    Archive {
        archive: Archive,
        #[serde(default)]
        unexpected: bool,
    },
    /// An object in S3, `BUCKET/KEY`, with this text; or none.
    Object {
        object: String,
        text: Option<String>,
    },
    /// What EC2 knows of the volume.
    Ec2 { ec2: Ec2 },
    /// The signatures on the volume's disk; `empty` where nothing of worth is behind them.
    Disk {
        disk: Option<Value>,
        #[serde(default)]
        empty: bool,
    },
    /// A rule of a tool (`standins::fake_tool`) before all others.
    Tool { tool: Value },
    /// A file of the machine.
    File {
        file: String,
        text: Option<String>,
        append: Option<String>,
        mode: Option<u32>,
        owner: Option<u32>,
        link: Option<String>,
        #[serde(default)]
        gone: bool,
        #[serde(default)]
        folder: bool,
    },
    /// A fact of the machine, with a text; or no longer.
    Fact { fact: String, text: Option<String> },
    /// How the edge node behaves ([`standins::edge::Behaviour`]).
    Node { node: Value },
    /// Changes of the config, as a JSON merge patch.
    Config { config: Value },
    /// A variable of the run's environment.
    Environment { environment: String, value: String },
    /// The run gets a signal.
    Signal { signal: String },
    /// The volume is attached already, as a stack does it; or taken away, whatever is mounted.
    Attached { attached: bool },
    /// Pages elsewhere whose URL has this in it are answered with this status.
    Internet { internet: String, status: u16 },
    /// The machine's root directory is a disk of its own, which is full or read-only.
    RootDisk { root_disk: Trouble },
    /// This folder of the machine is a disk of its own, of so many MiB.
    SmallDisk { small_disk: String, mebibytes: u32 },
    /// The run's clock is so far off ("+1y", "-2h"); named before the run, it can change meanwhile.
    Clock { clock: String },
}

/// What is wrong with a disk.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trouble {
    Full,
    ReadOnly,
}

impl Trouble {
    fn befall(self, disk: &RootDisk) {
        match self {
            Self::Full => disk.fill(),
            Self::ReadOnly => disk.lock(),
        }
    }
}

/// What AWS says instead; status 0 ends the connection without a word.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Answer {
    status: u16,
    #[serde(default)]
    headers: HashMap<String, String>,
    #[serde(default)]
    body: String,
    /// So many MiB of blanks behind it, of many more that are announced.
    #[serde(default)]
    mebibytes: usize,
}

/// An archive: what is in it, or its bytes.
#[derive(Deserialize)]
#[serde(untagged, deny_unknown_fields)]
pub enum Archive {
    /// No archive at all.
    Text(String),
    /// These entries.
    Entries(Vec<Entry>),
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    name: String,
    #[serde(default)]
    text: String,
    /// A symbolic link to there.
    link: Option<String>,
    /// The size (bytes) that its header tells, where that is not the text's.
    claims: Option<u64>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ec2 {
    encrypted: Option<bool>,
    snapshot: Option<String>,
    /// The instance that has it.
    attached: Option<String>,
    exists: Option<bool>,
    /// Whether its device comes when it is attached.
    appears: Option<bool>,
    /// Its tags.
    tags: Option<BTreeMap<String, String>>,
}

impl Answer {
    fn response(&self) -> Response {
        let mut bare = Response::new(self.status, "", self.body.as_str());
        if self.mebibytes > 0 {
            bare.body.resize(self.mebibytes << 20, b' ');
            bare = bare.with("Content-Length", "1099511627776");
        }
        let headers = self.headers.iter();
        headers.fold(bare, |response, (name, value)| response.with(name, value))
    }
}

/// Takes a fault away.
pub type Undo = Box<dyn FnOnce(&mut Machine)>;

/// What only takes time passes; what was changed is put back.
fn nothing() -> Undo {
    Box::new(|_| {})
}

impl Fault {
    /// Whether the run ends by it, whatever the tools do.
    pub fn ends_the_run(&self) -> bool {
        matches!(self, Self::Signal { .. })
    }

    /// Lets it come over the machine; `run` is the run that is under way, if one is.
    pub fn inject(&self, machine: &mut Machine, run: Option<&Started>) -> Undo {
        match self {
            Self::Aws {
                aws,
                answers,
                cut,
                expired,
                late,
                times,
                seconds,
            } => {
                let fault = match (answers, cut, expired, late) {
                    (Some(answer), None, false, None) => aws::Fault::Answer(answer.response()),
                    (None, Some(percent), false, None) => aws::Fault::Cut(*percent),
                    (None, None, true, None) => aws::Fault::Expired,
                    (None, None, false, Some(seconds)) => {
                        aws::Fault::Late(Duration::from_secs((*seconds).into()))
                    }
                    _ => panic!("{aws}: one of answers, cut, expired, late"),
                };
                ill(machine, aws, fault, *times, *seconds)
            }
            Self::Metadata { metadata, becomes } => tell(machine, metadata, becomes),
            Self::Secret { secret } => hold_secret(machine, secret.as_ref()),
            Self::Archive {
                archive,
                unexpected,
            } => store(machine, archive, *unexpected),
            Self::Object { object, text } => put_object(machine, object, text.as_ref()),
            Self::Ec2 { ec2 } => know(machine, ec2),
            Self::Disk { disk, empty } => hold(machine, disk.as_ref(), *empty),
            Self::Tool { tool } => {
                machine.rule(tool.clone());
                Box::new(Machine::unrule)
            }
            Self::File { file, .. } => self.put(machine, file),
            Self::Fact { fact, text } => {
                let before = machine.fact(fact);
                set_fact(machine, fact, text.as_deref());
                let fact = fact.clone();
                Box::new(move |machine| set_fact(machine, &fact, before.as_deref()))
            }
            Self::Node { node } => {
                let mut before = None;
                machine.node.change(|behaviour| {
                    before = Some(behaviour.clone());
                    behaviour.change(node);
                });
                Box::new(move |machine| machine.node.change(|now| *now = before.unwrap()))
            }
            Self::Config { config } => {
                let mut before = Value::Null;
                machine.configure(|now| {
                    before = now.clone();
                    merge(now, config);
                });
                Box::new(move |machine| machine.configure(|now| *now = before))
            }
            Self::Environment { environment, value } => {
                let variables = &mut machine.environment;
                variables.insert(environment.clone(), value.clone());
                let name = environment.clone();
                Box::new(move |machine| {
                    machine.environment.remove(&name);
                })
            }
            Self::Signal { signal } => {
                run.expect("a signal comes meanwhile").signal(named(signal));
                nothing()
            }
            Self::Attached { attached } => {
                if *attached {
                    machine.attach();
                } else {
                    machine.detach();
                    data::unmounted(machine);
                }
                nothing()
            }
            Self::Internet { internet, status } => {
                machine.internet.refuse(internet, *status);
                Box::new(|machine| machine.internet.mend())
            }
            Self::RootDisk { root_disk } => {
                root_disk.befall(machine.own_disk());
                Box::new(Machine::leave_disk)
            }
            Self::SmallDisk {
                small_disk,
                mebibytes,
            } => {
                machine.put_disk(small_disk, *mebibytes);
                Box::new(Machine::take_disk)
            }
            Self::Clock { clock } => {
                machine.set_clock(clock);
                Box::new(|machine| machine.set_clock("+0"))
            }
        }
    }

    fn put(&self, machine: &mut Machine, file: &str) -> Undo {
        let Self::File {
            text,
            append,
            mode,
            owner,
            link,
            gone,
            folder,
            ..
        } = self
        else {
            unreachable!("only files are put");
        };
        let path = machine.path(file);
        let before = fs::symlink_metadata(&path).ok();
        let bytes = fs::read(&path).ok();
        let target = fs::read_link(&path).ok();
        if let (Some(more), Some(_)) = (append, &before) {
            // What others write to the file stays when this goes.
            machine.write(file, &(machine.read(file) + more));
            let (file, more) = (file.to_owned(), more.clone());
            return Box::new(move |machine| {
                machine.write(&file, &machine.read(&file).replacen(&more, "", 1));
            });
        }
        let replaces = text.is_some() || link.is_some() || *gone || *folder;
        let aside = machine.beside(&format!("aside-{}", file.replace('/', "-")));
        if replaces && before.as_ref().is_some_and(fs::Metadata::is_dir) {
            fs::rename(&path, &aside).unwrap();
        } else if replaces {
            let _ = fs::remove_file(&path);
        }
        if let Some(text) = text {
            let now = jiff::Timestamp::now().as_second();
            let text = text.replace("HOUR_AGO", &(now - 3600).to_string());
            machine.write(file, &text.replace("NOW", &now.to_string()));
            if let Some(name) = file.strip_prefix("/dev/") {
                be_as_large_as_sysfs_says(machine, name);
            }
        }
        if let Some(target) = link {
            symlink(target, &path).unwrap();
        }
        if *folder {
            fs::create_dir_all(&path).unwrap();
        }
        if let Some(mode) = mode {
            // Written in JSON as one reads it: 644.
            let mode = u32::from_str_radix(&mode.to_string(), 8).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        if let Some(owner) = owner {
            chown(&path, Some(*owner), Some(*owner)).unwrap();
        }
        Box::new(move |_| {
            let Some(before) = before else {
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
                return;
            };
            if replaces || bytes.is_some() {
                let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
            }
            if let Some(target) = &target {
                return symlink(target, &path).unwrap();
            }
            match &bytes {
                Some(bytes) => fs::write(&path, bytes).unwrap(),
                None if aside.exists() => fs::rename(&aside, &path).unwrap(),
                None => {}
            }
            chown(&path, Some(before.uid()), Some(before.gid())).unwrap();
            fs::set_permissions(&path, before.permissions()).unwrap();
        })
    }
}

/// A disk's node can be read to the end of the disk.
fn be_as_large_as_sysfs_says(machine: &Machine, name: &str) {
    let size = machine.path(&format!("/sys/class/block/{name}/size"));
    let sectors = fs::read_to_string(size).unwrap_or_default();
    let sectors: u64 = sectors.trim().parse().unwrap_or_default();
    let node = fs::File::options()
        .write(true)
        .open(machine.path(&format!("/dev/{name}")));
    node.unwrap().set_len(sectors * 512).unwrap();
}

fn named(signal: &str) -> Signal {
    match signal {
        "TERM" => Signal::TERM,
        "INT" => Signal::INT,
        "HUP" => Signal::HUP,
        "KILL" => Signal::KILL,
        other => panic!("no signal {other}"),
    }
}

fn ill(
    machine: &mut Machine,
    calls: &str,
    fault: aws::Fault,
    times: Option<u32>,
    seconds: Option<u32>,
) -> Undo {
    let mut cloud = machine.aws.state();
    match seconds {
        Some(seconds) => {
            let time = Duration::from_secs(seconds.into()) / machine.pace;
            cloud.fail_for(calls, time, fault);
        }
        None => cloud.fail(calls, times.unwrap_or(u32::MAX), fault),
    }
    Box::new(|machine| machine.aws.state().mend())
}

fn tell(machine: &mut Machine, path: &str, becomes: &Value) -> Undo {
    let pointer = format!("/{path}");
    let mut cloud = machine.aws.state();
    let place = cloud.metadata.pointer_mut(&pointer).unwrap();
    let before = std::mem::replace(place, becomes.clone());
    Box::new(move |machine| {
        let mut cloud = machine.aws.state();
        *cloud.metadata.pointer_mut(&pointer).unwrap() = before;
    })
}

fn hold_secret(machine: &mut Machine, secret: Option<&String>) -> Undo {
    let mut cloud = machine.aws.state();
    let before = match secret {
        Some(secret) => cloud.secrets.insert(SECRET.into(), secret.clone()),
        None => cloud.secrets.remove(SECRET),
    };
    Box::new(move |machine| {
        let mut cloud = machine.aws.state();
        cloud.secrets.insert(SECRET.into(), before.unwrap());
    })
}

fn store(machine: &mut Machine, archive: &Archive, unexpected: bool) -> Undo {
    let bytes = match archive {
        Archive::Text(text) => text.as_bytes().to_vec(),
        Archive::Entries(entries) => packed(entries),
    };
    let hash = sha256(&bytes);
    let objects = |machine: &Machine, bytes| {
        let mut cloud = machine.aws.state();
        cloud.objects.insert(ARCHIVE.into(), bytes).unwrap()
    };
    let right = objects(machine, bytes);
    let mut before = Value::Null;
    machine.configure(|config| {
        before = config["assets"]["sha256"].clone();
        if !unexpected {
            config["assets"]["sha256"] = hash.into();
        }
    });
    Box::new(move |machine| {
        objects(machine, right);
        machine.configure(|config| config["assets"]["sha256"] = before);
    })
}

fn put_object(machine: &Machine, object: &str, text: Option<&String>) -> Undo {
    let set = |machine: &Machine, object: &str, bytes: Option<Vec<u8>>| {
        let objects = &mut machine.aws.state().objects;
        match bytes {
            Some(bytes) => objects.insert(object.to_owned(), bytes),
            None => objects.remove(object),
        }
    };
    let before = set(machine, object, text.map(|text| text.as_bytes().to_vec()));
    let object = object.to_owned();
    Box::new(move |machine| drop(set(machine, &object, before)))
}

/// A tar.gz of these entries, whose names are not looked at.
fn packed(entries: &[Entry]) -> Vec<u8> {
    let mut archive = tar::Builder::new(GzEncoder::new(Vec::new(), Compression::fast()));
    for entry in entries {
        let bytes = entry.text.as_bytes();
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes()[..entry.name.len()].copy_from_slice(entry.name.as_bytes());
        header.set_size(entry.claims.unwrap_or(bytes.len() as u64));
        header.set_mode(0o644);
        if let Some(target) = &entry.link {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_link_name(target).unwrap();
        }
        header.set_cksum();
        archive.append(&header, bytes).unwrap();
    }
    archive.into_inner().unwrap().finish().unwrap()
}

fn know(machine: &mut Machine, ec2: &Ec2) -> Undo {
    let mut cloud = machine.aws.state();
    let before = cloud.volumes[0].clone();
    let volume = &mut cloud.volumes[0];
    if let Some(encrypted) = ec2.encrypted {
        volume.encrypted = encrypted;
    }
    if let Some(snapshot) = &ec2.snapshot {
        volume.snapshot.clone_from(snapshot);
    }
    if let Some(instance) = &ec2.attached {
        // The empty name is nobody's.
        let holder = (!instance.is_empty()).then(|| instance.clone());
        volume.attached = holder.map(|instance| (instance, "/dev/sdf".into()));
    }
    if let Some(tags) = &ec2.tags {
        volume.tags.clone_from(tags);
    }
    let tagged = ec2.tags.is_some();
    if ec2.exists == Some(false) {
        cloud.volumes.clear();
    }
    let hook = if ec2.appears == Some(false) {
        cloud.on_attach.take()
    } else {
        None
    };
    Box::new(move |machine| {
        let mut cloud = machine.aws.state();
        // Who has it by now is no longer the fault's business.
        let holder = cloud.volumes.first().and_then(|now| now.attached.clone());
        let ours = holder.filter(|(instance, _)| instance == INSTANCE);
        let mut tags = before.tags.clone();
        if let (Some(now), false) = (cloud.volumes.first(), tagged) {
            tags.clone_from(&now.tags);
        }
        cloud.volumes = vec![aws::Volume {
            attached: ours.clone(),
            tags,
            ..before
        }];
        if let Some(aws::Hook(appear)) = hook {
            if ours.is_some() {
                appear(&cloud.volumes[0]);
            }
            cloud.on_attach = Some(aws::Hook(appear));
        }
    })
}

fn hold(machine: &mut Machine, signatures: Option<&Value>, empty: bool) -> Undo {
    let before = machine.fact("contents");
    let text = signatures.map(|held| format!("{{\"signatures\":{held}}}"));
    set_fact(machine, "contents", text.as_deref());
    if empty || signatures.is_none() {
        data::leave_out(machine);
        // What comes to be on it stays.
        return nothing();
    }
    Box::new(move |machine| set_fact(machine, "contents", before.as_deref()))
}

fn set_fact(machine: &Machine, fact: &str, text: Option<&str>) {
    match text {
        Some(text) => machine.keep(fact, text),
        None if machine.fact(fact).is_some() => machine.forget(fact),
        None => {}
    }
}

/// RFC 7396.
fn merge(into: &mut Value, patch: &Value) {
    let Value::Object(changes) = patch else {
        *into = patch.clone();
        return;
    };
    for (name, value) in changes {
        if value.is_null() {
            into.as_object_mut().unwrap().remove(name);
        } else {
            if !into[name].is_object() || !value.is_object() {
                into[name] = Value::Object(serde_json::Map::new());
            }
            merge(&mut into[name], value);
        }
    }
}
