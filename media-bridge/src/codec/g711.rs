//! Codec.
use super::{CodecError, Decode, Encode, Rate};
/// Companding law.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Law {
    /// A-law.
    A,
    /// µ-law.
    Mu,
}
/// Decoder.
#[derive(Debug)]
pub struct Decoder;
/// Encoder.
#[derive(Debug)]
pub struct Encoder;
impl Decoder {
    /// Opens.
    ///
    /// # Errors
    /// Unsupported rate.
    pub fn at(_law: Law, _rate: Rate) -> Result<Self, CodecError> {
        Ok(Self)
    }
    /// Opens.
    ///
    /// # Errors
    /// Unsupported rate.
    pub fn new(_law: Law, _rate: Rate) -> Result<Self, CodecError> {
        Ok(Self)
    }
}
impl Encoder {
    /// Opens.
    ///
    /// # Errors
    /// Unsupported rate.
    pub fn at(_law: Law, _rate: Rate) -> Result<Self, CodecError> {
        Ok(Self)
    }
    /// Opens.
    ///
    /// # Errors
    /// Unsupported rate.
    pub fn new(_law: Law, _rate: Rate) -> Result<Self, CodecError> {
        Ok(Self)
    }
}
impl Decode for Decoder {
    fn samples(&self, payload: &[u8]) -> usize {
        payload.len()
    }
    fn decode(&mut self, payload: &[u8], out: &mut [i16]) -> Result<usize, CodecError> {
        let out = out.get_mut(..payload.len()).ok_or(CodecError::Short)?;
        out.fill(0);
        Ok(out.len())
    }
    fn conceal(&mut self, out: &mut [i16]) {
        out.fill(0);
    }
    fn reset(&mut self) {}
}
impl Encode for Encoder {
    fn encode(&mut self, pcm: &[i16], out: &mut [u8]) -> Result<usize, CodecError> {
        let out = out.get_mut(..pcm.len()).ok_or(CodecError::Short)?;
        out.fill(0);
        Ok(out.len())
    }
    fn reset(&mut self) {}
}
