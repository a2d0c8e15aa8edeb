//! Snapshots.

use luacell::{Engine, Snapshot};
use napi::bindgen_prelude::{Buffer, Either};
use napi_derive::napi;

use crate::config::NativeEngine;
use crate::failure::Failure;
use crate::handles::Handles;

/// A copy of a sandbox.
#[napi]
pub struct NativeSnapshot(pub(crate) Snapshot);

#[napi]
impl NativeSnapshot {
    /// The snapshot that these bytes are, or what is wrong with them.
    #[napi]
    pub fn from_bytes(engine: Option<&NativeEngine>, bytes: &[u8]) -> Either<NativeSnapshot, Failure> {
        let engine = engine.map_or_else(Engine::default, |engine| engine.0.clone());
        match Snapshot::from_bytes(&engine, bytes) {
            Ok(snapshot) => Either::A(NativeSnapshot(snapshot)),
            Err(error) => Either::B(Failure::of(&error, &Handles::new(None))),
        }
    }

    /// As bytes, or why not.
    #[napi]
    pub fn to_bytes(&self) -> Either<Buffer, Failure> {
        match self.0.to_bytes() {
            Ok(bytes) => Either::A(Buffer::from(bytes)),
            Err(error) => Either::B(Failure::of(&error, &Handles::new(None))),
        }
    }
}
