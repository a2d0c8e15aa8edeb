//! Runs and functions whose arguments and results are types that serde knows.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{ComputeOptions, Sandbox};
use crate::guest::resolver::SandboxResolver;
use crate::run::inputs::{enter_call, enter_compute_with};
use crate::run::{SandboxCell, cancel};
use crate::value::serde::{SerializeArgs, arguments, encoded};
use crate::value::{ArgList, Args, Error, Function, FunctionKind, Result, Value};

fn serialized(args: &impl SerializeArgs) -> Result<Args> {
    let mut list = Args::new();
    args.serialize_into(&mut list)?;
    Ok(list)
}

impl Sandbox {
    /// Runs Lua source, and gives its result as any type that can be deserialized, straight from the form in which it
    /// crosses the border.
    ///
    /// A tuple takes several results; any other type takes the first one. A struct or map is made of a table's entries, a
    /// sequence of a table with the keys 1 to n; a tuple or array of such a table too, when that is the only result.
    /// A variant of an enum is its name, or a table `{Name = content}`. An `Option` is `None` for nil, and for a field that
    /// is missing. Strings that are not UTF-8 need a type for bytes, such as [`LuaString`](crate::LuaString). A float
    /// without fraction fits an integer, and an integer fits a float.
    ///
    /// ```
    /// # use luacell::{ComputeOptions, Sandbox};
    /// #[derive(serde::Deserialize, Debug, PartialEq)]
    /// struct Item {
    ///     name: String,
    ///     price: Option<f64>,
    /// }
    ///
    /// let lua = Sandbox::new()?;
    /// let items: Vec<Item> = lua.compute_as("return {{name = 'tea', price = 3.5}, {name = 'air'}}", ComputeOptions::new())?;
    /// assert_eq!(items[1], Item { name: "air".into(), price: None });
    /// let (n, text): (i64, String) = lua.compute_as("return 1, 'x'", ComputeOptions::new())?;
    /// # assert_eq!((n, text.as_str()), (1, "x"));
    ///
    /// let error = lua.compute_as::<Vec<Item>>("return {{name = 7}}", ComputeOptions::new()).unwrap_err();
    /// assert_eq!(error.message(), "invalid type: integer `7`, expected a string (result 1[1].name)");
    /// # Ok::<(), luacell::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`compute_with`](Self::compute_with). `Conversion`, with the place in the value, also when a result is no such
    /// type, or nested more than 128 levels deep: the run has succeeded then, and what it wrote is stored.
    pub fn compute_as<T: DeserializeOwned>(&self, source: impl AsRef<[u8]>, options: ComputeOptions) -> Result<T> {
        let source = source.as_ref();
        let outcome = self.cancellable(&options, |access, run| {
            access.run(&self.cell, Some(&options.limits), |guest, resolver, args| {
                cancel::begin(run)?;
                resolver.keep_encoded();
                enter_compute_with(guest, resolver, args, source, &options.name, &options.args)
            })
        })?;
        outcome.deserialize()
    }

    /// Calls a global Lua function, with a path as for [`call`](Self::call), arguments that can be serialized, and a
    /// result as for [`compute_as`](Self::compute_as).
    ///
    /// ```
    /// # use luacell::Sandbox;
    /// #[derive(serde::Serialize)]
    /// struct Item {
    ///     price: f64,
    /// }
    ///
    /// let lua = Sandbox::new()?;
    /// lua.compute("function total(items, tax) local n = 0 for _, item in ipairs(items) do n = n + item.price end return n * tax end")?;
    /// let total: f64 = lua.call_as("total", &([Item { price: 3.5 }, Item { price: 1.0 }], 2))?;
    /// assert_eq!(total, 9.0);
    /// # Ok::<(), luacell::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `call` and `compute_as`, and those of [`Args::serialize`].
    pub fn call_as<T: DeserializeOwned>(&self, path: &str, args: &impl SerializeArgs) -> Result<T> {
        let values = ArgList::Encoded(serialized(args)?);
        let outcome = self.cell.access(|access| {
            access.run(&self.cell, None, |guest, resolver, args| {
                resolver.keep_encoded();
                enter_call(guest, resolver, args, path, &values)
            })
        })?;
        outcome.deserialize()
    }

    /// As [`register`](Self::register), for a function whose argument can be deserialized and whose result can be
    /// serialized.
    ///
    /// A tuple takes several arguments, nil where the script passes fewer; any other type takes the first one. A result
    /// is as for [`Args::serialize`]: one value.
    ///
    /// ```
    /// # use luacell::Sandbox;
    /// #[derive(serde::Deserialize, serde::Serialize)]
    /// struct Point {
    ///     x: f64,
    ///     y: f64,
    /// }
    ///
    /// let lua = Sandbox::new()?;
    /// lua.register_as("move", |(point, by): (Point, Option<f64>)| {
    ///     Ok(Point { x: point.x + by.unwrap_or(1.0), ..point })
    /// })?;
    /// assert_eq!(lua.compute("return move({x = 1, y = 2}).x")?.get::<f64>()?, 2.0);
    /// # Ok::<(), luacell::Error>(())
    /// ```
    ///
    /// # Errors
    /// As `register`. A call whose arguments don't fit fails with the place in the argument.
    pub fn register_as<A: DeserializeOwned, R: Serialize>(
        &self,
        name: &str,
        function: impl Fn(A) -> Result<R> + Send + Sync + 'static,
    ) -> Result<()> {
        let call = move |values: Vec<Value>| -> Result<Value> {
            Value::from_serialize(&function(arguments(&encoded(&values)?)?)?)
        };
        self.register(name, call)
    }
}

impl Function {
    /// Calls the function with arguments that can be serialized, and gives its result as
    /// [`Sandbox::compute_as`](crate::Sandbox::compute_as) does.
    ///
    /// # Errors
    /// As [`call`](Self::call) and `compute_as`, and those of [`Args::serialize`].
    pub fn call_as<T: DeserializeOwned>(&self, args: &impl SerializeArgs) -> Result<T> {
        let values = serialized(args)?;
        match &*self.0 {
            FunctionKind::Live(handle) => {
                let cell = SandboxCell::of(handle.owner.upgrade().ok_or_else(Error::closed)?)?;
                cell.call_handle(handle, &ArgList::Encoded(values), SandboxResolver::keep_encoded)?.deserialize()
            }
            _ => self.call(values.into_values()?)?.deserialize(),
        }
    }
}
