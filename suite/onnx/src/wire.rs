//! The fields of a protobuf message as they stand in its bytes, so that a message can be taken apart and put together
//! again without losing what nobody here knows of.
//!
//! A field is a key (its number and its wire type, as a varint) and a value; see
//! <https://protobuf.dev/programming-guides/encoding/>.

use prost::bytes::Bytes;

use crate::{Error, Result, malformed};

/// One field of a message.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Field {
    pub number: u32,
    /// Key and value, as they stand in the message.
    pub whole: Bytes,
    /// The bytes of a value that has a length: a text or a message. Empty for a number.
    pub value: Bytes,
}

/// The fields of a message, in order.
///
/// # Errors
/// Fails on bytes that are no message.
pub(crate) fn fields(message: &Bytes) -> Result<Vec<Field>> {
    let mut found = Vec::new();
    let mut at = 0;
    while at < message.len() {
        let start = at;
        let key = varint(message, &mut at)?;
        let mut value = at..at;
        match key & 7 {
            0 => drop(varint(message, &mut at)?),
            1 => at += 8,
            2 => {
                let length = usize::try_from(varint(message, &mut at)?).map_err(|_| cut_off())?;
                let end = at.checked_add(length).ok_or_else(cut_off)?;
                value = at..end;
                at = end;
            }
            5 => at += 4,
            other => return Err(malformed(format!("a field is of the wire type {other}"))),
        }
        if at > message.len() {
            return Err(cut_off());
        }
        found.push(Field {
            number: u32::try_from(key >> 3).map_err(|_| malformed("a field has no number"))?,
            whole: message.slice(start..at),
            value: message.slice(value),
        });
    }
    Ok(found)
}

fn cut_off() -> Error {
    malformed("a field ends after its message")
}

fn varint(bytes: &[u8], at: &mut usize) -> Result<u64> {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let byte = *bytes.get(*at).ok_or_else(cut_off)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return Ok(value);
        }
    }
    Err(malformed("a number has more than 64 bits"))
}

/// Appends a field that holds a message.
pub(crate) fn push(to: &mut Vec<u8>, number: u32, message: &[u8]) {
    put_varint(to, u64::from(number) << 3 | 2);
    put_varint(to, message.len() as u64);
    to.extend_from_slice(message);
}

fn put_varint(to: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        to.push(value as u8 | 0x80);
        value >>= 7;
    }
    to.push(value as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_taken_apart_and_put_together() -> Result<()> {
        // 1: varint 300; 2: "ab"; 3: four bytes; 4: eight bytes.
        let mut message = vec![0x08, 0xac, 0x02];
        push(&mut message, 2, b"ab");
        message.extend([0x1d, 1, 2, 3, 4, 0x21, 1, 2, 3, 4, 5, 6, 7, 8]);
        let message = Bytes::from(message);
        let found = fields(&message)?;
        let numbers: Vec<u32> = found.iter().map(|field| field.number).collect();
        assert_eq!(numbers, [1, 2, 3, 4]);
        assert_eq!(&found[1].value[..], b"ab");
        let again: Vec<u8> = found.iter().flat_map(|f| f.whole.to_vec()).collect();
        assert_eq!(again, message);
        Ok(())
    }

    #[test]
    fn what_is_no_message_is_refused() {
        for bytes in [
            &b"\x12\x05ab"[..],
            b"\x08\xff",
            b"\x0b",
            b"\x1d\x01",
            b"\xff",
        ] {
            assert!(fields(&Bytes::from_static(bytes)).is_err(), "{bytes:?}");
        }
    }
}
