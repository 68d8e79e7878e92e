//! The AWS of a fleet: every call takes a token of its API's bucket, or is throttled in that API's own words.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use standins::http::{self, Request, Response};
use standins::{aws, cbor, imds};

use super::limits::{Buckets, Limits, UNFILTERED};
use super::{Plan, instance, volume};

/// Connections that may wait to be taken: a whole fleet comes at once.
const BACKLOG: u32 = 4096;

/// A call that arrived.
#[derive(Clone, Debug)]
pub struct Call {
    /// Seconds since the first one, at the nodes' pace.
    pub at: f64,
    /// Its API.
    pub api: String,
    /// The node that made it.
    pub node: usize,
    /// Whether it was granted; throttled otherwise.
    pub granted: bool,
}

/// The running server; it ends with the process.
pub struct Cloud {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    inside: Arc<Inside>,
}

struct Inside {
    plan: Plan,
    /// The folder with the nodes' trees.
    root: PathBuf,
    archive: Vec<u8>,
    imds: imds::Imds,
    metadata: Vec<Value>,
    book: Mutex<Book>,
}

/// What changes.
struct Book {
    began: Option<Instant>,
    buckets: Buckets,
    calls: Vec<Call>,
    /// The nodes whose volume is attached, and by when its device is there (s).
    attached: BTreeMap<usize, f64>,
}

impl Cloud {
    /// Starts it; node `n`'s tree is `root/n`.
    pub fn start(plan: &Plan, limits: Limits, root: &Path, archive: Vec<u8>) -> Self {
        let identity = |node| imds::tree(&json!({"instance-id": instance(node)}));
        let inside = Arc::new(Inside {
            plan: plan.clone(),
            root: root.into(),
            archive,
            imds: imds::Imds::default(),
            metadata: (0..plan.nodes).map(identity).collect(),
            book: Mutex::new(Book {
                began: None,
                buckets: Buckets::new(limits),
                calls: Vec::new(),
                attached: BTreeMap::new(),
            }),
        });
        let listener = listen();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let served = Arc::clone(&inside);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, inside) = (stream.unwrap(), Arc::clone(&served));
                let small = thread::Builder::new().stack_size(256 * 1024);
                small.spawn(move || serve(stream, &inside)).unwrap();
            }
        });
        Self { url, inside }
    }

    /// All calls so far, oldest first.
    pub fn calls(&self) -> Vec<Call> {
        self.inside.book.lock().unwrap().calls.clone()
    }
}

/// The standard library's own listeners take 128 connections at once.
fn listen() -> TcpListener {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build();
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let listener = runtime
        .unwrap()
        .block_on(async { socket.listen(BACKLOG).unwrap().into_std() });
    let listener = listener.unwrap();
    listener.set_nonblocking(false).unwrap();
    listener
}

/// A client that goes away in the middle is its own business.
fn serve(stream: TcpStream, inside: &Arc<Inside>) {
    let _ = stream.set_read_timeout(Some(Duration::from_secs(30)));
    if let Ok(mut stream) = http::answer(stream, &|request| inside.answer(request)) {
        let _ = stream.flush();
        let _ = stream.shutdown(Shutdown::Write);
    }
}

impl Inside {
    fn answer(self: &Arc<Self>, request: &Request) -> Response {
        // Each node's own; the SDK's, which asks for credentials only, is told of one place.
        let (node, request) = match request
            .target
            .strip_prefix("/node/")
            .and_then(|rest| rest.split_once('/'))
        {
            Some((node, rest)) => (
                node.parse().unwrap(),
                Request {
                    target: format!("/{rest}"),
                    ..request.clone()
                },
            ),
            None => (0, request.clone()),
        };
        let api = aws::kind(&request);
        if api == "imds" {
            return self.imds.answer(&request, &self.metadata[node]);
        }
        let node = caller(&api, &request);
        let mut book = self.book.lock().unwrap();
        let began = *book.began.get_or_insert_with(Instant::now);
        // Ticks go at the world's own pace (see `nodes::tick`).
        let pace = if api == "PutMetricData" {
            1
        } else {
            self.plan.pace
        };
        let at = began.elapsed().as_secs_f64() * f64::from(pace);
        let bucket = match request.parameter("Filter.1.Name") {
            None if api == "DescribeVolumes" => UNFILTERED,
            _ => &api,
        };
        let granted = book.buckets.take(bucket, at);
        book.calls.push(Call {
            at,
            api: api.clone(),
            node,
            granted,
        });
        if !granted {
            return throttled(&api);
        }
        match api.as_str() {
            "AttachVolume" => self.attach(node, at, &mut book),
            "DescribeVolumes" => describe(node, at, &book),
            "GetObject" => Response::new(200, "binary/octet-stream", self.archive.clone()),
            "GetSecretValue" => Response::new(
                200,
                "application/x-amz-json-1.1",
                json!({"ARN": "wallet", "Name": "wallet", "SecretString": "password"}).to_string(),
            ),
            "PutMetricData" => aws::metrics_taken(),
            "SignalResource" => Response::new(200, "text/xml", "<SignalResourceResponse/>"),
            "wait-handle" => Response::new(200, "", ""),
            other => panic!("no node calls {other}"),
        }
    }

    fn attach(self: &Arc<Self>, node: usize, at: f64, book: &mut Book) -> Response {
        let id = volume(node);
        if book.attached.contains_key(&node) {
            return ec2_refuses(
                400,
                "VolumeInUse",
                &format!("{id} is already attached to an instance"),
            );
        }
        let mut chance = fastrand::Rng::with_seed(self.plan.seed + node as u64);
        let takes = 2.0 + 4.0 * chance.f64();
        book.attached.insert(node, at + takes);
        let (inside, serial) = (Arc::clone(self), id.replace('-', ""));
        thread::spawn(move || {
            thread::sleep(Duration::from_secs_f64(takes / f64::from(inside.plan.pace)));
            plug_in(&inside.root.join(node.to_string()), &serial);
        });
        Response::new(
            200,
            "text/xml",
            "<AttachVolumeResponse><status>attaching</status></AttachVolumeResponse>",
        )
    }
}

/// The device as the kernel shows it; the serial, by which it is found, comes last.
fn plug_in(tree: &Path, serial: &str) {
    let sysfs = tree.join("sys/class/block/nvme1n1");
    fs::create_dir_all(sysfs.join("device")).unwrap();
    fs::create_dir_all(tree.join("dev")).unwrap();
    fs::write(tree.join("dev/nvme1n1"), "").unwrap();
    for (name, value) in [
        ("dev", "259:1"),
        ("size", "16777216"),
        ("ro", "0"),
        ("device/serial", serial),
    ] {
        fs::write(sysfs.join(name), value).unwrap();
    }
}

/// The node that a call is of.
fn caller(api: &str, request: &Request) -> usize {
    let parameter = |name| request.parameter(name).unwrap();
    let number = |id: &str| usize::from_str_radix(id.split_once('-').unwrap().1, 16).unwrap();
    match api {
        "AttachVolume" => number(&parameter("VolumeId")),
        "DescribeVolumes" => number(&parameter("VolumeId.1")),
        "SignalResource" => number(&parameter("UniqueId")),
        "GetSecretValue" => {
            let body: Value = serde_json::from_slice(&request.body).unwrap();
            number(body["SecretId"].as_str().unwrap())
        }
        "PutMetricData" => {
            let body = cbor::decode(&request.body).unwrap();
            number(
                body["MetricData"][0]["Dimensions"][0]["Value"]
                    .as_str()
                    .unwrap(),
            )
        }
        // `/assets/node-N` and `/wait-handle/node-N`.
        _ => number(request.path().rsplit('/').next().unwrap()),
    }
}

fn describe(node: usize, at: f64, book: &Book) -> Response {
    let (state, attachments) = match book.attached.get(&node) {
        None => ("available", String::new()),
        Some(there) => {
            let status = if *there < at { "attached" } else { "attaching" };
            let item = format!(
                "<item><instanceId>{}</instanceId><device>/dev/sdf</device><status>{status}</status></item>",
                instance(node)
            );
            ("in-use", item)
        }
    };
    let body = format!(
        "<DescribeVolumesResponse><volumeSet><item><volumeId>{}</volumeId><size>8</size><snapshotId/>\
         <availabilityZone>us-east-1a</availabilityZone><status>{state}</status>\
         <attachmentSet>{attachments}</attachmentSet><encrypted>true</encrypted></item></volumeSet>\
         </DescribeVolumesResponse>",
        volume(node)
    );
    Response::new(200, "text/xml", body)
}

fn ec2_refuses(status: u16, code: &str, message: &str) -> Response {
    let error = format!("<Error><Code>{code}</Code><Message>{message}</Message></Error>");
    Response::new(
        status,
        "text/xml",
        format!("<Response><Errors>{error}</Errors></Response>"),
    )
}

/// What each service says to one call too many.
fn throttled(api: &str) -> Response {
    match api {
        "GetObject" | "wait-handle" => {
            let error = "<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>";
            Response::new(503, "application/xml", error)
        }
        "GetSecretValue" => Response::new(
            400,
            "application/x-amz-json-1.1",
            json!({"__type": "ThrottlingException", "message": "Rate exceeded"}).to_string(),
        ),
        "PutMetricData" => {
            let error = b"\xa2\x66__type\x73ThrottlingException\x67message\x6dRate exceeded";
            Response::new(400, "application/cbor", *error).with("smithy-protocol", "rpc-v2-cbor")
        }
        "SignalResource" => {
            let error = "<Error><Type>Sender</Type><Code>Throttling</Code><Message>Rate exceeded</Message></Error>";
            Response::new(
                400,
                "text/xml",
                format!("<ErrorResponse>{error}</ErrorResponse>"),
            )
        }
        _ => ec2_refuses(503, "RequestLimitExceeded", "Request limit exceeded."),
    }
}
