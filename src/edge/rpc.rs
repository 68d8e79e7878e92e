//! The edge node's JSON-RPC: called over loopback; its answers are not trusted.
//!
//! Formats and pitfalls are those of the ledger's server (thetatoken/theta-protocol-ledger `rpc/`), which the edge core
//! shares: POST to `/rpc` with exactly `application/json` (else 415), 204 if there is no reply, connections closed
//! after one idle second (so none is kept).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::Duration;

use serde_json::{Value, json};

use super::keys;
use crate::http::{Kind, Request, Response};
use crate::log::printable;

/// Timeout of one request; a healthy node answers within milliseconds.
const TIMEOUT: Duration = Duration::from_secs(5);

/// No genuine answer is longer, in bytes.
const LIMIT: u64 = 1 << 20;

/// No node has more peers than this (its own maximum is 96).
const MOST_PEERS: usize = 1_000;

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing listens: the node is starting, or not running.
    Refused,
    /// It listens, but does not answer in time.
    TimedOut,
    /// It answers with an error; the text is safe to quote.
    Error(String),
    /// It answers something else; the text is safe to quote.
    Broken(String),
}

impl fmt::Display for Fault {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => out.write_str("the connection is refused"),
            Self::TimedOut => write!(out, "no answer within {} s", TIMEOUT.as_secs()),
            Self::Error(text) => write!(out, "RPC error: {text}"),
            Self::Broken(text) => out.write_str(text),
        }
    }
}

/// What `edgecore.GetStatus` says.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// The node's wallet address: `0x` and 40 lower-case hex digits.
    pub address: Option<String>,
    /// Chain, e.g. `mainnet`.
    pub chain: Option<String>,
    /// Block height; `None` while the node does not know it.
    pub height: Option<u64>,
}

/// One JSON-RPC endpoint.
#[derive(Clone, Debug)]
pub struct Client {
    url: String,
}

impl Client {
    /// The endpoint at `port` of the address on which the ports are published.
    pub fn at(bind: IpAddr, port: u16) -> Self {
        let address = match bind {
            IpAddr::V4(any) if any.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(any) if any.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            address => address,
        };
        let socket = std::net::SocketAddr::new(address, port);
        Self {
            url: format!("http://{socket}/rpc"),
        }
    }

    /// The node's identity and how far it has synced.
    pub async fn status(&self) -> Result<Status, Fault> {
        self.call("edgecore.GetStatus")
            .await
            .and_then(|found| status(&found))
    }

    /// Addresses or IDs of the peers.
    pub async fn peers(&self) -> Result<Vec<String>, Fault> {
        self.call("edgecore.GetPeers")
            .await
            .and_then(|found| peers(&found))
    }

    /// The node's version.
    pub async fn version(&self) -> Result<Option<String>, Fault> {
        let result = self.call("edgecore.GetVersion").await?;
        Ok(text(&result, "version"))
    }

    /// The summary that the owner pastes into the wallet to stake to this node.
    pub async fn summary(&self) -> Result<Option<String>, Fault> {
        let result = self.call("edgecore.GetEdgeNodeSummary").await?;
        Ok(text(&result, "Summary"))
    }

    async fn call(&self, method: &str) -> Result<Value, Fault> {
        self.ask(method, &json!([])).await
    }

    /// The result of any method.
    pub async fn ask(&self, method: &str, params: &Value) -> Result<Value, Fault> {
        let body = json!({"jsonrpc": "2.0", "method": method, "params": params, "id": 1});
        let response = Request::post(&self.url, body.to_string().into_bytes())
            .header("Content-Type", "application/json")
            .timeout(TIMEOUT)
            .limit(LIMIT)
            .send()
            .await
            .map_err(|failure| match failure.kind {
                Kind::Refused => Fault::Refused,
                Kind::TimedOut => Fault::TimedOut,
                Kind::Broken | Kind::Untrusted | Kind::NotYetValid | Kind::Invalid => {
                    Fault::Broken(failure.to_string())
                }
            })?;
        result(&response)
    }
}

/// The `result` of an answer.
pub fn result(response: &Response) -> Result<Value, Fault> {
    let broken = |text: String| Err(Fault::Broken(text));
    if response.status != 200 {
        return broken(format!("HTTP status {}", response.status));
    }
    let Ok(mut answer) = serde_json::from_slice::<Value>(&response.body) else {
        let start: String = response.quoted().chars().take(100).collect();
        return broken(format!("an answer that is not JSON: {start}"));
    };
    if let Some(error) = answer.get("error").filter(|error| !error.is_null()) {
        let message = error.get("message").and_then(Value::as_str);
        let message = message.map_or_else(|| error.to_string(), String::from);
        return Err(Fault::Error(printable(&message)));
    }
    match answer.get_mut("result").map(Value::take) {
        None | Some(Value::Null) => broken("an answer without a result".into()),
        Some(result) => Ok(result),
    }
}

/// Reads the result of `edgecore.GetStatus`.
pub fn status(result: &Value) -> Result<Status, Fault> {
    if !result.is_object() {
        return Err(Fault::Broken("a status that is not an object".into()));
    }
    let address = text(result, "address").and_then(|address| keys::address(&address));
    Ok(Status {
        address,
        chain: text(result, "chain_id"),
        // A fresh node computes 0 - 1 on an unsigned number (ledger `rpc/query.go`).
        height: number(result, "current_height").filter(|height| *height < u64::MAX - 1),
    })
}

/// Reads the result of `edgecore.GetPeers`: an object with the list, or the list itself.
pub fn peers(result: &Value) -> Result<Vec<String>, Fault> {
    let list = if result.is_array() {
        Some(result)
    } else {
        result.get("peers")
    };
    match list {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::Array(peers)) => Ok(peers
            .iter()
            .filter_map(Value::as_str)
            .map(printable)
            .filter(|peer| !peer.is_empty())
            .take(MOST_PEERS)
            .collect()),
        Some(_) => Err(Fault::Broken("peers that are not a list".into())),
    }
}

/// A string member; absent, empty and of another type are the same.
fn text(object: &Value, key: &str) -> Option<String> {
    let text = object.get(key)?.as_str().map(printable)?;
    (!text.is_empty()).then_some(text)
}

/// A whole number, given as a number or as a string.
fn number(object: &Value, key: &str) -> Option<u64> {
    match object.get(key)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use standins::scripted::{Reply, serve};

    fn answered(body: &[u8]) -> Result<Value, Fault> {
        result(&Response {
            status: 200,
            body: body.to_vec(),
        })
    }

    fn status_of(body: &str) -> Status {
        answered(body.as_bytes())
            .and_then(|found| status(&found))
            .unwrap()
    }

    #[test]
    fn reads_a_status_with_numbers_of_either_kind() {
        let text = status_of(
            r#"{"jsonrpc":"2.0","id":1,"result":{"address":"0x2E833968E5bB786Ae419c4d13189fB081Cc43bab",
               "chain_id":"mainnet","peer_id":"0xab","current_height":"12345","current_time":"1700000000"}}"#,
        );
        assert_eq!(
            text,
            Status {
                address: Some("0x2e833968e5bb786ae419c4d13189fb081cc43bab".into()),
                chain: Some("mainnet".into()),
                height: Some(12345),
            }
        );
        let number = status_of(r#"{"result":{"current_height":12345}}"#);
        assert_eq!((number.height, number.address), (Some(12345), None));
    }

    #[test]
    fn an_absurd_or_missing_height_is_unknown() {
        for height in [
            "18446744073709551615",
            "\"18446744073709551615\"",
            "\"18446744073709551614\"",
            "99999999999999999999999",
            "-1",
            "1.5",
            "\"\"",
            "\"many\"",
            "null",
            "{}",
        ] {
            let body = format!(r#"{{"result":{{"current_height":{height}}}}}"#);
            assert_eq!(status_of(&body).height, None, "{height}");
        }
        assert_eq!(status_of(r#"{"result":{}}"#), Status::default());
        assert_eq!(
            status_of(r#"{"result":{"current_height":" 0 "}}"#).height,
            Some(0)
        );
    }

    #[test]
    fn an_address_that_is_none_is_unknown() {
        let body = r#"{"result":{"address":"<script>","chain_id":"a\u001b[2Jb"}}"#;
        let found = status_of(body);
        assert_eq!(
            (found.address, found.chain),
            (None, Some("a\\u{1b}[2Jb".into()))
        );
    }

    #[test]
    fn peers_may_be_a_bare_list_null_or_missing() {
        let found = |body: &str| answered(body.as_bytes()).and_then(|found| peers(&found));
        assert_eq!(
            found(r#"{"result":{"peers":["a","b",3,""]}}"#).unwrap(),
            ["a", "b"]
        );
        assert!(found(r#"{"result":{"peers":null}}"#).unwrap().is_empty());
        assert!(found(r#"{"result":{}}"#).unwrap().is_empty());
        assert_eq!(found(r#"{"result":["a","b",3,""]}"#).unwrap(), ["a", "b"]);
        assert!(found(r#"{"result":[]}"#).unwrap().is_empty());
        assert_eq!(
            found(r#"{"result":{"peers":"7"}}"#),
            Err(Fault::Broken("peers that are not a list".into()))
        );
    }

    #[test]
    fn everything_else_is_broken_and_says_how() {
        let deep = [b'['; 4_000];
        for (body, text) in [
            (&br#"{"result":null}"#[..], "an answer without a result"),
            (br#"{"id":1}"#, "an answer without a result"),
            (b"[]", "an answer without a result"),
            (
                b"<html>502</html>",
                "an answer that is not JSON: <html>502</html>",
            ),
            (b"\xff\xfe", "an answer that is not JSON: \u{fffd}\u{fffd}"),
            (b"", "an answer that is not JSON: "),
        ] {
            assert_eq!(answered(body), Err(Fault::Broken(text.into())));
        }
        for (body, text) in [
            (
                &br#"{"result":null,"error":{"code":-32000,"message":"Invalid\njob type"}}"#[..],
                "Invalid\\njob type",
            ),
            (br#"{"error":"no"}"#, "\"no\""),
        ] {
            assert_eq!(answered(body), Err(Fault::Error(text.into())));
        }
        assert!(answered(&deep).is_err());
        assert_eq!(
            answered(br#"{"result":[]}"#).and_then(|found| status(&found)),
            Err(Fault::Broken("a status that is not an object".into()))
        );
        let empty = Response {
            status: 204,
            body: Vec::new(),
        };
        assert_eq!(result(&empty), Err(Fault::Broken("HTTP status 204".into())));
    }

    #[tokio::test]
    async fn asks_as_the_server_demands() {
        let server = serve(|_| Reply::new(200, r#"{"result":{"Summary":"0xabc","version":"1"}}"#));
        let client = Client {
            url: format!("{}/rpc", server.url),
        };
        assert_eq!(client.summary().await.unwrap().unwrap(), "0xabc");
        assert_eq!(client.version().await.unwrap().unwrap(), "1");
        let request = server.received().remove(0);
        assert_eq!(
            (request.method.as_str(), request.target.as_str()),
            ("POST", "/rpc")
        );
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(
            serde_json::from_slice::<Value>(&request.body).unwrap(),
            json!({"jsonrpc": "2.0", "method": "edgecore.GetEdgeNodeSummary", "params": [], "id": 1})
        );
    }

    #[tokio::test]
    async fn an_endless_body_is_bounded_and_nothing_there_is_refused() {
        let server = serve(|_| Reply::new(200, vec![b'x'; 2 << 20]));
        let client = Client {
            url: server.url.clone(),
        };
        assert_eq!(
            client.status().await,
            Err(Fault::Broken(
                "the answer is longer than 1048576 bytes".into()
            ))
        );
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = free.local_addr().unwrap();
        drop(free);
        let client = Client::at(address.ip(), address.port());
        assert_eq!(client.status().await, Err(Fault::Refused));
    }

    #[test]
    fn asks_where_the_ports_are_published() {
        for (bind, url) in [
            ("127.0.0.1", "http://127.0.0.1:17888/rpc"),
            ("0.0.0.0", "http://127.0.0.1:17888/rpc"),
            ("::", "http://[::1]:17888/rpc"),
            ("10.0.0.7", "http://10.0.0.7:17888/rpc"),
        ] {
            assert_eq!(Client::at(bind.parse().unwrap(), 17888).url, url);
        }
    }
}
