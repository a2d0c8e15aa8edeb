package lua

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

// lua.wasm, and a guest that lies.
var luaModule, hostileModule *Module

func TestMain(m *testing.M) {
	path := os.Getenv("LUA_WASM")
	if path == "" {
		path = filepath.Join("..", "..", "..", "core", "guest", "lua.wasm")
	}
	luaModule = mustLoad(path)
	hostileModule = mustLoad(filepath.Join("..", "..", "testdata", "hostile.wasm"))
	os.Exit(m.Run())
}

func mustLoad(path string) *Module {
	wasm, err := os.ReadFile(path)
	if err == nil {
		var module *Module
		if module, err = NewModule(context.Background(), wasm); err == nil {
			return module
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
	return nil
}

func start(t *testing.T, module *Module, options Options) *VM {
	t.Helper()
	vm, err := module.New(context.Background(), options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { vm.Close(context.Background()) })
	return vm
}

func compute(t *testing.T, vm *VM, source string) *Result {
	t.Helper()
	result, err := vm.Compute(t.Context(), source)
	if err != nil {
		t.Fatalf("%.100s: %v", source, err)
	}
	return result
}

func expect(t *testing.T, vm *VM, source string, want ...Value) {
	t.Helper()
	if got := compute(t, vm, source).Values; !reflect.DeepEqual(got, want) {
		t.Errorf("%.100s: %s, expected %s", source, Show(got...), Show(want...))
	}
}

// fails checks that source raises a Lua error whose message contains part.
func fails(t *testing.T, vm *VM, source, part string) {
	t.Helper()
	_, err := vm.Compute(t.Context(), source)
	var luaError *Error
	if !errors.As(err, &luaError) || !strings.Contains(luaError.Message, part) {
		t.Errorf("%.100s: %v, expected a Lua error with %q", source, err, part)
	}
}

func TestBasicArithmetic(t *testing.T) {
	vm := start(t, luaModule, Options{})
	expect(t, vm, "return 1 + 1, 7 // 2, 7 / 2, 2^10, 1 == 1.0", int64(2), int64(3), 3.5, 1024.0, true)
	expect(t, vm, "return math.maxinteger, math.mininteger", int64(math.MaxInt64), int64(math.MinInt64))
	expect(t, vm, "return 1/0", math.Inf(1))
	if zero := compute(t, vm, "return -0.0").Values[0].(float64); !math.Signbit(zero) {
		t.Error("-0.0 has lost its sign")
	}
	if nan := compute(t, vm, "return 0/0").Values[0].(float64); !math.IsNaN(nan) {
		t.Error("0/0 is a number")
	}
}

func TestStringOperations(t *testing.T) {
	vm := start(t, luaModule, Options{})
	expect(t, vm, "return ('lua'):upper() .. '!'", "LUA!")
	expect(t, vm, "return ('%d-%s'):format(7, 'x')", "7-x")
	expect(t, vm, "return (('hello world'):gsub('o', '0'))", "hell0 w0rld")
	expect(t, vm, "return 'grüße'", "grüße")
	expect(t, vm, `return 'a\0\255', ''`, "a\x00\xff", "")
}

func TestCapturedOutput(t *testing.T) {
	vm := start(t, luaModule, Options{})
	if got := compute(t, vm, "print('a', 1) print() return 2"); got.Output != "a\t1\n\n" || got.Values[0] != int64(2) {
		t.Errorf("%+v", got)
	}
	if got := compute(t, vm, ""); got.Output != "" || len(got.Values) != 0 {
		t.Errorf("%+v", got)
	}
}

func TestExternalTablePersistence(t *testing.T) {
	first := start(t, luaModule, Options{})
	compute(t, first, "_home.count = 1 _home.list = {'a', 'b'} _home.empty = {}")
	next, err := first.NextTableID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := start(t, luaModule, Options{Tables: first.Tables, NextTableID: next})
	expect(t, second, "return _home.count, #_home.list, _home.list[2]", int64(1), int64(2), "b")
	// Without the counter the new table would be the one that `empty` refers to.
	compute(t, second, "_home.fresh = {1}")
	expect(t, second, "return #_home.empty", int64(0))

	home, err := second.HomeTableID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	count, _ := second.Tables.Get(home, "count")
	if values, err := Decode(count); err != nil || !reflect.DeepEqual(values, []Value{int64(1)}) {
		t.Error(values, err)
	}
}

func TestDataInAndOut(t *testing.T) {
	vm := start(t, luaModule, Options{})
	io, err := vm.IOTableID(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	input, err := Encode("Ada")
	if err != nil {
		t.Fatal(err)
	}
	vm.Tables.Set(io, "input", input)
	compute(t, vm, "_io.output = 'Hello, ' .. _io.input")
	output, _ := vm.Tables.Get(io, "output")
	if values, err := Decode(output); err != nil || !reflect.DeepEqual(values, []Value{"Hello, Ada"}) {
		t.Error(values, err)
	}
}

func TestErrorHandling(t *testing.T) {
	vm := start(t, luaModule, Options{})
	for range 100 {
		fails(t, vm, "return 1 +", "near <eof>")
		fails(t, vm, "error('no')", ":1: no")
		fails(t, vm, `error('a\255', 0)`, "a\xff")
		fails(t, vm, "local t = nil; return t.x", "attempt to index")
		expect(t, vm, "return 1 + 1", int64(2))
	}
	var tooLarge *TooLargeError
	if _, err := vm.Compute(t.Context(), strings.Repeat(" ", 65537)); !errors.As(err, &tooLarge) {
		t.Error(err)
	}
	fails(t, vm, "return ('x'):rep(70000)", "700")
	if _, err := vm.Call(t.Context(), "f"); !errors.Is(err, ErrRevision) {
		t.Error(err)
	}
	expect(t, vm, "return 1 + 1", int64(2))

	if _, err := NewModule(t.Context(), []byte("no wasm")); err == nil {
		t.Error("a module that is none was taken")
	}
}

func TestMemoryStatistics(t *testing.T) {
	vm := start(t, luaModule, Options{})
	stats := func() MemoryStats {
		stats, err := vm.MemoryStats(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if stats.BufferSize != 65536 || stats.Pages*65536 != vm.MemorySize() || stats.Used == 0 || stats.Used >= vm.MemorySize() {
			t.Errorf("%+v, memory %d", stats, vm.MemorySize())
		}
		return stats
	}
	before := stats()
	compute(t, vm, "kept = {} for i = 1, 300000 do kept[i] = i end")
	grown := stats()
	if grown.Pages <= before.Pages || grown.Used <= before.Used+300000*8 {
		t.Errorf("%+v, then %+v", before, grown)
	}
	compute(t, vm, "kept = nil")
	if err := vm.CollectGarbage(t.Context()); err != nil {
		t.Fatal(err)
	}
	if after := stats(); after.Used >= grown.Used-300000*8 {
		t.Errorf("%+v, then %+v", grown, after)
	}
}

func TestRevision2(t *testing.T) {
	vm := start(t, luaModule, Options{Revision: Revision2})
	table := compute(t, vm, "local t = {10, x = {}} t.me = t return t").Values[0].(*Table)
	back, err := vm.ComputeNamed(t.Context(), "", "local t = ... return t, t.me == t", table)
	if err != nil || len(back.Values[0].(*Table).Entries) != 3 || back.Values[1] != true {
		t.Error(back, err)
	}
	compute(t, vm, "function add(a, b) return a + b end")
	if sum, err := vm.Call(t.Context(), "add", 1, 2.5); err != nil || sum.Values[0] != 3.5 {
		t.Error(sum, err)
	}
	long := strings.Repeat("x", 1000000)
	if longer, err := vm.ComputeNamed(t.Context(), "", "return (...) .. 'y'", long); err != nil || longer.Values[0] != long+"y" {
		t.Error(err)
	}
	compute(t, vm, "_home.long = '"+long+"'")
	expect(t, vm, "return #_home.long", int64(1000000)) // `get` asks for a larger buffer
	if _, err := vm.ComputeNamed(t.Context(), "=rules", "error('no')"); err == nil || err.Error() != "rules:1: no" {
		t.Error(err)
	}
	if _, err := vm.ComputeNamed(t.Context(), "", "", struct{}{}); err == nil {
		t.Error("a struct was sent")
	}
}

// asked lists what the run waits for: ID:Name(Args).
func asked(vm *VM) string {
	var list []string
	for _, request := range vm.Requests() {
		list = append(list, fmt.Sprintf("%d:%s(%s)", request.ID, request.Name, Show(request.Args...)))
	}
	return strings.Join(list, " ")
}

func TestRevision3(t *testing.T) {
	vm := start(t, luaModule, Options{Revision: Revision3})
	ctx := t.Context()
	check := func(err, want error) {
		t.Helper()
		if !errors.Is(err, want) {
			t.Errorf("%v instead of %v", err, want)
		}
	}
	waits := func(source, requests string, args ...Value) {
		t.Helper()
		result, err := vm.Start(ctx, source, args...)
		if err != nil || result != nil || !vm.Waiting() || asked(vm) != requests {
			t.Errorf("%s: %v, %v, it waits for %s", source, result, err, asked(vm))
		}
	}
	resumes := func(want ...Value) {
		t.Helper()
		result, err := vm.Resume(ctx)
		if err != nil || result == nil || !reflect.DeepEqual(result.Values, want) || vm.Waiting() {
			t.Errorf("%v, %v", result, err)
		}
	}
	failsWith := func(result *Result, err error, part string) {
		t.Helper()
		if luaError := (*Error)(nil); !errors.As(err, &luaError) || !strings.Contains(luaError.Message, part) {
			t.Errorf("%v, %v", result, err)
		}
	}
	check(vm.Declare(ctx, "ask"), nil)
	check(vm.Declare(ctx, "web.fetch"), nil)

	waits("local first, second = ask('a', {1}) return first + second, web.fetch(...)", `1:ask("a", {[1] = 1})`, "u")
	check(vm.Answer(1, 1, 2), nil)
	if result, err := vm.Resume(ctx); result != nil || err != nil || asked(vm) != `2:web.fetch("u")` {
		t.Error(result, err, asked(vm))
	}
	long := strings.Repeat("x", 1000000)
	check(vm.Answer(2, long), nil)
	resumes(int64(3), long)

	// Errors, of the script and of the host.
	waits("return pcall(ask)", "1:ask()")
	check(vm.Fail(1, "no answer"), nil)
	resumes(false, "no answer")
	waits("ask() error('after', 0)", "1:ask()")
	check(vm.Answer(1), nil)
	result, err := vm.Resume(ctx)
	failsWith(result, err, "after")
	fails(t, vm, "ask()", "'ask' is answered by whoever starts the run")
	result, err = vm.Start(ctx, "table.sort({1, 2}, ask)")
	failsWith(result, err, "'ask' can't wait inside 'table.sort'")
	name := strings.Repeat("a", 10000) // the message takes more room than the guest offers at first
	check(vm.Declare(ctx, name), nil)
	fails(t, vm, name+"()", "a' is answered by whoever starts the run")
	failsWith(nil, vm.Declare(ctx, "print.x"), "print")

	// Tasks, and a request that is given up.
	waits("local task = require 'task' return task.race(function() return ask() end, function() task.sleep(0.5) return 'late' end)",
		"1:ask() 2:task.sleep(0.5)")
	check(vm.Answer(2), nil)
	resumes("late")

	// What can't be done now, and what the others of the same VM can do meanwhile.
	waits("kept = 1 ask() kept = ask()", "1:ask()")
	_, err = vm.Start(ctx, "return 1")
	check(err, ErrWaiting)
	_, err = vm.StartCall(ctx, "f")
	check(err, ErrWaiting)
	check(vm.Answer(2), ErrNoRequest)
	if vm.Answer(1, struct{}{}) == nil {
		t.Error("a struct was sent")
	}
	expect(t, vm, "return kept", int64(1))
	fails(t, vm, "ask()", "can't wait")
	check(vm.Answer(1), nil)
	check(vm.Fail(1, "again"), ErrNoRequest)
	if result, err := vm.Resume(ctx); result != nil || err != nil {
		t.Error(result, err)
	}

	// Nothing of the script runs any more.
	check(vm.Answer(2, 2), nil)
	check(vm.Cancel(ctx), nil)
	expect(t, vm, "return kept", int64(1))
	waits("local c <close> = setmetatable({}, {__close = function() kept = 3 end}) repeat pcall(ask) until false", "1:ask()")
	check(vm.Cancel(ctx), nil)
	check(vm.Cancel(ctx), nil)
	expect(t, vm, "return kept", int64(1))
	waits("local t = require('task').spawn(ask) function give_up() t:cancel() end pcall(t.wait, t) ask() kept = 4", "1:ask()")
	if _, err := vm.Call(ctx, "give_up"); err != nil || asked(vm) != "" {
		t.Error(err, asked(vm))
	}
	check(vm.Cancel(ctx), nil)
	expect(t, vm, "return kept", int64(1))
	if vm.Waiting() || asked(vm) != "" {
		t.Error("it waits for", asked(vm))
	}
	_, err = vm.Resume(ctx)
	check(err, ErrNoRequest)
	check(start(t, luaModule, Options{Revision: Revision2}).Declare(ctx, "ask"), ErrRevision)
}

func TestHostileRequests(t *testing.T) {
	ctx := t.Context()
	vm := start(t, hostileModule, Options{Revision: Revision3})
	sleep := "\x09\xff\xff\xff\xff\x01\x00\x00\x00"
	bad := []string{
		"", "\x00", "\x01", "\x01\xff\xff\xff\xff", "\x0a\x01\x00\x00", "\xff", // nothing is asked, and yet it waits
		sleep + "\x04\x01", sleep + "\x0d", // values that are none
		"\x09\x00\x00\x00\x00\x01\x00\x00\x00", // a function that was not declared
	}
	for length := range sleep {
		bad = append(bad, sleep[:length])
	}
	for _, request := range bad {
		if result, err := vm.Start(ctx, request); !errors.Is(err, ErrProtocol) {
			t.Errorf("%q: %v, %v", request, result, err)
		}
	}
	if result, err := vm.Start(ctx, sleep+"\x02\x05\x00\x00\x00\x00\x00\x00\x00"); result != nil || err != nil || asked(vm) != "1:task.sleep(5)" {
		t.Error(result, err, asked(vm))
	}
	if result, err := vm.Resume(ctx); result != nil || err != nil {
		t.Error(result, err)
	}
	if err := vm.Answer(1); err != nil {
		t.Error(err)
	}
	if result, err := vm.Resume(ctx); !errors.Is(err, ErrProtocol) || vm.Waiting() {
		t.Error(result, err)
	}
	if result, err := vm.Start(ctx, sleep); result != nil || err != nil {
		t.Error(result, err)
	}
	if err := vm.Cancel(ctx); !errors.Is(err, ErrProtocol) || vm.Waiting() {
		t.Error(err)
	}
}

func TestKeys(t *testing.T) {
	vm := start(t, luaModule, Options{})
	for _, key := range []string{"42", "-7", "'42'", "'007'", "'name'", "''", `'a\nb'`, `'\\x'`, `'\255'`, "0.5", "1e300", "1/0", "-1/0", "true", "'é'"} {
		id := compute(t, vm, "t = ext.table() t["+key+"] = true return t").Values[0].(External)
		keys, _ := vm.Tables.Keys(uint32(id))
		expect(t, vm, "return "+key, DecodeKey(keys[0]))
	}
	for _, text := range []string{`\`, `\q`, `\f`, `\fx`, `\f0x1p4`, `\s\`, `\s\x1`, "9223372036854775808", "-0", `\bmaybe`} {
		if got := DecodeKey(text); got != text {
			t.Errorf("%q became %v", text, got)
		}
	}
}

func TestDamagedResults(t *testing.T) {
	vm := start(t, hostileModule, Options{})
	// The hostile guest's answer is what stands in the source.
	answer := func(n int32, content ...byte) error {
		source := append(binary.LittleEndian.AppendUint32(nil, uint32(n)), content...)
		_, err := vm.Compute(t.Context(), string(source))
		return err
	}
	if err := answer(6, 0, 0, 0, 0, 1, 1); err != nil {
		t.Error(err)
	}
	bad := []struct {
		n       int32
		content []byte
	}{
		{1, nil}, {3, nil}, {65537, nil}, {math.MaxInt32, nil}, {-65538, nil}, {math.MinInt32, nil},
		{5, []byte{2, 0, 0, 0, 0}}, {5, []byte{0xff, 0xff, 0xff, 0xff, 0}}, // output longer than the result
		{5, []byte{0, 0, 0, 0, 0x0d}}, {5, []byte{0, 0, 0, 0, 0xff}}, // unknown tags
		{5, []byte{0, 0, 0, 0, 0x01}}, {6, []byte{0, 0, 0, 0, 0x02, 0}}, {6, []byte{0, 0, 0, 0, 0x03, 0}}, // cut off
		{9, []byte{0, 0, 0, 0, 0x04, 1, 0, 0, 0}}, {9, []byte{0, 0, 0, 0, 0x05, 0xff, 0xff, 0xff, 0xff}},
		{7, []byte{0, 0, 0, 0, 0x07, 1, 0}},
		{13, []byte{0, 0, 0, 0, 0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}}, // entries that are not there
		{15, []byte{0, 0, 0, 0, 0x08, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0}},                   // nil as a key
		{9, []byte{0, 0, 0, 0, 0x09, 0, 0, 0, 0}},                                      // a table that did not begin
	}
	for _, b := range bad {
		if err := answer(b.n, b.content...); !errors.Is(err, ErrProtocol) {
			t.Errorf("%d % x: %v", b.n, b.content, err)
		}
	}
}

func TestDeepTables(t *testing.T) {
	const levels = 200000
	deep := append(bytes.Repeat([]byte{0x08, 1, 0, 0, 0, 0, 0, 0, 0}, levels), 0)
	values, err := Decode(deep)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := Encode(values...); err != nil || len(again) != 9*levels+9*(levels-1) { // as pairs: with a key each
		t.Error(len(again), err)
	}
	Show(values...)
}

func TestBufferOutsideTheMemory(t *testing.T) {
	vm := start(t, hostileModule, Options{})
	for _, place := range [][2]int32{{131072, 65536}, {-4, 65536}, {131070, 4}, {0, 3}, {-1, -1}} {
		if _, err := vm.Export(t.Context(), "set_buffer", uint32(place[0]), uint32(place[1])); err != nil {
			t.Fatal(err)
		}
		var tooLarge *TooLargeError
		if _, err := vm.Compute(t.Context(), "12345"); !errors.Is(err, ErrProtocol) && !errors.As(err, &tooLarge) {
			t.Errorf("%v: %v", place, err)
		}
		if _, err := vm.MemoryStats(t.Context()); !errors.Is(err, ErrProtocol) {
			t.Errorf("%v: %v", place, err)
		}
	}
}

func TestTrap(t *testing.T) {
	vm := start(t, hostileModule, Options{Revision: Revision2})
	var luaError *Error
	if _, err := vm.Call(t.Context(), "f"); err == nil || errors.As(err, &luaError) || !strings.Contains(err.Error(), "unreachable") {
		t.Error(err)
	}
}

func TestHostilePointers(t *testing.T) {
	for _, revision := range []Revision{Revision1, Revision2} {
		vm := start(t, hostileModule, Options{Revision: revision})
		const size = 2 * 65536
		check := func(want int32, name string, params ...int32) {
			t.Helper()
			unsigned := make([]uint32, len(params))
			for i, param := range params {
				unsigned[i] = uint32(param)
			}
			got, err := vm.Export(t.Context(), name, unsigned...)
			if err != nil || int32(got) != want {
				t.Errorf("revision %d: %s%v = %d, %v; expected %d", revision, name, params, int32(got), err, want)
			}
		}
		check(0, "poke", 8, 'k') // a key at 8
		check(0, "set", 1, 8, 1, 0, 4)
		check(4, "get", 1, 8, 1, 100, 4)

		outside := [][2]int32{{size, 1}, {size - 1, 2}, {-1, 1}, {-1, -1}, {0, -1}, {0, size + 1}, {math.MaxInt32, math.MaxInt32}, {8, -8}, {math.MinInt32, math.MinInt32}}
		for _, o := range outside {
			check(-1, "set", 1, o[0], o[1], 0, 4)
			check(-1, "set", 1, 8, 1, o[0], o[1])
			check(-1, "get", 1, o[0], o[1], 100, 4)
			check(-1, "get", 1, 8, 1, o[0], o[1])
			check(-1, "delete", 1, o[0], o[1])
			check(-1, "keys", 1, o[0], o[1])
		}
		check(1, "size", 1)

		// Exactly at the end, and nothing at the end.
		check(0, "set", 1, 8, 1, size-4, 4)
		check(4, "get", 1, 8, 1, size-4, 4)
		check(0, "set", 2, size, 0, size, 0)
		check(0, "get", 2, size, 0, size, 0)

		// Too small a buffer stays as it was.
		check(0, "poke", 200, 0x55)
		tooSmall := map[Revision][2]int32{Revision1: {-1, -1}, Revision2: {-5, -2}}[revision]
		check(tooSmall[0], "get", 1, 8, 1, 200, 3)
		check(tooSmall[1], "keys", 1, 200, 0)
		check(0x55, "peek", 200)
		check(1, "keys", 1, 200, 1)
		check('k', "peek", 200)

		// Id 0 is no table, others do not exist.
		check(-1, "set", 0, 8, 1, 0, 4)
		check(-1, "get", 0, 8, 1, 100, 4)
		check(-1, "delete", 0, 8, 1)
		check(0, "size", 0)
		check(-1, "keys", 0, 100, 10)
		check(-1, "get", -1, 8, 1, 100, 4)
		check(-1, "delete", 77, 8, 1)
		check(-1, "keys", 77, 100, 10)
		check(0, "delete", 1, 8, 1)
		check(0, "delete", 1, 8, 1)
		check(0, "keys", 1, 100, 10)

		// A key that is not UTF-8.
		check(0, "poke", 9, 0xff)
		check(-1, "set", 1, 9, 1, 0, 4)

		// After growth the new memory counts.
		check(2, "grow", 1)
		check(0, "poke", size+8, 'k')
		check(0, "set", 3, size+8, 1, size, 100)
		check(100, "get", 3, 8, 1, size+200, 100)
		check('k', "peek", size+208)
		check(-1, "get", 3, 8, 1, size+65536-99, 100)
	}
}
