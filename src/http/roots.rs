//! The certificate authorities that this machine trusts: read once for the AWS SDK and for our own client, since that
//! takes longer than anything else in a health check.

use std::path::Path;
use std::sync::LazyLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls_native_certs::{load_certs_from_paths, load_native_certs};
use ureq::tls::{Certificate, RootCerts};

/// What update-ca-certificates and update-ca-trust write. The folders beside them hold the same again, in one file each.
const BUNDLES: [&str; 2] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
];

static TRUSTED: LazyLock<Vec<CertificateDer<'static>>> = LazyLock::new(|| {
    let mut found = load();
    // The SDK panics at one that cannot be parsed.
    let mut store = RootCertStore::empty();
    found.retain(|certificate| store.add(certificate.as_ref().into()).is_ok());
    found
});

fn load() -> Vec<CertificateDer<'static>> {
    let named = ["SSL_CERT_FILE", "SSL_CERT_DIR"];
    if named.iter().all(|name| std::env::var_os(name).is_none()) {
        for bundle in BUNDLES {
            let found = load_certs_from_paths(Some(Path::new(bundle)), None).certs;
            if !found.is_empty() {
                return found;
            }
        }
    }
    load_native_certs().certs
}

/// Reads them, unless that is done.
pub fn read() {
    LazyLock::force(&TRUSTED);
}

/// For our own client.
pub(super) fn of_ureq() -> RootCerts {
    let owned = |certificate| Certificate::from_der(certificate).to_owned();
    TRUSTED.iter().map(|certificate| owned(certificate)).into()
}

/// As PEM, for the SDK.
pub fn pem() -> String {
    let one = |certificate: &CertificateDer<'_>| {
        let text = STANDARD.encode(certificate);
        format!("-----BEGIN CERTIFICATE-----\n{text}\n-----END CERTIFICATE-----\n")
    };
    TRUSTED.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use rustls::pki_types::pem::PemObject as _;

    use super::*;

    #[test]
    fn the_sdk_is_told_the_same() {
        let told = pem();
        let told = CertificateDer::pem_slice_iter(told.as_bytes());
        let told: Vec<_> = told.map(Result::unwrap).collect();
        assert!(!told.is_empty());
        assert_eq!(told, *TRUSTED);
    }
}
