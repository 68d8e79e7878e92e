//! The hosts outside AWS's API that a node downloads from, behind a proxy that ends TLS with a certificate of its own.
//!
//! Give a child `https_proxy` = [`Internet::proxy`] and `SSL_CERT_FILE` = the certificate.

use std::collections::HashMap;
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::http::{Listener, Request, Response, answer, forward};

/// The running proxy; it stops when dropped.
#[derive(Debug)]
pub struct Internet {
    listener: Listener,
    asked: Arc<Mutex<Vec<String>>>,
    refused: Arc<Mutex<Option<(String, u16)>>>,
    aws: Arc<Mutex<Option<SocketAddr>>>,
}

/// Hosts of AWS's API that can be behind the proxy.
const AWS: [&str; 6] = [
    "*.us-east-1.amazonaws.com",
    "*.s3.us-east-1.amazonaws.com",
    "*.eusc-de-east-1.amazonaws.eu",
    "*.s3.eusc-de-east-1.amazonaws.eu",
    "*.cn-north-1.amazonaws.com.cn",
    "*.s3.cn-north-1.amazonaws.com.cn",
];

impl Internet {
    /// Serves these pages, by URL; asked for anything else it answers 404. Makes `internet.crt` and its key in
    /// `folder`, with the `openssl` program.
    pub fn start(pages: HashMap<String, Vec<u8>>, folder: &Path) -> io::Result<Self> {
        let tls = Arc::new(tls(&pages, folder)?);
        let asked = Arc::new(Mutex::new(Vec::new()));
        let (record, pages) = (Arc::clone(&asked), Arc::new(pages));
        let refused: Arc<Mutex<Option<(String, u16)>>> = Arc::default();
        let refusals = Arc::clone(&refused);
        let aws: Arc<Mutex<Option<SocketAddr>>> = Arc::default();
        let cloud = Arc::clone(&aws);
        let listener = Listener::start_with("127.0.0.1:0", move |stream| {
            let Some(host) = connect(&stream)? else {
                return Ok(());
            };
            let connection = ServerConnection::new(Arc::clone(&tls)).map_err(io::Error::other)?;
            let respond = |request: &Request| {
                let url = format!("https://{host}{}", request.target);
                let refusal = lock(&refusals).clone();
                let response = match (refusal, pages.get(&url)) {
                    (Some((part, status)), _) if url.contains(&part) => Response::text(status, ""),
                    (_, Some(bytes)) => {
                        Response::new(200, "application/octet-stream", bytes.clone())
                    }
                    (_, None) => match *lock(&cloud) {
                        Some(to) if is_aws(&host) => ask_aws(to, &host, request),
                        _ => Response::text(404, "not here"),
                    },
                };
                lock(&record).push(url);
                response
            };
            let mut stream = answer(StreamOwned::new(connection, stream), &respond)?;
            stream.conn.send_close_notify();
            stream.flush()
        })?;
        Ok(Self {
            listener,
            asked,
            refused,
            aws,
        })
    }

    /// `http://127.0.0.1:PORT`
    pub fn proxy(&self) -> String {
        format!("http://{}", self.listener.address())
    }

    /// AWS's API is at `url`, for those who ask this proxy for its hosts.
    pub fn lead_to_aws(&self, url: &str) {
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        *lock(&self.aws) = address.parse().ok();
    }

    /// Pages whose URL has `part` in it are answered with this status from now on.
    pub fn refuse(&self, part: &str, status: u16) {
        *lock(&self.refused) = Some((part.into(), status));
    }

    /// All pages are there again.
    pub fn mend(&self) {
        *lock(&self.refused) = None;
    }

    /// Every URL that was asked for, oldest first.
    pub fn asked(&self) -> Vec<String> {
        lock(&self.asked).clone()
    }
}

fn lock<T>(of: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

fn is_aws(host: &str) -> bool {
    AWS.iter()
        .any(|pattern| host.ends_with(pattern.trim_start_matches('*')))
}

/// What stands in for AWS takes the bucket from the path, and real clients put it in the host.
fn ask_aws(to: SocketAddr, host: &str, request: &Request) -> Response {
    let mut request = request.clone();
    if let Some((bucket, _)) = host.split_once(".s3.") {
        request.target = format!("/{bucket}{}", request.target);
    }
    forward(to, &request).unwrap_or_else(|_| Response::none())
}

/// Reads `CONNECT host:443` and agrees; the host.
fn connect(stream: &TcpStream) -> io::Result<Option<String>> {
    let mut reader = BufReader::with_capacity(1, stream);
    let mut first = String::new();
    reader.read_line(&mut first)?;
    let mut line = first.clone();
    while !line.trim().is_empty() {
        line.clear();
        reader.read_line(&mut line)?;
    }
    let Some(host) = first
        .strip_prefix("CONNECT ")
        .and_then(|rest| rest.split(':').next())
    else {
        return Ok(None);
    };
    let mut writer = stream;
    writer.write_all(b"HTTP/1.1 200 -\r\n\r\n")?;
    Ok(Some(host.to_owned()))
}

fn tls(pages: &HashMap<String, Vec<u8>>, folder: &Path) -> io::Result<ServerConfig> {
    let hosts: Vec<String> = pages
        .keys()
        .filter_map(|url| url.split('/').nth(2))
        .chain(AWS)
        .map(|host| format!("DNS:{host}"))
        .collect();
    let (certificate, key) = (folder.join("internet.crt"), folder.join("internet.key"));
    let made = Command::new("openssl")
        .args(["req", "-x509", "-newkey", "ec", "-nodes", "-days", "2"])
        .args([
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-subj",
            "/CN=internet",
        ])
        // Its own root, and no authority: that must not serve.
        .args(["-addext", "basicConstraints=critical,CA:FALSE"])
        .arg("-addext")
        .arg(format!("subjectAltName={}", hosts.join(",")))
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate)
        .stdin(Stdio::null())
        .output()?;
    if !made.status.success() {
        return Err(io::Error::other(
            String::from_utf8_lossy(&made.stderr).into_owned(),
        ));
    }
    let certificates = CertificateDer::pem_file_iter(certificate)
        .and_then(Iterator::collect::<Result<Vec<_>, _>>)
        .map_err(io::Error::other)?;
    let key = PrivateKeyDer::from_pem_file(key).map_err(io::Error::other)?;
    ServerConfig::builder_with_provider(rustls::crypto::ring::default_provider().into())
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_no_client_auth()
        .with_single_cert(certificates, key)
        .map_err(io::Error::other)
}
