//! The NVIDIA driver on every system, for every naming of kernel packages, GPU, and image: the exact commands.
//!
//! `drivers.json` has the systems and kernels, with the sources that say what is to be installed; `drivers.commands` the
//! commands, reviewed against them (`BLESS=1` writes it).

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::Test;
use crate::machine::Machine;
use crate::shared::{compare_golden, masked, side_by_side};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("the_driver_is_installed_by_exactly_these_commands", the_driver_is_installed_by_exactly_these_commands),
];

/// Models by their PCI device and subsystem ids.
const GPUS: [(&str, Option<(&str, &str)>); 7] = [
    ("T4", Some(("0x1eb8", "0x12a2"))),
    ("A10G", Some(("0x2237", "0x152f"))),
    ("L4", Some(("0x27b8", "0x16ca"))),
    ("an unknown one", Some(("0x2bb5", "0x0000"))),
    ("a fraction of an L4", Some(("0x27b8", "0x1733"))),
    ("V100", Some(("0x1db1", "0x1212"))),
    ("none", None),
];

const APT: &str = "-y -o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-confdef -o Dpkg::Options::=--force-confold";

fn file(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/setup")
        .join(name)
}

fn the_driver_is_installed_by_exactly_these_commands() {
    let rows: Vec<Value> =
        serde_json::from_str(&fs::read_to_string(file("drivers.json")).unwrap()).unwrap();
    let told = std::sync::Mutex::new(vec![String::new(); rows.len()]);
    let numbered: Vec<(usize, &Value)> = rows.iter().enumerate().collect();
    side_by_side(&numbered, |(number, row)| {
        let section = section(row);
        told.lock().unwrap()[*number] = section;
    });
    let mut text = format!("# Written by drivers.rs. OPTIONS is {APT}\n");
    text.extend(told.into_inner().unwrap());
    compare_golden(&file("drivers.commands"), &text);
}

/// One system and kernel: the GPUs for which the same happens are told of together.
fn section(row: &Value) -> String {
    let kernel = row["kernel"].as_str().unwrap();
    let mut text = format!("\n{}, kernel {kernel}\n", row["system"].as_str().unwrap());
    let _ = writeln!(text, "    # {}", row["about"].as_str().unwrap());
    for source in row["sources"].as_array().unwrap() {
        let _ = writeln!(text, "    # {}", source.as_str().unwrap());
    }
    for is_there in [false, true] {
        let mut outcomes: Vec<(Vec<&str>, String)> = Vec::new();
        for (gpu, device) in GPUS {
            let outcome = outcome(row, device, is_there);
            match outcomes.iter_mut().find(|(_, same)| *same == outcome) {
                Some((gpus, _)) => gpus.push(gpu),
                None => outcomes.push((vec![gpu], outcome)),
            }
        }
        let image = if is_there {
            "the image has a driver"
        } else {
            "no driver"
        };
        for (gpus, outcome) in outcomes {
            let _ = write!(text, "  {}; {image}\n{outcome}", gpus.join(", "));
        }
    }
    text
}

/// What the phase does, one line for each command or for the error and its hint.
fn outcome(row: &Value, device: Option<(&str, &str)>, is_there: bool) -> String {
    let kernel = row["kernel"].as_str().unwrap();
    let mut machine = Machine::new(&format!("{}-driver-gpu", row["system"].as_str().unwrap()));
    machine.write("/proc/sys/kernel/osrelease", &format!("{kernel}\n"));
    for name in row["lacks"].as_array().unwrap() {
        let name = name.as_str().unwrap();
        for (tool, code, said) in [
            ("apt-get --simulate", 100, "E: Unable to locate package"),
            ("dnf --assumeno", 1, "Error: Unable to find a match:"),
        ] {
            machine.rule(
                json!({"run": format!("{tool} * {name} *"), "exit": code, "error": format!("{said} {name}")}),
            );
        }
    }
    let gpu = "/sys/bus/pci/devices/0000:00:1e.0";
    match device {
        Some((device, subsystem)) => {
            machine.write(&format!("{gpu}/device"), &format!("{device}\n"));
            machine.write(
                &format!("{gpu}/subsystem_device"),
                &format!("{subsystem}\n"),
            );
        }
        None => fs::remove_dir_all(machine.path(gpu)).unwrap(),
    }
    if is_there {
        machine.keep("module built", "");
        machine.bring("nvidia-smi");
    }
    let ended = machine.run(&["--phase", "preflight", "--phase", "nvidia"]);
    let mut lines: Vec<String> = machine
        .calls()
        .iter()
        .filter(|call| !call.contains(" bootstrap") && *call != "systemctl daemon-reload")
        .map(|call| masked(&machine, call).replace(APT, "OPTIONS"))
        .collect();
    if ended.code == 1 {
        let error = &machine.phase("nvidia")["error"];
        lines.push(format!("error: {}", error["reason"].as_str().unwrap()));
        lines.push(format!("help: {}", error["hint"].as_str().unwrap()));
    }
    format!("    {}\n", lines.join("\n    "))
}
