//! What a machine has to know about those who use it.

use super::At;
use crate::value::ErrorKind;

/// What a guest's five imports do, and what is kept with the guest for that. Numbers are the guest's: none can be
/// relied on.
pub(crate) trait Imports: Sized + Send + 'static {
    /// `js_ext_table_set`
    fn set(&mut self, memory: &mut [u8], table: i32, key: i32, key_len: i32, value: i32, value_len: i32) -> i32;

    /// `js_ext_table_get`
    fn get(&mut self, memory: &mut [u8], table: i32, key: i32, key_len: i32, value: i32, max_len: i32) -> i32;

    /// `js_ext_table_get` of table 0: a request over the channel. It may run a host function, which may come back into
    /// the guest.
    fn request(guest: &mut At<'_, Self>, request: i32, len: i32, answer: i32, max_len: i32) -> i32;

    /// `js_ext_table_delete`
    fn delete(&mut self, memory: &mut [u8], table: i32, key: i32, key_len: i32) -> i32;

    /// `js_ext_table_size`
    fn size(&mut self, table: i32) -> i32;

    /// `js_ext_table_keys`
    fn keys(&mut self, memory: &mut [u8], table: i32, keys: i32, max_len: i32) -> i32;

    /// Why the present run has to end; `None` between runs.
    #[cfg(any(not(feature = "static"), feature = "hardened"))]
    fn check_limits(&mut self) -> Option<ErrorKind>;
}
