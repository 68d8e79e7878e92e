//! `scripts/upgrade` on a real instance: what needs no other machine is taken over in place, and undone where it fails.

use std::path::PathBuf;
use std::process::Command;

use serde_json::Value;

use crate::drills::{REPOSITORY, image_of};
use crate::launch::{Ended, Instance, Place, drive, in_checkout, operate, release_binary, scratch};
use crate::shared::shared;

fn upgrade(instance: &Instance, arguments: &[&str]) -> Ended {
    upgrade_by("upgrade", instance, arguments)
}

/// By the script of another checkout, where that is named.
fn upgrade_by(script: &str, instance: &Instance, arguments: &[&str]) -> Ended {
    let stack = instance.stack();
    operate(
        Place::Container,
        script,
        &[&["--name", &stack, "--yes"], arguments].concat(),
    )
}

/// What the stack would have another instance run.
fn parameter(instance: &Instance, name: &str) -> String {
    let told = drive(&[
        "--aws",
        "--",
        "aws",
        "cloudformation",
        "describe-stacks",
        "--stack-name",
        &instance.stack(),
    ]);
    let stacks: Value = serde_json::from_str(&told.output).expect(&told.output);
    let parameters = stacks["Stacks"][0]["Parameters"].as_array().unwrap();
    let found = parameters.iter().find(|one| one["ParameterKey"] == name);
    found.expect(name)["ParameterValue"]
        .as_str()
        .unwrap()
        .to_owned()
}

/// The release and one byte more: another version to everyone who compares.
fn another_binary() -> PathBuf {
    let file = scratch("another-bootstrap");
    let mut bytes = std::fs::read(release_binary()).unwrap();
    bytes.push(b'\n');
    std::fs::write(&file, bytes).unwrap();
    file
}

/// A checkout that has one asset more.
fn another_checkout(asset: &str, text: &str) -> PathBuf {
    let checkout = scratch("another-checkout");
    let _ = std::fs::remove_dir_all(&checkout);
    std::fs::create_dir_all(&checkout).unwrap();
    let mut copy = Command::new("cp");
    copy.arg("-R")
        .args(["scripts", "cloudformation"].map(in_checkout));
    assert!(copy.arg(&checkout).status().unwrap().success());
    std::fs::write(checkout.join("cloudformation/assets").join(asset), text).unwrap();
    checkout
}

pub fn another_image_is_taken_over_in_place() {
    let shared = shared();
    let instance = shared.instance();
    let (id, (_, before)) = (instance.id(), image_of(instance));
    let told = upgrade(instance, &["--image-tag", "v2"]);
    assert_eq!(told.code, 0, "{}", told.output);
    let (reference, image) = image_of(instance);
    assert_eq!(reference, format!("{REPOSITORY}:v2"));
    assert_ne!(image, before);
    assert_eq!(
        (instance.id(), instance.address()),
        (id, shared.address.clone())
    );
    assert_eq!(parameter(instance, "ImageTag"), "v2");
}

pub fn a_wrong_image_is_undone_in_place() {
    let shared = shared();
    let instance = shared.instance();
    let before = image_of(instance);
    let told = upgrade(instance, &["--image-tag", "broken"]);
    assert_eq!(told.code, 1, "{}", told.output);
    for said in [
        "container: the new container failed: edgelauncher did not stay up (",
        "level=fatal msg=\"this build of the image cannot start\"",
        "The old version runs again on the same instance, with the same wallet key, and the stack is as it was",
    ] {
        assert!(
            told.output.contains(said),
            "{said} is not in {}",
            told.output
        );
    }
    assert_eq!(image_of(instance), before);
    assert_eq!(parameter(instance, "ImageTag"), "v2");
    assert_eq!(instance.address(), shared.address);
    instance.run("bootstrap verify && ! test -e /var/lib/bootstrap/previous");
}

pub fn another_binary_setting_and_assets_are_taken_over_in_place() {
    let shared = shared();
    let instance = shared.instance();
    let container = "docker inspect --format '{{.Id}}' edgelauncher";
    let before = instance.run(container);
    let binary = another_binary();
    let checkout = another_checkout("note.txt", "of the other version");
    let told = upgrade_by(
        checkout.join("scripts/upgrade").to_str().unwrap(),
        instance,
        &["--binary", binary.to_str().unwrap(), "--per-peer-metrics"],
    );
    assert_eq!(told.code, 0, "{}", told.output);
    let ours = std::fs::read(&binary).unwrap().len();
    assert_eq!(
        instance.run("stat --format %s /usr/local/bin/bootstrap"),
        ours.to_string()
    );
    instance.run("grep -q '\"per_peer\": *true' /etc/bootstrap/config.json && bootstrap verify");
    assert_eq!(
        instance.run("cat /opt/bootstrap/assets/note.txt"),
        "of the other version"
    );
    assert_eq!(
        instance.run("head -n 1 /opt/bootstrap/assets/.sha256"),
        parameter(instance, "AssetsSha256")
    );
    // None of it is the container's business, so it went on.
    assert_eq!(instance.run(container), before);
    assert_eq!(instance.address(), shared.address);
}
