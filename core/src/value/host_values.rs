//! Values of the host that Lua holds: functions without a name, and objects.

use std::collections::HashMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::{Error, ErrorKind, Function, FunctionKind, HostFunction, Object, Result};
use crate::protocol::{FIRST_HOST_VALUE, MAX_HOST_VALUES};
use crate::util::lock;

#[derive(Clone)]
pub(crate) enum HostValue {
    Function(Function),
    Object(Object),
}

impl HostValue {
    /// By what the same one is known, however it got here.
    fn identity(&self) -> (usize, u32) {
        match self {
            HostValue::Function(function) => (function.identity(), 0),
            HostValue::Object(object) => object.identity(),
        }
    }
}

/// What the present instance of a sandbox was given, by the numbers that it knows it by.
#[derive(Default)]
pub(crate) struct HostValues {
    /// Whether the guest takes any.
    taken: AtomicBool,
    /// How many there are, for who looks in passing.
    len: AtomicUsize,
    list: Mutex<List>,
}

#[derive(Clone, Default)]
pub(crate) struct List {
    places: Vec<Option<Given>>,
    free: Vec<u32>,
    /// Their places by [`HostValue::identity`].
    known: HashMap<(usize, u32), u32>,
    /// How many there were when the guest was asked last which it has.
    compared: usize,
}

#[derive(Clone)]
struct Given {
    value: HostValue,
    /// How often it was passed to the guest, which says how often it had come when it lets go of it. More may be on
    /// their way then.
    times: u32,
}

impl List {
    fn give(&mut self, value: HostValue) -> Result<u32> {
        let identity = value.identity();
        if let Some(place) = self.known.get(&identity)
            && let Some(Some(given)) = self.places.get_mut(*place as usize)
        {
            given.times = given.times.saturating_add(1);
            return Ok(*place);
        }
        if self.known.len() >= MAX_HOST_VALUES as usize {
            let text = format!("Lua holds {MAX_HOST_VALUES} functions and objects of the host already");
            return Err(Error::new(ErrorKind::Memory, text));
        }
        let given = Some(Given { value, times: 1 });
        let place = match self.free.pop() {
            Some(place) => {
                if let Some(free) = self.places.get_mut(place as usize) {
                    *free = given;
                }
                place
            }
            None => {
                self.places.push(given);
                self.places.len() as u32 - 1
            }
        };
        self.known.insert(identity, place);
        Ok(place)
    }

    fn release(&mut self, place: u32, times: u32) -> Option<HostValue> {
        let entry = self.places.get_mut(place as usize)?;
        let given = entry.as_mut()?;
        given.times = given.times.saturating_sub(times);
        if given.times > 0 {
            return None;
        }
        let given = entry.take()?;
        self.free.push(place);
        self.known.remove(&given.value.identity());
        self.compared = self.compared.min(self.known.len());
        Some(given.value)
    }
}

impl HostValues {
    /// Whether this is the number of one of these.
    #[inline]
    pub(crate) fn is_one(number: i32) -> bool {
        number.cast_unsigned() >= FIRST_HOST_VALUE
    }

    fn change<T>(&self, change: impl FnOnce(&mut List) -> T) -> T {
        let mut list = lock(&self.list);
        let result = change(&mut list);
        self.len.store(list.known.len(), Ordering::Relaxed);
        result
    }

    /// A new instance has none of them; `taken`: whether it takes any.
    pub(crate) fn begin(&self, taken: bool) {
        if self.len() > 0 {
            self.replace(List::default());
        }
        self.taken.store(taken, Ordering::Relaxed);
    }

    /// A copy of the guest has these, under the same numbers.
    pub(crate) fn replace(&self, by: List) {
        let before = self.change(|list| std::mem::replace(list, by));
        // Dropping them may run anything.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(before)));
    }

    pub(crate) fn list(&self) -> List {
        lock(&self.list).clone()
    }

    /// Whether the guest is of a revision that takes them.
    pub(crate) fn are_taken(&self) -> bool {
        self.taken.load(Ordering::Relaxed)
    }

    /// The number under which the guest is given one, once more.
    pub(crate) fn give(&self, value: HostValue) -> Result<u32> {
        if !self.are_taken() {
            return Err(Error::conversion("this lua.wasm takes no functions and objects of the host as values"));
        }
        self.change(|list| list.give(value)).map(|place| FIRST_HOST_VALUE | place)
    }

    /// The guest has let go of what was passed to it so often. It is for the caller to drop it where that may run
    /// anything.
    pub(crate) fn release(&self, number: u32, times: u32) -> Option<HostValue> {
        self.change(|list| list.release(number & !FIRST_HOST_VALUE, times))
    }

    pub(crate) fn get(&self, number: u32) -> Option<HostValue> {
        if number < FIRST_HOST_VALUE {
            return None;
        }
        let list = lock(&self.list);
        list.places.get((number & !FIRST_HOST_VALUE) as usize)?.as_ref().map(|given| given.value.clone())
    }

    pub(crate) fn call_of(&self, number: i32) -> Option<HostFunction> {
        let HostValue::Function(function) = self.get(number.cast_unsigned())? else { return None };
        match &*function.0 {
            FunctionKind::Host(nameless) => Some(nameless.call.clone()),
            _ => None,
        }
    }

    /// Shows all of them, unless somebody is at work with them.
    pub(crate) fn visit(&self, visit: &mut dyn FnMut(&HostValue)) {
        if let Ok(list) = self.list.try_lock() {
            list.places.iter().flatten().for_each(|given| visit(&given.value));
        }
    }

    /// How many Lua holds, as far as it has told.
    #[inline]
    pub(crate) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Whether the guest should be asked which of them it has. Of a message that it could not read to its end the rest
    /// never came, and it won't let go of that.
    #[inline]
    pub(crate) fn wants_comparison(&self) -> bool {
        const FEW: usize = 1024;
        let len = self.len();
        len > FEW && (len > FEW + 2 * lock(&self.list).compared || len >= MAX_HOST_VALUES as usize)
    }

    /// The guest has these and no others: numbers, and how often they came. Gives back those that it does not have.
    pub(crate) fn compare(&self, has: impl Iterator<Item = (u32, u32)>) -> Vec<HostValue> {
        let has: HashMap<u32, u32> = has.map(|(number, times)| (number & !FIRST_HOST_VALUE, times)).collect();
        self.change(|list| {
            let given = list.places.iter().zip(0..).filter_map(|(given, place)| Some((place, given.as_ref()?.times)));
            let lost: Vec<(u32, u32)> =
                given.map(|(place, times)| (place, times.saturating_sub(has.get(&place).map_or(0, |n| *n)))).collect();
            let gone = lost.into_iter().filter_map(|(place, times)| list.release(place, times)).collect();
            list.compared = list.known.len();
            gone
        })
    }
}

impl List {
    pub(crate) fn len(&self) -> usize {
        self.known.len()
    }
}
