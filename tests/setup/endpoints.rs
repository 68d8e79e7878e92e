//! AWS where it is elsewhere: each service at an address of its own, over IPv6, or behind a proxy only.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};

use crate::Test;
use crate::machine::Machine;
use crate::shared::{expect_failure, healthy};

#[rustfmt::skip]
pub const TESTS: &[Test] = &[
    ("each_service_is_asked_at_its_own_endpoint", each_service_is_asked_at_its_own_endpoint),
    ("every_client_asks_over_ipv6", every_client_asks_over_ipv6),
    ("every_client_asks_through_the_proxy", every_client_asks_through_the_proxy),
    ("an_endpoint_that_is_no_address_is_named", an_endpoint_that_is_no_address_is_named),
];

/// The services that a node calls, as in the variables' names.
const SERVICES: [&str; 5] = [
    "S3",
    "SECRETS_MANAGER",
    "EC2",
    "CLOUDFORMATION",
    "CLOUDWATCH",
];

/// Where nobody listens.
const NOWHERE: &str = "http://127.0.0.1:9";

/// Names an endpoint; of all services where `service` is empty.
fn lead(machine: &mut Machine, service: &str, url: &str) {
    let name = if service.is_empty() {
        "AWS_ENDPOINT_URL".into()
    } else {
        format!("AWS_ENDPOINT_URL_{service}")
    };
    machine.environment.insert(name, url.into());
}

/// What a run and a tick have asked of AWS; each service was.
fn asked_of_each(machine: &Machine) {
    let cloud = machine.aws.state();
    for action in [
        "GetObject",
        "GetSecretValue",
        "DescribeVolumes",
        "AttachVolume",
        "SignalResource",
        "PutMetricData",
    ] {
        assert!(!cloud.requests_of(action).is_empty(), "{action}");
    }
}

fn each_service_is_asked_at_its_own_endpoint() {
    let mut machine = Machine::new("debian-12");
    let url = machine.aws.url();
    lead(&mut machine, "", NOWHERE);
    for service in SERVICES {
        lead(&mut machine, service, &url);
    }
    machine.run(&[]).expect(0);
    machine.run(&["metrics"]).expect(0);
    asked_of_each(&machine);

    // And nowhere else where only that one leads nowhere.
    lead(&mut machine, "", &url);
    machine.pace = 1000;
    machine.configure(|config| config["deadline_seconds"] = 43_200.into());
    for (service, arguments) in [
        ("S3", &["--phase", "assets"][..]),
        ("SECRETS_MANAGER", &["--phase", "secret", "--force"]),
        ("EC2", &["--phase", "volume", "--force"]),
        ("CLOUDWATCH", &["metrics"]),
    ] {
        if service == "S3" {
            std::fs::remove_file(machine.path("/opt/bootstrap/assets/edge.json")).unwrap();
        }
        lead(&mut machine, service, NOWHERE);
        machine.run(arguments).expect(1);
        lead(&mut machine, service, &url);
        machine.run(arguments).expect(0);
    }
}

fn every_client_asks_over_ipv6() {
    let mut machine = Machine::new("debian-12");
    let url = over_ipv6(
        machine
            .aws
            .url()
            .trim_start_matches("http://")
            .trim_end_matches('/'),
    );
    lead(&mut machine, "", &url);
    let metadata = ("AWS_EC2_METADATA_SERVICE_ENDPOINT".to_owned(), url);
    machine.environment.extend([metadata]);
    machine.run(&[]).expect(0);
    machine.run(&["metrics"]).expect(0);
    asked_of_each(&machine);
}

/// An address of IPv6 that leads to this one.
fn over_ipv6(to: &str) -> String {
    let to: SocketAddr = to.parse().unwrap();
    let listener = TcpListener::bind("[::1]:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    std::thread::spawn(move || {
        for near in listener.incoming().flatten() {
            let far = TcpStream::connect(to).unwrap();
            let (back, answer) = (near.try_clone().unwrap(), far.try_clone().unwrap());
            std::thread::spawn(move || pass_on(near, far));
            std::thread::spawn(move || pass_on(answer, back));
        }
    });
    url
}

fn pass_on(mut from: TcpStream, mut to: TcpStream) {
    let _ = io::copy(&mut from, &mut to);
    let _ = to.shutdown(Shutdown::Write);
}

fn every_client_asks_through_the_proxy() {
    let mut machine = Machine::new("debian-12");
    lead(&mut machine, "", "");
    machine.run(&[]).expect(0);
    machine.run(&["metrics"]).expect(0);
    asked_of_each(&machine);
    let asked = machine.internet.asked();
    for host in [
        "theta-assets.s3.us-east-1.amazonaws.com",
        "secretsmanager.us-east-1.amazonaws.com",
        "ec2.us-east-1.amazonaws.com",
        "cloudformation.us-east-1.amazonaws.com",
        "monitoring.us-east-1.amazonaws.com",
        "amazoncloudwatch-agent-us-east-1.s3.us-east-1.amazonaws.com",
    ] {
        let url = format!("https://{host}/");
        assert!(
            asked.iter().any(|asked| asked.starts_with(&url)),
            "{host}: {asked:#?}"
        );
    }
}

fn an_endpoint_that_is_no_address_is_named() {
    let mut machine = healthy("debian-12");
    lead(
        &mut machine,
        "SECRETS_MANAGER",
        "vpce-1.secretsmanager.us-east-1.vpce.amazonaws.com",
    );
    machine.run(&["--phase", "secret", "--force"]).expect(1);
    expect_failure(
        &machine,
        "secret",
        "AWS_ENDPOINT_URL_SECRETS_MANAGER is no address of a service: vpce-1.secretsmanager.us-east-1.vpce.amazonaws.com",
        "give AWS_ENDPOINT_URL_SECRETS_MANAGER a URL such as https://vpce-1-2.ec2.us-east-1.vpce.amazonaws.com, or unset it",
    );
    let ignore = (
        "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS".to_owned(),
        "true".to_owned(),
    );
    lead(&mut machine, "", "");
    machine.environment.extend([ignore]);
    machine.run(&["--phase", "secret", "--force"]).expect(0);
}
