//! A scripted HTTP server on loopback for tests: one request per connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// A request that arrived.
#[derive(Clone, Debug)]
pub struct Received {
    /// HTTP method.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case, values as sent.
    pub headers: Vec<(String, String)>,
    /// The body, by Content-Length.
    pub body: Vec<u8>,
}

impl Received {
    /// The header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// What to answer.
pub struct Reply {
    head: String,
    body: Vec<u8>,
}

impl Reply {
    /// A status and a body.
    pub fn new(status: u16, body: impl Into<Vec<u8>>) -> Self {
        let body = body.into();
        let head = format!(
            "HTTP/1.1 {status} x\r\nConnection: close\r\nContent-Length: {}\r\n",
            body.len()
        );
        Self { head, body }
    }

    /// These bytes and nothing else.
    pub fn raw(bytes: &[u8]) -> Self {
        Self {
            head: String::new(),
            body: bytes.to_vec(),
        }
    }

    /// Adds a header.
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.head = format!("{}{name}: {value}\r\n", self.head);
        self
    }

    /// Closes the connection after this many bytes of the body.
    pub fn cut(mut self, bytes: usize) -> Self {
        self.body.truncate(bytes);
        self
    }
}

/// A running server; it ends with the test process.
pub struct Server {
    /// `http://127.0.0.1:PORT`
    pub url: String,
    received: Arc<Mutex<Vec<Received>>>,
}

impl Server {
    /// What arrived so far.
    pub fn received(&self) -> Vec<Received> {
        self.received
            .lock()
            .map(|list| list.clone())
            .unwrap_or_default()
    }
}

/// Starts a server that answers each request with what `answer` says.
#[allow(clippy::unwrap_used, clippy::missing_panics_doc)]
pub fn serve(mut answer: impl FnMut(&Received) -> Reply + Send + 'static) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let received = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&received);
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            let Some(request) = read(&stream) else {
                continue;
            };
            log.lock().unwrap().push(request.clone());
            let reply = answer(&request);
            if !reply.head.is_empty() {
                let _ = write!(stream, "{}\r\n", reply.head);
            }
            let _ = stream.write_all(&reply.body);
        }
    });
    Server { url, received }
}

/// Answers with each reply once, in order; the last one for ever.
pub fn script(replies: Vec<(u16, &'static str)>) -> Server {
    let mut next = 0;
    serve(move |_| {
        let (status, body) = replies
            .get(next)
            .or(replies.last())
            .copied()
            .unwrap_or((500, ""));
        next += 1;
        Reply::new(status, body)
    })
}

fn read(stream: &TcpStream) -> Option<Received> {
    let mut reader = BufReader::new(stream);
    let mut line = String::new();
    reader.read_line(&mut line).ok()?;
    let mut words = line.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else {
            break;
        };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let length = headers
        .iter()
        .find(|(name, _)| name == "content-length")
        .and_then(|(_, value)| value.parse().ok())
        .unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    Some(Received {
        method,
        target,
        headers,
        body,
    })
}
