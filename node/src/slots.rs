//! Things by number; the numbers of things that were released are used again.

pub(crate) struct Slots<T> {
    things: Vec<Option<T>>,
    free: Vec<u32>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots { things: Vec::new(), free: Vec::new() }
    }
}

impl<T: Clone> Slots<T> {
    pub(crate) const fn new() -> Self {
        Slots { things: Vec::new(), free: Vec::new() }
    }

    pub(crate) fn keep(&mut self, thing: T) -> u32 {
        if let Some(number) = self.free.pop()
            && let Some(slot) = self.things.get_mut(number as usize)
        {
            *slot = Some(thing);
            return number;
        }
        self.things.push(Some(thing));
        (self.things.len() - 1) as u32
    }

    pub(crate) fn get(&self, number: u32) -> Option<T> {
        self.things.get(number as usize).cloned().flatten()
    }

    pub(crate) fn get_mut(&mut self, number: u32) -> Option<&mut T> {
        self.things.get_mut(number as usize)?.as_mut()
    }

    pub(crate) fn give_up(&mut self, number: u32) -> Option<T> {
        let thing = self.things.get_mut(number as usize)?.take()?;
        self.free.push(number);
        Some(thing)
    }
}
