//! What happens to a node in its life, on one volume with one key: its instance is replaced, an image is wrong and rolled
//! back, everything is stopped, and begins again with the volume. In this order, each from where the one before has left it.

use std::path::Path;

use serde_json::Value;

use crate::launch::{Instance, Launch, PASSWORD, check, follow, hint, leftovers};
use crate::shared::shared;

pub const REPOSITORY: &str = "thetalabsorg/edgelauncher_mainnet";

/// The image of the running container: its reference and its id.
pub fn image_of(instance: &Instance) -> (String, String) {
    let found = instance.run("docker inspect --format '{{.Config.Image}} {{.Image}}' edgelauncher");
    let (reference, id) = found.split_once(' ').expect("reference and id");
    (reference.into(), id.into())
}

pub fn a_replaced_instance_waits_for_the_volume_and_has_the_same_address() {
    let mut shared = shared();
    let (old, volume) = (shared.instance().id(), shared.instance().volume());
    let (instance, output) = Launch::new("second").attach_existing().release_late().run();
    assert_ne!(instance.id(), old);
    assert_eq!(instance.volume(), volume);
    let waited = format!("waiting for {old} to release {volume} (attached)");
    assert!(output.contains(&waited), "{waited} is not in {output}");
    assert_eq!(instance.address(), shared.address);
    shared.goes_on_with(instance);
}

pub fn replacements_by_the_printed_hint_follow_each_other() {
    let mut shared = shared();
    for name in ["node", "node2"] {
        let instance = Instance::launched_by(&shared.instance().hint("Replace it"), name);
        assert_eq!(instance.address(), shared.address);
        shared.goes_on_with(instance);
    }
}

pub fn an_image_that_keeps_its_jobs_with_root_runs_as_root_with_few_rights() {
    let shared = shared();
    let instance = shared.instance();
    let said = || {
        let report = instance.json("bootstrap verify --wait 3m --json");
        let spec = check(&report, "spec")["detail"]
            .as_str()
            .unwrap()
            .to_owned();
        (report["verdict"].as_str().unwrap().to_owned(), spec)
    };
    let runs_as = |tag: &str| {
        instance.run(&format!(
            "sed -i 's/\"tag\": *\"[^\"]*\"/\"tag\": \"{tag}\"/' /etc/bootstrap/config.json && bootstrap"
        ));
        let (verdict, said) = said();
        assert_eq!(
            (verdict.as_str(), instance.address()),
            ("healthy", shared.address.clone())
        );
        let of = format!("edgelauncher runs {REPOSITORY}:{tag} ");
        let process = "/proc/$(docker inspect --format '{{.State.Pid}}' edgelauncher)";
        (
            said.replace(&of, ""),
            instance.run(&format!(
                "grep -E '^(Uid|NoNewPrivs|CapBnd)' {process}/status | tr '\\t\\n' '  '; cat {process}/oom_score_adj"
            )),
        )
    };
    let (why, status) = runs_as("rooted");
    assert_eq!(
        why,
        "as the image's own root (uid 1002 cannot use the image's /root/fedml-miniconda, /root)"
    );
    // CHOWN, DAC_OVERRIDE, FOWNER, KILL, SETGID, SETUID.
    assert_eq!(
        status.trim(),
        "Uid: 0 0 0 0 CapBnd: 00000000000000eb NoNewPrivs: 1 500"
    );
    let (why, status) = runs_as("v2");
    assert_eq!(why, "as bcuser (uid 1002 can use all that the image needs)");
    assert_eq!(
        status.trim(),
        "Uid: 1002 1002 1002 1002 CapBnd: 0000000000000000 NoNewPrivs: 1 500"
    );
}

pub fn a_wrong_image_fails_with_its_reason_and_the_old_one_starts_again() {
    let mut shared = shared();
    let (_, before) = image_of(shared.instance());
    let (instance, _) = Launch::new("fourth")
        .attach_existing()
        .tag("broken")
        .failing()
        .run();
    let signals = instance.signals();
    let told: Vec<(&str, &str)> = signals
        .iter()
        .map(|signal| (word(signal, "by"), word(signal, "Status")))
        .collect();
    assert_eq!(
        told,
        [("wait-handle", "FAILURE"), ("SignalResource", "FAILURE")]
    );
    let reason = word(&signals[0], "Reason");
    assert!(
        reason.starts_with("container: edgelauncher did not stay up (")
            && reason.contains("); its log ends: ")
            && reason.contains("level=fatal msg=\"this build of the image cannot start\"")
            && reason.ends_with(". read the whole log: docker logs edgelauncher"),
        "{reason}"
    );
    assert_eq!(signals[1]["LogicalResourceId"], "Node");

    // What CloudFormation does then: the stack as it was, on another instance.
    let (instance, _) = Launch::new("fifth").attach_existing().tag("v2").run();
    let (reference, id) = image_of(&instance);
    assert_eq!((reference, id), (format!("{REPOSITORY}:v2"), before));
    assert_eq!(instance.address(), shared.address);
    shared.goes_on_with(instance);
}

fn word<'a>(signal: &'a Value, key: &str) -> &'a str {
    signal[key].as_str().expect(key)
}

pub fn a_stop_leaves_nothing_behind_but_the_volume() {
    let mut shared = shared();
    let stop = |instance: &Instance| {
        let stopped = follow(&instance.hint("Stop it"));
        assert_eq!(stopped.code, 0, "{}", stopped.output);
        assert_eq!(leftovers(), Vec::<String>::new());
        stopped.output
    };
    let stopped = stop(shared.instance());

    // The password is for the reader to say.
    let own = format!("'{}'", PASSWORD.replace('\'', r"'\''"));
    let again = hint(&stopped, "Launch one with its volume").replace("PASSWORD", &own);
    let instance = Instance::launched_by(&again, "node");
    assert_eq!(instance.address(), shared.address);
    let stopped = stop(&instance);

    shared.goes_on_with(instance);
    let mut words = again
        .split_whitespace()
        .skip_while(|word| *word != "--disk");
    let disk = Path::new(words.nth(1).expect("the volume's file"));
    assert!(disk.exists(), "{}", disk.display());
    let clean = follow(&hint(&stopped, "Delete every volume"));
    assert_eq!(clean.code, 0, "{}", clean.output);
    assert!(!disk.exists(), "{}", disk.display());
}
