//! Stamping records before they enter the log.

use super::STORE_TIMESTAMP;

/// Writes the store timestamp into every record of a run of records: before they are proposed, never after.
/// Walks by the length fields; a broken length ends the walk, as nothing behind it can be found.
pub fn set_store_timestamp(records: &mut [u8], store_timestamp_ms: i64) {
    let mut rest = records;
    while let Some(len) = rest.first_chunk::<4>().map(|len| u32::from_be_bytes(*len) as usize) {
        let Some((record, behind)) = rest.split_at_mut_checked(len) else {
            return;
        };
        let Some(field) = record.get_mut(STORE_TIMESTAMP..STORE_TIMESTAMP + 8) else {
            return;
        };
        field.copy_from_slice(&store_timestamp_ms.to_be_bytes());
        rest = behind;
    }
}
