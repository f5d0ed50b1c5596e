//! Passwords for devices.

use conf::Secret;
use rand::TryRng;
use rand::rngs::SysRng;

/// No character that a person would mistake for another when typing it at a door station.
const ALPHABET: &[u8; 31] = b"abcdefghjkmnpqrstuvwxyz23456789";
/// 79 bits; some stations take no more than sixteen characters.
const LENGTH: usize = 16;

/// A random password from the system's generator.
///
/// # Errors
/// When the system gives no randomness.
pub fn generate() -> Result<Secret, rand::rngs::SysError> {
    let mut text = String::with_capacity(LENGTH);
    while text.len() < LENGTH {
        let mut byte = [0];
        SysRng.try_fill_bytes(&mut byte)?;
        let [byte] = byte;
        // 248 is the largest multiple of 31: bytes above it would make some characters likelier than others.
        if byte < 248 {
            text.push(char::from(ALPHABET[usize::from(byte % 31)]));
        }
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passwords_are_long_typeable_and_never_the_same() {
        let (a, b) = (generate().unwrap(), generate().unwrap());
        assert_ne!(a.expose(), b.expose());
        assert_eq!(a.expose().len(), LENGTH);
        assert!(a.expose().bytes().all(|byte| ALPHABET.contains(&byte)));
    }
}
