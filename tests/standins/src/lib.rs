//! Stand-ins for what cannot be had on one machine: EC2's metadata service, the AWS services that
//! a node calls, `CloudFormation`'s signals and the edge image.
//!
//! - [`aws::Server`]: all of AWS on one loopback port, for tests of the product. Nothing is signed
//!   or checked beyond what the product relies on.
//! - [`imds`]: the metadata service, also behind 169.254.169.254 of the local instance.
//! - [`edge`]: the edge node's JSON-RPC, also inside the stand-in image.
//! - [`edge_node`]: the program of that image, with its processes.
//! - [`signals`]: what `CloudFormation` would have received.
//! - [`internet`]: everything else that is downloaded.
//! - [`scripted`]: a server that answers what a test says, for the product's unit tests.
//! - [`fake_tool`]: the system tools of a test machine, as data.

pub mod aws;
pub mod cbor;
pub mod edge;
pub mod edge_node;
pub mod fake_tool;
pub mod http;
pub mod imds;
pub mod internet;
pub mod scripted;
pub mod signals;
