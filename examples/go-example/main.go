// A guided tour: everything that a host of lua.wasm does, in the order in which one meets it.
//
//	go-example [path of lua.wasm]
//	go-example --time FILE     time one Lua file instead; prints nanoseconds, a tab, its result
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"time"

	"go-example/lua"
)

func main() {
	if err := start(context.Background(), os.Args[1:], os.Stdout); err != nil {
		fmt.Fprintf(os.Stderr, "go-example: %v\n", err)
		os.Exit(1)
	}
}

func start(ctx context.Context, args []string, out io.Writer) error {
	path := defaultPath()
	switch {
	case len(args) == 0:
	case len(args) == 2 && args[0] == "--time":
	case len(args) == 1 && !strings.HasPrefix(args[0], "-"):
		path = args[0]
	default:
		return errors.New("usage: go-example [path of lua.wasm] | go-example --time FILE")
	}
	wasm, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	module, err := lua.NewModule(ctx, wasm)
	if err != nil {
		return err
	}
	defer module.Close(ctx)
	if len(args) == 2 {
		return timeFile(ctx, module, args[1], out)
	}
	return (&tour{module, out}).run(ctx)
}

// defaultPath is LUA_WASM or the place in the tree, which is known from where this file was when it was compiled.
func defaultPath() string {
	if path := os.Getenv("LUA_WASM"); path != "" {
		return path
	}
	folder := "."
	if _, file, _, ok := runtime.Caller(0); ok && filepath.IsAbs(file) {
		folder = filepath.Dir(file)
	}
	return filepath.Join(folder, "..", "..", "core", "guest", "lua.wasm")
}

type tour struct {
	module *lua.Module
	out    io.Writer
}

func (t *tour) run(ctx context.Context) error {
	vm, err := t.module.New(ctx, lua.Options{})
	if err != nil {
		return err
	}
	defer vm.Close(ctx)
	for _, part := range []func(context.Context, *lua.VM) error{t.values, t.dataInAndOut, t.memory, t.tables} {
		if err := part(ctx, vm); err != nil {
			return err
		}
	}
	if err := t.revision2(ctx); err != nil {
		return err
	}
	return t.revision3(ctx)
}

func (t *tour) values(ctx context.Context, vm *lua.VM) error {
	steps := []struct{ title, sources string }{
		{"Arithmetic", "return 1 + 1\nreturn 7 // 2, 7 / 2, 2^10, 3 | 4"},
		{"Strings", "return ('lua'):upper() .. '!', #'four'\nreturn 'any bytes: \\0\\255'"},
		{"Every kind of value", "return nil, true, 42, 2.5, 'text'\nreturn string.format, function() end\nreturn ext.table()"},
		{"Output", "print('hello', 'from Lua') print(1, 2.0) return 'done'"},
		{"Errors", "return 1 +\nerror('out of stock')\nreturn ('x'):rep(100000)\nreturn 'still working'"},
	}
	for _, step := range steps {
		t.title(step.title)
		if err := t.compute(ctx, vm, strings.Split(step.sources, "\n")...); err != nil {
			return err
		}
	}
	return nil
}

func (t *tour) dataInAndOut(ctx context.Context, vm *lua.VM) error {
	t.title("Data in and out")
	io, err := vm.IOTableID(ctx)
	if err != nil {
		return err
	}
	input, err := lua.Encode("Ada")
	if err != nil {
		return err
	}
	vm.Tables.Set(io, "input", input)
	if err := t.compute(ctx, vm, "_io.output = 'Hello, ' .. _io.input"); err != nil {
		return err
	}
	output, _ := vm.Tables.Get(io, "output")
	values, err := lua.Decode(output)
	fmt.Fprintf(t.out, "_io.output is %s\n", lua.Show(values...))
	return err
}

func (t *tour) memory(ctx context.Context, vm *lua.VM) error {
	t.title("Memory")
	before := vm.MemorySize()
	if err := t.compute(ctx, vm, "local t = {} for i = 1, 300000 do t[i] = i end return #t"); err != nil {
		return err
	}
	if err := vm.CollectGarbage(ctx); err != nil {
		return err
	}
	stats, err := vm.MemoryStats(ctx)
	fmt.Fprintf(t.out, "the I/O buffer has %d bytes\n", stats.BufferSize)
	fmt.Fprintf(t.out, "Lua's use is within bounds: %t\n", stats.Used > 0 && stats.Used < vm.MemorySize())
	fmt.Fprintf(t.out, "the pages are the memory's: %t\n", stats.Pages*65536 == vm.MemorySize())
	fmt.Fprintf(t.out, "the memory has grown: %t\n", vm.MemorySize() > before)
	return err
}

func (t *tour) tables(ctx context.Context, first *lua.VM) error {
	t.title("A table that outlives its VM")
	if err := t.compute(ctx, first, "_home.visits = 1 _home.log = {'first'}"); err != nil {
		return err
	}
	next, err := first.NextTableID(ctx)
	if err != nil {
		return err
	}

	second, err := t.module.New(ctx, lua.Options{Tables: first.Tables, NextTableID: next})
	if err != nil {
		return err
	}
	defer second.Close(ctx)
	err = t.compute(ctx, second,
		"_home.visits = _home.visits + 1 table.insert(_home.log, 'second') return _home.visits",
		"_home.more = {} return _home.log, _home.more")
	if err != nil {
		return err
	}
	home, err := second.HomeTableID(ctx)
	if err != nil {
		return err
	}
	return t.showTable(second.Tables, home)
}

func (t *tour) revision2(ctx context.Context) error {
	t.title("Revision 2: tables by value, arguments, calls")
	vm, err := t.module.New(ctx, lua.Options{Revision: lua.Revision2})
	if err != nil {
		return err
	}
	defer vm.Close(ctx)
	err = t.compute(ctx, vm,
		"local t = {10, 20, {deep = true}} t.me = t return t",
		"function greet(name) return 'Hello, ' .. name end")
	if err != nil {
		return err
	}
	greeting, err := vm.Call(ctx, "greet", "Grace")
	if err != nil {
		return err
	}
	fmt.Fprintf(t.out, "greet(\"Grace\") gives %s\n", lua.Show(greeting.Values...))
	result, err := vm.Compute(ctx, "return ('x'):rep(100000)")
	if err != nil {
		return err
	}
	if long, ok := result.Values[0].(string); ok {
		fmt.Fprintf(t.out, "a long string has %d bytes\n", len(long))
	}
	return nil
}

func (t *tour) revision3(ctx context.Context) error {
	t.title("Revision 3: a run that waits")
	vm, err := t.module.New(ctx, lua.Options{Revision: lua.Revision3})
	if err != nil {
		return err
	}
	defer vm.Close(ctx)
	if err := vm.Declare(ctx, "ask"); err != nil {
		return err
	}
	source := "local task = require 'task' return task.all(function() return ask('tea?') end, function() return ask('cake?') end)"
	fmt.Fprintf(t.out, "> %s\n", source)
	result, err := vm.Start(ctx, source)
	for err == nil && vm.Waiting() {
		// Here a program does something else until it has an answer; nothing of the run is on any stack.
		for _, request := range vm.Requests() {
			fmt.Fprintf(t.out, "request %d: %s(%s)\n", request.ID, request.Name, lua.Show(request.Args...))
			if err := vm.Answer(request.ID, "yes"); err != nil {
				return err
			}
		}
		result, err = vm.Resume(ctx)
	}
	if err != nil {
		return err
	}
	fmt.Fprintln(t.out, lua.Show(result.Values...))
	return nil
}

func (t *tour) title(text string) {
	fmt.Fprintf(t.out, "\n== %s\n", text)
}

// compute runs sources and prints everything that comes of them. Lua's errors are part of the show, others are ours.
func (t *tour) compute(ctx context.Context, vm *lua.VM, sources ...string) error {
	for _, source := range sources {
		fmt.Fprintf(t.out, "> %s\n", source)
		result, err := vm.Compute(ctx, source)
		if luaError := (*lua.Error)(nil); errors.As(err, &luaError) {
			fmt.Fprintf(t.out, "error: %s\n", luaError.Message)
			continue
		}
		if err != nil {
			return err
		}
		for line := range strings.Lines(result.Output) {
			fmt.Fprintf(t.out, "| %s", line)
		}
		if len(result.Values) > 0 {
			fmt.Fprintln(t.out, lua.Show(result.Values...))
		}
	}
	return nil
}

// showTable prints a stored table as the host sees it, sorted: the order of its keys is the table map's own.
func (t *tour) showTable(tables *lua.Tables, id uint32) error {
	fmt.Fprintf(t.out, "table %d has %d entries:\n", id, tables.Size(id))
	keys, _ := tables.Keys(id)
	slices.Sort(keys)
	for _, key := range keys {
		value, _ := tables.Get(id, key)
		values, err := lua.Decode(value)
		if err != nil {
			return err
		}
		fmt.Fprintf(t.out, "  [%s] = %s\n", lua.Show(lua.DecodeKey(key)), lua.Show(values...))
	}
	return nil
}

func timeFile(ctx context.Context, module *lua.Module, file string, out io.Writer) error {
	source, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	vm, err := module.New(ctx, lua.Options{Revision: lua.Revision2})
	if err != nil {
		return err
	}
	defer vm.Close(ctx)
	start := time.Now()
	result, err := vm.Compute(ctx, string(source))
	elapsed := time.Since(start).Nanoseconds()
	if err != nil {
		return err
	}
	text := lua.Show(result.Values...)
	if len(result.Values) == 1 {
		if whole, ok := result.Values[0].(string); ok {
			text = whole
		}
	}
	fmt.Fprintf(out, "%d\t%s\n", elapsed, text)
	return nil
}
