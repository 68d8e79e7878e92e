//! The edge node itself: container spec, JSON-RPC client, key folder, entrypoint shim.
