//! Machine images: a root disk becomes another instance's, made ready for that or as a node has left it.

use std::process::Command;
use std::sync::Mutex;

use crate::launch::{Instance, Launch, PASSWORD, Place, scratch, stop_all};

/// The node on the prepared disk.
static NODE: Mutex<Option<Instance>> = Mutex::new(None);

pub fn a_prepared_disk_becomes_a_node_without_a_mirror() {
    let (builder, _) = Launch::beside("builder").without_running().run();
    let (machine, id) = (builder.run("cat /etc/machine-id"), builder.id());
    // It is there because the instance is launched as a node's.
    builder.run("rm -r /etc/bootstrap; cloud-init status --wait");
    // The stand-in for the CloudWatch agent's package is not signed by AWS.
    let keyring = scratch("assets.tar.gz");
    let folder = builder.file("root/opt/bootstrap/assets");
    std::fs::create_dir_all(&folder).unwrap();
    let mut unpack = Command::new("tar");
    unpack.arg("-xzf").arg(keyring).arg("-C").arg(&folder);
    assert!(
        unpack
            .arg("./amazon-cloudwatch-agent.gpg")
            .status()
            .unwrap()
            .success()
    );
    let said = builder.run("bootstrap prepare");
    builder.run("rm -r /opt/bootstrap");
    assert!(said.contains("make the image now"), "{said}");
    let left =
        "find /etc/bootstrap /var/lib/bootstrap /var/lib/cloud ! -type d 2>/dev/null || true";
    assert_eq!(builder.run(left), "");
    assert_eq!(
        builder.run("systemctl list-unit-files 'bootstrap*' --no-legend || true"),
        ""
    );
    let installed = builder.run("sha256sum /var/log/dpkg.log");
    builder.stop();

    let (node, _) = Launch::beside("prepared")
        .root("builder")
        .without_mirrors()
        .password(PASSWORD)
        .run();
    assert_ne!(node.run("cat /etc/machine-id"), machine);
    assert_eq!(node.run("cat /var/lib/bootstrap/instance"), node.id());
    assert_ne!(node.id(), id);
    assert_eq!(
        node.run(&format!(
            "grep -rl {id} /etc /var/lib/bootstrap /var/lib/cloud /var/log/*.log || true"
        )),
        ""
    );
    assert_eq!(node.run("sha256sum /var/log/dpkg.log"), installed);
    let ways = "grep -cE 'apt-get|dpkg -|docker pull|amazoncloudwatch-agent-' /var/log/bootstrap.log || true";
    assert_eq!(node.run(ways), "0");
    let runs = node.json("bootstrap status --list --json");
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs:#}");
    *NODE.lock().unwrap() = Some(node);
}

pub fn a_disk_of_a_node_becomes_another_instances_without_its_config() {
    let old = NODE.lock().unwrap().take().expect("a node that runs");
    let (id, address) = (old.id(), old.address());
    let (node, _) = Launch::beside("copy")
        .attach_existing()
        .root("prepared")
        .run();
    let refused = format!(
        "the config on this disk was written for instance {id}, and this is {}",
        node.id()
    );
    let said = node.run("journalctl --unit bootstrap.service --boot --no-pager --output cat");
    assert!(said.contains(&refused), "{said}");
    assert_eq!(node.address(), address);
    let aside = node.run(&format!("ls -d /var/lib/bootstrap/of-{id}-*"));
    node.run(&format!(
        "test -s {aside}/journal.json && test -s {aside}/wallet.json"
    ));
    assert_eq!(node.run("cat /var/lib/bootstrap/instance"), node.id());
    stop_all(Place::Beside);
}
