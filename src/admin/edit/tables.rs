//! Lists of tables in a TOML document, however they are written: `[[name]]` or `name = [{ … }]`.

use toml_edit::{Array, ArrayOfTables, InlineTable, Item, Table, TableLike, Value};

/// How many tables there are under `key`.
pub(super) fn len(table: &dyn TableLike, key: &str) -> usize {
    match table.get(key) {
        Some(Item::ArrayOfTables(tables)) => tables.len(),
        Some(Item::Value(Value::Array(array))) => array.len(),
        _ => 0,
    }
}

/// One of them.
pub(super) fn nth<'a>(table: &'a dyn TableLike, key: &str, n: usize) -> Option<&'a dyn TableLike> {
    match table.get(key)? {
        Item::ArrayOfTables(tables) => tables.get(n).map(|t| t as &dyn TableLike),
        Item::Value(Value::Array(array)) => array.get(n)?.as_inline_table().map(|t| t as &dyn TableLike),
        _ => None,
    }
}

/// All of them, in their order.
pub(super) fn all<'a>(table: &'a dyn TableLike, key: &'a str) -> impl Iterator<Item = &'a dyn TableLike> {
    (0..len(table, key)).filter_map(move |n| nth(table, key, n))
}

/// One of them, to be changed.
pub(super) fn nth_mut<'a>(
    table: &'a mut dyn TableLike,
    key: &str,
    n: usize,
) -> Option<&'a mut dyn TableLike> {
    match table.get_mut(key)? {
        Item::ArrayOfTables(tables) => tables.get_mut(n).map(|t| t as &mut dyn TableLike),
        Item::Value(Value::Array(array)) => {
            array.get_mut(n)?.as_inline_table_mut().map(|t| t as &mut dyn TableLike)
        }
        _ => None,
    }
}

/// The number of the first that is so.
pub(super) fn position(
    table: &dyn TableLike,
    key: &str,
    mut is: impl FnMut(&dyn TableLike, usize) -> bool,
) -> Option<usize> {
    (0..len(table, key)).find(|n| nth(table, key, *n).is_some_and(|t| is(t, *n)))
}

/// The number of the only one that is so. It is looked for from the end on: whoever adds one goes on with it.
pub(super) fn find(
    table: &dyn TableLike,
    key: &str,
    mut is: impl FnMut(&dyn TableLike, usize) -> bool,
) -> Option<usize> {
    (0..len(table, key)).rev().find(|n| nth(table, key, *n).is_some_and(|t| is(t, *n)))
}

/// The only one that is so.
pub(super) fn found<'a>(
    table: &'a dyn TableLike,
    key: &str,
    is: impl FnMut(&dyn TableLike, usize) -> bool,
) -> Option<&'a dyn TableLike> {
    find(table, key, is).and_then(|n| nth(table, key, n))
}

/// Takes one out. The list goes with its last.
pub(super) fn remove(table: &mut dyn TableLike, key: &str, n: usize) {
    match table.get_mut(key) {
        Some(Item::ArrayOfTables(tables)) => {
            tables.remove(n);
        }
        Some(Item::Value(Value::Array(array))) => {
            array.remove(n);
        }
        _ => {}
    }
    if len(table, key) == 0 {
        table.remove(key);
    }
}

/// Adds one at the end, in the form that its neighbours have. `within_braces`: what it goes into is written in braces.
pub(super) fn push(table: &mut dyn TableLike, key: &str, new: Table, within_braces: bool) {
    match table.get_mut(key) {
        Some(Item::ArrayOfTables(tables)) => tables.push(new),
        Some(Item::Value(Value::Array(array))) if within_braces || !array.is_empty() => {
            array.push(braced(new));
        }
        _ if within_braces => {
            table.insert(key, Item::Value(Value::Array(Array::from_iter([Value::from(braced(new))]))));
        }
        _ => {
            let mut tables = ArrayOfTables::new();
            tables.push(new);
            table.remove(key);
            table.insert(key, Item::ArrayOfTables(tables));
        }
    }
}

/// Puts another in the place of one of them, in the form that its neighbours have.
pub(super) fn replace(table: &mut dyn TableLike, key: &str, n: usize, new: Table) {
    match table.get_mut(key) {
        Some(Item::ArrayOfTables(tables)) => {
            if let Some(old) = tables.get_mut(n) {
                let (decor, position) = (old.decor().clone(), old.position());
                *old = new;
                *old.decor_mut() = decor;
                old.set_position(position);
            }
        }
        Some(Item::Value(Value::Array(array))) if n < array.len() => {
            array.replace(n, braced(new));
        }
        _ => {}
    }
}

fn braced(table: Table) -> InlineTable {
    let mut table = table.into_inline_table();
    table.fmt();
    table
}
