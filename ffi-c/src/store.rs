//! Where tables live: files, servers, and the caller's own stores.

use std::ffi::{c_char, c_void};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use luacell::{Durability, Error, ErrorKind, FileStore, RedisStore, Result, StoreError, StoreResult, TableStore};

use crate::config::number;
use crate::error::luacell_error;
use crate::guard;
use crate::pointers::{
    Opaque, Place, Userdata, borrow, bytes, callback_result, from_raw, invalid, luacell_finalizer, text,
};
use crate::sink::{luacell_sink, with_sink};
use crate::size_prefixed;
use crate::status::{LUACELL_CONFLICT, luacell_status};

/// A place where tables live, to be given to sandboxes. May be used by any thread.
pub struct luacell_store {
    _private: (),
}

pub(crate) enum Store {
    File(Box<FileStore>),
    Server(Box<RedisStore>),
    Own(Arc<OwnStore>),
}

impl Opaque for luacell_store {
    type Behind = Store;
}

impl Store {
    /// The store for one more sandbox.
    pub(crate) fn share(&self) -> Result<Box<dyn TableStore>> {
        Ok(match self {
            Store::File(store) => store.clone(),
            Store::Server(store) => store.clone(),
            Store::Own(own) => Box::new(StoreLease::new(own)?),
        })
    }
}

/// Ends a handle. Sandboxes that were given the store keep it. NULL is ignored.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_store_free(store: *mut luacell_store) {
    guard::plain((), || drop(from_raw(store)));
}

/// How a file is opened. Zero in all fields except size means the defaults. Later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct luacell_file_options {
    /// sizeof(luacell_file_options)
    pub size: usize,
    /// Bytes that are kept in memory. 0: the default, 64 MiB.
    pub cache_size: u64,
    /// A run is on the disk within a second, not immediately when it has succeeded.
    pub relaxed: bool,
    /// Nothing is written to the file, so no permission to write is needed and several processes may read it. It has to
    /// exist.
    pub read_only: bool,
}

// SAFETY: numbers, the size first.
unsafe impl size_prefixed::SizePrefixed for luacell_file_options {}

/// Opens a file for tables, or makes it. `options` may be NULL. LUACELL_STORE when it can't be opened, is something
/// else, or another process has it.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_store_open_file(
    path: *const c_char,
    path_len: usize,
    options: *const luacell_file_options,
    store: *mut *mut luacell_store,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (path, place) = (text(path, path_len, "path")?, Place::new(store, "store")?);
        let mut file = FileStore::options();
        if let Some(given) = size_prefixed::read(options, "luacell_file_options")? {
            if given.relaxed {
                file = file.durability(Durability::Relaxed);
            }
            file = file.read_only(given.read_only);
            if let Some(bytes) = number(given.cache_size) {
                file = file.cache_size(usize::try_from(bytes).unwrap_or(usize::MAX));
            }
        }
        place.give(Store::File(Box::new(file.open(path)?)));
        Ok(())
    })
}

/// Puts all that was committed on the disk, for relaxed files. LUACELL_INVALID_ARGUMENT for another kind of store.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_store_sync(
    store: *const luacell_store,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || match borrow(store, "store")? {
        Store::File(file) => file.sync(),
        _ => Err(invalid("only a file can be synchronised")),
    })
}

/// How a server is reached. Zero in all fields except size means the defaults. Later versions may add fields at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct luacell_server_options {
    /// sizeof(luacell_server_options)
    pub size: usize,
    /// What separates this _home from others on the server. NULL: the URL's namespace=, or luacell.
    pub namespace_name: *const c_char,
    /// Length of `namespace_name`.
    pub namespace_name_len: usize,
    /// How long a request may take, including connecting, in milliseconds. 0: the default, 5,000.
    pub timeout_ms: u64,
    /// The certificate, as PEM, that must have signed the server's certificate. NULL: those that the system trusts.
    pub root_certificate: *const c_char,
    /// Length of `root_certificate`.
    pub root_certificate_len: usize,
    /// Nothing is written to the server: for a user who may not write, or a replica. The namespace has to exist.
    pub read_only: bool,
}

// SAFETY: numbers and nullable pointers, the size first.
unsafe impl size_prefixed::SizePrefixed for luacell_server_options {}

/// Opens a store on a Redis or Valkey server: redis://[user:password@]host[:port][/number][?namespace=name], rediss://
/// for TLS. `options` may be NULL. LUACELL_STORE when the server can't be reached, or the namespace holds something
/// else.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_store_open_server(
    url: *const c_char,
    url_len: usize,
    options: *const luacell_server_options,
    store: *mut *mut luacell_store,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        let (url, place) = (text(url, url_len, "url")?, Place::new(store, "store")?);
        let mut server = RedisStore::options();
        if let Some(given) = size_prefixed::read(options, "luacell_server_options")? {
            if !given.namespace_name.is_null() {
                server = server.namespace(text(given.namespace_name, given.namespace_name_len, "namespace_name")?);
            }
            if let Some(milliseconds) = number(given.timeout_ms) {
                server = server.timeout(Duration::from_millis(milliseconds));
            }
            if !given.root_certificate.is_null() {
                server = server.root_certificate(bytes(
                    given.root_certificate,
                    given.root_certificate_len,
                    "root_certificate",
                )?);
            }
            // The URL may say it as well.
            if given.read_only {
                server = server.read_only(true);
            }
        }
        place.give(Store::Server(Box::new(server.open(url)?)));
        Ok(())
    })
}

/// A store of the caller's own: entries of UTF-8 keys and opaque values, in tables with numbers from 1.
///
/// The functions are called from one thread at a time, never while another call is running, and can't use the sandbox.
/// What one call wrote is there at the next call. Each returns LUACELL_OK, or any other status with an error in
/// `*error` that then belongs to the library (luacell_error_new makes one); the run then fails with LUACELL_STORE, and
/// the script does not see the message. Keys and values are only valid during the call. Later versions may add fields
/// at the end.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct luacell_table_store {
    /// sizeof(luacell_table_store)
    pub size: usize,
    /// Passed to all functions.
    pub userdata: *mut c_void,
    /// Ends `userdata`, when no handle and no sandbox uses the store any more.
    pub finalizer: luacell_finalizer,
    /// Puts the value under a key into the sink, once; does nothing if there is no such table or key.
    pub get: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            table: u32,
            key: *const c_char,
            key_len: usize,
            value: *mut luacell_sink,
            error: *mut *mut luacell_error,
        ) -> luacell_status,
    >,
    /// Stores a copy of the value under a key; creates the table if it is new.
    pub set: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            table: u32,
            key: *const c_char,
            key_len: usize,
            value: *const c_char,
            value_len: usize,
            error: *mut *mut luacell_error,
        ) -> luacell_status,
    >,
    /// Removes a key, if it is there. (`delete` is a word of C++.)
    pub remove: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            table: u32,
            key: *const c_char,
            key_len: usize,
            error: *mut *mut luacell_error,
        ) -> luacell_status,
    >,
    /// Writes the number of entries; 0 for a table that was never written.
    pub count: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            table: u32,
            count: *mut u64,
            error: *mut *mut luacell_error,
        ) -> luacell_status,
    >,
    /// Puts every key into the sink, one after another, in an order that does not change while the table does not
    /// change.
    pub keys: Option<
        unsafe extern "C" fn(
            userdata: *mut c_void,
            table: u32,
            keys: *mut luacell_sink,
            error: *mut *mut luacell_error,
        ) -> luacell_status,
    >,
}

// SAFETY: numbers and nullable pointers, the size first.
unsafe impl size_prefixed::SizePrefixed for luacell_table_store {}

pub(crate) struct OwnStore {
    functions: luacell_table_store,
    userdata: Userdata,
    /// Whether a sandbox uses it: what these five functions can do is not enough for two.
    leased: AtomicBool,
}

// SAFETY: the pointers in `functions` are those of `userdata`, and functions.
unsafe impl Send for OwnStore {}
unsafe impl Sync for OwnStore {}

/// Makes a store of the caller's own functions; `functions` is copied. One sandbox at a time can use it: giving it to a
/// second one is LUACELL_INVALID_ARGUMENT.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn luacell_store_new(
    functions: *const luacell_table_store,
    store: *mut *mut luacell_store,
    error: *mut *mut luacell_error,
) -> luacell_status {
    guard::status(error, || {
        const NAME: &str = "luacell_table_store";
        let functions = match size_prefixed::read(functions, NAME) {
            Ok(functions) => functions.ok_or_else(|| invalid("luacell_table_store is NULL"))?,
            Err(error) => {
                let refused = size_prefixed::refused(functions, NAME);
                drop(Userdata::new(refused.userdata, refused.finalizer));
                return Err(error);
            }
        };
        let userdata = Userdata::new(functions.userdata, functions.finalizer);
        let place = Place::new(store, "store")?;
        let luacell_table_store { get, set, remove, count, keys, .. } = functions;
        if get.is_none() || set.is_none() || remove.is_none() || count.is_none() || keys.is_none() {
            return Err(invalid("a table store needs all five functions"));
        }
        place.give(Store::Own(Arc::new(OwnStore { functions, userdata, leased: AtomicBool::new(false) })));
        Ok(())
    })
}

/// The use of an own store by one sandbox, from its start to its end.
struct StoreLease(Arc<OwnStore>);

impl StoreLease {
    fn new(own: &Arc<OwnStore>) -> Result<Self> {
        if own.leased.swap(true, Ordering::AcqRel) {
            return Err(invalid("this store is in use by another sandbox"));
        }
        Ok(StoreLease(Arc::clone(own)))
    }

    /// Calls one of the functions, which are all there.
    fn call<F: Copy>(
        &self,
        function: Option<F>,
        call: impl FnOnce(F, *mut c_void, *mut *mut luacell_error) -> luacell_status,
    ) -> StoreResult<()> {
        let function = function.ok_or("a function of the table store is missing")?;
        let mut status = 0;
        let answered = callback_result("the table store", |error| {
            status = call(function, self.0.userdata.pointer(), error);
            status
        });
        answered.map_err(|error: Error| match status {
            LUACELL_CONFLICT => StoreError::conflict(error),
            _ => error.into(),
        })
    }
}

impl Drop for StoreLease {
    fn drop(&mut self) {
        self.0.leased.store(false, Ordering::Release);
    }
}

impl TableStore for StoreLease {
    fn get(&mut self, table: u32, key: &str, read: &mut dyn FnMut(&[u8])) -> StoreResult<bool> {
        let mut found = false;
        let mut receive = |value: &[u8]| {
            if std::mem::replace(&mut found, true) {
                return Err(invalid("a key has one value"));
            }
            read(value);
            Ok(())
        };
        with_sink(&mut receive, |sink| {
            self.call(self.0.functions.get, |get, userdata, error| {
                // SAFETY: the header demands that these functions can be called so; the same below.
                unsafe { get(userdata, table, key.as_ptr().cast(), key.len(), sink, error) }
            })
        })?;
        Ok(found)
    }

    fn set(&mut self, table: u32, key: &str, value: &[u8]) -> StoreResult<()> {
        let (data, len) = (value.as_ptr().cast(), value.len());
        self.call(self.0.functions.set, |set, userdata, error| unsafe {
            set(userdata, table, key.as_ptr().cast(), key.len(), data, len, error)
        })
    }

    fn delete(&mut self, table: u32, key: &str) -> StoreResult<()> {
        self.call(self.0.functions.remove, |remove, userdata, error| unsafe {
            remove(userdata, table, key.as_ptr().cast(), key.len(), error)
        })
    }

    fn size(&mut self, table: u32) -> StoreResult<u64> {
        let mut entries = 0;
        self.call(self.0.functions.count, |count, userdata, error| unsafe {
            count(userdata, table, &raw mut entries, error)
        })?;
        Ok(entries)
    }

    fn keys(&mut self, table: u32, visit: &mut dyn FnMut(&str)) -> StoreResult<()> {
        let mut receive = |key: &[u8]| {
            let broken = |_| Error::new(ErrorKind::Store, "the table store gave a key that is not UTF-8");
            visit(std::str::from_utf8(key).map_err(broken)?);
            Ok(())
        };
        with_sink(&mut receive, |sink| {
            self.call(self.0.functions.keys, |keys, userdata, error| unsafe { keys(userdata, table, sink, error) })
        })
    }
}
