//! EBML (RFC 8794): the elements that a Matroska file is made of. Pure.

/// Bytes of an element's size where it is filled in later.
pub(super) const LONG_SIZE: usize = 8;

/// Writes an element's id; ids hold their own length.
pub(super) fn id(out: &mut Vec<u8>, id: u32) {
    let bytes = id.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(3);
    out.extend_from_slice(&bytes[first..]);
}

/// Writes a size in as few bytes as hold it.
pub(super) fn size(out: &mut Vec<u8>, size: u64) {
    // All ones is the unknown size.
    let length = (1..LONG_SIZE).find(|length| size < (1 << (7 * length)) - 1).unwrap_or(LONG_SIZE);
    let marked = size | 1 << (7 * length);
    out.extend_from_slice(&marked.to_be_bytes()[8 - length..]);
}

/// Writes a size in [`LONG_SIZE`] bytes; `None`: unknown, up to the end of the file.
pub(super) fn long_size(out: &mut Vec<u8>, size: Option<u64>) {
    let size = size.unwrap_or((1 << 56) - 1);
    out.extend_from_slice(&(size | 1 << 56).to_be_bytes());
}

pub(super) fn element(out: &mut Vec<u8>, name: u32, body: &[u8]) {
    id(out, name);
    size(out, body.len() as u64);
    out.extend_from_slice(body);
}

pub(super) fn uint(out: &mut Vec<u8>, name: u32, value: u64) {
    let bytes = value.to_be_bytes();
    let first = bytes.iter().position(|byte| *byte != 0).unwrap_or(7);
    element(out, name, &bytes[first..]);
}

/// An unsigned number in 8 bytes, so that its element is always as long.
pub(super) fn long_uint(out: &mut Vec<u8>, name: u32, value: u64) {
    element(out, name, &value.to_be_bytes());
}

pub(super) fn float(out: &mut Vec<u8>, name: u32, value: f64) {
    element(out, name, &value.to_be_bytes());
}

pub(super) fn text(out: &mut Vec<u8>, name: u32, value: &str) {
    element(out, name, value.as_bytes());
}

/// An element as it is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) id: u32,
    /// `None`: unknown.
    pub(super) size: Option<u64>,
    /// Bytes of id and size.
    pub(super) length: usize,
}

/// Reads an element's id and size; `None` when they are cut off or are none.
pub(super) fn header(bytes: &[u8]) -> Option<Header> {
    let first = *bytes.first()?;
    let id_length = first.leading_zeros() as usize + 1;
    if id_length > 4 {
        return None;
    }
    let id = bytes.get(..id_length)?.iter().fold(0, |id, byte| id << 8 | u32::from(*byte));
    let (size, size_length) = vint(bytes.get(id_length..)?)?;
    let unknown = size == (1 << (7 * size_length)) - 1;
    Some(Header { id, size: (!unknown).then_some(size), length: id_length + size_length })
}

/// Reads a number of variable length, without its marker; and how long it is.
pub(super) fn vint(bytes: &[u8]) -> Option<(u64, usize)> {
    let first = *bytes.first()?;
    let length = first.leading_zeros() as usize + 1;
    if length > LONG_SIZE {
        return None;
    }
    let value = bytes.get(..length)?.iter().fold(0_u64, |value, byte| value << 8 | u64::from(*byte));
    Some((value & !(u64::MAX << (7 * length)), length))
}

/// Reads an unsigned number's body.
pub(super) fn read_uint(body: &[u8]) -> Option<u64> {
    (body.len() <= 8).then(|| body.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
}

/// The elements of a body that is held whole: id and body of each, up to the first that does not fit.
pub(super) fn children(mut body: &[u8]) -> impl Iterator<Item = (u32, &[u8])> {
    std::iter::from_fn(move || {
        let header = header(body)?;
        let end = header.length.checked_add(usize::try_from(header.size?).ok()?)?;
        let child = body.get(header.length..end)?;
        body = &body[end..];
        Some((header.id, child))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_take_as_few_bytes_as_hold_them() {
        for (value, bytes) in [
            (0, &[0x80][..]),
            (126, &[0xfe]),
            (127, &[0x40, 0x7f]),
            (16_382, &[0x7f, 0xfe]),
            (16_383, &[0x20, 0x3f, 0xff]),
        ] {
            let mut out = Vec::new();
            size(&mut out, value);
            assert_eq!(out, bytes, "{value}");
        }
        let mut unknown = Vec::new();
        long_size(&mut unknown, None);
        assert_eq!(unknown, [1, 255, 255, 255, 255, 255, 255, 255]);
    }

    #[test]
    fn ids_hold_their_own_length() {
        let mut out = Vec::new();
        uint(&mut out, 0x1549_A966, 300);
        uint(&mut out, 0xE7, 0);
        assert_eq!(out, [0x15, 0x49, 0xA9, 0x66, 0x82, 1, 44, 0xE7, 0x81, 0]);
    }

    #[test]
    fn an_element_reads_back_and_a_cut_one_is_none() {
        let mut out = Vec::new();
        uint(&mut out, 0x1549_A966, 300);
        assert_eq!(header(&out), Some(Header { id: 0x1549_A966, size: Some(2), length: 5 }));
        let read: Vec<_> = children(&out).collect();
        assert_eq!(read, [(0x1549_A966, &[1, 44][..])]);
        for end in 0..out.len() {
            assert_eq!(children(&out[..end]).count(), 0);
        }
        let mut unknown = Vec::new();
        id(&mut unknown, 0x1853_8067);
        long_size(&mut unknown, None);
        assert_eq!(header(&unknown), Some(Header { id: 0x1853_8067, size: None, length: 12 }));
    }
}
