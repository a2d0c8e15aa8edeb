//! Compiles native Lua, for the differential target.

fn main() {
    lua_src::Build::new().build(lua_src::Lua54).print_cargo_metadata();
}
