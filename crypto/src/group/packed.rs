//! The encoding of OpenMLS's values in rows: CBOR (RFC 8949), a list of bytes written as a byte string.
//!
//! OpenMLS hands nearly everything that it stores to serde as lists of small numbers. As those they take almost twice the
//! bytes and many times the time. Reads both forms: rows that were written as lists stay readable. Never reads what
//! somebody else sent; rows are our own.

use serde::de::value::SeqDeserializer;
use serde::de::{self, DeserializeOwned, DeserializeSeed, IntoDeserializer as _, Visitor};
use serde::ser::{self, Serialize};
use std::fmt::Display;

/// How deep a value may nest: OpenMLS's own is far below, and a damaged row must not exhaust the stack.
const DEPTH_MAX: usize = 64;

/// Why a value is not written or read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum PackedError {
    /// Not CBOR of the type.
    #[error("the value is malformed")]
    Malformed,
    /// A type that OpenMLS does not store: fractions, very long numbers, lists of which only a part is bytes.
    #[error("values of this kind are not written")]
    Unsupported,
}

impl ser::Error for PackedError {
    fn custom<T: Display>(_: T) -> Self {
        Self::Unsupported
    }
}

impl de::Error for PackedError {
    fn custom<T: Display>(_: T) -> Self {
        Self::Malformed
    }
}

/// Writes a value.
pub(super) fn encode<T: Serialize + ?Sized>(value: &T) -> Result<Vec<u8>, PackedError> {
    let mut writer = Writer { out: Vec::new(), list: List::None };
    value.serialize(&mut writer)?;
    Ok(writer.out)
}

/// Reads a value; nothing may follow it.
pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, PackedError> {
    let mut reader = Reader { rest: bytes, depth: DEPTH_MAX };
    let value = T::deserialize(&mut reader)?;
    if reader.rest.is_empty() { Ok(value) } else { Err(PackedError::Malformed) }
}

const UNSIGNED: u8 = 0;
const NEGATIVE: u8 = 1;
const BYTES: u8 = 2;
const TEXT: u8 = 3;
const ARRAY: u8 = 4;
const MAP: u8 = 5;
const FALSE: u8 = 0xf4;
const TRUE: u8 = 0xf5;
const NULL: u8 = 0xf6;
const UNDEFINED: u8 = 0xf7;
const OPEN_ARRAY: u8 = 0x9f;
const OPEN_MAP: u8 = 0xbf;
const BREAK: u8 = 0xff;

/// The list that is being written.
#[derive(Clone, Copy, PartialEq, Eq)]
enum List {
    /// None, or one of whatever.
    None,
    /// So many items, the first of which decides what it is.
    Begun(usize),
    /// Bytes.
    Bytes,
}

struct Writer {
    out: Vec<u8>,
    list: List,
}

impl Writer {
    /// Before anything but a byte: a list that was begun is one of such.
    fn item(&mut self) -> Result<(), PackedError> {
        match std::mem::replace(&mut self.list, List::None) {
            List::None => Ok(()),
            List::Begun(length) => {
                self.head(ARRAY, length as u64);
                Ok(())
            }
            List::Bytes => Err(PackedError::Unsupported),
        }
    }

    fn head(&mut self, major: u8, value: u64) {
        let major = major << 5;
        match (u8::try_from(value), u16::try_from(value), u32::try_from(value)) {
            (Ok(small), ..) if small < 24 => self.out.push(major | small),
            (Ok(byte), ..) => self.out.extend_from_slice(&[major | 24, byte]),
            (_, Ok(short), _) => {
                self.out.push(major | 25);
                self.out.extend_from_slice(&short.to_be_bytes());
            }
            (_, _, Ok(long)) => {
                self.out.push(major | 26);
                self.out.extend_from_slice(&long.to_be_bytes());
            }
            _ => {
                self.out.push(major | 27);
                self.out.extend_from_slice(&value.to_be_bytes());
            }
        }
    }

    fn text(&mut self, text: &str) {
        self.head(TEXT, text.len() as u64);
        self.out.extend_from_slice(text.as_bytes());
    }
}

/// A list, map or struct that is being written.
struct Compound<'a> {
    writer: &'a mut Writer,
    /// What the list is so far; `None` in everything else.
    list: List,
    /// Its length was not known.
    open: bool,
}

impl Compound<'_> {
    fn end(self) {
        if let List::Begun(length) = self.list {
            // It had no items.
            self.writer.head(ARRAY, length as u64);
        }
        if self.open {
            self.writer.out.push(BREAK);
        }
    }
}

impl<'a> ser::Serializer for &'a mut Writer {
    type Ok = ();
    type Error = PackedError;
    type SerializeSeq = Compound<'a>;
    type SerializeTuple = Compound<'a>;
    type SerializeTupleStruct = Compound<'a>;
    type SerializeTupleVariant = Compound<'a>;
    type SerializeMap = Compound<'a>;
    type SerializeStruct = Compound<'a>;
    type SerializeStructVariant = Compound<'a>;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn serialize_bool(self, value: bool) -> Result<(), PackedError> {
        self.item()?;
        self.out.push(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_u8(self, value: u8) -> Result<(), PackedError> {
        match self.list {
            List::None => self.head(UNSIGNED, value.into()),
            List::Begun(length) => {
                self.list = List::Bytes;
                self.head(BYTES, length as u64);
                self.out.push(value);
            }
            List::Bytes => self.out.push(value),
        }
        Ok(())
    }

    fn serialize_u16(self, value: u16) -> Result<(), PackedError> {
        self.serialize_u64(value.into())
    }

    fn serialize_u32(self, value: u32) -> Result<(), PackedError> {
        self.serialize_u64(value.into())
    }

    fn serialize_u64(self, value: u64) -> Result<(), PackedError> {
        self.item()?;
        self.head(UNSIGNED, value);
        Ok(())
    }

    fn serialize_i8(self, value: i8) -> Result<(), PackedError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i16(self, value: i16) -> Result<(), PackedError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i32(self, value: i32) -> Result<(), PackedError> {
        self.serialize_i64(value.into())
    }

    fn serialize_i64(self, value: i64) -> Result<(), PackedError> {
        self.item()?;
        match u64::try_from(value) {
            Ok(value) => self.head(UNSIGNED, value),
            Err(_) => self.head(NEGATIVE, (!value).unsigned_abs()),
        }
        Ok(())
    }

    fn serialize_f32(self, _: f32) -> Result<(), PackedError> {
        Err(PackedError::Unsupported)
    }

    fn serialize_f64(self, _: f64) -> Result<(), PackedError> {
        Err(PackedError::Unsupported)
    }

    fn serialize_char(self, value: char) -> Result<(), PackedError> {
        self.serialize_str(value.encode_utf8(&mut [0; 4]))
    }

    fn serialize_str(self, value: &str) -> Result<(), PackedError> {
        self.item()?;
        self.text(value);
        Ok(())
    }

    fn serialize_bytes(self, value: &[u8]) -> Result<(), PackedError> {
        self.item()?;
        self.head(BYTES, value.len() as u64);
        self.out.extend_from_slice(value);
        Ok(())
    }

    fn serialize_none(self) -> Result<(), PackedError> {
        self.serialize_unit()
    }

    fn serialize_some<T: Serialize + ?Sized>(self, value: &T) -> Result<(), PackedError> {
        // A list whose items may be absent is no list of bytes.
        self.item()?;
        value.serialize(self)
    }

    fn serialize_unit(self) -> Result<(), PackedError> {
        self.item()?;
        self.out.push(NULL);
        Ok(())
    }

    fn serialize_unit_struct(self, _: &'static str) -> Result<(), PackedError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(self, _: &'static str, _: u32, variant: &'static str) -> Result<(), PackedError> {
        self.serialize_str(variant)
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(self, _: &'static str, value: &T) -> Result<(), PackedError> {
        // Nor is one of a type of its own: it is not read back as a byte.
        self.item()?;
        value.serialize(self)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), PackedError> {
        self.item()?;
        self.head(MAP, 1);
        self.text(variant);
        value.serialize(self)
    }

    fn serialize_seq(self, length: Option<usize>) -> Result<Compound<'a>, PackedError> {
        self.item()?;
        let list = match length {
            Some(length) => List::Begun(length),
            None => {
                self.out.push(OPEN_ARRAY);
                List::None
            }
        };
        Ok(Compound { writer: self, list, open: length.is_none() })
    }

    fn serialize_tuple(self, length: usize) -> Result<Compound<'a>, PackedError> {
        self.item()?;
        self.head(ARRAY, length as u64);
        Ok(Compound { writer: self, list: List::None, open: false })
    }

    fn serialize_tuple_struct(self, _: &'static str, length: usize) -> Result<Compound<'a>, PackedError> {
        self.serialize_tuple(length)
    }

    fn serialize_tuple_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, PackedError> {
        self.item()?;
        self.head(MAP, 1);
        self.text(variant);
        self.serialize_tuple(length)
    }

    fn serialize_map(self, length: Option<usize>) -> Result<Compound<'a>, PackedError> {
        self.item()?;
        match length {
            Some(length) => self.head(MAP, length as u64),
            None => self.out.push(OPEN_MAP),
        }
        Ok(Compound { writer: self, list: List::None, open: length.is_none() })
    }

    fn serialize_struct(self, _: &'static str, length: usize) -> Result<Compound<'a>, PackedError> {
        self.serialize_map(Some(length))
    }

    fn serialize_struct_variant(
        self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        length: usize,
    ) -> Result<Compound<'a>, PackedError> {
        self.item()?;
        self.head(MAP, 1);
        self.text(variant);
        self.serialize_map(Some(length))
    }
}

impl ser::SerializeSeq for Compound<'_> {
    type Ok = ();
    type Error = PackedError;

    fn serialize_element<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackedError> {
        self.writer.list = self.list;
        value.serialize(&mut *self.writer)?;
        self.list = std::mem::replace(&mut self.writer.list, List::None);
        Ok(())
    }

    fn end(self) -> Result<(), PackedError> {
        Compound::end(self);
        Ok(())
    }
}

/// What has no items of one kind: each is a value of its own.
macro_rules! compounds {
    ($($of:ident $add:ident),+) => {
        $(impl ser::$of for Compound<'_> {
            type Ok = ();
            type Error = PackedError;

            fn $add<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackedError> {
                value.serialize(&mut *self.writer)
            }

            fn end(self) -> Result<(), PackedError> {
                Compound::end(self);
                Ok(())
            }
        })+
    };
}

compounds! {
    SerializeTuple serialize_element,
    SerializeTupleStruct serialize_field,
    SerializeTupleVariant serialize_field
}

impl ser::SerializeMap for Compound<'_> {
    type Ok = ();
    type Error = PackedError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), PackedError> {
        key.serialize(&mut *self.writer)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), PackedError> {
        value.serialize(&mut *self.writer)
    }

    fn end(self) -> Result<(), PackedError> {
        Compound::end(self);
        Ok(())
    }
}

/// Fields by their names.
macro_rules! structs {
    ($($of:ident),+) => {
        $(impl ser::$of for Compound<'_> {
            type Ok = ();
            type Error = PackedError;

            fn serialize_field<T: Serialize + ?Sized>(
                &mut self,
                name: &'static str,
                value: &T,
            ) -> Result<(), PackedError> {
                self.writer.text(name);
                value.serialize(&mut *self.writer)
            }

            fn end(self) -> Result<(), PackedError> {
                Compound::end(self);
                Ok(())
            }
        })+
    };
}

structs! { SerializeStruct, SerializeStructVariant }

struct Reader<'de> {
    rest: &'de [u8],
    depth: usize,
}

/// The head of a value.
enum Head {
    Unsigned(u64),
    Negative(u64),
    Bytes(usize),
    Text(usize),
    /// Of so many items, or until a break.
    Array(Option<usize>),
    Map(Option<usize>),
    Bool(bool),
    Null,
}

impl<'de> Reader<'de> {
    fn byte(&mut self) -> Result<u8, PackedError> {
        let (first, rest) = self.rest.split_first().ok_or(PackedError::Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    fn bytes(&mut self, count: usize) -> Result<&'de [u8], PackedError> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or(PackedError::Malformed)?;
        self.rest = rest;
        Ok(bytes)
    }

    fn text(&mut self, count: usize) -> Result<&'de str, PackedError> {
        std::str::from_utf8(self.bytes(count)?).map_err(|_| PackedError::Malformed)
    }

    fn number<const N: usize>(&mut self) -> Result<u64, PackedError> {
        Ok(self.bytes(N)?.iter().fold(0, |value, byte| value << 8 | u64::from(*byte)))
    }

    fn head(&mut self) -> Result<Head, PackedError> {
        let first = self.byte()?;
        match first {
            OPEN_ARRAY => return Ok(Head::Array(None)),
            OPEN_MAP => return Ok(Head::Map(None)),
            FALSE => return Ok(Head::Bool(false)),
            TRUE => return Ok(Head::Bool(true)),
            NULL | UNDEFINED => return Ok(Head::Null),
            _ => {}
        }
        let value = match first & 0x1f {
            small @ 0..24 => small.into(),
            24 => self.number::<1>()?,
            25 => self.number::<2>()?,
            26 => self.number::<4>()?,
            27 => self.number::<8>()?,
            _ => return Err(PackedError::Malformed),
        };
        let count = || usize::try_from(value).map_err(|_| PackedError::Malformed);
        match first >> 5 {
            UNSIGNED => Ok(Head::Unsigned(value)),
            NEGATIVE => Ok(Head::Negative(value)),
            BYTES => Ok(Head::Bytes(count()?)),
            TEXT => Ok(Head::Text(count()?)),
            ARRAY => Ok(Head::Array(Some(count()?))),
            MAP => Ok(Head::Map(Some(count()?))),
            _ => Err(PackedError::Malformed),
        }
    }

    /// Whether the items of a list or map are at their end.
    fn is_over(&mut self, left: &mut Option<usize>) -> Result<bool, PackedError> {
        match left {
            Some(0) => Ok(true),
            Some(left) => {
                *left -= 1;
                Ok(false)
            }
            None if self.rest.first() == Some(&BREAK) => {
                self.byte()?;
                *left = Some(0);
                Ok(true)
            }
            None => Ok(false),
        }
    }

    fn visit<V: Visitor<'de>>(&mut self, head: Head, visitor: V) -> Result<V::Value, PackedError> {
        match head {
            Head::Unsigned(value) => visitor.visit_u64(value),
            Head::Negative(value) => {
                visitor.visit_i64(i64::try_from(value).map(|value| !value).map_err(|_| PackedError::Malformed)?)
            }
            Head::Text(count) => visitor.visit_borrowed_str(self.text(count)?),
            Head::Bool(value) => visitor.visit_bool(value),
            Head::Null => visitor.visit_unit(),
            Head::Bytes(count) => visitor.visit_seq(SeqDeserializer::new(self.bytes(count)?.iter().copied())),
            Head::Array(left) => self.deeper(|reader| visitor.visit_seq(Items { reader, left })),
            Head::Map(left) => self.deeper(|reader| visitor.visit_map(Items { reader, left })),
        }
    }

    fn deeper<T>(&mut self, read: impl FnOnce(&mut Self) -> Result<T, PackedError>) -> Result<T, PackedError> {
        self.depth = self.depth.checked_sub(1).ok_or(PackedError::Malformed)?;
        let value = read(self)?;
        self.depth += 1;
        Ok(value)
    }
}

impl<'de> de::Deserializer<'de> for &mut Reader<'de> {
    type Error = PackedError;

    fn is_human_readable(&self) -> bool {
        false
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackedError> {
        let head = self.head()?;
        self.visit(head, visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackedError> {
        match self.rest.first() {
            Some(&(NULL | UNDEFINED)) => {
                self.byte()?;
                visitor.visit_none()
            }
            _ => visitor.visit_some(self),
        }
    }

    fn deserialize_bytes<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackedError> {
        match self.head()? {
            Head::Bytes(count) => visitor.visit_borrowed_bytes(self.bytes(count)?),
            head => self.visit(head, visitor),
        }
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, PackedError> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, _: &'static str, visitor: V) -> Result<V::Value, PackedError> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _: &'static str,
        _: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, PackedError> {
        match self.head()? {
            Head::Text(count) => visitor.visit_enum(self.text(count)?.into_deserializer()),
            Head::Map(Some(1)) => self.deeper(|reader| visitor.visit_enum(Variant(reader))),
            _ => Err(PackedError::Malformed),
        }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string unit unit_struct seq tuple tuple_struct map
        struct identifier ignored_any
    }
}

/// Items of a list or map.
struct Items<'a, 'de> {
    reader: &'a mut Reader<'de>,
    left: Option<usize>,
}

impl Items<'_, '_> {
    fn hint(&self) -> Option<usize> {
        // Each takes a byte at least: a damaged length allocates nothing.
        self.left.filter(|left| *left <= self.reader.rest.len())
    }
}

impl<'de> de::SeqAccess<'de> for Items<'_, 'de> {
    type Error = PackedError;

    fn next_element_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<Option<T::Value>, PackedError> {
        if self.reader.is_over(&mut self.left)? { Ok(None) } else { seed.deserialize(&mut *self.reader).map(Some) }
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

impl<'de> de::MapAccess<'de> for Items<'_, 'de> {
    type Error = PackedError;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, PackedError> {
        if self.reader.is_over(&mut self.left)? { Ok(None) } else { seed.deserialize(&mut *self.reader).map(Some) }
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, PackedError> {
        seed.deserialize(&mut *self.reader)
    }

    fn size_hint(&self) -> Option<usize> {
        self.hint()
    }
}

/// A variant that holds something.
struct Variant<'a, 'de>(&'a mut Reader<'de>);

impl<'de> de::EnumAccess<'de> for Variant<'_, 'de> {
    type Error = PackedError;
    type Variant = Self;

    fn variant_seed<V: DeserializeSeed<'de>>(self, seed: V) -> Result<(V::Value, Self), PackedError> {
        Ok((seed.deserialize(&mut *self.0)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_, 'de> {
    type Error = PackedError;

    fn unit_variant(self) -> Result<(), PackedError> {
        de::Deserialize::deserialize(self.0)
    }

    fn newtype_variant_seed<T: DeserializeSeed<'de>>(self, seed: T) -> Result<T::Value, PackedError> {
        seed.deserialize(self.0)
    }

    fn tuple_variant<V: Visitor<'de>>(self, _: usize, visitor: V) -> Result<V::Value, PackedError> {
        de::Deserializer::deserialize_any(self.0, visitor)
    }

    fn struct_variant<V: Visitor<'de>>(self, _: &'static [&'static str], visitor: V) -> Result<V::Value, PackedError> {
        de::Deserializer::deserialize_any(self.0, visitor)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use serde::{Deserialize, Serialize};
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    enum Node {
        Blank,
        Leaf(Vec<u8>),
        Pair(u8, u16),
        Parent { key: Vec<u8>, unmerged: Vec<u32>, more: Option<Box<Node>> },
    }

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Value {
        nodes: Vec<Option<Node>>,
        name: String,
        flags: (bool, u8, i64),
        seed: [u8; 4],
        by_epoch: BTreeMap<u64, Vec<u8>>,
        nothing: (),
        lists: Vec<Vec<u8>>,
        wide: u64,
        perhaps: Vec<Option<u8>>,
    }

    fn value() -> Value {
        let parent = Node::Parent { key: vec![1, 255], unmerged: vec![7, 70_000], more: Some(Box::new(Node::Blank)) };
        Value {
            nodes: vec![None, Some(Node::Leaf(vec![0; 300])), Some(Node::Pair(3, 300)), Some(parent)],
            name: "a".repeat(30),
            flags: (true, 200, -5_000_000_000),
            seed: [9, 8, 7, 200],
            by_epoch: BTreeMap::from([(1, vec![]), (u64::MAX, vec![5])]),
            nothing: (),
            lists: vec![vec![], vec![1], vec![24, 25]],
            wide: u64::from(u32::MAX) + 1,
            perhaps: vec![Some(1), None],
        }
    }

    #[test]
    fn a_value_comes_back_and_its_bytes_are_short() {
        let (packed, mut listed) = (encode(&value()).unwrap(), Vec::new());
        ciborium::into_writer(&value(), &mut listed).unwrap();
        assert_eq!(decode::<Value>(&packed), Ok(value()), "what was written is read");
        assert_eq!(decode::<Value>(&listed), Ok(value()), "so is a row that lists its bytes, as rows once did");
        assert_eq!(encode(&vec![200_u8; 1_000]).unwrap().len(), 1_003, "a list of bytes takes a byte each");
    }

    #[test]
    fn it_is_the_cbor_that_others_read() {
        let read: ciborium::Value = ciborium::from_reader(encode(&value()).unwrap().as_slice()).unwrap();
        let field = |name: &str| {
            let found = read.as_map().unwrap().iter().find(|(key, _)| key.as_text() == Some(name));
            found.map(|(_, value)| value.clone()).unwrap()
        };
        assert_eq!(field("wide"), ciborium::Value::from(1_u64 << 32), "numbers");
        assert_eq!(
            field("flags").as_array().unwrap().last(),
            Some(&ciborium::Value::from(-5_000_000_000_i64)),
            "of both signs"
        );
        assert!(field("perhaps").is_array() && field("seed").is_array(), "only lists of nothing but bytes are packed");
        let lists = field("lists");
        assert_eq!(lists.as_array().unwrap().last().unwrap().as_bytes(), Some(&vec![24, 25]), "those are byte strings");
    }

    #[test]
    fn damage_is_an_error_and_never_more() {
        let packed = encode(&value()).unwrap();
        for cut in 0..packed.len() {
            assert_eq!(decode::<Value>(&packed[..cut]), Err(PackedError::Malformed), "a row that is cut at {cut}");
        }
        for at in 0..packed.len() {
            for bit in 0..8 {
                let mut damaged = packed.clone();
                damaged[at] ^= 1 << bit;
                // Another value may come out; nothing else may happen.
                let _ = decode::<Value>(&damaged);
            }
        }
        let behind = [packed.as_slice(), &[0]].concat();
        assert_eq!(decode::<Value>(&behind), Err(PackedError::Malformed), "nothing may follow");
        assert_eq!(
            decode::<Vec<u8>>(&[0x9b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff]),
            Err(PackedError::Malformed),
            "a length that is a lie"
        );
        let deep = [vec![0x81; 100_000], vec![0]].concat();
        assert_eq!(decode::<ciborium::Value>(&deep), Err(PackedError::Malformed), "depth has a bound");
    }

    #[test]
    fn a_list_that_is_bytes_in_part_is_refused() {
        struct Mixed;
        impl Serialize for Mixed {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                use serde::ser::SerializeSeq as _;
                let mut seq = serializer.serialize_seq(Some(2))?;
                seq.serialize_element(&1_u8)?;
                seq.serialize_element("one")?;
                seq.end()
            }
        }
        assert_eq!(encode(&Mixed), Err(PackedError::Unsupported), "it could not be written as what it is");
    }
}
