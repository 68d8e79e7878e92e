//! The local instance, end to end: real cloud-init, systemd, mkfs, mount, Docker and cron run the real user-data.
//!
//! `scripts/test` runs it; so does `cargo test --test instance` as root. The tests of a chain run in order and share
//! instances, since a boot takes a minute; the chains run side by side, each with an AWS and a network of its own.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::print_stderr
)]

mod chains;
mod disks;
mod drills;
mod driver;
mod images;
mod launch;
mod node;
mod oncall;
mod operators;
mod processes;
mod qemu;
mod repairs;
mod shared;
mod stub;
mod upgrades;
mod wallet;

use std::process::ExitCode;
use std::sync::Arc;

use libtest_mimic::{Arguments, Failed, Trial};

use chains::{Chain, Turn};
use launch::stop_everything;

/// A name, and what it stands for.
type Test = (&'static str, fn());

/// The tests by name, in the order in which they run.
macro_rules! chain {
    ($($theme:ident::$test:ident),* $(,)?) => {
        &[$((concat!(stringify!($theme), "::", stringify!($test)), $theme::$test as fn())),*]
    };
}

const CHAINS: [&[Test]; 3] = [
    chain![
        node::a_bare_instance_becomes_a_healthy_node,
        node::the_release_binary_is_small_and_static,
        node::a_second_run_changes_nothing,
        node::the_password_is_found_nowhere,
        node::the_units_do_their_work_with_the_rights_that_they_have,
        repairs::a_killed_container_comes_back,
        repairs::a_killed_engine_comes_back_with_its_container,
        repairs::a_stopped_agent_comes_back,
        repairs::an_unmounted_volume_comes_back,
        driver::a_refused_command_changes_nothing,
        driver::an_instance_cannot_set_the_clock_of_this_machine,
        driver::every_hint_of_a_launch_can_be_followed,
        oncall::the_remedy_of_every_breakage_makes_the_node_healthy,
        processes::what_the_container_writes_is_copied_for_cloudwatch,
        processes::a_killed_process_is_named_with_its_log,
        oncall::a_changed_secret_is_told_before_the_next_boot_fails,
        oncall::a_broken_journal_and_a_killed_run_need_nobody_but_the_next_run,
        wallet::another_key_in_place_of_the_node_s_is_no_health,
        node::a_reboot_ends_healthy_with_the_same_address,
        drills::a_replaced_instance_waits_for_the_volume_and_has_the_same_address,
        drills::replacements_by_the_printed_hint_follow_each_other,
        upgrades::another_image_is_taken_over_in_place,
        upgrades::a_wrong_image_is_undone_in_place,
        upgrades::another_binary_setting_and_assets_are_taken_over_in_place,
        drills::an_image_that_keeps_its_jobs_with_root_runs_as_root_with_few_rights,
        drills::a_wrong_image_fails_with_its_reason_and_the_old_one_starts_again,
        operators::verify_prints_what_the_node_says,
        operators::the_key_is_backed_up,
        node::every_call_to_aws_is_one_that_the_role_was_judged_for,
        drills::a_stop_leaves_nothing_behind_but_the_volume,
        stub::a_network_that_comes_late_is_waited_for,
        operators::a_new_node_takes_over_a_backed_up_key,
    ],
    chain![
        stub::a_binary_that_is_not_what_the_stack_says_is_not_started,
        stub::a_missing_binary_is_named,
        disks::foreign_contents_are_refused_and_unchanged,
        disks::killed_in_each_phase_the_next_run_heals,
        images::a_prepared_disk_becomes_a_node_without_a_mirror,
        images::a_disk_of_a_node_becomes_another_instances_without_its_config,
        wallet::an_instance_store_that_was_stopped_gets_its_key_back,
        wallet::a_node_in_another_zone_gets_the_key_of_the_lost_one,
        wallet::a_new_volume_in_place_of_a_lost_one_gets_the_key_back,
    ],
    chain![
        qemu::a_driver_that_loads_only_after_a_reboot_gets_one_and_the_run_goes_on,
        qemu::the_volume_is_found_under_another_name,
        qemu::a_clock_that_jumps_stops_nothing,
        qemu::a_full_volume_is_made_larger,
        qemu::a_second_disk_is_never_touched,
    ],
];

fn main() -> ExitCode {
    let mut arguments = Arguments::from_args();
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("skipped: needs root (systemd-nspawn, loop devices, a network namespace)");
    }
    let mut trials = Vec::new();
    for chain in CHAINS {
        let turns = Arc::new(Chain::default());
        for (name, test) in chain {
            let turn = Turn::at_the_end_of(&turns);
            let trial = Trial::test(*name, move || {
                turn.wait();
                std::panic::catch_unwind(test).map_err(|panic| {
                    let text = panic
                        .downcast_ref::<String>()
                        .map(String::as_str)
                        .or_else(|| panic.downcast_ref::<&str>().copied())
                        .unwrap_or("panicked");
                    Failed::from(text)
                })
            });
            trials.push(trial.with_ignored_flag(!root));
        }
    }
    // Most of them only wait for their turn.
    arguments.test_threads = Some(trials.len());
    let conclusion = libtest_mimic::run(&arguments, trials);
    if root {
        stop_everything();
    }
    conclusion.exit_code()
}
