//! All of AWS that a node calls, on one loopback port over plain HTTP: for tests of the product.
//!
//! Point `AWS_ENDPOINT_URL` and `AWS_EC2_METADATA_SERVICE_ENDPOINT` at [`Server::url`].
//! Signatures are not checked. Every request is recorded; any can be made to fail.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::http::{Listener, Request, Response};
use crate::imds::{self, Imds};
use crate::signals::{Signals, query_error, s3_error};

/// Path of the wait condition handle's URL.
pub const WAIT_HANDLE: &str = "/wait-handle";

/// One EBS volume.
#[derive(Clone, Debug)]
pub struct Volume {
    /// `vol-…`
    pub id: String,
    /// `DescribeVolumes`' `encrypted`.
    pub encrypted: bool,
    /// Snapshot it was made from; empty for a blank one.
    pub snapshot: String,
    /// Size in GiB.
    pub size: u32,
    /// Instance and device name, where attached.
    pub attached: Option<(String, String)>,
    /// How many times it was attached.
    pub attachments: u32,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
}

impl Volume {
    /// A blank, encrypted, free volume of 8 GiB.
    pub fn blank(id: &str) -> Self {
        Self {
            id: id.into(),
            encrypted: true,
            snapshot: String::new(),
            size: 8,
            attached: None,
            attachments: 0,
            tags: BTreeMap::new(),
        }
    }

    fn status(&self) -> &'static str {
        match self.attached {
            Some(_) => "in-use",
            None => "available",
        }
    }
}

/// What happens to the next calls of one kind instead of the real answer.
#[derive(Clone, Debug)]
pub enum Fault {
    /// This answer.
    Answer(Response),
    /// The real answer, but only so late.
    Late(Duration),
    /// The real answer, but the connection ends when so many percent of its body are sent.
    Cut(u8),
    /// The real answer, but the metadata service's tokens have expired.
    Expired,
}

/// What the server holds; tests change it through [`Server::state`].
#[derive(Debug, Default)]
pub struct State {
    /// Objects by `bucket/key`.
    pub objects: HashMap<String, Vec<u8>>,
    /// Secret values by ARN or name; an earlier value by `NAME AWSPREVIOUS`.
    pub secrets: HashMap<String, String>,
    /// The volumes.
    pub volumes: Vec<Volume>,
    /// What the metadata service tells; see [`imds::tree`].
    pub metadata: Value,
    /// All requests, oldest first, each with the kind it was taken for.
    pub requests: Vec<(String, Request)>,
    /// Called with each volume that is attached, so that its device can appear.
    pub on_attach: Option<Hook>,
    faults: Vec<Scripted>,
}

/// Something to do with a volume.
pub struct Hook(pub Box<dyn Fn(&Volume) + Send>);

impl std::fmt::Debug for Hook {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.write_str("Hook")
    }
}

impl State {
    /// What each `PutMetricData` call said, as JSON.
    pub fn metrics(&self) -> Vec<Value> {
        let calls = self.requests_of("PutMetricData");
        let said = calls.iter().map(|call| crate::cbor::decode(&call.body));
        said.map(Option::unwrap_or_default).collect()
    }

    /// The next `times` calls of this kind meet a fault. Kinds are what [`kind`] gives; a blank and a part of the
    /// target behind it narrow it down.
    pub fn fail(&mut self, kind: &str, times: u32, fault: Fault) {
        self.faults.push(Scripted {
            calls: kind.into(),
            left: times,
            lasting: None,
            met: None,
            fault,
        });
    }

    /// The same from the first such call on, for a time.
    pub fn fail_for(&mut self, kind: &str, time: Duration, fault: Fault) {
        self.faults.push(Scripted {
            calls: kind.into(),
            left: u32::MAX,
            lasting: Some(time),
            met: None,
            fault,
        });
    }

    /// Ends all faults.
    pub fn mend(&mut self) {
        self.faults.clear();
    }

    /// The recorded requests of one kind.
    pub fn requests_of(&self, kind: &str) -> Vec<Request> {
        let of_kind = self.requests.iter().filter(|(name, _)| name == kind);
        of_kind.map(|(_, request)| request.clone()).collect()
    }

    fn fault(&mut self, kind: &str, request: &Request) -> Option<Fault> {
        let mut meant = self
            .faults
            .iter_mut()
            .filter_map(|scripted| scripted.is_for(kind, &request.target).then_some(scripted));
        let scripted = meant.next()?;
        scripted.left -= 1;
        Some(scripted.fault.clone())
    }
}

/// A fault that is to come.
#[derive(Debug)]
struct Scripted {
    calls: String,
    left: u32,
    lasting: Option<Duration>,
    met: Option<Instant>,
    fault: Fault,
}

impl Scripted {
    fn is_for(&mut self, kind: &str, target: &str) -> bool {
        let meant = match self.calls.split_once(' ') {
            Some((name, part)) => name == kind && target.contains(part),
            None => self.calls == kind,
        };
        if !meant || self.left == 0 {
            return false;
        }
        let met = *self.met.get_or_insert_with(Instant::now);
        self.lasting.is_none_or(|time| met.elapsed() < time)
    }
}

/// The running server; it stops when dropped.
#[derive(Debug)]
pub struct Server {
    listener: Listener,
    state: Arc<Mutex<State>>,
    signals: Arc<Signals>,
}

impl Server {
    /// Starts on a free loopback port, with nothing in it but an instance's metadata.
    pub fn start() -> io::Result<Self> {
        let state = Arc::new(Mutex::new(State {
            metadata: imds::tree(&json!({})),
            ..State::default()
        }));
        let signals = Arc::new(Signals::default());
        let imds = Imds::default();
        let (held, heard) = (Arc::clone(&state), Arc::clone(&signals));
        let listener = Listener::start("127.0.0.1:0", move |request| {
            let kind = kind(request);
            let fault = {
                let mut state = lock(&held);
                state.requests.push((kind.clone(), request.clone()));
                state.fault(&kind, request)
            };
            let cut = match fault {
                Some(Fault::Answer(response)) => return response,
                Some(Fault::Late(by)) => {
                    std::thread::sleep(by);
                    None
                }
                Some(Fault::Cut(percent)) => Some(percent),
                Some(Fault::Expired) => {
                    imds.expire();
                    None
                }
                None => None,
            };
            let mut response = match kind.as_str() {
                "imds" => imds.answer(request, &lock(&held).metadata),
                "SignalResource" => heard.signal_resource(request),
                "wait-handle" => heard.wait_handle(request),
                _ => answer(&kind, request, &mut lock(&held)),
            };
            response.cut = cut;
            response
        })?;
        Ok(Self {
            listener,
            state,
            signals,
        })
    }

    /// `http://127.0.0.1:PORT`
    pub fn url(&self) -> String {
        format!("http://{}", self.listener.address())
    }

    /// The wait condition handle's URL.
    pub fn wait_handle(&self) -> String {
        format!("{}{WAIT_HANDLE}", self.url())
    }

    /// What the server holds.
    pub fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// What `CloudFormation` would have received.
    pub fn signals(&self) -> Vec<Value> {
        self.signals.received()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Names a call: `imds`, `wait-handle`, the action of an API call (`AttachVolume`,
/// `GetSecretValue`, `PutMetricData` …), `PutObject`, `ListObjectsV2`, and `GetObject` for everything else.
pub fn kind(request: &Request) -> String {
    let path = request.path();
    if path.starts_with(WAIT_HANDLE) {
        return "wait-handle".into();
    }
    if path == "/latest/api/token" || request.header("x-aws-ec2-metadata-token").is_some() {
        return "imds".into();
    }
    // JSON 1.x names the action in a header, RPC v2 CBOR in the path, the Query APIs in a parameter.
    if let Some(target) = request.header("x-amz-target") {
        return target.rsplit('.').next().unwrap_or_default().into();
    }
    if let Some((_, operation)) = path.split_once("/operation/") {
        return operation.into();
    }
    if request.method == "PUT" {
        return "PutObject".into();
    }
    if request.parameter("list-type").is_some() {
        return "ListObjectsV2".into();
    }
    request
        .parameter("Action")
        .unwrap_or_else(|| "GetObject".into())
}

fn answer(kind: &str, request: &Request, state: &mut State) -> Response {
    match kind {
        "GetObject" => {
            let key = request.path().trim_start_matches('/');
            match state.objects.get(key) {
                Some(bytes) => Response::new(200, "binary/octet-stream", bytes.clone()),
                None => s3_error(404, "NoSuchKey"),
            }
        }
        "PutObject" => put_object(request, state),
        "ListObjectsV2" => list_objects(request, state),
        "GetSecretValue" => {
            let body: Value = serde_json::from_slice(&request.body).unwrap_or_default();
            let id = body.get("SecretId").and_then(Value::as_str);
            let of_stage = |id: &str| match body.get("VersionStage").and_then(Value::as_str) {
                None | Some("AWSCURRENT") => id.to_owned(),
                Some(earlier) => format!("{id} {earlier}"),
            };
            match id.and_then(|id| Some((id, state.secrets.get(&of_stage(id))?))) {
                Some((id, value)) => Response::new(
                    200,
                    "application/x-amz-json-1.1",
                    json!({"ARN": id, "Name": id, "SecretString": value}).to_string(),
                )
                .with("Connection", "keep-alive"),
                None => Response::new(
                    400,
                    "application/x-amz-json-1.1",
                    json!({
                        "__type": "ResourceNotFoundException",
                        "message": "Secrets Manager can't find the specified secret.",
                    })
                    .to_string(),
                ),
            }
        }
        "PutMetricData" => metrics_taken(),
        "DescribeVolumes" => describe_volumes(request, state),
        "AttachVolume" => attach_volume(request, state),
        "CreateTags" => create_tags(request, state),
        other => query_error(400, "InvalidAction", &format!("no stand-in for {other}")),
    }
}

fn put_object(request: &Request, state: &mut State) -> Response {
    let key = request.path().trim_start_matches('/').to_owned();
    if request.header("if-none-match") == Some("*") && state.objects.contains_key(&key) {
        return s3_error(412, "PreconditionFailed");
    }
    state.objects.insert(key, request.body.clone());
    Response::new(200, "application/xml", "")
}

fn list_objects(request: &Request, state: &State) -> Response {
    let bucket = request.path().trim_matches('/');
    let prefix = request.parameter("prefix").unwrap_or_default();
    let mut keys: Vec<&str> = state
        .objects
        .keys()
        .filter_map(|object| object.strip_prefix(bucket)?.strip_prefix('/'))
        .filter(|key| key.starts_with(&prefix))
        .collect();
    keys.sort_unstable();
    let contents = keys
        .iter()
        .map(|key| format!("<Contents><Key>{key}</Key></Contents>"));
    let body = format!(
        "<ListBucketResult>{}</ListBucketResult>",
        contents.collect::<String>()
    );
    Response::new(200, "application/xml", body)
}

/// Success in RPC v2 CBOR, whose empty map is 0xa0.
pub fn metrics_taken() -> Response {
    Response::new(200, "application/cbor", [0xa0]).with("smithy-protocol", "rpc-v2-cbor")
}

fn ec2_error(code: &str, message: &str) -> Response {
    let body = format!(
        "<Response><Errors><Error><Code>{code}</Code><Message>{message}</Message></Error></Errors>\
         <RequestID>local</RequestID></Response>"
    );
    Response::new(400, "text/xml", body)
}

fn describe_volumes(request: &Request, state: &State) -> Response {
    let wanted = request.parameter("VolumeId.1");
    let wanted = |volume: &&Volume| wanted.as_ref().is_none_or(|id| *id == volume.id);
    let found: Vec<String> = state.volumes.iter().filter(wanted).map(item).collect();
    if found.is_empty() {
        return ec2_error("InvalidVolume.NotFound", "The volume does not exist.");
    }
    let body = format!(
        "<DescribeVolumesResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <requestId>local</requestId><volumeSet>{}</volumeSet></DescribeVolumesResponse>",
        found.concat()
    );
    Response::new(200, "text/xml", body)
}

fn item(volume: &Volume) -> String {
    let attachments = match &volume.attached {
        Some((instance, device)) => format!(
            "<attachmentSet><item><volumeId>{}</volumeId><instanceId>{instance}</instanceId>\
             <device>{device}</device><status>attached</status>\
             <attachTime>2026-11-28T12:00:{:02}.000Z</attachTime></item></attachmentSet>",
            volume.id, volume.attachments
        ),
        None => "<attachmentSet/>".into(),
    };
    let tag = |(key, value): (&String, &String)| {
        format!("<item><key>{key}</key><value>{value}</value></item>")
    };
    let tags: Vec<String> = volume.tags.iter().map(tag).collect();
    let tags = tags.concat();
    format!(
        "<item><volumeId>{}</volumeId><size>{}</size><snapshotId>{}</snapshotId>\
         <availabilityZone>us-east-1a</availabilityZone><status>{}</status>{attachments}\
         <volumeType>gp3</volumeType><encrypted>{}</encrypted><tagSet>{tags}</tagSet></item>",
        volume.id,
        volume.size,
        volume.snapshot,
        volume.status(),
        volume.encrypted
    )
}

fn attach_volume(request: &Request, state: &mut State) -> Response {
    let get = |name: &str| request.parameter(name).unwrap_or_default();
    let (id, instance, device) = (get("VolumeId"), get("InstanceId"), get("Device"));
    let Some(volume) = state.volumes.iter_mut().find(|volume| volume.id == id) else {
        return ec2_error("InvalidVolume.NotFound", "The volume does not exist.");
    };
    if volume.attached.is_some() {
        return ec2_error(
            "VolumeInUse",
            &format!("{id} is already attached to an instance"),
        );
    }
    volume.attached = Some((instance.clone(), device.clone()));
    volume.attachments += 1;
    let volume = volume.clone();
    if let Some(Hook(on_attach)) = &state.on_attach {
        on_attach(&volume);
    }
    let body = format!(
        "<AttachVolumeResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
         <requestId>local</requestId><volumeId>{id}</volumeId><instanceId>{instance}</instanceId>\
         <device>{device}</device><status>attaching</status></AttachVolumeResponse>"
    );
    Response::new(200, "text/xml", body)
}

fn create_tags(request: &Request, state: &mut State) -> Response {
    let get = |name: &str| request.parameter(name).unwrap_or_default();
    let id = get("ResourceId.1");
    let Some(volume) = state.volumes.iter_mut().find(|volume| volume.id == id) else {
        return ec2_error("InvalidVolume.NotFound", "The volume does not exist.");
    };
    volume.tags.insert(get("Tag.1.Key"), get("Tag.1.Value"));
    let body = "<CreateTagsResponse xmlns=\"http://ec2.amazonaws.com/doc/2016-11-15/\">\
                <requestId>local</requestId><return>true</return></CreateTagsResponse>";
    Response::new(200, "text/xml", body)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::http::forward;

    fn query(server: &Server, parameters: &str) -> String {
        let request = Request {
            method: "POST".into(),
            target: "/".into(),
            headers: vec![(
                "content-type".into(),
                "application/x-www-form-urlencoded".into(),
            )],
            body: parameters.into(),
        };
        let answer = forward(server.listener.address(), &request).unwrap();
        String::from_utf8(answer.body).unwrap()
    }

    #[test]
    fn a_volume_is_attached_once() {
        let server = Server::start().unwrap();
        server.state().volumes.push(Volume::blank("vol-1"));
        let attach = "Action=AttachVolume&VolumeId=vol-1&InstanceId=i-1&Device=%2Fdev%2Fsdf";
        assert!(query(&server, attach).contains("<status>attaching</status>"));
        assert!(query(&server, attach).contains("<Code>VolumeInUse</Code>"));
        let described = query(&server, "Action=DescribeVolumes&VolumeId.1=vol-1");
        assert!(
            described.contains("<device>/dev/sdf</device>"),
            "{described}"
        );
        assert_eq!(server.state().requests_of("AttachVolume").len(), 2);
    }

    #[test]
    fn a_volume_keeps_its_tags() {
        let server = Server::start().unwrap();
        server.state().volumes.push(Volume::blank("vol-1"));
        let tag = "Action=CreateTags&ResourceId.1=vol-1&Tag.1.Key=a%3Ab&Tag.1.Value=c";
        assert!(query(&server, tag).contains("<return>true</return>"));
        let described = query(&server, "Action=DescribeVolumes&VolumeId.1=vol-1");
        let item = "<tagSet><item><key>a:b</key><value>c</value></item></tagSet>";
        assert!(described.contains(item), "{described}");
    }

    #[test]
    fn a_fault_lasts_as_long_as_scripted() {
        let server = Server::start().unwrap();
        let fault = Fault::Answer(query_error(503, "Unavailable", "later"));
        server.state().fail("DescribeVolumes", 1, fault);
        assert!(query(&server, "Action=DescribeVolumes").contains("Unavailable"));
        assert!(query(&server, "Action=DescribeVolumes").contains("InvalidVolume.NotFound"));
    }
}
