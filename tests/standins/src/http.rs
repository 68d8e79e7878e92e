//! HTTP/1.1 as far as the stand-ins need it: one thread per connection, whole bodies in memory.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

/// The largest body that is read; a release binary in S3 is the largest thing that passes.
const MAX_BODY: u64 = 256 * 1024 * 1024;

/// A request as it arrived.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// `GET`, `PUT` …
    pub method: String,
    /// Path and query as sent, still percent-encoded.
    pub target: String,
    /// Header names in lower case, in the order they came.
    pub headers: Vec<(String, String)>,
    /// The body, with chunked encoding undone.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of this lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    /// The target without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }

    /// The Host header without a port, in lower case.
    pub fn host(&self) -> String {
        let host = self.header("host").unwrap_or_default();
        host.split(':').next().unwrap_or_default().to_lowercase()
    }

    /// The body as text, broken characters replaced.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// One parameter of a Query API call, from the query string or a form body.
    pub fn parameter(&self, name: &str) -> Option<String> {
        let query = self
            .target
            .split_once('?')
            .map_or("", |(_, query)| query)
            .to_owned();
        let is_form = self
            .header("content-type")
            .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
        let form = if is_form { self.text() } else { String::new() };
        [query, form].iter().find_map(|pairs| {
            pairs.split('&').find_map(|pair| {
                let (key, value) = pair.split_once('=')?;
                (decode(key) == name).then(|| decode(value))
            })
        })
    }
}

/// Undoes percent encoding and `+`.
fn decode(text: &str) -> String {
    let mut out = Vec::new();
    let mut bytes = text.bytes();
    while let Some(byte) = bytes.next() {
        match byte {
            b'+' => out.push(b' '),
            b'%' => {
                let digits: Vec<u8> = bytes.by_ref().take(2).collect();
                let code = std::str::from_utf8(&digits)
                    .ok()
                    .and_then(|hex| u8::from_str_radix(hex, 16).ok());
                out.push(code.unwrap_or(b'?'));
            }
            _ => out.push(byte),
        }
    }
    String::from_utf8_lossy(&out).into_owned()
}

/// A response with its whole body.
#[derive(Clone, Debug, Default)]
pub struct Response {
    /// Status code; 0 closes the connection without an answer.
    pub status: u16,
    /// Headers, without Content-Length; with Connection only where it is to stay open.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
    /// The connection ends when so many percent of the body are sent.
    pub cut: Option<u8>,
}

impl Response {
    /// A response with a body of this content type; an empty type sends no such header.
    pub fn new(status: u16, kind: &str, body: impl Into<Vec<u8>>) -> Self {
        let headers = if kind.is_empty() {
            Vec::new()
        } else {
            vec![("Content-Type".into(), kind.into())]
        };
        Self {
            status,
            headers,
            body: body.into(),
            cut: None,
        }
    }

    /// No answer at all: the connection ends.
    pub fn none() -> Self {
        Self::default()
    }

    /// Plain text.
    pub fn text(status: u16, body: impl Into<Vec<u8>>) -> Self {
        Self::new(status, "text/plain", body)
    }

    /// JSON, status 200.
    pub fn json(value: &serde_json::Value) -> Self {
        Self::new(200, "application/json", value.to_string())
    }

    fn stays_open(&self) -> bool {
        let mut headers = self.headers.iter();
        headers.any(|(name, value)| name == "Connection" && value == "keep-alive")
    }

    /// The same with one more header.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what.to_owned())
}

fn line(reader: &mut impl BufRead) -> io::Result<String> {
    let mut text = String::new();
    reader.take(64 * 1024).read_line(&mut text)?;
    Ok(text.trim_end_matches(['\r', '\n']).to_owned())
}

fn headers(reader: &mut impl BufRead) -> io::Result<Vec<(String, String)>> {
    let mut headers = Vec::new();
    loop {
        let text = line(reader)?;
        if text.is_empty() {
            return Ok(headers);
        }
        let (name, value) = text.split_once(':').ok_or_else(|| bad("no header line"))?;
        headers.push((name.trim().to_lowercase(), value.trim().to_owned()));
    }
}

fn body(reader: &mut impl BufRead, headers: &[(String, String)]) -> io::Result<Vec<u8>> {
    let header = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, v)| v);
    let mut body = Vec::new();
    if header("transfer-encoding").is_some_and(|coding| coding.contains("chunked")) {
        loop {
            let size = line(reader)?;
            let size = size.split(';').next().unwrap_or_default().trim();
            let size = u64::from_str_radix(size, 16).map_err(|_| bad("no chunk size"))?;
            if size > MAX_BODY {
                return Err(bad("chunk too large"));
            }
            if size == 0 {
                while !line(reader)?.is_empty() {}
                return Ok(body);
            }
            reader.by_ref().take(size).read_to_end(&mut body)?;
            line(reader)?;
        }
    }
    let length: u64 = match header("content-length") {
        Some(length) => length.parse().map_err(|_| bad("no content length"))?,
        None => 0,
    };
    if length > MAX_BODY {
        return Err(bad("body too large"));
    }
    reader.take(length).read_to_end(&mut body)?;
    if body.len() as u64 == length {
        Ok(body)
    } else {
        Err(io::ErrorKind::UnexpectedEof.into())
    }
}

/// Reads one request; `None` when the client has closed the connection.
fn request<S: Read + Write>(reader: &mut BufReader<S>) -> io::Result<Option<Request>> {
    let first = line(reader)?;
    if first.is_empty() {
        return Ok(None);
    }
    let mut words = first.split(' ');
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        return Err(bad("no request line"));
    };
    let headers = headers(reader)?;
    let waits = |(name, value): &(String, String)| name == "expect" && value == "100-continue";
    if headers.iter().any(waits) {
        reader
            .get_mut()
            .write_all(b"HTTP/1.1 100 Continue\r\n\r\n")?;
    }
    let body = body(reader, &headers)?;
    Ok(Some(Request {
        method: method.to_owned(),
        target: target.to_owned(),
        headers,
        body,
    }))
}

fn respond(writer: &mut impl Write, head_only: bool, response: &Response) -> io::Result<()> {
    if response.status == 0 {
        return Err(io::ErrorKind::ConnectionAborted.into());
    }
    let mut head = Vec::new();
    write!(head, "HTTP/1.1 {} -\r\n", response.status)?;
    for (name, value) in &response.headers {
        write!(head, "{name}: {value}\r\n")?;
    }
    // A forwarded answer to HEAD brings the length of the body it leaves out.
    let has_length = |name: &str| name.eq_ignore_ascii_case("content-length");
    if !response.headers.iter().any(|(name, _)| has_length(name)) {
        write!(head, "Content-Length: {}\r\n", response.body.len())?;
    }
    if !response.stays_open() {
        write!(head, "Connection: close\r\n")?;
    }
    write!(head, "\r\n")?;
    writer.write_all(&head)?;
    if !head_only {
        let percent = usize::from(response.cut.unwrap_or(100)).min(100);
        let sent = response.body.len() * percent / 100;
        writer.write_all(response.body.get(..sent).unwrap_or_default())?;
    }
    writer.flush()
}

/// Answers one request on a connection, or more where the answer says that it stays open; the caller then closes it.
pub fn answer<S: Read + Write>(stream: S, handler: &dyn Fn(&Request) -> Response) -> io::Result<S> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = request(&mut reader)? {
        let response = handler(&request);
        if response.status != 0 {
            respond(reader.get_mut(), request.method == "HEAD", &response)?;
        }
        if !response.stays_open() {
            break;
        }
    }
    Ok(reader.into_inner())
}

/// Sends one request to a plain HTTP server and reads its whole answer.
pub fn forward(to: SocketAddr, request: &Request) -> io::Result<Response> {
    let stream = TcpStream::connect_timeout(&to, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_mins(2)))?;
    let mut reader = BufReader::new(stream);
    let mut head = Vec::new();
    write!(head, "{} {} HTTP/1.1\r\n", request.method, request.target)?;
    let hop_by_hop = [
        "connection",
        "transfer-encoding",
        "content-length",
        "expect",
    ];
    for (name, value) in &request.headers {
        if !hop_by_hop.contains(&name.as_str()) {
            write!(head, "{name}: {value}\r\n")?;
        }
    }
    let length = request.body.len();
    write!(
        head,
        "content-length: {length}\r\nconnection: close\r\n\r\n"
    )?;
    reader.get_mut().write_all(&head)?;
    reader.get_mut().write_all(&request.body)?;
    let status = loop {
        let first = line(&mut reader)?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok());
        match status.ok_or_else(|| bad("no status line"))? {
            // 1xx: the real answer follows.
            100..200 => while !line(&mut reader)?.is_empty() {},
            status => break status,
        }
    };
    let mut headers = headers(&mut reader)?;
    let bodiless = request.method == "HEAD" || matches!(status, 204 | 304);
    let body = if bodiless {
        Vec::new()
    } else {
        let framed = |(name, _): &(String, String)| {
            matches!(name.as_str(), "content-length" | "transfer-encoding")
        };
        if headers.iter().any(framed) {
            body(&mut reader, &headers)?
        } else {
            let mut rest = Vec::new();
            reader.take(MAX_BODY).read_to_end(&mut rest)?;
            rest
        }
    };
    headers.retain(|(name, _)| {
        !matches!(name.as_str(), "connection" | "transfer-encoding")
            && (bodiless || name != "content-length")
    });
    Ok(Response {
        status,
        headers,
        body,
        cut: None,
    })
}

/// A running server; it stops when dropped.
#[derive(Debug)]
pub struct Listener {
    address: SocketAddr,
    stop: Arc<AtomicBool>,
}

impl Listener {
    /// Serves on this address (port 0: any free one), one thread per connection.
    pub fn start<H>(address: impl std::net::ToSocketAddrs, handler: H) -> io::Result<Self>
    where
        H: Fn(&Request) -> Response + Send + Sync + 'static,
    {
        Self::start_with(address, move |stream| {
            let stream = answer(stream, &handler)?;
            stream.shutdown(std::net::Shutdown::Write)
        })
    }

    /// The same, where the caller speaks on each connection itself (TLS).
    pub fn start_with<C>(address: impl std::net::ToSocketAddrs, serve: C) -> io::Result<Self>
    where
        C: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    {
        let listener = TcpListener::bind(address)?;
        let address = listener.local_addr()?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let serve = Arc::new(serve);
        thread::spawn(move || {
            for stream in listener.incoming() {
                if stopped.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                let serve = Arc::clone(&serve);
                // A client that goes away in the middle is its own business.
                thread::spawn(move || {
                    let limit = Some(Duration::from_mins(1));
                    let _ = stream.set_read_timeout(limit);
                    serve(stream)
                });
            }
        });
        Ok(Self { address, stop })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        // Wakes the accept loop, which then closes the socket.
        let _ = TcpStream::connect_timeout(&self.address, Duration::from_secs(1));
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_passes_through_a_forwarder_unchanged() {
        let origin = Listener::start("127.0.0.1:0", |request| {
            let host = request.host();
            Response::text(201, [host.as_bytes(), b" ", &request.body].concat())
                .with("x-method", request.method.clone())
        })
        .unwrap();
        let to = origin.address();
        let front = Listener::start("127.0.0.1:0", move |request| {
            forward(to, request).unwrap_or_default()
        })
        .unwrap();
        let mut stream = TcpStream::connect(front.address()).unwrap();
        stream
            .write_all(
                b"PUT /a?b=c HTTP/1.1\r\nHost: Some.Where:443\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
            )
            .unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 201 "), "{answer}");
        assert!(answer.contains("x-method: PUT"), "{answer}");
        assert!(answer.ends_with("some.where abcde"), "{answer}");
    }

    #[test]
    fn a_request_can_be_left_without_an_answer() {
        let silent = Listener::start("127.0.0.1:0", |_| Response::default()).unwrap();
        let mut stream = TcpStream::connect(silent.address()).unwrap();
        stream.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert_eq!(answer, "");
    }

    #[test]
    fn parameters_come_from_the_query_or_the_form() {
        let mut request = Request {
            target: "/?Action=A%2Fb+c".into(),
            headers: vec![(
                "content-type".into(),
                "application/x-www-form-urlencoded; charset=utf-8".into(),
            )],
            body: b"VolumeId=vol-1&X=%".to_vec(),
            ..Request::default()
        };
        assert_eq!(request.parameter("Action").unwrap(), "A/b c");
        assert_eq!(request.parameter("VolumeId").unwrap(), "vol-1");
        assert_eq!(request.parameter("X").unwrap(), "?");
        request.headers.clear();
        assert_eq!(request.parameter("VolumeId"), None);
    }
}
