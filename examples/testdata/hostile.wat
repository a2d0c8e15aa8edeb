;; A guest that lies. The tests of all four hosts load it in place of lua.wasm: none of what it does may crash a host,
;; make it read or write outside this memory, or do anything but fail with a clear error.
;;
;; hostile.wasm is this text in binary form; rust-example's tests compare the two.
(module
  (import "env" "js_ext_table_set" (func $set (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "js_ext_table_get" (func $get (param i32 i32 i32 i32 i32) (result i32)))
  (import "env" "js_ext_table_delete" (func $delete (param i32 i32 i32) (result i32)))
  (import "env" "js_ext_table_size" (func $size (param i32) (result i32)))
  (import "env" "js_ext_table_keys" (func $keys (param i32 i32 i32) (result i32)))

  (memory (export "memory") 2 8)
  (global $ptr (mut i32) (i32.const 1024))
  (global $room (mut i32) (i32.const 65536))

  ;; The host functions, called with whatever a test likes.
  (func (export "set") (param i32 i32 i32 i32 i32) (result i32)
    (call $set (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))
  (func (export "get") (param i32 i32 i32 i32 i32) (result i32)
    (call $get (local.get 0) (local.get 1) (local.get 2) (local.get 3) (local.get 4)))
  (func (export "delete") (param i32 i32 i32) (result i32)
    (call $delete (local.get 0) (local.get 1) (local.get 2)))
  (func (export "size") (param i32) (result i32) (call $size (local.get 0)))
  (func (export "keys") (param i32 i32 i32) (result i32)
    (call $keys (local.get 0) (local.get 1) (local.get 2)))

  ;; Memory: a byte at a place, read and written, and growth.
  (func (export "peek") (param i32) (result i32) (i32.load8_u (local.get 0)))
  (func (export "poke") (param i32 i32) (i32.store8 (local.get 0) (local.get 1)))
  (func (export "grow") (param i32) (result i32) (memory.grow (local.get 0)))

  ;; Where the I/O buffer is said to be.
  (func (export "set_buffer") (param i32 i32)
    (global.set $ptr (local.get 0))
    (global.set $room (local.get 1)))
  (func (export "get_buffer_ptr") (result i32) (global.get $ptr))
  (func (export "get_buffer_size") (result i32) (global.get $room))

  ;; The source is the answer: four bytes say what compute returns, the rest is what it leaves in the buffer.
  (func $compute (export "compute") (param $ptr i32) (param $len i32) (result i32)
    (local $n i32)
    (local.set $n (i32.load (local.get $ptr)))
    (memory.copy (local.get $ptr) (i32.add (local.get $ptr) (i32.const 4)) (i32.sub (local.get $len) (i32.const 4)))
    (local.get $n))

  ;; The source is a request to the host channel, of a run that then says that it waits.
  (func (export "compute_named") (param i32) (param $len i32) (param i32) (result i32)
    (drop (call $get (i32.const 0) (global.get $ptr) (local.get $len) (i32.const 100) (i32.const 100)))
    (i32.const -2147483648))
  (func (export "resume") (param i32) (result i32) (i32.const -2147483648))

  ;; The other exports that a host looks for.
  (func (export "init") (result i32) (i32.const 0))
  (func (export "call") (param i32 i32) (result i32) (unreachable))
  (func (export "run_gc"))
  (func (export "get_memory_stats") (param i32))
  (func (export "sync_external_table_counter") (param i32))
  (func (export "set_host_revision") (param i32))
  (func (export "set_waiting") (param i32))
  (func (export "reserve_buffer") (param i32) (result i32) (i32.const 0))
  (func (export "allocate_table_ids") (param i32) (result i32) (i32.const -1))
  (func (export "get_memory_table_id") (result i32) (i32.const -1))
  (func (export "get_io_table_id") (result i32) (i32.const -1)))
