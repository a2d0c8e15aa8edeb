//! Equality of tables by content.

use std::collections::HashMap;

use super::Value;
use super::table::{Slot, Table};

/// Equal content. Two tables that refer to each other the same way are equal, cycles included; tables used as keys are
/// compared in the order in which they stand.
impl PartialEq for Table {
    fn eq(&self, other: &Self) -> bool {
        let mut classes = Classes::default();
        let mut pending = vec![(self.clone(), other.clone())];
        while let Some((a, b)) = pending.pop() {
            // Tables that are assumed equal already need no second look; so cycles end, and the work is linear.
            if a.identity() != b.identity()
                && classes.join(a.identity(), b.identity())
                && !same_content(&a, &b, &mut pending)
            {
                return false;
            }
        }
        true
    }
}

/// Compares what stands in the tables themselves and notes the pairs of inner tables.
fn same_content(a: &Table, b: &Table, pending: &mut Vec<(Table, Table)>) -> bool {
    if a.len() != b.len() || a.own_node().hash_len() != b.own_node().hash_len() {
        return false;
    }
    let mut same = |x: Value, y: Value| match (x, y) {
        (Value::Table(x), Value::Table(y)) => {
            pending.push((x, y));
            true
        }
        (x, y) => x == y,
    };
    if !a.sequence().zip(b.sequence()).all(|(x, y)| same(x, y)) {
        return false;
    }
    let tables_as_keys = |t: &Table| -> Vec<(Value, Value)> {
        let hash = t.own_node().hash();
        if !hash.iter().any(|(k, _)| matches!(k, Slot::Node(_) | Slot::Value(Value::Table(_)))) {
            return Vec::new();
        }
        t.pairs().filter(|(k, _)| matches!(k, Value::Table(_))).collect()
    };
    let (left, right) = (tables_as_keys(a), tables_as_keys(b));
    if left.len() != right.len() {
        return false;
    }
    for ((k, v), (l, w)) in left.into_iter().zip(right) {
        if !same(k, l) || !same(v, w) {
            return false;
        }
    }
    let skip = a.len();
    a.pairs()
        .filter(|(k, _)| !matches!(k, Value::Table(_)))
        .filter(|(k, _)| !matches!(k, Value::Integer(n) if *n >= 1 && *n as u64 <= skip as u64))
        .all(|(k, x)| match b.get(k) {
            Value::Nil => false,
            y => same(x, y),
        })
}

/// Sets of tables that are assumed equal (union-find).
#[derive(Default)]
struct Classes {
    numbers: HashMap<(usize, u32), usize>,
    parents: Vec<usize>,
}

impl Classes {
    fn root(&mut self, table: (usize, u32)) -> usize {
        let next = self.parents.len();
        let mut at = *self.numbers.entry(table).or_insert(next);
        if at == next {
            self.parents.push(next);
        }
        while let Some(&parent) = self.parents.get(at) {
            if parent == at {
                break;
            }
            let grand = self.parents.get(parent).copied().unwrap_or(parent);
            if let Some(slot) = self.parents.get_mut(at) {
                *slot = grand;
            }
            at = grand;
        }
        at
    }

    /// Joins the sets of two tables; false when they were one already.
    fn join(&mut self, a: (usize, u32), b: (usize, u32)) -> bool {
        let (a, b) = (self.root(a), self.root(b));
        if let Some(slot) = self.parents.get_mut(a) {
            *slot = b;
        }
        a != b
    }
}
