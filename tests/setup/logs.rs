//! The logs of the node's processes: the real logrotate, with the table that a run has written, in a folder that a
//! stranger owns.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, lchown, symlink};
use std::path::Path;
use std::process::Command;

use crate::Test;
use crate::machine::{Gate, Machine};
use crate::shared::healthy;

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("logs_are_rotated_at_their_limit", logs_are_rotated_at_their_limit),
    ("rotation_loses_no_line_that_is_shipped", rotation_loses_no_line_that_is_shipped),
    ("a_stranger_s_folder_gains_nothing_from_rotation", a_stranger_s_folder_gains_nothing_from_rotation),
];

const FOLDER: &str = "/data/edgelauncher";
/// Debian's `nobody` and `nogroup` play the container's user: the machine that tests need not know `bcuser`.
const NOBODY: u32 = 65_534;

/// Why the real logrotate cannot be tried.
pub fn missing() -> Option<&'static str> {
    let asked = Command::new("logrotate").arg("--version").output();
    asked.is_err().then_some("logrotate")
}

/// Runs the real logrotate on the machine's table, with logs of a kilobyte at most.
fn rotate(machine: &Machine, owner: &str) -> String {
    let table = machine.read("/etc/logrotate.d/bootstrap-edge");
    let table = table
        .replace(FOLDER, machine.path(FOLDER).to_str().unwrap())
        .replace("su bcuser bcuser", &format!("su {owner}"))
        .replace("size 50M", "size 1k");
    let file = machine.beside("rotation");
    fs::write(&file, table).unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).unwrap();
    let state = machine.beside("rotation.state");
    let output = Command::new("logrotate")
        .arg("--state")
        .args([&state, &file])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stderr).into_owned()
}

fn log(machine: &Machine, name: &str, text: &str) {
    machine.write(&format!("{FOLDER}/{name}"), text);
    give(&machine.path(&format!("{FOLDER}/{name}")));
}

fn give(path: &Path) {
    lchown(path, Some(NOBODY), Some(NOBODY)).unwrap();
}

fn text(machine: &Machine, name: &str) -> String {
    fs::read_to_string(machine.path(&format!("{FOLDER}/{name}"))).unwrap_or_default()
}

fn logs_are_rotated_at_their_limit() {
    let machine = healthy("debian-12");
    give(&machine.path(FOLDER));
    for generation in ["a", "b", "c", "d", "e"] {
        log(&machine, "edgecore.log", &generation.repeat(2_000));
        log(&machine, "edgeencoder.log", "short");
        assert_eq!(rotate(&machine, "nobody nogroup"), "");
    }
    assert_eq!(text(&machine, "edgecore.log"), "");
    for (name, generation) in [
        ("edgecore.log.1", "e"),
        ("edgecore.log.2", "d"),
        ("edgecore.log.3", "c"),
    ] {
        assert_eq!(text(&machine, name), generation.repeat(2_000), "{name}");
    }
    assert!(!machine.path(&format!("{FOLDER}/edgecore.log.4")).exists());
    assert_eq!(text(&machine, "edgeencoder.log"), "short");
}

/// Each tick copies what has come since the one before, also where that has been rotated meanwhile.
fn rotation_loses_no_line_that_is_shipped() {
    let machine = healthy("debian-12");
    give(&machine.path(FOLDER));
    let mut written = Vec::new();
    let mut write = |name: &str, count: usize| {
        let mut text = text(&machine, name);
        for _ in 0..count {
            let line = format!("{name}: line {}", written.len());
            text += &line.replace(&format!("{name}: "), "");
            text += "\n";
            written.push(line);
        }
        log(&machine, name, &text);
    };
    for name in ["anycast.log", "edgecore.log", "edgeencoder.log"] {
        write(name, 10);
    }
    machine.run(&["metrics"]).expect(0);
    for (name, count) in [
        ("edgecore.log", 200),
        ("edgeencoder.log", 200),
        ("anycast.log", 200),
    ] {
        // Rotated once with lines that no tick has seen, and once more without.
        write(name, count);
        assert_eq!(rotate(&machine, "nobody nogroup"), "");
        write(name, 3);
        machine.run(&["metrics"]).expect(0);
        write(name, count);
        machine.run(&["metrics"]).expect(0);
        assert_eq!(rotate(&machine, "nobody nogroup"), "");
        machine.run(&["metrics"]).expect(0);
    }
    let shipped = machine.read("/var/log/bootstrap-edge.log");
    let shipped: Vec<&str> = shipped.lines().collect();
    assert_eq!(shipped, written);
}

/// Whether it works as the container's user or as root.
fn a_stranger_s_folder_gains_nothing_from_rotation() {
    for owner in ["nobody nogroup", "root root"] {
        let machine = healthy("debian-12");
        give(&machine.path(FOLDER));
        let at = |name: &str| machine.path(&format!("{FOLDER}/{name}"));
        let secret = "s".repeat(2_000);
        machine.write("/root/secret", &secret);
        fs::set_permissions(
            machine.path("/root/secret"),
            fs::Permissions::from_mode(0o600),
        )
        .unwrap();
        // A link to a file of the machine, a second name of the key, a pipe; what is to be written is a link, too.
        symlink(machine.path("/root/secret"), at("anycast.log")).unwrap();
        let key = at("edgecore/key/encrypted/2e833968e5bb786ae419c4d13189fb081cc43bab");
        fs::write(&key, &secret).unwrap();
        fs::hard_link(&key, at("edgeencoder.log")).unwrap();
        log(&machine, "edgecore.log", &"x".repeat(2_000));
        symlink(machine.path("/root/secret"), at("edgecore.log.1")).unwrap();
        symlink("/etc", at("edgecore.log.2")).unwrap();
        for name in ["anycast.log", "edgecore.log.1", "edgecore.log.2"] {
            give(&at(name));
        }
        rotate(&machine, owner);
        let unharmed = fs::metadata(machine.path("/root/secret")).unwrap();
        assert_eq!((unharmed.uid(), unharmed.mode() & 0o777), (0, 0o600));
        assert_eq!(machine.read("/root/secret"), secret);
        assert_eq!(fs::read_to_string(&key).unwrap(), secret);
        let copies = |name: &str| fs::symlink_metadata(at(&format!("{name}.1"))).is_ok();
        assert!(!copies("anycast.log") && !copies("edgeencoder.log"));
        assert_eq!(text(&machine, "edgecore.log.1"), "x".repeat(2_000));
        assert!(
            fs::symlink_metadata(at("edgecore.log.1"))
                .unwrap()
                .is_file()
        );

        fs::remove_file(at("anycast.log")).unwrap();
        let _pipe = Gate::at(&at("anycast.log"));
        rotate(&machine, owner);
        assert!(!copies("anycast.log"));
    }
}
