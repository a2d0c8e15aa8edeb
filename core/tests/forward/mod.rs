//! For stores that pass most of what they are asked on to another one, which is their first field.

/// `pass_on!(set delete);` inside an `impl TableStore` passes these functions on.
#[macro_export]
macro_rules! pass_on {
    ($($name:ident)+) => { $($crate::pass_on!(@ $name);)+ };
    (@ get) => {
        fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> luacell::StoreResult<bool> {
            self.0.get(table, key, read)
        }
    };
    (@ set) => {
        fn set(&mut self, table: u32, key: &str, value: &[u8]) -> luacell::StoreResult<()> {
            self.0.set(table, key, value)
        }
    };
    (@ delete) => {
        fn delete(&mut self, table: u32, key: &str) -> luacell::StoreResult<()> {
            self.0.delete(table, key)
        }
    };
    (@ size) => {
        fn size(&mut self, table: u32) -> luacell::StoreResult<u64> {
            self.0.size(table)
        }
    };
    (@ keys) => {
        fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> luacell::StoreResult<()> {
            self.0.keys(table, visit)
        }
    };
}
