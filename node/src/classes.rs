//! What scripts may do with JavaScript's objects.

use luacell::{Error, LanguageClass, LanguageData, Member, MemberFn, Reply, Value};

use crate::callables::{caller, own_object};

/// The kinds of members, as JavaScript numbers them: `Kind` in shared/objects.ts.
const KINDS: [Member; 4] = [Member::Method, Member::Reader, Member::Writer, Member::Event];

/// A class with these members, by kind and name.
pub(crate) fn describe(class: u32, name: &str, members: impl Iterator<Item = (u32, String)>) -> LanguageClass {
    let members = members.zip(0..).filter_map(|((kind, name), member)| {
        let kind = *KINDS.get(kind as usize)?;
        Some((kind, name, function(class, member)))
    });
    LanguageClass::new(name, members.collect())
}

/// JavaScript is called by the number of the object, which has the member.
fn function(class: u32, member: i64) -> MemberFn {
    Box::new(move |data: Option<&LanguageData>, mut args: Vec<Value>| {
        let caller = caller(data)?;
        let is_own = |value: &Value| {
            let object = own_object(value.as_object()?)?;
            (object.class == Some(class)).then_some(object.number)
        };
        // An operator may have it on the right.
        let number = args.iter().take(2).find_map(is_own);
        let number = number.ok_or_else(|| Error::host("a member was called without its object"))?;
        args.insert(0, Value::Integer(member));
        Ok(Reply::Later(caller.call(number, args)))
    })
}
