//! What lies on the data volume before a fault comes: many files of known content, the wallet key among them.

use std::fs;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use serde_json::json;

use crate::machine::Machine;

/// How many files every volume holds beside the key, at least; `FAULT_FILES` names another number.
static FILES: LazyLock<usize> = LazyLock::new(|| {
    let named = std::env::var("FAULT_FILES").ok();
    named.map_or(100, |files| files.parse().expect("FAULT_FILES is a number"))
});
const FILES_IN_A_FOLDER: usize = 500;

/// Where the volume's files lie while it is not mounted, beside the root of the machine.
pub const VOLUME: &str = "volume";
/// Where they end when a filesystem is made over them.
const LOST: &str = "overwritten";

const KEYS: &str = "edgelauncher/edgecore/key/encrypted";
const KEY: &str = "edgelauncher/edgecore/key/encrypted/2e833968e5bb786ae419c4d13189fb081cc43bab";

/// How many files the volume of a row that asks for `files` holds beside the key.
pub fn files(wanted: usize) -> usize {
    wanted.max(*FILES)
}

/// Puts a volume with an earlier node's data into the cloud of this bare machine; mounting brings its files.
pub fn put_volume(machine: &mut Machine, files: usize) {
    let uuid = "5ca1ab1e-0000-4000-8000-00000000da7a";
    let held = format!(r#"{{"signatures":[{{"type":"ext4","uuid":"{uuid}"}}]}}"#);
    machine.keep("contents", &held);
    let (volume, lost) = (machine.beside(VOLUME), machine.beside(LOST));
    fs::create_dir(&lost).unwrap();
    for number in 0..files {
        let path = volume.join(name(number));
        if number % FILES_IN_A_FOLDER == 0 {
            fs::create_dir_all(path.parent().unwrap()).unwrap();
        }
        fs::write(path, content(number)).unwrap();
    }
    fs::create_dir_all(volume.join(KEYS)).unwrap();
    fs::write(volume.join(KEY), key()).unwrap();
    let mut path = PathBuf::from(KEY);
    let mut mode = 0o600;
    while path != Path::new("") {
        let inside = volume.join(&path);
        chown(&inside, Some(1002), Some(1002)).unwrap();
        fs::set_permissions(&inside, fs::Permissions::from_mode(mode)).unwrap();
        mode = 0o700;
        path.pop();
    }
    let [from, to] = [VOLUME, LOST].map(|folder| format!("/../{folder}"));
    machine.rule(json!({"run": "mount -t * ROOT/dev/nvme1n* /data", "also": true, "unless": ["mounted"], "moves": {&from: "/data"}}));
    machine.rule(json!({"run": "mkfs.*", "also": true, "moves": {&from: to}}));
}

/// Nothing of worth is on the volume.
pub fn leave_out(machine: &Machine) {
    let volume = machine.beside(VOLUME);
    fs::remove_dir_all(&volume).unwrap();
    fs::create_dir(volume).unwrap();
}

/// The volume is gone from its mount point, and its files with it.
pub fn unmounted(machine: &Machine) {
    for entry in fs::read_dir(machine.path("/data")).unwrap() {
        let entry = entry.unwrap();
        let to = machine.beside(VOLUME).join(entry.file_name());
        fs::rename(entry.path(), to).unwrap();
    }
}

/// How many files are on the volume that must survive.
pub fn at_stake(machine: &Machine, files: usize) -> usize {
    let has_key = |folder: &PathBuf| folder.join(KEY).exists();
    let places = [machine.beside(VOLUME), machine.path("/data")];
    if places.iter().any(has_key) {
        files + 1
    } else {
        0
    }
}

/// The files that are no longer there, whole, where they belong.
pub fn lost(machine: &Machine, files: usize) -> Vec<String> {
    let places = [machine.beside(VOLUME), machine.path("/data")];
    let is_whole = |name: &str, content: &str| {
        let found = places
            .iter()
            .filter_map(|place| fs::read(place.join(name)).ok());
        found.collect::<Vec<_>>() == [content.as_bytes()]
    };
    let mut lost = Vec::new();
    for number in 0..files {
        if !is_whole(&name(number), &content(number)) {
            lost.push(name(number));
        }
    }
    if !is_whole(KEY, key()) {
        lost.push(KEY.to_owned());
    }
    lost
}

fn name(number: usize) -> String {
    let folder = number / FILES_IN_A_FOLDER;
    format!("edgelauncher/edgecore/db/{folder:03}/{number:05}.ldb")
}

/// Different in each file, and of different lengths.
fn content(number: usize) -> String {
    format!("{number} ").repeat(1 + number % 7)
}

fn key() -> &'static str {
    r#"{"address":"2e833968e5bb786ae419c4d13189fb081cc43bab","version":3}"#
}
