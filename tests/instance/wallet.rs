//! The wallet outlives its disk: the key comes back from its copy in the bucket, and no other takes its place.
//!
//! In this order, beside the other nodes, each from what the one before has left in the bucket.

use crate::launch::{Instance, Launch, PASSWORD, Place, aws, check, operate, requests, stop_all};
use crate::oncall::is_healthy;
use crate::shared::{beside_node, shared};

const KEYS: &str = "/data/edgelauncher/edgecore/key/encrypted";

/// Name and contents of the key file, as sha256sum says them.
fn key(instance: &Instance) -> String {
    instance.run(&format!("cd {KEYS} && sha256sum *"))
}

/// How often the bucket was asked about wallets.
pub fn asked_about_wallets(place: Place) -> usize {
    let about = |request: &&serde_json::Value| {
        let of = |name: &str| request[name].as_str().unwrap_or_default();
        of("path").contains("/wallets/") || of("call") == "ListObjectsV2"
    };
    requests(place).iter().filter(about).count()
}

/// What EC2 says of the volume: its zone, and the wallet that it remembers.
fn remembered(volume: &str) -> Vec<String> {
    let told = aws(
        Place::Beside,
        &[
            "ec2",
            "describe-volumes",
            "--volume-ids",
            volume,
            "--query",
            "Volumes[0].[AvailabilityZone, Tags[?Key=='theta-edge:wallet'].Value | [0]]",
            "--output",
            "text",
        ],
    );
    told.output.split_whitespace().map(str::to_owned).collect()
}

pub fn an_instance_store_that_was_stopped_gets_its_key_back() {
    let (instance, _) = Launch::beside("store")
        .password(PASSWORD)
        .parameter("VolumeType=instance-store")
        .run();
    let (address, before) = (instance.address(), key(&instance));
    assert!(asked_about_wallets(Place::Beside) > 0);
    instance.run("touch /data/of-the-first-boot");
    instance.restart();
    assert_eq!(
        instance.run("ls /data"),
        "edgelauncher\nlost+found",
        "the disk is another one"
    );
    is_healthy(&instance, &address, "a stop");
    assert_eq!(key(&instance), before);
    let mut node = beside_node();
    node.address = address;
    node.goes_on_with(instance);
}

/// As `scripts/deploy --restore NODE/ADDRESS --zone ZONE` does it: it copies the key to where the new stack's node looks for
/// it, names it where others lie there, and gives it to a node that has found none.
pub fn a_node_in_another_zone_gets_the_key_of_the_lost_one() {
    let mut node = beside_node();
    let (lost, bucket) = (node.instance().stack(), node.instance().bucket());
    let before = key(node.instance());
    node.stop();
    let address = node.address.clone();
    let file = |stack: &str, address: &str| {
        let name = address.trim_start_matches("0x");
        format!("s3://{bucket}/wallets/{stack}/{address}/{name}")
    };
    let other = format!("0x{:0>40}", 6);
    for address in [&address, &other] {
        let (from, to) = (file(&lost, &node.address), file("zone", address));
        let copied = aws(Place::Beside, &["s3", "cp", &from, &to]);
        assert_eq!(copied.code, 0, "{}", copied.output);
    }
    let (instance, _) = Launch::beside("zone")
        .password(PASSWORD)
        .zone("us-east-1b")
        .parameter(&format!("WalletAddress={address}"))
        .run();
    assert_eq!(
        (instance.address(), key(&instance)),
        (address.clone(), before)
    );
    assert_eq!(remembered(&instance.volume()), ["us-east-1b", &address]);
    let own = file("zone", &address);
    let given = operate(
        Place::Beside,
        "backup-key",
        &["--name", "zone", "--restore", &own],
    );
    let said = format!("Node zone runs with the key of {address} already: there is nothing to do.");
    assert!(
        given.code == 0 && given.output.contains(&said),
        "{}",
        given.output
    );
    let removed = aws(Place::Beside, &["s3", "rm", &file("zone", &other)]);
    assert_eq!(removed.code, 0, "{}", removed.output);
    node.goes_on_with(instance);
}

pub fn a_new_volume_in_place_of_a_lost_one_gets_the_key_back() {
    let mut node = beside_node();
    let (instance, volume) = (node.instance().id(), node.instance().volume());
    let before = key(node.instance());
    node.stop();
    let gone = aws(
        Place::Beside,
        &["ec2", "describe-volumes", "--volume-ids", &volume],
    );
    assert!(
        gone.code != 0 && gone.output.contains("InvalidVolume.NotFound"),
        "{}",
        gone.output
    );
    let (replacement, _) = Launch::beside("zone").password(PASSWORD).run();
    assert_ne!(replacement.id(), instance);
    assert_ne!(replacement.volume(), volume);
    let config = replacement.json("cat /etc/bootstrap/config.json");
    assert_eq!(config["volume"]["origin"], "new");
    assert_eq!(
        (replacement.address(), key(&replacement)),
        (node.address.clone(), before)
    );
    assert_eq!(remembered(&replacement.volume())[1], node.address);
    stop_all(Place::Beside);
}

/// The node makes another key where it finds none, and whoever has taken the old one away has it.
pub fn another_key_in_place_of_the_node_s_is_no_health() {
    let shared = shared();
    let instance = shared.instance();
    is_healthy(instance, &shared.address, "what was before");
    assert!(instance.published("edge_healthy") > 0.5);
    let own = shared.address.trim_start_matches("0x").to_owned();
    instance.run(&format!(
        "systemctl stop bootstrap-repair.timer bootstrap-repair.service && mv {KEYS}/{own} /data/aside && \
         docker restart edgelauncher && timeout 60 sh -c 'until test -n \"$(ls {KEYS})\"; do sleep 0.2; done'"
    ));
    let other = instance.run(&format!("ls {KEYS}"));
    let verify = instance.json("bootstrap verify --json");
    let check = check(&verify, "key");
    assert_eq!(
        (&verify["verdict"], &check["status"], &check["detail"]),
        (
            &"unhealthy".into(),
            &"fail".into(),
            &format!(
                "{KEYS} holds the key of 0x{other}, but the wallet of this node is {}",
                shared.address
            )
            .into()
        )
    );
    assert!(instance.published("edge_healthy") < 0.5);

    instance.run(&format!(
        "docker stop edgelauncher && rm {KEYS}/{other} && mv /data/aside {KEYS}/{own} && docker start edgelauncher && \
         systemctl start bootstrap-repair.timer"
    ));
    is_healthy(instance, &shared.address, "the key is back");
}
