//! CBOR to JSON, as far as `CloudWatch`'s RPC v2 protocol uses it (RFC 8949).

use serde_json::{Map, Value};

/// The one value that `bytes` hold; `None` where they are something else.
pub fn decode(bytes: &[u8]) -> Option<Value> {
    let mut reader = Reader(bytes);
    let value = reader.value()?;
    reader.0.is_empty().then_some(value)
}

/// Ends a list of unknown length.
const BREAK: u8 = 0xff;

struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take(&mut self, count: usize) -> Option<&[u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn number(&mut self, bytes: usize) -> Option<u64> {
        let taken = self.take(bytes)?;
        Some(
            taken
                .iter()
                .fold(0, |sum, byte| sum << 8 | u64::from(*byte)),
        )
    }

    /// The argument of an initial byte; `u64::MAX` for an unknown length.
    fn argument(&mut self, initial: u8) -> Option<u64> {
        match initial & 0x1f {
            small @ 0..=23 => Some(small.into()),
            size @ 24..=27 => self.number(1 << (size - 24)),
            31 => Some(u64::MAX),
            _ => None,
        }
    }

    fn at_break(&mut self) -> bool {
        let ends = self.0.first() == Some(&BREAK);
        if ends {
            self.0 = self.0.get(1..).unwrap_or_default();
        }
        ends
    }

    /// Calls `item` for each member of a list of so many.
    fn members(&mut self, count: u64, mut item: impl FnMut(&mut Self) -> Option<()>) -> Option<()> {
        for _ in 0..count {
            if count == u64::MAX && self.at_break() {
                break;
            }
            item(self)?;
        }
        Some(())
    }

    #[allow(clippy::cast_precision_loss)] // only ever compared with small numbers
    fn value(&mut self) -> Option<Value> {
        let initial = *self.take(1)?.first()?;
        Some(match initial >> 5 {
            0 => self.argument(initial)?.into(),
            1 => (-1.0 - self.argument(initial)? as f64).into(),
            3 => {
                let length = usize::try_from(self.argument(initial)?).ok()?;
                String::from_utf8(self.take(length)?.to_vec()).ok()?.into()
            }
            4 => {
                let mut list = Vec::new();
                let count = self.argument(initial)?;
                self.members(count, |reader| {
                    list.push(reader.value()?);
                    Some(())
                })?;
                list.into()
            }
            5 => {
                let mut map = Map::new();
                let count = self.argument(initial)?;
                self.members(count, |reader| {
                    let key = reader.value()?.as_str()?.to_owned();
                    map.insert(key, reader.value()?);
                    Some(())
                })?;
                map.into()
            }
            // A tag, such as "seconds since 1970": the value counts.
            6 => {
                self.argument(initial)?;
                self.value()?
            }
            7 => match initial & 0x1f {
                20 => false.into(),
                21 => true.into(),
                22 => Value::Null,
                26 => f64::from(f32::from_bits(u32::try_from(self.number(4)?).ok()?)).into(),
                27 => f64::from_bits(self.number(8)?).into(),
                _ => return None,
            },
            _ => return None,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn reads_the_examples_of_the_rfc() {
        let cases: [(&[u8], Value); 6] = [
            (b"\x19\x03\xe8", json!(1000)),
            (b"\x20", json!(-1.0)),
            (b"\xfb\x3f\xf1\x99\x99\x99\x99\x99\x9a", json!(1.1)),
            (
                b"\xa2\x61a\x01\x61b\x82\x02\x03",
                json!({"a": 1, "b": [2, 3]}),
            ),
            (b"\xbf\x61a\x9f\x01\xf5\xff\xff", json!({"a": [1, true]})),
            (b"\xc1\x1a\x51\x4b\x67\xb0", json!(1_363_896_240)),
        ];
        for (bytes, value) in cases {
            assert_eq!(decode(bytes), Some(value));
        }
        assert_eq!(decode(b"\x19\x03"), None);
        assert_eq!(decode(b"\x01\x01"), None);
    }
}
