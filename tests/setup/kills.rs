//! The kill campaign: full runs are ended at random instants, then run again; in the end the machine must be as an
//! undisturbed run leaves it.
//!
//! `SEED` draws the instants, `KILLS` says how many, `MACHINE` of which machine, where not of all (`scripts/faults` sets
//! them). An instant is the number of a call of
//! the kernel that leaves something behind ([`trace`]), drawn from those of an undisturbed run. `KILL` repeats one:
//! `MACHINE:HOW:NUMBER[:SEED]`.

mod end;
mod power;
pub mod tally;

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{LazyLock, Mutex, OnceLock};

use libtest_mimic::Trial;

use self::end::End;
use self::power::Disk;
use crate::faults::{compare_data, data, look_for_the_password};
use crate::machine::Machine;
use crate::trace::{self, Nobody, Traced, Victim, Witness};
use crate::wallet_backup;

/// What a run of the tests does by itself.
const KILLS: u64 = 24;
const SEED: u64 = 1;

const MACHINES: [&str; 9] = [
    "debian-12",
    "ubuntu-22.04",
    "ubuntu-24.04",
    "ubuntu-24.04-gpu",
    "amazon-linux-2023",
    "amazon-linux-2023-gpu",
    "blank-debian-12",
    "blank-amazon-linux-2023",
    "lost-debian-12",
];

/// Begins the name of a machine whose volume is blank, so that a filesystem is made.
const BLANK: &str = "blank-";

/// Begins the name of a machine that has lost its volume, and has a new one: its wallet is in its backup only.
const LOST: &str = "lost-";

/// How many known files the volume holds, at least.
const FILES: usize = 100;

/// How many times faster deliberate waiting goes.
const PACE: u32 = 100;

/// How a run is ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum How {
    /// SIGKILL for the program and its tools.
    All,
    /// SIGKILL for the program alone.
    Program,
    /// All, and what was not synced is lost.
    Power,
}

const WAYS: [(&str, How); 3] = [
    ("all", How::All),
    ("program", How::Program),
    ("power", How::Power),
];

/// One kill.
#[derive(Clone, Debug)]
struct Kill {
    machine: String,
    how: How,
    at: At,
    /// Draws what a power cut takes.
    seed: u64,
}

/// When it comes.
#[derive(Clone, Copy, Debug)]
enum At {
    /// After this part of the calls of an undisturbed run.
    Part(f64),
    /// At this call.
    Call(u64),
}

impl Kill {
    fn draw(seed: u64) -> Self {
        let mut chance = fastrand::Rng::with_seed(seed);
        let machine = MACHINES[chance.usize(..MACHINES.len())].to_owned();
        let (_, how) = WAYS[chance.usize(..WAYS.len())];
        Self {
            machine,
            how,
            at: At::Part(chance.f64()),
            seed: chance.u64(..),
        }
    }
}

impl FromStr for Kill {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wanted = "write KILL as MACHINE:all|program|power:NUMBER[:SEED]";
        let parts: Vec<&str> = text.split(':').collect();
        let [machine, how, number, seed @ ..] = parts.as_slice() else {
            return Err(wanted);
        };
        let way = WAYS.iter().find(|(name, _)| name == how);
        Ok(Self {
            machine: (*machine).to_owned(),
            how: way.ok_or(wanted)?.1,
            at: At::Call(number.parse().map_err(|_| wanted)?),
            seed: seed
                .first()
                .map_or(Ok(0), |seed| seed.parse())
                .map_err(|_| wanted)?,
        })
    }
}

fn number(variable: &str, otherwise: u64) -> u64 {
    let named = std::env::var(variable).ok();
    named.map_or(otherwise, |text| {
        text.parse()
            .unwrap_or_else(|_| panic!("{variable} is a number"))
    })
}

/// One trial for each kill.
pub fn trials() -> Vec<Trial> {
    if let Ok(kill) = std::env::var("KILL") {
        let kill: Kill = kill.parse().unwrap_or_else(|wanted| panic!("{wanted}"));
        return vec![crate::trial("kills::one", move || survive(&kill))];
    }
    let seed = number("SEED", SEED);
    let kills = 0..number("KILLS", KILLS);
    let machine = std::env::var("MACHINE").ok();
    let trial = |count| {
        let mut kill = Kill::draw(seed.wrapping_mul(1_000_003).wrapping_add(count));
        if let Some(machine) = &machine {
            kill.machine.clone_from(machine);
        }
        let name = format!("kills::seed_{seed}::{count:03}");
        crate::trial(&name, move || survive(&kill))
    };
    kills.map(trial).collect()
}

/// What an undisturbed run does, and leaves.
struct Undisturbed {
    calls: u64,
    end: End,
}

/// Of each machine, once.
fn undisturbed(name: &str) -> &'static Undisturbed {
    type Slot = &'static OnceLock<Undisturbed>;
    static ALL: LazyLock<Mutex<BTreeMap<String, Slot>>> = LazyLock::new(Mutex::default);
    let slot: Slot = {
        let mut all = ALL.lock().unwrap();
        all.entry(name.to_owned())
            .or_insert_with(|| Box::leak(Box::default()))
    };
    slot.get_or_init(|| {
        let machine = stage(name);
        let (traced, said) = traced(&machine, None, &mut Nobody);
        assert_eq!(traced.code, Some(0), "{said}");
        Undisturbed {
            calls: traced.calls,
            end: End::of(&machine),
        }
    })
}

fn stage(name: &str) -> Machine {
    let lost = name.strip_prefix(LOST);
    let blank = name.strip_prefix(BLANK).or(lost);
    let mut machine = Machine::new(blank.unwrap_or(name));
    machine.pace = PACE;
    machine.configure(|config| config["deadline_seconds"] = 43_200.into());
    if lost.is_some() {
        wallet_backup::lose_volume(&machine);
    }
    if blank.is_none() {
        data::put_volume(&mut machine, data::files(FILES));
    }
    machine
}

fn traced(
    machine: &Machine,
    end: Option<(u64, Victim)>,
    witness: &mut dyn Witness,
) -> (Traced, String) {
    let said = machine.beside("said");
    let traced = trace::run(&machine.command(&[]), &said, end, witness);
    (traced, std::fs::read_to_string(said).unwrap())
}

fn survive(kill: &Kill) {
    let undisturbed = undisturbed(&kill.machine);
    let at = match kill.at {
        At::Call(number) => number,
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a part of a few thousand calls"
        )]
        At::Part(part) => 1 + (part * undisturbed.calls as f64) as u64,
    };
    let (way, _) = WAYS.iter().find(|(_, how)| *how == kill.how).unwrap();
    let again = format!(
        "scripts/faults --kill {}:{way}:{at}:{}",
        kill.machine, kill.seed
    );
    // The last line of what is told of a failure.
    let result = std::panic::catch_unwind(|| die_and_recover(kill, at, &undisturbed.end));
    if let Err(panic) = result {
        let said = crate::said(&*panic);
        panic!("{said}\nagain: {again}");
    }
}

fn die_and_recover(kill: &Kill, at: u64, undisturbed: &End) {
    let machine = stage(&kill.machine);
    let is_lost = kill.machine.starts_with(LOST);
    let is_blank = kill.machine.starts_with(BLANK) || is_lost;
    let at_stake = data::at_stake(&machine, data::files(FILES));
    let victim = match kill.how {
        How::All | How::Power => Victim::Everything,
        How::Program => Victim::Program,
    };
    let mut disk = Disk::of(machine.root());
    let (traced, said) = traced(&machine, Some((at, victim)), &mut disk);
    tally::killed(traced.code.is_none());
    if let Some(code) = traced.code {
        // Its threads took turns otherwise, and it was through before.
        assert_eq!(code, 0, "{said}");
    }
    look_for_the_password(&machine, &said);
    if kill.how == How::Power {
        let broken = disk.cut(&mut fastrand::Rng::with_seed(kill.seed));
        assert_eq!(
            broken,
            [""; 0].map(std::path::PathBuf::from),
            "neither old nor new"
        );
        lose_power(&machine);
    }
    compare_data(&machine, at_stake);

    let ended = machine.run(&[]);
    let unknown = ended.output();
    assert_eq!(ended.code, 0, "{said}\n---- again:\n{unknown}");
    look_for_the_password(&machine, &unknown);
    compare_data(&machine, at_stake);
    undisturbed.compare(&End::of(&machine));
    if is_blank {
        let calls = machine.calls();
        let made = calls.iter().filter(|call| call.starts_with("mkfs"));
        assert!(made.count() <= 2, "{calls:#?}");
        assert_eq!(
            machine.aws.state().volumes[0].tags["theta-edge:filesystem"],
            uuid_of(&machine.read("/etc/fstab"))
        );
    }
    if is_lost {
        wallet_backup::is_put_back(&machine);
    }
    tally::recovered();
}

/// The filesystem that fstab mounts at `/data`.
fn uuid_of(fstab: &str) -> &str {
    let line = fstab.lines().find(|line| line.contains(" /data "));
    let source = line.unwrap().split(' ').next().unwrap();
    source.strip_prefix("UUID=").unwrap()
}

/// What the machine is after its next boot: what was not to last is gone, what is enabled runs.
fn lose_power(machine: &Machine) {
    machine.reboot(2);
    for fact in machine.facts() {
        if let Some(unit) = fact.strip_prefix("active ")
            && machine.fact(&format!("enabled {unit}")).is_none()
        {
            machine.forget(&fact);
        }
    }
    if machine.fact("mounted").is_some() && !machine.read("/etc/fstab").contains(" /data ") {
        machine.unmount();
        if machine.beside(data::VOLUME).exists() {
            data::unmounted(machine);
        }
    }
}
