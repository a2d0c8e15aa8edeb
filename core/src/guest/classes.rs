//! Classes of the host's objects, as the guest asks for them.

use crate::protocol::tag;
use crate::value::codec::{put_bytes, put_u32};
use crate::value::host_values::{HostValue, HostValues};
use crate::value::{ClassParts, Result};

/// The description of the class that the object with this number has. Empty when there is no room for its functions.
pub(super) fn describe(values: &HostValues, object: u32) -> Option<Vec<u8>> {
    let HostValue::Object(object) = values.get(object)? else { return None };
    let (mut message, mut given) = (Vec::new(), Vec::new());
    if put(&object.0.class, values, &mut message, &mut given).is_err() {
        given.into_iter().for_each(|number| drop(values.release(number, 1)));
        message.clear();
    }
    Some(message)
}

fn put(class: &ClassParts, values: &HostValues, message: &mut Vec<u8>, given: &mut Vec<u32>) -> Result<()> {
    put_bytes(message, tag::STRING, class.name.as_bytes())?;
    for members in [&class.methods, &class.readers, &class.writers, &class.events] {
        put_u32(message, tag::TABLE, 0);
        message.extend_from_slice(&(members.len() as u32).to_le_bytes());
        for (name, function) in members {
            let number = values.give(HostValue::Function(function.clone()))?;
            given.push(number);
            put_bytes(message, tag::STRING, name.as_bytes())?;
            put_u32(message, tag::HOST_FUNCTION, number);
        }
    }
    Ok(())
}
