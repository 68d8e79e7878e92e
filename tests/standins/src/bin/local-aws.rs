//! AWS as a local instance sees it, under AWS's own names: the metadata service on
//! 169.254.169.254:80, and TLS on 443 for every AWS host name, routed by the Host header.
//!
//! moto answers S3, Secrets Manager, `CloudWatch` and EC2. What it lacks is answered here:
//! `CloudFormation`'s `SignalResource`, the wait condition handle, `CloudWatch`'s newer wire protocol,
//! and the package of the `CloudWatch` agent. Docker Hub's name leads to a registry on loopback.
//!
//!   local-aws CONFIG.json
//!
//! The config names `imds` and `tls` (addresses to listen on), `certificate` and `key` (PEM), `moto`
//! and `registry` (loopback addresses), `instance` (a JSON file with what the metadata service tells,
//! read at each request), `agent` (the .deb, whose signature lies beside it), `signals` and `requests` (files that get one JSON line
//! each time), `attached`: a program that is run as `PROGRAM VOLUME DEVICE INSTANCE` after a
//! successful `AttachVolume`, `silent`: a file with the number of requests to S3 that still get
//! no answer, as where there is no network yet, and `mirror`: a folder with the files of other
//! hosts, in a folder for each host.

use std::fs;
use std::io::{self, Write};
use std::net::{Shutdown, SocketAddr};
use std::path::{Component, Path, PathBuf};
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};
use serde_json::{Value, json};
use standins::aws::{kind, metrics_taken};
use standins::http::{Listener, Request, Response, answer, forward};
use standins::imds::{Imds, tree};
use standins::signals::Signals;

/// How the host of a wait condition handle's URL begins.
const WAIT_CONDITION: &str = "cloudformation-waitcondition-";

/// Hosts whose files lie in the mirror.
const MIRRORED: [&str; 2] = ["deb.debian.org", "nvidia.github.io"];

type Fault = Box<dyn std::error::Error + Send + Sync>;

struct Local {
    moto: SocketAddr,
    registry: SocketAddr,
    agent: PathBuf,
    requests: PathBuf,
    attached: PathBuf,
    mirror: PathBuf,
    silent: Mutex<PathBuf>,
    signals: Signals,
}

fn main() -> ExitCode {
    match run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "local-aws: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<(), Fault> {
    let file = std::env::args()
        .nth(1)
        .ok_or("usage: local-aws CONFIG.json")?;
    let config: Value = serde_json::from_slice(&fs::read(file)?)?;
    let get = |name: &str| {
        let value = config.get(name).and_then(Value::as_str);
        value.ok_or_else(|| format!("the config lacks {name}"))
    };
    let local = Arc::new(Local {
        moto: get("moto")?.parse()?,
        registry: get("registry")?.parse()?,
        agent: get("agent")?.into(),
        requests: get("requests")?.into(),
        attached: get("attached")?.into(),
        mirror: get("mirror")?.into(),
        silent: Mutex::new(get("silent")?.into()),
        signals: Signals::to_file(get("signals")?.into()),
    });

    let instance = PathBuf::from(get("instance")?);
    let imds = Imds::default();
    let _metadata = Listener::start(get("imds")?, move |request| {
        let instance = fs::read(&instance).unwrap_or_default();
        let instance = serde_json::from_slice(&instance).unwrap_or_default();
        imds.answer(request, &tree(&instance))
    })?;

    let tls = Arc::new(
        ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(
                CertificateDer::pem_file_iter(get("certificate")?)?.collect::<Result<_, _>>()?,
                PrivateKeyDer::from_pem_file(get("key")?)?,
            )?,
    );
    let _services = Listener::start_with(get("tls")?, move |stream| {
        let connection = ServerConnection::new(Arc::clone(&tls)).map_err(io::Error::other)?;
        let stream = StreamOwned::new(connection, stream);
        let mut stream = answer(stream, &|request| local.answer(request))?;
        stream.conn.send_close_notify();
        stream.flush()?;
        stream.sock.shutdown(Shutdown::Write)
    })?;

    loop {
        std::thread::park();
    }
}

impl Local {
    fn answer(&self, request: &Request) -> Response {
        let host = request.host();
        let kind = match host.split(['.', '-']).next() {
            Some("registry") => "registry".into(),
            _ if MIRRORED.contains(&host.as_str()) => "mirror".into(),
            Some("amazoncloudwatch") => "agent-package".into(),
            _ if host.starts_with(WAIT_CONDITION) => "wait-handle".into(),
            _ => kind(request),
        };
        let response = if host.contains(".s3.") && kind == "GetObject" && self.is_silent() {
            Response::default()
        } else {
            self.route(&kind, request)
        };
        let _ = self.record(&host, &kind, request, &response);
        response
    }

    /// Whether this request, too, gets no answer; counts it.
    fn is_silent(&self) -> bool {
        let file = self.silent.lock().unwrap_or_else(PoisonError::into_inner);
        let left = fs::read_to_string(&*file).unwrap_or_default();
        let left: u32 = left.trim().parse().unwrap_or(0);
        left > 0 && fs::write(&*file, (left - 1).to_string()).is_ok()
    }

    fn route(&self, kind: &str, request: &Request) -> Response {
        match kind {
            "wait-handle" => self.signals.wait_handle(request),
            "agent-package" => self.agent_package(request),
            "registry" => pass_on(self.registry, request),
            "mirror" => self.mirrored(request),
            "SignalResource" => self.signals.signal_resource(request),
            "AttachVolume" => self.attach(request),
            // The Rust SDK speaks RPC v2 CBOR.
            "PutMetricData" if request.header("smithy-protocol").is_some() => metrics_taken(),
            _ => pass_on(self.moto, request),
        }
    }

    fn agent_package(&self, request: &Request) -> Response {
        let file = match request.path().rsplit_once("/amazon-cloudwatch-agent.deb") {
            Some((_, "")) => self.agent.clone(),
            Some((_, ".sig")) => self.agent.with_extension("deb.sig"),
            _ => return Response::text(403, ""),
        };
        fs::read(file).map_or_else(
            |_| Response::text(403, ""),
            |file| Response::new(200, "application/octet-stream", file),
        )
    }

    fn mirrored(&self, request: &Request) -> Response {
        let path = Path::new(request.path().trim_start_matches('/'));
        let inside = path
            .components()
            .all(|part| matches!(part, Component::Normal(_)));
        match fs::read(self.mirror.join(request.host()).join(path)) {
            Ok(file) if inside => Response::new(200, "application/octet-stream", file),
            _ => Response::text(404, ""),
        }
    }

    /// Attaches in moto and then for real.
    fn attach(&self, request: &Request) -> Response {
        let response = pass_on(self.moto, request);
        if response.status != 200 {
            return response;
        }
        let value = |name| request.parameter(name).unwrap_or_default();
        let done = Command::new(&self.attached)
            .args([value("VolumeId"), value("Device"), value("InstanceId")])
            .status();
        match done {
            Ok(status) if status.success() => response,
            Ok(status) => Response::text(500, format!("the volume was not attached: {status}")),
            Err(error) => Response::text(500, format!("the volume was not attached: {error}")),
        }
    }

    /// One line per request, without bodies: they may hold what is secret.
    fn record(
        &self,
        host: &str,
        kind: &str,
        request: &Request,
        response: &Response,
    ) -> io::Result<()> {
        let line = json!({
            "host": host,
            "call": kind,
            "method": request.method,
            "path": request.path(),
            "bytes": request.body.len(),
            "status": response.status,
        });
        fs::File::options()
            .create(true)
            .append(true)
            .open(&self.requests)?
            .write_all(format!("{line}\n").as_bytes())
    }
}

fn pass_on(to: SocketAddr, request: &Request) -> Response {
    forward(to, request).unwrap_or_else(|error| Response::text(502, error.to_string()))
}
