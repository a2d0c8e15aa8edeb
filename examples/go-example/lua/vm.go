// Package lua is a bare host of lua.wasm: nothing but wazero and the pages under docs/.
package lua

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// Revision is what a host announces to the guest.
type Revision int32

const (
	// Revision1 is five functions and no more.
	Revision1 Revision = 1
	// Revision2 adds results as inline tables, arguments, calls, and sizes beyond 64 KiB.
	Revision2 Revision = 2
	// Revision3 adds runs that wait.
	Revision3 Revision = 3
)

// Error is an error that the script raised and did not catch; the VM goes on working.
type Error struct {
	Message string
}

func (e *Error) Error() string { return e.Message }

// TooLargeError says that source or arguments are longer than the I/O buffer can be.
type TooLargeError struct {
	Size, Room int
}

func (e *TooLargeError) Error() string {
	return fmt.Sprintf("%d bytes do not fit the buffer of %d", e.Size, e.Room)
}

// ErrRevision says that a host was asked for what takes a later revision.
var ErrRevision = errors.New("this needs a host of a later revision")

// ErrWaiting says that a run was to be started while another one waits.
var ErrWaiting = errors.New("a run waits already")

// waits is what an export returns whose run waits.
const waits = math.MinInt32

// Module is lua.wasm, compiled once for any number of VMs, which may run in different goroutines.
type Module struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
}

// NewModule compiles the bytes of lua.wasm.
func NewModule(ctx context.Context, wasm []byte) (*Module, error) {
	m := &Module{runtime: wazero.NewRuntime(ctx)}
	err := instantiateHost(ctx, m.runtime)
	if err == nil {
		m.compiled, err = m.runtime.CompileModule(ctx, wasm)
	}
	if err != nil {
		return nil, errors.Join(err, m.Close(ctx))
	}
	return m, nil
}

// Close ends all VMs and releases the compiled code.
func (m *Module) Close(ctx context.Context) error {
	return m.runtime.Close(ctx)
}

// Options say how a VM starts. The zero value is a VM of revision 1 on new tables.
type Options struct {
	// Tables, perhaps those that an earlier VM has worked on. Then NextTableID is what that VM said.
	Tables      *Tables
	NextTableID uint32
	Revision    Revision
}

// VM is one running Lua. It is not safe for concurrent use. After an error that is none of this package's own types (a
// trap in the guest, a context that is done) it must be closed; its tables are still good.
type VM struct {
	Tables *Tables
	host   *host
	module api.Module
}

// Result is what a run gave.
type Result struct {
	Output string // what was printed
	Values []Value
}

// MemoryStats are figures of a VM's memory.
type MemoryStats struct {
	BufferSize uint32 // bytes of the I/O buffer
	Used       uint32 // bytes in use by Lua
	Pages      uint32 // pages of 64 KiB that the guest's memory has
}

// New starts a VM.
func (m *Module) New(ctx context.Context, options Options) (*VM, error) {
	tables := options.Tables
	if tables == nil {
		tables = NewTables()
	}
	h := &host{tables: tables, revision: max(options.Revision, Revision1)}
	h.requests.open = make(map[uint32]Request)
	// Without a name, so that there can be many.
	module, err := m.runtime.InstantiateModule(h.with(ctx), m.compiled, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		return nil, err
	}
	vm := &VM{Tables: tables, host: h, module: module}
	if err := vm.start(ctx, options.NextTableID); err != nil {
		return nil, errors.Join(err, vm.Close(ctx))
	}
	return vm, nil
}

func (vm *VM) start(ctx context.Context, nextTableID uint32) error {
	if vm.module.ExportedMemory("memory") == nil {
		return protocol("the module does not export its memory")
	}
	if status, err := vm.Export(ctx, "init"); err != nil || status != 0 {
		return errors.Join(protocol("init failed"), err)
	}
	if nextTableID > 0 {
		if _, err := vm.Export(ctx, "sync_external_table_counter", nextTableID); err != nil {
			return err
		}
	}
	if vm.host.revision == Revision1 {
		return nil
	}
	_, err := vm.Export(ctx, "set_host_revision", uint32(vm.host.revision))
	if err == nil && vm.host.revision >= Revision3 {
		// All runs may; requests refuses those that were not started.
		_, err = vm.Export(ctx, "set_waiting", 1)
	}
	return err
}

// Close ends the VM; its tables stay.
func (vm *VM) Close(ctx context.Context) error {
	return vm.module.Close(ctx)
}

// Compute runs Lua source.
func (vm *VM) Compute(ctx context.Context, source string) (*Result, error) {
	if err := vm.write(ctx, source); err != nil {
		return nil, err
	}
	ptr, err := vm.Export(ctx, "get_buffer_ptr")
	if err != nil {
		return nil, err
	}
	return vm.finish(ctx, "compute", ptr, uint32(len(source)))
}

// ComputeNamed is the same with a chunk name ("" for the usual one) and values for the chunk's `...` (revision 2).
func (vm *VM) ComputeNamed(ctx context.Context, name, source string, args ...Value) (*Result, error) {
	encoded, err := vm.encode(args)
	if err != nil {
		return nil, err
	}
	if err := vm.write(ctx, name+source+encoded); err != nil {
		return nil, err
	}
	return vm.finish(ctx, "compute_named", uint32(len(name)), uint32(len(source)), uint32(len(encoded)))
}

// Call calls the global function path, in which dots reach into tables (revision 2).
func (vm *VM) Call(ctx context.Context, path string, args ...Value) (*Result, error) {
	encoded, err := vm.encode(args)
	if err != nil {
		return nil, err
	}
	if err := vm.write(ctx, path+encoded); err != nil {
		return nil, err
	}
	return vm.finish(ctx, "call", uint32(len(path)), uint32(len(encoded)))
}

// Declare makes name a global function (dots make tables) whose calls wait for whoever starts the run (revision 3).
func (vm *VM) Declare(ctx context.Context, name string) error {
	if vm.host.revision < Revision3 {
		return ErrRevision
	}
	if err := vm.write(ctx, name); err != nil {
		return err
	}
	_, err := vm.finish(ctx, "register_function", uint32(len(name)), vm.host.requests.declare(name))
	return err
}

// Start is Compute with values for `...` and a run that may wait, for as long as it likes; then the Result is nil. There
// is one such run at a time (revision 3).
func (vm *VM) Start(ctx context.Context, source string, args ...Value) (*Result, error) {
	encoded, err := vm.beginning(args)
	if err != nil {
		return nil, err
	}
	return vm.step(ctx, "compute_named", source+encoded, 0, uint32(len(source)), uint32(len(encoded)))
}

// StartCall is Call with a run that may wait; then the Result is nil.
func (vm *VM) StartCall(ctx context.Context, path string, args ...Value) (*Result, error) {
	encoded, err := vm.beginning(args)
	if err != nil {
		return nil, err
	}
	return vm.step(ctx, "call", path+encoded, uint32(len(path)), uint32(len(encoded)))
}

// Waiting tells whether a run waits. Compute and Call still work then, as part of it.
func (vm *VM) Waiting() bool {
	return vm.host.requests.started
}

// Requests are what the run waits for. `task.sleep` is one too; its argument is in seconds.
func (vm *VM) Requests() []Request {
	return vm.host.requests.list()
}

// Answer answers a request. The script gets the values when the run is resumed.
func (vm *VM) Answer(id uint32, values ...Value) error {
	return vm.host.requests.settle(id, results, values...)
}

// Fail answers a request with an error, which the script can catch.
func (vm *VM) Fail(id uint32, message string) error {
	return vm.host.requests.settle(id, failed, message)
}

// Resume goes on with the answers that were given, as many as they are. The Result is nil when the run waits again.
func (vm *VM) Resume(ctx context.Context) (*Result, error) {
	if !vm.Waiting() {
		return nil, ErrNoRequest
	}
	answers := vm.host.requests.answers
	return vm.step(ctx, "resume", string(answers), uint32(len(answers)))
}

// Cancel ends the run that waits, if there is one. What it wrote to tables stays.
func (vm *VM) Cancel(ctx context.Context) error {
	// Again if runs inside it have cancelled all its tasks: then it goes on up to its next request.
	for vm.Waiting() {
		vm.host.requests.interrupt()
		_, err := vm.Resume(ctx)
		if luaError := (*Error)(nil); err != nil && !errors.As(err, &luaError) {
			return err
		}
	}
	return nil
}

// CollectGarbage runs a full collection.
func (vm *VM) CollectGarbage(ctx context.Context) error {
	_, err := vm.Export(ctx, "run_gc")
	return err
}

// MemoryStats asks the guest about its memory.
func (vm *VM) MemoryStats(ctx context.Context) (MemoryStats, error) {
	ptr, err := vm.Export(ctx, "get_buffer_ptr")
	if err != nil {
		return MemoryStats{}, err
	}
	if _, err := vm.Export(ctx, "get_memory_stats", ptr); err != nil {
		return MemoryStats{}, err
	}
	stats, err := vm.read(ctx, 12)
	if err != nil {
		return MemoryStats{}, err
	}
	number := binary.LittleEndian.Uint32
	return MemoryStats{BufferSize: number(stats), Used: number(stats[4:]), Pages: number(stats[8:])}, nil
}

// MemorySize is the size of the guest's memory in bytes, as wazero sees it.
func (vm *VM) MemorySize() uint32 {
	return vm.module.Memory().Size()
}

// NextTableID is the id that the next new table gets; the next VM on the same tables has to know it.
func (vm *VM) NextTableID(ctx context.Context) (uint32, error) {
	return vm.Export(ctx, "allocate_table_ids", 0)
}

// IOTableID is the id of the table _io.
func (vm *VM) IOTableID(ctx context.Context) (uint32, error) {
	return vm.Export(ctx, "get_io_table_id")
}

// HomeTableID is the id of the table _home.
func (vm *VM) HomeTableID(ctx context.Context) (uint32, error) {
	return vm.Export(ctx, "get_memory_table_id")
}

// Export calls any function that the module exports; 0 when it returns nothing.
func (vm *VM) Export(ctx context.Context, name string, params ...uint32) (uint32, error) {
	function := vm.module.ExportedFunction(name)
	if function == nil {
		return 0, protocol("the module does not export %s", name)
	}
	stack := make([]uint64, len(params))
	for i, param := range params {
		stack[i] = api.EncodeU32(param)
	}
	results, err := function.Call(vm.host.with(ctx), stack...)
	if err != nil || len(results) == 0 {
		return 0, err
	}
	return api.DecodeU32(results[0]), nil
}

func (vm *VM) encode(args []Value) (string, error) {
	if vm.host.revision < Revision2 {
		return "", ErrRevision
	}
	encoded, err := Encode(args...)
	return string(encoded), err
}

// write puts text into the I/O buffer.
func (vm *VM) write(ctx context.Context, text string) error {
	if uint64(len(text)) > math.MaxInt32 {
		return &TooLargeError{len(text), math.MaxInt32}
	}
	room, err := vm.Export(ctx, "get_buffer_size")
	if err != nil {
		return err
	}
	if len(text) > int(room) && vm.host.revision >= Revision2 {
		if _, err := vm.Export(ctx, "reserve_buffer", uint32(len(text))); err != nil {
			return err
		}
		if room, err = vm.Export(ctx, "get_buffer_size"); err != nil {
			return err
		}
	}
	if len(text) > int(room) {
		return &TooLargeError{len(text), int(room)}
	}
	ptr, err := vm.Export(ctx, "get_buffer_ptr")
	if err != nil {
		return err
	}
	if !vm.module.Memory().WriteString(ptr, text) {
		return protocol("the I/O buffer is not inside the memory")
	}
	return nil
}

// read copies the first bytes of the I/O buffer. Its place is asked for each time: with revision 2 it can move.
func (vm *VM) read(ctx context.Context, length uint32) ([]byte, error) {
	room, err := vm.Export(ctx, "get_buffer_size")
	if err != nil {
		return nil, err
	}
	if length > room {
		return nil, protocol("it speaks of %d bytes in a buffer of %d", length, room)
	}
	ptr, err := vm.Export(ctx, "get_buffer_ptr")
	if err != nil {
		return nil, err
	}
	view, ok := vm.module.Memory().Read(ptr, length)
	if !ok {
		return nil, protocol("the I/O buffer is not inside the memory")
	}
	return append([]byte{}, view...), nil
}

// beginning makes sure that a run can be started, and encodes its arguments.
func (vm *VM) beginning(args []Value) (string, error) {
	if vm.host.revision < Revision3 {
		return "", ErrRevision
	}
	if vm.Waiting() {
		return "", ErrWaiting
	}
	return vm.encode(args)
}

// step lets a run go that its starter answers, from its beginning or from where it waited.
func (vm *VM) step(ctx context.Context, export, text string, params ...uint32) (*Result, error) {
	if err := vm.write(ctx, text); err != nil {
		return nil, err
	}
	requests := &vm.host.requests
	requests.begin()
	returned, err := vm.Export(ctx, export, params...)
	if err == nil && int32(returned) == waits && len(requests.open) > 0 {
		return nil, nil
	}
	requests.end()
	if err != nil {
		return nil, err
	}
	return vm.result(ctx, returned)
}

// finish runs compute or one of its kin and makes sense of what it returns.
func (vm *VM) finish(ctx context.Context, name string, params ...uint32) (*Result, error) {
	returned, err := vm.Export(ctx, name, params...)
	if err != nil {
		return nil, err
	}
	return vm.result(ctx, returned)
}

// result is what a run left in the I/O buffer.
func (vm *VM) result(ctx context.Context, returned uint32) (*Result, error) {
	n := int32(returned)
	if n == 0 {
		return &Result{}, nil
	}
	if n < 0 {
		message, err := vm.read(ctx, uint32(-(n + 1)))
		if err != nil {
			return nil, err
		}
		return nil, &Error{string(message)}
	}
	bytes, err := vm.read(ctx, returned)
	if err != nil {
		return nil, err
	}
	if n < 4 || binary.LittleEndian.Uint32(bytes) > returned-4 {
		return nil, protocol("a result is shorter than its output")
	}
	end := 4 + binary.LittleEndian.Uint32(bytes)
	values, err := Decode(bytes[end:])
	if err != nil {
		return nil, err
	}
	return &Result{Output: string(bytes[4:end]), Values: values}, nil
}
