//! A vendor's public key (OpenPGP, RFC 9580) and its fingerprint: which key it is, wherever it comes from.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD as STANDARD;
use sha1::{Digest as _, Sha1};

const BEGIN: &str = "-----BEGIN PGP PUBLIC KEY BLOCK-----";
const END: &str = "-----END PGP PUBLIC KEY BLOCK-----";

/// Packet types of primary keys: public, secret.
const PRIMARY: [u8; 2] = [6, 5];

/// The fingerprint, in upper-case hex, of the key in an armoured file; `None` if the file holds no key, several, or one
/// of another kind: whoever is given the file trusts every key in it.
pub fn only_key(file: &[u8]) -> Option<String> {
    let bytes = dearmored(str::from_utf8(file).ok()?)?;
    let mut rest = bytes.as_slice();
    let mut found = None;
    while !rest.is_empty() {
        let (kind, body, after) = packet(rest)?;
        if PRIMARY.contains(&kind) && found.replace(body).is_some() {
            return None;
        }
        rest = after;
    }
    // Version 4: SHA-1 over this byte, the length, and the packet.
    let key = found.filter(|key| key.first() == Some(&4))?;
    let length = u16::try_from(key.len()).ok()?.to_be_bytes();
    let hash = Sha1::new()
        .chain_update([0x99])
        .chain_update(length)
        .chain_update(key)
        .finalize();
    let mut hex = String::new();
    for byte in hash {
        let _ = write!(hex, "{byte:02X}");
    }
    Some(hex)
}

/// The decoded bytes of text that is exactly one armour block: what `gpgv` accepts as a keyring.
pub fn dearmored(text: &str) -> Option<Vec<u8>> {
    let text = text.replace('\r', "");
    let inner = text.trim().strip_prefix(BEGIN)?.strip_suffix(END)?;
    if inner.contains("-----") {
        return None;
    }
    // A blank line ends the headers.
    let (_, body) = inner.split_once("\n\n")?;
    let lines = body.lines().take_while(|line| !line.starts_with('='));
    STANDARD.decode(lines.collect::<String>()).ok()
}

/// Type and body of the first packet, and what comes after it.
fn packet(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (&tag, rest) = bytes.split_first()?;
    let is_new = tag & 0xC0 == 0xC0;
    let (kind, digits) = if is_new {
        let digits = match rest.first()? {
            0..192 => 1,
            192..224 => 2,
            255 => 5,
            _ => return None,
        };
        (tag & 0x3F, digits)
    } else {
        (
            tag >> 2 & 0x0F,
            [1, 2, 4].get(usize::from(tag & 3)).copied()?,
        )
    };
    let (length, rest) = rest.split_at_checked(digits)?;
    let number = |bytes: &[u8]| {
        bytes
            .iter()
            .fold(0, |sum, byte| sum << 8 | usize::from(*byte))
    };
    let length = match (is_new, length) {
        (true, [high, low]) => (usize::from(*high) - 192) * 256 + usize::from(*low) + 192,
        (true, [255, length @ ..]) | (_, length) => number(length),
    };
    let (body, rest) = rest.split_at_checked(length)?;
    // Bit 7 of the tag is set in every packet, old format or new.
    (tag & 0x80 != 0).then_some((kind, body, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A key made with `gpg --quick-generate-key`, and its fingerprint according to gpg.
    const KEY: &str = include_str!("../../tests/setup/another-key.asc");
    const FINGERPRINT: &str = "39F111C3CFBFB6F37FE487F2A184D8FE6BCEDE99";

    #[test]
    fn a_key_is_known_by_its_fingerprint() {
        assert_eq!(only_key(KEY.as_bytes()).unwrap(), FINGERPRINT);
        let by_mail = format!("\r\n{}\r\n", KEY.replace('\n', "\r\n"));
        assert_eq!(only_key(by_mail.as_bytes()).unwrap(), FINGERPRINT);
    }

    #[test]
    fn what_is_not_one_key_has_no_fingerprint() {
        let twice = format!("{KEY}{KEY}");
        let bytes = dearmored(KEY).unwrap();
        let cut = KEY.replace(&KEY[60..64], "");
        for file in [
            "",
            "<html>log in</html>",
            &twice,
            &cut,
            &KEY.replace("\n\n", "\n"),
            &KEY.replace(BEGIN, "-----BEGIN PGP MESSAGE-----"),
        ] {
            assert_ne!(
                only_key(file.as_bytes()).as_deref(),
                Some(FINGERPRINT),
                "{file}"
            );
        }
        assert_eq!(only_key(twice.as_bytes()), None);
        assert_eq!(only_key(&[0xFF, 0xFE]), None);
        // Two keys in one block.
        assert!(packet(&bytes).is_some());
        assert_eq!(packet(&[]), None);
        assert_eq!(packet(&[0xC6, 5, 0]), None);
        assert_eq!(packet(&[0x19, 0]), None);
        assert_eq!(packet(&[0xC6, 1, 4, 9]), Some((6, &[4][..], &[9][..])));
        assert_eq!(packet(&[0x98, 1, 4, 9]), Some((6, &[4][..], &[9][..])));
        assert_eq!(
            packet(&[0xC6, 255, 0, 0, 0, 1, 4]),
            Some((6, &[4][..], &[][..]))
        );
    }
}
